//! The command line: global options, the log, features, and what is not there.

use donjon_tests::{World, told};
use serde_json::Value;

#[test]
fn errors_are_written_to_the_log_as_engines_read_them() {
    let world = World::root();
    let log = world.path("log");
    let run = world.donjon(&["--log", &log, "--log-format", "json", "start", "nothing"]).go();
    run.exits(1).complains("does not exist");
    let line: Value = serde_json::from_str(world.read("log").trim()).expect("JSON");
    assert_eq!(line["level"], "error");
    assert!(line["msg"].as_str().expect("a message").contains("does not exist"));
    assert!(line["time"].as_str().expect("a time").contains('T'));
    // Also what is wrong with the command line itself.
    world.donjon(&["--log", &log, "--log-format=json", "create", "--no-such-option"]).go().exits(1);
    assert_eq!(world.read("log").lines().count(), 2);
    world.donjon(&["--log", &log, "--log-format", "text", "state", "nothing"]).go().exits(1);
    assert!(world.read("log").lines().last().expect("a line").contains("level=error"));
}

#[test]
fn wrong_global_options_are_refused() {
    let world = World::root();
    for (words, why) in [
        (["--log-format", "xml"], "--log-format"),
        (["--cgroup-manager", "other"], "--cgroup-manager"),
        (["--rootless", "maybe"], "--rootless"),
        (["--log-level", "loud"], "--log-level"),
        (["--systemd-cgroup=perhaps", "--debug"], "--systemd-cgroup"),
    ] {
        world.donjon(&[&words[..], &["list"]].concat()).go().exits(125).complains(why);
    }
}

#[test]
fn features_tell_what_is_there() {
    let world = World::root();
    let features = world.donjon(&["features"]).go();
    let features: Value = serde_json::from_str(&features.succeeds().stdout).expect("JSON");
    assert_eq!(features["ociVersionMax"], "1.3.0");
    assert_eq!(features["hooks"].as_array().expect("a list").len(), 6);
    for kind in ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"] {
        assert!(features["linux"]["namespaces"].as_array().expect("a list").contains(&kind.into()), "{kind}");
    }
    assert_eq!(features["linux"]["seccomp"]["enabled"], true);
}

#[test]
fn checkpoints_are_said_not_to_be_there() {
    let world = World::root();
    for word in ["checkpoint", "restore"] {
        world.donjon(&[word, "--image-path", "/tmp", "c1"]).go().exits(1).complains("can't checkpoint");
    }
}

#[test]
fn spec_writes_a_bundle_that_runs_and_overwrites_nothing() {
    for world in [World::root(), World::ordinary()] {
        let bundle = world.bundle("b", "echo ran");
        bundle.run("c1").go().succeeds().prints("ran");
        world.donjon(&["spec", "--bundle", &bundle.path()]).go().exits(1).complains("config.json");
    }
}

#[test]
fn version_names_the_specification() {
    let world = World::root();
    let version = world.donjon(&["--version"]).go();
    version.succeeds().says("donjon version ").says("spec: 1.3.0");
}

#[test]
fn descriptors_are_passed_on_when_named_and_no_others() {
    let world = World::root();
    let file = world.file("passed", "passed on");
    let bundle = world.bundle("b", "cat <&3; ls /proc/self/fd | wc -l");
    let path = bundle.path();
    let run = |options: &[&str]| {
        let words = [&["run", "--bundle", &path][..], options, &["c1"]].concat();
        let file = file.to_string_lossy();
        world.donjon(&words).leaking(&file, 3).leaking(&file, 4).go()
    };
    // Standard streams, the passed one, and the directory that ls reads.
    run(&["--preserve-fds", "1"]).succeeds().prints("passed on5");
    run(&[]).never_says("passed on");
    run(&["--preserve-fds", "3"]).exits(1).complains("descriptor 5");
    run(&["--preserve-fds", "-1"]).exits(125).complains("--preserve-fds");
}

#[test]
fn sockets_of_systemd_are_passed_on_when_they_are_donjons() {
    let world = World::root();
    let file = world.file("passed", "passed on");
    let bundle = world.bundle("b", "echo $LISTEN_FDS $LISTEN_PID; cat <&3");
    let started = |pid: &str| {
        let script =
            format!("exec 3<$1; export LISTEN_FDS=1 LISTEN_PID={pid}; exec $2 --root $3 run --bundle $4 c1");
        let output = std::process::Command::new("timeout")
            .args(["20", "sh", "-c", &script, "sh", &file.to_string_lossy()])
            .args([told("DONJON_TEST_BINARY"), world.path("sockets"), bundle.path()])
            .stdin(std::process::Stdio::null())
            .output()
            .expect("sh");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert_eq!(started("$$"), "1 1\npassed on");
    // They were somebody else's.
    assert_eq!(started("1"), "\n");
}
