//! `clone3`: one new process in all its new namespaces at once.

use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::Pid;

/// `struct clone_args` of `linux/sched.h`, as far as Linux 5.7 knows it.
#[repr(C, align(8))]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Flags that would share memory or tables with the child, which [`clone3`] never does.
const SHARING: u64 = (libc::CLONE_VM
    | libc::CLONE_VFORK
    | libc::CLONE_THREAD
    | libc::CLONE_SIGHAND
    | libc::CLONE_FILES
    | libc::CLONE_FS
    | libc::CLONE_SETTLS) as u64;

/// Clones the calling process, copy-on-write, into the new namespaces of `namespaces` (`CLONE_NEW*`; with
/// `CLONE_PARENT` the new process is a sibling of the caller, for the caller's own parent to wait for), and into
/// `cgroup` if one is given (a directory of the v2 hierarchy). The child runs `body` and exits with the status
/// that it returns, unless it execs before; the parent gets the child's id and a close-on-exec pidfd.
///
/// The child holds a copy of the calling thread alone: what other threads locked stays locked there, and the C
/// library's fork handlers do not run. So `body` is to be straight system calls: it must not wait for a lock, and
/// should not allocate. It never returns into the caller's frames: a panic ends the child.
///
/// Needs Linux 5.3, with `cgroup` 5.7. With `CLONE_NEWUSER` no privilege. See `man 2 clone3`.
pub fn clone3(
    namespaces: u64,
    cgroup: Option<BorrowedFd<'_>>,
    body: impl FnOnce() -> u8,
) -> Result<(Pid, OwnedFd), Errno> {
    let mut pidfd: libc::c_int = -1;
    let mut args = CloneArgs {
        flags: (namespaces & !SHARING) | libc::CLONE_PIDFD as u64,
        pidfd: (&raw mut pidfd) as u64,
        // A sibling (CLONE_PARENT) inherits the caller's own exit signal; naming one is EINVAL.
        exit_signal: if namespaces & libc::CLONE_PARENT as u64 != 0 { 0 } else { libc::SIGCHLD as u64 },
        ..CloneArgs::default()
    };
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: `args` is a valid clone_args of the size passed and `pidfd` outlives the call. CLONE_VM is not among
    // the flags (masked out), so the child runs on its own copy of all memory and of this stack:
    // nothing it does can be seen here. It leaves this function only through `exit_now`.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<CloneArgs>()) };
    if pid == 0 {
        run_child(body);
    }
    let pid = Pid::from_raw(check(pid)? as i32).ok_or(Errno::INVAL)?;
    // SAFETY: the kernel stored a new descriptor there, because CLONE_PIDFD was set and clone3 succeeded;
    // nothing else owns it.
    Ok((pid, unsafe { OwnedFd::from_raw_fd(pidfd) }))
}

/// Forks the calling process the classic way; the child runs `body` as in [`clone3`]. Usable in a process that
/// is itself such a child.
pub fn fork(body: impl FnOnce() -> u8) -> Result<Pid, Errno> {
    // SAFETY: no stack and no shared memory is asked for: the child runs on its own copy, as in `clone3`.
    let pid = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD as u64, 0u64, 0u64, 0u64, 0u64) };
    if pid == 0 {
        run_child(body);
    }
    Pid::from_raw(check(pid)? as i32).ok_or(Errno::INVAL)
}

/// Forks a sibling of the calling process the classic way (`CLONE_PARENT`), for the caller's own parent to wait for; its
/// id and a close-on-exec pidfd are returned. The child runs `body` as in [`clone3`].
///
/// Unlike `clone3` a filter can look at the flags of this call: profiles that let programs fork let it through, and answer
/// ENOSYS to the other. Needs Linux 5.2. See `man 2 clone`.
pub fn sibling(body: impl FnOnce() -> u8) -> Result<(Pid, OwnedFd), Errno> {
    let mut pidfd: libc::c_int = -1;
    // SAFETY: no stack and no shared memory is asked for: the child runs on its own copy, as in `clone3`. `pidfd`, where
    // the kernel stores the descriptor, outlives the call.
    let pid = unsafe { libc::syscall(libc::SYS_clone, SIBLING_FLAGS, 0u64, &raw mut pidfd, 0u64, 0u64) };
    if pid == 0 {
        run_child(body);
    }
    let pid = Pid::from_raw(check(pid)? as i32).ok_or(Errno::INVAL)?;
    // SAFETY: the kernel stored a new descriptor there, because CLONE_PIDFD was set and clone succeeded; nothing else
    // owns it.
    Ok((pid, unsafe { OwnedFd::from_raw_fd(pidfd) }))
}

/// The flags of [`sibling`], its first argument to `clone(2)`.
pub const SIBLING_FLAGS: u64 = (libc::CLONE_PARENT | libc::CLONE_PIDFD) as u64;

fn run_child(body: impl FnOnce() -> u8) -> ! {
    /// Ends the process when it is dropped by an unwinding panic.
    struct EndHere;
    impl Drop for EndHere {
        fn drop(&mut self) {
            exit_now(125);
        }
    }
    let _end_here = EndHere;
    exit_now(body())
}

/// Ends the calling process at once, without destructors or `atexit` handlers: the only way out of a child of
/// [`clone3`] that can't exec.
pub fn exit_now(code: u8) -> ! {
    // SAFETY: _exit takes any status and does not return.
    unsafe { libc::_exit(i32::from(code)) }
}

/// The errno that the C library's `syscall` left.
pub(crate) fn last_errno() -> Errno {
    // SAFETY: __errno_location always returns this thread's errno.
    Errno::from_raw_os_error(unsafe { *libc::__errno_location() })
}

/// Turns the C library's -1 into its errno.
pub(crate) fn check(result: libc::c_long) -> Result<libc::c_long, Errno> {
    if result < 0 { Err(last_errno()) } else { Ok(result) }
}
