//! Namespaces: what the program can see of the machine.
//!
//! **Stops**: seeing and reaching the host's processes, mounts, network, System V objects, host name and cgroup
//! tree. All are created by one `clone3`.
//!
//! **Can't stop**: kernel code reachable through the namespaces' own interfaces; a program that is root in a
//! *nested* user namespace reaches much more of it, so those are forbidden (R15) by `limits` and `seccomp`.
//!
//! user, pid, net, ipc, uts, mount: Linux 3.8; cgroup 4.6; time 5.6, entered on exec since 6.1. Missing ones
//! refuse the start.

pub(crate) mod inside;
pub mod paths;

use std::ffi::CStr;

use oci_spec::runtime::{LinuxNamespaceType, Spec};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::beside::Network;
use crate::error::SpecError;
use crate::extensions::Origin;
use crate::plan::{Draft, Layer, Op};

/// `CLONE_NEW*` of `linux/sched.h`.
pub mod flag {
    /// Mount namespace.
    pub const MOUNT: u64 = 0x0002_0000;
    /// Cgroup namespace.
    pub const CGROUP: u64 = 0x0200_0000;
    /// UTS namespace: host and domain name.
    pub const UTS: u64 = 0x0400_0000;
    /// System V IPC and POSIX message queues.
    pub const IPC: u64 = 0x0800_0000;
    /// User namespace.
    pub const USER: u64 = 0x1000_0000;
    /// Pid namespace.
    pub const PID: u64 = 0x2000_0000;
    /// Network namespace.
    pub const NET: u64 = 0x4000_0000;
    /// Time namespace: monotonic and boot clocks.
    pub const TIME: u64 = 0x0000_0080;
}

fn clone_flag(kind: LinuxNamespaceType) -> u64 {
    match kind {
        LinuxNamespaceType::Mount => flag::MOUNT,
        LinuxNamespaceType::Cgroup => flag::CGROUP,
        LinuxNamespaceType::Uts => flag::UTS,
        LinuxNamespaceType::Ipc => flag::IPC,
        LinuxNamespaceType::User => flag::USER,
        LinuxNamespaceType::Pid => flag::PID,
        LinuxNamespaceType::Network => flag::NET,
        LinuxNamespaceType::Time => flag::TIME,
    }
}

/// Whether the specification asks for a new namespace of this kind.
pub(crate) fn is_new(spec: &Spec, kind: LinuxNamespaceType) -> bool {
    spec.linux()
        .as_ref()
        .and_then(|l| l.namespaces().as_ref())
        .into_iter()
        .flatten()
        .any(|n| n.typ() == kind && n.path().is_none())
}

/// Whether the specification asks for a new namespace of the kind of `flag` (`CLONE_NEW*`).
pub fn makes(spec: &Spec, flag: u64) -> bool {
    let all = spec.linux().as_ref().and_then(|l| l.namespaces().as_ref());
    all.into_iter().flatten().any(|n| n.path().is_none() && clone_flag(n.typ()) == flag)
}

/// Whether the container has a namespace of this kind that is not the caller's: a new one, or one by path.
pub(crate) fn is_private(spec: &Spec, kind: LinuxNamespaceType) -> bool {
    let all = spec.linux().as_ref().and_then(|l| l.namespaces().as_ref());
    all.into_iter().flatten().any(|n| n.typ() == kind)
}

/// Whether the container has a new namespace of this kind, which nobody else is in.
pub(crate) fn is_made(spec: &Spec, kind: LinuxNamespaceType) -> bool {
    let all = spec.linux().as_ref().and_then(|l| l.namespaces().as_ref());
    all.into_iter().flatten().any(|n| n.typ() == kind && n.path().is_none())
}

/// The flags for `clone3`. Two are not among them: the time namespace, whose offsets must be written before anything
/// enters it (the child unshares it and enters on exec), and the network namespace, which is made beside.
pub(crate) fn clone_flags(spec: &Spec) -> Result<u64, SpecError> {
    let mut flags = 0;
    let all = spec.linux().as_ref().and_then(|l| l.namespaces().as_ref());
    for (i, namespace) in all.into_iter().flatten().enumerate() {
        if namespace.path().is_some() {
            return Err(SpecError::new(
                Layer::Namespaces,
                format!("linux.namespaces[{i}].path"),
                "donjon run makes every namespace anew",
            ));
        }
        let flag = clone_flag(namespace.typ());
        if flags & flag != 0 {
            return Err(SpecError::new(
                Layer::Namespaces,
                format!("linux.namespaces[{i}].type"),
                format!("{} is named twice", namespace.typ()),
            ));
        }
        flags |= flag;
    }
    for (flag, name) in [(flag::MOUNT, "mount"), (flag::PID, "pid")] {
        if flags & flag == 0 {
            return Err(SpecError::new(
                Layer::Namespaces,
                "linux.namespaces",
                format!("there is no container without a {name} namespace of its own"),
            ));
        }
    }
    Ok(flags & !(flag::TIME | flag::NET))
}

/// Steps that furnish the new namespaces.
pub(crate) fn plan(spec: &Spec, draft: &mut Draft) -> Result<(), SpecError> {
    let new = |kind| is_new(spec, kind);
    if let Some(name) = spec.hostname() {
        if !is_private(spec, LinuxNamespaceType::Uts) {
            return Err(SpecError::new(Layer::Namespaces, "hostname", "needs a uts namespace of its own"));
        }
        if name.len() > 64 {
            return Err(SpecError::new(Layer::Namespaces, "hostname", "is longer than 64 bytes"));
        }
        let name = SpecError::c_string(Layer::Namespaces, "hostname", name.as_str())?;
        draft.add(Layer::Namespaces, "hostname", Op::Hostname(name));
    }
    if let Some(name) = spec.domainname() {
        if !is_private(spec, LinuxNamespaceType::Uts) || name.len() > 64 {
            return Err(SpecError::new(
                Layer::Namespaces,
                "domainname",
                "needs a uts namespace of its own and at most 64 bytes",
            ));
        }
        let name = SpecError::c_string(Layer::Namespaces, "domainname", name.as_str())?;
        draft.add(Layer::Namespaces, "domainname", Op::Domainname(name));
    }
    let offsets = spec.linux().as_ref().and_then(|l| l.time_offsets().as_ref());
    match (new(LinuxNamespaceType::Time), offsets) {
        (false, Some(offsets)) if !offsets.is_empty() => {
            return Err(SpecError::new(
                Layer::Namespaces,
                "linux.timeOffsets",
                "needs a time namespace of its own",
            ));
        }
        (true, offsets) => {
            let mut text = String::new();
            let mut sorted: Vec<_> = offsets.into_iter().flatten().collect();
            sorted.sort_by(|a, b| a.0.cmp(b.0));
            for (clock, offset) in sorted {
                let number = match clock.as_str() {
                    "monotonic" => 1,
                    "boottime" => 7,
                    other => {
                        return Err(SpecError::new(
                            Layer::Namespaces,
                            format!("linux.timeOffsets.{other}"),
                            "is no clock of a time namespace; there are monotonic and boottime",
                        ));
                    }
                };
                let nanos = offset.nanosecs().unwrap_or(0);
                text.push_str(&format!("{number} {} {nanos}\n", offset.secs().unwrap_or(0)));
            }
            let text = SpecError::c_string(Layer::Namespaces, "linux.timeOffsets", text)?;
            draft.add(Layer::Namespaces, "linux.timeOffsets", Op::TimeOffsets(text));
        }
        _ => {}
    }
    Ok(())
}

/// The network namespace to be made beside, with its settings; `None` where the specification asks for none.
pub(crate) fn network(spec: &Spec, origin: Origin) -> Result<Option<Network>, SpecError> {
    if !is_new(spec, LinuxNamespaceType::Network) {
        return Ok(None);
    }
    if origin == Origin::Bundle {
        // An engine's hooks furnish it first; then the settings are written by the container's process itself.
        return Ok(Some(Network { sysctls: Vec::new(), guards: false }));
    }
    let sysctls = super::limits::sysctls(spec, Origin::Donjon)?
        .into_iter()
        .filter(|s| s.namespace == LinuxNamespaceType::Network)
        .map(|s| Ok((SpecError::c_string(Layer::Limits, &s.field, format!("/proc/{}", s.path))?, s.value)))
        .collect::<Result<_, SpecError>>()?;
    Ok(Some(Network { sysctls, guards: true }))
}

/// The step into the network namespace where a mount needs it: sysfs shows the namespace that it was mounted from.
pub(crate) fn plan_early_network(spec: &Spec, draft: &mut Draft) {
    if is_new(spec, LinuxNamespaceType::Network) && mounts_sysfs(spec) {
        draft.add(Layer::Namespaces, "linux.namespaces", Op::EnterNetwork);
    }
}

/// The step into the network namespace, as late as it may be, since it is being made meanwhile; but before the masks:
/// files below `/proc/sys/net` and `/proc/PID/net` are others in each network namespace, and what is put over those of
/// one stays away from those of the next. (Entering it after the masks was tried: no start was measurably shorter.)
pub(crate) fn plan_network(spec: &Spec, draft: &mut Draft) {
    if is_new(spec, LinuxNamespaceType::Network) && !mounts_sysfs(spec) {
        draft.add(Layer::Namespaces, "linux.namespaces", Op::EnterNetwork);
    }
}

fn mounts_sysfs(spec: &Spec) -> bool {
    spec.mounts().iter().flatten().any(|m| m.typ().as_deref() == Some("sysfs"))
}

/// Steps of a further process: enter every namespace that the container was given.
pub(crate) fn plan_join(spec: &Spec, draft: &mut Draft) -> Result<(), SpecError> {
    let flags = clone_flags(spec)?
        | if is_new(spec, LinuxNamespaceType::Time) { flag::TIME } else { 0 }
        | if is_new(spec, LinuxNamespaceType::Network) { flag::NET } else { 0 };
    plan_join_flags(flags, draft);
    Ok(())
}

/// Steps that enter these namespaces of the container's first process. A pid namespace counts for children alone: the
/// fork that follows is planned by [`inside::plan`] when the rest is.
pub(crate) fn plan_join_flags(flags: u64, draft: &mut Draft) {
    draft.add(Layer::Identity, "", Op::NotDumpable);
    draft.add(Layer::Namespaces, "linux.namespaces", Op::JoinNamespaces { flags });
    if flags & flag::PID != 0 {
        inside::plan_at_once(draft);
    }
}

/// Sets the host name of the new uts namespace.
pub(crate) fn hostname(name: &CStr) -> Result<(), Errno> {
    rustix::system::sethostname(name.to_bytes())
}

/// Leaves for a new time namespace and sets its clocks; the program enters it by its own exec.
pub(crate) fn time_offsets(text: &CStr) -> Result<(), Errno> {
    donjon_sys::process::unshare(flag::TIME)?;
    if text.is_empty() {
        return Ok(());
    }
    let file = rustix::fs::open(
        c"/proc/self/timens_offsets",
        OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW,
        Mode::empty(),
    )?;
    rustix::io::write(&file, text.to_bytes()).map(drop)
}

/// Enters all namespaces of the container's first process at once.
pub(crate) fn join(ctx: &crate::child::Context<'_>, flags: u64) -> Result<(), Errno> {
    donjon_sys::process::setns(ctx.from.target.ok_or(Errno::SRCH)?, flags)
}
