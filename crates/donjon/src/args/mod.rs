//! The command line: what was typed, as a value.
//!
//! Only the definition of the command that was typed is built: a start does not pay for the flags of the others.

mod containers;
mod definitions;
mod explain;
mod run;
mod setup;
pub mod whole;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Arg, ArgAction, Command};
use donjon_policy::PolicyError;
use rustix::process::Signal;

use crate::commands::{Failure, Format};

pub use run::RunArgs;
pub use setup::SetupArgs;

/// A whole command line.
#[derive(Debug)]
pub struct CommandLine {
    /// `--root`: another state directory.
    pub root: Option<PathBuf>,
    /// What to do.
    pub invocation: Invocation,
}

/// What to do.
#[derive(Debug)]
#[allow(missing_docs)] // each is the command of that name
pub enum Invocation {
    Run(Box<RunArgs>),
    Exec(ExecArgs),
    Ps { all: bool, quiet: bool, format: Format },
    Logs { container: String, follow: bool, tail: Option<u64>, timestamps: bool },
    Stop { names: Vec<String>, patience: Option<Duration> },
    Kill { names: Vec<String>, signal: Signal },
    Rm { names: Vec<String>, all: bool, force: bool },
    Wait { names: Vec<String> },
    Inspect { names: Vec<String> },
    Stats { names: Vec<String>, once: bool, format: Format },
    Top { container: String, format: Format },
    Doctor { format: Format },
    Explain { container: Option<String>, format: Format },
    Trace(Box<RunArgs>),
    Setup(SetupArgs),
    Version,
}

/// `donjon exec`
#[derive(Debug)]
pub struct ExecArgs {
    /// The container.
    pub container: String,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// `-i`
    pub interactive: bool,
    /// `-t`
    pub terminal: bool,
    /// `-w`
    pub workdir: Option<String>,
    /// `-e`, in order.
    pub env: Vec<(String, String)>,
}

/// Every command with its one line, in the order of the help text.
const COMMANDS: [(&str, &str); 16] = [
    ("run", "Run a program in a new container"),
    ("exec", "Run a further program in a running container"),
    ("ps", "List containers"),
    ("logs", "Print the output of a detached container"),
    ("stop", "Ask containers to end, and end those that do not"),
    ("kill", "Send a signal to containers"),
    ("wait", "Wait until containers have ended and print their exit statuses"),
    ("rm", "Remove containers"),
    ("inspect", "Print all that is known of containers, as JSON"),
    ("stats", "Show what containers use"),
    ("top", "List the processes of a container"),
    ("explain", "Tell what was refused, why, and what would allow it"),
    ("doctor", "Tell what this kernel, user and distribution can do, and how to fix what they can't"),
    ("setup", "Make podman, docker, containerd or CRI-O use donjon as an OCI runtime"),
    ("version", "Print the version"),
    ("help", "Print this text, or that of a command"),
];

/// How a command line ends before anything is done.
#[derive(Debug)]
pub enum Stop {
    /// A text that was asked for: help, the version.
    Text(String),
    /// Something is wrong with it.
    Wrong(Failure),
}

impl From<PolicyError> for Stop {
    fn from(error: PolicyError) -> Self {
        Stop::Wrong(error.into())
    }
}

impl From<clap::Error> for Stop {
    fn from(error: clap::Error) -> Self {
        let text = error.render().to_string();
        if !error.use_stderr() {
            return Stop::Text(text);
        }
        let text = text.trim_end().strip_prefix("error: ").unwrap_or(text.trim_end()).to_string();
        Stop::Wrong(Failure::new(text))
    }
}

/// Reads a command line, the program's name first.
pub fn parse(words: Vec<OsString>) -> Result<CommandLine, Stop> {
    let mut rest = words.into_iter().skip(1).peekable();
    let mut root = None;
    // The one global option comes before the command, as in other engines.
    while let Some(word) = rest.peek().and_then(|w| w.to_str()) {
        if word == "--root" {
            rest.next();
            root = Some(rest.next().ok_or_else(|| wrong("--root needs a directory"))?.into());
        } else if let Some(path) = word.strip_prefix("--root=") {
            root = Some(path.into());
            rest.next();
        } else {
            break;
        }
    }
    let name = rest.peek().and_then(|w| w.to_str()).unwrap_or_default().to_string();
    let Some((name, about)) = COMMANDS.iter().find(|(n, _)| *n == name) else {
        return Err(if name.is_empty() || name.starts_with('-') {
            overview(rest.collect())
        } else {
            unknown(&name)
        });
    };
    if *name == "help" {
        let topic: Vec<OsString> = rest.skip(1).take(1).collect();
        return match topic.first().and_then(|t| t.to_str()) {
            Some(topic) if COMMANDS.iter().any(|(n, _)| *n == topic) && topic != "help" => {
                parse(vec!["donjon".into(), topic.into(), "--help".into()])
            }
            _ => Err(overview(vec!["--help".into()])),
        };
    }
    let words: Vec<OsString> = rest.collect();
    let invocation = match *name {
        "run" => Invocation::Run(Box::new(run::parse(named(name, about), words)?)),
        "explain" => explain::parse(named(name, about), words)?,
        "setup" => setup::parse(named(name, about), words)?,
        other => containers::parse(other, named(name, about), words)?,
    };
    Ok(CommandLine { root, invocation })
}

/// A word that is no command.
fn unknown(word: &str) -> Stop {
    let near = COMMANDS.iter().map(|(name, _)| (strsim::damerau_levenshtein(word, name), *name)).min();
    let hint = match near {
        Some((distance, name)) if distance <= 2 => format!("did you mean donjon {name}?"),
        _ => "donjon --help lists the commands".to_string(),
    };
    Stop::Wrong(Failure::new(format!("there is no command {word:?}")).hint(hint))
}

fn wrong(message: &str) -> Stop {
    Stop::Wrong(Failure::new(message))
}

/// A command's definition without its arguments.
fn named(name: &'static str, about: &'static str) -> Command {
    Command::new(name)
        .bin_name(format!("donjon {name}"))
        .about(about)
        .disable_help_subcommand(true)
        .disable_version_flag(true)
        .max_term_width(110)
        .term_width(terminal_width())
}

/// The width of the caller's terminal; 100 without one.
fn terminal_width() -> usize {
    rustix::termios::tcgetwinsize(rustix::stdio::stdout())
        .map_or(100, |size| usize::from(size.ws_col).max(60))
}

/// donjon's own definition, without the commands.
fn program() -> Command {
    Command::new("donjon")
        .about("Runs untrusted programs behind every wall that Linux has, and gives root to no one")
        .override_usage("donjon [--root DIR] COMMAND [OPTION...]")
        .disable_help_subcommand(true)
        .disable_version_flag(true)
        .subcommand_required(true)
        .subcommand_help_heading("Commands")
        .term_width(terminal_width().min(100))
        .arg(Arg::new("root").long("root").value_name("DIR").help("Keep containers in this directory"))
        .arg(
            Arg::new("version")
                .short('V')
                .long("version")
                .action(ArgAction::SetTrue)
                .help("Print the version"),
        )
        .after_help("donjon COMMAND --help tells more. First steps: donjon doctor; donjon run host -- id")
}

/// `donjon` alone, `donjon --help`, `donjon --version`, and words that are no command.
fn overview(words: Vec<OsString>) -> Stop {
    let mut command = program();
    for (name, about) in COMMANDS {
        command = command.subcommand(Command::new(name).about(about));
    }
    if words.iter().any(|w| w == "--version" || w == "-V") {
        return Stop::Text(format!("donjon {}\n", env!("CARGO_PKG_VERSION")));
    }
    if words.is_empty() {
        let help = command.render_help().to_string();
        return Stop::Wrong(Failure::new(format!("name a command\n\n{}", help.trim_end())));
    }
    match command.try_get_matches_from(std::iter::once("donjon".into()).chain(words)) {
        Err(error) => error.into(),
        Ok(_) => wrong("the command must come first"),
    }
}

#[cfg(test)]
mod tests;
