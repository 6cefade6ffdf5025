//! Options that no other room tries.

use donjon_tests::World;

#[test]
fn time_offset_shifts_a_clock_inside_alone() {
    let world = World::ordinary();
    let uptime = |options: &[&str]| -> f64 {
        let run = world.shell(options, "cut -d' ' -f1 /proc/uptime").go();
        run.succeeds().stdout.trim().parse().expect("seconds")
    };
    let (before, shifted) = (uptime(&["--rm"]), uptime(&["--rm", "--time-offset", "boottime=500000"]));
    assert!((shifted - before - 500_000.0).abs() < 60.0, "{before} and {shifted}");
    world.shell(&["--rm", "--time-offset", "moon=1"], "echo ran").go().refused().never_says("ran\n");
}

#[test]
fn keep_id_gives_the_program_the_callers_number() {
    let world = World::ordinary();
    let (uid, gid) = (world.uid(), world.gid());
    world
        .shell(&["--rm", "--userns", "keep-id"], "id -u; id -g")
        .go()
        .succeeds()
        .prints(&format!("{uid}\n{gid}"));
}

#[test]
fn userns_host_needs_more_than_an_ordinary_user_has() {
    let world = World::ordinary();
    world.shell(&["--rm", "--userns", "host"], "echo ran").go().refused().never_says("ran\n");
}

#[test]
fn cidfile_and_pidfile_hold_the_id_and_the_pid() {
    let world = World::ordinary();
    let (cid, pid) = (world.path("work/cid"), world.path("work/pid"));
    world.shell(&["-d", "--name", "noted", "--cidfile", &cid, "--pidfile", &pid], "sleep 60").go().succeeds();
    assert_eq!(world.read("work/cid"), world.containers()[0]);
    let number: u32 = world.read("work/pid").parse().expect("a pid");
    let shown = world.donjon(&["inspect", "noted"]).go().json();
    assert_eq!(shown[0]["State"]["Pid"].as_u64(), Some(u64::from(number)));
    // A cidfile that is there already is not overwritten.
    world.shell(&["--rm", "--cidfile", &cid], "echo ran").go().refused().complains("cid").never_says("ran\n");
}

#[test]
fn a_device_is_given_by_its_name_and_only_to_read_and_write() {
    let world = World::ordinary();
    world
        .shell(&["--rm"], "ls /dev/loop-control /dev/ptmx /dev/fuse 2>/dev/null | grep -c fuse; true")
        .go()
        .prints("0");
    if std::path::Path::new("/dev/fuse").exists() {
        world
            .shell(&["--rm", "--device", "/dev/fuse"], "test -c /dev/fuse && echo there")
            .go()
            .prints("there");
    } else {
        world.shell(&["--rm", "--device", "/dev/kvm"], "test -c /dev/kvm && echo there").go();
    }
    world
        .shell(&["--rm", "--device", "/dev/zero:/dev/zero:r"], "echo ran")
        .go()
        .refused()
        .never_says("ran\n");
    world.shell(&["--rm", "--device", "/dev/mem"], "echo ran").go().refused().never_says("ran\n");
}

#[test]
fn masks_are_added_and_taken_off() {
    let world = World::ordinary();
    world.shell(&["--rm"], "cat /proc/cmdline | wc -c").go().prints("0");
    let open = world.shell(&["--rm", "--security-opt", "unmask=/proc/cmdline"], "cat /proc/cmdline").go();
    assert_eq!(
        open.stdout.trim(),
        std::fs::read_to_string("/proc/cmdline").expect("the command line").trim()
    );
    world.shell(&["--rm"], "wc -l < /proc/uptime").go().prints("1");
    world.shell(&["--rm", "--security-opt", "mask=/proc/uptime"], "wc -c < /proc/uptime").go().prints("0");
}

#[test]
fn a_mask_over_settings_of_the_network_holds_in_the_containers_own() {
    let world = World::ordinary();
    let count = "ls /proc/sys/net/ipv4 | wc -l";
    // The value itself is the machine's: a new namespace begins with it.
    let open = world.shell(&["--rm"], count).go();
    assert!(open.succeeds().stdout.trim().parse::<u32>().expect("a count") > 10);
    let mask = "mask=/proc/sys/net/ipv4";
    world.shell(&["--rm", "--security-opt", mask], count).go().prints("0");
}

#[test]
fn a_profile_of_another_engine_takes_the_place_of_the_sets() {
    let world = World::ordinary();
    let profile = world.file(
        "profile.json",
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":30}]}"#,
    );
    let option = format!("seccomp={}", profile.display());
    let run =
        world.shell(&["--rm", "--security-opt", &option], "mkdir /tmp/x; touch /tmp/y && echo made").go();
    run.says("made").complains("Read-only file system");
    let useless = world.file("useless.json", r#"{"defaultAction":"SCMP_ACT_NOTIFY"}"#);
    let option = format!("seccomp={}", useless.display());
    world
        .shell(&["--rm", "--security-opt", &option], "echo ran")
        .go()
        .refused()
        .complains("close")
        .never_says("ran\n");
}

#[test]
fn a_call_that_every_start_needs_can_not_be_denied() {
    let world = World::ordinary();
    let policy = world.file("policy.toml", "[syscalls]\ndeny = [\"sendmsg\"]\n");
    let run = world.shell(&["--rm", "--policy", &policy.to_string_lossy()], "echo ran").go();
    run.refused().complains("sendmsg").never_says("ran\n");
}

#[test]
fn best_effort_goes_on_without_the_limit_that_it_names_and_records_it() {
    let world = World::ordinary();
    // This machine delegates no cgroup to the test's user, or it does and the limit holds: both are no refusal.
    world
        .shell(&["--name", "tried", "-m", "64m", "--best-effort", "cgroups"], "echo ran")
        .go()
        .succeeds()
        .prints("ran");
    let shown = world.donjon(&["inspect", "tried"]).go().json();
    let notes = shown[0]["NotEnforced"].to_string();
    let delegated =
        world.donjon(&["doctor", "--format", "json"]).go().json()["host"]["cgroups"]["kind"] != "none";
    assert!(delegated || notes.contains("memory"), "{notes}");
}

#[test]
fn the_strict_preset_starts_without_a_cgroup_and_takes_away() {
    let world = World::ordinary();
    let run = world
        .shell(&["--rm", "--preset", "strict"], "ls /proc | grep -v self | grep -vc '^[0-9]'; true")
        .go();
    run.succeeds().prints("0");
    world.attack(&["--rm", "--preset", "strict"], &["families"]).go().prints("1");
}

#[test]
fn the_host_image_can_be_written_where_programs_are_put() {
    let world = World::ordinary();
    let script = "touch /usr/local/bin/x /usr/bin/x /etc/x && echo changed > /etc/hostname && echo wrote";
    world.donjon(&["run", "--rm", "host", "--", "sh", "-c", script]).go().succeeds().prints("wrote");
    assert!(!std::path::Path::new("/usr/local/bin/x").exists());
}

#[test]
fn trace_finds_what_the_kernel_refuses_without_a_word() {
    let world = World::ordinary();
    world.file("work/in", "content");
    let work = world.path("work");
    let run = world
        .donjon(&[
            "explain",
            "--trace",
            "--ro",
            &work,
            "--",
            "sh",
            "-c",
            &format!("touch {work}/made; cat {work}/in; exit 4"),
        ])
        .seconds(60)
        .go();
    run.exits(4)
        .says("content")
        .complains("Read-only file system")
        .complains("--rw")
        .complains(&format!("{work}/made"));
    let json = world
        .donjon(&[
            "explain",
            "--trace",
            "--format",
            "json",
            "--ro",
            &work,
            "--",
            "touch",
            &format!("{work}/made"),
        ])
        .seconds(60)
        .go();
    assert!(json.stdout.contains("\"layer\": \"mounts\""), "{json:?}");
    world.assert_nothing_left("explain --trace");
}

#[test]
fn stop_timeout_is_what_stop_waits() {
    let world = World::ordinary();
    let script = "trap '' TERM; echo ready; while :; do sleep 0.1; done";
    world.shell(&["-d", "--name", "stubborn", "--stop-timeout", "1"], script).go().succeeds();
    assert!(donjon_tests::eventually(5, || world
        .donjon(&["logs", "stubborn"])
        .go()
        .stdout
        .contains("ready")));
    let start = std::time::Instant::now();
    world.donjon(&["stop", "stubborn"]).go().succeeds();
    assert!((1..6).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
}

#[test]
fn a_group_that_is_added_is_held_or_refused() {
    let world = World::ordinary();
    let one = world.shell(&["--rm", "--group-add", "44"], "echo ran").go();
    one.refused().complains("--userns range").never_says("ran\n");
    world.shell(&["--rm", "--userns", "range", "--group-add", "44"], "id -G").go().prints("0 44");
}

#[test]
fn the_sizes_of_the_ram_and_of_shm_are_limits() {
    let world = World::ordinary();
    let fill = |path: &str| format!("dd if=/dev/zero of={path} bs=1M count=3 && echo full");
    for (option, path) in [("--shm-size", "/dev/shm/x"), ("--ram", "/x")] {
        let small = world.shell(&["--rm", option, "1m"], &fill(path)).go();
        small.exits(1).complains("No space left").never_says("full\n");
        world.shell(&["--rm", option, "8m"], &fill(path)).go().prints("full");
    }
}

#[test]
fn a_tmpfs_and_a_mount_marked_so_run_no_programs() {
    let world = World::ordinary();
    let work = world.path("work");
    let tries = "cp /bin/busybox /t/sh && /t/sh -c 'echo ran'";
    world.shell(&["--rm", "--tmpfs", "/t"], tries).go().exits(126).never_says("ran\n");
    world.shell(&["--rm", "--tmpfs", "/t:exec"], tries).go().prints("ran");
    let noexec = format!("{work}:/t:rw,noexec");
    world.shell(&["--rm", "-v", &noexec], tries).go().exits(126).never_says("ran\n");
    world.shell(&["--rm", "--rw", &format!("{work}:/t")], tries).go().prints("ran");
}

#[test]
fn a_capability_that_is_named_works_inside() {
    let world = World::ordinary();
    world.shell(&["--rm"], "chroot / echo ran").go().fails_inside().never_says("ran\n");
    world.shell(&["--rm", "--cap-add", "SYS_CHROOT"], "chroot / echo ran").go().prints("ran");
}

#[test]
fn nested_user_namespaces_work_where_they_are_allowed() {
    let world = World::ordinary();
    world.shell(&["--rm"], "unshare -U echo ran").go().fails_inside().never_says("ran\n");
    world.shell(&["--rm", "--nested-userns"], "unshare -U echo ran").go().prints("ran");
}

#[test]
fn logs_tell_the_time_of_each_line_when_asked() {
    let world = World::ordinary();
    world.shell(&["-d", "--name", "told"], "echo one; echo two").go().succeeds();
    world.donjon(&["wait", "told"]).go().prints("0");
    world.donjon(&["logs", "told"]).go().prints("one\ntwo");
    let timed = world.donjon(&["logs", "--timestamps", "told"]).go();
    let lines: Vec<(&str, &str)> = timed.stdout.lines().filter_map(|l| l.split_once(' ')).collect();
    assert_eq!(lines.iter().map(|(_, text)| *text).collect::<Vec<_>>(), ["one", "two"]);
    assert!(lines.iter().all(|(at, _)| at.starts_with("20") && at.contains('T')), "{}", timed.stdout);
}

#[test]
fn tables_are_there_for_programs_too() {
    let world = World::ordinary();
    world.shell(&["-d", "--name", "shown"], "unshare -U true; sleep 60").go().succeeds();
    let stats = world.donjon(&["stats", "--no-stream", "--format", "json", "shown"]).go();
    assert!(stats.succeeds().json().to_string().contains("shown"), "{}", stats.stdout);
    let top = world.donjon(&["top", "--format", "json", "shown"]).go();
    assert!(top.succeeds().json().to_string().contains("sleep 60"), "{}", top.stdout);
    let explain = world.donjon(&["explain", "--format", "json", "shown"]).go();
    assert!(explain.succeeds().json().to_string().contains("unshare"), "{}", explain.stdout);
    world.donjon(&["doctor", "--format", "json"]).go().json();
    world.donjon(&["rm", "-f", "--all"]).go().succeeds();
    world.donjon(&["ps", "-a", "--format", "json"]).go().prints("[]");
}
