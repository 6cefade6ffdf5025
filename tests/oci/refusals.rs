//! A config.json that can't be: refused before any process exists, with the JSON path.

use donjon_tests::World;
use serde_json::{Value, json};

/// A value set by its JSON pointer, and the path that the error has to name.
fn cases() -> Vec<(&'static str, Value, &'static str)> {
    vec![
        ("/ociVersion", json!("2.0.0"), "ociVersion"),
        ("/ociVersion", json!(1), "ociVersion"),
        ("/root", Value::Null, "root"),
        ("/root/path", json!(""), "root.path"),
        ("/root/path", json!(["x"]), "root.path"),
        ("/process", Value::Null, "process"),
        ("/process/args", json!([]), "process.args"),
        ("/process/args", json!([""]), "process.args"),
        ("/process/args", json!(["a\u{0}b"]), "process.args"),
        ("/process/cwd", json!("relative"), "process.cwd"),
        ("/process/user/uid", json!(-1), "process.user.uid"),
        ("/process/user/uid", json!("root"), "process.user.uid"),
        ("/process/env", json!("A=b"), "process.env"),
        (
            "/process/rlimits",
            json!([{"type": "RLIMIT_NONE", "soft": 1, "hard": 1}]),
            "process.rlimits[0].type",
        ),
        ("/process/rlimits", json!([{"type": "RLIMIT_CPU", "soft": 2, "hard": 1}]), "process.rlimits[0]"),
        ("/process/oomScoreAdj", json!(5000), "process.oomScoreAdj"),
        ("/process/capabilities/bounding", json!([7]), "process.capabilities"),
        ("/hostname", json!("x".repeat(65)), "hostname"),
        ("/mounts/0/destination", json!(7), "mounts[0].destination"),
        ("/mounts/0/destination", json!("/"), "mounts[0].destination"),
        ("/linux/namespaces/0/type", json!("planet"), "linux.namespaces[0].type"),
        ("/linux/maskedPaths", json!(["relative"]), "linux.maskedPaths[0]"),
        ("/linux/readonlyPaths", json!(["relative"]), "linux.readonlyPaths[0]"),
        ("/linux/sysctl", json!({"kernel.panic": "1"}), "linux.sysctl[kernel.panic]"),
        ("/linux/cgroupsPath", json!("/a/../b"), "linux.cgroupsPath"),
        ("/linux/resources/pids", json!({"limit": "many"}), "linux.resources.pids.limit"),
        (
            "/linux/resources/memory",
            json!({"limit": 1 << 20, "swap": 1 << 10}),
            "linux.resources.memory.swap",
        ),
        ("/linux/resources/cpu", json!({"period": 1}), "linux.resources.cpu.period"),
        ("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_NONE"}), "linux.seccomp.defaultAction"),
        ("/linux/timeOffsets", json!({"monotonic": {"secs": 1}}), "linux.timeOffsets"),
        (
            "/linux/uidMappings",
            json!([{"containerID": 0, "hostID": "x", "size": 1}]),
            "linux.uidMappings[0].hostID",
        ),
        ("/hooks", json!({"createRuntime": [{"path": "x"}]}), "hooks.createRuntime[0].path"),
        (
            "/annotations",
            json!({"org.donjon.extensions": "{\"squash\": true}"}),
            "annotations[org.donjon.extensions]",
        ),
    ]
}

#[test]
fn every_wrong_field_is_refused_by_its_path() {
    let world = World::root();
    let mut wrong = Vec::new();
    for (pointer, value, path) in cases() {
        let mut bundle = world.bundle("b", "echo ran");
        bundle.set(pointer, value.clone());
        let run = bundle.run("c1").go();
        if run.code() != 1 || !run.stderr.contains(path) || run.stdout.contains("ran") {
            wrong.push(format!("{pointer} = {value}: {} {}{}", run.code(), run.stdout, run.stderr));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    world.assert_nothing_left("wrong fields");
}

#[test]
fn unknown_properties_are_ignored() {
    let world = World::root();
    let mut bundle = world.bundle("b", "echo ran");
    bundle.set("/futureThing", json!({"a": [1, 2]}));
    bundle.set("/linux/futureThing", json!(true));
    bundle.set("/process/futureThing", json!("x"));
    bundle.push("/process/capabilities/bounding", json!("CAP_OF_TOMORROW"));
    bundle.set("/annotations", json!({"org.example.x": "y", "run.oci.handler": "krun"}));
    bundle.run("c1").go().succeeds().prints("ran");
}

#[test]
fn what_is_no_specification_is_refused() {
    let world = World::root();
    let bundle = world.bundle("b", "echo ran");
    let file = std::path::PathBuf::from(bundle.path()).join("config.json");
    let path = bundle.path();
    let run = || world.donjon(&["run", "--bundle", &path, "c1"]);
    for text in ["", "{", "[]", "null", "{\"ociVersion\": \"1.0.0\"}", "{} trailing"] {
        std::fs::write(&file, text).expect("config.json");
        run().go().exits(1).complains("config.json");
    }
    std::fs::remove_file(&file).expect("config.json");
    run().go().exits(1).complains("config.json").complains("No such file");
    // A pipe that nobody writes to would hold donjon up.
    let path = std::ffi::CString::new(file.to_string_lossy().as_bytes()).expect("no NUL");
    // SAFETY: the path is NUL-terminated.
    assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0);
    run().go().exits(1).complains("regular file");
    world.donjon(&["run", "--bundle", "/no/such/bundle", "c1"]).go().exits(1).complains("/no/such/bundle");
    world.assert_nothing_left("files that are no specification");
}

#[test]
fn an_annotation_may_narrow() {
    let world = World::root();
    let mut bundle = world.bundle("b", "cat /proc/cpuinfo >/dev/null 2>&1 && echo machine; ls -d /proc/self");
    bundle.run("c1").go().succeeds().prints("machine\n/proc/self");
    bundle.set("/annotations", json!({"org.donjon.extensions": "{\"proc-pid-only\": true}"}));
    bundle.run("c1").go().succeeds().prints("/proc/self");
}
