//! `features`: what this runtime can do, for engines that ask before they write a specification (OCI runtime
//! specification, "Features Structure").

use donjon_confine::layers::seccomp::supported;
use donjon_confine::layers::{capabilities, mounts};
use serde_json::{Value, json};

/// The newest version of the specification that is carried out in full.
pub const VERSION: &str = "1.3.0";
/// The oldest.
const OLDEST: &str = "1.0.0";

/// The structure, as JSON.
pub fn features() -> Value {
    json!({
        "ociVersionMin": OLDEST,
        "ociVersionMax": VERSION,
        "hooks": ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"],
        "mountOptions": mounts::OPTIONS.to_vec(),
        "linux": {
            "namespaces": ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"],
            "capabilities": capabilities::NAMES.map(|name| format!("CAP_{name}")).to_vec(),
            "cgroup": {
                "v1": true, "v2": true, "systemd": true, "systemdUser": true, "rdma": true
            },
            "seccomp": {
                "enabled": true,
                "actions": supported::actions(),
                "operators": supported::operators(),
                "archs": supported::architectures(),
                "knownFlags": supported::known_flags(),
                "supportedFlags": supported::supported_flags(),
            },
            "apparmor": {"enabled": true},
            "selinux": {"enabled": true},
            "intelRdt": {"enabled": true},
            "mountExtensions": {"idmap": {"enabled": true}},
            "netDevices": {"enabled": true},
        },
        "annotations": {"org.donjon.version": env!("CARGO_PKG_VERSION")},
        "potentiallyUnsafeConfigAnnotations": ["org.donjon.extensions"],
    })
}
