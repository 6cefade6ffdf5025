//! `donjon setup` by root.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};

use donjon_tests::World;

#[test]
fn roots_engine_is_not_told_to_start_what_a_user_owns() {
    let world = World::root();
    let told = |name: &str| std::env::var(name).expect("run these tests with `cargo xtask test`");
    let ids = told("DONJON_TEST_USER");
    let user = ids.split_once(':').and_then(|(uid, _)| uid.parse().ok());
    let program = world.dir("bin").join("donjon");
    fs::copy(told("DONJON_TEST_BINARY"), &program).expect("donjon");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("its mode");
    let file = world.file("daemon.json", "{}\n").to_string_lossy().into_owned();
    let path = program.to_string_lossy().into_owned();
    let setup = || world.donjon(&["setup", "docker", "--apply", "--path", &path, "--file", &file]).go();

    for theirs in [program.as_path(), &world.dir("bin")] {
        chown(theirs, user, None).expect("another owner");
        setup().refused().complains("who could replace it");
        chown(theirs, Some(0), None).expect("root's again");
    }
    let theirs = world.path("daemon.json");
    chown(&theirs, user, None).expect("another owner");
    setup().refused().complains("daemon.json belongs to user");
    chown(&theirs, Some(0), None).expect("root's again");
    assert_eq!(world.read("daemon.json"), "{}\n");
    setup().succeeds().says("next: systemctl reload docker");
    assert!(world.read("daemon.json").contains(&path));
}
