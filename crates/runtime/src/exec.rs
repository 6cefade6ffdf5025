//! A further process in a running container, under the same confinement as its first one.
//!
//! **The attacks**: the container ends and its pid is another process's by the time its namespaces are joined; the
//! new process gets more rights than the first had (CVE-2025-27612). **The defence**: the plan is made from the
//! specification that the container was started with, by the same code; and the container's first process is held by
//! a pidfd that is looked at once more after the join was prepared, before the new process is let go.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use donjon_confine::layers::cgroups::Groups;
use donjon_confine::{Host, Plan, SpecError};
use oci_spec::runtime::{Process, Spec};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::Signal;

use crate::audit::{Audit, Subject};
use crate::child::Child;
use crate::container::Container;
use crate::events::Recorder;
use crate::process::Identity;
use crate::start::RunError;
use crate::state::{StateError, Status};
use crate::streams::Streams;
use crate::warden::confinement::{Confinement, Reach};
use crate::warden::listener::Listener;
use crate::warden::signals::Signals;
use crate::warden::terminal::Settings;
use crate::warden::{TimeLimit, Warden, Watch, Watched};

/// Why a further process did not start.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// The container's record.
    #[error(transparent)]
    State(#[from] StateError),
    /// The container does not run.
    #[error("{0} is not running")]
    NotRunning(String),
    /// The process that was asked for can't be planned.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// A step failed.
    #[error(transparent)]
    Run(#[from] RunError),
}

impl ExecError {
    /// The exit status of donjon: 125, 126 or 127.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Run(error) => error.exit_code(),
            _ => 125,
        }
    }

    /// The next step for the person, if there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Run(error) => error.hint(),
            Self::NotRunning(_) => Some("donjon ps lists what runs".to_string()),
            Self::State(_) | Self::Spec(_) => None,
        }
    }
}

/// A running container, held so that its pid can't come to mean another process unnoticed.
#[derive(Debug)]
pub struct Target {
    identity: Identity,
    pidfd: OwnedFd,
    /// The specification that it was started with.
    pub spec: Spec,
    cgroups: Vec<PathBuf>,
    created: String,
}

impl Target {
    /// Opens a running container.
    pub fn open(container: &Container) -> Result<Self, ExecError> {
        let (state, status) = container.status()?;
        let not_running = || ExecError::NotRunning(state.name.clone());
        if status != Status::Running {
            return Err(not_running());
        }
        let identity = state.init.ok_or_else(not_running)?;
        let pidfd = identity.open().map_err(RunError::io("open the container's first process"))?;
        Ok(Self {
            identity,
            pidfd: pidfd.ok_or_else(not_running)?,
            spec: container.config()?,
            cgroups: state.cgroups,
            created: state.created,
        })
    }

    /// Whether the first process still lives.
    fn lives(&self) -> bool {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        matches!(poll(&mut [PollFd::new(&self.pidfd, PollFlags::IN)], Some(&now)), Ok(0))
    }
}

/// Runs `process` in the container and watches over it until it ends. The calling process must have one thread and
/// becomes confined for good.
pub fn exec(
    container: &Container,
    target: &Target,
    process: &Process,
    interactive: bool,
    host: &Host,
) -> Result<Watch, ExecError> {
    let plan = Plan::for_exec(&target.spec, process, host, target.identity.pid)?;
    let signals = Signals::take_over().map_err(RunError::io("warden: take over the signals"))?;
    let settings = Settings::now();
    let terminal = process.terminal().unwrap_or(false);
    let mut streams = Streams::of_caller(terminal, interactive)
        .map_err(RunError::io("warden: open the standard streams"))?;
    let groups = Groups::open(&target.cgroups).map_err(RunError::io("cgroups: open the container's"))?;
    let mut child = Child::spawn(&plan, &streams, &groups).map_err(RunError::from)?;
    streams.close_ends();
    // The child opened the target by its pid, and goes no further than that until it is let go.
    if !target.lives() {
        return Err(RunError::io("join the container: it has just ended")(Errno::SRCH).into());
    }
    let recorder = Recorder::new(container, target.created.clone())
        .map_err(RunError::io("warden: open the record of refusals"))?;
    let subject = Subject::new(container.id.as_str(), &target.spec, child.pid().as_raw_nonzero().get());
    let audit = if host.reads_audit || subject.has_label() { Audit::open(subject) } else { None };
    let reach = Reach { container: container.dir(), remove_from: None, groups: Vec::new() };
    let confinement = Confinement::enter(&reach, host.landlock_abi).map_err(RunError::from)?;
    let handover = child.started(&plan).map_err(RunError::from)?;
    confinement.close().map_err(RunError::from)?;
    let listener = handover.listener.map(|fd| Listener::new(fd, child.pid()));
    let output = streams
        .output(handover.console, interactive)
        .map_err(RunError::io("warden: connect the terminal"))?;
    let (pidfd, guard) =
        child.release().ok_or_else(|| RunError::io("warden: follow the process")(Errno::SRCH))?;
    let limit = TimeLimit { after: None, stop_signal: Signal::TERM, stop_timeout: Duration::ZERO };
    let warden = Warden {
        pidfd,
        watched: Watched::Further,
        listener,
        recorder,
        signals,
        output,
        limit,
        limits: None,
        crowd: None,
        guard,
        audit,
        observer: None,
    };
    let ended = warden.watch();
    settings.restore();
    Ok(ended)
}
