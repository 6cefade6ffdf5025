//! One file per isolation mechanism, named as the kernel's documentation names it.
//!
//! Each has a pure half, which turns its part of the specification into steps, and a half that executes them in
//! the child: straight system calls, no allocation, no decision.

pub mod apparmor;
pub mod capabilities;
pub mod cgroups;
pub mod descriptors;
pub mod devices;
pub mod identity;
pub mod integrity;
pub mod intel_rdt;
pub mod keyring;
pub mod landlock;
pub mod lifecycle;
pub mod limits;
pub mod mounts;
pub mod namespaces;
pub mod net_devices;
pub mod overlay;
pub mod program;
pub mod rootfs;
pub mod scheduling;
pub mod seccomp;
pub mod selinux;
