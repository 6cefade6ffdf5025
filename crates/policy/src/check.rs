//! What is wrong with one layer of policy, and what is unwise in it: every word of it is looked at before anything starts.

use donjon_confine::layers::landlock::files::MOST_PATHS;
use donjon_confine::layers::seccomp::{self, policy::FAMILIES, sets};

use crate::model::{ExecIntegrity, MountKind, Policy, UserNamespace};
use crate::paths::{self, List};
use crate::spec::{self, OPTIONAL};
use crate::words::{
    WordError, capabilities, devices, environment, mounts, network, numbers, signals, sysctls, ulimits,
};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// Nothing can be started with it.
    Error,
    /// It can be; whoever wrote it should know.
    Warning,
}

/// Something that is wrong or unwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// How bad it is.
    pub weight: Weight,
    /// The key that it is about, by its parts; a number is a place in a list.
    pub key: Vec<String>,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// Problems while they are found.
#[derive(Default)]
struct Found(Vec<Problem>);

impl Found {
    fn add(&mut self, weight: Weight, key: &str, what: impl Into<String>, hint: Option<&str>) {
        let key = key.split('.').map(String::from).collect();
        self.0.push(Problem { weight, key, what: what.into(), hint: hint.map(String::from) });
    }

    fn error(&mut self, key: &str, what: impl Into<String>, hint: Option<&str>) {
        self.add(Weight::Error, key, what, hint);
    }

    fn warn(&mut self, key: &str, what: impl Into<String>, hint: &str) {
        self.add(Weight::Warning, key, what, Some(hint));
    }

    /// A word, if there is one, that a function of [`crate::words`] understands.
    fn word<T>(&mut self, key: &str, word: Option<&String>, read: impl Fn(&str) -> Result<T, WordError>) {
        if let Some(Err(what)) = word.map(|word| read(word)) {
            self.error(key, what, None);
        }
    }

    /// Every word of a list.
    fn words<T>(&mut self, key: &str, words: &[String], read: impl Fn(&str) -> Result<T, WordError>) {
        for (i, word) in words.iter().enumerate() {
            self.word(&format!("{key}.{i}"), Some(word), &read);
        }
    }

    /// Every name and value of a table. A name may hold a dot, so its key is put together here.
    fn pairs<T>(
        &mut self,
        key: &str,
        pairs: &std::collections::BTreeMap<String, T>,
        read: impl Fn(&str, &T) -> Result<(), WordError>,
    ) {
        for (name, value) in pairs {
            if let Err(what) = read(name, value) {
                let key = key.split('.').map(String::from).chain([name.clone()]).collect();
                self.0.push(Problem { weight: Weight::Error, key, what, hint: None });
            }
        }
    }
}

/// Everything that is wrong or unwise in a layer, errors first.
pub fn problems(policy: &Policy) -> Vec<Problem> {
    let mut found = Found::default();
    top(policy, &mut found);
    process(policy, &mut found);
    filesystem(policy, &mut found);
    mounted(policy, &mut found);
    calls(policy, &mut found);
    resources(policy, &mut found);
    others(policy, &mut found);
    contradictions(policy, &mut found);
    unwise(policy, &mut found);
    // What is wrong is not called unwise as well.
    let wrong: Vec<Vec<String>> =
        found.0.iter().filter(|p| p.weight == Weight::Error).map(|p| p.key.clone()).collect();
    found.0.retain(|p| p.weight == Weight::Error || !wrong.contains(&p.key));
    found.0.sort_by_key(|problem| problem.weight == Weight::Warning);
    found.0
}

/// The first thing that one layer can't say at once (R28).
pub(crate) fn contradiction(policy: &Policy) -> Option<Problem> {
    let mut found = Found::default();
    contradictions(policy, &mut found);
    found.0.into_iter().next()
}

fn top(policy: &Policy, found: &mut Found) {
    found.words("best-effort", &policy.best_effort, |word| match OPTIONAL.contains(&word) {
        true => Ok(()),
        false => {
            Err(format!("{word:?} is no layer that can be left out; there are: {}", OPTIONAL.join(", ")))
        }
    });
    let file = |word: &str| match word.is_empty() || word.contains('\0') {
        true => Err(format!("{word:?} is no name of a file")),
        false => Ok(()),
    };
    found.words("include", &policy.include, file);
    found.word("extend", policy.extend.as_ref(), file);
    if !policy.secrets.is_empty() {
        let hint = "until then: a file of its own, mounted with --ro, where no other container reaches it";
        found.error("secrets", "is reserved: this version hands no secrets over", Some(hint));
    }
}

fn process(policy: &Policy, found: &mut Found) {
    let p = &policy.process;
    let no_nul = |word: &str| match word.contains('\0') {
        true => Err(format!("{word:?} holds a NUL byte")),
        false => Ok(()),
    };
    found.word("process.user", p.user.as_ref(), no_nul);
    found.words("process.groups", &p.groups, no_nul);
    found.words("process.entrypoint", p.entrypoint.as_deref().unwrap_or_default(), no_nul);
    found.word("process.workdir", p.workdir.as_ref(), |w| match w.starts_with('/') && !w.contains('\0') {
        true => Ok(()),
        false => Err(format!("{w:?} is no absolute path")),
    });
    found.word("process.hostname", p.hostname.as_ref(), |w| match spec::is_hostname(w) {
        true => Ok(()),
        false => Err(format!("{w:?} is no host name")),
    });
    found.word("process.umask", p.umask.as_ref(), |w| numbers::octal(w, 0o777));
    found.word("process.stop-signal", p.stop_signal.as_ref(), signals::signal);
    found.pairs("process.env", &p.env, |name, value| match name.contains('=') {
        true => Err(format!("{name:?} is no name of a variable")),
        false => environment::variable(&format!("{name}={value}")).map(drop),
    });
}

fn filesystem(policy: &Policy, found: &mut Found) {
    let f = &policy.filesystem;
    for (key, list, which) in [
        ("filesystem.read", f.read.as_deref(), List::Read),
        ("filesystem.write", f.write.as_deref(), List::Write),
        ("filesystem.execute", f.execute.as_deref(), List::Execute),
        ("filesystem.hide", Some(f.hide.as_slice()), List::Hide),
    ] {
        let list = list.unwrap_or_default();
        if list.len() > MOST_PATHS {
            let what = format!("names {} paths; {MOST_PATHS} are the most", list.len());
            found.error(key, what, Some("name directories: /usr/lib/**"));
        }
        found.words(key, list, |path| paths::check(which, path));
    }
    if f.execute.as_ref().is_some_and(Vec::is_empty) {
        found.error(
            "filesystem.execute",
            "is empty: no program could start",
            Some("name the program and its loader"),
        );
    }
    found.words("filesystem.unmask", &f.unmask, paths::normal);
    found.words("filesystem.read-only-paths", &f.read_only_paths, paths::normal);
    found.words("filesystem.allow-mount", &f.allow_mount, paths::normal);
    found.word("filesystem.ram", f.ram.as_ref(), numbers::size);
    found.word("filesystem.shm-size", f.shm_size.as_ref(), numbers::size);
}

fn mounted(policy: &Policy, found: &mut Found) {
    for (i, mount) in policy.mounts.iter().enumerate() {
        let key = |name: &str| format!("mounts.{i}.{name}");
        if mount.target.is_empty() {
            found.error(&format!("mounts.{i}"), "has no target", None);
            continue;
        }
        let target = mounts::target(&mount.target, &mount.target)
            .and_then(|target| spec::mounts::inside(&target).map_err(|error| error.what));
        if let Err(what) = target {
            found.error(&key("target"), what, None);
        }
        found.word(&key("size"), mount.size.as_ref(), numbers::size);
        found.word(&key("mode"), mount.mode.as_ref(), |w| numbers::octal(w, 0o1777));
        match (mount.kind, &mount.source) {
            (MountKind::Bind, None) => found.error(&format!("mounts.{i}"), "a bind mount has a source", None),
            (MountKind::Tmpfs, Some(_)) => found.error(&key("source"), "a tmpfs has no source", None),
            (MountKind::Bind, Some(_)) => {
                for (name, value) in [("size", &mount.size), ("mode", &mount.mode)] {
                    if value.is_some() {
                        found.error(&key(name), "is for a tmpfs alone", None);
                    }
                }
            }
            (MountKind::Tmpfs, None) => {}
        }
    }
    for (i, device) in policy.devices.iter().enumerate() {
        let what = devices::device(&device.path).and_then(|d| match d.path == device.path {
            true => Ok(()),
            false => Err(format!("{:?}: write the path alone", device.path)),
        });
        if let Err(what) = what {
            found.error(&format!("devices.{i}.path"), what, None);
        }
    }
}

fn calls(policy: &Policy, found: &mut Found) {
    let s = &policy.syscalls;
    let call = |word: &str| match word.starts_with('@') {
        true => sets::members(word).map(drop).ok_or_else(|| {
            let names: Vec<&str> =
                std::iter::once("@default").chain(sets::SETS.iter().map(|(name, ..)| *name)).collect();
            format!("{word:?} is no set of system calls; there are {}", names.join(", "))
        }),
        false => seccomp::number(word).map(drop).ok_or_else(|| {
            let near = seccomp::all_names().map(|n| (strsim::damerau_levenshtein(word, n), n)).min();
            match near {
                Some((distance, near)) if distance <= 2 => {
                    format!("{word:?} is no system call of this machine; did you mean {near}?")
                }
                _ => format!("{word:?} is no system call of this machine"),
            }
        }),
    };
    found.words("syscalls.base", s.base.as_deref().unwrap_or_default(), call);
    found.words("syscalls.allow", &s.allow, call);
    found.words("syscalls.deny", &s.deny, call);
    let named = |list: &[String], name: &str| {
        list.iter().any(|word| word == name || sets::members(word).is_some_and(|set| set.contains(&name)))
    };
    for needed in seccomp::policy::NEEDED {
        if s.profile.is_none() && named(&s.deny, needed) {
            found.error(
                "syscalls.deny",
                format!("{needed} is needed to start a program: it can't be denied"),
                None,
            );
        } else if let Some(base) = s.base.as_deref().filter(|_| s.profile.is_none())
            && !named(base, needed)
            && !named(&s.allow, needed)
        {
            let hint = "add it to the base";
            found.error(
                "syscalls.base",
                format!("{needed} is missing, which every start of a program needs"),
                Some(hint),
            );
        }
    }
    let family = |word: &str| match FAMILIES.contains(&word) {
        true => Ok(()),
        false => Err(format!(
            "{word:?} is no socket family that can be allowed; there are {}",
            FAMILIES.join(", ")
        )),
    };
    found.words("sockets.families", policy.sockets.families.as_deref().unwrap_or_default(), family);
    found.words("sockets.allow", &policy.sockets.allow, family);
    let c = &policy.capabilities;
    found.words("capabilities.root", c.root.as_deref().unwrap_or_default(), capabilities::added);
    found.words("capabilities.add", &c.add, capabilities::added);
    found.words("capabilities.drop", &c.drop, capabilities::dropped);
}

fn resources(policy: &Policy, found: &mut Found) {
    let r = &policy.resources;
    if let Some(pids) = r.pids.filter(|pids| *pids != -1 && *pids < 1) {
        found.error(
            "resources.pids",
            format!("{pids} processes: nothing could run"),
            Some("a number above 0, or -1 for no limit"),
        );
    }
    found.word("resources.memory", r.memory.as_ref(), |w| match numbers::size(w)? {
        bytes if bytes < 512 * 1024 => Err(format!("{w}: no program fits; write at least 512k")),
        _ => Ok(()),
    });
    found.word("resources.memory-swap", r.memory_swap.as_ref(), |w| match w {
        "-1" => Ok(0),
        w => numbers::size(w),
    });
    if r.cpus.is_some_and(|cpus| !cpus.is_finite() || cpus < 0.01) {
        found.error("resources.cpus", "is no number from 0.01 up", None);
    }
    found.pairs("resources.ulimits", &r.ulimits, |name, value| {
        ulimits::resource(name).and_then(|_| ulimits::values(value)).map(drop)
    });
}

fn others(policy: &Policy, found: &mut Found) {
    found.words("network.egress", &policy.network.egress, network::egress);
    found.words("network.publish", &policy.network.publish, network::publish);
    let label = |word: &str| match word {
        "" => Err("is empty".to_string()),
        "unconfined" => Err("unconfined: a label that confines nothing is left out".to_string()),
        w if w.len() > 1024 || w.contains(|c: char| c.is_whitespace() || c == '\0') => {
            Err("holds a space, or is longer than 1024 bytes".to_string())
        }
        _ => Ok(()),
    };
    found.word("lsm.apparmor", policy.lsm.apparmor.as_ref(), label);
    found.word("lsm.selinux", policy.lsm.selinux.as_ref(), label);
    let n = &policy.namespaces;
    found.word("namespaces.network", n.network.as_ref(), |word| match word {
        "none" => Ok(()),
        _ => Err(format!("{word:?} is not in this version; there is none: loopback alone")),
    });
    found.pairs("namespaces.time-offsets", &n.time_offsets, |clock, _| match clock {
        "monotonic" | "boottime" => Ok(()),
        _ => Err(format!("{clock:?} is no clock that can be shifted; there are monotonic and boottime")),
    });
    found.pairs("sysctls", &policy.sysctls, |key, _| sysctls::check(key));
}

fn contradictions(policy: &Policy, found: &mut Found) {
    let both = Some("say one of the two");
    let bare = |word: &String| capabilities::dropped(word).unwrap_or_default();
    let c = &policy.capabilities;
    for (i, word) in c.add.iter().enumerate() {
        if c.drop.iter().any(|dropped| bare(dropped) == bare(word)) {
            found.error(
                &format!("capabilities.add.{i}"),
                format!("the capability {word} is both added and dropped"),
                both,
            );
        }
    }
    let s = &policy.syscalls;
    for (key, list) in [("allow", s.allow.as_slice()), ("base", s.base.as_deref().unwrap_or_default())] {
        for (i, word) in list.iter().enumerate() {
            if s.deny.contains(word) {
                let what = format!("the system call {word} is both allowed and denied");
                found.error(&format!("syscalls.{key}.{i}"), what, both);
            }
        }
    }
    for (i, mount) in policy.mounts.iter().enumerate() {
        if policy.mounts.iter().take(i).any(|m| m.target == mount.target) {
            found.error(&format!("mounts.{i}.target"), format!("two mounts at {}", mount.target), both);
        }
    }
    let f = &policy.filesystem;
    for (key, list) in [("read", &f.read), ("write", &f.write), ("execute", &f.execute)] {
        for (i, path) in list.iter().flatten().enumerate() {
            let at = std::path::Path::new(paths::tree(path));
            if let Some(hidden) = f.hide.iter().find(|hidden| at.starts_with(paths::tree(hidden))) {
                found.error(
                    &format!("filesystem.{key}.{i}"),
                    format!("{path} lies in {hidden}, which is hidden"),
                    both,
                );
            }
        }
        if list.is_some() && f.landlock == Some(false) {
            let what = format!("is false, and Landlock is what holds filesystem.{key}");
            found.error("filesystem.landlock", what, both);
        }
    }
    for (i, path) in f.hide.iter().enumerate() {
        if f.unmask.contains(path) {
            found.error(&format!("filesystem.hide.{i}"), format!("{path} is both hidden and unmasked"), both);
        }
    }
    let size = |word: &Option<String>| word.as_deref().and_then(|w| numbers::size(w).ok());
    if let (Some(memory), Some(swap)) = (size(&policy.resources.memory), size(&policy.resources.memory_swap))
        && swap < memory
    {
        found.error(
            "resources.memory-swap",
            "is memory and swap together, so at least resources.memory",
            None,
        );
    }
}

/// Capabilities, calls and families that open much of the kernel, and what they open.
const WIDE_CAPABILITIES: &[&str] = &[
    "SYS_ADMIN", "SYS_PTRACE", "SYS_MODULE", "SYS_RAWIO", "NET_ADMIN", "BPF", "PERFMON", "DAC_READ_SEARCH",
    "NET_RAW",
];
const WIDE_CALLS: &[&str] = &[
    "@io-uring", "@debug", "@mount", "io_uring_setup", "ptrace", "mount", "bpf", "userfaultfd",
    "perf_event_open", "keyctl", "add_key", "request_key", "kexec_load", "init_module", "finit_module",
];
const WIDE_FAMILIES: &[&str] = &["netlink", "packet", "vsock", "alg", "bluetooth"];
/// Directories whose files decide what programs do.
const OF_PROGRAMS: &[&str] = &["/usr", "/etc", "/bin", "/sbin", "/lib", "/lib64", "/opt"];

fn unwise(policy: &Policy, found: &mut Found) {
    if policy.incomplete {
        let hint = "read it, then take this line out; until then donjon run wants --incomplete";
        found.warn("incomplete", "this policy was learnt from a run and nobody has read it yet", hint);
    }
    let f = &policy.filesystem;
    for (key, list) in [("read", &f.read), ("write", &f.write), ("execute", &f.execute)] {
        for (i, path) in list.iter().flatten().enumerate() {
            let key = format!("filesystem.{key}.{i}");
            if path == "/**" {
                found.warn(
                    &key,
                    "means everything",
                    "leave the key out, which says the same, or name directories",
                );
            }
            if path.starts_with("/proc/self") || path.starts_with("/proc/thread-self") {
                found.warn(&key, format!("{path} means the first process alone"), "write \"/proc/**\"");
            }
        }
    }
    for (i, path) in f.write.iter().flatten().enumerate() {
        let key = format!("filesystem.write.{i}");
        if let Some(place) = OF_PROGRAMS.iter().find(|place| tree_meets(path, place)) {
            let what = format!("{path}: what programs do is decided in {place}");
            found.warn(&key, what, "name the files that the program has to write");
        }
        if let Some(executed) = f.execute.iter().flatten().find(|executed| meets(path, executed)) {
            let what = format!("{path}: what is written there can be executed ({executed})");
            found.warn(&key, what, "write to one place and execute from another");
        }
    }
    if f.landlock == Some(false) {
        found.warn("filesystem.landlock", "takes the second wall behind the mounts away", "leave it out");
    }
    for i in 0..f.allow_mount.len() {
        let hint = "mount a smaller directory, then this is not needed";
        found.warn(&format!("filesystem.allow-mount.{i}"), "lets a mount in that opens the house", hint);
    }
    for i in 0..f.unmask.len() {
        let hint = "leave it out if the program can do without";
        found.warn(&format!("filesystem.unmask.{i}"), "tells about the machine, or steers it", hint);
    }
    let wide = |found: &mut Found, key: &str, list: &[String], wide: &[&str], what: &str| {
        for (i, word) in list.iter().enumerate() {
            let upper = word.to_ascii_uppercase();
            let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
            if wide.iter().any(|w| w == word || *w == bare) {
                found.warn(
                    &format!("{key}.{i}"),
                    format!("{word} {what}"),
                    "leave it out if the program can do without",
                );
            }
        }
    };
    let of_the_kernel = "opens much of the kernel's code";
    let c = &policy.capabilities;
    wide(found, "capabilities.root", c.root.as_deref().unwrap_or_default(), WIDE_CAPABILITIES, of_the_kernel);
    wide(found, "capabilities.add", &c.add, WIDE_CAPABILITIES, of_the_kernel);
    wide(
        found,
        "syscalls.base",
        policy.syscalls.base.as_deref().unwrap_or_default(),
        WIDE_CALLS,
        of_the_kernel,
    );
    wide(found, "syscalls.allow", &policy.syscalls.allow, WIDE_CALLS, of_the_kernel);
    wide(
        found,
        "sockets.families",
        policy.sockets.families.as_deref().unwrap_or_default(),
        WIDE_FAMILIES,
        of_the_kernel,
    );
    wide(found, "sockets.allow", &policy.sockets.allow, WIDE_FAMILIES, of_the_kernel);
    if policy.syscalls.profile.is_some() {
        let hint = "[syscalls] base, allow and deny say the same and are recorded";
        found.warn("syscalls.profile", "stands in place of sets, families and the record of refusals", hint);
    }
    if policy.namespaces.nested == Some(true) {
        found.warn("namespaces.nested", of_the_kernel, "leave it out unless the program is a sandbox itself");
    }
    if policy.namespaces.user == Some(UserNamespace::Host) {
        found.warn("namespaces.user", "ids and capabilities inside are the host's own", "auto, or range");
    }
    for i in 0..policy.best_effort.len() {
        let hint = "leave it out where the machine has the layer";
        found.warn(&format!("best-effort.{i}"), "a start goes on without this layer", hint);
    }
    for (key, unlimited) in [
        ("pids", policy.resources.pids == Some(-1)),
        ("memory-swap", policy.resources.memory_swap.as_deref() == Some("-1")),
    ] {
        if unlimited {
            found.warn(
                &format!("resources.{key}"),
                "no limit: the machine's are all that hold",
                "write a number",
            );
        }
    }
    let refused = "this version can't hold it, and refuses to start";
    for (key, list) in [("egress", &policy.network.egress), ("publish", &policy.network.publish)] {
        if !list.is_empty() {
            found.warn(&format!("network.{key}"), refused, "a container has loopback alone");
        }
    }
    if policy.integrity.exec == Some(ExecIntegrity::Measure) {
        found.warn("integrity.exec", refused, "write \"enforce\" or \"off\"");
    }
}

/// Whether a path means something of what the other means.
fn meets(one: &str, other: &str) -> bool {
    paths::covers(one, other) || paths::covers(other, one)
}

/// Whether a path means the whole tree at a place, or more.
fn tree_meets(path: &str, place: &str) -> bool {
    path.ends_with("/**") && std::path::Path::new(place).starts_with(paths::tree(path))
}
