//! An interpreter of classic BPF: what a filter says of one call. The planner asks it what may still be done when the filter
//! is in force, the learner what it would have said of a call that it sees, and the tests about every call, and a plain
//! reading of the profile besides: the compiler is right when both say the same (R14).

#[cfg(test)]
use oci_spec::runtime::{
    LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompArg, LinuxSeccompOperator as Op,
};
use rustix::io::Errno;

use donjon_sys::seccomp::SockFilter;

use super::compile::{RET_ALLOW, RET_ERRNO, RET_KILL_PROCESS, RET_LOG, RET_NOTIFY};

/// What the kernel passes to a filter.
#[derive(Debug, Clone, Copy)]
pub struct Data {
    /// The call's number.
    pub nr: u32,
    /// `AUDIT_ARCH_*`.
    pub arch: u32,
    /// Its arguments.
    pub args: [u64; 6],
}

impl Data {
    /// `None`: no such place, or one that no filter of donjon's looks at (the instruction pointer).
    fn word(&self, offset: u32) -> Option<u32> {
        match offset {
            0 => Some(self.nr),
            4 => Some(self.arch),
            16..=63 => {
                let arg = *self.args.get(((offset - 16) / 8) as usize)?;
                Some(if offset.is_multiple_of(8) { arg as u32 } else { (arg >> 32) as u32 })
            }
            _ => None,
        }
    }
}

/// What a filter says of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It happens.
    Allow,
    /// It returns 0 and has no effect.
    Pretend,
    /// It fails with this.
    Errno(Errno),
    /// A listener is asked.
    Report,
    /// Anything else ends the process.
    Kill,
}

/// Asks a filter about a call.
pub fn verdict(filter: &[SockFilter], data: &Data) -> Verdict {
    // What the compiler does not write ends the process as far as this is concerned.
    match run(filter, data).map_or(RET_KILL_PROCESS, |(value, _)| value) {
        RET_ALLOW | RET_LOG => Verdict::Allow,
        RET_NOTIFY => Verdict::Report,
        RET_ERRNO => Verdict::Pretend,
        // The kernel takes a larger number for this one.
        other if other & 0xffff_0000 == RET_ERRNO => {
            Verdict::Errno(Errno::from_raw_os_error((other & 0xffff).min(4095) as i32))
        }
        _ => Verdict::Kill,
    }
}

/// Runs the filter; returns its value and how many instructions that took. `None`: it loads, jumps to or does what no
/// filter of ours does.
pub fn run(filter: &[SockFilter], data: &Data) -> Option<(u32, usize)> {
    let (mut pc, mut a, mut steps) = (0usize, 0u32, 0usize);
    loop {
        let i = filter.get(pc)?;
        steps += 1;
        pc += 1;
        let mut jump = |holds: bool| pc += usize::from(if holds { i.jt } else { i.jf });
        match i.code {
            0x20 => a = data.word(i.k)?,
            0x15 => jump(a == i.k),
            0x25 => jump(a > i.k),
            0x35 => jump(a >= i.k),
            0x05 => pc += i.k as usize,
            0x54 => a &= i.k,
            0x06 => return Some((i.k, steps)),
            _ => return None,
        }
    }
}

/// Whether the filter lets this call of this architecture through, alone or with a line in the log.
pub fn lets(filter: &[SockFilter], nr: u32, args: [u64; 6]) -> bool {
    verdict(filter, &Data { nr, arch: super::AUDIT_ARCH, args }) == Verdict::Allow
}

#[cfg(test)]
fn holds(arg: &LinuxSeccompArg, args: &[u64; 6]) -> bool {
    let v = args[arg.index()];
    match arg.op() {
        Op::ScmpCmpNe => v != arg.value(),
        Op::ScmpCmpLt => v < arg.value(),
        Op::ScmpCmpLe => v <= arg.value(),
        Op::ScmpCmpEq => v == arg.value(),
        Op::ScmpCmpGe => v >= arg.value(),
        Op::ScmpCmpGt => v > arg.value(),
        Op::ScmpCmpMaskedEq => v & arg.value() == arg.value_two().unwrap_or(0),
    }
}

#[cfg(test)]
fn value(action: Action, errno: Option<u32>) -> u32 {
    match action {
        Action::ScmpActAllow => 0x7fff_0000,
        Action::ScmpActErrno => 0x0005_0000 | errno.unwrap_or(1),
        Action::ScmpActNotify => 0x7fc0_0000,
        Action::ScmpActKillProcess => 0x8000_0000,
        Action::ScmpActKill | Action::ScmpActKillThread => 0,
        Action::ScmpActTrap => 0x0003_0000,
        Action::ScmpActTrace => 0x7ff0_0000 | errno.unwrap_or(1),
        Action::ScmpActLog => 0x7ffc_0000,
    }
}

/// What the profile says, read rule by rule.
#[cfg(test)]
pub fn expected(profile: &LinuxSeccomp, data: &Data) -> u32 {
    if data.arch != super::AUDIT_ARCH {
        return 0x8000_0000;
    }
    if data.nr >= 0x4000_0000 {
        return 0x0005_0000 | 38;
    }
    let name = super::name(data.nr as i32);
    let rules = || {
        profile
            .syscalls()
            .iter()
            .flatten()
            .filter(|r| name.is_some_and(|name| r.names().iter().any(|n| n == name)))
    };
    for rule in rules().filter(|r| r.args().as_ref().is_some_and(|a| !a.is_empty())) {
        let args = rule.args().as_deref().unwrap_or_default();
        let repeated = (0..6).any(|i| args.iter().filter(|a| a.index() == i).count() > 1);
        let all = args.iter().all(|a| holds(a, &data.args));
        let any = args.iter().any(|a| holds(a, &data.args));
        if (repeated && any) || (!repeated && all) {
            return value(rule.action(), rule.errno_ret());
        }
    }
    if let Some(rule) = rules().find(|r| r.args().as_ref().is_none_or(Vec::is_empty)) {
        return value(rule.action(), rule.errno_ret());
    }
    value(profile.default_action(), profile.default_errno_ret())
}
