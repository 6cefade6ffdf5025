//! Hierarchies of cgroups of version 1 that come along with a bind of the machine's.
//!
//! **The attack** (CVE-2022-0492): somebody binds `/sys/fs/cgroup`, or `/sys`, or `/`, and below it lies a hierarchy of
//! version 1. Without a user namespace root inside writes `release_agent`, a program that the kernel runs as root of the
//! machine, moves processes of others, or lifts its own limits. **The defence**: such a hierarchy is read-only inside
//! whatever the options say (R16). One that is bound itself, or a file of it, is told by its file system. Those that are
//! mounted below a bound directory are found by the parent in its list of mounts; the child makes each read-only as soon
//! as the bind is attached, and compares it with the rest at the end.
//!
//! **Can't stop**: a program with `CAP_SYS_ADMIN` and no user namespace, which may mount a hierarchy itself. Nor one that
//! is mounted on the machine later, below a directory whose mounts the container goes on getting (`slave`, `shared`).
//!
//! The list is read where a directory is bound with the mounts below it, and this machine has a hierarchy of version 1 at
//! all. A container's root is looked at where `/sys/fs/cgroup` lies below it.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use donjon_sys::mount::{SetAttr, attr, mount_setattr};
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::child::Context;
use crate::error::StartError;
use crate::layers::mounts::{self, What};
use crate::layers::rootfs::Expected;
use crate::plan::{Layer, Op, Plan};
use crate::resolve;

use super::as_written::{AsWritten, Thing};
use super::table::Change;

/// `CGROUP_SUPER_MAGIC` of `linux/magic.h`.
pub(super) const MAGIC: i64 = 0x0027_e0eb;

/// The hierarchies of version 1 that are mounted here, looked for once and no earlier than asked.
#[derive(Debug, Default)]
pub(crate) struct Mounted(Option<Vec<Vec<u8>>>);

impl Mounted {
    fn list(&mut self) -> &[Vec<u8>] {
        self.0.get_or_insert_with(|| {
            let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
            // NUMBER:CONTROLLERS:PATH; of version 2 there are no controllers.
            let any = groups.lines().any(|l| l.split(':').nth(1).is_some_and(|names| !names.is_empty()));
            let mounts =
                if any { std::fs::read("/proc/self/mountinfo").unwrap_or_default() } else { Vec::new() };
            points(&mounts)
        })
    }

    /// Paths, below the directory `source`, of those that come along when the plan's source of this index is bound. One
    /// that something else covers is not among them.
    pub fn below(&mut self, plan: &Plan, index: usize, source: &Path) -> Vec<CString> {
        if !plan.steps().iter().any(|step| brings_along(&step.op, index, source)) {
            return Vec::new();
        }
        let is_one = |path: &Path| {
            let dir = resolve::canonical(path, OFlags::PATH | OFlags::DIRECTORY);
            dir.and_then(rustix::fs::fstatfs).is_ok_and(|stat| stat.f_type == MAGIC)
        };
        let all = self.list().iter().map(|point| Path::new(std::ffi::OsStr::from_bytes(point)));
        all.filter(|point| is_one(point))
            .filter_map(|point| point.strip_prefix(source).ok())
            .filter(|below| !below.as_os_str().is_empty())
            .filter_map(|below| CString::new(below.as_os_str().as_bytes()).ok())
            .collect()
    }

    /// Refuses a step that would make what is mounted already writable, with all that lies below it: nothing tells what
    /// that is.
    pub fn refuse_remounts(&mut self, plan: &Plan) -> Result<(), StartError> {
        let writes = |op: &Op| match op {
            Op::MountAsWritten(AsWritten { thing: Thing::Remount(_), below, .. }) => {
                below.clear & attr::RDONLY != 0
            }
            _ => false,
        };
        match plan.steps().iter().find(|step| writes(&step.op) && crate::hooks::protects("v1-read-only")) {
            Some(step) if !self.list().is_empty() => Err(StartError::new(
                Layer::Mounts,
                "a remount with rrw could make a hierarchy of cgroups of version 1 writable",
                None,
            )
            .field(&format!("{}.options", step.field))
            .hint("use rw, which changes that mount alone")),
            _ => Ok(()),
        }
    }
}

/// Whether this step binds the source with the mounts below it.
fn brings_along(op: &Op, index: usize, path: &Path) -> bool {
    match op {
        Op::MountAsWritten(AsWritten { thing: Thing::Bind { source, recursive: true, .. }, .. }) => {
            *source == index
        }
        Op::Mount(mounts::MountStep { what: What::Bind { source, recursive: true, .. }, .. }) => {
            *source == index
        }
        Op::RootInPlace { source } => *source == index && Path::new("/sys/fs/cgroup").starts_with(path),
        _ => false,
    }
}

/// The mount points of `mountinfo` (`man 5 proc_pid_mountinfo`) where a hierarchy of version 1 lies.
fn points(mountinfo: &[u8]) -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = Vec::new();
    for line in mountinfo.split(|b| *b == b'\n') {
        let mut words = line.split(|b| *b == b' ');
        let Some(point) = words.nth(4) else { continue };
        // Fields that may be missing end with a dash; the type follows.
        if words.find(|word| *word == b"-").and_then(|_| words.next()) == Some(b"cgroup") {
            all.push(plain(point));
        }
    }
    all.sort();
    all.dedup();
    all
}

/// A path of `mountinfo` as it is: blanks and backslashes are written in octal there.
fn plain(word: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(word.len());
    let mut rest = word;
    while let [first, after @ ..] = rest {
        let digit = |b: u8| (b'0'..=b'7').contains(&b).then(|| b - b'0');
        let escaped = match (first, after) {
            (b'\\', [a, b, c, ..]) => digit(*a).zip(digit(*b)).zip(digit(*c)),
            _ => None,
        };
        match escaped {
            Some(((a, b), c)) => {
                path.push(a << 6 | b << 3 | c);
                rest = rest.get(4..).unwrap_or_default();
            }
            None => {
                path.push(*first);
                rest = after;
            }
        }
    }
    path
}

/// Whether this mount is of such a hierarchy.
pub(super) fn is_one(ctx: &Context<'_>, mount: impl AsFd) -> Result<bool, Errno> {
    Ok(rustix::fs::fstatfs(mount)?.f_type == MAGIC && ctx.protects("v1-read-only"))
}

/// A change of attributes that leaves it read-only.
pub(super) fn held(change: Change) -> Change {
    Change { set: change.set | attr::RDONLY, clear: change.clear & !attr::RDONLY }
}

/// Makes those read-only that came along below `tree`, which has just been attached: a bind of source number `source`.
pub(crate) fn hold_below(ctx: &mut Context<'_>, source: usize, tree: &OwnedFd) -> Result<(), Errno> {
    let sources = ctx.from.sources;
    if !ctx.protects("v1-read-only") {
        return Ok(());
    }
    for path in sources.get(source).map(|source| source.hierarchies.as_slice()).unwrap_or_default() {
        let mount = match resolve::no_symlinks(tree, path.as_c_str(), OFlags::PATH | OFlags::DIRECTORY) {
            // It did not come along (an unbindable mount on the way), or is gone.
            Err(Errno::NOENT | Errno::NOTDIR) => continue,
            other => other?,
        };
        if rustix::fs::fstatfs(&mount)?.f_type != MAGIC {
            continue;
        }
        let change = SetAttr { set: attr::RDONLY, ..SetAttr::default() };
        mount_setattr(mount.as_fd(), c"", false, change, None)?;
        let expected = Expected { present: attr::RDONLY, may_share: true, ..Expected::default() };
        let _id = ctx.mounted.expect_all(mount.as_fd(), expected)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_of_version_1_are_found_in_the_list_of_mounts_whatever_their_place_is_called() {
        let text = b"\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 master:1 - cgroup cgroup rw,cpu,cpuacct
33 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate
43 31 0:39 / /mnt/odd\\040name\\134 rw - cgroup none rw,pids
44 31 0:40 / /mnt/cgroup rw - tmpfs cgroup rw
broken
";
        let expected: [&[u8]; 2] = [b"/mnt/odd name\\", b"/sys/fs/cgroup/cpu,cpuacct"];
        assert_eq!(points(text), expected);
    }
}
