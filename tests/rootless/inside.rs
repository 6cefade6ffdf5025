//! What the program sees and can reach, with every layer on.

use donjon_tests::{World, mount_table};

#[test]
fn no_new_privileges_and_a_filter_are_on() {
    let world = World::ordinary();
    for image in ["host".to_string(), world.image()] {
        let run = world.donjon(&["run", "--rm", &image, "cat", "/proc/self/status"]).go();
        assert_eq!(run.field("NoNewPrivs"), "1", "{image}");
        assert_eq!(run.field("Seccomp"), "2", "{image}");
        assert_eq!(run.field("CapInh"), "0000000000000000", "{image}");
        assert_eq!(run.field("CapAmb"), "0000000000000000", "{image}");
    }
}

#[test]
fn root_inside_holds_the_few_capabilities_of_the_default_and_no_others() {
    // CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID NET_BIND_SERVICE.
    let eight = (1u64 << 0) | (1 << 1) | (1 << 3) | (1 << 4) | (1 << 5) | (1 << 6) | (1 << 7) | (1 << 10);
    let world = World::ordinary();
    let run = world.donjon(&["run", "--rm", &world.image(), "cat", "/proc/self/status"]).go();
    for set in ["CapPrm", "CapEff", "CapBnd"] {
        let held = u64::from_str_radix(&run.field(set), 16).expect("a set");
        assert_eq!(held & !eight, 0, "{set} holds {held:x}");
    }
}

#[test]
fn cap_drop_all_leaves_none() {
    let world = World::ordinary();
    let run =
        world.donjon(&["run", "--rm", "--cap-drop", "ALL", &world.image(), "cat", "/proc/self/status"]).go();
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb", "CapBnd"] {
        assert_eq!(run.field(set), "0000000000000000", "{set}");
    }
}

#[test]
fn a_program_that_starts_as_an_ordinary_user_holds_no_capability() {
    let world = World::ordinary();
    let run = world.donjon(&["run", "--rm", "-u", "1000", &world.image(), "cat", "/proc/self/status"]).go();
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(run.field(set), "0000000000000000", "{set}");
    }
}

#[test]
fn only_the_three_streams_are_open() {
    let world = World::ordinary();
    let run = world.attack(&["--rm"], &["fds"]).leaking("/etc", 7).leaking("/", 200).go();
    run.succeeds();
    let open: Vec<&str> = run.stdout.lines().filter_map(|l| l.split(' ').next()).collect();
    assert_eq!(open, ["0", "1", "2"], "{run:?}");
}

#[test]
fn every_namespace_is_another() {
    let world = World::ordinary();
    let script = "for n in user pid mnt net ipc uts cgroup; do readlink /proc/self/ns/$n; done";
    let run = world.shell(&["--rm"], script).go();
    run.succeeds();
    assert_eq!(run.stdout.lines().count(), 7, "{run:?}");
    for line in run.stdout.lines() {
        let name = line.split(':').next().unwrap_or_default();
        let outside = std::fs::read_link(format!("/proc/self/ns/{name}")).expect("a namespace");
        assert_ne!(line, outside.to_string_lossy(), "{name} is shared");
    }
}

#[test]
fn only_the_containers_processes_are_seen() {
    let world = World::ordinary();
    let run = world.shell(&["--rm"], "ps -o pid,comm; echo $$").go();
    run.succeeds();
    assert!(run.stdout.lines().count() <= 5, "{run:?}");
}

#[test]
fn the_network_is_loopback_alone_and_it_is_up() {
    let world = World::ordinary();
    world.shell(&["--rm"], "ls /sys/class/net; cat /proc/net/dev").go().never_says("eth");
    world
        .shell(
            &["--rm"],
            "ping -c 1 -W 1 127.0.0.1 >/dev/null; nc -l -p 8080 -e echo hi & sleep 0.3; nc 127.0.0.1 8080",
        )
        .go()
        .says("hi");
    world.shell(&["--rm"], "nc -w 2 10.0.0.1 80").go().fails_inside();
}

#[test]
fn what_proc_would_tell_about_the_machine_is_masked() {
    let world = World::ordinary();
    let files = [
        "kcore", "keys", "key-users", "kallsyms", "timer_list", "sched_debug", "interrupts", "config.gz",
        "cmdline", "sysrq-trigger", "kmsg", "iomem", "ioports", "modules", "kpagecount", "kpageflags",
        "slabinfo", "vmallocinfo", "pagetypeinfo", "schedstat",
    ];
    for file in files {
        let path = format!("/proc/{file}");
        if !std::path::Path::new(&path).exists() {
            continue;
        }
        let run = world.donjon(&["run", "--rm", &world.image(), "head", "-c", "64", &path]).go();
        assert!(run.code() == 1 || run.stdout.is_empty(), "{path} can be read: {run:?}");
    }
}

#[test]
fn nothing_of_proc_sys_is_writable() {
    let world = World::ordinary();
    let script = "find /proc/sys -type f -exec sh -c 'for f; do (echo 0 > $f) 2>/dev/null && echo wrote $f; done' x {} +; true";
    world.shell(&["--rm"], script).seconds(60).go().succeeds().prints("");
    let mine = world.attack(&["--rm"], &["open-write", "/proc/sys/net/ipv4/ip_unprivileged_port_start"]).go();
    mine.exits(1);
}

#[test]
fn nothing_of_sys_is_writable_and_little_is_there() {
    let world = World::ordinary();
    let run = world
        .shell(
            &["--rm"],
            "touch /sys/x && echo wrote; ls /sys/firmware /sys/kernel /sys/fs /sys/class /sys/block; true",
        )
        .go();
    run.prints("");
    world.shell(&["--rm"], "cat /sys/devices/system/cpu/online").go().succeeds();
}

#[test]
fn dev_holds_the_few_devices_that_programs_need() {
    let world = World::ordinary();
    let run = world.donjon(&["run", "--rm", &world.image(), "ls", "/dev"]).go();
    run.succeeds();
    for name in run.stdout.split_whitespace() {
        let known = [
            "null", "zero", "full", "random", "urandom", "tty", "pts", "ptmx", "shm", "mqueue", "fd",
            "stdin", "stdout", "stderr", "console",
        ];
        assert!(known.contains(&name), "/dev/{name}");
    }
    for name in [
        "null", "zero", "full", "random", "urandom", "tty", "pts", "ptmx", "shm", "fd", "stdin", "stdout",
        "stderr",
    ] {
        assert!(run.stdout.split_whitespace().any(|n| n == name), "/dev/{name} is missing");
    }
    world
        .shell(
            &["--rm"],
            "echo x > /dev/null && head -c 4 /dev/zero | wc -c && head -c 4 /dev/urandom | wc -c",
        )
        .go()
        .prints("4\n4");
    world
        .shell(&["--rm"], "mknod /dev/x b 8 0; mknod /tmp/sda b 8 0; head -c 1 /tmp/sda && echo read")
        .go()
        .never_says("read\n");
}

#[test]
fn every_mount_is_nosuid_and_every_mount_but_dev_nodev() {
    let world = World::ordinary();
    let run = world.donjon(&["run", "--rm", &world.image(), "cat", "/proc/self/mountinfo"]).go();
    run.succeeds();
    for line in run.stdout.lines() {
        let options = line.split(' ').nth(5).unwrap_or_default();
        let place = line.split(' ').nth(4).unwrap_or_default();
        assert!(options.split(',').any(|o| o == "nosuid"), "{line}");
        let device = place.starts_with("/dev/") || place == "/dev";
        assert!(device || options.split(',').any(|o| o == "nodev"), "{line}");
        assert!(!line.contains("shared:") && !line.contains("master:"), "{line}");
    }
}

#[test]
fn no_path_of_the_host_is_told_inside() {
    let world = World::ordinary();
    let root = world.own_root();
    let work = world.path("work");
    let run = world
        .donjon(&[
            "run",
            "--rm",
            "--rw",
            &format!("{work}:/data"),
            &root.image(),
            "cat",
            "/proc/self/mountinfo",
            "/proc/self/environ",
        ])
        .go();
    // The kernel tells the path of a bind mount's source within its file system; of the overlay's layers it must not.
    let told: Vec<&str> =
        run.stdout.lines().filter(|l| l.contains(&world.token()) && !l.contains(" /data ")).collect();
    assert!(told.is_empty(), "{told:#?}");
}

#[test]
fn the_hosts_mount_table_is_unchanged() {
    let world = World::ordinary();
    let before = mount_table();
    let run = world.shell(&["--rm", "--tmpfs", "/a", "--read-only"], "echo ready; sleep 1").spawn();
    run.wait_for("ready");
    let during = mount_table();
    run.finish(10).succeeds();
    let added: Vec<&str> =
        during.lines().filter(|l| !before.lines().any(|b| b == *l) && l.contains("donjon")).collect();
    assert!(added.is_empty(), "{added:#?}");
    world.assert_nothing_left("a run");
}

#[test]
fn landlock_is_on_top_of_the_mounts() {
    let world = World::ordinary();
    let work = world.path("work");
    // With the read-only flag of the mount taken away only Landlock is left to refuse the write.
    let option = format!("{work}:/data");
    // Landlock can't take back below a writable root what the root's rule gives, so the root is read-only here.
    let run = world.attack(&["--rm", "--read-only", "--ro", &option], &["create", "/data/x"]).go();
    run.exits(1);
    let run = world
        .attack(&["--rm", "--read-only", "--ro", &option], &["create", "/data/x"])
        .without("readonly-root,readonly-paths")
        .go();
    run.exits(1).prints("refused EACCES");
}

#[test]
fn the_time_is_the_machines() {
    let world = World::ordinary();
    let run = world.shell(&["--rm"], "date +%s").go();
    let inside: i64 = run.succeeds().stdout.trim().parse().expect("seconds");
    let outside =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("now").as_secs() as i64;
    assert!((inside - outside).abs() < 5);
}
