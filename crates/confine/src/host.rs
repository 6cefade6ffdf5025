//! One probe of what this kernel and this user can do, taken once.
//!
//! [`Host::probe`] takes only what every start needs (a few system calls, nothing from `/proc`); the rest is
//! asked for by `donjon doctor`.

use serde::Serialize;

/// What this kernel and this user can do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Host {
    /// Effective user id of the caller.
    pub uid: u32,
    /// Effective group id of the caller.
    pub gid: u32,
    /// Kernel release, major and minor.
    pub kernel: (u32, u32),
    /// Landlock ABI version; 0 when the kernel has none or it is not enabled.
    pub landlock_abi: u32,
}
