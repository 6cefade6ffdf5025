//! The seccomp listener: every refused system call passes here, is recorded and answered.
//!
//! **The attack**: a listener that lets a call happen (`CONTINUE`) after looking at memory behind a pointer decides
//! about something that another thread changes in between. **The defence**: nothing is ever looked at but numbers in
//! registers, and nothing is let happen but one call whose only argument that counts is such a number. Everything
//! else gets an errno. A flood costs the container its own time: one answer per turn of the loop.
//!
//! The one exception is `prctl(PR_SET_PDEATHSIG)`: programs of every kind use it, and the watched process must not
//! switch off that it dies with its warden. It is told that it succeeded; for all others the call happens.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use donjon_confine::layers::seccomp::notify::{describe, errno_for, is_pdeathsig};
use donjon_sys::seccomp::{Notification, is_waiting, let_happen, pretend, receive, refuse};
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::process::Pid;

use crate::events::{Recorder, Refused};
use crate::process::read_file;

/// The listener of one container or one further process.
#[derive(Debug)]
pub struct Listener {
    fd: OwnedFd,
    /// The process that has to die with the warden.
    watched: Pid,
}

/// What a notification is answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// It fails, and is recorded.
    Refuse,
    /// It returns 0 and has no effect.
    Pretend,
    /// It happens.
    Continue,
}

impl Listener {
    /// Listens for the container of `watched`.
    pub fn new(fd: OwnedFd, watched: Pid) -> Self {
        Self { fd, watched }
    }

    /// The descriptor to poll.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Answers one call; `false` when no process is left that could make one.
    pub fn handle(&mut self, ready: PollFlags, recorder: &mut Recorder) -> bool {
        if !ready.contains(PollFlags::IN) {
            return !ready.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL);
        }
        let call = match receive(self.fd.as_fd()) {
            Ok(call) => call,
            // Its caller died in the meantime, or the warden was interrupted.
            Err(Errno::NOENT | Errno::INTR | Errno::AGAIN) => return true,
            Err(_) => return false,
        };
        // ENOENT from an answer: the caller died meanwhile, and nobody waits for it.
        let _ = match decide(&call, self.watched) {
            Answer::Refuse => {
                let errno = errno_for(call.nr, &call.args);
                self.record(&call, errno, recorder);
                refuse(self.fd.as_fd(), call.id, errno)
            }
            Answer::Pretend => pretend(self.fd.as_fd(), call.id, 0),
            Answer::Continue => let_happen(self.fd.as_fd(), call.id),
        };
        true
    }

    fn record(&self, call: &Notification, errno: Errno, recorder: &mut Recorder) {
        let refusal = describe(call.nr, &call.args);
        let pid = i32::try_from(call.pid).unwrap_or(0);
        let layer = if refusal.capability.is_some() { "capabilities" } else { "seccomp" };
        let refused = Refused {
            pid,
            layer,
            operation: refusal.syscall,
            object: refusal.object,
            rule: refusal.rule,
            errno: errno_name(errno),
            allow: refusal.allow,
            advice: refusal.advice,
        };
        recorder.record(refused, || {
            let comm = read_file(&format!("/proc/{pid}/comm")).unwrap_or_default();
            // While the call waits its caller lives, so its pid was not given to another.
            match is_waiting(self.fd.as_fd(), call.id) {
                true => String::from_utf8_lossy(comm.strip_suffix(b"\n").unwrap_or(&comm)).into_owned(),
                false => String::new(),
            }
        });
    }
}

/// Decides by numbers alone. A thread's own id is compared: only the main thread of the watched process has its pid,
/// and only its setting makes the process die with the warden.
fn decide(call: &Notification, watched: Pid) -> Answer {
    if !is_pdeathsig(call.nr, &call.args) {
        return Answer::Refuse;
    }
    match i32::try_from(call.pid) == Ok(watched.as_raw_nonzero().get()) {
        true => Answer::Pretend,
        false => Answer::Continue,
    }
}

/// The errno's symbol, of those that a refusal is answered with.
pub fn errno_name(errno: Errno) -> &'static str {
    match errno {
        Errno::PERM => "EPERM",
        Errno::NOSYS => "ENOSYS",
        Errno::ACCESS => "EACCES",
        Errno::AFNOSUPPORT => "EAFNOSUPPORT",
        Errno::PROTONOSUPPORT => "EPROTONOSUPPORT",
        _ => "an error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use donjon_confine::layers::seccomp::number;

    const PR_SET_PDEATHSIG: u64 = 1;

    fn call(name: &str, pid: u32, first: u64) -> Notification {
        let nr = number(name).unwrap() as i32;
        Notification { nr, pid, args: [first, 0, 0, 0, 0, 0], ..Notification::default() }
    }

    #[test]
    fn only_the_watched_process_is_lied_to_and_only_pdeathsig_ever_happens() {
        let watched = Pid::from_raw(100).unwrap();
        assert_eq!(decide(&call("prctl", 100, PR_SET_PDEATHSIG), watched), Answer::Pretend);
        assert_eq!(decide(&call("prctl", 101, PR_SET_PDEATHSIG), watched), Answer::Continue);
        // The kernel looks at the lower half of the register alone, and so must this.
        assert_eq!(decide(&call("prctl", 100, PR_SET_PDEATHSIG | 1 << 40), watched), Answer::Pretend);
        for option in [0, 2, 4, 22, 35, 38] {
            assert_eq!(decide(&call("prctl", 101, option), watched), Answer::Refuse);
        }
        for name in donjon_confine::layers::seccomp::all_names().filter(|n| *n != "prctl") {
            assert_eq!(decide(&call(name, 101, PR_SET_PDEATHSIG), watched), Answer::Refuse, "{name}");
        }
    }
}
