//! Short ways to define an argument, and to take its value out again.

use clap::{Arg, ArgAction, ArgMatches};
use donjon_policy::PolicyError;

use crate::commands::Format;

/// A switch.
pub fn flag(long: &'static str, short: Option<char>, help: &'static str) -> Arg {
    with_short(Arg::new(long).long(long).action(ArgAction::SetTrue).help(help), short)
}

/// An option with a value; given twice it is refused.
pub fn value(long: &'static str, short: Option<char>, name: &'static str, help: &'static str) -> Arg {
    with_short(Arg::new(long).long(long).value_name(name).allow_hyphen_values(true).help(help), short)
}

/// An option with a value that may be given again and again.
pub fn values(long: &'static str, short: Option<char>, name: &'static str, help: &'static str) -> Arg {
    value(long, short, name, help).action(ArgAction::Append)
}

fn with_short(arg: Arg, short: Option<char>) -> Arg {
    match short {
        Some(short) => arg.short(short),
        None => arg,
    }
}

/// `--format text|json`
pub fn format() -> Arg {
    Arg::new("format")
        .long("format")
        .value_name("FORMAT")
        .value_parser(["text", "json"])
        .help("text, or json for programs")
}

/// The values of one command line.
pub struct Given(pub ArgMatches);

impl Given {
    /// Whether a switch was given.
    pub fn has(&self, id: &str) -> bool {
        self.0.get_flag(id)
    }

    /// `Some(true)` when a switch was given.
    pub fn switch(&self, id: &str) -> Option<bool> {
        self.has(id).then_some(true)
    }

    /// The value of an option.
    pub fn one(&mut self, id: &str) -> Option<String> {
        self.0.remove_one::<String>(id)
    }

    /// All values of an option, in order.
    pub fn many(&mut self, id: &str) -> Vec<String> {
        self.0.remove_many::<String>(id).map(Iterator::collect).unwrap_or_default()
    }

    /// The value of an option, read by `read`.
    pub fn read<T>(
        &mut self,
        id: &str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>, PolicyError> {
        self.one(id)
            .map(|word| read(&word).map_err(|what| PolicyError::new(format!("--{id}"), what)))
            .transpose()
    }

    /// All values of an option, each read by `read`.
    pub fn read_many<T>(
        &mut self,
        id: &str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Vec<T>, PolicyError> {
        self.many(id)
            .iter()
            .map(|word| read(word).map_err(|what| PolicyError::new(format!("--{id}"), what)))
            .collect()
    }

    /// `--format`
    pub fn format(&mut self) -> Format {
        match self.one("format").as_deref() {
            Some("json") => Format::Json,
            _ => Format::Text,
        }
    }
}
