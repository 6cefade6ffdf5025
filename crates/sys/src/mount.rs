//! The mount calls that rustix lacks: `mount_setattr`, `listmount`, `statmount`, `pivot_root` by the current
//! directory.

use std::ffi::CStr;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

use crate::clone::check;

/// Mount attribute bits of `linux/mount.h`.
pub mod attr {
    /// Read-only.
    pub const RDONLY: u64 = 0x1;
    /// Set-user-id bits and file capabilities have no effect.
    pub const NOSUID: u64 = 0x2;
    /// Device nodes can't be opened.
    pub const NODEV: u64 = 0x4;
    /// Nothing can be executed.
    pub const NOEXEC: u64 = 0x8;
    /// The three bits that hold the access-time mode.
    pub const ATIME: u64 = 0x70;
    /// Access times are not kept.
    pub const NOATIME: u64 = 0x10;
    /// Access times are kept always.
    pub const STRICTATIME: u64 = 0x20;
    /// Access times of directories are not kept.
    pub const NODIRATIME: u64 = 0x80;
    /// Ids are shifted by a user namespace's map.
    pub const IDMAP: u64 = 0x0010_0000;
    /// Symbolic links are not followed.
    pub const NOSYMFOLLOW: u64 = 0x0020_0000;
}

#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns_fd: u64,
}

/// How `mount_setattr` is to change a mount.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SetAttr {
    /// Bits of [`attr`] to set.
    pub set: u64,
    /// Bits of [`attr`] to clear.
    pub clear: u64,
    /// `MS_PRIVATE`, `MS_SLAVE`, `MS_SHARED`, `MS_UNBINDABLE`, or 0 to leave it.
    pub propagation: u64,
}

/// Changes the mount at `path` below `dir` (an empty path: the mount of `dir` itself); `recursive` includes all
/// mounts below. `userns` is needed with [`attr::IDMAP`].
///
/// Needs Linux 5.12 and `CAP_SYS_ADMIN` over the mount namespace. See `man 2 mount_setattr`.
pub fn mount_setattr(
    dir: BorrowedFd<'_>,
    path: &CStr,
    recursive: bool,
    change: SetAttr,
    userns: Option<BorrowedFd<'_>>,
) -> Result<(), Errno> {
    let attr = MountAttr {
        set: change.set,
        clear: change.clear,
        propagation: change.propagation,
        userns_fd: userns.map_or(0, |fd| fd.as_raw_fd() as u64),
    };
    let mut flags = libc::AT_NO_AUTOMOUNT | libc::AT_SYMLINK_NOFOLLOW;
    if path.is_empty() {
        flags |= libc::AT_EMPTY_PATH;
    }
    if recursive {
        flags |= libc::AT_RECURSIVE;
    }
    // SAFETY: `path` is NUL-terminated, `attr` a valid mount_attr of the size passed; the kernel only reads.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            dir.as_raw_fd(),
            path.as_ptr(),
            flags,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    })?;
    Ok(())
}

/// Makes the current directory the root of this mount namespace and detaches the old root, which then lies on top of it,
/// with everything below.
///
/// Needs `CAP_SYS_ADMIN` over the mount namespace; the current directory must be the root of a mount that is
/// not locked, and the old root must not be the initial ramfs. See `man 2 pivot_root`, "pivot_root(".", ".")".
pub fn pivot_to_current_directory() -> Result<(), Errno> {
    // SAFETY: both arguments are NUL-terminated.
    check(unsafe { libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()) })?;
    rustix::mount::unmount(c".", rustix::mount::UnmountFlags::DETACH)?;
    rustix::process::chdir(c"/")
}

/// `struct mnt_id_req` of Linux 6.8.
#[repr(C)]
struct MntIdReq {
    size: u32,
    spare: u32,
    mnt_id: u64,
    param: u64,
}

const LSMT_ROOT: u64 = u64::MAX;
const SYS_STATMOUNT: libc::c_long = 457;
const SYS_LISTMOUNT: libc::c_long = 458;

/// Lists the unique ids of all mounts below the mount `of` (`None`: below the root) into `ids` and returns how
/// many there are; a result equal to `ids.len()` may have been cut. `of` itself is not among them.
///
/// Needs Linux 6.8. See `man 2 listmount`.
pub fn listmount(of: Option<u64>, ids: &mut [u64]) -> Result<usize, Errno> {
    let req =
        MntIdReq { size: size_of::<MntIdReq>() as u32, spare: 0, mnt_id: of.unwrap_or(LSMT_ROOT), param: 0 };
    // SAFETY: `req` is a valid mnt_id_req, `ids` is writable for the count passed.
    let n = check(unsafe { libc::syscall(SYS_LISTMOUNT, &raw const req, ids.as_mut_ptr(), ids.len(), 0) })?;
    Ok(n as usize)
}

/// What [`statmount`] tells of a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MountFacts {
    /// Bits of [`attr`] in force for this mount.
    pub attr: u64,
    /// `MS_PRIVATE`, `MS_SLAVE`, `MS_SHARED`... as in `man 2 mount`.
    pub propagation: u64,
}

#[repr(C)]
struct StatMount {
    size: u32,
    mnt_opts: u32,
    mask: u64,
    sb_dev_major: u32,
    sb_dev_minor: u32,
    sb_magic: u64,
    sb_flags: u32,
    fs_type: u32,
    mnt_id: u64,
    mnt_parent_id: u64,
    mnt_id_old: u32,
    mnt_parent_id_old: u32,
    mnt_attr: u64,
    mnt_propagation: u64,
    mnt_peer_group: u64,
    mnt_master: u64,
    propagate_from: u64,
    mnt_root: u32,
    mnt_point: u32,
    mnt_ns_id: u64,
    spare: [u64; 49],
}

const STATMOUNT_MNT_BASIC: u64 = 0x2;

/// Asks the kernel for the attributes of the mount with the unique id `id`.
///
/// Needs Linux 6.8. See `man 2 statmount`.
pub fn statmount(id: u64) -> Result<MountFacts, Errno> {
    let req =
        MntIdReq { size: size_of::<MntIdReq>() as u32, spare: 0, mnt_id: id, param: STATMOUNT_MNT_BASIC };
    // SAFETY: StatMount is made of integers; all zero is a valid value.
    let mut buf: StatMount = unsafe { std::mem::zeroed() };
    // SAFETY: `req` is a valid mnt_id_req, `buf` writable for the size passed; no strings are asked for.
    check(unsafe { libc::syscall(SYS_STATMOUNT, &raw const req, &raw mut buf, size_of::<StatMount>(), 0) })?;
    Ok(MountFacts { attr: buf.mnt_attr, propagation: buf.mnt_propagation })
}
