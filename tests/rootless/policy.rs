//! Policies: files that may be read, written, executed and that are hidden, presets, and `donjon policy`.

use donjon_tests::{Outcome, World};

/// A policy file of the test's, as a path.
fn file(world: &World, name: &str, text: &str) -> String {
    world.file(name, text).to_string_lossy().into_owned()
}

/// What every program of the test's root needs: one binary that is all its commands.
const BUSYBOX: &str = "/bin/busybox";

/// A script inside under a policy, by the released build and by the one with Landlock switched off.
fn with_and_without(policy: &str, script: &str) -> (Outcome, Outcome) {
    let world = World::ordinary();
    let policy = file(&world, "p.toml", policy);
    let words = ["--rm", "--policy", &policy];
    (world.shell(&words, script).go(), world.shell(&words, script).without("landlock").go())
}

#[test]
fn only_what_read_names_can_be_read_or_listed() {
    let policy = format!("[filesystem]\nread = [\"{BUSYBOX}\", \"/etc/pass*\", \"/etc\", \"/tmp/**\"]\n");
    let script = "head -n 1 /etc/passwd; ls /etc >/dev/null && echo listed; echo x >/tmp/y; cat /tmp/y; \
                  cat /etc/group && echo READ; ls / >/dev/null && echo LISTED; cat /proc/uptime && echo READ";
    let (held, open) = with_and_without(&policy, script);
    held.says("root:").says("listed").says("x").never_says("READ").never_says("LISTED");
    held.complains("/etc/group': permission denied").complains("/proc/uptime': permission denied");
    open.says("READ").says("LISTED");
}

#[test]
fn only_what_write_names_can_be_written_made_or_removed() {
    let world = World::ordinary();
    world.dir("shared");
    world.file("shared/one", "old");
    world.file("shared/two", "old");
    // What is mounted in the same file is not on its list by that.
    let policy = format!(
        "[filesystem]\nwrite = [\"/tmp/**\", \"/dev/null\", \"/project/one\"]\n[[mounts]]\nsource = \"{}\"\ntarget = \"/project\"\n",
        world.path("shared")
    );
    let policy = file(&world, "p.toml", &policy);
    let script = "echo x >/tmp/a && mkdir /tmp/d && mv /tmp/a /tmp/d/b && rm /tmp/d/b && echo worked; \
                  echo x >/dev/null && echo null; echo new >/project/one && echo one; \
                  echo new >/project/two && echo WRITTEN; : >/etc/new && echo MADE; rm /project/one && echo REMOVED; \
                  : >/root/x && echo MADE; : >/dev/shm/x && echo MADE; mkdir /project/d && echo MADE";
    let words = ["--rm", "--policy", &policy];
    let held = world.shell(&words, script).go();
    held.says("worked").says("null").says("one");
    held.never_says("WRITTEN").never_says("MADE").never_says("REMOVED");
    assert_eq!((world.read("shared/one"), world.read("shared/two")), ("new\n".into(), "old".into()));
    world.shell(&words, script).without("landlock").go().says("WRITTEN").says("MADE").says("REMOVED");
}

#[test]
fn only_what_execute_names_can_be_executed() {
    let policy = format!("[filesystem]\nexecute = [\"{BUSYBOX}\"]\n");
    let script =
        "cp /bin/busybox /tmp/busybox && /tmp/busybox true && echo EXECUTED; busybox true && echo allowed";
    let (held, open) = with_and_without(&policy, script);
    held.says("allowed").never_says("EXECUTED").complains("/tmp/busybox: permission denied");
    open.says("EXECUTED");
    // The program itself is not on the list: nothing starts, and it is said why.
    let world = World::ordinary();
    let policy = file(&world, "none.toml", "[filesystem]\nexecute = [\"/etc/passwd\"]\n");
    let run = world.shell(&["--rm", "--policy", &policy], "echo RAN").go();
    run.exits(126).never_says("RAN").complains("[filesystem] execute does not name it");
}

#[test]
fn what_hide_names_is_not_there() {
    let world = World::ordinary();
    let policy = file(&world, "p.toml", "[filesystem]\nhide = [\"/etc/group\", \"/usr/**\", \"/no/such\"]\n");
    let words = ["--rm", "--policy", &policy];
    let script = "[ -s /etc/group ] && echo SEEN; cat /etc/group; [ -n \"$(ls /usr)\" ] && echo SEEN; head -n 1 /etc/passwd";
    let held = world.shell(&words, script).go();
    held.says("root:").never_says("SEEN");
    world.shell(&words, script).without("masks").go().says("SEEN");
    // A mask is never laid through a link.
    let policy = file(&world, "link.toml", "[filesystem]\nhide = [\"/bin/sh\"]\n");
    let run = world.donjon(&["run", "--rm", "--policy", &policy, "host", "true"]).go();
    run.refused().complains("mask /bin/sh").complains("name what it leads to");
}

#[test]
fn a_name_that_comes_after_the_start_is_in_a_tree_and_in_no_pattern() {
    let policy = format!("[filesystem]\nread = [\"{BUSYBOX}\", \"/tmp/a*\", \"/var/**\"]\n");
    let (held, _) =
        with_and_without(&policy, "echo x >/tmp/ab; cat /tmp/ab && echo READ; echo y >/var/z; cat /var/z");
    held.says("y").never_says("READ");
}

#[test]
fn what_a_policy_names_and_the_container_has_not_is_passed_over_and_told() {
    let world = World::ordinary();
    let policy = format!(
        "[filesystem]\nread = [\"{BUSYBOX}\", \"/no/such\", \"/no/x*\", \"/bin\"]\nexecute = [\"{BUSYBOX}\", \"/tmp\"]\n"
    );
    let policy = file(&world, "p.toml", &policy);
    let run = world.shell(&["--rm", "--policy", &policy], "echo ran").go();
    run.succeeds().says("ran");
    run.complains("filesystem.read: /no/such is not in this container");
    run.complains("filesystem.read: /no/x* matches nothing");
    run.complains("filesystem.execute: /tmp is a directory: /** after it");
    // What a preset names is meant for many images.
    world
        .shell(&["--rm", "--preset", "service"], "echo ran")
        .go()
        .says("ran")
        .never_says("is not in this container");
    let words = ["run", "-d", "--name", "told", "--policy", &policy, &world.image(), "sleep", "30"];
    world.donjon(&words).go().succeeds().complains("/no/such is not in this container");
    world.donjon(&["rm", "-f", "told"]).go();
}

#[test]
fn what_a_flag_mounts_joins_the_lists_of_the_policy_below() {
    let world = World::ordinary();
    let (shared, other) = (world.dir("shared"), world.dir("other"));
    let give = |option: &str, path: &std::path::Path, to: &str| format!("{option}={}:{to}", path.display());
    let (rw, ro) = (give("--rw", &shared, "/project"), give("--ro", &other, "/docs"));
    let script =
        "echo x >/project/a && echo wrote; echo x >/docs/a && echo WROTE; echo x >/root/a && echo WROTE";
    let run = world.shell(&["--rm", "--preset", "agent", &rw, &ro], script).go();
    run.says("wrote").never_says("WROTE");
    assert_eq!(world.read("shared/a"), "x\n");
}

#[test]
fn a_further_process_is_held_by_the_same_lists() {
    let world = World::ordinary();
    let policy = file(&world, "p.toml", "[filesystem]\nwrite = [\"/tmp/**\"]\n");
    let words = ["run", "-d", "--name", "c", "--policy", &policy, &world.image(), "sleep", "30"];
    world.donjon(&words).go().succeeds();
    let run = world
        .donjon(&["exec", "c", "sh", "-c", "echo x >/tmp/a && echo wrote; echo x >/etc/a && echo WROTE"])
        .go();
    run.says("wrote").never_says("WROTE");
    world.donjon(&["rm", "-f", "c"]).go().succeeds();
}

#[test]
fn every_preset_holds_what_it_says() {
    let world = World::ordinary();
    let under = |preset: &str, script: &str| world.shell(&["--rm", "--preset", preset], script).go();
    let copy = "cp /bin/busybox /tmp/busybox && /tmp/busybox true && echo executed; true";
    let root = "echo x >/etc/x && echo wrote; true";
    let processes = "ulimit -u";
    let machine = "cat /proc/uptime >/dev/null 2>&1 && echo machine; true";
    let owner = "touch /tmp/f && grep -q CapEff:.*0000000000000000 /proc/self/status && echo powerless; true";
    under("default", copy).says("executed");
    under("default", root).says("wrote");
    under("default", machine).says("machine");
    // strict: no capability, a small /proc, few processes.
    under("strict", owner).says("powerless");
    under("strict", machine).never_says("machine\n");
    assert!(under("strict", processes).stdout.trim().parse::<u64>().expect("a number") <= 66);
    // service: nothing that is written can be executed, and the root is read-only.
    under("service", copy).never_says("executed\n");
    under("service", root).never_says("wrote\n");
    let off = world.shell(&["--rm", "--preset", "service"], copy).without("landlock").go();
    off.says("executed");
    // build: work may be done, and nobody is talked to.
    under("build", copy).says("executed");
    under("build", root).says("wrote");
    let inet = world.attack(&["--rm", "--preset", "build"], &["socket", "2", "1", "0"]).go();
    assert_ne!(inet.code(), 0, "{inet:?}");
    // agent: tools run, and nothing is left anywhere but where it was let.
    under("agent", copy).says("executed");
    under("agent", root).never_says("wrote\n");
    world.shell(&["--rm", "--preset", "agent"], root).without("landlock").go().says("wrote");
    under("agent", machine).never_says("machine\n");
}

#[test]
fn a_learnt_policy_that_nobody_has_read_is_refused_without_the_word() {
    let world = World::ordinary();
    let learnt = file(&world, "learnt.toml", "# from a run\nincomplete = true\n[resources]\npids = 9\n");
    let over = file(&world, "over.toml", "extend = \"learnt.toml\"\n");
    for policy in [&learnt, &over] {
        let run = world.shell(&["--rm", "--policy", policy], "echo RAN").go();
        run.refused().never_says("RAN").complains("learnt.toml:2:1").complains("--incomplete");
        let run = world.shell(&["--rm", "--incomplete", "--policy", policy], "echo ran").go();
        run.succeeds().says("ran").complains("a learnt policy that nobody has read is in force");
    }
    world.donjon(&["policy", "check", &learnt]).go().succeeds().says("warning: incomplete");
}

#[test]
fn what_can_not_be_held_yet_starts_nothing() {
    let world = World::ordinary();
    for (text, what) in [
        ("[network]\negress = [\"example.org:443\"]", "network.egress"),
        ("[network]\npublish = [\"8080:80\"]", "network.publish"),
        ("[integrity]\nexec = \"measure\"", "integrity.exec"),
        ("[secrets]\nkey = \"file:/x\"", "reserved"),
        ("[lsm]\napparmor = \"donjon-no-such-profile\"", "AppArmor"),
        ("[lsm]\nselinux = \"a:b:c:d\"", "SELinux"),
    ] {
        let policy = file(&world, "p.toml", text);
        let run = world.shell(&["--rm", "--policy", &policy], "echo RAN").go();
        run.refused().never_says("RAN").complains(what);
    }
}

#[test]
fn a_policy_that_may_only_be_narrowed_is_not_widened_by_a_flag() {
    let world = World::ordinary();
    let policy = file(&world, "house.toml", "extend-only = \"narrow\"\nextend = \"strict\"\n");
    world.shell(&["--rm", "--policy", &policy, "--pids-limit", "20"], "echo ran").go().succeeds().says("ran");
    for flags in
        [["--pids-limit", "600"], ["--cap-add", "SYS_CHROOT"], ["--syscall", "ptrace"], ["--tmpfs", "/x"]]
    {
        let words: Vec<&str> = ["--rm", "--policy", &policy].into_iter().chain(flags).collect();
        let run = world.shell(&words, "echo RAN").go();
        run.refused().never_says("RAN").complains("the command line").complains("may only be narrowed");
    }
}

#[test]
fn a_policy_can_t_be_rewritten_from_inside_nor_what_it_builds_on() {
    let world = World::ordinary();
    world.dir("work");
    file(&world, "work/piece.toml", "[resources]\npids = 9\n");
    let policy = file(&world, "p.toml", "include = [\"work/piece.toml\"]\n");
    let work = world.path("work");
    let run =
        world.shell(&["--rm", "--policy", &policy, "--rw", &format!("{work}:/project")], "echo RAN").go();
    run.refused().never_says("RAN").complains("piece.toml").complains("it could rewrite it");
    world
        .shell(&["--rm", "--policy", &policy, "--ro", &format!("{work}:/project")], "echo ran")
        .go()
        .says("ran");
}

#[test]
fn check_tells_every_fault_with_its_place_and_ends_with_1() {
    let world = World::ordinary();
    let bad = file(
        &world,
        "bad.toml",
        "[filesystem]\nwrite = [\"/tmp/**\",\n  \"/**\"]\n[sockets]\nallow = [\"ipx\", \"packet\"]\n",
    );
    let run = world.donjon(&["policy", "check", &bad]).go();
    run.exits(1)
        .says("bad.toml:3:3: error: filesystem.write[1]")
        .says("bad.toml:5:10: error: sockets.allow[0]");
    run.says("bad.toml:5:17: warning: sockets.allow[1]").says("can't be used; 2 errors, 1 warning");
    let json = world.donjon(&["policy", "check", "--json", &bad]).go().exits(1).json();
    assert_eq!(json[0]["weight"], "error");
    assert!(json[0]["place"].as_str().is_some_and(|place| place.ends_with("bad.toml:3:3")), "{json}");
    let good = file(&world, "good.toml", "[resources]\npids = 5\n");
    world.donjon(&["policy", "check", &good]).go().succeeds().says("nothing wrong");
    world.donjon(&["policy", "check", &good, &bad]).go().exits(1);
    let circle = file(&world, "circle.toml", "extend = \"circle.toml\"\n");
    world.donjon(&["policy", "check", &circle]).go().exits(1).says("is built on itself");
    world.donjon(&["policy", "check", "/no/such.toml"]).go().exits(1).says("No such file");
}

#[test]
fn diff_says_in_words_what_is_allowed_beyond_and_ends_with_1() {
    let world = World::ordinary();
    let a = file(&world, "a.toml", "[filesystem]\nread = [\"/usr/**\"]\n");
    let b =
        file(&world, "b.toml", "[filesystem]\nread = [\"/usr/**\", \"/etc/**\"]\n[resources]\npids = 5\n");
    let run = world.donjon(&["policy", "diff", &a, &b]).go();
    run.exits(1)
        .says("+ may read /etc/**  (filesystem.read)")
        .says("- may have processes and threads: 512, not 5");
    world.donjon(&["policy", "diff", &a, &a]).go().succeeds().says("allow the same");
    world.donjon(&["policy", "diff", "default", "strict"]).go().succeeds().never_says("  + ");
    let json = world.donjon(&["policy", "diff", "--json", "strict", "default"]).go().exits(1).json();
    assert!(json["widens"] == true && json["allowed"].as_array().is_some_and(|all| all.len() > 3), "{json}");
    world.donjon(&["policy", "diff", "default", "nobody"]).go().refused().complains("is no preset");
}

#[test]
fn show_reads_back_what_the_kernel_holds_and_diff_takes_the_container() {
    let world = World::ordinary();
    let policy = file(
        &world,
        "p.toml",
        "extend = \"strict\"\n[filesystem]\nwrite = [\"/tmp/**\"]\nhide = [\"/etc/group\"]\n[resources.ulimits]\nnofile = \"77:99\"\n",
    );
    for init in [false, true] {
        let image = world.image();
        let mut words = vec!["run", "-d", "--name", "c", "--policy", &policy];
        words.extend(init.then_some("--init"));
        words.extend([image.as_str(), "sleep", "60"]);
        world.donjon(&words).go().succeeds();
        let json = world.donjon(&["policy", "show", "--json", "c"]).go().succeeds().json();
        let kernel = &json["kernel"];
        assert_eq!(kernel["no-new-privs"], true, "{kernel}");
        assert_eq!(
            (&kernel["seccomp"]["mode"], &kernel["seccomp"]["filters"]),
            (&2.into(), &1.into()),
            "{kernel}"
        );
        assert_eq!(kernel["capabilities"]["bounding"].as_array().map(Vec::len), Some(0), "{kernel}");
        assert_eq!(kernel["uids"][0]["outside"], world.uid(), "{kernel}");
        let own = kernel["namespaces"]["own"].to_string();
        for kind in ["user", "pid", "mnt", "net", "ipc", "uts", "cgroup"] {
            assert!(own.contains(&format!("\"{kind}\"")), "{own}");
        }
        let limits = kernel["limits"].to_string();
        assert!(limits.contains(r#"{"hard":"99","name":"Max open files","soft":"77"}"#), "{limits}");
        let hidden = |at: &str| {
            kernel["mounts"]
                .as_array()
                .is_some_and(|all| all.iter().any(|m| m["at"] == at && m["mask"] == true))
        };
        assert!(hidden("/etc/group"), "{kernel}");
        assert_eq!(json["less-than-recorded"], serde_json::json!([]));
        assert_eq!(json["policy"]["filesystem"]["write"], serde_json::json!(["/tmp/**"]));
        let text = world.donjon(&["policy", "show", "c"]).go();
        text.succeeds()
            .says("no_new_privs")
            .says("syscalls, sockets")
            .says("write = [\"/tmp/**\"]  # landlock");
        world.donjon(&["policy", "diff", &policy, "c"]).go().succeeds().never_says("  + ");
        world
            .donjon(&["policy", "diff", "c", "default"])
            .go()
            .exits(1)
            .says("+ may write whatever the mounts let it");
        world.donjon(&["rm", "-f", "c"]).go().succeeds();
    }
    world.donjon(&["policy", "show", "c"]).go().refused();
}

#[test]
fn show_sees_a_container_whose_walls_were_left_out() {
    let world = World::ordinary();
    let image = world.image();
    let words = ["run", "-d", "--name", "c", &image, "sleep", "60"];
    world.donjon(&words).without("no_new_privs,capabilities").go();
    let run = world.donjon(&["policy", "show", "c"]).go();
    run.exits(1).complains("which it was not started with");
    world.donjon(&["rm", "-f", "c"]).go();
}

#[test]
fn a_preset_that_is_shown_is_a_policy_file_that_says_the_same() {
    let world = World::ordinary();
    for preset in ["default", "strict", "service", "build", "agent"] {
        let shown = world.donjon(&["policy", "show", "--preset", preset]).go();
        shown.succeeds().says("# seccomp").says("# landlock");
        let name = format!("{preset}.toml");
        let path = file(&world, &name, &shown.stdout);
        world.donjon(&["policy", "check", &path]).go().succeeds();
        world.donjon(&["policy", "diff", preset, &path]).go().succeeds().says("allow the same");
        world.donjon(&["policy", "diff", &path, preset]).go().succeeds().says("allow the same");
    }
    let schema = world.donjon(&["policy", "schema"]).go().succeeds().json();
    assert!(schema["properties"]["filesystem"]["properties"]["read"].is_object(), "{schema}");
}

#[test]
fn a_refusal_that_nobody_told_donjon_of_is_not_called_none() {
    // What Landlock refuses is in the machine's audit log alone, which this user can't read.
    let world = World::ordinary();
    let file = world.file("p.toml", "[filesystem]\nread = [\"/bin/**\", \"/lib/**\"]\n");
    let policy = file.to_str().expect("UTF-8");
    let run = world.shell(&["--name", "a", "--policy", policy], "cat /etc/passwd").go();
    run.fails_inside().complains("Permission denied").complains("explain --trace");
    world
        .donjon(&["explain", "a"])
        .go()
        .succeeds()
        .says("donjon was told of nothing")
        .says("explain --trace");
    let image = world.image();
    let traced = ["explain", "--trace", "--policy", policy, &image, "--", "cat", "/etc/passwd"];
    world.donjon(&traced).go().complains("[filesystem] read = [\"/etc/passwd\"]");
    // One that names none is not told about it.
    world.shell(&["--name", "b"], "cat /no-such-file").go().fails_inside().never_says("explain --trace");
    world.donjon(&["explain", "b"]).go().succeeds().says("nothing was refused");
}
