//! The floor: the least that any container start on this machine can cost.
//!
//! `floor ROOT PROGRAM [ARGUMENT]...` clones once into seven new namespaces (user, pid, mount, net, ipc, uts,
//! cgroup), maps one id, bind-mounts ROOT, mounts a procfs, pivots, executes PROGRAM, waits for it and ends with
//! its status. It protects nothing: no mask, no filter, no limit, no capability is dropped. The bench divides by
//! its time. It has no Rust runtime (`no_main`) and allocates nothing, so that only the kernel's work is left.
#![no_main]

use std::ffi::{CStr, c_char, c_int};
use std::mem::size_of;

const NAMESPACES: c_int = libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP;

/// The entry point of the C library's start code: `argv` holds `argc` strings and a null.
///
/// # Safety
///
/// Called once, by the start code.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn main(argc: c_int, argv: *const *const c_char) -> c_int {
    if argc < 3 {
        say(c"usage: floor ROOT PROGRAM [ARGUMENT]...\n");
        return 125;
    }
    // SAFETY: the system calls take nothing and can't fail; the start code passes `argc` strings and a null, and
    // argc was checked to be at least three.
    let (uid, root, program) = unsafe { (libc::geteuid(), *argv.add(1), argv.add(2)) };
    // SAFETY: clone_args is a plain structure of integers for which zero means "not asked for".
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = NAMESPACES as u64;
    args.exit_signal = libc::SIGCHLD as u64;
    // SAFETY: the structure is valid for the size passed, and without CLONE_VM the child has its own memory.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<libc::clone_args>()) };
    match pid {
        -1 => fail(c"floor: clone3 failed\n"),
        0 => child(uid, root, program),
        pid => wait(pid as libc::pid_t),
    }
}

/// Waits for the child and turns its end into an exit status.
fn wait(pid: libc::pid_t) -> c_int {
    let mut status = 0;
    // SAFETY: `status` is a valid place for the result.
    if unsafe { libc::waitpid(pid, &raw mut status, 0) } != pid {
        fail(c"floor: waitpid failed\n");
    }
    if libc::WIFSIGNALED(status) { 128 + libc::WTERMSIG(status) } else { libc::WEXITSTATUS(status) }
}

/// What happens inside: straight system calls.
fn child(uid: libc::uid_t, root: *const c_char, program: *const *const c_char) -> ! {
    map_own_id(uid);
    let none = std::ptr::null();
    // SAFETY: every pointer is a NUL-terminated string or the null that the call allows there; `program` is the
    // rest of argv, which ends with a null, as execve wants it.
    unsafe {
        if libc::mount(root, root, none, libc::MS_BIND | libc::MS_REC, none.cast()) != 0 {
            fail(c"floor: the bind mount of the root failed\n");
        }
        if libc::chdir(root) != 0 {
            fail(c"floor: the root can't be entered\n");
        }
        let proc = c"proc".as_ptr();
        let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
        if libc::mount(proc, proc, proc, flags, none.cast()) != 0 {
            fail(c"floor: the mount of procfs failed\n");
        }
        let here = c".".as_ptr();
        if libc::syscall(libc::SYS_pivot_root, here, here) != 0 || libc::umount2(here, libc::MNT_DETACH) != 0
        {
            fail(c"floor: pivot_root failed\n");
        }
        let environment: [*const c_char; 1] = [std::ptr::null()];
        libc::execve(*program, program, environment.as_ptr());
    }
    fail(c"floor: execve failed\n");
}

/// Writes `0 UID 1` to the new user namespace's map of user ids.
fn map_own_id(uid: libc::uid_t) {
    // "0 ", at most ten digits, " 1".
    let mut line = [0u8; 14];
    let mut at = line.len() - 2;
    line[at..].copy_from_slice(b" 1");
    let mut rest = uid;
    loop {
        at -= 1;
        line[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    at -= 2;
    line[at..at + 2].copy_from_slice(b"0 ");
    let line = &line[at..];
    // SAFETY: the path is NUL-terminated and the buffer is valid for its length.
    let written = unsafe {
        let map = libc::open(c"/proc/self/uid_map".as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        libc::write(map, line.as_ptr().cast(), line.len())
    };
    if written != line.len() as isize {
        fail(c"floor: the id map can't be written\n");
    }
}

fn say(what: &CStr) {
    // SAFETY: the buffer is valid for its length.
    unsafe { libc::write(2, what.as_ptr().cast(), what.count_bytes()) };
}

fn fail(what: &CStr) -> ! {
    say(what);
    // SAFETY: _exit takes any status.
    unsafe { libc::_exit(125) }
}
