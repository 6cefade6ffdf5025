//! `donjon setup ENGINE`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Arg, Command};
use donjon_policy::PolicyError;

use super::definitions::{Given, flag, value};
use super::{Invocation, Stop};
use crate::commands::setup::Engine;

/// What was asked of `donjon setup`.
#[derive(Debug)]
pub struct SetupArgs {
    /// The engine.
    pub engine: Engine,
    /// `--apply`
    pub apply: bool,
    /// `--default`
    pub default: bool,
    /// `--file`, absolute.
    pub file: Option<PathBuf>,
    /// `--path`, absolute.
    pub path: Option<PathBuf>,
}

/// The arguments.
pub fn define(command: Command) -> Command {
    command
        .override_usage("donjon setup [OPTION...] ENGINE")
        .after_help(
            "Prints the change to the engine's configuration, and makes it with --apply. The file as it was is kept beside \
             it (beside its directory for a drop-in). Root changes the machine's configuration, everybody else their own.",
        )
        .arg(flag("apply", None, "Make the change"))
        .arg(flag("default", None, "Make donjon the default runtime as well"))
        .arg(value("file", None, "FILE", "The configuration file; default: where the engine looks for it"))
        .arg(value("path", None, "PATH", "The donjon to use; default: this one"))
        .arg(
            Arg::new("engine")
                .value_name("ENGINE")
                .required(true)
                .value_parser(Engine::ALL.map(Engine::name))
                .help("The engine to set up"),
        )
}

/// Reads the words after the command's name; the first word is that name.
pub fn parse(command: Command, words: Vec<OsString>) -> Result<Invocation, Stop> {
    let mut given = Given(define(command).try_get_matches_from(words)?);
    let word = given.one("engine").unwrap_or_default();
    let Some(engine) = Engine::ALL.into_iter().find(|engine| engine.name() == word) else {
        return Err(PolicyError::new("setup", "name an engine").into());
    };
    Ok(Invocation::Setup(SetupArgs {
        engine,
        apply: given.has("apply"),
        default: given.has("default"),
        file: given.read("file", absolute)?,
        path: given.read("path", absolute)?,
    }))
}

fn absolute(word: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(word);
    if path.is_absolute() { Ok(path) } else { Err(format!("{word:?} must be an absolute path")) }
}
