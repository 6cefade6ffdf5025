//! `donjon events`: what a container uses, and when it runs out of memory.

use std::io::Write;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use donjon_confine::layers::cgroups::Cgroup;
use donjon_confine::layers::cgroups::Notice;
use donjon_runtime::oci::{OciError, Store, limits};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use serde_json::{Value, json};

use crate::commands::Failure;

/// Prints lines of JSON: once with `stats`, else until the container has ended.
pub fn run(store: &Store, id: &str, stats: bool, interval: Duration) -> Result<(), Failure> {
    let group = limits::watched(store, id)?;
    if stats {
        return print(id, "stats", Some(statistics(&group)?));
    }
    let mut watch = group.oom_watch()?;
    let mut next = Instant::now();
    loop {
        if Instant::now() >= next {
            if group.pids().is_empty() {
                return Ok(());
            }
            print(id, "stats", Some(statistics(&group)?))?;
            next += interval;
        }
        let left = next.saturating_duration_since(Instant::now());
        let left = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        let fail = |errno: Errno| OciError::Io { what: "watch the container's cgroup".to_string(), errno };
        let mut polled: Vec<PollFd<'_>> =
            watch.iter().map(|watch| PollFd::from_borrowed_fd(watch.as_fd(), PollFlags::IN)).collect();
        match poll(&mut polled, Some(&left)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(fail(errno).into()),
        }
        drop(polled);
        for notice in watch.as_mut().map_or(Ok(Vec::new()), |watch| watch.read()).map_err(fail)? {
            match notice {
                Notice::OutOfMemory => print(id, "oom", None)?,
                Notice::Ended => return Ok(()),
            }
        }
    }
}

fn statistics(group: &Cgroup) -> Result<Value, Failure> {
    Ok(serde_json::to_value(group.stats())?)
}

/// One line, as other runtimes print it.
fn print(id: &str, kind: &str, data: Option<Value>) -> Result<(), Failure> {
    let mut event = json!({"type": kind, "id": id});
    if let (Some(map), Some(data)) = (event.as_object_mut(), data) {
        map.insert("data".to_string(), data);
    }
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, &event)?;
    writeln!(out)?;
    Ok(out.flush()?)
}
