//! Filters that somebody else wrote: `linux.seccomp` of an engine's or a user's configuration.
//!
//! **Stops** what the profile says, no less: the meaning is that of libseccomp as runc uses it, for every architecture
//! that the profile lists (see [`precedence`]). **Can't stop** what the profile forgot.
//!
//! The profile's own words are not judged. Where they leave something open, the stricter reading is taken:
//!
//! - `socketcall` and `ipc` of i386 carry other calls whose arguments can't be seen. A rule for `socket` with conditions
//!   says nothing about them, so such an operation gets the strictest answer that any rule about the call could give.
//!   (libseccomp lets the operation through whatever its arguments are, as soon as a rule allows some of them.) What the
//!   profile says about `socketcall` and `ipc` by their names comes before that.
//! - Speculation control stays on unless the profile has `SECCOMP_FILTER_FLAG_SPEC_ALLOW`.
//!
//! As runc does, numbers above the highest call that the profile names answer ENOSYS in place of a refusing default
//! action, so that programs fall back from calls that are newer than the profile.

mod abi;
mod elsewhere;
mod precedence;
#[cfg(test)]
mod tests;

use donjon_sys::seccomp::flag;
use oci_spec::runtime::{
    LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompArg, LinuxSeccompFilterFlag as Flag,
    LinuxSeccompOperator as Operator,
};

use self::abi::ABIS;
use self::precedence::{Contradiction, Idle, Rule, decide};
use super::compile::{
    Condition, Decision, MOST, RET_ERRNO, RET_KILL_PROCESS, RET_KILL_THREAD, RET_TRAP, Ranges, assemble,
    return_value,
};
use super::{AUDIT_ARCH, Program, SeccompError};

const ENOSYS: u32 = RET_ERRNO | libc::ENOSYS as u32;
/// The largest error number that a system call can return.
const MAX_ERRNO: u32 = 4095;
/// Notes about names that are told one by one.
const MOST_NOTES: usize = 8;

/// Compiles a profile for every architecture that it lists and this machine has. Returns the filter, and what is worth
/// knowing about the profile: names that nobody has, rules that other rules make idle.
pub fn compile(profile: &LinuxSeccomp) -> Result<(Program, Vec<String>), SeccompError> {
    let mut notes = Vec::new();
    let rules = read(profile)?;
    let listener = rules.iter().any(|rule| rule.action == Action::ScmpActNotify);
    listener_is_served(profile, listener)?;
    let default = return_value(profile.default_action(), profile.default_errno_ret());
    // A tracer answers for calls that it does not know.
    let permissive =
        matches!(profile.default_action(), Action::ScmpActAllow | Action::ScmpActLog | Action::ScmpActTrace);
    let newer = (!permissive && profile.default_errno_ret() != Some(libc::ENOSYS as u32)).then_some(ENOSYS);
    let listed = listed(profile, &mut notes);
    let (names, unknown) = resolve(&rules);
    notes.extend(unknown);

    let mut architectures: Vec<(u32, Ranges)> = Vec::with_capacity(ABIS.len());
    let mut idle = Vec::new();
    let mut native = None;
    let mut x32 = None;
    for (which, abi) in ABIS.iter().enumerate().filter(|(which, _)| listed[*which]) {
        let calls = Calls::new(which, &names, &rules, default, &mut idle)?;
        if native.is_none() {
            needed(&calls, default, listener)?;
            native = Some(calls);
        } else if abi.audit == AUDIT_ARCH {
            x32 = Some(calls);
        } else {
            let mut ranges = Ranges::new(Decision::Always(default));
            calls.add(&mut ranges, default, newer);
            ranges.merge();
            architectures.push((abi.audit, ranges));
        }
    }
    if let Some(native) = native {
        // Last, as the last is compared first.
        architectures.push((AUDIT_ARCH, machine(native, x32, default, newer)));
    }
    let filter = assemble(&architectures, RET_KILL_THREAD)?;
    notes.extend(idle_in_words(idle));
    let flags = flags(profile, listener, &mut notes);
    Ok((Program { filter: filter.into(), listener, flags }, notes))
}

/// A rule of the profile, read.
struct Words<'a> {
    action: Action,
    value: u32,
    names: &'a [String],
    /// Each alone suffices; of one list all must hold. For arguments of 64 bits and of 32.
    wide: Vec<Vec<Condition>>,
    narrow: Vec<Vec<Condition>>,
}

fn wrong(field: impl Into<String>, what: impl Into<String>) -> SeccompError {
    SeccompError::Profile { field: field.into(), what: what.into() }
}

fn read(profile: &LinuxSeccomp) -> Result<Vec<Words<'_>>, SeccompError> {
    if profile.default_action() == Action::ScmpActNotify {
        let what =
            "SCMP_ACT_NOTIFY can't be the default: the calls that hand the listener over would wait for it";
        return Err(wrong("linux.seccomp.defaultAction", what));
    }
    errno_fits(profile.default_action(), profile.default_errno_ret(), || {
        "linux.seccomp.defaultErrnoRet".to_string()
    })?;
    let rules = profile.syscalls().iter().flatten().enumerate();
    rules
        .map(|(place, rule)| {
            let field = || format!("linux.seccomp.syscalls[{place}]");
            if rule.names().is_empty() {
                return Err(wrong(format!("{}.names", field()), "is empty: a rule is about at least one call"));
            }
            for (i, name) in rule.names().iter().enumerate() {
                if name.is_empty() {
                    return Err(wrong(format!("{}.names[{i}]", field()), "is empty"));
                }
                if name == "sendmsg" && rule.action() == Action::ScmpActNotify {
                    let what = "SCMP_ACT_NOTIFY is not possible for sendmsg: the listener is handed over with it, \
                                and would wait for itself; allow it, or refuse it with SCMP_ACT_ERRNO only if \
                                nothing is notified";
                    return Err(wrong(format!("{}.names[{i}]", field()), what));
                }
            }
            errno_fits(rule.action(), rule.errno_ret(), || format!("{}.errnoRet", field()))?;
            let args = rule.args().as_deref().unwrap_or_default();
            if let Some(i) = args.iter().position(|arg| arg.index() > 5) {
                let what = format!("{} is no argument: a system call has arguments 0 to 5", args[i].index());
                return Err(wrong(format!("{}.args[{i}].index", field()), what));
            }
            Ok(Words {
                action: rule.action(),
                value: return_value(rule.action(), rule.errno_ret()),
                names: rule.names(),
                wide: alternatives(args, false),
                narrow: alternatives(args, true),
            })
        })
        .collect()
}

fn errno_fits(action: Action, errno: Option<u32>, field: impl Fn() -> String) -> Result<(), SeccompError> {
    let most = match action {
        Action::ScmpActErrno => MAX_ERRNO,
        Action::ScmpActTrace => 0xffff,
        _ => {
            return errno
                .map_or(Ok(()), |_| Err(wrong(field(), format!("{action} returns no error number"))));
        }
    };
    match errno {
        Some(errno) if errno > most => Err(wrong(field(), format!("{errno}: the most is {most}"))),
        _ => Ok(()),
    }
}

/// The conditions of a rule. Several must all hold; but when two look at the same argument, each of them alone is a
/// rule, as runc keeps it for profiles of old.
fn alternatives(args: &[LinuxSeccompArg], narrow: bool) -> Vec<Vec<Condition>> {
    let conditions = || args.iter().filter_map(|arg| condition(arg, narrow));
    let twice = (0..6).any(|index| args.iter().filter(|arg| arg.index() == index).count() > 1);
    if twice {
        return args.iter().map(|arg| condition(arg, narrow).into_iter().collect()).collect();
    }
    let mut all: Vec<Condition> = conditions().collect();
    all.sort_unstable_by_key(|condition| condition.index);
    vec![all]
}

/// A condition, or none for one that always holds.
fn condition(arg: &LinuxSeccompArg, narrow: bool) -> Option<Condition> {
    let seen = if narrow { 0xffff_ffff } else { u64::MAX };
    let mut condition = Condition { narrow, ..Condition::from(arg) };
    condition.value &= seen;
    condition.wanted &= condition.value;
    let nothing = condition.operator == Operator::ScmpCmpMaskedEq && condition.value == 0;
    (!nothing).then_some(condition)
}

fn listener_is_served(profile: &LinuxSeccomp, listener: bool) -> Result<(), SeccompError> {
    let path = profile.listener_path().as_ref().filter(|path| !path.as_os_str().is_empty());
    if listener && path.is_none() {
        let what = "is missing: a rule has SCMP_ACT_NOTIFY, and nobody would answer";
        return Err(wrong("linux.seccomp.listenerPath", what));
    }
    if path.is_none() && profile.listener_metadata().as_ref().is_some_and(|data| !data.is_empty()) {
        return Err(wrong("linux.seccomp.listenerMetadata", "is there without a listenerPath to send it to"));
    }
    Ok(())
}

/// A name of the profile.
struct Named<'a> {
    name: &'a str,
    /// The place of its rule.
    place: usize,
    /// Its number for each interface.
    numbers: [Option<u32>; ABIS.len()],
}

/// Looks all names up, and says which no architecture has.
fn resolve<'a>(rules: &[Words<'a>]) -> (Vec<Named<'a>>, Vec<String>) {
    let mut names = Vec::with_capacity(rules.iter().map(|rule| rule.names.len()).sum());
    let mut notes = Vec::new();
    let mut more = 0;
    for (place, rule) in rules.iter().enumerate() {
        for (i, name) in rule.names.iter().enumerate() {
            let native = abi::native(name);
            let numbers = ABIS.each_ref().map(|abi| (abi.number)(name, native));
            names.push(Named { name, place, numbers });
            if numbers.iter().any(Option::is_some) || elsewhere::exists_elsewhere(name) {
                continue;
            }
            if notes.len() < MOST_NOTES {
                notes.push(format!(
                    "seccomp: linux.seccomp.syscalls[{place}].names[{i}]: {name:?} is no system call that donjon knows; \
                     it is passed over"
                ));
            } else {
                more += 1;
            }
        }
    }
    if more > 0 {
        notes.push(format!("seccomp: {more} more names are no system calls that donjon knows"));
    }
    (names, notes)
}

/// Which interfaces are open. The machine's own always is.
fn listed(profile: &LinuxSeccomp, notes: &mut Vec<String>) -> [bool; ABIS.len()] {
    let mut listed = [false; ABIS.len()];
    listed[0] = true;
    for (i, arch) in profile.architectures().iter().flatten().enumerate() {
        match ABIS.iter().position(|abi| abi.name == *arch) {
            Some(place) => listed[place] = true,
            None if *arch == oci_spec::runtime::Arch::ScmpArchNative => {}
            None => notes.push(format!(
                "seccomp: linux.seccomp.architectures[{i}]: no call of {arch} ever comes on this machine"
            )),
        }
    }
    listed
}

/// What is decided about the calls of one interface.
struct Calls {
    /// By number.
    decisions: Vec<(u32, Decision)>,
    /// The highest number that the profile names.
    last: Option<u32>,
}

impl Calls {
    fn new(
        which: usize,
        names: &[Named<'_>],
        rules: &[Words<'_>],
        default: u32,
        idle: &mut Vec<Idle>,
    ) -> Result<Self, SeccompError> {
        let abi = &ABIS[which];
        let number = |name: &Named<'_>| Some((name.numbers[which]?, name.place));
        let mut named: Vec<(u32, usize)> = names.iter().filter_map(number).collect();
        let operation = |name: &Named<'_>| {
            let (through, operation) = (abi.multiplexed)(name.name)?;
            Some((through, operation, name.place))
        };
        let mut operations: Vec<(u32, u32, usize)> = names.iter().filter_map(operation).collect();
        // Stable: of one call the rules stay in their order.
        named.sort_by_key(|(nr, _)| *nr);
        operations.sort_by_key(|(through, operation, _)| (*through, *operation));
        let about = |place: usize| {
            let rule = &rules[place];
            let alternatives = if abi.narrow { &rule.narrow } else { &rule.wide };
            alternatives.iter().map(move |conditions| Rule { place, value: rule.value, conditions })
        };
        let mut decisions = Vec::with_capacity(named.len());
        for group in named.chunk_by(|a, b| a.0 == b.0) {
            let asked: usize = group.iter().map(|(_, place)| about(*place).count()).sum();
            if asked > MOST {
                return Err(SeccompError::TooLong(asked));
            }
            let decision = decide(group.iter().flat_map(|(_, place)| about(*place)), default, idle)?;
            decisions.push((group[0].0, decision));
        }
        for group in operations.chunk_by(|a, b| a.0 == b.0) {
            let through = group[0].0;
            let rules_of_its_own = named.iter().filter(|(nr, _)| *nr == through);
            let whole = |place: usize| about(place).any(|rule| rule.conditions.is_empty());
            if rules_of_its_own.clone().any(|(_, place)| whole(*place)) {
                continue;
            }
            let place = match decisions.binary_search_by_key(&through, |(nr, _)| *nr) {
                Ok(place) => place,
                Err(place) => {
                    decisions.insert(place, (through, Decision::Always(default)));
                    place
                }
            };
            let mut cases = match std::mem::replace(&mut decisions[place].1, Decision::Always(default)) {
                Decision::Always(_) => Vec::new(),
                Decision::Depends(cases, _) => cases,
            };
            for operation in group.chunk_by(|a, b| a.1 == b.1) {
                let ways = operation.iter().flat_map(|(_, _, place)| about(*place));
                // What is idle is told of the call itself.
                let value = strictest(&decide(ways, default, &mut Vec::new())?);
                if value != default {
                    cases.push((vec![is_operation(operation[0].1)], value));
                }
            }
            if !cases.is_empty() {
                decisions[place].1 = Decision::Depends(cases, default);
            }
        }
        let last = named.last().map(|(nr, _)| *nr).filter(|nr| *nr != 0);
        Ok(Self { decisions, last })
    }

    /// Adds what is decided, and what holds for the numbers above.
    fn add(self, ranges: &mut Ranges, default: u32, newer: Option<u32>) {
        for (nr, decision) in self.decisions {
            ranges.push(nr, decision);
            ranges.push(nr + 1, Decision::Always(default));
        }
        if let (Some(last), Some(newer)) = (self.last, newer) {
            ranges.push(last + 1, Decision::Always(newer));
        }
    }

    /// What is decided about a call of the machine's own interface.
    fn about(&self, name: &str, default: u32) -> Decision {
        abi::native(name)
            .and_then(|nr| self.decisions.binary_search_by_key(&nr, |(nr, _)| *nr).ok())
            .map_or(Decision::Always(default), |place| self.decisions[place].1.clone())
    }
}

fn is_operation(operation: u32) -> Condition {
    Condition {
        index: 0,
        operator: Operator::ScmpCmpEq,
        value: u64::from(operation),
        wanted: 0,
        narrow: true,
    }
}

/// All answers that a decision may give.
fn answers(decision: &Decision) -> Vec<u32> {
    match decision {
        Decision::Always(value) => vec![*value],
        Decision::Depends(cases, last) => cases.iter().map(|(_, value)| *value).chain([*last]).collect(),
    }
}

/// The strictest of the answers, in the kernel's own order: from killing the process to allowing the call.
fn strictest(decision: &Decision) -> u32 {
    answers(decision)
        .into_iter()
        .min_by_key(|value| (*value & 0xffff_0000) as i32)
        .unwrap_or(RET_KILL_PROCESS)
}

/// The machine's own numbers, and those of x32 above them where there is x32.
fn machine(native: Calls, x32: Option<Calls>, default: u32, newer: Option<u32>) -> Ranges {
    let mut ranges = Ranges::new(Decision::Always(default));
    let native_newer = newer.filter(|_| native.last.is_some());
    native.add(&mut ranges, default, newer);
    if ABIS.iter().any(|abi| abi.name == oci_spec::runtime::Arch::ScmpArchX32) {
        let answer = |newer: Option<u32>, otherwise: u32| Decision::Always(newer.unwrap_or(otherwise));
        // Bits 30 and 31 of a number make four parts. The kernel knows no call with bit 31.
        match x32 {
            Some(x32) => {
                let x32_newer = newer.filter(|_| x32.last.is_some());
                ranges.push(abi::X32_BIT, Decision::Always(default));
                x32.add(&mut ranges, default, newer);
                ranges.push(0x8000_0000, answer(native_newer, default));
                ranges.push(0xc000_0000, answer(x32_newer, default));
            }
            None => {
                ranges.push(abi::X32_BIT, Decision::Always(RET_KILL_THREAD));
                ranges.push(0x8000_0000, answer(native_newer, RET_KILL_THREAD));
                ranges.push(0xc000_0000, Decision::Always(RET_KILL_THREAD));
                // A tracer skips a call by making its number -1.
                ranges.push(u32::MAX, Decision::Always(default));
            }
        }
    }
    ranges.merge();
    ranges
}

/// What the last steps of a start do under the filter must be possible.
fn needed(calls: &Calls, default: u32, listener: bool) -> Result<(), SeccompError> {
    let refused = |value: &u32| {
        let action = value & 0xffff_0000;
        matches!(action, RET_KILL_PROCESS | RET_KILL_THREAD | RET_TRAP | RET_ERRNO)
    };
    let reasons = [
        ("execve", "the program can't be started without it"),
        ("sendmsg", "the listener is handed over with it"),
    ];
    for (name, reason) in reasons.into_iter().take(if listener { 2 } else { 1 }) {
        if answers(&calls.about(name, default)).iter().all(refused) {
            return Err(wrong("linux.seccomp.syscalls", format!("{name} is refused: {reason}; allow it")));
        }
    }
    Ok(())
}

/// The flags to load the filter with.
fn flags(profile: &LinuxSeccomp, listener: bool, notes: &mut Vec<String>) -> u32 {
    let mut flags = if listener { flag::NEW_LISTENER } else { 0 };
    for (i, word) in profile.flags().iter().flatten().enumerate() {
        flags |= match word {
            Flag::SeccompFilterFlagLog => flag::LOG,
            Flag::SeccompFilterFlagSpecAllow => flag::SPEC_ALLOW,
            // The process that loads the filter has one thread; with a listener the kernel refuses the flag.
            Flag::SeccompFilterFlagTsync => 0,
            Flag::SeccompFilterFlagWaitKillableRecv if listener => flag::WAIT_KILLABLE_RECV,
            Flag::SeccompFilterFlagWaitKillableRecv => {
                notes.push(format!(
                    "seccomp: linux.seccomp.flags[{i}]: {word} has no meaning without SCMP_ACT_NOTIFY"
                ));
                0
            }
        };
    }
    flags
}

fn idle_in_words(mut idle: Vec<Idle>) -> impl Iterator<Item = String> {
    idle.sort_unstable();
    idle.dedup();
    idle.into_iter().take(MOST_NOTES).map(|(idle, decides)| {
        format!(
            "seccomp: linux.seccomp.syscalls[{idle}] has no effect on a call that syscalls[{decides}] decides: of two \
             rules that meet, libseccomp keeps the wider one"
        )
    })
}

impl From<Contradiction> for SeccompError {
    fn from(Contradiction(first, second): Contradiction) -> Self {
        wrong(
            format!("linux.seccomp.syscalls[{second}]"),
            format!(
                "contradicts syscalls[{first}]: the same call under the same conditions, and another action"
            ),
        )
    }
}
