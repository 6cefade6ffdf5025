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

pub(super) const RET_KILL_PROCESS: u32 = 0x8000_0000;
pub(super) const RET_KILL_THREAD: u32 = 0;
pub(super) const RET_TRAP: u32 = 0x0003_0000;
pub(super) const RET_ERRNO: u32 = 0x0005_0000;
pub(super) const RET_NOTIFY: u32 = 0x7fc0_0000;
pub(super) const RET_TRACE: u32 = 0x7ff0_0000;
pub(super) const RET_LOG: u32 = 0x7ffc_0000;
pub(super) const RET_ALLOW: u32 = 0x7fff_0000;

/// Numbers from here on belong to the x32 interface of x86-64, which no profile of donjon's own opens.
const X32: u32 = 0x4000_0000;

/// Most instructions that the kernel takes (`BPF_MAXINSNS`).
pub(super) const MOST: usize = 4096;

/// What happens to one system call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decision {
    /// Always this.
    Always(u32),
    /// The first of these whose conditions all hold, or else the last word.
    Depends(Vec<(Vec<Condition>, u32)>, u32),
}

/// One comparison of an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Condition {
    /// Which argument, 0 to 5.
    pub index: u32,
    pub operator: Operator,
    /// What it is compared with; for `MASKED_EQ` the mask.
    pub value: u64,
    /// For `MASKED_EQ` what must be left under the mask.
    pub wanted: u64,
    /// The low half of the argument alone is looked at: the architecture has arguments of 32 bits.
    pub narrow: bool,
}

impl From<&LinuxSeccompArg> for Condition {
    fn from(arg: &LinuxSeccompArg) -> Self {
        Self {
            index: arg.index() as u32,
            operator: arg.op(),
            value: arg.value(),
            wanted: arg.value_two().unwrap_or(0),
            narrow: false,
        }
    }
}

/// What a filter returns for an action. Without a number ERRNO and TRACE carry EPERM.
pub(super) fn return_value(action: Action, errno: Option<u32>) -> u32 {
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
    let native = [(AUDIT_ARCH, ranges(decisions, default))];
    let filter = assemble(&native, RET_KILL_PROCESS)?;
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
        cases.extend(args.iter().map(|a| (vec![Condition::from(a)], action)));
    } else {
        cases.push((args.iter().map(Condition::from).collect(), action));
    }
}

/// The whole number space of an architecture, as ranges: each has its first number, and ends where the next begins.
#[derive(Debug)]
pub(super) struct Ranges(Vec<(u32, Decision)>);

impl Ranges {
    /// One range of all numbers.
    pub fn new(decision: Decision) -> Self {
        Self(vec![(0, decision)])
    }

    /// From `start` on something else. Starts come in their order.
    pub fn push(&mut self, start: u32, decision: Decision) {
        match self.0.last_mut() {
            Some((first, last)) if *first == start => *last = decision,
            Some((_, last)) if *last == decision && matches!(decision, Decision::Always(_)) => {}
            _ => self.0.push((start, decision)),
        }
    }

    /// Merges neighbours that agree: numbers that were replaced in place may now agree with their left neighbour.
    pub fn merge(&mut self) {
        self.0.dedup_by(|b, a| a.1 == b.1 && matches!(a.1, Decision::Always(_)));
    }
}

fn ranges(decisions: Vec<(u32, Decision)>, default: u32) -> Ranges {
    let mut ranges = Ranges::new(Decision::Always(default));
    for (nr, decision) in decisions {
        ranges.push(nr, decision);
        ranges.push(nr + 1, Decision::Always(default));
    }
    ranges.push(X32, Decision::Always(RET_ERRNO | libc::ENOSYS as u32));
    ranges.merge();
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
    fn condition(&mut self, condition: &Condition, yes: usize, no: usize) -> usize {
        let Condition { value, narrow, .. } = *condition;
        let low = ARGS + 8 * condition.index;
        match condition.operator {
            Operator::ScmpCmpEq => self.equal(value, low, narrow, yes, no),
            Operator::ScmpCmpNe => self.equal(value, low, narrow, no, yes),
            Operator::ScmpCmpGe => self.order(JGE, value, low, narrow, yes, no),
            Operator::ScmpCmpGt => self.order(JGT, value, low, narrow, yes, no),
            Operator::ScmpCmpLt => self.order(JGE, value, low, narrow, no, yes),
            Operator::ScmpCmpLe => self.order(JGT, value, low, narrow, no, yes),
            Operator::ScmpCmpMaskedEq => {
                let (mask_high, mask_low) = halves(value);
                let (want_high, want_low) = halves(condition.wanted);
                self.branch(JEQ, want_low, yes, no);
                self.push(AND, mask_low, 0, 0);
                let load_low = self.load(low);
                if narrow || mask_high == 0 && want_high == 0 {
                    return load_low;
                }
                self.branch(JEQ, want_high, load_low, no);
                self.push(AND, mask_high, 0, 0);
                self.load(low + 4)
            }
        }
    }

    fn equal(&mut self, value: u64, low: u32, narrow: bool, yes: usize, no: usize) -> usize {
        let (value_high, value_low) = halves(value);
        self.branch(JEQ, value_low, yes, no);
        let load_low = self.load(low);
        if narrow {
            return load_low;
        }
        self.branch(JEQ, value_high, load_low, no);
        self.load(low + 4)
    }

    /// Greater(-or-equal). Of 64 bits the high halves decide unless they are equal.
    fn order(&mut self, compare: u16, value: u64, low: u32, narrow: bool, yes: usize, no: usize) -> usize {
        let (value_high, value_low) = halves(value);
        self.branch(compare, value_low, yes, no);
        let load_low = self.load(low);
        if narrow {
            return load_low;
        }
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

fn halves(value: u64) -> (u32, u32) {
    ((value >> 32) as u32, value as u32)
}

/// The program of several architectures, each with its `AUDIT_ARCH_*`. Calls of any other get `other`.
pub(super) fn assemble(architectures: &[(u32, Ranges)], other: u32) -> Result<Vec<SockFilter>, SeccompError> {
    let mut program = Backwards::default();
    let mut entries = Vec::with_capacity(architectures.len());
    for (architecture, ranges) in architectures {
        let root = program.tree(&ranges.0);
        // Execution begins at the tree's root, which is the last thing that was added unless a return was shared.
        if root + 1 != program.code.len() {
            program.jump(root);
        }
        entries.push((*architecture, program.load(NR)));
    }
    program.returns.clear();
    let mut next = program.ret(other);
    for (architecture, entry) in entries {
        next = program.branch(JEQ, architecture, entry, next);
    }
    program.load(ARCH);
    program.code.reverse();
    if program.code.len() > MOST {
        return Err(SeccompError::TooLong(program.code.len()));
    }
    Ok(program.code)
}
