//! Integrity: only the bytes of the root file system become code.
//!
//! **Stops** (`[integrity] exec = "enforce"`): a program that brings code of its own. The root is read-only and every
//! other mount `noexec`, so what was written is neither executed nor mapped as code, not by `ld.so FILE` either; memory
//! never gains the right to be executed (`PR_SET_MDWE`); the ways around files are closed by the filter (`memfd_create`,
//! `ptrace`, System V memory attached as code) and by a read-only procfs (`/proc/self/mem`); the standard streams are
//! no files that could be mapped; Landlock gives the right to execute to the root alone.
//!
//! **Can't stop**: code that an interpreter of the root reads as data (a script, `python -c`, a shell's standard input):
//! `SECBIT_EXEC_RESTRICT_FILE` is set for those interpreters that ask (Linux 6.14). Code that is put together from pieces
//! that are there (return-oriented programming). A descriptor that somebody outside passes in through a mounted socket.
//! Just-in-time compilers do not run: they write code.
//!
//! `PR_SET_MDWE` is Linux 6.3. Without it, or without Landlock, nothing starts.

use std::os::fd::BorrowedFd;

use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;

use crate::error::SpecError;
use crate::extensions::Extensions;
use crate::host::Host;
use crate::plan::{Draft, Layer, Op};

/// Where the specification asks for it.
const FIELD: &str = "annotations[org.donjon.extensions].no-new-code";

/// The steps, all after the last mount and before the filter.
pub(crate) fn plan(ext: &Extensions, host: &Host, draft: &mut Draft) -> Result<(), SpecError> {
    if !ext.no_new_code {
        return Ok(());
    }
    let refuse = |what: &str| Err(SpecError::new(Layer::Integrity, FIELD, what));
    if !ext.landlock || host.landlock_abi == 0 {
        return refuse("needs Landlock, which is switched off or missing here");
    }
    if !ext.syscalls.as_ref().is_some_and(|syscalls| syscalls.no_new_code) {
        return refuse("needs a filter of donjon's own that closes the ways around files");
    }
    if host.kernel < (6, 3) {
        return refuse("needs Linux 6.3, where memory can be kept from becoming code (PR_SET_MDWE)");
    }
    for (number, name) in [(0, "standard input"), (1, "standard output"), (2, "standard error")] {
        draft.add(Layer::Integrity, FIELD, Op::NoCodeOn { number, name });
    }
    draft.add(Layer::Integrity, FIELD, Op::NoNewCode);
    Ok(())
}

/// A descriptor of the caller's that the program gets must not be a file whose content it could map as code: the mount
/// that the file lies on is the host's.
pub(crate) fn no_code_on(number: i32) -> Result<(), Errno> {
    let streams = [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()];
    let stream: Option<&BorrowedFd<'_>> = usize::try_from(number).ok().and_then(|n| streams.get(n));
    let Some(stream) = stream else { return Err(Errno::BADF) };
    let kind = FileType::from_raw_mode(rustix::fs::fstat(stream)?.st_mode);
    if !matches!(kind, FileType::RegularFile | FileType::BlockDevice) {
        return Ok(());
    }
    let only_written = rustix::fs::fcntl_getfl(stream)? & OFlags::RWMODE == OFlags::WRONLY;
    if only_written { Ok(()) } else { Err(Errno::NOEXEC) }
}

/// Memory never gains the right to be executed; interpreters that ask are told to take files that may be executed.
pub(crate) fn no_new_code() -> Result<(), Errno> {
    donjon_sys::process::refuse_exec_gain()?;
    match donjon_sys::process::restrict_interpreters() {
        // Linux before 6.14.
        Err(Errno::PERM | Errno::INVAL) => Ok(()),
        other => other,
    }
}
