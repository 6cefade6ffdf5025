//! The system calls that are left to a confined warden: about fifty, most of them without a choice of object.
//!
//! Files are opened below what Landlock leaves. `ioctl` is held to the settings of terminals and the listener;
//! `kill` to the warden itself. There is no `execve`, `clone`, `socket`, `ptrace`, `pidfd_open`, `mount`, `bpf`, and no
//! memory that can be executed is ever made (`mmap` and `mprotect` without `PROT_EXEC`).

use donjon_confine::layers::seccomp::{Program, SeccompError, compile, masked};
use oci_spec::runtime::{
    LinuxSeccompAction as Action, LinuxSeccompArg, LinuxSeccompBuilder, LinuxSyscall, LinuxSyscallBuilder,
};

/// The low half of an argument: where the kernel takes an `int`.
const LOW: u64 = 0xffff_ffff;
const PROT_EXEC: u64 = 4;

/// The loop and its descriptors.
const LOOP: [&str; 14] = [
    "poll", "ppoll", "read", "write", "readv", "writev", "pread64", "pwrite64", "close", "recvmsg",
    "sendmsg", "lseek", "dup", "flock",
];
/// The container's directory.
const FILES: [&str; 11] = [
    "open", "openat", "fstat", "newfstatat", "statx", "readlinkat", "getdents64", "renameat", "renameat2",
    "unlinkat", "ftruncate",
];
/// The container's end, and how many threads the machine has.
const PROCESSES: [&str; 3] = ["waitid", "pidfd_send_signal", "sysinfo"];
/// Memory, time and the end of the warden itself.
const OWN: [&str; 22] = [
    "brk", "munmap", "mremap", "madvise", "clock_gettime", "gettimeofday", "clock_nanosleep", "nanosleep",
    "getrandom", "futex", "sched_yield", "rt_sigreturn", "rt_sigprocmask", "rt_sigaction", "sigaltstack",
    "restart_syscall", "getpid", "gettid", "geteuid", "getpgrp", "getpgid", "exit_group",
];

/// Calls without a condition.
fn plain() -> impl Iterator<Item = &'static str> {
    LOOP.into_iter().chain(FILES).chain(PROCESSES).chain(OWN)
}

/// `ioctl` requests: settings and size of terminals, its foreground group, and the listener's.
const REQUESTS: [u64; 14] = [
    0x5401, 0x5402, 0x5403, 0x5404, 0x802c_542a, 0x402c_542b, 0x402c_542c, 0x402c_542d, 0x5413, 0x5414,
    0x540f, 0xc050_2100, 0xc018_2101, 0x4008_2102,
];

/// Compiles the filter for a warden with this pid.
pub fn filter(own_pid: i32) -> Result<Program, SeccompError> {
    let spec = |e: oci_spec::OciSpecError| SeccompError::Spec(e.to_string());
    let allow = |name: &str, args: Vec<LinuxSeccompArg>| -> Result<LinuxSyscall, SeccompError> {
        let rule = LinuxSyscallBuilder::default().names([name.to_string()]).action(Action::ScmpActAllow);
        rule.args(args).build().map_err(spec)
    };
    let own_pid = u64::from(own_pid.unsigned_abs());
    let mut rules = vec![
        LinuxSyscallBuilder::default()
            .names(plain().map(str::to_string).collect::<Vec<_>>())
            .action(Action::ScmpActAllow)
            .build()
            .map_err(spec)?,
        allow("mmap", vec![masked(2, PROT_EXEC, 0)?])?,
        allow("mprotect", vec![masked(2, PROT_EXEC, 0)?])?,
        // To stop with its container, and to abort after a panic.
        allow("kill", vec![masked(0, LOW, own_pid)?])?,
        allow("tgkill", vec![masked(0, LOW, own_pid)?])?,
        // To become not dumpable, once the start is over: PR_SET_DUMPABLE, 0.
        allow("prctl", vec![masked(0, LOW, 4)?, masked(1, LOW, 0)?])?,
        // F_SETFL without O_ASYNC, which would let it send signals to anybody of the same user.
        allow("fcntl", vec![masked(1, LOW, 4)?, masked(2, 0x2000, 0)?])?,
    ];
    // F_GETFD, F_SETFD, F_GETFL, F_DUPFD_CLOEXEC; no F_SETOWN, F_SETSIG, leases or notifications.
    for command in [1, 2, 3, 1030] {
        rules.push(allow("fcntl", vec![masked(1, LOW, command)?])?);
    }
    for request in REQUESTS {
        rules.push(allow("ioctl", vec![masked(1, LOW, request)?])?);
    }
    let profile = LinuxSeccompBuilder::default()
        .default_action(Action::ScmpActErrno)
        .default_errno_ret(1u32)
        .syscalls(rules)
        .build()
        .map_err(spec)?;
    compile(&profile)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_compiles_and_is_small() {
        let program = filter(4711).unwrap();
        assert!(!program.listener);
        assert!(program.filter.len() < 250, "{}", program.filter.len());
    }

    #[test]
    fn nothing_that_makes_processes_sockets_or_mounts_is_on_the_list() {
        for call in [
            "execve", "execveat", "clone", "clone3", "fork", "socket", "connect", "ptrace", "pidfd_open",
            "mount",
        ] {
            assert!(plain().all(|p| p != call), "{call}");
        }
    }
}
