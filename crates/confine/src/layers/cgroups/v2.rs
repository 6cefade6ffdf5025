//! Version 2, the unified hierarchy.
//!
//! A group that gives controllers to others holds no processes itself, so a container's group lies beside its maker's
//! or, when the maker's own group is all that was delegated (`Delegate=yes`), below it, and the maker steps aside
//! into a group of its own first.

use std::path::Path;

use rustix::fs::{Access, AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

use super::{Group, Groups, Hierarchy, failed, house, own_groups, read, write};
use crate::error::StartError;

const TOP: &str = "/sys/fs/cgroup";
/// What the maker steps aside into.
const ASIDE: &str = "donjon-warden";
const CONTROLLERS: [&str; 3] = ["memory", "cpu", "pids"];

/// Whether the caller may make a group here and move itself and its children into it.
fn writable(dir: &Path) -> bool {
    let may = |path: &Path| rustix::fs::accessat(CWD, path, Access::WRITE_OK, AtFlags::EACCESS).is_ok();
    may(dir) && may(&dir.join("cgroup.procs"))
}

/// Whether the caller may give controllers to the groups in this one: it holds no processes itself.
fn can_give(dir: &Path) -> bool {
    rustix::fs::accessat(CWD, dir.join("cgroup.subtree_control"), Access::WRITE_OK, AtFlags::EACCESS).is_ok()
        && words(&dir.join("cgroup.procs")).is_empty()
}

/// Whether systemd marked a group as delegated (`systemd.resource-control(5)`, `Delegate=`).
fn is_delegated(dir: &Path) -> bool {
    let mut value = [0u8; 1];
    rustix::fs::getxattr(dir, c"user.delegate", &mut value).is_ok_and(|n| n == 1) && value == *b"1"
}

fn words(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).unwrap_or_default().split_whitespace().map(str::to_string).collect()
}

/// Finds where a group can be made: beside the caller's own, or below it.
pub(super) fn probe() -> Hierarchy {
    let Some((_, path)) = own_groups().into_iter().find(|(controllers, _)| controllers.is_empty()) else {
        return Hierarchy::None;
    };
    let own = Path::new(TOP).join(path.trim_start_matches('/'));
    let given = |parent: &Path, file: &str| -> Vec<String> {
        words(&parent.join(file)).into_iter().filter(|c| CONTROLLERS.contains(&c.as_str())).collect()
    };
    let alone = || writable(&own) && words(&own.join("cgroup.procs")).len() <= 1;
    let aside = || Hierarchy::V2 {
        controllers: given(&own, "cgroup.controllers"),
        parent: own.clone(),
        step_aside: true,
    };
    // What systemd delegated is the caller's to divide; the group above it is systemd's, which may take controllers away
    // again when no unit of its own needs them.
    if is_delegated(&own) && alone() {
        return aside();
    }
    if own == Path::new(TOP) && !own.join("cgroup.type").exists() {
        // The root of the hierarchy, and only it, may hold processes and give controllers; it alone has no type.
        return match writable(&own) {
            true => Hierarchy::V2 {
                controllers: given(&own, "cgroup.controllers"),
                parent: own.clone(),
                step_aside: false,
            },
            false => Hierarchy::None,
        };
    }
    // The maker of an earlier container of the same session stepped aside: its siblings lie in the group above.
    if let Some(parent) = own.parent().filter(|p| p.starts_with(TOP) && writable(p)) {
        let mut controllers = given(parent, "cgroup.subtree_control");
        if parent == Path::new(TOP) || (controllers.is_empty() && can_give(parent)) {
            controllers = given(parent, "cgroup.controllers");
        }
        if !controllers.is_empty() || !writable(&own) {
            return Hierarchy::V2 { parent: parent.to_path_buf(), controllers, step_aside: false };
        }
    }
    if alone() { aside() } else { Hierarchy::None }
}

pub(super) fn create(
    group: &Group,
    parent: &Path,
    controllers: &[String],
    step_aside: bool,
) -> Result<Groups, StartError> {
    if step_aside {
        aside(parent)?;
    }
    give(parent, controllers);
    let house = house(parent)?;
    if house != parent {
        give(&house, controllers);
    }
    let mut groups = Groups { dirs: Vec::new(), v2: true };
    let path = house.join(&group.name);
    groups
        .add(String::new(), &path, Some(Mode::from_raw_mode(0o755)))
        .map_err(|e| failed(format!("make {}", path.display()), e))?;
    match fill(group, &groups, &path) {
        Ok(()) => Ok(groups),
        Err(error) => {
            let _ = groups.remove();
            Err(error)
        }
    }
}

/// Gives controllers to the groups below. They are given already where the directory is somebody else's; what can't be
/// given shows when the limit is written.
fn give(dir: &Path, controllers: &[String]) {
    let Ok(dir) = rustix::fs::open(dir, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) else { return };
    let there = read(&dir, "cgroup.subtree_control").unwrap_or_default();
    for controller in controllers.iter().filter(|c| !there.split_whitespace().any(|t| t == c.as_str())) {
        let _ = write(&dir, "cgroup.subtree_control", &format!("+{controller}"));
    }
}

/// Moves the caller out of the group that is to hold the container's.
fn aside(own: &Path) -> Result<(), StartError> {
    let path = own.join(ASIDE);
    match rustix::fs::mkdir(&path, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(failed(format!("make {}", path.display()), errno)),
    }
    std::fs::write(path.join("cgroup.procs"), "0").map_err(|e| {
        failed(format!("step aside into {}", path.display()), Errno::from_io_error(&e).unwrap_or(Errno::IO))
    })
}

fn fill(group: &Group, groups: &Groups, path: &Path) -> Result<(), StartError> {
    let Some(dir) = groups.dirs.first() else { return Ok(()) };
    let l = &group.limits;
    let mut settings: Vec<(&str, String, bool)> = Vec::new();
    settings.extend(l.memory.map(|n| ("memory.max", n.to_string(), false)));
    // Here swap is counted for itself.
    let swap = l.memory_and_swap.map(|both| match both {
        u64::MAX => "max".to_string(),
        both => both.saturating_sub(l.memory.unwrap_or(0)).to_string(),
    });
    settings.extend(swap.map(|value| ("memory.swap.max", value, true)));
    if l.memory.is_some() {
        // Half of a container is no use: all of it ends, and the cause is clear.
        settings.push(("memory.oom.group", "1".to_string(), true));
    }
    settings.extend(l.cpu.map(|(quota, period)| ("cpu.max", format!("{quota} {period}"), false)));
    settings.extend(l.pids.map(|n| ("pids.max", n.to_string(), false)));
    for (name, value, optional) in settings {
        match write(&dir.dir, name, &value) {
            Err(Errno::NOENT) if optional => {}
            other => other.map_err(|e| failed(format!("write {value} to {}/{name}", path.display()), e))?,
        }
    }
    Ok(())
}
