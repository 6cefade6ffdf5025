//! The arguments of the commands about containers that exist.

use std::ffi::OsString;
use std::time::Duration;

use clap::{Arg, ArgAction, Command};
use donjon_policy::PolicyError;
use donjon_policy::words::environment;
use rustix::process::Signal;

use super::definitions::{Given, flag, format, value, values};
use super::{ExecArgs, Invocation, Stop};

/// One container, by name, id, or the beginning of its id.
fn container() -> Arg {
    Arg::new("container").value_name("CONTAINER").required(true).help("Name, id, or the beginning of an id")
}

fn containers() -> Arg {
    container().action(ArgAction::Append).num_args(1..)
}

/// The arguments of the command of this name.
pub fn define(name: &str, command: Command) -> Command {
    match name {
        "exec" => super::oci::exec_options(command)
            .override_usage("donjon exec [OPTION...] CONTAINER COMMAND [ARGUMENT...]")
            .arg(flag("interactive", Some('i'), "Pass standard input in"))
            .arg(flag("tty", Some('t'), "Give it a terminal of its own"))
            .arg(value("workdir", Some('w'), "DIR", "Working directory, absolute"))
            .arg(values("env", Some('e'), "NAME[=VALUE]", "Set a variable; without a value: to the caller's"))
            .arg(values("env-file", None, "FILE", "Read variables from a file"))
            .arg(
                Arg::new("words")
                    .value_name("CONTAINER")
                    .required(true)
                    .num_args(1..)
                    .trailing_var_arg(true)
                    .allow_hyphen_values(true)
                    .help("Container, then the program and its arguments"),
            ),
        "ps" => command
            .arg(flag("all", Some('a'), "Also those that have ended"))
            .arg(flag("quiet", Some('q'), "Ids alone"))
            .arg(value(
                "format",
                Some('f'),
                "FORMAT",
                "text, or json for programs; of one container: table, json",
            ))
            .arg(
                Arg::new("words")
                    .value_name("ID")
                    .num_args(0..)
                    .trailing_var_arg(true)
                    .allow_hyphen_values(true)
                    .help("OCI: the processes of this container; further words are options of ps(1)"),
            ),
        "logs" => command
            .arg(flag("follow", Some('f'), "Go on until the container ends"))
            .arg(value("tail", Some('n'), "LINES", "The last lines alone"))
            .arg(flag("timestamps", None, "Put the time before each line"))
            .arg(container()),
        "stop" => command
            .arg(value(
                "time",
                Some('t'),
                "SECONDS",
                "How long to wait before SIGKILL; default: the container's --stop-timeout",
            ))
            .arg(containers()),
        "kill" => command
            .arg(value(
                "signal",
                Some('s'),
                "SIGNAL",
                "Name or number; default: KILL, of an OCI container TERM",
            ))
            .arg(flag("all", Some('a'), "OCI: all processes of the container, not the first alone"))
            .arg(flag("regex", Some('r'), "OCI: the id is a pattern: * and ? stand for other characters"))
            .arg(containers().help("Names or ids; OCI: one id, then the signal")),
        "wait" | "inspect" => command.arg(containers()),
        "rm" => command
            .arg(flag("force", Some('f'), "Also running ones: end them first"))
            .arg(flag("all", Some('a'), "All that have ended; with --force all"))
            .arg(containers().required(false)),
        "stats" => command
            .arg(flag("no-stream", None, "Once, not again and again"))
            .arg(format())
            .arg(containers().required(false)),
        "top" => command.arg(format()).arg(container()),
        "doctor" => command.arg(format()),
        _ => command,
    }
}

/// Reads the words after the command's name; the first word is that name.
pub fn parse(name: &str, command: Command, words: Vec<OsString>) -> Result<Invocation, Stop> {
    let given = &mut Given(define(name, command).try_get_matches_from(words)?);
    Ok(match name {
        "exec" => Invocation::Exec(exec(given)?),
        "ps" => {
            let (all, quiet) = (given.has("all"), given.has("quiet"));
            let (format, mut options) = (super::oci::table_or_json(given)?, given.many("words"));
            match options.is_empty() {
                true => Invocation::Ps { all, quiet, format },
                false => Invocation::OciPs { id: options.remove(0), format, options },
            }
        }
        "logs" => Invocation::Logs {
            follow: given.has("follow"),
            timestamps: given.has("timestamps"),
            tail: match given.one("tail").as_deref() {
                None | Some("all" | "-1") => None,
                Some(lines) => Some(number("--tail", lines, "a number of lines")?),
            },
            container: given.one("container").unwrap_or_default(),
        },
        "stop" => Invocation::Stop {
            patience: given
                .one("time")
                .map(|word| number("--time", &word, "a number of seconds").map(Duration::from_secs))
                .transpose()?,
            names: given.many("container"),
        },
        "kill" => Invocation::Kill {
            signal: given.read("signal", signal)?,
            all: given.has("all"),
            regex: given.has("regex"),
            names: given.many("container"),
        },
        "rm" => {
            let (all, force, names) = (given.has("all"), given.has("force"), given.many("container"));
            if all != names.is_empty() {
                return Err(PolicyError::new("rm", "name containers, or --all").into());
            }
            Invocation::Rm { names, all, force }
        }
        "wait" => Invocation::Wait { names: given.many("container") },
        "inspect" => Invocation::Inspect { names: given.many("container") },
        "stats" => Invocation::Stats {
            once: given.has("no-stream"),
            format: given.format(),
            names: given.many("container"),
        },
        "top" => {
            Invocation::Top { format: given.format(), container: given.one("container").unwrap_or_default() }
        }
        "doctor" => Invocation::Doctor { format: given.format() },
        _ => Invocation::Version,
    })
}

/// A signal that can be sent.
pub(super) fn signal(word: &str) -> Result<Signal, String> {
    donjon_runtime::warden::signals::parse(word)
        .ok_or_else(|| format!("{word:?} is no signal; write for instance TERM or 15"))
}

fn number<T: std::str::FromStr>(flag: &str, word: &str, what: &str) -> Result<T, PolicyError> {
    word.parse().map_err(|_| PolicyError::new(flag, format!("{word:?} is not {what}")))
}

fn exec(given: &mut Given) -> Result<ExecArgs, PolicyError> {
    let mut env = Vec::new();
    for file in given.read_many("env-file", |w| environment::file(w.as_ref()))? {
        env.extend(file);
    }
    env.extend(given.read_many("env", environment::variable)?.into_iter().flatten());
    let mut words = given.many("words");
    let container = words.remove(0);
    if words.first().is_some_and(|w| w == "--") {
        words.remove(0);
    }
    let workdir = given.one("workdir").or_else(|| given.one("cwd"));
    let oci = super::oci::exec(given)?;
    if words.is_empty() && oci.process.is_none() {
        return Err(PolicyError::new("exec", "name the program to run in the container"));
    }
    Ok(ExecArgs {
        container,
        command: words,
        interactive: given.has("interactive"),
        terminal: given.has("tty"),
        workdir,
        env,
        oci,
    })
}
