//! `tmpcopyup`: a RAM file system that begins with what the image has at its place.
//!
//! **The attack**: a link in the image leads the copy to a file of the host, or a name is exchanged while it is copied.
//! **The defence**: each name is opened once below its directory's descriptor, never through a link, and what was opened
//! is what is copied. Links are copied as links.
//!
//! **Can't stop**: an image with much at that place; the file system's own size is the limit.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, RawDir, Stat, Uid};
use rustix::io::Errno;

/// Directories below each other that are copied; each takes a part of the stack.
const DEPTH: usize = 64;

/// Copies everything in directory `from` to directory `to`, with owners and modes.
pub(super) fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<(), Errno> {
    let stat = rustix::fs::fstat(from)?;
    // What is given is a place alone (O_PATH), which has no owner to be changed.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let to = rustix::fs::openat(to, c".", flags, Mode::empty())?;
    rustix::fs::fchown(&to, owner(&stat), group(&stat))?;
    directory(from, to.as_fd(), DEPTH)
}

fn owner(stat: &Stat) -> Option<Uid> {
    Some(Uid::from_raw(stat.st_uid))
}

fn group(stat: &Stat) -> Option<Gid> {
    Some(Gid::from_raw(stat.st_gid))
}

fn directory(from: BorrowedFd<'_>, to: BorrowedFd<'_>, depth: usize) -> Result<(), Errno> {
    let deeper = depth.checked_sub(1).ok_or(Errno::NAMETOOLONG)?;
    let listed =
        rustix::fs::openat(from, c".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let mut buffer = [MaybeUninit::uninit(); 2048];
    let mut entries = RawDir::new(&listed, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name();
        if !matches!(name.to_bytes(), b"." | b"..") {
            one(from, to, name, deeper)?;
        }
    }
    Ok(())
}

fn one(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr, depth: usize) -> Result<(), Errno> {
    let stat = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
    let below = OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            rustix::fs::mkdirat(to, name, Mode::from_raw_mode(0o700))?;
            let from =
                rustix::fs::openat(from, name, OFlags::RDONLY | OFlags::DIRECTORY | below, Mode::empty())?;
            let to = rustix::fs::openat(to, name, OFlags::RDONLY | OFlags::DIRECTORY | below, Mode::empty())?;
            directory(from.as_fd(), to.as_fd(), depth)?;
            rustix::fs::fchown(&to, owner(&stat), group(&stat))?;
            rustix::fs::fchmod(&to, mode)
        }
        FileType::RegularFile => {
            let from =
                rustix::fs::openat(from, name, OFlags::RDONLY | OFlags::NONBLOCK | below, Mode::empty())?;
            if FileType::from_raw_mode(rustix::fs::fstat(&from)?.st_mode) != FileType::RegularFile {
                return Err(Errno::STALE);
            }
            let create = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | below;
            let to = rustix::fs::openat(to, name, create, Mode::from_raw_mode(0o600))?;
            while rustix::fs::sendfile(&to, &from, None, 1 << 20)? > 0 {}
            rustix::fs::fchown(&to, owner(&stat), group(&stat))?;
            // Last: a change of the owner takes set-user-id bits away.
            rustix::fs::fchmod(&to, mode)
        }
        FileType::Symlink => {
            let mut target = [MaybeUninit::uninit(); 4097];
            let (target, _) = rustix::fs::readlinkat_raw(from, name, &mut target)?;
            let mut buffer = [0u8; 4097];
            rustix::fs::symlinkat(super::rootfs::c_str(&mut buffer, target)?, to, name)?;
            rustix::fs::chownat(to, name, owner(&stat), group(&stat), AtFlags::SYMLINK_NOFOLLOW)
        }
        // Nobody listens to a socket's copy.
        FileType::Socket => Ok(()),
        kind => {
            rustix::fs::mknodat(to, name, kind, mode, stat.st_rdev)?;
            rustix::fs::chownat(to, name, owner(&stat), group(&stat), AtFlags::SYMLINK_NOFOLLOW)
        }
    }
}
