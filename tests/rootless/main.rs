//! donjon as an ordinary user uses it.

mod events;
mod exits;
mod explain;
mod flags;
mod host;
mod inside;
mod learn;
mod life;
mod limits;
mod mounts;
mod options;
mod policy;
mod process;
mod promises;
mod root_directory;
mod setup;
mod terminal;
