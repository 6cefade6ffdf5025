//! `--security-opt WORD`.

use super::WordError;
use crate::model::Policy;

/// Adds what `--security-opt` says to a layer of policy.
pub fn security_opt(word: &str, policy: &mut Policy) -> Result<(), WordError> {
    let (key, value) = word.split_once(['=', ':']).unwrap_or((word, ""));
    let paths = || -> Result<Vec<String>, WordError> {
        value
            .split([':', ','])
            .map(|p| match p.starts_with('/') && p.len() > 1 {
                true => Ok(p.to_string()),
                false => Err(format!("{word:?}: {p:?} is no absolute path below /")),
            })
            .collect()
    };
    match (key, value) {
        ("no-new-privileges", "" | "true") => Ok(()),
        ("no-new-privileges", _) => Err("no_new_privs is always on and can't be switched off".to_string()),
        ("seccomp", "unconfined") => {
            Err("there is no container without a filter; allow the calls that it needs: --syscall NAME"
                .to_string())
        }
        ("seccomp", "") => Err("seccomp=FILE: name a profile".to_string()),
        ("seccomp", _) if policy.syscalls.profile.is_some() => {
            Err("seccomp= is given twice: name one profile".to_string())
        }
        ("seccomp", file) => {
            policy.syscalls.profile = Some(file.to_string());
            Ok(())
        }
        ("mask", _) => {
            policy.filesystem.hide.extend(paths()?);
            Ok(())
        }
        ("unmask", _) => {
            policy.filesystem.unmask.extend(paths()?);
            Ok(())
        }
        ("apparmor" | "label", _) => Err(format!(
            "{key}: a policy file names an AppArmor profile or an SELinux context, under [lsm]; Landlock is each container's policy"
        )),
        _ => Err(format!("{word:?}: there are no-new-privileges, seccomp=FILE, mask=PATHS, unmask=PATHS")),
    }
}
