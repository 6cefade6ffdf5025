//! The system calls that rustix lacks, thin and documented: the only unsafe code of donjon.
//!
//! Everything here may be called between clone and exec: no allocation, no lock, no panic, unless its
//! documentation says otherwise. Each function takes and returns what the kernel does, with errors as
//! [`rustix::io::Errno`].

#[cfg(not(target_os = "linux"))]
compile_error!("donjon is made of Linux's own mechanisms and builds on Linux alone");

pub mod bpf;
pub mod clone;
pub mod landlock;
pub mod mount;
pub mod process;
pub mod ptrace;
pub mod scheduling;
pub mod seccomp;
