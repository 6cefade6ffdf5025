//! `cargo xtask test clients`: what the room of engines needs, and how its tests are kept apart from the machine.

use std::process::{Command, Stdio};

use crate::machine::packages;
use crate::place::Place;

/// The engines, the reference runtime, and what the engines use: an init, networks, maps of ids.
const PACKAGES: [&str; 13] = [
    "podman", "conmon", "runc", "docker.io", "docker-compose", "containerd", "catatonit", "netavark",
    "slirp4netns", "iptables", "uidmap", "busybox-static", "util-linux",
];
/// Seconds for all tests.
const SECONDS: &str = "900";

/// The test command, to be run in namespaces and cgroups of its own.
pub fn apart(place: &Place, test: &Command) -> Result<Command, String> {
    packages(&PACKAGES)?;
    let mut command = Command::new(place.repository.join("tests/clients/apart.sh"));
    command.arg(SECONDS).arg(test.get_program()).args(test.get_args()).current_dir(&place.repository);
    for (name, value) in test.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    // The tests' network is their own: everything is fetched and built before.
    command.env("DONJON_TEST_APART", "yes").env("CARGO_NET_OFFLINE", "true");
    build(place, test)?;
    Ok(command)
}

fn build(place: &Place, test: &Command) -> Result<(), String> {
    let arguments: Vec<&str> = test.get_args().filter_map(|a| a.to_str()).chain(["--no-run"]).collect();
    let status = place.cargo(&arguments).stdin(Stdio::null()).status().map_err(|e| format!("cargo: {e}"))?;
    if status.success() { Ok(()) } else { Err("the tests could not be built".to_string()) }
}
