//! What this kernel, user and distribution can and can't do, layer by layer: `donjon doctor`.
//!
//! Each thing is tried, not guessed from a version number: a child process does it and ends. Nothing stays behind.

use std::path::Path;

use rustix::fs::{Access, AtFlags, CWD};
use rustix::io::Errno;
use rustix::mount::FsOpenFlags;
use rustix::process::{WaitId, WaitIdOptions, waitid};
use serde::Serialize;

use crate::error::words;
use crate::host::Host;
use crate::layers::cgroups::Hierarchy;
use crate::layers::namespaces::flag;

/// How a layer stands here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// As it should be.
    Good,
    /// A part is missing; containers start.
    Limited,
    /// Containers can't start.
    Missing,
}

/// One line of the survey.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The layer, or what it needs.
    pub layer: &'static str,
    /// How it stands.
    pub verdict: Verdict,
    /// What was found.
    pub what: String,
    /// What to do about it.
    pub fix: Option<String>,
}

fn good(layer: &'static str, what: impl Into<String>) -> Finding {
    Finding { layer, verdict: Verdict::Good, what: what.into(), fix: None }
}

fn limited(layer: &'static str, what: impl Into<String>, fix: impl Into<String>) -> Finding {
    Finding { layer, verdict: Verdict::Limited, what: what.into(), fix: Some(fix.into()) }
}

fn missing(layer: &'static str, what: impl Into<String>, fix: impl Into<String>) -> Finding {
    Finding { layer, verdict: Verdict::Missing, what: what.into(), fix: Some(fix.into()) }
}

/// Does something in a child with these new namespaces, mapped to id 0 there, and returns how it went.
fn attempt(flags: u64, host: &Host, act: impl Fn() -> Result<(), Errno>) -> Result<(), Errno> {
    let line = |id: u32| std::ffi::CString::new(format!("0 {id} 1\n")).map_err(|_| Errno::INVAL);
    let (uids, gids) = (line(host.uid)?, line(host.gid)?);
    let (_, pidfd) = donjon_sys::clone::clone3(flags | flag::USER, None, || {
        let result = crate::layers::identity::map_own_id(&uids, &gids).and_then(|()| act());
        result.err().map_or(0, |errno| u8::try_from(errno.raw_os_error()).unwrap_or(255))
    })?;
    let status = waitid(WaitId::PidFd(std::os::fd::AsFd::as_fd(&pidfd)), WaitIdOptions::EXITED)?;
    match status.and_then(|s| s.exit_status()) {
        Some(0) => Ok(()),
        Some(errno) => Err(Errno::from_raw_os_error(errno)),
        None => Err(Errno::CHILD),
    }
}

fn setting(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|text| text.trim().to_string())
}

/// Looks at every layer. Needs no privilege.
pub fn survey(host: &Host) -> Vec<Finding> {
    vec![
        kernel(host),
        user_namespace(host),
        ids(host),
        namespaces(host),
        mounts(host),
        overlay(host),
        procfs(host),
        cgroups(host),
        limits(host),
        capabilities(),
        seccomp(),
        landlock(host),
        modules(),
        audit(),
    ]
}

fn kernel(host: &Host) -> Finding {
    let (major, minor) = host.kernel;
    let what = format!("Linux {major}.{minor}");
    match host.kernel {
        kernel if kernel < (5, 12) => {
            missing("kernel", what, "donjon needs Linux 5.12 or newer (mount_setattr)")
        }
        kernel if kernel < (6, 8) => limited(
            "kernel",
            what,
            "6.8 or newer lets donjon compare the kernel's list of mounts with its plan",
        ),
        _ => good("kernel", what),
    }
}

fn user_namespace(host: &Host) -> Finding {
    let layer = "user namespace";
    let restricted =
        setting("/proc/sys/kernel/apparmor_restrict_unprivileged_userns").is_some_and(|v| v == "1");
    match attempt(flag::MOUNT, host, || {
        rustix::mount::fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).map(drop)
    }) {
        Ok(()) => good(layer, "can be made without root"),
        Err(errno) if restricted && host.uid != 0 => {
            let exe = std::env::current_exe()
                .map(|p| p.display().to_string())
                .unwrap_or_else(|_| "/usr/bin/donjon".into());
            missing(
                layer,
                format!(
                    "refused by AppArmor ({}): this distribution lets only named programs have one",
                    words(errno)
                ),
                format!(
                    "as root, for donjon alone: printf 'abi <abi/4.0>,\\nprofile donjon {exe} flags=(unconfined) {{ userns, }}\\n' \
                     > /etc/apparmor.d/donjon && apparmor_parser -r /etc/apparmor.d/donjon"
                ),
            )
        }
        Err(errno) => {
            let fix = if setting("/proc/sys/kernel/unprivileged_userns_clone").is_some_and(|v| v == "0") {
                "as root: sysctl -w kernel.unprivileged_userns_clone=1, and in /etc/sysctl.d to keep it"
            } else if setting("/proc/sys/user/max_user_namespaces").is_some_and(|v| v == "0") {
                "as root: sysctl -w user.max_user_namespaces=15000, and in /etc/sysctl.d to keep it"
            } else if errno == Errno::PERM {
                "donjon runs in a chroot, or in a container that forbids it: run it outside"
            } else {
                "the kernel must be built with CONFIG_USER_NS"
            };
            missing(layer, format!("can't be made: {}", words(errno)), fix)
        }
    }
}

fn ids(host: &Host) -> Finding {
    let layer = "ids";
    if host.uid == 0 {
        return good(layer, "root: each container gets 65536 unused ids of the host");
    }
    let helpers = ["/usr/bin/newuidmap", "/usr/bin/newgidmap"].iter().all(|p| Path::new(p).exists());
    let listed = |file: &str| {
        let name = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let name = name.lines().find_map(|l| {
            let mut fields = l.split(':');
            let name = fields.next()?;
            (fields.nth(1)? == host.uid.to_string()).then(|| name.to_string())
        });
        let text = std::fs::read_to_string(file).unwrap_or_default();
        text.lines()
            .filter_map(|l| l.split(':').next())
            .any(|o| Some(o) == name.as_deref() || o == host.uid.to_string())
    };
    match (helpers, listed("/etc/subuid") && listed("/etc/subgid")) {
        (true, true) => good(layer, "your own id; a range with --userns range"),
        (true, false) => limited(
            layer,
            "your own id alone; you have no range in /etc/subuid and /etc/subgid",
            "only for --userns range: as root, usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER",
        ),
        (false, _) => limited(
            layer,
            "your own id alone; newuidmap is missing",
            "only for --userns range: install the package uidmap",
        ),
    }
}

fn namespaces(host: &Host) -> Finding {
    let layer = "namespaces";
    let kinds = [
        ("pid", flag::PID),
        ("mount", flag::MOUNT),
        ("net", flag::NET),
        ("ipc", flag::IPC),
        ("uts", flag::UTS),
        ("cgroup", flag::CGROUP),
    ];
    let lacking: Vec<&str> = kinds
        .iter()
        .filter(|(_, bit)| attempt(*bit, host, || Ok(())).is_err())
        .map(|(name, _)| *name)
        .collect();
    if !lacking.is_empty() {
        return missing(
            layer,
            format!("can't be made: {}", lacking.join(", ")),
            "build them into the kernel, or see the user namespace above",
        );
    }
    match attempt(0, host, || donjon_sys::process::unshare(flag::TIME)) {
        Ok(()) => good(layer, "pid, mount, net, ipc, uts, cgroup, time"),
        Err(_) => limited(
            layer,
            "pid, mount, net, ipc, uts, cgroup; no time namespace",
            "only for --time-offset: Linux 5.6 with CONFIG_TIME_NS",
        ),
    }
}

fn mounts(host: &Host) -> Finding {
    let layer = "mounts";
    let result = attempt(flag::MOUNT, host, || {
        crate::layers::rootfs::private_mounts()?;
        let fs = rustix::mount::fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        rustix::mount::fsconfig_create(std::os::fd::AsFd::as_fd(&fs))?;
        rustix::mount::fsmount(
            std::os::fd::AsFd::as_fd(&fs),
            rustix::mount::FsMountFlags::FSMOUNT_CLOEXEC,
            rustix::mount::MountAttrFlags::MOUNT_ATTR_NOSUID,
        )
        .map(drop)
    });
    match result {
        Ok(()) => good(layer, "the new mount interface, in a user namespace"),
        Err(errno) => missing(
            layer,
            format!("the new mount interface does not work: {}", words(errno)),
            "Linux 5.12 or newer; see the user namespace above",
        ),
    }
}

fn overlay(host: &Host) -> Finding {
    let layer = "overlay";
    match attempt(flag::MOUNT, host, || {
        rustix::mount::fsopen(c"overlay", FsOpenFlags::FSOPEN_CLOEXEC).map(drop)
    }) {
        Ok(()) if host.kernel < (6, 6) => limited(
            layer,
            "writes go to RAM, but a directory of the image that was removed can't be made again (EIO)",
            "Linux 6.6 or newer: its tmpfs has extended attributes of users",
        ),
        Ok(()) => good(layer, "writes go to RAM above a read-only image, without root"),
        Err(Errno::NODEV) => missing(
            layer,
            "this kernel has no overlayfs",
            "as root: modprobe overlay, and in /etc/modules-load.d to keep it",
        ),
        Err(errno) => {
            missing(layer, format!("not in a user namespace: {}", words(errno)), "Linux 5.11 or newer")
        }
    }
}

fn procfs(host: &Host) -> Finding {
    let layer = "procfs";
    let result = attempt(flag::MOUNT | flag::PID, host, || {
        let fs = rustix::mount::fsopen(c"proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
        rustix::mount::fsconfig_set_string(std::os::fd::AsFd::as_fd(&fs), c"hidepid", c"invisible")?;
        rustix::mount::fsconfig_create(std::os::fd::AsFd::as_fd(&fs))
    });
    match result {
        Ok(()) => good(layer, "a procfs of the container's own, with hidepid"),
        Err(Errno::PERM) => missing(
            layer,
            "can't be mounted: parts of this machine's own /proc are covered",
            "donjon runs inside another container: start that one with its /proc unmasked (podman, docker: --security-opt systempaths=unconfined)",
        ),
        Err(errno) => missing(layer, format!("can't be mounted: {}", words(errno)), "Linux 5.8 or newer"),
    }
}

fn cgroups(host: &Host) -> Finding {
    let layer = "cgroups";
    let wanted = ["memory", "cpu", "pids"];
    let lacking = |have: &[String]| -> Vec<&str> {
        wanted.into_iter().filter(|w| !have.iter().any(|h| h == w)).collect()
    };
    match &host.cgroups {
        Hierarchy::V2 { controllers, parent, .. } => match lacking(controllers).as_slice() {
            [] => good(layer, format!("v2, below {}: memory, cpu, pids", parent.display())),
            lacking => limited(
                layer,
                format!("v2, without {}", lacking.join(", ")),
                "as root: systemctl edit user@.service, with [Service] Delegate=cpu memory pids; then log in again",
            ),
        },
        Hierarchy::V1 { controllers } => {
            let names: Vec<String> = controllers.iter().map(|(c, _)| c.clone()).collect();
            match lacking(&names).as_slice() {
                [] => good(layer, "v1 or hybrid: memory, cpu, pids"),
                lacking => limited(
                    layer,
                    format!("v1 or hybrid, without {}", lacking.join(", ")),
                    "boot with systemd.unified_cgroup_hierarchy=1",
                ),
            }
        }
        Hierarchy::None if host.uid == 0 => limited(
            layer,
            "no hierarchy is mounted at /sys/fs/cgroup",
            "mount one: --memory and --cpus need it",
        ),
        Hierarchy::None => limited(
            layer,
            "none is delegated to you: --memory and --cpus can't be enforced (processes are counted all the same)",
            "in a systemd user session: systemd-run --user --scope -p Delegate=yes donjon run ...; v1 is for root alone",
        ),
    }
}

fn limits(host: &Host) -> Finding {
    match host.kernel {
        (0..=4, _) | (5, 0..=13) => {
            limited("limits", "processes are counted per user, not per container", "Linux 5.14 or newer")
        }
        _ => good("limits", "processes are counted per container (RLIMIT_NPROC in its user namespace)"),
    }
}

fn capabilities() -> Finding {
    let last = setting("/proc/sys/kernel/cap_last_cap").unwrap_or_default();
    good(
        "capabilities",
        format!(
            "none outside the user namespace; this kernel knows {}",
            last.parse::<u32>().map_or(0, |n| n + 1)
        ),
    )
}

fn seccomp() -> Finding {
    let actions = setting("/proc/sys/kernel/seccomp/actions_avail").unwrap_or_default();
    match (actions.contains("errno"), actions.contains("user_notif")) {
        (true, true) => good("seccomp", "filter, and a listener that records what it refuses"),
        (true, false) => missing("seccomp", "no listener", "Linux 5.0 or newer"),
        (false, _) => missing("seccomp", "not in this kernel", "build it with CONFIG_SECCOMP_FILTER"),
    }
}

fn landlock(host: &Host) -> Finding {
    let layer = "landlock";
    let abi = host.landlock_abi;
    match abi {
        0 => missing(
            layer,
            "not in this kernel, or not enabled",
            "boot with lsm=landlock,... before the others (Linux 5.13 or newer); --best-effort landlock starts without it",
        ),
        1..=5 => limited(
            layer,
            format!("ABI {abi}: signals and abstract sockets are held by namespaces alone"),
            "ABI 6 is Linux 6.12",
        ),
        _ => good(layer, format!("ABI {abi}: files, devices, signals, abstract sockets")),
    }
}

fn modules() -> Finding {
    let layer = "apparmor, selinux";
    let names = setting("/sys/kernel/security/lsm");
    let here = |name: &str| names.as_deref().is_some_and(|n| n.split(',').any(|n| n == name));
    match (here("apparmor"), here("selinux")) {
        (false, false) => good(layer, "neither is active; Landlock is each container's own policy"),
        _ => limited(
            layer,
            format!(
                "active: {}; containers stay under the caller's own profile or context",
                names.unwrap_or_default()
            ),
            "nothing to do: this version gives containers no profile of their own; Landlock is their policy",
        ),
    }
}

fn audit() -> Finding {
    let layer = "explaining";
    let log = Path::new("/var/log/audit/audit.log");
    match rustix::fs::accessat(CWD, log, Access::READ_OK, AtFlags::EACCESS) {
        Ok(()) => good(layer, "refused system calls are recorded; kernel refusals: donjon explain --trace"),
        Err(_) => good(
            layer,
            "refused system calls are recorded; what the kernel refuses by itself: donjon explain --trace",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_layer_is_looked_at_and_what_is_not_good_says_what_to_do() {
        let findings = survey(&Host::probe());
        for word in ["user namespace", "overlay", "seccomp", "landlock", "cgroups", "mounts", "procfs"] {
            assert!(findings.iter().any(|f| f.layer == word), "{word}");
        }
        for finding in findings {
            assert_eq!(finding.verdict == Verdict::Good, finding.fix.is_none(), "{finding:?}");
        }
    }

    #[test]
    fn an_old_landlock_and_an_old_kernel_are_told() {
        let host = Host { kernel: (5, 15), landlock_abi: 1, ..Host::probe() };
        assert_eq!(landlock(&host).verdict, Verdict::Limited);
        assert_eq!(kernel(&host).verdict, Verdict::Limited);
        assert_eq!(landlock(&Host { landlock_abi: 0, ..host.clone() }).verdict, Verdict::Missing);
        assert_eq!(kernel(&Host { kernel: (5, 4), ..host }).verdict, Verdict::Missing);
    }
}
