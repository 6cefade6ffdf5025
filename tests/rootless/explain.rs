//! Whatever was forbidden is reported, with the flag that would allow it.

use donjon_tests::World;

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
