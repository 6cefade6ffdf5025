//! What a program does, written down while it runs: for `donjon learn`.
//!
//! ```text
//! donjon learn ──fork──► donjon run: the warden ──clone──► the container, under a filter that reports
//!      ▲                      │                                  │ system call
//!      │                      └──fork──► the recorder ◄──────────┘ listener
//!      └────── one report, at the end ───┘
//! ```
//!
//! The container's filter is replaced by one that reports every call that says something
//! ([`donjon_confine::layers::seccomp::observe`]). [`recorder`] answers each with what the container's own filter says:
//! nothing is opened that a run without it would refuse. In between it looks at what the call is about: it reads the
//! path or address from the caller's memory and follows it in the container's own root.
//!
//! **Can't see**: whether a call succeeded (the kernel does it after the answer); a path that another thread changes
//! between the look and the kernel's own; what is done with descriptors that are open already or came through a socket;
//! memory-mapped writes; calls without a right of their own, which are let through unreported. Nothing of this is a
//! decision: the walls stand as they stand for any container, and what is learnt is a draft for a person to read.
//!
//! Needs what the listener of any container needs (Linux 5.0); from 6.6 on it is several times faster.

pub mod calls;
mod capabilities;
mod filter;
mod interpreters;
mod memory;
pub mod outside;
mod paths;
mod peaks;
pub mod recorder;
pub mod report;

pub use report::Report;
