//! Limits that hold without a cgroup, and the words for those that need one.

use donjon_tests::World;

#[test]
fn a_fork_bomb_is_contained_without_a_cgroup() {
    let world = World::ordinary();
    let run = world.attack(&["--rm", "--pids-limit", "40"], &["forks", "500"]).go();
    let made: usize = run.succeeds().stdout.trim().parse().expect("a count");
    assert!((20..40).contains(&made), "{made} processes under a limit of 40");
    world.assert_nothing_left("a fork bomb");
}

#[test]
fn a_fork_bomb_is_contained_by_default() {
    let world = World::ordinary();
    let run = world.attack(&["--rm"], &["forks", "3000"]).seconds(60).go();
    let made: usize = run.succeeds().stdout.trim().parse().expect("a count");
    assert!((100..=512).contains(&made), "{made} processes under the default limit");
}

#[test]
fn a_fork_bomb_leaves_the_neighbours_alone() {
    let world = World::ordinary();
    let bomb =
        world.shell(&["--rm", "--pids-limit", "60"], "b() { b | b & }; b; b; sleep 2; echo over").spawn();
    std::thread::sleep(std::time::Duration::from_millis(500));
    world.shell(&["--rm"], "echo neighbour; true | true; sh -c true").go().succeeds().prints("neighbour");
    bomb.signal(libc::SIGKILL);
    bomb.finish(20);
    // A donjon that is killed can't remove its record any more.
    for id in world.containers() {
        world.donjon(&["rm", "-f", &id]).go().succeeds();
    }
    world.assert_nothing_left("a fork bomb");
}

#[test]
fn what_a_limit_needs_is_said_when_it_is_missing() {
    let world = World::ordinary();
    // An ordinary user on a machine without a delegated cgroup: refused with the reason, or enforced. Never silent.
    let run = world.attack(&["--rm", "-m", "64m"], &["memory", "300"]).go();
    if run.code() == 0 {
        run.complains("memory");
    } else {
        assert!(run.code() == 125 || run.code() == 137, "{run:?}");
    }
    if run.code() == 125 {
        run.complains("memory").complains("cgroup");
    }
}

#[test]
fn the_size_of_a_tmpfs_is_its_limit() {
    let world = World::ordinary();
    let script = "dd if=/dev/zero of=/scratch/f bs=1M count=10; ls -l /scratch";
    let run = world.shell(&["--rm", "--tmpfs", "/scratch:size=1m"], script).go();
    run.complains("No space left");
}

#[test]
fn impossible_limits_are_refused() {
    let world = World::ordinary();
    for flags in [
        ["--pids-limit", "many"],
        ["--pids-limit", "-7"],
        ["-m", "12q"],
        ["-m", "-1"],
        ["--cpus", "zero"],
        ["--ulimit", "nofile=9:8"],
        ["--ulimit", "nosuch=1"],
        ["--ulimit", "nofile"],
    ] {
        let run = world.shell(&["--rm", flags[0], flags[1]], "echo ran").go();
        run.refused().never_says("ran\n");
    }
    world.assert_nothing_left("impossible limits");
}
