//! Each step of an engine's bundle fails, and at each step the process dies, in `create`, `start` and `exec`: one clear
//! error that names the layer, and nothing is left. And machines that refuse.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use donjon_tests::{Bundle, Outcome, World, mount_table, receive_terminal};
use serde_json::{Value, json};

/// A bundle with everything that has steps of its own: hooks, a terminal, a namespace by path, limits, masks, devices,
/// a profile, mounts of many kinds.
fn rich(world: &World) -> Bundle<'_> {
    let mut bundle = world.bundle("rich", "echo ran; sleep 300");
    let root = bundle.own_root();
    let quiet = json!({"path": "/bin/true"});
    for kind in ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"] {
        bundle.push(&format!("/hooks/{kind}"), quiet.clone());
    }
    bundle.set("/process/terminal", json!(true));
    bundle.set("/process/consoleSize", json!({"height": 30, "width": 90}));
    bundle.set("/process/cwd", json!("/tmp/made"));
    bundle.set("/process/rlimits", json!([{"type": "RLIMIT_NOFILE", "soft": 64, "hard": 128}]));
    bundle.set("/process/oomScoreAdj", json!(500));
    bundle.set("/hostname", json!("rich"));
    bundle.set("/root/readonly", json!(true));
    bundle.push(
        "/mounts",
        json!({"destination": "/data", "type": "bind", "source": world.path("work"),
                                  "options": ["bind", "ro"]}),
    );
    bundle.push(
        "/mounts",
        json!({"destination": "/tmp/ram", "type": "tmpfs", "source": "tmpfs",
                                  "options": ["size=64k", "ro"]}),
    );
    bundle.set("/linux/maskedPaths", json!(["/proc/interrupts", "/proc/acpi", "/etc"]));
    bundle.set("/linux/readonlyPaths", json!(["/proc/sys", "/bin"]));
    bundle.set(
        "/linux/seccomp",
        json!({"defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["syslog"], "action": "SCMP_ACT_ERRNO"}]}),
    );
    if world.uid() == 0 {
        bundle.set("/linux/cgroupsPath", json!(group(world)));
        bundle.set(
            "/linux/resources",
            json!({"pids": {"limit": 50}, "memory": {"limit": 64 << 20},
            "devices": [{"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "access": "rwm"}]}),
        );
        bundle.push(
            "/linux/devices",
            json!({"path": "/dev/odd", "type": "c", "major": 1, "minor": 7,
                                             "fileMode": 384, "uid": 0, "gid": 0}),
        );
        bundle.set("/linux/sysctl", json!({"net.ipv4.ip_default_ttl": "33"}));
        for namespace in bundle.config["linux"]["namespaces"].as_array_mut().expect("a list") {
            if namespace["type"] == "ipc" {
                namespace["path"] = json!("/proc/self/ns/ipc");
            }
        }
        bundle.config["mounts"].as_array_mut().expect("a list").retain(|m| m["type"] != "mqueue");
    }
    bundle.write();
    drop(root);
    bundle
}

fn group(world: &World) -> String {
    format!("/donjon-{}-rich", world.token())
}

/// The groups of this world, in all hierarchies.
fn groups(world: &World) -> Vec<String> {
    let mut found = Vec::new();
    let name = group(world);
    for top in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
        let path = format!("{}{name}", top.path().display());
        if Path::new(&path).exists() {
            found.push(path);
        }
    }
    if Path::new(&format!("/sys/fs/cgroup{name}")).exists() {
        found.push(name);
    }
    found
}

/// Nothing is left of the container: no process, mount, record or group.
#[track_caller]
fn assert_nothing_left(world: &World, mounts: &str, what: &str) {
    world.assert_nothing_left(what);
    assert_eq!(groups(world), Vec::<String>::new(), "after {what}");
    assert_eq!(mount_table(), mounts, "after {what}");
}

/// An engine's console socket.
fn console(world: &World) -> (String, UnixListener) {
    let path = world.path("console");
    let _ = fs::remove_file(&path);
    let listener = UnixListener::bind(&path).expect("a socket");
    std::os::unix::fs::chown(&path, Some(world.uid()), Some(world.gid())).expect("its owner");
    (path, listener)
}

fn create<'w>(world: &'w World, bundle: &Bundle<'_>, socket: &str) -> donjon_tests::Run<'w> {
    world
        .donjon(&["create", "--bundle", &bundle.path(), "--console-socket", socket, "c1"])
        .output_to(&world.path("output"))
}

/// What the last command said.
fn output(world: &World) -> String {
    let text = fs::read_to_string(world.path("output")).unwrap_or_default();
    let _ = fs::remove_file(world.path("output"));
    text
}

const LAYERS: [&str; 16] = [
    "namespaces", "identity", "cgroups", "rootfs", "mounts", "devices", "limits", "keyring", "capabilities",
    "landlock", "descriptors", "seccomp", "program", "apparmor", "selinux", "scheduling",
];

/// An error that a person can use: one, from a layer, with the reason.
#[track_caller]
fn one_clear_error(text: &str, why: &str, what: &str) {
    let lower = text.to_lowercase();
    let errors = text.lines().filter(|l| l.starts_with("donjon: ")).count();
    assert_eq!(errors, 1, "{what}: {text}");
    assert!(!lower.contains("panicked"), "{what}: {text}");
    assert!(
        LAYERS.iter().any(|layer| lower.starts_with(&format!("donjon: {layer}"))),
        "{what}: no layer: {text}"
    );
    assert!(lower.contains(why), "{what}: {text}");
}

/// Makes every step of `create` and `start` fail, or lets the process die there. Returns how many belong to each.
fn at_every_step(world: &World, dies: bool) -> (usize, usize) {
    let bundle = rich(world);
    let mounts = mount_table();
    let (socket, listener) = console(world);
    let why = if dies { "killed on the way" } else { "input/output error" };
    let (mut creating, mut starting) = (0, 0);
    for n in 0..200 {
        let what = format!("step {n}, {}", if dies { "dying" } else { "failing" });
        let run = create(world, &bundle, &socket);
        let run = if dies { run.dying_at(n) } else { run.failing_at(n) }.go();
        let said = output(world);
        if run.code() != 0 {
            run.exits(1);
            if dies {
                assert!(said.starts_with("donjon: ") && !said.contains("panicked"), "{what}: {said}");
            } else {
                one_clear_error(&said, why, &what);
            }
            creating += 1;
            assert_nothing_left(world, &mounts, &what);
            continue;
        }
        drop(receive_terminal(&listener));
        let run = world.donjon(&["start", "c1"]).go();
        if run.code() == 0 {
            // The plan has no step of that number.
            world.donjon(&["delete", "--force", "c1"]).go().succeeds();
            assert_nothing_left(world, &mounts, &what);
            return (creating, starting);
        }
        starting += 1;
        run.exits(if run.stderr.contains("echo") { 126 } else { 1 });
        assert!(run.stderr.starts_with("donjon: "), "{what}: {run:?}");
        assert!(dies || run.stderr.to_lowercase().contains(why), "{what}: {run:?}");
        assert_eq!(world.status("c1").as_deref(), Some("stopped"), "{what}");
        world.donjon(&["start", "c1"]).go().exits(1).complains("stopped");
        world.donjon(&["delete", "c1"]).go().succeeds();
        assert_nothing_left(world, &mounts, &what);
    }
    panic!("the plan has no end");
}

#[test]
fn every_step_of_create_and_of_start_fails_cleanly() {
    for world in World::each() {
        let (creating, starting) = at_every_step(&world, false);
        assert!(creating > 40 && starting >= 5, "{creating} steps of create, {starting} of start");
    }
}

#[test]
fn a_process_that_dies_at_any_step_of_create_or_start_leaves_nothing() {
    for world in World::each() {
        let (creating, starting) = at_every_step(&world, true);
        assert!(creating > 40 && starting >= 4, "{creating} steps of create, {starting} of start");
    }
}

#[test]
fn every_step_of_an_exec_in_a_bundle_fails_cleanly_and_the_container_lives_on() {
    for world in World::each() {
        let bundle = rich(&world);
        let mounts = mount_table();
        let (socket, listener) = console(&world);
        create(&world, &bundle, &socket).hooked().go().succeeds();
        drop(receive_terminal(&listener));
        world.donjon(&["start", "c1"]).go().succeeds();
        let exec = || world.donjon(&["exec", "--cwd", "/", "c1", "sh", "-c", "echo ran"]);
        let mut failed = 0;
        for n in 0..100 {
            let run = exec().failing_at(n).go();
            if run.code() == 0 {
                break;
            }
            assert!(
                run.code() == 255 && run.stderr.to_lowercase().contains("input/output error"),
                "step {n}: {run:?}"
            );
            run.never_says("ran\n");
            one_clear_error(&run.stderr, "input/output error", &format!("exec, failing step {n}"));
            let run = exec().dying_at(n).go();
            run.exits(255).never_says("ran\n").never_says("panicked").complains("donjon: ");
            failed += 1;
        }
        assert!(failed > 10, "only {failed} steps of exec");
        exec().go().succeeds().prints("ran");
        let pids = world.donjon(&["ps", "--format", "json", "c1"]).go();
        let pids: Vec<i32> = serde_json::from_str(&pids.succeeds().stdout).expect("JSON");
        assert!(pids.len() <= 2, "what exec started lives on: {pids:?}");
        world.donjon(&["delete", "--force", "c1"]).go().succeeds();
        assert_nothing_left(&world, &mounts, "failed execs");
    }
}

/// donjon through a shell that first takes something away.
fn through(world: &World, prelude: &str, arguments: &[&str]) -> (i32, String) {
    let mut command = Command::new("timeout");
    command.args(["20", "setpriv"]);
    // SAFETY: geteuid takes nothing and can't fail.
    if unsafe { libc::geteuid() } == 0 && world.uid() != 0 {
        command.args([
            &format!("--reuid={}", world.uid()),
            &format!("--regid={}", world.gid()),
            "--clear-groups",
        ]);
    } else {
        command.arg("--no-new-privs");
    }
    command.args(["sh", "-c", &format!("{prelude}; exec \"$0\" \"$@\"")]);
    command.arg(donjon_tests::told("DONJON_TEST_BINARY"));
    if world.uid() == 0 {
        command.args(["--root", &world.path("run/donjon")]);
    }
    let file = fs::File::create(world.path("through")).expect("a file");
    let status = command
        .args(arguments)
        .env_clear()
        .envs(world.environment())
        .current_dir(world.path("work"))
        .stdin(std::process::Stdio::null())
        .stdout(file.try_clone().expect("a descriptor"))
        .stderr(file)
        .status()
        .expect("a shell");
    (status.code().unwrap_or(-1), world.read("through"))
}

/// A plain bundle whose group is this test's own.
fn plain<'w>(world: &'w World, script: &str) -> Bundle<'w> {
    let mut bundle = world.bundle("plain", script);
    if world.uid() == 0 {
        bundle.set("/linux/cgroupsPath", json!(group(world)));
    }
    bundle
}

#[test]
fn a_full_state_directory_is_an_error_and_leaves_nothing() {
    // RLIMIT_FSIZE of 0 refuses every write to a file, as a full disk does.
    for world in World::each() {
        let bundle = plain(&world, "true");
        let mounts = mount_table();
        let create = ["create", "--bundle", &bundle.path(), "c1"];
        let (code, text) = through(&world, "trap '' XFSZ; ulimit -f 0", &create);
        // What it says can't be written to a file either; that it failed is what counts.
        assert_eq!((code, text.as_str()), (1, ""), "{text}");
        assert_nothing_left(&world, &mounts, "a full state directory");
    }
}

#[test]
fn a_state_directory_that_can_not_be_written_to_is_an_error_that_names_it() {
    let world = World::ordinary();
    let bundle = plain(&world, "true");
    let mounts = mount_table();
    fs::set_permissions(world.path("run"), fs::Permissions::from_mode(0o500)).expect("a mode");
    bundle.run("c1").go().exits(1).complains("run/donjon").prints("");
    fs::set_permissions(world.path("run"), fs::Permissions::from_mode(0o700)).expect("a mode");
    bundle.run("c1").go().succeeds();
    fs::set_permissions(world.path("run/donjon/oci"), fs::Permissions::from_mode(0o500)).expect("a mode");
    bundle.run("c1").go().exits(1).complains("run/donjon/oci").prints("");
    fs::set_permissions(world.path("run/donjon/oci"), fs::Permissions::from_mode(0o700)).expect("a mode");
    assert_nothing_left(&world, &mounts, "a state directory that can't be written to");
}

#[test]
fn a_bundle_that_can_only_be_read_is_enough() {
    let world = World::ordinary();
    let mut bundle = plain(&world, "echo ran");
    let root = bundle.own_root();
    bundle.set("/root/readonly", json!(true));
    let mounts = mount_table();
    let close = |mode: u32| {
        fs::set_permissions(bundle.path(), fs::Permissions::from_mode(mode)).expect("a mode");
        fs::set_permissions(&root, fs::Permissions::from_mode(mode)).expect("a mode");
    };
    close(0o555);
    world.donjon(&["run", "--bundle", &bundle.path(), "c1"]).go().succeeds().prints("ran");
    close(0o755);
    assert_nothing_left(&world, &mounts, "a bundle that can only be read");
}

/// Whatever the code, no panic and a word of why.
#[track_caller]
fn failed_with_a_word(code: i32, text: &str, what: &str) {
    assert!(code == 0 || code == 1 || code >= 126 || code == -1, "{what}: {code}: {text}");
    assert!(!text.contains("panicked"), "{what}: {text}");
}

#[test]
fn without_memory_and_without_descriptors_a_bundle_fails_and_leaves_nothing() {
    for world in World::each() {
        let bundle = plain(&world, "true");
        let mounts = mount_table();
        let run = ["run", "--bundle", &bundle.path(), "c1"];
        for kilobytes in [1200, 2000, 3000, 4000, 6000, 9000, 12_000] {
            let what = format!("a bundle in {kilobytes} KiB");
            let (code, text) = through(&world, &format!("ulimit -v {kilobytes}"), &run);
            failed_with_a_word(code, &text, &what);
            world.donjon(&["delete", "--force", "c1"]).go();
            assert_nothing_left(&world, &mounts, &what);
        }
        for most in [3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 18, 20, 24, 28, 32] {
            let what = format!("a bundle with {most} descriptors");
            let (code, text) = through(&world, &format!("ulimit -n {most}"), &run);
            failed_with_a_word(code, &text, &what);
            assert!(code == 0 || !text.trim().is_empty(), "{what}: {code}");
            assert_nothing_left(&world, &mounts, &what);
        }
    }
}

#[test]
fn a_creation_that_fails_late_runs_the_hooks_of_its_end() {
    for world in World::each() {
        let mut bundle = plain(&world, "true");
        let told = world.path("told");
        let hook = |name: &str| -> Value {
            json!({"path": "/bin/sh", "args": ["sh", "-c", format!("echo {name} >> {told}")], "env": ["PATH=/bin:/usr/bin"]})
        };
        bundle.push("/hooks/createRuntime", hook("made"));
        bundle.push("/hooks/poststop", hook("stopped"));
        bundle.set("/process/args", json!(["/no/such/program"]));
        let run: Outcome = bundle.run("c1").go();
        assert_ne!(run.code(), 0, "{run:?}");
        assert_eq!(world.read("told"), "made\nstopped\n");
        world.assert_nothing_left("a creation that failed late");
    }
}
