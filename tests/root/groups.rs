//! A container's group as the OCI runtime makes it, by the library: on whatever hierarchies this machine has. The
//! virtual machine runs the same tests on version 2 (`tests/vm/guest.sh`).

use std::fs;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use donjon_confine::Spec;
use donjon_confine::layers::cgroups::hierarchies::Version;
use donjon_confine::layers::cgroups::{Cgroup, Hierarchies, Notice, Options, Wanted};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// A group below a name of the test's own, removed at the end with what is in it.
struct Group {
    cgroup: Cgroup,
    children: Vec<Child>,
}

fn name(test: &str) -> String {
    format!("donjon-test-{}-{test}", std::process::id())
}

fn plan(test: &str, resources: &str) -> Wanted {
    let json = format!(
        r#"{{"ociVersion": "1.3.0", "linux": {{"cgroupsPath": "/{}/inner", "resources": {resources}}}}}"#,
        name(test)
    );
    let spec: Spec = serde_json::from_str(&json).expect("a specification");
    Wanted::plan(&spec, "id", Options::default(), &Hierarchies::probe()).expect("a plan")
}

fn is_v2() -> bool {
    Hierarchies::probe().version == Version::V2
}

/// Picks what belongs to the machine's version.
fn by_version<T>(v1: T, v2: T) -> T {
    if is_v2() { v2 } else { v1 }
}

/// Directories of a test's groups, in all hierarchies.
fn left(test: &str) -> Vec<PathBuf> {
    let tops = Hierarchies::probe().list.into_iter().map(|h| h.top);
    tops.map(|top| top.join(name(test)).join("inner")).filter(|path| path.exists()).collect()
}

impl Group {
    fn new(test: &str, resources: &str) -> Self {
        let cgroup = Cgroup::create(&plan(test, resources)).expect("a group");
        Self { cgroup, children: Vec::new() }
    }

    fn path(&self, file: &str) -> PathBuf {
        let controller = file.split('.').next().unwrap_or_default();
        let groups = &self.cgroup.record().groups;
        let place = groups
            .iter()
            .find(|p| is_v2() || p.controllers.iter().any(|c| c == controller))
            .unwrap_or_else(|| panic!("no group of {controller}"));
        place.full()
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.path(file).join(file)).expect(file).trim().to_string()
    }

    /// Runs a script in the group: the shell waits until it has been put in.
    fn run(&mut self, script: &str) -> &mut Child {
        let mut child = Command::new("/bin/sh")
            .args(["-c", &format!("read go; {script}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell");
        self.cgroup.adopt(child.id() as i32).expect("a process in the group");
        child.stdin.take().expect("its input").write_all(b"\n").expect("a line");
        self.children.push(child);
        self.children.last_mut().expect("the child")
    }

    fn update(&mut self, resources: &str) -> Result<(), String> {
        let resources = serde_json::from_str(resources).expect("resources");
        self.cgroup.update(&resources, false).map_err(|e| e.to_string())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = self.cgroup.signal_all(libc::SIGKILL);
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        let removed = self.cgroup.remove();
        for place in &self.cgroup.record().groups {
            let _ = fs::remove_dir(place.full().parent().expect("the group above"));
        }
        if !std::thread::panicking() {
            removed.expect("the group is removed");
        }
    }
}

fn until(what: &str, mut is: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !is() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn limits_are_written_and_the_group_is_gone_afterwards() {
    let mut group = Group::new(
        "limits",
        r#"{"memory": {"limit": 67108864, "reservation": 33554432},
            "cpu": {"shares": 512, "quota": 20000, "period": 100000, "cpus": "0"},
            "pids": {"limit": 30}}"#,
    );
    let (v1, v2) = (
        [
            ("memory.limit_in_bytes", "67108864"),
            ("memory.soft_limit_in_bytes", "33554432"),
            ("cpu.shares", "512"),
            ("cpu.cfs_quota_us", "20000"),
            ("cpuset.cpus", "0"),
            ("pids.max", "30"),
        ],
        [
            ("memory.max", "67108864"),
            ("memory.low", "33554432"),
            ("cpu.weight", "59"),
            ("cpu.max", "20000 100000"),
            ("cpuset.cpus", "0"),
            ("pids.max", "30"),
        ],
    );
    for (file, value) in by_version(v1, v2) {
        assert_eq!(group.read(file), value, "{file}");
    }
    assert_eq!(group.cgroup.birthplace().is_some(), is_v2());
    let pid = group.run("sleep 60").id() as i32;
    until("the shell's child is in the group", || group.cgroup.pids().len() == 2);
    assert!(group.cgroup.pids().contains(&pid));
    let text = serde_json::to_string(group.cgroup.record()).expect("a record");
    let mut again = Cgroup::open(&serde_json::from_str(&text).expect("a record")).expect("the group");
    assert_eq!(again.pids(), group.cgroup.pids());
    drop(group);
    assert_eq!(left("limits"), Vec::<PathBuf>::new());
    assert!(again.pids().is_empty());
    again.remove().expect("what is gone is removed");
}

#[test]
fn limits_go_up_and_down() {
    let mut group = Group::new("updates", r#"{"memory": {"limit": 33554432, "swap": 67108864}}"#);
    let swap = |both: u64, limit: u64| by_version(both, both - limit).to_string();
    let (limit_file, swap_file) = by_version(
        ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes"),
        ("memory.max", "memory.swap.max"),
    );
    // A kernel without swap accounting refuses the start already, by name.
    for (limit, both) in
        [(134_217_728u64, 268_435_456u64), (16_777_216, 16_777_216), (67_108_864, 67_108_864)]
    {
        group
            .update(&format!(r#"{{"memory": {{"limit": {limit}, "swap": {both}}}}}"#))
            .expect("another limit of both");
        assert_eq!(group.read(limit_file), limit.to_string());
        assert_eq!(group.read(swap_file), swap(both, limit));
    }
    group.update(r#"{"memory": {"limit": -1}}"#).expect("no limit");
    assert_ne!(group.read(limit_file), "67108864");
    for (quota, period) in [(50_000, 100_000), (5000, 10_000), (500_000, 1_000_000)] {
        group
            .update(&format!(r#"{{"cpu": {{"quota": {quota}, "period": {period}}}}}"#))
            .expect("another quota");
        match is_v2() {
            true => assert_eq!(group.read("cpu.max"), format!("{quota} {period}")),
            false => assert_eq!(group.read("cpu.cfs_quota_us"), quota.to_string()),
        }
    }
    group.update(r#"{"cpu": {"shares": 2048}, "pids": {"limit": -1}}"#).expect("shares");
    assert_eq!(group.read("pids.max"), "max");
    let error = group.update(r#"{"cpu": {"cpus": "4000"}}"#).expect_err("a processor that is not there");
    assert!(error.contains("linux.resources.cpu.cpus"), "{error}");
    let error = group.update(r#"{"pids": {"limit": -3}}"#).expect_err("no number of processes");
    assert!(error.contains("linux.resources.pids.limit"), "{error}");
}

#[test]
fn a_limit_that_fails_leaves_nothing() {
    let wanted = plan("fails", r#"{"cpu": {"cpus": "4000"}}"#);
    let error = Cgroup::create(&wanted).expect_err("a processor that is not there");
    assert_eq!(error.field, "linux.resources.cpu.cpus");
    for hierarchy in Hierarchies::probe().list {
        assert!(!hierarchy.top.join(name("fails")).exists(), "{hierarchy:?}");
    }
    let json = format!(
        r#"{{"ociVersion": "1.3.0", "linux": {{"cgroupsPath": "/{}/inner", "resources": {{"cpu": {{"cpus": "4000"}}}}}}}}"#,
        name("fails")
    );
    let spec: Spec = serde_json::from_str(&json).expect("a specification");
    let options = Options { best_effort: true, ..Options::default() };
    let wanted = Wanted::plan(&spec, "id", options, &Hierarchies::probe()).expect("a plan");
    let cgroup = Cgroup::create(&wanted).expect("best effort goes on");
    assert!(cgroup.notes().iter().any(|n| n.contains("linux.resources.cpu.cpus")), "{:?}", cgroup.notes());
    drop(Group { cgroup, children: Vec::new() });
}

#[test]
fn a_group_that_is_in_use_is_refused() {
    let mut group = Group::new("used", "{}");
    group.run("sleep 60");
    let error = Cgroup::create(&plan("used", "{}")).expect_err("a group with a process");
    assert!(error.to_string().contains("not empty") && error.field == "linux.cgroupsPath", "{error}");
    assert!(!left("used").is_empty(), "the refusal took the other's group away");
    let empty = Group::new("frozen", "{}");
    empty.cgroup.freeze().expect("a frozen group");
    let error = Cgroup::create(&plan("frozen", "{}")).expect_err("a frozen group");
    assert!(error.to_string().contains("frozen"), "{error}");
    empty.cgroup.thaw().expect("a group that runs again");
    Cgroup::create(&plan("frozen", "{}")).expect("an empty group that is there");
}

#[test]
fn a_frozen_group_stands_still_and_ends_when_it_is_killed() {
    let mut group = Group::new("freezer", "{}");
    let file = std::env::temp_dir().join(name("freezer"));
    let script = format!("i=0; while :; do i=$((i+1)); echo $i >{}; done", file.display());
    group.run(&script);
    let count = || fs::read_to_string(&file).unwrap_or_default();
    until("the loop runs", || !count().is_empty());
    assert!(!group.cgroup.is_frozen());
    group.cgroup.freeze().expect("a frozen group");
    assert!(group.cgroup.is_frozen());
    let before = count();
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(count(), before);
    group.cgroup.signal_all(libc::SIGUSR2).expect("a signal to a frozen group");
    assert!(group.cgroup.is_frozen(), "a signal thawed the group");
    group.cgroup.signal_all(libc::SIGKILL).expect("the end of a frozen group");
    let status = group.children[0].wait().expect("its end");
    assert!(matches!(status.signal(), Some(libc::SIGUSR2 | libc::SIGKILL)), "{status:?}");
    let _ = fs::remove_file(file);
}

#[test]
fn a_signal_reaches_groups_in_the_group() {
    let mut group = Group::new("signals", "{}");
    let dirs: Vec<PathBuf> = group.cgroup.record().groups.iter().map(|p| p.full()).collect();
    for dir in &dirs {
        fs::create_dir_all(dir.join("sub/deeper")).expect("groups in the group");
        for file in ["cpuset.cpus", "cpuset.mems"].map(|f| Path::new("sub").join(f)) {
            let value = fs::read_to_string(dir.join(file.file_name().expect("a name")));
            if let Ok(value) = value {
                let _ = fs::write(dir.join(&file), &value);
                let _ = fs::write(dir.join("sub/deeper").join(file.file_name().expect("a name")), &value);
            }
        }
    }
    let pid = group.run("trap '' TERM; sleep 60 & sleep 60 & wait").id() as i32;
    until("the children are there", || group.cgroup.pids().len() == 3);
    let sub = group.cgroup.for_exec(&["sub/deeper".to_string()], None);
    let mut sub = sub.expect("the sub-group");
    sub.adopt(pid).expect("a process in it");
    assert_eq!(sub.pids(), [pid]);
    assert_eq!(group.cgroup.pids().len(), 3);
    assert!(group.cgroup.for_exec(&["none".to_string()], None).is_err());
    assert!(group.cgroup.for_exec(&["../x".to_string()], None).is_err());
    group.cgroup.signal_all(libc::SIGKILL).expect("the end of all");
    let _ = group.children[0].wait();
    until("nobody is left", || group.cgroup.pids().is_empty());
}

#[test]
fn processes_are_limited_and_counted() {
    let mut group = Group::new("pids", r#"{"pids": {"limit": 5}}"#);
    group.run("for i in 1 2 3 4 5 6 7 8; do sleep 60 & done; wait");
    until("the limit is reached", || group.cgroup.stats().pids.current == 5);
    assert_eq!(group.cgroup.stats().pids.limit, 5);
}

#[test]
fn statistics_tell_what_is_used() {
    let mut group = Group::new("stats", r#"{"memory": {"limit": 67108864}, "cpu": {"quota": 20000}}"#);
    // Memory counts for the group in which it is first used.
    group.run("x=$(head -c 2000000 /dev/zero | tr '\\0' a); i=0; while :; do i=$((i+1)); done");
    until("the limit of processor time is reached", || {
        let stats = group.cgroup.stats();
        stats.cpu.throttling.throttled_periods > 0 && stats.cpu.throttling.throttled_time > 0
    });
    let stats = group.cgroup.stats();
    assert!(stats.cpu.usage.total > 1_000_000, "{:?}", stats.cpu);
    assert!(stats.memory.usage.usage > 0 && stats.memory.usage.limit == 67_108_864, "{:?}", stats.memory);
    assert!(!stats.memory.raw.is_empty() && !stats.cpuset.cpus.is_empty());
    let json = serde_json::to_value(&stats).expect("JSON");
    for path in ["/cpu/usage/total", "/cpu/throttling/throttledTime", "/memory/usage/limit", "/memory/raw"] {
        assert!(json.pointer(path).is_some(), "{path}: {json}");
    }
    if is_v2() && Path::new("/proc/pressure/cpu").exists() {
        assert!(json.pointer("/cpu/psi/some/total").is_some(), "{json}");
    }
}

#[test]
fn devices_are_denied_until_they_are_allowed() {
    // Whether the shell could open it: /dev/kmsg, 1:11, is the host's log.
    let node = std::env::temp_dir().join(name("kmsg"));
    let made = Command::new("mknod").arg(&node).args(["c", "1", "11"]).status().expect("mknod");
    assert!(made.success());
    let opens = |group: &mut Group, device: &str, how: &str| {
        group.run(&format!("exec 3{how}{device}")).wait().expect("its end").success()
    };
    let kmsg = node.display().to_string();
    let mut group = Group::new("devices", r#"{"devices": [{"allow": false, "access": "rwm"}]}"#);
    assert!(opens(&mut group, "/dev/null", "<>") && opens(&mut group, "/dev/zero", "<"));
    assert!(!opens(&mut group, &kmsg, "<"), "a device that nobody allowed was opened");
    let rule = |access: &str| {
        format!(
            r#"{{"devices": [{{"allow": false, "access": "rwm"}},
                {{"allow": true, "type": "c", "major": 1, "minor": 11, "access": "{access}"}}]}}"#
        )
    };
    group.update(&rule("r")).expect("a rule more");
    assert!(opens(&mut group, &kmsg, "<") && !opens(&mut group, &kmsg, ">"));
    group.update(&rule("rw")).expect("another rule");
    assert!(opens(&mut group, &kmsg, ">") && opens(&mut group, "/dev/null", "<>"));
    group.update(r#"{"pids": {"limit": 100}}"#).expect("an update without devices");
    assert!(opens(&mut group, &kmsg, ">"));
    group.update(r#"{"devices": []}"#).expect("no rule");
    assert!(!opens(&mut group, &kmsg, "<"), "a device stayed allowed");
    group.update(r#"{"devices": [{"allow": true, "access": "rwm"}]}"#).expect("everything");
    assert!(opens(&mut group, &kmsg, "<"));
    let _ = fs::remove_file(node);
}

#[test]
fn running_out_of_memory_is_told() {
    let mut group = Group::new("oom", r#"{"memory": {"limit": 16777216}}"#);
    if is_v2() {
        group.update(r#"{"unified": {"memory.swap.max": "0"}}"#).expect("no swap");
    }
    let mut watch = group.cgroup.oom_watch().expect("a watch").expect("a group of memory");
    assert_eq!(watch.read().expect("nothing yet"), []);
    group.run("exec tail /dev/zero");
    let mut notices = Vec::new();
    let second = Timespec { tv_sec: 1, tv_nsec: 0 };
    until("the end of memory is told", || {
        let _ = poll(&mut [PollFd::new(&watch, PollFlags::IN)], Some(&second));
        notices.extend(watch.read().expect("notices"));
        notices.contains(&Notice::OutOfMemory)
    });
    let _ = group.children[0].wait();
    if !is_v2() {
        group.cgroup.remove().expect("the group is removed");
    }
    until("the end is told", || {
        let _ = poll(&mut [PollFd::new(&watch, PollFlags::IN)], Some(&second));
        notices.extend(watch.read().expect("notices"));
        notices.contains(&Notice::Ended)
    });
}
