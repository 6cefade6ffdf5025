//! The image `dir:PATH`.

use donjon_tests::World;

#[test]
fn a_directory_is_the_root() {
    let world = World::ordinary();
    let root = world.own_root();
    root.file("etc/marker", "mine", 0o644);
    world.donjon(&["run", "--rm", &root.image(), "cat", "/etc/marker"]).go().succeeds().prints("mine");
    world.donjon(&["run", "--rm", &root.image(), "ls", "/"]).go().says("etc").never_says("boot");
}

#[test]
fn the_program_starts_as_root_inside_and_is_the_caller_outside() {
    let world = World::ordinary();
    world.shell(&["--rm"], "id -u; id -g").go().succeeds().prints("0\n0");
    let work = world.path("work");
    world.shell(&["--rm", "--rw", &format!("{work}:/data")], "touch /data/made").go().succeeds();
    let meta = std::fs::metadata(world.path("work/made")).expect("made");
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&meta), world.uid());
}

#[test]
fn writes_vanish_with_the_container() {
    let world = World::ordinary();
    let root = world.own_root();
    let script = "echo new > /etc/new; echo changed > /etc/passwd; rm -r /home; mkdir /etc/dir; cat /etc/new /etc/passwd";
    world.donjon(&["run", "--rm", &root.image(), "--", "sh", "-c", script]).go().says("new").says("changed");
    assert!(!root.path().join("etc/new").exists());
    assert!(root.path().join("home").is_dir());
    let passwd = std::fs::read_to_string(root.path().join("etc/passwd")).expect("passwd");
    assert!(passwd.starts_with("root:"), "the image was written: {passwd}");
    world.donjon(&["run", "--rm", &root.image(), "ls", "/etc/new"]).go().fails_inside();
}

#[test]
fn a_read_only_root_refuses_writes_but_tmp_works() {
    let world = World::ordinary();
    world
        .shell(
            &["--rm", "--read-only"],
            "touch /etc/x || echo refused; touch /tmp/x && echo tmp; touch /run/x && echo run",
        )
        .go()
        .says("refused")
        .says("tmp")
        .says("run")
        .never_says("panicked");
}

#[test]
fn what_is_written_to_the_root_is_limited_in_size() {
    let world = World::ordinary();
    let run =
        world.shell(&["--rm"], "dd if=/dev/zero of=/big bs=1M count=20000; echo ended").seconds(60).go();
    run.says("ended").complains("No space left");
}

#[test]
fn squash_lets_stock_images_drop_root() {
    let world = World::ordinary();
    world
        .shell(&["--rm"], "touch /tmp/f && chown 1000:1000 /tmp/f && chgrp 5 /tmp/f && echo changed")
        .go()
        .succeeds()
        .prints("changed");
    world
        .donjon(&["run", "--rm", &world.image(), "su", "guest", "-c", "echo dropped"])
        .go()
        .succeeds()
        .prints("dropped");
}

#[test]
fn a_root_that_somebody_else_owns_is_used_all_the_same() {
    // The shared root belongs to whoever ran the tests, root in CI, and can only be read.
    let world = World::ordinary();
    world.shell(&["--rm"], "touch /bin/x && rm /bin/sh && ls /bin/x").go().succeeds();
}

#[test]
fn a_relative_root_is_taken_from_the_callers_directory() {
    let world = World::ordinary();
    let root = world.own_root();
    let name = root.path().file_name().and_then(|n| n.to_str()).expect("a name").to_string();
    let parent = root.path().parent().and_then(|p| p.to_str()).expect("a parent").to_string();
    let run =
        world.donjon(&["run", "--rm", &format!("dir:{name}"), "echo", "found"]).from_directory(&parent).go();
    run.succeeds().prints("found");
}

#[test]
fn two_containers_of_one_root_do_not_see_each_other() {
    let world = World::ordinary();
    let first = world.shell(&["--name", "first"], "touch /seen; echo ready; sleep 5").spawn();
    first.wait_for("ready");
    world.shell(&["--rm"], "ls /seen").go().fails_inside();
    world.shell(&["--rm"], "ps").go().never_says("sleep 5");
    world.donjon(&["kill", "first"]).go().succeeds();
    first.finish(10);
}
