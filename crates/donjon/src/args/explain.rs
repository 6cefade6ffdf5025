//! `donjon explain [CONTAINER]` and `donjon explain --trace [OPTIONS] IMAGE COMMAND`.

use std::ffi::OsString;

use clap::{Arg, Command};

use super::definitions::{Given, flag, format};
use super::{Invocation, Stop, run};

const USAGE: &str = "donjon explain [--format FORMAT] [CONTAINER]\n       donjon explain --trace [OPTION...] [IMAGE] -- COMMAND [ARGUMENT...]";

/// The arguments, without those of `run` that may follow `--trace`.
pub fn define(command: Command) -> Command {
    command
        .override_usage(USAGE)
        .after_help(
            "Without a container: the newest one that has a record. Without an image: host.\n\
             With --trace the program is run, with the options of donjon run, and every system call that fails for want \
             of a right is listed: also those that the kernel refuses without telling donjon (a read-only mount, \
             Landlock, file permissions).",
        )
        .arg(flag("trace", None, "Run a program and find out by tracing what is refused to it"))
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
    Ok(Invocation::Explain { format: given.format(), container: given.one("container") })
}
