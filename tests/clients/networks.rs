//! Networks that the engine makes.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU16, Ordering};

use donjon_tests::eventually;

use crate::for_engines;
use crate::house::Engine;

for_engines!([podman, docker] {
    a_published_port_reaches_the_container,
});
for_engines!([rootless] {
    a_network_of_the_users_own_reaches_the_container,
});

static PORT: AtomicU16 = AtomicU16::new(18080);

/// What a server on this machine answers.
fn fetched(port: u16) -> String {
    let answer = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(std::time::Duration::from_secs(2)))?;
        stream.write_all(b"GET /group HTTP/1.0\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    };
    answer().unwrap_or_default()
}

fn publishes(engine: Engine, network: &str) {
    engine.each(|client| {
        let port = PORT.fetch_add(1, Ordering::Relaxed);
        let publish = format!("127.0.0.1:{port}:80");
        let server =
            client.start(&["--network", network, "-p", &publish], &["httpd", "-f", "-p", "80", "-h", "/etc"]);
        assert!(
            eventually(10, || fetched(port).contains("guest")),
            "port {port} of {} is silent",
            server.name
        );
        server.exec(&[], &["ip", "-o", "-4", "addr"]).succeeds().says("inet 1");
    });
}

fn a_published_port_reaches_the_container(engine: Engine) {
    publishes(engine, "bridge");
}

fn a_network_of_the_users_own_reaches_the_container(engine: Engine) {
    publishes(engine, "slirp4netns");
}
