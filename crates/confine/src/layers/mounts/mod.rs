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
//! `sysfs` are ever created. An engine's mounts are another matter: [`as_written`].
//!
//! New mount API: Linux 5.2; `mount_setattr` 5.12. A procfs of one's own needs an unmasked one on the host: inside
//! another container that masks `/proc` the kernel refuses it.

pub mod as_written;
mod cgroupfs;
mod copy_up;
pub(crate) mod handle;
mod masks;
mod options;
pub mod table;
pub(crate) mod version_1;

use std::ffi::{CStr, CString};
use std::os::fd::AsFd;

use donjon_sys::mount::{SetAttr, attr, mount_setattr};
use oci_spec::runtime::{LinuxNamespaceType, Spec};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use crate::child::Context;
use crate::error::SpecError;
use crate::extensions::{Extensions, Origin, Upper};
use crate::plan::{Draft, Layer, Op, Slot};
use crate::resolve;

use super::namespaces;
use super::rootfs::{self, Kind};
use options::options;

pub use table::OPTIONS;

pub(crate) use masks::{mask, plan_masks, read_only};

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

/// The first two steps in the mount namespace: nothing propagates, and procfs is at hand.
pub(crate) fn plan_start(spec: &Spec, draft: &mut Draft) -> Result<(), SpecError> {
    match draft.origin {
        Origin::Donjon => {
            draft.add(Layer::Rootfs, "linux.rootfsPropagation", Op::PrivateMounts);
            draft.add(Layer::Mounts, "", Op::ProcHandle { group: group(spec)? });
        }
        Origin::Bundle => {
            rootfs::in_place::plan_start(spec, draft)?;
            let op = match draft.pid_last {
                // Its own files are to be found in it, and it is not in the container's pid namespace.
                true => Op::CallersProc,
                false => Op::ProcOrCallers { group: group(spec)? },
            };
            draft.add(Layer::Mounts, "", op);
        }
    }
    Ok(())
}

/// Steps for the specification's mounts, in its order.
pub(crate) fn plan(spec: &Spec, ext: &Extensions, draft: &mut Draft) -> Result<(), SpecError> {
    if ext.origin == Origin::Bundle {
        return as_written::plan(spec, ext, draft);
    }
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

/// Steps that make read-only what had to be written to during set-up.
pub(crate) fn plan_seals(draft: &mut Draft) {
    for (slot, path) in std::mem::take(&mut draft.seals) {
        draft.add(Layer::Mounts, "mounts", Op::Seal { slot, path });
    }
}

/// Whether symbolic links on the way to `target` are followed (inside the root).
pub(crate) fn may_follow(target: &CStr) -> bool {
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
                handle::new_proc(ctx, true, group)?
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
            let own = if version_1::is_one(ctx, &tree)? { own | attr::RDONLY } else { own };
            mount_setattr(tree.as_fd(), c"", *recursive, SetAttr { set: all, ..SetAttr::default() }, None)?;
            if own != all {
                mount_setattr(tree.as_fd(), c"", false, SetAttr { set: own, ..SetAttr::default() }, None)?;
            }
            let kind = if is_dir { Kind::Dir } else { Kind::File };
            let target = rootfs::mount_point(ctx, &step.target, kind, links)?;
            let id = rootfs::attach(ctx, &tree, &target, own)?;
            if *recursive {
                ctx.mounted.tree(id)?;
                version_1::hold_below(ctx, *source, &tree)?;
            }
            if !may_follow(&step.target) {
                ctx.remember_wall(id);
            }
            Ok(())
        }
    }
}

/// Makes a mount read-only that had to be written to during set-up.
pub(crate) fn seal(ctx: &mut Context<'_>, slot: Slot) -> Result<(), Errno> {
    let mount = ctx.slots.get(slot)?;
    mount_setattr(mount, c"", false, SetAttr { set: attr::RDONLY, ..SetAttr::default() }, None)?;
    ctx.mounted.also(mount, attr::RDONLY)
}
