//! The words of flags and policy files: one file for each kind, each refusing what it does not understand (R28).

pub mod capabilities;
pub mod devices;
pub mod environment;
pub mod mounts;
pub mod network;
pub mod numbers;
pub mod security;
pub mod signals;
pub mod sysctls;
pub mod ulimits;

/// A word that does not mean anything; says what would.
pub type WordError = String;
