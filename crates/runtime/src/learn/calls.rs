//! Which calls say more than their name, and where in their arguments it stands.

use super::report::access;

/// A path argument: the one that holds the directory that it is relative to, and its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathAt {
    /// `None`: the current directory.
    pub directory: Option<usize>,
    /// The path.
    pub path: usize,
    /// A symbolic link at the end is followed.
    pub follow: bool,
}

/// What a call is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// Nothing more than its name.
    Nothing,
    /// It opens a file, with these flags (`O_*`).
    Open(PathAt, Flags),
    /// It does this with a file.
    File(PathAt, u8),
    /// It moves a file.
    Move(PathAt, PathAt),
    /// It executes a file.
    Execute(PathAt),
    /// It makes a socket.
    Socket,
    /// It names an address: where it is, and its length.
    Address(usize, usize),
    /// This argument's low half is a number that says something.
    Number(usize),
}

/// Where the flags of an open stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flags {
    /// In an argument.
    Argument(usize),
    /// In the `struct open_how` that an argument points to.
    How(usize),
    /// In no argument: `creat`.
    Creat,
}

const fn at(directory: Option<usize>, path: usize) -> PathAt {
    PathAt { directory, path, follow: true }
}

const fn itself(directory: Option<usize>, path: usize) -> PathAt {
    PathAt { directory, path, follow: false }
}

/// What the call of this name is about.
pub fn about(call: &str) -> About {
    use About::{Address, Execute, File, Move, Nothing, Number, Open, Socket};
    use access::{CREATE, DELETE, WRITE};
    match call {
        "openat" => Open(at(Some(0), 1), Flags::Argument(2)),
        "open" => Open(at(None, 0), Flags::Argument(1)),
        "openat2" => Open(at(Some(0), 1), Flags::How(2)),
        "creat" => Open(at(None, 0), Flags::Creat),
        "execve" => Execute(at(None, 0)),
        "execveat" => Execute(at(Some(0), 1)),
        "truncate" => File(at(None, 0), WRITE),
        "mkdir" | "mknod" => File(itself(None, 0), CREATE),
        "mkdirat" | "mknodat" => File(itself(Some(0), 1), CREATE),
        "symlink" => File(itself(None, 1), CREATE),
        "symlinkat" => File(itself(Some(1), 2), CREATE),
        "link" => File(itself(None, 1), CREATE),
        "linkat" => File(itself(Some(2), 3), CREATE),
        "unlink" | "rmdir" => File(itself(None, 0), DELETE),
        "unlinkat" => File(itself(Some(0), 1), DELETE),
        "rename" => Move(itself(None, 0), itself(None, 1)),
        "renameat" | "renameat2" => Move(itself(Some(0), 1), itself(Some(2), 3)),
        "socket" | "socketpair" => Socket,
        "connect" | "bind" => Address(1, 2),
        "sendto" => Address(4, 5),
        "ioctl" => Number(1),
        "prctl" | "clone" | "unshare" | "personality" | "ptrace" | "keyctl" | "arch_prctl" => Number(0),
        "setns" => Number(1),
        _ => Nothing,
    }
}

/// Numbers in words, where they have some.
pub fn number_in_words(call: &str, number: u64) -> String {
    let names: &[(u64, &str)] = match call {
        "prctl" => &[
            (1, "PR_SET_PDEATHSIG"),
            (3, "PR_GET_DUMPABLE"),
            (4, "PR_SET_DUMPABLE"),
            (8, "PR_SET_KEEPCAPS"),
            (15, "PR_SET_NAME"),
            (16, "PR_GET_NAME"),
            (22, "PR_SET_SECCOMP"),
            (23, "PR_CAPBSET_READ"),
            (24, "PR_CAPBSET_DROP"),
            (36, "PR_SET_CHILD_SUBREAPER"),
            (38, "PR_SET_NO_NEW_PRIVS"),
            (47, "PR_CAP_AMBIENT"),
            (0x5356_4d41, "PR_SET_VMA"),
        ],
        "ioctl" => &[
            (0x5402, "TCSETS"),
            (0x5403, "TCSETSW"),
            (0x540f, "TIOCGPGRP"),
            (0x5410, "TIOCSPGRP"),
            (0x5412, "TIOCSTI"),
            (0x5414, "TIOCSWINSZ"),
            (0x8004_5430, "TIOCGPTN"),
            (0x4004_5431, "TIOCSPTLCK"),
            (0x4004_9409, "FICLONE"),
        ],
        "arch_prctl" => &[(0x1002, "ARCH_SET_FS"), (0x3001, "ARCH_CET_STATUS")],
        _ => &[],
    };
    if matches!(call, "clone" | "unshare" | "setns") {
        return flags_in_words(number);
    }
    match names.iter().find(|(n, _)| *n == number) {
        Some((_, name)) => (*name).to_string(),
        None => format!("{number:#x}"),
    }
}

/// `CLONE_*`, without the exit signal.
fn flags_in_words(flags: u64) -> String {
    const NAMES: [(u64, &str); 17] = [
        (0x100, "VM"),
        (0x200, "FS"),
        (0x400, "FILES"),
        (0x800, "SIGHAND"),
        (0x4000, "VFORK"),
        (0x8000, "PARENT"),
        (0x1_0000, "THREAD"),
        (0x2_0000, "NEWNS"),
        (0x8_0000, "SETTLS"),
        (0x10_0000, "PARENT_SETTID"),
        (0x20_0000, "CHILD_CLEARTID"),
        (0x100_0000, "CHILD_SETTID"),
        (0x200_0000, "NEWCGROUP"),
        (0x400_0000, "NEWUTS"),
        (0x800_0000, "NEWIPC"),
        (0x1000_0000, "NEWUSER"),
        (0x2000_0000, "NEWPID"),
    ];
    let mut names: Vec<&str> =
        NAMES.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, name)| *name).collect();
    if flags & 0x4000_0000 != 0 {
        names.push("NEWNET");
    }
    if names.is_empty() { "a process".to_string() } else { names.join("|") }
}

/// `O_*` of an open: what is done with the file. `None`: nothing but being pointed at (`O_PATH`).
pub fn of_flags(flags: u64) -> Option<u8> {
    const O_PATH: u64 = 0o10_000_000;
    const O_TRUNC: u64 = 0o1000;
    if flags & O_PATH != 0 {
        return None;
    }
    let truncates = if flags & O_TRUNC != 0 { access::WRITE } else { 0 };
    Some(
        truncates
            | match flags & 3 {
                0 => access::READ,
                1 => access::WRITE,
                _ => access::READ | access::WRITE,
            },
    )
}

/// Whether an open may make the file.
pub fn makes(flags: u64) -> bool {
    const O_CREAT: u64 = 0o100;
    flags & O_CREAT != 0
}

/// Whether an open makes a file without a name in the directory that it names.
pub fn makes_nameless(flags: u64) -> bool {
    const O_TMPFILE: u64 = 0o20_000_000;
    flags & O_TMPFILE != 0
}

/// Whether an open follows a link at the end.
pub fn follows(flags: u64) -> bool {
    const O_NOFOLLOW: u64 = 0o400_000;
    const O_EXCL: u64 = 0o200;
    flags & O_NOFOLLOW == 0 && !(makes(flags) && flags & O_EXCL != 0)
}

/// The policy's word for a socket family, and whether the protocol is one of it.
pub fn family(family: u64, protocol: u64) -> Option<&'static str> {
    match family {
        1 => Some("unix"),
        2 => Some("inet"),
        10 => Some("inet6"),
        16 if protocol == 0 => Some("netlink-route"),
        16 => Some("netlink"),
        17 => Some("packet"),
        31 => Some("bluetooth"),
        38 => Some("alg"),
        40 => Some("vsock"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_of_an_open_say_what_is_done_with_the_file() {
        assert_eq!(of_flags(0o2_000_000), Some(access::READ));
        assert_eq!(of_flags(0o101), Some(access::WRITE));
        assert_eq!(of_flags(0o1000), Some(access::READ | access::WRITE));
        assert_eq!(of_flags(0o10_000_002), None);
        assert!(makes(0o101) && !makes(1) && makes_nameless(0o20_200_002) && !makes_nameless(0o200_000));
        assert!(follows(0o100) && !follows(0o300) && !follows(0o400_000));
    }

    #[test]
    fn every_call_that_is_looked_into_is_one() {
        use donjon_confine::layers::seccomp::{all_names, number};
        let looked_into = all_names().filter(|name| about(name) != About::Nothing).count();
        assert!(looked_into >= 25, "{looked_into}");
        assert_eq!(about("openat"), About::Open(at(Some(0), 1), Flags::Argument(2)));
        assert!(number("renameat2").is_some());
        assert_eq!(number_in_words("clone", 0x11), "a process");
        assert_eq!(number_in_words("clone", 0x100_0111), "VM|CHILD_SETTID");
        assert_eq!(number_in_words("prctl", 15), "PR_SET_NAME");
        assert_eq!(number_in_words("ioctl", 0xdead), "0xdead");
    }
}
