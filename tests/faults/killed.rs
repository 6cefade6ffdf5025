//! kill -9, at every moment.

use std::time::Duration;

use donjon_tests::{World, eventually};

/// A source of moments: the same in every run.
fn moments() -> impl Iterator<Item = Duration> {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        Duration::from_micros(state % 8000)
    })
}

/// No process of this world is left; records of containers that were cut short may be, and say so.
#[track_caller]
fn assert_nothing_runs(world: &World, after: &str) {
    let quiet = eventually(5, || {
        let left = world.leftovers();
        left.processes.is_empty() && left.mounts.is_empty()
    });
    assert!(quiet, "after {after}: {:#?}", world.leftovers());
}

#[test]
fn a_donjon_that_is_killed_at_any_moment_leaves_no_process_and_no_mount() {
    let world = World::ordinary();
    let token = world.token();
    for moment in moments().take(80) {
        let run = world.shell(&["--rm", "-e", &format!("WORLD={token}")], "sleep 300").spawn();
        std::thread::sleep(moment);
        run.signal(libc::SIGKILL);
        run.finish(10).exits(1009);
        assert_nothing_runs(&world, &format!("kill -9 after {moment:?}"));
    }
    // And what was cut short is no obstacle.
    world.shell(&["--rm"], "echo ran").go().succeeds().prints("ran");
    for id in world.containers() {
        world.donjon(&["rm", "-f", &id]).go().succeeds();
    }
    world.assert_nothing_left("rm of what was cut short");
}

#[test]
fn a_container_dies_with_its_foreground_donjon() {
    let world = World::ordinary();
    let token = world.token();
    for options in [&["--name", "a"][..], &["--name", "b", "--init"], &["--name", "c", "-t"]] {
        let mut all = vec!["-e"];
        let variable = format!("WORLD={token}");
        all.push(&variable);
        all.extend_from_slice(options);
        let run = world
            .shell(&all, "trap '' TERM HUP INT; (sleep 300 &); echo ready; sleep 300; sleep 300")
            .spawn();
        run.wait_for("ready");
        run.signal(libc::SIGKILL);
        run.finish(10).exits(1009);
        assert_nothing_runs(&world, "kill -9 of donjon");
        let state = world.donjon(&["ps", "-a"]).go();
        state.succeeds().never_says("Running").never_says("Up ");
    }
}

#[test]
fn a_container_dies_with_its_detached_warden() {
    let world = World::ordinary();
    let token = world.token();
    world
        .shell(&["-d", "--name", "orphan", "-e", &format!("WORLD={token}")], "(sleep 300 &); sleep 300")
        .go()
        .succeeds();
    let wardens = world.leftovers().processes;
    let warden =
        wardens.iter().find(|p| p.contains("donjon")).unwrap_or_else(|| panic!("no warden: {wardens:?}"));
    let pid: i32 = warden.split(':').next().and_then(|p| p.parse().ok()).expect("a pid");
    // SAFETY: a signal to the warden that this test started.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGKILL) }, 0);
    assert_nothing_runs(&world, "kill -9 of the warden");
    // Everybody who asks is told that it ended.
    world.donjon(&["ps"]).go().succeeds().never_says("orphan");
    world.donjon(&["ps", "-a"]).go().succeeds().says("orphan");
    world.donjon(&["exec", "orphan", "true"]).go().refused();
    let waited = world.donjon(&["wait", "orphan"]).go();
    assert!(!waited.stdout.is_empty() || waited.code() == 125, "{waited:?}");
    world.donjon(&["rm", "orphan"]).go().succeeds();
    world.assert_nothing_left("rm of an orphan");
}

#[test]
fn a_container_that_shook_off_its_parents_death_dies_with_its_warden_too() {
    let world = World::ordinary();
    let token = world.token();
    let variable = format!("WORLD={token}");
    let image = world.image();
    let start = |name: &'static str| {
        world.donjon(&[
            "run", "-d", "--name", name, "-e", &variable, &image, "/bin/attacker", "exec-from-thread",
            "/bin/sleep", "300",
        ])
    };
    let sleeps = |world: &World| world.leftovers().processes.iter().any(|p| p.contains("sleep"));
    let kill_warden = |world: &World| {
        assert!(eventually(5, || sleeps(world)), "{:?}", world.leftovers());
        let record = world.path("run/donjon/containers");
        let state = std::fs::read_to_string(format!("{record}/{}/state.json", world.containers()[0]));
        let state: serde_json::Value = serde_json::from_str(&state.expect("a state")).expect("JSON");
        let pid = state["warden"]["pid"].as_i64().expect("a pid") as i32;
        // SAFETY: a signal to the warden that this test started.
        assert_eq!(unsafe { libc::kill(pid, libc::SIGKILL) }, 0);
    };
    start("deaf").go().succeeds();
    kill_warden(&world);
    assert_nothing_runs(&world, "kill -9 of the warden");
    world.donjon(&["rm", "-f", "deaf"]).go().succeeds();
    start("orphan").without("guard").go().succeeds();
    kill_warden(&world);
    std::thread::sleep(Duration::from_millis(500));
    assert!(sleeps(&world), "the attack can't tell");
    world.donjon(&["rm", "-f", "orphan"]).go().succeeds();
    world.assert_nothing_left("a container that shook off its parent's death");
}

#[test]
fn a_detached_start_that_is_killed_at_any_moment_is_whole_or_gone() {
    let world = World::ordinary();
    let token = world.token();
    for (n, moment) in moments().take(40).enumerate() {
        let name = format!("d{n}");
        let run = world.shell(&["-d", "--name", &name, "-e", &format!("WORLD={token}")], "sleep 300").spawn();
        std::thread::sleep(moment);
        run.signal(libc::SIGKILL);
        run.finish(20);
    }
    // Whatever came up can be listed and taken away; nothing else is there.
    world.donjon(&["ps", "-a"]).go().succeeds();
    for id in world.containers() {
        world.donjon(&["rm", "-f", &id]).go().succeeds();
    }
    world.assert_nothing_left("detached starts that were killed");
}

#[test]
fn an_exec_that_is_killed_takes_its_process_along() {
    let world = World::ordinary();
    let token = world.token();
    world.shell(&["-d", "--name", "house"], "sleep 300").go().succeeds();
    let run = world
        .donjon(&["exec", "-e", &format!("WORLD={token}"), "house", "sh", "-c", "echo ready; exec sleep 299"])
        .spawn();
    run.wait_for("ready");
    run.signal(libc::SIGKILL);
    run.finish(10).exits(1009);
    let gone = eventually(5, || !world.donjon(&["exec", "house", "ps"]).go().stdout.contains("sleep 299"));
    assert!(gone, "the process that exec started lives on");
    world.donjon(&["rm", "-f", "house"]).go().succeeds();
    world.assert_nothing_left("a killed exec");
}
