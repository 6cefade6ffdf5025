//! The plan in words and as JSON.

use std::fmt;

use donjon_sys::mount::attr;
use rustix::fs::FileType;
use serde_json::{Value, json};

use crate::layers::capabilities;
use crate::layers::devices::nodes::Node;
use crate::layers::identity::Groups;
use crate::layers::mounts::as_written::{AsWritten, New, Thing};
use crate::layers::mounts::table::{self, Change, Propagation};
use crate::layers::mounts::{MountStep, What};
use crate::layers::net_devices::Device;
use crate::plan::{IdMaps, Op, OverlayAt, Plan, Step};

/// Attribute bits in the words of `mount(8)`.
fn attributes(attrs: u64) -> String {
    let names = [
        (attr::RDONLY, "ro"),
        (attr::NOSUID, "nosuid"),
        (attr::NODEV, "nodev"),
        (attr::NOEXEC, "noexec"),
        (attr::NOSYMFOLLOW, "nosymfollow"),
    ];
    names.iter().filter(|(bit, _)| attrs & bit != 0).map(|(_, n)| *n).collect::<Vec<_>>().join(",")
}

fn set(caps: u64) -> String {
    match caps {
        0 => "none".to_string(),
        caps => capabilities::names(caps).join(" "),
    }
}

fn limit(n: u64) -> String {
    if n == u64::MAX { "unlimited".to_string() } else { n.to_string() }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |c: &std::ffi::CString| c.to_string_lossy().trim_end().replace('\n', "; ");
        match self {
            Op::MapOwnId { uid_map, gid_map } => {
                write!(f, "map one user id ({}) and one group id ({})", text(uid_map), text(gid_map))
            }
            Op::AwaitParent { why } => write!(f, "wait until {why}"),
            Op::BecomeRoot => write!(f, "become id 0 of the user namespace"),
            Op::NotDumpable => write!(f, "can't be traced"),
            Op::DieWithParent => write!(f, "die with the warden"),
            Op::NewSession => write!(f, "a session without the caller's terminal"),
            Op::SetIds { uid, gid, groups } => {
                write!(f, "become user {uid}, group {gid}")?;
                match groups {
                    Groups::AsTheyAre => Ok(()),
                    Groups::NoneIfAllowed => write!(f, ", no supplementary groups where they can be dropped"),
                    Groups::Exactly(groups) if groups.is_empty() => write!(f, ", no supplementary groups"),
                    Groups::Exactly(groups) => write!(f, ", supplementary groups {groups:?}"),
                }
            }
            Op::Umask(mask) => write!(f, "umask {mask:03o}"),
            Op::NoNewPrivs => write!(f, "no_new_privs: no program can gain rights"),
            Op::JoinNamespaces { flags } => {
                write!(f, "enter the container's namespaces ({})", namespace_names(*flags).join(" "))
            }
            Op::ForkInto { flags: 0 } => write!(f, "fork into the container's pid namespace"),
            Op::ForkInto { flags } => {
                write!(f, "fork into new namespaces ({})", namespace_names(*flags).join(" "))
            }
            Op::ReadyToFork { keep } => {
                write!(f, "close every descriptor from {keep} on but the channel, and make room for a fork")
            }
            Op::ForkLast => {
                write!(
                    f,
                    "fork into the container's pid namespace, with no right more than the program will have"
                )
            }
            Op::EnterNamespaces => write!(f, "enter the namespaces that are named by path"),
            Op::Unshare { flags } => {
                write!(
                    f,
                    "new namespaces, now that ids and group are set ({})",
                    namespace_names(*flags).join(" ")
                )
            }
            Op::Hostname(name) => write!(f, "host name {}", text(name)),
            Op::Domainname(name) => write!(f, "domain name {}", text(name)),
            Op::EnterNetwork => {
                write!(f, "enter the network namespace made beside; it has a loopback interface and no other")
            }
            Op::TimeOffsets(offsets) => write!(f, "time namespace with offsets ({})", text(offsets)),
            Op::PrivateMounts => write!(f, "cut mount propagation, both ways"),
            Op::Scratch { bytes: Some(bytes) } => {
                write!(f, "RAM file system for everything written, at most {bytes} bytes")
            }
            Op::Scratch { bytes: None } => write!(f, "small RAM file system for mount points and masks"),
            Op::BindRoot { idmap, .. } => {
                write!(
                    f,
                    "the tree itself as root{}",
                    if *idmap { ", owners through the id map" } else { "" }
                )
            }
            Op::RamRoot => write!(f, "an empty root in RAM"),
            Op::RootDir { path, mode } => write!(f, "empty directory /{} (mode {mode:04o})", text(path)),
            Op::RootLink { path, target } => write!(f, "link /{} -> {}", text(path), text(target)),
            Op::SealRoot => write!(f, "make the root read-only"),
            Op::PivotRoot => write!(f, "pivot_root, and let the old root go"),
            Op::VerifyMounts => write!(f, "compare the kernel's list of mounts with this plan"),
            Op::WorkingDirectory { path } => write!(f, "enter {} and prove that it lies inside", text(path)),
            Op::Overlay { at, idmap, .. } => {
                match at {
                    OverlayAt::Root => write!(f, "overlay as root")?,
                    OverlayAt::Top(name) => write!(f, "overlay at /{}", text(name))?,
                }
                write!(f, ": the image below read-only, RAM above")?;
                if *idmap { write!(f, ", owners through the id map") } else { Ok(()) }
            }
            Op::OwnDirectories { dirs, .. } => {
                write!(f, "{} directories of its own above those of somebody else", dirs.len())
            }
            Op::Hide { path, .. } => write!(f, "hide {}", text(path)),
            Op::Supply { path, .. } => write!(f, "supply {}", text(path)),
            Op::Mount(mount) => mount.fmt(f),
            Op::Mask { path } => write!(f, "mask {}", text(path)),
            Op::ReadOnly { path, .. } => write!(f, "make {} read-only", text(path)),
            Op::Seal { path, .. } => write!(f, "make {} read-only, now that it is furnished", text(path)),
            Op::ProcHandle { .. } => write!(f, "private procfs handle, hidepid"),
            Op::Device { name, major, minor, .. } => {
                write!(f, "device /dev/{} (char {major}:{minor})", text(name))
            }
            Op::DeviceLink { name, target } => write!(f, "link /dev/{} -> {}", text(name), text(target)),
            Op::Terminal => write!(f, "a terminal of the container's own devpts"),
            Op::ControllingTerminal => write!(f, "it controls the session"),
            Op::SoftLimit { name, soft, .. } => write!(f, "{name} {} as the ids change", limit(*soft)),
            Op::Rlimit { name, soft, hard, .. } => {
                write!(f, "{name} {} (hard {})", limit(*soft), limit(*hard))
            }
            Op::Sysctl { path, value } => write!(f, "/proc/{} = {}", text(path), text(value)),
            Op::OomScoreAdj(value) => write!(f, "oom_score_adj {}", text(value)),
            Op::SessionKeyring => write!(f, "a new, empty session keyring"),
            Op::NoCodeOn { name, .. } => write!(f, "{name} is no file that could be mapped as code"),
            Op::NoNewCode => write!(f, "memory never becomes code"),
            Op::BoundingSet { keep } => write!(f, "bounding set: {}", set(*keep)),
            Op::CapabilitySets { effective, inheritable, ambient, .. } if inheritable == ambient => {
                write!(f, "capabilities: {}; inheritable and ambient: {}", set(*effective), set(*ambient))
            }
            Op::CapabilitySets { effective, inheritable, ambient, .. } => write!(
                f,
                "capabilities: {}; inheritable: {}; ambient: {}",
                set(*effective),
                set(*inheritable),
                set(*ambient)
            ),
            Op::LetGo { .. } => write!(f, "give up CAP_SYS_ADMIN, which was kept for the filter"),
            Op::Landlock { attr, rules, .. } => {
                write!(f, "Landlock domain of {} rules", rules.len())?;
                let named = rules.iter().filter(|rule| rule.from.is_some()).count();
                if named > 0 {
                    write!(f, ", {named} for files that the policy names")?;
                }
                match attr.scoped {
                    0 => Ok(()),
                    1 => write!(f, ", abstract sockets scoped"),
                    _ => write!(f, ", signals and abstract sockets scoped"),
                }
            }
            Op::Stdio => write!(f, "standard input, output and error"),
            Op::CloseDescriptors { keep } => write!(f, "close every descriptor from {keep} on"),
            Op::Seccomp(program) => {
                write!(f, "seccomp filter of {} instructions", program.filter.len())?;
                if program.listener { write!(f, ", with a listener for what is refused") } else { Ok(()) }
            }
            Op::DefaultSignals => write!(f, "default signal actions, none blocked"),
            Op::FindProgram => write!(f, "find the program"),
            Op::Init => write!(f, "fork: this process stays as init"),
            Op::Exec => write!(f, "execute"),
            Op::AwaitHooks => write!(f, "wait until the hooks outside have run"),
            Op::Hook(hook) => write!(f, "run the hook {}", text(&hook.path)),
            Op::AwaitStart { .. } => write!(f, "wait for start"),
            Op::ByParent(work) => write!(f, "the parent: {work}"),
            Op::StartPropagation(propagation) => {
                write!(
                    f,
                    "every mount {}: nothing that is mounted from now on reaches the host",
                    shares(*propagation)
                )
            }
            Op::ProcOrCallers { .. } => write!(f, "private procfs handle"),
            Op::CallersProc => write!(f, "a handle of the caller's procfs"),
            Op::RootInPlace { .. } => write!(f, "the tree over itself, to become the root"),
            Op::MakeWorkingDirectory { path } => write!(f, "make {} if it is missing", text(path)),
            Op::MoveRoot => write!(f, "move the root over the old one, and change into it"),
            Op::RootPropagation(propagation) => write!(f, "the root is {}", shares(*propagation)),
            Op::MountAsWritten(mount) => mount.fmt(f),
            Op::Node(node) => node.fmt(f),
            Op::Link(link) => write!(f, "link {} -> {}", text(&link.place.path), text(&link.target)),
            Op::TerminalSize { rows, columns } => write!(f, "terminal of {rows} lines and {columns} columns"),
            Op::Scheduler { attr, word } => {
                write!(f, "{word}, nice {}, priority {}", attr.nice, attr.priority)?;
                match attr.deadline {
                    0 => Ok(()),
                    until => write!(f, ", {} of {} ns until {until} ns", attr.runtime, attr.period),
                }
            }
            Op::IoPriority { class, priority } => {
                let words = ["none", "real time", "best effort", "idle"];
                let word = words.get(usize::from(*class)).unwrap_or(&"none");
                write!(f, "input and output: {word}, priority {priority}")
            }
            Op::MemoryPolicy { word, .. } => write!(f, "memory policy {word}"),
            Op::Personality { persona: 8 } => write!(f, "personality LINUX32"),
            Op::Personality { .. } => write!(f, "personality LINUX"),
            Op::Affinity { list, .. } => write!(f, "processors {list}"),
            Op::Apparmor { command } => write!(f, "AppArmor profile for the program: {}", text(command)),
            Op::Selinux { label, keyring } => {
                let keyring = if *keyring { " and its keyring" } else { "" };
                write!(f, "SELinux context for the program{keyring}: {}", text(label))
            }
            Op::NetDevices(devices) => {
                let named = |d: &Device| match d.outside == d.inside {
                    true => d.outside.clone(),
                    false => format!("{} as {}", d.outside, d.inside),
                };
                let all: Vec<String> = devices.iter().map(named).collect();
                write!(f, "wait until the parent has moved network devices in: {}", all.join(", "))
            }
            Op::StdioOwner { uid } => write!(f, "standard input, output and error belong to user {uid}"),
            Op::ExactRlimit { name, soft, hard, .. } => {
                write!(f, "{name} exactly {} (hard {})", limit(*soft), limit(*hard))
            }
        }
    }
}

impl fmt::Display for MountStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let target = self.target.to_string_lossy();
        match &self.what {
            What::New { fstype, params } => {
                write!(f, "mount {} at {target} ({}", fstype.to_string_lossy(), attributes(self.attrs))?;
                for (key, value) in params {
                    write!(f, ",{}", key.to_string_lossy())?;
                    if let Some(value) = value {
                        write!(f, "={}", value.to_string_lossy())?;
                    }
                }
                write!(f, ")")
            }
            What::Ram { mode, .. } => {
                write!(
                    f,
                    "part of the container's RAM at {target} ({},mode={mode:04o})",
                    attributes(self.attrs)
                )
            }
            What::Bind { recursive, idmap, .. } => {
                let below = if *recursive { " with the mounts below it" } else { "" };
                let owners = if *idmap { ", owners through the id map" } else { "" };
                write!(
                    f,
                    "bind at {target}{below} ({}){owners}",
                    attributes(self.attrs | self.recursive_attrs)
                )
            }
            What::Proc { pid_only, .. } => {
                write!(
                    f,
                    "mount proc at {target} (nosuid,nodev,noexec{})",
                    if *pid_only { ",subset=pid" } else { "" }
                )
            }
        }
    }
}

/// Propagation in the words of `mount(8)`.
fn shares(propagation: Propagation) -> String {
    let word = match propagation.flag {
        table::MS_SHARED => "shared",
        table::MS_SLAVE => "slave",
        table::MS_UNBINDABLE => "unbindable",
        _ => "private",
    };
    format!("{}{word}", if propagation.recursive { "r" } else { "" })
}

/// What becomes of attributes, each with an `r` before it where the mounts below change as well.
fn changes(change: Change, recursive: bool) -> Vec<String> {
    let r = if recursive { "r" } else { "" };
    let names = [
        (attr::RDONLY, "ro", "rw"),
        (attr::NOSUID, "nosuid", "suid"),
        (attr::NODEV, "nodev", "dev"),
        (attr::NOEXEC, "noexec", "exec"),
        (attr::NODIRATIME, "nodiratime", "diratime"),
        (attr::NOSYMFOLLOW, "nosymfollow", "symfollow"),
    ];
    let mut words: Vec<String> = names
        .iter()
        .filter_map(|(bit, set, clear)| match (change.set & bit != 0, change.clear & bit != 0) {
            (true, _) => Some(format!("{r}{set}")),
            (_, true) => Some(format!("{r}{clear}")),
            _ => None,
        })
        .collect();
    match (change.set & attr::ATIME, change.clear & attr::ATIME) {
        (attr::NOATIME, _) => words.push(format!("{r}noatime")),
        (attr::STRICTATIME, _) => words.push(format!("{r}strictatime")),
        (0, attr::ATIME) => words.push(format!("{r}relatime")),
        _ => {}
    }
    words
}

impl fmt::Display for AsWritten {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let target = self.target.to_string_lossy();
        let mut words = changes(self.change, false);
        words.extend(changes(self.below, true));
        words.extend(self.propagation.iter().map(|p| shares(*p)));
        let mut parameters = |new: &New| {
            words.extend(new.params.iter().map(|(key, value)| match value {
                Some(value) => format!("{}={}", key.to_string_lossy(), value.to_string_lossy()),
                None => key.to_string_lossy().into_owned(),
            }));
            words.extend(new.copy_up.then(|| "tmpcopyup".to_string()));
            let context = new.root_context.as_ref();
            words.extend(context.map(|c| format!("context of its root: {}", c.to_string_lossy())));
        };
        match &self.thing {
            Thing::New(new) | Thing::Cgroups { new, .. } => {
                parameters(new);
                write!(f, "mount {} at {target} ({})", new.fstype.to_string_lossy(), words.join(","))
            }
            Thing::Remount(new) => {
                parameters(new);
                write!(f, "change the mount at {target} ({})", words.join(","))
            }
            Thing::Bind { recursive, by_parent, .. } => {
                let below = if *recursive { " with the mounts below it" } else { "" };
                let owners = match by_parent.as_ref().map(|p| p.idmap.is_some()) {
                    Some(true) => ", owners through an id map",
                    _ => "",
                };
                write!(f, "bind at {target}{below} ({}){owners}", words.join(","))
            }
        }
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (major, minor) = self.number;
        let kind = match self.kind {
            FileType::BlockDevice => format!("block {major}:{minor}"),
            FileType::Fifo => "fifo".to_string(),
            _ => format!("char {major}:{minor}"),
        };
        let how = if self.bound { "the host's device" } else { "device" };
        write!(f, "{how} {} ({kind}, mode {:04o})", self.place.path.to_string_lossy(), self.mode)
    }
}

fn namespace_names(flags: u64) -> Vec<&'static str> {
    use crate::layers::namespaces::flag;
    [
        (flag::USER, "user"),
        (flag::PID, "pid"),
        (flag::MOUNT, "mount"),
        (flag::NET, "net"),
        (flag::IPC, "ipc"),
        (flag::UTS, "uts"),
        (flag::CGROUP, "cgroup"),
        (flag::TIME, "time"),
    ]
    .iter()
    .filter(|(bit, _)| flags & bit != 0)
    .map(|(_, name)| *name)
    .collect()
}

impl Plan {
    /// The source path behind a step, if it has one.
    fn source_of(&self, op: &Op) -> Option<String> {
        let index = match op {
            Op::Overlay { source, .. } | Op::BindRoot { source, .. } => *source,
            Op::Mount(MountStep { what: What::Bind { source, .. }, .. }) => *source,
            Op::RootInPlace { source } => *source,
            Op::MountAsWritten(AsWritten { thing: Thing::Bind { source, .. }, .. }) => *source,
            _ => return None,
        };
        self.sources.get(index).map(|s| s.path.display().to_string())
    }

    /// A step in words, with the host path that it takes something from.
    pub(crate) fn describe(&self, step: &Step) -> String {
        match self.source_of(&step.op) {
            Some(source) => format!("{} from {source}", step.op),
            None => step.op.to_string(),
        }
    }

    fn first_words(&self) -> String {
        let namespaces = namespace_names(self.clone_flags);
        let who = match &self.id_maps {
            IdMaps::None => "",
            IdMaps::Own => ", the caller's own id",
            IdMaps::Parent { .. } => ", a range of ids",
        };
        match self.join {
            None => format!("clone3 with new namespaces: {}{who}", namespaces.join(" ")),
            Some(_) => "clone3".to_string(),
        }
    }

    /// The plan for a person: one line a step, with its layer and the field that asked for it.
    pub fn to_text(&self) -> String {
        let mut text = format!("  0  {:<12}  {}\n", "namespaces", self.first_words());
        if let Some(group) = &self.cgroup {
            text.push_str(&format!("  0  {:<12}  {}   [linux.resources]\n", "cgroups", group.in_words()));
        }
        for (i, step) in self.steps.iter().enumerate() {
            let field = if step.field.is_empty() { String::new() } else { format!("   [{}]", step.field) };
            text.push_str(&format!("{:>3}  {:<12}  {}{field}\n", i + 1, step.layer, self.describe(step)));
        }
        for note in &self.notes {
            text.push_str(&format!("note: {note}\n"));
        }
        text
    }

    /// The plan for a program: `{"namespaces": [...], "steps": [{"index", "layer", "field", "does", "source"}],
    /// "notes": [...]}`. A step's index is the one that error messages and fault tests count by.
    pub fn to_json(&self) -> Value {
        let steps: Vec<Value> = self
            .steps
            .iter()
            .enumerate()
            .map(|(i, step)| {
                json!({
                    "index": i,
                    "layer": step.layer.name(),
                    "field": step.field,
                    "does": step.op.to_string(),
                    "source": self.source_of(&step.op),
                })
            })
            .collect();
        json!({
            "namespaces": namespace_names(self.clone_flags),
            "cgroup": self.cgroup.as_ref().map(|g| json!({"name": g.name, "limits": g.limits, "hierarchy": g.hierarchy})),
            "steps": steps,
            "notes": self.notes,
        })
    }
}
