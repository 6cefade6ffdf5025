//! `spec`: a config.json to begin with.
//!
//! It is what other runtimes' `spec` gives, so that a bundle made for one runs under all: a shell with a terminal, the
//! usual mounts, three capabilities, the usual masks. `rootless` maps the caller's id to root.

use serde_json::{Value, json};

use super::features::VERSION;

/// The specification, as JSON. `rootless` holds the caller's user and group.
pub fn template(rootless: Option<(u32, u32)>) -> Value {
    let capabilities = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    let pts = match rootless {
        None => json!(["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
        // Group 5 is not mapped.
        Some(_) => json!(["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]),
    };
    let mut mounts = vec![
        json!({"destination": "/proc", "type": "proc", "source": "proc"}),
        json!({"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
               "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]}),
        json!({"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": pts}),
        json!({"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
               "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]}),
        json!({"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
               "options": ["nosuid", "noexec", "nodev"]}),
    ];
    let mut namespaces = vec![json!({"type": "pid"})];
    match rootless {
        None => {
            namespaces.push(json!({"type": "network"}));
            mounts.push(json!({"destination": "/sys", "type": "sysfs", "source": "sysfs",
                               "options": ["nosuid", "noexec", "nodev", "ro"]}));
            mounts.push(json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
                               "options": ["nosuid", "noexec", "nodev", "relatime", "ro"]}));
        }
        // The host's network is not the user's to show in a sysfs of its own.
        Some(_) => mounts.push(json!({"destination": "/sys", "type": "none", "source": "/sys",
                                      "options": ["rbind", "nosuid", "noexec", "nodev", "ro"]})),
    }
    for kind in ["ipc", "uts", "mount", "cgroup"] {
        namespaces.push(json!({"type": kind}));
    }
    let mut linux = json!({
        "namespaces": namespaces,
        "maskedPaths": [
            "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys",
            "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug",
            "/sys/firmware", "/sys/devices/virtual/powercap", "/proc/scsi"
        ],
        "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
    });
    if let Some(linux) = linux.as_object_mut() {
        match rootless {
            None => {
                let deny = json!({"devices": [{"allow": false, "access": "rwm"}]});
                linux.insert("resources".to_string(), deny);
            }
            Some((uid, gid)) => {
                let map = |id: u32| json!([{"containerID": 0, "hostID": id, "size": 1}]);
                linux.insert("uidMappings".to_string(), map(uid));
                linux.insert("gidMappings".to_string(), map(gid));
                if let Some(all) = linux.get_mut("namespaces").and_then(Value::as_array_mut) {
                    all.push(json!({"type": "user"}));
                }
            }
        }
    }
    json!({
        "ociVersion": VERSION,
        "process": {
            "terminal": true,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {
                "bounding": capabilities, "effective": capabilities, "permitted": capabilities
            },
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": true
        },
        "root": {"path": "rootfs", "readonly": true},
        "hostname": "donjon",
        "mounts": mounts,
        "linux": linux,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use donjon_confine::bundle::Options;
    use donjon_confine::{Host, Plan, Spec};

    #[test]
    fn both_templates_can_be_planned() {
        for rootless in [None, Some((1000, 1000))] {
            let mut spec: Spec = serde_json::from_value(template(rootless)).unwrap();
            let root = spec.root().clone().map(|mut root| {
                root.set_path("/srv/rootfs".into());
                root
            });
            spec.set_root(root);
            let host = Host { uid: 1000, gid: 1000, ..Host::probe() };
            Plan::of_bundle(&spec, &host, &Options::default()).unwrap();
        }
    }
}
