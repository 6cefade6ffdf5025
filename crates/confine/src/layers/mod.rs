//! One file per isolation mechanism, named as the kernel's documentation names it.

pub mod seccomp;
