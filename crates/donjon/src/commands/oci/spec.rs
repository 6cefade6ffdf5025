//! `donjon spec`: a config.json to begin with.

use std::io::Write;
use std::path::PathBuf;

use donjon_runtime::oci::template::template;

use crate::commands::Failure;

/// Writes it; a file that is there already is left alone.
pub fn run(bundle: Option<PathBuf>, rootless: bool, file: Option<PathBuf>) -> Result<(), Failure> {
    let ids = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let path = bundle.unwrap_or_default().join(file.unwrap_or_else(|| "config.json".into()));
    let text = serde_json::to_string_pretty(&template(rootless.then_some(ids)))?;
    let write = || {
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).open(&path)?;
        file.write_all(text.as_bytes())?;
        file.write_all(b"\n")
    };
    write().map_err(|error: std::io::Error| {
        let failure = Failure::new(format!("spec: make {}: {error}", path.display()));
        match error.kind() {
            std::io::ErrorKind::AlreadyExists => {
                failure.hint("move it away first, or name another with --config")
            }
            _ => failure,
        }
    })
}
