//! The engine's own seccomp agent: it answers the calls that a profile with `SCMP_ACT_NOTIFY` reports.
//!
//! `linux.seccomp.listenerPath` is a unix socket; it gets the listener as a descriptor and the "container process state"
//! of the specification as the message. The agent then decides in donjon's place.

use std::os::fd::{AsFd, BorrowedFd};

use oci_spec::runtime::Spec;
use serde_json::json;

use super::error::OciError;
use super::record::Record;
use super::sockets::{connect_to, send_descriptor};

/// Hands the listener of a process to the agent that the specification names.
pub fn hand_over(
    spec: &Spec,
    record: &Record,
    status: &str,
    pid: i32,
    listener: BorrowedFd<'_>,
) -> Result<(), OciError> {
    let profile = spec.linux().as_ref().and_then(|l| l.seccomp().as_ref());
    let Some((profile, path)) = profile.and_then(|p| p.listener_path().as_ref().map(|path| (p, path))) else {
        return Err(OciError::Usage(
            "linux.seccomp.listenerPath: is missing, and a call is to be answered by it".to_string(),
        ));
    };
    let state = json!({
        "ociVersion": record.oci_version,
        "fds": ["seccompFd"],
        "pid": pid,
        "metadata": profile.listener_metadata().clone().unwrap_or_default(),
        "state": record.state(status, pid),
    });
    let bytes = serde_json::to_vec(&state).unwrap_or_default();
    let connection = connect_to(path)?;
    send_descriptor(connection.as_fd(), &bytes, listener)
        .map_err(OciError::io(format!("linux.seccomp.listenerPath: send the listener to {}", path.display())))
}
