//! Pods: containers that share namespaces, by hand and from a Kubernetes manifest.

use std::fs;

use donjon_tests::eventually;

use crate::for_engines;
use crate::house::{Client, Engine, fresh, work};

for_engines!([podman, rootless] {
    containers_of_a_pod_share_network_and_name,
    a_pod_stops_and_starts_as_one,
    a_manifest_becomes_a_pod,
});
for_engines!([podman] {
    a_pod_is_paused_and_told_of,
    limits_of_a_manifest_hold,
});

/// A pod; dropping it removes it.
struct Pod {
    client: Client,
    name: String,
}

impl Pod {
    fn new(client: Client) -> Self {
        let name = fresh("pod");
        client.go(&["pod", "create", "--network", "none", "--name", &name]).succeeds();
        Self { client, name }
    }

    fn state(&self) -> String {
        let told = self.client.go(&["pod", "inspect", "--format", "{{.State}}", &self.name]);
        told.succeeds().stdout.trim().to_string()
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        self.client.go(&["pod", "rm", "-f", "-t", "0", &self.name]);
    }
}

fn containers_of_a_pod_share_network_and_name(engine: Engine) {
    engine.each(|client| {
        let pod = Pod::new(client);
        let server = client.start(&["--pod", &pod.name], &["httpd", "-f", "-p", "8080", "-h", "/etc"]);
        let namespaces = "for n in net uts ipc; do readlink /proc/self/ns/$n; done";
        let fetch =
            "for i in 1 2 3 4 5; do wget -qO- http://127.0.0.1:8080/group && exit; sleep 0.2; done; exit 1";
        let run = client.shell(&["--pod", &pod.name], &format!("hostname; {namespaces}; {fetch}"));
        run.succeeds().says(&pod.name).says("guest");
        let seen = server.exec(&[], &["sh", "-c", namespaces]);
        run.says(&seen.succeeds().stdout);
        // Each has its own processes.
        client.shell(&["--pod", &pod.name], "ps | grep -c [h]ttpd").prints("0");
    });
}

fn a_pod_stops_and_starts_as_one(engine: Engine) {
    engine.each(|client| {
        let pod = Pod::new(client);
        let container = client.idle(&["--pod", &pod.name]);
        assert_eq!(pod.state(), "Running");
        client.go(&["pod", "stop", "-t", "5", &pod.name]).succeeds();
        assert_eq!(container.told("{{.State.Status}}"), "exited");
        client.go(&["pod", "start", &pod.name]).succeeds();
        container.exec(&[], &["true"]).succeeds();
        client.go(&["pod", "kill", &pod.name]).succeeds();
        assert!(eventually(10, || container.told("{{.State.Status}}") == "exited"));
    });
}

fn a_pod_is_paused_and_told_of(engine: Engine) {
    engine.each(|client| {
        let pod = Pod::new(client);
        let container = client.idle(&["--pod", &pod.name]);
        client.go(&["pod", "stats", "--no-stream", &pod.name]).succeeds().says(&container.name);
        client.go(&["pod", "top", &pod.name]).succeeds().says("sleep");
        client.go(&["pod", "pause", &pod.name]).succeeds();
        assert_eq!(container.told("{{.State.Status}}"), "paused");
        client.go(&["pod", "unpause", &pod.name]).succeeds();
        assert_eq!(container.told("{{.State.Status}}"), "running");
    });
}

/// Plays a manifest of one pod with the container `one`, checks it, and takes it down.
fn play(client: Client, container: &str, check: impl Fn(&dyn Fn(&[&str]) -> crate::house::Outcome)) {
    let name = fresh("kube");
    let manifest = work("kube").join("pod.yaml");
    let text = format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\nspec:\n  restartPolicy: Never\n  containers:\n\
         \x20 - name: one\n    image: localhost/test:latest\n    imagePullPolicy: Never\n{container}"
    );
    fs::write(&manifest, text).expect("a manifest");
    let manifest = manifest.display().to_string();
    client.go(&["play", "kube", "--network", "none", &manifest]).succeeds();
    let one = format!("{name}-one");
    check(&|arguments| {
        let arguments: Vec<&str> = arguments.iter().map(|a| if *a == "ONE" { &one } else { *a }).collect();
        client.go(&arguments)
    });
    client.go(&["play", "kube", "--down", &manifest]).succeeds();
}

fn a_manifest_becomes_a_pod(engine: Engine) {
    let container = r#"    command: ["sh", "-c", "echo begun; trap 'exit 0' TERM; while :; do sleep 0.1; done"]
    env: [{name: NAME, value: told}]
    workingDir: /tmp
    securityContext:
      runAsUser: 1000
      runAsGroup: 1000
      readOnlyRootFilesystem: true
      allowPrivilegeEscalation: false
      capabilities: {drop: ["ALL"]}
    volumeMounts: [{name: scratch, mountPath: /scratch}]
  volumes:
  - {name: scratch, emptyDir: {}}
"#;
    engine.each(|client| {
        play(client, container, |go| {
            assert!(eventually(10, || go(&["logs", "ONE"]).stdout.contains("begun")));
            go(&["exec", "ONE", "sh", "-c", "id -u; id -g; echo $NAME; pwd"])
                .prints("1000\n1000\ntold\n/tmp");
            go(&["exec", "ONE", "grep", "-E", "^(CapEff|CapBnd|NoNewPrivs)", "/proc/self/status"])
                .prints("CapEff:\t0000000000000000\nCapBnd:\t0000000000000000\nNoNewPrivs:\t1");
            go(&["exec", "ONE", "touch", "/etc/made"]).fails().complains("read-only file system");
        });
    });
}

fn limits_of_a_manifest_hold(engine: Engine) {
    let container =
        "    command: [\"sleep\", \"300\"]\n    resources: {limits: {memory: 64Mi, cpu: \"0.5\"}}\n";
    engine.each(|client| {
        play(client, container, |go| {
            let script = "cat /sys/fs/cgroup/memory.max 2>/dev/null || cat /sys/fs/cgroup/memory/memory.limit_in_bytes";
            go(&["exec", "ONE", "sh", "-c", script]).prints("67108864");
        });
    });
}
