//! Nothing of a container is left when its engine has removed it.

use std::fs;
use std::path::Path;

use donjon_tests::{eventually, mount_table};

use crate::for_engines;
use crate::house::{Client, Engine};

for_engines!([podman, rootless, docker] {
    nothing_is_left_of_a_container,
    nothing_is_left_of_a_container_that_could_not_start,
});

// Podman never asks its runtime to delete a container whose conmon was killed: with every runtime something is left.
for_engines!([docker] {
    nothing_is_left_of_a_container_whose_monitor_was_killed,
});

/// Everything on the machine whose name has this id in it.
fn left(id: &str) -> Vec<String> {
    let mut found: Vec<String> =
        mount_table().lines().filter(|l| l.contains(id)).map(str::to_string).collect();
    for root in ["/sys/fs/cgroup", "/run/donjon", "/run/runc", "/run/donjon-clients/rootless/runtime/donjon"]
    {
        walk(Path::new(root), id, 6, &mut found);
    }
    for process in fs::read_dir("/proc").expect("/proc").flatten() {
        let arguments = fs::read(process.path().join("cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&arguments).contains(id) {
            found.push(String::from_utf8_lossy(&arguments).replace('\0', " "));
        }
    }
    found
}

fn walk(dir: &Path, id: &str, depth: u32, found: &mut Vec<String>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) && depth > 0 {
            if entry.file_name().to_string_lossy().contains(id) {
                found.push(entry.path().display().to_string());
            }
            walk(&entry.path(), id, depth - 1, found);
        }
    }
}

#[track_caller]
fn nothing_left(client: Client, id: &str) {
    assert!(eventually(10, || left(id).is_empty()), "{client:?} left {:#?}", left(id));
}

fn nothing_is_left_of_a_container(engine: Engine) {
    engine.each(|client| {
        let container = client.idle(&[]);
        let id = container.told("{{.Id}}");
        container.exec(&[], &["true"]).succeeds();
        container.exec(&["-d"], &["sleep", "300"]).succeeds();
        assert!(!left(&id).is_empty(), "this test can't tell");
        container.go(&["rm", "-f"]).succeeds();
        nothing_left(client, &id);
    });
}

fn nothing_is_left_of_a_container_that_could_not_start(engine: Engine) {
    engine.each(|client| {
        let container = client.create(&[], &["/no/such"]);
        let id = container.told("{{.Id}}");
        container.go(&["start"]).fails();
        container.go(&["rm", "-f"]).succeeds();
        nothing_left(client, &id);
    });
}

fn nothing_is_left_of_a_container_whose_monitor_was_killed(engine: Engine) {
    engine.each(|client| {
        for _ in 0..3 {
            let container = client.idle(&[]);
            let id = container.told("{{.Id}}");
            let pid = container.told("{{.State.Pid}}");
            let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a running process");
            let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")).expect("a parent");
            let monitor: i32 = parent.trim().parse().expect("a number");
            // SAFETY: a signal to the engine's process above the container that this test made.
            assert_eq!(unsafe { libc::kill(monitor, libc::SIGKILL) }, 0);
            // The engine may be cleaning up by itself at the same time.
            let mut last = String::new();
            let removed = eventually(20, || {
                let run = container.go(&["rm", "-f"]);
                last = run.stderr.clone();
                run.code == 0 || last.to_lowercase().contains("no such container")
            });
            assert!(removed, "{client:?}: {last}");
            nothing_left(client, &id);
        }
    });
}
