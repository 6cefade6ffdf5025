//! The event log is a chain: what is done to it afterwards shows.

use std::fs;
use std::path::PathBuf;

use donjon_tests::{World, eventually};

/// The directory of the world's one container.
fn directory(world: &World) -> PathBuf {
    PathBuf::from(world.path("run/donjon/containers")).join(&world.containers()[0])
}

/// A container in which four kinds of calls were refused.
fn curious() -> (World, PathBuf) {
    let world = World::ordinary();
    let script = "for family in 17 38 40 31; do attacker socket $family 3 0; done; true";
    world.shell(&["--name", "curious"], script).go().succeeds();
    let log = directory(&world).join("events.jsonl");
    (world, log)
}

#[test]
fn the_log_of_a_container_and_its_exec_is_one_chain() {
    let world = World::ordinary();
    world.shell(&["-d", "--name", "web"], "attacker socket 17 3 0; sleep 60").go().succeeds();
    assert!(eventually(10, || directory(&world).join("events.jsonl").exists()));
    for family in ["38", "40"] {
        world.donjon(&["exec", "web", "attacker", "socket", family, "3", "0"]).go().exits(1);
    }
    // While it runs, and when it has ended.
    world.donjon(&["events", "verify", "web"]).go().succeeds().says("web: intact, 3 records");
    world.donjon(&["stop", "-t", "0", "web"]).go().succeeds();
    let verdict = world.donjon(&["events", "verify", "--json", "web"]).go();
    let verdict = &verdict.succeeds().json()[0];
    assert_eq!((&verdict["status"], &verdict["records"]), (&"intact".into(), &3.into()), "{verdict}");
    let record = world.donjon(&["inspect", "web"]).go().succeeds().json();
    assert_eq!(record[0]["EventLog"]["head"], verdict["head"]);
    let head = verdict["head"].as_str().expect("a head");
    world.donjon(&["events", "verify", "--head", head, "web"]).go().succeeds();
    let other = "0".repeat(64);
    world.donjon(&["events", "verify", "--head", &other, "web"]).go().exits(1).says("is not in the chain");
    world.donjon(&["rm", "web"]).go().succeeds();
}

#[test]
fn every_kind_of_tampering_is_found() {
    let (world, log) = curious();
    let whole = fs::read_to_string(&log).expect("events.jsonl");
    let lines: Vec<&str> = whole.lines().collect();
    assert_eq!(lines.len(), 4, "{whole}");
    world.donjon(&["events", "verify", "curious"]).go().succeeds().says("intact, 4 records");
    let swapped = format!("{}\n{}\n{}\n{}\n", lines[1], lines[0], lines[2], lines[3]);
    for (what, text, told) in [
        ("changed", whole.replacen("AF_PACKET", "AF_UNIX", 1), "before record 2 is not what was written"),
        ("changed at the end", whole.replace("AF_BLUETOOTH", "AF_UNIX"), "does not lead to its head"),
        ("removed", whole.replacen(&format!("{}\n", lines[1]), "", 1), "record 2 is missing"),
        (
            "removed at the beginning",
            whole.replacen(&format!("{}\n", lines[0]), "", 1),
            "record 1 is missing",
        ),
        ("cut off", whole.replace(&format!("{}\n", lines[3]), ""), "the end is cut off"),
        ("cut in a line", whole[..whole.len() - 9].to_string(), "NOT what was written"),
        ("emptied", String::new(), "records 1 to 4 are missing"),
        ("moved", swapped, "NOT what was written"),
        ("repeated", format!("{whole}{}\n", lines[3]), "line 5"),
        ("added", format!("{whole}{{\"layer\":\"seccomp\"}}\n"), "1 line behind the head"),
    ] {
        fs::write(&log, text).expect(what);
        world.donjon(&["events", "verify", "curious"]).go().exits(1).says(told);
    }
    fs::write(&log, &whole).expect("the log");
    world.donjon(&["events", "verify", "curious"]).go().succeeds();
    // The log and its head at once: the container's record still tells.
    let head = log.with_file_name("events.head");
    let kept = fs::read(&head).expect("events.head");
    fs::remove_file(&log).expect("removed");
    world.donjon(&["events", "verify", "curious"]).go().exits(1).says("records 1 to 4 are missing");
    fs::remove_file(&head).expect("removed");
    world.donjon(&["events", "verify", "curious"]).go().exits(1).says("tells of 4 records");
    // Another container's, whole.
    fs::write(&log, &whole).expect("the log");
    fs::write(&head, kept).expect("the head");
    world.attack(&["--name", "other"], &["socket", "17", "3", "0"]).go().exits(1);
    let ids = world.containers();
    let other = ids.iter().find(|id| !log.to_string_lossy().contains(id.as_str())).expect("the other");
    let other = PathBuf::from(world.path("run/donjon/containers")).join(other);
    for name in ["events.jsonl", "events.head"] {
        fs::copy(log.with_file_name(name), other.join(name)).expect("a copy");
    }
    world.donjon(&["events", "verify", "other"]).go().exits(1).says("does not begin with this container");
    world.donjon(&["events", "verify", "curious"]).go().succeeds();
    world.donjon(&["rm", "curious", "other"]).go().succeeds();
    world.assert_nothing_left("logs that were tampered with");
}

#[test]
fn a_log_without_a_chain_is_told_as_such() {
    let (world, log) = curious();
    // As an older donjon left it: no chain, no head, nothing of it in the record.
    let old: String = fs::read_to_string(&log)
        .expect("events.jsonl")
        .lines()
        .map(|line| {
            let mut record: serde_json::Value = serde_json::from_str(line).expect("JSON");
            let record = record.as_object_mut().expect("an object");
            record.retain(|key, _| key != "seq" && key != "prev");
            serde_json::to_string(record).expect("JSON") + "\n"
        })
        .collect();
    fs::write(&log, old).expect("the log");
    fs::remove_file(log.with_file_name("events.head")).expect("removed");
    // The record of this donjon knows better.
    world.donjon(&["events", "verify", "curious"]).go().exits(1).says("NOT what was written");
    let record = log.with_file_name("state.json");
    let mut state: serde_json::Value =
        serde_json::from_slice(&fs::read(&record).expect("state")).expect("JSON");
    state.as_object_mut().expect("an object").remove("events").expect("it tells of the log");
    fs::write(&record, state.to_string()).expect("the record");
    world.donjon(&["events", "verify", "curious"]).go().exits(1).says("kept no chain");
    world.donjon(&["explain", "curious"]).go().succeeds().says("AF_PACKET");
}

#[test]
fn without_refusals_there_is_no_log_and_nothing_is_wrong() {
    let world = World::ordinary();
    world.shell(&["--name", "quiet"], "true").go().succeeds();
    world.donjon(&["events", "verify", "quiet"]).go().succeeds().says("nothing was refused");
    assert!(!directory(&world).join("events.jsonl").exists());
    world.donjon(&["events", "verify", "nobody"]).go().exits(125).complains("no container is called");
    // The word alone is the id of an OCI container.
    world.donjon(&["events", "verify"]).go().exits(1).complains("donjon events verify CONTAINER");
}

#[test]
fn r24_the_container_reaches_neither_its_log_nor_the_head_of_it() {
    let world = World::ordinary();
    world.shell(&["-d", "--name", "web"], "attacker socket 17 3 0; sleep 60").go().succeeds();
    let log = directory(&world).join("events.jsonl");
    assert!(eventually(10, || log.exists()));
    let path = log.display();
    let script = format!(
        "test ! -e {path} && ! ls -l /proc/[0-9]*/fd 2>/dev/null | grep events && ! find / -xdev -name 'events.*' \
         2>/dev/null | grep -v /usr | grep events.jsonl && echo out of reach"
    );
    let inside = world.donjon(&["exec", "web", "sh", "-c", &script]).go();
    assert!(inside.stdout.contains("out of reach"), "{inside:?}");
    // Nor can the directory be mounted for writing.
    let above = directory(&world);
    let option = format!("{}:/mnt", above.display());
    world
        .shell(&["--rm", "--rw", &option, "--allow-mount", &above.display().to_string()], "true")
        .go()
        .refused();
    world.donjon(&["rm", "-f", "web"]).go().succeeds();
}
