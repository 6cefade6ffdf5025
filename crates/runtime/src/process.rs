//! Which process is meant: a pid together with when it started, and what `/proc` tells of it.
//!
//! **The attack**: a container ends, its pid is given to another process of the user, and `kill` or `stop` hits
//! that one. **The defence**: a pid is never used alone. The start time is compared, and signals go only through
//! a pidfd that was opened *before* the comparison: if the start time is still the recorded one afterwards, the
//! descriptor can't mean a later process.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

/// One process and no later one with the same pid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The pid in donjon's pid namespace.
    pub pid: i32,
    /// When it started, in clock ticks since boot: field 22 of `/proc/PID/stat` (`man 5 proc_pid_stat`).
    pub start_time: u64,
}

impl Identity {
    /// The identity of the process that has this pid now.
    pub fn of(pid: Pid) -> Result<Self, Errno> {
        let pid = pid.as_raw_nonzero().get();
        let stat = read_file(&format!("/proc/{pid}/stat"))?;
        let start_time = Stat::parse(&stat).ok_or(Errno::PROTO)?.start_time;
        Ok(Self { pid, start_time })
    }

    /// Whether this very process lives and is not on its way out.
    pub fn lives(&self) -> bool {
        let stat = || Stat::parse(&read_file(&format!("/proc/{}/stat", self.pid)).ok()?);
        self.open().is_ok_and(|fd| fd.is_some()) && stat().is_some_and(|stat| !stat.exiting)
    }

    /// What `/proc` tells of this very process; `None` when it has ended (a zombie counts as ended).
    pub fn stat(&self) -> Option<Stat> {
        let stat = Stat::parse(&read_file(&format!("/proc/{}/stat", self.pid)).ok()?)?;
        let alive = stat.start_time == self.start_time && !matches!(stat.state, b'Z' | b'X');
        alive.then_some(stat)
    }

    /// A descriptor of this very process; `None` when it has ended (a zombie counts as ended).
    pub fn open(&self) -> Result<Option<OwnedFd>, Errno> {
        let Some(pid) = Pid::from_raw(self.pid) else { return Ok(None) };
        let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => pidfd,
            Err(Errno::SRCH | Errno::INVAL) => return Ok(None),
            Err(errno) => return Err(errno),
        };
        let stat = match read_file(&format!("/proc/{}/stat", self.pid)) {
            Ok(stat) => stat,
            Err(Errno::NOENT | Errno::SRCH) => return Ok(None),
            Err(errno) => return Err(errno),
        };
        let stat = Stat::parse(&stat).ok_or(Errno::PROTO)?;
        let same = stat.start_time == self.start_time && !matches!(stat.state, b'Z' | b'X');
        Ok(same.then_some(pidfd))
    }
}

/// Sends a signal to the process behind `pidfd`; that it has ended already is no error.
pub fn send(pidfd: BorrowedFd<'_>, signal: Signal) -> Result<(), Errno> {
    match pidfd_send_signal(pidfd, signal) {
        Err(Errno::SRCH) => Ok(()),
        other => other,
    }
}

/// What donjon reads from `/proc/PID/stat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// One letter: R, S, D, Z, T...
    pub state: u8,
    /// The parent's pid.
    pub parent: i32,
    /// Processor time used in user and kernel mode, by itself and by the children that it waited for, in clock ticks.
    pub cpu_ticks: u64,
    /// Start time in clock ticks since boot.
    pub start_time: u64,
    /// Resident memory in pages.
    pub resident_pages: u64,
    /// It is on its way out: what it held is being taken down.
    pub exiting: bool,
    /// It was forked and has not executed a program yet.
    pub only_forked: bool,
}

impl Stat {
    /// Parses the file's content. The command's name, in parentheses, may hold anything, parentheses and spaces
    /// included: everything counts from the last `)`.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let end = bytes.iter().rposition(|b| *b == b')')?;
        let rest = std::str::from_utf8(bytes.get(end + 1..)?).ok()?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // The first of these is field 3.
        let number = |field: usize| fields.get(field.checked_sub(3)?)?.parse::<u64>().ok();
        Some(Self {
            state: *fields.first()?.as_bytes().first()?,
            parent: fields.get(1)?.parse().ok()?,
            cpu_ticks: (14..=17).try_fold(0u64, |sum, field| Some(sum.saturating_add(number(field)?)))?,
            start_time: number(22)?,
            resident_pages: number(24)?,
            // PF_EXITING of linux/sched.h
            exiting: number(9)? & 0x4 != 0,
            // PF_FORKNOEXEC
            only_forked: number(9)? & 0x40 != 0,
        })
    }
}

/// How a process treats signals: the masks of `/proc/PID/status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dispositions {
    /// Bit n-1: signal n is blocked, ignored or caught.
    handled: u64,
}

impl Dispositions {
    /// Reads them through an open `/proc/PID/status`.
    pub fn read(status: BorrowedFd<'_>) -> Result<Self, Errno> {
        let mut buffer = [0u8; 4096];
        let n = rustix::io::pread(status, &mut buffer, 0)?;
        Ok(Self::parse(buffer.get(..n).unwrap_or_default()))
    }

    fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let mask = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name))
                .and_then(|rest| u64::from_str_radix(rest.trim(), 16).ok())
                // What can't be read counts as handled: never kill on a guess.
                .unwrap_or(u64::MAX)
        };
        Self { handled: mask("SigBlk:") | mask("SigIgn:") | mask("SigCgt:") }
    }

    /// Whether the process neither blocks, ignores nor catches the signal, so that its default action applies.
    pub fn is_default(&self, signal: Signal) -> bool {
        let bit = u32::try_from(signal.as_raw().saturating_sub(1)).unwrap_or(63);
        self.handled & (1u64 << bit.min(63)) == 0
    }
}

/// Sends a signal to the first process of a pid namespace with the effect that it would have on any other.
///
/// The kernel drops a signal for pid 1 that it does not handle (`man 7 pid_namespaces`), so Ctrl-C or `stop` on a
/// program without handlers would do nothing at all. When the default action of a signal is to end the process,
/// and nothing handles it, the process is ended the only way there is, by SIGKILL, and `true` is returned: the
/// caller reports it as ended by the signal that was meant.
pub fn send_to_init(
    pidfd: BorrowedFd<'_>,
    status: Option<BorrowedFd<'_>>,
    signal: Signal,
) -> Result<bool, Errno> {
    let fatal = [
        Signal::HUP,
        Signal::INT,
        Signal::QUIT,
        Signal::TERM,
        Signal::USR1,
        Signal::USR2,
        Signal::ALARM,
        Signal::PIPE,
        Signal::ABORT,
    ];
    let lost = fatal.contains(&signal)
        && status.is_some_and(|fd| Dispositions::read(fd).is_ok_and(|d| d.is_default(signal)));
    if lost {
        send(pidfd, Signal::KILL)?;
    } else {
        send(pidfd, signal)?;
    }
    Ok(lost)
}

/// Opens `/proc/PID/status` of a process that can't be gone (the caller's unreaped child), or of one whose pidfd
/// is compared afterwards.
pub fn open_status(pid: Pid) -> Result<OwnedFd, Errno> {
    let path = format!("/proc/{}/status", pid.as_raw_nonzero());
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}

/// Reads a small file of `/proc` whole: at most 64 KiB, and never a blocking one.
pub fn read_file(path: &str) -> Result<Vec<u8>, Errno> {
    let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty())?;
    read_all(file.as_fd(), 64 * 1024)
}

/// Reads a descriptor to its end, but no more than `limit` bytes: then EFBIG.
pub(crate) fn read_all(file: BorrowedFd<'_>, limit: usize) -> Result<Vec<u8>, Errno> {
    let mut content = Vec::new();
    let mut buffer = [0u8; 4096];
    loop {
        match rustix::io::read(file, &mut buffer) {
            Ok(0) => return Ok(content),
            Ok(n) => content.extend_from_slice(buffer.get(..n).unwrap_or_default()),
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(errno),
        }
        if content.len() > limit {
            return Err(Errno::FBIG);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_full_of_parentheses_does_not_move_the_fields() {
        let line =
            b"42 (a) S 1 (b) c)) R 7 1 1 0 -1 4194560 1 2 3 4 11 13 5 6 20 0 1 0 987654 1000 55 1844\n";
        let stat = Stat::parse(line).unwrap();
        assert_eq!(
            stat,
            Stat {
                state: b'R',
                parent: 7,
                cpu_ticks: 35,
                start_time: 987_654,
                resident_pages: 55,
                exiting: false,
                only_forked: false
            }
        );
        assert_eq!(Stat::parse(b"42 (short) S 1"), None);
        assert_eq!(Stat::parse(b""), None);
    }

    #[test]
    fn this_process_is_found_by_its_identity_and_not_by_its_pid_alone() {
        let me = Identity::of(rustix::process::getpid()).unwrap();
        assert!(me.open().unwrap().is_some());
        let earlier = Identity { start_time: me.start_time.wrapping_sub(1), ..me };
        assert!(earlier.open().unwrap().is_none(), "a reused pid was taken for the old process");
    }

    #[test]
    fn an_ended_process_is_not_found() {
        let mut child = std::process::Command::new("/bin/true").spawn().unwrap();
        let pid = Pid::from_raw(child.id() as i32).unwrap();
        let identity = Identity::of(pid).unwrap();
        child.wait().unwrap();
        assert!(identity.open().unwrap().is_none());
    }

    #[test]
    fn a_signal_counts_as_handled_when_it_is_blocked_ignored_or_caught() {
        let status =
            b"Name:\tx\nSigBlk:\t0000000000000001\nSigIgn:\t0000000000000002\nSigCgt:\t0000000000004000\n";
        let d = Dispositions::parse(status);
        assert!(!d.is_default(Signal::HUP) && !d.is_default(Signal::INT) && !d.is_default(Signal::TERM));
        assert!(d.is_default(Signal::QUIT));
        // An unreadable file never makes donjon kill.
        assert!(!Dispositions::parse(b"").is_default(Signal::TERM));
    }
}
