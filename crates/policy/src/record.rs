//! The policy of a container that was started: read back from the specification on its record.
//!
//! What every container has is not said; what only one run has (its command, its environment, its host name) is not
//! policy, and is left out.

use std::collections::BTreeMap;
use std::path::Path;

use donjon_confine::Extensions;
use donjon_confine::extensions::Upper;
use oci_spec::runtime::{Capability, Spec};

use crate::diff::bytes as in_words;
use crate::error::PolicyError;
use crate::model::{Device, ExecIntegrity, Mount, MountKind, Policy, UserNamespace};

/// What donjon mounts into every container.
const OWN_MOUNTS: [&str; 5] = ["/proc", "/dev", "/dev/pts", "/sys", "/sys/devices/system/cpu"];

impl Policy {
    /// The policy of a container of donjon's own, from its specification.
    pub fn of_spec(spec: &Spec) -> Result<Policy, PolicyError> {
        let ext = Extensions::read(spec.annotations().as_ref())
            .map_err(|error| PolicyError::new("the record of the container", error.to_string()))?;
        let mut policy = Policy::default();
        let f = &mut policy.filesystem;
        (f.read, f.write, f.execute) = (ext.files.read, ext.files.write, ext.files.execute);
        f.landlock = Some(ext.landlock);
        f.proc_pid_only = Some(ext.proc_pid_only);
        f.read_only = spec.root().as_ref().and_then(|root| root.readonly());
        f.ram = match ext.upper {
            Upper::Ram { bytes } => Some(in_words(bytes)),
            Upper::None => None,
        };
        policy.integrity.exec =
            Some(if ext.no_new_code { ExecIntegrity::Enforce } else { ExecIntegrity::Off });
        policy.best_effort = ext.best_effort;
        policy.process.init = Some(ext.init);
        policy.resources.pids = Some(ext.pids_limit.and_then(|n| i64::try_from(n).ok()).unwrap_or(-1));
        policy.namespaces.nested = Some(ext.nested_userns);
        match ext.syscalls {
            Some(words) => {
                policy.syscalls.base = Some(words.allow);
                policy.syscalls.deny = words.deny;
                policy.sockets.families = Some(words.families);
            }
            None => policy.syscalls.profile = Some("the profile on record".to_string()),
        }
        process(spec, &mut policy);
        mounts(spec, &mut policy);
        linux(spec, &mut policy);
        Ok(policy)
    }
}

fn process(spec: &Spec, policy: &mut Policy) {
    let Some(process) = spec.process() else { return };
    let bare = |capability: &Capability| capability.to_string().trim_start_matches("CAP_").to_string();
    let bounding = process.capabilities().as_ref().and_then(|c| c.bounding().clone()).unwrap_or_default();
    let mut names: Vec<String> = bounding.iter().map(bare).collect();
    names.sort();
    let user = process.user();
    policy.process.user = Some(user.uid().to_string());
    policy.process.groups = user.additional_gids().iter().flatten().map(ToString::to_string).collect();
    match user.uid() {
        0 => policy.capabilities.root = Some(names),
        _ => policy.capabilities.add = names,
    }
    policy.process.terminal = process.terminal();
    policy.lsm.apparmor.clone_from(process.apparmor_profile());
    policy.lsm.selinux.clone_from(process.selinux_label());
    let number = |n: u64| if n == u64::MAX { "-1".to_string() } else { n.to_string() };
    for limit in process.rlimits().iter().flatten() {
        let name = limit.typ().to_string().trim_start_matches("RLIMIT_").to_ascii_lowercase();
        policy.resources.ulimits.insert(name, format!("{}:{}", number(limit.soft()), number(limit.hard())));
    }
}

fn mounts(spec: &Spec, policy: &mut Policy) {
    let enforced = policy.integrity.exec == Some(ExecIntegrity::Enforce);
    for mount in spec.mounts().iter().flatten() {
        let target = mount.destination().to_string_lossy().into_owned();
        let options = mount.options().clone().unwrap_or_default();
        let has = |name: &str| options.iter().any(|option| option == name);
        let value = |name: &str| {
            options.iter().find_map(|o| Some(o.strip_prefix(name)?.strip_prefix('=')?.to_string()))
        };
        let tmpfs = mount.typ().as_deref() == Some("tmpfs");
        if OWN_MOUNTS.contains(&target.as_str()) {
            continue;
        }
        if target == "/dev/shm" && mount.source().as_deref() == Some(Path::new("shm")) {
            policy.filesystem.shm_size = value("size");
            continue;
        }
        let of_read_only_root =
            ["/run", "/tmp", "/var/tmp"].contains(&target.as_str()) && tmpfs && has("noexec") == enforced;
        if of_read_only_root && policy.filesystem.read_only == Some(true) && value("size").is_none() {
            continue;
        }
        policy.mounts.push(match tmpfs {
            true => Mount {
                kind: MountKind::Tmpfs,
                target,
                read_only: has("ro"),
                exec: Some(!has("noexec")),
                size: value("size"),
                mode: value("mode"),
                source: None,
            },
            false => Mount {
                kind: MountKind::Bind,
                source: mount.source().as_ref().map(|source| source.to_string_lossy().into_owned()),
                target,
                read_only: has("rro") || has("ro"),
                exec: Some(!has("rnoexec") && !has("noexec")),
                size: None,
                mode: None,
            },
        });
    }
}

fn linux(spec: &Spec, policy: &mut Policy) {
    let Some(linux) = spec.linux() else { return };
    policy.filesystem.hide = linux.masked_paths().clone().unwrap_or_default();
    policy.filesystem.read_only_paths = linux.readonly_paths().clone().unwrap_or_default();
    if policy.integrity.exec == Some(ExecIntegrity::Enforce) {
        policy.filesystem.read_only_paths.retain(|path| path != "/proc");
    }
    let maps = linux.uid_mappings().as_deref().unwrap_or_default();
    policy.namespaces.user = Some(match maps {
        [] => UserNamespace::Host,
        [_] => UserNamespace::Auto,
        _ => UserNamespace::Range,
    });
    policy.namespaces.network = Some("none".to_string());
    if let Some(resources) = linux.resources() {
        let memory = resources.memory().as_ref();
        policy.resources.memory =
            memory.and_then(|m| m.limit()).and_then(|n| u64::try_from(n).ok()).map(in_words);
        policy.resources.memory_swap = memory.and_then(|m| m.swap()).map(|bytes| match bytes {
            // i64's largest stands for what had no room in it.
            -1 | i64::MAX => "-1".to_string(),
            bytes => u64::try_from(bytes).map_or_else(|_| "-1".to_string(), in_words),
        });
        let cpu = resources.cpu().as_ref();
        policy.resources.cpus = cpu
            .and_then(|cpu| Some((cpu.quota()?, cpu.period()?)))
            .filter(|(quota, period)| *quota > 0 && *period > 0)
            .map(|(quota, period)| quota as f64 / period as f64);
    }
    let own = |key: &str, value: &str| {
        key == "net.ipv4.ping_group_range" || key == "net.ipv4.ip_unprivileged_port_start" && value == "0"
    };
    policy.sysctls = linux
        .sysctl()
        .iter()
        .flatten()
        .filter(|(key, value)| !own(key, value))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect::<BTreeMap<_, _>>();
    policy.devices = linux
        .devices()
        .iter()
        .flatten()
        .map(|device| Device { path: device.path().to_string_lossy().into_owned() })
        .collect();
    policy.namespaces.time_offsets = linux
        .time_offsets()
        .iter()
        .flatten()
        .filter_map(|(clock, offset)| Some((clock.clone(), offset.secs()?)))
        .collect();
}
