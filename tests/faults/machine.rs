//! A machine that refuses: full disk, no memory, no user namespaces, no descriptors, no runtime directory.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use donjon_tests::World;

/// Runs donjon through a shell that first takes something away; as the world's user.
fn through(world: &World, prelude: &str, arguments: &[&str]) -> (i32, String) {
    let mut command = Command::new("timeout");
    command.args(["20", "setpriv"]);
    // SAFETY: geteuid takes nothing and can't fail.
    if unsafe { libc::geteuid() } == 0 {
        command.args([
            &format!("--reuid={}", world.uid()),
            &format!("--regid={}", world.gid()),
            "--clear-groups",
        ]);
    } else {
        command.arg("--no-new-privs");
    }
    command.args(["sh", "-c", &format!("{prelude}; exec \"$0\" \"$@\"")]);
    command.arg(std::env::var("DONJON_TEST_BINARY").expect("run with cargo xtask test")).args(arguments);
    let out = command
        .env_clear()
        .envs(world.environment())
        .current_dir(world.path("work"))
        .output()
        .expect("a shell");
    let text = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    (out.status.code().unwrap_or(-1), text)
}

#[test]
fn without_user_namespaces_the_error_says_so_and_what_to_do() {
    let world = World::ordinary();
    // A user namespace in which no further one may be made: what a distribution's restriction looks like.
    let out = Command::new("unshare")
        .args([
            "--user",
            "--map-root-user",
            "sh",
            "-c",
            "echo 0 > /proc/sys/user/max_user_namespaces; exec \"$0\" \"$@\"",
        ])
        .arg(std::env::var("DONJON_TEST_BINARY").expect("run with cargo xtask test"))
        .args(["run", "--rm", &world.image(), "echo", "ran"])
        .env_clear()
        .envs(world.environment())
        .env("XDG_RUNTIME_DIR", run_dir_of_the_caller(&world))
        .output()
        .expect("unshare");
    let told = String::from_utf8_lossy(&out.stderr).to_lowercase();
    assert_eq!(out.status.code(), Some(125), "{told}");
    assert!(told.contains("namespace"), "{told}");
    assert!(told.contains("max_user_namespaces") || told.contains("doctor"), "no word of what to do: {told}");
    assert!(!String::from_utf8_lossy(&out.stdout).contains("ran"));
}

/// The runtime directory of whoever runs the tests, since `unshare --map-root-user` is run by that user.
fn run_dir_of_the_caller(world: &World) -> String {
    let dir = world.dir("caller");
    // SAFETY: geteuid and getegid take nothing and can't fail.
    let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
    std::os::unix::fs::chown(&dir, Some(uid), Some(gid)).expect("a directory");
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).expect("a mode");
    dir.to_string_lossy().into_owned()
}

#[test]
fn a_full_runtime_directory_is_an_error_that_names_it() {
    // RLIMIT_FSIZE of 0 refuses every write to a file, as a full disk does.
    let world = World::ordinary();
    let image = world.image();
    let (code, text) = through(&world, "trap '' XFSZ; ulimit -f 0", &["run", "--rm", &image, "echo", "ran"]);
    assert_eq!(code, 125, "{text}");
    assert!(text.contains("donjon") && !text.contains("panicked"), "{text}");
    world.assert_nothing_left("a full disk");
}

#[test]
fn a_runtime_directory_that_can_not_be_written_is_an_error_that_names_it() {
    let world = World::ordinary();
    fs::set_permissions(world.path("run"), fs::Permissions::from_mode(0o500)).expect("a mode");
    let run = world.shell(&["--rm"], "echo ran").go();
    // Root writes everywhere; the world's user is not root.
    run.refused().complains("run").never_says("ran\n");
    fs::set_permissions(world.path("run"), fs::Permissions::from_mode(0o700)).expect("a mode");
    world.assert_nothing_left("a runtime directory that can't be written");
}

#[test]
fn without_memory_donjon_fails_and_leaves_nothing() {
    let world = World::ordinary();
    let image = world.image();
    for kilobytes in [800, 1200, 1600, 2000, 2500, 3000, 4000, 6000, 9000] {
        let (code, text) =
            through(&world, &format!("ulimit -v {kilobytes}"), &["run", "--rm", &image, "/bin/true"]);
        // -1: not even the program could be mapped, and the kernel ended it at its exec.
        let known = [0, 125, 126, 127].contains(&code) || code >= 128 || (code == -1 && text.is_empty());
        assert!(known, "{kilobytes} KiB: {code}: {text}");
        world.assert_nothing_left(&format!("a start in {kilobytes} KiB"));
    }
}

#[test]
fn without_descriptors_donjon_fails_and_leaves_nothing() {
    let world = World::ordinary();
    let image = world.image();
    for most in [3, 4, 5, 6, 8, 10, 12, 14, 16, 20, 24] {
        let (code, text) =
            through(&world, &format!("ulimit -n {most}"), &["run", "--rm", &image, "echo", "ran"]);
        if code == 0 {
            assert!(text.contains("ran"), "{most} descriptors: {text}");
        } else {
            assert!([125, 126, 127].contains(&code), "{most} descriptors: {code}: {text}");
            assert!(!text.contains("panicked") && !text.trim().is_empty(), "{most} descriptors: {text}");
        }
        world.assert_nothing_left(&format!("a start with {most} descriptors"));
    }
}

#[test]
fn without_processes_donjon_fails_and_leaves_nothing() {
    let world = World::ordinary();
    let image = world.image();
    let (code, text) = through(&world, "ulimit -u 1", &["run", "--rm", &image, "echo", "ran"]);
    if code != 0 {
        assert_eq!(code, 125, "{text}");
        assert!(!text.contains("panicked") && !text.trim().is_empty(), "{text}");
    }
    world.assert_nothing_left("a start without processes");
}

#[test]
fn closed_standard_streams_do_no_harm() {
    let world = World::ordinary();
    let image = world.image();
    for closed in ["exec <&-", "exec >&-", "exec 2>&-", "exec <&- >&- 2>&-"] {
        let (code, _) = through(&world, closed, &["run", "--rm", &image, "/bin/true"]);
        assert!([0, 125].contains(&code), "{closed}: {code}");
        world.assert_nothing_left(closed);
    }
    let (_, text) = through(&world, "exec <&- >&-", &["run", "--rm", &image, "/bin/attacker", "fds"]);
    assert!(!text.contains("run/donjon"), "{text}");
}

#[test]
fn output_that_nobody_reads_ends_the_container() {
    let world = World::ordinary();
    let image = world.image();
    let mut command = Command::new("timeout");
    // SAFETY: geteuid takes nothing and can't fail.
    let root = unsafe { libc::geteuid() } == 0;
    command.args(["20", "setpriv"]);
    if root {
        command.args([
            &format!("--reuid={}", world.uid()),
            &format!("--regid={}", world.gid()),
            "--clear-groups",
        ]);
    } else {
        command.arg("--no-new-privs");
    }
    let script = "\"$0\" run --rm \"$1\" yes | head -n 1";
    command
        .args(["sh", "-c", script])
        .arg(std::env::var("DONJON_TEST_BINARY").expect("run with cargo xtask test"))
        .arg(&image);
    let out = command
        .env_clear()
        .envs(world.environment())
        .current_dir(world.path("work"))
        .output()
        .expect("a shell");
    assert!(out.status.success(), "{out:?}");
    world.assert_nothing_left("a closed pipe");
}
