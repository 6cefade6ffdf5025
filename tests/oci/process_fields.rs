//! The fields of `process`, and the container's names: each is found inside as it was written.

use donjon_tests::World;
use serde_json::{Value, json};

/// Runs a container with one field set, and returns what its script prints.
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
fn limits_of_resources_are_set() {
    let limits = json!([
        {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200},
        {"type": "RLIMIT_CORE", "soft": 0, "hard": 4096}
    ]);
    let script = "grep -E '^Max (open|core)' /proc/self/limits | tr -s ' '";
    let seen = inside("/process/rlimits", limits, script);
    assert!(seen.contains("Max core file size 0 4096 bytes"), "{seen}");
    assert!(seen.contains("Max open files 100 200 files"), "{seen}");
}

#[test]
fn a_limit_named_twice_is_refused() {
    let world = World::root();
    let mut bundle = world.bundle("b", "echo ran");
    let one = json!({"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200});
    bundle.set("/process/rlimits", json!([one, one]));
    bundle.run("c1").go().exits(1).complains("process.rlimits[1]").never_says("ran");
}

#[test]
fn the_score_for_running_out_of_memory_is_set() {
    assert_eq!(inside("/process/oomScoreAdj", json!(345), "cat /proc/self/oom_score_adj"), "345");
}

#[test]
fn the_personality_is_set() {
    if cfg!(target_arch = "x86_64") {
        assert_eq!(inside("/linux/personality", json!({"domain": "LINUX32"}), "uname -m"), "i686");
        assert_eq!(inside("/linux/personality", json!({"domain": "LINUX"}), "uname -m"), "x86_64");
    }
}

#[test]
fn the_scheduler_is_set() {
    // The fields 19 and 41 of proc_pid_stat(5): nice and policy.
    let script = "cut -d ' ' -f 19,41 /proc/self/stat";
    let batch = json!({"policy": "SCHED_BATCH", "nice": 5});
    assert_eq!(inside("/process/scheduler", batch, script), "5 3");
    assert_eq!(inside("/process/scheduler", json!({"policy": "SCHED_IDLE"}), script), "0 5");
}

#[test]
fn the_priority_of_input_and_output_is_set() {
    let priority = json!({"class": "IOPRIO_CLASS_BE", "priority": 6});
    assert_eq!(inside("/process/ioPriority", priority, "ionice -p $$"), "best-effort: prio 6");
    let priority = json!({"class": "IOPRIO_CLASS_IDLE", "priority": 0});
    assert!(inside("/process/ioPriority", priority, "ionice -p $$").starts_with("idle"));
}

#[test]
fn a_joining_process_gets_its_processors() {
    let world = World::root();
    let mut bundle = world.bundle("b", "grep Cpus_allowed_list /proc/self/status; sleep 300");
    bundle.set("/process/execCPUAffinity", json!({"initial": "0", "final": "0"}));
    bundle.create("c1").go().succeeds();
    world.donjon(&["start", "c1"]).go().succeeds();
    let seen = world.donjon(&["exec", "c1", "grep", "Cpus_allowed_list", "/proc/self/status"]).go();
    assert_eq!(seen.succeeds().stdout.split_whitespace().last(), Some("0"));
    world.donjon(&["delete", "--force", "c1"]).go().succeeds();
    world.assert_nothing_left("processors");
}

#[test]
fn user_groups_and_umask_are_set() {
    let user = json!({"uid": 1000, "gid": 1001, "additionalGids": [5, 6, 7], "umask": 0o027});
    let seen = inside("/process/user", user, "id -u; id -g; id -G; umask");
    assert_eq!(seen, "1000\n1001\n1001 5 6 7\n0027");
}

#[test]
fn capabilities_are_the_listed_ones() {
    let listed = json!({
        "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_SETUID"], "permitted": ["CAP_CHOWN", "CAP_KILL"],
        "effective": ["CAP_CHOWN"], "inheritable": ["CAP_KILL"], "ambient": ["CAP_KILL"]
    });
    let world = World::root();
    let mut bundle = world.bundle("b", "grep ^Cap /proc/self/status");
    bundle.set("/process/capabilities", listed);
    // Another user than root, whose programs gain nothing by being started.
    bundle.set("/process/user", json!({"uid": 1000, "gid": 1000}));
    let run = bundle.run("c1").go();
    let sets: Vec<u64> = run
        .succeeds()
        .stdout
        .lines()
        .filter_map(|line| u64::from_str_radix(line.split_whitespace().last()?, 16).ok())
        .collect();
    // Inheritable, permitted, effective, bounding, ambient.
    let kill = 1 << 5;
    assert_eq!(sets, [kill, kill, kill, 1 | kill | 1 << 7, kill]);
}

#[test]
fn new_privileges_are_forbidden_when_asked() {
    assert_eq!(
        inside("/process/noNewPrivileges", json!(true), "grep NoNewPrivs /proc/self/status"),
        "NoNewPrivs:\t1"
    );
    assert_eq!(
        inside("/process/noNewPrivileges", json!(false), "grep NoNewPrivs /proc/self/status"),
        "NoNewPrivs:\t0"
    );
}

#[test]
fn host_and_domain_name_are_set() {
    assert_eq!(inside("/hostname", json!("keep.example"), "hostname"), "keep.example");
    assert_eq!(inside("/domainname", json!("tower"), "cat /proc/sys/kernel/domainname"), "tower");
}

#[test]
fn environment_and_arguments_are_passed_as_they_are() {
    let world = World::root();
    let mut bundle = world.bundle("b", "");
    bundle.push("/process/env", json!("SPACED= a  b "));
    bundle.push("/process/env", json!("TWICE=1"));
    bundle.push("/process/env", json!("TWICE=2"));
    bundle.set(
        "/process/args",
        json!(["sh", "-c", "printf '[%s]' \"$SPACED\" \"$TWICE\" \"$@\"", "sh", "", "x y", "$HOME"]),
    );
    bundle.run("c1").go().succeeds().prints("[ a  b ][2][][x y][$HOME]");
}

#[test]
fn the_working_directory_is_made_when_it_is_missing() {
    let world = World::root();
    let mut bundle = world.bundle("b", "pwd");
    bundle.own_root();
    bundle.set("/process/cwd", json!("/not/there/yet"));
    bundle.run("c1").go().succeeds().prints("/not/there/yet");
}
