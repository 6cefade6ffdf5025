//! donjon as an OCI runtime: what an engine (podman, docker, containerd, CRI-O) does to a container, command by command.
//!
//! ```text
//! create   bundle ─► spec ─► plan ─► process, which waits      state.json, start.sock
//! start    start.sock ─► the process goes on and becomes the program
//! kill, pause, update, exec, ps, events    state.json ─► the process and its cgroup
//! delete   processes, cgroup, record; poststop hooks
//! ```
//!
//! Nothing stays behind between the commands: no warden, no daemon. What is true of a container is read from the kernel
//! each time; the record only says which process and which cgroup are meant.

mod belongings;
pub mod bundle;
pub mod capabilities;
pub mod console;
pub mod create;
pub mod delete;
pub mod error;
pub mod exec;
pub mod features;
pub mod home;
pub mod hooks;
pub mod kill;
pub mod limits;
pub mod own_image;
pub mod processes;
pub mod record;
pub mod run;
pub mod seccomp_agent;
pub mod sockets;
pub mod start;
pub mod store;
pub mod template;

pub use error::OciError;
pub use record::{Record, Status};
pub use store::{Entry, Store};
