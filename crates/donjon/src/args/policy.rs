//! `donjon policy check|show|diff|schema`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Arg, ArgAction, Command};

use super::definitions::{Given, flag, format, value, values};
use super::{Invocation, Stop, wrong};
use crate::commands::Format;

/// What was asked of `donjon policy`.
#[derive(Debug)]
pub enum PolicyArgs {
    /// Look files over.
    Check {
        /// The files.
        files: Vec<PathBuf>,
        /// How to print.
        format: Format,
    },
    /// Print a policy, or what holds a container.
    Show {
        /// Of which.
        which: Which,
        /// How to print.
        format: Format,
    },
    /// Compare.
    Diff {
        /// Preset, file or container.
        a: String,
        /// The same.
        b: String,
        /// How to print.
        format: Format,
    },
    /// Print the JSON schema.
    Schema,
}

/// Whose policy is shown.
#[derive(Debug)]
pub enum Which {
    /// A container's, from the kernel.
    Container(String),
    /// What a start with these would have.
    Made {
        /// `--preset`
        preset: Option<String>,
        /// `--policy`, in order.
        files: Vec<PathBuf>,
    },
}

fn json() -> Arg {
    flag("json", None, "The same as --format json")
}

/// The arguments.
pub fn define(command: Command) -> Command {
    let sub = |name: &'static str, about: &'static str| {
        Command::new(name).bin_name(format!("donjon policy {name}")).about(about).disable_version_flag(true)
    };
    command
        .subcommand_required(true)
        .arg_required_else_help(false)
        .override_usage("donjon policy COMMAND [OPTION...]")
        .subcommand_help_heading("Commands")
        .after_help("docs/policy.md describes the language. donjon run takes policies with --policy and --preset.")
        .subcommand(
            sub("check", "Look policy files over: exit status 1 when one of them can't be used")
                .arg(
                    Arg::new("file")
                        .value_name("FILE")
                        .required(true)
                        .num_args(1..)
                        .action(ArgAction::Append)
                        .help("A policy file"),
                )
                .arg(format())
                .arg(json()),
        )
        .subcommand(
            sub("show", "Print what holds a running container, read back from the kernel; or a policy as a whole")
                .after_help(
                    "Without a container: the policy that donjon run would have with these options, as a file of the \
                     language; behind each line the layers that hold it.",
                )
                .arg(Arg::new("container").value_name("CONTAINER").help("Name, id, or the beginning of an id"))
                .arg(value("preset", None, "NAME", "The policy of a preset"))
                .arg(values("policy", None, "FILE", "The policy of a file, with what it builds on"))
                .arg(format())
                .arg(json()),
        )
        .subcommand(
            sub("diff", "Tell what B allows that A does not: exit status 1 when there is something")
                .after_help(
                    "A and B are presets, policy files (a word with / or .toml) or containers. A preset's name means \
                     the preset.",
                )
                .arg(Arg::new("a").value_name("A").required(true).help("A policy"))
                .arg(Arg::new("b").value_name("B").required(true).help("Another"))
                .arg(format())
                .arg(json()),
        )
        .subcommand(sub("schema", "Print the JSON schema of policy files"))
}

/// Reads the words after the command's name; the first word is that name.
pub fn parse(command: Command, words: Vec<OsString>) -> Result<Invocation, Stop> {
    let mut matches = define(command).try_get_matches_from(words)?;
    let Some((name, matches)) = matches.remove_subcommand() else {
        return Err(wrong("policy: name a command"));
    };
    let mut given = Given(matches);
    let format = if given.has("json") { Format::Json } else { given.format() };

    Ok(Invocation::Policy(match name.as_str() {
        "check" => {
            PolicyArgs::Check { files: given.many("file").into_iter().map(PathBuf::from).collect(), format }
        }
        "diff" => {
            let (a, b) = (given.one("a").unwrap_or_default(), given.one("b").unwrap_or_default());
            PolicyArgs::Diff { a, b, format }
        }
        "show" => {
            let (preset, files) = (given.one("preset"), given.many("policy"));
            let which = match given.one("container") {
                Some(_) if preset.is_some() || !files.is_empty() => {
                    return Err(wrong(
                        "policy show: a container has its policy: leave --preset and --policy out",
                    ));
                }
                Some(container) => Which::Container(container),
                None => Which::Made { preset, files: files.into_iter().map(PathBuf::from).collect() },
            };
            PolicyArgs::Show { which, format }
        }
        _ => PolicyArgs::Schema,
    }))
}
