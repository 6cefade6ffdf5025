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
