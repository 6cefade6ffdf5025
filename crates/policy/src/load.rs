//! Reading one layer of policy: from TOML, and those that are built in.

use std::io::Read;

use crate::check::{self, Problem, Weight};
use crate::error::PolicyError;
use crate::keys;
use crate::model::Policy;
use crate::place::Place;

/// The built-in policies, as the build script turned them into JSON.
const DEFAULT: &str = include_str!(concat!(env!("OUT_DIR"), "/default.json"));

/// The presets by name; `default` adds nothing.
const PRESETS: [(&str, &str); 4] = [
    ("strict", include_str!(concat!(env!("OUT_DIR"), "/strict.json"))),
    ("service", include_str!(concat!(env!("OUT_DIR"), "/service.json"))),
    ("build", include_str!(concat!(env!("OUT_DIR"), "/build.json"))),
    ("agent", include_str!(concat!(env!("OUT_DIR"), "/agent.json"))),
];

/// A policy file larger than this is refused unread.
pub const MOST_BYTES: usize = 1 << 20;

impl Policy {
    /// The defaults, `default.toml`.
    pub fn defaults() -> Result<Policy, PolicyError> {
        built_in(DEFAULT, "the built-in defaults")
    }

    /// The names of the presets.
    pub fn presets() -> impl Iterator<Item = &'static str> {
        std::iter::once("default").chain(PRESETS.iter().map(|(name, _)| *name))
    }

    /// A named preset: `default` adds nothing.
    pub fn preset(name: &str) -> Result<Policy, PolicyError> {
        if name == "default" {
            return Ok(Policy::default());
        }
        match PRESETS.iter().find(|(preset, _)| *preset == name) {
            Some((_, json)) => built_in(json, &format!("the preset {name}")),
            None => {
                let names: Vec<&str> = Policy::presets().collect();
                Err(PolicyError::new("--preset", format!("{name:?} is no preset"))
                    .hint(format!("there are: {}", names.join(", "))))
            }
        }
    }

    /// This policy under a preset. Its limits are wishes, as the defaults' are: they hold where a cgroup can be made.
    pub fn under_preset(self, name: &str) -> Result<Policy, PolicyError> {
        let named = (self.resources.memory_named, self.resources.cpus_named);
        let mut policy = self.merge(Policy::preset(name)?, &format!("the preset {name}"))?;
        (policy.resources.memory_named, policy.resources.cpus_named) = named;
        Ok(policy)
    }

    /// Reads one layer of policy and looks at every word of it; `name` is the file's, for errors. Never panics, whatever
    /// the text is. What it extends and includes is not read, see [`crate::files`].
    pub fn from_toml(text: &str, name: &str) -> Result<Policy, PolicyError> {
        let policy = Policy::parse(text, name)?;
        match check::problems(&policy).into_iter().find(|problem| problem.weight == Weight::Error) {
            Some(problem) => Err(problem.error(text, name)),
            None => Ok(policy),
        }
    }

    /// The same, without looking at what the words mean.
    pub fn parse(text: &str, name: &str) -> Result<Policy, PolicyError> {
        if text.len() > MOST_BYTES {
            return Err(PolicyError::new(name, TOO_LARGE));
        }
        toml::from_str(text).map_err(|error| {
            let place = match error.span() {
                Some(span) => placed(name, Place::of_byte(text.as_bytes(), span.start)),
                None => name.to_string(),
            };
            let message = error.message().to_string();
            match unknown_key(&message) {
                Some(key) => {
                    let error = PolicyError::new(place, format!("{key:?} is no key here"));
                    match nearest(key) {
                        Some(near) => error.hint(format!("did you mean {near:?}?")),
                        None => error
                            .hint(message.split_once(", ").map_or(message.clone(), |(_, rest)| rest.into())),
                    }
                }
                None => {
                    let what = message.lines().next().unwrap_or("is no TOML");
                    let twice =
                        what.strip_prefix("duplicate field `").and_then(|rest| rest.split('`').next());
                    let key = |key: &[&str]| {
                        let key: Vec<String> = key.iter().map(|part| part.to_string()).collect();
                        Place::of_key(text, &key).map(|place| placed(name, place))
                    };
                    match twice {
                        None => PolicyError::new(place, what),
                        // Two names of one key; TOML itself sees to one name.
                        Some(field) => {
                            let found = key(&[field]).or_else(|| key(&["filesystem", field]));
                            PolicyError::new(found.unwrap_or(place), what).hint(
                                "limits is the older name of resources, and mask that of hide: write one",
                            )
                        }
                    }
                }
            }
        })
    }

    /// Reads a policy file, with nothing of what it extends and includes.
    pub fn from_file(path: &std::path::Path) -> Result<Policy, PolicyError> {
        Policy::from_toml(&text_of(path)?, &path.display().to_string())
    }
}

const TOO_LARGE: &str = "is larger than 1 MiB; that is no policy that a person has read";

impl Problem {
    /// The problem of a file, with its place in it.
    pub fn error(&self, text: &str, name: &str) -> PolicyError {
        let place =
            Place::of_key(text, &self.key).map_or_else(|| name.to_string(), |place| placed(name, place));
        PolicyError {
            place,
            what: format!("{}: {}", in_words(&self.key), self.what),
            hint: self.hint.clone(),
            key: self.key.clone(),
        }
    }
}

/// `filesystem.read[2]`
pub fn in_words(key: &[String]) -> String {
    let mut words = String::new();
    for part in key {
        match part.parse::<usize>() {
            Ok(number) if !words.is_empty() => words.push_str(&format!("[{number}]")),
            _ if words.is_empty() => words.push_str(part),
            _ => {
                words.push('.');
                words.push_str(part);
            }
        }
    }
    words
}

/// `FILE:LINE:COLUMN`
pub(crate) fn placed(name: &str, place: Place) -> String {
    format!("{name}:{}:{}", place.line, place.column)
}

/// The text of a policy file: a regular file, bounded, in UTF-8.
pub fn text_of(path: &std::path::Path) -> Result<String, PolicyError> {
    let name = path.display().to_string();
    let fail = |what: &str| PolicyError::new(name.clone(), what.to_string());
    // A FIFO is not waited for.
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, rustix::fs::Mode::empty())
        .map_err(|errno| fail(&reason(&errno.into())))?;
    let mut file = std::fs::File::from(file);
    let meta = file.metadata().map_err(|e| fail(&reason(&e)))?;
    if !meta.is_file() {
        return Err(fail("is not a regular file"));
    }
    if meta.len() > MOST_BYTES as u64 {
        return Err(fail(TOO_LARGE));
    }
    let mut bytes = Vec::new();
    file.by_ref().take(MOST_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(|e| fail(&reason(&e)))?;
    String::from_utf8(bytes).map_err(|error| {
        let place = Place::of_byte(error.as_bytes(), error.utf8_error().valid_up_to());
        PolicyError::new(placed(&name, place), "is no UTF-8, as TOML is")
    })
}

fn built_in(json: &str, name: &str) -> Result<Policy, PolicyError> {
    serde_json::from_str(json).map_err(|e| PolicyError::new(name, e.to_string()))
}

/// An input-output error in words, without its number.
pub(crate) fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_string()
}

fn unknown_key(message: &str) -> Option<&str> {
    message.strip_prefix("unknown field `")?.split('`').next()
}

/// The known word that is closest to a misspelt one, if one is close.
fn nearest(word: &str) -> Option<&'static str> {
    keys::words()
        .map(|key| (strsim::damerau_levenshtein(word, key), key))
        .min()
        .filter(|(distance, key)| *distance <= 1 + key.len() / 4)
        .map(|(_, key)| key)
}
