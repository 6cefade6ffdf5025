//! The channel between parent and child: messages of fixed length, each with at most one descriptor.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};

/// First byte of each message.
pub(crate) mod message {
    /// A step failed: its index (u16) and errno (i32) follow, little-endian.
    pub const FAILED: u8 = b'F';
    /// The terminal's master side is attached.
    pub const CONSOLE: u8 = b'C';
    /// The seccomp listener is attached.
    pub const LISTENER: u8 = b'L';
    /// Everything that hooks look at is there: the child waits.
    pub const READY: u8 = b'R';
    /// The container is created: the child waits for `start`, and not for its parent any more.
    pub const CREATED: u8 = b'W';
    /// From parent to child: a state of the container is attached; for which hooks (u16) follows.
    pub const STATE: u8 = b'S';
    /// The child is in its network namespace, and waits for the machine's devices.
    pub const DEVICES: u8 = b'D';
    /// From parent to child: go on.
    pub const GO: u8 = b'G';
    /// From parent to child: an id-mapped mount is attached; the source's index (u16) follows.
    pub const MOUNT: u8 = b'M';
    /// A new network namespace is attached.
    pub const NETWORK: u8 = b'N';
    /// The pidfd of the process that goes on in the caller's stead is attached; its pid (i32) follows.
    pub const PROCESS: u8 = b'P';
    /// A rule of Landlock that the policy names grants nothing here: its index (u16) and why (i32) follow.
    pub const PASSED_OVER: u8 = b'O';
    /// Length of every message.
    pub const LENGTH: usize = 7;
}

/// Sends one message. Allocates nothing.
pub(crate) fn send(
    channel: BorrowedFd<'_>,
    kind: u8,
    a: u16,
    b: i32,
    fd: Option<BorrowedFd<'_>>,
) -> Result<(), Errno> {
    let [a0, a1] = a.to_le_bytes();
    let [b0, b1, b2, b3] = b.to_le_bytes();
    let bytes: [u8; message::LENGTH] = [kind, a0, a1, b0, b1, b2, b3];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = fd.as_slice();
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(Errno::NOBUFS);
    }
    let iov = [rustix::io::IoSlice::new(&bytes)];
    rustix::net::sendmsg(channel, &iov, &mut control, SendFlags::NOSIGNAL).map(drop)
}

/// One message: its kind, its two numbers and its descriptor.
pub(crate) type Message = (u8, u16, i32, Option<OwnedFd>);

/// Receives one message; `None` when the other side is gone. Allocates nothing.
pub(crate) fn receive(channel: BorrowedFd<'_>) -> Result<Option<Message>, Errno> {
    let mut bytes = [0u8; message::LENGTH];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut reset = false;
    loop {
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut iov = [rustix::io::IoSliceMut::new(&mut bytes)];
        let received =
            match rustix::net::recvmsg(channel.as_fd(), &mut iov, &mut control, RecvFlags::CMSG_CLOEXEC) {
                Err(Errno::INTR) => continue,
                // The other side ended before it read everything. What it had said before is still there, once: the
                // error is told first.
                Err(Errno::CONNRESET) if !std::mem::replace(&mut reset, true) => continue,
                Err(Errno::CONNRESET) => return Ok(None),
                other => other?,
            };
        match received.bytes {
            0 => return Ok(None),
            message::LENGTH => {}
            _ => return Err(Errno::PROTO),
        }
        let fd = control.drain().find_map(|m| match m {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        drop(control);
        let [kind, a0, a1, b0, b1, b2, b3] = bytes;
        return Ok(Some((kind, u16::from_le_bytes([a0, a1]), i32::from_le_bytes([b0, b1, b2, b3]), fd)));
    }
}
