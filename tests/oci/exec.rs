//! exec: a further process, behind the same walls.

use donjon_tests::World;
use serde_json::json;

#[test]
fn a_process_joins_the_container_in_everything() {
    for world in [World::root(), World::ordinary()] {
        let bundle = world.bundle("b", "sleep 300");
        bundle.create("c1").go().succeeds();
        world.donjon(&["start", "c1"]).go().succeeds();
        let look = "for n in ipc mnt net pid uts cgroup user; do readlink /proc/$1/ns/$n; done; \
                    grep -E '^(Cap|NoNew|Seccomp)' /proc/$1/status; cat /proc/$1/cgroup";
        let of = |pid: &str| {
            let run = world.donjon(&["exec", "c1", "sh", "-c", look, "sh", pid]).go();
            run.succeeds().stdout.clone()
        };
        assert_eq!(of("1"), of("self"));
        world.donjon(&["exec", "c1", "sh", "-c", "exit 9"]).go().exits(9);
        world
            .donjon(&["exec", "-e", "A=b", "--cwd", "/tmp", "c1", "sh", "-c", "echo $A $PWD"])
            .go()
            .prints("b /tmp");
        world.donjon(&["delete", "--force", "c1"]).go().succeeds();
        world.assert_nothing_left("exec");
    }
}

#[test]
fn a_process_can_be_given_as_a_file() {
    let world = World::root();
    let bundle = world.bundle("b", "sleep 300");
    bundle.create("c1").go().succeeds();
    world.donjon(&["start", "c1"]).go().succeeds();
    let process = json!({
        "args": ["sh", "-c", "id -u; id -g; grep CapEff /proc/self/status; umask; pwd"],
        "env": ["PATH=/bin"], "cwd": "/bin", "user": {"uid": 5, "gid": 6, "umask": 7},
        "capabilities": {}
    });
    let file = world.file("process.json", &process.to_string());
    let run = world.donjon(&["exec", "--process", file.to_str().expect("UTF-8"), "c1"]).go();
    run.succeeds().prints("5\n6\nCapEff:\t0000000000000000\n0007\n/bin");
    let run = world.donjon(&["exec", "--user", "7:8", "-g", "9", "c1", "id"]).go();
    run.succeeds().prints("uid=7 gid=8 groups=9");
    world.donjon(&["exec", "--user", "root", "c1", "id"]).go().exits(255).complains("--user");
    world.donjon(&["exec", "c1", "nothing"]).go().exits(255).complains("executable file not found");
    world.donjon(&["exec", "--cap", "CAP_NONE", "c1", "id"]).go().exits(255).complains("CAP_NONE");
    world.donjon(&["delete", "--force", "c1"]).go().succeeds();
    world.donjon(&["exec", "--process", file.to_str().expect("UTF-8"), "c1"]).go().exits(255);
    world.assert_nothing_left("exec of a file");
}

#[test]
fn a_detached_process_is_in_the_container_and_goes_with_it() {
    let world = World::root();
    let bundle = world.bundle("b", "sleep 300");
    bundle.create("c1").go().succeeds();
    world.donjon(&["start", "c1"]).go().succeeds();
    let pid_file = world.path("pid");
    world
        .donjon(&["exec", "--detach", "--pid-file", &pid_file, "c1", "sleep", "299"])
        .output_to(&world.path("output"))
        .go()
        .succeeds();
    let pid = world.read("pid");
    let pids = world.donjon(&["ps", "--format", "json", "c1"]).go();
    let pids: Vec<i32> = serde_json::from_str(&pids.succeeds().stdout).expect("JSON");
    assert!(pids.len() == 2 && pids.contains(&pid.parse().expect("a pid")), "{pids:?} {pid}");
    world.donjon(&["delete", "--force", "c1"]).go().succeeds();
    world.assert_nothing_left("a detached process");
}

#[test]
fn nothing_joins_a_container_that_does_not_run() {
    let world = World::root();
    let bundle = world.bundle("b", "true");
    bundle.create("c1").go().succeeds();
    world.donjon(&["start", "c1"]).go().succeeds();
    assert!(donjon_tests::eventually(5, || world.status("c1").as_deref() == Some("stopped")));
    world.donjon(&["exec", "c1", "true"]).go().exits(255).complains("stopped");
    world.donjon(&["delete", "c1"]).go().succeeds();
}

#[test]
fn a_joining_process_has_what_a_fork_would_undo() {
    let world = World::root();
    let bundle = world.bundle("b", "sleep 300");
    bundle.create("c1").go().succeeds();
    world.donjon(&["start", "c1"]).go().succeeds();
    let exec = |field: &str, value: serde_json::Value, script: &str| {
        let mut process = json!({"args": ["sh", "-c", script], "env": ["PATH=/bin"], "cwd": "/",
            "user": {"uid": 4321, "gid": 6}, "capabilities": {}});
        process[field] = value;
        let file = world.file("process.json", &process.to_string());
        world.donjon(&["exec", "--process", file.to_str().expect("UTF-8"), "c1"])
    };
    // Nice and policy of this very process: a child of it would have neither.
    let script = "read line < /proc/self/stat; set -- $line; echo ${19} ${41}";
    let nice = json!({"policy": "SCHED_OTHER", "nice": -3, "flags": ["SCHED_RESET_ON_FORK"]});
    exec("scheduler", nice, script).go().succeeds().prints("-3 0");
    let deadline =
        json!({"policy": "SCHED_DEADLINE", "runtime": 1000000, "deadline": 10000000, "period": 10000000});
    exec("scheduler", deadline, script).go().succeeds().prints("0 6");
    // The process that forks does not count.
    let limits = |n: u32| json!([{"type": "RLIMIT_NPROC", "soft": n, "hard": n}]);
    exec("rlimits", limits(1), "ulimit -u; ulimit -Hu").go().succeeds().prints("1\n1");
    let first = exec("rlimits", limits(1), "echo one; exec sleep 9").spawn();
    first.wait_for("one");
    let second = exec("rlimits", limits(1), "echo two; exec sleep 9").spawn();
    second.wait_for("two");
    // As the kernel has it: it looks when the ids are changed, before this process counts.
    exec("rlimits", limits(1), "echo three").go().exits(255).complains("temporarily unavailable");
    world.donjon(&["delete", "--force", "c1"]).go().succeeds();
    first.finish(10);
    second.finish(10);
    world.assert_nothing_left("what a fork would undo");
}
