//! What an engine's specification becomes: whole plans, pure, without privileges or a kernel.

#![allow(clippy::unwrap_used, clippy::panic)] // a test: it ends where it fails

use donjon_confine::bundle::Options;
use donjon_confine::layers::cgroups::Hierarchy;
use donjon_confine::{Host, Plan, SpecError};
use serde_json::{Value, json};

fn host() -> Host {
    Host {
        uid: 0,
        gid: 0,
        kernel: (6, 8),
        landlock_abi: 0,
        reads_audit: false,
        filters: &[],
        cgroups: Hierarchy::None,
    }
}

/// A small specification, as engines begin with.
fn spec() -> Value {
    json!({
        "ociVersion": "1.3.0",
        "process": {"user": {"uid": 0, "gid": 0}, "args": ["/bin/true"], "cwd": "/"},
        "root": {"path": "rootfs"},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
        "linux": {"namespaces": [
            {"type": "pid"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"}, {"type": "network"}
        ]},
    })
}

/// The specification with the value at a path; a path that ends in `-` adds to the list.
fn with(path: &str, value: Value) -> Value {
    let mut spec = spec();
    let mut at = &mut spec;
    for part in path.split('/') {
        if at.is_null() {
            *at = if part == "-" { json!([]) } else { json!({}) };
        }
        at = match at {
            Value::Array(list) => {
                list.push(Value::Null);
                list.last_mut().unwrap()
            }
            Value::Object(object) => object.entry(part.to_string()).or_insert(Value::Null),
            other => panic!("{other} has no {part}"),
        };
    }
    *at = value;
    spec
}

fn plan(spec: Value) -> Result<Plan, SpecError> {
    Plan::of_bundle(&serde_json::from_value(spec).unwrap(), &host(), &Options::default())
}

/// Field and words of every step.
fn steps(spec: Value) -> Vec<(String, String)> {
    let plan = plan(spec).unwrap().to_json();
    let text = |step: &Value, key: &str| step[key].as_str().unwrap().to_string();
    plan["steps"].as_array().unwrap().iter().map(|s| (text(s, "field"), text(s, "does"))).collect()
}

/// The words of the steps for one field.
fn does(spec: Value, field: &str) -> Vec<String> {
    steps(spec).into_iter().filter(|(f, _)| f == field).map(|(_, does)| does).collect()
}

fn position(steps: &[(String, String)], what: &str) -> usize {
    steps.iter().position(|(_, does)| does.contains(what)).unwrap_or_else(|| panic!("no {what}: {steps:#?}"))
}

fn merged(mut base: Value, changes: Value) -> Value {
    base.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    base
}

#[test]
fn each_value_that_is_none_is_refused_with_its_path() {
    let device = |c: Value| merged(json!({"path": "/dev/x", "type": "c", "major": 1, "minor": 3}), c);
    let mount = |c: Value| merged(json!({"destination": "/x", "type": "tmpfs", "source": "tmpfs"}), c);
    let map = |size: u32| json!([{"containerID": 0, "hostID": 1, "size": size}]);
    let long = format!("size={}", "1".repeat(256));
    for (path, value, field) in [
        ("mounts/-", mount(json!({"destination": "/"})), "mounts[1].destination"),
        ("mounts/-", mount(json!({"destination": "/a/.."})), "mounts[1].destination"),
        ("mounts/-", mount(json!({"destination": "/proc"})), "mounts[1].type"),
        ("mounts/-", mount(json!({"destination": "/a/../proc", "type": "ext4"})), "mounts[1].type"),
        ("mounts/-", mount(json!({"destination": "/proc/self", "type": "bind"})), "mounts[1].destination"),
        ("mounts/-", mount(json!({"type": "none"})), "mounts[1].type"),
        ("mounts/-", mount(json!({"type": "bind", "source": ""})), "mounts[1].source"),
        ("mounts/-", mount(json!({"type": "ext4", "options": ["tmpcopyup"]})), "mounts[1].options"),
        ("mounts/-", mount(json!({"options": ["ro", long]})), "mounts[1].options[1]"),
        ("mounts/-", mount(json!({"type": "bind", "options": ["bind", "idmap"]})), "mounts[1].options"),
        ("mounts/-", mount(json!({"type": "bind", "uidMappings": map(1)})), "mounts[1]"),
        (
            "mounts/-",
            mount(json!({"type": "bind", "uidMappings": map(0), "gidMappings": map(1)})),
            "mounts[1].uidMappings[0]",
        ),
        ("root/path", json!(""), "root.path"),
        ("linux/rootfsPropagation", json!("sharedd"), "linux.rootfsPropagation"),
        ("linux/maskedPaths", json!(["proc/keys"]), "linux.maskedPaths[0]"),
        ("linux/readonlyPaths", json!(["/a", "/"]), "linux.readonlyPaths[1]"),
        ("linux/devices/-", device(json!({"type": "a"})), "linux.devices[0].type"),
        ("linux/devices/-", device(json!({"major": -1})), "linux.devices[0].major"),
        ("linux/devices/-", device(json!({"minor": 0x10_0000})), "linux.devices[0].minor"),
        ("linux/devices/-", device(json!({"path": "/"})), "linux.devices[0].path"),
        ("linux/sysctl", json!({"vm.swappiness": "1"}), "linux.sysctl[vm.swappiness]"),
        ("linux/sysctl", json!({"net.a..b": "1"}), "linux.sysctl[net.a..b]"),
        ("linux/sysctl", json!({"net/../vm": "1"}), "linux.sysctl[net/../vm]"),
        ("linux/netDevices", json!({"eth0": {"name": "a/b"}}), "linux.netDevices[eth0].name"),
        ("linux/netDevices", json!({"e0": {"name": "x"}, "e1": {"name": "x"}}), "linux.netDevices"),
        ("linux/intelRdt", json!({"schemata": ["L3:0=f"]}), "linux.intelRdt.closID"),
        ("linux/intelRdt", json!({"closID": "a/b"}), "linux.intelRdt.closID"),
        ("linux/intelRdt", json!({"closID": "a", "schemata": ["nothing"]}), "linux.intelRdt.schemata"),
        (
            "linux/intelRdt",
            json!({"closID": "a", "enableMonitoring": true}),
            "linux.intelRdt.enableMonitoring",
        ),
        ("linux/personality", json!({"domain": "LINUX", "flags": ["X"]}), "linux.personality.flags[0]"),
        ("linux/memoryPolicy", json!({"mode": "MPOL_BIND"}), "linux.memoryPolicy.nodes"),
        ("linux/memoryPolicy", json!({"mode": "MPOL_LOCAL", "nodes": "0"}), "linux.memoryPolicy.nodes"),
        ("linux/memoryPolicy", json!({"mode": "MPOL_BIND", "nodes": "1-0"}), "linux.memoryPolicy.nodes"),
        (
            "linux/memoryPolicy",
            json!({"mode": "MPOL_INTERLEAVE", "nodes": "0", "flags": ["MPOL_F_NUMA_BALANCING"]}),
            "linux.memoryPolicy.flags",
        ),
        ("process/oomScoreAdj", json!(1001), "process.oomScoreAdj"),
        ("process/rlimits", json!([{"type": "RLIMIT_CPU", "soft": 2, "hard": 1}]), "process.rlimits[0]"),
        (
            "process/ioPriority",
            json!({"class": "IOPRIO_CLASS_BE", "priority": 8}),
            "process.ioPriority.priority",
        ),
        ("process/scheduler", json!({"policy": "SCHED_ISO"}), "process.scheduler.policy"),
        ("process/scheduler", json!({"policy": "SCHED_OTHER", "nice": 20}), "process.scheduler.nice"),
        ("process/scheduler", json!({"policy": "SCHED_FIFO"}), "process.scheduler.priority"),
        ("process/scheduler", json!({"policy": "SCHED_OTHER", "priority": 1}), "process.scheduler.priority"),
        (
            "process/scheduler",
            json!({"policy": "SCHED_RR", "priority": 1, "runtime": 5}),
            "process.scheduler.runtime",
        ),
        ("process/scheduler", json!({"policy": "SCHED_DEADLINE"}), "process.scheduler"),
        ("process/apparmorProfile", json!("a profile"), "process.apparmorProfile"),
        ("process/selinuxLabel", json!("x".repeat(2000)), "process.selinuxLabel"),
    ] {
        let error = plan(with(path, value.clone())).err();
        assert_eq!(error.as_ref().map(|e| e.field.as_str()), Some(field), "{path} {value}: {error:?}");
    }
}

#[test]
fn a_terminal_is_no_larger_than_the_kernels_numbers() {
    let mut spec = with("process/terminal", json!(true));
    spec["process"]["consoleSize"] = json!({"height": 50, "width": 132});
    assert_eq!(does(spec.clone(), "process.consoleSize"), ["terminal of 50 lines and 132 columns"]);
    spec["process"]["consoleSize"]["width"] = json!(65536);
    assert_eq!(plan(spec).unwrap_err().field, "process.consoleSize.width");
}

#[test]
fn nothing_is_forced_on_a_mount() {
    for (mount, words) in [
        (
            json!({"destination": "/a", "type": "tmpfs", "source": "x", "options": ["size=1m"]}),
            "mount tmpfs at /a (size=1m)",
        ),
        (
            json!({"destination": "/a", "type": "bind", "source": "/b", "options": ["rbind", "ro", "rnosuid"]}),
            "bind at /a with the mounts below it (ro,rnosuid)",
        ),
        (
            json!({"destination": "/a", "type": "bind", "source": "/b", "options": ["bind", "suid", "dev"]}),
            "bind at /a (suid,dev)",
        ),
        (
            json!({"destination": "a//b/./c", "type": "ext4", "source": "/x", "options": ["noexec", "sync"]}),
            "mount ext4 at /a/b/c (noexec,sync)",
        ),
        (
            json!({"destination": "/a", "source": "none", "options": ["bind", "remount", "noexec"]}),
            "change the mount at /a (noexec)",
        ),
    ] {
        assert_eq!(does(with("mounts/-", mount), "mounts[1]"), [words]);
    }
}

#[test]
fn a_parameter_that_says_nothing_to_a_bind_mount_is_noted() {
    let mount = json!({"destination": "/a", "type": "bind", "source": "/b", "options": ["bind", "size=1m"]});
    let notes = plan(with("mounts/-", mount)).unwrap().notes().join("\n");
    assert!(notes.contains("mounts[1].options: size"), "{notes}");
}

#[test]
fn a_read_only_tmpfs_is_sealed_when_everything_in_it_is_mounted() {
    let outer = json!({"destination": "/etc", "type": "tmpfs", "source": "t", "options": ["ro"]});
    let mut spec = with("mounts/-", outer);
    let inner = json!({"destination": "/etc/x", "type": "tmpfs", "source": "t"});
    spec["mounts"].as_array_mut().unwrap().push(inner);
    let steps = steps(spec);
    let order = [
        position(&steps, "mount tmpfs at /etc ("),
        position(&steps, "mount tmpfs at /etc/x"),
        position(&steps, "make /etc read-only"),
        position(&steps, "pivot_root"),
    ];
    assert!(order.is_sorted(), "{order:?}");
}

#[test]
fn the_root_lies_in_place_and_the_scratch_comes_after_all_mounts() {
    let mut spec = with("linux/maskedPaths", json!(["/proc/keys"]));
    spec["root"]["readonly"] = json!(true);
    spec["process"]["cwd"] = json!("/srv/dir");
    spec["linux"]["rootfsPropagation"] = json!("shared");
    let steps = steps(spec);
    let order = [
        position(&steps, "every mount rslave"),
        position(&steps, "the tree over itself"),
        position(&steps, "mount proc at /proc"),
        position(&steps, "device /dev/null"),
        position(&steps, "small RAM file system"),
        position(&steps, "mask /proc/keys"),
        position(&steps, "make /srv/dir if it is missing"),
        position(&steps, "make the root read-only"),
        position(&steps, "pivot_root"),
        position(&steps, "the root is shared"),
        position(&steps, "compare the kernel's list"),
    ];
    assert!(order.is_sorted(), "{order:?}: {steps:#?}");
}

#[test]
fn propagation_begins_as_a_slave_unless_private_is_asked_for_and_nobody_wants_a_master() {
    let begins = |spec: Value| {
        let all = steps(spec);
        all[position(&all, "every mount")].1.clone()
    };
    for (asked, word) in [
        ("", "rslave"),
        ("slave", "rslave"),
        ("rshared", "rslave"),
        ("unbindable", "rslave"),
        ("private", "rprivate"),
        ("rprivate", "rprivate"),
    ] {
        let words = begins(with("linux/rootfsPropagation", json!(asked)));
        assert!(words.contains(&format!("mount {word}:")), "{asked}: {words}");
    }
    let mut spec = with("linux/rootfsPropagation", json!("private"));
    let volume = json!({"destination": "/v", "type": "bind", "source": "/v", "options": ["rbind", "rslave"]});
    spec["mounts"].as_array_mut().unwrap().push(volume);
    assert!(begins(spec).contains("rslave"));
}

#[test]
fn the_promised_devices_are_there_and_a_named_one_takes_the_place_of_its_like() {
    let null = json!({"path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o620});
    let all = steps(with("linux/devices/-", null));
    for device in ["null", "zero", "full", "random", "urandom", "tty"] {
        let count = all.iter().filter(|(_, d)| d.starts_with(&format!("device /dev/{device} ("))).count();
        assert_eq!(count, 1, "{device}");
    }
    assert_eq!(all[position(&all, "device /dev/null")].0, "linux.devices[0]");
    for link in ["fd", "stdin", "stdout", "stderr", "ptmx", "core"] {
        position(&all, &format!("link /dev/{link} -> "));
    }
}

#[test]
fn devices_are_the_hosts_own_in_a_user_namespace_and_a_fifo_is_made_everywhere() {
    let devices = json!([
        {"path": "/srv/pipe", "type": "p"}, {"path": "/dev/sda", "type": "b", "major": 8, "minor": 0},
    ]);
    let mut spec = with("linux/devices", devices);
    spec["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
    for maps in ["uidMappings", "gidMappings"] {
        spec["linux"][maps] = json!([{"containerID": 0, "hostID": 100000, "size": 65536}]);
    }
    assert_eq!(does(spec.clone(), "linux.devices[0]"), ["device /srv/pipe (fifo, mode 0666)"]);
    assert_eq!(does(spec.clone(), "linux.devices[1]"), ["the host's device /dev/sda (block 8:0, mode 0666)"]);
    position(&steps(spec), "the host's device /dev/null");
}

#[test]
fn a_dev_that_the_engine_binds_is_left_as_it_is() {
    let dev = json!({"destination": "/dev", "type": "bind", "source": "/dev", "options": ["rbind"]});
    let steps = steps(with("mounts/-", dev));
    assert!(steps.iter().all(|(_, does)| !does.contains("/dev/null") && !does.contains("link /dev")));
}

#[test]
fn limits_are_exact_and_what_needs_the_machine_is_the_parents() {
    let mut spec = with("process/rlimits", json!([{"type": "RLIMIT_NOFILE", "soft": 10, "hard": 20}]));
    spec["process"]["oomScoreAdj"] = json!(-5);
    assert_eq!(does(spec.clone(), "process.rlimits[0]"), ["RLIMIT_NOFILE exactly 10 (hard 20)"]);
    assert_eq!(
        does(spec.clone(), "process.rlimits[0].hard"),
        ["the parent: a hard limit for RLIMIT_NOFILE of at least 20"]
    );
    assert_eq!(does(spec.clone(), "process.oomScoreAdj"), ["the parent: oom_score_adj -5"]);
    let steps = steps(spec);
    assert!(position(&steps, "the parent:") < position(&steps, "wait until the parent"));
}

#[test]
fn settings_take_both_separators_and_a_namespace_that_was_made_or_entered() {
    let settings = json!({
        "net/ipv4/conf/eth0.100/forwarding": "1", "net.ipv4.conf.eth1/200.forwarding": "1",
        "kernel.shmmax": "1",
    });
    let mut spec = with("linux/sysctl", settings);
    spec["linux"]["namespaces"][4]["path"] = json!("/run/netns/pod");
    let all = steps(spec);
    for path in ["kernel/shmmax", "net/ipv4/conf/eth1.200/forwarding", "net/ipv4/conf/eth0.100/forwarding"] {
        position(&all, &format!("/proc/sys/{path} = 1"));
    }
    let mut spec = with("linux/sysctl", json!({"net.core.somaxconn": "1"}));
    spec["linux"]["namespaces"].as_array_mut().unwrap().remove(4);
    assert_eq!(plan(spec).unwrap_err().field, "linux.sysctl[net.core.somaxconn]");
}

#[test]
fn labels_are_the_programs_and_those_of_new_file_systems() {
    let mut spec = with("process/apparmorProfile", json!("docker-default"));
    spec["process"]["selinuxLabel"] = json!("u:r:t:s0:c1,c2");
    spec["linux"]["mountLabel"] = json!("u:o:f:s0:c1,c2");
    for (at, typ) in [("/t", "tmpfs"), ("/q", "mqueue"), ("/g", "cgroup2")] {
        let mount = json!({"destination": at, "type": typ, "source": "t"});
        spec["mounts"].as_array_mut().unwrap().push(mount);
    }
    for (field, words) in [
        ("process.apparmorProfile", "AppArmor profile for the program: exec docker-default"),
        ("process.selinuxLabel", "SELinux context for the program and its keyring: u:r:t:s0:c1,c2"),
        ("mounts[0]", "mount proc at /proc ()"),
        ("mounts[1]", "mount tmpfs at /t (context=u:o:f:s0:c1,c2)"),
        ("mounts[2]", "mount mqueue at /q (context of its root: u:o:f:s0:c1,c2)"),
        ("mounts[3]", "mount cgroup2 at /g ()"),
    ] {
        assert_eq!(does(spec.clone(), field), [words]);
    }
}

#[test]
fn no_pivot_moves_the_root() {
    let options = Options { no_pivot: true, ..Options::default() };
    let plan = Plan::of_bundle(&serde_json::from_value(spec()).unwrap(), &host(), &options).unwrap();
    let text = plan.to_text();
    assert!(text.contains("move the root over the old one") && !text.contains("pivot_root"), "{text}");
}

#[test]
fn network_devices_come_when_the_namespace_has_been_entered() {
    let all = steps(with("linux/netDevices", json!({"eth1": {}, "eth0": {"name": "lan"}})));
    let moved = position(&all, "network devices in: eth0 as lan, eth1");
    assert!(position(&all, "enter the network namespace") < moved);
    let mut spec = with("linux/netDevices", json!({"eth1": {}}));
    spec["linux"]["namespaces"].as_array_mut().unwrap().remove(4);
    assert_eq!(plan(spec).unwrap_err().field, "linux.netDevices");
}

#[test]
fn a_further_process_is_bound_to_processors_before_and_after_its_cgroup() {
    let process = json!({
        "user": {"uid": 0, "gid": 0}, "args": ["/bin/true"], "cwd": "/", "apparmorProfile": "p",
        "execCPUAffinity": {"initial": "0", "final": "0-1"},
    });
    let (spec, process) = (serde_json::from_value(spec()).unwrap(), serde_json::from_value(process).unwrap());
    let plan = Plan::for_bundle_exec(&spec, &process, &host(), &Options::default(), 1, 0).unwrap().to_json();
    let does: Vec<&str> =
        plan["steps"].as_array().unwrap().iter().map(|s| s["does"].as_str().unwrap()).collect();
    let at = |what: &str| does.iter().position(|d| *d == what).unwrap_or_else(|| panic!("{what}: {does:#?}"));
    let wait = "wait until the parent has put it into the container's cgroups";
    let order = [at("processors 0"), at(wait), at("processors 0-1"), at("a handle of the caller's procfs")];
    assert!(order.is_sorted(), "{order:?}");
}

#[test]
fn the_process_works_until_a_step_needs_what_its_parent_does() {
    let wait = "wait until the parent";
    // What each of these steps looks at is there once the parent is through, and not before.
    for (path, value, needs) in [
        ("linux/namespaces/-", json!({"type": "cgroup"}), "new namespaces, now"),
        (
            "mounts/-",
            json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup"}),
            "/sys/fs/cgroup",
        ),
        ("mounts/-", json!({"destination": "/tmp", "type": "tmpfs", "options": ["tmpcopyup"]}), "/tmp"),
    ] {
        let steps = steps(with(path, value));
        assert_eq!(position(&steps, wait) + 1, position(&steps, needs), "{needs}: {steps:#?}");
    }
    let steps = steps(spec());
    assert!(position(&steps, "procfs") < position(&steps, wait), "{steps:#?}");
    // Nothing of the image runs before.
    assert!(position(&steps, wait) < position(&steps, "find the program"), "{steps:#?}");
}
