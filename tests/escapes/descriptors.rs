//! R6: nothing that donjon or its caller had open comes along.

use donjon_tests::World;

#[test]
fn r6_a_host_directory_that_the_caller_left_open_is_gone() {
    let world = World::ordinary();
    let leaky = |run: donjon_tests::Run<'_>| run.leaking("/", 7).go();
    for run in [
        world.attack(&["--rm"], &["open", "/proc/self/fd/7/etc"]),
        world.attack(&["--rm"], &["open", "/proc/self/fd/7/etc"]).hooked(),
    ] {
        leaky(run).exits(1).prints("refused ENOENT");
    }
    let open = leaky(world.attack(&["--rm"], &["fds"]).without("close-fds,own-descriptors"));
    assert!(open.stdout.lines().any(|l| l.starts_with("7 ")), "the attack can't tell: {open:?}");
}

#[test]
fn r6_the_working_directory_can_not_be_a_leaked_descriptor() {
    // CVE-2024-21626: process.cwd = /proc/self/fd/7.
    let world = World::ordinary();
    for n in ["3", "5", "7", "8"] {
        let cwd = format!("/proc/self/fd/{n}");
        let run = world.donjon(&["run", "--rm", "-w", &cwd, &world.image(), "ls", "-a"]).leaking("/", 7).go();
        assert_ne!(run.code(), 0, "{run:?}");
        run.never_says("vmlinuz").never_says("boot");
    }
    world.assert_nothing_left("a working directory of the host");
}

#[test]
fn r6_no_descriptor_of_donjons_own_is_seen_even_by_the_first_instruction() {
    let world = World::ordinary();
    for options in [&["--rm"][..], &["--rm", "-t"], &["--rm", "--init"], &["--rm", "-i"]] {
        let run = world.attack(options, &["fds"]).go();
        run.succeeds();
        assert_eq!(run.stdout.lines().count(), 3, "{run:?}");
    }
    let run = world.donjon(&["run", "--rm", "--init", &world.image(), "ls", "-l", "/proc/1/fd"]).go();
    run.never_says("socket:").never_says("anon_inode");
}
