//! `donjon policy`: what a policy says, whether it can be used, what it allows beyond another, and what holds a container.

mod check;
mod show;

use std::io::Write;
use std::path::Path;

use donjon_policy::diff::{Direction, changes};
use donjon_policy::{Policy, Stack};
use donjon_runtime::store::Store;

use super::{Failure, Format};
use crate::args::policy::{PolicyArgs, Which};

/// Opens the store when it is needed: files and presets need none.
type Open<'a> = &'a dyn Fn() -> Result<Store, Failure>;

/// Does what was asked and returns the exit status.
pub fn run(args: PolicyArgs, open: Open<'_>) -> Result<u8, Failure> {
    match args {
        PolicyArgs::Check { files, format } => check::run(&files, format),
        PolicyArgs::Show { which: Which::Container(name), format } => {
            show::container(&open()?, &name, format)
        }
        PolicyArgs::Show { which: Which::Made { preset, files }, format } => {
            let mut policy = Policy::defaults()?;
            if let Some(preset) = &preset {
                policy = policy.under_preset(preset)?;
            }
            for file in &files {
                policy = Stack::read(file)?.over(policy)?;
            }
            show::policy(&policy, format)
        }
        PolicyArgs::Diff { a, b, format } => diff(&a, &b, format, open),
        PolicyArgs::Schema => {
            let mut out = std::io::stdout().lock();
            serde_json::to_writer_pretty(&mut out, &donjon_policy::schema::schema())?;
            writeln!(out)?;
            Ok(0)
        }
    }
}

/// A whole policy by a word: a preset's name, a file, or a container. And whether it is a container's.
fn whole(word: &str, open: Open<'_>) -> Result<(Policy, bool), Failure> {
    if Policy::presets().any(|name| name == word) {
        return Ok((Policy::defaults()?.under_preset(word)?, false));
    }
    if word.contains('/') || word.ends_with(".toml") {
        return Ok((Stack::read(Path::new(word))?.over(Policy::defaults()?)?, false));
    }
    let container = open()?.find(word).map_err(|error| {
        let names: Vec<&str> = Policy::presets().collect();
        Failure::from(error).hint(format!(
            "{word:?} is no preset ({}) either; the name of a file has a / or ends in .toml",
            names.join(", ")
        ))
    })?;
    Ok((Policy::of_spec(&container.config()?)?, true))
}

/// What B allows that A does not, and what it no longer allows.
fn diff(a: &str, b: &str, format: Format, open: Open<'_>) -> Result<u8, Failure> {
    let ((before, of_container), (now, of_other)) = (whole(a, open)?, whole(b, open)?);
    let mut found = changes(&before, &now);
    if of_container || of_other {
        // What only one run has (its command, its host name) is not on record as policy.
        found.retain(|change| change.direction != Direction::Other);
    }
    let of = |direction| found.iter().filter(move |change| change.direction == direction);
    let widens = of(Direction::Wider).next().is_some();
    let mut out = std::io::stdout().lock();
    match format {
        Format::Json => {
            let list = |direction| -> Vec<serde_json::Value> {
                of(direction)
                    .map(|change| serde_json::json!({ "key": change.keys.first(), "what": change.words }))
                    .collect()
            };
            let json = serde_json::json!({
                "widens": widens,
                "allowed": list(Direction::Wider),
                "no-longer-allowed": list(Direction::Narrower),
                "other": list(Direction::Other),
            });
            serde_json::to_writer_pretty(&mut out, &json)?;
            writeln!(out)?;
        }
        Format::Text => {
            if found.is_empty() {
                writeln!(out, "{a} and {b} allow the same")?;
            }
            for (direction, title) in [
                (Direction::Wider, "allows, and the other does not"),
                (Direction::Narrower, "does not allow, and the other does"),
                (Direction::Other, "sets to another value"),
            ] {
                if of(direction).next().is_some() {
                    writeln!(out, "{b} {title}:")?;
                }
                for change in of(direction) {
                    let sign = match direction {
                        Direction::Wider => '+',
                        Direction::Narrower => '-',
                        Direction::Other => '~',
                    };
                    let words = donjon_runtime::events::printable(&change.words);
                    let key = change.keys.first().copied().unwrap_or_default();
                    match direction {
                        Direction::Other => writeln!(out, "  {sign} {key}")?,
                        _ => writeln!(out, "  {sign} {words}  ({key})")?,
                    }
                }
            }
        }
    }
    Ok(u8::from(widens))
}
