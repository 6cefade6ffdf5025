//! A filter that reports what a container does instead of refusing: for `donjon learn`.
//!
//! **It decides nothing.** Every call that says something about what a program needs is reported to a listener, which
//! writes it down and answers with what the container's own filter says ([`super::interpret`]). So nothing is opened
//! that the container's filter does not open.
//!
//! A report costs two switches of process, which a program that reads and writes all day would feel. Calls that work on
//! what is open already, wait, or tell the time carry no right of their own; these [`UNREPORTED`] ones are let through,
//! and a learnt policy allows all of them that can matter to the program. Everything else is reported each time.

use oci_spec::runtime::{
    LinuxSeccompAction as Action, LinuxSeccompArg, LinuxSeccompBuilder, LinuxSyscall, LinuxSyscallBuilder,
};

use super::interpret::{Data, Verdict, verdict};
use super::{AUDIT_ARCH, Program, SeccompError, compile, masked, number};

/// Calls that are let through unreported where the container's filter allows them whatever their arguments are: made
/// often, by nearly every program, and without a right of their own.
pub const UNREPORTED: &[&str] = &[
    "read", "write", "readv", "writev", "pread64", "pwrite64", "lseek", "close", "fstat", "newfstatat",
    "statx", "stat", "lstat", "access", "readlink", "getdents64", "fcntl", "poll", "pselect6", "epoll_wait",
    "epoll_pwait", "epoll_ctl", "recvfrom", "recvmsg", "sendmsg", "mmap", "munmap", "mremap", "mprotect",
    "madvise", "brk", "futex", "sched_yield", "clock_gettime", "clock_nanosleep", "getrandom",
    "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "restart_syscall", "getpid", "gettid", "exit",
    "exit_group",
];

/// Calls that are let through for these arguments alone: `sendto` without an address, and the requests of `ioctl` that
/// ask a terminal or a descriptor for its settings (TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIOCLEX).
pub const UNREPORTED_IOCTLS: [u64; 5] = [0x5401, 0x5413, 0x541b, 0x5421, 0x5451];

const ENOSYS: u32 = libc::ENOSYS as u32;
const LOW: u64 = 0xffff_ffff;

/// The filter that reports what `own`, the container's own filter, decides.
pub fn program(own: &Program) -> Result<Program, SeccompError> {
    let says = |nr: u32, args: [u64; 6]| verdict(&own.filter, &Data { nr, arch: AUDIT_ARCH, args });
    let allowed =
        |name: &str, args: [u64; 6]| number(name).is_some_and(|nr| says(nr, args) == Verdict::Allow);
    let unreported: Vec<String> =
        UNREPORTED.iter().filter(|name| allowed(name, [0; 6])).map(|name| name.to_string()).collect();
    let mut rules = vec![rule(unreported.clone(), Action::ScmpActAllow, None, Vec::new())?];
    if allowed("sendto", [0; 6]) {
        rules.push(rule(vec!["sendto".into()], Action::ScmpActAllow, None, vec![masked(4, !0, 0)?])?);
    }
    for request in UNREPORTED_IOCTLS.iter().filter(|request| allowed("ioctl", [0, **request, 0, 0, 0, 0])) {
        rules.push(rule(vec!["ioctl".into()], Action::ScmpActAllow, None, vec![masked(1, LOW, *request)?])?);
    }
    // So that the C library falls back to clone, whose flags can be seen.
    rules.push(rule(vec!["clone3".into()], Action::ScmpActErrno, Some(ENOSYS), Vec::new())?);
    let reported = super::all_names()
        .filter(|name| *name != "clone3" && !unreported.iter().any(|other| other == name))
        .map(str::to_string)
        .collect();
    rules.push(rule(reported, Action::ScmpActNotify, None, Vec::new())?);
    let profile = LinuxSeccompBuilder::default()
        .default_action(Action::ScmpActErrno)
        .default_errno_ret(ENOSYS)
        .syscalls(rules)
        .build()
        .map_err(|e| SeccompError::Spec(e.to_string()))?;
    compile(&profile)
}

fn rule(
    names: Vec<String>,
    action: Action,
    errno: Option<u32>,
    args: Vec<LinuxSeccompArg>,
) -> Result<LinuxSyscall, SeccompError> {
    let mut rule = LinuxSyscallBuilder::default().names(names).action(action);
    if let Some(errno) = errno {
        rule = rule.errno_ret(errno);
    }
    if !args.is_empty() {
        rule = rule.args(args);
    }
    rule.build().map_err(|e| SeccompError::Spec(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::super::policy::NEEDED;
    use super::super::{SyscallPolicy, profile};
    use super::*;

    fn own(allow: &[&str]) -> Program {
        let words = SyscallPolicy {
            allow: allow.iter().map(|word| word.to_string()).collect(),
            families: vec!["unix".into(), "inet".into()],
            squash: true,
            record: true,
            ..SyscallPolicy::default()
        };
        compile(&profile(&words).unwrap()).unwrap()
    }

    #[test]
    fn the_reporting_filter_never_lets_a_call_through_that_the_containers_own_does_not() {
        for allow in [&["@default"][..], &["@basic-io", "@process", "@network-io", "@aio"]] {
            let own = own(allow);
            let reporting = program(&own).unwrap();
            assert!(reporting.listener);
            for nr in 0..1100 {
                for first in [0u64, 1, 2, 10, 16, 17, 0x5401, 0x5412, 0x1000_0000, u64::MAX] {
                    for second in [0u64, 0x5401, 0x5412, 0x541c, 0x5423, 0x6000] {
                        let data = Data { nr, arch: AUDIT_ARCH, args: [first, second, 0, 0, first, 0] };
                        if verdict(&reporting.filter, &data) == Verdict::Allow {
                            assert_eq!(
                                verdict(&own.filter, &data),
                                Verdict::Allow,
                                "{nr} {first:#x} {second:#x}"
                            );
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn what_the_own_filter_pretends_is_reported_to_be_pretended() {
        let own = own(&["@default"]);
        for name in ["setgid", "chown", "setgroups"] {
            let data = Data { nr: number(name).unwrap(), arch: AUDIT_ARCH, args: [0; 6] };
            assert_eq!(verdict(&own.filter, &data), Verdict::Pretend, "{name}");
            assert_eq!(verdict(&program(&own).unwrap().filter, &data), Verdict::Report, "{name}");
        }
    }

    #[test]
    fn what_happens_between_the_filter_and_the_program_waits_for_nobody() {
        let reporting = program(&own(&["@default"])).unwrap();
        // execve is answered by the learner, which listens by then.
        for name in NEEDED.iter().filter(|name| **name != "execve") {
            let data = Data { nr: number(name).unwrap(), arch: AUDIT_ARCH, args: [0; 6] };
            assert_eq!(verdict(&reporting.filter, &data), Verdict::Allow, "{name}");
        }
    }

    #[test]
    fn names_of_the_list_are_calls_and_those_that_open_something_are_reported() {
        let reporting = program(&own(&["@default"])).unwrap();
        let of = |name: &str, args| {
            verdict(&reporting.filter, &Data { nr: number(name).unwrap(), arch: AUDIT_ARCH, args })
        };
        assert!(UNREPORTED.iter().all(|name| number(name).is_some()));
        for name in [
            "openat", "execve", "socket", "connect", "prctl", "clone", "unlinkat", "mount", "chown", "ptrace",
        ] {
            assert_eq!(of(name, [0; 6]), Verdict::Report, "{name}");
        }
        assert_eq!(of("sendto", [3, 0, 0, 0, 0x7fff_0000_0000, 16]), Verdict::Report);
        assert_eq!(of("ioctl", [0, 0x5412, 0, 0, 0, 0]), Verdict::Report);
        assert_eq!(of("clone3", [0; 6]), Verdict::Errno(rustix::io::Errno::NOSYS));
    }
}
