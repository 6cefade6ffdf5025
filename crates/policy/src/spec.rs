//! From a policy to an OCI runtime specification, with what OCI has no word for in annotations.

mod integrity;
pub(crate) mod mounts;
mod process;

use std::collections::HashMap;
use std::path::PathBuf;

use donjon_confine::extensions::{Extensions, Files, Origin, Root as RootTreeKind, Upper};
use donjon_confine::layers::seccomp::SyscallPolicy;
use oci_spec::OciSpecError;
use oci_spec::runtime::{
    LinuxBuilder, LinuxCpuBuilder, LinuxDeviceBuilder, LinuxDeviceType, LinuxIdMapping,
    LinuxIdMappingBuilder, LinuxMemoryBuilder, LinuxNamespace, LinuxNamespaceBuilder, LinuxNamespaceType,
    LinuxPidsBuilder, LinuxResources, LinuxResourcesBuilder, LinuxSeccomp, LinuxTimeOffsetBuilder,
    RootBuilder, Spec, SpecBuilder,
};

use crate::error::PolicyError;
use crate::model::{ExecIntegrity, Policy, UserNamespace};
use crate::paths;
use crate::words::{numbers, sysctls};

/// Who calls donjon.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Caller {
    /// User id on the host.
    pub uid: u32,
    /// Group id on the host.
    pub gid: u32,
    /// Home directory on the host.
    pub home: Option<PathBuf>,
    /// Canonical paths of donjon's own state, which no container may reach.
    pub own: Vec<PathBuf>,
    /// Canonical paths of the policies and profiles in force, which no container may write (R24).
    pub policies: Vec<PathBuf>,
}

/// Who the program is inside, as resolved in the image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// User id inside.
    pub uid: u32,
    /// Group id inside.
    pub gid: u32,
    /// Supplementary groups inside.
    pub additional_gids: Vec<u32>,
    /// Name, for `USER`.
    pub name: String,
    /// Home directory inside, for `HOME`.
    pub home: String,
    /// Root inside has no capability unless one is named: in the image `host` the caller is itself and no more.
    pub powerless: bool,
}

/// The root file system, as the image gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootTree {
    /// `root.path`.
    pub path: PathBuf,
    /// How it is put together.
    pub root: RootTreeKind,
    /// What runs when no command is given.
    pub default_args: Vec<String>,
}

/// What this one container is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// The command.
    pub args: Vec<String>,
    /// The container's id; its beginning is the default host name.
    pub id: String,
    /// The first host id and the count of a range that is free for this container.
    pub range: Option<(u32, u32)>,
    /// `linux.cgroupsPath`, if the container gets a cgroup.
    pub cgroup: Option<PathBuf>,
}

/// Builds the specification of a container.
pub fn to_spec(
    policy: &Policy,
    tree: &RootTree,
    who: &Identity,
    caller: &Caller,
    request: &Request,
) -> Result<Spec, PolicyError> {
    not_there_yet(policy)?;
    let ids = Ids::choose(policy, who, caller, request)?;
    if ids.squash && !policy.process.groups.is_empty() {
        let what = "with one id alone the kernel lets nobody have further groups";
        return Err(
            PolicyError::new("--group-add", what).hint("--userns range gives the container ids of its own")
        );
    }
    let mut annotations = HashMap::new();
    extensions(policy, tree, who, &ids)?.write(&mut annotations);
    let linux = linux(policy, who, caller, request, &ids)?;
    SpecBuilder::default()
        .version("1.3.0")
        .root(
            RootBuilder::default()
                .path(tree.path.clone())
                .readonly(root_is_read_only(policy))
                .build()
                .map_err(internal)?,
        )
        .hostname(hostname(policy, request)?)
        .mounts(mounts::mounts(policy, caller, &ids)?)
        .process(process::process(policy, tree, who, request)?)
        .linux(linux)
        .annotations(annotations)
        .build()
        .map_err(internal)
}

/// What the language knows and this version can't hold is refused, never passed over (R31).
fn not_there_yet(policy: &Policy) -> Result<(), PolicyError> {
    let refuse = |key: &[&str], what: &str, hint: &str| {
        Err(PolicyError::new(format!("the policy's {}", key.join(".")), what).at_key(key).hint(hint))
    };
    if !policy.network.egress.is_empty() || !policy.network.publish.is_empty() {
        let key = if policy.network.egress.is_empty() { "publish" } else { "egress" };
        return refuse(
            &["network", key],
            "can't be held by this version: a container has loopback and no other network",
            "take it out; `egress = []` says that nothing may be reached, and that holds",
        );
    }
    if policy.integrity.exec == Some(ExecIntegrity::Measure) {
        let hint = "\"enforce\" refuses what \"measure\" would only write down; \"off\" does neither";
        return refuse(&["integrity", "exec"], "can't be held by this version", hint);
    }
    if enforced(policy) {
        integrity::check(policy)?;
    }
    let f = &policy.filesystem;
    let named = [&f.read, &f.write, &f.execute].iter().any(|list| list.is_some());
    if named && f.landlock == Some(false) {
        let what = "is false, and Landlock is what holds filesystem.read, write and execute";
        return refuse(&["filesystem", "landlock"], what, "leave it out, or the lists");
    }
    Ok(())
}

/// Whether nothing of the root can be written.
fn root_is_read_only(policy: &Policy) -> bool {
    policy.filesystem.read_only.unwrap_or(false) || enforced(policy)
}

/// Whether only the bytes of the root file system may become code.
fn enforced(policy: &Policy) -> bool {
    policy.integrity.exec == Some(ExecIntegrity::Enforce)
}

fn internal(error: OciSpecError) -> PolicyError {
    PolicyError::new("the specification", error.to_string())
}

fn at(place: &str) -> impl Fn(String) -> PolicyError + '_ {
    move |what| PolicyError::new(place, what)
}

/// How ids inside relate to ids outside.
struct Ids {
    user_namespace: bool,
    uids: Vec<(u32, u32, u32)>,
    gids: Vec<(u32, u32, u32)>,
    squash: bool,
    idmap: bool,
}

impl Ids {
    fn choose(
        policy: &Policy,
        who: &Identity,
        caller: &Caller,
        request: &Request,
    ) -> Result<Self, PolicyError> {
        let none =
            Self { user_namespace: false, uids: Vec::new(), gids: Vec::new(), squash: false, idmap: false };
        let mode = policy.namespaces.user.unwrap_or_default();
        if mode == UserNamespace::Host {
            return Ok(none);
        }
        let range = |what: &str| {
            request.range.filter(|(_, count)| *count > 0).ok_or_else(|| {
                PolicyError::new("--userns", format!("{what} needs a range of ids, and none is at hand"))
                    .hint("donjon doctor tells how to get one; --userns auto needs none")
            })
        };
        if caller.uid == 0 {
            let (first, count) = range("a container of root's")?;
            let map = vec![(0, first, count)];
            return Ok(Self {
                user_namespace: true,
                uids: map.clone(),
                gids: map,
                squash: false,
                idmap: true,
            });
        }
        if mode == UserNamespace::Range {
            let (first, count) = range("range")?;
            let map = |own| vec![(0, own, 1), (1, first, count)];
            return Ok(Self {
                user_namespace: true,
                uids: map(caller.uid),
                gids: map(caller.gid),
                squash: false,
                idmap: false,
            });
        }
        Ok(Self {
            user_namespace: true,
            uids: vec![(who.uid, caller.uid, 1)],
            gids: vec![(who.gid, caller.gid, 1)],
            squash: true,
            idmap: false,
        })
    }
}

fn extensions(
    policy: &Policy,
    tree: &RootTree,
    who: &Identity,
    ids: &Ids,
) -> Result<Extensions, PolicyError> {
    let ram = policy.filesystem.ram.as_deref().unwrap_or("256m");
    let best_effort = policy.best_effort.clone();
    if let Some(word) = best_effort.iter().find(|word| !OPTIONAL.contains(&word.as_str())) {
        return Err(PolicyError::new("--best-effort", format!("{word:?} is no layer that can be left out"))
            .hint(format!("there are: {}", OPTIONAL.join(", "))));
    }
    // Limits that nobody but the defaults and presets asked for hold where a cgroup can be made.
    let optional = [(policy.resources.memory_named, "memory"), (policy.resources.cpus_named, "cpu")];
    let optional_limits =
        optional.iter().filter(|(named, _)| !named).map(|(_, name)| name.to_string()).collect();
    Ok(Extensions {
        origin: Origin::Donjon,
        root: tree.root.clone(),
        upper: Upper::Ram { bytes: numbers::size(ram).map_err(at("[filesystem] ram"))? },
        squash: ids.squash,
        syscalls: match policy.syscalls.profile {
            Some(_) => None,
            None => Some(syscalls_of(policy, who, ids.squash)?),
        },
        landlock: policy.filesystem.landlock.unwrap_or(true),
        files: Files {
            read: policy.filesystem.read.clone(),
            write: policy.filesystem.write.clone(),
            execute: policy.filesystem.execute.clone(),
        },
        no_new_code: enforced(policy),
        init: policy.process.init.unwrap_or(false),
        proc_pid_only: policy.filesystem.proc_pid_only.unwrap_or(false),
        nested_userns: policy.namespaces.nested.unwrap_or(false),
        best_effort,
        optional_limits,
        judged_sources: true,
        pids_limit: pids_limit(policy)?,
    })
}

/// Layers that `--best-effort` may name (R31).
pub(crate) const OPTIONAL: [&str; 2] = ["cgroups", "landlock"];

fn pids_limit(policy: &Policy) -> Result<Option<u64>, PolicyError> {
    match policy.resources.pids {
        None | Some(-1) => Ok(None),
        Some(n) if n > 0 => Ok(u64::try_from(n).ok()),
        Some(n) => Err(PolicyError::new("--pids-limit", format!("{n} processes: nothing could run"))
            .hint("write a number above 0, or -1 for no limit")),
    }
}

fn hostname(policy: &Policy, request: &Request) -> Result<String, PolicyError> {
    let name = match &policy.process.hostname {
        Some(name) => name.clone(),
        None => request.id.chars().take(12).collect(),
    };
    if is_hostname(&name) {
        Ok(name)
    } else {
        Err(PolicyError::new("--hostname", format!("{name:?} is no host name")))
    }
}

pub(crate) fn is_hostname(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 64
        && !name.starts_with('-')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.')
}

fn id_mappings(maps: &[(u32, u32, u32)]) -> Result<Vec<LinuxIdMapping>, PolicyError> {
    maps.iter()
        .map(|(inside, outside, size)| {
            LinuxIdMappingBuilder::default()
                .container_id(*inside)
                .host_id(*outside)
                .size(*size)
                .build()
                .map_err(internal)
        })
        .collect()
}

fn namespaces(policy: &Policy, ids: &Ids) -> Result<Vec<LinuxNamespace>, PolicyError> {
    match policy.namespaces.network.as_deref() {
        None | Some("none") => {}
        Some(other) => {
            return Err(PolicyError::new("--network", format!("{other:?} is not in this version"))
                .hint("there is none so far: loopback only"));
        }
    }
    let mut kinds = vec![
        LinuxNamespaceType::Pid,
        LinuxNamespaceType::Mount,
        LinuxNamespaceType::Network,
        LinuxNamespaceType::Ipc,
        LinuxNamespaceType::Uts,
        LinuxNamespaceType::Cgroup,
    ];
    if ids.user_namespace {
        kinds.insert(0, LinuxNamespaceType::User);
    }
    if !policy.namespaces.time_offsets.is_empty() {
        kinds.push(LinuxNamespaceType::Time);
    }
    kinds.into_iter().map(|typ| LinuxNamespaceBuilder::default().typ(typ).build().map_err(internal)).collect()
}

fn linux(
    policy: &Policy,
    who: &Identity,
    _caller: &Caller,
    request: &Request,
    ids: &Ids,
) -> Result<oci_spec::runtime::Linux, PolicyError> {
    let f = &policy.filesystem;
    let mut masked: Vec<String> =
        f.hide.iter().filter(|m| !f.unmask.contains(m)).map(|m| paths::tree(m).to_string()).collect();
    // One mask over another would cover nothing and cost a mount.
    let mut seen = std::collections::HashSet::new();
    masked.retain(|m| seen.insert(m.clone()));
    let read_only: Vec<String> = f
        .read_only_paths
        .iter()
        .filter(|p| !f.unmask.contains(p) && !f.proc_pid_only.unwrap_or(false))
        .cloned()
        .chain(enforced(policy).then(|| "/proc".to_string()))
        .collect();
    let mut settings: HashMap<String, String> = HashMap::new();
    // Its own network is its own to ping.
    settings.insert("net.ipv4.ping_group_range".into(), format!("{0} {0}", who.gid));
    // A program that is not root inside may still serve port 80 of its own network.
    if who.uid != 0 {
        settings.insert("net.ipv4.ip_unprivileged_port_start".into(), "0".into());
    }
    for (key, value) in &policy.sysctls {
        sysctls::check(key).map_err(at("--sysctl"))?;
        settings.insert(key.clone(), value.clone());
    }
    let mut linux = LinuxBuilder::default()
        .namespaces(namespaces(policy, ids)?)
        .resources(resources(policy)?)
        .masked_paths(masked)
        .readonly_paths(read_only)
        .sysctl(settings);
    if let Some(profile) = named_profile(policy)? {
        linux = linux.seccomp(profile);
    }
    if ids.user_namespace {
        linux = linux.uid_mappings(id_mappings(&ids.uids)?).gid_mappings(id_mappings(&ids.gids)?);
    }
    if let Some(cgroup) = &request.cgroup {
        linux = linux.cgroups_path(cgroup.clone());
    }
    if !policy.devices.is_empty() {
        linux = linux.devices(devices(policy)?);
    }
    if !policy.namespaces.time_offsets.is_empty() {
        let offsets = policy
            .namespaces
            .time_offsets
            .iter()
            .map(|(clock, seconds)| {
                let offset = LinuxTimeOffsetBuilder::default()
                    .secs(*seconds)
                    .nanosecs(0u32)
                    .build()
                    .map_err(internal)?;
                Ok((clock.clone(), offset))
            })
            .collect::<Result<HashMap<_, _>, PolicyError>>()?;
        linux = linux.time_offsets(offsets);
    }
    linux.build().map_err(internal)
}

fn devices(policy: &Policy) -> Result<Vec<oci_spec::runtime::LinuxDevice>, PolicyError> {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    policy
        .devices
        .iter()
        .map(|device| {
            let device = crate::words::devices::device(&device.path).map_err(at("--device"))?;
            let place = format!("--device {}", device.path);
            let meta = std::fs::symlink_metadata(&device.path)
                .map_err(|e| PolicyError::new(&place, crate::load::reason(&e)))?;
            if !meta.file_type().is_char_device() {
                return Err(PolicyError::new(place, "is no character device; others are never given"));
            }
            let number = meta.rdev();
            LinuxDeviceBuilder::default()
                .path(device.path.clone())
                .typ(LinuxDeviceType::C)
                .major(i64::from(rustix::fs::major(number)))
                .minor(i64::from(rustix::fs::minor(number)))
                .build()
                .map_err(internal)
        })
        .collect()
}

fn resources(policy: &Policy) -> Result<LinuxResources, PolicyError> {
    let l = &policy.resources;
    let mut resources = LinuxResourcesBuilder::default();
    if let Some(pids) = pids_limit(policy)? {
        let pids = i64::try_from(pids).unwrap_or(i64::MAX);
        resources = resources.pids(LinuxPidsBuilder::default().limit(pids).build().map_err(internal)?);
    }
    if let Some(memory) = &l.memory {
        let bytes = numbers::size(memory).map_err(at("--memory"))?;
        if bytes < 512 * 1024 {
            return Err(PolicyError::new("--memory", format!("{memory}: no program fits"))
                .hint("write at least 512k"));
        }
        let swap = match l.memory_swap.as_deref() {
            None => bytes,
            Some("-1") => u64::MAX,
            Some(word) => numbers::size(word).map_err(at("--memory-swap"))?,
        };
        if swap < bytes {
            return Err(PolicyError::new(
                "--memory-swap",
                "is memory and swap together, so at least --memory",
            ));
        }
        let signed = |n: u64| i64::try_from(n).unwrap_or(-1);
        let memory = LinuxMemoryBuilder::default()
            .limit(signed(bytes))
            .swap(signed(swap))
            .build()
            .map_err(internal)?;
        resources = resources.memory(memory);
    }
    if let Some(cpus) = l.cpus {
        if !cpus.is_finite() || cpus < 0.01 {
            return Err(PolicyError::new("--cpus", format!("{cpus}: write a number from 0.01 up")));
        }
        let cpu = LinuxCpuBuilder::default()
            .period(100_000u64)
            .quota((cpus * 100_000.0) as i64)
            .build()
            .map_err(internal)?;
        resources = resources.cpu(cpu);
    }
    resources.build().map_err(internal)
}

/// A profile in the format of other engines, if one was named.
fn named_profile(policy: &Policy) -> Result<Option<LinuxSeccomp>, PolicyError> {
    let Some(file) = &policy.syscalls.profile else { return Ok(None) };
    let place = format!("--security-opt seccomp={file}");
    let fail = |what: String| PolicyError::new(&place, what);
    let meta = std::fs::metadata(file).map_err(|e| fail(crate::load::reason(&e)))?;
    if !meta.is_file() || meta.len() > 1 << 20 {
        return Err(fail("is no regular file of at most 1 MiB".to_string()));
    }
    let text = std::fs::read_to_string(file).map_err(|e| fail(crate::load::reason(&e)))?;
    serde_json::from_str(&text).map(Some).map_err(|e| fail(format!("is no seccomp profile: {e}")))
}

/// What a policy says about system calls, for a program that is `who`. With `squash` one id is mapped.
pub fn syscalls_of(policy: &Policy, who: &Identity, squash: bool) -> Result<SyscallPolicy, PolicyError> {
    let syscalls = &policy.syscalls;
    let mut allow = syscalls.base.clone().unwrap_or_else(|| vec!["@default".to_string()]);
    allow.extend(syscalls.allow.iter().cloned());
    let mut families = policy.sockets.families.clone().unwrap_or_default();
    families.extend(policy.sockets.allow.iter().cloned());
    Ok(SyscallPolicy {
        allow,
        deny: syscalls.deny.clone(),
        families,
        capabilities: process::capability_names(policy, who)?
            .into_iter()
            .map(|c| format!("CAP_{c}"))
            .collect(),
        squash,
        nested_userns: policy.namespaces.nested.unwrap_or(false),
        no_new_code: enforced(policy),
        record: true,
    })
}
