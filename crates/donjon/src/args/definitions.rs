//! Short ways to define an argument, and to take its value out again.

use std::ffi::OsString;

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

/// An option of a command with many.
#[derive(Debug)]
pub struct Definition {
    kind: Kind,
    long: &'static str,
    short: Option<char>,
    value: &'static str,
    help: &'static str,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Flag,
    Value,
    Values,
}

impl Definition {
    /// A switch.
    pub const fn flag(long: &'static str, short: Option<char>, help: &'static str) -> Self {
        Self { kind: Kind::Flag, long, short, value: "", help }
    }

    /// An option with a value; given twice it is refused.
    pub const fn value(
        long: &'static str,
        short: Option<char>,
        value: &'static str,
        help: &'static str,
    ) -> Self {
        Self { kind: Kind::Value, long, short, value, help }
    }

    /// An option with a value that may be given again and again.
    pub const fn values(
        long: &'static str,
        short: Option<char>,
        value: &'static str,
        help: &'static str,
    ) -> Self {
        Self { kind: Kind::Values, long, short, value, help }
    }

    /// For clap.
    pub fn arg(&self) -> Arg {
        match self.kind {
            Kind::Flag => flag(self.long, self.short, self.help),
            Kind::Value => value(self.long, self.short, self.value, self.help),
            Kind::Values => values(self.long, self.short, self.value, self.help),
        }
    }

    /// Whether any of the words could mean it: `--long`, `--long=...`, or its letter in a group of short ones.
    pub fn may_be_meant(&self, words: &[OsString]) -> bool {
        words.iter().map(|word| word.as_encoded_bytes()).any(|word| match word {
            [b'-', b'-', rest @ ..] => rest
                .strip_prefix(self.long.as_bytes())
                .is_some_and(|after| after.is_empty() || after.starts_with(b"=")),
            [b'-', letters @ ..] => self.short.is_some_and(|short| letters.contains(&(short as u8))),
            _ => false,
        })
    }
}

/// The values of one command line. An option that was not defined was not given.
pub struct Given(pub ArgMatches);

impl Given {
    /// Whether a switch was given.
    pub fn has(&self, id: &str) -> bool {
        self.0.try_get_one::<bool>(id).ok().flatten().copied().unwrap_or(false)
    }

    /// `Some(true)` when a switch was given.
    pub fn switch(&self, id: &str) -> Option<bool> {
        self.has(id).then_some(true)
    }

    /// The value of an option.
    pub fn one(&mut self, id: &str) -> Option<String> {
        self.0.try_remove_one::<String>(id).ok().flatten()
    }

    /// All values of an option, in order.
    pub fn many(&mut self, id: &str) -> Vec<String> {
        self.0.try_remove_many::<String>(id).ok().flatten().map(Iterator::collect).unwrap_or_default()
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
