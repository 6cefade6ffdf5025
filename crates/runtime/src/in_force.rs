//! What holds a running container, as the kernel says it: read from `/proc` and the container's cgroups, never from the record.
//!
//! Nothing is stopped, traced or executed for it. What the kernel tells nobody (the rules of a Landlock domain, the
//! instructions of a filter) is not here. Texts of mounts come from inside: callers show them through
//! [`crate::events::printable`].

use std::path::{Path, PathBuf};

use donjon_confine::layers::capabilities;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::process::{read_all, read_file};

/// Most bytes of a list of mounts that are read.
const MOST_MOUNTS: usize = 4 << 20;

/// What the kernel says of one process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InForce {
    /// The process that was asked about: the program, not donjon's small init above it.
    pub pid: i32,
    /// User ids: inside, outside, how many.
    pub uids: Vec<(u64, u64, u64)>,
    /// Group ids.
    pub gids: Vec<(u64, u64, u64)>,
    /// Kinds of namespaces that are not the caller's.
    pub own_namespaces: Vec<&'static str>,
    /// Kinds that are the caller's.
    pub shared_namespaces: Vec<&'static str>,
    /// The capability sets, as bits.
    pub bounding: u64,
    /// What it may take up.
    pub permitted: u64,
    /// What counts now.
    pub effective: u64,
    /// What a program of another user that it executes keeps.
    pub ambient: u64,
    /// Whether nothing that it executes can gain a right.
    pub no_new_privs: bool,
    /// 0: none, 1: strict, 2: filter.
    pub seccomp_mode: u32,
    /// How many filters; not known before Linux 5.9.
    pub filters: Option<u32>,
    /// The label of the security module that has one, or of each.
    pub labels: Vec<(&'static str, String)>,
    /// Resource limits: name, soft, hard; `unlimited` as the kernel writes it.
    pub limits: Vec<(String, String, String)>,
    /// Files of its cgroups and their values.
    pub groups: Vec<(PathBuf, String)>,
    /// Its mounts, in the kernel's order.
    pub mounts: Vec<Mounted>,
    /// What could not be read, and why.
    pub unread: Vec<(String, Errno)>,
}

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mounted {
    /// Where.
    pub at: String,
    /// Which part of the file system.
    pub root: String,
    /// Kind of the file system.
    pub kind: String,
    /// The mount's own options, as the kernel writes them.
    pub options: Vec<String>,
}

impl Mounted {
    /// Whether the mount has an option.
    pub fn has(&self, option: &str) -> bool {
        self.options.iter().any(|o| o == option)
    }
}

/// Files of a cgroup that limit something, version 2 and 1.
const LIMITS: [&str; 9] = [
    "memory.max", "memory.swap.max", "pids.max", "cpu.max", "memory.limit_in_bytes",
    "memory.memsw.limit_in_bytes", "cpu.cfs_quota_us", "cpu.cfs_period_us", "cpuset.cpus",
];

impl InForce {
    /// Asks the kernel about a container whose first process is `init`; with `below` about its first child, which is the
    /// program under donjon's small init.
    pub fn read(init: i32, below: bool, groups: &[PathBuf]) -> Result<Self, Errno> {
        let pid = if below { first_child(init).unwrap_or(init) } else { init };
        let mut found = Self { pid, ..Self::default() };
        found.status()?;
        found.uids = found.map("uid_map");
        found.gids = found.map("gid_map");
        found.namespaces();
        found.labels();
        found.rlimits();
        found.mount_table();
        for group in groups {
            for file in LIMITS {
                let path = group.join(file);
                if let Some(value) = path.to_str().and_then(|path| read_file(path).ok()) {
                    found.groups.push((path, text(&value)));
                }
            }
        }
        Ok(found)
    }

    fn path(&self, name: &str) -> String {
        format!("/proc/{}/{name}", self.pid)
    }

    fn ask(&mut self, name: &str) -> Option<String> {
        match read_file(&self.path(name)) {
            Ok(bytes) => Some(text(&bytes)),
            Err(errno) => {
                self.unread.push((name.to_string(), errno));
                None
            }
        }
    }

    fn status(&mut self) -> Result<(), Errno> {
        let status = text(&read_file(&self.path("status"))?);
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.map(str::trim)
        };
        let set =
            |name: &str| field(name).and_then(|hex| u64::from_str_radix(hex, 16).ok()).ok_or(Errno::PROTO);
        self.bounding = set("CapBnd")?;
        self.permitted = set("CapPrm")?;
        self.effective = set("CapEff")?;
        self.ambient = set("CapAmb")?;
        self.no_new_privs = field("NoNewPrivs").ok_or(Errno::PROTO)? == "1";
        self.seccomp_mode = field("Seccomp").and_then(|n| n.parse().ok()).ok_or(Errno::PROTO)?;
        self.filters = field("Seccomp_filters").and_then(|n| n.parse().ok());
        Ok(())
    }

    fn map(&mut self, name: &str) -> Vec<(u64, u64, u64)> {
        let lines = self.ask(name).unwrap_or_default();
        let number = |word: Option<&str>| word.and_then(|word| word.parse().ok());
        lines
            .lines()
            .filter_map(|line| {
                let mut words = line.split_ascii_whitespace();
                Some((number(words.next())?, number(words.next())?, number(words.next())?))
            })
            .collect()
    }

    fn namespaces(&mut self) {
        for kind in ["user", "pid", "mnt", "net", "ipc", "uts", "cgroup", "time"] {
            let link = |pid: &str| rustix::fs::readlinkat(CWD, format!("/proc/{pid}/ns/{kind}"), Vec::new());
            match (link(&self.pid.to_string()), link("self")) {
                (Ok(own), Ok(callers)) if own == callers => self.shared_namespaces.push(kind),
                (Ok(_), Ok(_)) => self.own_namespaces.push(kind),
                (Err(errno), _) | (_, Err(errno)) => self.unread.push((format!("ns/{kind}"), errno)),
            }
        }
    }

    fn labels(&mut self) {
        for (module, file) in [("apparmor", "attr/apparmor/current"), ("label", "attr/current")] {
            // A machine without such a module has no such file, or answers EINVAL.
            if let Ok(label) = read_file(&self.path(file)) {
                let label = text(&label).trim_end_matches(['\n', '\0']).to_string();
                if !label.is_empty() && !self.labels.iter().any(|(_, known)| *known == label) {
                    self.labels.push((module, label));
                }
            }
        }
    }

    fn rlimits(&mut self) {
        let lines = self.ask("limits").unwrap_or_default();
        for line in lines.lines().skip(1) {
            // The name has spaces; two or more of them end it.
            let mut parts = line.split("  ").map(str::trim).filter(|part| !part.is_empty());
            if let (Some(name), Some(soft), Some(hard)) = (parts.next(), parts.next(), parts.next()) {
                self.limits.push((name.to_string(), soft.to_string(), hard.to_string()));
            }
        }
    }

    fn mount_table(&mut self) {
        let open = rustix::fs::open(self.path("mountinfo"), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        let table = open.and_then(|file| read_all(std::os::fd::AsFd::as_fd(&file), MOST_MOUNTS));
        match table {
            Ok(table) => self.mounts = text(&table).lines().filter_map(mounted).collect(),
            Err(errno) => self.unread.push(("mountinfo".to_string(), errno)),
        }
    }

    /// The names of a capability set, or `none`.
    pub fn names(set: u64) -> String {
        match capabilities::names(set) {
            names if names.is_empty() => "none".to_string(),
            names => names.join(" "),
        }
    }
}

/// One line of `/proc/PID/mountinfo`, see `man 5 proc_pid_mountinfo`.
fn mounted(line: &str) -> Option<Mounted> {
    let (before, after) = line.split_once(" - ")?;
    let mut fields = before.split(' ').skip(3);
    let (root, at, options) = (fields.next()?, fields.next()?, fields.next()?);
    Some(Mounted {
        at: unescaped(at),
        root: unescaped(root),
        kind: after.split(' ').next()?.to_string(),
        options: options.split(',').map(str::to_string).collect(),
    })
}

/// `\040` and its like as what they stand for.
fn unescaped(word: &str) -> String {
    let mut text = String::with_capacity(word.len());
    let mut rest = word;
    while let Some((before, after)) = rest.split_once('\\') {
        text.push_str(before);
        match after.get(..3).and_then(|octal| u8::from_str_radix(octal, 8).ok()) {
            Some(byte) => {
                text.push(char::from(byte));
                rest = after.get(3..).unwrap_or_default();
            }
            None => {
                text.push('\\');
                rest = after;
            }
        }
    }
    text.push_str(rest);
    text
}

fn first_child(pid: i32) -> Option<i32> {
    let children = read_file(&format!("/proc/{pid}/task/{pid}/children")).ok()?;
    text(&children).split_ascii_whitespace().next()?.parse().ok()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end().to_string()
}

/// The file's name of a path of a cgroup.
pub fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_asked_about_this_process() {
        let me = rustix::process::getpid().as_raw_nonzero().get();
        let found = InForce::read(me, false, &[]).unwrap();
        assert_eq!((found.pid, found.unread.as_slice()), (me, &[][..]));
        assert!(found.own_namespaces.is_empty() && found.shared_namespaces.contains(&"user"), "{found:?}");
        assert!(found.mounts.iter().any(|mount| mount.at == "/"), "{found:?}");
        assert!(found.limits.iter().any(|(name, ..)| name == "Max open files"), "{:?}", found.limits);
        assert!(!found.uids.is_empty());
    }

    #[test]
    fn a_mount_point_with_a_space_is_read_as_it_is() {
        let line = r"36 35 98:0 /mnt1 /mnt\0402\134x rw,noatime master:1 - ext3 /dev/root rw,errors=continue";
        let mount = mounted(line).unwrap();
        assert_eq!(
            (mount.at.as_str(), mount.root.as_str(), mount.kind.as_str()),
            (r"/mnt 2\x", "/mnt1", "ext3")
        );
        assert!(mount.has("noatime") && !mount.has("ro"));
        assert_eq!(unescaped(r"a\9"), r"a\9");
    }
}
