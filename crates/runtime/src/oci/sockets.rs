//! Unix sockets between donjon and whoever called it: descriptors are handed out through them.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::io::{Errno, IoSlice};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags,
    SocketType, connect, sendmsg, socket_with,
};

use super::error::OciError;

/// Connects to the socket that an engine listens on.
pub fn connect_to(path: &Path) -> Result<OwnedFd, OciError> {
    let fail = || OciError::io(format!("connect to {}", path.display()));
    let socket = unix_socket(SocketType::STREAM).map_err(fail())?;
    connect(&socket, &SocketAddrUnix::new(path).map_err(fail())?).map_err(fail())?;
    Ok(socket)
}

/// A new socket; close-on-exec.
pub fn unix_socket(kind: SocketType) -> Result<OwnedFd, Errno> {
    socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)
}

/// The address of a socket in a directory: through the descriptor, as the path itself may be too long for an address.
pub fn address_in(dir: BorrowedFd<'_>, name: &str) -> Result<SocketAddrUnix, Errno> {
    SocketAddrUnix::new(PathBuf::from(format!("/proc/self/fd/{}/{name}", dir.as_raw_fd())))
}

/// Sends bytes with a descriptor attached.
pub fn send_descriptor(socket: BorrowedFd<'_>, bytes: &[u8], fd: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = [fd.as_fd()];
    if !control.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(Errno::NOBUFS);
    }
    let sent = sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?;
    match bytes.get(sent..) {
        None | Some([]) => Ok(()),
        Some(rest) => crate::container::write_all(socket, rest),
    }
}
