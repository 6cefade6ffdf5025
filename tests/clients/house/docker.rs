//! Docker Engine: one daemon for all tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::ground::{PATH, Runtime, bare, base, daemon, layer};

/// The command line of a program that speaks to the daemon: its own client, or another.
pub(super) fn speaker(program: &str) -> Command {
    static READY: OnceLock<PathBuf> = OnceLock::new();
    told_where(program, READY.get_or_init(start))
}

fn told_where(program: &str, home: &Path) -> Command {
    let mut command = bare(program, home);
    command.env("DOCKER_HOST", format!("unix://{}", home.join("socket").display()));
    command
}

/// Starts the daemon, and brings the image in.
fn start() -> PathBuf {
    let home = base().join("docker");
    fs::create_dir(&home).expect("a directory of Docker's");
    let (reference, donjon) = (Runtime::Reference.program(), Runtime::Donjon.program());
    let configuration = format!(
        r#"{{
    "data-root": "{at}/data",
    "exec-root": "{at}/exec",
    "pidfile": "{at}/pid",
    "hosts": ["unix://{at}/socket"],
    "default-ulimits": {{"nofile": {{"Name": "nofile", "Soft": 1024, "Hard": 1024}}}},
    "runtimes": {{"reference": {{"path": "{reference}"}}, "donjon": {{"path": "{donjon}"}}}},
    "default-runtime": "reference"
}}
"#,
        at = home.display()
    );
    fs::write(home.join("daemon.json"), configuration).expect("Docker's configuration");
    let mut command = bare("dockerd", &home);
    command.arg("--config-file").arg(home.join("daemon.json"));
    let answers = || told_where("docker", &home).arg("version").output().is_ok_and(|o| o.status.success());
    daemon(command, &home, answers);
    let mut import = told_where("docker", &home);
    import.args(["import", "--change", &format!("ENV PATH={PATH}")]).arg(layer()).arg("test");
    let imported = import.output().expect("docker");
    assert!(imported.status.success(), "docker import: {}", String::from_utf8_lossy(&imported.stderr));
    home
}
