//! R4: what donjon reads and writes in procfs is a procfs.

use donjon_tests::World;

#[test]
fn r4_a_proc_that_the_image_prepared_is_covered_or_refused() {
    // CVE-2019-16884, CVE-2025-52881: labels and sysctls written to a fake file.
    let world = World::ordinary();
    let root = world.own_root();
    root.file("proc/self/status", "fake", 0o666).file("proc/sys/kernel/hostname", "fake", 0o666);
    let run = world
        .donjon(&["run", "--rm", &root.image(), "cat", "/proc/self/status", "/proc/sys/kernel/ostype"])
        .go();
    run.succeeds().never_says("fake").says("Linux");
    assert_eq!(run.field("NoNewPrivs"), "1");
}

#[test]
fn r4_nothing_can_be_put_over_proc_or_into_it() {
    let world = World::ordinary();
    let work = world.path("work");
    for destination in
        ["/proc", "/proc/sys", "/proc/self/attr", "/proc/1", "//proc//self", "/tmp/../proc", "/sys/fs/cgroup"]
    {
        for options in [
            ["--tmpfs".to_string(), destination.to_string()],
            ["--rw".to_string(), format!("{work}:{destination}")],
        ] {
            world
                .donjon(&["run", "--rm", &options[0], &options[1], &world.image(), "echo", "ran"])
                .go()
                .refused()
                .never_says("ran\n");
        }
    }
    world.assert_nothing_left("mounts over /proc");
}

#[test]
fn r4_a_link_to_proc_is_no_way_around_that() {
    let world = World::ordinary();
    let root = world.own_root();
    root.link("innocent", "/proc").link("mnt/deep", "../proc/sys");
    for destination in ["/innocent", "/innocent/sys", "/mnt/deep"] {
        let run = world
            .donjon(&[
                "run",
                "--rm",
                "--tmpfs",
                destination,
                &root.image(),
                "cat",
                "/proc/self/status",
                "/proc/sys/kernel/ostype",
            ])
            .go();
        if run.code() == 0 {
            assert_eq!(run.field("NoNewPrivs"), "1", "{run:?}");
            run.says("Linux");
        } else {
            run.refused();
        }
    }
    world.assert_nothing_left("links to /proc");
}

#[test]
fn r4_a_sysctl_of_the_container_is_really_set_and_the_hosts_is_not() {
    let world = World::ordinary();
    let before = std::fs::read_to_string("/proc/sys/net/ipv4/ip_default_ttl").expect("a setting");
    let run = world
        .shell(&["--rm", "--sysctl", "net.ipv4.ip_default_ttl=33"], "cat /proc/sys/net/ipv4/ip_default_ttl")
        .go();
    run.succeeds().prints("33");
    assert_eq!(std::fs::read_to_string("/proc/sys/net/ipv4/ip_default_ttl").expect("a setting"), before);
    for key in [
        "kernel.core_pattern=|/bin/evil",
        "kernel.modprobe=/evil",
        "vm.overcommit_memory=1",
        "../../evil=1",
        "net.ipv4/../../kernel.core_pattern=x",
    ] {
        world.shell(&["--rm", "--sysctl", key], "echo ran").go().refused().never_says("ran\n");
    }
}

#[test]
fn r4_processes_of_others_are_invisible() {
    let world = World::ordinary();
    let image = world.image();
    let table = || world.donjon(&["run", "--rm", &image, "grep", " /proc ", "/proc/self/mountinfo"]);
    table().go().succeeds().says("hidepid=invisible");
    table().hooked().go().succeeds().says("hidepid=invisible");
    table().without("hidepid").go().never_says("hidepid=invisible");
}
