//! Loading a seccomp filter, and the notifications of its listener.
//!
//! See `man 2 seccomp`, `man 2 seccomp_unotify`.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

use crate::clone::check;

/// One instruction of classic BPF, `struct sock_filter` of `linux/filter.h`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SockFilter {
    /// Operation.
    pub code: u16,
    /// Instructions to skip when a comparison holds.
    pub jt: u8,
    /// Instructions to skip when it does not.
    pub jf: u8,
    /// Constant operand.
    pub k: u32,
}

/// Flags of [`load`].
pub mod flag {
    /// All threads of the process.
    pub const TSYNC: u32 = 1;
    /// Log refusals.
    pub const LOG: u32 = 2;
    /// Don't disable speculative store bypass.
    pub const SPEC_ALLOW: u32 = 4;
    /// Return a listener for notifications.
    pub const NEW_LISTENER: u32 = 8;
    /// A process that waits for an answer that is being given can only be killed (Linux 5.19).
    pub const WAIT_KILLABLE_RECV: u32 = 32;
}

#[repr(C)]
struct SockFprog {
    len: u16,
    filter: *const SockFilter,
}

/// Puts the calling thread under `filter`, for good. Returns the listener (close-on-exec) if
/// [`flag::NEW_LISTENER`] is set. Needs `no_new_privs` or `CAP_SYS_ADMIN`.
///
/// `EBUSY`: a filter with a listener is already there. `EINVAL`: the filter or a flag is not valid for this kernel.
pub fn load(filter: &[SockFilter], flags: u32) -> Result<Option<OwnedFd>, Errno> {
    const SECCOMP_SET_MODE_FILTER: u32 = 1;
    let program =
        SockFprog { len: u16::try_from(filter.len()).map_err(|_| Errno::INVAL)?, filter: filter.as_ptr() };
    // SAFETY: `program` describes `filter`, which lives through the call; the kernel copies and verifies it.
    let result = check(unsafe {
        libc::syscall(libc::SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &raw const program)
    })?;
    if flags & flag::NEW_LISTENER == 0 {
        return Ok(None);
    }
    // SAFETY: with NEW_LISTENER success is a new descriptor that nothing else owns.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(result as i32) }))
}

/// Whether the kernel takes all of `flags`. Loads nothing: it is asked with an address where no filter can be, which is
/// refused after the flags were looked at.
pub fn has_flags(flags: u32) -> bool {
    const SECCOMP_SET_MODE_FILTER: u32 = 1;
    // SAFETY: the kernel answers the null address with EFAULT and reads nothing; the process is as it was.
    let asked = check(unsafe {
        libc::syscall(libc::SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, std::ptr::null::<SockFprog>())
    });
    asked == Err(Errno::FAULT)
}

/// A refused call that waits for an answer, `struct seccomp_notif`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Notification {
    /// Names this call in the answer.
    pub id: u64,
    /// Thread that made it, in the listener's pid namespace; 0 when not visible there.
    pub pid: u32,
    /// No flag is defined yet.
    pub flags: u32,
    /// System call number.
    pub nr: i32,
    /// `AUDIT_ARCH_*`.
    pub arch: u32,
    /// Where the call was made.
    pub instruction_pointer: u64,
    /// Its arguments. Pointers point into the caller's memory and prove nothing.
    pub args: [u64; 6],
}

#[repr(C)]
struct Answer {
    id: u64,
    val: i64,
    error: i32,
    flags: u32,
}

const IOCTL_RECV: libc::c_ulong = 0xc050_2100;
const IOCTL_SEND: libc::c_ulong = 0xc018_2101;
const IOCTL_ID_VALID: libc::c_ulong = 0x4008_2102;
const IOCTL_SET_FLAGS: libc::c_ulong = 0x4008_2104;

/// Asks the kernel to run the listener and the process that waits for it on one processor, as the one always waits for
/// the other: a third to a half of a notification's time. `EINVAL`: before Linux 6.6.
pub fn wake_on_one_processor(listener: BorrowedFd<'_>) -> Result<(), Errno> {
    const SYNC_WAKE_UP: libc::c_ulong = 1;
    // SAFETY: the ioctl takes a number.
    check(libc::c_long::from(unsafe { libc::ioctl(listener.as_raw_fd(), IOCTL_SET_FLAGS, SYNC_WAKE_UP) }))?;
    Ok(())
}

/// Takes the next notification. Blocks when there is none; `ENOENT`: its caller has died meanwhile.
pub fn receive(listener: BorrowedFd<'_>) -> Result<Notification, Errno> {
    let mut notification = Notification::default();
    // SAFETY: the ioctl writes one seccomp_notif, for which `notification` has the size and layout; it was zeroed, as
    // the kernel demands.
    check(libc::c_long::from(unsafe {
        libc::ioctl(listener.as_raw_fd(), IOCTL_RECV, &raw mut notification)
    }))?;
    Ok(notification)
}

fn answer(listener: BorrowedFd<'_>, answer: Answer) -> Result<(), Errno> {
    // SAFETY: the ioctl reads one seccomp_notif_resp, which `answer` is.
    check(libc::c_long::from(unsafe { libc::ioctl(listener.as_raw_fd(), IOCTL_SEND, &raw const answer) }))?;
    Ok(())
}

/// Lets the call fail with `errno`. `ENOENT`: its caller has died meanwhile.
pub fn refuse(listener: BorrowedFd<'_>, id: u64, errno: Errno) -> Result<(), Errno> {
    answer(listener, Answer { id, val: 0, error: -errno.raw_os_error(), flags: 0 })
}

/// Lets the call return `value` without having happened.
pub fn pretend(listener: BorrowedFd<'_>, id: u64, value: i64) -> Result<(), Errno> {
    answer(listener, Answer { id, val: value, error: 0, flags: 0 })
}

/// Lets the call happen. Only right where nothing of the decision depends on memory or descriptors that the caller
/// can change in between.
pub fn let_happen(listener: BorrowedFd<'_>, id: u64) -> Result<(), Errno> {
    const CONTINUE: u32 = 1;
    answer(listener, Answer { id, val: 0, error: 0, flags: CONTINUE })
}

/// Whether the caller still waits for an answer to `id`.
pub fn is_waiting(listener: BorrowedFd<'_>, id: u64) -> bool {
    // SAFETY: the ioctl reads one u64.
    unsafe { libc::ioctl(listener.as_raw_fd(), IOCTL_ID_VALID, &raw const id) == 0 }
}
