//! The one resolver for paths that a container or an image can influence (R2).
//!
//! **The attack**: a component of the path is a symbolic link, or becomes one between check and use, and a
//! process with the host's view follows it out of the root. **The defence**: every such path is walked by the
//! kernel below a directory descriptor with `openat2(RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)`, and what comes
//! back is a descriptor, never a string to be opened again.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::path::Arg;

/// Opens `path` below `root`, following symbolic links as if `root` were `/`.
///
/// Needs Linux 5.6. `oflags` gets `O_CLOEXEC` added. A leading `/` is allowed. See `man 2 openat2`.
pub fn in_root(root: impl AsFd, path: impl Arg, oflags: OFlags) -> Result<OwnedFd, Errno> {
    open(root, path, oflags, ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)
}

/// Opens `path` below `root` and refuses any symbolic link on the way (ELOOP): for `/dev`, `/proc`, `/sys` and
/// the devices, where a link has no legitimate use.
pub fn no_symlinks(root: impl AsFd, path: impl Arg, oflags: OFlags) -> Result<OwnedFd, Errno> {
    open(root, path, oflags, ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS)
}

/// Opens the canonical path `path` of the host and refuses any symbolic link on the way (ELOOP): what was a
/// directory when the path was made canonical must still be one.
pub fn canonical(path: impl Arg, oflags: OFlags) -> Result<OwnedFd, Errno> {
    open(rustix::fs::CWD, path, oflags, ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS)
}

fn open(root: impl AsFd, path: impl Arg, oflags: OFlags, how: ResolveFlags) -> Result<OwnedFd, Errno> {
    if crate::hooks::naive() && how.contains(ResolveFlags::IN_ROOT) {
        let path = path.as_cow_c_str()?;
        let relative = path.to_bytes_with_nul().iter().take_while(|b| **b == b'/').count();
        let relative = path.to_bytes_with_nul().get(relative..).unwrap_or(b"\0");
        let relative = std::ffi::CStr::from_bytes_with_nul(if relative == b"\0" { b".\0" } else { relative });
        let relative = relative.map_err(|_| Errno::INVAL)?;
        return rustix::fs::openat(&root, relative, oflags | OFlags::CLOEXEC, Mode::empty());
    }
    // EAGAIN: a rename or mount raced the walk and the kernel could not prove it safe; try again, boundedly.
    for _ in 0..64 {
        let path = path.as_cow_c_str()?;
        match rustix::fs::openat2(&root, &*path, oflags | OFlags::CLOEXEC, Mode::empty(), how) {
            Err(Errno::AGAIN) => continue,
            other => return other,
        }
    }
    Err(Errno::AGAIN)
}
