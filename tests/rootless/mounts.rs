//! -v, --ro, --rw, --mount, --tmpfs, and what is refused.

use donjon_tests::World;

#[test]
fn v_mounts_read_write_and_with_ro_read_only() {
    let world = World::ordinary();
    world.file("work/in", "content");
    let work = world.path("work");
    world
        .shell(&["--rm", "-v", &format!("{work}:/data")], "cat /data/in; echo out > /data/out")
        .go()
        .prints("content");
    assert_eq!(world.read("work/out"), "out\n");
    world
        .shell(&["--rm", "-v", &format!("{work}:/data:ro")], "cat /data/in; echo x > /data/out2")
        .go()
        .fails_inside()
        .says("content");
    assert!(!world.names("work").contains(&"out2".to_string()));
}

#[test]
fn ro_and_rw_are_short_forms_and_take_the_same_place_inside() {
    let world = World::ordinary();
    world.file("work/in", "content");
    let work = world.path("work");
    world
        .shell(&["--rm", "--ro", &work], &format!("cat {work}/in; touch {work}/x && echo wrote"))
        .go()
        .says("content")
        .never_says("wrote");
    world.shell(&["--rm", "--rw", &work], &format!("touch {work}/x && echo wrote")).go().prints("wrote");
    world.shell(&["--rm", "--rw", &format!("{work}:/w")], "touch /w/y && echo wrote").go().prints("wrote");
    assert_eq!(world.names("work"), ["in", "x", "y"]);
}

#[test]
fn a_single_file_can_be_mounted() {
    let world = World::ordinary();
    let file = world.file("one", "single");
    world
        .shell(&["--rm", "--ro", &format!("{}:/etc/one", file.display())], "cat /etc/one")
        .go()
        .prints("single");
}

#[test]
fn mount_takes_type_bind_and_tmpfs() {
    let world = World::ordinary();
    world.file("work/in", "content");
    let work = world.path("work");
    world
        .shell(
            &["--rm", "--mount", &format!("type=bind,src={work},dst=/data,ro")],
            "cat /data/in; touch /data/x && echo wrote",
        )
        .go()
        .says("content")
        .never_says("wrote");
    world
        .shell(&["--rm", "--mount", "type=tmpfs,dst=/scratch"], "touch /scratch/x && echo wrote")
        .go()
        .prints("wrote");
}

#[test]
fn tmpfs_is_empty_writable_and_limited() {
    let world = World::ordinary();
    world.shell(&["--rm", "--tmpfs", "/etc"], "ls -A /etc; touch /etc/x && echo wrote").go().prints("wrote");
    let run = world.shell(&["--rm", "--tmpfs", "/scratch:ro"], "touch /scratch/x").go();
    run.fails_inside();
}

#[test]
fn read_only_reaches_below_the_mount() {
    let world = World::ordinary();
    world.dir("work/sub");
    let work = world.path("work");
    world
        .shell(&["--rm", "--ro", &format!("{work}:/data")], "touch /data/sub/x && echo wrote")
        .go()
        .never_says("wrote");
}

#[test]
fn a_mount_is_nosuid_and_nodev() {
    let world = World::ordinary();
    let work = world.path("work");
    let run =
        world.shell(&["--rm", "--rw", &format!("{work}:/data")], "grep ' /data ' /proc/self/mountinfo").go();
    run.succeeds().says("nosuid").says("nodev");
}

#[test]
fn a_missing_source_is_refused_and_not_made() {
    let world = World::ordinary();
    let missing = world.path("missing");
    world.shell(&["--rm", "-v", &format!("{missing}:/data")], "echo ran").go().refused().complains("missing");
    assert!(!std::path::Path::new(&missing).exists());
    world.assert_nothing_left("a missing source");
}

#[test]
fn what_would_open_the_house_is_refused_with_the_reason() {
    let world = World::ordinary();
    for dir in ["home/.aws", "home/.kube", "home/.gnupg"] {
        world.dir(dir);
    }
    let home = world.path("home");
    let sources = [
        "/",
        "/proc",
        "/sys",
        "/etc",
        "/proc/sys",
        "/sys/fs/cgroup",
        &home,
        &format!("{home}/.ssh"),
        &format!("{home}/.aws"),
        &format!("{home}/.kube"),
        &format!("{home}/.gnupg"),
    ]
    .map(String::from);
    for source in &sources {
        for flag in ["-v", "--rw"] {
            let run = world.shell(&["--rm", flag, &format!("{source}:/data")], "echo ran").go();
            run.refused().complains(source).never_says("ran\n");
        }
        let run =
            world.shell(&["--rm", "--mount", &format!("type=bind,src={source},dst=/data")], "echo ran").go();
        run.refused().never_says("ran\n");
    }
    world.assert_nothing_left("refused mounts");
}

#[test]
fn another_name_for_what_is_refused_is_refused_too() {
    use std::os::unix::fs::symlink;
    let world = World::ordinary();
    symlink("/etc", world.path("work/innocent")).expect("a link");
    symlink(world.path("home/.ssh"), world.path("work/keys")).expect("a link");
    for source in ["work/innocent", "work/keys", "work/../home", "home/./.ssh/"] {
        let source = world.path(source);
        world
            .shell(&["--rm", "--rw", &format!("{source}:/data")], "echo ran")
            .go()
            .refused()
            .never_says("ran\n");
    }
    world.shell(&["--rm", "--rw", "/usr/../etc:/data"], "echo ran").go().refused();
    world.shell(&["--rm", "--rw", "//etc//:/data"], "echo ran").go().refused();
}

#[test]
fn the_socket_of_an_engine_is_refused() {
    use std::os::unix::net::UnixListener;
    let world = World::ordinary();
    let _listener = UnixListener::bind(world.path("work/docker.sock")).expect("a socket");
    let socket = world.path("work/docker.sock");
    world
        .shell(&["--rm", "-v", &format!("{socket}:/var/run/docker.sock")], "echo ran")
        .go()
        .refused()
        .complains("sock");
    world.dir("run/podman");
    let _podman = UnixListener::bind(world.path("run/podman/podman.sock")).expect("a socket");
    let socket = world.path("run/podman/podman.sock");
    world.shell(&["--rm", "-v", &format!("{socket}:/s")], "echo ran").go().refused().complains("podman");
}

#[test]
fn a_destination_over_proc_sys_or_dev_is_refused() {
    let world = World::ordinary();
    let work = world.path("work");
    for destination in ["/proc", "/proc/self", "/sys", "/dev/null", "/"] {
        let run = world.shell(&["--rm", "--rw", &format!("{work}:{destination}")], "echo ran").go();
        run.refused().never_says("ran\n");
        if destination != "/" {
            world.shell(&["--rm", "--tmpfs", destination], "echo ran").go().refused();
        }
    }
    world.assert_nothing_left("refused destinations");
}

#[test]
fn relative_and_empty_destinations_are_refused() {
    let world = World::ordinary();
    let work = world.path("work");
    for option in [
        format!("{work}:data"),
        format!("{work}:"),
        format!("{work}:/a:/b:/c"),
        ":/data".into(),
        String::new(),
    ] {
        world.shell(&["--rm", "-v", &option], "echo ran").go().refused().never_says("ran\n");
    }
}

#[test]
fn unknown_options_of_a_mount_are_refused() {
    let world = World::ordinary();
    let work = world.path("work");
    for flags in [
        ["-v".to_string(), format!("{work}:/data:rx")],
        ["-v".to_string(), format!("{work}:/data:ro,rw")],
        ["-v".to_string(), format!("{work}:/data:rshared")],
        ["--mount".to_string(), format!("type=bind,src={work},dst=/data,colour=red")],
        ["--mount".to_string(), format!("type=bind,src={work},dst=/data,bind-propagation=shared")],
        ["--mount".to_string(), "type=floppy,dst=/data".to_string()],
        ["--mount".to_string(), format!("src={work}")],
        ["--tmpfs".to_string(), "/data:size=lots".to_string()],
        ["--tmpfs".to_string(), "/data:suid".to_string()],
    ] {
        let run = world.shell(&["--rm", &flags[0], &flags[1]], "echo ran").go();
        run.refused().never_says("ran\n");
    }
    world.assert_nothing_left("unknown options");
}

#[test]
fn destinations_that_are_missing_are_made_in_ram_alone() {
    let world = World::ordinary();
    let root = world.own_root();
    let work = world.path("work");
    world
        .donjon(&[
            "run",
            "--rm",
            "--rw",
            &format!("{work}:/deep/er/data"),
            &root.image(),
            "touch",
            "/deep/er/data/x",
        ])
        .go()
        .succeeds();
    assert!(!root.path().join("deep").exists(), "the image was written");
    assert_eq!(world.names("work"), ["x"]);
}
