//! Whether it is wise to allow something: a word and a sentence for each kind.

use donjon_runtime::events::Event;
use serde::Serialize;

/// What to think of allowing a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Advice {
    /// One word.
    pub verdict: Verdict,
    /// Why.
    pub why: &'static str,
}

/// In one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It costs little.
    Fine,
    /// It depends on the program.
    Depends,
    /// It opens what most escapes went through.
    Unwise,
    /// It can't be allowed.
    Never,
}

impl Verdict {
    /// As it is shown.
    pub fn word(self) -> &'static str {
        match self {
            Self::Fine => "fine",
            Self::Depends => "depends",
            Self::Unwise => "unwise",
            Self::Never => "never",
        }
    }
}

/// Capabilities that are root by another name, also inside a user namespace: they reach kernel code that was written for
/// root.
const STRONG: [&str; 11] = [
    "SYS_ADMIN", "SYS_MODULE", "SYS_PTRACE", "SYS_RAWIO", "SYS_BOOT", "BPF", "PERFMON", "DAC_READ_SEARCH",
    "MAC_ADMIN", "MAC_OVERRIDE", "CHECKPOINT_RESTORE",
];
/// Calls behind many of the kernel's flaws of the last years.
const FEARED: [&str; 15] = [
    "bpf", "userfaultfd", "perf_event_open", "keyctl", "add_key", "request_key", "kexec_load",
    "kexec_file_load", "init_module", "finit_module", "delete_module", "open_by_handle_at", "ptrace",
    "process_vm_writev", "modify_ldt",
];

/// What to think of allowing this refusal.
pub fn of(event: &Event) -> Advice {
    let say = |verdict, why| Advice { verdict, why };
    let Some(allow) = event.allow.as_deref() else {
        return match (event.layer.as_str(), event.operation.as_str()) {
            ("donjon", _) => say(Verdict::Never, "this is a word about the log, not a refusal"),
            ("apparmor", _) => say(
                Verdict::Depends,
                "the machine's administrator wrote the profile, and can change it there: donjon has no flag for it",
            ),
            ("selinux", _) => say(
                Verdict::Depends,
                "the machine's policy and the labels decide: often the files lack the label of containers (chcon, :z)",
            ),
            ("landlock", _) => say(
                Verdict::Never,
                "signals and sockets of programs outside are not the container's, whoever asks",
            ),
            (_, "socket" | "socketpair") => say(
                Verdict::Never,
                "this kind of socket is behind many of the kernel's flaws, and hardly a program needs it",
            ),
            _ => say(Verdict::Never, "no program needs it, and attackers leave containers by it"),
        };
    };
    let mut words = allow.split_ascii_whitespace();
    match (words.next().unwrap_or_default(), words.next().unwrap_or_default()) {
        ("--syscall", "personality") => say(
            Verdict::Unwise,
            "it takes away that addresses are random, which makes flaws of the program easy to use",
        ),
        ("--syscall", call) if FEARED.contains(&call) || call.starts_with("io_uring_") => say(
            Verdict::Unwise,
            "flaws behind this call broke out of containers again and again; most programs go on without it",
        ),
        ("--syscall", _) => say(
            Verdict::Depends,
            "each call is more of the kernel within reach: allow it if the program fails without it, not because it asks",
        ),
        ("--socket", "packet") => say(
            Verdict::Depends,
            "for tools that look at packets: it sees all of its network, and the kernel's code for it had many flaws",
        ),
        ("--socket", "netlink") => say(
            Verdict::Unwise,
            "all of netlink, with firewall and IPsec: the kernel code behind most recent escapes. netlink-route is there",
        ),
        ("--socket", _) => say(
            Verdict::Unwise,
            "a subsystem of the kernel that few programs use and few people test; look for a way without it first",
        ),
        ("--cap-add", capability) if STRONG.contains(&capability) => say(
            Verdict::Unwise,
            "this is most of root's power over the container, and opens kernel code that was written for root alone",
        ),
        ("--cap-add", "NET_ADMIN") => say(
            Verdict::Unwise,
            "the container could change its own network and reach the kernel's firewall code, which many escapes went \
             through",
        ),
        ("--cap-add", "NET_RAW") => say(
            Verdict::Depends,
            "for ping and packet tools: it can forge packets on its network. Many programs of ping need it no more",
        ),
        ("--cap-add", _) => say(
            Verdict::Depends,
            "it counts inside the container's own namespaces alone; name this one, never ALL",
        ),
        ("--nested-userns", _) => say(
            Verdict::Unwise,
            "root in a namespace of its own reaches the code behind most known escapes. A browser or build tool that wants \
             it has a switch to do without (--no-sandbox), and donjon is the sandbox then",
        ),
        ("--pids-limit", _) => say(
            Verdict::Fine,
            "if the program is meant to have so many; a number that grows without end is a fork bomb",
        ),
        ("--memory", _) => say(
            Verdict::Fine,
            "if the machine has it to spare; a program that grows without end only ends later",
        ),
        ("--ro", _) => {
            say(Verdict::Fine, "if nothing secret lies there; name the smallest directory that will do")
        }
        ("--rw", _) => say(
            Verdict::Depends,
            "what the program may write, it may ruin, and others may execute: give it a directory of its own",
        ),
        ("--device", _) => say(
            Verdict::Depends,
            "a device is a driver within reach; a harmless one (a camera, a serial line) is given by its name",
        ),
        ("--security-opt", _) => {
            say(Verdict::Unwise, "this part of /proc or /sys tells of the machine, or steers it")
        }
        _ => say(Verdict::Depends, "allow it if the program fails without it"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(layer: &str, operation: &str, allow: Option<&str>) -> Verdict {
        let event = Event {
            layer: layer.into(),
            operation: operation.into(),
            allow: allow.map(String::from),
            ..Event::default()
        };
        let advice = of(&event);
        assert!(advice.why.len() > 20);
        advice.verdict
    }

    #[test]
    fn what_broke_containers_before_is_called_unwise_and_what_can_not_be_had_never() {
        use Verdict::*;
        for (layer, operation, allow, expected) in [
            ("seccomp", "bpf", Some("--syscall bpf"), Unwise),
            ("seccomp", "io_uring_setup", Some("--syscall io_uring_setup (or its set @io-uring)"), Unwise),
            ("seccomp", "vmsplice", Some("--syscall vmsplice"), Depends),
            ("seccomp", "unshare", Some("--nested-userns"), Unwise),
            ("seccomp", "socket", Some("--socket alg"), Unwise),
            ("seccomp", "socket", None, Never),
            ("seccomp", "ioctl", None, Never),
            ("capabilities", "mount", Some("--cap-add SYS_ADMIN"), Unwise),
            ("capabilities", "chroot", Some("--cap-add SYS_CHROOT"), Depends),
            ("cgroups", "fork", Some("--pids-limit NUMBER"), Fine),
            ("landlock", "fs.write_file", Some("--rw SRC:/data"), Depends),
            ("landlock", "scope.signal", None, Never),
            ("apparmor", "open (w)", None, Depends),
            ("selinux", "read", None, Depends),
        ] {
            assert_eq!(verdict(layer, operation, allow), expected, "{layer} {operation} {allow:?}");
        }
    }
}
