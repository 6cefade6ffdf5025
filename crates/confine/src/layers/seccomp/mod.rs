//! seccomp: which system calls exist for the container.
//!
//! **Stops**: reaching kernel code that the program does not need. Three tenths of all system calls are out of reach
//! inside; others exist for some arguments only. Unknown calls answer ENOSYS, so that programs fall back; known ones
//! that are refused are reported to the warden, which records them and answers EPERM.
//!
//! **Can't stop**: misuse of an allowed call, or of memory behind a pointer, which a filter can't see.
//!
//! Needs no privilege but `no_new_privs`. Filters: Linux 3.17; the listener: 5.0 (a call that is being answered can be
//! interrupted by a signal before 5.19). A kernel without refuses the start.

pub mod compile;
pub mod foreign;
pub(crate) mod install;
pub mod interpret;
pub mod notify;
pub mod observe;
pub mod policy;
pub mod sets;
pub mod supported;
#[cfg(test)]
mod tests;

pub use donjon_sys::seccomp::SockFilter;
use donjon_sys::seccomp::flag;
use std::borrow::Cow;

use syscalls::Sysno;

pub use compile::compile;
pub use policy::{SyscallPolicy, masked, profile};

/// `AUDIT_ARCH_*` of the architecture that this program is built for.
#[cfg(target_arch = "x86_64")]
pub const AUDIT_ARCH: u32 = 0xc000_003e;
/// `AUDIT_ARCH_*` of the architecture that this program is built for.
#[cfg(target_arch = "aarch64")]
pub const AUDIT_ARCH: u32 = 0xc000_00b7;
/// `AUDIT_ARCH_*` of the architecture that this program is built for.
#[cfg(target_arch = "riscv64")]
pub const AUDIT_ARCH: u32 = 0xc000_00f3;

/// A filter, ready to be loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The instructions.
    pub filter: Cow<'static, [SockFilter]>,
    /// Some calls are answered by a listener.
    pub listener: bool,
    /// Flags of `seccomp(2)` that the profile asked for.
    pub flags: u32,
}

impl Program {
    /// The flags to load it with. A call that the warden answers can be interrupted by death alone, or else a signal
    /// would make the kernel repeat what the warden has already done. A profile that somebody else wrote says itself
    /// how its listener is loaded.
    pub(crate) fn load_flags(&self) -> u32 {
        match self.listener && self.flags & flag::NEW_LISTENER == 0 {
            true => self.flags | flag::NEW_LISTENER | flag::WAIT_KILLABLE_RECV,
            false => self.flags,
        }
    }
}

/// A filter that was compiled beforehand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ready {
    /// The [`SyscallPolicy`] that it was made from, as JSON.
    pub source: &'static str,
    /// The instructions.
    pub filter: &'static [SockFilter],
    /// See [`Program::listener`].
    pub listener: bool,
    /// See [`Program::flags`].
    pub flags: u32,
}

/// The program of a policy: one that is ready, or one made now.
pub(crate) fn program(words: &SyscallPolicy, ready: &[Ready]) -> Result<Program, SeccompError> {
    let source = serde_json::to_string(words).map_err(|e| SeccompError::Spec(e.to_string()))?;
    match ready.iter().find(|ready| ready.source == source) {
        Some(ready) => {
            Ok(Program { filter: Cow::Borrowed(ready.filter), listener: ready.listener, flags: ready.flags })
        }
        None => compile(&profile(words)?),
    }
}

/// A profile that can't be made or compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SeccompError {
    /// No such set.
    #[error("{0} is no set of system calls; there are @default and those of docs/layers/seccomp.md")]
    UnknownSet(String),
    /// No such call.
    #[error("{0} is no system call of this architecture")]
    UnknownCall(String),
    /// A call that every start needs.
    #[error("{0} is needed to start a program: it can't be left out")]
    Needed(String),
    /// No such socket family.
    #[error("{0} is no socket family that can be allowed")]
    UnknownFamily(String),
    /// A system call has six arguments.
    #[error("argument index {0}: a system call has arguments 0 to 5")]
    ArgumentIndex(usize),
    /// The filter is longer than the kernel takes.
    #[error("the filter has {0} instructions; the kernel takes 4096")]
    TooLong(usize),
    /// A field of a profile that somebody else wrote.
    #[error("{field}: {what}")]
    Profile {
        /// JSON path.
        field: String,
        /// What is wrong with it.
        what: String,
    },
    /// A value that the specification's types refuse.
    #[error("{0}")]
    Spec(String),
}

impl SeccompError {
    /// The field of the specification that is wrong, and what is wrong with it.
    pub fn field_and_reason(self) -> (String, String) {
        match self {
            Self::Profile { field, what } => (field, what),
            Self::TooLong(_) => ("linux.seccomp.syscalls".to_string(), self.to_string()),
            other => ("linux.seccomp".to_string(), other.to_string()),
        }
    }
}

/// The number of a system call on this architecture.
pub fn number(name: &str) -> Option<u32> {
    name.parse::<Sysno>().ok().and_then(|s| u32::try_from(s.id()).ok())
}

/// The name of a system call on this architecture.
pub fn name(number: i32) -> Option<&'static str> {
    usize::try_from(number).ok().and_then(Sysno::new).map(|s| s.name())
}

/// Number and name of all system calls of this architecture.
pub(crate) fn all() -> impl Iterator<Item = (u32, &'static str)> {
    Sysno::iter().filter_map(|s| Some((u32::try_from(s.id()).ok()?, s.name())))
}

/// The names of all system calls of this architecture.
pub fn all_names() -> impl Iterator<Item = &'static str> {
    Sysno::iter().map(|s| s.name())
}
