//! What can be wrong with a specification, and what can go wrong when it is carried out.

use rustix::io::Errno;

use crate::plan::Layer;

/// A specification that can't be planned.
#[derive(Debug, thiserror::Error)]
#[error("{layer}: {field}: {what}")]
pub struct SpecError {
    /// The mechanism that refused it.
    pub layer: Layer,
    /// The field, as a JSON path of the OCI specification.
    pub field: String,
    /// What is wrong.
    pub what: String,
}

impl SpecError {
    pub(crate) fn new(layer: Layer, field: impl Into<String>, what: impl Into<String>) -> Self {
        Self { layer, field: field.into(), what: what.into() }
    }

    /// A string of the specification as the kernel takes it; a NUL inside is refused.
    pub(crate) fn c_string(
        layer: Layer,
        field: &str,
        value: impl Into<Vec<u8>>,
    ) -> Result<std::ffi::CString, SpecError> {
        std::ffi::CString::new(value).map_err(|_| Self::new(layer, field, "holds a NUL byte"))
    }
}

/// A start that failed. Nothing of the container is left when it is returned.
#[derive(Debug, thiserror::Error)]
#[error("{layer}: {what}{}{}", field_in_words(.field), errno_in_words(.errno))]
pub struct StartError {
    /// The mechanism whose step failed.
    pub layer: Layer,
    /// What the step was to do, in words.
    pub what: String,
    /// The field of the specification behind it; may be empty.
    pub field: String,
    /// The kernel's answer.
    pub errno: Option<Errno>,
    /// What to do about it.
    pub hint: Option<String>,
    /// 125 when donjon failed, 126 when the program can't be executed, 127 when it was not found.
    pub exit_code: u8,
}

impl StartError {
    pub(crate) fn new(layer: Layer, what: impl Into<String>, errno: impl Into<Option<Errno>>) -> Self {
        Self {
            layer,
            what: what.into(),
            field: String::new(),
            errno: errno.into(),
            hint: None,
            exit_code: 125,
        }
    }

    /// An error of something that the caller did on the way of a start.
    pub fn of_program(what: impl Into<String>, errno: impl Into<Option<Errno>>) -> Self {
        Self::new(Layer::Program, what, errno)
    }

    pub(crate) fn field(mut self, field: &str) -> Self {
        self.field = field.to_string();
        self
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The exit status that donjon ends with: 125, 126 or 127.
    pub fn exit_code(&self) -> u8 {
        self.exit_code
    }
}

fn field_in_words(field: &str) -> String {
    if field.is_empty() { String::new() } else { format!(" ({field})") }
}

fn errno_in_words(errno: &Option<Errno>) -> String {
    errno.map(|e| format!(": {}", words(e))).unwrap_or_default()
}

/// An errno in the C library's words, without its number.
pub fn words(errno: Errno) -> String {
    let text = std::io::Error::from(errno).to_string();
    match text.find(" (os error") {
        Some(at) => text[..at].to_string(),
        None => text,
    }
}
