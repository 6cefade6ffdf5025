//! The process that `donjon learn` is: it forks the one that runs the container, and waits for the report.
//!
//! It stays as it was started, to write the policy in the end; so it looks at nothing of the container but the report,
//! which is bounded. What it starts ends with it.

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, waitpid};

use super::recorder::Observation;
use super::report::Report;
use crate::start::RunError;
use crate::warden::signals::Signals;

/// Largest report that is read, in bytes.
const LARGEST: usize = 64 << 20;

/// What came of it.
#[derive(Debug)]
pub struct Learnt {
    /// The exit status of the run.
    pub code: u8,
    /// What was seen; `None`: the start failed, or the recorder was ended before it had written it down.
    pub report: Option<Report>,
}

/// Runs `run` in a child, with where the report of its container goes.
pub fn learn(run: impl FnOnce(Observation) -> u8) -> Result<Learnt, RunError> {
    let io = |what: &str| RunError::io(format!("learn: {what}"));
    let (hear, report) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(io("make a pipe"))?;
    let own = rustix::process::getpid();
    let child = donjon_sys::clone::fork(|| {
        donjon_sys::process::close_copy(hear.as_fd());
        // This process writes the policy: without it there is nothing to run for.
        if donjon_sys::process::die_with_parent().is_err() || rustix::process::getppid() != Some(own) {
            return 125;
        }
        run(Observation { report })
    })
    .map_err(io("fork"))?;
    let signals = Signals::take_over().map_err(io("take over the signals"))?;
    let bytes = listen(hear, signals, child).map_err(io("hear from the recorder"))?;
    let code = loop {
        match waitpid(Some(child), WaitOptions::empty()) {
            Ok(Some((_, status))) => {
                break match (status.exit_status(), status.terminating_signal()) {
                    (Some(code), _) => u8::try_from(code).unwrap_or(125),
                    (None, Some(signal)) => u8::try_from(128 + signal).unwrap_or(125),
                    (None, None) => continue,
                };
            }
            Ok(None) | Err(Errno::INTR) => {}
            Err(_) => break 125,
        }
    };
    let report = serde_json::from_slice(&bytes).ok().filter(|report: &Report| report.complete);
    Ok(Learnt { code, report })
}

/// Reads the report to its end, and passes signals on meanwhile.
fn listen(hear: OwnedFd, signals: Signals, child: Pid) -> Result<Vec<u8>, Errno> {
    let mut bytes = Vec::new();
    let mut chunk = [0u8; 16 * 1024];
    loop {
        let mut fds =
            [PollFd::new(&hear, PollFlags::IN), PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN)];
        match poll(&mut fds, None) {
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(errno),
        }
        let (heard, signalled) = (!fds[0].revents().is_empty(), !fds[1].revents().is_empty());
        if signalled {
            while let Some(signal) = signals.next() {
                pass_on(signal, child);
            }
        }
        if heard {
            match rustix::io::read(&hear, &mut chunk[..]) {
                Ok(0) => return Ok(bytes),
                Ok(n) if bytes.len() + n <= LARGEST => {
                    bytes.extend_from_slice(chunk.get(..n).unwrap_or_default())
                }
                Ok(_) => return Err(Errno::FBIG),
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
}

/// What a terminal sends, it sends to the child as well: it is of the same process group.
fn pass_on(signal: Signal, child: Pid) {
    let own = rustix::process::getpgrp();
    let has_terminal = rustix::termios::tcgetpgrp(rustix::stdio::stderr()).is_ok_and(|group| group == own);
    match signal {
        Signal::INT | Signal::QUIT if has_terminal => {}
        Signal::WINCH | Signal::CONT => {}
        Signal::TSTP => {
            let _ = rustix::process::kill_process(rustix::process::getpid(), Signal::STOP);
        }
        other => {
            let _ = rustix::process::kill_process(child, other);
        }
    }
}
