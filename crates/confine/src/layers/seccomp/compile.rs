//! From a profile to a filter: a balanced tree of comparisons over system call numbers.
//!
//! The program is put together from its end, so that every jump's target is already there and its distance known;
//! a distance over 255, the most that a comparison can jump, gets an unconditional jump in between.

use donjon_sys::seccomp::SockFilter;
use oci_spec::runtime::{
    LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompArg, LinuxSeccompFilterFlag as Flag,
    LinuxSeccompOperator as Operator,
};

use super::{AUDIT_ARCH, Program, SeccompError, number};

const LD_ABS: u16 = 0x20;
const JEQ: u16 = 0x15;
const JGT: u16 = 0x25;
const JGE: u16 = 0x35;
const JA: u16 = 0x05;
const AND: u16 = 0x54;
const RET: u16 = 0x06;

/// Offsets in `struct seccomp_data`.
const NR: u32 = 0;
const ARCH: u32 = 4;
const ARGS: u32 = 16;

const RET_KILL_PROCESS: u32 = 0x8000_0000;
const RET_KILL_THREAD: u32 = 0;
const RET_TRAP: u32 = 0x0003_0000;
const RET_ERRNO: u32 = 0x0005_0000;
const RET_NOTIFY: u32 = 0x7fc0_0000;
const RET_TRACE: u32 = 0x7ff0_0000;
const RET_LOG: u32 = 0x7ffc_0000;
const RET_ALLOW: u32 = 0x7fff_0000;

/// Numbers from here on belong to the x32 interface of x86-64, which no profile opens.
const X32: u32 = 0x4000_0000;

/// Most instructions that the kernel takes (`BPF_MAXINSNS`).
const MOST: usize = 4096;

/// What happens to one system call.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Decision {
    /// Always this.
    Always(u32),
    /// The first of these whose conditions all hold, or else the last word.
    Depends(Vec<(Vec<LinuxSeccompArg>, u32)>, u32),
}

fn return_value(action: Action, errno: Option<u32>) -> u32 {
    let data = errno.unwrap_or(libc::EPERM as u32) & 0xffff;
    match action {
        Action::ScmpActKill | Action::ScmpActKillThread => RET_KILL_THREAD,
        Action::ScmpActKillProcess => RET_KILL_PROCESS,
        Action::ScmpActTrap => RET_TRAP,
        Action::ScmpActErrno => RET_ERRNO | data,
        Action::ScmpActNotify => RET_NOTIFY,
        Action::ScmpActTrace => RET_TRACE | data,
        Action::ScmpActLog => RET_LOG,
        Action::ScmpActAllow => RET_ALLOW,
    }
}

/// Compiles a profile for this machine's own architecture. Calls through another architecture's entry end the
/// process, as their numbers mean something else; x32 numbers get ENOSYS (R13).
///
/// Rules with conditions are tried before one without, in their order; among rules without the first counts. Several
/// conditions of one rule must all hold, except on the same argument, where each counts alone (as libseccomp's users
/// expect). Names that this architecture does not have are passed over. `architectures` can only add others, and donjon
/// opens none but the machine's own.
pub fn compile(profile: &LinuxSeccomp) -> Result<Program, SeccompError> {
    let default = return_value(profile.default_action(), profile.default_errno_ret());
    let mut listener = profile.default_action() == Action::ScmpActNotify;
    let mut table: Vec<Option<Decision>> = Vec::new();
    table.resize_with(1024, || None);
    for rule in profile.syscalls().iter().flatten() {
        let action = return_value(rule.action(), rule.errno_ret());
        listener |= rule.action() == Action::ScmpActNotify;
        for arg in rule.args().iter().flatten() {
            if arg.index() > 5 {
                return Err(SeccompError::ArgumentIndex(arg.index()));
            }
        }
        for nr in rule.names().iter().filter_map(|n| number(n)) {
            if let Some(place) = table.get_mut(nr as usize) {
                let decision = place.get_or_insert(Decision::Depends(Vec::new(), u32::MAX));
                decide(decision, rule.args().as_deref().unwrap_or_default(), action);
            }
        }
    }
    let mut decisions: Vec<(u32, Decision)> =
        (0..).zip(table).filter_map(|(nr, decision)| decision.map(|d| (nr, d))).collect();
    for (_, decision) in &mut decisions {
        if let Decision::Depends(cases, last) = decision {
            if *last == u32::MAX {
                *last = default;
            }
            if cases.is_empty() {
                *decision = Decision::Always(*last);
            }
        }
    }
    let filter = assemble(&ranges(decisions, default))?;
    let mut flags = 0;
    for flag in profile.flags().iter().flatten() {
        flags |= match flag {
            Flag::SeccompFilterFlagLog => donjon_sys::seccomp::flag::LOG,
            Flag::SeccompFilterFlagTsync => donjon_sys::seccomp::flag::TSYNC,
            Flag::SeccompFilterFlagSpecAllow => donjon_sys::seccomp::flag::SPEC_ALLOW,
            _ => 0,
        };
    }
    Ok(Program { filter: filter.into(), listener, flags })
}

/// Adds one rule to what is decided about a call. While rules are being read, `u32::MAX` stands for "nothing yet".
fn decide(decision: &mut Decision, args: &[LinuxSeccompArg], action: u32) {
    let Decision::Depends(cases, last) = decision else { return };
    if args.is_empty() {
        if *last == u32::MAX {
            *last = action;
        }
        return;
    }
    let repeated =
        args.iter().enumerate().any(|(i, a)| args.iter().skip(i + 1).any(|b| a.index() == b.index()));
    if repeated {
        cases.extend(args.iter().map(|a| (vec![*a], action)));
    } else {
        cases.push((args.to_vec(), action));
    }
}

/// The whole number space as ranges, each with its first number, neighbours that agree merged.
fn ranges(decisions: Vec<(u32, Decision)>, default: u32) -> Vec<(u32, Decision)> {
    let mut ranges: Vec<(u32, Decision)> = vec![(0, Decision::Always(default))];
    let mut push = |start: u32, decision: Decision| match ranges.last_mut() {
        Some((first, last)) if *first == start => *last = decision,
        Some((_, last)) if *last == decision && matches!(decision, Decision::Always(_)) => {}
        _ => ranges.push((start, decision)),
    };
    for (nr, decision) in decisions {
        push(nr, decision);
        push(nr + 1, Decision::Always(default));
    }
    push(X32, Decision::Always(RET_ERRNO | libc::ENOSYS as u32));
    // Numbers that were replaced in place may now agree with their left neighbour.
    ranges.dedup_by(|b, a| a.1 == b.1 && matches!(a.1, Decision::Always(_)));
    ranges
}

/// A program in the making, last instruction first. A label is an index into it.
#[derive(Default)]
struct Backwards {
    code: Vec<SockFilter>,
    returns: Vec<(u32, usize)>,
}

impl Backwards {
    fn push(&mut self, code: u16, k: u32, jt: u8, jf: u8) -> usize {
        self.code.push(SockFilter { code, jt, jf, k });
        self.code.len() - 1
    }

    fn load(&mut self, offset: u32) -> usize {
        self.push(LD_ABS, offset, 0, 0)
    }

    /// A return of `value`: one that is near enough, or a new one.
    fn ret(&mut self, value: u32) -> usize {
        let here = self.code.len();
        if let Some((_, label)) =
            self.returns.iter().rev().find(|(v, label)| *v == value && here - label < 128)
        {
            return *label;
        }
        let label = self.push(RET, value, 0, 0);
        self.returns.push((value, label));
        label
    }

    /// A comparison that goes on at `yes` or `no`.
    fn branch(&mut self, code: u16, k: u32, mut yes: usize, mut no: usize) -> usize {
        let far = |from: usize, to: usize| from - to - 1 > 255;
        // One more instruction may come before this one, so stay one short of the limit.
        if far(self.code.len() + 1, yes) {
            yes = self.jump(yes);
        }
        if far(self.code.len(), no) {
            no = self.jump(no);
        }
        let here = self.code.len();
        // Both fit: `far` was false for them, or a jump was put right here.
        let (jt, jf) = (here - yes - 1, here - no - 1);
        self.push(code, k, jt.min(255) as u8, jf.min(255) as u8)
    }

    fn jump(&mut self, to: usize) -> usize {
        let distance = self.code.len() - to - 1;
        self.push(JA, distance as u32, 0, 0)
    }

    /// Code that goes on at `yes` if the condition holds, else at `no`.
    fn condition(&mut self, arg: &LinuxSeccompArg, yes: usize, no: usize) -> usize {
        let low = ARGS + 8 * arg.index() as u32;
        let high = low + 4;
        let halves = |v: u64| ((v >> 32) as u32, v as u32);
        let (value_high, value_low) = halves(arg.value());
        match arg.op() {
            Operator::ScmpCmpEq => {
                self.branch(JEQ, value_low, yes, no);
                let load_low = self.load(low);
                self.branch(JEQ, value_high, load_low, no);
                self.load(high)
            }
            Operator::ScmpCmpNe => {
                self.branch(JEQ, value_low, no, yes);
                let load_low = self.load(low);
                self.branch(JEQ, value_high, load_low, yes);
                self.load(high)
            }
            Operator::ScmpCmpGe => self.order(JGE, arg.value(), low, yes, no),
            Operator::ScmpCmpGt => self.order(JGT, arg.value(), low, yes, no),
            Operator::ScmpCmpLt => self.order(JGE, arg.value(), low, no, yes),
            Operator::ScmpCmpLe => self.order(JGT, arg.value(), low, no, yes),
            Operator::ScmpCmpMaskedEq => {
                let (mask_high, mask_low) = (value_high, value_low);
                let (want_high, want_low) = halves(arg.value_two().unwrap_or(0));
                self.branch(JEQ, want_low, yes, no);
                self.push(AND, mask_low, 0, 0);
                let load_low = self.load(low);
                if mask_high == 0 && want_high == 0 {
                    return load_low;
                }
                self.branch(JEQ, want_high, load_low, no);
                self.push(AND, mask_high, 0, 0);
                self.load(high)
            }
        }
    }

    /// 64-bit greater(-or-equal): the high halves decide unless they are equal.
    fn order(&mut self, compare: u16, value: u64, low: u32, yes: usize, no: usize) -> usize {
        let (value_high, value_low) = ((value >> 32) as u32, value as u32);
        self.branch(compare, value_low, yes, no);
        let load_low = self.load(low);
        let equal = self.branch(JEQ, value_high, load_low, no);
        self.branch(JGT, value_high, yes, equal);
        self.load(low + 4)
    }

    fn decision(&mut self, decision: &Decision) -> usize {
        match decision {
            Decision::Always(value) => self.ret(*value),
            Decision::Depends(cases, last) => {
                let mut no = self.ret(*last);
                for (conditions, action) in cases.iter().rev() {
                    let mut yes = self.ret(*action);
                    for condition in conditions.iter().rev() {
                        yes = self.condition(condition, yes, no);
                    }
                    no = yes;
                }
                no
            }
        }
    }

    /// A balanced tree over `ranges`; the accumulator holds the number.
    fn tree(&mut self, ranges: &[(u32, Decision)]) -> usize {
        let (left, right) = ranges.split_at(ranges.len() / 2);
        match (left.is_empty(), right.first()) {
            (false, Some((start, _))) => {
                let yes = self.tree(right);
                let no = self.tree(left);
                self.branch(JGE, *start, yes, no)
            }
            (_, Some((_, decision))) => self.decision(decision),
            (_, None) => self.ret(RET_KILL_PROCESS),
        }
    }
}

fn assemble(ranges: &[(u32, Decision)]) -> Result<Vec<SockFilter>, SeccompError> {
    let mut program = Backwards::default();
    let root = program.tree(ranges);
    // Execution begins at the tree's root, which is the last thing that was added unless a return was shared.
    if root + 1 != program.code.len() {
        program.jump(root);
    }
    let load_number = program.load(NR);
    program.returns.clear();
    let foreign = program.ret(RET_KILL_PROCESS);
    program.branch(JEQ, AUDIT_ARCH, load_number, foreign);
    program.load(ARCH);
    program.code.reverse();
    if program.code.len() > MOST {
        return Err(SeccompError::TooLong(program.code.len()));
    }
    Ok(program.code)
}
