//! Whatever was forbidden is reported, with the flag that would allow it.

use donjon_tests::{Terminal, World};

#[test]
fn a_run_without_refusals_is_silent() {
    let world = World::ordinary();
    let run = world.shell(&["--rm"], "true").go();
    run.succeeds();
    assert_eq!(run.stderr, "");
}

#[test]
fn a_refused_system_call_is_summed_up_with_what_would_allow_it() {
    let world = World::ordinary();
    let run = world.attack(&["--rm"], &["socket", "17", "3", "0"]).go();
    run.exits(1).complains("socket").complains("AF_PACKET");
    let allow = run.stderr.contains("--") || run.stderr.contains("policy");
    assert!(allow, "nothing says what would allow it: {run:?}");
}

#[test]
fn a_refused_mount_names_the_call() {
    let world = World::ordinary();
    world.attack(&["--rm"], &["mount-tmpfs", "/mnt"]).go().exits(1).complains("mount");
}

#[test]
fn explain_tells_afterwards() {
    let world = World::ordinary();
    world.attack(&["--name", "curious"], &["socket", "17", "3", "0"]).go().exits(1);
    let run = world.donjon(&["explain", "curious"]).go();
    run.succeeds().says("AF_PACKET").says("socket");
    let record = std::fs::read_to_string(
        std::path::Path::new(&world.path("run/donjon/containers"))
            .join(&world.containers()[0])
            .join("events.jsonl"),
    );
    let record = record.expect("events.jsonl");
    let first: serde_json::Value =
        serde_json::from_str(record.lines().next().expect("a line")).expect("JSON");
    assert!(first.is_object(), "{first}");
}

#[test]
fn what_explain_says_is_true() {
    // The flag that the summary names is tried.
    let world = World::ordinary();
    let refused = world.attack(&["--rm"], &["socket", "38", "5", "0"]).go();
    refused.exits(1);
    let words: Vec<&str> =
        refused.stderr.split_whitespace().map(|w| w.trim_matches(['`', ',', '.', '"', '(', ')'])).collect();
    let at = words
        .iter()
        .position(|w| w.starts_with("--"))
        .unwrap_or_else(|| panic!("no flag is named: {refused:?}"));
    let mut flags = vec!["--rm", words[at]];
    if !words[at].contains('=') {
        flags.push(words[at + 1]);
    }
    let run = world.attack(&flags, &["socket", "38", "5", "0"]).go();
    let allowed = run.code() == 0 || run.stdout.contains("EAFNOSUPPORT");
    assert!(allowed, "with {flags:?}: {run:?}");
}

#[test]
fn a_flood_of_refusals_neither_fills_the_disk_nor_stalls_the_program() {
    let world = World::ordinary();
    let script =
        "i=0; while [ $i -lt 300 ]; do attacker socket 17 3 0; i=$((i+1)); done >/dev/null; echo over";
    let run = world.shell(&["--name", "flood"], script).seconds(60).go();
    run.succeeds().prints("over");
    assert!(run.stderr.len() < 20_000, "the summary has {} bytes", run.stderr.len());
    let record = std::path::Path::new(&world.path("run/donjon/containers"))
        .join(&world.containers()[0])
        .join("events.jsonl");
    let size = std::fs::metadata(record).expect("events.jsonl").len();
    assert!(size < 4 << 20, "events.jsonl has {size} bytes");
}

#[test]
fn the_pids_limit_is_reported_when_it_was_hit() {
    let world = World::ordinary();
    // Without a cgroup nothing counts refused forks: the warden looks whether the container is at its limit.
    let run = world.attack(&["--rm", "--pids-limit", "30"], &["crowd", "200"]).go();
    run.succeeds();
    let told = run.stderr.to_lowercase();
    assert!(told.contains("pids") || told.contains("process"), "{run:?}");
}

/// A container in which two kinds of sockets and a namespace were refused.
fn curious(world: &World) {
    let script =
        "attacker socket 17 3 0; attacker socket 38 5 0; attacker socket 38 5 0; unshare -U true; true";
    world.shell(&["--name", "curious"], script).go().succeeds();
}

#[test]
fn explain_names_rule_line_change_and_whether_it_is_wise() {
    let world = World::ordinary();
    let file = world.file("few.toml", "# mine\n[sockets]\nfamilies = [\"unix\", \"inet\"]\n");
    let script = "attacker socket 38 5 0; attacker socket 38 5 0; unshare -U true; true";
    world.shell(&["--name", "few", "--policy", &file.display().to_string()], script).go().succeeds();
    let told = world.donjon(&["explain", "few"]).go();
    let line = format!("{}:3)", std::fs::canonicalize(&file).expect("a path").display());
    told.succeeds()
        .says("AF_ALG")
        .says(", 2 times")
        .says(&line)
        .says("[sockets] allow = [\"alg\"]")
        .says("unwise: ");
    told.says("[namespaces] nested = false").says("built-in default.toml:");
    let list = world.donjon(&["explain", "--format", "json", "few"]).go().succeeds().json();
    let first = &list[0];
    assert_eq!(first["policy"], "[sockets] allow = [\"alg\"]");
    assert_eq!(first["flag"], "--socket alg");
    assert_eq!(first["origin"]["line"], 3);
    assert_eq!(first["wise"]["verdict"], "unwise");
    assert_eq!((&first["layer"], &first["count"]), (&"seccomp".into(), &2.into()));
    world.donjon(&["rm", "few"]).go().succeeds();
}

#[test]
fn what_apply_writes_allows_what_was_refused() {
    let world = World::ordinary();
    curious(&world);
    let mine = "# mine\n[process]\nhostname = \"web\" # its name\n";
    let policy = world.file("p.toml", mine).display().to_string();
    // Without a terminal it asks nobody, and changes nothing.
    world.donjon(&["explain", "--apply", &policy, "curious"]).go().refused().complains("--yes");
    assert_eq!(world.read("p.toml"), mine);
    let told = world.donjon(&["explain", "--apply", &policy, "--yes", "curious"]).go();
    told.succeeds().says("+[sockets]").says("+allow = [\"alg\", \"packet\"]").says("nested = true");
    let text = world.read("p.toml");
    assert!(text.starts_with(mine), "{text}");
    let run = world.attack(&["--rm", "--policy", &policy], &["socket", "38", "5", "0"]).go();
    assert!(run.code() == 0 || run.stdout.contains("EAFNOSUPPORT"), "{run:?}");
    assert!(!run.stderr.contains("refused"), "{run:?}");
    // A second time there is nothing to add.
    let again = world.donjon(&["explain", "--apply", &policy, "--all", "curious"]).go();
    again.succeeds().says("stays as it is");
    assert_eq!(world.read("p.toml"), text);
    // A file of its own.
    let new = world.path("work/new.toml");
    world.donjon(&["explain", "--apply", &new, "--yes", "curious"]).go().succeeds().says("/dev/null");
    assert!(world.read("work/new.toml").starts_with("# What donjon explain"));
    world.donjon(&["rm", "curious"]).go().succeeds();
}

#[test]
fn apply_asks_about_each_line_on_a_terminal_and_writes_what_was_chosen() {
    let world = World::ordinary();
    curious(&world);
    let file = world.path("work/chosen.toml");
    let answers = |answers: &[&str]| {
        let mut run = Terminal::new(40, 80).run(world.donjon(&["explain", "--apply", &file, "curious"]));
        for (n, answer) in answers.iter().enumerate() {
            run.wait_for(&format!("{}/{}  [", n + 1, 3));
            run.wait_for("[q]uit: ");
            run.type_in(answer);
        }
        let (code, screen, _) = run.finish();
        assert_eq!(code, 0, "{screen}");
        screen
    };
    assert!(answers(&["y\n", "q\n"]).contains("stays as it is"));
    assert!(!std::path::Path::new(&file).exists());
    // Nothing but yes is yes.
    let screen = answers(&["\n", "y\n", "perhaps\n"]);
    assert!(screen.contains("+allow = [\"packet\"]") && screen.contains("wise?  unwise"), "{screen}");
    assert_eq!(
        world.read("work/chosen.toml"),
        "# What donjon explain --apply was told to allow.\n[sockets]\nallow = [\"packet\"]\n"
    );
    world.donjon(&["rm", "curious"]).go().succeeds();
}

#[test]
fn apply_that_fails_leaves_the_file_as_it_was() {
    let world = World::ordinary();
    curious(&world);
    let file = world.path("work/p.toml");
    for text in [
        "[sockets]\nallow = 3\n",
        "[[\n",
        "[nonsense]\nx = 1\n",
        "sockets = 1\n",
        "[capabilities]\nadd = [\"X\"]\ndrop = [\"X\"]\n",
    ] {
        world.file("work/p.toml", text);
        world.donjon(&["explain", "--apply", &file, "--yes", "curious"]).go().exits(125);
        assert_eq!(world.read("work/p.toml"), text);
    }
    let link = world.path("work/link.toml");
    std::os::unix::fs::symlink(&file, &link).expect("a link");
    world
        .donjon(&["explain", "--apply", &link, "--yes", "curious"])
        .go()
        .refused()
        .complains("symbolic link");
    let nowhere = world.path("work/no/such.toml");
    world.donjon(&["explain", "--apply", &nowhere, "--yes", "curious"]).go().exits(125);
    assert_eq!(world.names("work"), ["link.toml", "p.toml"]);
    world.donjon(&["rm", "curious"]).go().succeeds();
    // Nothing that a policy could hold.
    world.attack(&["--name", "never"], &["socket", "44", "3", "0"]).go().exits(1);
    let never = world.path("work/never.toml");
    world.donjon(&["explain", "--apply", &never, "--yes", "never"]).go().exits(125).says("left out");
    assert!(!std::path::Path::new(&never).exists());
    world.donjon(&["rm", "never"]).go().succeeds();
}

#[test]
fn watch_tells_each_refusal_once_until_the_container_ends() {
    let world = World::ordinary();
    let script = "attacker socket 17 3 0; while test ! -e /tmp/go; do sleep 0.1; done; attacker socket 17 3 0; \
                  attacker socket 38 5 0; while test ! -e /tmp/stop; do sleep 0.1; done";
    world.shell(&["-d", "--name", "web"], script).go().succeeds();
    let watch = world.donjon(&["explain", "--watch", "web"]).spawn();
    let lines = world.donjon(&["explain", "--watch", "--format", "json", "web"]).spawn();
    watch.wait_for("AF_PACKET");
    world.donjon(&["exec", "web", "touch", "/tmp/go"]).go().succeeds();
    watch.wait_for("AF_ALG");
    world.donjon(&["exec", "web", "touch", "/tmp/stop"]).go().succeeds();
    let told = watch.finish(10);
    told.succeeds();
    assert_eq!(told.stdout.matches("AF_PACKET socket").count(), 1, "{told:?}");
    let lines = lines.finish(10);
    let kinds: Vec<String> = lines
        .succeeds()
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON")["object"].to_string())
        .collect();
    assert_eq!(kinds.len(), 2, "{kinds:?}");
    // Of one that has ended: what there is, and the end.
    world.donjon(&["explain", "--watch", "web"]).go().succeeds().says("AF_ALG");
    world.donjon(&["rm", "web"]).go().succeeds();
}

#[test]
fn a_rule_of_a_file_that_another_builds_on_is_told_with_its_line() {
    let world = World::ordinary();
    world.file("base.toml", "# what lies below\n[sockets]\nfamilies = [\"unix\"]\n");
    world.file("piece.toml", "[syscalls]\ndeny = [\"getcpu\"]\n");
    let policy =
        world.file("p.toml", "extend = \"base.toml\"\ninclude = [\"piece.toml\"]\n").display().to_string();
    world.attack(&["--name", "a", "--policy", &policy], &["socket", "2", "1", "0"]).go().exits(1);
    world.donjon(&["explain", "a"]).go().succeeds().says("base.toml:3");
    world.attack(&["--name", "b", "--policy", &policy], &["syscall", "309"]).go().exits(1);
    world.donjon(&["explain", "b"]).go().succeeds().says("piece.toml:2");
}
