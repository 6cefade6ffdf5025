//! The options before the command: donjon's own `--root`, and those that engines give an OCI runtime.

use std::ffi::OsString;
use std::iter::Peekable;
use std::path::PathBuf;

use super::{Stop, wrong};

/// How errors are written to `--log`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// A line of text.
    #[default]
    Text,
    /// A JSON object with `level`, `msg` and `time`.
    Json,
}

/// How cgroups are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CgroupManager {
    /// donjon makes directories.
    #[default]
    Cgroupfs,
    /// systemd makes a scope.
    Systemd,
    /// None are made.
    Disabled,
}

/// The options before the command.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Globals {
    /// `--root`: another state directory.
    pub root: Option<PathBuf>,
    /// `--log`: a file for errors.
    pub log: Option<PathBuf>,
    /// `--log-format`
    pub log_format: LogFormat,
    /// `--debug`, or `--log-level debug`.
    pub debug: bool,
    /// `--cgroup-manager`, `--systemd-cgroup`
    pub cgroup_manager: CgroupManager,
    /// `--rootless`; by default what the caller is.
    pub rootless: Option<bool>,
    /// Whether any option was given that only an engine gives.
    pub of_engine: bool,
}

/// Names, whether they take a value, and help. `--root` is everybody's.
pub const OPTIONS: [(&str, &str, &str); 9] = [
    ("root", "DIR", "Keep containers in this directory"),
    ("log", "FILE", "Write errors to this file as well"),
    ("log-format", "text|json", "How; default: text"),
    ("log-level", "LEVEL", "debug, info, warn or error; default: info"),
    ("debug", "", "The same as --log-level debug"),
    ("systemd-cgroup", "", "cgroupsPath is slice:prefix:name, made by systemd"),
    ("cgroup-manager", "NAME", "cgroupfs, systemd or disabled; default: cgroupfs"),
    ("rootless", "BOOL", "true, false or auto; default: auto"),
    ("criu", "PATH", "Taken and not used: there is no checkpoint yet"),
];

/// Takes the options off the front of the words.
pub fn take(words: &mut Peekable<impl Iterator<Item = OsString>>) -> Result<Globals, Stop> {
    let mut globals = Globals::default();
    while let Some(word) = words.peek().and_then(|w| w.to_str()).map(str::to_string) {
        let Some(option) = word.strip_prefix("--").or_else(|| word.strip_prefix('-').filter(|w| w.len() > 1))
        else {
            break;
        };
        let (name, joined) = match option.split_once('=') {
            Some((name, value)) => (name, Some(value.to_string())),
            None => (option, None),
        };
        let Some((name, value, _)) = OPTIONS.iter().find(|(known, ..)| *known == name) else { break };
        words.next();
        let given = match (joined, value.is_empty()) {
            (Some(joined), _) => joined,
            (None, true) => "true".to_string(),
            (None, false) => words
                .next()
                .and_then(|word| word.into_string().ok())
                .ok_or_else(|| wrong(&format!("--{name} needs a value: {value}")))?,
        };
        globals.of_engine |= *name != "root";
        globals.set(name, &given)?;
    }
    Ok(globals)
}

impl Globals {
    fn set(&mut self, name: &str, value: &str) -> Result<(), Stop> {
        let switch = |value: &str| match value {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            other => Err(wrong(&format!("--{name}: {other:?} is neither true nor false"))),
        };
        match name {
            "root" => self.root = Some(value.into()),
            "log" => self.log = Some(value.strip_prefix("file:").unwrap_or(value).into()),
            "log-format" => {
                self.log_format = match value {
                    "text" => LogFormat::Text,
                    "json" => LogFormat::Json,
                    other => return Err(wrong(&format!("--log-format: {other:?} is neither text nor json"))),
                }
            }
            "log-level" => match value {
                "debug" | "trace" => self.debug = true,
                "info" | "warn" | "warning" | "error" | "fatal" | "panic" => {}
                other => return Err(wrong(&format!("--log-level: there is no level {other:?}"))),
            },
            "debug" => self.debug |= switch(value)?,
            "systemd-cgroup" if switch(value)? => self.cgroup_manager = CgroupManager::Systemd,
            "cgroup-manager" => {
                self.cgroup_manager = match value {
                    "cgroupfs" => CgroupManager::Cgroupfs,
                    "systemd" => CgroupManager::Systemd,
                    "disabled" => CgroupManager::Disabled,
                    other => {
                        return Err(wrong(&format!(
                            "--cgroup-manager: {other:?} is none; there are cgroupfs, systemd, disabled"
                        )));
                    }
                }
            }
            "rootless" => self.rootless = if value == "auto" { None } else { Some(switch(value)?) },
            _ => {}
        }
        Ok(())
    }
}
