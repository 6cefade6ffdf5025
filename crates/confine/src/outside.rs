//! What only the parent can do for the child: it has its rights over the machine, which the child, in a user namespace of
//! its own, has not.
//!
//! **Stops**: a start with less than the engine asked for: a limit that can't be raised, or a score that can't be lowered,
//! is an error and no silent cut.
//!
//! It is done while the child waits ([`Op::AwaitParent`]), by the child's pid, which can't become another's meanwhile.

use std::fmt;

use donjon_sys::scheduling::SchedAttr;
use oci_spec::runtime::Process;
use rustix::io::Errno;
use rustix::process::{Pid, Rlimit, getrlimit, prlimit};

use crate::error::{SpecError, StartError};
use crate::layers::{intel_rdt, limits};
use crate::plan::{Draft, Layer, Op, Plan, Step};

/// One thing that the parent does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    /// The hard limit is at least this.
    HardLimit {
        /// The kernel's name of the resource.
        name: &'static str,
        /// Its number.
        resource: u32,
        /// The limit; `u64::MAX`: none.
        hard: u64,
    },
    /// Who is killed first when memory runs out.
    OomScoreAdj(i32),
    /// How it is scheduled: what it may not do itself, or would lose by a fork.
    Scheduler {
        /// Policy and its parameters.
        attr: SchedAttr,
        /// The policy's name.
        word: &'static str,
    },
    /// A class of service of Intel's RDT.
    IntelRdt(intel_rdt::Class),
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Work::HardLimit { name, hard: u64::MAX, .. } => write!(f, "no hard limit for {name}"),
            Work::HardLimit { name, hard, .. } => write!(f, "a hard limit for {name} of at least {hard}"),
            Work::OomScoreAdj(score) => write!(f, "oom_score_adj {score}"),
            Work::Scheduler { attr, word } => {
                write!(f, "{word}, {} of {} ns until {} ns", attr.runtime, attr.period, attr.deadline)
            }
            Work::IntelRdt(class) => write!(f, "class of service {} of resctrl", class.name),
        }
    }
}

/// Steps for what a process of an engine's container asks for.
pub(crate) fn plan(process: &Process, draft: &mut Draft) -> Result<(), SpecError> {
    if let Some(score) = process.oom_score_adj() {
        if !(-1000..=1000).contains(&score) {
            let what = format!("{score} is not between -1000 and 1000");
            return Err(SpecError::new(Layer::Limits, "process.oomScoreAdj", what));
        }
        draft.add(Layer::Limits, "process.oomScoreAdj", Op::ByParent(Work::OomScoreAdj(score)));
    }
    for (i, limit) in process.rlimits().iter().flatten().enumerate() {
        let (name, resource) = limits::resource(limit.typ());
        let work = Work::HardLimit { name, resource, hard: limit.hard() };
        draft.add(Layer::Limits, format!("process.rlimits[{i}].hard"), Op::ByParent(work));
    }
    Ok(())
}

/// Does everything of the plan that is the parent's, for the child `pid`, which waits for it the first time.
/// Returns the classes of service that were made for it; none is left after an error.
pub(crate) fn act(plan: &Plan, pid: Pid) -> Result<Vec<String>, StartError> {
    let mut classes = Vec::new();
    let done = all(plan.steps().iter().take_while(|step| !is_fork(step)), pid, &mut classes);
    match done {
        Ok(()) => Ok(classes),
        Err(error) => {
            remove_classes(&classes);
            Err(error)
        }
    }
}

/// Removes what [`act`] made.
pub(crate) fn remove_classes(classes: &[String]) {
    for class in classes {
        let _ = intel_rdt::remove(class);
    }
}

/// The same for what comes after the fork into a pid namespace: `pid` is the new process, and waits.
pub(crate) fn act_inside(plan: &Plan, pid: Pid) -> Result<(), StartError> {
    all(plan.steps().iter().skip_while(|step| !is_fork(step)), pid, &mut Vec::new())
}

fn is_fork(step: &Step) -> bool {
    matches!(step.op, Op::ForkLast)
}

fn all<'a>(
    steps: impl Iterator<Item = &'a Step>,
    pid: Pid,
    classes: &mut Vec<String>,
) -> Result<(), StartError> {
    for step in steps {
        if let Op::ByParent(work) = &step.op {
            one(work, pid, classes).map_err(|errno| failed(step, work, errno))?;
        }
    }
    Ok(())
}

fn one(work: &Work, pid: Pid, classes: &mut Vec<String>) -> Result<(), Errno> {
    match work {
        Work::HardLimit { resource, hard, .. } => {
            let resource = limits::numbered(*resource)?;
            // The child has its parent's limits still.
            let now = getrlimit(resource);
            if now.maximum.unwrap_or(u64::MAX) >= *hard {
                return Ok(());
            }
            let raised = Rlimit { current: now.current, maximum: limits::value(*hard) };
            prlimit(Some(pid), resource, raised).map(drop)
        }
        Work::OomScoreAdj(score) => {
            let path = format!("/proc/{}/oom_score_adj", pid.as_raw_nonzero());
            let errno = |e: std::io::Error| Errno::from_io_error(&e).unwrap_or(Errno::IO);
            let now = std::fs::read_to_string(&path).map_err(errno)?;
            if now.trim().parse() == Ok(*score) {
                return Ok(());
            }
            std::fs::write(&path, score.to_string()).map_err(errno)
        }
        Work::Scheduler { attr, .. } => donjon_sys::scheduling::sched_setattr(Some(pid), *attr),
        Work::IntelRdt(class) => {
            if intel_rdt::join(class, pid)? {
                classes.push(class.name.clone());
            }
            Ok(())
        }
    }
}

fn failed(step: &Step, work: &Work, errno: Errno) -> StartError {
    let error = StartError::new(step.layer, work.to_string(), errno).field(&step.field);
    match errno {
        Errno::NODEV | Errno::NOENT if matches!(work, Work::IntelRdt(_)) => error.hint(
            "resctrl is not mounted at /sys/fs/resctrl, or has no such class: mount -t resctrl resctrl /sys/fs/resctrl",
        ),
        Errno::EXIST => error.hint("there is a class of that name with other lines in its schemata"),
        Errno::PERM if matches!(work, Work::Scheduler { .. }) => error.hint(
            "it needs CAP_SYS_NICE over the machine, and a real-time policy a cgroup with real-time processor time",
        ),
        Errno::PERM | Errno::ACCESS => {
            error.hint("it needs CAP_SYS_RESOURCE over the machine, which this caller does not have")
        }
        _ => error,
    }
}
