//! kill -9 of donjon and of the container, at every moment, again and again: nothing may be left.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use donjon_tests::{World, eventually, mount_table};

/// A source of moments: the same in every run.
fn moments(longest: u64) -> impl Iterator<Item = Duration> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        Duration::from_micros(state % longest)
    })
}

/// The groups below this one, by name.
fn groups(name: &str) -> BTreeSet<String> {
    fn walk(dir: &Path, depth: usize, name: &str, found: &mut BTreeSet<String>) {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            if depth < 6 && entry.file_type().is_ok_and(|t| t.is_dir()) {
                if entry.path().to_string_lossy().contains(&format!("{name}/")) {
                    found.insert(entry.path().to_string_lossy().into_owned());
                }
                walk(&entry.path(), depth + 1, name, found);
            }
        }
    }
    let mut found = BTreeSet::new();
    walk(Path::new("/sys/fs/cgroup"), 0, name, &mut found);
    found
}

/// Removes what `create` or `run` that was killed may have left: with the engine's own means.
fn clear(world: &World, id: &str) {
    world.donjon(&["delete", "--force", id]).go().succeeds();
}

#[test]
fn a_creation_that_is_killed_at_any_moment_leaves_nothing_that_delete_does_not_take() {
    for world in [World::root(), World::ordinary()] {
        let mounts = mount_table();
        let group = format!("/donjon-{}", world.token());
        let mut bundle = world.bundle("b", "sleep 300");
        if world.uid() == 0 {
            bundle.set("/linux/cgroupsPath", serde_json::json!(format!("{group}/c")));
        }
        for (round, moment) in moments(12_000).take(400).enumerate() {
            let run = match round % 2 {
                0 => bundle.create("c").spawn(),
                _ => bundle.run("c").output_to(&world.path("output")).spawn(),
            };
            std::thread::sleep(moment);
            run.signal(libc::SIGKILL);
            run.finish(10);
            clear(&world, "c");
            let quiet = eventually(5, || world.leftovers().is_empty());
            assert!(quiet, "after kill -9 at {moment:?}: {:#?}", world.leftovers());
        }
        assert_eq!(groups(&group), BTreeSet::new());
        assert_eq!(mount_table(), mounts);
        bundle.create("c").go().succeeds();
        clear(&world, "c");
    }
}

#[test]
fn a_container_that_is_killed_between_any_two_commands_is_stopped_and_deleted() {
    let world = World::root();
    let bundle = world.bundle("b", "sleep 300");
    for (round, moment) in moments(4000).take(150).enumerate() {
        bundle.create("c").go().succeeds();
        let state = world.donjon(&["state", "c"]).go();
        let state: serde_json::Value = serde_json::from_str(&state.stdout).expect("JSON");
        let pid = state["pid"].as_i64().expect("a pid") as i32;
        let start = (round % 3 != 0).then(|| world.donjon(&["start", "c"]).spawn());
        std::thread::sleep(moment);
        // SAFETY: a signal to the container's process, which this test made.
        unsafe { libc::kill(pid, libc::SIGKILL) };
        if let Some(start) = start {
            start.finish(10);
        }
        assert!(eventually(5, || world.status("c").as_deref() == Some("stopped")));
        world.donjon(&["start", "c"]).go().exits(1).complains("stopped");
        world.donjon(&["delete", "c"]).go().succeeds();
    }
    world.assert_nothing_left("containers that were killed");
}

#[test]
fn a_start_that_is_killed_leaves_a_container_that_can_be_started_or_runs() {
    let world = World::root();
    let bundle = world.bundle("b", "sleep 300");
    for moment in moments(4000).take(150) {
        bundle.create("c").go().succeeds();
        let start = world.donjon(&["start", "c"]).spawn();
        std::thread::sleep(moment);
        start.signal(libc::SIGKILL);
        start.finish(10);
        if world.status("c").as_deref() == Some("created") {
            world.donjon(&["start", "c"]).go();
        }
        assert_eq!(world.status("c").as_deref(), Some("running"));
        clear(&world, "c");
    }
    world.assert_nothing_left("starts that were killed");
}
