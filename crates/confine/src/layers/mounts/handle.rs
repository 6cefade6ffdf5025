//! The private procfs handle: where settings and labels are written (R4).
//!
//! **The attack**: a procfs of the container's, or something that only looks like one, takes the write, and the
//! setting or label is never put in force. **The defence**: the handle is made before anything of the container is
//! mounted; what is below it is found without links and without leaving it, and the file must lie in procfs.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

use oci_spec::runtime::Process;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use crate::child::Context;
use crate::layers::rootfs;
use crate::plan::{Draft, Layer, Op, Slot};

/// `PROC_SUPER_MAGIC` of `linux/magic.h`.
pub(super) const MAGIC: i64 = 0x9fa0;

/// Makes the container's procfs, detached, before anything else can be in the way (R4).
pub(crate) fn proc_handle(ctx: &mut Context<'_>, group: &CStr) -> Result<(), Errno> {
    let mount = new_proc(ctx, false, group)?;
    ctx.slots.put(Slot::PROC, mount)
}

/// A procfs of this pid namespace. `hidepid=invisible` shows only processes that the reader may trace anyway, unless
/// it is in the program's own group: a process that `exec` started has a Landlock domain of its own, so it may trace
/// nobody, and has to see whom it works beside.
pub(super) fn new_proc(ctx: &Context<'_>, pid_only: bool, group: &CStr) -> Result<OwnedFd, Errno> {
    let fs = rustix::mount::fsopen(c"proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
    if ctx.protects("hidepid") {
        rustix::mount::fsconfig_set_string(fs.as_fd(), c"hidepid", c"invisible")?;
        rustix::mount::fsconfig_set_string(fs.as_fd(), c"gid", group)?;
    }
    if pid_only {
        rustix::mount::fsconfig_set_string(fs.as_fd(), c"subset", c"pid")?;
    }
    rustix::mount::fsconfig_create(fs.as_fd())?;
    rustix::mount::fsmount(
        fs.as_fd(),
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOEXEC,
    )
}

/// The same for a container that may share the caller's processes: where no procfs can be made (EPERM), the caller's own
/// is taken, at its place in the mount tree that was just copied, before anything was mounted in it.
pub(crate) fn proc_or_callers(ctx: &mut Context<'_>, group: &CStr) -> Result<(), Errno> {
    match proc_handle(ctx, group) {
        Err(Errno::PERM) => callers_proc(ctx),
        other => other,
    }
}

/// The step for a further process that is to have a label: the caller's procfs, before it leaves for the container, where
/// it could be given another.
pub(crate) fn plan_further(process: &Process, draft: &mut Draft) {
    let given = |label: &Option<String>| label.as_deref().is_some_and(|l| !l.is_empty());
    if given(process.apparmor_profile()) || given(process.selinux_label()) {
        draft.add(Layer::Mounts, "", Op::CallersProc);
    }
}

/// The procfs of the mount namespace that this process is still in, as the handle.
pub(crate) fn callers_proc(ctx: &mut Context<'_>) -> Result<(), Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let proc = rustix::fs::open(c"/proc", flags, Mode::empty())?;
    is_procfs(&proc)?;
    ctx.slots.put(Slot::PROC, proc)
}

fn is_procfs(file: impl AsFd) -> Result<(), Errno> {
    // A file that only looks like procfs would take the write and do nothing.
    if rustix::fs::fstatfs(file)?.f_type == MAGIC { Ok(()) } else { Err(Errno::NODEV) }
}

fn open(ctx: &Context<'_>, path: &CStr, how: OFlags) -> Result<OwnedFd, Errno> {
    let file = rustix::fs::openat2(
        ctx.slots.get(Slot::PROC)?,
        path,
        how | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV,
    )?;
    is_procfs(&file)?;
    Ok(file)
}

/// Writes `value` to the file `path` of the handle.
pub(crate) fn write(ctx: &Context<'_>, path: &CStr, value: &[u8]) -> Result<(), Errno> {
    let file = open(ctx, path, OFlags::WRONLY)?;
    match rustix::io::write(&file, value)? {
        n if n == value.len() => Ok(()),
        _ => Err(Errno::IO),
    }
}

/// The path of this process's own file `name`, under the number that it has in the handle's pid namespace.
fn own<'a>(ctx: &Context<'_>, name: &CStr, buffer: &'a mut [u8; 4097]) -> Result<&'a CStr, Errno> {
    let mut number = [std::mem::MaybeUninit::uninit(); 32];
    let (number, _) = rustix::fs::readlinkat_raw(ctx.slots.get(Slot::PROC)?, c"self", &mut number)?;
    let mut path = [0u8; 96];
    let mut length = 0;
    for byte in number.iter().chain(b"/").chain(name.to_bytes()) {
        *path.get_mut(length).ok_or(Errno::NAMETOOLONG)? = *byte;
        length += 1;
    }
    rootfs::c_str(buffer, path.get(..length).unwrap_or_default())
}

/// Writes `value` to a file of this process's own directory, for instance `attr/exec`.
pub(crate) fn write_own(ctx: &Context<'_>, name: &CStr, value: &[u8]) -> Result<(), Errno> {
    let mut buffer = [0u8; 4097];
    write(ctx, own(ctx, name, &mut buffer)?, value)
}

/// Reads a file of this process's own directory into `into` and returns the length.
pub(crate) fn read_own(ctx: &Context<'_>, name: &CStr, into: &mut [u8]) -> Result<usize, Errno> {
    let mut buffer = [0u8; 4097];
    let file = open(ctx, own(ctx, name, &mut buffer)?, OFlags::RDONLY)?;
    rustix::io::read(&file, into)
}
