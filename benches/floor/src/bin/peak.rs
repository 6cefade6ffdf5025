//! `peak PROGRAM [ARGUMENT]...` runs a program and writes its peak resident memory, its children's included, in
//! kilobytes on the standard error.
//!
//! A program of its own and without a Rust runtime, because the kernel counts what the *forking* process held
//! before the exec to the new program's peak: a larger parent would measure itself.
#![no_main]

use std::ffi::{c_char, c_int};

unsafe extern "C" {
    static environ: *const *const c_char;
    fn dprintf(descriptor: c_int, format: *const c_char, ...) -> c_int;
}

/// The entry point of the C library's start code.
///
/// # Safety
///
/// Called once, by the start code.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn main(argc: c_int, argv: *const *const c_char) -> c_int {
    if argc < 2 {
        return 125;
    }
    // SAFETY: argv holds argc (at least two) strings and a null; the child shares no memory with its parent; the
    // places for the results are valid; rusage is a plain structure of integers.
    unsafe {
        let pid = libc::fork();
        if pid == 0 {
            libc::execve(*argv.add(1), argv.add(1), environ);
            libc::_exit(127);
        }
        let mut status = 0;
        let mut usage: libc::rusage = std::mem::zeroed();
        if libc::wait4(pid, &raw mut status, 0, &raw mut usage) != pid {
            return 125;
        }
        dprintf(2, c"peak %ld\n".as_ptr(), usage.ru_maxrss);
        if libc::WIFSIGNALED(status) { 128 + libc::WTERMSIG(status) } else { libc::WEXITSTATUS(status) }
    }
}
