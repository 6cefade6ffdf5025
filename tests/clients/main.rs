//! Podman, Docker Engine and containerd themselves, with donjon as their runtime: what a person at their command
//! lines observes.
//!
//! Everything runs apart from the machine: see `apart.sh`. Every check runs twice, first with the reference runtime,
//! runc, and then with donjon, and has to hold for both; so it tests what an engine's user is used to, and tells a
//! machine that can't do something from a donjon that can't.

mod compose;
mod containerd;
mod files;
mod health;
mod house;
mod inside;
mod leftovers;
mod life;
mod limits;
mod networks;
mod pods;
mod privileges;
mod sharing;
mod terminals;
