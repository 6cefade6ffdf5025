//! Fields of `linux` with a mechanism of the kernel's own behind each: devices, parameters, clocks, filters, groups.

use donjon_tests::World;
use serde_json::{Value, json};

fn inside(pointer: &str, value: Value, script: &str) -> String {
    let world = World::root();
    let mut bundle = world.bundle("b", script);
    bundle.set(pointer, value);
    let run = bundle.run("c1").go();
    let printed = run.succeeds().stdout.trim().to_string();
    world.assert_nothing_left(pointer);
    printed
}

#[test]
fn devices_are_made_as_they_are_described() {
    let devices = json!([
        {"path": "/dev/odd", "type": "c", "major": 1, "minor": 3, "fileMode": 0o642, "uid": 7, "gid": 8},
        {"path": "/dev/deep/zero", "type": "u", "major": 1, "minor": 5, "fileMode": 0o600},
        {"path": "/dev/pipe", "type": "p", "fileMode": 0o622}
    ]);
    let script =
        "stat -c '%F %t:%T %a %u:%g' /dev/odd /dev/deep/zero /dev/pipe; echo x > /dev/odd && echo written";
    let seen = inside("/linux/devices", devices, script);
    let expected =
        "character special file 1:3 642 7:8\ncharacter special file 1:5 600 0:0\nfifo 0:0 622 0:0\nwritten";
    assert_eq!(seen, expected);
}

#[test]
fn the_usual_devices_and_links_are_there_without_being_asked_for() {
    let script = "for d in null zero full random urandom tty; do test -c /dev/$d || echo no $d; done; \
        for l in ptmx fd stdin stdout stderr; do test -L /dev/$l || echo no $l; done; echo looked";
    assert_eq!(inside("/linux/devices", json!([]), script), "looked");
}

#[test]
fn kernel_parameters_of_the_container_are_set() {
    let parameters = json!({"net.ipv4.ip_forward": "1", "kernel.msgmax": "4321"});
    let script = "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax";
    assert_eq!(inside("/linux/sysctl", parameters, script), "1\n4321");
}

#[test]
fn clocks_are_moved() {
    let world = World::root();
    let mut bundle = world.bundle("b", "cut -d . -f 1 /proc/uptime; readlink /proc/self/ns/time");
    bundle.push("/linux/namespaces", json!({"type": "time"}));
    bundle.set(
        "/linux/timeOffsets",
        json!({"boottime": {"secs": 864_000_000, "nanosecs": 5}, "monotonic": {"secs": 10}}),
    );
    let run = bundle.run("c1").go();
    let mut lines = run.succeeds().stdout.lines();
    let up: u64 = lines.next().expect("a time").parse().expect("seconds");
    assert!(up > 864_000_000, "{up}");
    let own = std::fs::read_link("/proc/self/ns/time").expect("a link");
    assert_ne!(lines.next(), own.to_str());
}

fn filter(action: &str, names: &[&str], rest: Value) -> Value {
    let mut rule = json!({"names": names, "action": action});
    for (name, value) in rest.as_object().cloned().unwrap_or_default() {
        rule[name.as_str()] = value;
    }
    json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"], "syscalls": [rule]})
}

#[test]
fn a_filter_answers_with_its_error() {
    let script = "mkdir /tmp/x 2>&1; true";
    let refused = filter("SCMP_ACT_ERRNO", &["mkdir", "mkdirat"], json!({}));
    assert!(inside("/linux/seccomp", refused, script).contains("not permitted"));
    let refused = filter("SCMP_ACT_ERRNO", &["mkdir", "mkdirat"], json!({"errnoRet": 28}));
    assert!(inside("/linux/seccomp", refused, script).contains("No space left"));
}

#[test]
fn a_filter_looks_at_arguments() {
    // kill(pid, 10) alone is refused.
    let args = json!({"args": [{"index": 1, "value": 10, "op": "SCMP_CMP_EQ"}]});
    let refused = filter("SCMP_ACT_ERRNO", &["kill"], args);
    let script = "sleep 5 & kill -10 $! 2>/dev/null || echo refused; kill -9 $! && echo sent";
    assert_eq!(inside("/linux/seccomp", refused, script), "refused\nsent");
}

#[test]
fn a_filter_ends_a_process() {
    let world = World::root();
    for action in ["SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_TRAP"] {
        let mut bundle = world.bundle("b", "(mkdir /tmp/x); echo $?");
        bundle.set("/linux/seccomp", filter(action, &["mkdir", "mkdirat"], json!({})));
        // SIGSYS is 31.
        bundle.run("c1").go().succeeds().says("159");
    }
}

#[test]
fn a_filter_is_for_a_joining_process_as_well() {
    let world = World::root();
    let mut bundle = world.bundle("b", "sleep 300");
    bundle.set("/linux/seccomp", filter("SCMP_ACT_ERRNO", &["mkdir", "mkdirat"], json!({})));
    bundle.create("c1").go().succeeds();
    world.donjon(&["start", "c1"]).go().succeeds();
    world.donjon(&["exec", "c1", "mkdir", "/dev/shm/x"]).go().complains("not permitted");
    world.donjon(&["delete", "--force", "c1"]).go().succeeds();
}

#[test]
fn the_container_is_in_the_group_that_is_named() {
    let path = format!("/donjon-test-named-{}", std::process::id());
    let world = World::root();
    let mut bundle = world.bundle("b", "cat /proc/self/cgroup");
    bundle.set("/linux/cgroupsPath", json!(format!("{path}/below")));
    let namespaces: Vec<Value> = bundle.config["linux"]["namespaces"]
        .as_array()
        .expect("a list")
        .iter()
        .filter(|namespace| namespace["type"] != "cgroup")
        .cloned()
        .collect();
    bundle.set("/linux/namespaces", json!(namespaces));
    let run = bundle.run("c1").go();
    for line in run.succeeds().stdout.lines() {
        assert!(line.ends_with(&format!("{path}/below")), "{line}");
    }
    world.assert_nothing_left("a named group");
}

#[test]
fn annotations_and_bundle_are_in_the_state() {
    let world = World::root();
    let mut bundle = world.bundle("b", "sleep 300");
    let annotations = json!({"org.example.key": "value", "org.example.empty": ""});
    bundle.set("/annotations", annotations.clone());
    bundle.create("c1").go().succeeds();
    let state: Value = world.donjon(&["state", "c1"]).go().succeeds().json();
    assert_eq!(state["annotations"], annotations);
    assert_eq!(state["bundle"], json!(bundle.path()));
    assert_eq!((&state["id"], &state["status"]), (&json!("c1"), &json!("created")));
    assert!(state["ociVersion"].as_str().is_some_and(|version| version.starts_with("1.")));
    assert!(state["pid"].as_i64().is_some_and(|pid| pid > 1));
    world.donjon(&["delete", "--force", "c1"]).go().succeeds();
}
