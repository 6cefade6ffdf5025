//! `delete`: what is left of a container goes.

use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::Signal;

use super::error::OciError;
use super::hooks::{self, Moment};
use super::record::{Record, Status};
use super::store::Store;
use crate::process::send;

/// How long a process is given to end after SIGKILL.
const LAST_MOMENT: Duration = Duration::from_secs(10);

/// Deletes a container that has ended, or was never started; with `force` a running one, too, and one whose record is
/// damaged. A `poststop` hook that failed is returned as a warning.
pub fn delete(store: &Store, id: &str, force: bool) -> Result<Option<OciError>, OciError> {
    let mut entry = match store.find(id) {
        Err(OciError::NotFound { .. }) if force => return Ok(None),
        other => other?,
    };
    if force {
        // Before the lock: whoever holds it may wait for this very process.
        end(id, &entry.record().unwrap_or_else(|_| entry.noted_belongings()))?;
    }
    match entry.lock() {
        Err(OciError::NotFound { .. }) if force => return Ok(None),
        other => other?,
    }
    let record = match entry.record() {
        Ok(record) => record,
        Err(_) if force => {
            remove_all(id, &entry.noted_belongings())?;
            return store.remove(entry).map(|()| None);
        }
        Err(error) => return Err(error),
    };
    let status = record.status();
    if !force && !matches!(status, Status::Stopped | Status::Created) {
        return Err(OciError::Status { id: id.to_string(), status: status.word(), action: "delete" });
    }
    remove_all(id, &record)?;
    let spec = entry.config();
    store.remove(entry)?;
    Ok(spec.ok().and_then(|spec| hooks::run(&spec, Moment::Stopped, &stopped(&record)).err()))
}

/// Ends its processes, and removes what it has outside its directory.
fn remove_all(id: &str, record: &Record) -> Result<(), OciError> {
    end(id, record)?;
    record.remove_planned_group();
    if let Some(mut group) = record.group()? {
        // Without a pid namespace of its own, and after exec, there may be more than the first one.
        group.signal_all(Signal::KILL.as_raw())?;
        group.remove()?;
    }
    record.remove_classes()
}

fn stopped(record: &Record) -> serde_json::Value {
    record.state(Status::Stopped.word(), 0)
}

/// Kills the first process, if it is there, and waits for its end.
fn end(id: &str, record: &Record) -> Result<(), OciError> {
    let fail = || OciError::io(format!("delete: end the processes of {id:?}"));
    let Some(pidfd) = record.init.map(|init| init.open()).transpose().map_err(fail())?.flatten() else {
        return Ok(());
    };
    send(pidfd.as_fd(), Signal::KILL).map_err(fail())?;
    // Frozen by version 1 it would not even die.
    if let Some(group) = record.group()?.filter(|group| group.is_frozen()) {
        group.thaw()?;
    }
    let limit = Timespec { tv_sec: LAST_MOMENT.as_secs().cast_signed(), tv_nsec: 0 };
    loop {
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&limit)) {
            Ok(0) => return Err(fail()(Errno::BUSY)),
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(fail()(errno)),
        }
    }
}
