//! One line of an audit log, read.
//!
//! The kernel writes a record as `name=value` words (`security/lsm_audit.c`, `security/landlock/audit.c`,
//! `kernel/auditsc.c`, `security/apparmor/audit.c`, `security/selinux/avc.c`). What a program chose (names of files, its
//! own name) stands in quotes when it holds neither spaces nor quotes nor control characters, and in hexadecimal digits
//! otherwise; so no text of a container can pass for another field.
//!
//! The same record comes in several coats: `type=AVC msg=audit(TIME:SERIAL): ...` from `auditd`, which writes types that
//! it does not know as `UNKNOWN[1423]`, and `audit: type=1400 audit(TIME:SERIAL): ...` in the kernel's own log, with the
//! stamp of whoever wrote that down before it.

/// What a line is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record<'a> {
    /// A Landlock domain refused for the first time: who made it.
    LandlockDomain {
        /// The domain.
        domain: &'a str,
        /// The process that made it.
        pid: i32,
    },
    /// A refusal of a Landlock domain.
    Landlock {
        /// The domain.
        domain: &'a str,
        /// The rights that were missing.
        blockers: &'a str,
        /// The path, for rights of files.
        path: Option<String>,
        /// The other process's name, for scopes.
        other: Option<String>,
    },
    /// A refusal of an AppArmor profile.
    AppArmor {
        /// The profile.
        profile: String,
        /// What was tried: `open`, `capable`, `ptrace`.
        operation: String,
        /// On what.
        object: String,
        /// The rights that were missing: `w`, `x`.
        denied: String,
        /// Whether the object is a path.
        path: bool,
        /// Who tried it.
        by: Process,
    },
    /// A refusal of the SELinux policy.
    Selinux {
        /// Whose label.
        source: &'a str,
        /// The label of what it was tried on.
        target: &'a str,
        /// Its class: `file`, `process`.
        class: &'a str,
        /// What was tried: `read write`.
        permissions: String,
        /// The path or name, if there is one.
        object: Option<String>,
        /// Who tried it.
        by: Process,
    },
    /// A seccomp filter killed, or refused and was told to say so.
    Seccomp {
        /// The label of the process; empty without a security module.
        label: &'a str,
        /// AUDIT_ARCH_*.
        arch: u32,
        /// The system call's number.
        nr: i32,
        /// SECCOMP_RET_* with its data.
        action: u32,
        /// The process's user on the machine.
        uid: Option<u32>,
        /// Who tried it.
        by: Process,
    },
    /// A system call beside other records: who is whose child.
    Call {
        /// The process.
        pid: i32,
        /// Its parent.
        parent: i32,
    },
}

/// A process of a record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Process {
    /// Its pid, as the machine counts; 0 when it is not told.
    pub pid: i32,
    /// Its name for itself.
    pub comm: String,
}

/// Reads a line; nothing when it tells of no refusal.
pub fn parse(line: &str) -> Option<Record<'_>> {
    let line = body(line)?;
    let kind = line.strip_prefix("type=")?.split_ascii_whitespace().next()?;
    let number = |name: &str| field(line, name).and_then(|value| value.parse::<i32>().ok());
    let by =
        || Process { pid: number("pid").unwrap_or(0), comm: untrusted(line, "comm").unwrap_or_default() };
    match kind {
        "LANDLOCK_DOMAIN" | "UNKNOWN[1424]" | "1424" => {
            if field(line, "status") != Some("allocated") {
                return None;
            }
            Some(Record::LandlockDomain { domain: field(line, "domain")?, pid: number("pid")? })
        }
        "LANDLOCK_ACCESS" | "UNKNOWN[1423]" | "1423" => Some(Record::Landlock {
            domain: field(line, "domain")?,
            blockers: field(line, "blockers").unwrap_or_default(),
            path: untrusted(line, "path"),
            other: untrusted(line, "ocomm"),
        }),
        // AppArmor had numbers of its own once.
        "AVC" | "1400" | "APPARMOR_DENIED" | "1503" => match field(line, "apparmor") {
            Some("DENIED") => apparmor(line, by()),
            Some(_) => None,
            None => selinux(line, by()),
        },
        "SECCOMP" | "1326" => Some(Record::Seccomp {
            label: field(line, "subj").unwrap_or_default(),
            arch: hexadecimal(field(line, "arch")?)?,
            nr: number("syscall")?,
            action: hexadecimal(field(line, "code")?)?,
            uid: field(line, "uid").and_then(|uid| uid.parse().ok()),
            by: by(),
        }),
        "SYSCALL" | "1300" => Some(Record::Call { pid: number("pid")?, parent: number("ppid")? }),
        _ => None,
    }
}

/// The second at which the kernel wrote a line, since 1970.
pub fn seconds(line: &str) -> Option<u64> {
    body(line)?.split_once("audit(")?.1.split(['.', ':', ')']).next()?.parse().ok()
}

/// A line without the coat of its log, beginning with `type=`. Nothing else of a line is searched for that word: other
/// messages of the kernel hold names that programs chose.
fn body(line: &str) -> Option<&str> {
    // `node=NAME type=...`, where several machines share a log.
    let line = match line.strip_prefix("node=") {
        Some(rest) => rest.split_once(' ')?.1,
        None => line,
    };
    if line.starts_with("type=") {
        return Some(line);
    }
    // `5,123,456,-;audit: type=...` from /dev/kmsg, `[ 12.345] audit: type=...` as dmesg prints it.
    let text = match line.strip_prefix('[') {
        Some(stamped) => stamped.split_once("] ")?.1,
        None => line.split_once(';')?.1,
    };
    text.strip_prefix("audit: ").filter(|text| text.starts_with("type="))
}

fn apparmor(line: &str, by: Process) -> Option<Record<'_>> {
    let text = |name: &str| field(line, name).filter(|text| !text.is_empty()).map(str::to_string);
    let operation = text("operation")?;
    let denied = text("denied_mask").or_else(|| text("requested_mask")).unwrap_or_default();
    let mut path = false;
    let object = if let Some(capability) = text("capname") {
        format!("CAP_{}", capability.to_ascii_uppercase())
    } else if let Some(name) = untrusted(line, "name") {
        path = name.starts_with('/');
        match untrusted(line, "srcname") {
            Some(source) => format!("{source} at {name}"),
            None => name,
        }
    } else if let Some(family) = text("family") {
        match text("sock_type") {
            Some(kind) => format!("{family} socket, {kind}"),
            None => format!("{family} socket"),
        }
    } else {
        match (text("signal"), untrusted(line, "peer")) {
            (Some(signal), Some(peer)) => format!("signal {signal}, peer {peer}"),
            (None, Some(peer)) => format!("peer {peer}"),
            (signal, None) => signal.unwrap_or_default(),
        }
    };
    Some(Record::AppArmor { profile: untrusted(line, "profile")?, operation, object, denied, path, by })
}

fn selinux(line: &str, by: Process) -> Option<Record<'_>> {
    let (before, rest) = line.split_once('{')?;
    // Granted ones are told where the policy audits them; in permissive mode everything happens.
    if !before.contains("avc:") || !before.contains("denied") || field(line, "permissive") == Some("1") {
        return None;
    }
    let (permissions, rest) = rest.split_once('}')?;
    let permissions: Vec<&str> = permissions.split_ascii_whitespace().collect();
    let number = |name: &str| field(rest, name).and_then(|value| value.parse::<u32>().ok());
    let object = untrusted(rest, "path").or_else(|| untrusted(rest, "name"));
    let object = object.or_else(|| number("capability").map(|n| format!("capability {n}")));
    let port = || number("dest").or_else(|| number("src")).map(|port| format!("port {port}"));
    Some(Record::Selinux {
        source: field(rest, "scontext")?,
        target: field(rest, "tcontext").unwrap_or_default(),
        class: field(rest, "tclass").unwrap_or_default(),
        permissions: permissions.join(" "),
        object: object.or_else(port),
        by,
    })
}

/// What follows `name=`, with its quotes.
fn after<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = line;
    loop {
        let at = rest.find(name)?;
        let (before, after) = rest.split_at(at);
        rest = after.get(name.len()..)?;
        let begins = before.is_empty() || before.ends_with(' ');
        if let Some(value) = rest.strip_prefix('=').filter(|_| begins) {
            return Some(value);
        }
    }
}

/// The value of a field that the kernel chose: `name=value` or `name="value"`.
pub fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let value = after(line, name)?;
    match value.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next(),
        // auditd's own translations follow a group separator.
        None => value.split(|c: char| c.is_ascii_whitespace() || c == '\u{1d}').next(),
    }
}

/// The value of a field that somebody else chose: in quotes as it is, else in hexadecimal digits.
fn untrusted(line: &str, name: &str) -> Option<String> {
    let value = field(line, name).filter(|value| !value.is_empty())?;
    let hex = value.len().is_multiple_of(2)
        && value.bytes().all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b))
        && after(line, name).is_some_and(|value| !value.starts_with('"'));
    if !hex {
        return Some(value.to_string());
    }
    let bytes: Vec<u8> = (0..value.len() / 2)
        .filter_map(|n| value.get(2 * n..2 * n + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok()))
        .collect();
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn hexadecimal(text: &str) -> Option<u32> {
    u32::from_str_radix(text.strip_prefix("0x").unwrap_or(text), 16).ok()
}
