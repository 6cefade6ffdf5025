//! Namespaces: new ones, those of others by path, and those that are the caller's.

use donjon_tests::World;
use serde_json::{Value, json};

fn of_the_state(world: &World, id: &str) -> i64 {
    let state: Value = serde_json::from_str(&world.donjon(&["state", id]).go().stdout).expect("JSON");
    state["pid"].as_i64().expect("a pid")
}

#[test]
fn namespaces_of_another_container_are_entered_by_path() {
    for world in [World::root(), World::ordinary()] {
        let pod = world.bundle("pod", "sleep 300");
        pod.create("pod").go().succeeds();
        world.donjon(&["start", "pod"]).go().succeeds();
        let pid = of_the_state(&world, "pod");
        let kinds = [("network", "net"), ("ipc", "ipc"), ("uts", "uts"), ("pid", "pid"), ("user", "user")];
        let mut bundle =
            world.bundle("b", "for n in net ipc uts pid user mnt; do readlink /proc/self/ns/$n; done");
        let named: Vec<Value> = bundle.config["linux"]["namespaces"].as_array().expect("a list").clone();
        let mut shared = Vec::new();
        for mut namespace in named {
            let kind = namespace["type"].as_str().expect("a type").to_string();
            if let Some((_, file)) = kinds.iter().find(|(name, _)| *name == kind) {
                namespace["path"] = json!(format!("/proc/{pid}/ns/{file}"));
            }
            shared.push(namespace);
        }
        bundle.set("/linux/namespaces", json!(shared));
        bundle.set("/hostname", Value::Null);
        if bundle.config["linux"].get("uidMappings").is_some() {
            bundle.set("/linux/uidMappings", Value::Null);
            bundle.set("/linux/gidMappings", Value::Null);
        }
        let inside = bundle.run("c1").go();
        let inside: Vec<String> = inside.succeeds().stdout.lines().map(str::to_string).collect();
        let theirs = world
            .donjon(&[
                "exec",
                "pod",
                "sh",
                "-c",
                "for n in net ipc uts pid user mnt; do readlink /proc/self/ns/$n; done",
            ])
            .go();
        let theirs: Vec<String> = theirs.succeeds().stdout.lines().map(str::to_string).collect();
        assert_eq!(inside[..5], theirs[..5]);
        assert_ne!(inside[5], theirs[5], "the mount namespace is each one's own");
        world.donjon(&["delete", "--force", "pod"]).go().succeeds();
        world.assert_nothing_left("shared namespaces");
    }
}

#[test]
fn a_path_that_is_no_namespace_of_the_kind_is_refused() {
    let world = World::root();
    for (path, why) in [
        ("/proc/self/ns/ipc", "another kind"),
        ("/dev/null", "no namespace"),
        ("/no/such/path", "No such file"),
        ("relative", "no absolute path"),
    ] {
        let mut bundle = world.bundle("b", "echo ran");
        bundle.set("/linux/namespaces/1/path", json!(path));
        let run = bundle.run("c1").go();
        run.exits(1).complains("linux.namespaces[1].path").complains(why).never_says("ran");
    }
    let mut bundle = world.bundle("b", "echo ran");
    bundle.push("/linux/namespaces", json!({"type": "pid"}));
    bundle.run("c1").go().exits(1).complains("named twice");
    world.assert_nothing_left("namespaces that are none");
}

#[test]
fn the_host_s_pid_namespace_can_be_shared() {
    let world = World::root();
    let mut bundle = world.bundle("b", "echo $$; readlink /proc/self/ns/pid");
    let others: Vec<Value> = bundle.config["linux"]["namespaces"]
        .as_array()
        .expect("a list")
        .iter()
        .filter(|n| n["type"] != "pid")
        .cloned()
        .collect();
    bundle.set("/linux/namespaces", json!(others));
    let run = bundle.run("c1").go();
    let own = std::fs::read_link("/proc/self/ns/pid").expect("a link");
    run.succeeds().says(&own.to_string_lossy());
    assert!(run.stdout.lines().next().expect("a pid").parse::<i32>().expect("a pid") > 1);
    world.assert_nothing_left("the host's pid namespace");
}
