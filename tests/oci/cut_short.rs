//! kill -9 of donjon and of the container, at every moment, again and again: nothing may be left.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use donjon_tests::{Bundle, World, eventually, mount_table};

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

/// The processes in these groups.
fn inside(groups: &BTreeSet<String>) -> BTreeSet<i32> {
    let read = |group: &String| fs::read_to_string(format!("{group}/cgroup.procs")).unwrap_or_default();
    groups.iter().flat_map(|g| read(g).lines().filter_map(|l| l.parse().ok()).collect::<Vec<i32>>()).collect()
}

/// Ends what is in these groups, and removes them: what donjon is not to touch, or was kept from.
fn take_away(groups: &BTreeSet<String>) {
    for pid in inside(groups) {
        // SAFETY: a signal to a process that this test started.
        unsafe { libc::kill(pid, libc::SIGKILL) };
    }
    // The deepest first.
    for group in groups.iter().rev() {
        assert!(eventually(5, || fs::remove_dir(group).is_ok() || !Path::new(group).exists()), "{group}");
    }
}

/// A container with a group of its own, and two processes in the caller's pid namespace, of which one is not its first.
fn crowd<'w>(world: &'w World, group: &str) -> Bundle<'w> {
    let mut bundle = world.bundle("b", "sleep 300 & exec sleep 300");
    let namespaces = bundle.config["linux"]["namespaces"].as_array_mut().expect("a list");
    namespaces.retain(|namespace| namespace["type"] != "pid");
    bundle.set("/linux/cgroupsPath", serde_json::json!(format!("{group}/c")));
    bundle.create("c").go().succeeds();
    world.donjon(&["start", "c"]).go().succeeds();
    assert!(eventually(5, || inside(&groups(group)).len() == 2), "{:?}", groups(group));
    bundle
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
fn delete_force_of_a_damaged_record_ends_the_processes_and_removes_the_group() {
    let world = World::root();
    let group = format!("/donjon-{}", world.token());
    let state = world.path("run/donjon/oci/c/state.json");
    for damage in ["", "{\"version\": 1", "{\"version\": 99}", "[]"] {
        let _bundle = crowd(&world, &group);
        fs::write(&state, damage).expect("a damaged record");
        world.donjon(&["delete", "c"]).go().exits(1);
        assert_eq!(inside(&groups(&group)).len(), 2, "a delete that was refused did something");
        clear(&world, "c");
        assert_eq!(groups(&group), BTreeSet::new(), "{damage:?}");
        world.assert_nothing_left("a damaged record");
    }
    let _bundle = crowd(&world, &group);
    fs::remove_file(&state).expect("a record that is missing");
    clear(&world, "c");
    assert_eq!(groups(&group), BTreeSet::new());
    // Without what was written down a second time they stay.
    let _bundle = crowd(&world, &group);
    fs::write(&state, "").expect("a damaged record");
    world.donjon(&["delete", "--force", "c"]).without("belongings").go().succeeds();
    let left = groups(&group);
    assert_eq!(inside(&left).len(), 2, "the test can't tell");
    take_away(&left);
}

#[test]
fn delete_force_of_a_damaged_record_leaves_a_group_that_may_be_somebody_elses() {
    let world = World::root();
    let group = format!("/donjon-{}", world.token());
    let entry = |name: &str| world.path(&format!("run/donjon/oci/c/{name}"));
    let _bundle = crowd(&world, &group);
    // As it is before the container's process was put into the group.
    let lock = fs::read_to_string(entry("lock")).expect("the lock");
    let planned = lock.lines().find(|line| line.contains("\"in_cgroup\":false")).expect("what was planned");
    fs::write(entry("lock"), format!("{planned}\nhas {{\"cgroup\": 5, \"in_cg")).expect("the lock");
    fs::write(entry("state.json"), "").expect("a damaged record");
    clear(&world, "c");
    let left = groups(&group);
    assert_eq!(inside(&left).len(), 2, "{left:?}");
    assert_eq!(world.status("c"), None);
    take_away(&left);
    world.assert_nothing_left("a group that may be somebody else's");
}

#[test]
fn a_creation_that_is_killed_leaves_nothing_also_where_its_record_is_damaged() {
    let world = World::root();
    let group = format!("/donjon-{}", world.token());
    let mut bundle = world.bundle("b", "sleep 300");
    bundle.set("/linux/cgroupsPath", serde_json::json!(format!("{group}/c")));
    for moment in moments(12_000).take(150) {
        let run = bundle.create("c").spawn();
        std::thread::sleep(moment);
        run.signal(libc::SIGKILL);
        run.finish(10);
        if Path::new(&world.path("run/donjon/oci/c")).exists() {
            fs::write(world.path("run/donjon/oci/c/state.json"), "{").expect("a damaged record");
        }
        clear(&world, "c");
        let quiet = eventually(5, || world.leftovers().is_empty());
        assert!(quiet, "after kill -9 at {moment:?}: {:#?}", world.leftovers());
    }
    assert_eq!(groups(&group), BTreeSet::new());
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
