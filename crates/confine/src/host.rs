//! One probe of what this kernel and this user can do, taken once.
//!
//! [`Host::probe`] takes only what every start needs (a few system calls, nothing from `/proc`); the rest is
//! asked for by `donjon doctor`.

use serde::Serialize;

use crate::layers::cgroups::Hierarchy;
use crate::layers::seccomp::Ready;

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
    /// Whether the machine's audit log can be read, where Landlock writes what it refused (ABI 7).
    pub reads_audit: bool,
    /// Filters that are ready.
    #[serde(skip)]
    pub filters: &'static [Ready],
    /// Where cgroups can be made.
    pub cgroups: Hierarchy,
}

impl Host {
    /// Asks for what every start needs: two system calls. No privilege is needed; what can't be asked counts as
    /// missing.
    pub fn probe() -> Self {
        let release = rustix::system::uname().release().to_string_lossy().into_owned();
        let mut numbers = release.split(['.', '-']).map(|n| n.parse().unwrap_or(0));
        Self {
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            kernel: (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)),
            landlock_abi: donjon_sys::landlock::abi(),
            reads_audit: rustix::fs::access(c"/var/log/audit/audit.log", rustix::fs::Access::READ_OK).is_ok(),
            filters: &[],
            cgroups: Hierarchy::probe(),
        }
    }
}
