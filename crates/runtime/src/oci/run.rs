//! `run`: create and start in one, and in the foreground watch until the end.
//!
//! In the foreground donjon itself is the container's parent: it passes signals on, copies between the terminals, and
//! ends with the program's status.

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Signal, WaitId, WaitIdOptions, waitid};

use donjon_confine::Host;

use super::create::{Creation, Made, create};
use super::delete::delete;
use super::error::OciError;
use super::hooks::{self, Moment};
use super::seccomp_agent;
use super::store::Store;
use crate::process::send;
use crate::warden::signals::Signals;
use crate::warden::terminal::{Proxy, Settings};

/// How it went.
#[derive(Debug)]
pub struct Outcome {
    /// The program's exit status; 0 in the background.
    pub code: u8,
    /// Hooks that failed where that is no error.
    pub warnings: Vec<OciError>,
    /// What is not done as written, and why.
    pub notes: Vec<String>,
}

/// Runs a container; `keep` leaves it, ended, to be deleted by somebody else.
pub fn run(store: &Store, creation: &Creation, host: &Host, keep: bool) -> Result<Outcome, OciError> {
    let signals = match creation.detached {
        true => None,
        false => Some(Signals::take_over().map_err(OciError::io("take over the signals"))?),
    };
    let settings = Settings::now();
    let Made { entry, record, spec, confined, handover, notes } = create(store, creation, host)?;
    drop(entry);
    let pid = confined.pid.as_raw_nonzero().get();
    let mut warnings = Vec::new();
    if let Some(listener) = &handover.listener
        && let Err(error) = seccomp_agent::hand_over(&spec, &record, "running", pid, listener.as_fd())
    {
        let _ = delete(store, &creation.id, true);
        return Err(error);
    }
    warnings.extend(hooks::run(&spec, Moment::Started, &record.state("running", pid)).err());
    let Some(signals) = signals else { return Ok(Outcome { code: 0, warnings, notes }) };
    let code = watch(&confined.pidfd, &signals, handover.console)?;
    settings.restore();
    if !keep {
        warnings.extend(delete(store, &creation.id, true)?);
    }
    Ok(Outcome { code, warnings, notes })
}

/// Watches a child until it has ended and its terminal has said everything. Returns its status as a shell shows it.
pub fn watch(pidfd: &OwnedFd, signals: &Signals, console: Option<OwnedFd>) -> Result<u8, OciError> {
    let fail = || OciError::io("watch the container");
    let mut terminal = console.map(|master| Proxy::new(master, true)).transpose().map_err(fail())?;
    let mut ended = None;
    loop {
        if let Some(code) = ended
            && terminal.as_ref().is_none_or(Proxy::is_drained)
        {
            return Ok(code);
        }
        let mut sources = Vec::new();
        let mut ready = Vec::new();
        {
            let mut polled = vec![PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN)];
            if ended.is_none() {
                polled.push(PollFd::new(pidfd, PollFlags::IN));
            }
            let first = polled.len();
            for (side, fd, flags) in terminal.iter().flat_map(Proxy::interests) {
                sources.push(side);
                polled.push(PollFd::from_borrowed_fd(fd, flags));
            }
            match poll(&mut polled, None) {
                Err(Errno::INTR) => continue,
                other => other.map_err(fail())?,
            };
            ready.extend(polled.iter().skip(first).map(PollFd::revents));
        }
        for (side, flags) in sources.into_iter().zip(ready) {
            if let Some(terminal) = &mut terminal
                && !flags.is_empty()
            {
                terminal.handle(side, flags);
            }
        }
        while let Some(signal) = signals.next() {
            match (signal, &terminal) {
                (Signal::WINCH, Some(terminal)) => terminal.resize(),
                (Signal::WINCH, None) => {}
                (signal, _) => send(pidfd.as_fd(), signal).map_err(fail())?,
            }
        }
        if ended.is_none()
            && let Some(status) =
                waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG)
                    .map_err(fail())?
        {
            let code = status
                .exit_status()
                .or_else(|| status.terminating_signal().map(|n| 128 + n))
                .unwrap_or(i32::from(u8::MAX));
            ended = Some(u8::try_from(code).unwrap_or(u8::MAX));
        }
    }
}
