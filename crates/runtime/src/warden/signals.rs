//! Signals to the warden are meant for the container.
//!
//! They are blocked and read from a descriptor, so that nothing interrupts the loop and none is lost between two
//! looks. Stopping (Ctrl-Z) is done to both: the container's first process, then the warden.

use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, Signal as NixSignal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::io::Errno;
use rustix::process::Signal;

/// What is passed on to the container. Not among them: what the kernel sends for the warden's own doing (CHLD,
/// PIPE, TTIN, TTOU, URG, the timers) and what no process can block.
const FORWARDED: [(NixSignal, Signal); 8] = [
    (NixSignal::SIGHUP, Signal::HUP),
    (NixSignal::SIGINT, Signal::INT),
    (NixSignal::SIGQUIT, Signal::QUIT),
    (NixSignal::SIGUSR1, Signal::USR1),
    (NixSignal::SIGUSR2, Signal::USR2),
    (NixSignal::SIGTERM, Signal::TERM),
    (NixSignal::SIGCONT, Signal::CONT),
    (NixSignal::SIGALRM, Signal::ALARM),
];
/// What the warden itself acts on.
const OWN: [(NixSignal, Signal); 2] =
    [(NixSignal::SIGWINCH, Signal::WINCH), (NixSignal::SIGTSTP, Signal::TSTP)];

/// The signals of this process, from a descriptor.
#[derive(Debug)]
pub struct Signals(SignalFd);

impl Signals {
    /// Blocks them from now on. To be called before there is anything to clean up: a signal that comes later waits
    /// for [`Signals::next`].
    pub fn take_over() -> Result<Self, Errno> {
        let mut set = SigSet::empty();
        for (signal, _) in FORWARDED.iter().chain(&OWN) {
            set.add(*signal);
        }
        set.thread_block().map_err(from_nix)?;
        SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).map(Self).map_err(from_nix)
    }

    /// The next signal that came, if any.
    pub fn next(&self) -> Option<Signal> {
        loop {
            let info = self.0.read_signal().ok()??;
            let number = i32::try_from(info.ssi_signo).unwrap_or(0);
            let known = FORWARDED.iter().chain(&OWN).find(|(nix, _)| *nix as i32 == number);
            if let Some((_, signal)) = known {
                return Some(*signal);
            }
        }
    }

    /// The descriptor to poll.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn from_nix(errno: nix::errno::Errno) -> Errno {
    Errno::from_raw_os_error(errno as i32)
}

/// Reads a signal's name, with or without `SIG`, or its number.
pub fn parse(text: &str) -> Option<Signal> {
    if let Ok(number) = text.parse::<i32>() {
        return Signal::from_named_raw(number);
    }
    let name = text.to_ascii_uppercase();
    let name = if name.starts_with("SIG") { name } else { format!("SIG{name}") };
    let signal: NixSignal = name.parse().ok()?;
    Signal::from_named_raw(signal as i32)
}

/// A signal's name, `SIGKILL`, or its number if it has none.
pub fn name(number: i32) -> String {
    match NixSignal::try_from(number) {
        Ok(signal) => signal.as_str().to_string(),
        Err(_) => format!("signal {number}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_known_by_name_with_or_without_sig_and_by_number() {
        for text in ["TERM", "SIGTERM", "sigterm", "term", "15"] {
            assert_eq!(parse(text), Some(Signal::TERM), "{text}");
        }
        for text in ["", "SIG", "NOPE", "0", "-9", "99", "TERM "] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!((name(9).as_str(), name(63).as_str()), ("SIGKILL", "signal 63"));
    }
}
