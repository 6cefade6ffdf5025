//! Root outside is no root inside.

use std::fs;
use std::os::unix::fs::MetadataExt;

use donjon_tests::{World, eventually};

/// The host's view of the process whose arguments hold this.
fn uid_on_the_host(marker: &str) -> Option<u32> {
    for entry in fs::read_dir("/proc").ok()?.flatten() {
        let arguments = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        let text = String::from_utf8_lossy(&arguments).into_owned();
        if text.starts_with("sleep") && String::from_utf8_lossy(&environment).contains(marker) {
            return entry.metadata().ok().map(|m| m.uid());
        }
    }
    None
}

#[test]
fn root_inside_is_an_unused_id_outside() {
    let world = World::root();
    let marker = format!("WORLD={}", world.token());
    world.donjon(&["run", "-d", "--name", "a", "-e", &marker, &world.image(), "sleep", "60"]).go().succeeds();
    let mut uid = None;
    assert!(
        eventually(5, || {
            uid = uid_on_the_host(&marker);
            uid.is_some_and(|u| u != 0)
        }),
        "the program runs as {uid:?} on the host"
    );
    assert!(uid.is_some_and(|u| u >= 65536), "{uid:?}");
    world.donjon(&["exec", "a", "id", "-u"]).go().prints("0");
    world.donjon(&["rm", "-f", "a"]).go().succeeds();
    world.assert_nothing_left("a run by root");
}

#[test]
fn two_containers_of_root_get_different_ids() {
    let world = World::root();
    let (one, two) = (format!("WORLD={}-one", world.token()), format!("WORLD={}-two", world.token()));
    world.donjon(&["run", "-d", "--name", "a", "-e", &one, &world.image(), "sleep", "60"]).go().succeeds();
    world.donjon(&["run", "-d", "--name", "b", "-e", &two, &world.image(), "sleep", "60"]).go().succeeds();
    assert!(eventually(5, || uid_on_the_host(&one).is_some() && uid_on_the_host(&two).is_some()));
    assert_ne!(uid_on_the_host(&one), uid_on_the_host(&two));
    world.donjon(&["rm", "-f", "a", "b"]).go().succeeds();
}

#[test]
fn a_bind_mount_keeps_the_callers_ids_through_the_map() {
    let world = World::root();
    let work = world.path("work");
    world
        .shell(
            &["--rm", "--rw", &format!("{work}:/data")],
            "touch /data/made; chown 7:8 /data/made; stat -c %u:%g /data/made /data",
        )
        .go()
        .succeeds()
        .prints("7:8\n0:0");
    let made = fs::metadata(world.path("work/made")).expect("made");
    assert_eq!((made.uid(), made.gid()), (7, 8));
}

#[test]
fn the_image_is_shown_with_its_own_owners() {
    let world = World::root();
    world
        .shell(&["--rm"], "stat -c %u:%g /bin/busybox; touch /bin/x && echo wrote")
        .go()
        .succeeds()
        .prints("0:0\nwrote");
}

#[test]
fn users_and_groups_really_change() {
    let world = World::root();
    world
        .shell(&["--rm"], "su guest -c 'id -u; touch /tmp/x; stat -c %u /tmp/x'")
        .go()
        .succeeds()
        .prints("1000\n1000");
    world
        .shell(&["--rm", "-u", "1000:1000"], "id -u; cat /etc/shadow 2>&1; touch /etc/x")
        .go()
        .fails_inside();
}

#[test]
fn a_setuid_program_of_the_image_is_inert() {
    use std::os::unix::fs::PermissionsExt;
    let world = World::root();
    let root = world.own_root();
    let setuid = root.path().join("bin/attacker");
    fs::set_permissions(&setuid, fs::Permissions::from_mode(0o4755)).expect("a mode");
    let image = root.image();
    let run = || world.donjon(&["run", "--rm", "-u", "1000", &image, "/bin/attacker", "euid"]);
    run().go().succeeds().prints("1000");
    run().hooked().go().succeeds().prints("1000");
    // Either of the two is enough.
    run().without("nosuid,verify").go().prints("1000");
    run().without("no_new_privs,seccomp,landlock").go().prints("1000");
    let open = world
        .donjon(&["run", "--rm", "-u", "1000", &image, "/bin/attacker", "euid"])
        .without("nosuid,no_new_privs,seccomp,landlock,capabilities,verify")
        .go();
    assert_eq!(open.stdout.trim(), "0", "the attack can't tell: {open:?}");
}

#[test]
fn devices_of_the_host_can_not_be_made_or_opened() {
    let world = World::root();
    world
        .shell(&["--rm"], "mknod /tmp/disk b 254 0 && head -c 1 /tmp/disk && echo got")
        .go()
        .never_says("got\n");
    world
        .shell(&["--rm", "--cap-add", "MKNOD"], "mknod /tmp/disk b 254 0 && head -c 1 /tmp/disk && echo got")
        .go()
        .never_says("got\n");
}

#[test]
fn every_wall_of_the_ordinary_user_stands_for_root_too() {
    let world = World::root();
    let run = world.donjon(&["run", "--rm", &world.image(), "cat", "/proc/self/status"]).go();
    assert_eq!(run.field("NoNewPrivs"), "1");
    assert_eq!(run.field("Seccomp"), "2");
    for attack in [
        &["userns", "unshare"][..],
        &["mount-tmpfs", "/mnt"],
        &["open-by-handle"],
        &["open-write", "/proc/sysrq-trigger"],
        &["open-write", "/proc/sys/kernel/core_pattern"],
        &["syscall", "425", "1", "0"],
    ] {
        world.attack(&["--rm"], attack).go().exits(1).says("refused");
    }
    world.attack(&["--rm"], &["families"]).go().prints("1 2 10 16");
    world.attack(&["--rm"], &["fds"]).leaking("/", 9).go().never_says("9 /");
}

#[test]
fn what_is_refused_to_users_is_refused_to_root() {
    let world = World::root();
    for source in ["/", "/etc", "/proc", "/sys", "/root", "/root/.ssh", "/var/run/docker.sock"] {
        if std::path::Path::new(source).exists() {
            world
                .shell(&["--rm", "--rw", &format!("{source}:/data")], "echo ran")
                .go()
                .refused()
                .never_says("ran\n");
        }
    }
    world.shell(&["--privileged"], "echo ran").go().refused();
}

#[test]
fn the_host_image_works_for_root() {
    let world = World::root();
    let run = world
        .donjon(&[
            "run",
            "--rm",
            "host",
            "--",
            "sh",
            "-c",
            "ls -A /home; ls -A /root; touch /usr/x && echo wrote; cat /etc/shadow",
        ])
        .go();
    run.says("wrote").never_says("root:").never_says(".ssh");
    assert!(!std::path::Path::new("/usr/x").exists());
}

#[test]
fn id_ranges_survive_a_killed_donjon() {
    let world = World::root();
    for _ in 0..20 {
        let run = world.shell(&["--rm"], "sleep 300").spawn();
        std::thread::sleep(std::time::Duration::from_millis(4));
        run.signal(libc::SIGKILL);
        run.finish(10);
    }
    world.shell(&["--rm"], "echo ran").go().succeeds().prints("ran");
}

#[test]
fn an_ordinary_user_gets_a_range_through_newuidmap() {
    let world = World::ordinary();
    let run = world
        .shell(
            &["--rm", "--userns", "range"],
            "id -u; touch /tmp/f && chown 1000:1000 /tmp/f && stat -c %u:%g /tmp/f",
        )
        .go();
    run.succeeds().prints("0\n1000:1000");
    world.shell(&["--rm", "--userns", "range"], "su guest -c 'id -u'").go().succeeds().prints("1000");
    world.assert_nothing_left("a range of ids");
}
