//! The driver systemd on a machine that systemd runs: a container's group is a scope of its. Run in a virtual machine,
//! since it takes systemd as the first process: as root, and as an ordinary user with a manager of its own.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use donjon_confine::Spec;
use donjon_confine::layers::cgroups::hierarchies::Version;
use donjon_confine::layers::cgroups::{Cgroup, Driver, Hierarchies, Options, Wanted};

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Picks what belongs to the machine's version.
fn by_version<T>(v1: T, v2: T) -> T {
    if Hierarchies::probe().version == Version::V2 { v2 } else { v1 }
}

/// The slice that the caller's manager has.
fn slice() -> &'static str {
    if is_root() { "machine.slice" } else { "user.slice" }
}

fn plan(path: &str, resources: &str) -> Wanted {
    let json = format!(
        r#"{{"ociVersion": "1.3.0", "linux": {{"cgroupsPath": "{path}", "resources": {resources}}}}}"#
    );
    let spec: Spec = serde_json::from_str(&json).expect("a specification");
    let options = Options { driver: Driver::Systemd, rootless: !is_root(), best_effort: false };
    Wanted::plan(&spec, "id", options, &Hierarchies::probe()).expect("a plan")
}

/// A process that waits.
fn waiting() -> Child {
    Command::new("/bin/sh")
        .args(["-c", "read go; exec sleep 60"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("a shell")
}

fn end(cgroup: &mut Cgroup, mut child: Child) {
    cgroup.signal_all(libc::SIGKILL).expect("the end of its processes");
    let _ = child.wait();
    cgroup.remove().expect("the group is removed");
}

/// A property of a unit, as systemctl tells it.
fn shown(unit: &str, property: &str) -> String {
    let mut command = Command::new("systemctl");
    if !is_root() {
        command.arg("--user");
    }
    let output = command.args(["show", "--value", "-p", property, unit]).output().expect("systemctl");
    String::from_utf8_lossy(&output.stdout).trim().to_string()
}

fn path(cgroup: &Cgroup, controller: &str) -> PathBuf {
    let groups = &cgroup.record().groups;
    let of = |controllers: &[String]| by_version(controllers.iter().any(|c| c == controller), true);
    groups.iter().find(|place| of(&place.controllers)).expect("a group").full()
}

fn read(cgroup: &Cgroup, file: &str) -> String {
    fs::read_to_string(path(cgroup, file.split('.').next().unwrap_or_default()).join(file))
        .expect(file)
        .trim()
        .to_string()
}

#[test]
fn a_scope_has_its_limits_and_is_gone_afterwards() {
    let name = format!("limits{}", std::process::id());
    let scope = format!("libpod-{name}.scope");
    let wanted = plan(
        &format!("{}:libpod:{name}", slice()),
        r#"{"memory": {"limit": 67108864, "swap": 100663296}, "pids": {"limit": 30}, "cpu": {"shares": 512}}"#,
    );
    let mut cgroup = Cgroup::create(&wanted).expect("a promise of a group");
    assert!(cgroup.birthplace().is_none() && shown(&scope, "ActiveState") == "inactive");
    let child = waiting();
    cgroup.adopt(child.id() as i32).expect("the unit");
    let place = path(&cgroup, "memory");
    assert!(place.ends_with(format!("{}/{scope}", slice())), "{}", place.display());
    assert_eq!(cgroup.pids(), [child.id() as i32]);
    let memory = by_version("MemoryLimit", "MemoryMax");
    for (property, value) in [
        ("ActiveState", "active"),
        ("Slice", slice()),
        ("Delegate", "yes"),
        (memory, "67108864"),
        by_version(("CPUShares", "512"), ("MemorySwapMax", "33554432")),
        ("TasksMax", "30"),
    ] {
        assert_eq!(shown(&scope, property), value, "{property}");
    }
    let (limit, both) = by_version(
        ("memory.limit_in_bytes", ("memory.memsw.limit_in_bytes", "33554432")),
        ("memory.max", ("memory.swap.max", "0")),
    );
    assert_eq!((read(&cgroup, limit), read(&cgroup, "pids.max")), ("67108864".into(), "30".into()));
    let change = r#"{"memory": {"limit": 33554432, "swap": 33554432}, "pids": {"limit": 40}}"#;
    cgroup.update(&serde_json::from_str(change).expect("resources"), false).expect("other limits");
    assert_eq!((shown(&scope, memory), shown(&scope, "TasksMax")), ("33554432".into(), "40".into()));
    assert_eq!((read(&cgroup, limit), read(&cgroup, both.0)), ("33554432".into(), both.1.into()));
    let mut reload = Command::new("systemctl");
    if !is_root() {
        reload.arg("--user");
    }
    assert!(reload.arg("daemon-reload").status().expect("systemctl").success());
    assert_eq!((read(&cgroup, limit), read(&cgroup, "pids.max")), ("33554432".into(), "40".into()));
    let record = serde_json::to_string(cgroup.record()).expect("a record");
    let mut again = Cgroup::open(&serde_json::from_str(&record).expect("a record")).expect("the group");
    end(&mut again, child);
    assert!(!place.exists(), "{} stays", place.display());
    assert_eq!(shown(&scope, "LoadState"), "not-found");
    again.remove().expect("what is gone is removed");
}

#[test]
fn a_unit_that_is_there_is_refused() {
    let name = format!("{}:libpod:twice{}", slice(), std::process::id());
    let mut first = Cgroup::create(&plan(&name, "{}")).expect("a promise of a group");
    let (a, mut b) = (waiting(), waiting());
    first.adopt(a.id() as i32).expect("the unit");
    let mut second = Cgroup::create(&plan(&name, "{}")).expect("a promise of a group");
    let error = second.adopt(b.id() as i32).expect_err("a unit that is there");
    assert!(error.to_string().contains("UnitExists"), "{error}");
    assert_eq!(first.pids(), [a.id() as i32], "the refusal touched the other's group");
    let _ = b.kill();
    let _ = b.wait();
    end(&mut first, a);
}

#[test]
fn a_value_that_systemd_does_not_take_leaves_no_unit() {
    let name = format!("bad{}", std::process::id());
    let wanted = plan(
        &format!("{}:libpod:{name}", slice()),
        r#"{"hugepageLimits": [{"pageSize": "7GB", "limit": 0}]}"#,
    );
    let mut cgroup = Cgroup::create(&wanted).expect("a promise of a group");
    let mut child = waiting();
    let error = cgroup.adopt(child.id() as i32).expect_err("pages of a size that no machine has");
    assert_eq!(error.field, "linux.resources.hugepageLimits[0].limit");
    let _ = child.wait();
    let scope = format!("libpod-{name}.scope");
    assert_eq!(shown(&scope, "ActiveState"), "inactive");
    for hierarchy in Hierarchies::probe().list {
        let left = hierarchy.top.join(slice()).join(&scope);
        assert!(!left.exists(), "{} stays", left.display());
    }
}

#[test]
fn root_denies_devices_in_a_scope_and_a_reload_does_not_allow_them() {
    let name = format!("machine.slice:libpod:devices{}", std::process::id());
    let mut cgroup = Cgroup::create(&plan(&name, "{}")).expect("a promise of a group");
    let mut child = Command::new("/bin/sh")
        .args(["-c", "read go; systemctl daemon-reload; exec 3</dev/null; exec 3</dev/kmsg"])
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("a shell");
    cgroup.adopt(child.id() as i32).expect("the unit");
    child.stdin.take().expect("its input").write_all(b"\n").expect("a line");
    assert!(!child.wait().expect("its end").success(), "a device that nobody allowed was opened");
    cgroup.remove().expect("the group is removed");
}
