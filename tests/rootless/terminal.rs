//! `-t`: the container's own terminal.

use donjon_tests::{Terminal, World};

#[test]
fn t_gives_a_terminal_of_the_containers_own() {
    let world = World::ordinary();
    let image = world.image();
    let run = Terminal::new(24, 80).run(world.donjon(&[
        "run",
        "--rm",
        "-it",
        &image,
        "sh",
        "-c",
        "tty; test -t 0 && test -t 1 && echo both",
    ]));
    let (code, screen, _) = run.finish();
    assert_eq!(code, 0, "{screen}");
    assert!(screen.contains("/dev/pts/") && screen.contains("both"), "{screen}");
}

#[test]
fn what_is_typed_arrives_and_what_is_written_is_seen() {
    let world = World::ordinary();
    let image = world.image();
    let mut run = Terminal::new(24, 80).run(world.donjon(&[
        "run",
        "--rm",
        "-it",
        &image,
        "sh",
        "-c",
        "echo ready; read line; echo got:$line",
    ]));
    run.wait_for("ready");
    run.type_in("words\n");
    run.wait_for("got:words");
    let (code, screen, _) = run.finish();
    assert_eq!(code, 0, "{screen}");
}

#[test]
fn the_windows_size_is_passed_on_and_followed() {
    let world = World::ordinary();
    let image = world.image();
    let mut run = Terminal::new(37, 111).run(world.donjon(&[
        "run",
        "--rm",
        "-it",
        &image,
        "sh",
        "-c",
        "attacker window; read x; attacker window",
    ]));
    run.wait_for("37 111");
    run.terminal().resize(20, 50);
    run.signal(libc::SIGWINCH);
    std::thread::sleep(std::time::Duration::from_millis(300));
    run.type_in("\n");
    run.wait_for("20 50");
    run.finish();
}

#[test]
fn ctrl_c_interrupts_the_program_and_not_donjon() {
    let world = World::ordinary();
    let image = world.image();
    let script = "trap 'echo interrupted; exit 5' INT; echo ready; while :; do sleep 0.1; done";
    let mut run =
        Terminal::new(24, 80).run(world.donjon(&["run", "--rm", "-it", &image, "sh", "-c", script]));
    run.wait_for("ready");
    run.type_in("\x03");
    let (code, screen, _) = run.finish();
    assert_eq!(code, 5, "{screen}");
    assert!(screen.contains("interrupted"), "{screen}");
    world.assert_nothing_left("Ctrl-C on a terminal");
}

#[test]
fn ctrl_c_without_t_ends_the_program_too() {
    let world = World::ordinary();
    let image = world.image();
    let script = "trap 'echo interrupted; exit 5' INT; echo ready; while :; do sleep 0.1; done";
    let mut run = Terminal::new(24, 80).run(world.donjon(&["run", "--rm", &image, "sh", "-c", script]));
    run.wait_for("ready");
    run.type_in("\x03");
    let (code, screen, _) = run.finish();
    assert_eq!(code, 5, "{screen}");
    world.assert_nothing_left("Ctrl-C without a terminal");
}

#[test]
fn the_callers_terminal_is_restored() {
    let world = World::ordinary();
    let image = world.image();
    for script in ["true", "exit 3", "kill -9 $$", "stty raw -echo"] {
        let terminal = Terminal::new(24, 80);
        let before = terminal.settings();
        let run = terminal.run(world.donjon(&["run", "--rm", "-it", &image, "sh", "-c", script]));
        let (_, screen, terminal) = run.finish();
        assert_eq!(terminal.settings(), before, "after {script}: {screen}");
    }
}

#[test]
fn the_callers_terminal_is_restored_when_donjon_is_told_to_end() {
    let world = World::ordinary();
    let image = world.image();
    let terminal = Terminal::new(24, 80);
    let before = terminal.settings();
    let mut run = terminal
        .run(world.donjon(&["run", "--rm", "-it", "--init", &image, "sh", "-c", "echo ready; sleep 30"]));
    run.wait_for("ready");
    run.signal(libc::SIGTERM);
    let (_, screen, terminal) = run.finish();
    assert_eq!(terminal.settings(), before, "{screen}");
}

#[test]
fn t_without_a_terminal_outside_still_gives_one_inside() {
    let world = World::ordinary();
    world.shell(&["--rm", "-t"], "test -t 1 && echo terminal").go().succeeds().says("terminal");
}

#[test]
fn exec_gets_a_terminal_as_well() {
    let world = World::ordinary();
    world.shell(&["-d", "--name", "house"], "sleep 60").go().succeeds();
    let run = Terminal::new(30, 90)
        .run(world.donjon(&["exec", "-it", "house", "sh", "-c", "tty; attacker window"]));
    let (code, screen, _) = run.finish();
    assert_eq!(code, 0, "{screen}");
    assert!(screen.contains("/dev/pts/") && screen.contains("30 90"), "{screen}");
    world.donjon(&["rm", "-f", "house"]).go().succeeds();
}
