//! Limits: resources that run out for the container alone.
//!
//! **Stops**: a fork bomb even without a cgroup (processes are counted per user namespace and id, Linux 5.14, so
//! `RLIMIT_NPROC` inside counts the container's own and no others); core dumps; nested namespaces, whose limits
//! are set to zero while the first process still may (R15).
//!
//! **Can't stop**: use of memory and CPU time by many processes together. That takes a cgroup (`cgroups`).

use std::ffi::CStr;

use oci_spec::runtime::{LinuxNamespaceType, PosixRlimitType, Process, Spec};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit};

use crate::child::Context;
use crate::error::SpecError;
use crate::extensions::{Extensions, Origin};
use crate::plan::{Draft, Layer, Op};

use super::mounts::handle;
use super::namespaces;

/// Per-user-namespace ceilings that are set to zero: nothing of the kind can be made inside. Mount namespaces are
/// not among them: a detached mount lives in one, and the set-up makes many; without a user namespace to be root
/// in, a program can't make one.
const NESTED: [&str; 7] = [
    "user/max_user_namespaces", "user/max_pid_namespaces", "user/max_net_namespaces",
    "user/max_ipc_namespaces", "user/max_uts_namespaces", "user/max_cgroup_namespaces",
    "user/max_time_namespaces",
];

/// Prefixes of the settings that belong to a namespace of the container's, with that namespace.
fn owner(key: &str) -> Option<LinuxNamespaceType> {
    let ipc = ["kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue."];
    if key.starts_with("net.") {
        Some(LinuxNamespaceType::Network)
    } else if ipc.iter().any(|p| key.starts_with(p)) {
        Some(LinuxNamespaceType::Ipc)
    } else if matches!(key, "kernel.domainname" | "kernel.hostname") {
        Some(LinuxNamespaceType::Uts)
    } else {
        None
    }
}

/// A setting of one of the container's namespaces.
pub(crate) struct Sysctl {
    pub namespace: LinuxNamespaceType,
    pub field: String,
    /// Path below `/proc`.
    pub path: String,
    pub value: std::ffi::CString,
}

/// The path below `/proc/sys` of a setting: its parts are separated by what comes first of `.` and `/`, and the other may
/// be a part of a name (`net/ipv4/conf/eth0.100/forwarding`, `net.ipv4.conf.eth0/100.forwarding`).
fn path_of(key: &str, origin: Origin) -> Option<String> {
    let first = key.find(['.', '/']).and_then(|at| key.as_bytes().get(at))?;
    let path: String = match (first, origin) {
        (b'/', Origin::Donjon) => return None,
        (b'/', Origin::Bundle) => key.to_string(),
        (_, Origin::Donjon) if key.contains('/') => return None,
        _ => key
            .chars()
            .map(|c| {
                if c == '.' {
                    '/'
                } else if c == '/' {
                    '.'
                } else {
                    c
                }
            })
            .collect(),
    };
    path.split('/').all(|part| !matches!(part, "" | "." | "..")).then_some(path)
}

/// The specification's settings, each checked to belong to a namespace of the container's own.
pub(crate) fn sysctls(spec: &Spec, origin: Origin) -> Result<Vec<Sysctl>, SpecError> {
    let all = spec.linux().as_ref().and_then(|l| l.sysctl().as_ref());
    let mut sorted: Vec<_> = all.into_iter().flatten().collect();
    sorted.sort();
    sorted
        .into_iter()
        .map(|(key, value)| {
            let field = format!("linux.sysctl[{key}]");
            let refuse = |what: String| SpecError::new(Layer::Limits, field.clone(), what);
            let dotted = path_of(key, origin).map(|path| path.replace('/', "."));
            let namespace = owner(dotted.as_deref().unwrap_or(key))
                .ok_or_else(|| refuse("is a setting of the whole machine, not of a namespace".to_string()))?;
            let own = match origin {
                Origin::Donjon => namespaces::is_new(spec, namespace),
                Origin::Bundle => namespaces::is_private(spec, namespace),
            };
            if !own {
                return Err(refuse(format!("needs a {namespace} namespace of its own")));
            }
            let path = path_of(key, origin).ok_or_else(|| refuse("is not a dotted name".to_string()))?;
            let value = SpecError::c_string(Layer::Limits, &field, value.as_str())?;
            Ok(Sysctl { namespace, path: format!("sys/{path}"), value, field })
        })
        .collect()
}

/// Steps for sysctls and the ceilings of the user namespace. Settings of the network are written where that
/// namespace is made.
pub(crate) fn plan(
    spec: &Spec,
    process: &Process,
    ext: &Extensions,
    draft: &mut Draft,
) -> Result<(), SpecError> {
    let early = |s: &Sysctl| s.namespace != LinuxNamespaceType::Network || ext.origin == Origin::Bundle;
    for sysctl in sysctls(spec, ext.origin)?.into_iter().filter(early) {
        let path = SpecError::c_string(Layer::Limits, &sysctl.field, sysctl.path)?;
        draft.add(Layer::Limits, sysctl.field, Op::Sysctl { path, value: sysctl.value });
    }
    if namespaces::is_new(spec, LinuxNamespaceType::User) && !ext.nested_userns {
        // Without CAP_SYS_ADMIN the other kinds can't be made except in a new user namespace.
        let others = super::capabilities::may_administer(process)?;
        for name in NESTED.iter().take(if others { NESTED.len() } else { 1 }) {
            let path = SpecError::c_string(Layer::Limits, "", format!("sys/{name}"))?;
            draft.add(Layer::Limits, "", Op::Sysctl { path, value: c"0".into() });
        }
    }
    // An engine's is written by the parent: lowering it needs a privilege over the machine.
    if let Some(adj) = process.oom_score_adj().filter(|_| ext.origin == Origin::Donjon) {
        if !(-1000..=1000).contains(&adj) {
            return Err(SpecError::new(
                Layer::Limits,
                "process.oomScoreAdj",
                "is not between -1000 and 1000",
            ));
        }
        let value = SpecError::c_string(Layer::Limits, "process.oomScoreAdj", adj.to_string())?;
        draft.add(Layer::Limits, "process.oomScoreAdj", Op::OomScoreAdj(value));
    }
    Ok(())
}

/// Steps for resource limits alone.
///
/// The kernel looks at `RLIMIT_NPROC` first and tells nobody that it was hit. Where a cgroup counts processes too, the
/// limit here is one more, so that the cgroup refuses, and counts what it refused. And with one id the guard has it too,
/// and is in the same user namespace: the kernel counts it among the processes. `more` is the sum of these.
pub(crate) fn plan_rlimits(
    process: &Process,
    ext: &Extensions,
    more: u64,
    draft: &mut Draft,
) -> Result<(), SpecError> {
    let most = ext.pids_limit.map(|pids| pids.saturating_add(more));
    let mut seen = Vec::new();
    for (i, limit) in process.rlimits().iter().flatten().enumerate() {
        let field = format!("process.rlimits[{i}]");
        let (name, resource) = resource(limit.typ());
        if seen.contains(&resource) {
            return Err(SpecError::new(Layer::Limits, field, format!("{name} is limited twice")));
        }
        if limit.soft() > limit.hard() {
            return Err(SpecError::new(Layer::Limits, field, "soft is above hard"));
        }
        seen.push(resource);
        let (mut soft, mut hard) = (limit.soft(), limit.hard());
        if let (Some(pids), 6) = (most, resource) {
            (soft, hard) = (soft.min(pids), hard.min(pids));
        }
        let op = match draft.origin {
            Origin::Donjon => Op::Rlimit { name, resource, soft, hard },
            Origin::Bundle => Op::ExactRlimit { name, resource, soft, hard },
        };
        draft.add(Layer::Limits, field, op);
    }
    if let Some(pids) = most.filter(|_| !seen.contains(&6)) {
        draft.add(
            Layer::Limits,
            "linux.resources.pids.limit",
            Op::Rlimit { name: "RLIMIT_NPROC", resource: 6, soft: pids, hard: pids },
        );
    }
    Ok(())
}

/// The kernel's name and number of a resource (`man 2 getrlimit`).
pub(crate) fn resource(typ: PosixRlimitType) -> (&'static str, u32) {
    match typ {
        PosixRlimitType::RlimitCpu => ("RLIMIT_CPU", 0),
        PosixRlimitType::RlimitFsize => ("RLIMIT_FSIZE", 1),
        PosixRlimitType::RlimitData => ("RLIMIT_DATA", 2),
        PosixRlimitType::RlimitStack => ("RLIMIT_STACK", 3),
        PosixRlimitType::RlimitCore => ("RLIMIT_CORE", 4),
        PosixRlimitType::RlimitRss => ("RLIMIT_RSS", 5),
        PosixRlimitType::RlimitNproc => ("RLIMIT_NPROC", 6),
        PosixRlimitType::RlimitNofile => ("RLIMIT_NOFILE", 7),
        PosixRlimitType::RlimitMemlock => ("RLIMIT_MEMLOCK", 8),
        PosixRlimitType::RlimitAs => ("RLIMIT_AS", 9),
        PosixRlimitType::RlimitLocks => ("RLIMIT_LOCKS", 10),
        PosixRlimitType::RlimitSigpending => ("RLIMIT_SIGPENDING", 11),
        PosixRlimitType::RlimitMsgqueue => ("RLIMIT_MSGQUEUE", 12),
        PosixRlimitType::RlimitNice => ("RLIMIT_NICE", 13),
        PosixRlimitType::RlimitRtprio => ("RLIMIT_RTPRIO", 14),
        PosixRlimitType::RlimitRttime => ("RLIMIT_RTTIME", 15),
    }
}

/// The resource with the kernel's number.
pub(crate) fn numbered(resource: u32) -> Result<Resource, Errno> {
    Ok(match resource {
        0 => Resource::Cpu,
        1 => Resource::Fsize,
        2 => Resource::Data,
        3 => Resource::Stack,
        4 => Resource::Core,
        5 => Resource::Rss,
        6 => Resource::Nproc,
        7 => Resource::Nofile,
        8 => Resource::Memlock,
        9 => Resource::As,
        10 => Resource::Locks,
        11 => Resource::Sigpending,
        12 => Resource::Msgqueue,
        13 => Resource::Nice,
        14 => Resource::Rtprio,
        15 => Resource::Rttime,
        _ => return Err(Errno::INVAL),
    })
}

/// A limit as the kernel takes it.
pub(crate) fn value(n: u64) -> Option<u64> {
    (n != u64::MAX).then_some(n)
}

/// Sets one limit. Limits only go down: a hard limit above the caller's is cut to the caller's, as raising it needs
/// a privilege over the host.
pub(crate) fn rlimit(resource: u32, soft: u64, hard: u64) -> Result<(), Errno> {
    let ceiling = rustix::process::getrlimit(numbered(resource)?).maximum.unwrap_or(u64::MAX);
    exact_rlimit(resource, soft.min(ceiling), hard.min(ceiling))
}

/// Sets one soft limit alone, no higher than the hard one.
pub(crate) fn soft_limit(resource: u32, soft: u64) -> Result<(), Errno> {
    let hard = rustix::process::getrlimit(numbered(resource)?).maximum.unwrap_or(u64::MAX);
    exact_rlimit(resource, soft.min(hard), hard)
}

/// Sets one limit to what was asked for, or fails. The parent has raised the hard limit before, where it had to be.
pub(crate) fn exact_rlimit(resource: u32, soft: u64, hard: u64) -> Result<(), Errno> {
    let limit = Rlimit { current: value(soft), maximum: value(hard) };
    rustix::process::setrlimit(numbered(resource)?, limit)
}

/// Writes this process's `oom_score_adj`, which programs inherit.
pub(crate) fn oom_score_adj(ctx: &Context<'_>, value: &CStr) -> Result<(), Errno> {
    handle::write(ctx, c"1/oom_score_adj", value.to_bytes())
}
