//! Capabilities: which parts of root's power exist inside the user namespace.
//!
//! **Stops**: use of the kernel's privileged interfaces on the container's own namespaces (mounting, tracing,
//! network configuration...), where most kernel escapes begin. Bounding and inheritable sets are cut to what the
//! policy names, the ambient and inheritable sets are empty unless a capability was named for a program that does not
//! start as root (R12).
//!
//! **Can't stop**: anything outside the user namespace was never reachable: no capability there counts for the
//! host.

use oci_spec::runtime::{Capability, Process};
use rustix::io::Errno;

use crate::error::SpecError;
use crate::plan::{Draft, Layer, Op};

/// Names by number (`linux/capability.h`).
pub const NAMES: [&str; 41] = [
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
    "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
    "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
    "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL",
    "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON",
    "BPF", "CHECKPOINT_RESTORE",
];

/// The number of a capability named with or without `CAP_`, in any case.
pub fn number(name: &str) -> Option<u32> {
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    NAMES.iter().position(|n| *n == bare).and_then(|n| u32::try_from(n).ok())
}

/// The names of a set of capability numbers.
pub fn names(set: u64) -> Vec<&'static str> {
    NAMES.iter().enumerate().filter(|(n, _)| set & (1 << n) != 0).map(|(_, name)| *name).collect()
}

/// A set of the specification as bits.
fn bits<'a>(set: impl IntoIterator<Item = &'a Capability>, field: &str) -> Result<u64, SpecError> {
    set.into_iter().try_fold(0, |bits, capability| {
        let name = capability.to_string();
        let number = number(&name).ok_or_else(|| {
            SpecError::new(
                Layer::Capabilities,
                format!("process.capabilities.{field}"),
                format!("{name} is no capability that this kernel interface has"),
            )
        })?;
        Ok(bits | 1 << number)
    })
}

struct Sets {
    bounding: u64,
    inheritable: u64,
    permitted: u64,
    effective: u64,
    ambient: u64,
}

fn sets(process: &Process) -> Result<Sets, SpecError> {
    let capabilities = process.capabilities().as_ref();
    let get = |set: Option<&std::collections::HashSet<Capability>>, field: &str| {
        bits(set.into_iter().flatten(), field)
    };
    let bounding = get(capabilities.and_then(|c| c.bounding().as_ref()), "bounding")?;
    let permitted = get(capabilities.and_then(|c| c.permitted().as_ref()), "permitted")?;
    let effective = get(capabilities.and_then(|c| c.effective().as_ref()), "effective")?;
    let ambient = get(capabilities.and_then(|c| c.ambient().as_ref()), "ambient")?;
    let inheritable = get(capabilities.and_then(|c| c.inheritable().as_ref()), "inheritable")?;
    if effective & !permitted != 0 {
        return Err(SpecError::new(
            Layer::Capabilities,
            "process.capabilities.effective",
            format!("{} is effective but not permitted", names(effective & !permitted).join(", ")),
        ));
    }
    // The program could never get back what lies outside the bounding set.
    Ok(Sets {
        bounding,
        inheritable: inheritable & bounding,
        permitted: permitted & bounding,
        effective: effective & bounding,
        ambient: ambient & permitted & bounding,
    })
}

/// Whether the process may make namespaces (`CAP_SYS_ADMIN`).
pub(crate) fn may_administer(process: &Process) -> Result<bool, SpecError> {
    Ok(sets(process)?.bounding & 1 << SYS_ADMIN != 0)
}

/// The step that cuts the bounding set, while the process may still do so.
pub(crate) fn plan_bounding(process: &Process, draft: &mut Draft) -> Result<(), SpecError> {
    let keep = sets(process)?.bounding;
    draft.add(Layer::Capabilities, "process.capabilities.bounding", Op::BoundingSet { keep });
    Ok(())
}

/// The step that sets the other sets, after the ids are final.
pub(crate) fn plan_sets(process: &Process, draft: &mut Draft) -> Result<(), SpecError> {
    let Sets { permitted, effective, ambient, .. } = sets(process)?;
    draft.add(
        Layer::Capabilities,
        "process.capabilities",
        Op::CapabilitySets { permitted, effective, inheritable: ambient, ambient },
    );
    Ok(())
}

/// The same step for an engine's specification, which may name an inheritable set. With `filtered` and without
/// `no_new_privs` the kernel takes a filter from `CAP_SYS_ADMIN` alone: then that one is kept until the program is
/// executed, which no program inherits.
pub(crate) fn plan_bundle_sets(
    process: &Process,
    filtered: bool,
    draft: &mut Draft,
) -> Result<(), SpecError> {
    let Sets { permitted, effective, inheritable, ambient, .. } = sets(process)?;
    let kept = kept(process, filtered);
    draft.add(
        Layer::Capabilities,
        "process.capabilities",
        Op::CapabilitySets {
            permitted: permitted | kept,
            effective: effective | kept,
            inheritable: inheritable | ambient,
            ambient,
        },
    );
    Ok(())
}

/// What is kept for the filter beyond the program's own.
fn kept(process: &Process, filtered: bool) -> u64 {
    if filtered && !process.no_new_privileges().unwrap_or(false) { 1 << SYS_ADMIN } else { 0 }
}

/// The operation that gives up what was kept for the filter, if anything was.
pub(crate) fn letting_go(process: &Process, filtered: bool) -> Result<Option<Op>, SpecError> {
    let Sets { permitted, effective, inheritable, ambient, .. } = sets(process)?;
    let goes = kept(process, filtered) & !(permitted & effective) != 0;
    Ok(goes.then_some(Op::LetGo { permitted, effective, inheritable: inheritable | ambient }))
}

/// `CAP_SYS_ADMIN`
const SYS_ADMIN: u32 = 21;

/// Drops everything but `keep` from the bounding set.
pub(crate) fn bounding_set(keep: u64) -> Result<(), Errno> {
    for number in 0..64 {
        if keep & (1 << number) != 0 {
            continue;
        }
        match donjon_sys::process::drop_from_bounding_set(number) {
            Ok(()) => {}
            // Past the last capability of this kernel.
            Err(Errno::INVAL) => break,
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Sets effective, permitted, inheritable and ambient sets.
pub(crate) fn capability_sets(
    permitted: u64,
    effective: u64,
    inheritable: u64,
    ambient: u64,
) -> Result<(), Errno> {
    donjon_sys::process::clear_ambient_set()?;
    donjon_sys::process::capset(effective, permitted, inheritable)?;
    for number in (0..64).filter(|n| ambient & (1u64 << n) != 0) {
        donjon_sys::process::raise_ambient(number)?;
    }
    donjon_sys::process::keep_capabilities(false)
}
