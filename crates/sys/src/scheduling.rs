//! Where and when a process runs: the calls that rustix lacks.

use std::mem::size_of;

use rustix::io::Errno;
use rustix::process::Pid;

use crate::clone::check;

/// How a thread is scheduled: `struct sched_attr` of `linux/sched/types.h` in its first version, without its size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SchedAttr {
    /// `SCHED_*`
    pub policy: u32,
    /// `SCHED_FLAG_*`
    pub flags: u64,
    /// For `SCHED_OTHER` and `SCHED_BATCH`.
    pub nice: i32,
    /// For `SCHED_FIFO` and `SCHED_RR`.
    pub priority: u32,
    /// Nanoseconds, for `SCHED_DEADLINE`.
    pub runtime: u64,
    /// Nanoseconds, for `SCHED_DEADLINE`.
    pub deadline: u64,
    /// Nanoseconds, for `SCHED_DEADLINE`.
    pub period: u64,
}

/// Sets how a process (`None`: the calling thread) is scheduled; programs inherit it. Needs Linux 3.14, and for most
/// policies `CAP_SYS_NICE` over the machine. See `man 2 sched_setattr`.
pub fn sched_setattr(process: Option<Pid>, attr: SchedAttr) -> Result<(), Errno> {
    #[repr(C)]
    struct Sized {
        size: u32,
        policy: u32,
        flags: u64,
        nice: i32,
        priority: u32,
        runtime: u64,
        deadline: u64,
        period: u64,
    }
    let SchedAttr { policy, flags, nice, priority, runtime, deadline, period } = attr;
    let size = size_of::<Sized>() as u32;
    let attr = Sized { size, policy, flags, nice, priority, runtime, deadline, period };
    let process = process.map_or(0, |pid| pid.as_raw_nonzero().get());
    // SAFETY: `attr` is a valid sched_attr of the size that it says; the kernel only reads it.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, process, &raw const attr, 0u32) })?;
    Ok(())
}

/// Sets the I/O scheduling class (1 real time, 2 best effort, 3 idle) and the priority in it (0 to 7) of the calling
/// thread; programs inherit both. See `man 2 ioprio_set`.
pub fn ioprio_set(class: u16, priority: u16) -> Result<(), Errno> {
    const IOPRIO_WHO_PROCESS: libc::c_long = 1;
    let value = libc::c_long::from(class) << 13 | libc::c_long::from(priority);
    // SAFETY: takes numbers only.
    check(unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0 as libc::c_long, value) })?;
    Ok(())
}

/// Sets from which memory nodes (bit n of `nodes` is node n) the calling thread gets its pages; programs inherit it.
/// See `man 2 set_mempolicy`.
pub fn set_mempolicy(mode: u32, nodes: &[u64]) -> Result<(), Errno> {
    // The kernel looks at one bit less than it is told.
    let bits = if nodes.is_empty() { 0 } else { nodes.len() * 64 + 1 };
    let mask = if nodes.is_empty() { std::ptr::null() } else { nodes.as_ptr() };
    // SAFETY: the kernel reads `bits - 1` bits at `mask`, which the slice has; with none it reads nothing.
    check(unsafe { libc::syscall(libc::SYS_set_mempolicy, mode as libc::c_long, mask, bits) })?;
    Ok(())
}

/// Sets the execution domain of this process, which programs inherit. See `man 2 personality`.
pub fn personality(persona: u32) -> Result<(), Errno> {
    // SAFETY: takes a number only.
    check(unsafe { libc::syscall(libc::SYS_personality, libc::c_ulong::from(persona)) })?;
    Ok(())
}
