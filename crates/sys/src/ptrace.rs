//! Tracing system calls of child processes: `man 2 ptrace`. Needs Linux 5.3 (`PTRACE_GET_SYSCALL_INFO`); no privilege
//! for a tracer's own descendants.

use rustix::io::Errno;

use crate::clone::check;

/// Options of [`seize`].
pub mod option {
    /// Stops at system calls carry bit 0x80.
    pub const TRACESYSGOOD: u64 = 0x01;
    /// Follow forks.
    pub const TRACEFORK: u64 = 0x02;
    /// Follow vforks.
    pub const TRACEVFORK: u64 = 0x04;
    /// Follow clones.
    pub const TRACECLONE: u64 = 0x08;
    /// Stop after exec.
    pub const TRACEEXEC: u64 = 0x10;
    /// Kill every traced process when the tracer ends.
    pub const EXITKILL: u64 = 0x10_0000;
}

/// Events of a stop (`status >> 16`).
pub mod event {
    /// A fork; [`super::event_message`] is the child.
    pub const FORK: i32 = 1;
    /// A vfork.
    pub const VFORK: i32 = 2;
    /// A clone.
    pub const CLONE: i32 = 3;
    /// An exec has happened.
    pub const EXEC: i32 = 4;
    /// A group stop, or the first stop of a child that is followed.
    pub const STOP: i32 = 128;
}

const PTRACE_CONT: i64 = 7;
const PTRACE_SYSCALL: i64 = 24;
const PTRACE_GETEVENTMSG: i64 = 0x4201;
const PTRACE_SEIZE: i64 = 0x4206;
const PTRACE_LISTEN: i64 = 0x4208;
const PTRACE_GET_SYSCALL_INFO: i64 = 0x420e;

fn ptrace(request: i64, pid: i32, address: u64, data: u64) -> Result<i64, Errno> {
    // SAFETY: the requests used here take numbers, or pointers to buffers that their callers hold across the call.
    check(unsafe { libc::syscall(libc::SYS_ptrace, request, i64::from(pid), address, data) })
}

/// Begins to trace a process without stopping it.
pub fn seize(pid: i32, options: u64) -> Result<(), Errno> {
    ptrace(PTRACE_SEIZE, pid, 0, options).map(drop)
}

/// Lets a stopped process go on, with a signal or none (0).
pub fn go_on(pid: i32, signal: i32) -> Result<(), Errno> {
    ptrace(PTRACE_CONT, pid, 0, signal as u64).map(drop)
}

/// Lets a stopped process go on to its next entry into, or exit from, a system call.
pub fn to_system_call(pid: i32, signal: i32) -> Result<(), Errno> {
    ptrace(PTRACE_SYSCALL, pid, 0, signal as u64).map(drop)
}

/// Leaves a process in a group stop, as it would be without a tracer.
pub fn listen(pid: i32) -> Result<(), Errno> {
    ptrace(PTRACE_LISTEN, pid, 0, 0).map(drop)
}

/// The number that comes with an event: the new process of a fork.
pub fn event_message(pid: i32) -> Result<i32, Errno> {
    let mut message: libc::c_ulong = 0;
    ptrace(PTRACE_GETEVENTMSG, pid, 0, &raw mut message as u64)?;
    Ok(message as i32)
}

/// Where in a system call a process stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SystemCall {
    /// Before it.
    Entry {
        /// Its number.
        nr: u64,
        /// Its arguments.
        args: [u64; 6],
    },
    /// After it.
    Exit {
        /// The errno, if it failed.
        errno: Option<Errno>,
    },
    /// Neither.
    None,
}

/// Asks where a stopped process stands.
pub fn system_call(pid: i32) -> Result<SystemCall, Errno> {
    // struct ptrace_syscall_info: op (1 byte), padding, arch, instruction and stack pointers, then what follows from op.
    let mut info = [0u64; 12];
    ptrace(PTRACE_GET_SYSCALL_INFO, pid, std::mem::size_of_val(&info) as u64, info.as_mut_ptr() as u64)?;
    let [head, _, _, a, b, c, d, e, f, g, ..] = info;
    Ok(match head & 0xff {
        1 => SystemCall::Entry { nr: a, args: [b, c, d, e, f, g] },
        2 if b & 0xff != 0 => {
            SystemCall::Exit { errno: Some(Errno::from_raw_os_error((a as i64).wrapping_neg() as i32)) }
        }
        2 => SystemCall::Exit { errno: None },
        _ => SystemCall::None,
    })
}

/// A change in a traced process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It ended: exit status, or 128 and the signal's number.
    Ended(i32),
    /// It stopped for a signal, 0x80 added for a system call, or for an event.
    Stopped {
        /// The signal.
        signal: i32,
        /// The event, or 0.
        event: i32,
    },
}

/// Waits for a change in any child or traced process, threads included. `ECHILD`: there is none left.
pub fn wait_any() -> Result<(i32, Change), Errno> {
    let mut status: libc::c_int = 0;
    // SAFETY: wait4 writes one int to `status` and nothing through the null pointer.
    let pid = check(unsafe {
        libc::syscall(
            libc::SYS_wait4,
            -1i64,
            &raw mut status,
            libc::__WALL,
            std::ptr::null_mut::<libc::rusage>(),
        )
    })?;
    let change = if libc::WIFSTOPPED(status) {
        Change::Stopped { signal: libc::WSTOPSIG(status), event: status >> 16 }
    } else if libc::WIFSIGNALED(status) {
        Change::Ended(128 + libc::WTERMSIG(status))
    } else {
        Change::Ended(libc::WEXITSTATUS(status))
    };
    Ok((pid as i32, change))
}

/// Reads memory of a stopped process, up to the end of what is mapped.
pub fn read_memory(pid: i32, address: u64, buffer: &mut [u8]) -> Result<usize, Errno> {
    let local = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let remote = libc::iovec { iov_base: address as *mut libc::c_void, iov_len: buffer.len() };
    // SAFETY: `local` describes `buffer`, which is exclusively borrowed; `remote` is an address in the other process,
    // checked by the kernel.
    let n = check(unsafe {
        libc::syscall(
            libc::SYS_process_vm_readv,
            i64::from(pid),
            &raw const local,
            1u64,
            &raw const remote,
            1u64,
            0u64,
        )
    })?;
    Ok(n as usize)
}
