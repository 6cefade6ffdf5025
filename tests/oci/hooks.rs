//! Hooks: when they run, what they read, and what becomes of a container whose hook fails.

use donjon_tests::{Bundle, World};
use serde_json::{Value, json};

const ALL: [&str; 6] =
    ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/// A hook that writes its name and the state that it reads into a file of the test.
fn telling(world: &World, name: &str) -> Value {
    let script = format!("printf '%s ' {name} >> {0}; cat >> {0}; echo >> {0}", world.path("told"));
    json!({"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"]})
}

fn with_all_hooks<'w>(world: &'w World, script: &str) -> Bundle<'w> {
    let mut bundle = world.bundle("b", script);
    bundle.own_root();
    for name in ALL {
        let hook = match name {
            // In the container's root, where the test's file is not.
            "startContainer" => json!({"path": "/bin/sh", "args": ["sh", "-c", "cat > /started"]}),
            _ => telling(world, name),
        };
        bundle.push(&format!("/hooks/{name}"), hook);
    }
    bundle
}

fn told(world: &World) -> Vec<(String, Value)> {
    let text = std::fs::read_to_string(world.path("told")).unwrap_or_default();
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(name, state)| (name.to_string(), serde_json::from_str(state).expect("a state")))
        .collect()
}

#[test]
fn six_kinds_run_in_their_order_and_read_the_state() {
    let world = World::root();
    let bundle = with_all_hooks(&world, "cat /started; sleep 300");
    bundle.create("c1").go().succeeds();
    let names = |world: &World| told(world).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    assert_eq!(names(&world), ["prestart", "createRuntime", "createContainer"]);
    world.donjon(&["start", "c1"]).go().succeeds();
    assert_eq!(names(&world).last().map(String::as_str), Some("poststart"));
    assert!(donjon_tests::eventually(5, || world.read("output").contains("\"status\":\"created\"")));
    let pid =
        serde_json::from_str::<Value>(&world.donjon(&["state", "c1"]).go().stdout).expect("JSON")["pid"]
            .clone();
    world.donjon(&["delete", "--force", "c1"]).go().succeeds();
    let all = told(&world);
    let expected = [
        ("prestart", "creating", pid.clone()),
        ("createRuntime", "creating", pid.clone()),
        ("createContainer", "creating", json!(1)),
        ("poststart", "running", pid),
        ("poststop", "stopped", Value::Null),
    ];
    assert_eq!(all.len(), expected.len());
    for ((name, state), (expected, status, pid)) in all.iter().zip(expected) {
        assert_eq!((name.as_str(), &state["status"], &state["pid"]), (expected, &json!(status), &pid));
        assert_eq!((&state["id"], &state["bundle"]), (&json!("c1"), &json!(bundle.path())));
    }
    world.assert_nothing_left("hooks");
}

#[test]
fn a_hook_of_the_creation_that_fails_ends_it_and_is_named() {
    let world = World::root();
    for name in ["prestart", "createRuntime", "createContainer", "startContainer"] {
        let mut bundle = world.bundle("b", "true");
        bundle.push(&format!("/hooks/{name}"), json!({"path": "/bin/sh", "args": ["sh", "-c", "exit 3"]}));
        bundle.run("c1").go().exits(1).complains(&format!("{name}[0]")).complains("status 3");
        bundle.set("/hooks", json!({}));
        bundle.push(&format!("/hooks/{name}"), json!({"path": "/no/such/hook"}));
        bundle.run("c1").go().exits(1).complains(&format!("{name}[0]"));
        world.assert_nothing_left(name);
    }
}

#[test]
fn a_hook_that_hangs_is_ended_with_all_that_it_started() {
    let world = World::root();
    let mark = world.path("hanging");
    for name in ["createRuntime", "createContainer", "startContainer"] {
        let mut bundle = world.bundle("b", "true");
        let script = "sleep 300 & exec sleep 300";
        bundle.push(
            &format!("/hooks/{name}"),
            json!({"path": "/bin/sh", "args": ["sh", "-c", script], "env": [format!("W={mark}")], "timeout": 1}),
        );
        bundle.run("c1").go().exits(1).complains("timeout");
        world.assert_nothing_left(name);
    }
}

#[test]
fn hooks_after_the_start_that_fail_are_told_and_the_container_lives() {
    let world = World::root();
    let mut bundle = world.bundle("b", "echo ran");
    for name in ["poststart", "poststop"] {
        bundle.push(&format!("/hooks/{name}"), json!({"path": "/bin/false"}));
    }
    let run = bundle.run("c1").go();
    run.succeeds().prints("ran").complains("poststart[0]").complains("poststop[0]");
    world.assert_nothing_left("hooks that failed late");
}

#[test]
fn hooks_are_checked_before_anything_exists() {
    let world = World::root();
    for (hook, field) in [
        (json!({"path": "relative"}), "hooks.poststop[0].path"),
        (json!({"path": "/bin/true", "timeout": 0}), "hooks.poststop[0].timeout"),
        (json!({"path": "/bin/true", "timeout": -5}), "hooks.poststop[0].timeout"),
    ] {
        let mut bundle = world.bundle("b", "echo ran");
        bundle.push("/hooks/poststop", hook);
        bundle.run("c1").go().exits(1).complains(field).never_says("ran");
    }
    world.assert_nothing_left("hooks that can't be");
}

#[test]
fn a_hook_gets_no_descriptor_but_three() {
    let world = World::root();
    let mut bundle = world.bundle("b", "true");
    let script = format!("ls /proc/self/fd > {}", world.path("descriptors"));
    bundle.push("/hooks/createContainer", json!({"path": "/bin/sh", "args": ["sh", "-c", script]}));
    bundle.run("c1").go().succeeds();
    // Standard input, output, error, and the directory that ls reads.
    assert_eq!(world.read("descriptors").split_whitespace().count(), 4, "{}", world.read("descriptors"));
}
