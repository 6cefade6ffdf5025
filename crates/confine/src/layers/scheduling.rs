//! Scheduling: on which processors, with which priority and from which memory the program runs.
//!
//! **Stops**: nothing by itself; it is how an engine shares a machine out. A value that can't be put in force is an error,
//! so that nobody believes in a guarantee that is not there.
//!
//! **Can't stop**: a program with `CAP_SYS_NICE` that changes it again.
//!
//! `sched_setattr`: Linux 3.14. Most policies need `CAP_SYS_NICE` over the machine, which a user namespace does not give.
//! `MPOL_PREFERRED_MANY`: 5.15, `MPOL_WEIGHTED_INTERLEAVE`: 6.9.

use donjon_sys::scheduling::SchedAttr;
use oci_spec::runtime::{
    IOPriorityClass, LinuxPersonalityDomain, LinuxSchedulerFlag, LinuxSchedulerPolicy, MemoryPolicyFlagType,
    MemoryPolicyModeType, Process, Spec,
};
use rustix::io::Errno;
use rustix::thread::CpuSet;

use crate::error::SpecError;
use crate::plan::{Draft, Layer, Op};

fn refuse(field: impl Into<String>, what: impl Into<String>) -> SpecError {
    SpecError::new(Layer::Scheduling, field, what)
}

/// Steps for a process: those that it has whether it is a container's first or not.
pub(crate) fn plan(process: &Process, draft: &mut Draft) -> Result<(), SpecError> {
    plan_scheduler(process, draft)?;
    let Some(io) = process.io_priority() else { return Ok(()) };
    let class = match io.class() {
        IOPriorityClass::IoprioClassRt => 1,
        IOPriorityClass::IoprioClassBe => 2,
        IOPriorityClass::IoprioClassIdle => 3,
    };
    let priority = u16::try_from(io.priority()).ok().filter(|p| *p <= 7);
    let priority = priority.ok_or_else(|| {
        refuse("process.ioPriority.priority", format!("{} is not between 0 and 7", io.priority()))
    })?;
    draft.add(Layer::Scheduling, "process.ioPriority", Op::IoPriority { class, priority });
    Ok(())
}

fn plan_scheduler(process: &Process, draft: &mut Draft) -> Result<(), SpecError> {
    let Some(scheduler) = process.scheduler() else { return Ok(()) };
    let field = |name: &str| format!("process.scheduler.{name}");
    // `linux/sched.h`
    let (policy, word) = match scheduler.policy() {
        LinuxSchedulerPolicy::SchedOther => (0, "SCHED_OTHER"),
        LinuxSchedulerPolicy::SchedFifo => (1, "SCHED_FIFO"),
        LinuxSchedulerPolicy::SchedRr => (2, "SCHED_RR"),
        LinuxSchedulerPolicy::SchedBatch => (3, "SCHED_BATCH"),
        LinuxSchedulerPolicy::SchedIdle => (5, "SCHED_IDLE"),
        LinuxSchedulerPolicy::SchedDeadline => (6, "SCHED_DEADLINE"),
        LinuxSchedulerPolicy::SchedIso => {
            return Err(refuse(field("policy"), "SCHED_ISO is reserved: no kernel has it"));
        }
    };
    let nice = scheduler.nice().unwrap_or(0);
    if !(-20..=19).contains(&nice) {
        return Err(refuse(field("nice"), format!("{nice} is not between -20 and 19")));
    }
    let priority = scheduler.priority().unwrap_or(0);
    let (least, most) = if matches!(policy, 1 | 2) { (1, 99) } else { (0, 0) };
    let priority = u32::try_from(priority).ok().filter(|p| (least..=most).contains(p)).ok_or_else(|| {
        refuse(field("priority"), format!("{priority} is not between {least} and {most} for {word}"))
    })?;
    let times = [
        ("runtime", scheduler.runtime().unwrap_or(0)),
        ("deadline", scheduler.deadline().unwrap_or(0)),
        ("period", scheduler.period().unwrap_or(0)),
    ];
    let deadline = policy == 6;
    if let Some((name, _)) = times.iter().find(|(_, n)| *n != 0 && !deadline) {
        return Err(refuse(field(name), format!("is for SCHED_DEADLINE alone, and the policy is {word}")));
    }
    let [(_, runtime), (_, until), (_, period)] = times;
    if deadline && (runtime == 0 || runtime > until || (period != 0 && until > period)) {
        return Err(refuse("process.scheduler", "needs 0 < runtime <= deadline <= period"));
    }
    let mut flags = 0;
    for flag in scheduler.flags().iter().flatten() {
        flags |= match flag {
            LinuxSchedulerFlag::SchedResetOnFork => 0x01,
            LinuxSchedulerFlag::SchedFlagReclaim => 0x02,
            LinuxSchedulerFlag::SchedFlagDLOverrun => 0x04,
            LinuxSchedulerFlag::SchedFlagKeepPolicy => 0x08,
            LinuxSchedulerFlag::SchedFlagKeepParams => 0x10,
            LinuxSchedulerFlag::SchedFlagUtilClampMin | LinuxSchedulerFlag::SchedFlagUtilClampMax => {
                let what = "clamps of utilization have no value in the specification to be set to";
                return Err(refuse(field("flags"), what));
            }
        };
    }
    let mut attr = SchedAttr { policy, flags, nice, priority, ..SchedAttr::default() };
    (attr.runtime, attr.deadline, attr.period) = (runtime, until, period);
    draft.add(Layer::Scheduling, "process.scheduler", Op::Scheduler { attr, word });
    Ok(())
}

/// Steps for the container's first process alone.
pub(crate) fn plan_first(spec: &Spec, draft: &mut Draft) -> Result<(), SpecError> {
    plan_memory(spec, draft)?;
    let Some(personality) = spec.linux().as_ref().and_then(|l| l.personality().as_ref()) else {
        return Ok(());
    };
    let flags = personality.flags().as_deref().unwrap_or_default();
    if let Some(flag) = flags.first() {
        let what = format!("{flag:?}: the specification knows no flag yet");
        return Err(refuse("linux.personality.flags[0]", what));
    }
    let persona = match personality.domain() {
        LinuxPersonalityDomain::PerLinux => 0,
        LinuxPersonalityDomain::PerLinux32 => 8,
    };
    draft.add(Layer::Scheduling, "linux.personality", Op::Personality { persona });
    Ok(())
}

fn plan_memory(spec: &Spec, draft: &mut Draft) -> Result<(), SpecError> {
    let Some(policy) = spec.linux().as_ref().and_then(|l| l.memory_policy().as_ref()) else { return Ok(()) };
    // `linux/mempolicy.h`; true: needs nodes, false: takes none.
    let (mut mode, word, takes) = match policy.mode() {
        MemoryPolicyModeType::MpolDefault => (0, "MPOL_DEFAULT", Some(false)),
        MemoryPolicyModeType::MpolPreferred => (1, "MPOL_PREFERRED", None),
        MemoryPolicyModeType::MpolBind => (2, "MPOL_BIND", Some(true)),
        MemoryPolicyModeType::MpolInterleave => (3, "MPOL_INTERLEAVE", Some(true)),
        MemoryPolicyModeType::MpolLocal => (4, "MPOL_LOCAL", Some(false)),
        MemoryPolicyModeType::MpolPreferredMany => (5, "MPOL_PREFERRED_MANY", Some(true)),
        MemoryPolicyModeType::MpolWeightedInterleave => (6, "MPOL_WEIGHTED_INTERLEAVE", Some(true)),
    };
    let field = "linux.memoryPolicy.nodes";
    let written = policy.nodes().as_deref().unwrap_or_default();
    let mut nodes = vec![0u64; 16];
    let mut any = false;
    for node in
        numbers(written, 1024).ok_or_else(|| refuse(field, format!("{written:?} is no list of nodes")))?
    {
        if let Some(word) = nodes.get_mut(node / 64) {
            *word |= 1 << (node % 64);
            any = true;
        }
    }
    match takes {
        Some(true) if !any => return Err(refuse(field, format!("{word} needs nodes"))),
        Some(false) if any => return Err(refuse(field, format!("{word} takes no nodes"))),
        _ => {}
    }
    let mut distinct = 0;
    for flag in policy.flags().iter().flatten() {
        let (bit, allowed) = match flag {
            MemoryPolicyFlagType::MpolFNumaBalancing => (1 << 13, matches!(mode & 0xff, 2 | 5)),
            MemoryPolicyFlagType::MpolFRelativeNodes => (1 << 14, any),
            MemoryPolicyFlagType::MpolFStaticNodes => (1 << 15, any),
        };
        if !allowed {
            return Err(refuse("linux.memoryPolicy.flags", format!("{flag:?} does not go with {word}")));
        }
        distinct |= bit;
    }
    if distinct & (3 << 14) == 3 << 14 {
        let what = "static and relative nodes contradict each other";
        return Err(refuse("linux.memoryPolicy.flags", what));
    }
    mode |= distinct;
    if !any {
        nodes.clear();
    }
    draft.add(Layer::Scheduling, "linux.memoryPolicy", Op::MemoryPolicy { mode, nodes, word });
    Ok(())
}

/// Where a further process runs before and after it is put into the container's cgroup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// `initial`
    Before,
    /// `final`
    After,
}

/// The step that binds a further process to processors.
pub(crate) fn plan_affinity(process: &Process, moment: Moment, draft: &mut Draft) -> Result<(), SpecError> {
    let Some(affinity) = process.exec_cpu_affinity() else { return Ok(()) };
    let (name, list) = match moment {
        Moment::Before => ("initial", affinity.initial()),
        Moment::After => ("final", affinity.cpu_affinity_final()),
    };
    let Some(list) = list.as_deref().filter(|l| !l.is_empty()) else { return Ok(()) };
    let field = format!("process.execCPUAffinity.{name}");
    let mut cpus = CpuSet::new();
    let bad =
        || refuse(field.clone(), format!("{list:?} is no list of processors below {}", CpuSet::MAX_CPU));
    for cpu in numbers(list, CpuSet::MAX_CPU).ok_or_else(bad)? {
        cpus.set(cpu);
    }
    if cpus.count() == 0 {
        return Err(bad());
    }
    draft.add(Layer::Scheduling, field, Op::Affinity { cpus, list: list.to_string() });
    Ok(())
}

/// The numbers below `end` of a list like `0-3,7`; `None` when it is none.
fn numbers(list: &str, end: usize) -> Option<Vec<usize>> {
    let mut all = Vec::new();
    for part in list.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let number = |text: &str| text.trim().parse::<usize>().ok().filter(|n| *n < end);
        match part.split_once('-') {
            None => all.push(number(part)?),
            Some((first, last)) => {
                let (first, last) = (number(first)?, number(last)?);
                if first > last {
                    return None;
                }
                all.extend(first..=last);
            }
        }
    }
    Some(all)
}

/// Binds this process to processors.
pub(crate) fn affinity(cpus: &CpuSet) -> Result<(), Errno> {
    rustix::thread::sched_setaffinity(None, cpus)
}

#[cfg(test)]
mod tests {
    use super::numbers;

    #[test]
    fn lists_of_numbers_are_read_or_refused() {
        assert_eq!(numbers("0-2,7", 8), Some(vec![0, 1, 2, 7]));
        assert_eq!(numbers("", 8), Some(vec![]));
        for bad in ["8", "3-1", "a", "1-", "-1", "0-8"] {
            assert_eq!(numbers(bad, 8), None, "{bad}");
        }
    }
}
