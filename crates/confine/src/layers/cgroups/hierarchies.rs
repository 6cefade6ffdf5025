//! The hierarchies of control groups that are mounted here, and where the caller is in each.
//!
//! Three layouts are found on machines (`man 7 cgroups`): version 2 alone, with all controllers; version 1, one mount
//! for each controller or a few; and the hybrid, which is version 1 with a hierarchy of version 2 beside it that has no
//! controllers and only names groups.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::own_groups;
use crate::resolve;

const TOP: &str = "/sys/fs/cgroup";
const CGROUP_SUPER_MAGIC: i64 = 0x27_e0eb;
const CGROUP2_SUPER_MAGIC: i64 = 0x6367_7270;

/// The two interfaces of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// Controllers in hierarchies of their own; the hybrid layout as well.
    V1,
    /// The unified hierarchy.
    V2,
}

/// One hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// Its controllers. Of version 1, a hierarchy without controllers has its name (`name=systemd`); the one of version
    /// 2 has an empty list.
    pub controllers: Vec<String>,
    /// Where it is mounted.
    pub top: PathBuf,
    /// The caller's own group, below `top` and without a leading slash; empty: `top` itself.
    pub own: PathBuf,
}

impl Hierarchy {
    /// Whether it is of version 2.
    pub fn is_v2(&self) -> bool {
        self.controllers.is_empty()
    }

    /// Whether a container can do without a group here: the hierarchy limits nothing.
    pub(super) fn is_optional(&self, version: Version) -> bool {
        match version {
            Version::V1 => {
                self.is_v2() || self.controllers.iter().all(|c| c.starts_with("name=") || c == "misc")
            }
            Version::V2 => !self.is_v2(),
        }
    }
}

/// All hierarchies of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchies {
    /// The version that has the controllers.
    pub version: Version,
    /// The hierarchies: of version 2 this one alone.
    pub list: Vec<Hierarchy>,
}

impl Hierarchies {
    /// Finds out. An empty list: no hierarchy is mounted.
    pub fn probe() -> Self {
        let own = own_groups();
        if rustix::fs::statfs(TOP).is_ok_and(|s| s.f_type == CGROUP2_SUPER_MAGIC) {
            let path = own.iter().find(|(controllers, _)| controllers.is_empty());
            let own = path.map(|(_, path)| below(path)).unwrap_or_default();
            let own = if Path::new(TOP).join(&own).is_dir() { own } else { PathBuf::new() };
            let list = vec![Hierarchy { controllers: Vec::new(), top: PathBuf::from(TOP), own }];
            return Self { version: Version::V2, list };
        }
        let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let mut list = parse_mounts(&text, &own);
        for hierarchy in &mut list {
            if !hierarchy.top.join(&hierarchy.own).is_dir() {
                hierarchy.own = PathBuf::new();
            }
        }
        Self { version: Version::V1, list }
    }

    /// The hierarchy of a controller.
    pub fn of(&self, controller: &str) -> Option<&Hierarchy> {
        match self.version {
            Version::V2 => self.list.first(),
            Version::V1 => self.list.iter().find(|h| h.controllers.iter().any(|c| c == controller)),
        }
    }
}

/// A path without its leading slashes.
fn below(path: &str) -> PathBuf {
    PathBuf::from(path.trim_start_matches('/'))
}

/// Reads the hierarchies out of `mountinfo` (`man 5 proc_pid_mountinfo`), the first mount of each.
fn parse_mounts(text: &str, own: &[(String, String)]) -> Vec<Hierarchy> {
    let mut list: Vec<Hierarchy> = Vec::new();
    for line in text.lines() {
        let Some((mount, source)) = line.split_once(" - ") else { continue };
        let mut mount = mount.split(' ').skip(3);
        let (Some(root), Some(point)) = (mount.next(), mount.next()) else { continue };
        let mut source = source.split(' ');
        let (Some(kind), Some(options)) = (source.next(), source.nth(1)) else { continue };
        // A mount point with a character that is escaped is nobody's /sys/fs/cgroup.
        if !kind.starts_with("cgroup") || point.contains('\\') {
            continue;
        }
        // The line of /proc/self/cgroup whose words are among the mount's options is the hierarchy's.
        let options: Vec<&str> = options.split(',').collect();
        let of_this = |names: &str| match kind {
            "cgroup2" => names.is_empty(),
            _ => !names.is_empty() && names.split(',').all(|name| options.contains(&name)),
        };
        let Some((names, path)) = own.iter().find(|(names, _)| of_this(names)) else { continue };
        let controllers: Vec<String> =
            names.split(',').filter(|name| !name.is_empty()).map(str::to_string).collect();
        if list.iter().any(|h| h.controllers == controllers) {
            continue;
        }
        // Of a mount that does not show the root of the hierarchy, paths count from what it shows.
        let shown = path.strip_prefix(root.trim_end_matches('/')).unwrap_or_default();
        list.push(Hierarchy { controllers, top: PathBuf::from(point), own: below(shown) });
    }
    list
}

/// Opens the top of a hierarchy, which must be one: a mount over it by somebody else is refused (`EINVAL`).
pub(super) fn open_top(top: &Path) -> Result<OwnedFd, Errno> {
    let dir = resolve::canonical(top, OFlags::RDONLY | OFlags::DIRECTORY)?;
    match rustix::fs::fstatfs(&dir)?.f_type {
        CGROUP_SUPER_MAGIC | CGROUP2_SUPER_MAGIC => Ok(dir),
        _ => Err(Errno::INVAL),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 /docker/x /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate
42 31 0:32 / /mnt/again rw - cgroup cgroup rw,memory
43 31 0:39 / /mnt/odd\\040name rw - cgroup cgroup rw,pids
broken
";

    fn own() -> Vec<(String, String)> {
        [("cpu,cpuacct", "/a"), ("memory", "/docker/x/y"), ("name=systemd", "/"), ("", "/u"), ("pids", "/p")]
            .map(|(c, p)| (c.to_string(), p.to_string()))
            .to_vec()
    }

    #[test]
    fn hybrid_hierarchies_are_found_with_the_callers_own_groups() {
        let list = parse_mounts(HYBRID, &own());
        let found: Vec<(String, &str, &str)> = list
            .iter()
            .map(|h| (h.controllers.join(","), h.top.to_str().unwrap(), h.own.to_str().unwrap()))
            .collect();
        assert_eq!(
            found,
            [
                ("cpu,cpuacct".into(), "/sys/fs/cgroup/cpu,cpuacct", "a"),
                ("memory".into(), "/sys/fs/cgroup/memory", "y"),
                ("name=systemd".into(), "/sys/fs/cgroup/systemd", ""),
                (String::new(), "/sys/fs/cgroup/unified", "u"),
            ]
        );
        let all = Hierarchies { version: Version::V1, list };
        assert_eq!(all.of("cpuacct").map(|h| h.top.clone()), Some("/sys/fs/cgroup/cpu,cpuacct".into()));
        assert_eq!(all.of("hugetlb"), None);
        assert!(all.list[3].is_optional(Version::V1) && all.list[2].is_optional(Version::V1));
        assert!(!all.list[0].is_optional(Version::V1));
    }

    #[test]
    fn this_machine_has_hierarchies_that_open_or_none() {
        for hierarchy in Hierarchies::probe().list {
            assert!(open_top(&hierarchy.top).is_ok(), "{hierarchy:?}");
        }
        assert_eq!(open_top(Path::new("/proc")).err(), Some(Errno::INVAL));
    }
}
