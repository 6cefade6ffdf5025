//! Refused calls in words: what was tried, what rule refused it, and what would allow it.

use rustix::io::Errno;

use super::{name, policy, sets};

/// A refused call, explained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The system call's name, or its number if it has none here.
    pub syscall: String,
    /// What it was about, decoded from its arguments where they are numbers.
    pub object: String,
    /// The rule that refused it.
    pub rule: String,
    /// The flag that would allow it.
    pub allow: Option<String>,
    /// The capability that the kernel would ask for besides.
    pub capability: Option<&'static str>,
    /// What allowing it would cost.
    pub advice: &'static str,
}

const FAMILIES: &[(u64, &str, &str)] = &[
    (1, "AF_UNIX", "unix"),
    (2, "AF_INET", "inet"),
    (10, "AF_INET6", "inet6"),
    (16, "AF_NETLINK", "netlink"),
    (17, "AF_PACKET", "packet"),
    (21, "AF_RDS", ""),
    (29, "AF_CAN", ""),
    (30, "AF_TIPC", ""),
    (31, "AF_BLUETOOTH", "bluetooth"),
    (33, "AF_RXRPC", ""),
    (38, "AF_ALG", "alg"),
    (40, "AF_VSOCK", "vsock"),
    (41, "AF_KCM", ""),
    (43, "AF_SMC", ""),
    (44, "AF_XDP", ""),
];

const NAMESPACES: &[(u64, &str)] = &[
    (0x0002_0000, "mount"),
    (0x0200_0000, "cgroup"),
    (0x0400_0000, "uts"),
    (0x0800_0000, "ipc"),
    (0x1000_0000, "user"),
    (0x2000_0000, "pid"),
    (0x4000_0000, "net"),
    (0x0000_0080, "time"),
];

/// Whether the call asks to change the signal of its parent's death, or to none. Of a container's first process this
/// would cut the tie to its warden.
pub fn is_pdeathsig(nr: i32, args: &[u64; 6]) -> bool {
    name(nr) == Some("prctl") && args[0] & 0xffff_ffff == policy::PR_SET_PDEATHSIG
}

/// The errno that a refused call is answered with: the one that programs know how to go on from.
pub fn errno_for(nr: i32, args: &[u64; 6]) -> Errno {
    match name(nr) {
        None => Errno::NOSYS,
        Some("socket" | "socketpair") => match args[0] & 0xffff_ffff {
            2 | 10 | 16 => Errno::PROTONOSUPPORT,
            _ => Errno::AFNOSUPPORT,
        },
        Some(call) if has_fallback(call) => Errno::NOSYS,
        Some(_) => Errno::PERM,
    }
}

/// Calls that programs try first and do without when they are not there.
fn has_fallback(call: &str) -> bool {
    call.starts_with("io_uring_")
        || matches!(
            call,
            "clone3"
                | "io_setup"
                | "memfd_secret"
                | "cachestat"
                | "statmount"
                | "listmount"
                | "quotactl_fd"
                | "lsm_get_self_attr"
                | "lsm_list_modules"
                | "getxattrat"
                | "setxattrat"
                | "listxattrat"
                | "removexattrat"
                | "file_getattr"
                | "file_setattr"
                | "open_tree_attr"
                | "process_mrelease"
        )
}

/// Explains a refused call.
pub fn describe(nr: i32, args: &[u64; 6]) -> Refusal {
    let Some(call) = name(nr) else {
        return Refusal {
            syscall: nr.to_string(),
            object: format!("system call number {nr}"),
            rule: "unknown system calls do not exist".to_string(),
            allow: None,
            capability: None,
            advice: "newer than this version of donjon; programs fall back from ENOSYS",
        };
    };
    let low = |i: usize| args.get(i).copied().unwrap_or(0) & 0xffff_ffff;
    let capability = sets::BY_CAPABILITY
        .iter()
        .find(|(_, calls)| calls.contains(&call))
        .map(|(capability, _)| *capability);
    let mut refusal = Refusal {
        syscall: call.to_string(),
        object: call.to_string(),
        rule: "[syscalls] allow: not listed".to_string(),
        allow: Some(format!("--syscall {call}")),
        capability,
        advice: "opens more of the kernel to the container",
    };
    if let Some(capability) = capability {
        let bare = capability.trim_start_matches("CAP_");
        refusal.rule = format!("[capabilities]: {bare} is not granted");
        refusal.allow = Some(format!("--cap-add {bare}"));
        refusal.advice = "power over the container's own namespaces; more kernel code in reach";
    }
    match call {
        "socket" | "socketpair" => {
            let (_, text, word) =
                FAMILIES.iter().find(|(n, ..)| *n == low(0)).copied().unwrap_or((low(0), "", ""));
            let family =
                if text.is_empty() { format!("address family {}", low(0)) } else { text.to_string() };
            refusal.object = format!("{family} socket, type {}, protocol {}", low(1) & 0xf, low(2));
            refusal.rule = "[sockets] families: not listed".to_string();
            refusal.allow = (!word.is_empty()).then(|| format!("--socket {word}"));
            if call == "socketpair" {
                refusal.rule = "[sockets]: pairs are of the family unix alone".to_string();
                refusal.allow = None;
            } else if matches!(low(0), 2 | 10) {
                refusal.rule = "[sockets]: of the internet families TCP, UDP and ICMP alone".to_string();
                refusal.allow = None;
            }
            refusal.advice = "each family is a kernel subsystem of its own; few are as well tested as TCP";
        }
        "clone" | "unshare" | "setns" => {
            let flags = if call == "setns" { low(1) } else { low(0) };
            let names: Vec<&str> = NAMESPACES
                .iter()
                .filter(|(bit, _)| flags & bit != 0 && !(call == "clone" && *bit == 0x80))
                .map(|(_, n)| *n)
                .collect();
            refusal.object = match (call, names.as_slice()) {
                ("setns", []) => "enter another namespace".to_string(),
                ("setns", names) => format!("enter another {} namespace", names.join(", ")),
                (_, names) => format!("new {} namespace", names.join(", ")),
            };
            refusal.rule = "[namespaces] nested = false".to_string();
            refusal.allow = Some("--nested-userns".to_string());
            refusal.advice =
                "root in a nested user namespace reaches the kernel code behind most known escapes";
        }
        "ioctl" => {
            let request = match low(1) {
                policy::TIOCSTI => "TIOCSTI (typing into a terminal)".to_string(),
                policy::TIOCLINUX => "TIOCLINUX (pasting into a console)".to_string(),
                policy::TIOCSETD => "TIOCSETD (loading a line discipline)".to_string(),
                other => format!("request {other:#x}"),
            };
            refusal.object = format!("ioctl {request}");
            refusal.rule = "always refused".to_string();
            refusal.allow = None;
            refusal.advice = "no program needs it; attackers leave containers by it";
        }
        "prctl" => {
            refusal.object = match low(0) {
                policy::PR_SET_PDEATHSIG => {
                    "prctl PR_SET_PDEATHSIG by the container's first process".to_string()
                }
                policy::PR_SET_MM => "prctl PR_SET_MM".to_string(),
                other => format!("prctl option {other}"),
            };
            refusal.rule = "always refused".to_string();
            refusal.allow = None;
            refusal.advice = "the container must end with its warden";
        }
        "mknod" | "mknodat" => {
            let mode = if call == "mknod" { low(1) } else { low(2) };
            let kind = if mode & 0xf000 == 0x6000 { "block" } else { "character" };
            refusal.object = format!("make a {kind} device");
            refusal.rule = "devices can't be made".to_string();
            refusal.allow = Some("--device /dev/NAME".to_string());
            refusal.capability = Some("CAP_MKNOD");
            refusal.advice = "the kernel forbids it in a user namespace; give the device by name instead";
        }
        "personality" => {
            refusal.object = format!("personality {:#x}", low(0));
            refusal.rule = "only harmless execution domains".to_string();
            refusal.allow = Some("--syscall personality".to_string());
            refusal.advice = "switches address space randomisation off for the program itself";
        }
        "ptrace" => refusal.object = format!("ptrace request {}", low(0)),
        "keyctl" | "add_key" | "request_key" => {
            refusal.object = "kernel keyrings".to_string();
            refusal.advice = "keyrings are not separated by namespaces as well as the rest";
        }
        _ => {
            if let Some(set) = sets::set_of(call).filter(|_| capability.is_none()) {
                refusal.allow = Some(format!("--syscall {call} (or its set {set})"));
            }
        }
    }
    refusal
}
