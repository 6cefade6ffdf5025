//! What was refused: `events.jsonl`, one JSON object per line, and the chain that holds its lines together.
//!
//! **The attack**: a container that repeats a refused call a million times, or varies it endlessly, to fill the
//! disk, the warden's memory or the reader's screen. **The defence**: equal refusals are one record with a count;
//! at most [`MAX_KINDS`] kinds are told apart and the rest are counted together; texts are cut; the file ends at
//! [`MAX_FILE`] bytes, with a word that it is full. Texts from the container are escaped when they are shown, never
//! trusted.
//!
//! The file is only ever appended to, so that several wardens (a container's own and those of `exec`) can write
//! it. A reader takes each writer's highest count and adds the writers up.
//!
//! - [`chain`]: what makes a change show
//! - [`recorder`]: what a warden writes, and when
//! - [`read`]: each kind once
//! - [`verify`]: whether the log is what was written

pub mod chain;
mod read;
mod recorder;
pub mod verify;

use serde::{Deserialize, Serialize};

pub use read::{add_up, merge, read, size};
pub use recorder::Recorder;

/// Kinds of refusals that are told apart for one writer.
pub const MAX_KINDS: usize = 256;
/// Size at which events.jsonl takes no further records, in bytes.
pub const MAX_FILE: u64 = 1024 * 1024;
/// Longest text of a record, in characters.
const MAX_TEXT: usize = 240;

/// A refusal, with how often it happened.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When it first happened (RFC 3339, UTC).
    pub time: String,
    /// The container's id.
    pub container: String,
    /// The process, in the pid namespace of the warden; 0 when there is none.
    pub pid: i32,
    /// The process's own name for itself.
    pub comm: String,
    /// The layer that refused: `seccomp`, `capabilities`, `cgroups`, `landlock`, `apparmor`, `selinux`.
    pub layer: String,
    /// What was tried: the system call's name, `memory`, `fork`.
    pub operation: String,
    /// What it was tried on: decoded arguments. May be empty.
    pub object: String,
    /// The rule that refused it.
    pub rule: String,
    /// What the program was told: `EPERM`. Empty when it was told nothing.
    pub errno: String,
    /// The flag or policy line that would allow it, if there is one.
    pub allow: Option<String>,
    /// What allowing it would cost. May be empty.
    #[serde(default)]
    pub advice: String,
    /// How often.
    pub count: u64,
    /// The pid of the warden that wrote it: counts of several are added up.
    #[serde(default)]
    pub warden: i32,
}

impl Event {
    /// A refusal that nobody wrote down, now.
    pub fn of(refused: Refused, comm: String, container: String) -> Self {
        Self { time: crate::state::now(), container, comm: cut(comm), count: 1, ..Self::bare(refused) }
    }

    /// Without time and names, which are not looked up for a refusal that is known already.
    fn bare(refused: Refused) -> Self {
        Self {
            pid: refused.pid,
            layer: refused.layer.to_string(),
            operation: cut(refused.operation),
            object: cut(refused.object),
            rule: cut(refused.rule),
            errno: refused.errno.to_string(),
            allow: refused.allow.map(cut),
            advice: refused.advice.to_string(),
            ..Self::default()
        }
    }
}

/// What makes two refusals the same kind.
type Kind = (String, String, String, String, String);

impl Event {
    fn kind(&self) -> Kind {
        (
            self.layer.clone(),
            self.operation.clone(),
            self.object.clone(),
            self.rule.clone(),
            self.errno.clone(),
        )
    }
}

/// A refusal as its source tells it; the recorder adds the rest.
#[derive(Debug, Clone, Default)]
pub struct Refused {
    /// See [`Event::pid`].
    pub pid: i32,
    /// See [`Event::layer`].
    pub layer: &'static str,
    /// See [`Event::operation`].
    pub operation: String,
    /// See [`Event::object`].
    pub object: String,
    /// See [`Event::rule`].
    pub rule: String,
    /// See [`Event::errno`].
    pub errno: &'static str,
    /// See [`Event::allow`].
    pub allow: Option<String>,
    /// See [`Event::advice`].
    pub advice: &'static str,
}

/// What a container's record says of its log, once it has ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Closed {
    /// How many lines the log has.
    pub records: u64,
    /// The digest after the last of them; empty without any.
    pub head: String,
    /// How many kinds of refusals are not in it, or not with their last count.
    pub lost: u64,
    /// Why.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub why: String,
}

fn cut(mut text: String) -> String {
    if let Some((at, _)) = text.char_indices().nth(MAX_TEXT) {
        text.truncate(at);
        text.push('…');
    }
    text
}

/// Text that came from a container, made harmless for a terminal: control characters and those that change the
/// direction of writing are shown as their codes.
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        let direction =
            matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if c.is_control() || direction {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

#[cfg(test)]
mod tests;
