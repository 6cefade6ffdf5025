//! Stopping all processes of a group at once, and sending a signal to all of them.
//!
//! Version 2 has `cgroup.freeze` (Linux 5.2) and `cgroup.kill` (5.14), version 1 the controller freezer. While a group
//! is frozen none of its processes can fork or end, so a list of them is complete and none of its numbers can come to
//! mean another process.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::Pid;

use super::cgroup::{Cgroup, Dir, failed, pids_in};
use super::{read, write};
use crate::error::StartError;

/// How long a group may take to freeze. A process in an uninterruptible wait freezes when that ends.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long processes may take to disappear from a group after SIGKILL.
const DEATH: Duration = Duration::from_secs(10);

impl Cgroup {
    fn freezer(&self) -> Result<&Dir, StartError> {
        let what = "freeze: the container has no group with the controller freezer";
        self.dir("freezer").ok_or_else(|| failed(what.into(), Errno::NOENT))
    }

    /// Stops all processes of the group, and returns when they have stopped. When that takes too long they run again, and
    /// it is an error.
    pub fn freeze(&self) -> Result<(), StartError> {
        let dir = self.freezer()?;
        let result = if self.record.unified { freeze_v2(&dir.fd) } else { freeze_v1(&dir.fd) };
        result.map_err(|errno| {
            let _ = self.thaw();
            failed(format!("freeze {}", dir.place.full().display()), errno)
        })
    }

    /// Lets all processes of the group run again.
    pub fn thaw(&self) -> Result<(), StartError> {
        let dir = self.freezer()?;
        let (file, value) =
            if self.record.unified { ("cgroup.freeze", "0") } else { ("freezer.state", "THAWED") };
        write(&dir.fd, file, value).map_err(|e| failed(format!("thaw {}", dir.place.full().display()), e))
    }

    /// Whether the group was frozen itself; that one above it is frozen does not count. A group that is gone, or that the
    /// kernel can't freeze, is not.
    pub fn is_frozen(&self) -> bool {
        let Some(dir) = self.dir("freezer") else { return false };
        let is = |file: &str, value: &str| read(&dir.fd, file).is_some_and(|text| text.trim() == value);
        match self.record.unified {
            true => is("cgroup.freeze", "1"),
            false => is("freezer.self_freezing", "1"),
        }
    }

    /// Sends a signal to every process of the group and of the groups in it. After SIGKILL a frozen group is thawed, so
    /// that its processes can end; after another signal it stays frozen.
    pub fn signal_all(&self, signal: i32) -> Result<(), StartError> {
        let Some(census) = self.census() else { return Ok(()) };
        let path = || census.place.full().display().to_string();
        let kill = signal == libc::SIGKILL;
        if kill && self.record.unified {
            match write(&census.fd, "cgroup.kill", "1") {
                // Linux before 5.14.
                Err(Errno::NOENT) => {}
                // Killed processes of a frozen group end all the same.
                other => return other.map_err(|e| failed(format!("kill {}", path()), e)),
            }
        }
        let was_frozen = self.is_frozen();
        // Without a freezer, processes that are forked meanwhile are met by the next round.
        let frozen = was_frozen || self.freeze().is_ok();
        let result = self.send(census, signal);
        if frozen && (kill || !was_frozen) {
            self.thaw()?;
        }
        result.map_err(|e| failed(format!("signal the processes of {}", path()), e))?;
        if !kill {
            return Ok(());
        }
        let until = Instant::now() + DEATH;
        while !self.pids().is_empty() {
            if Instant::now() > until {
                return Err(failed(format!("kill the processes of {}", path()), Errno::TIMEDOUT));
            }
            if !frozen {
                self.send(census, signal)
                    .map_err(|e| failed(format!("signal the processes of {}", path()), e))?;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    fn send(&self, census: &Dir, signal: i32) -> Result<(), Errno> {
        let own = rustix::process::getpid();
        for pid in pids_in(census.fd.as_fd())? {
            let Some(pid) = Pid::from_raw(pid).filter(|pid| *pid != own) else { continue };
            match donjon_sys::process::kill(pid, signal) {
                Ok(()) | Err(Errno::SRCH) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }
}

fn freeze_v2(dir: &OwnedFd) -> Result<(), Errno> {
    write(dir, "cgroup.freeze", "1")?;
    let events = rustix::fs::openat(
        dir,
        "cgroup.events",
        OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW,
        Mode::empty(),
    )?;
    let until = Instant::now() + PATIENCE;
    loop {
        let mut buffer = [0u8; 256];
        let n = rustix::io::pread(&events, &mut buffer, 0)?;
        if buffer[..n].split(|b| *b == b'\n').any(|line| line == b"frozen 1") {
            return Ok(());
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Errno::TIMEDOUT);
        }
        // The kernel tells of a change by POLLPRI; not longer than a moment, should one be missed.
        let moment = left.min(Duration::from_millis(100));
        let moment = Timespec { tv_sec: 0, tv_nsec: i64::from(moment.subsec_nanos()) };
        match poll(&mut [PollFd::new(&events, PollFlags::PRI)], Some(&moment)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Version 1 may stay in FREEZING when processes are forked meanwhile; writing again lets it look again, and a short thaw
/// lets a process out of what it can't be frozen in.
fn freeze_v1(dir: &OwnedFd) -> Result<(), Errno> {
    let until = Instant::now() + PATIENCE;
    for round in 1u32.. {
        write(dir, "freezer.state", "FROZEN")?;
        if read(dir, "freezer.state").is_some_and(|text| text.trim() == "FROZEN") {
            return Ok(());
        }
        if Instant::now() > until {
            break;
        }
        if round.is_multiple_of(50) {
            write(dir, "freezer.state", "THAWED")?;
            std::thread::sleep(Duration::from_millis(10));
        } else if round > 5 {
            std::thread::sleep(Duration::from_micros(50));
        }
    }
    Err(Errno::TIMEDOUT)
}
