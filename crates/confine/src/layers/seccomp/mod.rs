//! seccomp: which system calls exist for the container.
