//! The directories of a group: made along their path, and removed.
//!
//! Each step of a path is one descriptor, opened without symbolic links below the top of its hierarchy.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::cgroup::Place;
use super::hierarchies::{Version, open_top};
use super::{read, write};
use crate::resolve;

/// How a directory of a hierarchy is opened.
pub(super) const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW);

/// Opens the directories of a path below the top, and makes those that are not there. Returns the last, and whether it is
/// new.
pub(super) fn make_dirs(
    place: &Place,
    version: Version,
    made: &mut Vec<Place>,
) -> Result<(OwnedFd, bool), Errno> {
    let mut at = open_top(&place.top)?;
    let mut path = PathBuf::new();
    let mut is_new = false;
    for name in &place.path {
        if version == Version::V2 {
            give_controllers(&at);
        }
        path.push(name);
        is_new = match rustix::fs::mkdirat(&at, name, Mode::from_raw_mode(0o755)) {
            Ok(()) => {
                made.push(Place { path: path.clone(), ..place.clone() });
                true
            }
            Err(Errno::EXIST) => false,
            // The directory may be there without being the caller's to change what is above it.
            Err(errno) => match resolve::no_symlinks(&at, name, DIRECTORY) {
                Ok(_) => false,
                Err(_) => return Err(errno),
            },
        };
        let next = resolve::no_symlinks(&at, name, DIRECTORY)?;
        if place.controllers.iter().any(|c| c == "cpuset") {
            copy_cpuset(&at, &next)?;
        }
        at = next;
    }
    if version == Version::V2 {
        let kind = read(&at, "cgroup.type").unwrap_or_default();
        if kind.trim() != "domain" && kind.trim() != "domain threaded" {
            return Err(Errno::OPNOTSUPP);
        }
    }
    Ok((at, is_new))
}

/// Removes the directories that were made after the first ones, the last first.
pub(super) fn undo(made: &mut Vec<Place>, keep: usize) {
    for place in made.drain(keep..).rev() {
        let _ = remove_dir(&place);
    }
}

/// Gives all controllers to the groups in a directory. What can't be given (processes are in it, it is somebody else's)
/// shows when a limit is written.
fn give_controllers(dir: &OwnedFd) {
    let words = |name| read(dir, name).unwrap_or_default();
    let (all, given) = (words("cgroup.controllers"), words("cgroup.subtree_control"));
    let missing: Vec<String> = all
        .split_whitespace()
        .filter(|c| !given.split_whitespace().any(|g| g == *c))
        .map(|c| format!("+{c}"))
        .collect();
    if missing.is_empty() || write(dir, "cgroup.subtree_control", &missing.join(" ")).is_ok() {
        return;
    }
    for controller in missing {
        let _ = write(dir, "cgroup.subtree_control", &controller);
    }
}

/// A new group of version 1's cpuset has no processors and no memory, and takes no process.
fn copy_cpuset(above: &OwnedFd, dir: &OwnedFd) -> Result<(), Errno> {
    for name in ["cpuset.cpus", "cpuset.mems"] {
        if read(dir, name).is_some_and(|text| text.trim().is_empty()) {
            write(dir, name, read(above, name).unwrap_or_default().trim())?;
        }
    }
    Ok(())
}

/// Removes a group that nothing is in.
pub(super) fn remove_dir(place: &Place) -> Result<(), Errno> {
    let (Some(above), Some(name)) = (place.path.parent(), place.path.file_name()) else {
        return Err(Errno::INVAL);
    };
    let top = open_top(&place.top)?;
    let above = match above.as_os_str().is_empty() {
        true => top,
        false => resolve::no_symlinks(top, above, DIRECTORY)?,
    };
    rustix::fs::unlinkat(above, name, AtFlags::REMOVEDIR)
}
