//! What the kernel refused by itself, from the machine's audit records, where the caller may read those.
//!
//! Landlock, AppArmor, SELinux and a filter without a listener refuse inside the kernel, without a word to donjon. They
//! write audit records: Landlock since Linux 6.15 and while a daemon collects them
//! (`Documentation/admin-guide/LSM/landlock.rst`), the others always. The log of `auditd` is readable to root and often to
//! a group of administrators; without that daemon the records go to the kernel's own log (`/dev/kmsg`), which is looked at
//! only for a container with a label of AppArmor or SELinux. Everybody else has `donjon explain --trace`.
//!
//! **Whose record it is**: a Landlock domain names the process that made it; a label that the container has alone (an
//! AppArmor profile with its id in the name, an SELinux label with categories) is enough; with a label that others have as
//! well, or none, the process must be known to be the container's, or its user one of a range that root's container has
//! alone.
//!
//! Texts come from the container (paths); they are only shown, through [`crate::events::printable`].

mod follow;
pub mod record;
mod source;

use std::collections::BTreeSet;

use donjon_confine::layers::seccomp::name;
use oci_spec::runtime::Spec;

use crate::events::{Recorder, Refused};
pub use follow::Follow;
use record::{Record, parse};
pub use source::Source;

/// Whose records are looked for.
#[derive(Debug, Clone, Default)]
pub struct Subject {
    /// The container's id, which a profile of its own has in its name.
    pub id: String,
    /// Its first process, or that of `exec`, as the machine counts.
    pub init: i32,
    /// Its AppArmor profile.
    pub apparmor: Option<String>,
    /// Its SELinux label.
    pub selinux: Option<String>,
    /// A range of the machine's ids that no other container has: each of root's has one.
    pub ids: Option<std::ops::Range<u32>>,
}

impl Subject {
    /// That of a container's process `init`.
    pub fn new(id: &str, spec: &Spec, init: i32) -> Self {
        let process = spec.process().as_ref();
        let ids = spec.linux().as_ref().and_then(|linux| linux.uid_mappings().as_ref()?.first().cloned());
        let ids = ids.filter(|_| rustix::process::geteuid().is_root()).map(|map| (map.host_id(), map.size()));
        let label = |label: &Option<String>| label.clone().filter(|label| !label.is_empty());
        Self {
            id: id.to_string(),
            init,
            apparmor: process.and_then(|p| label(p.apparmor_profile())),
            selinux: process.and_then(|p| label(p.selinux_label())),
            ids: ids.filter(|(first, _)| *first > 0).map(|(first, count)| first..first.saturating_add(count)),
        }
    }

    /// Whether it has a label, so that there may be records about it in the kernel's own log.
    pub fn has_label(&self) -> bool {
        self.apparmor.is_some() || self.selinux.is_some()
    }

    /// Whether a profile is the container's, or a child of it; and whether it is its alone.
    fn profile(&self, profile: &str) -> (bool, bool) {
        let Some(own) = self.apparmor.as_deref() else { return (false, false) };
        let same = profile.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with("//"));
        let short = self.id.get(..12).filter(|short| !short.is_empty());
        (same, same && short.is_some_and(|short| own.contains(short)))
    }

    /// The same of an SELinux label: with categories (`s0:c1,c2`) it is given to one container.
    fn label(&self, label: &str) -> (bool, bool) {
        let same = self.selinux.as_deref() == Some(label);
        (same, same && label.split(':').nth(4).is_some_and(|categories| !categories.is_empty()))
    }
}

/// The audit records, from the moment that a container starts.
#[derive(Debug)]
pub struct Audit {
    source: Source,
    subject: Subject,
}

impl Audit {
    /// Opens what can be read, at its end; nothing when nothing can.
    pub fn open(subject: Subject) -> Option<Self> {
        let source = Source::open_log().or_else(|| Source::open_kernel().filter(|_| subject.has_label()))?;
        Some(Self { source, subject })
    }

    /// The same without its first process, which is made later: see [`Audit::of`].
    pub fn of(mut self, init: i32) -> Self {
        self.subject.init = init;
        self
    }

    /// Records what was refused since.
    pub fn report(mut self, recorder: &mut Recorder) {
        let text = self.source.wait_and_read();
        let known: BTreeSet<i32> = recorder.events().iter().map(|event| event.pid).collect();
        for (refused, comm) in refusals(&text, &self.subject, &known) {
            recorder.record(refused, || comm);
        }
    }
}

/// What was refused to the subject, with the name of the process, in the order of the records. `known` are processes that
/// are known to be the container's.
pub fn refusals(log: &str, subject: &Subject, known: &BTreeSet<i32>) -> Vec<(Refused, String)> {
    let records: Vec<Record<'_>> = log.lines().filter_map(parse).collect();
    // A domain is named once, in the same event as its first refusal, before it or after it.
    let mut domains = BTreeSet::new();
    let mut ours = known.clone();
    ours.insert(subject.init);
    ours.remove(&0);
    for record in &records {
        match record {
            Record::LandlockDomain { domain, pid } if *pid == subject.init => {
                domains.insert(*domain);
            }
            Record::Call { pid, parent } if ours.contains(parent) => {
                ours.insert(*pid);
            }
            _ => {}
        }
    }
    let is_ours = |(same, alone): (bool, bool), pid: i32| alone || (same && ours.contains(&pid));
    records
        .into_iter()
        .filter_map(|record| match record {
            Record::Landlock { domain, blockers, path, other } if domains.contains(domain) => {
                let (allow, advice) = for_rights(blockers, path.as_deref());
                let refused = Refused {
                    pid: subject.init,
                    layer: "landlock",
                    operation: blockers.to_string(),
                    object: path.or(other).unwrap_or_default(),
                    rule: "the rules made from the container's mounts".to_string(),
                    errno: if blockers.starts_with("scope") { "EPERM" } else { "EACCES" },
                    allow,
                    advice,
                };
                Some((refused, String::new()))
            }
            Record::AppArmor { profile, operation, object, denied, path, by }
                if is_ours(subject.profile(&profile), by.pid) =>
            {
                let rights = if denied.contains(|c| "wacdlk".contains(c)) { "fs.write_file" } else { "fs.read_file" };
                let alone = subject.profile(&profile).1;
                let allow = match object.strip_prefix("CAP_") {
                    Some(capability) => Some(format!("--cap-add {capability}")),
                    // A profile made for this container follows its mounts.
                    None if path && alone => for_rights(rights, Some(&object)).0,
                    None => None,
                };
                let refused = Refused {
                    pid: by.pid,
                    layer: "apparmor",
                    operation: if path && !denied.is_empty() { format!("{operation} ({denied})") } else { operation.clone() },
                    object,
                    rule: format!("the AppArmor profile {profile}"),
                    errno: if matches!(operation.as_str(), "capable" | "ptrace" | "signal") { "EPERM" } else { "EACCES" },
                    allow,
                    advice: "the profile is the machine's second opinion: it holds where another wall has a hole",
                };
                Some((refused, by.comm))
            }
            Record::Selinux { source, target, class, permissions, object, by }
                if is_ours(subject.label(source), by.pid) =>
            {
                let refused = Refused {
                    pid: by.pid,
                    layer: "selinux",
                    operation: permissions,
                    object: format!("{class} {}", object.unwrap_or_default()).trim_end().to_string(),
                    rule: format!("the SELinux policy: {source} may not on {target}"),
                    errno: "EACCES",
                    allow: None,
                    advice: "the labels keep containers apart from each other and from the machine",
                };
                Some((refused, by.comm))
            }
            Record::Seccomp { label, arch, nr, action, uid, by } => {
                let labelled = match (subject.profile(label), subject.label(label)) {
                    ((_, true), _) | (_, (_, true)) => true,
                    _ if uid.is_some_and(|uid| subject.ids.as_ref().is_some_and(|ids| ids.contains(&uid))) => true,
                    _ => ours.contains(&by.pid),
                };
                let answer = seccomp_answer(action)?;
                labelled.then(|| (seccomp(arch, nr, answer, by.pid), by.comm))
            }
            _ => None,
        })
        .collect()
}

/// What a filter did; nothing when the call happened all the same (SECCOMP_RET_LOG, ALLOW).
fn seccomp_answer(action: u32) -> Option<&'static str> {
    match action & 0xffff_0000 {
        // KILL_PROCESS, KILL_THREAD, TRAP
        0x8000_0000 | 0 | 0x0003_0000 => Some("SIGSYS"),
        0x0005_0000 => Some(match action & 0xffff {
            1 => "EPERM",
            13 => "EACCES",
            38 => "ENOSYS",
            _ => "an error",
        }),
        0x7fc0_0000 => Some("ENOSYS"),
        _ => None,
    }
}

fn seccomp(arch: u32, nr: i32, answer: &'static str, pid: i32) -> Refused {
    let native = match std::env::consts::ARCH {
        "x86_64" => 0xc000_003e,
        "aarch64" => 0xc000_00b7,
        "riscv64" => 0xc000_00f3,
        _ => 0,
    };
    let call = name(nr).filter(|_| arch == native);
    let (operation, object) = match call {
        Some(call) => (call.to_string(), call.to_string()),
        None if arch == native => (nr.to_string(), format!("system call number {nr}")),
        None => (nr.to_string(), format!("system call number {nr} of another architecture ({arch:#x})")),
    };
    Refused {
        pid,
        layer: "seccomp",
        operation,
        object,
        rule: "a filter that answers by itself: a seccomp profile's, or the program's own".to_string(),
        errno: answer,
        allow: call.map(|call| format!("--syscall {call}")),
        advice: "opens more of the kernel to the container",
    }
}

/// What would allow a refused access to a file, and what that costs.
fn for_rights(rights: &str, path: Option<&str>) -> (Option<String>, &'static str) {
    let above = path
        .and_then(|p| p.rsplit_once('/'))
        .map_or("/", |(above, _)| if above.is_empty() { "/" } else { above });
    let reads = |right: &str| matches!(right, "fs.read_file" | "fs.read_dir" | "fs.execute");
    if rights.starts_with("fs.") && rights.split(',').all(reads) {
        (Some(format!("--ro SRC:{above}")), "the program can read what lies there")
    } else if rights.starts_with("fs.") {
        (Some(format!("--rw SRC:{above}")), "the program can write what lies there")
    } else {
        (None, "processes and sockets outside stay out of reach")
    }
}

#[cfg(test)]
mod tests;
