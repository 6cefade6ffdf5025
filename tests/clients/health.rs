//! Checks of a container's health, which are `exec` by the engine.

use donjon_tests::eventually;

use crate::for_engines;
use crate::house::Engine;

for_engines!([podman, rootless] { a_health_check_is_run_when_asked });
for_engines!([docker] { health_is_told_as_it_changes });

fn a_health_check_is_run_when_asked(engine: Engine) {
    engine.each(|client| {
        // Without systemd Podman has no timer for it; `disable` says so.
        let container = client.idle(&["--health-cmd", "test -f /tmp/well", "--health-interval", "disable"]);
        container.go(&["healthcheck", "run"]).exits(1);
        container.exec(&[], &["touch", "/tmp/well"]).succeeds();
        container.go(&["healthcheck", "run"]).succeeds();
    });
}

fn health_is_told_as_it_changes(engine: Engine) {
    engine.each(|client| {
        let options =
            ["--health-cmd", "test -f /tmp/well", "--health-interval", "500ms", "--health-retries", "1"];
        let container = client.idle(&options);
        let becomes = |state: &str| eventually(15, || container.told("{{.State.Health.Status}}") == state);
        assert!(becomes("unhealthy"));
        container.exec(&[], &["touch", "/tmp/well"]).succeeds();
        assert!(becomes("healthy"));
    });
}
