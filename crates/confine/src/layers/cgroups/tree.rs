//! Walking a group and all groups in it.
//!
//! A container that was given its group can nest groups deeper than any path or table of descriptors goes. So the walk
//! holds one descriptor, goes down by one name and up by `..`, which a cgroup file system never leads astray: its
//! directories can't be moved to another parent.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW);

/// Calls `visit` with the group and each one in it, from above to below.
pub(super) fn visit(
    group: BorrowedFd<'_>,
    visit: &mut dyn FnMut(BorrowedFd<'_>) -> Result<(), Errno>,
) -> Result<(), Errno> {
    walk(group, visit, &mut |_, _| Ok(()))
}

/// Removes all groups in a group, which stays.
pub(super) fn empty(group: BorrowedFd<'_>) -> Result<(), Errno> {
    walk(group, &mut |_| Ok(()), &mut |above, name| match rustix::fs::unlinkat(
        above,
        name,
        AtFlags::REMOVEDIR,
    ) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno),
    })
}

fn walk(
    group: BorrowedFd<'_>,
    enter: &mut dyn FnMut(BorrowedFd<'_>) -> Result<(), Errno>,
    leave: &mut dyn FnMut(BorrowedFd<'_>, &CString) -> Result<(), Errno>,
) -> Result<(), Errno> {
    enter(group)?;
    let mut at = rustix::fs::openat(group, c".", DIRECTORY, Mode::empty())?;
    let mut waiting: Vec<Vec<CString>> = vec![below(&at)?];
    let mut names: Vec<CString> = Vec::new();
    while let Some(list) = waiting.last_mut() {
        match list.pop() {
            Some(name) => match rustix::fs::openat(&at, name.as_c_str(), DIRECTORY, Mode::empty()) {
                Ok(next) => {
                    gone_is_fine(enter(next.as_fd()))?;
                    waiting.push(gone_is_fine(below(&next))?.unwrap_or_default());
                    names.push(name);
                    at = next;
                }
                Err(Errno::NOENT | Errno::NODEV) => {}
                Err(errno) => return Err(errno),
            },
            None => {
                waiting.pop();
                let Some(name) = names.pop() else { break };
                at = rustix::fs::openat(&at, c"..", DIRECTORY, Mode::empty())?;
                leave(at.as_fd(), &name)?;
            }
        }
    }
    Ok(())
}

/// A group that was removed meanwhile holds nothing.
fn gone_is_fine<T>(result: Result<T, Errno>) -> Result<Option<T>, Errno> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Errno::NOENT | Errno::NODEV) => Ok(None),
        Err(errno) => Err(errno),
    }
}

fn below(dir: &OwnedFd) -> Result<Vec<CString>, Errno> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if entry.file_type() == FileType::Directory && name != c"." && name != c".." {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_deeper_than_the_table_of_descriptors_is_emptied() {
        let top = std::env::temp_dir().join(format!("donjon-tree-{}", std::process::id()));
        std::fs::create_dir(&top).unwrap();
        let dir = rustix::fs::open(&top, DIRECTORY, Mode::empty()).unwrap();
        let mut at = rustix::fs::openat(&dir, c".", DIRECTORY, Mode::empty()).unwrap();
        let long = "x".repeat(100);
        for _ in 0..1500 {
            rustix::fs::mkdirat(&at, c"other", Mode::RWXU).unwrap();
            rustix::fs::mkdirat(&at, long.as_str(), Mode::RWXU).unwrap();
            at = rustix::fs::openat(&at, long.as_str(), DIRECTORY, Mode::empty()).unwrap();
        }
        let mut count = 0;
        visit(dir.as_fd(), &mut |_| {
            count += 1;
            Ok(())
        })
        .unwrap();
        assert_eq!(count, 3001);
        empty(dir.as_fd()).unwrap();
        std::fs::remove_dir(&top).unwrap();
    }
}
