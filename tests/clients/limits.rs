//! Limits by cgroups: set, kept, changed and told.

use crate::for_engines;
use crate::house::{Engine, unified};

for_engines!([podman, docker] {
    the_memory_limit_is_set,
    what_exceeds_its_memory_is_killed,
    processes_are_limited,
    processors_are_limited,
    limits_change_while_the_container_runs,
    stats_tell_what_is_used,
    devices_that_were_not_given_can_not_be_opened,
});

/// A file of the container's own group, on either hierarchy.
fn file(unified_name: &str, controller: &str, name: &str) -> String {
    if unified() {
        format!("/sys/fs/cgroup/{unified_name}")
    } else {
        format!("/sys/fs/cgroup/{controller}/{name}")
    }
}

fn the_memory_limit_is_set(engine: Engine) {
    let script = format!("cat {}", file("memory.max", "memory", "memory.limit_in_bytes"));
    engine.agrees(&["-m", "32m"], &script).succeeds().prints("33554432");
}

fn what_exceeds_its_memory_is_killed(engine: Engine) {
    engine.each(|client| {
        let options = ["-m", "24m", "--memory-swap", "24m"];
        let container = client.start(&options, &["dd", "if=/dev/zero", "of=/dev/null", "bs=100M", "count=1"]);
        container.go(&["wait"]).succeeds().prints("137");
        // Podman's monitor misses it now and then on the older hierarchies.
        if engine == Engine::Docker {
            assert_eq!(container.told("{{.State.OOMKilled}}"), "true");
        }
    });
}

fn processes_are_limited(engine: Engine) {
    engine.each(|client| {
        let script = "for i in 1 2 3 4 5 6 7 8; do sleep 1 & done; echo all";
        client.shell(&["--pids-limit", "5"], script).fails().complains("can't fork");
        client.shell(&["--pids-limit", "20"], script).succeeds().prints("all");
    });
}

fn processors_are_limited(engine: Engine) {
    let script = if unified() {
        "cat /sys/fs/cgroup/cpu.max; grep Cpus_allowed_list /proc/self/status".to_string()
    } else {
        "cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu/cpu.cfs_period_us /sys/fs/cgroup/cpu/cpu.shares; \
         grep Cpus_allowed_list /proc/self/status"
            .to_string()
    };
    let options = ["--cpus", "0.5", "--cpu-shares", "512", "--cpuset-cpus", "0"];
    engine.agrees(&options, &script).succeeds().says("50000").says("Cpus_allowed_list:\t0\n");
}

fn limits_change_while_the_container_runs(engine: Engine) {
    engine.each(|client| {
        let container = client.idle(&["-m", "128m"]);
        let read = |path: String| container.exec(&[], &["cat", &path]).succeeds().stdout.trim().to_string();
        let memory = || read(file("memory.max", "memory", "memory.limit_in_bytes"));
        assert_eq!(memory(), "134217728");
        container.go(&["update", "--memory", "64m", "--memory-swap", "64m", "--cpus", "0.5"]).succeeds();
        assert_eq!(memory(), "67108864");
        assert!(read(file("cpu.max", "cpu", "cpu.cfs_quota_us")).starts_with("50000"));
        if engine == Engine::Docker {
            container.go(&["update", "--pids-limit", "50"]).succeeds();
            assert_eq!(read(file("pids.max", "pids", "pids.max")), "50");
            assert_eq!(memory(), "67108864", "what was not named was changed");
        }
    });
}

fn stats_tell_what_is_used(engine: Engine) {
    engine.each(|client| {
        let container = client.start(&["-m", "64m"], &["sleep", "300"]);
        let stats = container.go(&["stats", "--no-stream", "--format", "{{.PIDs}} {{.MemUsage}}"]);
        stats.succeeds();
        assert!(stats.stdout.starts_with("1 "), "{stats}");
        assert!(stats.stdout.contains("64MiB") || stats.stdout.contains("67.11MB"), "{stats}");
    });
}

fn devices_that_were_not_given_can_not_be_opened(engine: Engine) {
    // 10:229 is FUSE's device, which everybody may open on the machine.
    let script = "mknod /tmp/fuse c 10 229 && head -c 0 /tmp/fuse";
    engine.agrees(&[], script).fails().complains("not permitted");
    engine.agrees(&["--device", "/dev/fuse"], script).succeeds();
}
