//! cgroups as on this machine: v1, hybrid, or v2.

use std::fs;
use std::path::Path;

use donjon_tests::World;

/// Directories of cgroups whose name holds one of these ids.
fn groups_of(ids: &[String]) -> Vec<String> {
    fn walk(dir: &Path, depth: usize, ids: &[String], found: &mut Vec<String>) {
        if depth > 4 {
            return;
        }
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|t| t.is_dir()) {
                let name = entry.file_name().to_string_lossy().into_owned();
                if ids.iter().any(|id| name.contains(&id[..12])) {
                    found.push(entry.path().display().to_string());
                }
                walk(&entry.path(), depth + 1, ids, found);
            }
        }
    }
    let mut found = Vec::new();
    walk(Path::new("/sys/fs/cgroup"), 0, ids, &mut found);
    found
}

#[test]
fn the_memory_limit_holds_and_is_reported() {
    let world = World::root();
    world.attack(&["--rm", "-m", "128m"], &["memory", "40"]).go().succeeds();
    let run = world.attack(&["--rm", "-m", "64m"], &["memory", "400"]).go();
    run.exits(137).complains("memory");
    world.assert_nothing_left("a container that ran out of memory");
}

#[test]
fn the_pids_limit_holds() {
    let world = World::root();
    let run = world.attack(&["--rm", "--pids-limit", "30"], &["forks", "200"]).go();
    let made: usize = run.succeeds().stdout.trim().parse().expect("a count");
    assert!((10..30).contains(&made), "{made} processes under a limit of 30");
}

#[test]
fn the_cpu_limit_holds() {
    let world = World::root();
    let script = "s=$(cut -d. -f1 /proc/uptime); i=0; while [ $(($(cut -d. -f1 /proc/uptime) - s)) -lt 3 ]; do i=$((i+1)); done; echo $i";
    let count = |options: &[&str]| {
        let run = world.shell(options, script).go();
        run.succeeds().stdout.trim().parse::<u64>().expect("a count")
    };
    let (free, held) = (count(&["--rm"]), count(&["--rm", "--cpus", "0.2"]));
    assert!(held * 2 < free, "{held} rounds with a fifth of a CPU, {free} without a limit");
}

#[test]
fn the_cgroup_is_gone_with_the_container() {
    let world = World::root();
    world.shell(&["-d", "--name", "a", "-m", "64m"], "sleep 60").go().succeeds();
    let ids = world.containers();
    assert!(!groups_of(&ids).is_empty(), "the container has no cgroup of its own");
    world.donjon(&["rm", "-f", "a"]).go().succeeds();
    assert!(groups_of(&ids).is_empty(), "{:?}", groups_of(&ids));
    world.assert_nothing_left("a container with a cgroup");
}

#[test]
fn the_cgroup_is_gone_when_the_program_has_ended() {
    // The warden removes it, which has no capabilities by then: the root of a hierarchy is not its to write.
    let world = World::root();
    let id = world.path("id");
    world.shell(&["--rm", "--cidfile", &id, "-m", "64m", "--cpus", "1"], "true").go().succeeds();
    let ids = [fs::read_to_string(id).expect("the container's id").trim().to_string()];
    assert!(groups_of(&ids).is_empty(), "{:?}", groups_of(&ids));
}

#[test]
fn the_cgroup_of_a_killed_donjon_does_not_stay_full() {
    let world = World::root();
    let run = world.shell(&["--name", "a", "-m", "64m"], "echo ready; sleep 300").spawn();
    run.wait_for("ready");
    let ids = world.containers();
    run.signal(libc::SIGKILL);
    run.finish(10);
    world.donjon(&["rm", "-f", "a"]).go().succeeds();
    assert!(groups_of(&ids).is_empty(), "{:?}", groups_of(&ids));
}

#[test]
fn a_start_that_is_killed_at_any_moment_leaves_no_cgroup_to_rm() {
    // Its record is written last; until then the lock file tells which cgroups there are.
    let world = World::root();
    let mut unfinished = 0;
    for round in 0..120u64 {
        let run = world.shell(&["-m", "64m"], "sleep 300").spawn();
        std::thread::sleep(std::time::Duration::from_micros(round * 75));
        run.signal(libc::SIGKILL);
        run.finish(10);
        let ids = world.containers();
        unfinished += usize::from(ids.iter().any(|id| {
            !Path::new(&world.path(&format!("run/donjon/containers/{id}/state.json"))).exists()
                && !groups_of(&ids).is_empty()
        }));
        for id in &ids {
            world.donjon(&["rm", "-f", id]).go().succeeds();
        }
        assert!(groups_of(&ids).is_empty(), "after {} us: {:?}", round * 75, groups_of(&ids));
    }
    assert!(unfinished > 0, "no start was killed between its cgroup and its record");
    world.assert_nothing_left("starts that were killed");
}

#[test]
fn no_cgroup_hierarchy_is_writable_inside() {
    // R16, CVE-2022-0492: release_agent.
    let world = World::root();
    world.shell(&["--rm"], "find / -name release_agent -o -name cgroup.procs 2>/dev/null | head -n 3; touch /sys/fs/cgroup/x && echo wrote").go().prints("");
}

#[test]
fn stats_show_the_memory() {
    let world = World::root();
    world.shell(&["-d", "--name", "a", "-m", "64m"], "sleep 60").go().succeeds();
    world.donjon(&["stats", "--no-stream", "a"]).go().succeeds().says("64");
    world.donjon(&["rm", "-f", "a"]).go().succeeds();
}
