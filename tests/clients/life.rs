//! A container's life at an engine's command line.

use std::thread;
use std::time::Duration;

use donjon_tests::eventually;

use crate::for_engines;
use crate::house::Engine;

for_engines!([podman, rootless, docker] {
    the_exit_status_is_the_programs,
    what_can_not_run_is_told_by_the_exit_status,
    what_is_no_program_does_not_run,
    output_and_errors_stay_apart,
    the_standard_input_arrives,
    logs_and_wait_tell_of_a_container_in_the_background,
    a_created_container_starts_and_starts_again,
    stop_asks_first,
    stop_kills_what_does_not_listen,
    kill_sends_any_signal,
    restart_begins_anew,
    top_lists_the_processes,
    an_init_reaps_and_passes_the_exit_status_on,
    many_containers_at_once,
    a_container_that_has_ended_can_be_stopped_and_killed_as_usual,
});
for_engines!([podman, docker] {
    a_paused_container_stands_still,
});

fn the_exit_status_is_the_programs(engine: Engine) {
    engine.each(|client| {
        client.shell(&[], "exit 7").exits(7);
        client.shell(&[], "kill -TERM $$; exit 3").exits(3);
        client.run(&[], &["true"]).exits(0);
        client.run(&["--init"], &["sh", "-c", "kill -KILL $$"]).exits(137);
    });
}

fn what_can_not_run_is_told_by_the_exit_status(engine: Engine) {
    engine.each(|client| {
        client.run(&[], &["/no/such"]).exits(127).complains("no such file or directory");
        client.run(&[], &["nosuch"]).exits(127).complains("executable file not found in $PATH");
        client.run(&[], &["/bin/unfit"]).exits(126).complains("permission denied");
        client.run(&[], &["/etc"]).exits(126);
        client.run(&["--no-such-option"], &["true"]).exits(125);
        client.shell(&[], "/no/such").exits(127);
    });
}

fn what_is_no_program_does_not_run(engine: Engine) {
    engine.each(|client| {
        client.run(&[], &["/bin/garbage"]).fails().complains("exec format error");
        client.run(&[], &["/bin/orphan"]).fails();
        client.run(&[], &["script", "a", "b"]).succeeds().prints("ran a b");
    });
}

fn output_and_errors_stay_apart(engine: Engine) {
    engine.each(|client| {
        let run = client.shell(&[], "echo out; echo err >&2");
        run.succeeds().prints("out");
        assert_eq!(run.stderr.trim(), "err", "{run}");
        let long = client.shell(&[], "seq 1 20000");
        assert_eq!(long.succeeds().stdout.lines().count(), 20000);
    });
}

fn the_standard_input_arrives(engine: Engine) {
    engine.each(|client| {
        client.reading("one\ntwo\n", &["cat"]).succeeds().prints("one\ntwo");
        client.run(&[], &["cat"]).succeeds().prints("");
    });
}

fn logs_and_wait_tell_of_a_container_in_the_background(engine: Engine) {
    engine.each(|client| {
        let container = client.start(&[], &["sh", "-c", "echo out; echo err >&2; exit 3"]);
        container.go(&["wait"]).succeeds().prints("3");
        let logs = container.go(&["logs"]);
        logs.succeeds();
        assert!(format!("{}{}", logs.stdout, logs.stderr).contains("err"), "{logs}");
        logs.says("out");
        assert_eq!(container.told("{{.State.Status}} {{.State.ExitCode}}"), "exited 3");
    });
}

fn a_created_container_starts_and_starts_again(engine: Engine) {
    engine.each(|client| {
        let container = client.create(&[], &["sh", "-c", "echo ran >> /tmp/runs; wc -l < /tmp/runs"]);
        assert_eq!(container.told("{{.State.Status}}"), "created");
        container.go(&["start", "-a"]).succeeds().prints("1");
        container.go(&["start", "-a"]).succeeds().prints("2");
    });
}

fn stop_asks_first(engine: Engine) {
    engine.each(|client| {
        let script = "trap 'echo asked; exit 4' TERM; echo ready; while :; do sleep 0.1; done";
        let container = client.start(&[], &["sh", "-c", script]);
        assert!(eventually(10, || container.go(&["logs"]).stdout.contains("ready")));
        container.go(&["stop", "-t", "20"]).succeeds();
        container.go(&["logs"]).says("asked");
        assert_eq!(container.told("{{.State.Status}} {{.State.ExitCode}}"), "exited 4");
    });
}

fn stop_kills_what_does_not_listen(engine: Engine) {
    engine.each(|client| {
        let container = client.start(&[], &["sh", "-c", "trap '' TERM; while :; do sleep 1; done"]);
        container.go(&["stop", "-t", "1"]).succeeds();
        assert_eq!(container.told("{{.State.Status}} {{.State.ExitCode}}"), "exited 137");
    });
}

fn kill_sends_any_signal(engine: Engine) {
    engine.each(|client| {
        let script = "trap 'echo got; exit 5' USR1; echo ready; while :; do sleep 0.1; done";
        let container = client.start(&[], &["sh", "-c", script]);
        assert!(eventually(10, || container.go(&["logs"]).stdout.contains("ready")));
        container.go(&["kill", "-s", "USR1"]).succeeds();
        container.go(&["wait"]).succeeds().prints("5");
        container.go(&["logs"]).says("got");

        let container = client.idle(&[]);
        container.go(&["kill"]).succeeds();
        container.go(&["wait"]).succeeds().prints("137");
    });
}

fn a_paused_container_stands_still(engine: Engine) {
    engine.each(|client| {
        let script = "i=0; while :; do i=$((i+1)); echo $i > /tmp/count; sleep 0.05; done";
        let container = client.start(&[], &["sh", "-c", script]);
        container.go(&["pause"]).succeeds();
        assert_eq!(container.told("{{.State.Status}}"), "paused");
        container.exec(&[], &["true"]).fails();
        thread::sleep(Duration::from_millis(300));
        container.go(&["unpause"]).succeeds();
        assert_eq!(container.told("{{.State.Status}}"), "running");
        let count = || container.exec(&[], &["cat", "/tmp/count"]).succeeds().stdout.trim().to_string();
        let then = count();
        assert!(eventually(10, || count() != then), "it does not run on");
    });
}

fn restart_begins_anew(engine: Engine) {
    engine.each(|client| {
        let container = client.idle(&[]);
        let before = container.told("{{.State.Pid}}");
        container.exec(&[], &["touch", "/tmp/kept"]).succeeds();
        container.go(&["restart", "-t", "5"]).succeeds();
        assert_ne!(container.told("{{.State.Pid}}"), before);
        container.exec(&[], &["ls", "/tmp/kept"]).succeeds();
    });
}

fn top_lists_the_processes(engine: Engine) {
    engine.each(|client| {
        let container = client.start(&[], &["sleep", "1234"]);
        container.exec(&["-d"], &["sleep", "5678"]).succeeds();
        let top = container.go(&["top"]);
        top.succeeds().says("sleep 1234").says("sleep 5678");
    });
}

fn an_init_reaps_and_passes_the_exit_status_on(engine: Engine) {
    engine.each(|client| {
        let init = client.shell(&["--init"], "cat /proc/1/comm");
        assert!(init.succeeds().stdout.contains("init"), "{init}");
        client.shell(&["--init"], "exit 9").exits(9);
        let script = "(sh -c 'sleep 0.1 & exec true' &); sleep 0.5; ps -o stat | grep -c Z";
        client.shell(&["--init"], script).prints("0");
    });
}

fn many_containers_at_once(engine: Engine) {
    engine.each(|client| {
        thread::scope(|scope| {
            let runs: Vec<_> = (0..8)
                .map(|i| scope.spawn(move || client.shell(&[], &format!("echo {i}; exit {i}"))))
                .collect();
            for (i, run) in runs.into_iter().enumerate() {
                run.join().expect("a run").exits(i as i32).prints(&i.to_string());
            }
        });
    });
}

fn a_container_that_has_ended_can_be_stopped_and_killed_as_usual(engine: Engine) {
    engine.each(|client| {
        let container = client.start(&[], &["true"]);
        container.go(&["wait"]).succeeds().prints("0");
        container.go(&["stop", "-t", "1"]).succeeds();
        container.go(&["kill"]).fails();
        container.exec(&[], &["true"]).fails();
        container.go(&["rm"]).succeeds();
        container.go(&["inspect"]).fails();
    });
}
