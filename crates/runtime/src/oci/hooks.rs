//! Hooks that run outside of the container, and the states that all hooks read on their standard input.

use std::os::fd::{AsFd, OwnedFd};

use donjon_confine::layers::lifecycle;
use oci_spec::runtime::{Hook, Hooks, Spec};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;
use serde_json::Value;

use super::error::OciError;
use crate::container::write_all;

/// When a hook outside runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// `prestart` and `createRuntime`: the namespaces and mounts are there.
    Create,
    /// `poststart`: the program runs.
    Started,
    /// `poststop`: the container is deleted.
    Stopped,
}

/// The hooks of a moment, with the name of their list.
fn lists(hooks: &Hooks, moment: Moment) -> Vec<(&'static str, &Vec<Hook>)> {
    #[allow(deprecated)] // the specification still has prestart, and docker uses it
    let lists = match moment {
        Moment::Create => vec![("prestart", hooks.prestart()), ("createRuntime", hooks.create_runtime())],
        Moment::Started => vec![("poststart", hooks.poststart())],
        Moment::Stopped => vec![("poststop", hooks.poststop())],
    };
    lists.into_iter().filter_map(|(name, list)| list.as_ref().map(|list| (name, list))).collect()
}

/// Runs the hooks of a moment in their order. The first that fails ends a creation; after that one that fails is told,
/// and the others run all the same, as the specification has it.
pub fn run(spec: &Spec, moment: Moment, state: &Value) -> Result<(), OciError> {
    let Some(hooks) = spec.hooks() else { return Ok(()) };
    let mut first = Ok(());
    for (name, list) in lists(hooks, moment) {
        for (i, hook) in list.iter().enumerate() {
            let field = format!("{name}[{i}]");
            let state = memfd(state).map_err(OciError::io("hooks: write the container's state"))?;
            let result = lifecycle::run_outside(&format!("hooks.{field}"), hook, state.as_fd())
                .map_err(|what| OciError::Hook { hook: field, what });
            if moment == Moment::Create {
                result?;
            } else if first.is_ok() {
                first = result;
            }
        }
    }
    first
}

/// A state as a sealed file: a hook can read it and change nothing for the next one.
pub fn memfd(state: &Value) -> Result<OwnedFd, Errno> {
    let file = rustix::fs::memfd_create("state", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    write_all(file.as_fd(), &serde_json::to_vec(state).unwrap_or_default())?;
    rustix::fs::fcntl_add_seals(
        &file,
        SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE,
    )?;
    Ok(file)
}
