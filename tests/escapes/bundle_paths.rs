//! R2 to R7 through an engine's bundle: hostile roots, mounts, working directories and descriptors, in `config.json` and
//! through `exec`.

use donjon_tests::{Bundle, OwnRoot, Run, World};
use serde_json::{Value, json};

use crate::paths::{assert_untouched, treasure};

/// What a program does that looks for the host.
const LOOK: &str = "ls -A / /proc/self /dev /etc /mnt 2>&1; \
                    cat /crown /dev/crown /etc/crown /mnt/crown /job/crown crown 2>&1; \
                    touch /tmp/x /etc/x /dev/x /mnt/x 2>/dev/null; true";

/// A bundle with a root of its own, which it may write to.
fn defaced<'w>(world: &'w World, name: &str) -> (Bundle<'w>, OwnRoot) {
    let mut bundle = world.bundle(name, LOOK);
    let root = world.own_root();
    bundle.set("/root", json!({"path": root.path(), "readonly": false}));
    (bundle, root)
}

/// Runs it, with both builds; whatever happens, the host is untouched and the treasure is not seen.
#[track_caller]
fn harmless(world: &World, bundle: &Bundle<'_>) {
    for run in [bundle.run("c1"), bundle.run("c1").hooked()] {
        let run = run.go();
        run.never_says("gold").never_says("panicked");
        assert!(run.code() == 0 || !run.stderr.trim().is_empty(), "no word of why: {run:?}");
        assert_untouched(world);
    }
}

/// A bind mount of the host's.
fn bind(source: &str, destination: &str, options: &[&str]) -> Value {
    let options = [&["bind"][..], options].concat();
    json!({"destination": destination, "type": "bind", "source": source, "options": options})
}

/// An attack by the bundle's program and by `exec`: refused by both builds, through with these protections off.
#[track_caller]
fn held_by(world: &World, bundle: &mut Bundle<'_>, attack: &[&str], protections: &str) {
    let words = [&["/bin/attacker"][..], attack].concat();
    bundle.set("/process/args", json!(words));
    bundle.run("c1").go().exits(1).says("refused");
    bundle.run("c1").hooked().go().exits(1).says("refused");
    bundle.run("c1").without(protections).go().exits(0);
    bundle.script("sleep 60");
    let exec = || world.donjon(&[&["exec", "c1"][..], &words].concat());
    bundle.create("c1").go().succeeds();
    world.donjon(&["start", "c1"]).go().succeeds();
    exec().go().exits(1).says("refused");
    exec().hooked().go().exits(1).says("refused");
    world.donjon(&["delete", "--force", "c1"]).go().succeeds();
    bundle.create("c1").without(protections).go().succeeds();
    world.donjon(&["start", "c1"]).without(protections).go().succeeds();
    exec().without(protections).go().exits(0);
    world.donjon(&["delete", "--force", "c1"]).go().succeeds();
}

#[test]
fn r2_every_place_that_a_bundle_fills_may_be_a_link_and_the_host_stays_as_it_is() {
    // CVE-2026-47766, CVE-2026-41579, CVE-2026-88264, CVE-2025-54867: a link at /dev, /proc, /sys, /dev/null, /dev/console.
    for world in World::each() {
        let treasure = treasure(&world);
        let up = format!("../../../../../../../../../..{treasure}");
        for place in [
            "proc", "sys", "dev", "dev/pts", "dev/shm", "dev/null", "dev/zero", "dev/console", "dev/mqueue",
            "dev/ptmx", "dev/fd", "sys/fs/cgroup", "etc", "tmp",
        ] {
            for target in [&treasure, &up, "/", "/proc/1/root", &format!("{treasure}/crown")] {
                let (mut bundle, root) = defaced(&world, "b");
                if let Some((above, _)) = place.rsplit_once('/') {
                    root.dir(above);
                }
                root.link(place, target);
                harmless(&world, &bundle);
                if place.starts_with("dev") {
                    // The image's own /dev: the nodes are made in the root itself.
                    let mounts = bundle.config["mounts"].as_array_mut().expect("a list");
                    mounts.retain(|m| !m["destination"].as_str().is_some_and(|d| d.starts_with("/dev")));
                    bundle.write();
                    harmless(&world, &bundle);
                }
                let _ = std::fs::remove_dir_all(root.path());
            }
        }
        world.assert_nothing_left("hostile roots of bundles");
    }
}

#[test]
fn r2_a_destination_and_a_working_directory_of_a_bundle_may_be_links_and_stay_inside() {
    // CVE-2024-45310, CVE-2026-55686, CVE-2021-30465.
    for world in World::each() {
        let treasure = treasure(&world);
        let work = world.path("work");
        world.file("work/mine", "mine");
        let links = |root: &OwnRoot| {
            root.link("mnt/out", &treasure)
                .link("mnt/up", format!("../../../../../../../..{treasure}"))
                .link("mnt/file", format!("{treasure}/crown"))
                .link("mnt/fd", "/proc/self/fd/7")
                .link("job", &treasure);
        };
        for destination in
            ["/mnt/out", "/mnt/out/new", "/mnt/up/a/b", "/mnt/file", "/mnt/fd", "/job/../job/x"]
        {
            for mount in [
                bind(&work, destination, &[]),
                bind(&format!("{work}/mine"), destination, &["ro"]),
                json!({"destination": destination, "type": "tmpfs", "source": "tmpfs"}),
                json!({"destination": destination, "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"]}),
            ] {
                let (mut bundle, root) = defaced(&world, "b");
                links(&root);
                bundle.push("/mounts", mount);
                harmless(&world, &bundle);
                let _ = std::fs::remove_dir_all(root.path());
            }
        }
        let cwds =
            ["/job", "/job/new", "/mnt/up/new", "/proc/self/root/job", "/proc/1/root", "/proc/self/cwd"];
        let (mut bundle, root) = defaced(&world, "b");
        links(&root);
        for cwd in cwds {
            bundle.set("/process/cwd", json!(cwd));
            harmless(&world, &bundle);
        }
        bundle.set("/process/cwd", json!("/")).script("sleep 60");
        bundle.create("c1").go().succeeds();
        world.donjon(&["start", "c1"]).go().succeeds();
        for cwd in cwds {
            let run = world.donjon(&["exec", "--cwd", cwd, "c1", "sh", "-c", LOOK]).go();
            run.never_says("gold").never_says("panicked");
            assert_untouched(&world);
        }
        world.donjon(&["delete", "--force", "c1"]).go().succeeds();
        world.assert_nothing_left("links in bundles");
    }
}

#[test]
fn r2_this_attack_on_a_bundle_works_where_paths_are_followed_naively() {
    for world in World::each() {
        let treasure = treasure(&world);
        let (mut bundle, root) = defaced(&world, "b");
        root.link("mnt/out", &treasure);
        bundle.push("/mounts", json!({"destination": "/mnt/out/made", "type": "tmpfs", "source": "tmpfs"}));
        harmless(&world, &bundle);
        bundle.run("c1").without("resolver").go();
        assert_eq!(world.names("treasure"), ["crown", "made"], "the attack can't tell");
    }
}

#[test]
fn r3_a_link_leads_no_mount_and_no_directory_into_procfs_or_the_groups() {
    // CVE-2023-27561, CVE-2019-16884: a volume in the place of procfs, by way of the image.
    for world in World::each() {
        let work = world.path("work");
        let (mut bundle, root) = defaced(&world, "b");
        root.link("innocent", "/proc").link("mnt/deep", "../proc/sys").link("mnt/groups", "/sys/fs/cgroup");
        let mounts = bundle.config["mounts"].clone();
        for destination in ["/innocent", "/innocent/self/attr", "/mnt/deep/kernel", "/mnt/groups/made"] {
            bundle.set("/mounts", mounts.clone());
            bundle.push("/mounts", bind(&work, destination, &[]));
            bundle.script("cat /proc/self/status; ls /sys/fs/cgroup");
            let run = bundle.run("c1").go();
            run.exits(1).complains("mounts[");
        }
        for destination in ["/proc/sys", "/proc/self/attr", "//proc//1", "/tmp/../proc/sys/kernel"] {
            bundle.set("/mounts", mounts.clone());
            bundle.push("/mounts", bind(&work, destination, &[]));
            bundle.run("c1").go().exits(1).complains("procfs");
        }
        // However many mounts of the engine's there are, the last is as safe as the first.
        bundle.set("/mounts", mounts.clone());
        for n in 0..20 {
            let destination = format!("/dev/many{n}");
            bundle.push("/mounts", json!({"destination": destination, "type": "tmpfs", "source": "tmpfs"}));
        }
        root.link("mnt/last", "/dev/many19");
        bundle.push("/mounts", bind(&work, "/mnt/last", &[]));
        bundle.run("c1").go().exits(1).complains("mounts[");
        world.assert_nothing_left("links to procfs");
    }
}

#[test]
fn r4_a_proc_that_a_bundle_s_root_prepared_is_covered() {
    for world in World::each() {
        let (mut bundle, root) = defaced(&world, "b");
        root.file("proc/self/status", "fake", 0o666).file("proc/sys/kernel/ostype", "fake", 0o666);
        bundle.script("cat /proc/self/status /proc/sys/kernel/ostype");
        bundle.run("c1").go().succeeds().never_says("fake").says("Linux");
        // A directory of the engine's that is no procfs, in its place.
        let prepared = root.path().join("proc").to_string_lossy().into_owned();
        let mounts = bundle.config["mounts"].as_array_mut().expect("a list");
        mounts.retain(|m| m["destination"] != "/proc");
        mounts.insert(0, bind(&prepared, "/proc", &[]));
        bundle.write();
        bundle.run("c1").go().exits(1).complains("mounts[0]").never_says("fake");
        world.assert_nothing_left("a prepared procfs");
    }
}

#[test]
fn r5_devices_and_masks_of_a_bundle_are_never_the_image_s() {
    // CVE-2025-31133, CVE-2026-88264: what the image has at /dev/null becomes a mask or standard input.
    for world in World::each() {
        let treasure = treasure(&world);
        let (mut bundle, root) = defaced(&world, "b");
        root.file("dev/null", "poison", 0o666).file("dev/zero", "poison", 0o666);
        bundle
            .script("cat; cat /dev/null /dev/zero | head -c 10; cat /proc/interrupts; stat -c %F /dev/null");
        bundle.run("c1").go().never_says("poison").never_says("CPU0").says("character special file");
        // The image's own /dev, where a file stands in a device's place.
        bundle.config["mounts"]
            .as_array_mut()
            .expect("a list")
            .retain(|m| !m["destination"].as_str().is_some_and(|d| d.starts_with("/dev")));
        bundle.write();
        for node in ["dev/null", "dev/zero", "dev/full"] {
            root.link(node, format!("{treasure}/crown"));
            let run = bundle.run("c1").go();
            run.never_says("gold").never_says("panicked");
            assert_untouched(&world);
            root.remove(node);
        }
        // A path that is masked or read-only is a link: neither is what it leads to.
        for field in ["maskedPaths", "readonlyPaths"] {
            let (mut bundle, root) = defaced(&world, "b");
            root.link("secret", "/etc").link("deep", "/");
            for path in ["/secret", "/deep/etc"] {
                bundle.set(&format!("/linux/{field}"), json!([path]));
                bundle.run("c1").go().exits(1).complains(&format!("linux.{field}[0]"));
            }
        }
        world.assert_nothing_left("devices of images");
    }
}

#[test]
fn r5_masks_of_a_bundle_hide_and_without_them_is_seen_what_they_hide() {
    for world in World::each() {
        let mut bundle = world.bundle("b", "cat /proc/interrupts");
        let look = |run: Run<'_>| run.go().stdout;
        assert_eq!(look(bundle.run("c1")), "");
        assert_eq!(look(bundle.run("c1").hooked()), "");
        bundle.run("c1").without("masks").go().succeeds().says("CPU0");
        bundle.script("sleep 60");
        bundle.create("c1").go().succeeds();
        world.donjon(&["start", "c1"]).go().succeeds();
        assert_eq!(look(world.donjon(&["exec", "c1", "cat", "/proc/interrupts"])), "");
        world.donjon(&["delete", "--force", "c1"]).go().succeeds();
    }
}

#[test]
fn r5_a_console_that_is_a_link_is_refused() {
    // CVE-2025-52565, CVE-2026-88264.
    use std::os::unix::net::UnixListener;
    for world in World::each() {
        let treasure = treasure(&world);
        for target in [format!("{treasure}/new"), format!("{treasure}/crown"), "/dev/null".to_string()] {
            let (mut bundle, root) = defaced(&world, "b");
            root.link("dev/console", &target);
            bundle.set("/process/terminal", json!(true));
            bundle.config["mounts"].as_array_mut().expect("a list").retain(|m| m["destination"] != "/dev");
            bundle.write();
            let socket = world.path("console");
            let _ = std::fs::remove_file(&socket);
            let _listener = UnixListener::bind(&socket).expect("a socket");
            std::os::unix::fs::chown(&socket, Some(world.uid()), Some(world.gid())).expect("its owner");
            let options = ["--detach", "--console-socket", &socket];
            for run in [bundle.run_with(&options, "c1"), bundle.run_with(&options, "c1").hooked()] {
                let run = run.go();
                run.exits(1).never_says("gold").never_says("panicked");
                assert_untouched(&world);
            }
            world.assert_nothing_left("a console that is a link");
        }
    }
}

#[test]
fn r6_a_descriptor_that_an_engine_left_open_is_gone() {
    // CVE-2024-21626; each of two things alone is enough.
    for world in World::each() {
        let mut bundle = world.bundle("b", "true");
        bundle.set("/process/args", json!(["/bin/attacker", "open", "/proc/self/fd/7/etc"]));
        let leaky = |run: Run<'_>| run.leaking("/", 7).go();
        leaky(bundle.run("c1")).exits(1).prints("refused ENOENT");
        for off in ["", "close-fds", "own-descriptors"] {
            leaky(bundle.run("c1").without(off)).exits(1).prints("refused ENOENT");
        }
        leaky(bundle.run("c1").without("close-fds,own-descriptors")).exits(0).says("in ");
        bundle.script("sleep 60");
        leaky(bundle.create("c1")).succeeds();
        leaky(world.donjon(&["start", "c1"])).succeeds();
        let attack = ["exec", "c1", "/bin/attacker", "open", "/proc/self/fd/7/etc"];
        leaky(world.donjon(&attack)).exits(1).prints("refused ENOENT");
        leaky(world.donjon(&attack).without("close-fds,own-descriptors")).exits(0).says("in ");
        world.donjon(&["exec", "c1", "ls", "/proc/1/fd"]).go().succeeds().prints("0\n1\n2");
        world.donjon(&["delete", "--force", "c1"]).go().succeeds();
    }
}

#[test]
fn r6_the_working_directory_of_a_bundle_can_not_be_a_descriptor() {
    // CVE-2024-21626: process.cwd = /proc/self/fd/7, which is a directory of the host that the runtime has open.
    const OFF: &str = "resolver,own-descriptors,working-directory";
    for world in World::each() {
        let mut bundle = world.bundle("b", "ls -a");
        // The directory of all containers, or a group of the machine's.
        let outside =
            |run: &donjon_tests::Outcome| run.stdout.lines().any(|l| l == "c1" || l == "cgroup.procs");
        let mut through = 0;
        for n in 3..24 {
            let cwd = format!("/proc/self/fd/{n}");
            bundle.set("/process/cwd", json!(cwd));
            for run in [bundle.run("c1"), bundle.run("c1").hooked()] {
                run.leaking("/", 7).go().exits(1).complains("process.cwd");
            }
            // Each of three things alone is enough.
            for (off, _) in OFF.match_indices(',') {
                let run = bundle.run("c1").without(&OFF[..off]).go();
                assert!(!outside(&run), "{run:?}");
            }
            assert!(!outside(&bundle.run("c1").without("resolver,working-directory").go()));
            through += usize::from(outside(&bundle.run("c1").without(OFF).go()));
        }
        assert!(through > 0, "the attack can't tell");
        bundle.set("/process/cwd", json!("/")).script("sleep 60");
        bundle.create("c1").go().succeeds();
        world.donjon(&["start", "c1"]).go().succeeds();
        for n in 3..12 {
            let cwd = format!("/proc/self/fd/{n}");
            let exec = || world.donjon(&["exec", "--cwd", &cwd, "c1", "ls", "-a"]).leaking("/", 7);
            exec().go().exits(255).complains("process.cwd");
            exec().hooked().go().exits(255).complains("process.cwd");
        }
        world.donjon(&["delete", "--force", "c1"]).go().succeeds();
        world.assert_nothing_left("working directories of the host");
    }
}

#[test]
fn r7_what_a_bundle_says_is_read_only_can_not_be_written_to() {
    // CVE-2026-115521: a read-only root that stayed writable.
    for world in World::each() {
        let (mut bundle, _root) = defaced(&world, "b");
        bundle.set("/root/readonly", json!(true));
        held_by(&world, &mut bundle, &["open-write", "/etc/passwd"], "readonly-root");
        let mounts = bundle.config["mounts"].clone();
        for options in [&["ro"][..], &["rro"], &["ro", "rprivate", "nosuid"]] {
            bundle.set("/mounts", mounts.clone());
            bundle.push("/mounts", bind(&world.path("work"), "/mnt", options));
            let _ = std::fs::remove_file(world.path("work/x"));
            held_by_bind(&world, &mut bundle);
        }
        // An ordinary user's bundle of `spec` has the network of the host, which is not its own.
        let path = match world.uid() {
            0 => "/proc/sys/net/ipv4/ip_unprivileged_port_start",
            _ => "/proc/sys/user/max_user_namespaces",
        };
        bundle.set("/mounts", mounts);
        held_by(&world, &mut bundle, &["open-write", path], "readonly-paths,capabilities,verify");
        world.assert_nothing_left("read-only things");
    }
}

/// A bind mount at /mnt: each start without the protection leaves its file, which is taken away again.
#[track_caller]
fn held_by_bind(world: &World, bundle: &mut Bundle<'_>) {
    bundle.set("/process/args", json!(["/bin/attacker", "create", "/mnt/x"]));
    bundle.run("c1").go().exits(1).prints("refused EROFS");
    bundle.run("c1").hooked().go().exits(1).prints("refused EROFS");
    // What is not as it was planned is found by the comparison alone, and nothing runs.
    bundle.run("c1").without("readonly-paths").go().exits(1).never_says("in ");
    assert!(!world.names("work").contains(&"x".to_string()));
    bundle.run("c1").without("readonly-paths,verify").go().exits(0);
}
