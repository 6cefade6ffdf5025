//! Being told that a group ran out of memory, for `events`.
//!
//! Version 1 signals an eventfd, at each time and when the group is removed. Version 2 changes `memory.events`, and
//! `cgroup.events` when the last process has ended; inotify tells of both.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{Mode, OFlags, inotify};
use rustix::io::Errno;

use super::cgroup::{Cgroup, failed};
use super::events::value;
use super::{read_all, write};
use crate::error::StartError;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// The group ran out of memory. Version 2 counts killed processes, version 1 the times.
    OutOfMemory,
    /// The group holds no process any more, or is gone: nothing will follow.
    Ended,
}

/// A source of notices: wait until its descriptor is readable, then [`OomWatch::read`].
#[derive(Debug)]
pub struct OomWatch {
    told: OwnedFd,
    dir: OwnedFd,
    unified: bool,
    killed: u64,
}

impl AsFd for OomWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.told.as_fd()
    }
}

impl Cgroup {
    /// Begins to watch. `None`: the container has no group with the controller memory.
    pub fn oom_watch(&self) -> Result<Option<OomWatch>, StartError> {
        let Some(dir) = self.dir("memory") else { return Ok(None) };
        let watch = dir.fd.try_clone().map_err(|_| Errno::MFILE).and_then(|fd| match self.record.unified {
            true => watch_v2(fd),
            false => watch_v1(fd),
        });
        match watch {
            Ok(watch) => Ok(Some(watch)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(failed(format!("watch the memory of {}", dir.place.full().display()), errno)),
        }
    }
}

fn watch_v1(dir: OwnedFd) -> Result<OomWatch, Errno> {
    let told = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let control = rustix::fs::openat(
        &dir,
        "memory.oom_control",
        OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW,
        Mode::empty(),
    )?;
    // The kernel keeps what it needs of both.
    write(&dir, "cgroup.event_control", &format!("{} {}", told.as_raw_fd(), control.as_raw_fd()))?;
    Ok(OomWatch { told, dir, unified: false, killed: 0 })
}

fn watch_v2(dir: OwnedFd) -> Result<OomWatch, Errno> {
    let told = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
    for name in ["memory.events", "cgroup.events"] {
        // By the descriptor, so that it is this group's file whatever has become of its path.
        let file = rustix::fs::openat(
            &dir,
            name,
            OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW,
            Mode::empty(),
        )?;
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        inotify::add_watch(&told, path, inotify::WatchFlags::MODIFY)?;
    }
    let killed = read_all(&dir, "memory.events").map_or(0, |text| value(&text, "oom_kill"));
    Ok(OomWatch { told, dir, unified: true, killed })
}

impl OomWatch {
    /// What happened since the last time; empty: nothing. Does not wait.
    pub fn read(&mut self) -> Result<Vec<Notice>, Errno> {
        let mut buffer = [0u8; 4096];
        let mut told = false;
        loop {
            match rustix::io::read(&self.told, &mut buffer) {
                Ok(0) | Err(Errno::AGAIN) => break,
                Ok(_) => told = true,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        if !told {
            return Ok(Vec::new());
        }
        Ok(if self.unified { self.compare() } else { self.look() })
    }

    fn look(&self) -> Vec<Notice> {
        match read_all(&self.dir, "memory.oom_control") {
            Some(_) => vec![Notice::OutOfMemory],
            None => vec![Notice::Ended],
        }
    }

    fn compare(&mut self) -> Vec<Notice> {
        let mut notices = Vec::new();
        if let Some(text) = read_all(&self.dir, "memory.events") {
            let killed = value(&text, "oom_kill");
            if killed > self.killed {
                notices.push(Notice::OutOfMemory);
            }
            self.killed = killed;
        }
        let populated = read_all(&self.dir, "cgroup.events").map_or(0, |text| value(&text, "populated"));
        if populated == 0 {
            notices.push(Notice::Ended);
        }
        notices
    }
}
