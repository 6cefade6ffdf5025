//! `--log`: what engines read when a command failed.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;

use serde_json::json;

use crate::args::globals::{Globals, LogFormat};

/// Appends a line to the log, if there is one. That it can't be written is told on standard error, where the message
/// itself goes as well.
pub fn write(globals: &Globals, level: &str, message: &str) {
    let Some(path) = &globals.log else { return };
    let time = donjon_runtime::state::now();
    let mut line = match globals.log_format {
        LogFormat::Json => json!({"level": level, "msg": message, "time": time}).to_string(),
        LogFormat::Text => format!("time={time:?} level={level} msg={message:?}"),
    };
    line.push('\n');
    // A pipe that nobody reads must not hold the command up.
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
    let file = std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o644)
        .custom_flags(i32::try_from(flags.bits()).unwrap_or(0))
        .open(path);
    if let Err(error) = file.and_then(|mut file| file.write_all(line.as_bytes())) {
        let _ = writeln!(std::io::stderr(), "donjon: --log: write {}: {error}", path.display());
    }
}
