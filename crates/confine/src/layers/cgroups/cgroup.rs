//! A container's group: one directory, or under version 1 one for each hierarchy.
//!
//! Every path is walked below the top of its hierarchy with `openat2` and without symbolic links; what is used
//! afterwards are descriptors.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use oci_spec::runtime::LinuxResources;
use rustix::fs::{AtFlags, Gid, Uid};
use rustix::io::Errno;
use rustix::process::Pid;
use serde::{Deserialize, Serialize};

use super::dirs::{DIRECTORY, make_dirs, remove_dir, undo};
use super::hierarchies::{Hierarchy, Version, open_top};
use super::paths::Location;
use super::resources::{Purpose, Resources};
use super::settings::{self, Current, Failure, Setting};
use super::wanted::{Driver, Placement, Wanted};
use super::{device_program, devices, read, systemd, tree, write};
use crate::error::StartError;
use crate::plan::Layer;
use crate::resolve;

/// What of a container's group is written down, to be found again by [`Cgroup::open`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Record {
    /// How it was made.
    pub driver: Driver,
    /// The controllers are version 2's.
    pub unified: bool,
    /// It was made for somebody who is not root.
    pub rootless: bool,
    /// systemd's unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Its directories.
    pub groups: Vec<Place>,
}

/// One directory of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// Controllers of its hierarchy; of version 2 none are listed.
    pub controllers: Vec<String>,
    /// Where the hierarchy is mounted.
    pub top: PathBuf,
    /// The group, below that.
    pub path: PathBuf,
}

impl Place {
    /// The whole path.
    pub fn full(&self) -> PathBuf {
        self.top.join(&self.path)
    }
}

#[derive(Debug)]
pub(super) struct Dir {
    pub(super) place: Place,
    pub(super) fd: OwnedFd,
}

/// A container's group. Dropping it leaves the group.
#[derive(Debug)]
pub struct Cgroup {
    pub(super) record: Record,
    pub(super) dirs: Vec<Dir>,
    notes: Vec<String>,
    /// A unit of systemd's is made with the first process, and filled then.
    pending: Option<Box<Wanted>>,
}

/// When the list of devices is put in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Devices {
    /// With the limits.
    Now,
    /// By [`Cgroup::allow_devices_of`].
    Later,
}

pub(super) fn failed(what: String, errno: impl Into<Option<Errno>>) -> StartError {
    StartError::new(Layer::Cgroups, what, errno)
}

fn may_write(dir: BorrowedFd<'_>, file: &str) -> bool {
    rustix::fs::accessat(dir, file, rustix::fs::Access::WRITE_OK, AtFlags::EACCESS).is_ok()
}

/// Whether an ordinary user may go on without a group after this.
fn is_refusal(errno: Errno) -> bool {
    matches!(errno, Errno::ACCESS | Errno::PERM | Errno::ROFS)
}

impl Cgroup {
    /// Makes the group and sets its limits. An error leaves nothing behind.
    ///
    /// With the driver systemd nothing is made yet: a scope has a process from its beginning. [`Cgroup::adopt`] makes it.
    ///
    /// A group that is there already is used if it is empty. One with processes, or frozen, is refused: two containers
    /// in one group would end together, and a process born in a frozen group never runs.
    pub fn create(wanted: &Wanted) -> Result<Self, StartError> {
        let mut cgroup = Self::create_for_birth(wanted)?;
        match cgroup.allow_devices_of(wanted) {
            Ok(()) => Ok(cgroup),
            Err(error) => {
                let _ = cgroup.remove();
                Err(error)
            }
        }
    }

    /// The same without the list of devices where the container's process is born in the group: making that list takes the
    /// kernel long, and may be done while the process makes its mounts ([`Cgroup::allow_devices_of`]).
    pub fn create_for_birth(wanted: &Wanted) -> Result<Self, StartError> {
        let mut cgroup = Self {
            record: Record {
                driver: wanted.options.driver,
                unified: wanted.hierarchies.version == Version::V2,
                rootless: wanted.options.rootless,
                unit: None,
                groups: Vec::new(),
            },
            dirs: Vec::new(),
            notes: wanted.notes.clone(),
            pending: None,
        };
        match &wanted.placement {
            Placement::Nowhere => {}
            Placement::In(unit) => {
                cgroup.record.unit = Some(unit.name.clone());
                cgroup.pending = Some(Box::new(wanted.clone()));
            }
            Placement::At(location) => {
                let mut made = Vec::new();
                let devices = if wanted.is_birthplace() { Devices::Later } else { Devices::Now };
                let result =
                    cgroup.make(wanted, location, &mut made).and_then(|()| cgroup.fill(wanted, devices));
                if let Err(error) = result {
                    // Descriptors may be what is missing: those of the group make room for what takes it away.
                    cgroup.dirs.clear();
                    undo(&mut made, 0);
                    return Err(error);
                }
            }
        }
        Ok(cgroup)
    }

    /// What will be made, to be written down before it is: a creation that is cut off leaves nothing that nobody knows of.
    pub fn planned(wanted: &Wanted) -> Record {
        let place = |location: &Location| {
            let of = |hierarchy: &Hierarchy| Place {
                controllers: hierarchy.controllers.clone(),
                top: hierarchy.top.clone(),
                path: location.below(hierarchy),
            };
            wanted.hierarchies.list.iter().map(of).collect()
        };
        Record {
            driver: wanted.options.driver,
            unified: wanted.hierarchies.version == Version::V2,
            rootless: wanted.options.rootless,
            unit: None,
            groups: match &wanted.placement {
                Placement::At(location) => place(location),
                Placement::In(_) | Placement::Nowhere => Vec::new(),
            },
        }
    }

    /// Removes the directories of a group that is only planned, if there are any and they are empty: nothing says that
    /// they are the container's own. A process that was being put into it may still be ending: waits a little.
    pub fn remove_unused(&self) {
        let until = Instant::now() + Duration::from_secs(1);
        for dir in &self.dirs {
            while remove_dir(&dir.place) == Err(Errno::BUSY) && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }

    /// Opens the group of a container that was written down. Directories that are gone are left out.
    pub fn open(record: &Record) -> Result<Self, StartError> {
        let mut dirs = Vec::new();
        for place in &record.groups {
            let fd = open_top(&place.top).and_then(|top| resolve::no_symlinks(top, &place.path, DIRECTORY));
            match fd {
                Ok(fd) => dirs.push(Dir { place: place.clone(), fd }),
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(failed(format!("open {}", place.full().display()), errno)),
            }
        }
        Ok(Self { record: record.clone(), dirs, notes: Vec::new(), pending: None })
    }

    /// What to write down: complete after [`Cgroup::adopt`].
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// What could not be applied and did not have to be.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Whether the container has no group of its own.
    pub fn is_nowhere(&self) -> bool {
        self.dirs.is_empty() && self.pending.is_none()
    }

    /// The group of version 2 that a process can be born in (`CLONE_INTO_CGROUP`). Without one, [`Cgroup::adopt`] is to
    /// be called for a process that waits.
    pub fn birthplace(&self) -> Option<BorrowedFd<'_>> {
        if self.record.unified { self.dirs.first().map(|d| d.fd.as_fd()) } else { None }
    }

    /// The directory with a controller's files.
    pub(super) fn dir(&self, controller: &str) -> Option<&Dir> {
        match self.record.unified {
            true => self.dirs.first(),
            false => self.dirs.iter().find(|d| d.place.controllers.iter().any(|c| c == controller)),
        }
    }

    /// The directory by which processes are counted: any, but one that no one else changes.
    pub(super) fn census(&self) -> Option<&Dir> {
        ["devices", "pids", "freezer", "memory"]
            .iter()
            .find_map(|controller| self.dir(controller))
            .or_else(|| self.dirs.iter().find(|d| !d.place.controllers.is_empty()))
            .or(self.dirs.first())
    }

    fn make(
        &mut self,
        wanted: &Wanted,
        location: &Location,
        made: &mut Vec<Place>,
    ) -> Result<(), StartError> {
        let version = wanted.hierarchies.version;
        for hierarchy in &wanted.hierarchies.list {
            let place = Place {
                controllers: hierarchy.controllers.clone(),
                top: hierarchy.top.clone(),
                path: location.below(hierarchy),
            };
            let before = made.len();
            match make_dirs(&place, version, made) {
                // Somebody else's of that name, which the container can't be put into and did not ask for.
                Ok((fd, false))
                    if wanted.options.rootless
                        && !wanted.explicit
                        && !may_write(fd.as_fd(), "cgroup.procs") => {}
                Ok((fd, is_new)) => {
                    let dir = Dir { place, fd };
                    if !is_new && !hierarchy.is_optional(version) {
                        refuse_used(&dir, hierarchy)?;
                    }
                    self.dirs.push(dir);
                }
                Err(_) if hierarchy.is_optional(version) => {
                    undo(made, before);
                }
                // An ordinary user who named no group and wants no limit goes on without one.
                Err(errno)
                    if is_refusal(errno)
                        && (wanted.options.best_effort || (wanted.options.rootless && !wanted.explicit)) =>
                {
                    undo(made, before);
                    let (path, why) = (place.full(), crate::error::words(errno));
                    self.notes.push(format!("cgroups: {} could not be made: {why}", path.display()));
                }
                Err(errno) => {
                    let error =
                        failed(format!("make {}", place.full().display()), errno).field("linux.cgroupsPath");
                    return Err(match errno {
                        Errno::NOSPC | Errno::AGAIN => {
                            error.hint("the limit of cgroups below is reached (cgroup.max.descendants)")
                        }
                        Errno::OPNOTSUPP => {
                            error.hint("the group above is threaded, and no container can be in it")
                        }
                        _ => error.hint("name a group that is delegated to the caller, or none"),
                    });
                }
            }
        }
        self.record.groups = self.dirs.iter().map(|d| d.place.clone()).collect();
        Ok(())
    }

    /// Puts the list of devices in force that [`Cgroup::create_for_birth`] left out.
    pub fn allow_devices_of(&mut self, wanted: &Wanted) -> Result<(), StartError> {
        match wanted.resources.rules().filter(|_| wanted.is_birthplace()) {
            Some(rules) => self.allow_devices(rules),
            None => Ok(()),
        }
    }

    /// Sets what is wanted in a group that is made.
    fn fill(&mut self, wanted: &Wanted, devices: Devices) -> Result<(), StartError> {
        self.set(&wanted.settings, wanted.options.best_effort)?;
        if let (Some(rules), Devices::Now) = (wanted.resources.rules(), devices) {
            self.allow_devices(rules)?;
        }
        if let Some(owner) = wanted.owner {
            self.give_to(owner)?;
        }
        Ok(())
    }

    fn set(&mut self, settings: &[Setting], best_effort: bool) -> Result<(), StartError> {
        let dir = |controller: &str| self.dir(controller).map(|d| &d.fd);
        let Err(failures) = settings::apply(settings, dir) else { return Ok(()) };
        let path = |failure: &Failure| {
            self.dir(&failure.setting.controller).map(|d| d.place.full()).unwrap_or_default()
        };
        let errors: Vec<StartError> = failures
            .into_iter()
            .map(|failure| {
                let path = path(&failure);
                failure.into_error(&path)
            })
            .collect();
        if best_effort {
            self.notes.extend(errors.iter().map(ToString::to_string));
            return Ok(());
        }
        errors.into_iter().next().map_or(Ok(()), Err)
    }

    /// Puts the list of devices in force. An ordinary user can't, and reaches no device by it that the host's permissions
    /// would not give.
    fn allow_devices(&mut self, rules: &[devices::Rule]) -> Result<(), StartError> {
        let result = match (self.record.unified, self.dir("devices")) {
            (_, None) if self.record.rootless || self.dirs.is_empty() => return Ok(()),
            (_, None) => Err(Errno::NOENT),
            (true, Some(dir)) => device_program::install(dir.fd.as_fd(), rules),
            (false, Some(dir)) => allow_devices_v1(&dir.fd, rules),
        };
        match result {
            Err(errno) if self.record.rootless && is_refusal(errno) => Ok(()),
            Err(Errno::NOENT) if !self.record.unified => {
                Err(failed("limit devices: no hierarchy with the controller devices is mounted".into(), None)
                    .field("linux.resources.devices"))
            }
            Err(errno) => Err(failed("put the list of allowed devices in force".into(), errno)
                .field("linux.resources.devices")
                .hint("the kernel needs CONFIG_CGROUP_BPF for cgroup v2, and the caller CAP_BPF or CAP_SYS_ADMIN")),
            Ok(()) => Ok(()),
        }
    }

    /// Gives the group to a user, with the files that the kernel says can be given.
    fn give_to(&self, owner: u32) -> Result<(), StartError> {
        let Some(dir) = self.dirs.first().filter(|_| self.record.unified) else { return Ok(()) };
        let owner = Uid::from_raw(owner);
        let files = std::fs::read_to_string("/sys/kernel/cgroup/delegate")
            .unwrap_or_else(|_| "cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n".to_string());
        let give = |name: &str| {
            rustix::fs::chownat(
                &dir.fd,
                name,
                Some(owner),
                None::<Gid>,
                AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH,
            )
        };
        std::iter::once("")
            .chain(files.lines())
            .try_for_each(|name| match give(name) {
                Err(Errno::NOENT) => Ok(()),
                other => other,
            })
            .map_err(|e| failed(format!("give {} to user {}", dir.place.full().display(), owner.as_raw()), e))
    }

    /// Puts a process, which waits, into the group. With the driver systemd the first one makes the unit; an error then
    /// leaves none behind, nor the process, and the record is complete afterwards.
    pub fn adopt(&mut self, pid: i32) -> Result<(), StartError> {
        let Some(wanted) = self.pending.take() else {
            return self.dirs.iter().try_for_each(|dir| {
                match write(&dir.fd, "cgroup.procs", &pid.to_string()) {
                    // A hierarchy that limits nothing may be left out.
                    Err(_) if dir.place.controllers.iter().any(|c| c.starts_with("name=")) => Ok(()),
                    Err(_) if !self.record.unified && dir.place.controllers.is_empty() => Ok(()),
                    Err(errno) => {
                        Err(failed(format!("put process {pid} into {}", dir.place.full().display()), errno))
                    }
                    Ok(()) => Ok(()),
                }
            });
        };
        let Placement::In(unit) = &wanted.placement else { return Ok(()) };
        let path = systemd::start(&wanted, unit, pid)?;
        let result = self.fill_unit(&wanted, path, pid);
        if result.is_err() {
            // The unit is gone when nobody is in it.
            if let Some(pid) = Pid::from_raw(pid) {
                let _ = donjon_sys::process::kill(pid, libc::SIGKILL);
            }
            let _ = self.remove();
        }
        result
    }

    /// systemd makes the directories that it knows of; those of other hierarchies are made here, by the same path.
    fn fill_unit(&mut self, wanted: &Wanted, path: PathBuf, pid: i32) -> Result<(), StartError> {
        for hierarchy in &wanted.hierarchies.list {
            let place = Place {
                controllers: hierarchy.controllers.clone(),
                top: hierarchy.top.clone(),
                path: path.clone(),
            };
            match make_dirs(&place, wanted.hierarchies.version, &mut Vec::new()) {
                Ok((fd, _)) => {
                    self.record.groups.push(place.clone());
                    self.dirs.push(Dir { place, fd });
                }
                Err(_) if hierarchy.is_optional(wanted.hierarchies.version) => {}
                Err(errno) => return Err(failed(format!("open {}", place.full().display()), errno)),
            }
        }
        if !self.record.unified {
            self.adopt(pid)?;
        }
        self.fill(wanted, Devices::Now)
    }

    /// Changes limits: what `resources` names, and nothing else. Values are checked as at a start.
    pub fn update(&mut self, resources: &LinuxResources, best_effort: bool) -> Result<(), StartError> {
        let version = if self.record.unified { Version::V2 } else { Version::V1 };
        let resources = Resources::check(resources, version, Purpose::Update)
            .map_err(|e| failed(e.what, None).field(&e.field))?;
        let current = match self.dirs.first() {
            Some(dir) if self.record.unified => Current::read(&dir.fd),
            _ => Current::default(),
        };
        self.check_memory(&resources, &current)?;
        let settings = settings::of(&resources, &current);
        if let Some(unit) = &self.record.unit {
            systemd::change(unit, self.record.rootless, &resources, &current)?;
        }
        self.set(&settings, best_effort)?;
        match resources.rules() {
            Some(rules) => self.allow_devices(rules),
            None => Ok(()),
        }
    }

    /// What version 1's kernel refuses and version 2's answers by killing: a limit below what is in use
    /// (`checkBeforeUpdate`); and a limit of both that is below the limit of memory that stays.
    fn check_memory(&self, resources: &Resources, current: &Current) -> Result<(), StartError> {
        let Some(memory) = resources.spec().memory().filter(|_| self.record.unified) else { return Ok(()) };
        let positive = |n: Option<i64>| n.and_then(|n| u64::try_from(n).ok()).filter(|n| *n > 0);
        let there = current.memory_max.as_deref().and_then(|text| text.parse::<u64>().ok());
        if let (Some(swap), None, Some(limit)) = (positive(memory.swap()), positive(memory.limit()), there)
            && swap < limit
        {
            let what = format!("is below the group's limit of memory, {limit}, which is part of it");
            return Err(failed(what, None).field("linux.resources.memory.swap"));
        }
        if memory.check_before_update() != Some(true) {
            return Ok(());
        }
        let used = self.dirs.first().and_then(|d| super::read_number(&d.fd, "memory.current")).unwrap_or(0);
        for (field, value) in [("swap", memory.swap()), ("limit", memory.limit())] {
            if let Some(value) = positive(value).filter(|n| *n <= used) {
                let what = format!("set a limit of {value} while {used} bytes are in use");
                return Err(failed(what, Errno::BUSY).field(&format!("linux.resources.memory.{field}")));
            }
        }
        Ok(())
    }

    /// All processes of the group and of the groups in it.
    pub fn pids(&self) -> Vec<i32> {
        self.census().map(|dir| pids_in(dir.fd.as_fd()).unwrap_or_default()).unwrap_or_default()
    }

    /// The group for a further process of the container (`exec`).
    ///
    /// `sub` are groups in it, by the option `--cgroup`: a path, or under version 1 also `CONTROLLER,...:PATH`. Without
    /// any, under version 2, a container that divided its group holds its processes further below; then it is the group
    /// of `init`, its first process.
    pub fn for_exec(&self, sub: &[String], init: Option<i32>) -> Result<Self, StartError> {
        let mut record = self.record.clone();
        for text in sub {
            let (controllers, path) = parse_sub(text).ok_or_else(|| {
                failed(
                    format!("--cgroup {text}: it has the form PATH or CONTROLLER,...:PATH, without .."),
                    None,
                )
            })?;
            if !controllers.is_empty() && self.record.unified {
                return Err(failed(
                    format!("--cgroup {text}: cgroup v2 has one group for all controllers"),
                    None,
                ));
            }
            for controller in &controllers {
                if self.dir(controller).is_none() {
                    return Err(failed(format!("--cgroup {text}: there is no group of {controller}"), None));
                }
            }
            for place in &mut record.groups {
                if controllers.is_empty() || place.controllers.iter().any(|c| controllers.contains(c)) {
                    place.path.push(&path);
                }
            }
        }
        if let (true, [], Some(init), Some(dir)) = (record.unified, sub, init, self.dirs.first())
            && read(&dir.fd, "cgroup.subtree_control").is_some_and(|given| !given.trim().is_empty())
            && let Some(own) = group_of(init)
            && own.starts_with(&dir.place.path)
        {
            record.groups.iter_mut().for_each(|place| place.path.clone_from(&own));
        }
        let group = Self::open(&record)?;
        if group.dirs.len() < self.dirs.len() {
            return Err(failed(format!("--cgroup {}: there is no such group", sub.join(" ")), Errno::NOENT));
        }
        Ok(group)
    }

    /// Removes the group with all groups in it, and systemd's unit. Its processes must have ended, or be about to: waits
    /// a little for the kernel to let go of the last one. What is gone already is removed.
    pub fn remove(&mut self) -> Result<(), StartError> {
        // A scope whose group is gone goes by itself, so only what stays of the group makes this an error.
        let stopped = self.record.unit.as_ref().map_or(Ok(()), |u| systemd::stop(u, self.record.rootless));
        let until = Instant::now() + Duration::from_secs(2);
        // The descriptors are let go first: a caller that has no more of them must still be able to clean up.
        let places: Vec<Place> = std::mem::take(&mut self.dirs).into_iter().map(|dir| dir.place).collect();
        for place in &places {
            let empty =
                || tree::empty(resolve::no_symlinks(open_top(&place.top)?, &place.path, DIRECTORY)?.as_fd());
            loop {
                let result = empty().and_then(|()| remove_dir(place));
                match result {
                    Ok(()) | Err(Errno::NOENT | Errno::NODEV) => break,
                    Err(Errno::BUSY) if Instant::now() < until => {
                        std::thread::sleep(Duration::from_millis(2));
                    }
                    Err(errno) => {
                        stopped?;
                        let error = failed(format!("remove {}", place.full().display()), errno);
                        return Err(match errno {
                            Errno::BUSY => error.hint("a process is still in it: donjon kill --all"),
                            _ => error,
                        });
                    }
                }
            }
        }
        Ok(())
    }
}

/// Refuses a group that was there and is in use.
fn refuse_used(dir: &Dir, hierarchy: &Hierarchy) -> Result<(), StartError> {
    let path = dir.place.full();
    let refuse = |what: String| {
        failed(what, None).field("linux.cgroupsPath").hint("name another group, or remove this one first")
    };
    let pids = pids_in(dir.fd.as_fd()).map_err(|e| failed(format!("read {}", path.display()), e))?;
    if !pids.is_empty() {
        let (count, path) = (pids.len(), path.display());
        return Err(refuse(format!(
            "the container's group {path} is not empty: {count} processes are in it"
        )));
    }
    let frozen = match hierarchy.is_v2() {
        true => read(&dir.fd, "cgroup.freeze").is_some_and(|text| text.trim() == "1"),
        false => read(&dir.fd, "freezer.state").is_some_and(|text| text.trim() != "THAWED"),
    };
    if frozen {
        return Err(refuse(format!("the container's group {} is frozen", path.display())));
    }
    Ok(())
}

/// Brings version 1's list from what it is to what the rules say, and proves it.
fn allow_devices_v1(dir: &OwnedFd, rules: &[devices::Rule]) -> Result<(), Errno> {
    let told = || {
        let text = super::read_all(dir, "devices.list").ok_or(Errno::NOENT)?;
        devices::Exceptions::parse(&text).ok_or(Errno::INVAL)
    };
    let wanted = devices::Exceptions::of(rules).map_err(|_| Errno::INVAL)?;
    for (file, line) in told()?.way_to(&wanted) {
        write(dir, file, &line)?;
    }
    if wanted.are(&told()?) { Ok(()) } else { Err(Errno::PERM) }
}

/// Processes of a group and of the groups in it.
pub(super) fn pids_in(dir: BorrowedFd<'_>) -> Result<Vec<i32>, Errno> {
    let mut pids = Vec::new();
    tree::visit(dir, &mut |dir| {
        // A threaded group (EOPNOTSUPP) lists its processes in the one above.
        let text = super::read_all(dir, "cgroup.procs").unwrap_or_default();
        pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
        Ok(())
    })?;
    pids.sort_unstable();
    pids.dedup();
    Ok(pids)
}

/// The group of version 2 of a process, below the top.
fn group_of(pid: i32) -> Option<PathBuf> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let plain = Path::new(path).components().all(|c| matches!(c, std::path::Component::Normal(_)));
    plain.then(|| PathBuf::from(path))
}

/// Reads `PATH` or `CONTROLLER,...:PATH`.
fn parse_sub(text: &str) -> Option<(Vec<String>, PathBuf)> {
    let (controllers, path) = match text.split_once(':') {
        Some((controllers, path)) => (controllers.split(',').map(str::to_string).collect(), path),
        None => (Vec::new(), text),
    };
    let path = Path::new(path.trim_start_matches('/'));
    let plain = path.iter().all(|name| name != OsStr::new("..") && name != OsStr::new("."));
    (plain && controllers.iter().all(|c| !c.is_empty())).then(|| (controllers, path.to_path_buf()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written_and_nothing_else_is() {
        let record = Record {
            driver: Driver::Systemd,
            unified: true,
            rootless: false,
            unit: Some("libpod-1.scope".into()),
            groups: vec![Place { controllers: vec![], top: "/sys/fs/cgroup".into(), path: "a/b".into() }],
        };
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record);
        assert!(text.contains(r#""driver":"systemd""#), "{text}");
        assert!(serde_json::from_str::<Record>(&text.replace("unified", "other")).is_err());
    }

    #[test]
    fn sub_groups_are_paths_with_or_without_controllers() {
        assert_eq!(parse_sub("a/b"), Some((vec![], "a/b".into())));
        assert_eq!(parse_sub("cpu,memory:/a"), Some((vec!["cpu".into(), "memory".into()], "a".into())));
        for bad in ["../x", "cpu:../x", "a/../../b", ":x", "cpu,:x"] {
            assert_eq!(parse_sub(bad), None, "{bad}");
        }
    }
}
