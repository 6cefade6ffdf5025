//! Namespaces that exist already: a pod's network, another container's processes, the user namespace of an engine.
//!
//! **The attack**: the path is replaced between the check and the join, or names something that is no namespace (a
//! fifo that blocks, a device that acts when opened). **The defence**: the parent opens each path once, before the
//! clone, without blocking; the kernel tells that it is a namespace and of which kind; and that descriptor is entered.
//!
//! Most can be entered by the container's first process itself. Three can't: a pid namespace counts for children alone,
//! and a user namespace, new or entered, takes away the right over the others, which therefore come first. Then a
//! process goes ahead, enters them, and makes the container's first process as its sibling. Without a user namespace a pid
//! namespace is entered later, by a fork that comes last ([`super::inside`]).

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use oci_spec::runtime::{LinuxNamespaceType, Spec};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use super::{clone_flag, flag};
use crate::child::Context;
use crate::error::{SpecError, StartError};
use crate::plan::{Draft, Layer, Op};

/// A namespace to be entered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// `CLONE_NEW*` of its kind.
    pub flag: u64,
    /// Where it is found.
    pub path: PathBuf,
    /// The field that named it.
    pub field: String,
}

/// What a specification says of namespaces.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Namespaces {
    /// `CLONE_NEW*` of those to be made.
    pub new: u64,
    /// Those to be entered, the user namespace last.
    pub joined: Vec<Joined>,
    /// The pid namespace is entered by a fork that comes last: see [`super::inside`].
    pub pid_last: bool,
}

impl Namespaces {
    /// Reads them from a bundle's specification.
    pub fn of_bundle(spec: &Spec) -> Result<Self, SpecError> {
        let mut all = Self::default();
        let mut seen = 0;
        let named = spec.linux().as_ref().and_then(|l| l.namespaces().as_ref());
        for (i, namespace) in named.into_iter().flatten().enumerate() {
            let refuse = |field: &str, what: String| {
                SpecError::new(Layer::Namespaces, format!("linux.namespaces[{i}].{field}"), what)
            };
            let flag = clone_flag(namespace.typ());
            if seen & flag != 0 {
                return Err(refuse("type", format!("{} is named twice", namespace.typ())));
            }
            seen |= flag;
            let Some(path) = namespace.path() else {
                all.new |= flag;
                continue;
            };
            if namespace.typ() == LinuxNamespaceType::Mount {
                let what = "the root would be put together in a mount namespace that others live in: a container's \
                            is always its own";
                return Err(refuse("path", what.to_string()));
            }
            if !path.is_absolute() {
                return Err(refuse("path", format!("{} is no absolute path", path.display())));
            }
            all.joined.push(Joined {
                flag,
                path: path.clone(),
                field: format!("linux.namespaces[{i}].path"),
            });
        }
        // Stricter than what was left open: in the caller's own a container would mount over the machine's files.
        all.new |= flag::MOUNT;
        all.joined.sort_by_key(|joined| joined.flag == flag::USER);
        Ok(all)
    }

    fn joins(&self, flag: u64) -> bool {
        self.joined.iter().any(|joined| joined.flag == flag)
    }

    /// Lets the fork into a pid namespace come last, if one is entered. A user namespace that is entered or made protects
    /// the process while it is set up, and is what needs the fork first.
    pub fn with_pid_last(mut self) -> Self {
        self.pid_last = self.joins(flag::PID) && !self.joins(flag::USER) && self.new & flag::USER == 0;
        self
    }

    /// Whether a process has to go ahead of the container's first one.
    pub fn need_forerunner(&self) -> bool {
        let new_user = self.new & flag::USER != 0;
        (self.joins(flag::PID) && !self.pid_last)
            || self.joins(flag::USER)
            || (new_user && !self.joined.is_empty())
    }

    /// What is made by the clone. The network namespace is made beside; the time namespace needs its offsets first.
    pub fn cloned(&self) -> u64 {
        self.new & !(flag::TIME | flag::NET | self.late())
    }

    /// What is made by the process itself. The cgroup namespace shows the group that its maker is in, and that is the
    /// container's only then. Message queues belong to whoever makes the ipc namespace, and in a new user namespace that
    /// is nobody until the ids are mapped.
    fn late(&self) -> u64 {
        let ipc = if self.new & flag::USER != 0 { flag::IPC } else { 0 };
        self.new & (flag::CGROUP | ipc)
    }
}

/// The steps of the process that goes ahead, if one does. The steps after these are the sibling's.
pub(crate) fn plan_forerunner(all: &Namespaces, draft: &mut Draft) {
    if all.need_forerunner() {
        draft.add(Layer::Identity, "", Op::NotDumpable);
        draft.add(Layer::Namespaces, "linux.namespaces", Op::EnterNamespaces);
        draft.add(Layer::Namespaces, "linux.namespaces", Op::ForkInto { flags: all.cloned() });
    }
}

/// The steps of the first process itself: those that it can enter, and those that it makes.
pub(crate) fn plan(all: &Namespaces, draft: &mut Draft) {
    if !all.joined.is_empty() && !all.need_forerunner() {
        draft.add(Layer::Namespaces, "linux.namespaces", Op::EnterNamespaces);
    }
    if all.late() != 0 {
        draft.add(Layer::Namespaces, "linux.namespaces", Op::Unshare { flags: all.late() });
    }
}

/// Opens the namespaces of a plan, in its order.
pub(crate) fn open(joined: &[Joined]) -> Result<Vec<(u64, OwnedFd)>, StartError> {
    joined
        .iter()
        .map(|namespace| {
            let fail = |errno: Errno| {
                let what = format!("open the namespace {}", namespace.path.display());
                let error = StartError::new(Layer::Namespaces, what, errno).field(&namespace.field);
                match errno {
                    Errno::NOENT => error.hint("the process or engine that held it has ended"),
                    Errno::INVAL => error.hint("it is no namespace, or one of another kind"),
                    _ => error,
                }
            };
            let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
            let file = rustix::fs::openat(CWD, &namespace.path, flags, Mode::empty()).map_err(fail)?;
            match donjon_sys::process::namespace_kind(file.as_fd()) {
                Ok(kind) if kind == namespace.flag => Ok((namespace.flag, file)),
                _ => Err(fail(Errno::INVAL)),
            }
        })
        .collect()
}

/// Enters every namespace of the plan. One that the caller has no right over yet is tried again from inside the user
/// namespace, which comes last: an ordinary user's containers share namespaces that belong to it.
pub(crate) fn enter(ctx: &Context<'_>) -> Result<(), Errno> {
    let mut put_off = 0u64;
    for (flag, namespace) in ctx.from.namespaces {
        match donjon_sys::process::setns(namespace.as_fd(), *flag) {
            Err(Errno::PERM) if *flag != super::flag::USER => put_off |= flag,
            other => other?,
        }
        if *flag == super::flag::USER {
            become_root()?;
        }
    }
    for (flag, namespace) in ctx.from.namespaces.iter().filter(|(flag, _)| put_off & flag != 0) {
        donjon_sys::process::setns(namespace.as_fd(), *flag)?;
    }
    Ok(())
}

/// Becomes id 0 of the user namespace that was entered, so that what is made there belongs to its root. One without an
/// id 0 (EINVAL), or without the right to change groups (EPERM), is worked in as it is.
fn become_root() -> Result<(), Errno> {
    for result in [
        donjon_sys::process::setgroups(&[]),
        donjon_sys::process::setresgid(0),
        donjon_sys::process::setresuid(0),
    ] {
        match result {
            Ok(()) | Err(Errno::INVAL | Errno::PERM) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
