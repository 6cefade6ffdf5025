//! containerd and its own client, `ctr`.

use std::fs;

use donjon_tests::eventually;

use crate::files::MOUNTS;
use crate::house::{Containerd, base, work};

#[test]
fn run_gives_the_programs_output_and_status() {
    Containerd::each(|containerd| {
        containerd.run(&[], &["echo", "hello"]).succeeds().prints("hello");
        containerd.run(&[], &["sh", "-c", "echo err >&2; exit 7"]).exits(7).complains("err");
    });
}

#[test]
fn run_tells_what_can_not_run() {
    Containerd::each(|containerd| {
        containerd.run(&[], &["/no/such"]).fails().complains("no such file or directory");
        containerd.run(&[], &["nosuch"]).fails().complains("executable file not found in $PATH");
        containerd.run(&[], &["/bin/unfit"]).fails().complains("permission denied");
        containerd.run(&[], &["/bin/garbage"]).fails().complains("exec format error");
    });
}

#[test]
fn a_task_lives_and_ends() {
    Containerd::each(|containerd| {
        let task = containerd.start(&[], &["sh", "-c", "trap 'exit 3' TERM; while :; do sleep 0.1; done"]);
        assert_eq!(task.state(), "RUNNING");
        task.go(&["kill", "-s", "TERM"]).succeeds();
        assert!(eventually(10, || task.state() == "STOPPED"), "{}", task.state());
        task.go(&["delete"]).succeeds().complains("exit code 3");
    });
}

#[test]
fn exec_gives_the_programs_output_and_status() {
    Containerd::each(|containerd| {
        let task = containerd.start(&[], &["sleep", "300"]);
        task.exec(&[], &["sh", "-c", "echo out; exit 4"]).exits(4).prints("out");
        task.exec(&["--cwd", "/tmp", "--user", "1000"], &["sh", "-c", "pwd; id -u"])
            .succeeds()
            .prints("/tmp\n1000");
        task.exec(&[], &["/no/such"]).fails().complains("no such file or directory");
        task.exec(&[], &["/bin/unfit"]).fails().complains("permission denied");
        task.exec(&["-d"], &["sleep", "5678"]).succeeds();
        task.exec(&[], &["ps"]).succeeds().says("sleep 5678");
        let processes = task.go(&["ps"]);
        assert_eq!(processes.succeeds().stdout.lines().count(), 3, "{processes}");
    });
}

#[test]
fn a_paused_task_stands_still() {
    Containerd::each(|containerd| {
        let task = containerd.start(&[], &["sleep", "300"]);
        task.go(&["pause"]).succeeds();
        assert_eq!(task.state(), "PAUSED");
        task.go(&["resume"]).succeeds();
        assert_eq!(task.state(), "RUNNING");
        task.exec(&[], &["true"]).succeeds();
    });
}

#[test]
fn kill_all_ends_everything() {
    Containerd::each(|containerd| {
        let task = containerd.start(&[], &["sleep", "300"]);
        task.exec(&["-d"], &["sleep", "300"]).succeeds();
        task.go(&["kill", "--all", "-s", "KILL"]).succeeds();
        assert!(eventually(10, || task.state() == "STOPPED"), "{}", task.state());
        task.go(&["delete"]).succeeds().complains("exit code 137");
    });
}

#[test]
fn metrics_tell_what_is_used() {
    Containerd::each(|containerd| {
        let task = containerd.start(&["--memory-limit", "33554432"], &["sleep", "300"]);
        let told = task.go(&["metrics", "--format", "json"]);
        let told: serde_json::Value = serde_json::from_str(&told.succeeds().stdout).expect("JSON");
        assert_eq!(told["pids"]["current"], 1, "{told}");
        let limit = &told["memory"]["usage"]["limit"];
        let limit = if limit.is_null() { &told["memory"]["usage_limit"] } else { limit };
        assert_eq!(*limit, 33554432, "{told}");
    });
}

#[test]
fn the_options_of_run_hold() {
    Containerd::agree(&["--read-only"], "touch /made").fails().complains("read-only file system");
    Containerd::agree(&["--cwd", "/tmp", "--env", "A=b"], "pwd; echo $A; id").succeeds().says("/tmp\nb\n");
    Containerd::agree(&["--cwd", "/not/there"], "pwd").succeeds().prints("/not/there");
    Containerd::agree(&["--allow-new-privs"], "grep NoNew /proc/self/status").prints("NoNewPrivs:\t0");
    Containerd::agree(&["--net-host"], "readlink /proc/self/ns/net; ls /etc/hosts").succeeds();
    Containerd::agree(&["--device", "/dev/fuse"], "ls -l /dev/fuse | cut -c1").succeeds().prints("c");
    Containerd::agree(&["--cgroup", "/of-its-own/below"], "cut -d: -f3 /proc/self/cgroup | sort -u")
        .succeeds();
    let dir = work("bind");
    fs::write(dir.join("file"), "content\n").expect("a file");
    let mount = format!("type=bind,src={},dst=/data,options=rbind:ro", dir.display());
    Containerd::agree(&["--mount", &mount], "cat /data/file; touch /data/made").fails().says("content");
}

#[test]
fn the_process_has_the_same_privileges() {
    let status = "grep -E '^(Umask|Uid|Gid|Groups|Cap|NoNew|Seccomp:)' /proc/self/status; cat /proc/self/limits; \
                  hostname; env | sort; ls /proc/self/fd | head -n 3";
    Containerd::agree(&[], status).succeeds().says("NoNewPrivs:\t1");
    Containerd::agree(&["--seccomp", "--cap-add", "CAP_SYS_ADMIN", "--cap-drop", "CAP_KILL"], status)
        .succeeds()
        .says("Seccomp:\t2");
    Containerd::agree(&["--privileged"], status).succeeds().says("Seccomp:\t0");
    let mapped = ["--uidmap", "0:100000:65536", "--gidmap", "0:100000:65536"];
    Containerd::agree(&mapped, "cat /proc/self/uid_map; id -u; touch /tmp/f").succeeds().says("100000");
}

#[test]
fn the_mounts_are_the_same() {
    let script = &format!("{MOUNTS}; ls /dev");
    Containerd::agree(&[], script).succeeds();
    Containerd::agree(&["--rootfs-propagation", "rshared"], script).succeeds();
    Containerd::agree(&["--no-pivot"], "ls /").succeeds();
}

#[test]
fn a_terminal_is_given() {
    Containerd::each(|containerd| {
        let mut run = containerd.on_a_terminal("tty; echo ready; read line; echo got:$line; exit 3");
        run.wait_for("ready");
        run.type_in("words\n");
        run.wait_for("got:words");
        let (code, screen, _) = run.finish();
        assert_eq!(code, 3, "{screen}");
        assert!(screen.contains("/dev/pts/0"), "{screen}");
    });
}

#[test]
fn the_runtimes_directory_is_as_asked() {
    Containerd::each(|containerd| {
        let root = base().join("work/runtime-root").display().to_string();
        containerd.run(&["--runc-root", &root], &["echo", "ran"]).succeeds().prints("ran");
        assert!(fs::read_dir(&root).is_ok(), "{root} was not used");
    });
}
