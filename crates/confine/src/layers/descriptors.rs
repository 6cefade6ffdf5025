//! File descriptors: nothing of the host is open when the program starts (R6).
//!
//! **Stops**: the escape through a descriptor that was left open (a host directory, the runtime's own state, the
//! cgroup tree). Everything above standard error is marked close-on-exec in one call, whatever it is and wherever
//! it came from. And what is the host's is closed long before: at its first instruction the process lets go of everything
//! that its maker had open and that it does not work with, and while it waits for `start` it holds nothing but the socket
//! that it waits at. A neighbour who may trace it finds no directory of the host in it.
//!
//! **Can't stop**: what standard input, output and error themselves are. Without `-t` they are the caller's.

use std::os::fd::{AsFd, AsRawFd};

use rustix::io::Errno;

use crate::child::Context;
use crate::plan::{Draft, Layer, Op};
use oci_spec::runtime::Process;

/// Standard input, output and error come from the caller unless the process has a terminal of its own.
pub(crate) fn plan_stdio(process: &Process, draft: &mut Draft) {
    if !process.terminal().unwrap_or(false) {
        draft.add(Layer::Descriptors, "process.terminal", Op::Stdio);
    }
}

/// The step that lets the program of an engine's container open its standard input, output and error again, by
/// `/proc/self/fd`: they belong to whoever runs the engine.
pub(crate) fn plan_stdio_owner(process: &Process, draft: &mut Draft) {
    let uid = process.user().uid();
    draft.add(Layer::Descriptors, "process.user.uid", Op::StdioOwner { uid });
}

/// Gives them to user `uid`. The null device stays root's, and what can't be given away stays as it is: a file of somebody
/// who is not mapped, a read-only file system, a socket that has no owner.
pub(crate) fn stdio_owner(uid: u32) -> Result<(), Errno> {
    use rustix::fs::{FileType, Uid, fchown, fstat, major, minor};
    for fd in [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()] {
        let stat = match fstat(fd) {
            Err(Errno::BADF) => continue,
            other => other?,
        };
        let null = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
            && (major(stat.st_rdev), minor(stat.st_rdev)) == (1, 3);
        if null || stat.st_uid == uid {
            continue;
        }
        match fchown(fd, Some(Uid::from_raw(uid)), None) {
            Ok(()) | Err(Errno::INVAL | Errno::PERM | Errno::ROFS | Errno::OPNOTSUPP) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// The last step before the filter: descriptors from `keep` on go.
pub(crate) fn plan_close(keep: u32, draft: &mut Draft) {
    draft.add(Layer::Descriptors, "", Op::CloseDescriptors { keep });
}

/// Closes everything but the descriptors below `first` and those of `kept`, which is sorted on the way. Allocates nothing.
pub(crate) fn close_others(first: u32, kept: &mut [u32]) -> Result<(), Errno> {
    kept.sort_unstable();
    let mut from = first;
    for fd in kept.iter().copied().filter(|fd| *fd >= first) {
        if fd > from {
            donjon_sys::process::close_between(from, fd - 1)?;
        }
        from = fd + 1;
    }
    donjon_sys::process::close_between(from, u32::MAX)
}

/// The number of a descriptor, for [`close_others`].
pub(crate) fn number(fd: &impl AsFd) -> u32 {
    fd.as_fd().as_raw_fd().unsigned_abs()
}

/// Puts the caller's three descriptors in their places.
pub(crate) fn stdio(ctx: &Context<'_>) -> Result<(), Errno> {
    let Some([stdin, stdout, stderr]) = ctx.from.stdio else { return Ok(()) };
    rustix::stdio::dup2_stdin(stdin)?;
    rustix::stdio::dup2_stdout(stdout)?;
    rustix::stdio::dup2_stderr(stderr)
}
