//! The house that every whole-program test lives in.
//!
//! A [`World`] is one test's own directory, runtime directory and user; it starts the real binary with nothing of
//! the developer's environment, bounds everything in time, and ends whatever the test left running.
//! `cargo xtask test ROOM` builds the binaries and root file systems and says where they are; without it these
//! tests fail and say so.

mod bundle;
mod image;
mod leftovers;
mod run;
mod terminal;
mod world;

pub use bundle::Bundle;
pub use image::OwnRoot;
pub use leftovers::{Leftovers, mount_table};
pub use run::{Binary, Outcome, Run, Running};
pub use terminal::{Terminal, TerminalRun, read_terminal, receive_descriptor, receive_terminal};
pub use world::{Who, World, attacker_outside, eventually, told};
