//! From a policy's words to a profile in the OCI specification's own terms.

use oci_spec::runtime::{
    LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompArg, LinuxSeccompArgBuilder, LinuxSeccompBuilder,
    LinuxSeccompOperator as Operator, LinuxSyscall, LinuxSyscallBuilder,
};

use serde::{Deserialize, Serialize};

use super::sets;
use super::{SeccompError, number};

/// What a policy says about system calls.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct SyscallPolicy {
    /// Sets (`@default`, `@basic-io`...) and names that exist for the container.
    pub allow: Vec<String>,
    /// Names and sets that are refused although they are allowed otherwise.
    pub deny: Vec<String>,
    /// Socket families: `unix`, `inet`, `inet6`, `netlink-route`, `netlink`, `packet`, `vsock`, `alg`, `bluetooth`.
    pub families: Vec<String>,
    /// Capabilities (`CAP_SYS_CHROOT`) that the program may have; each opens the calls that need it.
    pub capabilities: Vec<String>,
    /// With one id mapped: calls that change ids succeed without effect.
    pub squash: bool,
    /// User namespaces may be made inside.
    pub nested_userns: bool,
    /// No call brings code in beside the files of the root (see [`crate::layers::integrity`]), whatever is allowed.
    pub no_new_code: bool,
    /// Refused calls are reported to a listener, which answers them.
    pub record: bool,
}

/// `CLONE_NEW*` as `clone` and `unshare` take them; `clone` uses the time namespace's bit for its exit signal.
const NEW_NAMESPACES: u64 = 0x7e02_0000;
const NEW_NAMESPACES_OR_TIME: u64 = 0x7e02_0080;
/// The kernel looks at the low half of an `int` argument alone; so does a condition on it.
const LOW: u64 = 0xffff_ffff;

const ENOSYS: u32 = libc::ENOSYS as u32;
const EPERM: u32 = libc::EPERM as u32;

/// `ioctl` requests that type into or configure somebody else's terminal (R10), or load a line discipline.
pub(super) const TIOCSTI: u64 = 0x5412;
pub(super) const TIOCLINUX: u64 = 0x541c;
pub(super) const TIOCSETD: u64 = 0x5423;
/// `prctl` options that are looked at.
pub(super) const PR_SET_PDEATHSIG: u64 = 1;
pub(super) const PR_SET_MM: u64 = 35;

/// Calls that succeed without effect when one id is mapped: there is nobody else to become or to give a file to.
const SQUASHED: [&str; 13] = [
    "chown", "fchown", "lchown", "fchownat", "setuid", "setgid", "setreuid", "setregid", "setresuid",
    "setresgid", "setfsuid", "setfsgid", "setgroups",
];

/// Calls whose arguments decide.
const CONDITIONAL: [&str; 10] = [
    "clone", "unshare", "socket", "socketpair", "ioctl", "prctl", "personality", "mknod", "mknodat", "clone3",
];

/// Calls that the last steps of a start make under the filter: without them nothing could start, or the start would
/// wait for ever for an answer that nobody gives.
pub const NEEDED: [&str; 4] = ["close", "execve", "exit_group", "sendmsg"];

/// Calls that bring code in from where there is no file, or write it into memory that is code.
pub const NEW_CODE: [&str; 6] =
    ["memfd_create", "memfd_secret", "process_vm_writev", "ptrace", "remap_file_pages", "uselib"];
/// `SHM_EXEC` of `shmat`: System V memory as code.
const SHM_EXEC: u64 = 0o100_000;

/// Protocols of internet sockets: any (0), ICMP, TCP, UDP, ICMPv6. SCTP, MPTCP, raw numbers are not among them.
const INET_PROTOCOLS: [u64; 5] = [0, 1, 6, 17, 58];

/// Builds the profile of a policy. See `linux.seccomp` of the OCI runtime specification.
pub fn profile(policy: &SyscallPolicy) -> Result<LinuxSeccomp, SeccompError> {
    let mut allowed: Vec<&str> = Vec::with_capacity(320);
    for word in &policy.allow {
        if word.starts_with('@') {
            let members = sets::members(word).ok_or_else(|| SeccompError::UnknownSet(word.clone()))?;
            allowed.extend(members);
        } else {
            number(word).ok_or_else(|| SeccompError::UnknownCall(word.clone()))?;
            allowed.push(word);
        }
    }
    // What a word names by itself is opened whatever its arguments are, where that makes sense.
    let by_name = |name: &str| policy.allow.iter().any(|word| word == name);
    for (capability, calls) in sets::BY_CAPABILITY {
        if policy.capabilities.iter().any(|c| c == capability) {
            allowed.extend(*calls);
        }
    }
    let administers = policy.capabilities.iter().any(|c| c == "CAP_SYS_ADMIN");
    // By number: names are compared once each.
    let mut table = [false; 1024];
    for nr in allowed.iter().filter_map(|name| number(name)) {
        if let Some(place) = table.get_mut(nr as usize) {
            *place = true;
        }
    }
    for word in &policy.deny {
        let denied = match word.starts_with('@') {
            true => sets::members(word).ok_or_else(|| SeccompError::UnknownSet(word.clone()))?,
            false => {
                number(word).ok_or_else(|| SeccompError::UnknownCall(word.clone()))?;
                vec![word.as_str()]
            }
        };
        if let Some(needed) = denied.iter().find(|name| NEEDED.contains(name)) {
            return Err(SeccompError::Needed((*needed).to_string()));
        }
        for nr in denied.iter().filter_map(|name| number(name)) {
            if let Some(place) = table.get_mut(nr as usize) {
                *place = false;
            }
        }
    }
    for nr in NEW_CODE.iter().filter(|_| policy.no_new_code).filter_map(|name| number(name)) {
        if let Some(place) = table.get_mut(nr as usize) {
            *place = false;
        }
    }
    let conditional = |name: &str| CONDITIONAL.contains(&name) || (policy.no_new_code && name == "shmat");
    let granted = |name: &str| number(name).is_some_and(|nr| table.get(nr as usize) == Some(&true));
    if let Some(missing) = NEEDED.iter().find(|name| !granted(name)) {
        return Err(SeccompError::Needed((*missing).to_string()));
    }
    let refuse = if policy.record { Action::ScmpActNotify } else { Action::ScmpActErrno };
    let mut rules = Rules { rules: Vec::new(), refuse };

    let plain: Vec<String> = super::all()
        .filter(|(nr, n)| {
            table.get(*nr as usize) == Some(&true)
                && !conditional(n)
                && !(policy.squash && SQUASHED.contains(n))
        })
        .map(|(_, n)| n.to_string())
        .collect();
    rules.add(plain, Action::ScmpActAllow, None, Vec::new())?;
    if policy.squash {
        let names = SQUASHED.iter().filter(|n| granted(n)).map(|n| n.to_string()).collect();
        rules.add(names, Action::ScmpActErrno, Some(0), Vec::new())?;
    }
    // The C library falls back to clone, whose flags a filter can see.
    rules.add(vec!["clone3".into()], Action::ScmpActErrno, Some(ENOSYS), Vec::new())?;
    let nested = administers || policy.nested_userns;
    if granted("clone") {
        let args = if nested { Vec::new() } else { vec![masked(0, NEW_NAMESPACES, 0)?] };
        rules.add(vec!["clone".into()], Action::ScmpActAllow, None, args)?;
    }
    if granted("unshare") {
        let args = if nested { Vec::new() } else { vec![masked(0, NEW_NAMESPACES_OR_TIME, 0)?] };
        rules.add(vec!["unshare".into()], Action::ScmpActAllow, None, args)?;
    }
    let denies = |name: &str| {
        policy.deny.iter().any(|d| d == name || sets::members(d).is_some_and(|set| set.contains(&name)))
    };
    if policy.nested_userns && !denies("setns") {
        rules.add(vec!["setns".into()], Action::ScmpActAllow, None, Vec::new())?;
    }
    if granted("socket") {
        for family in &policy.families {
            for args in family_conditions(family)? {
                rules.add(vec!["socket".into()], Action::ScmpActAllow, None, args)?;
            }
        }
    }
    if granted("socketpair") {
        rules.add(vec!["socketpair".into()], Action::ScmpActAllow, None, vec![masked(0, LOW, 1)?])?;
    }
    if granted("ioctl") {
        for request in [TIOCSTI, TIOCLINUX, TIOCSETD] {
            rules.refuse("ioctl", vec![masked(1, LOW, request)?])?;
        }
        rules.add(vec!["ioctl".into()], Action::ScmpActAllow, None, Vec::new())?;
    }
    if granted("prctl") {
        for option in [PR_SET_PDEATHSIG, PR_SET_MM] {
            rules.refuse("prctl", vec![masked(0, LOW, option)?])?;
        }
        rules.add(vec!["prctl".into()], Action::ScmpActAllow, None, Vec::new())?;
    }
    if policy.no_new_code && granted("shmat") {
        rules.refuse("shmat", vec![masked(2, SHM_EXEC, SHM_EXEC)?])?;
        rules.add(vec!["shmat".into()], Action::ScmpActAllow, None, Vec::new())?;
    }
    if granted("personality") && by_name("personality") && !policy.no_new_code {
        rules.add(vec!["personality".into()], Action::ScmpActAllow, None, Vec::new())?;
    } else if granted("personality") {
        // Linux, 32 bit, an old version number, both, and the question what it is.
        for persona in [0u64, 8, 0x2_0000, 0x2_0008, LOW] {
            rules.add(
                vec!["personality".into()],
                Action::ScmpActAllow,
                None,
                vec![masked(0, LOW, persona)?],
            )?;
        }
    }
    for (name, index) in [("mknod", 1), ("mknodat", 2)] {
        if granted(name) {
            for device in [0x2000, 0x6000] {
                rules.refuse(name, vec![masked(index, 0xf000, device)?])?;
            }
            rules.add(vec![name.into()], Action::ScmpActAllow, None, Vec::new())?;
        }
    }
    // What is known and not allowed is refused and reported; what nobody knows does not exist.
    let decided_by_rule = |name: &str| {
        rules.rules.iter().skip(1).any(|r| r.args().is_none() && r.names().iter().any(|n| n == name))
    };
    let refused: Vec<String> = super::all()
        .filter(|(nr, n)| {
            let plain = table.get(*nr as usize) == Some(&true) && !conditional(n);
            !plain && !decided_by_rule(n)
        })
        .map(|(_, n)| n.to_string())
        .collect();
    rules.add(refused, refuse, Some(EPERM).filter(|_| !policy.record), Vec::new())?;
    LinuxSeccompBuilder::default()
        .default_action(Action::ScmpActErrno)
        .default_errno_ret(ENOSYS)
        .syscalls(rules.rules)
        .build()
        .map_err(|e| SeccompError::Spec(e.to_string()))
}

struct Rules {
    rules: Vec<LinuxSyscall>,
    refuse: Action,
}

impl Rules {
    fn add(
        &mut self,
        names: Vec<String>,
        action: Action,
        errno: Option<u32>,
        args: Vec<LinuxSeccompArg>,
    ) -> Result<(), SeccompError> {
        if names.is_empty() {
            return Ok(());
        }
        let mut rule = LinuxSyscallBuilder::default().names(names).action(action);
        if let Some(errno) = errno {
            rule = rule.errno_ret(errno);
        }
        if !args.is_empty() {
            rule = rule.args(args);
        }
        self.rules.push(rule.build().map_err(|e| SeccompError::Spec(e.to_string()))?);
        Ok(())
    }

    fn refuse(&mut self, name: &str, args: Vec<LinuxSeccompArg>) -> Result<(), SeccompError> {
        let errno = (self.refuse == Action::ScmpActErrno).then_some(EPERM);
        self.add(vec![name.to_string()], self.refuse, errno, args)
    }
}

/// The condition that an argument, cut by a mask, is a value.
pub fn masked(index: usize, mask: u64, value: u64) -> Result<LinuxSeccompArg, SeccompError> {
    LinuxSeccompArgBuilder::default()
        .index(index)
        .value(mask)
        .value_two(value)
        .op(Operator::ScmpCmpMaskedEq)
        .build()
        .map_err(|e| SeccompError::Spec(e.to_string()))
}

/// Every family that a policy can name.
pub const FAMILIES: [&str; 9] =
    ["unix", "inet", "inet6", "netlink-route", "netlink", "packet", "vsock", "alg", "bluetooth"];

/// The conditions under which a socket of a family may be made; each alone suffices.
fn family_conditions(family: &str) -> Result<Vec<Vec<LinuxSeccompArg>>, SeccompError> {
    let any = |number: u64| Ok(vec![vec![masked(0, LOW, number)?]]);
    match family {
        "unix" => any(1),
        "inet" | "inet6" => {
            let number = if family == "inet" { 2 } else { 10 };
            INET_PROTOCOLS
                .iter()
                .map(|protocol| Ok(vec![masked(0, LOW, number)?, masked(2, LOW, *protocol)?]))
                .collect()
        }
        "netlink-route" => Ok(vec![vec![masked(0, LOW, 16)?, masked(2, LOW, 0)?]]),
        "netlink" => any(16),
        "packet" => any(17),
        "bluetooth" => any(31),
        "alg" => any(38),
        "vsock" => any(40),
        other => Err(SeccompError::UnknownFamily(other.to_string())),
    }
}
