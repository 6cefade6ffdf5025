//! The plan in words and as JSON.

use std::fmt;

use donjon_sys::mount::attr;
use serde_json::{Value, json};

use crate::layers::capabilities;
use crate::layers::identity::Groups;
use crate::layers::mounts::{MountStep, What};
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
            Op::EnterNamespaces => write!(f, "enter the namespaces that are named by path"),
            Op::CgroupNamespace => write!(f, "a cgroup namespace whose root is the container's group"),
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
            Op::ReadOnly { path } => write!(f, "make {} read-only", text(path)),
            Op::Seal { path, .. } => write!(f, "make {} read-only, now that it is furnished", text(path)),
            Op::ProcHandle { .. } => write!(f, "private procfs handle, hidepid"),
            Op::Device { name, major, minor, .. } => {
                write!(f, "device /dev/{} (char {major}:{minor})", text(name))
            }
            Op::DeviceLink { name, target } => write!(f, "link /dev/{} -> {}", text(name), text(target)),
            Op::Terminal => write!(f, "a terminal of the container's own devpts"),
            Op::Rlimit { name, soft, hard, .. } => {
                write!(f, "{name} {} (hard {})", limit(*soft), limit(*hard))
            }
            Op::Sysctl { path, value } => write!(f, "/proc/{} = {}", text(path), text(value)),
            Op::OomScoreAdj(value) => write!(f, "oom_score_adj {}", text(value)),
            Op::SessionKeyring => write!(f, "a new, empty session keyring"),
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
            Op::Landlock { attr, rules, .. } => {
                write!(f, "Landlock domain of {} rules", rules.len())?;
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
            Op::AwaitStart => write!(f, "wait for start"),
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
