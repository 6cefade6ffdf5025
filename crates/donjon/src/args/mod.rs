//! The command line: what was typed, as a value.
//!
//! Only the definition of the command that was typed is built: a start does not pay for the flags of the others.

mod containers;
mod definitions;
mod events;
mod explain;
pub mod globals;
mod learn;
pub mod oci;
pub mod policy;
mod run;
mod setup;
pub mod whole;

use std::ffi::OsString;
use std::time::Duration;

use clap::{Arg, ArgAction, Command};
use donjon_policy::PolicyError;
use donjon_runtime::events::chain::Digest;
use rustix::process::Signal;

use crate::commands::explain::What;
use crate::commands::{Failure, Format};
use globals::Globals;

pub use learn::LearnArgs;
pub use run::RunArgs;
pub use setup::SetupArgs;

/// A whole command line.
#[derive(Debug)]
pub struct CommandLine {
    /// The options before the command.
    pub globals: Globals,
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
    OciPs { id: String, format: Format, options: Vec<String> },
    Logs { container: String, follow: bool, tail: Option<u64>, timestamps: bool },
    Stop { names: Vec<String>, patience: Option<Duration> },
    Kill { names: Vec<String>, signal: Option<Signal>, all: bool, regex: bool },
    Rm { names: Vec<String>, all: bool, force: bool },
    Wait { names: Vec<String> },
    Inspect { names: Vec<String> },
    Stats { names: Vec<String>, once: bool, format: Format },
    Top { container: String, format: Format },
    Doctor { format: Format },
    Explain { container: Option<String>, what: What, format: Format },
    Trace(Box<RunArgs>),
    Learn(Box<LearnArgs>),
    Oci(oci::Oci),
    Verify { names: Vec<String>, head: Option<Digest>, format: Format },
    Setup(SetupArgs),
    Policy(policy::PolicyArgs),
    Version,
}

impl Invocation {
    /// How many descriptors after standard error are for the program.
    pub fn kept_descriptors(&self) -> u32 {
        let named = match self {
            Invocation::Oci(oci::Oci::Create(creation) | oci::Oci::Run { creation, .. }) => {
                creation.options.preserve_fds
            }
            Invocation::Exec(args) if args.oci.first.is_some() => args.oci.preserve_fds,
            _ => return 0,
        };
        named.saturating_add(crate::commands::listen_fds().unwrap_or(0))
    }
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
    /// What only an OCI runtime is told.
    pub oci: oci::ExecOptions,
}

/// Every command with its one line, in the order of the help text.
const COMMANDS: [(&str, &str); 31] = [
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
    ("learn", "Run a program, and write a policy of what it does"),
    ("explain", "Tell what was refused, why, and what would allow it"),
    ("policy", "Check, show and compare policies, and read back what holds a container"),
    ("doctor", "Tell what this kernel, user and distribution can do, and how to fix what they can't"),
    ("create", "OCI: make a container from a bundle; its program waits for start"),
    ("start", "OCI: let the program of a created container run"),
    ("state", "OCI: print the state of a container"),
    ("delete", "OCI: remove a container that has ended"),
    ("list", "OCI: list containers"),
    ("pause", "OCI: freeze all processes of a container"),
    ("resume", "OCI: let them go on"),
    ("update", "OCI: change the limits of a container"),
    ("events", "OCI: tell what a container uses; verify: whether an event log is what was written"),
    ("spec", "OCI: write a config.json to begin with"),
    ("features", "OCI: tell what this runtime can do"),
    ("checkpoint", "OCI: not there yet"),
    ("restore", "OCI: not there yet"),
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
    let globals = globals::take(&mut rest)?;
    parse_command(globals.clone(), rest).map_err(|stop| match stop {
        Stop::Wrong(failure) if globals.of_engine => Stop::Wrong(failure.in_terms_of(&globals)),
        other => other,
    })
}

fn parse_command(
    globals: Globals,
    mut rest: std::iter::Peekable<impl Iterator<Item = OsString>>,
) -> Result<CommandLine, Stop> {
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
        "run" if oci::run_is_meant(&globals, &words) => oci::parse(name, named(name, about), words)?,
        "run" => Invocation::Run(Box::new(run::parse(named(name, about), words)?)),
        "learn" => Invocation::Learn(Box::new(learn::parse(named(name, about), words)?)),
        "explain" => explain::parse(named(name, about), words)?,
        "events" if events::verify_is_meant(&globals, &words) => events::parse(words)?,
        name if oci::is_command(name) => oci::parse(name, named(name, about), words)?,
        "setup" => setup::parse(named(name, about), words)?,
        "policy" => policy::parse(named(name, about), words)?,
        other => containers::parse(other, named(name, about), words)?,
    };
    Ok(CommandLine { globals, invocation })
}

/// What `--version` prints: engines read the first line, and the one of the specification.
pub fn version() -> String {
    let spec = donjon_runtime::oci::features::VERSION;
    format!("donjon version {}\nspec: {spec}\n", env!("CARGO_PKG_VERSION"))
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
        .override_usage("donjon [GLOBAL OPTION...] COMMAND [OPTION...]")
        .disable_help_subcommand(true)
        .disable_version_flag(true)
        .subcommand_required(true)
        .subcommand_help_heading("Commands")
        .term_width(terminal_width().min(100))
        .args(globals::OPTIONS.iter().map(|(name, value, help)| {
            let arg = Arg::new(*name).long(*name).help(*help);
            match value.is_empty() {
                true => arg.action(ArgAction::SetTrue),
                false => arg.value_name(*value),
            }
        }))
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
    if words.iter().any(|w| w == "--version" || w == "-V" || w == "-v") {
        return Stop::Text(version());
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
