//! Mounts as the specification lists them: options, order, propagation, the root.

use std::fs;
use std::os::unix::fs::MetadataExt;

use donjon_tests::{Bundle, World};
use serde_json::{Value, json};

/// A bundle with these mounts after those that `spec` writes.
fn with_mounts<'w>(world: &'w World, script: &str, mounts: &[Value]) -> Bundle<'w> {
    let mut bundle = world.bundle("b", script);
    bundle.own_root();
    for mount in mounts {
        bundle.push("/mounts", mount.clone());
    }
    bundle
}

fn tmpfs(destination: &str, options: &[&str]) -> Value {
    json!({"destination": destination, "type": "tmpfs", "source": "tmpfs", "options": options})
}

fn bind(destination: &str, source: &str, options: &[&str]) -> Value {
    json!({"destination": destination, "type": "none", "source": source, "options": options})
}

/// A shell function that prints the options of the mount at a path.
const OPTIONS: &str = "options() { grep -E \"^([^ ]+ ){4}$1 \" /proc/self/mountinfo | tail -n 1; };";

#[test]
fn every_flag_of_a_mount_is_set() {
    let world = World::root();
    let cases: [(&[&str], &[&str]); 9] = [
        (&["nosuid", "nodev", "noexec"], &["nosuid", "nodev", "noexec"]),
        (&["ro"], &["ro,"]),
        (&["noatime"], &["noatime"]),
        (&["nodiratime"], &["nodiratime"]),
        (&["relatime"], &["relatime"]),
        (&["nosymfollow"], &["nosymfollow"]),
        (&["size=64k"], &["size=64k"]),
        (&["mode=0711"], &["mode=711"]),
        (&["sync", "dirsync"], &["sync", "dirsync"]),
    ];
    for (given, seen) in cases {
        let script = format!("{OPTIONS} options /there");
        let bundle = with_mounts(&world, &script, &[tmpfs("/there", given)]);
        let run = bundle.run("c1").go();
        let line = &run.succeeds().stdout;
        for option in seen {
            assert!(line.contains(option), "{given:?}: no {option} in {line}");
        }
    }
}

#[test]
fn the_later_of_two_options_wins() {
    let world = World::root();
    let script = format!("{OPTIONS} options /there");
    let bundle = with_mounts(&world, &script, &[tmpfs("/there", &["ro", "noexec", "rw", "exec"])]);
    let run = bundle.run("c1").go();
    run.succeeds().says(" rw,").never_says("noexec");
}

#[test]
fn mounts_are_made_in_their_order_and_the_last_is_on_top() {
    let world = World::root();
    let mounts =
        [tmpfs("/a", &["mode=0755"]), tmpfs("/a/b/c", &["mode=0700"]), tmpfs("/a/b/c", &["mode=0750"])];
    let bundle = with_mounts(&world, "stat -c %a /a /a/b/c; grep -c ' /a' /proc/self/mountinfo", &mounts);
    bundle.run("c1").go().succeeds().prints("755\n750\n3");
}

#[test]
fn directories_and_files_are_bound() {
    let world = World::root();
    fs::write(world.dir("source").join("file"), "told\n").expect("a file");
    let (dir, file) = (world.path("source"), world.path("source/file"));
    let mounts = [bind("/dir", &dir, &["bind"]), bind("/one/file", &file, &["bind", "ro"])];
    let script = "cat /dir/file /one/file; echo more >> /dir/file; echo x >> /one/file || echo refused";
    let bundle = with_mounts(&world, script, &mounts);
    bundle.run("c1").go().says("told\ntold\n").says("refused");
    assert_eq!(world.read("source/file"), "told\nmore\n");
}

#[test]
fn read_only_reaches_mounts_below_only_when_it_is_recursive() {
    let world = World::root();
    for (option, below) in [("ro", "written"), ("rro", "refused")] {
        // The machine's own /dev, as /dev/shm is a mount below it.
        let mount = bind("/there", "/dev", &["rbind", option]);
        let script = "echo x > /there/shm/donjon-test-rro && echo written && rm /there/shm/donjon-test-rro || echo refused";
        let bundle = with_mounts(&world, script, &[mount]);
        bundle.run("c1").go().says(below);
    }
}

#[test]
fn the_propagation_of_a_mount_is_set() {
    let world = World::root();
    world.dir("source");
    for (option, seen, never) in [
        ("rshared", "shared:", "unbindable"),
        ("shared", "shared:", "unbindable"),
        ("rprivate", " - ", "shared:"),
        ("private", " - ", "shared:"),
        ("runbindable", "unbindable", "shared:"),
        ("unbindable", "unbindable", "shared:"),
    ] {
        let script = format!("{OPTIONS} options /there");
        let mount = bind("/there", &world.path("source"), &["rbind", option]);
        let run = with_mounts(&world, &script, &[mount]).run("c1").go();
        run.succeeds().says(seen).never_says(never);
    }
}

#[test]
fn the_root_s_propagation_is_set() {
    let world = World::root();
    for (propagation, seen, never) in [
        ("private", " - ", "shared:"),
        ("shared", "shared:", "unbindable"),
        ("unbindable", "unbindable", "shared:"),
    ] {
        let mut bundle = world.bundle("b", &format!("{OPTIONS} options /"));
        bundle.own_root();
        bundle.set("/linux/rootfsPropagation", json!(propagation));
        bundle.run("c1").go().succeeds().says(seen).never_says(never);
    }
    let mut bundle = world.bundle("b", "echo ran");
    bundle.set("/linux/rootfsPropagation", json!("sideways"));
    bundle.run("c1").go().exits(1).complains("linux.rootfsPropagation").never_says("ran");
}

#[test]
fn the_root_is_read_only_when_asked() {
    let world = World::root();
    let mut bundle = world.bundle("b", "echo x > /made && echo written || echo refused");
    let root = bundle.own_root();
    bundle.run("c1").go().says("written");
    fs::remove_file(root.join("made")).expect("the file");
    bundle.set("/root/readonly", json!(true));
    bundle.run("c1").go().says("refused");
    assert!(!root.join("made").exists());
}

#[test]
fn a_bind_mount_is_mapped_to_other_ids() {
    let world = World::root();
    fs::write(world.dir("source").join("file"), "").expect("a file");
    let mut mount = bind("/there", &world.path("source"), &["bind", "idmap"]);
    mount["uidMappings"] = json!([{"containerID": 0, "hostID": 4000, "size": 100}]);
    mount["gidMappings"] = json!([{"containerID": 0, "hostID": 5000, "size": 100}]);
    let script = "stat -c %u:%g /there/file";
    with_mounts(&world, script, &[mount]).run("c1").go().succeeds().prints("4000:5000");
    let owner = fs::metadata(world.path("source/file")).expect("the file");
    assert_eq!((owner.uid(), owner.gid()), (0, 0), "the file itself is as it was");
}

#[test]
fn a_tmpfs_takes_over_what_was_there() {
    let world = World::root();
    let mut bundle = world.bundle("b", "cat /kept/file; echo more >> /kept/file; cat /kept/file");
    let root = bundle.own_root();
    fs::create_dir(root.join("kept")).expect("a directory");
    fs::write(root.join("kept/file"), "told\n").expect("a file");
    bundle.push("/mounts", tmpfs("/kept", &["tmpcopyup"]));
    bundle.run("c1").go().succeeds().prints("told\ntold\nmore");
    assert_eq!(fs::read_to_string(root.join("kept/file")).expect("the file"), "told\n");
}

#[test]
fn masked_and_read_only_paths_hold() {
    let world = World::root();
    let script = "cat /secret/file; ls /hidden; wc -c < /secret/file; \
        echo x > /still/file && echo written || echo refused; ls /no-such 2>/dev/null";
    let mut bundle = world.bundle("b", script);
    let root = bundle.own_root();
    for (dir, file) in [("secret", "file"), ("hidden", "file"), ("still", "file")] {
        fs::create_dir(root.join(dir)).expect("a directory");
        fs::write(root.join(dir).join(file), "told\n").expect("a file");
    }
    bundle.push("/linux/maskedPaths", json!("/secret/file"));
    bundle.push("/linux/maskedPaths", json!("/hidden"));
    bundle.push("/linux/maskedPaths", json!("/no-such"));
    bundle.push("/linux/readonlyPaths", json!("/still"));
    bundle.push("/linux/readonlyPaths", json!("/no-such"));
    let run = bundle.run("c1").go();
    assert_eq!(run.stdout, "0\nrefused\n", "{}", run.stderr);
}
