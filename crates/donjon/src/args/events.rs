//! `donjon events verify CONTAINER`, beside the OCI runtime's `donjon events ID`.
//!
//! The word is the OCI runtime's, which takes one id and nothing else. Two words of which the first is `verify` were
//! never a command line of that side; `verify` alone stays a container's id, and so it is with the options of engines.

use std::ffi::OsString;

use clap::{Arg, ArgAction, Command};
use donjon_runtime::events::chain::Digest;

use super::definitions::{Given, flag, format, value};
use super::globals::Globals;
use super::{Invocation, Stop, named};
use crate::commands::Format;

/// Its name among the words.
const VERIFY: &str = "verify";
const ABOUT: &str = "Tell whether the event log of a container is what was written";

/// Whether these words after `donjon` mean the engine's side.
pub fn verify_is_meant(globals: &Globals, words: &[OsString]) -> bool {
    !globals.of_engine
        && words.get(1).is_some_and(|word| word == VERIFY)
        && words.iter().skip(2).any(|word| !word.as_encoded_bytes().starts_with(b"-") || is_help(word))
}

fn is_help(word: &OsString) -> bool {
    word == "--help" || word == "-h"
}

/// Adds this command to that of the OCI runtime.
pub fn beside(command: Command) -> Command {
    command
        .override_usage("donjon events [OPTION...] ID\n       donjon events verify [OPTION...] CONTAINER...")
        .subcommand(define(named(VERIFY, ABOUT).bin_name("donjon events verify")))
        .subcommand_negates_reqs(true)
        .args_conflicts_with_subcommands(true)
        .after_help(
            "donjon events verify is about the event log of a container of donjon run, which donjon explain reads. verify \
             alone is the id of an OCI container.",
        )
}

/// The words with a mark that `verify` is an id here.
pub fn without_verify(mut words: Vec<OsString>) -> Vec<OsString> {
    if let Some(at) = words.iter().position(|word| word == VERIFY)
        && !words.iter().any(|word| word == "--")
    {
        words.insert(at, "--".into());
    }
    words
}

/// The arguments.
pub fn define(command: Command) -> Command {
    command
        .override_usage("donjon events verify [OPTION...] CONTAINER...")
        .after_help(
            "The exit status is 0 if all logs are, 1 if one is not or has no chain. The head that is printed covers \
             everything before it: noted elsewhere, it shows later whether the log was written anew.",
        )
        .arg(value("head", None, "DIGEST", "A head that was noted earlier must be in the chain"))
        .arg(format())
        .arg(flag("json", None, "The same as --format json"))
        .arg(
            Arg::new("container")
                .value_name("CONTAINER")
                .required(true)
                .num_args(1..)
                .action(ArgAction::Append)
                .help("Name, id, or the beginning of an id"),
        )
}

/// Reads the words after `donjon`, of which the second is `verify`.
pub fn parse(words: Vec<OsString>) -> Result<Invocation, Stop> {
    let words = words.into_iter().skip(1);
    let command = define(named(VERIFY, ABOUT).bin_name("donjon events verify"));
    let given = &mut Given(command.try_get_matches_from(words)?);
    let head = given.read("head", |word| {
        Digest::parse(word).ok_or_else(|| format!("{word:?} is no digest: these are 64 hexadecimal digits"))
    })?;
    let names = given.many("container");
    if head.is_some() && names.len() > 1 {
        return Err(super::wrong("--head is of one container: name one alone"));
    }
    let format = if given.has("json") { Format::Json } else { given.format() };
    Ok(Invocation::Verify { names, head, format })
}
