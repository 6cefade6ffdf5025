//! R8: the executing image of donjon can't be reached from inside.

use donjon_tests::{World, eventually};

#[test]
fn r8_the_init_that_donjon_forks_shows_its_image_to_nobody() {
    // CVE-2019-5736: /proc/PID/exe of the runtime, opened for writing from inside.
    let world = World::ordinary();
    let watch = |run: donjon_tests::Run<'_>| run.go();
    let attack = ["images", "1"];
    watch(world.attack(&["--rm", "--init"], &attack)).exits(1).says("refused");
    watch(world.attack(&["--rm", "--init"], &attack).hooked()).exits(1).says("refused");
    watch(world.attack(&["--rm", "--init"], &attack).without("dumpable,hidepid,landlock"))
        .exits(0)
        .says("in ");
}

#[test]
fn r8_a_donjon_that_joins_shows_its_image_to_nobody() {
    let world = World::ordinary();
    world.attack(&["-d", "--name", "trap"], &["images", "6"]).go().succeeds();
    assert!(eventually(5, || world.donjon(&["logs", "trap"]).go().stdout.contains("watching")));
    for _ in 0..40 {
        world.donjon(&["exec", "trap", "/bin/true"]).go();
    }
    world.donjon(&["wait", "trap"]).go().prints("1");
    world.donjon(&["logs", "trap"]).go().never_says("in /");
}

#[test]
fn r8_exec_of_proc_self_exe_runs_the_containers_own_program() {
    let world = World::ordinary();
    let run = world.donjon(&["run", "--rm", &world.image(), "/proc/self/exe", "--version"]).go();
    run.never_says("donjon 0");
}

#[test]
fn r8_a_library_or_loader_of_the_image_is_never_loaded_by_donjon() {
    let world = World::ordinary();
    let root = world.own_root();
    for name in [
        "lib64/ld-linux-x86-64.so.2",
        "etc/ld.so.preload",
        "lib/x86_64-linux-gnu/libc.so.6",
        "etc/nsswitch.conf",
    ] {
        root.file(name, "poison", 0o755);
    }
    world.donjon(&["run", "--rm", "--init", &root.image(), "echo", "ran"]).go().succeeds().prints("ran");
}
