//! Policy files that build on others: `extend` and `include`.
//!
//! `extend` names what lies below: a preset, or a file, which may extend another. `include` names pieces: they and the file
//! are one layer, in which lists are joined and the file's own word counts. A circle, a piece that wants to lie on something
//! itself, and files without end are refused before anything starts.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::check;
use crate::error::PolicyError;
use crate::load::{in_words, placed, text_of};
use crate::model::Policy;
use crate::place::Place;

/// More files than this are refused, and so is a way of more steps.
const MOST_FILES: usize = 32;

/// One layer, as it was read.
#[derive(Debug)]
struct Layer {
    name: String,
    policy: Policy,
    /// A preset's limits are wishes.
    preset: bool,
    /// The file and its pieces, by name: for the place of what is wrong.
    texts: Vec<(String, String)>,
}

/// A policy file with everything that it builds on, from the lowest layer up.
#[derive(Debug, Default)]
pub struct Stack {
    layers: Vec<Layer>,
    files: Vec<PathBuf>,
}

impl Stack {
    /// Reads a file and what it builds on.
    pub fn read(path: &Path) -> Result<Stack, PolicyError> {
        let mut stack = Stack::default();
        stack.push(path, &mut Vec::new())?;
        Ok(stack)
    }

    /// Whether a file among them was learnt and is unread.
    pub fn incomplete(&self) -> Option<String> {
        let layer = self.layers.iter().find(|layer| layer.policy.incomplete)?;
        let key = ["incomplete".to_string()];
        let placed =
            layer.texts.iter().find_map(|(name, text)| Some(placed(name, Place::of_key(text, &key)?)));
        Some(placed.unwrap_or_else(|| layer.name.clone()))
    }

    /// This stack on top of a policy.
    pub fn over(self, base: Policy) -> Result<Policy, PolicyError> {
        let whole =
            |name: &str| std::fs::canonicalize(name).unwrap_or_else(|_| name.into()).display().to_string();
        let names: Vec<String> = self
            .layers
            .iter()
            .flat_map(|layer| match layer.preset {
                true => vec![format!("preset:{}", layer.name.trim_start_matches("the preset "))],
                false => layer.texts.iter().rev().map(|(name, _)| whole(name)).collect(),
            })
            .collect();
        let mut policy = self.layers.into_iter().try_fold(base, |below, layer| {
            if layer.preset {
                return below.under_preset(layer.name.trim_start_matches("the preset "));
            }
            below.merge(layer.policy, &layer.name).map_err(|error| {
                let place = layer.texts.iter().find_map(|(name, text)| {
                    Place::of_key(text, &error.key).map(|place| placed(name, place))
                });
                match place {
                    Some(place) => PolicyError { place, ..error },
                    None => error,
                }
            })
        })?;
        policy.sources.extend(self.files);
        policy.layers.extend(names);
        Ok(policy)
    }

    fn push(&mut self, path: &Path, way: &mut Vec<PathBuf>) -> Result<(), PolicyError> {
        let (mut policy, texts) = self.file(path, way)?;
        let (name, text) = texts.first().cloned().unwrap_or_default();
        if let Some(below) = policy.extend.take() {
            let at = ["extend".to_string()];
            if is_file(&below) {
                self.push(&beside(path, &below), way).map_err(|error| error.named_at(&text, &name, &at))?;
            } else {
                let preset = Policy::preset(&below).map_err(|error| {
                    PolicyError { place: String::new(), ..error }.named_at(&text, &name, &at)
                })?;
                let name = format!("the preset {below}");
                self.layers.push(Layer { name, policy: preset, preset: true, texts: Vec::new() });
            }
        }
        way.pop();
        self.layers.push(Layer { name, policy, preset: false, texts });
        Ok(())
    }

    /// One file with its pieces, joined, and the texts; the file stays on `way`.
    fn file(
        &mut self,
        path: &Path,
        way: &mut Vec<PathBuf>,
    ) -> Result<(Policy, Vec<(String, String)>), PolicyError> {
        let name = path.display().to_string();
        let text = text_of(path)?;
        let canonical =
            std::fs::canonicalize(path).map_err(|e| PolicyError::new(&name, crate::load::reason(&e)))?;
        if way.contains(&canonical) {
            let steps: Vec<String> =
                way.iter().chain([&canonical]).map(|p| p.display().to_string()).collect();
            return Err(PolicyError::new(&name, format!("is built on itself: {}", steps.join(" -> ")))
                .hint("a policy can't extend or include itself: take one of these out"));
        }
        if self.files.len() >= MOST_FILES {
            return Err(PolicyError::new(
                &name,
                format!("is one file too many: {MOST_FILES} are the most that a policy is made of"),
            )
            .hint("put pieces together"));
        }
        way.push(canonical);
        self.files.push(path.to_path_buf());
        let mut own = Policy::from_toml(&text, &name)?;
        let mut texts = vec![(name.clone(), text.clone())];
        let mut pieces: Vec<(String, Value)> = Vec::new();
        for (i, word) in std::mem::take(&mut own.include).iter().enumerate() {
            let at = ["include".to_string(), i.to_string()];
            let here = |error: PolicyError| error.named_at(&text, &name, &at);
            let (piece, more) = self.file(&beside(path, word), way).map_err(here)?;
            way.pop();
            if piece.extend.is_some() || piece.extend_only.is_some() {
                let what = format!(
                    "{word} is a piece: it is joined with this file, so it can't say what lies below or above"
                );
                return Err(PolicyError::new("", what)
                    .hint("put extend and extend-only into the file that includes it, or extend it")
                    .named_at(&text, &name, &at));
            }
            pieces.push((word.clone(), value(&piece, word)?));
            texts.extend(more);
        }
        if pieces.is_empty() {
            return Ok((own, texts));
        }
        let own = join(own, pieces, &name)?;
        match check::contradiction(&own) {
            None => Ok((own, texts)),
            Some(problem) => {
                let found = texts.iter().find(|(_, text)| Place::of_key(text, &problem.key).is_some());
                let (name, text) = found.map_or((name.as_str(), ""), |(name, text)| (name, text));
                Err(problem.error(text, name))
            }
        }
    }
}

impl PolicyError {
    /// An error about a file that another one names; an error without a place gets that of the key.
    fn named_at(self, text: &str, name: &str, key: &[String]) -> Self {
        let place = Place::of_key(text, key).map_or_else(|| name.to_string(), |place| placed(name, place));
        match self.place.as_str() {
            "" => Self { place, what: format!("{}: {}", in_words(key), self.what), ..self },
            // Its own place says more.
            below if below.contains(".toml:") || below.contains(':') => self,
            below => Self { what: format!("{}: {below}: {}", in_words(key), self.what), place, ..self },
        }
    }
}

/// A word of `extend` that names a file and no preset.
fn is_file(word: &str) -> bool {
    word.contains('/') || word.ends_with(".toml")
}

/// A path as a file means it: beside that file.
fn beside(file: &Path, word: &str) -> PathBuf {
    file.parent().unwrap_or(Path::new("")).join(word)
}

fn value(policy: &Policy, name: &str) -> Result<Value, PolicyError> {
    serde_json::to_value(policy).map_err(|e| PolicyError::new(name, e.to_string()))
}

/// A file with its pieces as one layer.
fn join(own: Policy, pieces: Vec<(String, Value)>, name: &str) -> Result<Policy, PolicyError> {
    let own = value(&own, name)?;
    let mut joined: Option<(String, Value)> = None;
    for (word, piece) in pieces {
        joined = Some(match joined {
            None => (word, piece),
            Some((others, before)) => {
                let both = unite(before, piece, &own, &mut Vec::new()).map_err(|key| {
                    PolicyError::new(
                        name,
                        format!("{others} and {word} do not agree about {}", in_words(&key)),
                    )
                    .hint("say it in this file: its own word counts")
                })?;
                (format!("{others}, {word}"), both)
            }
        });
    }
    let all = match joined {
        None => own,
        Some((_, pieces)) => over(pieces, own),
    };
    // By the reader of the built-in policies: a second one would make the executable larger.
    serde_json::from_str(&all.to_string()).map_err(|e| PolicyError::new(name, e.to_string()))
}

/// Whether a value says nothing: it was not in the file.
fn is_silent(value: &Value) -> bool {
    matches!(value, Value::Null | Value::Bool(false)) || value.as_array().is_some_and(Vec::is_empty)
}

/// Two pieces as one: lists are joined, tables are joined name by name, and what both say must be the same unless the file
/// itself has a word on it.
fn unite(one: Value, other: Value, own: &Value, way: &mut Vec<String>) -> Result<Value, Vec<String>> {
    match (one, other) {
        (one, other) if is_silent(&one) => Ok(other),
        (one, other) if is_silent(&other) || one == other => Ok(one),
        (Value::Object(mut one), Value::Object(other)) => {
            for (key, value) in other {
                way.push(key.clone());
                let before = one.remove(&key).unwrap_or(Value::Null);
                let both = unite(before, value, own.get(&key).unwrap_or(&Value::Null), way)?;
                one.insert(key, both);
                way.pop();
            }
            Ok(Value::Object(one))
        }
        (Value::Array(one), Value::Array(other)) if !is_command(way) => Ok(together(one, other)),
        (one, _) if !is_silent(own) => Ok(one),
        _ => Err(way.clone()),
    }
}

/// A file's own words over those of its pieces.
fn over(pieces: Value, own: Value) -> Value {
    fn at(pieces: Value, own: Value, way: &mut Vec<String>) -> Value {
        match (pieces, own) {
            (pieces, own) if is_silent(&own) => pieces,
            (Value::Object(mut pieces), Value::Object(own)) => {
                for (key, value) in own {
                    way.push(key.clone());
                    let before = pieces.remove(&key).unwrap_or(Value::Null);
                    pieces.insert(key, at(before, value, way));
                    way.pop();
                }
                Value::Object(pieces)
            }
            (Value::Array(pieces), Value::Array(own)) if !is_command(way) => together(pieces, own),
            (_, own) => own,
        }
    }
    at(pieces, own, &mut Vec::new())
}

/// The one list whose order is a meaning of its own.
fn is_command(way: &[String]) -> bool {
    way.last().is_some_and(|key| key == "entrypoint")
}

fn together(mut one: Vec<Value>, other: Vec<Value>) -> Value {
    for value in other {
        if !one.contains(&value) {
            one.push(value);
        }
    }
    Value::Array(one)
}
