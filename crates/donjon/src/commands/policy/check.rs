//! `donjon policy check`: everything that is wrong or unwise in a file, with its place.

use std::io::Write;
use std::path::{Path, PathBuf};

use donjon_policy::check::{Weight, problems};
use donjon_policy::place::Place;
use donjon_policy::{Policy, PolicyError, Stack, in_words, text_of};
use donjon_runtime::events::printable;

use super::super::{Failure, Format};

/// One thing to say of a file.
struct Said {
    weight: Weight,
    place: String,
    what: String,
    hint: Option<String>,
}

impl Said {
    fn of_error(error: PolicyError) -> Self {
        Self { weight: Weight::Error, place: error.place, what: error.what, hint: error.hint }
    }
}

/// Looks the files over; 1 when one of them can't be used.
pub fn run(files: &[PathBuf], format: Format) -> Result<u8, Failure> {
    let mut out = std::io::stdout().lock();
    let mut all = Vec::new();
    let mut failed = false;
    for file in files {
        let said = look_over(file);
        let count = |weight| said.iter().filter(|said| said.weight == weight).count();
        let (errors, warnings) = (count(Weight::Error), count(Weight::Warning));
        failed |= errors > 0;
        match format {
            Format::Json => all.extend(said.into_iter().map(|said| {
                serde_json::json!({
                    "file": file, "place": said.place, "weight": word(said.weight), "what": said.what, "hint": said.hint,
                })
            })),
            Format::Text => {
                for said in &said {
                    writeln!(out, "{}: {}: {}", printable(&said.place), word(said.weight), printable(&said.what))?;
                    if let Some(hint) = &said.hint {
                        writeln!(out, "  hint: {}", printable(hint))?;
                    }
                }
                let name = file.display();
                match (errors, warnings) {
                    (0, 0) => writeln!(out, "{name}: nothing wrong")?,
                    (0, n) => writeln!(out, "{name}: can be used; {n} {}", plural(n, "warning"))?,
                    (n, 0) => writeln!(out, "{name}: can't be used; {n} {}", plural(n, "error"))?,
                    (n, m) => writeln!(
                        out,
                        "{name}: can't be used; {n} {}, {m} {}",
                        plural(n, "error"),
                        plural(m, "warning")
                    )?,
                }
            }
        }
    }
    if format == Format::Json {
        serde_json::to_writer_pretty(&mut out, &all)?;
        writeln!(out)?;
    }
    Ok(u8::from(failed))
}

fn word(weight: Weight) -> &'static str {
    match weight {
        Weight::Error => "error",
        Weight::Warning => "warning",
    }
}

fn plural(n: usize, word: &str) -> String {
    if n == 1 { word.to_string() } else { format!("{word}s") }
}

/// The file by itself, and then with everything that it builds on.
fn look_over(file: &Path) -> Vec<Said> {
    let name = file.display().to_string();
    let parsed = text_of(file).and_then(|text| Ok((Policy::parse(&text, &name)?, text)));
    let (policy, text) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return vec![Said::of_error(error)],
    };
    let mut said: Vec<Said> = problems(&policy)
        .into_iter()
        .map(|problem| Said {
            weight: problem.weight,
            place: match Place::of_key(&text, &problem.key) {
                Some(place) => format!("{name}:{}:{}", place.line, place.column),
                None => name.clone(),
            },
            what: format!("{}: {}", in_words(&problem.key), problem.what),
            hint: problem.hint,
        })
        .collect();
    if !said.iter().any(|said| said.weight == Weight::Error) {
        let whole = Stack::read(file).and_then(|stack| stack.over(Policy::defaults()?));
        if let Err(error) = whole {
            said.insert(0, Said::of_error(error));
        }
    }
    said
}
