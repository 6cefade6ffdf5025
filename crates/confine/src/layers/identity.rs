//! DAC: who the program is.
//!
//! **Stops**: a program that gains rights by becoming another user. In its user namespace only mapped ids exist;
//! by default that is one, the caller's own, so there is nobody else to become. `no_new_privs` makes set-user-id
//! files and file capabilities inert.
//!
//! **Can't stop**: what the caller's own id may do on the host outside the container's mounts; the other layers
//! take that away. With a single id the kernel forbids `setgroups`, so the caller's supplementary groups stay
//! attached (they show as `nogroup`).
//!
//! Unprivileged user namespaces: Linux 3.8; where a distribution forbids them, the start is refused.

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::channel::{self, message};
use crate::child::Context;
use crate::error::SpecError;
use crate::extensions::Origin;
use crate::host::Host;
use crate::plan::{Draft, IdMaps, Layer, Op};
use oci_spec::runtime::{LinuxIdMapping, LinuxNamespaceType, Process, Spec};

use super::namespaces;

/// Decides who writes the id maps.
pub(crate) fn id_maps(spec: &Spec, host: &Host) -> Result<IdMaps, SpecError> {
    if !namespaces::is_new(spec, LinuxNamespaceType::User) {
        return Ok(IdMaps::None);
    }
    let linux = spec.linux().as_ref();
    let read = |name: &str, maps: Option<&Vec<LinuxIdMapping>>| -> Result<Vec<(u32, u32, u32)>, SpecError> {
        let maps: Vec<_> =
            maps.into_iter().flatten().map(|m| (m.container_id(), m.host_id(), m.size())).collect();
        if maps.is_empty() {
            return Err(SpecError::new(
                Layer::Identity,
                format!("linux.{name}"),
                "a new user namespace needs at least one mapping",
            ));
        }
        if maps.len() > 340 {
            return Err(SpecError::new(
                Layer::Identity,
                format!("linux.{name}"),
                "the kernel takes at most 340 mappings",
            ));
        }
        for (i, &(inside, outside, size)) in maps.iter().enumerate() {
            if size == 0 || inside.checked_add(size).is_none() || outside.checked_add(size).is_none() {
                return Err(SpecError::new(
                    Layer::Identity,
                    format!("linux.{name}[{i}]"),
                    "the range is empty or ends beyond 4294967295",
                ));
            }
        }
        Ok(maps)
    };
    let uids = read("uidMappings", linux.and_then(|l| l.uid_mappings().as_ref()))?;
    let gids = read("gidMappings", linux.and_then(|l| l.gid_mappings().as_ref()))?;
    let own = |maps: &[(u32, u32, u32)], id: u32| matches!(maps, [(_, outside, 1)] if *outside == id);
    if own(&uids, host.uid) && own(&gids, host.gid) {
        Ok(IdMaps::Own)
    } else {
        Ok(IdMaps::Parent { uids, gids })
    }
}

fn inside(maps: Option<&Vec<LinuxIdMapping>>) -> u32 {
    maps.and_then(|m| m.first()).map_or(0, |m| m.container_id())
}

/// Steps that make the first process somebody in its new user namespace.
pub(crate) fn plan_namespace_ids(
    maps: &IdMaps,
    process: &Process,
    spec: &Spec,
    draft: &mut Draft,
) -> Result<(), SpecError> {
    let linux = spec.linux().as_ref();
    match maps {
        IdMaps::None => {
            draft.notes.push(
                "identity: there is no user namespace: ids and capabilities inside are the host's own"
                    .to_string(),
            );
            draft.add(
                Layer::Cgroups,
                "linux.cgroupsPath",
                Op::AwaitParent { why: "the parent has put it into its cgroups" },
            );
        }
        IdMaps::Own => {
            let uid = inside(linux.and_then(|l| l.uid_mappings().as_ref()));
            let gid = inside(linux.and_then(|l| l.gid_mappings().as_ref()));
            if process.user().uid() != uid || process.user().gid() != gid {
                return Err(SpecError::new(
                    Layer::Identity,
                    "process.user",
                    format!(
                        "{}:{} is not the one id that is mapped ({uid}:{gid})",
                        process.user().uid(),
                        process.user().gid()
                    ),
                ));
            }
            let line = |inside: u32, outside: &Vec<LinuxIdMapping>| {
                let outside = outside.first().map_or(0, |m| m.host_id());
                SpecError::c_string(Layer::Identity, "linux.uidMappings", format!("{inside} {outside} 1\n"))
            };
            let empty = Vec::new();
            let uids = linux.and_then(|l| l.uid_mappings().as_ref()).unwrap_or(&empty);
            let gids = linux.and_then(|l| l.gid_mappings().as_ref()).unwrap_or(&empty);
            draft.add(
                Layer::Identity,
                "linux.uidMappings",
                Op::MapOwnId { uid_map: line(uid, uids)?, gid_map: line(gid, gids)? },
            );
        }
        IdMaps::Parent { .. } => {
            draft.add(
                Layer::Identity,
                "linux.uidMappings",
                Op::AwaitParent { why: "the parent has written the id maps" },
            );
            draft.add(Layer::Identity, "linux.uidMappings", Op::BecomeRoot);
        }
    }
    draft.add(Layer::Identity, "", Op::Umask(0));
    draft.add(Layer::Identity, "", Op::NewSession);
    Ok(())
}

/// Steps of a process that joined a running container.
pub(crate) fn plan_joined_ids(draft: &mut Draft) {
    draft.add(Layer::Identity, "", Op::NewSession);
}

/// What becomes of the caller's supplementary groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Groups {
    /// They stay: the kernel forbids a change.
    AsTheyAre,
    /// They are dropped, unless the user namespace denies that: an engine's own may.
    NoneIfAllowed,
    /// These take their place.
    Exactly(Vec<u32>),
}

/// The steps for an engine's specification once its process exists: besides the ids, its parent always has something to
/// do before it may go on (cgroups, limits).
pub(crate) fn plan_bundle_ids(
    maps: &IdMaps,
    process: &Process,
    spec: &Spec,
    draft: &mut Draft,
) -> Result<(), SpecError> {
    plan_namespace_ids(maps, process, spec, draft)?;
    if *maps == IdMaps::Own {
        draft.add(
            Layer::Cgroups,
            "linux.cgroupsPath",
            Op::AwaitParent { why: "the parent has put it into its cgroups" },
        );
    }
    Ok(())
}

/// The step that sets `no_new_privs` where an engine asked for it.
pub(crate) fn plan_bundle_privileges(process: &Process, draft: &mut Draft) {
    draft.add(Layer::Identity, "", Op::NotDumpable);
    if process.no_new_privileges().unwrap_or(false) {
        draft.add(Layer::Identity, "process.noNewPrivileges", Op::NoNewPrivs);
    }
}

/// The final change to the program's ids.
pub(crate) fn plan_process_ids(
    process: &Process,
    spec: &Spec,
    maps: &IdMaps,
    origin: Origin,
    draft: &mut Draft,
) -> Result<(), SpecError> {
    let user = process.user();
    let named = user.additional_gids().clone().unwrap_or_default();
    let groups = named.iter().enumerate().map(|(i, gid)| (format!("additionalGids[{i}]"), *gid));
    for (name, id) in
        [("uid".to_string(), user.uid()), ("gid".to_string(), user.gid())].into_iter().chain(groups)
    {
        // -1 means "unchanged" to the kernel: the program would go on as who sets it up (R28).
        if id == u32::MAX {
            return Err(SpecError::new(
                Layer::Identity,
                format!("process.user.{name}"),
                format!("{id} is nobody's: the kernel takes it for no change"),
            ));
        }
    }
    let groups = match maps {
        IdMaps::Own => {
            if user.additional_gids().as_ref().is_some_and(|g| !g.is_empty()) {
                draft.notes.push(
                    "identity: supplementary groups need a range of ids (--userns range); with one id none is added"
                        .to_string(),
                );
            }
            Groups::AsTheyAre
        }
        _ if origin == Origin::Bundle && named.is_empty() => Groups::NoneIfAllowed,
        _ => Groups::Exactly(named),
    };
    if matches!(maps, IdMaps::Parent { .. }) {
        let linux = spec.linux().as_ref();
        let mapped = |maps: Option<&Vec<LinuxIdMapping>>, id: u32| {
            maps.into_iter().flatten().any(|m| id >= m.container_id() && id - m.container_id() < m.size())
        };
        if !mapped(linux.and_then(|l| l.uid_mappings().as_ref()), user.uid()) {
            return Err(SpecError::new(
                Layer::Identity,
                "process.user.uid",
                format!("{} is outside linux.uidMappings", user.uid()),
            ));
        }
        if !mapped(linux.and_then(|l| l.gid_mappings().as_ref()), user.gid()) {
            return Err(SpecError::new(
                Layer::Identity,
                "process.user.gid",
                format!("{} is outside linux.gidMappings", user.gid()),
            ));
        }
    }
    draft.add(Layer::Identity, "process.user", Op::SetIds { uid: user.uid(), gid: user.gid(), groups });
    draft.add(Layer::Identity, "process.user.umask", Op::Umask(user.umask().unwrap_or(0o022) & 0o777));
    Ok(())
}

/// The step after which nobody but the host's root may look into this process. It comes when the network namespace
/// has been entered: until then the process that makes it, which has the caller's own rights, must find this one.
pub(crate) fn plan_not_dumpable(draft: &mut Draft) {
    draft.add(Layer::Identity, "", Op::NotDumpable);
}

/// Steps that tie the process to the warden's life and to its own rights.
pub(crate) fn plan_parent_death(draft: &mut Draft) {
    draft.add(Layer::Identity, "", Op::NotDumpable);
    draft.add(Layer::Identity, "", Op::DieWithParent);
    draft.add(Layer::Identity, "process.noNewPrivileges", Op::NoNewPrivs);
}

/// Writes the one mapping that the kernel lets a process write for itself: its own id, with `setgroups` denied
/// first (`man 7 user_namespaces`). `/proc/self` of the host's procfs is this process, whatever its new pid is.
pub(crate) fn map_own_id(uid_map: &std::ffi::CStr, gid_map: &std::ffi::CStr) -> Result<(), Errno> {
    write_proc_self(c"/proc/self/setgroups", b"deny")?;
    write_proc_self(c"/proc/self/gid_map", gid_map.to_bytes())?;
    write_proc_self(c"/proc/self/uid_map", uid_map.to_bytes())
}

fn write_proc_self(path: &std::ffi::CStr, value: &[u8]) -> Result<(), Errno> {
    let file = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())?;
    rustix::io::write(&file, value).map(drop)
}

/// Waits until the parent says go, and takes the mounts that it made meanwhile; an error when the parent is gone.
pub(crate) fn await_parent(ctx: &mut Context<'_>) -> Result<(), Errno> {
    loop {
        match channel::receive(ctx.channel())? {
            None => return Err(Errno::PIPE),
            Some((message::MOUNT, index, _, fd)) => {
                *ctx.idmapped.get_mut(usize::from(index)).ok_or(Errno::PROTO)? = fd;
            }
            Some((message::STATE, index, _, fd)) => {
                *ctx.states.get_mut(usize::from(index)).ok_or(Errno::PROTO)? = fd;
            }
            Some((message::GO, ..)) => return Ok(()),
            Some(_) => return Err(Errno::PROTO),
        }
    }
}

/// Becomes id 0 of a namespace with a range of ids, so that what is made during set-up belongs to its root.
pub(crate) fn become_root() -> Result<(), Errno> {
    donjon_sys::process::setgroups(&[])?;
    donjon_sys::process::setresgid(0)?;
    donjon_sys::process::setresuid(0)
}

/// Takes on the program's ids. Capabilities of the set-up survive until they are set for the program.
pub(crate) fn set_ids(uid: u32, gid: u32, groups: &Groups) -> Result<(), Errno> {
    donjon_sys::process::keep_capabilities(true)?;
    match groups {
        Groups::AsTheyAre => {}
        Groups::NoneIfAllowed => match donjon_sys::process::setgroups(&[]) {
            Ok(()) | Err(Errno::PERM) => {}
            Err(errno) => return Err(errno),
        },
        Groups::Exactly(groups) => donjon_sys::process::setgroups(groups)?,
    }
    donjon_sys::process::setresgid(gid)?;
    donjon_sys::process::setresuid(uid)
}

/// Asks to be killed with the parent, and makes sure that it was still there.
pub(crate) fn die_with_parent(ctx: &Context<'_>) -> Result<(), Errno> {
    donjon_sys::process::die_with_parent()?;
    let mut poll = [rustix::event::PollFd::new(&ctx.from.channel, rustix::event::PollFlags::empty())];
    rustix::event::poll(&mut poll, Some(&rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 }))?;
    match poll.first() {
        Some(p) if p.revents().contains(rustix::event::PollFlags::HUP) => Err(Errno::PIPE),
        _ => Ok(()),
    }
}

/// A session of its own, so that no terminal of the caller can be controlled (R10). Being a leader already is
/// fine.
pub(crate) fn new_session() -> Result<(), Errno> {
    match rustix::process::setsid() {
        Ok(_) | Err(Errno::PERM) => Ok(()),
        Err(errno) => Err(errno),
    }
}
