//! The console socket: the engine's end of a container's terminal.
//!
//! The engine listens on a unix socket and gets the master side of the pseudo-terminal as a descriptor, with the
//! terminal's name as the message. The name says nothing: it is one of the container's own devpts.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use super::error::OciError;
use super::sockets::{connect_to, send_descriptor};

/// Refuses a combination of `process.terminal` and `--console-socket` that can't work.
pub fn check(terminal: bool, detached: bool, socket: Option<&Path>) -> Result<(), OciError> {
    match (terminal, detached, socket) {
        (true, true, None) => Err(OciError::Usage(
            "process.terminal: a terminal for a container in the background needs --console-socket"
                .to_string(),
        )),
        (false, _, Some(_)) => Err(OciError::Usage(
            "--console-socket: the process has no terminal (process.terminal is false)".to_string(),
        )),
        (true, false, Some(_)) => Err(OciError::Usage(
            "--console-socket: in the foreground the terminal is the caller's own".to_string(),
        )),
        _ => Ok(()),
    }
}

/// Hands the master side of the terminal to the engine.
pub fn hand_over(socket: &Path, master: BorrowedFd<'_>) -> Result<(), OciError> {
    let connection = connect_to(socket)?;
    send_descriptor(connection.as_fd(), b"/dev/pts/0", master)
        .map_err(OciError::io(format!("send the terminal to {}", socket.display())))
}

/// Hands a pidfd of the container's first process to the engine (`--pidfd-socket`).
pub fn hand_over_pidfd(socket: &Path, pidfd: BorrowedFd<'_>) -> Result<(), OciError> {
    let connection = connect_to(socket)?;
    send_descriptor(connection.as_fd(), b"pidfd", pidfd)
        .map_err(OciError::io(format!("send the pidfd to {}", socket.display())))
}
