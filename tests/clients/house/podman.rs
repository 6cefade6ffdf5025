//! Podman: by root, and by the ordinary user.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use donjon_tests::told;

use super::ground::{PATH, Runtime, bare, base, layer};

/// Podman by root.
pub(super) fn root() -> Command {
    static READY: OnceLock<PathBuf> = OnceLock::new();
    let home = READY.get_or_init(|| prepare("podman", "0:0"));
    command(home, None)
}

/// Podman by the ordinary user.
pub(super) fn rootless() -> Command {
    static READY: OnceLock<PathBuf> = OnceLock::new();
    let ids = told("DONJON_TEST_USER");
    let home = READY.get_or_init(|| prepare("rootless", &ids));
    command(home, Some(&ids))
}

fn command(home: &Path, user: Option<&str>) -> Command {
    let mut command = match user {
        None => bare("podman", home),
        Some(ids) => {
            let (uid, gid) = ids.split_once(':').expect("UID:GID");
            let mut command = bare("setpriv", home);
            command.args([&format!("--reuid={uid}"), &format!("--regid={gid}"), "--clear-groups", "podman"]);
            command.env("XDG_RUNTIME_DIR", home.join("runtime"));
            command
        }
    };
    command.env("CONTAINERS_CONF", home.join("containers.conf"));
    command.env("CONTAINERS_STORAGE_CONF", home.join("storage.conf"));
    command.env("CONTAINERS_REGISTRIES_CONF", home.join("registries.conf"));
    command
}

/// Lays Podman's directories and configuration, and brings the image in.
fn prepare(name: &str, ids: &str) -> PathBuf {
    let home = base().join(name);
    let (uid, gid) = ids.split_once(':').expect("UID:GID");
    let owner = (uid.parse().expect("a uid"), gid.parse().expect("a gid"));
    let give = |path: &Path, mode| {
        chown(path, Some(owner.0), Some(owner.1)).expect("giving a path to Podman's user");
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("its mode");
    };
    for dir in
        ["", "runtime", "storage", "run", "tmp", "volumes", "networks", ".config", ".config/containers"]
    {
        fs::create_dir(home.join(dir)).expect("a directory of Podman's");
        give(&home.join(dir), if dir == "runtime" { 0o700 } else { 0o755 });
    }
    let at = home.display();
    let (reference, donjon) = (Runtime::Reference.program(), Runtime::Donjon.program());
    let configuration = format!(
        r#"[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
log_driver = "k8s-file"

[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
# Podman's locks are in shared memory, which every Podman of the user's has in common.
lock_type = "file"
static_dir = "{at}/storage/libpod"
tmp_dir = "{at}/tmp"
volume_path = "{at}/volumes"
init_path = "/usr/bin/catatonit"

[network]
network_backend = "netavark"
network_config_dir = "{at}/networks"

[engine.runtimes]
reference = ["{reference}"]
donjon = ["{donjon}"]
"#
    );
    let storage = format!(
        "[storage]\ndriver = \"overlay\"\ngraphroot = \"{at}/storage\"\nrootless_storage_path = \"{at}/storage\"\nrunroot = \"{at}/run\"\n"
    );
    let policy = r#"{"default": [{"type": "insecureAcceptAnything"}]}"#;
    for (file, text) in [
        ("containers.conf", configuration.as_str()),
        ("storage.conf", &storage),
        ("registries.conf", "unqualified-search-registries = []\n"),
        (".config/containers/policy.json", policy),
    ] {
        fs::write(home.join(file), text).expect("a file of Podman's configuration");
        give(&home.join(file), 0o644);
    }
    let mut import = command(&home, (ids != "0:0").then_some(ids));
    import.args(["import", "--change", &format!("ENV PATH={PATH}")]).arg(layer()).arg("localhost/test");
    let imported = import.current_dir("/").output().expect("podman");
    assert!(imported.status.success(), "podman import: {}", String::from_utf8_lossy(&imported.stderr));
    home
}
