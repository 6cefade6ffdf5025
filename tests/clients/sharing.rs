//! Namespaces that a container shares with the machine or with another container.

use std::fs;

use crate::for_engines;
use crate::house::Engine;

for_engines!([podman, rootless, docker] {
    the_machines_processes_are_seen_when_asked,
    the_machines_network_is_used_when_asked,
    the_machines_hostname_is_used_when_asked,
    another_containers_network_is_joined,
    another_containers_processes_are_joined,
    the_group_of_a_container_is_its_root_when_asked,
});
for_engines!([podman, docker] {
    the_machines_ipc_is_used_when_asked,
});

fn machines(namespace: &str) -> String {
    fs::read_link(format!("/proc/self/ns/{namespace}")).expect("a namespace").to_string_lossy().into_owned()
}

fn the_machines_processes_are_seen_when_asked(engine: Engine) {
    engine.each(|client| {
        client
            .run(&["--pid", "host"], &["readlink", "/proc/self/ns/pid"])
            .succeeds()
            .prints(&machines("pid"));
        client.shell(&["--pid", "host"], "exit 6").exits(6);
        // Nothing takes the others along here: the runtime has to find and end them.
        let container = client.start(&["--pid", "host"], &["sh", "-c", "sleep 4711 & sleep 4712 & wait"]);
        container.go(&["kill"]).succeeds();
        container.go(&["wait"]).succeeds().prints("137");
    });
}

fn the_machines_network_is_used_when_asked(engine: Engine) {
    engine.each(|client| {
        client
            .run(&["--network", "host"], &["readlink", "/proc/self/ns/net"])
            .succeeds()
            .prints(&machines("net"));
        client.run(&["--network", "none"], &["ls", "/sys/class/net"]).succeeds().prints("lo");
    });
}

fn the_machines_hostname_is_used_when_asked(engine: Engine) {
    engine.each(|client| {
        client
            .run(&["--uts", "host"], &["readlink", "/proc/self/ns/uts"])
            .succeeds()
            .prints(&machines("uts"));
    });
}

fn the_machines_ipc_is_used_when_asked(engine: Engine) {
    engine.each(|client| {
        client
            .run(&["--ipc", "host"], &["readlink", "/proc/self/ns/ipc"])
            .succeeds()
            .prints(&machines("ipc"));
    });
}

fn another_containers_network_is_joined(engine: Engine) {
    engine.each(|client| {
        let server = client.start(&[], &["httpd", "-f", "-p", "8080", "-h", "/etc"]);
        let joined = format!("container:{}", server.name);
        let script =
            "for i in 1 2 3 4 5; do wget -qO- http://127.0.0.1:8080/group && exit; sleep 0.2; done; exit 1";
        client.shell(&["--network", &joined], script).succeeds().says("guest");
    });
}

fn another_containers_processes_are_joined(engine: Engine) {
    engine.each(|client| {
        let first = client.start(&[], &["sleep", "2345"]);
        let joined = format!("container:{}", first.name);
        client.run(&["--pid", &joined], &["ps"]).succeeds().says("sleep 2345");
        let second = client.start(&["--pid", &joined], &["sleep", "3456"]);
        first.exec(&[], &["ps"]).succeeds().says("sleep 3456");
        second.go(&["stop", "-t", "0"]).succeeds();
        first.exec(&[], &["ps"]).succeeds().says("sleep 2345");
    });
}

fn the_group_of_a_container_is_its_root_when_asked(engine: Engine) {
    if engine.limits() {
        engine
            .agrees(&["--cgroupns", "private"], "cut -d: -f3 /proc/self/cgroup | sort -u")
            .succeeds()
            .prints("/");
    }
    engine.each(|client| {
        client
            .run(&["--cgroupns", "host"], &["readlink", "/proc/self/ns/cgroup"])
            .prints(&machines("cgroup"));
    });
}
