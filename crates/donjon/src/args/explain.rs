//! `donjon explain [CONTAINER]` and `donjon explain --trace [OPTIONS] IMAGE COMMAND`.

use std::ffi::OsString;

use clap::{Arg, Command};

use super::definitions::{Given, flag, format, value};
use super::{Invocation, Stop, run};
use crate::commands::explain::What;

const USAGE: &str = "donjon explain [--watch] [--format FORMAT] [CONTAINER]\n       donjon explain --apply FILE [--yes] [CONTAINER]\n       donjon explain --trace [OPTION...] [IMAGE] -- COMMAND [ARGUMENT...]";

/// The arguments, without those of `run` that may follow `--trace`.
pub fn define(command: Command) -> Command {
    command
        .override_usage(USAGE)
        .after_help(
            "Tells for each refusal who was refused what, the rule and where it is written, the smallest change that would \
             allow it, and whether that is wise. Without a container: the newest one that has a record. Without an image: \
             host.\n\
             --apply shows what it is about to add to the policy, and keeps the file's comments and order. What only a \
             person can say (which directory a mount is of) it leaves out, and says so.\n\
             With --trace the program is run, with the options of donjon run, and every system call that fails for want \
             of a right is listed: also those that the kernel refuses without telling donjon (a read-only mount, \
             Landlock, file permissions).",
        )
        .arg(flag("trace", None, "Run a program and find out by tracing what is refused to it"))
        .arg(flag("watch", Some('w'), "Go on until the container ends: each new refusal once"))
        .arg(value("apply", None, "FILE", "Write the lines that you choose into this policy file"))
        .arg(flag("yes", Some('y'), "With --apply: all of them, without asking").visible_alias("all"))
        .arg(format())
        .arg(Arg::new("container").value_name("CONTAINER").help("Name, id, or the beginning of an id"))
}

/// With `--trace` as the first option, the rest is a command line of `run`.
pub fn parse(command: Command, words: Vec<OsString>) -> Result<Invocation, Stop> {
    if words.get(1).is_some_and(|w| w == "--trace") && !words.iter().any(|w| w == "--help" || w == "-h") {
        let name = words.first().cloned().into_iter();
        let mut words: Vec<OsString> = name.chain(words.into_iter().skip(2)).collect();
        // A command alone is one of this machine's.
        if let Some(at) = words.iter().position(|w| w == "--")
            && run::parse(command.clone(), words.get(..at).unwrap_or_default().to_vec()).is_err()
        {
            words.insert(at, "host".into());
        }
        return Ok(Invocation::Trace(Box::new(run::parse(command.override_usage(USAGE), words)?)));
    }
    let mut given = Given(define(command).try_get_matches_from(words)?);
    let what = match (given.has("watch"), given.one("apply")) {
        (true, Some(_)) => return Err(super::wrong("--watch and --apply: one after the other")),
        (true, None) => What::Watch,
        (false, Some(file)) => What::Apply { file: file.into(), all: given.has("yes") },
        (false, None) if given.has("yes") => return Err(super::wrong("--yes belongs to --apply FILE")),
        (false, None) => What::Tell,
    };
    Ok(Invocation::Explain { what, format: given.format(), container: given.one("container") })
}
