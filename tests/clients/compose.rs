//! Docker Compose, where Debian packages it: services that find each other by name.

use std::fs;

use crate::house::{Engine, fresh, work};

#[test]
fn services_find_each_other_and_the_status_is_passed_on() {
    Engine::Docker.each(|client| {
        let dir = work("compose");
        let text = format!(
            r#"version: "2.4"
services:
  server:
    image: test
    runtime: {runtime}
    stop_grace_period: 1s
    command: ["httpd", "-f", "-p", "8080", "-h", "/etc"]
  client:
    image: test
    runtime: {runtime}
    environment: {{NAME: told}}
    mem_limit: 64m
    depends_on: [server]
    command: ["sh", "-c", "for i in 1 2 3 4 5 6 7 8 9; do wget -qO- http://server:8080/group && echo $$NAME && exit 5; sleep 0.3; done; exit 1"]
"#,
            runtime = client.runtime.name()
        );
        fs::write(dir.join("docker-compose.yml"), text).expect("a project");
        let project = fresh("project");
        let file = dir.join("docker-compose.yml").display().to_string();
        let compose = |arguments: &[&str]| {
            let of = ["--project-name", &project, "--file", &file];
            client.through_docker("docker-compose", &[&of, arguments].concat())
        };
        let up = compose(&["up", "--no-color", "--abort-on-container-exit", "--exit-code-from", "client"]);
        compose(&["down", "--timeout", "1"]).succeeds();
        up.exits(5).says("guest").says("told");
    });
}
