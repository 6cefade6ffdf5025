//! R28: what a parser does not understand it rejects, and on security flags the last word does not win.

use donjon_tests::World;

/// Refused, by the parser (2) or by donjon (125), and nothing ran.
#[track_caller]
fn rejected(run: donjon_tests::Run<'_>) {
    let run = run.go();
    assert!([2, 125].contains(&run.code()), "{run:?}");
    run.never_says("ran\n").never_says("panicked");
}

#[test]
fn r28_a_user_is_a_name_or_a_number_and_nothing_else() {
    // CVE-2026-30892: a user that could not be parsed became root.
    let world = World::ordinary();
    for user in [
        "0x0", "-1", "1000:", ":1000", "1000:1000:1000", "4294967295", "4294967296", "99999999999999999999",
        " 0", "0 ", "+0", "1e3", "", "root\n", "guest:nogroup",
    ] {
        let flag = format!("--user={user}");
        rejected(world.shell(&["--rm", &flag], "echo ran"));
    }
    world.shell(&["--rm", "--user", "0"], "id -u").go().prints("0");
    world.assert_nothing_left("users that are none");
}

#[test]
fn r28_a_passwd_file_that_bites_is_not_believed() {
    // R18: an image's own file decides nothing about the host, and may not stall or blow up donjon.
    let world = World::ordinary();
    let root = world.own_root();
    root.file("etc/passwd", &"x".repeat(30 << 20), 0o644);
    let run = world.donjon(&["run", "--rm", "-u", "somebody", &root.image(), "echo", "ran"]).go();
    run.refused();
    let root = world.own_root();
    root.remove("etc/passwd");
    let path = std::ffi::CString::new(root.path().join("etc/passwd").to_string_lossy().into_owned())
        .expect("no NUL");
    // SAFETY: a NUL-terminated path.
    assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o666) }, 0);
    world.donjon(&["run", "--rm", "-u", "somebody", &root.image(), "echo", "ran"]).go().refused();
    let root = world.own_root();
    root.link("etc/passwd", "/etc/passwd");
    world.donjon(&["run", "--rm", "-u", "donjon-test", &root.image(), "echo", "ran"]).go().refused();
    let root = world.own_root();
    root.file("etc/passwd", "evil:x:99999999999:0::/:/bin/sh\nodd:x:-1:0::/:/bin/sh\nshort\n", 0o644);
    for user in ["evil", "odd", "short"] {
        world.donjon(&["run", "--rm", "-u", user, &root.image(), "echo", "ran"]).go().refused();
    }
}

#[test]
fn r28_security_flags_said_twice_are_refused() {
    let world = World::ordinary();
    for flags in [
        ["--user=0", "--user=1000"],
        ["--network=none", "--network=none "],
        ["--userns=range", "--userns=host"],
        ["--security-opt=seccomp=unconfined", "--security-opt=seccomp=/etc/hosts"],
        ["--pids-limit=10", "--pids-limit=100000"],
    ] {
        rejected(world.shell(&["--rm", flags[0], flags[1]], "echo ran"));
    }
}

#[test]
fn r28_capabilities_that_contradict_each_other_never_add_up() {
    let world = World::ordinary();
    let run = world
        .donjon(&[
            "run",
            "--rm",
            "--cap-drop",
            "ALL",
            "--cap-add",
            "CHOWN",
            &world.image(),
            "cat",
            "/proc/self/status",
        ])
        .go();
    if run.code() == 0 {
        assert_eq!(run.field("CapEff"), "0000000000000001");
    }
    for add in ["ALL", "cap", "CAP_", "SYS_ADMIN,NET_ADMIN", "999", "CHOWN "] {
        rejected(world.shell(&["--rm", "--cap-add", add], "echo ran"));
    }
}

#[test]
fn r28_propagation_is_not_taken_from_a_mount_option() {
    // CVE-2024-1753: an unvalidated bind-propagation.
    let world = World::ordinary();
    let work = world.path("work");
    for word in ["shared", "rshared", "slave", "rslave", "unbindable", "Private", "rprivate,shared"] {
        rejected(world.shell(&["--rm", "-v", &format!("{work}:/data:{word}")], "echo ran"));
    }
}

#[test]
fn r24_a_policy_in_force_lies_outside_of_everything_writable() {
    // CVE-2026-25725: sandboxed code writes the configuration that defines its sandbox.
    let world = World::ordinary();
    let policy = world.file("work/policy.toml", "[process]\nhostname = \"keep\"\n");
    let profile = world.file(
        "work/profile.json",
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["reboot"],"action":"SCMP_ACT_ERRNO"}]}"#,
    );
    let elsewhere = world.file("elsewhere.toml", "");
    std::os::unix::fs::symlink(elsewhere, world.path("work/link.toml")).expect("a link");
    let work = format!("{}:/data", world.path("work"));
    let link = world.path("work/link.toml");
    let security = format!("seccomp={}", profile.display());
    for options in
        [["--policy", &policy.to_string_lossy()], ["--policy", &link], ["--security-opt", &security]]
    {
        let given = |mount: &str| {
            let all = ["--rm", options[0], options[1], mount, &work];
            world.shell(&all, "echo ran").go()
        };
        given("--rw").refused().complains("rewrite").never_says("ran\n");
        given("--ro").succeeds().prints("ran");
    }
}
