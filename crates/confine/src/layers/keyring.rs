//! Keyrings: the caller's keys stay the caller's.
//!
//! **Stops**: a program that reads or uses keys of the caller's session keyring (Kerberos tickets, disk keys,
//! fscrypt keys). The container gets a new, empty session keyring, and the filter denies `keyctl`.
//!
//! **Can't stop**: the per-user keyring is the user namespace's own, so nothing of the host's is left to reach.

use crate::plan::{Draft, Layer, Op};

/// One step: a new session keyring.
pub(crate) fn plan(draft: &mut Draft) {
    draft.add(Layer::Keyring, "", Op::SessionKeyring);
}

/// Joins it. A kernel without keyrings (ENOSYS) has none to leak.
pub(crate) fn session_keyring() -> Result<(), rustix::io::Errno> {
    match donjon_sys::process::join_session_keyring() {
        Err(rustix::io::Errno::NOSYS) => Ok(()),
        other => other,
    }
}
