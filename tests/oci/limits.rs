//! pause, resume, update, events, ps, and limits on this machine's cgroups.

use donjon_tests::{World, eventually};
use serde_json::{Value, json};

#[test]
fn a_container_is_frozen_and_goes_on() {
    let world = World::root();
    let bundle = world.bundle("b", "while :; do echo tick; sleep 0.05; done");
    bundle.create("c1").go().succeeds();
    world.donjon(&["resume", "c1"]).go().exits(1).complains("created");
    world.donjon(&["start", "c1"]).go().succeeds();
    assert!(eventually(5, || world.read("output").contains("tick")));
    world.donjon(&["pause", "c1"]).go().succeeds();
    assert_eq!(world.status("c1").as_deref(), Some("paused"));
    let frozen = world.read("output");
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(world.read("output"), frozen);
    world.donjon(&["exec", "c1", "true"]).go().exits(255).complains("paused");
    world.donjon(&["resume", "c1"]).go().succeeds();
    assert!(eventually(5, || world.read("output").len() > frozen.len()));
    world.donjon(&["pause", "c1"]).go().succeeds();
    world.donjon(&["delete", "--force", "c1"]).go().succeeds();
    world.assert_nothing_left("delete of a frozen container");
}

#[test]
fn limits_hold_and_can_be_changed() {
    let world = World::root();
    let mut bundle = world.bundle("b", "sleep 300");
    bundle.set("/linux/resources/pids", json!({"limit": 10}));
    bundle.create("c1").go().succeeds();
    world.donjon(&["start", "c1"]).go().succeeds();
    let forks =
        "i=0; while [ $i -lt 20 ]; do sleep 5 >/dev/null 2>&1 & i=$((i+1)); done 2>/dev/null; echo made";
    let crowd = world.donjon(&["exec", "c1", "sh", "-c", forks]).go();
    crowd.never_says("made");
    world.donjon(&["update", "--pids-limit", "50", "c1"]).go().succeeds();
    world.donjon(&["exec", "c1", "sh", "-c", forks]).go().succeeds().says("made");
    let resources = json!({"memory": {"limit": 48 << 20}, "pids": {"limit": 40}}).to_string();
    world.donjon(&["update", "--resources", "-", "c1"]).stdin(&resources).go().succeeds();
    let event = world.donjon(&["events", "--stats", "c1"]).go();
    let event: Value = serde_json::from_str(&event.succeeds().stdout).expect("JSON");
    assert_eq!((&event["type"], &event["id"]), (&json!("stats"), &json!("c1")));
    assert_eq!(event["data"]["pids"]["limit"], 40);
    assert_eq!(event["data"]["memory"]["usage"]["limit"], 48 << 20);
    assert!(event["data"]["cpu"]["usage"]["total"].as_u64().expect("a number") > 0);
    world.donjon(&["update", "--memory", "much", "c1"]).go().exits(1).complains("--memory");
    world.donjon(&["update", "c1"]).go().exits(1);
    world.donjon(&["delete", "--force", "c1"]).go().succeeds();
    world.assert_nothing_left("limits");
}

#[test]
fn events_tell_that_memory_ran_out() {
    let world = World::root();
    let mut bundle = world.bundle("b", "sleep 1; /bin/attacker memory 100; sleep 2");
    bundle.set("/linux/resources/memory", json!({"limit": 16 << 20}));
    bundle.create("c1").go().succeeds();
    let events = world.donjon(&["events", "--interval", "200ms", "c1"]).spawn();
    world.donjon(&["start", "c1"]).go().succeeds();
    events.wait_for("\"oom\"");
    assert!(eventually(10, || world.status("c1").as_deref() == Some("stopped")));
    events.finish(10).succeeds().says("\"stats\"");
    world.donjon(&["delete", "c1"]).go().succeeds();
    world.assert_nothing_left("events");
}

#[test]
fn a_limit_that_can_t_be_applied_aborts_and_names_itself() {
    let world = World::root();
    let mut bundle = world.bundle("b", "echo ran");
    bundle.set("/linux/resources/memory", json!({"limit": 16 << 20}));
    let path = bundle.path();
    let run = world.donjon(&["--cgroup-manager", "disabled", "run", "--bundle", &path, "c1"]).go();
    run.exits(1).complains("linux.resources.memory.limit").never_says("ran");
    world.assert_nothing_left("a limit that can't be applied");
}
