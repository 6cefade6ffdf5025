//! SELinux: the context that the program runs in, from its first instruction on.
//!
//! **The attack**: as for AppArmor: the context is written into a file that only looks like procfs. **The defence**: it is
//! written through the private procfs handle (R4) and read back. The session keyring that is made for the program gets the
//! same context: the caller's would keep the program from its own keys. The context of new file systems
//! (`linux.mountLabel`) is a parameter of each, see `mounts`.
//!
//! **Can't stop**: what the machine's policy allows that context to do.
//!
//! A machine without SELinux refuses the start (R31).

use std::ffi::CStr;

use oci_spec::runtime::Process;
use rustix::io::Errno;

use super::mounts::handle;
use crate::child::Context;
use crate::error::SpecError;
use crate::plan::{Draft, Layer, Op};

/// The step that names the context for the next `execve`, and for a keyring that is made before it.
pub(crate) fn plan(process: &Process, keyring: bool, draft: &mut Draft) -> Result<(), SpecError> {
    let field = "process.selinuxLabel";
    let Some(label) = process.selinux_label().as_deref().filter(|l| !l.is_empty()) else { return Ok(()) };
    if label.len() > 1024 {
        return Err(SpecError::new(Layer::Selinux, field, "is longer than 1024 bytes"));
    }
    let label = SpecError::c_string(Layer::Selinux, field, label)?;
    draft.add(Layer::Selinux, field, Op::Selinux { label, keyring });
    Ok(())
}

/// Writes the context and looks whether the kernel took it. The `execve` forgets that of keyrings.
pub(crate) fn on_exec(ctx: &Context<'_>, label: &CStr, keyring: bool) -> Result<(), Errno> {
    set(ctx, c"attr/exec", label)?;
    match keyring {
        true => set(ctx, c"attr/keycreate", label),
        false => Ok(()),
    }
}

fn set(ctx: &Context<'_>, file: &CStr, label: &CStr) -> Result<(), Errno> {
    handle::write_own(ctx, file, label.to_bytes())?;
    let mut now = [0u8; 1152];
    let length = handle::read_own(ctx, file, &mut now)?;
    let now = now.get(..length).unwrap_or_default();
    let now = now.strip_suffix(b"\n").or(now.strip_suffix(b"\0")).unwrap_or(now);
    if now == label.to_bytes() { Ok(()) } else { Err(Errno::STALE) }
}
