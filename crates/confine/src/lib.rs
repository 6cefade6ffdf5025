//! From an OCI runtime specification to a confined process.
//!
//! ```text
//! Spec + Extensions + Host ──► Plan (a value) ──► spawn ──► Confined
//! ```
//!
//! [`Plan::new`] decides everything and touches nothing; [`spawn`] opens what the plan names, clones once and
//! lets the child walk the plan. Each mechanism has one file under [`layers`].
#![forbid(unsafe_code)]

pub mod extensions;
pub mod host;
pub mod layers;
pub mod resolve;

pub use extensions::Extensions;
pub use host::Host;
pub use oci_spec::runtime::Spec;
