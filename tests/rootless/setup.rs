//! `donjon setup`: the change is printed, made once, and only where everything was understood.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};

use donjon_tests::World;

/// A world with a donjon that nobody but its user may change.
struct Engines {
    world: World,
    program: String,
}

impl Engines {
    fn new() -> Self {
        let world = World::ordinary();
        let program = world.dir("bin").join("donjon");
        let built = std::env::var("DONJON_TEST_BINARY").expect("run these tests with `cargo xtask test`");
        fs::copy(built, &program).expect("donjon");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("its mode");
        chown(&program, Some(world.uid()), Some(world.gid())).expect("its owner");
        let program = program.to_string_lossy().into_owned();
        Self { world, program }
    }

    fn setup(&self, words: &[&str]) -> donjon_tests::Outcome {
        let mut all = vec!["setup", "--path", &self.program];
        all.extend_from_slice(words);
        self.world.donjon(&all).go()
    }

    fn file(&self, name: &str, content: &str) -> String {
        self.world.dir("etc");
        self.world.file(&format!("etc/{name}"), content).to_string_lossy().into_owned()
    }

    fn backups(&self, directory: &str) -> Vec<String> {
        self.world.names(directory).into_iter().filter(|name| name.contains(".donjon-backup-")).collect()
    }
}

const DOCKER: &str = "{\n  \"dns\": [\"10.0.0.1\"],\n  \"runtimes\": {\n    \"kata\": { \"path\": \"/usr/bin/kata\" }\n  }\n}\n";
const CONTAINERD: &str = "# the node's file\nversion = 2\n\n[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc]\n  \
                          runtime_type = \"io.containerd.runc.v2\" # shim\n  \
                          [plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc.options]\n    SystemdCgroup = true\n";

#[test]
fn without_apply_the_change_is_printed_and_nothing_is_written() {
    let engines = Engines::new();
    let file = engines.file("daemon.json", DOCKER);
    let printed = engines.setup(&["docker", "--default", "--file", &file]);
    printed
        .succeeds()
        .says("+    \"donjon\": {")
        .says("+  \"default-runtime\": \"donjon\"")
        .says("--apply makes the change");
    assert_eq!(engines.world.read("etc/daemon.json"), DOCKER);
    engines.setup(&["podman"]).succeeds().says("containers.conf.d/50-donjon.conf").says("+donjon = [");
    assert!(engines.world.names("home/.config").is_empty());
    assert_eq!(engines.world.names("etc"), ["daemon.json"]);
}

#[test]
fn a_user_gets_a_drop_in_of_their_own_for_podman_and_applying_twice_changes_nothing() {
    let engines = Engines::new();
    engines.setup(&["podman", "--apply"]).succeeds().says("written: ");
    let written = engines.world.read("home/.config/containers/containers.conf.d/50-donjon.conf");
    assert_eq!(written, format!("[engine.runtimes]\ndonjon = [\"{}\"]\n", engines.program));
    let path = engines.world.path("home/.config/containers/containers.conf.d/50-donjon.conf");
    let before = fs::metadata(&path).expect("the drop-in");
    assert_eq!((before.uid(), before.mode() & 0o7777), (engines.world.uid(), 0o644));

    engines.setup(&["podman", "--apply"]).succeeds().says("already set in ").never_says("written");
    let after = fs::metadata(&path).expect("the drop-in");
    assert_eq!((before.ino(), before.mtime_nsec()), (after.ino(), after.mtime_nsec()));
    assert_eq!(engines.world.names("home/.config/containers"), ["containers.conf.d"]);

    // The default is a further change; the copy is not put where the engine reads.
    engines.setup(&["podman", "--apply", "--default"]).succeeds().says("as it was: ");
    assert!(fs::read_to_string(&path).expect("the drop-in").contains("[engine]\nruntime = \"donjon\"\n"));
    assert_eq!(engines.world.names("home/.config/containers/containers.conf.d"), ["50-donjon.conf"]);
    assert_eq!(engines.backups("home/.config/containers").len(), 1);
}

#[test]
fn what_another_file_of_the_engine_says_already_is_seen() {
    let engines = Engines::new();
    engines.world.dir("home/.config");
    engines.world.dir("home/.config/containers");
    let main = format!("[engine.runtimes]\ndonjon = [\"{}\"]\n", engines.program);
    engines.world.file("home/.config/containers/containers.conf", &main);
    engines
        .setup(&["podman", "--apply"])
        .succeeds()
        .says("already set in ")
        .says("containers/containers.conf");
    engines
        .world
        .file("home/.config/containers/containers.conf", "[engine.runtimes]\ndonjon = [\"/opt/other\"]\n");
    engines.setup(&["podman", "--apply"]).refused().complains("engine.runtimes.donjon is there already");
    assert_eq!(engines.world.names("home/.config/containers"), ["containers.conf"]);
}

#[test]
fn comments_order_mode_and_owner_stay_and_the_old_file_is_kept() {
    let engines = Engines::new();
    let file = engines.file("config.toml", CONTAINERD);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("a mode");
    engines
        .setup(&["containerd", "--apply", "--file", &file])
        .succeeds()
        .says("systemctl --user restart containerd");
    let new = engines.world.read("etc/config.toml");
    assert!(new.starts_with(CONTAINERD), "{new}");
    assert!(new.contains(&format!("BinaryName = \"{}\"\nSystemdCgroup = true\n", engines.program)), "{new}");
    let metadata = fs::metadata(&file).expect("the file");
    assert_eq!((metadata.uid(), metadata.gid()), (engines.world.uid(), engines.world.gid()));
    assert_eq!(metadata.mode() & 0o7777, 0o640);
    let backups = engines.backups("etc");
    assert_eq!(backups.len(), 1, "{backups:?}");
    assert_eq!(engines.world.read(&format!("etc/{}", backups[0])), CONTAINERD);
    assert_eq!(engines.world.names("etc").len(), 2, "something is left beside them");
}

#[test]
fn no_backup_is_ever_overwritten() {
    let engines = Engines::new();
    for n in 0..3 {
        let old = format!("{{\"labels\": [\"{n}\"]}}\n");
        let file = engines.file("daemon.json", &old);
        engines.setup(&["docker", "--apply", "--file", &file]).succeeds();
    }
    let backups = engines.backups("etc");
    let mut kept: Vec<String> =
        backups.iter().map(|name| engines.world.read(&format!("etc/{name}"))).collect();
    kept.sort();
    assert_eq!(kept, ["{\"labels\": [\"0\"]}\n", "{\"labels\": [\"1\"]}\n", "{\"labels\": [\"2\"]}\n"]);
}

#[test]
fn what_does_not_parse_or_means_something_else_is_refused_and_left_alone() {
    let engines = Engines::new();
    for (engine, content, word) in [
        ("docker", "{\"runtimes\": {}", "no JSON"),
        ("docker", "{\"runtimes\": []}", "runtimes is not an object"),
        (
            "docker",
            "{\"runtimes\": {\"donjon\": {\"path\": \"/opt/x\"}}}",
            "runtimes.donjon is there already",
        ),
        ("podman", "[engine\n", "no TOML"),
        ("podman", "[engine]\nruntimes = \"crun\"\n", "engine.runtimes is not a table"),
        ("podman", "[engine.runtimes]\ndonjon = [\"/opt/x\"]\n", "engine.runtimes.donjon is there already"),
        ("containerd", "root = \"/x\"\n", "version is missing"),
        ("containerd", "version = 7\n", "version is 7"),
        ("crio", "[crio.runtime.runtimes.donjon]\nruntime_path = \"/opt/x\"\n", "donjon is there already"),
        ("crio", "\u{0}", "no TOML"),
    ] {
        let file = engines.file("broken", content);
        engines.setup(&[engine, "--apply", "--file", &file]).refused().complains(word).complains("broken");
        assert_eq!(engines.world.read("etc/broken"), content, "{engine}");
    }
    assert_eq!(engines.world.names("etc"), ["broken"]);
}

#[test]
fn a_symbolic_link_a_device_and_a_huge_file_are_refused() {
    let engines = Engines::new();
    let real = engines.file("real.json", DOCKER);
    let link = engines.world.path("etc/link.json");
    symlink("real.json", &link).expect("a link");
    engines
        .setup(&["docker", "--apply", "--file", &link])
        .refused()
        .complains("symbolic link")
        .complains(&real);
    assert!(fs::symlink_metadata(&link).expect("the link").is_symlink());
    assert_eq!(engines.world.read("etc/real.json"), DOCKER);
    engines.setup(&["docker", "--file", "/dev/null"]).refused().complains("no regular file");
    let huge = engines.file("huge.json", &" ".repeat((1 << 20) + 1));
    engines.setup(&["docker", "--file", &huge]).refused().complains("longer than");
}

#[test]
fn a_program_that_others_may_replace_is_refused() {
    let engines = Engines::new();
    let path = |name: &str| engines.world.path(name);
    let mode =
        |name: &str, mode| fs::set_permissions(path(name), fs::Permissions::from_mode(mode)).expect("a mode");
    mode("bin/donjon", 0o777);
    engines
        .setup(&["podman", "--apply"])
        .refused()
        .complains("can be written by others")
        .complains("chmod go-w");
    mode("bin/donjon", 0o755);
    mode("bin", 0o775);
    engines.setup(&["podman", "--apply"]).refused().complains("/bin can be written by others");
    mode("bin", 0o755);
    // By way of a link as well.
    engines.world.dir("open");
    symlink(path("bin/donjon"), path("open/donjon")).expect("a link");
    let by_link = engines.world.donjon(&["setup", "podman", "--path", &path("open/donjon")]).go();
    by_link.succeeds();
    mode("open", 0o777);
    let by_link = engines.world.donjon(&["setup", "podman", "--path", &path("open/donjon")]).go();
    by_link.refused().complains("/open can be written by others");

    for (word, what) in [("/etc/passwd", "not an executable file"), ("/no/such", "No such file")] {
        engines.world.donjon(&["setup", "podman", "--path", word]).go().refused().complains(what);
    }
    assert!(engines.world.names("home/.config").is_empty());
}

#[test]
fn a_file_in_a_directory_that_others_may_write_is_refused() {
    let engines = Engines::new();
    let file = engines.file("daemon.json", DOCKER);
    fs::set_permissions(engines.world.path("etc"), fs::Permissions::from_mode(0o777)).expect("a mode");
    engines
        .setup(&["docker", "--apply", "--file", &file])
        .refused()
        .complains("/etc can be written by others");
    assert_eq!(engines.world.read("etc/daemon.json"), DOCKER);
}

#[test]
fn where_the_user_may_not_write_nothing_changes() {
    let engines = Engines::new();
    engines
        .setup(&["docker", "--apply", "--file", "/etc/donjon-test-daemon.json"])
        .refused()
        .complains("permission denied");
    assert!(!std::path::Path::new("/etc/donjon-test-daemon.json").exists());
    engines.setup(&["crio"]).refused().complains("--file");
}

#[test]
fn no_copy_is_kept_where_crio_reads_every_file() {
    let engines = Engines::new();
    engines.world.dir("etc");
    engines.world.dir("etc/crio.conf.d");
    let file = engines.file("crio.conf.d/10-mine.conf", "[crio.runtime]\n# mine\n");
    engines.setup(&["crio", "--apply", "--file", &file]).succeeds().says("systemctl restart crio");
    assert_eq!(engines.world.names("etc/crio.conf.d"), ["10-mine.conf"]);
    assert_eq!(engines.backups("etc").len(), 1);
    let new = engines.world.read("etc/crio.conf.d/10-mine.conf");
    assert!(new.starts_with("[crio.runtime]\n# mine\n") && new.contains("runtime_type = \"oci\""), "{new}");
}
