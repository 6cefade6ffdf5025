//! R2, R3, R5, R7: roots full of symbolic links, and mounts that must land where they were meant to.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use donjon_tests::World;

/// A directory of the host's that must stay as it is, with one file in it.
pub(crate) fn treasure(world: &World) -> String {
    world.dir("treasure");
    world.file("treasure/crown", "gold");
    world.path("treasure")
}

/// Nothing was added to the treasure, nothing changed.
#[track_caller]
pub(crate) fn assert_untouched(world: &World) {
    assert_eq!(world.names("treasure"), ["crown"]);
    assert_eq!(world.read("treasure/crown"), "gold");
}

/// Runs a program in the root; whatever happens, the host is untouched and the treasure is not seen.
#[track_caller]
fn harmless(world: &World, image: &str, options: &[&str]) {
    let mut arguments = vec!["run", "--rm"];
    arguments.extend_from_slice(options);
    let script = "ls -A / /proc/self /dev /etc /tmp 2>&1; cat /crown /tmp/crown /etc/crown /dev/crown /job/crown 2>&1; touch /tmp/x /etc/x /dev/x 2>/dev/null; pwd";
    arguments.extend_from_slice(&[image, "--", "/bin/sh", "-c", script]);
    let run = world.donjon(&arguments).go();
    run.never_says("gold").never_says("panicked");
    if ![0, 1].contains(&run.code()) {
        run.refused();
    }
    assert_untouched(world);
}

/// Ends the attacking thread when dropped.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn r2_every_place_that_donjon_fills_may_be_a_link_and_the_host_stays_as_it_is() {
    let world = World::ordinary();
    let treasure = treasure(&world);
    let up = format!("../../../../../../../../../..{treasure}");
    for place in [
        "proc", "sys", "dev", "etc", "tmp", "run", "dev/pts", "dev/shm", "dev/null", "dev/console",
        "dev/mqueue", "var", "etc/hosts", "etc/hostname", "etc/resolv.conf",
    ] {
        for target in [
            treasure.as_str(),
            up.as_str(),
            "/",
            "..",
            "/proc/self/cwd",
            "/proc/1/root",
            "loop",
            &format!("{treasure}/crown"),
        ] {
            let root = world.own_root();
            root.link(place, if target == "loop" { place } else { target });
            harmless(&world, &root.image(), &[]);
            let _ = fs::remove_dir_all(root.path());
        }
    }
    world.assert_nothing_left("hostile roots");
}

#[test]
fn r2_the_same_with_a_terminal_and_read_only() {
    let world = World::ordinary();
    let treasure = treasure(&world);
    for place in ["dev", "dev/console", "dev/null", "dev/pts", "dev/ptmx", "tmp", "run", "proc"] {
        for target in [treasure.as_str(), &format!("{treasure}/crown"), "/proc/self/fd/0"] {
            let root = world.own_root();
            root.link(place, target);
            harmless(&world, &root.image(), &["-t"]);
            harmless(&world, &root.image(), &["--read-only"]);
            let _ = fs::remove_dir_all(root.path());
        }
    }
    world.assert_nothing_left("hostile roots with a terminal");
}

#[test]
fn r2_the_working_directory_may_be_a_link_and_the_host_stays_as_it_is() {
    // CVE-2026-55686: mkdir and chown through a link in WORKDIR.
    let world = World::ordinary();
    let treasure = treasure(&world);
    let root = world.own_root();
    root.link("job", &treasure).link("deep", format!("../../../../../../../..{treasure}"));
    for cwd in ["/job", "/job/new", "/deep/new", "/proc/self/root/job", "/proc/1/root", "/proc/self/cwd"] {
        harmless(&world, &root.image(), &["-w", cwd]);
    }
}

#[test]
fn r2_a_mount_destination_may_be_a_link_and_the_mount_stays_inside() {
    let world = World::ordinary();
    let treasure = treasure(&world);
    world.file("work/mine", "mine");
    let work = world.path("work");
    let root = world.own_root();
    root.link("mnt/out", &treasure)
        .link("mnt/up", format!("../../../../../../../..{treasure}"))
        .link("mnt/file", format!("{treasure}/crown"));
    for destination in ["/mnt/out", "/mnt/out/new", "/mnt/up", "/mnt/up/a/b", "/mnt/file"] {
        harmless(&world, &root.image(), &["--rw", &format!("{work}:{destination}")]);
        harmless(&world, &root.image(), &["--tmpfs", destination]);
        harmless(&world, &root.image(), &["--ro", &format!("{work}/mine:{destination}")]);
    }
    world.assert_nothing_left("hostile destinations");
}

#[test]
fn r2_this_attack_works_where_paths_are_followed_naively() {
    // The proof that the tests above can tell: a directory is made on the host through the image's link.
    let world = World::ordinary();
    let treasure = treasure(&world);
    let root = world.own_root();
    root.link("mnt/out", &treasure);
    let image = root.image();
    let start = || world.donjon(&["run", "--rm", "--tmpfs", "/mnt/out/made", &image, "true"]);
    start().go();
    assert_untouched(&world);
    start().hooked().go();
    assert_untouched(&world);
    start().without("resolver").go();
    assert_eq!(world.names("treasure"), ["crown", "made"], "the attack can't tell");
}

#[test]
fn r2_a_link_in_a_shared_volume_leads_nowhere() {
    // CVE-2021-30465: another container changes the destination inside a volume that both have.
    let world = World::ordinary();
    let treasure = treasure(&world);
    let volume = world.dir("volume");
    std::os::unix::fs::symlink(&treasure, volume.join("sub")).expect("a link");
    let volume = world.path("volume");
    let work = world.path("work");
    let options = ["--rw", &format!("{volume}:/v"), "--rw", &format!("{work}:/v/sub")];
    harmless(&world, &world.image(), &options);
    harmless(&world, &world.image(), &["--rw", &format!("{volume}:/v"), "--tmpfs", "/v/sub/new"]);
}

#[test]
fn r3_a_destination_that_is_swapped_during_the_start_gains_nothing() {
    let world = World::ordinary();
    let treasure = treasure(&world);
    let volume = world.dir("volume");
    fs::create_dir(volume.join("a")).expect("a directory");
    std::os::unix::fs::symlink(&treasure, volume.join("b")).expect("a link");
    // SAFETY: chowning what the test made.
    std::os::unix::fs::lchown(volume.join("a"), Some(world.uid()), Some(world.gid())).expect("its owner");
    let over = AtomicBool::new(false);
    let over = &over;
    std::thread::scope(|scope| {
        // Also when an assertion fails: the attacker would go on for ever.
        let _end = Over(over);
        scope.spawn(|| {
            let (a, b) = (c_path(&volume.join("a")), c_path(&volume.join("b")));
            while !over.load(Ordering::Relaxed) {
                // SAFETY: two NUL-terminated paths; exchanges the directory and the link.
                unsafe {
                    libc::syscall(
                        libc::SYS_renameat2,
                        libc::AT_FDCWD,
                        a.as_ptr(),
                        libc::AT_FDCWD,
                        b.as_ptr(),
                        2,
                    );
                }
            }
        });
        let volume = world.path("volume");
        let work = world.path("work");
        for _ in 0..60 {
            let image = world.image();
            let run = world
                .donjon(&[
                    "run",
                    "--rm",
                    "--rw",
                    &format!("{volume}:/v"),
                    "--rw",
                    &format!("{work}:/v/a/x"),
                    &image,
                    "--",
                    "sh",
                    "-c",
                    "cat /v/a/crown /v/b/crown; true",
                ])
                .go();
            run.never_says("gold");
            assert_untouched(&world);
        }
    });
    world.assert_nothing_left("a race");
}

fn c_path(path: &std::path::Path) -> std::ffi::CString {
    std::ffi::CString::new(path.to_string_lossy().into_owned()).expect("no NUL")
}

#[test]
fn r3_a_source_that_is_swapped_during_the_start_is_not_followed() {
    let world = World::ordinary();
    let treasure = treasure(&world);
    let place = world.dir("place");
    fs::create_dir(place.join("a")).expect("a directory");
    std::os::unix::fs::symlink("/etc", place.join("b")).expect("a link");
    let over = AtomicBool::new(false);
    let over = &over;
    std::thread::scope(|scope| {
        // Also when an assertion fails: the attacker would go on for ever.
        let _end = Over(over);
        scope.spawn(|| {
            let (a, b) = (c_path(&place.join("a")), c_path(&place.join("b")));
            while !over.load(Ordering::Relaxed) {
                // SAFETY: two NUL-terminated paths; exchanges the directory and the link.
                unsafe {
                    libc::syscall(
                        libc::SYS_renameat2,
                        libc::AT_FDCWD,
                        a.as_ptr(),
                        libc::AT_FDCWD,
                        b.as_ptr(),
                        2,
                    );
                }
            }
        });
        let source = format!("{}/a:/data", place.display());
        let image = world.image();
        for _ in 0..60 {
            // /etc is refused as a source, by whatever name and at whatever moment.
            world
                .donjon(&["run", "--rm", "--ro", &source, &image, "ls", "/data/hostname", "/data/passwd"])
                .go()
                .never_says("/data/passwd\n");
        }
    });
    drop(treasure);
}

#[test]
fn r5_a_null_device_of_the_image_is_never_used() {
    // CVE-2025-31133, CVE-2026-88264: /dev/null of the image as mask or as standard input.
    let world = World::ordinary();
    let root = world.own_root();
    root.file("dev/null", "poison", 0o666)
        .file("dev/console", "poison", 0o666)
        .file("dev/zero", "poison", 0o666);
    let run = world
        .donjon(&[
            "run",
            "--rm",
            &root.image(),
            "--",
            "sh",
            "-c",
            "cat; cat /dev/null /proc/kcore 2>&1; stat -c %F /dev/null",
        ])
        .go();
    run.never_says("poison").says("character special file");
    let masked = world.donjon(&["run", "--rm", &root.image(), "--", "cat", "/proc/timer_list"]).go();
    assert!(masked.code() == 1 || masked.stdout.is_empty(), "{masked:?}");
}

#[test]
fn r5_this_attack_works_without_masks() {
    let world = World::ordinary();
    // Root inside may open the mask, which is empty; without it the machine's interrupts are counted.
    let image = world.image();
    let look = || world.donjon(&["run", "--rm", &image, "cat", "/proc/interrupts"]);
    for run in [look().go(), look().hooked().go()] {
        assert_eq!(run.stdout, "", "{run:?}");
    }
    look().without("masks").go().succeeds().says("CPU0");
}

#[test]
fn r7_a_read_only_root_is_read_only() {
    let world = World::ordinary();
    crate::held_by_each(&world, &["--read-only"], &["create", "/etc/x"], &["readonly-root", "landlock"]);
}

#[test]
fn r7_a_read_only_bind_mount_stays_so_whatever_the_root_says() {
    // CVE-2026-115521: the remount was looked up through the container's /proc.
    let world = World::ordinary();
    world.file("work/in", "content");
    let work = world.path("work");
    let option = format!("{work}:/data");
    for options in [&["--ro", option.as_str()][..], &["--ro", &option, "--read-only"]] {
        let mut all = vec!["--rm"];
        all.extend_from_slice(options);
        world.attack(&all, &["create", "/data/x"]).go().exits(1).prints("refused EROFS");
        world.attack(&all, &["open-write", "/data/in"]).go().exits(1);
    }
    assert_eq!(world.names("work"), ["in"]);
    world
        .attack(&["--rm", "--ro", &option], &["create", "/data/x"])
        .without("readonly-paths,landlock")
        .go()
        .exits(0);
}

#[test]
fn r7_read_only_paths_of_proc_stay_read_only() {
    let world = World::ordinary();
    let attack = ["open-write", "/proc/sys/net/ipv4/ip_unprivileged_port_start"];
    crate::held_by(&world, &[], &attack, "readonly-paths,landlock,capabilities");
}

#[test]
fn r7_nothing_can_be_mounted_or_remounted_inside() {
    let world = World::ordinary();
    crate::held_by_each(&world, &[], &["mount-tmpfs", "/mnt"], &["seccomp", "capabilities", "landlock"]);
    world
        .shell(
            &["--rm", "--read-only"],
            "mount -o remount,rw / || mount -o remount,rw,bind / || umount /proc",
        )
        .go()
        .fails_inside();
}

#[test]
fn r7_what_was_mounted_is_compared_with_the_plan() {
    // The comparison is a step of its own, and when it fails nothing runs.
    let world = World::ordinary();
    let plan = world.shell(&["--plan", "--format", "json"], "true").hooked().go().json();
    let steps = plan["steps"].as_array().expect("steps").clone();
    let found = steps.iter().position(|s| s["does"].as_str().unwrap_or_default().contains("compare"));
    let n = found.expect("a step that compares the kernel's mounts with the plan");
    world.shell(&["--rm"], "echo ran").failing_at(n).go().refused().complains("rootfs").never_says("ran\n");
}
