//! The system calls that are left to the recorder.
//!
//! It is not under Landlock: a process under Landlock may look into nobody outside its own domain, and looking into the
//! container is what it is for. So it has given up more than the warden: its root is the container's, its rights are
//! those of the container's user namespace, and this filter leaves it no call that makes, changes or removes anything.
//! Files can be opened for reading alone, and there are none of the machine's: only its `/proc`.

use donjon_confine::layers::seccomp::{Program, SeccompError, compile, masked};
use oci_spec::runtime::{
    LinuxSeccompAction as Action, LinuxSeccompArg, LinuxSeccompBuilder, LinuxSyscallBuilder,
};

/// Calls without a condition: looking, waiting, memory, the end.
const PLAIN: [&str; 31] = [
    "poll", "ppoll", "read", "close", "process_vm_readv", "readlink", "readlinkat", "newfstatat", "fstat",
    "statx", "getdents64", "lseek", "brk", "munmap", "mremap", "madvise", "clock_gettime", "gettimeofday",
    "getrandom", "futex", "sched_yield", "rt_sigreturn", "rt_sigprocmask", "rt_sigaction", "sigaltstack",
    "restart_syscall", "getpid", "gettid", "exit_group", "nanosleep", "clock_nanosleep",
];
/// RECV, SEND and ID_VALID of the listener.
const REQUESTS: [u64; 3] = [0xc050_2100, 0xc018_2101, 0x4008_2102];
const LOW: u64 = 0xffff_ffff;
const PROT_EXEC: u64 = 4;
/// `O_ACCMODE`, `O_CREAT`, `O_TRUNC`.
const NOT_READING: u64 = 0o1103;

/// Compiles it; `report` is the descriptor that may be written to.
pub fn filter(report: u64) -> Result<Program, SeccompError> {
    let spec = |e: oci_spec::OciSpecError| SeccompError::Spec(e.to_string());
    let rule = |names: &[&str], args: Vec<LinuxSeccompArg>| {
        let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
        let mut rule = LinuxSyscallBuilder::default().names(names).action(Action::ScmpActAllow);
        if !args.is_empty() {
            rule = rule.args(args);
        }
        rule.build().map_err(spec)
    };
    let mut rules = vec![
        rule(&PLAIN, Vec::new())?,
        rule(&["write"], vec![masked(0, LOW, report)?])?,
        rule(&["openat"], vec![masked(2, NOT_READING, 0)?])?,
        rule(&["open"], vec![masked(1, NOT_READING, 0)?])?,
        rule(&["mmap", "mprotect"], vec![masked(2, PROT_EXEC, 0)?])?,
        rule(&["fcntl"], vec![masked(1, LOW, 3)?])?,
    ];
    for request in REQUESTS {
        rules.push(rule(&["ioctl"], vec![masked(1, LOW, request)?])?);
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
    use donjon_confine::layers::seccomp::interpret::{Data, Verdict, verdict};
    use donjon_confine::layers::seccomp::{AUDIT_ARCH, number};

    use super::*;

    #[test]
    fn nothing_is_left_that_changes_anything() {
        let program = filter(7).unwrap();
        let says = |name: &str, args| {
            verdict(&program.filter, &Data { nr: number(name).unwrap(), arch: AUDIT_ARCH, args })
                == Verdict::Allow
        };
        for name in [
            "execve", "clone", "clone3", "fork", "socket", "connect", "ptrace", "process_vm_writev",
            "unlinkat", "renameat2", "mkdirat", "ftruncate", "fchmodat", "kill", "pidfd_send_signal",
            "pidfd_getfd", "setns", "chroot", "mount", "bpf", "dup2", "openat2", "sendmsg", "prctl",
        ] {
            assert!(!says(name, [0; 6]), "{name}");
        }
        assert!(says("write", [7, 0, 0, 0, 0, 0]) && !says("write", [1, 0, 0, 0, 0, 0]));
        assert!(says("openat", [0, 0, 0o2_000_000, 0, 0, 0]));
        for flags in [1, 2, 0o100, 0o1000, 0o20_200_002] {
            assert!(!says("openat", [0, 0, flags, 0, 0, 0]), "{flags:o}");
        }
        assert!(!says("mmap", [0, 0, 7, 0, 0, 0]) && says("mmap", [0, 0, 3, 0, 0, 0]));
        assert!(says("ioctl", [0, 0xc018_2101, 0, 0, 0, 0]) && !says("ioctl", [0, 0x5412, 0, 0, 0, 0]));
    }
}
