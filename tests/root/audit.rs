//! What Landlock refuses is told, where the machine's audit log can be read.

use std::process::{Command, Stdio};

use donjon_tests::{World, eventually};

/// The machine's audit daemon, started by this test if none runs.
struct Daemon(Option<std::process::Child>);

impl Daemon {
    fn running() -> Self {
        let enabled = || {
            let out =
                Command::new("/sbin/auditctl").arg("-s").output().expect("auditctl, of the package auditd");
            let text = String::from_utf8_lossy(&out.stdout).into_owned();
            text.contains("enabled 1") && !text.contains("\npid 0")
        };
        if enabled() {
            return Self(None);
        }
        let child = Command::new("/sbin/auditd").arg("-n").stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        let daemon = Self(Some(child.expect("auditd")));
        assert!(eventually(10, enabled), "the audit daemon does not come up: is audit in this kernel?");
        assert!(eventually(5, || std::path::Path::new("/var/log/audit/audit.log").exists()));
        daemon
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            // SAFETY: a signal to the daemon that this test started.
            unsafe { libc::kill(child.id() as i32, libc::SIGTERM) };
            let _ = child.wait();
            let _ = Command::new("/sbin/auditctl").args(["-e", "0"]).output();
        }
    }
}

#[test]
fn what_landlock_refuses_is_read_from_the_audit_log() {
    let _daemon = Daemon::running();
    let world = World::root();
    let work = world.path("work");
    // With the flags of the mounts in place these answer first, and Landlock has nothing to say.
    let option = format!("{work}:/data");
    let run = world
        .shell(&["--name", "told", "--read-only", "--ro", &option], "mkdir /etc/made; echo x > /data/y; true")
        .without("readonly-root,readonly-paths,verify")
        .go();
    run.succeeds().complains("landlock").complains("fs.make_dir").complains("--rw");
    world.donjon(&["explain", "told"]).go().succeeds().says("fs.make_reg").says("/data");
    world.donjon(&["rm", "told"]).go().succeeds();
}

#[test]
fn what_a_filter_kills_by_itself_is_read_from_the_audit_log() {
    let _daemon = Daemon::running();
    let world = World::root();
    let profile = world.file(
        "kills.json",
        r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_KILL_PROCESS"}]}"#,
    );
    let option = format!("seccomp={}", profile.display());
    let run =
        world.shell(&["--name", "killed", "--security-opt", &option], "mkdir /tmp/made; echo lived on").go();
    run.prints("lived on").complains("seccomp").complains("mkdir");
    let told = world.donjon(&["explain", "killed"]).go();
    told.succeeds().says("mkdir").says("answered SIGSYS").says("by     mkdir (");
    world.donjon(&["events", "verify", "killed"]).go().succeeds().says("intact");
    world.donjon(&["rm", "killed"]).go().succeeds();
}

#[test]
fn a_container_that_runs_is_explained_and_watched_with_the_kernels_own_records() {
    let _daemon = Daemon::running();
    let world = World::root();
    let work = world.path("work");
    let option = format!("{work}:/data");
    world
        .shell(
            &["-d", "--name", "told", "--read-only", "--ro", &option],
            "echo x > /data/y; while test ! -e /tmp/stop; do sleep 0.1; done",
        )
        .without("readonly-root,readonly-paths,verify")
        .go()
        .succeeds();
    let explained = || world.donjon(&["explain", "told"]).go().succeeds().stdout.contains("/data");
    assert!(eventually(10, explained), "{:?}", world.donjon(&["explain", "told"]).go());
    let watch = world.donjon(&["explain", "--watch", "told"]).spawn();
    watch.wait_for("landlock: fs.make_reg: /data");
    world.donjon(&["exec", "told", "touch", "/tmp/stop"]).go().succeeds();
    let watched = watch.finish(10);
    watched.succeeds();
    assert_eq!(watched.stdout.matches("fs.make_reg: /data").count(), 1, "{watched:?}");
    world.donjon(&["rm", "told"]).go().succeeds();
}
