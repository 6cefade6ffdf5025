//! `[integrity] exec = "enforce"` beside everything else that a policy says: what contradicts it is refused, as one of
//! the two would have to be passed over.

use donjon_confine::layers::seccomp::policy::NEW_CODE;

use crate::error::PolicyError;
use crate::model::Policy;

/// Refuses a policy that opens what integrity closes.
pub(super) fn check(policy: &Policy) -> Result<(), PolicyError> {
    let refuse = |key: &[&str], what: String| {
        let hint = "leave it out, or write [integrity] exec = \"off\" (--integrity off)";
        Err(PolicyError::new(format!("the policy's {}", key.join(".")), what).at_key(key).hint(hint))
    };
    if policy.filesystem.landlock == Some(false) || policy.best_effort.iter().any(|layer| layer == "landlock")
    {
        return refuse(&["filesystem", "landlock"], "is needed where integrity is enforced".into());
    }
    if policy.syscalls.profile.is_some() {
        let what =
            "is somebody else's filter, and integrity needs one that is known to close the ways to new code";
        return refuse(&["syscalls", "profile"], what.into());
    }
    if let Some(call) = policy.syscalls.allow.iter().find(|call| NEW_CODE.contains(&call.as_str())) {
        return refuse(
            &["syscalls", "allow"],
            format!("allows {call}, which brings code in, and integrity is enforced"),
        );
    }
    if let Some(mount) = policy.mounts.iter().find(|mount| mount.exec == Some(true)) {
        let what = format!(
            "lets programs of {} be executed, and integrity is enforced: only the root's are",
            mount.target
        );
        return refuse(&["mounts"], what);
    }
    if let Some(path) = policy.filesystem.unmask.iter().find(|path| *path == "/proc") {
        return refuse(
            &["filesystem", "unmask"],
            format!("names {path}, where memory is a file, and integrity is enforced"),
        );
    }
    Ok(())
}
