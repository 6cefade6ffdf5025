//! The numbers that the README promises and that do not depend on the machine's speed.

use std::fs;
use std::process::Command;

use donjon_tests::{World, eventually};

fn told(name: &str) -> String {
    std::env::var(name)
        .unwrap_or_else(|_| panic!("{name} is not set: run these tests with `cargo xtask test`"))
}

#[test]
fn the_release_binary_is_at_most_6_mib() {
    let size = fs::metadata(told("DONJON_TEST_BINARY")).expect("donjon").len();
    assert!(size <= 6 << 20, "{size} bytes");
}

#[test]
fn the_release_binary_needs_no_loader_and_no_library() {
    let bytes = fs::read(told("DONJON_TEST_BINARY")).expect("donjon");
    let number = |at: usize, size: usize| {
        bytes[at..at + size].iter().rev().fold(0usize, |n, b| (n << 8) | usize::from(*b))
    };
    let (table, size, count) = (number(32, 8), number(54, 2), number(56, 2));
    for n in 0..count {
        let kind = number(table + n * size, 4);
        assert_ne!(kind, 3, "there is a PT_INTERP segment");
    }
}

#[test]
fn a_start_peaks_at_4_mib_at_most() {
    let world = World::ordinary();
    // The program's own peak is part of what the kernel counts, so a small one is run.
    let mut command = Command::new("setpriv");
    let (reuid, regid) = (format!("--reuid={}", world.uid()), format!("--regid={}", world.gid()));
    // SAFETY: geteuid takes nothing and can't fail.
    if unsafe { libc::geteuid() } == 0 {
        command.args([&reuid, &regid, "--clear-groups"]);
    }
    command.args([told("DONJON_TEST_PEAK"), told("DONJON_TEST_BINARY")]).args([
        "run",
        "--rm",
        &world.image(),
        "/bin/true",
    ]);
    let out =
        command.env_clear().envs(world.environment()).current_dir(world.path("work")).output().expect("peak");
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    let peak: u64 = text
        .lines()
        .rev()
        .find_map(|l| l.strip_prefix("peak ")?.parse().ok())
        .unwrap_or_else(|| panic!("{text}"));
    assert!(out.status.success(), "{text}");
    assert!(peak <= 4096, "{peak} KiB");
}

#[test]
fn the_warden_of_an_idle_container_holds_2_mib_at_most() {
    let world = World::ordinary();
    world.shell(&["-d", "--name", "idle"], "sleep 60").go().succeeds();
    let mut wardens = Vec::new();
    eventually(5, || {
        wardens = wardens_of(&world);
        wardens.len() == 2 && wardens.iter().sum::<u64>() <= 2048
    });
    assert_eq!(wardens.len(), 2, "one warden and its guard for a container: {wardens:?}");
    let sum: u64 = wardens.iter().sum();
    assert!(sum <= 2048, "{wardens:?} KiB");
}

/// The resident memory, in KiB, of every donjon of this world. What is private is less: how much less hangs on which
/// other donjons run at the moment, so a test that asked for it could pass by its neighbours.
fn wardens_of(world: &World) -> Vec<u64> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("/proc").flatten() {
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        let image = fs::read_link(entry.path().join("exe")).unwrap_or_default();
        if !String::from_utf8_lossy(&environment).contains(&world.token()) || !image.ends_with("donjon") {
            continue;
        }
        let rollup = fs::read_to_string(entry.path().join("smaps_rollup")).unwrap_or_default();
        let resident = rollup.lines().filter(|l| l.starts_with("Rss:"));
        found.push(resident.filter_map(|l| l.split_whitespace().nth(1)?.parse::<u64>().ok()).sum());
    }
    found
}
