//! create, start, state, kill, delete, list.

use std::time::Duration;

use donjon_tests::{World, eventually};
use serde_json::Value;

/// Both kinds of caller.
fn worlds() -> [World; 2] {
    [World::root(), World::ordinary()]
}

#[test]
fn a_container_is_created_started_killed_and_deleted() {
    for world in worlds() {
        let bundle = world.bundle("b", "echo ran; sleep 300");
        bundle.create("c1").go().succeeds();
        assert_eq!(world.status("c1").as_deref(), Some("created"));
        assert!(!world.read("output").contains("ran"), "the program ran before start");
        world.donjon(&["start", "c1"]).go().succeeds();
        assert_eq!(world.status("c1").as_deref(), Some("running"));
        assert!(eventually(5, || world.read("output").contains("ran")));
        world.donjon(&["start", "c1"]).go().exits(1).complains("running");
        world.donjon(&["delete", "c1"]).go().exits(1).complains("running");
        world.donjon(&["kill", "c1", "KILL"]).go().succeeds();
        assert!(eventually(5, || world.status("c1").as_deref() == Some("stopped")));
        world.donjon(&["kill", "c1", "TERM"]).go().exits(1).complains("container not running");
        world.donjon(&["delete", "c1"]).go().succeeds();
        world.donjon(&["state", "c1"]).go().exits(1).complains("does not exist");
        world.assert_nothing_left("delete");
    }
}

#[test]
fn run_passes_output_and_status_on_and_leaves_nothing() {
    for world in worlds() {
        let bundle = world.bundle("b", "echo out; echo err >&2; exit 7");
        bundle.run("c1").go().exits(7).prints("out").complains("err");
        world.assert_nothing_left("run");
    }
}

#[test]
fn run_detach_leaves_the_container_running_and_keep_leaves_its_record() {
    let world = World::root();
    let bundle = world.bundle("b", "sleep 300");
    let path = bundle.path();
    world
        .donjon(&["run", "--bundle", &path, "-d", "--pid-file", &world.path("pid"), "c1"])
        .output_to(&world.path("output"))
        .go()
        .succeeds();
    assert_eq!(world.status("c1").as_deref(), Some("running"));
    let pid: i32 = world.read("pid").parse().expect("a pid");
    let state: Value = serde_json::from_str(&world.donjon(&["state", "c1"]).go().stdout).expect("JSON");
    assert_eq!(state["pid"], pid);
    world.donjon(&["delete", "--force", "c1"]).go().succeeds();
    let bundle = world.bundle("b", "true");
    world.donjon(&["run", "--bundle", &bundle.path(), "--keep", "c2"]).go().succeeds();
    assert_eq!(world.status("c2").as_deref(), Some("stopped"));
    world.donjon(&["delete", "c2"]).go().succeeds();
    world.assert_nothing_left("run -d and --keep");
}

#[test]
fn a_word_in_a_bundle_is_an_id_and_an_image_stays_an_image() {
    let world = World::ordinary();
    let bundle = world.bundle("b", "echo the bundle");
    world.donjon(&["run", "c1"]).from_directory(&bundle.path()).go().succeeds().prints("the bundle");
    let image = world.image();
    world
        .donjon(&["run", "--rm", &image, "echo", "the image"])
        .from_directory(&bundle.path())
        .go()
        .succeeds()
        .prints("the image");
    world.donjon(&["run", "c1"]).go().exits(125).complains("image");
    world.assert_nothing_left("both kinds of run");
}

#[test]
fn a_program_that_is_not_there_is_told_by_create() {
    let world = World::root();
    let mut bundle = world.bundle("b", "");
    bundle.set("/process/args", serde_json::json!(["no-such-program"]));
    bundle.run("c1").go().exits(1).complains("executable file not found in $PATH");
    bundle.set("/process/args", serde_json::json!(["/bin/unfit"]));
    bundle.run("c1").go().exits(1).complains("permission denied");
    bundle.create("c1").go().exits(1);
    assert!(world.read("output").contains("permission denied"), "{}", world.read("output"));
    world.assert_nothing_left("a creation that failed");
}

#[test]
fn an_id_is_taken_once_and_is_no_path() {
    let world = World::root();
    let bundle = world.bundle("b", "sleep 300");
    bundle.create("c1").go().succeeds();
    bundle.run("c1").go().exits(1).complains("already exists");
    for id in ["../c2", "/tmp/c2", "a/b", "..", ".x", "c 2"] {
        bundle.run(id).go().exits(1).complains("is no id");
    }
    world.donjon(&["delete", "c1"]).go().succeeds();
    world.assert_nothing_left("ids that are none");
}

#[test]
fn two_creations_of_one_id_at_once_make_one_container() {
    let world = World::root();
    let bundle = world.bundle("b", "sleep 300");
    for round in 0..20 {
        let id = format!("c{round}");
        let both: Vec<_> = (0..2).map(|_| bundle.create(&id).spawn()).collect();
        let codes: Vec<i32> = both.into_iter().map(|run| run.finish(20).code()).collect();
        assert_eq!(codes.iter().filter(|code| **code == 0).count(), 1, "{codes:?}");
        world.donjon(&["delete", "--force", &id]).go().succeeds();
    }
    world.assert_nothing_left("creations at once");
}

#[test]
fn commands_at_once_on_one_id_wait_for_each_other() {
    let world = World::root();
    let bundle = world.bundle("b", "sleep 300");
    for round in 0..10 {
        let id = format!("c{round}");
        bundle.create(&id).go().succeeds();
        let words: [&[&str]; 4] =
            [&["start", &id], &["start", &id], &["delete", "--force", &id], &["state", &id]];
        let all: Vec<_> = words.iter().map(|words| world.donjon(words).spawn()).collect();
        for run in all {
            run.finish(20);
        }
        world.donjon(&["delete", "--force", &id]).go().succeeds();
    }
    world.assert_nothing_left("commands at once");
}

#[test]
fn a_container_that_was_never_started_is_deleted() {
    for world in worlds() {
        let bundle = world.bundle("b", "echo ran");
        bundle.create("c1").go().succeeds();
        world.donjon(&["delete", "c1"]).go().succeeds();
        assert!(!world.read("output").contains("ran"));
        world.donjon(&["delete", "--force", "c1"]).go().succeeds();
        world.donjon(&["delete", "c1"]).go().exits(1).complains("does not exist");
        world.assert_nothing_left("delete of what was never started");
    }
}

#[test]
fn list_shows_all_and_one_damaged_record_hides_none() {
    let world = World::root();
    let bundle = world.bundle("b", "sleep 300");
    for id in ["c1", "c2"] {
        bundle.create(id).go().succeeds();
    }
    world.donjon(&["list", "-q"]).go().succeeds().prints("c1\nc2");
    std::fs::write(world.path("run/donjon/oci/c2/state.json"), "{\"version\": 99").expect("a damaged record");
    let list = world.donjon(&["list", "--format", "json"]).go();
    let list: Vec<Value> = serde_json::from_str(&list.complains("c2").stdout).expect("JSON");
    assert_eq!((list.len(), &list[0]["id"], &list[0]["status"]), (1, &"c1".into(), &"created".into()));
    world.donjon(&["state", "c2"]).go().exits(1).complains("delete --force");
    world.donjon(&["delete", "c2"]).go().exits(1);
    world.donjon(&["delete", "--force", "c1"]).go().succeeds();
    world.donjon(&["delete", "--force", "c2"]).go().succeeds();
    world.donjon(&["list", "-q"]).go().succeeds().prints("");
}

#[test]
fn a_terminal_goes_to_the_console_socket() {
    let world = World::root();
    let mut bundle = world.bundle("b", "tty; stty size");
    bundle.set("/process/terminal", true.into());
    bundle.create("c1").go().exits(1);
    assert!(world.read("output").contains("--console-socket"), "{}", world.read("output"));
    let socket = world.path("console");
    let listener = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
    let receiver = std::thread::spawn(move || donjon_tests::receive_terminal(&listener));
    let path = bundle.path();
    world
        .donjon(&["create", "--bundle", &path, "--console-socket", &socket, "c1"])
        .output_to(&world.path("output"))
        .go()
        .succeeds();
    let mut terminal = receiver.join().expect("the receiver");
    world.donjon(&["start", "c1"]).go().succeeds();
    let said = donjon_tests::read_terminal(&mut terminal, Duration::from_secs(5), "24 80");
    assert!(said.contains("/dev/pts/0") || said.contains("/dev/console"), "{said:?}");
    world.donjon(&["delete", "--force", "c1"]).go().succeeds();
    world.assert_nothing_left("a terminal");
}
