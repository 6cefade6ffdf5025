//! Masks and read-only paths: what of procfs and sysfs is hidden, and what of it can't be written to.
//!
//! **The attack**: the file that masks are made of, or the path that is masked, is exchanged for a link, and something
//! else is covered, or laid open. **The defence**: masks are a file and a directory that nobody may read, of donjon's
//! own, never the host's `/dev/null`; and a symbolic link on the way to a path refuses (R5). Under an engine both can be
//! read, and hold nothing: its programs expect that.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use donjon_sys::mount::{SetAttr, attr, mount_setattr};
use oci_spec::runtime::Spec;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::child::Context;
use crate::error::SpecError;
use crate::extensions::Origin;
use crate::layers::rootfs;
use crate::plan::{Draft, Layer, Op, Slot};
use crate::resolve;

/// Steps that hide and protect parts of procfs and sysfs.
pub(crate) fn plan_masks(spec: &Spec, draft: &mut Draft) -> Result<(), SpecError> {
    let Some(linux) = spec.linux() else { return Ok(()) };
    let path = |field: String, p: &str| -> Result<CString, SpecError> {
        if !p.starts_with('/') || p == "/" {
            return Err(SpecError::new(
                Layer::Mounts,
                field,
                format!("{p:?} is not an absolute path below /"),
            ));
        }
        SpecError::c_string(Layer::Mounts, &field, p)
    };
    let attrs = match draft.origin {
        Origin::Donjon => MASK,
        // A program that an engine let lie there may be executed as before.
        Origin::Bundle => attr::RDONLY,
    };
    for (i, p) in linux.readonly_paths().iter().flatten().enumerate() {
        let field = format!("linux.readonlyPaths[{i}]");
        let path = path(field.clone(), p)?;
        draft.add(Layer::Mounts, field, Op::ReadOnly { path, attrs });
    }
    if draft.origin == Origin::Bundle && linux.masked_paths().as_ref().is_some_and(|all| !all.is_empty()) {
        // It covers the old root's /proc, so it comes as late as it can.
        draft.add(Layer::Mounts, "linux.maskedPaths", Op::Scratch { bytes: None });
    }
    for (i, p) in linux.masked_paths().iter().flatten().enumerate() {
        let field = format!("linux.maskedPaths[{i}]");
        let path = path(field.clone(), p)?;
        draft.add(Layer::Mounts, field, Op::Mask { path });
    }
    Ok(())
}

/// The file and the directory that masks are made of, on a read-only mount of their own.
fn masks(ctx: &mut Context<'_>) -> Result<(), Errno> {
    if ctx.slots.get(Slot::MASKS).is_ok() {
        return Ok(());
    }
    let scratch = ctx.slots.get(Slot::SCRATCH)?;
    rustix::fs::mkdirat(scratch, c"masks", Mode::from_raw_mode(0o755))?;
    let dir = resolve::no_symlinks(scratch, c"masks", OFlags::PATH | OFlags::DIRECTORY)?;
    // An engine's programs expect to find nothing there, and donjon's own are told that they may not look.
    let (all, list) = if ctx.as_written { (0o444, 0o555) } else { (0, 0) };
    rustix::fs::mkdirat(&dir, c"dir", Mode::from_raw_mode(list))?;
    rustix::fs::openat(
        &dir,
        c"file",
        OFlags::CREATE | OFlags::EXCL | OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::from_raw_mode(all),
    )?;
    let mount = rootfs::clone_tree(dir.as_fd(), false)?;
    mount_setattr(mount.as_fd(), c"", false, SetAttr { set: MASK, ..SetAttr::default() }, None)?;
    // A clone can be taken of an attached mount only (before Linux 6.15); its clones inherit the attributes.
    rootfs::move_to(&mount, scratch, c"masks")?;
    ctx.slots.put(Slot::MASKS, mount)
}

const MASK: u64 = attr::RDONLY | attr::NOSUID | attr::NODEV | attr::NOEXEC;

/// Lays a mask over `path`. What does not exist needs none; a symbolic link there is refused (R5).
pub(crate) fn mask(ctx: &mut Context<'_>, path: &CStr) -> Result<(), Errno> {
    // Directly below /proc, which is a procfs of donjon's own, a name is looked up once, by the mount itself: it leads
    // to that entry and nowhere else, and no link there is followed.
    let entry =
        path.to_bytes_with_nul().strip_prefix(b"/proc/").and_then(|e| CStr::from_bytes_with_nul(e).ok());
    if let Some(entry) = entry.filter(|e| !e.is_empty() && !e.to_bytes().contains(&b'/'))
        && ctx.proc_attached
    {
        return match reach(ctx.slots.get(Slot::PROC)?, entry) {
            Reach::Missing | Reach::Denied => Ok(()),
            Reach::Open => mask_entry(ctx, entry),
        };
    }
    let target = match resolve::no_symlinks(ctx.slots.get(Slot::ROOT)?, path, OFlags::PATH) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        // What this process, with its rights over the container, can't reach, nobody inside can.
        Err(Errno::ACCESS) if ctx.as_written => return Ok(()),
        other => other?,
    };
    let is_dir = FileType::from_raw_mode(rustix::fs::fstat(&target)?.st_mode) == FileType::Directory;
    let mask = new_mask(ctx, is_dir)?;
    rootfs::attach(ctx, &mask, &target, MASK).map(drop)
}

/// A mask of its own for a directory or for anything else.
fn new_mask(ctx: &mut Context<'_>, directory: bool) -> Result<OwnedFd, Errno> {
    masks(ctx)?;
    rustix::mount::open_tree(
        ctx.slots.get(Slot::MASKS)?,
        if directory { c"dir" } else { c"file" },
        rustix::mount::OpenTreeFlags::OPEN_TREE_CLONE | rustix::mount::OpenTreeFlags::OPEN_TREE_CLOEXEC,
    )
}

/// Masks an entry of the container's procfs. The kernel refuses a mask of the wrong kind, so the other is tried.
fn mask_entry(ctx: &mut Context<'_>, entry: &CStr) -> Result<(), Errno> {
    const DIRECTORIES: [&[u8]; 8] = [b"acpi", b"asound", b"bus", b"driver", b"fs", b"irq", b"scsi", b"tty"];
    let likely = DIRECTORIES.contains(&entry.to_bytes());
    let mut result = Err(Errno::NOTDIR);
    for directory in [likely, !likely] {
        let mask = new_mask(ctx, directory)?;
        let flags = rustix::mount::MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        result = rustix::mount::move_mount(mask.as_fd(), c"", ctx.slots.get(Slot::PROC)?, entry, flags);
        match result {
            Err(Errno::NOTDIR | Errno::INVAL) => {}
            Ok(()) => return ctx.mounted.expect(mask.as_fd(), MASK).map(drop),
            Err(errno) => return Err(errno),
        }
    }
    result
}

enum Reach {
    Missing,
    Denied,
    Open,
}

/// How far the container gets with an entry of procfs. One whose own mode denies everything to every id of the user
/// namespace, as host root's files do (capabilities in the namespace don't count for owners that are not mapped), needs
/// no mask: it would change nothing but the time that a start takes.
fn reach(proc: BorrowedFd<'_>, entry: &CStr) -> Reach {
    use rustix::fs::{Access, AtFlags, accessat};
    let flags = AtFlags::EACCESS | AtFlags::SYMLINK_NOFOLLOW;
    match accessat(proc, entry, Access::READ_OK, flags) {
        Err(Errno::NOENT) => Reach::Missing,
        Err(Errno::ACCESS) if accessat(proc, entry, Access::WRITE_OK, flags) == Err(Errno::ACCESS) => {
            Reach::Denied
        }
        _ => Reach::Open,
    }
}

/// Makes the tree at `path` read-only by a mount of itself over itself.
pub(crate) fn read_only(ctx: &mut Context<'_>, path: &CStr, attrs: u64) -> Result<(), Errno> {
    let target = match resolve::no_symlinks(ctx.slots.get(Slot::ROOT)?, path, OFlags::PATH) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        // What this process, with its rights over the container, can't reach, nobody inside can.
        Err(Errno::ACCESS) if ctx.as_written => return Ok(()),
        other => other?,
    };
    let tree = rootfs::clone_tree(target.as_fd(), true)?;
    mount_setattr(tree.as_fd(), c"", true, SetAttr { set: attrs, ..SetAttr::default() }, None)?;
    let id = rootfs::attach(ctx, &tree, &target, attrs)?;
    ctx.mounted.tree(id)
}
