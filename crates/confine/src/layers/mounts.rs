//! Mounts: what else lies in the root, and with which rights.
//!
//! **Stops**: set-user-id files and device nodes on any mount (`nosuid`, `nodev` always), writes where only
//! reading was granted, and the parts of procfs and sysfs that tell about or steer the machine (masks).
//!
//! Each mount is built detached, with all its attributes, and attached once to a descriptor that was looked at
//! first (R3). A symbolic link in the image is followed as inside the root, and not at all below `/proc`, `/sys`
//! and `/dev` (R2). Masks are a file and a directory that nobody may read, of donjon's own, never the host's
//! `/dev/null` (R5).
//!
//! **Can't stop**: kernel bugs in file systems that are mounted in. Only `proc`, `tmpfs`, `devpts`, `mqueue` and
//! `sysfs` are ever created.
//!
//! New mount API: Linux 5.2; `mount_setattr` 5.12. A procfs of one's own needs an unmasked one on the host: inside
//! another container that masks `/proc` the kernel refuses it.

use std::ffi::{CStr, CString};
use std::os::fd::AsFd;

use donjon_sys::mount::{SetAttr, attr, mount_setattr};
use oci_spec::runtime::{LinuxNamespaceType, Mount, Spec};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use crate::child::Context;
use crate::error::SpecError;
use crate::extensions::{Extensions, Upper};
use crate::plan::{Draft, Layer, Op, Slot};
use crate::resolve;

use super::namespaces;
use super::rootfs::{self, Kind};

/// One mount.
#[derive(Debug)]
pub struct MountStep {
    /// Where, inside the root.
    pub target: CString,
    /// What.
    pub what: What,
    /// Attributes of `donjon_sys::mount::attr` for this mount.
    pub attrs: u64,
    /// Attributes for this and all mounts below it (a recursive bind).
    pub recursive_attrs: u64,
    /// Keep the mount here, for a later step.
    pub slot: Option<Slot>,
}

impl MountStep {}

/// What is mounted.
#[derive(Debug)]
pub enum What {
    /// A new file system of this type with these parameters (without a value: a flag).
    New {
        /// The type, one of a short list.
        fstype: CString,
        /// Its parameters.
        params: Vec<(CString, Option<CString>)>,
    },
    /// Something of the host's.
    Bind {
        /// Index of the host source.
        source: usize,
        /// With the mounts below it.
        recursive: bool,
        /// Host ids are shown through the container's id map.
        idmap: bool,
    },
    /// A directory of the container's own RAM, within the one limit for everything that is written.
    Ram {
        /// Its name in the scratch file system.
        name: CString,
        /// Its mode.
        mode: u32,
    },
    /// The private procfs, which was made before anything else; or another one that shows processes alone.
    Proc {
        /// Only processes, nothing of the machine.
        pid_only: bool,
        /// Whose members see all processes.
        group: CString,
    },
}

/// The options of mounts that are understood, for `features`.
pub const OPTIONS: [&str; 8] = ["bind", "nodev", "noexec", "nosuid", "rbind", "ro", "rro", "rw"];

#[derive(Default)]
struct Options {
    attrs: u64,
    clear: u64,
    recursive_attrs: u64,
    bind: bool,
    recursive: bool,
    idmap: bool,
    params: Vec<(CString, Option<CString>)>,
}

fn options(field: &str, mount: &Mount) -> Result<Options, SpecError> {
    let mut o = Options::default();
    let refuse = |what: String| SpecError::new(Layer::Mounts, format!("{field}.options"), what);
    for option in mount.options().iter().flatten() {
        match option.as_str() {
            "bind" => o.bind = true,
            "rbind" => (o.bind, o.recursive) = (true, true),
            "ro" => o.attrs |= attr::RDONLY,
            "rw" => o.clear |= attr::RDONLY,
            "rro" => o.recursive_attrs |= attr::RDONLY,
            "nosuid" | "nodev" | "defaults" | "async" | "relatime" | "rrw" => {}
            "rnosuid" | "rnodev" | "rrelatime" => {}
            "noexec" => o.attrs |= attr::NOEXEC,
            "exec" => o.clear |= attr::NOEXEC,
            "rnoexec" => o.recursive_attrs |= attr::NOEXEC,
            "rexec" => {}
            "noatime" => o.attrs |= attr::NOATIME,
            "strictatime" => o.attrs |= attr::STRICTATIME,
            "nodiratime" => o.attrs |= attr::NODIRATIME,
            "nosymfollow" => o.attrs |= attr::NOSYMFOLLOW,
            "idmap" | "ridmap" => o.idmap = true,
            "private" | "rprivate" => {}
            "slave" | "rslave" | "shared" | "rshared" | "unbindable" | "runbindable" => {
                return Err(refuse(format!("{option}: mounts of a donjon container are private")));
            }
            "suid" | "dev" | "rsuid" | "rdev" => {
                return Err(refuse(format!("{option}: every mount is nosuid and nodev")));
            }
            "tmpcopyup" => return Err(refuse("tmpcopyup is not supported yet".to_string())),
            other => {
                let (key, value) = match other.split_once('=') {
                    Some((key, value)) => (key, Some(value)),
                    None => (other, None),
                };
                let known = match mount.typ().as_deref() {
                    Some("tmpfs") => {
                        matches!(key, "size" | "mode" | "nr_inodes" | "nr_blocks" | "uid" | "gid")
                    }
                    Some("devpts") => matches!(key, "newinstance" | "ptmxmode" | "mode" | "gid" | "max"),
                    Some("proc") => matches!(key, "hidepid" | "subset"),
                    _ => false,
                };
                if !known {
                    return Err(refuse(format!("{other:?} is no mount option that donjon knows")));
                }
                let text = |s: &str| SpecError::c_string(Layer::Mounts, field, s);
                if key != "newinstance" {
                    o.params.push((text(key)?, value.map(text).transpose()?));
                }
            }
        }
    }
    if o.attrs & o.clear != 0 {
        return Err(refuse("an option and its opposite are both given".to_string()));
    }
    Ok(o)
}

/// The first two steps in the mount namespace: nothing propagates, and procfs is at hand.
pub(crate) fn plan_start(spec: &Spec, draft: &mut Draft) -> Result<(), SpecError> {
    draft.add(Layer::Rootfs, "linux.rootfsPropagation", Op::PrivateMounts);
    draft.add(Layer::Mounts, "", Op::ProcHandle { group: group(spec)? });
    Ok(())
}

/// Steps for the specification's mounts, in its order.
pub(crate) fn plan(spec: &Spec, ext: &Extensions, draft: &mut Draft) -> Result<(), SpecError> {
    for (i, mount) in spec.mounts().iter().flatten().enumerate() {
        let field = format!("mounts[{i}]");
        let destination = mount.destination();
        if !destination.is_absolute() || destination.parent().is_none() {
            return Err(SpecError::new(
                Layer::Mounts,
                format!("{field}.destination"),
                format!("{} is not an absolute path below /", destination.display()),
            ));
        }
        let bytes = std::os::unix::ffi::OsStrExt::as_bytes(destination.as_os_str());
        let target = SpecError::c_string(Layer::Mounts, &field, bytes)?;
        let mut o = options(&field, mount)?;
        let typ = mount.typ().as_deref().unwrap_or(if o.bind { "bind" } else { "none" });
        let mut slot = None;
        let mut seal = false;
        let what = if o.bind || typ == "bind" {
            let source = mount.source().clone().ok_or_else(|| {
                SpecError::new(Layer::Mounts, format!("{field}.source"), "a bind mount needs a source")
            })?;
            if !o.params.is_empty() {
                return Err(SpecError::new(
                    Layer::Mounts,
                    format!("{field}.options"),
                    "a bind mount takes no file system parameters",
                ));
            }
            let source = draft.source(Layer::Mounts, format!("{field}.source"), source);
            What::Bind { source, recursive: o.recursive, idmap: o.idmap }
        } else {
            match typ {
                "proc" => What::Proc { pid_only: ext.proc_pid_only, group: group(spec)? },
                "tmpfs" => {
                    // Mount points may have to be made in it: it becomes read-only when all is mounted.
                    seal = o.attrs & attr::RDONLY != 0;
                    if target.as_bytes() == b"/dev" {
                        slot = Some(Slot::DEV);
                    }
                    let params = std::mem::take(&mut o.params);
                    match ram_mode(&params).filter(|_| matches!(ext.upper, Upper::Ram { .. })) {
                        Some(mode) => What::Ram {
                            name: SpecError::c_string(Layer::Mounts, &field, format!("m{i}"))?,
                            mode,
                        },
                        None => What::New { fstype: c"tmpfs".into(), params },
                    }
                }
                "devpts" => {
                    slot = Some(Slot::DEVPTS);
                    let mut params = std::mem::take(&mut o.params);
                    // Only mapped ids exist inside; the terminal group of a distribution seldom is.
                    params.retain(|(key, _)| key.as_c_str() != c"gid" || maps_gid(spec, 5));
                    What::New { fstype: c"devpts".into(), params }
                }
                "mqueue" => What::New { fstype: c"mqueue".into(), params: Vec::new() },
                "sysfs" if namespaces::is_new(spec, LinuxNamespaceType::Network) => {
                    o.attrs |= attr::RDONLY;
                    What::New { fstype: c"sysfs".into(), params: Vec::new() }
                }
                other => {
                    return Err(SpecError::new(
                        Layer::Mounts,
                        format!("{field}.type"),
                        format!("{other:?} is no file system that a container may create"),
                    ));
                }
            }
        };
        let mut attrs = o.attrs | attr::NOSUID;
        // Terminals are device nodes; every other device comes by a bind of its own.
        if slot != Some(Slot::DEVPTS) {
            attrs |= attr::NODEV;
        }
        if slot == Some(Slot::DEV) {
            attrs |= attr::NOEXEC;
        }
        if seal {
            attrs &= !attr::RDONLY;
            slot = slot.or_else(|| Some(draft.sealed_slot()));
        }
        draft.add(
            Layer::Mounts,
            field,
            Op::Mount(MountStep { target, what, attrs, recursive_attrs: o.recursive_attrs, slot }),
        );
        if seal {
            let slot = slot.unwrap_or(Slot::DEV);
            let path = SpecError::c_string(Layer::Mounts, "mounts", bytes)?;
            draft.seals.push((slot, path));
        }
    }
    Ok(())
}

/// The mode of a tmpfs that names no limit of its own, which can then be a part of the container's one RAM file
/// system: a file system less to make, and one limit for all.
fn ram_mode(params: &[(CString, Option<CString>)]) -> Option<u32> {
    match params {
        [] => Some(0o1777),
        [(key, Some(mode))] if key.as_c_str() == c"mode" => {
            u32::from_str_radix(mode.to_str().ok()?, 8).ok().filter(|m| *m <= 0o7777)
        }
        _ => None,
    }
}

/// The program's group, in digits.
fn group(spec: &Spec) -> Result<CString, SpecError> {
    let gid = spec.process().as_ref().map_or(0, |p| p.user().gid());
    SpecError::c_string(Layer::Mounts, "process.user.gid", gid.to_string())
}

fn maps_gid(spec: &Spec, gid: u32) -> bool {
    spec.linux()
        .as_ref()
        .and_then(|l| l.gid_mappings().as_ref())
        .into_iter()
        .flatten()
        .any(|m| gid >= m.container_id() && gid - m.container_id() < m.size())
}

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
    for (i, p) in linux.readonly_paths().iter().flatten().enumerate() {
        let field = format!("linux.readonlyPaths[{i}]");
        let path = path(field.clone(), p)?;
        draft.add(Layer::Mounts, field, Op::ReadOnly { path });
    }
    for (i, p) in linux.masked_paths().iter().flatten().enumerate() {
        let field = format!("linux.maskedPaths[{i}]");
        let path = path(field.clone(), p)?;
        draft.add(Layer::Mounts, field, Op::Mask { path });
    }
    Ok(())
}

/// Steps that make read-only what had to be written to during set-up.
pub(crate) fn plan_seals(draft: &mut Draft) {
    for (slot, path) in std::mem::take(&mut draft.seals) {
        draft.add(Layer::Mounts, "mounts", Op::Seal { slot, path });
    }
}

/// Makes the container's procfs, detached, before anything else can be in the way (R4).
pub(crate) fn proc_handle(ctx: &mut Context<'_>, group: &CStr) -> Result<(), Errno> {
    let mount = new_proc(ctx, false, group)?;
    ctx.slots.put(Slot::PROC, mount)
}

/// A procfs of this pid namespace. `hidepid=invisible` shows only processes that the reader may trace anyway, unless
/// it is in the program's own group: a process that `exec` started has a Landlock domain of its own, so it may trace
/// nobody, and has to see whom it works beside.
fn new_proc(ctx: &Context<'_>, pid_only: bool, group: &CStr) -> Result<std::os::fd::OwnedFd, Errno> {
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

/// Whether symbolic links on the way to `target` are followed (inside the root).
fn may_follow(target: &CStr) -> bool {
    let path = target.to_bytes();
    ![&b"/proc"[..], b"/sys", b"/dev"]
        .iter()
        .any(|top| path.starts_with(top) && matches!(path.get(top.len()), None | Some(b'/')))
}

/// Carries one mount out.
pub(crate) fn mount(ctx: &mut Context<'_>, step: &MountStep) -> Result<(), Errno> {
    let links = may_follow(&step.target) || !ctx.protects("resolver");
    match &step.what {
        What::Proc { pid_only, group } => {
            let target = rootfs::mount_point(ctx, &step.target, Kind::Dir, links)?;
            let mount = if *pid_only {
                new_proc(ctx, true, group)?
            } else {
                rustix::io::fcntl_dupfd_cloexec(ctx.slots.get(Slot::PROC)?, 3)?
            };
            let id = rootfs::attach(ctx, &mount, &target, attr::NOSUID | attr::NODEV | attr::NOEXEC)?;
            ctx.remember_wall(id);
            ctx.proc_attached |= !pid_only;
            Ok(())
        }
        What::Ram { name, mode } => {
            let scratch = ctx.slots.get(Slot::SCRATCH)?;
            rustix::fs::mkdirat(scratch, name.as_c_str(), Mode::from_raw_mode(*mode))?;
            let dir = resolve::no_symlinks(scratch, name.as_c_str(), OFlags::PATH | OFlags::DIRECTORY)?;
            let mount = rootfs::clone_tree(dir.as_fd(), false)?;
            let set = ctx.weakened(step.attrs);
            mount_setattr(mount.as_fd(), c"", false, SetAttr { set, ..SetAttr::default() }, None)?;
            let target = rootfs::mount_point(ctx, &step.target, Kind::Dir, links)?;
            let id = rootfs::attach(ctx, &mount, &target, set)?;
            ctx.remember_own_ram(mount.as_fd())?;
            if !may_follow(&step.target) {
                ctx.remember_wall(id);
            }
            match step.slot {
                Some(slot) => ctx.slots.put(slot, mount),
                None => Ok(()),
            }
        }
        What::New { fstype, params } => {
            let target = rootfs::mount_point(ctx, &step.target, Kind::Dir, links)?;
            let fs = rustix::mount::fsopen(fstype.as_c_str(), FsOpenFlags::FSOPEN_CLOEXEC)?;
            for (key, value) in params {
                match value {
                    Some(value) => {
                        rustix::mount::fsconfig_set_string(fs.as_fd(), key.as_c_str(), value.as_c_str())?;
                    }
                    None => rustix::mount::fsconfig_set_flag(fs.as_fd(), key.as_c_str())?,
                }
            }
            rustix::mount::fsconfig_create(fs.as_fd())?;
            let mount = rustix::mount::fsmount(
                fs.as_fd(),
                FsMountFlags::FSMOUNT_CLOEXEC,
                MountAttrFlags::from_bits_retain(ctx.weakened(step.attrs) as u32),
            )?;
            let id = rootfs::attach(ctx, &mount, &target, ctx.weakened(step.attrs))?;
            ctx.remember_own_ram(mount.as_fd())?;
            if !may_follow(&step.target) {
                ctx.remember_wall(id);
            }
            match step.slot {
                Some(slot) => ctx.slots.put(slot, mount),
                None => Ok(()),
            }
        }
        What::Bind { source, recursive, .. } => {
            let tree = rootfs::clone_source(ctx, *source, *recursive)?;
            let is_dir = FileType::from_raw_mode(rustix::fs::fstat(&tree)?.st_mode) == FileType::Directory;
            let all = ctx.weakened(attr::NOSUID | attr::NODEV | step.recursive_attrs);
            let own = ctx.weakened(step.attrs) | all;
            mount_setattr(tree.as_fd(), c"", *recursive, SetAttr { set: all, ..SetAttr::default() }, None)?;
            if own != all {
                mount_setattr(tree.as_fd(), c"", false, SetAttr { set: own, ..SetAttr::default() }, None)?;
            }
            let kind = if is_dir { Kind::Dir } else { Kind::File };
            let target = rootfs::mount_point(ctx, &step.target, kind, links)?;
            let id = rootfs::attach(ctx, &tree, &target, own)?;
            if *recursive {
                ctx.mounted.tree(id)?;
            }
            if !may_follow(&step.target) {
                ctx.remember_wall(id);
            }
            Ok(())
        }
    }
}

/// The file and the directory that masks are made of, on a read-only mount of their own.
fn masks(ctx: &mut Context<'_>) -> Result<(), Errno> {
    if ctx.slots.get(Slot::MASKS).is_ok() {
        return Ok(());
    }
    let scratch = ctx.slots.get(Slot::SCRATCH)?;
    rustix::fs::mkdirat(scratch, c"masks", Mode::from_raw_mode(0o755))?;
    let dir = resolve::no_symlinks(scratch, c"masks", OFlags::PATH | OFlags::DIRECTORY)?;
    rustix::fs::mkdirat(&dir, c"dir", Mode::empty())?;
    rustix::fs::openat(
        &dir,
        c"file",
        OFlags::CREATE | OFlags::EXCL | OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
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
        other => other?,
    };
    let is_dir = FileType::from_raw_mode(rustix::fs::fstat(&target)?.st_mode) == FileType::Directory;
    let mask = new_mask(ctx, is_dir)?;
    rootfs::attach(ctx, &mask, &target, MASK).map(drop)
}

/// A mask of its own for a directory or for anything else.
fn new_mask(ctx: &mut Context<'_>, directory: bool) -> Result<std::os::fd::OwnedFd, Errno> {
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
fn reach(proc: std::os::fd::BorrowedFd<'_>, entry: &CStr) -> Reach {
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
pub(crate) fn read_only(ctx: &mut Context<'_>, path: &CStr) -> Result<(), Errno> {
    let target = match resolve::no_symlinks(ctx.slots.get(Slot::ROOT)?, path, OFlags::PATH) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        other => other?,
    };
    let tree = rootfs::clone_tree(target.as_fd(), true)?;
    let set = attr::RDONLY | attr::NOSUID | attr::NODEV | attr::NOEXEC;
    mount_setattr(tree.as_fd(), c"", true, SetAttr { set, ..SetAttr::default() }, None)?;
    let id = rootfs::attach(ctx, &tree, &target, set)?;
    ctx.mounted.tree(id)
}

/// Makes a mount read-only that had to be written to during set-up.
pub(crate) fn seal(ctx: &mut Context<'_>, slot: Slot) -> Result<(), Errno> {
    let mount = ctx.slots.get(slot)?;
    mount_setattr(mount, c"", false, SetAttr { set: attr::RDONLY, ..SetAttr::default() }, None)?;
    ctx.mounted.also(mount, attr::RDONLY)
}
