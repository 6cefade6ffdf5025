//! `exec`: a further process in a container.
//!
//! **The attacks**: the container ends and its pid is another process's by the time its namespaces are joined; the new
//! process brings a descriptor, donjon's own executable, or a moment in which the container may trace it; it gets more
//! rights than it was given (CVE-2025-27612). **The defence**: the container's process is held by a pidfd, and looked at
//! once more before the new one goes on; all namespaces are entered at once by a process that can't be traced; and its
//! rights are planned by the same code as the first one's.

use std::os::fd::AsFd;
use std::path::PathBuf;

use donjon_confine::bundle::Options;
use donjon_confine::layers::namespaces::flag;
use donjon_confine::{Confined, Given, Handover, Host, Plan, StartError};
use oci_spec::runtime::{Process, Spec};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::Pid;

use super::console;
use super::create::write_pid;
use super::error::OciError;
use super::home;
use super::own_image;
use super::record::{Record, Status};
use super::run::watch;
use super::seccomp_agent;
use super::store::Store;
use crate::process::Identity;
use crate::warden::signals::Signals;
use crate::warden::terminal::Settings;

/// What `exec` is told besides the process.
#[derive(Debug, Default)]
pub struct Execution {
    /// The container's id.
    pub id: String,
    /// Where the engine waits for the terminal.
    pub console_socket: Option<PathBuf>,
    /// A file for the pid.
    pub pid_file: Option<PathBuf>,
    /// A group below the container's.
    pub cgroup: Option<String>,
    /// What the plan has to know.
    pub options: Options,
    /// Whether nobody stays to watch the process.
    pub detached: bool,
    /// Whether a frozen container is no error: the process then waits until it is thawed.
    pub ignore_paused: bool,
}

/// A running container whose process is held.
#[derive(Debug)]
pub struct Target {
    record: Record,
    identity: Identity,
    pidfd: std::os::fd::OwnedFd,
    /// The specification that it was created from.
    pub spec: Spec,
}

impl Target {
    /// Opens a running container.
    pub fn open(store: &Store, execution: &Execution) -> Result<Self, OciError> {
        let entry = store.find(&execution.id)?;
        let record = entry.record()?;
        let status = record.status();
        let refused =
            || OciError::Status { id: execution.id.clone(), status: status.word(), action: "exec in" };
        match status {
            Status::Running | Status::Created => {}
            Status::Paused if execution.ignore_paused => {}
            _ => return Err(refused()),
        }
        let identity = record.init.ok_or_else(refused)?;
        let pidfd = identity.open().map_err(OciError::io("open the container's first process"))?;
        Ok(Self { pidfd: pidfd.ok_or_else(refused)?, identity, spec: entry.config()?, record })
    }

    /// The kinds of namespaces in which the container differs from the caller.
    fn namespaces(&self) -> Result<u64, OciError> {
        const KINDS: [(&str, u64); 8] = [
            ("user", flag::USER),
            ("mnt", flag::MOUNT),
            ("pid", flag::PID),
            ("net", flag::NET),
            ("ipc", flag::IPC),
            ("uts", flag::UTS),
            ("cgroup", flag::CGROUP),
            ("time", flag::TIME),
        ];
        let mut flags = 0;
        for (name, flag) in KINDS {
            let of = |who: &str| rustix::fs::stat(format!("/proc/{who}/ns/{name}"));
            match (of("self"), of(&self.identity.pid.to_string())) {
                (Ok(own), Ok(theirs)) if (own.st_dev, own.st_ino) != (theirs.st_dev, theirs.st_ino) => {
                    flags |= flag;
                }
                (Ok(_), Ok(_)) => {}
                // A kernel without this kind.
                (Err(Errno::NOENT), _) => {}
                (Err(errno), _) | (_, Err(errno)) => {
                    return Err(OciError::io(format!("look at the container's {name} namespace"))(errno));
                }
            }
        }
        Ok(flags)
    }

    /// Whether the first process still lives.
    fn lives(&self) -> bool {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        matches!(poll(&mut [PollFd::new(&self.pidfd, PollFlags::IN)], Some(&now)), Ok(0))
    }
}

/// Runs a process in a container. Returns its exit status, 0 in the background.
pub fn exec(target: &Target, process: &Process, execution: &Execution, host: &Host) -> Result<u8, OciError> {
    let terminal = process.terminal().unwrap_or(false);
    console::check(terminal, execution.detached, execution.console_socket.as_deref())?;
    own_image::protect(&target.spec, true)?;
    // A root of somebody who has taken the pid over would be read in vain: the process is looked at once more below.
    let mut process = process.clone();
    home::complete(&mut process, format!("/proc/{}/root", target.identity.pid));
    let plan = Plan::for_bundle_exec(
        &target.spec,
        &process,
        host,
        &execution.options,
        target.identity.pid,
        target.namespaces()?,
    )?;
    let signals = match execution.detached {
        true => None,
        false => Some(Signals::take_over().map_err(OciError::io("take over the signals"))?),
    };
    let settings = Settings::now();
    let sub: Vec<String> = execution.cgroup.iter().cloned().collect();
    let mut group = match target.record.group()? {
        Some(group) => Some(group.for_exec(&sub, Some(target.identity.pid))?),
        None => None,
    };
    let birthplace = group.as_ref().and_then(|group| group.birthplace());
    let birthplace = birthplace.map(|dir| dir.try_clone_to_owned()).transpose();
    let birthplace = birthplace.map_err(|_| OciError::io("open the container's cgroup")(Errno::MFILE))?;
    let mut prepare = |pid: Pid| {
        if let Some(group) = group.as_mut().filter(|_| birthplace.is_none()) {
            group.adopt(pid.as_raw_nonzero().get())?;
        }
        match target.lives() {
            true => Ok(()),
            false => Err(StartError::of_program("join the container: it has just ended", Errno::SRCH)),
        }
    };
    let given = Given {
        prepare: Some(&mut prepare),
        cgroup: birthplace.as_ref().map(AsFd::as_fd),
        ..Given::default()
    };
    let mut confined = donjon_confine::spawn(&plan, given)?;
    let handover = confined.started(&plan)?;
    if let Err(error) = report(target, execution, &confined, &handover) {
        confined.end();
        return Err(error);
    }
    let Some(signals) = signals else { return Ok(0) };
    let code = watch(&confined.pidfd, &signals, handover.console)?;
    settings.restore();
    Ok(code)
}

/// Hands out what the engine waits for.
fn report(
    target: &Target,
    execution: &Execution,
    confined: &Confined,
    handover: &Handover,
) -> Result<(), OciError> {
    if let (Some(socket), Some(master)) = (&execution.console_socket, &handover.console) {
        console::hand_over(socket, master.as_fd())?;
    }
    if let Some(listener) = &handover.listener {
        let pid = confined.pid.as_raw_nonzero().get();
        seccomp_agent::hand_over(&target.spec, &target.record, "running", pid, listener.as_fd())?;
    }
    match &execution.pid_file {
        Some(file) => write_pid(file, confined.pid),
        None => Ok(()),
    }
}
