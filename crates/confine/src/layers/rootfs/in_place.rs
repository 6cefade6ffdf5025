//! The root of an engine's container: `root.path` itself, where it lies.
//!
//! The new root is a mount of that directory over itself. Hooks of the engine look there, in the container's mount
//! namespace, before it becomes the root, so nothing is moved out of their sight.
//!
//! **Stops**: mounts of the container that reach the host. Whatever `linux.rootfsPropagation` asks for, everything is a
//! slave, or private, while the root is put together; what is asked for comes last.
//!
//! **Can't stop**: `--no-pivot`, which an engine asks for on a machine whose root is an initial ramfs: the old root stays
//! below the new one. Its procfs and sysfs are let go, so that neither can be mounted anew without masks; but a program
//! that may use `chroot` can get at the rest.

use std::os::fd::AsFd;

use donjon_sys::mount::{SetAttr, mount_setattr};
use oci_spec::runtime::{Root, Spec};
use rustix::fs::{CWD, OFlags};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;

use crate::child::Context;
use crate::error::SpecError;
use crate::layers::mounts::table::{self, MS_PRIVATE, MS_SHARED, MS_SLAVE, Propagation};
use crate::layers::mounts::{may_follow, version_1};
use crate::plan::{Draft, Layer, Op, Slot};
use crate::resolve;

use super::mounted::{Expected, Sharing};
use super::{Kind, attach_expecting, clone_source, device_of, make, open_source};

/// What `linux.rootfsPropagation` asks for.
fn asked(spec: &Spec) -> Result<Option<Propagation>, SpecError> {
    let word = spec.linux().as_ref().and_then(|l| l.rootfs_propagation().as_deref());
    word.filter(|w| !w.is_empty())
        .map(|word| {
            table::propagation(word).ok_or_else(|| {
                SpecError::new(
                    Layer::Rootfs,
                    "linux.rootfsPropagation",
                    format!(
                        "{word:?} is none of private, slave, shared, unbindable, with or without an r before it"
                    ),
                )
            })
        })
        .transpose()
}

/// Whether a mount wants to go on getting what is mounted on the host.
fn wants_a_master(spec: &Spec) -> bool {
    let options = spec.mounts().iter().flatten().flat_map(|m| m.options().iter().flatten());
    options.into_iter().filter_map(|o| table::propagation(o)).any(|p| p.flag == MS_SLAVE)
}

/// The first step: nothing that is mounted from now on reaches the host.
pub(crate) fn plan_start(spec: &Spec, draft: &mut Draft) -> Result<(), SpecError> {
    let private = asked(spec)?.is_some_and(|p| p.flag == MS_PRIVATE) && !wants_a_master(spec);
    let flag = if private { MS_PRIVATE } else { MS_SLAVE };
    let propagation = Propagation { flag, recursive: true };
    draft.add(Layer::Rootfs, "linux.rootfsPropagation", Op::StartPropagation(propagation));
    Ok(())
}

/// The step that makes the directory the container's root-to-be.
pub(super) fn plan(root: &Root, draft: &mut Draft) -> Result<(), SpecError> {
    if root.path().as_os_str().is_empty() {
        return Err(SpecError::new(Layer::Rootfs, "root.path", "is empty"));
    }
    let source = draft.source(Layer::Rootfs, "root.path", root.path().clone());
    draft.add(Layer::Rootfs, "root.path", Op::RootInPlace { source });
    Ok(())
}

/// Steps that make it the root.
pub(super) fn plan_pivot(spec: &Spec, draft: &mut Draft) -> Result<(), SpecError> {
    let cwd = spec.process().as_ref().map(|p| super::super::mounts::as_written::clean(p.cwd()));
    if let Some(path) = cwd.filter(|path| !path.is_empty()) {
        let path = SpecError::c_string(Layer::Rootfs, "process.cwd", path)?;
        draft.add(Layer::Rootfs, "process.cwd", Op::MakeWorkingDirectory { path });
    }
    if spec.root().as_ref().and_then(|r| r.readonly()).unwrap_or(false) {
        draft.add(Layer::Rootfs, "root.readonly", Op::SealRoot);
    }
    draft.add(Layer::Rootfs, "", if draft.no_pivot { Op::MoveRoot } else { Op::PivotRoot });
    if let Some(propagation) = asked(spec)? {
        draft.add(Layer::Rootfs, "linux.rootfsPropagation", Op::RootPropagation(propagation));
    }
    draft.add(Layer::Rootfs, "", Op::VerifyMounts);
    Ok(())
}

/// Changes how every mount of this namespace shares.
pub(crate) fn start_propagation(ctx: &mut Context<'_>, propagation: Propagation) -> Result<(), Errno> {
    ctx.mounted.as_an_engine_says(Sharing::AsExpected);
    let change = SetAttr { propagation: propagation.flag, ..SetAttr::default() };
    mount_setattr(CWD, c"/", propagation.recursive, change, None)
}

/// Lays a mount of the source, with everything below it, over the source.
pub(crate) fn root_in_place(ctx: &mut Context<'_>, source: usize) -> Result<(), Errno> {
    let place = open_source(ctx, source)?;
    let tree = clone_source(ctx, source, true)?;
    attach_expecting(ctx, &tree, &place, Expected::default())?;
    version_1::hold_below(ctx, source, &tree)?;
    ctx.root_device = device_of(tree.as_fd())?;
    ctx.as_written = true;
    ctx.slots.put(Slot::ROOT, tree)
}

/// Makes the working directory if it is missing, while the root can be written to.
pub(crate) fn make_working_directory(ctx: &Context<'_>, path: &std::ffi::CStr) -> Result<(), Errno> {
    let root = ctx.slots.get(Slot::ROOT)?;
    match resolve::in_root(root, path, OFlags::PATH | OFlags::DIRECTORY) {
        // Below /dev, where it was named, it is made without following anything.
        Err(Errno::NOENT) => make(ctx, root, path, Kind::Dir, may_follow(path)).map(drop),
        // Whoever the program is may reach it; this process need not.
        Err(Errno::ACCESS) => Ok(()),
        other => other.map(drop),
    }
}

/// Moves the root over the old one, for a machine whose root can't be changed by `pivot_root`.
pub(crate) fn move_root(ctx: &mut Context<'_>) -> Result<(), Errno> {
    ctx.slots.close(Slot::SCRATCH);
    ctx.slots.close(Slot::MASKS);
    for place in [c"/proc", c"/sys"] {
        // As often as something is mounted there. What can't be let go of is locked, and stays covered.
        for _ in 0..64 {
            if rustix::mount::unmount(place, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW).is_err() {
                break;
            }
        }
    }
    let root = ctx.slots.get(Slot::ROOT)?;
    rustix::process::fchdir(root)?;
    rustix::mount::move_mount(root, c"", CWD, c"/", rustix::mount::MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    rustix::process::chroot(c".")?;
    rustix::process::chdir(c"/")
}

/// How the root shares, now that it is the root.
pub(crate) fn root_propagation(ctx: &mut Context<'_>, propagation: Propagation) -> Result<(), Errno> {
    let change = SetAttr { propagation: propagation.flag, ..SetAttr::default() };
    mount_setattr(CWD, c"/", propagation.recursive, change, None)?;
    if propagation.recursive {
        ctx.mounted.as_an_engine_says(Sharing::AsTheRoot);
    }
    let flag = propagation.flag;
    let expected = Expected {
        propagation: if flag == MS_SLAVE { 0 } else { flag },
        may_share: flag == MS_SHARED,
        ..Expected::default()
    };
    ctx.mounted.changed(ctx.slots.get(Slot::ROOT)?, expected)
}
