//! `donjon learn [-o FILE] [OPTIONS of run] IMAGE [--] COMMAND`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Command;

use super::definitions::Definition;
use super::{RunArgs, Stop, run};

/// What was asked of `donjon learn`.
#[derive(Debug)]
pub struct LearnArgs {
    /// What is to be run, and how.
    pub run: RunArgs,
    /// `-o`
    pub output: Option<PathBuf>,
}

const USAGE: &str = "donjon learn [-o FILE] [OPTION...] IMAGE [--] [COMMAND [ARGUMENT...]]";
const HELP: &str = "Runs the program as donjon run does, behind the same walls, and writes down what it does: system calls, files by \
what is done with them, sockets, capabilities, processes and memory. Of that it makes a policy. The options are those of \
donjon run.\nA FILE that is there already is a policy of an earlier run: what this run did is added. Without -o the policy is \
printed after the program's own output.\nNothing is opened by learning: what donjon run refuses is refused, and noted.\n\
Exit status: the program's own; 125 to 127 as with donjon run.";

/// Besides those of `run`.
pub const OPTIONS: &[Definition] = &[Definition::value(
    "output",
    Some('o'),
    "FILE",
    "Write the policy to FILE, or add to the one that is there",
)];

/// All arguments.
pub fn define(command: Command) -> Command {
    texts(run::define_with(command, OPTIONS))
}

fn texts(command: Command) -> Command {
    command.override_usage(USAGE).after_help(HELP)
}

/// Reads the words after the command's name; the first word is that name.
pub fn parse(command: Command, words: Vec<OsString>) -> Result<LearnArgs, Stop> {
    let (run, mut given) = run::parse_with(command, words, OPTIONS, texts)?;
    Ok(LearnArgs { run, output: given.one("output").map(PathBuf::from) })
}
