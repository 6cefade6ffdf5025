//! The interfaces to the kernel that this machine has, each with its own numbers of system calls.
//!
//! A 64-bit processor runs programs of 32 bits as well, and x86-64 has x32 besides. The kernel tells a filter by which
//! interface a call came (`AUDIT_ARCH_*`); x32 shares that of x86-64 and is told by a bit of the number.

use oci_spec::runtime::Arch;

/// One interface.
#[derive(Debug)]
pub(super) struct Abi {
    /// What a profile calls it.
    pub name: Arch,
    /// `AUDIT_ARCH_*`, as the filter sees it.
    pub audit: u32,
    /// Arguments have 32 bits; the high halves of a profile's values mean nothing.
    pub narrow: bool,
    /// The number of a call, from its name and the number that it has for the machine's own interface.
    pub number: fn(&str, Option<u32>) -> Option<u32>,
    /// For a call that is an operation of `socketcall` or `ipc` as well: the number of that call, and of the operation,
    /// which is its first argument. The operation's own arguments are in memory, where a filter can't look.
    pub multiplexed: fn(&str) -> Option<(u32, u32)>,
}

/// Bit of the number of every call through x32.
pub(super) const X32_BIT: u32 = 0x4000_0000;

/// The machine's own interface first.
#[cfg(target_arch = "x86_64")]
pub(super) static ABIS: [Abi; 3] = [
    Abi {
        name: Arch::ScmpArchX86_64,
        audit: super::AUDIT_ARCH,
        narrow: false,
        number: own,
        multiplexed: none,
    },
    Abi {
        name: Arch::ScmpArchX86,
        audit: 0x4000_0003,
        narrow: true,
        number: i386,
        multiplexed: i386_multiplexed,
    },
    Abi { name: Arch::ScmpArchX32, audit: super::AUDIT_ARCH, narrow: true, number: x32, multiplexed: none },
];
/// The machine's own interface first.
#[cfg(target_arch = "aarch64")]
pub(super) static ABIS: [Abi; 2] = [
    Abi {
        name: Arch::ScmpArchAarch64,
        audit: super::AUDIT_ARCH,
        narrow: false,
        number: own,
        multiplexed: none,
    },
    Abi { name: Arch::ScmpArchArm, audit: 0x4000_0028, narrow: true, number: arm, multiplexed: none },
];
/// The machine's own interface.
#[cfg(target_arch = "riscv64")]
pub(super) static ABIS: [Abi; 1] = [Abi {
    name: Arch::ScmpArchRiscv64,
    audit: super::AUDIT_ARCH,
    narrow: false,
    number: own,
    multiplexed: none,
}];

/// Calls newer than the tables. Since 5.1 a new call has the same number everywhere.
const NEWER: [(&str, u32); 2] = [("listns", 470), ("rseq_slice_yield", 471)];

fn newer(name: &str) -> Option<u32> {
    NEWER.iter().find(|(newer, _)| *newer == name).map(|(_, nr)| *nr)
}

/// The number of a call for the machine's own interface.
pub(super) fn native(name: &str) -> Option<u32> {
    // The table calls it by the name of the kernel's generic list; profiles and libseccomp by the older one.
    let name = if cfg!(target_arch = "aarch64") && name == "newfstatat" { "fstatat" } else { name };
    super::super::number(name).or_else(|| newer(name))
}

fn own(_: &str, native: Option<u32>) -> Option<u32> {
    native
}

#[cfg(target_arch = "x86_64")]
fn i386(name: &str, _: Option<u32>) -> Option<u32> {
    // The table writes this one as Rust's keyword.
    let name = if name == "break" { "r#break" } else { name };
    let listed = name.parse::<syscalls::x86::Sysno>().ok().and_then(|s| u32::try_from(s.id()).ok());
    listed.or_else(|| newer(name))
}

/// Mostly the numbers of x86-64 with a bit. Calls that pass structures with pointers or longs have a number of their
/// own, and the oldest calls are not there.
#[cfg(target_arch = "x86_64")]
fn x32(name: &str, native: Option<u32>) -> Option<u32> {
    let native = native?;
    let number = match name {
        "rt_sigaction" => 512,
        "rt_sigreturn" => 513,
        "ioctl" => 514,
        "readv" => 515,
        "writev" => 516,
        "recvfrom" => 517,
        "sendmsg" => 518,
        "recvmsg" => 519,
        "execve" => 520,
        "ptrace" => 521,
        "rt_sigpending" => 522,
        "rt_sigtimedwait" => 523,
        "rt_sigqueueinfo" => 524,
        "sigaltstack" => 525,
        "timer_create" => 526,
        "mq_notify" => 527,
        "kexec_load" => 528,
        "waitid" => 529,
        "set_robust_list" => 530,
        "get_robust_list" => 531,
        "vmsplice" => 532,
        "move_pages" => 533,
        "preadv" => 534,
        "pwritev" => 535,
        "rt_tgsigqueueinfo" => 536,
        "recvmmsg" => 537,
        "sendmmsg" => 538,
        "process_vm_readv" => 539,
        "process_vm_writev" => 540,
        "setsockopt" => 541,
        "getsockopt" => 542,
        "io_setup" => 543,
        "io_submit" => 544,
        "execveat" => 545,
        "preadv2" => 546,
        "pwritev2" => 547,
        "uselib" | "_sysctl" | "create_module" | "get_kernel_syms" | "query_module" | "nfsservctl"
        | "set_thread_area" | "get_thread_area" | "epoll_ctl_old" | "epoll_wait_old" | "vserver" => {
            return None;
        }
        _ => native,
    };
    Some(number | X32_BIT)
}

/// With the calls that ARM keeps above the list.
#[cfg(target_arch = "aarch64")]
fn arm(name: &str, _: Option<u32>) -> Option<u32> {
    let private = match name {
        "breakpoint" => 1,
        "cacheflush" => 2,
        "usr26" => 3,
        "usr32" => 4,
        "set_tls" => 5,
        "get_tls" => 6,
        name => {
            let listed = name.parse::<syscalls::arm::Sysno>().ok().and_then(|s| u32::try_from(s.id()).ok());
            return listed.or_else(|| newer(name));
        }
    };
    Some(0xf_0000 | private)
}

fn none(_: &str) -> Option<(u32, u32)> {
    None
}

/// See `linux/net.h` and `linux/ipc.h`.
#[cfg(target_arch = "x86_64")]
fn i386_multiplexed(name: &str) -> Option<(u32, u32)> {
    const SOCKETCALL: u32 = 102;
    const IPC: u32 = 117;
    Some(match name {
        "socket" => (SOCKETCALL, 1),
        "bind" => (SOCKETCALL, 2),
        "connect" => (SOCKETCALL, 3),
        "listen" => (SOCKETCALL, 4),
        "accept" => (SOCKETCALL, 5),
        "getsockname" => (SOCKETCALL, 6),
        "getpeername" => (SOCKETCALL, 7),
        "socketpair" => (SOCKETCALL, 8),
        "send" => (SOCKETCALL, 9),
        "recv" => (SOCKETCALL, 10),
        "sendto" => (SOCKETCALL, 11),
        "recvfrom" => (SOCKETCALL, 12),
        "shutdown" => (SOCKETCALL, 13),
        "setsockopt" => (SOCKETCALL, 14),
        "getsockopt" => (SOCKETCALL, 15),
        "sendmsg" => (SOCKETCALL, 16),
        "recvmsg" => (SOCKETCALL, 17),
        "accept4" => (SOCKETCALL, 18),
        "recvmmsg" => (SOCKETCALL, 19),
        "sendmmsg" => (SOCKETCALL, 20),
        "semop" => (IPC, 1),
        "semget" => (IPC, 2),
        "semctl" => (IPC, 3),
        "semtimedop" => (IPC, 4),
        "msgsnd" => (IPC, 11),
        "msgrcv" => (IPC, 12),
        "msgget" => (IPC, 13),
        "msgctl" => (IPC, 14),
        "shmat" => (IPC, 21),
        "shmdt" => (IPC, 22),
        "shmget" => (IPC, 23),
        "shmctl" => (IPC, 24),
        _ => return None,
    })
}
