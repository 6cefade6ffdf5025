//! The life of a container: where it is written down, how it starts, who watches over it, how it ends.
//!
//! ```text
//! Spec ──► Plan ──► start ──► warden loop ──► End
//!                     │            │
//!                   store        events, log
//! ```
//!
//! There is no daemon. Each container has one process beside it, its *warden*: `donjon run` itself in the
//! foreground, a child of it in a session of its own with `-d`. When the warden dies, the container dies.
#![forbid(unsafe_code)]

pub mod audit;
mod child;
pub mod container;
pub mod events;
pub mod exec;
pub mod in_force;
pub mod learn;
pub mod life;
pub mod log;
pub mod names;
pub mod oci;
pub mod process;
pub mod ranges;
pub mod start;
pub mod state;
pub mod store;
mod streams;
pub mod trace;
pub mod usage;
pub mod warden;

pub use container::Container;
pub use state::{End, State, Status};
pub use store::Store;
