//! The container's groups of processes, as files: an engine's mount of type `cgroup` or `cgroup2`.
//!
//! With version 2 that is one file system. With version 1 and the hybrid layout it is a RAM directory with one hierarchy
//! for each controller below it, as the names of the machine's own are: those that are mounted together have one
//! directory, and a link for each alone.
//!
//! **Stops**: a hierarchy of version 1 that can be written to inside: its `release_agent` is run by the kernel, as root
//! of the machine (R16). It is read-only whatever the options say, and the plan notes it.
//!
//! **Can't stop**: a container without a cgroup namespace that reads the groups of others; with version 2 it is shown the
//! machine's own tree, with the options that the engine wrote.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

use donjon_sys::mount::{SetAttr, attr, mount_setattr};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use crate::child::Context;
use crate::layers::rootfs;
use crate::resolve;

use super::as_written::{self, AsWritten, New};
use super::handle;

/// `CGROUP2_SUPER_MAGIC` of `linux/magic.h`.
const V2: i64 = 0x6367_7270;
const V1: i64 = super::version_1::MAGIC;

/// Every hierarchy of version 1 has these, whatever an engine writes.
const V1_ATTRS: u64 = attr::RDONLY | attr::NOSUID | attr::NODEV | attr::NOEXEC;

/// Mounts the groups at `target`.
pub(super) fn mount(
    ctx: &mut Context<'_>,
    step: &AsWritten,
    new: &New,
    v2: bool,
    own_namespace: bool,
    target: &OwnedFd,
) -> Result<(), Errno> {
    let machine = rustix::fs::statfs(c"/sys/fs/cgroup").map(|s| s.f_type);
    match v2 || machine == Ok(V2) {
        true => version_2(ctx, step, new, own_namespace, target),
        false => version_1(ctx, step, new, own_namespace, target),
    }
}

/// One file system. Without a cgroup namespace of the container's own the machine's mount is bound: it shows the same. A
/// new mount by the machine's cgroup namespace would set options of the hierarchy for everybody, and wait for that
/// (`favordynmods`: 5 to 15 ms on Linux 6.18).
fn version_2(
    ctx: &mut Context<'_>,
    step: &AsWritten,
    new: &New,
    own_namespace: bool,
    target: &OwnedFd,
) -> Result<(), Errno> {
    let host = || open_host(c"/sys/fs/cgroup", V2).and_then(|top| rootfs::clone_tree(top.as_fd(), false));
    let mount = match own_namespace {
        true => as_written::new_file_system(ctx, step, c"cgroup2", new, false)?,
        false => match host() {
            Err(Errno::NOENT | Errno::NODEV) => {
                as_written::new_file_system(ctx, step, c"cgroup2", new, false)?
            }
            other => other?,
        },
    };
    as_written::attach(ctx, mount, target, step)
}

/// A RAM directory with every hierarchy that this process is in below it.
fn version_1(
    ctx: &mut Context<'_>,
    step: &AsWritten,
    new: &New,
    own_namespace: bool,
    target: &OwnedFd,
) -> Result<(), Errno> {
    let fs = rustix::mount::fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_set_string(fs.as_fd(), c"source", c"cgroup")?;
    rustix::mount::fsconfig_set_string(fs.as_fd(), c"size", c"1m")?;
    rustix::mount::fsconfig_set_string(fs.as_fd(), c"mode", c"0755")?;
    if let Some(context) = &new.root_context {
        rustix::mount::fsconfig_set_string(fs.as_fd(), c"context", context.as_c_str())?;
    }
    rustix::mount::fsconfig_create(fs.as_fd())?;
    let top = rustix::mount::fsmount(
        fs.as_fd(),
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::from_bits_retain(step.change.set as u32),
    )?;
    let dir = rustix::io::fcntl_dupfd_cloexec(&top, 3)?;
    as_written::attach(ctx, top, target, step)?;
    let mut groups = [0u8; 8192];
    let length = handle::read_own(ctx, c"cgroup", &mut groups)?;
    if length == groups.len() {
        return Err(Errno::NOBUFS);
    }
    for line in groups.get(..length).unwrap_or_default().split(|b| *b == b'\n') {
        // NUMBER:CONTROLLERS:PATH, of which the last may hold colons. Version 2 has no controllers in this list.
        let mut parts = line.splitn(3, |b| *b == b':').skip(1);
        if let (Some(controllers), Some(path)) = (parts.next(), parts.next())
            && !controllers.is_empty()
        {
            hierarchy(ctx, &dir, controllers, path, own_namespace)?;
        }
    }
    Ok(())
}

/// One hierarchy below `dir`, and links for its controllers where it has several.
fn hierarchy(
    ctx: &mut Context<'_>,
    dir: &OwnedFd,
    controllers: &[u8],
    path: &[u8],
    own_namespace: bool,
) -> Result<(), Errno> {
    let mut buffer = [0u8; 4097];
    let shown = controllers.strip_prefix(b"name=").unwrap_or(controllers);
    let name = rootfs::c_str(&mut buffer, shown)?;
    let mount = match own_namespace {
        true => new_hierarchy(controllers)?,
        // What the machine has not mounted can't be bound.
        false => match own_part(shown, path) {
            Err(Errno::NOENT) => return Ok(()),
            other => other?,
        },
    };
    let change = SetAttr { set: V1_ATTRS, ..SetAttr::default() };
    mount_setattr(mount.as_fd(), c"", false, change, None)?;
    rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(0o755))?;
    let point = resolve::no_symlinks(dir, name, OFlags::PATH | OFlags::DIRECTORY)?;
    let _id = rootfs::attach(ctx, &mount, &point, V1_ATTRS)?;
    if shown == controllers && controllers.contains(&b',') {
        for controller in controllers.split(|b| *b == b',') {
            let mut buffer = [0u8; 4097];
            rustix::fs::symlinkat(name, dir, rootfs::c_str(&mut buffer, controller)?)?;
        }
    }
    Ok(())
}

/// A hierarchy as the container's cgroup namespace shows it: from its own group on.
fn new_hierarchy(controllers: &[u8]) -> Result<OwnedFd, Errno> {
    let fs = rustix::mount::fsopen(c"cgroup", FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_set_string(fs.as_fd(), c"source", c"cgroup")?;
    for word in controllers.split(|b| *b == b',') {
        let mut buffer = [0u8; 4097];
        match word.strip_prefix(b"name=") {
            Some(name) => {
                rustix::mount::fsconfig_set_flag(fs.as_fd(), c"none")?;
                let name = rootfs::c_str(&mut buffer, name)?;
                rustix::mount::fsconfig_set_string(fs.as_fd(), c"name", name)?;
            }
            None => rustix::mount::fsconfig_set_flag(fs.as_fd(), rootfs::c_str(&mut buffer, word)?)?,
        }
    }
    rustix::mount::fsconfig_create(fs.as_fd())?;
    rustix::mount::fsmount(
        fs.as_fd(),
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::from_bits_retain(V1_ATTRS as u32),
    )
}

/// A clone of the machine's hierarchy, from this process's own group on. Where that path is not to be found, as in a
/// container of an engine without a cgroup namespace, the own group is the visible root.
fn own_part(name: &[u8], path: &[u8]) -> Result<OwnedFd, Errno> {
    let mut buffer = [0u8; 4097];
    let top = open_host(join(&mut buffer, name, b"")?, V1)?;
    let mut buffer = [0u8; 4097];
    let own = match open_host(join(&mut buffer, name, path)?, V1) {
        Err(Errno::NOENT) => top,
        other => other?,
    };
    rootfs::clone_tree(own.as_fd(), false)
}

fn join<'a>(buffer: &'a mut [u8; 4097], name: &[u8], path: &[u8]) -> Result<&'a CStr, Errno> {
    let mut whole = [0u8; 4096];
    let mut length = 0;
    for byte in b"/sys/fs/cgroup/".iter().chain(name).chain(path) {
        *whole.get_mut(length).ok_or(Errno::NAMETOOLONG)? = *byte;
        length += 1;
    }
    rootfs::c_str(buffer, whole.get(..length).unwrap_or_default())
}

/// A directory of the machine's that lies in a file system of this kind.
fn open_host(path: &CStr, magic: i64) -> Result<OwnedFd, Errno> {
    let dir = rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    if rustix::fs::fstatfs(&dir)?.f_type == magic { Ok(dir) } else { Err(Errno::NOENT) }
}
