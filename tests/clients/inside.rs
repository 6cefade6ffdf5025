//! `exec`: another program in a container that runs.

use donjon_tests::eventually;

use crate::for_engines;
use crate::house::{Client, Engine, Runtime};

for_engines!([podman, rootless, docker] {
    exec_gives_the_programs_output_and_status,
    exec_tells_what_can_not_run,
    exec_takes_user_environment_and_directory,
    exec_is_in_the_containers_namespaces,
    exec_has_the_containers_protections,
    exec_in_the_background_goes_on,
    exec_works_many_times_and_at_once,
    exec_ends_with_the_container,
});

fn exec_gives_the_programs_output_and_status(engine: Engine) {
    engine.each(|client| {
        let container = client.idle(&[]);
        let run = container.exec(&[], &["sh", "-c", "echo out; echo err >&2; exit 9"]);
        run.exits(9).prints("out");
        assert_eq!(run.stderr.trim(), "err", "{run}");
        container.exec(&[], &["sh", "-c", "kill -KILL $$"]).exits(137);
    });
}

fn exec_tells_what_can_not_run(engine: Engine) {
    let codes = |runtime| {
        let container = Client { engine, runtime }.idle(&[]);
        let codes =
            ["/no/such", "nosuch", "/bin/unfit", "/etc"].map(|p| container.exec(&[], &[p]).fails().code);
        // The container is none the worse for it.
        container.exec(&[], &["true"]).succeeds();
        codes
    };
    let reference = codes(Runtime::Reference);
    assert_eq!(reference, codes(Runtime::Donjon), "runc is on the left");
    assert!(reference.iter().all(|c| [126, 127].contains(c)), "{reference:?}");
}

fn exec_takes_user_environment_and_directory(engine: Engine) {
    engine.each(|client| {
        let container = client.idle(&["-e", "KEPT=yes"]);
        let script = "id -u; id -g; echo $NAME $KEPT; pwd";
        let options = ["-u", "1000:1000", "-e", "NAME=value", "-w", "/tmp"];
        container.exec(&options, &["sh", "-c", script]).succeeds().prints("1000\n1000\nvalue yes\n/tmp");
        container.exec(&["-u", "guest"], &["id", "-un"]).succeeds().prints("guest");
    });
}

fn exec_is_in_the_containers_namespaces(engine: Engine) {
    engine.each(|client| {
        let container = client.idle(&["--hostname", "inner"]);
        let script = "for n in ipc mnt net pid user uts cgroup; do \
                      [ $(readlink /proc/1/ns/$n) = $(readlink /proc/self/ns/$n) ] || echo $n differs; done; hostname";
        container.exec(&[], &["sh", "-c", script]).succeeds().prints("inner");
        let groups = "cut -d: -f2- /proc/1/cgroup > /tmp/one; cut -d: -f2- /proc/self/cgroup | cmp - /tmp/one";
        container.exec(&[], &["sh", "-c", groups]).succeeds();
    });
}

fn exec_has_the_containers_protections(engine: Engine) {
    let told = |runtime| {
        let container =
            Client { engine, runtime }.idle(&["--cap-drop", "CHOWN", "--security-opt", "no-new-privileges"]);
        let script = "grep -E '^(Cap|NoNew|Seccomp:|Uid|Gid|Groups)' /proc/self/status; ulimit -n";
        container.exec(&[], &["sh", "-c", script]).succeeds().stdout.clone()
    };
    let reference = told(Runtime::Reference);
    assert!(reference.contains("NoNewPrivs:\t1") && reference.contains("Seccomp:\t2"), "{reference}");
    assert_eq!(reference, told(Runtime::Donjon), "runc is on the left");
}

fn exec_in_the_background_goes_on(engine: Engine) {
    engine.each(|client| {
        let container = client.idle(&[]);
        container.exec(&["-d"], &["sh", "-c", "sleep 0.2; echo done > /tmp/done"]).succeeds();
        assert!(eventually(10, || container.exec(&[], &["cat", "/tmp/done"]).stdout.trim() == "done"));
    });
}

fn exec_works_many_times_and_at_once(engine: Engine) {
    engine.each(|client| {
        let container = client.idle(&[]);
        std::thread::scope(|scope| {
            let runs: Vec<_> = (0..8)
                .map(|i| {
                    (
                        i,
                        scope.spawn({
                            let container = &container;
                            move || container.exec(&[], &["sh", "-c", &format!("echo {i}; exit {i}")])
                        }),
                    )
                })
                .collect();
            for (i, run) in runs {
                run.join().expect("an exec").exits(i).prints(&i.to_string());
            }
        });
    });
}

fn exec_ends_with_the_container(engine: Engine) {
    engine.each(|client| {
        let container = client.idle(&[]);
        std::thread::scope(|scope| {
            let exec =
                scope.spawn(|| container.exec(&[], &["sh", "-c", "echo begun > /tmp/begun; sleep 300"]));
            assert!(eventually(10, || container.exec(&[], &["ls", "/tmp/begun"]).code == 0));
            container.go(&["kill"]).succeeds();
            exec.join().expect("the exec").exits(137);
        });
    });
}
