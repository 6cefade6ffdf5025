//! AppArmor: the profile that the program runs under, from its first instruction on.
//!
//! **The attack**: the runtime writes the profile's name into a file that only looks like procfs, and the program runs
//! without one. **The defence**: it is written through the private procfs handle (R4) and read back; the kernel puts it in
//! force at the next `execve`, which is the program's.
//!
//! **Can't stop**: a profile that is too wide, or is changed later by whoever may load profiles.
//!
//! A machine without AppArmor, or without that profile, refuses the start (R31).

use std::ffi::{CStr, CString};

use oci_spec::runtime::Process;
use rustix::io::Errno;

use super::mounts::handle;
use crate::child::Context;
use crate::error::SpecError;
use crate::plan::{Draft, Layer, Op};

/// The step that names the profile for the next `execve`.
pub(crate) fn plan(process: &Process, draft: &mut Draft) -> Result<(), SpecError> {
    let field = "process.apparmorProfile";
    let Some(profile) = process.apparmor_profile().as_deref().filter(|p| !p.is_empty()) else {
        return Ok(());
    };
    if profile.len() > 1024 || profile.contains(|c: char| c.is_whitespace()) {
        let what = "holds a space, or is longer than 1024 bytes";
        return Err(SpecError::new(Layer::Apparmor, field, what));
    }
    let command: CString = SpecError::c_string(Layer::Apparmor, field, format!("exec {profile}"))?;
    draft.add(Layer::Apparmor, field, Op::Apparmor { command });
    Ok(())
}

/// Writes `exec PROFILE` and looks whether the kernel took it.
pub(crate) fn on_exec(ctx: &Context<'_>, command: &CStr) -> Result<(), Errno> {
    let profile = command.to_bytes().strip_prefix(b"exec ").ok_or(Errno::INVAL)?;
    // The second is the older name, from before two modules could be active at once (Linux 5.8).
    for file in [c"attr/apparmor/exec", c"attr/exec"] {
        match handle::write_own(ctx, file, command.to_bytes()) {
            Err(Errno::NOENT) => continue,
            other => other?,
        }
        let mut now = [0u8; 1152];
        let length = handle::read_own(ctx, file, &mut now)?;
        // The mode follows in parentheses. A name that is relative to a namespace or a stack of names reads otherwise.
        let relative = matches!(profile.first(), Some(b':' | b'&'));
        let taken =
            now.get(..length).is_some_and(|now| now.starts_with(profile) || relative && !now.is_empty());
        return if taken { Ok(()) } else { Err(Errno::STALE) };
    }
    Err(Errno::OPNOTSUPP)
}
