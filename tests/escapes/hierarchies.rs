//! R16: no hierarchy of cgroups of version 1 can be written to inside, however it got there (CVE-2022-0492).

use donjon_tests::{Bundle, World};
use serde_json::{Value, json};

/// Where this machine has a hierarchy of version 1 and one of version 2: of each the directory that shows it.
fn mounted() -> (Option<String>, Option<String>) {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("the list of mounts");
    let of = |kind: &str| {
        let mut lines = mounts.lines().filter_map(|line| line.split_once(" - "));
        let found = lines.find(|(mount, source)| {
            source.starts_with(&format!("{kind} ")) && mount.contains(" / /sys/fs/cgroup")
        });
        found.and_then(|(mount, _)| Some(mount.split(' ').nth(4)?.to_string()))
    };
    (of("cgroup"), of("cgroup2"))
}

/// A bundle without a user namespace in which `source` is bound at /mnt, or over /etc/passwd if it is a file.
fn bound<'w>(world: &'w World, source: &str, kind: &str, options: &[&str]) -> Bundle<'w> {
    let mut bundle = world.bundle("b", "");
    let is_dir = std::fs::metadata(source).expect("the source").is_dir();
    let destination = if is_dir { "/mnt" } else { "/etc/passwd" };
    let mount = json!({"destination": destination, "type": kind, "source": source, "options": options});
    bundle.push("/mounts", mount);
    bundle
}

/// Opening for writing changes nothing on this machine, and is what a read-only mount refuses.
fn attacks(bundle: &mut Bundle<'_>, path: &str) {
    bundle.set("/process/args", json!(["/bin/attacker", "open-write", path]));
}

#[test]
fn r16_a_hierarchy_of_version_1_that_comes_along_with_a_bind_can_not_be_written_to() {
    let world = World::root();
    let (Some(hierarchy), _) = mounted() else {
        // On a machine with version 2 alone there is none to come along.
        let groups = std::fs::read_to_string("/proc/self/cgroup").expect("this process's groups");
        assert!(groups.lines().all(|line| line.starts_with("0::")), "{groups}");
        return;
    };
    let agent = format!("{hierarchy}/release_agent");
    let below = |top: &str| {
        format!("/mnt/{}", agent.strip_prefix(top).expect("it lies below").trim_start_matches('/'))
    };
    let cases: [(&str, &str, &[&str]); 9] = [
        ("/sys/fs/cgroup", "bind", &["rbind", "rw"]),
        ("/sys/fs/cgroup", "none", &["rbind", "rrw"]),
        ("/sys/fs/cgroup", "bind", &["rbind", "rshared"]),
        ("/sys", "bind", &["rbind", "rslave"]),
        ("/", "bind", &["rbind", "rprivate", "rw", "nosuid"]),
        (&hierarchy, "bind", &["bind", "rw"]),
        (&hierarchy, "bind", &["rbind", "rrw", "rshared"]),
        (&agent, "bind", &["bind", "rw"]),
        (&agent, "bind", &["rbind", "shared"]),
    ];
    for (source, kind, options) in cases {
        let mut bundle = bound(&world, source, kind, options);
        let path = if source == agent { "/etc/passwd".to_string() } else { below(source) };
        attacks(&mut bundle, &path);
        for run in [bundle.run("c1"), bundle.run("c1").hooked()] {
            let run = run.go();
            assert_eq!(
                (run.code(), run.stdout.trim()),
                (1, "refused EROFS"),
                "{source} {options:?}: {run:?}"
            );
        }
        let open = bundle.run("c1").without("v1-read-only").go();
        assert_eq!(open.code(), 0, "{source} {options:?}: the test can't tell: {open:?}");
    }
    world.assert_nothing_left("hierarchies that came along");
}

#[test]
fn r16_a_remount_does_not_make_a_hierarchy_of_version_1_writable() {
    let world = World::root();
    let (Some(hierarchy), _) = mounted() else { return };
    for options in [&["bind", "remount", "rw"][..], &["remount", "bind", "rw", "nosuid"]] {
        let mut bundle = bound(&world, &hierarchy, "bind", &["bind"]);
        bundle.push("/mounts", json!({"destination": "/mnt", "type": "none", "options": options}));
        attacks(&mut bundle, "/mnt/release_agent");
        bundle.run("c1").go().exits(1).prints("refused EROFS");
        bundle.run("c1").without("v1-read-only").go().exits(0);
    }
    // With all that lies below: nobody knows what that is.
    let mut bundle = bound(&world, "/sys/fs/cgroup", "bind", &["rbind"]);
    bundle.push(
        "/mounts",
        json!({"destination": "/mnt", "type": "none", "options": ["remount", "bind", "rrw"]}),
    );
    let last = bundle.config["mounts"].as_array().expect("a list").len() - 1;
    bundle.run("c1").go().exits(1).complains(&format!("mounts[{last}].options"));
    // The root of the machine as the container's: its groups come along, too.
    let mut bundle = world.bundle("b", "");
    bundle.set("/root", json!({"path": "/", "readonly": false}));
    bundle.set("/mounts", Value::Array(Vec::new()));
    bundle.set("/linux/maskedPaths", Value::Null);
    bundle.set("/linux/readonlyPaths", Value::Null);
    let script = format!("exec 3> {hierarchy}/release_agent && echo in");
    bundle.set("/process/args", json!(["/bin/sh", "-c", script]));
    bundle.run("c1").go().never_says("in\n").complains("Read-only file system");
    bundle.run("c1").without("v1-read-only").go().says("in");
    world.assert_nothing_left("hierarchies that were mounted anew");
}

#[test]
fn r16_hierarchies_that_are_bound_can_be_read_and_version_2_is_as_written() {
    let world = World::root();
    let (v1, v2) = mounted();
    let mut bundle = bound(&world, "/sys/fs/cgroup", "bind", &["rbind", "rw"]);
    let inside = |path: &str| format!("/mnt{}", path.strip_prefix("/sys/fs/cgroup").expect("below"));
    for hierarchy in v1.iter().chain(&v2) {
        bundle.script(&format!("cat {}/cgroup.procs > /dev/null && echo read", inside(hierarchy)));
        bundle.run("c1").go().succeeds().prints("read");
    }
    if let Some(v2) = v2 {
        attacks(&mut bundle, &format!("{}/cgroup.procs", inside(&v2)));
        bundle.run("c1").go().exits(0);
    }
    world.assert_nothing_left("hierarchies that are read");
}
