//! File descriptors: nothing of the host is open when the program starts (R6).
//!
//! **Stops**: the escape through a descriptor that was left open (a host directory, the runtime's own state, the
//! cgroup tree). Everything above standard error is marked close-on-exec in one call, whatever it is and wherever
//! it came from.
//!
//! **Can't stop**: what standard input, output and error themselves are. Without `-t` they are the caller's.

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

/// The last step before the filter: descriptors from `keep` on go.
pub(crate) fn plan_close(keep: u32, draft: &mut Draft) {
    draft.add(Layer::Descriptors, "", Op::CloseDescriptors { keep });
}

/// Puts the caller's three descriptors in their places.
pub(crate) fn stdio(ctx: &Context<'_>) -> Result<(), Errno> {
    let Some([stdin, stdout, stderr]) = ctx.stdio else { return Ok(()) };
    rustix::stdio::dup2_stdin(stdin)?;
    rustix::stdio::dup2_stdout(stdout)?;
    rustix::stdio::dup2_stderr(stderr)
}
