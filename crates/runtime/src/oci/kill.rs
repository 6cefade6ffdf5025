//! `kill`: a signal for the container's first process, or for all of them.

use std::os::fd::AsFd;

use rustix::process::Signal;

use super::error::OciError;
use super::record::Status;
use super::store::Store;
use crate::process::send;

/// Sends a signal. A container that has ended can't get one.
///
/// `all` is for containers that share the caller's pid namespace: where the container has its own, the kernel ends all of
/// its processes with the first.
pub fn kill(store: &Store, id: &str, signal: Signal, all: bool) -> Result<(), OciError> {
    let entry = store.find(id)?;
    let record = entry.record()?;
    if all {
        return match record.group()? {
            Some(group) => Ok(group.signal_all(signal.as_raw())?),
            None => Err(OciError::Usage(format!(
                "kill --all: {id:?} has no cgroup that would tell which its processes are"
            ))),
        };
    }
    let status = record.status();
    let stopped = || OciError::Status { id: id.to_string(), status: "stopped", action: "kill" };
    if status == Status::Stopped {
        return Err(stopped());
    }
    let fail = || OciError::io(format!("kill {id:?}"));
    let pidfd = match record.init {
        Some(init) => init.open().map_err(fail())?,
        None => None,
    };
    send(pidfd.ok_or_else(stopped)?.as_fd(), signal).map_err(fail())
}
