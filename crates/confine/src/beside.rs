//! The network namespace, made beside the container instead of in its way.
//!
//! Creating a network namespace takes the kernel longer than everything else of a start together (measured: about
//! three quarters of a `clone3` with all namespaces). Nothing in the mount set-up depends on it, so a second
//! process makes it, inside the container's user namespace, while the first builds the root; then hands it over as a
//! descriptor and stays as the container's guard (`guard`). The first enters it before the program runs, or the start fails: there is no way past that
//! step.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::channel::{self, message};
use crate::layers::namespaces::flag;

/// What is done in the new network namespace before it is handed over.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Network {
    /// Settings to write: path in the host's procfs (which shows the writer's own namespace under `sys/net`), value.
    pub sysctls: Vec<(CString, CString)>,
    /// Whether its maker stays as the container's guard.
    pub guards: bool,
}

/// The second process: makes the namespace and sends it, or the errno of what failed, through `out`.
pub(crate) fn make(target: BorrowedFd<'_>, network: &Network, user: bool, out: BorrowedFd<'_>) -> u8 {
    let result = try_make(target, network, user, out);
    match result {
        // What was only the container's helper stays as its guard.
        Ok(()) if network.guards && crate::hooks::protects("guard") => crate::guard::watch(target, out),
        Ok(()) => 0,
        Err(errno) => {
            let _ = channel::send(out, message::FAILED, 0, errno.raw_os_error(), None);
            125
        }
    }
}

fn try_make(target: BorrowedFd<'_>, network: &Network, user: bool, out: BorrowedFd<'_>) -> Result<(), Errno> {
    if user {
        // The namespace must belong to the container's user namespace, not to the host's.
        donjon_sys::process::setns(target, flag::USER)?;
    }
    donjon_sys::process::unshare(flag::NET)?;
    donjon_sys::process::loopback_up()?;
    if !network.sysctls.is_empty() {
        if user {
            await_maps(out)?;
        }
        for (path, value) in &network.sysctls {
            write(path, value)?;
        }
    }
    let namespace = rustix::fs::open(c"/proc/self/ns/net", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    channel::send(out, message::NETWORK, 0, 0, Some(namespace.as_fd()))
}

/// Waits until the user namespace has its id maps, which the first process, or the parent, writes meanwhile: a setting
/// may hold ids. When the parent was killed before it wrote them, the first process ends too, and so does `out`.
fn await_maps(out: BorrowedFd<'_>) -> Result<(), Errno> {
    let pause = rustix::thread::Timespec { tv_sec: 0, tv_nsec: 50_000 };
    for _ in 0..200_000 {
        let file = rustix::fs::open(c"/proc/self/uid_map", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        let mut byte = [0u8; 1];
        if rustix::io::read(&file, &mut byte)? > 0 {
            return Ok(());
        }
        let mut poll = [PollFd::from_borrowed_fd(out, PollFlags::empty())];
        rustix::event::poll(&mut poll, Some(&rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 }))?;
        if poll[0].revents().contains(PollFlags::HUP) {
            return Err(Errno::PIPE);
        }
        let _ = rustix::thread::nanosleep(&pause);
    }
    Err(Errno::TIMEDOUT)
}

fn write(path: &CStr, value: &CStr) -> Result<(), Errno> {
    let file = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())?;
    // 0x9fa0: PROC_SUPER_MAGIC. A file that only looks like procfs would take the write and do nothing (R4).
    if rustix::fs::fstatfs(file.as_fd())?.f_type != 0x9fa0 {
        return Err(Errno::NODEV);
    }
    rustix::io::write(&file, value.to_bytes()).map(drop)
}

/// The first process's side: waits for the namespace and enters it.
pub(crate) fn enter(from: Option<BorrowedFd<'_>>) -> Result<(), Errno> {
    match channel::receive(from.ok_or(Errno::BADF)?)? {
        Some((message::NETWORK, _, _, Some(namespace))) => {
            donjon_sys::process::setns(namespace.as_fd(), flag::NET)
        }
        Some((message::FAILED, _, errno, _)) => Err(Errno::from_raw_os_error(errno)),
        Some(_) => Err(Errno::PROTO),
        None => Err(Errno::PIPE),
    }
}
