//! What one policy allows that another does not, key by key and in words.
//!
//! Both are whole policies, the defaults included. What can't be compared (a profile of another engine, another label of a
//! security module) counts as wider: nobody is told that nothing changes when nobody knows.

use std::collections::BTreeSet;

use donjon_confine::layers::seccomp::sets;

use crate::model::{Mount, MountKind, Policy, UserNamespace};
use crate::paths::{covers, tree};
use crate::words::{capabilities, numbers, ulimits};

/// Which way a change goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// More is allowed.
    Wider,
    /// Less is.
    Narrower,
    /// Something else is; no boundary moves.
    Other,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Which way it goes.
    pub direction: Direction,
    /// The keys that can have made it, the likeliest first.
    pub keys: Vec<&'static str>,
    /// What it is: of a wider one what is allowed now, of a narrower one what no longer is.
    pub words: String,
}

use Direction::{Narrower, Other, Wider};

/// Changes while they are found.
struct Changes(Vec<Change>);

impl Changes {
    fn add(&mut self, direction: Direction, keys: &[&'static str], words: impl Into<String>) {
        self.0.push(Change { direction, keys: keys.to_vec(), words: words.into() });
    }

    /// Members of a set that came and went, each with what having it means.
    fn set(&mut self, keys: &[&'static str], a: &BTreeSet<String>, b: &BTreeSet<String>, means: &str) {
        let mut list = |direction, members: Vec<&String>| {
            if !members.is_empty() {
                let members: Vec<&str> = members.into_iter().map(String::as_str).collect();
                self.add(direction, keys, format!("{means} {}", members.join(", ")));
            }
        };
        list(Wider, b.difference(a).collect());
        list(Narrower, a.difference(b).collect());
    }

    /// An amount, of which more is wider; `u64::MAX` is no limit.
    fn amount(&mut self, key: &'static str, a: u64, b: u64, what: &str, show: fn(u64) -> String) {
        let word = |n: u64| if n == u64::MAX { "without limit".to_string() } else { show(n) };
        if a != b {
            let direction = if b > a { Wider } else { Narrower };
            let (most, least) = if b > a { (b, a) } else { (a, b) };
            self.add(direction, &[key], format!("{what}: {}, not {}", word(most), word(least)));
        }
    }

    /// A switch that is wider when it is on.
    fn switch(&mut self, key: &'static str, a: bool, b: bool, on: &str) {
        if a != b {
            self.add(if b { Wider } else { Narrower }, &[key], on);
        }
    }

    /// Something that moves no boundary.
    fn other<T: PartialEq + std::fmt::Debug>(&mut self, key: &'static str, a: &T, b: &T) {
        if a != b {
            self.add(Other, &[key], format!("{key}: another value"));
        }
    }
}

/// What changes from `a` to `b`, the wider changes first.
pub fn changes(a: &Policy, b: &Policy) -> Vec<Change> {
    let mut all = Changes(Vec::new());
    process(a, b, &mut all);
    filesystem(a, b, &mut all);
    mounts(a, b, &mut all);
    kernel(a, b, &mut all);
    resources(a, b, &mut all);
    machine(a, b, &mut all);
    all.0.sort_by_key(|change| change.direction);
    // Of the keys that can have done it, those that differ come first.
    let (value_a, value_b) = (serde_json::to_value(a), serde_json::to_value(b));
    if let (Ok(value_a), Ok(value_b)) = (value_a, value_b) {
        let same = |key: &str| {
            let at =
                |value| key.split('.').try_fold(value, |inside: &serde_json::Value, part| inside.get(part));
            at(&value_a) == at(&value_b)
        };
        all.0.iter_mut().for_each(|change| change.keys.sort_by_key(|key| same(key)));
    }
    all.0
}

/// Whether the policy says that the program is root inside, if it says who it is. Where it does not, the image does.
fn said_root(p: &Policy) -> Option<bool> {
    let user = p.process.user.as_deref()?.split(':').next().unwrap_or_default();
    Some(user == "root" || user.parse() == Ok(0u32))
}

fn process(a: &Policy, b: &Policy, all: &mut Changes) {
    match (said_root(a).unwrap_or(true), said_root(b).unwrap_or(true)) {
        (false, true) => all.add(Wider, &["process.user"], "may run as root inside"),
        (true, false) => all.add(Narrower, &["process.user"], "may run as root inside"),
        _ => all.other("process.user", &a.process.user, &b.process.user),
    }
    let groups = |p: &Policy| p.process.groups.iter().cloned().collect();
    all.set(&["process.groups"], &groups(a), &groups(b), "is in the groups");
    let seconds = |p: &Policy| p.process.timeout.filter(|s| *s > 0).unwrap_or(u64::MAX);
    all.amount("process.timeout", seconds(a), seconds(b), "may run for seconds", |n| n.to_string());
    all.other("process.workdir", &a.process.workdir, &b.process.workdir);
    all.other("process.env", &a.process.env, &b.process.env);
    all.other("process.entrypoint", &a.process.entrypoint, &b.process.entrypoint);
    all.other("process.hostname", &a.process.hostname, &b.process.hostname);
    all.other("process.umask", &a.process.umask, &b.process.umask);
    all.other("process.terminal", &a.process.terminal, &b.process.terminal);
    all.other("process.init", &a.process.init, &b.process.init);
    all.other("process.stop-signal", &a.process.stop_signal, &b.process.stop_signal);
    all.other("process.stop-timeout", &a.process.stop_timeout, &b.process.stop_timeout);
}

fn filesystem(a: &Policy, b: &Policy, all: &mut Changes) {
    let (fa, fb) = (&a.filesystem, &b.filesystem);
    for (key, verb, a, b) in [
        ("filesystem.read", "read", &fa.read, &fb.read),
        ("filesystem.write", "write", &fa.write, &fb.write),
        ("filesystem.execute", "execute", &fa.execute, &fb.execute),
    ] {
        match (a, b) {
            (None, None) => {}
            (Some(_), None) => all.add(Wider, &[key], format!("may {verb} whatever the mounts let it")),
            (None, Some(_)) => all.add(Narrower, &[key], format!("may {verb} whatever the mounts let it")),
            (Some(a), Some(b)) => {
                let more = |of: &[String], than: &[String]| -> Vec<String> {
                    let new = of.iter().filter(|path| !than.iter().any(|wide| covers(wide, path)));
                    new.cloned().collect()
                };
                for (direction, paths) in [(Wider, more(b, a)), (Narrower, more(a, b))] {
                    if !paths.is_empty() {
                        all.add(
                            direction,
                            &[key, "mounts", "devices"],
                            format!("may {verb} {}", paths.join(", ")),
                        );
                    }
                }
            }
        }
    }
    let hidden = |p: &Policy| -> Vec<String> {
        let f = &p.filesystem;
        f.hide.iter().filter(|path| !f.unmask.contains(path)).map(|path| tree(path).to_string()).collect()
    };
    let kept = |p: &Policy| -> Vec<String> {
        let f = &p.filesystem;
        match f.proc_pid_only {
            // Then there is nothing of these.
            Some(true) => {
                f.read_only_paths.iter().filter(|path| !path.starts_with("/proc/")).cloned().collect()
            }
            _ => f.read_only_paths.iter().filter(|path| !f.unmask.contains(path)).cloned().collect(),
        }
    };
    let pid_only = |p: &Policy| p.filesystem.proc_pid_only == Some(true);
    for (keys, means, inside_a, inside_b) in [
        (["filesystem.unmask", "filesystem.hide"], "sees", hidden(a), hidden(b)),
        (
            ["filesystem.unmask", "filesystem.read-only-paths"],
            "may write, as far as the root can be,",
            kept(a),
            kept(b),
        ),
    ] {
        let free = |of: &[String], than: &[String], than_pid_only: bool| -> Vec<String> {
            let below = |path: &str| than.iter().any(|all| std::path::Path::new(path).starts_with(all));
            let gone = |path: &str| than_pid_only && path.starts_with("/proc/");
            of.iter().filter(|path| !below(path) && !gone(path)).cloned().collect()
        };
        for (direction, paths) in [
            (Wider, free(&inside_a, &inside_b, pid_only(b))),
            (Narrower, free(&inside_b, &inside_a, pid_only(a))),
        ] {
            if !paths.is_empty() {
                all.add(direction, &keys, format!("{means} {}", paths.join(", ")));
            }
        }
    }
    let writable = |p: &Policy| p.filesystem.read_only != Some(true);
    all.switch("filesystem.read-only", writable(a), writable(b), "may write to the root");
    all.switch("filesystem.proc-pid-only", !pid_only(a), !pid_only(b), "sees the machine in /proc and /sys");
    let without = |p: &Policy| p.filesystem.landlock == Some(false);
    all.switch("filesystem.landlock", without(a), without(b), "runs without Landlock behind the mounts");
    let ram = |p: &Policy| size(p.filesystem.ram.as_deref(), 256 << 20);
    all.amount("filesystem.ram", ram(a), ram(b), "may fill RAM with files", bytes);
    let shm = |p: &Policy| size(p.filesystem.shm_size.as_deref(), 0);
    all.amount("filesystem.shm-size", shm(a), shm(b), "may fill /dev/shm beside that", bytes);
    let allowed = |p: &Policy| p.filesystem.allow_mount.iter().cloned().collect();
    all.set(&["filesystem.allow-mount"], &allowed(a), &allowed(b), "lets be mounted what opens the house:");
}

fn mounts(a: &Policy, b: &Policy, all: &mut Changes) {
    let find = |p: &'_ Policy, target: &str| p.mounts.iter().find(|m| m.target == target).cloned();
    let what = |m: &Mount| match &m.source {
        Some(source) => format!("{source} of the host at {}", m.target),
        None => format!("RAM at {}", m.target),
    };
    let mode = |m: &Mount| if m.read_only { "read" } else { "read and write" };
    for mount in &b.mounts {
        let Some(before) = find(a, &mount.target) else {
            all.add(Wider, &["mounts"], format!("may {} {}", mode(mount), what(mount)));
            continue;
        };
        if before.kind != mount.kind || before.source != mount.source {
            all.add(
                Wider,
                &["mounts"],
                format!("may {} {}, not {}", mode(mount), what(mount), what(&before)),
            );
        }
        if before.read_only != mount.read_only {
            let direction = if mount.read_only { Narrower } else { Wider };
            all.add(direction, &["mounts"], format!("may write to {}", mount.target));
        }
        let executes = |m: &Mount| m.exec.unwrap_or(m.kind == MountKind::Bind);
        if executes(&before) != executes(mount) {
            let direction = if executes(mount) { Wider } else { Narrower };
            all.add(direction, &["mounts"], format!("may execute what lies in {}", mount.target));
        }
        let most = |m: &Mount| size(m.size.as_deref(), u64::MAX);
        all.amount("mounts", most(&before), most(mount), &format!("may fill {}", mount.target), bytes);
        all.other("mounts", &before.mode, &mount.mode);
    }
    for mount in a.mounts.iter().filter(|m| find(b, &m.target).is_none()) {
        all.add(Narrower, &["mounts"], format!("may {} {}", mode(mount), what(mount)));
    }
    let devices = |p: &Policy| p.devices.iter().map(|d| d.path.clone()).collect();
    all.set(&["devices"], &devices(a), &devices(b), "has the devices");
}

/// Every call that exists for a policy, by name.
fn calls(p: &Policy) -> BTreeSet<String> {
    let expand = |words: &[String]| -> BTreeSet<String> {
        words
            .iter()
            .flat_map(|word| match sets::members(word) {
                Some(members) => members.into_iter().map(String::from).collect(),
                None => vec![word.clone()],
            })
            .collect()
    };
    let default = vec!["@default".to_string()];
    let base = p.syscalls.base.as_ref().unwrap_or(&default);
    let mut all = expand(base);
    all.extend(expand(&p.syscalls.allow));
    for denied in expand(&p.syscalls.deny) {
        all.remove(&denied);
    }
    // By its own name it exists for every argument.
    let named = base.iter().chain(&p.syscalls.allow).any(|word| word == "personality");
    if named && all.contains("personality") {
        all.insert("personality with every argument".to_string());
    }
    all
}

/// What a program that starts as root inside has, or one that does not.
fn powers(p: &Policy, root: bool) -> BTreeSet<String> {
    let c = &p.capabilities;
    let bare = |word: &String| capabilities::dropped(word).unwrap_or_else(|_| word.clone());
    let dropped: BTreeSet<String> = c.drop.iter().map(bare).collect();
    let of_root = c.root.iter().flatten().filter(|_| root && !dropped.contains("ALL"));
    of_root.chain(&c.add).map(bare).filter(|name| !dropped.contains(name)).collect()
}

fn kernel(a: &Policy, b: &Policy, all: &mut Changes) {
    match (&a.syscalls.profile, &b.syscalls.profile) {
        (None, None) => {
            let keys = ["syscalls.allow", "syscalls.base", "syscalls.deny"];
            all.set(&keys, &calls(a), &calls(b), "may call");
        }
        (before, now) if before != now => {
            let now = now.as_deref().unwrap_or("donjon's own sets");
            all.add(
                Wider,
                &["syscalls.profile"],
                format!("may call what {now} lets it, which can't be compared"),
            );
        }
        _ => {}
    }
    let families =
        |p: &Policy| p.sockets.families.iter().flatten().chain(&p.sockets.allow).cloned().collect();
    all.set(&["sockets.allow", "sockets.families"], &families(a), &families(b), "may make sockets:");
    let keys = ["capabilities.add", "capabilities.root", "capabilities.drop"];
    // Where it is said who the program is, what anybody else would have does not count.
    match (said_root(a), said_root(b)) {
        (Some(as_a), Some(as_b)) => {
            all.set(&keys, &powers(a, as_a), &powers(b, as_b), "has the capabilities")
        }
        (Some(root), None) | (None, Some(root)) => {
            all.set(&keys, &powers(a, root), &powers(b, root), "has the capabilities");
        }
        (None, None) => {
            all.set(&keys, &powers(a, true), &powers(b, true), "as root inside has the capabilities");
            all.set(&keys, &powers(a, false), &powers(b, false), "as anybody inside has the capabilities");
        }
    }
    let nested = |p: &Policy| p.namespaces.nested == Some(true);
    all.switch("namespaces.nested", nested(a), nested(b), "may make user namespaces");
    let order = |p: &Policy| match p.namespaces.user.unwrap_or_default() {
        UserNamespace::Auto => 0,
        UserNamespace::Range => 1,
        UserNamespace::Host => 2,
    };
    let ids = ["one id of its own", "many ids of its own", "the host's ids"];
    if order(a) != order(b) {
        let (direction, most) = if order(b) > order(a) { (Wider, order(b)) } else { (Narrower, order(a)) };
        all.add(
            direction,
            &["namespaces.user"],
            format!("has {}", ids.get(most).copied().unwrap_or_default()),
        );
    }
    all.other(
        "namespaces.network",
        &a.namespaces.network.as_deref().unwrap_or("none"),
        &b.namespaces.network.as_deref().unwrap_or("none"),
    );
    all.other("namespaces.time-offsets", &a.namespaces.time_offsets, &b.namespaces.time_offsets);
    let settings = |p: &Policy| p.sysctls.iter().map(|(key, value)| format!("{key} = {value}")).collect();
    all.set(&["sysctls"], &settings(a), &settings(b), "has the settings");
}

fn resources(a: &Policy, b: &Policy, all: &mut Changes) {
    let (ra, rb) = (&a.resources, &b.resources);
    let pids = |pids: Option<i64>| pids.and_then(|n| u64::try_from(n).ok()).unwrap_or(u64::MAX);
    all.amount("resources.pids", pids(ra.pids), pids(rb.pids), "may have processes and threads", |n| {
        n.to_string()
    });
    let memory = |p: &Policy| size(p.resources.memory.as_deref(), u64::MAX);
    all.amount("resources.memory", memory(a), memory(b), "may use memory", bytes);
    let swap = |p: &Policy| match p.resources.memory_swap.as_deref() {
        Some("-1") => u64::MAX,
        word => size(word, memory(p)).saturating_sub(memory(p)),
    };
    all.amount("resources.memory-swap", swap(a), swap(b), "may use swap", bytes);
    let cpus = |cpus: Option<f64>| cpus.map_or(u64::MAX, |n| (n * 100.0) as u64);
    let show = |n: u64| format!("{}.{:02}", n / 100, n % 100);
    all.amount("resources.cpus", cpus(ra.cpus), cpus(rb.cpus), "may use processors", show);
    let names: BTreeSet<&String> = ra.ulimits.keys().chain(rb.ulimits.keys()).collect();
    for name in names {
        let limit = |p: &Policy| {
            let word = p.resources.ulimits.get(name);
            word.and_then(|word| ulimits::values(word).ok()).unwrap_or((u64::MAX, u64::MAX))
        };
        let ((soft_a, hard_a), (soft_b, hard_b)) = (limit(a), limit(b));
        let what = format!("ulimit {name}");
        all.amount("resources.ulimits", hard_a, hard_b, &what, |n| n.to_string());
        if hard_a == hard_b {
            all.amount("resources.ulimits", soft_a, soft_b, &format!("{what} at first"), |n| n.to_string());
        }
    }
}

fn machine(a: &Policy, b: &Policy, all: &mut Changes) {
    let list = |list: &[String]| list.iter().cloned().collect::<BTreeSet<String>>();
    all.set(&["network.egress"], &list(&a.network.egress), &list(&b.network.egress), "may reach");
    all.set(&["network.publish"], &list(&a.network.publish), &list(&b.network.publish), "offers");
    all.set(
        &["best-effort"],
        &list(&a.best_effort),
        &list(&b.best_effort),
        "starts without, where they can't be had:",
    );
    let (before, now) = (a.integrity.exec.unwrap_or_default(), b.integrity.exec.unwrap_or_default());
    if before != now {
        let direction = if now < before { Wider } else { Narrower };
        all.add(
            direction,
            &["integrity.exec"],
            format!("may execute what integrity {:?} would not let it", before.max(now)),
        );
    }
    for (key, a, b) in
        [("lsm.apparmor", &a.lsm.apparmor, &b.lsm.apparmor), ("lsm.selinux", &a.lsm.selinux, &b.lsm.selinux)]
    {
        match (a, b) {
            (None, None) => {}
            (None, Some(label)) => all.add(Narrower, &[key], format!("runs without {label}")),
            (Some(label), None) => all.add(Wider, &[key], format!("runs without {label}")),
            (Some(before), Some(now)) if before != now => {
                all.add(Wider, &[key], format!("runs under {now}, not {before}, which can't be compared"));
            }
            _ => {}
        }
    }
    all.other("incomplete", &a.incomplete, &b.incomplete);
}

fn size(word: Option<&str>, without: u64) -> u64 {
    word.map_or(without, |word| numbers::size(word).unwrap_or(u64::MAX))
}

/// 268435456 as `256m`.
pub(crate) fn bytes(n: u64) -> String {
    for (unit, shift) in [("g", 30), ("m", 20), ("k", 10)] {
        if n >= 1 << shift && n.trailing_zeros() >= shift {
            return format!("{}{unit}", n >> shift);
        }
    }
    n.to_string()
}
