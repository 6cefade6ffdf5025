//! From a policy to an OCI runtime specification, with what OCI has no word for in annotations.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use donjon_confine::extensions::{Extensions, Root as RootTreeKind, Upper};
use donjon_confine::layers::seccomp::SyscallPolicy;
use oci_spec::OciSpecError;
use oci_spec::runtime::{
    Capability, LinuxBuilder, LinuxCapabilitiesBuilder, LinuxCpuBuilder, LinuxDeviceBuilder, LinuxDeviceType,
    LinuxIdMapping, LinuxIdMappingBuilder, LinuxMemoryBuilder, LinuxNamespace, LinuxNamespaceBuilder,
    LinuxNamespaceType, LinuxPidsBuilder, LinuxResources, LinuxResourcesBuilder, LinuxSeccomp,
    LinuxTimeOffsetBuilder, Mount as SpecMount, MountBuilder, PosixRlimit, PosixRlimitBuilder,
    Process as SpecProcess, ProcessBuilder, RootBuilder, Spec, SpecBuilder, UserBuilder,
};

use crate::error::PolicyError;
use crate::guard;
use crate::model::{Mount, MountKind, Policy, UserNamespace};
use crate::words::{capabilities, numbers, sysctls, ulimits};

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
    let ids = Ids::choose(policy, who, caller, request)?;
    let mut annotations = HashMap::new();
    extensions(policy, tree, who, &ids)?.write(&mut annotations);
    let linux = linux(policy, who, caller, request, &ids)?;
    SpecBuilder::default()
        .version("1.3.0")
        .root(
            RootBuilder::default()
                .path(tree.path.clone())
                .readonly(policy.filesystem.read_only.unwrap_or(false))
                .build()
                .map_err(internal)?,
        )
        .hostname(hostname(policy, request)?)
        .mounts(mounts(policy, caller, &ids)?)
        .process(process(policy, tree, who, request)?)
        .linux(linux)
        .annotations(annotations)
        .build()
        .map_err(internal)
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
    let optional = [(policy.limits.memory_named, "memory"), (policy.limits.cpus_named, "cpu")];
    let optional_limits =
        optional.iter().filter(|(named, _)| !named).map(|(_, name)| name.to_string()).collect();
    Ok(Extensions {
        root: tree.root.clone(),
        upper: Upper::Ram { bytes: numbers::size(ram).map_err(at("[filesystem] ram"))? },
        squash: ids.squash,
        syscalls: match policy.syscalls.profile {
            Some(_) => None,
            None => Some(syscalls_of(policy, who, ids.squash)?),
        },
        landlock: policy.filesystem.landlock.unwrap_or(true),
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
const OPTIONAL: [&str; 2] = ["cgroups", "landlock"];

fn pids_limit(policy: &Policy) -> Result<Option<u64>, PolicyError> {
    match policy.limits.pids {
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
    let ok = !name.is_empty()
        && name.len() <= 64
        && !name.starts_with('-')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.');
    if ok { Ok(name) } else { Err(PolicyError::new("--hostname", format!("{name:?} is no host name"))) }
}

fn process(
    policy: &Policy,
    tree: &RootTree,
    who: &Identity,
    request: &Request,
) -> Result<SpecProcess, PolicyError> {
    let p = &policy.process;
    let mut args = p.entrypoint.clone().unwrap_or_default();
    args.extend(request.args.iter().cloned());
    if args.is_empty() {
        args.clone_from(&tree.default_args);
    }
    let cwd = p.workdir.clone().unwrap_or_else(|| "/".to_string());
    if !cwd.starts_with('/') || cwd.contains('\0') {
        return Err(PolicyError::new("--workdir", format!("{cwd:?} is no absolute path")));
    }
    let umask = numbers::octal(p.umask.as_deref().unwrap_or("022"), 0o777).map_err(at("--umask"))?;
    let user = UserBuilder::default()
        .uid(who.uid)
        .gid(who.gid)
        .umask(umask)
        .additional_gids(who.additional_gids.clone())
        .build()
        .map_err(internal)?;
    let terminal = p.terminal.unwrap_or(false);
    let set = capability_set(policy, who)?;
    let ambient: HashSet<Capability> = if who.uid == 0 { HashSet::new() } else { set.clone() };
    let capabilities = LinuxCapabilitiesBuilder::default()
        .bounding(set.clone())
        .permitted(set.clone())
        .effective(set)
        .inheritable(ambient.clone())
        .ambient(ambient)
        .build()
        .map_err(internal)?;
    ProcessBuilder::default()
        .terminal(terminal)
        .user(user)
        .args(args)
        .env(environment(policy, who, terminal))
        .cwd(cwd)
        .capabilities(capabilities)
        .rlimits(rlimits(policy)?)
        .no_new_privileges(true)
        .build()
        .map_err(internal)
}

/// The environment, from nothing: what the policy names, and who the program is.
fn environment(policy: &Policy, who: &Identity, terminal: bool) -> Vec<String> {
    let mut env = policy.process.env.clone();
    let mut default = |name: &str, value: &str| {
        env.entry(name.to_string()).or_insert_with(|| value.to_string());
    };
    default("HOME", &who.home);
    default("USER", &who.name);
    default("TERM", if terminal { "xterm-256color" } else { "dumb" });
    env.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
}

/// The capabilities that the program may have: root's list for one that starts as root, else only what was named.
fn capability_names(policy: &Policy, who: &Identity) -> Result<Vec<String>, PolicyError> {
    let c = &policy.capabilities;
    let mut names = Vec::new();
    let all_dropped = c.drop.iter().any(|d| d == "ALL");
    if who.uid == 0 && !who.powerless && !all_dropped {
        for name in c.root.iter().flatten() {
            names.push(capabilities::added(name).map_err(at("[capabilities] root"))?);
        }
    }
    for name in &c.add {
        names.push(capabilities::added(name).map_err(at("--cap-add"))?);
    }
    for name in &c.drop {
        let name = capabilities::dropped(name).map_err(at("--cap-drop"))?;
        if name != "ALL" {
            names.retain(|n| *n != name);
        }
    }
    names.sort();
    names.dedup();
    Ok(names)
}

fn capability_set(policy: &Policy, who: &Identity) -> Result<HashSet<Capability>, PolicyError> {
    capability_names(policy, who)?
        .iter()
        .map(|name| {
            serde_json::from_value(serde_json::Value::String(format!("CAP_{name}")))
                .map_err(|e| PolicyError::new("[capabilities]", e.to_string()))
        })
        .collect()
}

fn rlimits(policy: &Policy) -> Result<Vec<PosixRlimit>, PolicyError> {
    policy
        .limits
        .ulimits
        .iter()
        .map(|(name, value)| {
            let (soft, hard) = ulimits::values(value).map_err(at("--ulimit"))?;
            PosixRlimitBuilder::default()
                .typ(ulimits::resource(name).map_err(at("--ulimit"))?)
                .soft(soft)
                .hard(hard)
                .build()
                .map_err(internal)
        })
        .collect()
}

fn entry(destination: &str, typ: &str, source: &str, options: &[&str]) -> Result<SpecMount, PolicyError> {
    MountBuilder::default()
        .destination(destination)
        .typ(typ)
        .source(source)
        .options(options.iter().map(|o| o.to_string()).collect::<Vec<_>>())
        .build()
        .map_err(internal)
}

fn mounts(policy: &Policy, caller: &Caller, ids: &Ids) -> Result<Vec<SpecMount>, PolicyError> {
    let f = &policy.filesystem;
    let mut mounts = vec![
        entry("/proc", "proc", "proc", &["nosuid", "nodev", "noexec"])?,
        entry("/dev", "tmpfs", "tmpfs", &["ro", "nosuid", "noexec", "mode=755"])?,
        entry(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"],
        )?,
    ];
    let shm = match &f.shm_size {
        Some(size) => vec![format!("size={}", numbers::size(size).map_err(at("--shm-size"))?)],
        None => Vec::new(),
    };
    let shm: Vec<&str> = ["nosuid", "nodev", "noexec", "mode=1777"]
        .into_iter()
        .chain(shm.iter().map(String::as_str))
        .collect();
    mounts.push(entry("/dev/shm", "tmpfs", "shm", &shm)?);
    mounts.push(entry("/sys", "tmpfs", "tmpfs", &["ro", "nosuid", "nodev", "noexec", "mode=755"])?);
    if !f.proc_pid_only.unwrap_or(false) {
        let cpu = "/sys/devices/system/cpu";
        mounts.push(entry(cpu, "bind", cpu, &["bind", "ro", "nosuid", "nodev", "noexec"])?);
    }
    if f.read_only.unwrap_or(false) {
        for (path, mode) in [("/run", "mode=755"), ("/tmp", "mode=1777"), ("/var/tmp", "mode=1777")] {
            if !policy.mounts.iter().any(|m| m.target == path) {
                mounts.push(entry(path, "tmpfs", "tmpfs", &["nosuid", "nodev", mode])?);
            }
        }
    }
    for mount in &policy.mounts {
        mounts.push(match mount.kind {
            MountKind::Bind => bind(mount, policy, caller, ids)?,
            MountKind::Tmpfs => tmpfs(mount)?,
        });
    }
    Ok(mounts)
}

fn bind(mount: &Mount, policy: &Policy, caller: &Caller, ids: &Ids) -> Result<SpecMount, PolicyError> {
    let source = mount
        .source
        .as_deref()
        .ok_or_else(|| PolicyError::new(format!("mount at {}", mount.target), "has no source"))?;
    inside(&mount.target)?;
    let canonical = guard::check(source, &policy.filesystem.allow_mount, caller)?;
    if !mount.read_only
        && let Some(file) = caller.policies.iter().find(|file| file.starts_with(&canonical))
    {
        let what =
            format!("holds {}, which says what this container may do: it could rewrite it", file.display());
        return Err(PolicyError::new(format!("mount {source}"), what)
            .hint("mount it read-only, or keep the policy outside of what the container writes"));
    }
    let canonical = canonical
        .to_str()
        .ok_or_else(|| PolicyError::new(format!("mount {source}"), "the path is no UTF-8"))?;
    let mut options = vec!["rbind", "nosuid", "nodev"];
    if mount.read_only {
        options.push("rro");
    }
    if mount.exec == Some(false) {
        options.push("rnoexec");
    }
    if ids.idmap {
        options.push("ridmap");
    }
    entry(&mount.target, "bind", canonical, &options)
}

fn tmpfs(mount: &Mount) -> Result<SpecMount, PolicyError> {
    inside(&mount.target)?;
    let mut options = vec!["nosuid".to_string(), "nodev".to_string()];
    if mount.exec != Some(true) {
        options.push("noexec".to_string());
    }
    if mount.read_only {
        options.push("ro".to_string());
    }
    let mode = numbers::octal(mount.mode.as_deref().unwrap_or("1777"), 0o1777).map_err(at("--tmpfs"))?;
    options.push(format!("mode={mode:04o}"));
    if let Some(size) = &mount.size {
        options.push(format!("size={}", numbers::size(size).map_err(at("--tmpfs"))?));
    }
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    entry(&mount.target, "tmpfs", "tmpfs", &options)
}

/// Places of the container that nothing may be mounted over: the walls themselves.
fn inside(target: &str) -> Result<(), PolicyError> {
    let path = Path::new(target);
    let wall =
        ["/proc", "/sys", "/dev"].iter().find(|wall| path.starts_with(wall) && !path.starts_with("/dev/shm"));
    match wall {
        Some(wall) => {
            Err(PolicyError::new(format!("mount at {target}"), format!("{wall} is donjon's own inside")))
        }
        None if path.parent().is_none() || !path.is_absolute() => {
            Err(PolicyError::new(format!("mount at {target}"), "is no absolute path below /"))
        }
        None => Ok(()),
    }
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
    let masked: Vec<String> = f.mask.iter().filter(|m| !f.unmask.contains(m)).cloned().collect();
    let read_only: Vec<String> = f
        .read_only_paths
        .iter()
        .filter(|p| !f.unmask.contains(p) && !f.proc_pid_only.unwrap_or(false))
        .cloned()
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
    let l = &policy.limits;
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
        capabilities: capability_names(policy, who)?.into_iter().map(|c| format!("CAP_{c}")).collect(),
        squash,
        nested_userns: policy.namespaces.nested.unwrap_or(false),
        record: true,
    })
}
