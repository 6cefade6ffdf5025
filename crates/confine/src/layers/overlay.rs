//! The overlay: the image below, read-only; what the program writes above, in RAM.
//!
//! **Stops**: a program that changes its image for the next run or for others; whatever it writes is gone with
//! it, and is limited in size. Lower layers are cloned read-only, `nosuid`, `nodev`; `userxattr` keeps the
//! overlay's marks in attributes that need no privilege, which also switches `metacopy` and `redirect_dir` off
//! (R17).
//!
//! **Can't stop**: reading what is in the image. Pages of shared layers are shared with other containers (R29).
//!
//! Needs overlayfs in user namespaces: Linux 5.11.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};

use donjon_sys::mount::{SetAttr, attr, mount_setattr};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use crate::child::Context;
use crate::plan::{OverlayAt, Slot};
use crate::resolve;

use super::rootfs;

/// Names below the scratch file system: one directory per overlay, named by its tag, with these in it.
const LOWER: &CStr = c"l";
const UPPER: &CStr = c"u";
const WORK: &CStr = c"w";

/// The directory of overlay `tag` in the scratch file system, made when first asked for.
fn place(ctx: &Context<'_>, tag: &CStr) -> Result<OwnedFd, Errno> {
    let scratch = ctx.slots.get(Slot::SCRATCH)?;
    match rustix::fs::mkdirat(scratch, tag, Mode::from_raw_mode(0o755)) {
        Ok(()) => {
            let dir = resolve::no_symlinks(scratch, tag, OFlags::RDONLY | OFlags::DIRECTORY)?;
            for name in [LOWER, UPPER, WORK] {
                rustix::fs::mkdirat(&dir, name, Mode::from_raw_mode(0o755))?;
            }
            Ok(dir)
        }
        Err(Errno::EXIST) => resolve::no_symlinks(scratch, tag, OFlags::RDONLY | OFlags::DIRECTORY),
        Err(errno) => Err(errno),
    }
}

/// Makes directories of the container's own in the upper layer, where the lower ones belong to somebody else.
pub(crate) fn own_directories(ctx: &Context<'_>, tag: &CStr, dirs: &[(CString, u32)]) -> Result<(), Errno> {
    let place = place(ctx, tag)?;
    let upper = resolve::no_symlinks(&place, UPPER, OFlags::PATH | OFlags::DIRECTORY)?;
    for (path, mode) in dirs {
        // The directories above come first in the list, so one call makes each.
        match rustix::fs::mkdirat(&upper, path.as_c_str(), Mode::from_raw_mode(*mode)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Makes `path` absent in the overlay: a whiteout in the upper layer, which can be removed by nobody (removing it
/// would mean removing a file that is not there).
pub(crate) fn hide(ctx: &Context<'_>, tag: &CStr, path: &CStr) -> Result<(), Errno> {
    let place = place(ctx, tag)?;
    let upper = resolve::no_symlinks(&place, UPPER, OFlags::PATH | OFlags::DIRECTORY)?;
    let (dir, name) = parent(upper, path)?;
    rustix::fs::mknodat(&dir, name, FileType::CharacterDevice, Mode::empty(), 0)
}

/// Puts a file of donjon's own over the image's.
pub(crate) fn supply(ctx: &Context<'_>, tag: &CStr, path: &CStr, content: &CStr) -> Result<(), Errno> {
    let place = place(ctx, tag)?;
    let upper = resolve::no_symlinks(&place, UPPER, OFlags::PATH | OFlags::DIRECTORY)?;
    let (dir, name) = parent(upper, path)?;
    let file = rustix::fs::openat(
        &dir,
        name,
        OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC,
        Mode::from_raw_mode(0o644),
    )?;
    let mut rest = content.to_bytes();
    while !rest.is_empty() {
        let n = rustix::io::write(&file, rest)?;
        rest = rest.get(n..).unwrap_or_default();
    }
    Ok(())
}

/// The directory that `path` lies in, made if it is missing, and the last component.
fn parent(mut dir: OwnedFd, path: &CStr) -> Result<(OwnedFd, &CStr), Errno> {
    let bytes = path.to_bytes_with_nul();
    let mut buffer = [0u8; 4097];
    let mut start = 0;
    for (i, _) in bytes.iter().enumerate().filter(|(_, b)| **b == b'/') {
        let name = rootfs::c_str(&mut buffer, bytes.get(start..i).unwrap_or_default())?;
        match rustix::fs::mkdirat(&dir, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
        dir = resolve::no_symlinks(&dir, name, OFlags::PATH | OFlags::DIRECTORY)?;
        start = i + 1;
    }
    let name = bytes.get(start..).and_then(|b| CStr::from_bytes_with_nul(b).ok()).ok_or(Errno::INVAL)?;
    Ok((dir, name))
}

/// Mounts the overlay. All three directories are named by donjon (R21) and found from the current directory, so
/// no path of the host's or the image's is ever parsed as an option.
pub(crate) fn overlay(ctx: &mut Context<'_>, source: usize, tag: &CStr, at: &OverlayAt) -> Result<(), Errno> {
    let lower = rootfs::clone_source(ctx, source, false)?;
    let change = SetAttr { set: attr::RDONLY | attr::NOSUID | attr::NODEV, ..SetAttr::default() };
    mount_setattr(lower.as_fd(), c"", false, change, None)?;
    let mode = rustix::fs::fstat(&lower)?.st_mode & 0o7777;
    let place = place(ctx, tag)?;
    rootfs::move_to(&lower, &place, LOWER)?;
    if mode != 0o755 {
        rustix::fs::chmodat(&place, UPPER, Mode::from_raw_mode(mode), rustix::fs::AtFlags::empty())?;
    }
    rustix::process::fchdir(&place)?;
    let fs = rustix::mount::fsopen(c"overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_set_string(fs.as_fd(), c"source", c"donjon")?;
    rustix::mount::fsconfig_set_string(fs.as_fd(), c"lowerdir", LOWER)?;
    rustix::mount::fsconfig_set_string(fs.as_fd(), c"upperdir", UPPER)?;
    rustix::mount::fsconfig_set_string(fs.as_fd(), c"workdir", WORK)?;
    rustix::mount::fsconfig_set_flag(fs.as_fd(), c"userxattr")?;
    rustix::mount::fsconfig_create(fs.as_fd())?;
    let attrs = ctx.weakened(attr::NOSUID | attr::NODEV);
    let mount = rustix::mount::fsmount(
        fs.as_fd(),
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::from_bits_retain(attrs as u32),
    )?;
    rustix::process::chdir(c"/")?;
    match at {
        OverlayAt::Root => rootfs::place_root(ctx, mount, attrs),
        OverlayAt::Top(name) => {
            let target = rootfs::mount_point(ctx, name, rootfs::Kind::Dir, false)?;
            rootfs::attach(ctx, &mount, &target, attrs)?;
            ctx.remember_own_ram(mount.as_fd())
        }
    }
}
