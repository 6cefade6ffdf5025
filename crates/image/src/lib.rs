//! What a container's root is made of: the reference as a person writes it, the tree behind it, and who its users
//! are.
//!
//! ```text
//! "host" | "dir:PATH" ──► Reference ──► Image (tree, default user, default command)
//! ```
#![forbid(unsafe_code)]

mod dir;
pub mod host;
mod reference;
pub mod users;

use std::path::PathBuf;

use donjon_confine::extensions::Root;

pub use reference::{Reference, ReferenceError};
pub use users::{Group, User};

/// An image that can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("image {image}: {what}")]
pub struct ImageError {
    /// The image as written, or a file in it.
    pub image: String,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl ImageError {
    pub(crate) fn new(image: impl Into<String>, what: impl Into<String>) -> Self {
        Self { image: image.into(), what: what.into(), hint: None }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Who asks, and what the container is called: the image `host` holds files that say so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asker<'a> {
    /// User id on the host.
    pub uid: u32,
    /// Group id on the host.
    pub gid: u32,
    /// Host name inside the container.
    pub hostname: &'a str,
}

/// A root file system, ready to be planned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The directory on the host: the whole tree, or what the named parts are taken from.
    pub path: PathBuf,
    /// How it is put together.
    pub root: Root,
    /// Who the program is when nobody is named.
    pub user: User,
    /// What runs when no command is given.
    pub command: Vec<String>,
}

impl Image {
    /// Looks at the image behind a reference. Needs no privilege; nothing in the image is executed or parsed (R18).
    pub fn open(reference: &Reference, asker: &Asker<'_>) -> Result<Self, ImageError> {
        match reference {
            Reference::Host => host::open(asker),
            Reference::Dir(path) => dir::open(path, asker.uid),
        }
    }
}
