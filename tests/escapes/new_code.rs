//! `--integrity enforce`: code that was not in the image, brought in by every way that is known.

use donjon_tests::World;

use super::{held_by, held_by_each};

const ENFORCED: [&str; 3] = ["--rm", "--integrity", "enforce"];

/// Refused where integrity is enforced; where it is not, the code runs.
#[track_caller]
fn is_kept_out(way: &[&str], otherwise: &[&str]) {
    let world = World::ordinary();
    let attack = [&["new-code"], way].concat();
    world.attack(&ENFORCED, &attack).go().exits(1).says("refused");
    world.attack(&[&["--rm"], otherwise].concat(), &attack).go().exits(0);
}

#[test]
fn memory_that_was_written_does_not_become_code() {
    is_kept_out(&["anonymous"], &[]);
    is_kept_out(&["mprotect"], &[]);
    held_by(&World::ordinary(), &ENFORCED[1..], &["new-code", "mprotect"], "integrity");
    // The filter refuses the persona, and memory would not become code by it.
    held_by_each(&World::ordinary(), &ENFORCED[1..], &["new-code", "personality"], &["integrity", "seccomp"]);
}

#[test]
fn files_without_a_name_are_not_made() {
    is_kept_out(&["memfd"], &[]);
    is_kept_out(&["memfd-execve"], &[]);
}

#[test]
fn system_v_memory_is_not_attached_as_code() {
    is_kept_out(&["shm"], &[]);
}

#[test]
fn memory_is_not_written_as_a_file() {
    is_kept_out(&["self-mem"], &[]);
}

#[test]
fn nobody_is_traced_even_where_tracing_is_allowed() {
    is_kept_out(&["ptrace"], &["--syscall", "ptrace"]);
    let world = World::ordinary();
    // Asking for both is a contradiction, told before anything starts.
    let both = [&ENFORCED[..], &["--syscall", "ptrace"]].concat();
    world.attack(&both, &["new-code", "ptrace"]).go().exits(125).complains("ptrace").complains("integrity");
}

#[test]
fn what_was_written_to_a_file_is_neither_mapped_nor_executed() {
    for directory in ["/tmp", "/run", "/var/tmp"] {
        is_kept_out(&["file", directory], &[]);
        is_kept_out(&["execve", directory], &[]);
    }
    is_kept_out(&["file", "/dev/shm"], &["--tmpfs", "/dev/shm:exec"]);
}

#[test]
fn nothing_of_a_shared_directory_becomes_code() {
    let world = World::ordinary();
    let shared = world.path("work");
    let mount = format!("{shared}:/shared");
    for way in ["file", "execve"] {
        let attack = ["new-code", way, "/shared"];
        world.attack(&[&ENFORCED[..], &["--rw", &mount]].concat(), &attack).go().exits(1).says("refused");
        world.attack(&["--rm", "--rw", &mount], &attack).go().exits(0);
    }
    // What somebody outside puts there is not the image's either.
    let program = format!("{shared}/program");
    let attacker = std::path::Path::new(world.image().trim_start_matches("dir:")).join("bin/attacker");
    std::fs::copy(attacker, &program).expect("a program from outside");
    for how in ["--ro", "--rw"] {
        world.shell(&[&ENFORCED[..], &[how, &mount]].concat(), "/shared/program euid").go().exits(126);
    }
    world.shell(&["--rm", "--ro", &mount], "/shared/program euid").go().succeeds();
}

#[test]
fn the_standard_streams_are_no_code() {
    let world = World::ordinary();
    let file = world.file("code", "\u{b8}");
    let path = file.to_str().expect("UTF-8");
    let mapped = ["new-code", "mapped", "/proc/self/fd/0"];
    let interactive = [&ENFORCED[..], &["-i"]].concat();
    let run = world.attack(&interactive, &mapped).leaking(path, 0).go();
    run.exits(125).complains("standard input").complains("pipe it");
    // The same bytes through a pipe are data.
    world.shell(&interactive, "cat").stdin("hello").go().prints("hello");
    let output = world.path("work/output");
    let reopened = ["new-code", "reopened-output"];
    world.attack(&ENFORCED, &reopened).output_to(&output).go().exits(1);
    world.attack(&ENFORCED, &reopened).without("landlock").output_to(&output).go().exits(0);
}

#[test]
fn a_loader_of_the_root_takes_no_file_that_was_written() {
    // The machine's own programs, dynamically linked.
    let world = World::ordinary();
    let script = "set -- /lib64/ld-linux-*.so.* /lib/ld-linux-*.so.*; for loader; do test -e $loader && break; done; \
                  cp /usr/bin/true /tmp/program; $loader /tmp/program && echo ran; $loader /usr/bin/true && echo own";
    let run = |options: &[&str]| {
        world.donjon(&[&["run"], options, &["host", "--", "sh", "-c", script]].concat()).go()
    };
    run(&ENFORCED).prints("own");
    run(&["--rm"]).prints("ran\nown");
}

#[test]
fn nothing_of_the_root_is_written_and_programs_run() {
    let world = World::ordinary();
    world.shell(&ENFORCED, "touch /bin/x").go().fails_inside().complains("Read-only file system");
    world.shell(&ENFORCED, "echo a | cat; echo b >/tmp/b && cat /tmp/b").go().prints("a\nb");
    // A further process is held as the first.
    world.shell(&[&ENFORCED[..], &["-d", "--name", "a"]].concat(), "sleep 60").go().succeeds();
    world.donjon(&["exec", "a", "/bin/attacker", "new-code", "memfd"]).go().exits(1).says("refused");
    world.donjon(&["exec", "a", "/bin/attacker", "new-code", "mprotect"]).go().exits(1).says("refused");
    world.donjon(&["rm", "-f", "a"]).go().succeeds();
}

#[test]
fn what_contradicts_integrity_is_refused_before_anything_starts() {
    let world = World::ordinary();
    for (options, told) in [
        (&["--tmpfs", "/x:exec"][..], "/x"),
        (&["--best-effort", "landlock"], "landlock"),
        (&["--syscall", "memfd_create"], "memfd_create"),
        (&["--security-opt", "unmask=/proc"], "/proc"),
    ] {
        world
            .shell(&[&ENFORCED[..], options].concat(), "true")
            .go()
            .exits(125)
            .complains(told)
            .complains("integrity");
    }
    world.shell(&["--rm", "--integrity", "measure"], "true").go().exits(125).complains("measure");
    world.shell(&["--rm", "--integrity", "x"], "true").go().exits(125).complains("off, measure, enforce");
    world.assert_nothing_left("what was refused");
}
