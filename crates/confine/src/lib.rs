//! From an OCI runtime specification to a confined process.
//!
//! ```text
//! Spec + Extensions + Host ──► Plan (a value) ──► spawn ──► Confined
//! ```
//!
//! [`Plan::new`] decides everything and touches nothing; [`spawn`] opens what the plan names, clones once and
//! lets the child walk the plan. Each mechanism has one file under [`layers`].
#![forbid(unsafe_code)]

pub mod beside;
pub mod bundle;
mod channel;
mod child;
pub mod error;
pub mod extensions;
mod guard;
mod hint;
pub mod hooks;
pub mod host;
mod idmap;
pub mod layers;
pub mod outside;
pub mod plan;
pub mod resolve;
pub mod spawn;
pub mod survey;
mod words;

pub use error::{SpecError, StartError};
pub use extensions::{Extensions, Origin};
pub use host::Host;
pub use oci_spec::runtime::Spec;
pub use plan::Plan;
pub use spawn::{Confined, Given, Guard, Handover, PassedOver, spawn};
