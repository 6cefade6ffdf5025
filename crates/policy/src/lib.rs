//! What a container may do: the model, the defaults, the way that layers merge, and the specification that results.
#![forbid(unsafe_code)]

pub mod error;
pub mod guard;
mod load;
mod merge;
pub mod model;
pub mod spec;
#[cfg(test)]
mod tests;
pub mod words;

pub use error::PolicyError;
pub use load::MOST_BYTES;
pub use model::Policy;
pub use spec::{Caller, Identity, Request, RootTree, syscalls_of, to_spec};
