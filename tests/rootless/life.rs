//! Detached containers: -d, ps, logs, stop, kill, rm, wait, inspect, exec, stats, top.

use std::fs;
use std::time::{Duration, Instant};

use donjon_tests::{World, eventually};

/// A detached container that sleeps; returns what `-d` printed.
fn detached(world: &World, name: &str, script: &str) -> String {
    let run = world.shell(&["-d", "--name", name], script).go();
    run.succeeds();
    run.stdout.trim().to_string()
}

#[test]
fn d_prints_the_id_and_returns() {
    let world = World::ordinary();
    let start = Instant::now();
    let id = detached(&world, "keep", "sleep 60");
    assert!(start.elapsed() < Duration::from_secs(5));
    assert_eq!(id.len(), 64, "{id}");
    assert!(id.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
    assert_eq!(world.containers(), [id]);
}

#[test]
fn a_detached_program_that_is_missing_is_reported_at_once() {
    let world = World::ordinary();
    world
        .donjon(&["run", "-d", "--rm", &world.image(), "no-such-program"])
        .go()
        .exits(127)
        .complains("no-such-program");
    world.assert_nothing_left("a detached program that was not found");
}

#[test]
fn ps_lists_what_runs_and_ps_a_what_ended() {
    let world = World::ordinary();
    detached(&world, "lively", "sleep 60");
    world.shell(&["--name", "ended"], "exit 3").go().exits(3);
    world.donjon(&["ps"]).go().succeeds().says("lively").never_says("ended");
    let all = world.donjon(&["ps", "-a"]).go();
    all.succeeds().says("lively").says("ended");
    let line = all.stdout.lines().find(|l| l.contains("ended")).expect("a line").to_string();
    assert!(line.to_lowercase().contains("exited") && line.contains('3'), "{line}");
}

#[test]
fn ps_q_prints_ids_alone() {
    let world = World::ordinary();
    let id = detached(&world, "one", "sleep 60");
    let run = world.donjon(&["ps", "-q"]).go();
    run.succeeds();
    assert!(id.starts_with(run.stdout.trim()) && run.stdout.trim().len() >= 12, "{run:?}");
}

#[test]
fn ps_writes_json_for_programs() {
    let world = World::ordinary();
    let id = detached(&world, "one", "sleep 60");
    let json = world.donjon(&["ps", "--format", "json"]).go().json();
    let text = json.to_string();
    assert_eq!(json.as_array().map(Vec::len), Some(1), "{text}");
    assert!(text.contains(&id) && text.contains("one") && text.contains("running"), "{text}");
}

#[test]
fn a_container_is_found_by_name_id_and_prefix() {
    let world = World::ordinary();
    let id = detached(&world, "castle", "sleep 60");
    for handle in ["castle", &id, &id[..12], &id[..4]] {
        world.donjon(&["inspect", handle]).go().succeeds().says(&id);
    }
    world.donjon(&["inspect", "no-such"]).go().refused().complains("no-such");
}

#[test]
fn a_name_is_given_once() {
    let world = World::ordinary();
    detached(&world, "twin", "sleep 60");
    world.shell(&["-d", "--name", "twin"], "sleep 60").go().refused().complains("twin");
    assert_eq!(world.containers().len(), 1);
}

#[test]
fn a_name_that_is_no_name_is_refused() {
    let world = World::ordinary();
    for name in ["../../etc", "a/b", "", ".hidden", "-dash", "white space", "new\nline"] {
        let run = world.shell(&[&format!("--name={name}")], "true").go();
        assert!(run.code() == 125 || run.code() == 2, "{name:?}: {run:?}");
    }
    assert!(world.containers().is_empty());
}

#[test]
fn logs_shows_both_outputs_and_logs_f_follows() {
    let world = World::ordinary();
    detached(&world, "talker", "echo one; echo two >&2; sleep 1; echo three; sleep 1");
    let run = world.donjon(&["logs", "-f", "talker"]).go();
    run.succeeds();
    let both = format!("{}{}", run.stdout, run.stderr);
    for word in ["one", "two", "three"] {
        assert!(both.contains(word), "{run:?}");
    }
    let again = world.donjon(&["logs", "talker"]).go();
    again.succeeds().says("one").says("three");
    world.donjon(&["logs", "--tail", "1", "talker"]).go().succeeds().prints("three");
}

#[test]
fn the_log_keeps_what_is_not_text() {
    let world = World::ordinary();
    detached(&world, "binary", r"printf '\000\377\001no newline'");
    world.donjon(&["wait", "binary"]).go().succeeds();
    let run = world.donjon(&["logs", "binary"]).go();
    run.succeeds().says("no newline");
}

#[test]
fn wait_prints_the_programs_status() {
    let world = World::ordinary();
    detached(&world, "brief", "sleep 0.3; exit 42");
    world.donjon(&["wait", "brief"]).go().succeeds().prints("42");
    world.donjon(&["wait", "brief"]).go().succeeds().prints("42");
}

#[test]
fn stop_asks_with_term_first() {
    let world = World::ordinary();
    detached(&world, "polite", "trap 'echo bye; exit 6' TERM; echo ready; while :; do sleep 0.1; done");
    assert!(eventually(5, || world.donjon(&["logs", "polite"]).go().stdout.contains("ready")));
    world.donjon(&["stop", "polite"]).go().succeeds();
    world.donjon(&["wait", "polite"]).go().prints("6");
    world.donjon(&["logs", "polite"]).go().says("bye");
}

#[test]
fn stop_kills_who_does_not_listen() {
    let world = World::ordinary();
    detached(&world, "deaf", "trap '' TERM; while :; do sleep 0.1; done");
    let start = Instant::now();
    world.donjon(&["stop", "-t", "1", "deaf"]).go().succeeds();
    assert!(start.elapsed() < Duration::from_secs(8));
    world.donjon(&["wait", "deaf"]).go().prints("137");
}

#[test]
fn stop_signal_is_what_stop_sends() {
    let world = World::ordinary();
    let run = world.shell(
        &["-d", "--name", "special", "--stop-signal", "USR1"],
        "trap 'echo usr1; exit 8' USR1; echo ready; while :; do sleep 0.1; done",
    );
    run.go().succeeds();
    assert!(eventually(5, || world.donjon(&["logs", "special"]).go().stdout.contains("ready")));
    world.donjon(&["stop", "special"]).go().succeeds();
    world.donjon(&["wait", "special"]).go().prints("8");
}

#[test]
fn kill_sends_any_signal() {
    let world = World::ordinary();
    detached(&world, "target", "trap 'echo hup; exit 9' HUP; echo ready; while :; do sleep 0.1; done");
    assert!(eventually(5, || world.donjon(&["logs", "target"]).go().stdout.contains("ready")));
    world.donjon(&["kill", "--signal", "HUP", "target"]).go().succeeds();
    world.donjon(&["wait", "target"]).go().prints("9");
    world.donjon(&["kill", "--signal", "NOSUCH", "target"]).go().refused().complains("NOSUCH");
}

#[test]
fn kill_alone_kills() {
    let world = World::ordinary();
    detached(&world, "victim", "sleep 60");
    world.donjon(&["kill", "victim"]).go().succeeds();
    world.donjon(&["wait", "victim"]).go().prints("137");
}

#[test]
fn rm_takes_what_ended_and_refuses_what_runs() {
    let world = World::ordinary();
    world.shell(&["--name", "ended"], "true").go().succeeds();
    assert_eq!(world.containers().len(), 1);
    world.donjon(&["rm", "ended"]).go().succeeds();
    assert!(world.containers().is_empty());
    detached(&world, "running", "sleep 60");
    world.donjon(&["rm", "running"]).go().refused().complains("running");
    world.donjon(&["rm", "-f", "running"]).go().succeeds();
    world.assert_nothing_left("rm -f");
}

#[test]
fn rm_f_of_a_container_that_removes_itself_is_no_error() {
    let world = World::ordinary();
    for n in 0..10 {
        let name = format!("c{n}");
        world.shell(&["--rm", "-d", "--name", &name], "sleep 60").go().succeeds();
        world.donjon(&["rm", "-f", &name]).go().succeeds();
    }
    world.assert_nothing_left("rm -f of containers with --rm");
}

#[test]
fn rm_flag_leaves_nothing() {
    let world = World::ordinary();
    world.shell(&["--rm"], "true").go().succeeds();
    world.assert_nothing_left("run --rm");
    world.shell(&["-d", "--rm", "--name", "gone"], "sleep 0.2").go().succeeds();
    world.assert_nothing_left("run -d --rm");
}

#[test]
fn inspect_tells_the_state_and_the_specification() {
    let world = World::ordinary();
    let id = detached(&world, "open", "sleep 60");
    let run = world.donjon(&["inspect", "open"]).go();
    let text = run.json().to_string();
    for word in [id.as_str(), "open", "running", "sleep 60", "ociVersion"] {
        assert!(text.contains(word), "{word}: {run:?}");
    }
}

#[test]
fn exec_runs_in_the_same_house() {
    let world = World::ordinary();
    detached(&world, "house", "touch /made-first; sleep 60");
    assert!(eventually(5, || world.donjon(&["exec", "house", "ls", "/made-first"]).go().code() == 0));
    world.donjon(&["exec", "house", "sh", "-c", "exit 12"]).go().exits(12);
    world.donjon(&["exec", "house", "no-such"]).go().exits(127);
    world.donjon(&["exec", "house", "/bin"]).go().exits(126);
    world.donjon(&["exec", "-i", "house", "cat"]).stdin("through").go().succeeds().prints("through");
    world.donjon(&["exec", "house", "cat"]).stdin("through").go().succeeds().prints("");
    world.donjon(&["exec", "-w", "/bin", "house", "pwd"]).go().succeeds().prints("/bin");
    world.donjon(&["exec", "-e", "X=y", "house", "sh", "-c", "echo $X"]).go().succeeds().prints("y");
    world.donjon(&["exec", "house", "hostname"]).go().succeeds();
    world.donjon(&["exec", "house", "ps"]).go().says("sleep 60");
}

#[test]
fn exec_is_confined_as_the_first_process_is() {
    let world = World::ordinary();
    detached(&world, "house", "sleep 60");
    let inside = world.donjon(&["exec", "house", "cat", "/proc/1/status"]).go();
    let joined = world.donjon(&["exec", "house", "cat", "/proc/self/status"]).go();
    for field in
        ["NoNewPrivs", "Seccomp", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "Uid", "Gid", "Groups"]
    {
        assert_eq!(inside.field(field), joined.field(field), "{field}");
    }
    world.donjon(&["exec", "house", "attacker", "userns", "unshare"]).go().exits(1);
    world.donjon(&["exec", "house", "attacker", "families"]).go().prints("1 2 10 16");
    let fds = world.donjon(&["exec", "house", "attacker", "fds"]).leaking("/", 9).go();
    assert_eq!(fds.stdout.lines().count(), 3, "{fds:?}");
    world.donjon(&["exec", "house", "env"]).env("SECRET", "leaked").go().never_says("leaked");
}

#[test]
fn exec_in_what_does_not_run_is_refused() {
    let world = World::ordinary();
    world.shell(&["--name", "ended"], "true").go().succeeds();
    world.donjon(&["exec", "ended", "true"]).go().refused().complains("ended");
    world.donjon(&["exec", "no-such", "true"]).go().refused().complains("no-such");
}

#[test]
fn stats_and_top_show_what_runs() {
    let world = World::ordinary();
    detached(&world, "busy", "sleep 61");
    world.donjon(&["stats", "--no-stream", "busy"]).go().succeeds().says("busy");
    world.donjon(&["top", "busy"]).go().succeeds().says("sleep 61");
}

#[test]
fn a_finished_container_keeps_its_log_until_rm() {
    let world = World::ordinary();
    detached(&world, "brief", "echo last words");
    world.donjon(&["wait", "brief"]).go().succeeds();
    world.donjon(&["logs", "brief"]).go().says("last words");
    world.donjon(&["rm", "brief"]).go().succeeds();
    world.donjon(&["logs", "brief"]).go().refused();
    world.assert_nothing_left("rm");
}

#[test]
fn the_state_directory_is_the_callers_alone() {
    use std::os::unix::fs::MetadataExt;
    let world = World::ordinary();
    detached(&world, "one", "sleep 60");
    let top = fs::metadata(world.path("run/donjon")).expect("the state directory");
    assert_eq!(top.mode() & 0o777, 0o700);
    assert_eq!(top.uid(), world.uid());
}

#[test]
fn a_state_directory_that_somebody_prepared_is_refused() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let world = World::ordinary();
    fs::set_permissions(world.dir("run/donjon"), fs::Permissions::from_mode(0o777)).expect("a mode");
    world.shell(&["--rm"], "true").go().refused().complains("run/donjon");
    let other = World::ordinary();
    symlink(other.dir("elsewhere"), other.path("run/donjon")).expect("a link");
    other.shell(&["--rm"], "true").go().refused().complains("run/donjon");
}

#[test]
fn fifty_containers_start_at_once() {
    let world = World::ordinary();
    let runs: Vec<_> = (0..50).map(|n| world.shell(&["--rm"], &format!("echo number {n}")).spawn()).collect();
    for (n, run) in runs.into_iter().enumerate() {
        run.finish(60).succeeds().prints(&format!("number {n}"));
    }
    world.assert_nothing_left("fifty containers");
}

#[test]
fn a_broken_record_of_one_container_does_not_hide_the_others() {
    let world = World::ordinary();
    detached(&world, "whole", "sleep 60");
    let broken = world.dir("run/donjon/containers").join("0".repeat(64));
    fs::create_dir(&broken).expect("a record");
    fs::write(broken.join("state.json"), "{ not json").expect("a state");
    world.donjon(&["ps", "-a"]).go().says("whole").never_says("panicked");
}
