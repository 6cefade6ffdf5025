//! What a container may do, as one value.
//!
//! Every layer of policy has this shape: the defaults (`default.toml`), a preset, a file, the flags of a command
//! line. Each field is optional, so that a later layer says only what it changes; [`crate::merge`] puts them together.
//! The words are the same in TOML and as flags. [`crate::keys`] describes every key; docs/policy.md is the language.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One layer of policy; all layers merged are the policy of a container.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Policy {
    /// What this file lies on: a preset, or a file.
    pub extend: Option<String>,
    /// Pieces of this file, in files of their own.
    pub include: Vec<String>,
    /// What may lie on top of this: only what narrows.
    pub extend_only: Option<ExtendOnly>,
    /// Learnt from a run, and read by nobody yet.
    pub incomplete: bool,
    /// Who runs, where, with which environment.
    pub process: Process,
    /// What the program finds in its files.
    pub filesystem: Filesystem,
    /// Mounts, in order; later layers add to them.
    pub mounts: Vec<Mount>,
    /// Resources that may be used up.
    #[serde(alias = "limits")]
    pub resources: Resources,
    /// Parts of root's power inside the user namespace.
    pub capabilities: Capabilities,
    /// System calls by name and set.
    pub syscalls: Syscalls,
    /// Socket families.
    pub sockets: Sockets,
    /// What may be reached over the network, and what is offered there.
    pub network: Network,
    /// Which bytes may become code.
    pub integrity: Integrity,
    /// Reserved.
    pub secrets: BTreeMap<String, Reserved>,
    /// The machine's own security modules.
    pub lsm: Lsm,
    /// Namespaces and how ids are mapped.
    pub namespaces: Namespaces,
    /// Settings of the container's own namespaces, `net.ipv4.ip_forward = "1"`.
    pub sysctls: BTreeMap<String, String>,
    /// Host devices given to the container.
    pub devices: Vec<Device>,
    /// Boundaries that may be left out when they can't be set up (R31), by layer name.
    pub best_effort: Vec<String>,
    /// The files that it was read from: none of them may lie where the container writes (R24).
    #[serde(skip)]
    pub sources: Vec<std::path::PathBuf>,
    /// The layers of files and presets that it was put together from, the lowest first: `preset:NAME`, or a file's path.
    /// Pieces stand before the file that includes them.
    #[serde(skip)]
    pub layers: Vec<String>,
}

/// `extend-only`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExtendOnly {
    /// A later layer may take away and not add.
    Narrow,
}

/// A value of a key that has no meaning yet: whatever it is, it is refused.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Reserved;

impl<'de> Deserialize<'de> for Reserved {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        serde::de::IgnoredAny::deserialize(from).map(|_| Reserved)
    }
}

/// `[process]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Process {
    /// `-u`: `NAME|UID[:GROUP|GID]`, resolved in the image.
    pub user: Option<String>,
    /// `--group-add`: supplementary groups, names or numbers.
    pub groups: Vec<String>,
    /// `-w`: the working directory, absolute.
    pub workdir: Option<String>,
    /// `-e`: variables by name; a later layer's value wins.
    pub env: BTreeMap<String, String>,
    /// `--entrypoint`: what the command's arguments are given to.
    pub entrypoint: Option<Vec<String>>,
    /// `--hostname`
    pub hostname: Option<String>,
    /// `--umask`: octal, as a string (`"022"`).
    pub umask: Option<String>,
    /// `-t`: a terminal of the container's own.
    pub terminal: Option<bool>,
    /// `--init`: a small init as pid 1.
    pub init: Option<bool>,
    /// `--stop-signal`: name or number.
    pub stop_signal: Option<String>,
    /// `--stop-timeout`: seconds between the stop signal and SIGKILL.
    pub stop_timeout: Option<u64>,
    /// `--timeout`: seconds after which the container is stopped; 0: never.
    pub timeout: Option<u64>,
}

/// `[filesystem]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Filesystem {
    /// `--read-only`: the root can't be written to; `/run`, `/tmp` and `/var/tmp` are RAM.
    pub read_only: Option<bool>,
    /// Limit of everything that is written to RAM, for instance `"256m"`.
    pub ram: Option<String>,
    /// `--shm-size`: a limit of its own for `/dev/shm`; without it `/dev/shm` counts as RAM.
    pub shm_size: Option<String>,
    /// All that may be opened for reading and listed; without it, what the mounts let be read. The forms of a path are
    /// those of [`crate::paths`]. Replaced as a whole by a later layer, as the next two.
    pub read: Option<Vec<String>>,
    /// All that may be written, made, removed and moved; without it, what the mounts let be written.
    pub write: Option<Vec<String>>,
    /// All that may be executed; without it, what the mounts let be executed.
    pub execute: Option<Vec<String>>,
    /// Paths that are hidden behind a mask; a later layer adds to them.
    #[serde(alias = "mask")]
    pub hide: Vec<String>,
    /// `--security-opt unmask=`: paths taken off the list of masks.
    pub unmask: Vec<String>,
    /// Paths that are made read-only; a later layer adds to them.
    pub read_only_paths: Vec<String>,
    /// Only processes in `/proc`, nothing of the machine (`subset=pid`).
    pub proc_pid_only: Option<bool>,
    /// Landlock behind the mounts.
    pub landlock: Option<bool>,
    /// `--allow-mount`: host paths that may be mounted although they open the house.
    pub allow_mount: Vec<String>,
}

/// One `[[mounts]]` entry, `-v`, `--mount`, `--tmpfs`, `--ro` or `--rw`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Mount {
    /// `bind` or `tmpfs`.
    #[serde(rename = "type")]
    pub kind: MountKind,
    /// A path of the host (bind).
    pub source: Option<String>,
    /// A path of the container, absolute.
    pub target: String,
    /// Nothing below can be written.
    pub read_only: bool,
    /// Programs there may be executed; default: yes for a bind, no for a tmpfs.
    pub exec: Option<bool>,
    /// Limit of a tmpfs.
    pub size: Option<String>,
    /// Mode of a tmpfs, octal.
    pub mode: Option<String>,
}

/// The kinds of mount.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MountKind {
    /// Something of the host's.
    #[default]
    Bind,
    /// RAM.
    Tmpfs,
}

/// `[resources]`, in older files `[limits]`
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Resources {
    /// `--pids-limit`: processes and threads; -1: as many as the caller may have.
    pub pids: Option<i64>,
    /// `-m`: memory, for instance `"512m"`.
    pub memory: Option<String>,
    /// `--memory-swap`: memory and swap together; `"-1"`: unlimited swap.
    pub memory_swap: Option<String>,
    /// `--cpus`: CPU time, in CPUs.
    pub cpus: Option<f64>,
    /// Whether a file or the command line named the limit of memory: then it is enforced, or nothing starts.
    #[serde(skip)]
    pub memory_named: bool,
    /// The same for CPU time.
    #[serde(skip)]
    pub cpus_named: bool,
    /// `--ulimit`: `NAME = "SOFT[:HARD]"`, names as in `ulimit` (`nofile`, `core`...).
    pub ulimits: BTreeMap<String, String>,
}

/// `[capabilities]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Capabilities {
    /// What a program that starts as root inside has; replaced as a whole by a later layer.
    pub root: Option<Vec<String>>,
    /// `--cap-add`
    pub add: Vec<String>,
    /// `--cap-drop`; `ALL` drops the whole list.
    pub drop: Vec<String>,
}

/// `[syscalls]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Syscalls {
    /// The base: sets (`@basic-io`) and names; replaced as a whole by a later layer.
    pub base: Option<Vec<String>>,
    /// `--syscall`: sets and names on top of the base.
    pub allow: Vec<String>,
    /// Names and sets that are refused although they are allowed otherwise.
    pub deny: Vec<String>,
    /// `--security-opt seccomp=FILE`: a profile in the format of Docker and Podman instead of all this.
    pub profile: Option<String>,
}

/// `[sockets]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Sockets {
    /// `unix`, `inet`, `inet6`, `netlink-route`; replaced as a whole by a later layer.
    pub families: Option<Vec<String>>,
    /// `--socket`: families on top of these.
    pub allow: Vec<String>,
}

/// `[network]`: checked, and refused at a start until it can be held.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Network {
    /// Where connections may go: `DESTINATION:PORTS[/tcp|udp]`.
    pub egress: Vec<String>,
    /// What is offered outside: `[ADDRESS:]PORT:PORT[/tcp|udp]`.
    pub publish: Vec<String>,
}

/// `[integrity]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Integrity {
    /// What happens to bytes that are about to be executed.
    pub exec: Option<ExecIntegrity>,
}

/// `[integrity] exec`, from the weakest on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExecIntegrity {
    /// Nothing.
    #[default]
    Off,
    /// Their digest is recorded.
    Measure,
    /// Only bytes of the verified root are.
    Enforce,
}

/// `[lsm]`: labels of the machine's own security modules.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Lsm {
    /// The AppArmor profile that the program runs under.
    pub apparmor: Option<String>,
    /// The SELinux context that the program runs in.
    pub selinux: Option<String>,
}

/// `[namespaces]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Namespaces {
    /// `--userns`
    pub user: Option<UserNamespace>,
    /// `--network`: only `none` so far.
    pub network: Option<String>,
    /// User namespaces may be made inside (R15).
    pub nested: Option<bool>,
    /// `--time-offset`: seconds by clock, `monotonic` and `boottime`.
    pub time_offsets: BTreeMap<String, i64>,
}

/// How ids inside relate to ids outside.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum UserNamespace {
    /// One id, the caller's own; for root as the caller an unused range.
    #[default]
    Auto,
    /// A range of the caller's subordinate ids.
    Range,
    /// No user namespace: ids inside are ids outside. Said on standard error, and noted in the plan.
    Host,
}

/// One `[[devices]]` entry or `--device`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Device {
    /// A character device of the host in `/dev`.
    pub path: String,
}
