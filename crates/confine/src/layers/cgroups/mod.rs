//! Control groups: how much memory, processor time and how many processes all of a container together may use.
//!
//! **Stops**: a container that takes the machine's memory or processors from others, also through many processes.
//! Version 2 where the machine has it; version 1 and the hybrid layout for root alone, and then no v1 hierarchy is
//! ever visible inside, writable or not (R16: `release_agent`).
//!
//! **Can't stop**: anything where no group can be made: an ordinary user needs a delegated subtree (a systemd user
//! session). What is not enforced then is noted in the plan; a limit that a flag or a file names aborts the start
//! instead (R31).
//!
//! v2: Linux 4.5, `CLONE_INTO_CGROUP` 5.7.

mod cgroup;
mod device_program;
mod devices;
mod dirs;
pub mod events;
mod freezer;
pub mod hierarchies;
pub mod oom;
mod paths;
mod resources;
mod settings;
pub mod stats;
mod systemd;
mod tree;
mod v1;
mod v2;
mod wanted;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::Pid;
use serde::Serialize;

use crate::error::{SpecError, StartError};
use crate::extensions::Extensions;
use crate::plan::{Draft, Layer};

pub use cgroup::{Cgroup, Place, Record};
pub use events::{Counts, Events};
pub use hierarchies::Hierarchies;
pub use oom::{Notice, OomWatch};
pub use stats::Stats;
pub use wanted::{Driver, Options, Wanted};

/// What of control groups this caller can use here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Default)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Hierarchy {
    /// Nothing, and why.
    #[default]
    None,
    /// Version 1 or hybrid, and the caller is root: where a group can be made, by controller.
    V1 {
        /// Controller and the directory of the caller's own group.
        controllers: Vec<(String, PathBuf)>,
    },
    /// Version 2.
    V2 {
        /// The directory in which a group can be made.
        parent: PathBuf,
        /// Controllers that a group made there has.
        controllers: Vec<String>,
        /// The caller has to leave `parent` for a group of its own first: it would not be free of processes.
        step_aside: bool,
    },
}

impl Hierarchy {
    /// Finds out. One system call on machines where nothing can be had; no privilege is needed.
    pub fn probe() -> Self {
        match rustix::fs::statfs(c"/sys/fs/cgroup").map(|s| s.f_type) {
            // CGROUP2_SUPER_MAGIC
            Ok(0x6367_7270) => v2::probe(),
            Ok(_) if rustix::process::geteuid().is_root() => v1::probe(),
            _ => Hierarchy::None,
        }
    }

    /// Whether a group made here counts processes.
    pub(crate) fn counts_processes(&self) -> bool {
        self.has("pids")
    }

    fn has(&self, controller: &str) -> bool {
        match self {
            Hierarchy::None => false,
            Hierarchy::V1 { controllers } => controllers.iter().any(|(c, _)| c == controller),
            Hierarchy::V2 { controllers, .. } => controllers.iter().any(|c| c == controller),
        }
    }
}

/// The limits of a group, in the units of the specification.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// Processes and threads.
    pub pids: Option<u64>,
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Bytes of memory and swap together; `u64::MAX`: no limit.
    pub memory_and_swap: Option<u64>,
    /// Microseconds of processor time in each period, and the period.
    pub cpu: Option<(u64, u64)>,
}

impl Limits {
    /// Controllers that these limits need.
    fn controllers(&self) -> Vec<&'static str> {
        let mut needed = Vec::new();
        if self.memory.is_some() || self.memory_and_swap.is_some() {
            needed.push("memory");
        }
        if self.cpu.is_some() {
            needed.push("cpu");
        }
        if self.pids.is_some() {
            needed.push("pids");
        }
        needed
    }
}

/// The group that a plan makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its name: one component, made by donjon.
    pub name: String,
    /// Its limits.
    pub limits: Limits,
    /// Where it is made.
    pub hierarchy: Hierarchy,
}

impl Group {
    /// The directories that [`Groups::create`] makes: to be written down before, so that whoever clears up after a
    /// donjon that was killed in between knows them.
    pub fn places(&self) -> Vec<PathBuf> {
        let parents: Vec<&Path> = match &self.hierarchy {
            Hierarchy::None => Vec::new(),
            Hierarchy::V1 { controllers } => {
                let needed = self.limits.controllers();
                let needed = controllers.iter().filter(|(c, _)| needed.contains(&c.as_str()));
                needed.map(|(_, own)| own.as_path()).collect()
            }
            Hierarchy::V2 { parent, .. } => vec![parent],
        };
        parents.into_iter().map(|parent| house_in(parent).join(&self.name)).collect()
    }

    /// What is made, for a person.
    pub(crate) fn in_words(&self) -> String {
        let l = &self.limits;
        let mut words: Vec<String> = Vec::new();
        words.extend(l.memory.map(|n| format!("memory {n}")));
        words.extend(l.memory_and_swap.filter(|n| *n != u64::MAX).map(|n| format!("memory and swap {n}")));
        words.extend(l.cpu.map(|(quota, period)| format!("cpu {quota} of {period} us")));
        words.extend(l.pids.map(|n| format!("pids {n}")));
        let version = if matches!(self.hierarchy, Hierarchy::V2 { .. }) { "v2" } else { "v1" };
        format!("a cgroup ({version}) of its own, {}: {}", self.name, words.join(", "))
    }
}

/// Decides about the container's group: `None` where none is asked for, or none can be had and need not be.
pub(crate) fn plan(
    spec: &Spec,
    ext: &Extensions,
    hierarchy: &Hierarchy,
    draft: &mut Draft,
) -> Result<Option<Group>, SpecError> {
    let Some(path) = spec.linux().as_ref().and_then(|l| l.cgroups_path().as_ref()) else { return Ok(None) };
    let refuse = |field: &str, what: String| SpecError::new(Layer::Cgroups, field, what);
    let name = path.to_str().unwrap_or_default();
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    if name.is_empty() || name.len() > 128 || !plain {
        return Err(refuse("linux.cgroupsPath", "is no single name of letters, digits, - and _".into()));
    }
    let mut limits = limits(spec)?;
    let best_effort = ext.best_effort.iter().any(|l| l == Layer::Cgroups.name());
    for controller in limits.controllers() {
        if hierarchy.has(controller) {
            continue;
        }
        let (field, what) = match controller {
            "memory" => ("linux.resources.memory.limit", "the limit of memory"),
            "cpu" => ("linux.resources.cpu.quota", "the limit of processor time"),
            _ => ("linux.resources.pids.limit", "the limit of processes"),
        };
        // Processes are counted by the user namespace as well.
        let covered = controller == "pids" && ext.pids_limit.is_some();
        let optional = ext.optional_limits.iter().any(|l| l == controller);
        if !best_effort && !covered && !optional {
            return Err(refuse(
                field,
                format!("{what} needs a cgroup with the controller {controller}, and none can be made here"),
            ));
        }
        if !covered {
            draft.notes.push(format!(
                "cgroups: {what} is not enforced: no cgroup with the controller {controller} can be made here"
            ));
        }
        match controller {
            "memory" => (limits.memory, limits.memory_and_swap) = (None, None),
            "cpu" => limits.cpu = None,
            _ => limits.pids = None,
        }
    }
    match hierarchy {
        Hierarchy::None => Ok(None),
        _ if limits == Limits::default() => Ok(None),
        hierarchy => Ok(Some(Group { name: name.to_string(), limits, hierarchy: hierarchy.clone() })),
    }
}

fn limits(spec: &Spec) -> Result<Limits, SpecError> {
    let mut limits = Limits::default();
    let Some(resources) = spec.linux().as_ref().and_then(|l| l.resources().as_ref()) else {
        return Ok(limits);
    };
    // -1 stands for "no limit".
    let some = |n: i64| u64::try_from(n).ok();
    limits.pids = resources.pids().as_ref().and_then(|p| some(p.limit())).filter(|n| *n > 0);
    if let Some(memory) = resources.memory() {
        limits.memory = memory.limit().and_then(some);
        limits.memory_and_swap = memory.swap().map(|n| some(n).unwrap_or(u64::MAX));
        if let (Some(memory), Some(both)) = (limits.memory, limits.memory_and_swap)
            && both < memory
        {
            return Err(SpecError::new(
                Layer::Cgroups,
                "linux.resources.memory.swap",
                "is memory and swap together, so not below the limit of memory",
            ));
        }
    }
    if let Some(cpu) = resources.cpu() {
        let period = cpu.period().unwrap_or(100_000);
        if !(1000..=1_000_000).contains(&period) {
            return Err(SpecError::new(
                Layer::Cgroups,
                "linux.resources.cpu.period",
                "is not between 1000 and 1000000 microseconds",
            ));
        }
        limits.cpu = cpu.quota().and_then(some).filter(|q| *q > 0).map(|quota| (quota.max(1000), period));
    }
    Ok(limits)
}

/// Directories of a container's group: one, or under v1 one for each controller. Dropping this leaves them.
#[derive(Debug, Default)]
pub struct Groups {
    dirs: Vec<GroupDir>,
    v2: bool,
}

#[derive(Debug)]
struct GroupDir {
    controller: String,
    path: PathBuf,
    parent: OwnedFd,
    dir: OwnedFd,
}

impl Groups {
    /// Makes the group of a plan and writes its limits. An error leaves nothing behind.
    pub fn create(group: &Group) -> Result<Self, StartError> {
        match &group.hierarchy {
            Hierarchy::None => Ok(Self { dirs: Vec::new(), v2: false }),
            Hierarchy::V1 { controllers } => v1::create(group, controllers),
            Hierarchy::V2 { parent, controllers, step_aside } => {
                v2::create(group, parent, controllers, *step_aside)
            }
        }
    }

    /// Opens the groups of a container by the paths that [`Groups::paths`] gave; those that are gone are left out.
    pub fn open(paths: &[PathBuf]) -> Result<Self, Errno> {
        let mut groups = Self { dirs: Vec::new(), v2: false };
        for path in paths {
            match groups.add(String::new(), path, None) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno),
            }
        }
        groups.v2 =
            groups.dirs.iter().any(|d| rustix::fs::fstatfs(&d.dir).is_ok_and(|s| s.f_type == 0x6367_7270));
        Ok(groups)
    }

    /// Opens a directory of the group, which is made in it first when `make` is given.
    fn add(&mut self, controller: String, path: &Path, make: Option<Mode>) -> Result<(), Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let (above, name) = path.parent().zip(path.file_name()).ok_or(Errno::INVAL)?;
        let parent = rustix::fs::open(above, flags, Mode::empty())?;
        if let Some(mode) = make {
            rustix::fs::mkdirat(&parent, name, mode)?;
        }
        let dir = rustix::fs::openat(&parent, name, flags, Mode::empty()).inspect_err(|_| {
            if make.is_some() {
                let _ = rustix::fs::unlinkat(&parent, name, AtFlags::REMOVEDIR);
            }
        })?;
        self.dirs.push(GroupDir { controller, path: path.to_path_buf(), parent, dir });
        Ok(())
    }

    /// The directories' paths, to be written down.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.dirs.iter().map(|d| d.path.clone()).collect()
    }

    /// The directories that hold the group's: where [`Groups::remove`] removes.
    pub fn parents(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.dirs.iter().map(|d| d.parent.as_fd())
    }

    /// The group of v2 that a process can be born in.
    pub fn birthplace(&self) -> Option<BorrowedFd<'_>> {
        if self.v2 { self.dirs.first().map(|d| d.dir.as_fd()) } else { None }
    }

    /// Whether processes have to be put in one by one (v1).
    pub fn adopts(&self) -> bool {
        !self.v2 && !self.dirs.is_empty()
    }

    /// Puts a process, which waits, into the group.
    pub fn adopt(&self, pid: Pid) -> Result<(), StartError> {
        for dir in &self.dirs {
            write(&dir.dir, "cgroup.procs", &pid.as_raw_nonzero().to_string())
                .map_err(|e| failed(format!("put the container into {}", dir.path.display()), e))?;
        }
        Ok(())
    }

    /// Opens what tells that a limit was hit.
    pub fn events(&self) -> Events {
        let mut events = Events::default();
        for dir in &self.dirs {
            events.add(&dir.dir, self.v2, &dir.controller);
        }
        events
    }

    /// Memory in use, in bytes, and its limit, where the group knows.
    pub fn memory(&self) -> Option<(u64, Option<u64>)> {
        let names = if self.v2 {
            ("memory.current", "memory.max")
        } else {
            ("memory.usage_in_bytes", "memory.limit_in_bytes")
        };
        self.dirs.iter().find_map(|d| {
            let used = read_number(&d.dir, names.0)?;
            // v1 writes "no limit" as the largest number of pages.
            Some((used, read_number(&d.dir, names.1).filter(|n| *n < 1 << 62)))
        })
    }

    /// Removes the group; it must be empty, or about to be. Waits a little for the kernel to let go of its last
    /// process.
    pub fn remove(&self) -> Result<(), Errno> {
        let mut result = Ok(());
        for dir in &self.dirs {
            let Some(name) = dir.path.file_name() else { continue };
            let mut tries = 0;
            loop {
                match rustix::fs::unlinkat(&dir.parent, name, AtFlags::REMOVEDIR) {
                    Ok(()) | Err(Errno::NOENT) => break,
                    Err(Errno::BUSY) if tries < 200 => {
                        tries += 1;
                        std::thread::sleep(std::time::Duration::from_millis(5));
                    }
                    Err(errno) => {
                        result = Err(errno);
                        break;
                    }
                }
            }
        }
        result
    }
}

/// What lies between a parent that is not the caller's to write and the groups in it.
const HOUSE: &str = "donjon";

/// The directory below `parent` in which groups are made: mostly `parent` itself.
///
/// The warden removes the group when it has no capabilities any more, so it must be the owner who may write above it.
/// Root is not in the root of a hierarchy, whose mode is 0555, nor in a session of somebody else's. There a directory
/// of root's own lies between, and stays.
fn house_in(parent: &Path) -> PathBuf {
    let root = rustix::process::geteuid();
    if !root.is_root() || parent.metadata().is_ok_and(|m| m.uid() == root.as_raw() && m.mode() & 0o200 != 0) {
        return parent.to_path_buf();
    }
    parent.join(HOUSE)
}

/// The same, made if it is not there.
fn house(parent: &Path) -> Result<PathBuf, StartError> {
    let path = house_in(parent);
    if path == parent {
        return Ok(path);
    }
    match rustix::fs::mkdir(&path, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => Ok(path),
        Err(errno) => Err(failed(format!("make {}", path.display()), errno)),
    }
}

fn failed(what: String, errno: Errno) -> StartError {
    let error = StartError::new(Layer::Cgroups, what, errno).field("linux.resources");
    match errno {
        Errno::NOSPC => error.hint("the limit of cgroups below is reached (cgroup.max.descendants)"),
        Errno::ACCESS | Errno::PERM | Errno::ROFS => {
            error.hint("--best-effort cgroups goes on without these limits; donjon doctor tells what is delegated to you")
        }
        _ => error.hint("--best-effort cgroups goes on without these limits"),
    }
}

/// Writes one setting of a group.
fn write(dir: &OwnedFd, name: &str, value: &str) -> Result<(), Errno> {
    let file =
        rustix::fs::openat(dir, name, OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())?;
    rustix::io::write(&file, value.as_bytes()).map(drop)
}

fn read(dir: &OwnedFd, name: &str) -> Option<String> {
    let file =
        rustix::fs::openat(dir, name, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())
            .ok()?;
    let mut buffer = [0u8; 4096];
    let n = rustix::io::read(&file, &mut buffer).ok()?;
    Some(String::from_utf8_lossy(buffer.get(..n)?).into_owned())
}

/// A whole file, however long.
fn read_all(dir: impl AsFd, name: &str) -> Option<String> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let mut file = std::fs::File::from(rustix::fs::openat(dir, name, flags, Mode::empty()).ok()?);
    let mut text = Vec::new();
    std::io::Read::read_to_end(&mut file, &mut text).ok()?;
    Some(String::from_utf8_lossy(&text).into_owned())
}

fn read_number(dir: &OwnedFd, name: &str) -> Option<u64> {
    read(dir, name)?.trim().parse().ok()
}

/// `/proc/self/cgroup` (`man 7 cgroups`): controllers and path, for each hierarchy.
fn own_groups() -> Vec<(String, String)> {
    let text = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    parse_own_groups(&text)
}

fn parse_own_groups(text: &str) -> Vec<(String, String)> {
    text.lines()
        .filter_map(|line| {
            let mut fields = line.splitn(3, ':');
            let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
            // A path with /.. lies above the root that is visible here: nothing can be made there.
            let visible = path.starts_with('/') && !path.split('/').any(|p| p == "..");
            visible.then(|| (controllers.to_string(), path.to_string()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_callers_own_groups_are_read_and_those_out_of_sight_are_left_out() {
        let text =
            "9:name=systemd:/a\n4:memory:/x:y/z\n2:cpu,cpuacct:/\n1:pids:/../..\n0::/user.slice\n\nbroken\n";
        let groups = parse_own_groups(text);
        assert_eq!(
            groups,
            [("name=systemd", "/a"), ("memory", "/x:y/z"), ("cpu,cpuacct", "/"), ("", "/user.slice")]
                .map(|(c, p)| (c.to_string(), p.to_string()))
        );
    }
}
