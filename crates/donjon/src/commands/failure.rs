//! A command that failed: its exit status, and what the person reads.
//!
//! ```text
//! donjon: LAYER: what: why
//!   hint: the next step
//! ```

use std::fmt;
use std::io::Write;

use donjon_confine::{SpecError, StartError};
use donjon_image::ImageError;
use donjon_policy::PolicyError;
use donjon_runtime::exec::ExecError;
use donjon_runtime::life::LifeError;
use donjon_runtime::start::RunError;
use donjon_runtime::state::StateError;
use donjon_runtime::store::StoreError;

/// donjon itself failed.
pub const FAILED: u8 = 125;
/// Nobody reads the output any more: what a shell shows for SIGPIPE.
const BROKEN_PIPE: u8 = 128 + 13;

/// Why a command ends without success.
#[derive(Debug)]
pub struct Failure {
    /// The exit status.
    pub code: u8,
    /// What to print; empty when everything was said.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Failure {
    /// A failure of donjon itself.
    pub fn new(message: impl fmt::Display) -> Self {
        Self { code: FAILED, message: message.to_string(), hint: None }
    }

    /// Adds the next step.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Prints the failure, unless there is nothing left to say. That standard error is closed is nobody's business.
    pub fn print(&self) {
        if self.message.is_empty() {
            return;
        }
        let mut text = String::from("donjon: ");
        text.push_str(&self.message);
        if let Some(hint) = &self.hint {
            text.push_str("\n  hint: ");
            text.push_str(hint);
        }
        text.push('\n');
        let _ = std::io::stderr().write_all(text.as_bytes());
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self { code: FAILED, hint: error.hint(), message: error.to_string() }
    }
}

impl From<StateError> for Failure {
    fn from(error: StateError) -> Self {
        Self::from(LifeError::from(error))
    }
}

impl From<LifeError> for Failure {
    fn from(error: LifeError) -> Self {
        Self { code: FAILED, hint: error.hint(), message: error.to_string() }
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        Self { code: error.exit_code(), hint: error.hint(), message: error.to_string() }
    }
}

impl From<ExecError> for Failure {
    fn from(error: ExecError) -> Self {
        Self { code: error.exit_code(), hint: error.hint(), message: error.to_string() }
    }
}

impl From<PolicyError> for Failure {
    fn from(error: PolicyError) -> Self {
        Self { code: FAILED, message: error.to_string(), hint: error.hint }
    }
}

impl From<ImageError> for Failure {
    fn from(error: ImageError) -> Self {
        Self { code: FAILED, message: error.to_string(), hint: error.hint }
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        Self::from(RunError::from(error))
    }
}

impl From<SpecError> for Failure {
    fn from(error: SpecError) -> Self {
        let failure = Self::new(&error);
        match error.layer.name() {
            "cgroups" => failure.hint(
                "donjon doctor tells where you can make one; --best-effort cgroups goes on without the limit",
            ),
            "landlock" => failure.hint("donjon doctor tells more; --best-effort landlock goes on without it"),
            _ => failure,
        }
    }
}

/// Output that can't be written.
impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Self { code: BROKEN_PIPE, message: String::new(), hint: None },
            _ => Self::new(format!("write the output: {error}")),
        }
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        match error.io_error_kind() {
            Some(kind) => std::io::Error::from(kind).into(),
            None => Self::new(format!("write JSON: {error}")),
        }
    }
}
