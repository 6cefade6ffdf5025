//! What can be wrong with a policy.

/// A policy that can't be read, merged or carried out; says where, what and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {what}")]
pub struct PolicyError {
    /// The flag, or the file with its line.
    pub place: String,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// The key that it is about, by its parts, if it is about one; a number is a place in a list.
    pub key: Vec<String>,
}

impl PolicyError {
    /// An error about `place`.
    pub fn new(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self { place: place.into(), what: what.into(), hint: None, key: Vec::new() }
    }

    /// Says which key it is about.
    pub fn at_key(mut self, key: &[&str]) -> Self {
        self.key = key.iter().map(|part| part.to_string()).collect();
        self
    }

    /// Adds what to do.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}
