//! What would open the house if it were mounted in.
//!
//! **The attack**: a socket of a container engine, a home directory with its keys, the whole of `/etc`: whoever can
//! reach one inside needs no kernel bug. **The defence**: such sources are refused, by their canonical paths, unless
//! `--allow-mount` names exactly that path; donjon's own state can't be named at all, and the policies in force
//! lie outside of everything that the container may write (R24).

use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use crate::error::PolicyError;
use crate::spec::Caller;

/// Directories of the system that are refused themselves; what lies below is judged on its own.
const SYSTEM: &[(&str, &str)] = &[
    ("/", "the whole machine"),
    ("/proc", "the host's processes"),
    ("/sys", "the host's devices and kernel settings"),
    ("/dev", "the host's devices; give single ones with --device"),
    ("/etc", "the host's configuration and credentials"),
    ("/boot", "the host's kernel"),
    ("/root", "root's home directory"),
    ("/run", "sockets of the host's services"),
    ("/var/run", "sockets of the host's services"),
    ("/var", "the host's data, with sockets and logs of its services"),
    ("/var/lib", "the data of the host's services"),
    ("/home", "everybody's home directory"),
    ("/tmp", "temporary files and sockets of every user"),
    ("/var/tmp", "temporary files of every user"),
    ("/usr", "the host's programs"),
    ("/lib", "the host's programs"),
    ("/mnt", "other disks of the host"),
    ("/media", "other disks of the host"),
];

/// Trees of the system that are refused with everything below.
const TREES: &[(&str, &str)] = &[
    ("/proc", "the host's processes"),
    ("/sys", "the host's devices and kernel settings"),
    ("/dev", "the host's devices; give single ones with --device"),
    ("/etc/ssl/private", "private keys"),
    ("/var/lib/docker", "an engine's images and containers"),
    ("/var/lib/containers", "an engine's images and containers"),
    ("/var/lib/containerd", "an engine's images and containers"),
];

/// What is kept in a home directory and is nobody else's.
const IN_HOME: &[&str] = &[
    ".ssh", ".aws", ".kube", ".gnupg", ".docker", ".azure", ".config", ".config/gcloud",
    ".config/containers", ".local", ".local/share", ".netrc", ".password-store", ".mozilla",
    ".git-credentials", ".npmrc", ".pypirc", ".cargo/credentials.toml", ".bash_history", ".vault-token",
];

/// Sockets through which a container would be its host's master.
const SOCKETS: &[&str] = &[
    "docker.sock", "podman.sock", "containerd.sock", "crio.sock", "buildkitd.sock", "lxd.socket",
    "unix.socket",
];

/// Returns the canonical path of a mount's source, or why it is refused. `allowed` are the paths that
/// `--allow-mount` named.
pub fn check(source: &str, allowed: &[String], caller: &Caller) -> Result<PathBuf, PolicyError> {
    let place = format!("mount {source}");
    let path = std::fs::canonicalize(source).map_err(|e| {
        PolicyError::new(&place, crate::load::reason(&e))
            .hint("the source of a mount must exist on this machine")
    })?;
    for own in &caller.own {
        if path.starts_with(own) || own.starts_with(&path) {
            return Err(PolicyError::new(&place, "holds donjon's own state: no container may reach it")
                .hint("this can't be allowed; mount a smaller directory"));
        }
    }
    if path == Path::new("/") {
        return Err(PolicyError::new(&place, "would open the house: the whole machine")
            .hint("mount what the program needs, one directory at a time"));
    }
    if allowed.iter().any(|a| std::fs::canonicalize(a).is_ok_and(|a| a == path)) {
        return Ok(path);
    }
    match reason(&path, caller) {
        None => Ok(path),
        Some(why) => Err(PolicyError::new(place, format!("would open the house: {why}"))
            .hint(format!("mount a smaller directory, or insist with --allow-mount {}", path.display()))),
    }
}

fn reason(path: &Path, caller: &Caller) -> Option<String> {
    if let Some((_, why)) = SYSTEM.iter().find(|(p, _)| path == Path::new(p)) {
        return Some((*why).to_string());
    }
    if let Some((_, why)) = TREES.iter().find(|(p, _)| path.starts_with(p)) {
        return Some((*why).to_string());
    }
    let homes = caller.home.iter().cloned().chain([PathBuf::from("/root")]).chain(home_above(path));
    for home in homes {
        let home = std::fs::canonicalize(&home).unwrap_or(home);
        if home == Path::new("/") {
            continue;
        }
        if home.starts_with(path) {
            return Some("a whole home directory".to_string());
        }
        for secret in IN_HOME {
            let secret = home.join(secret);
            if path == secret {
                return Some("credentials and settings of a home directory".to_string());
            }
            // Deep below .ssh is as bad as .ssh; below .config or .local it depends.
            if path.starts_with(&secret)
                && !secret.ends_with(".config")
                && !secret.ends_with(".local")
                && !secret.ends_with("share")
            {
                return Some("credentials of a home directory".to_string());
            }
        }
    }
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    if SOCKETS.contains(&name) {
        return Some("the control socket of a container engine: whoever reaches it is root".to_string());
    }
    if path.starts_with("/run") && std::fs::metadata(path).is_ok_and(|m| m.file_type().is_socket()) {
        return Some("the control socket of a service of the host".to_string());
    }
    let holds = SOCKETS.iter().any(|s| path.join(s).exists());
    holds.then(|| "holds the control socket of a container engine".to_string())
}

/// `/home/NAME` of a path below it.
fn home_above(path: &Path) -> Option<PathBuf> {
    let name = path.strip_prefix("/home").ok()?.components().next()?;
    Some(Path::new("/home").join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller() -> Caller {
        Caller {
            uid: 1000,
            gid: 1000,
            home: Some("/home/nobody-here".into()),
            own: vec!["/usr/share/doc".into()],
            policies: Vec::new(),
        }
    }

    fn refused(path: &str) -> String {
        check(path, &[], &caller()).unwrap_err().to_string()
    }

    #[test]
    fn the_system_s_own_directories_are_refused() {
        for path in [
            "/", "/proc", "/sys", "/etc", "/dev", "/dev/null", "/home", "/usr", "/proc/self", "/root",
            "/var", "/run",
        ] {
            let why = refused(path);
            assert!(why.contains("would open the house") || why.contains("own state"), "{path}: {why}");
        }
    }

    #[test]
    fn a_link_to_a_refused_directory_is_refused_too() {
        let link = std::env::temp_dir().join(format!("donjon-guard-{}", std::process::id()));
        let _ = std::fs::remove_file(&link);
        std::os::unix::fs::symlink("/etc", &link).unwrap();
        let result = check(link.to_str().unwrap(), &[], &caller());
        std::fs::remove_file(&link).unwrap();
        assert!(result.is_err());
    }

    #[test]
    fn what_allow_mount_names_exactly_is_let_through_but_never_the_root_or_own_state() {
        assert!(check("/etc", &["/etc".into()], &caller()).is_ok());
        assert!(check("/proc", &["/etc".into()], &caller()).is_err());
        assert!(check("/", &["/".into()], &caller()).is_err());
        assert!(check("/usr/share/doc", &["/usr/share/doc".into()], &caller()).is_err());
        assert!(check("/usr/share", &["/usr/share".into()], &caller()).is_err(), "holds own state");
    }

    #[test]
    fn homes_and_what_is_kept_in_them_are_refused() {
        let home = std::env::temp_dir().join(format!("donjon-home-{}", std::process::id()));
        std::fs::create_dir_all(home.join(".ssh")).unwrap();
        std::fs::create_dir_all(home.join("work")).unwrap();
        let caller = Caller { home: Some(home.clone()), ..caller() };
        let verdict = |p: &str| check(home.join(p).to_str().unwrap(), &[], &caller);
        let results = (verdict("").is_err(), verdict(".ssh").is_err(), verdict("work").is_ok());
        std::fs::remove_dir_all(&home).unwrap();
        assert_eq!(results, (true, true, true));
    }

    #[test]
    fn what_does_not_exist_is_said_to_be_missing() {
        assert!(refused("/no/such/place").contains("No such file"));
    }
}
