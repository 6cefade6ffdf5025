//! R11: no abstract socket of donjon's, and none of the host's within reach.

use std::fs;

use donjon_tests::{World, attacker_outside};

#[test]
fn r11_donjon_listens_on_no_abstract_socket() {
    // CVE-2020-15257: the shim's abstract socket could be reached from a container.
    let world = World::ordinary();
    let listening = || {
        let table = fs::read_to_string("/proc/net/unix").expect("the table of sockets");
        table
            .lines()
            .filter_map(|l| l.split_whitespace().nth(7))
            .filter(|p| p.starts_with('@'))
            .map(String::from)
            .collect::<Vec<_>>()
    };
    world.shell(&["-d", "--name", "house"], "sleep 60").go().succeeds();
    let found: Vec<String> = listening()
        .into_iter()
        .filter(|name| name.contains("donjon") && !name.contains("donjon-test-"))
        .collect();
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn r11_an_abstract_socket_of_the_host_can_not_be_reached() {
    let world = World::ordinary();
    let name = format!("donjon-test-{}", world.token());
    let path = format!(
        "{}/root/bin/attacker",
        std::env::var("DONJON_TEST_ROOMS").expect("run with cargo xtask test")
    );
    let mut listener =
        std::process::Command::new(path).args(["abstract-listen", &name]).spawn().expect("a listener");
    let reached = donjon_tests::eventually(5, || attacker_outside(&["abstract-connect", &name]).0 == 0);
    let run = world.attack(&["--rm"], &["abstract-connect", &name]).go();
    let hooked = world.attack(&["--rm"], &["abstract-connect", &name]).hooked().go();
    listener.kill().expect("ending the listener");
    listener.wait().expect("ending the listener");
    assert!(reached, "the attack can't tell: it fails outside as well");
    run.exits(1).says("refused");
    hooked.exits(1).says("refused");
}

#[test]
fn r11_a_process_of_the_host_can_not_be_signalled_or_traced() {
    let world = World::ordinary();
    let pid = std::process::id().to_string();
    for attack in [["signal", pid.as_str()], ["ptrace", pid.as_str()]] {
        world.attack(&["--rm"], &attack).go().exits(1).says("refused");
        world.attack(&["--rm"], &attack).without("seccomp,landlock").go().exits(1);
    }
}

#[test]
fn r11_the_network_of_the_host_can_not_be_reached() {
    let world = World::ordinary();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("its address").port().to_string();
    assert!(
        std::net::TcpStream::connect(("127.0.0.1", port.parse().expect("a port"))).is_ok(),
        "the attack can't tell"
    );
    world.shell(&["--rm"], &format!("nc -w 2 127.0.0.1 {port}")).go().fails_inside();
    world.shell(&["--rm"], &format!("nc -w 2 ::1 {port}")).go().fails_inside();
}
