//! The guard: the second tie between a container and its warden.
//!
//! **The attack**: the kernel ends a container's first process with its warden (`PR_SET_PDEATHSIG`), but forgets that
//! when a thread other than the first executes a program, or when the process changes its ids: then the container
//! outlives a warden that was killed, and nobody records, answers or stops it any more. **The defence**: the process
//! that made the network namespace stays. It holds a descriptor of the first process and the end of a channel whose
//! other end only the warden has. When that closes, it kills the container, and ends.
//!
//! It can do nothing else: it has no descriptor but these two, its filter leaves it `read`, `pidfd_send_signal` and
//! `exit_group`, it can't be traced, and no process of the container sees it.
//!
//! **Can't stop**: somebody who kills the warden and the guard at once, when the container has also shaken off the
//! first tie. It stays confined.

use std::os::fd::BorrowedFd;

use donjon_sys::seccomp::SockFilter;
use rustix::io::Errno;
use rustix::process::Signal;

/// `linux/seccomp.h`, `linux/audit.h`
const ALLOW: u32 = 0x7fff_0000;
const KILL_PROCESS: u32 = 0x8000_0000;

const fn statement(code: u16, k: u32) -> SockFilter {
    SockFilter { code, jt: 0, jf: 0, k }
}

/// Skips to ALLOW, which comes after `rest` further instructions and the refusal, when the number is `nr`.
const fn call(nr: i64, rest: u8) -> SockFilter {
    SockFilter { code: 0x15, jt: rest + 1, jf: 0, k: nr as u32 }
}

const FILTER: [SockFilter; 9] = [
    // The architecture, then the number.
    statement(0x20, 4),
    SockFilter { code: 0x15, jt: 0, jf: 5, k: crate::layers::seccomp::AUDIT_ARCH },
    statement(0x20, 0),
    call(libc::SYS_read, 3),
    call(libc::SYS_pidfd_send_signal, 2),
    call(libc::SYS_exit_group, 1),
    call(libc::SYS_restart_syscall, 0),
    statement(0x06, KILL_PROCESS),
    statement(0x06, ALLOW),
];

/// Watches until the other end of `channel` is closed, then kills `container`. Returns the status to exit with.
pub(crate) fn watch(container: BorrowedFd<'_>, channel: BorrowedFd<'_>) -> u8 {
    if prepare(container, channel).is_err() {
        // A container without its guard is not what was asked for (R31): its maker sees it end.
        let _ = rustix::process::pidfd_send_signal(container, Signal::KILL);
        return 125;
    }
    let (stdin, stdout) = (rustix::stdio::stdin(), rustix::stdio::stdout());
    let mut byte = [0u8; 1];
    while let Ok(1..) | Err(Errno::INTR) = rustix::io::read(stdin, &mut byte) {}
    // That it has ended already is what is wanted.
    let _ = rustix::process::pidfd_send_signal(stdout, Signal::KILL);
    0
}

/// Puts the two descriptors where standard input and output were, closes all others, and confines itself.
fn prepare(container: BorrowedFd<'_>, channel: BorrowedFd<'_>) -> Result<(), Errno> {
    let channel = rustix::io::fcntl_dupfd_cloexec(channel, 3)?;
    let container = rustix::io::fcntl_dupfd_cloexec(container, 3)?;
    rustix::stdio::dup2_stdin(&channel)?;
    rustix::stdio::dup2_stdout(&container)?;
    donjon_sys::process::close_from(2)?;
    // Closed with the others just now.
    std::mem::forget((channel, container));
    // A signal to the warden's process group is not for it as well.
    rustix::process::setsid()?;
    donjon_sys::process::set_dumpable(false)?;
    donjon_sys::process::no_new_privs()?;
    donjon_sys::process::let_go_of_code();
    donjon_sys::seccomp::load(&FILTER, 0).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::seccomp::{AUDIT_ARCH, all, interpret};

    #[test]
    fn the_filter_leaves_four_calls_and_no_other_architecture() {
        for (nr, name) in all() {
            let answer =
                |arch| interpret::run(&FILTER, &interpret::Data { nr, arch, args: [0; 6] }).unwrap().0;
            let open = matches!(name, "read" | "pidfd_send_signal" | "exit_group" | "restart_syscall");
            assert_eq!(answer(AUDIT_ARCH), if open { ALLOW } else { KILL_PROCESS }, "{name}");
            assert_eq!(answer(0x4000_0003), KILL_PROCESS, "{name} of another architecture");
        }
    }
}
