//! `mounts` of a specification: what is mounted, in which order, and what never is.

use std::path::Path;

use oci_spec::runtime::{Mount as SpecMount, MountBuilder};

use super::{Caller, Ids, at, internal};
use crate::error::PolicyError;
use crate::guard;
use crate::model::{Mount, MountKind, Policy};
use crate::words::numbers;

fn entry(destination: &str, typ: &str, source: &str, options: &[&str]) -> Result<SpecMount, PolicyError> {
    MountBuilder::default()
        .destination(destination)
        .typ(typ)
        .source(source)
        .options(options.iter().map(|o| o.to_string()).collect::<Vec<_>>())
        .build()
        .map_err(internal)
}

/// The mounts of every container, then those that the policy names.
pub(super) fn mounts(policy: &Policy, caller: &Caller, ids: &Ids) -> Result<Vec<SpecMount>, PolicyError> {
    let f = &policy.filesystem;
    let mut mounts = vec![
        entry("/proc", "proc", "proc", &["nosuid", "nodev", "noexec"])?,
        entry("/dev", "tmpfs", "tmpfs", &["ro", "nosuid", "noexec", "mode=755"])?,
        entry(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"],
        )?,
    ];
    let shm = match &f.shm_size {
        Some(size) => vec![format!("size={}", numbers::size(size).map_err(at("--shm-size"))?)],
        None => Vec::new(),
    };
    let shm: Vec<&str> = ["nosuid", "nodev", "noexec", "mode=1777"]
        .into_iter()
        .chain(shm.iter().map(String::as_str))
        .collect();
    mounts.push(entry("/dev/shm", "tmpfs", "shm", &shm)?);
    mounts.push(entry("/sys", "tmpfs", "tmpfs", &["ro", "nosuid", "nodev", "noexec", "mode=755"])?);
    if !f.proc_pid_only.unwrap_or(false) {
        let cpu = "/sys/devices/system/cpu";
        mounts.push(entry(cpu, "bind", cpu, &["bind", "ro", "nosuid", "nodev", "noexec"])?);
    }
    let enforced = super::enforced(policy);
    if super::root_is_read_only(policy) {
        for (path, mode) in [("/run", "mode=755"), ("/tmp", "mode=1777"), ("/var/tmp", "mode=1777")] {
            if !policy.mounts.iter().any(|m| m.target == path) {
                let options = ["nosuid", "nodev", mode, "noexec"];
                let options = options.get(..if enforced { 4 } else { 3 }).unwrap_or_default();
                mounts.push(entry(path, "tmpfs", "tmpfs", options)?);
            }
        }
    }
    for mount in &policy.mounts {
        mounts.push(match mount.kind {
            MountKind::Bind => bind(mount, policy, caller, ids)?,
            MountKind::Tmpfs => tmpfs(mount)?,
        });
    }
    Ok(mounts)
}

fn bind(mount: &Mount, policy: &Policy, caller: &Caller, ids: &Ids) -> Result<SpecMount, PolicyError> {
    let source = mount
        .source
        .as_deref()
        .ok_or_else(|| PolicyError::new(format!("mount at {}", mount.target), "has no source"))?;
    inside(&mount.target)?;
    let canonical = guard::check(source, &policy.filesystem.allow_mount, caller)?;
    if !mount.read_only
        && let Some(file) = caller.policies.iter().find(|file| file.starts_with(&canonical))
    {
        let what =
            format!("holds {}, which says what this container may do: it could rewrite it", file.display());
        return Err(PolicyError::new(format!("mount {source}"), what)
            .hint("mount it read-only, or keep the policy outside of what the container writes"));
    }
    let canonical = canonical
        .to_str()
        .ok_or_else(|| PolicyError::new(format!("mount {source}"), "the path is no UTF-8"))?;
    let mut options = vec!["rbind", "nosuid", "nodev"];
    if mount.read_only {
        options.push("rro");
    }
    if mount.exec == Some(false) || super::enforced(policy) {
        options.push("rnoexec");
    }
    if ids.idmap {
        options.push("ridmap");
    }
    entry(&mount.target, "bind", canonical, &options)
}

fn tmpfs(mount: &Mount) -> Result<SpecMount, PolicyError> {
    inside(&mount.target)?;
    let mut options = vec!["nosuid".to_string(), "nodev".to_string()];
    if mount.exec != Some(true) {
        options.push("noexec".to_string());
    }
    if mount.read_only {
        options.push("ro".to_string());
    }
    let mode = numbers::octal(mount.mode.as_deref().unwrap_or("1777"), 0o1777).map_err(at("--tmpfs"))?;
    options.push(format!("mode={mode:04o}"));
    if let Some(size) = &mount.size {
        options.push(format!("size={}", numbers::size(size).map_err(at("--tmpfs"))?));
    }
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    entry(&mount.target, "tmpfs", "tmpfs", &options)
}

/// Places of the container that nothing may be mounted over: the walls themselves.
pub(crate) fn inside(target: &str) -> Result<(), PolicyError> {
    let path = Path::new(target);
    let wall =
        ["/proc", "/sys", "/dev"].iter().find(|wall| path.starts_with(wall) && !path.starts_with("/dev/shm"));
    match wall {
        Some(wall) => {
            Err(PolicyError::new(format!("mount at {target}"), format!("{wall} is donjon's own inside")))
        }
        None if path.parent().is_none() || !path.is_absolute() => {
            Err(PolicyError::new(format!("mount at {target}"), "is no absolute path below /"))
        }
        None => Ok(()),
    }
}
