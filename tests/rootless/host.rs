//! The image `host`: the programs of this machine, none of its data.

use donjon_tests::World;

#[test]
fn inside_host_the_caller_is_itself() {
    let world = World::ordinary();
    let run = world.donjon(&["run", "--rm", "host", "--", "sh", "-c", "id -u; id -g; id -un"]).go();
    run.succeeds();
    let lines: Vec<&str> = run.stdout.lines().collect();
    assert_eq!(lines[0], world.uid().to_string(), "{run:?}");
    assert_eq!(lines[1], world.gid().to_string(), "{run:?}");
    let outside =
        std::process::Command::new("id").args(["-un", &world.uid().to_string()]).output().expect("id");
    assert_eq!(lines[2], String::from_utf8_lossy(&outside.stdout).trim(), "{run:?}");
}

#[test]
fn no_home_directory_of_the_machine_is_there() {
    let world = World::ordinary();
    world
        .donjon(&[
            "run",
            "--rm",
            "host",
            "--",
            "sh",
            "-c",
            "find /home /root /srv /mnt -mindepth 1 ! -path \"$HOME\"",
        ])
        .go()
        .prints("");
    world
        .donjon(&["run", "--rm", "host", "find", "/root", "/var", "/run", "!", "-type", "d"])
        .go()
        .prints("");
}

#[test]
fn the_tests_own_directory_in_tmp_is_not_there() {
    let world = World::ordinary();
    world.donjon(&["run", "--rm", "host", "ls", "-A", "/tmp"]).go().succeeds().prints("");
}

#[test]
fn a_write_to_usr_works_and_vanishes() {
    let world = World::ordinary();
    world
        .donjon(&["run", "--rm", "host", "--", "sh", "-c", "touch /usr/x && echo wrote; ls /usr"])
        .go()
        .says("wrote")
        .says("\nx\n");
    world.donjon(&["run", "--rm", "host", "ls", "/usr/x"]).go().fails_inside();
    assert!(!std::path::Path::new("/usr/x").exists(), "the host's /usr was written");
}

#[test]
fn credentials_of_the_machine_are_absent() {
    let world = World::ordinary();
    let script = "cat /etc/shadow; cat /etc/gshadow; ls /etc/ssl/private; cat /etc/sudoers; ls /etc/ssh; cat /etc/machine-id";
    let run = world.donjon(&["run", "--rm", "host", "--", "sh", "-c", script]).go();
    run.fails_inside().never_says("root:").never_says("_host_");
    assert_eq!(run.stdout.trim(), "", "{run:?}");
}

#[test]
fn programs_of_the_machine_run() {
    let world = World::ordinary();
    world.donjon(&["run", "--rm", "host", "perl", "-e", "print 6*7"]).go().succeeds().prints("42");
    world
        .donjon(&["run", "--rm", "host", "sh", "-c", "echo text | sed s/t/T/ | sort"])
        .go()
        .succeeds()
        .prints("Text");
}

#[test]
fn a_directory_given_read_write_is_worked_in() {
    let world = World::ordinary();
    world.file("work/a", "from outside");
    world
        .donjon(&["run", "--rm", "--rw", ".", "host", "--", "sh", "-c", "cat a; echo inside > b"])
        .go()
        .succeeds()
        .prints("from outside");
    assert_eq!(world.read("work/b"), "inside\n");
    let meta = std::fs::metadata(world.path("work/b")).expect("b");
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&meta), world.uid());
}

#[test]
fn no_capability_is_held() {
    let world = World::ordinary();
    let run = world.donjon(&["run", "--rm", "host", "cat", "/proc/self/status"]).go();
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb", "CapBnd"] {
        assert_eq!(run.field(set), "0000000000000000", "{set}");
    }
}

#[test]
fn the_summary_says_what_was_refused_and_what_allows_it() {
    let world = World::ordinary();
    let run =
        world.donjon(&["run", "--rm", "host", "perl", "-e", "socket(S, 17, 3, 0) or print \"no: $!\""]).go();
    run.says("no:").complains("AF_PACKET").complains("socket");
}
