//! The warden confines itself before it looks at anything that the container says.
//!
//! **The attack**: a flaw in the warden is driven through its listener, its pipes or the terminal, and the container
//! acts with the caller's rights on the host. **The defence**: by then the warden has given those rights up. It
//! holds no capability and can gain none (`no_new_privs`); Landlock leaves it its own container's directory to write
//! to and the world-readable part of `/proc` to read; a filter of its own leaves it about fifty system calls, none
//! of which starts a program, makes a socket or a process, or traces or signals one but the container's (see
//! [`super::calls`]); nobody can trace it or read its memory (not dumpable).
//!
//! **Can't stop**: removing the names and empty directories of the caller's other containers, because their parents
//! are shared. Landlock needs Linux 5.13; without it the rest holds, and the plan's own notes say that it is missing.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use donjon_confine::layers::landlock::access;
use donjon_sys::landlock::{RulesetAttr, add_path_beneath, create_ruleset, restrict_self};
use donjon_sys::process::{capset, no_new_privs, set_dumpable};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::calls::filter;

/// What can go wrong: then the container is not started.
#[derive(Debug, thiserror::Error)]
#[error("warden: {what}: {}", crate::store::words(*.errno))]
pub struct ConfineError {
    /// The step.
    pub what: &'static str,
    /// The kernel's answer.
    pub errno: Errno,
}

/// Remove a file.
const REMOVE_FILE: u64 = 1 << 5;
/// Remove an empty directory.
const REMOVE_DIR: u64 = 1 << 4;
/// Make a regular file.
const MAKE_REG: u64 = 1 << 8;
/// `bind` and `connect` of TCP (ABI 4).
const NET: u64 = 3;
/// Abstract unix sockets (ABI 6). Signals are not scoped: the container is outside this domain.
const SCOPE_ABSTRACT_UNIX: u64 = 1;

/// What the warden may still reach.
#[derive(Debug)]
pub struct Reach<'a> {
    /// Its container's directory.
    pub container: BorrowedFd<'a>,
    /// The directories of containers and of names: to remove its own entries after a failed start, and with
    /// `--rm` in the end. A further process of a container has no entries of its own.
    pub remove_from: Option<(BorrowedFd<'a>, BorrowedFd<'a>)>,
    /// The directories that hold the container's cgroups, to remove these in the end.
    pub groups: Vec<BorrowedFd<'a>>,
}

/// What is still left to do when the start is over: see [`Confinement::close`].
#[derive(Debug)]
#[must_use]
pub struct Confinement(());

impl Confinement {
    /// Confines the calling process for good. Nothing is returned to it afterwards.
    pub fn enter(reach: &Reach<'_>, landlock_abi: u32) -> Result<Self, ConfineError> {
        let step = |what| move |errno| ConfineError { what, errno };
        no_new_privs().map_err(step("set no_new_privs"))?;
        if landlock_abi > 0 {
            landlock(reach, landlock_abi).map_err(step("enter its Landlock domain"))?;
        }
        capset(0, 0, 0).map_err(step("drop its capabilities"))?;
        let own_pid = rustix::process::getpid().as_raw_nonzero().get();
        let program = filter(own_pid)
            .map_err(|_| ConfineError { what: "compile its own filter", errno: Errno::INVAL })?;
        donjon_sys::seccomp::load(&program.filter, 0).map_err(step("load its own filter"))?;
        Ok(Self(()))
    }

    /// Makes the process untraceable, which also takes its own `/proc/self` away from it: so this comes last.
    pub fn close(self) -> Result<(), ConfineError> {
        set_dumpable(false).map_err(|errno| ConfineError { what: "become not dumpable", errno })
    }
}

fn landlock(reach: &Reach<'_>, abi: u32) -> Result<(), Errno> {
    let handled = access::all(abi);
    let ruleset = create_ruleset(&RulesetAttr {
        fs: handled,
        net: if abi >= 4 { NET } else { 0 },
        scoped: if abi >= 6 { SCOPE_ABSTRACT_UNIX } else { 0 },
    })?;
    let own = access::READ | access::WRITE_FILE | access::TRUNCATE | MAKE_REG | REMOVE_FILE;
    add_path_beneath(ruleset.as_fd(), reach.container, own & handled)?;
    // Other processes' names (`comm`). What is more than world-readable there is guarded by the right to trace,
    // which a process under Landlock has over nobody outside its domain.
    let proc: OwnedFd =
        rustix::fs::open(c"/proc", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    add_path_beneath(ruleset.as_fd(), proc.as_fd(), access::READ)?;
    if let Some((containers, names)) = reach.remove_from {
        add_path_beneath(ruleset.as_fd(), containers, REMOVE_DIR)?;
        add_path_beneath(ruleset.as_fd(), names, REMOVE_FILE)?;
    }
    for parent in &reach.groups {
        add_path_beneath(ruleset.as_fd(), *parent, REMOVE_DIR)?;
    }
    restrict_self(ruleset.as_fd(), 0)
}
