//! Why a command of an OCI runtime failed.
//!
//! Engines read some of these messages: the words "does not exist", "container not running", "executable file not found
//! in $PATH" and "permission denied" are what they look for, whatever else is said.

use std::path::PathBuf;

use donjon_confine::{SpecError, StartError};
use rustix::io::Errno;

use crate::store::{StoreError, words};

/// A command that failed.
#[derive(Debug, thiserror::Error)]
pub enum OciError {
    /// The state directory.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An id that can't be one.
    #[error(
        "{id:?} is no id of a container: letters, digits and _ + - . are, and it does not begin with a dot"
    )]
    Id {
        /// What was given.
        id: String,
    },
    /// There is no such container.
    #[error("container {id:?} does not exist")]
    NotFound {
        /// The id.
        id: String,
    },
    /// There is one already.
    #[error("container with given ID already exists: {id:?}")]
    Exists {
        /// The id.
        id: String,
    },
    /// The bundle's specification can't be read.
    #[error("{path}: {what}")]
    Bundle {
        /// The file.
        path: PathBuf,
        /// What is wrong, with the JSON path where there is one.
        what: String,
    },
    /// The specification can't be planned.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// A step failed.
    #[error("{}{}", engine_words(.0), .0)]
    Start(#[from] StartError),
    /// The container is in the wrong state for that.
    #[error("{}", wrong_status(.id, .status, .action))]
    Status {
        /// The id.
        id: String,
        /// What it is.
        status: &'static str,
        /// What was to be done.
        action: &'static str,
    },
    /// The record can't be used.
    #[error("the record of {id:?} is damaged: {why}")]
    Record {
        /// The id.
        id: String,
        /// What is wrong with it.
        why: String,
    },
    /// A hook outside of the container failed.
    #[error("hooks.{hook}: {what}")]
    Hook {
        /// Its field: `createRuntime[0]`.
        hook: String,
        /// How it failed.
        what: String,
    },
    /// Something else that the kernel refused.
    #[error("{what}: {}", words(*.errno))]
    Io {
        /// What was tried.
        what: String,
        /// The kernel's answer.
        errno: Errno,
    },
    /// A word of the command line or of a file that it names.
    #[error("{0}")]
    Usage(String),
}

/// What engines look for in a message about a program that can't be run.
fn engine_words(error: &StartError) -> &'static str {
    match error.exit_code() {
        // The program was named by a path, and the message says already that there is no such file.
        127 if error.what.contains("no such file or directory") => "",
        127 => "executable file not found in $PATH: ",
        126 if error.errno.is_none() => "permission denied: ",
        _ => "",
    }
}

fn wrong_status(id: &str, status: &str, action: &str) -> String {
    match (status, action) {
        ("stopped", "kill") => format!("container not running: {id:?} is stopped"),
        _ => format!("cannot {action} container {id:?}: it is {status}"),
    }
}

impl OciError {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(Errno) -> Self {
        let what = what.into();
        move |errno| Self::Io { what, errno }
    }

    /// The next step for the person, if there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Store(error) => error.hint(),
            Self::Start(error) => error.hint.clone(),
            Self::NotFound { .. } => Some("donjon list shows the containers of this --root".to_string()),
            Self::Exists { id } => Some(format!("choose another id, or remove that one: donjon delete {id}")),
            Self::Record { id, .. } => {
                Some(format!("donjon delete --force {id} removes it whatever its record says"))
            }
            _ => None,
        }
    }
}
