//! What a container may do: the model, the defaults, the way that layers merge, and the specification that results.
#![forbid(unsafe_code)]

pub mod model;

pub use model::Policy;
