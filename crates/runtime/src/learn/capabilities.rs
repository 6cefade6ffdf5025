//! Which capability a call that succeeds has used. The kernel tells nobody without privileges; so this follows from the
//! call, its object, and what its caller is.
//!
//! Where that is not certain a capability counts as used: a draft that names one too many is read and cut; one that
//! lacks it breaks the program. `FSETID` can't be told from outside, and is left out.

use donjon_confine::layers::seccomp::sets::BY_CAPABILITY;
use rustix::fd::BorrowedFd;
use rustix::fs::{Mode, OFlags, Stat};

use super::report::access;

/// What a process is: `/proc/PID/status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    uid: u32,
    gid: u32,
    effective: u64,
}

impl Holder {
    /// The process, or thread, in the machine's `/proc`.
    pub fn read(proc: BorrowedFd<'_>, tid: i32) -> Option<Self> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = rustix::fs::openat(proc, format!("{tid}/status"), flags, Mode::empty()).ok()?;
        let mut text = [0u8; 4096];
        let n = rustix::io::read(&file, &mut text[..]).ok()?;
        Self::parse(&String::from_utf8_lossy(text.get(..n)?))
    }

    fn parse(status: &str) -> Option<Self> {
        let field = |name: &str, word: usize| {
            status.lines().find_map(|line| line.strip_prefix(name))?.split_ascii_whitespace().nth(word)
        };
        Some(Self {
            uid: field("Uid:", 1)?.parse().ok()?,
            gid: field("Gid:", 1)?.parse().ok()?,
            effective: u64::from_str_radix(field("CapEff:", 0)?, 16).ok()?,
        })
    }

    fn holds(&self, name: &str) -> bool {
        NUMBERS.iter().any(|(known, bit)| *known == name && self.effective & (1 << bit) != 0)
    }
}

/// Capabilities that can be told, with their numbers (`linux/capability.h`).
const NUMBERS: [(&str, u32); 23] = [
    ("CHOWN", 0),
    ("DAC_OVERRIDE", 1),
    ("DAC_READ_SEARCH", 2),
    ("FOWNER", 3),
    ("KILL", 5),
    ("SETGID", 6),
    ("SETUID", 7),
    ("NET_BIND_SERVICE", 10),
    ("NET_RAW", 13),
    ("SYS_MODULE", 16),
    ("SYS_RAWIO", 17),
    ("SYS_CHROOT", 18),
    ("SYS_PTRACE", 19),
    ("SYS_PACCT", 20),
    ("SYS_ADMIN", 21),
    ("SYS_BOOT", 22),
    ("SYS_NICE", 23),
    ("SYS_TIME", 25),
    ("SYS_TTY_CONFIG", 26),
    ("MKNOD", 27),
    ("SYSLOG", 34),
    ("PERFMON", 38),
    ("BPF", 39),
];

/// The capability that a call alone points to.
pub fn by_call(call: &str) -> Option<&'static str> {
    match call {
        "chown" | "fchown" | "lchown" | "fchownat" => Some("CHOWN"),
        "setuid" | "setreuid" | "setresuid" | "setfsuid" => Some("SETUID"),
        "setgid" | "setregid" | "setresgid" | "setfsgid" | "setgroups" => Some("SETGID"),
        "chmod" | "fchmodat" | "fchmodat2" | "utimensat" | "utime" | "utimes" => Some("FOWNER"),
        "kill" | "tkill" | "tgkill" | "rt_sigqueueinfo" => Some("KILL"),
        _ => BY_CAPABILITY
            .iter()
            .find(|(_, calls)| calls.contains(&call))
            .map(|(name, _)| name.trim_start_matches("CAP_")),
    }
}

/// Whether `holder` used `name` in a call on something that belongs to the user `owner`, if that is known.
pub fn used(holder: &Holder, name: &str, owner: Option<u32>) -> bool {
    let own = owner == Some(holder.uid);
    holder.holds(name) && !(own && matches!(name, "FOWNER" | "KILL"))
}

/// Whether not everybody may do this: then it is worth to ask who did.
pub fn is_not_for_all(stat: &Stat, done: u8) -> bool {
    is_refused(stat, 0, done)
}

fn is_refused(stat: &Stat, shift: u32, done: u8) -> bool {
    let reads = done & (access::READ | access::LIST) != 0;
    let writes = done & (access::WRITE | access::CREATE | access::DELETE) != 0;
    let needed = if reads { 4 } else { 0 } | if writes { 2 } else { 0 };
    (u32::from(stat.st_mode as u16) >> shift) & needed != needed
}

/// Whether owner and mode of a file alone would have refused this.
pub fn overrides(holder: &Holder, stat: &Stat, done: u8) -> Option<&'static str> {
    let shift = match (stat.st_uid == holder.uid, stat.st_gid == holder.gid) {
        (true, _) => 6,
        (false, true) => 3,
        (false, false) => 0,
    };
    (is_refused(stat, shift, done) && holder.holds("DAC_OVERRIDE")).then_some("DAC_OVERRIDE")
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Name:\tx\nUid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\nCapEff:\t00000000000004fb\n";

    #[test]
    fn what_a_process_does_not_hold_it_has_not_used() {
        let root = Holder::parse(STATUS).unwrap();
        assert!(used(&root, "CHOWN", None) && used(&root, "NET_BIND_SERVICE", None));
        assert!(!used(&root, "SYS_ADMIN", None) && !used(&root, "no such", None));
        assert!(used(&root, "KILL", Some(33)) && !used(&root, "KILL", Some(0)));
        let nobody = Holder { effective: 0, ..root };
        assert!(!used(&nobody, "CHOWN", None));
        assert_eq!(Holder::parse("Uid:\tx"), None);
        assert_eq!(
            (by_call("mount"), by_call("fchownat"), by_call("openat")),
            (Some("SYS_ADMIN"), Some("CHOWN"), None)
        );
    }

    #[test]
    fn a_file_whose_mode_refuses_is_opened_by_a_capability() {
        let root = Holder::parse(STATUS).unwrap();
        let stat = |uid, mode| {
            let mut stat = rustix::fs::stat("/").unwrap();
            (stat.st_uid, stat.st_gid, stat.st_mode) = (uid, uid, mode);
            stat
        };
        assert_eq!(overrides(&root, &stat(33, 0o100_600), access::READ), Some("DAC_OVERRIDE"));
        assert_eq!(overrides(&root, &stat(33, 0o100_644), access::READ), None);
        assert_eq!(overrides(&root, &stat(33, 0o100_644), access::WRITE), Some("DAC_OVERRIDE"));
        assert_eq!(overrides(&root, &stat(0, 0o100_600), access::WRITE), None);
        assert_eq!(overrides(&Holder { effective: 0, ..root }, &stat(33, 0o100_600), access::READ), None);
    }
}
