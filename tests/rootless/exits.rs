//! Exit statuses: the program's own, 125, 126, 127, 128+n.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use donjon_tests::World;

#[test]
fn a_program_that_succeeds_ends_with_0() {
    let world = World::ordinary();
    world.donjon(&["run", "--rm", &world.image(), "/bin/true"]).go().succeeds().prints("");
}

#[test]
fn the_programs_own_status_is_donjons() {
    let world = World::ordinary();
    for status in [1, 2, 42, 124, 255] {
        world.shell(&["--rm"], &format!("exit {status}")).go().exits(status);
    }
}

#[test]
fn a_program_killed_by_signal_n_ends_with_128_plus_n() {
    let world = World::ordinary();
    // Pid 1 of a pid namespace ignores signals of its own, so a child of it is killed where pid 1 can't be.
    world.shell(&["--rm", "--init"], "kill -9 $$").go().exits(137);
    world.shell(&["--rm", "--init"], "kill -15 $$").go().exits(143);
}

#[test]
fn a_missing_program_ends_with_127_and_is_named() {
    let world = World::ordinary();
    world
        .donjon(&["run", "--rm", &world.image(), "no-such-program"])
        .go()
        .exits(127)
        .complains("no-such-program");
    world.donjon(&["run", "--rm", &world.image(), "/no/such"]).go().exits(127).complains("/no/such");
    world.assert_nothing_left("a program that was not found");
}

#[test]
fn a_directory_as_program_ends_with_126() {
    let world = World::ordinary();
    world.donjon(&["run", "--rm", &world.image(), "/bin"]).go().exits(126).complains("/bin");
}

#[test]
fn a_file_without_the_execute_bit_ends_with_126() {
    let world = World::ordinary();
    world.donjon(&["run", "--rm", &world.image(), "/bin/unfit"]).go().exits(126).complains("/bin/unfit");
}

#[test]
fn a_file_of_no_known_format_ends_with_126() {
    let world = World::ordinary();
    world.donjon(&["run", "--rm", &world.image(), "/bin/garbage"]).go().exits(126).complains("/bin/garbage");
}

#[test]
fn a_script_runs() {
    let world = World::ordinary();
    world.donjon(&["run", "--rm", &world.image(), "script", "a", "b"]).go().succeeds().prints("ran a b");
}

#[test]
fn a_script_whose_interpreter_is_missing_ends_with_126_and_says_interpreter() {
    let world = World::ordinary();
    let run = world.donjon(&["run", "--rm", &world.image(), "/bin/orphan"]).go();
    run.exits(126).complains("interpreter");
}

#[test]
fn a_missing_root_directory_ends_with_125_and_is_named() {
    let world = World::ordinary();
    world.donjon(&["run", "--rm", "dir:/no/such/root", "true"]).go().refused().complains("/no/such/root");
    world.assert_nothing_left("a root that does not exist");
}

#[test]
fn a_file_as_root_directory_ends_with_125() {
    let world = World::ordinary();
    world.donjon(&["run", "--rm", "dir:/etc/passwd", "true"]).go().refused().complains("/etc/passwd");
    world.assert_nothing_left("a root that is a file");
}

#[test]
fn an_unreadable_root_directory_ends_with_125() {
    let world = World::ordinary();
    let closed = world.dir("closed");
    fs::create_dir(closed.join("root")).expect("a root");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).expect("a mode");
    let image = format!("dir:{}", closed.join("root").display());
    world.donjon(&["run", "--rm", &image, "true"]).go().refused().complains("closed/root");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o755)).expect("a mode");
    world.assert_nothing_left("a root that can't be read");
}

#[test]
fn a_root_directory_that_loops_ends_with_125() {
    let world = World::ordinary();
    let (a, b) = (world.path("a"), world.path("b"));
    std::os::unix::fs::symlink(&b, &a).expect("a link");
    std::os::unix::fs::symlink(&a, &b).expect("a link");
    world.donjon(&["run", "--rm", &format!("dir:{a}"), "true"]).go().refused().complains("/a");
    world.assert_nothing_left("a root that loops");
}

#[test]
fn a_root_whose_program_path_loops_ends_with_127_or_126() {
    let world = World::ordinary();
    let root = world.own_root();
    root.link("bin/loop", "loop").link("up", "down").link("down", "up");
    for program in ["/bin/loop", "/up/sh"] {
        let run = world.donjon(&["run", "--rm", &root.image(), program]).go();
        assert!([126, 127].contains(&run.code()), "{run:?}");
        run.complains(program);
    }
}

#[test]
fn an_unknown_image_transport_ends_with_125_and_names_those_known() {
    let world = World::ordinary();
    world.donjon(&["run", "--rm", "floppy:disk", "true"]).go().refused().complains("dir:").complains("host");
}
