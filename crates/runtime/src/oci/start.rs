//! `start`: the process that waits goes on and becomes the program.

use std::os::fd::AsFd;

use donjon_confine::bundle::Options;
use donjon_confine::{Confined, Host, Plan};
use rustix::io::Errno;
use rustix::net::{SocketType, connect};
use rustix::process::Pid;

use super::error::OciError;
use super::hooks::{self, Moment};
use super::record::Status;
use super::seccomp_agent;
use super::sockets::{address_in, unix_socket};
use super::store::{Entry, Store};

/// Starts a container that was created. A `poststart` hook that failed is returned as a warning.
pub fn start(store: &Store, id: &str, host: &Host) -> Result<Option<OciError>, OciError> {
    let mut entry = store.find(id)?;
    entry.lock()?;
    let record = entry.record()?;
    let status = record.status();
    if status != Status::Created {
        return Err(OciError::Status { id: id.to_string(), status: status.word(), action: "start" });
    }
    let spec = entry.config()?;
    // The same plan again: only to tell in words what failed.
    let plan = Plan::of_bundle(&spec, host, &Options { waits_for_start: true, ..Options::default() })?;
    let mut confined = waiting(&entry, record.init)?;
    let handover = confined.let_go(&plan)?;
    let pid = confined.pid.as_raw_nonzero().get();
    if let Some(listener) = &handover.listener {
        let handed = seccomp_agent::hand_over(&spec, &record, "created", pid, listener.as_fd());
        if let Err(error) = handed {
            confined.end();
            return Err(error);
        }
    }
    Ok(hooks::run(&spec, Moment::Started, &record.state("running", pid)).err())
}

/// The process that waits, with a connection to it.
fn waiting(entry: &Entry, init: Option<crate::process::Identity>) -> Result<Confined, OciError> {
    let fail = || OciError::io("start: reach the container's process");
    let init = init.ok_or_else(|| fail()(Errno::SRCH))?;
    let pidfd = init.open().map_err(fail())?.ok_or_else(|| fail()(Errno::SRCH))?;
    let pid = Pid::from_raw(init.pid).ok_or_else(|| fail()(Errno::SRCH))?;
    let socket = unix_socket(SocketType::SEQPACKET).map_err(fail())?;
    let address = address_in(entry.dir(), "start.sock").map_err(fail())?;
    connect(&socket, &address).map_err(fail())?;
    Ok(Confined::waiting(pid, pidfd, socket))
}
