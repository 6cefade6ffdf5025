//! `-t`: a terminal that goes through the engine.

use crate::for_engines;
use crate::house::Engine;

for_engines!([podman, rootless, docker] {
    a_terminal_is_given,
    a_terminal_is_given_to_exec,
    typing_arrives_and_the_size_is_passed_on,
    a_key_interrupts,
    exec_on_a_terminal_is_the_same,
});

/// What a program finds out about its terminal.
const ABOUT: &str = "tty; test -t 0 && test -t 1 && test -t 2 && echo all; stat -c '%F %a' /dev/console; \
                     [ $(stat -c %u:%g $(tty)) = $(id -u):5 ] && echo owned; cat /proc/self/stat | cut -d' ' -f7";

fn a_terminal_is_given(engine: Engine) {
    engine.agrees(&["-t"], ABOUT).succeeds().says("/dev/pts/0\nall\ncharacter special file");
    engine.agrees(&["-t", "-u", "1000"], ABOUT).succeeds();
    engine.agrees(&[], "tty; ls /dev/console").fails();
}

fn a_terminal_is_given_to_exec(engine: Engine) {
    engine.each(|client| {
        let container = client.idle(&[]);
        container
            .exec(&["-t"], &["sh", "-c", "tty; test -t 1 && echo yes"])
            .succeeds()
            .prints("/dev/pts/0\nyes");
        container.exec(&[], &["sh", "-c", "test -t 1 || echo no"]).succeeds().prints("no");
    });
}

fn typing_arrives_and_the_size_is_passed_on(engine: Engine) {
    engine.each(|client| {
        // Docker tells the size a moment after the start.
        let size = "for i in 1 2 3 4 5 6 7 8 9; do stty size | grep '^24 ' && break; sleep 0.2; done";
        let mut run = client.on_a_terminal(&format!("echo ready; read line; echo got:$line; {size}; exit 3"));
        run.wait_for("ready");
        run.type_in("words\n");
        run.wait_for("got:words");
        let (code, screen, _) = run.finish();
        assert_eq!(code, 3, "{screen}");
        assert!(screen.contains("24 80"), "{screen}");
    });
}

fn a_key_interrupts(engine: Engine) {
    engine.each(|client| {
        let mut run = client
            .on_a_terminal("trap 'echo interrupted; exit 4' INT; echo ready; while :; do sleep 0.1; done");
        run.wait_for("ready");
        run.type_in("\u{3}");
        let (code, screen, _) = run.finish();
        assert_eq!(code, 4, "{screen}");
        assert!(screen.contains("interrupted"), "{screen}");
    });
}

fn exec_on_a_terminal_is_the_same(engine: Engine) {
    engine.each(|client| {
        let container = client.idle(&[]);
        let mut run = container.exec_on_a_terminal("echo ready; read line; echo got:$line; exit 3");
        run.wait_for("ready");
        run.type_in("words\n");
        run.wait_for("got:words");
        let (code, screen, _) = run.finish();
        assert_eq!(code, 3, "{screen}");
    });
}
