//! The three Landlock system calls.
//!
//! Thin on purpose: rules are added after the last mount, by a process that may not allocate, with masks that
//! were computed for the kernel's ABI before. See `man 7 landlock` and
//! `Documentation/userspace-api/landlock.rst`.

use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

use crate::clone::check;

/// What a ruleset handles; `struct landlock_ruleset_attr` of ABI 6.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RulesetAttr {
    /// File system access rights that are denied unless a rule grants them.
    pub fs: u64,
    /// TCP access rights likewise (ABI 4).
    pub net: u64,
    /// Scopes: abstract unix sockets, signals (ABI 6).
    pub scoped: u64,
}

#[repr(C, packed)]
struct PathBeneath {
    allowed: u64,
    parent: i32,
}

const CREATE_RULESET_VERSION: u32 = 1;
const RULE_PATH_BENEATH: u32 = 1;

/// The kernel's Landlock ABI version; 0 when it has none or it is not enabled.
pub fn abi() -> u32 {
    // SAFETY: with the VERSION flag no memory is read or written.
    let version = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<RulesetAttr>(),
            0usize,
            CREATE_RULESET_VERSION,
        )
    };
    u32::try_from(version).unwrap_or(0)
}

/// Creates a ruleset. Every bit of `attr` must be known to the kernel's ABI; older ABIs get a shorter structure.
pub fn create_ruleset(attr: &RulesetAttr) -> Result<OwnedFd, Errno> {
    let size = if attr.scoped != 0 {
        size_of::<RulesetAttr>()
    } else if attr.net != 0 {
        size_of::<u64>() * 2
    } else {
        size_of::<u64>()
    };
    // SAFETY: `attr` is valid for the size passed; the kernel only reads it.
    let fd = check(unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::from_ref(attr), size, 0u32)
    })?;
    // SAFETY: the call returned a new descriptor that nothing else owns; it is close-on-exec.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Grants `allowed` to everything below `parent` (an `O_PATH` descriptor of a directory or file).
pub fn add_path_beneath(ruleset: BorrowedFd<'_>, parent: BorrowedFd<'_>, allowed: u64) -> Result<(), Errno> {
    let rule = PathBeneath { allowed, parent: parent.as_raw_fd() };
    // SAFETY: `rule` is a valid landlock_path_beneath_attr; the kernel only reads it.
    check(unsafe {
        libc::syscall(
            libc::SYS_landlock_add_rule,
            ruleset.as_raw_fd(),
            RULE_PATH_BENEATH,
            &raw const rule,
            0u32,
        )
    })?;
    Ok(())
}

/// `LANDLOCK_RESTRICT_SELF_LOG_NEW_EXEC_ON` (ABI 7): what is refused after the next exec is written to the audit log.
pub const LOG_NEW_EXEC: u32 = 1 << 1;

/// Puts the calling thread under the ruleset, for good. Needs `no_new_privs` or `CAP_SYS_ADMIN`.
pub fn restrict_self(ruleset: BorrowedFd<'_>, flags: u32) -> Result<(), Errno> {
    // SAFETY: takes a descriptor and flags, no memory.
    check(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), flags) })?;
    Ok(())
}
