//! What a container may do: the model, the defaults, the way that layers merge, and the specification that results.
#![forbid(unsafe_code)]

pub mod check;
pub mod diff;
pub mod error;
pub mod files;
pub mod guard;
pub mod keys;
pub(crate) mod load;
mod merge;
pub mod model;
pub mod paths;
pub mod place;
mod record;
pub mod schema;
pub mod spec;
#[cfg(test)]
mod tests;
pub mod words;
mod write;

pub use error::PolicyError;
pub use files::Stack;
pub use load::{MOST_BYTES, in_words, text_of};
pub use model::Policy;
pub use spec::{Caller, Identity, Request, RootTree, syscalls_of, to_spec};
pub use write::quoted;
