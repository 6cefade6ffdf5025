//! The fork into a pid namespace that others live in already: the last thing that a joining process does.
//!
//! **The attack** (CVE-2016-9962): a process that joins a container is in its pid namespace while it has the caller's
//! capabilities, ids, descriptors and no filter. A program of the container that may trace (`CAP_SYS_PTRACE`, no user
//! namespace in between) stops it there and goes on in its stead. That it is not dumpable does not help: whoever may trace
//! over the user namespace that donjon was started in may trace such a process as well. **The defence**: a process that
//! enters a pid namespace stays outside, only its children are inside. So everything that gives rights up is done before
//! there is a child: ids, capabilities, `no_new_privs`, Landlock, the filter, and every descriptor but the program's own
//! and the channel is closed. What is seen inside has from its first instruction what the program will have.
//!
//! After the fork comes only what a fork would undo: the session and its terminal, the signal of the parent's death, a
//! priority that is reset on fork, and the limit of processes, which would count one process too many. The calls for that,
//! and the fork, are made under the filter, and the planner asks the filter whether it lets them through. One that does not
//! is loaded after the fork, and the plan says so.
//!
//! The first process of a container that enters another's pid namespace (a pod's) is made in the same way, if no user
//! namespace protects it: set up outside, with a procfs of the namespace that it is not in yet (`pidns`, Linux 6.18). It
//! waits for `start` inside. Hooks of the container's side must find it where it will be: with them, and on older kernels,
//! it is forked first.
//!
//! **Can't stop**: that a program which may trace reads the memory of the new process: it holds what donjon was told, the
//! specification and its own environment. Nor that it sends the parent untrue messages in the new process's name: so the
//! parent believes a failure alone from there on. And not the first process of a container that is made in a pid namespace
//! of others, where the fork comes first: it sets its root up there.

use std::mem::ManuallyDrop;
use std::os::fd::AsFd;

use oci_spec::runtime::{Hook, Spec};
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit, setrlimit};

use crate::channel::message;
use crate::child::{self, Context};
use crate::host::Host;
use crate::layers::seccomp::interpret;
use crate::layers::{descriptors, identity};
use crate::outside::Work;
use crate::plan::{Draft, Layer, Op, Step};

/// `RLIMIT_NPROC`
const NPROC: u32 = 6;
/// `SCHED_DEADLINE`
const DEADLINE: u32 = 6;
/// `SCHED_FLAG_RESET_ON_FORK`
const RESET_ON_FORK: u64 = 1;

/// Since when a procfs of a pid namespace can be made by who is not in it (`pidns`).
const PROCFS_OF_OTHERS: (u32, u32) = (6, 18);

/// Whether the fork comes last: always, but in a build for the tests that prove its worth.
fn is_last() -> bool {
    crate::hooks::protects("fork-last")
}

/// Whether the first process of this container can be set up outside a pid namespace that it is to be in.
pub(crate) fn can_be_last(spec: &Spec, host: &Host) -> bool {
    let hooks = spec.hooks().as_ref();
    let any = |list: &Option<Vec<Hook>>| list.as_ref().is_some_and(|list| !list.is_empty());
    let inside = hooks.is_some_and(|hooks| any(hooks.create_container()) || any(hooks.start_container()));
    is_last() && host.kernel >= PROCFS_OF_OTHERS && !inside
}

/// The fork right behind the join, where a test switched the protection off.
pub(super) fn plan_at_once(draft: &mut Draft) {
    if !is_last() {
        draft.add(Layer::Namespaces, "linux.namespaces", Op::ForkInto { flags: 0 });
    }
}

/// Puts the fork into a plan that is complete but for it, as far back as it goes. `letting_go` takes away what was kept
/// for the filter.
pub(crate) fn plan(draft: &mut Draft, letting_go: Option<Op>) {
    let first = draft.pid_last;
    let joins = |step: &Step| match step.op {
        Op::JoinNamespaces { flags } => Some(flags),
        Op::EnterNamespaces if first => Some(super::flag::PID),
        _ => None,
    };
    let joined = draft.steps.iter().find_map(joins).unwrap_or_default();
    if !is_last() || joined & super::flag::PID == 0 {
        return;
    }
    let (mut before, mut after) = (Vec::new(), Vec::new());
    let (mut filter, mut keep, mut init) = (None, 3, false);
    for step in std::mem::take(&mut draft.steps) {
        let again = |op| Step::new(step.layer, step.field.clone(), op);
        if let Op::CloseDescriptors { keep: first } = step.op {
            keep = first;
        }
        match &step.op {
            Op::Seccomp(_) => filter = Some(step),
            // The init and what follows it are two processes, both inside.
            Op::Init => {
                init = true;
                after.push(step);
            }
            _ if init => after.push(step),
            Op::NewSession => {
                // Outside as well: until it has its own, the new process is in this one's.
                after.push(again(Op::NewSession));
                before.push(step);
            }
            Op::ControllingTerminal | Op::DieWithParent | Op::AwaitStart { .. } | Op::Exec => {
                after.push(step)
            }
            Op::Scheduler { attr, word } if attr.policy == DEADLINE => {
                // Such a process may not fork, and the program's rights do not let it become one.
                after.push(again(Op::ByParent(Work::Scheduler { attr: *attr, word })));
            }
            Op::Scheduler { attr, word } if attr.flags & RESET_ON_FORK != 0 => {
                // Setting the flag needs no right, but what is reset by it does.
                let mut first = *attr;
                first.flags &= !RESET_ON_FORK;
                before.push(again(Op::Scheduler { attr: first, word }));
                after.push(step);
            }
            Op::Rlimit { name, resource: NPROC, soft, .. }
            | Op::ExactRlimit { name, resource: NPROC, soft, .. } => {
                // The soft limit is what the kernel compares with when the ids are changed.
                before.push(again(Op::SoftLimit { name, resource: NPROC, soft: *soft }));
                after.push(step);
            }
            _ => before.push(step),
        }
    }
    before.push(Step::new(Layer::Descriptors, "", Op::ReadyToFork { keep }));
    let waits = after.iter().any(|step| matches!(step.op, Op::AwaitStart { .. }));
    let refused = match &filter {
        Some(_) if init => Some("is not for the init, which stays".to_string()),
        Some(Step { op: Op::Seccomp(program), .. }) if program.listener && waits => {
            Some("has a listener, which start hands over".to_string())
        }
        Some(Step { op: Op::Seccomp(program), .. }) => calls(&after, program.listener, letting_go.is_some())
            .find(|(_, number, args)| !interpret::lets(&program.filter, *number, *args))
            .map(|(name, ..)| format!("does not let {name} through")),
        _ => None,
    };
    match (refused, filter) {
        (None, filter) => {
            before.extend(filter);
            before.extend(letting_go.map(|op| Step::new(Layer::Capabilities, "process.capabilities", op)));
        }
        (Some(why), filter) => {
            let at = after.len().saturating_sub(1);
            after.splice(at..at, filter);
            // In a user namespace of the container's nobody may trace what is not dumpable.
            if joined & super::flag::USER == 0 {
                let holding = if letting_go.is_some() { " and holds CAP_SYS_ADMIN until then" } else { "" };
                draft.notes.push(format!(
                    "seccomp: the filter {why}: it is loaded when the process is in the \
                     container's pid namespace{holding}, where a program that may trace can see it"
                ));
            }
        }
    }
    before.push(Step::new(Layer::Namespaces, "linux.namespaces", Op::ForkLast));
    before.append(&mut after);
    draft.steps = before;
}

/// The calls that are made when the filter is in force, with the arguments that a filter may look at.
fn calls(
    after: &[Step],
    listener: bool,
    letting_go: bool,
) -> impl Iterator<Item = (&'static str, u32, [u64; 6])> {
    let mut all = vec![
        ("sendmsg", libc::SYS_sendmsg, [0; 2]),
        ("clone", libc::SYS_clone, [donjon_sys::clone::SIBLING_FLAGS, 0]),
        ("exit_group", libc::SYS_exit_group, [0; 2]),
        ("recvmsg", libc::SYS_recvmsg, [0; 2]),
        ("prlimit64", libc::SYS_prlimit64, [0, u64::from(NPROC)]),
    ];
    if listener {
        all.push(("close", libc::SYS_close, [0; 2]));
    }
    if letting_go {
        all.push(("capset", libc::SYS_capset, [0; 2]));
    }
    for step in after {
        match step.op {
            Op::NewSession => all.push(("setsid", libc::SYS_setsid, [0; 2])),
            Op::ControllingTerminal => all.push(("ioctl", libc::SYS_ioctl, [0, libc::TIOCSCTTY])),
            Op::DieWithParent => {
                all.push(("prctl", libc::SYS_prctl, [libc::PR_SET_PDEATHSIG as u64, libc::SIGKILL as u64]));
                all.push(("ppoll", libc::SYS_ppoll, [0, 1]));
            }
            Op::Scheduler { .. } => all.push(("sched_setattr", libc::SYS_sched_setattr, [0; 2])),
            Op::AwaitStart { .. } => {
                all.push(("accept4", libc::SYS_accept4, [0; 2]));
                all.push(("close_range", libc::SYS_close_range, [0; 2]));
            }
            Op::Exec => all.push(("execve", libc::SYS_execve, [0; 2])),
            _ => {}
        }
    }
    all.into_iter().map(|(name, number, [a, b])| (name, number as u32, [a, b, 0, 0, 0, 0]))
}

/// The last of what needs calls that a filter may refuse: closes everything but the program's descriptors, from `keep` on,
/// and the channel, and raises the soft limit of processes to the hard one. The kernel counts this process and its child
/// for the program's user, where there will be one of them.
pub(crate) fn ready(ctx: &mut Context<'_>, keep: u32) -> Result<(), Errno> {
    // Only hooks read them, and they have run.
    ctx.states = [None, None];
    if ctx.protects("own-descriptors") {
        let channel = descriptors::number(&ctx.channel());
        let start = ctx.from.start.map_or(channel, |start| descriptors::number(&start));
        descriptors::close_others(keep, &mut [channel, start])?;
    }
    let limit = getrlimit(Resource::Nproc);
    if limit.current != limit.maximum {
        let room = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
        setrlimit(Resource::Nproc, room)?;
        ctx.processes = Some(limit);
    }
    Ok(())
}

/// Forks, and tells the parent of the new process, which goes on with the plan when the parent knows it. It is a sibling:
/// the parent waits for it directly, and this process ends.
pub(crate) fn fork(steps: &[Step], index: usize, ctx: &mut Context<'_>) -> Result<(), Errno> {
    // Whoever held it would answer for the container's filter.
    drop(ctx.listener.take());
    let (pid, pidfd) = {
        let ctx = &mut *ctx;
        donjon_sys::clone::sibling(move || {
            // Wait for the parent to know this process, and to have reaped the other, which counts until then.
            if identity::await_parent(ctx).is_err() {
                return 125;
            }
            let limit = ctx.processes.take().map_or(Ok(()), |limit| setrlimit(Resource::Nproc, limit));
            match limit {
                Ok(()) => child::walk(steps, index + 1, ctx),
                Err(errno) => child::failed(index, errno, ctx),
            }
        })?
    };
    // Ends with this process, and no call more than is needed is made.
    let pidfd = ManuallyDrop::new(pidfd);
    ctx.send(message::PROCESS, 0, pid.as_raw_nonzero().get(), Some(pidfd.as_fd()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::identity::Groups;
    use crate::layers::namespaces::flag;
    use crate::layers::seccomp::foreign;
    use donjon_sys::scheduling::SchedAttr;

    /// A filter that refuses one call.
    fn without(call: &str) -> Op {
        let profile = serde_json::json!({"defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": [call], "action": "SCMP_ACT_ERRNO"}]});
        Op::Seccomp(foreign::compile(&serde_json::from_value(profile).unwrap()).unwrap().0)
    }

    /// A joining process's plan as the layers make it, without the fork.
    fn draft(flags: u64, filter: Op) -> Draft {
        let mut draft = Draft::default();
        let scheduler = |policy| Op::Scheduler {
            attr: SchedAttr { policy, flags: RESET_ON_FORK, nice: -5, ..SchedAttr::default() },
            word: "SCHED",
        };
        for op in [
            Op::NotDumpable,
            Op::JoinNamespaces { flags },
            Op::NewSession,
            Op::Terminal,
            Op::ControllingTerminal,
            Op::ExactRlimit { name: "RLIMIT_NPROC", resource: NPROC, soft: 3, hard: 4 },
            scheduler(0),
            scheduler(DEADLINE),
            Op::Stdio,
            Op::BoundingSet { keep: 0 },
            Op::SetIds { uid: 1, gid: 1, groups: Groups::Exactly(Vec::new()) },
            Op::CapabilitySets { permitted: 1 << 21, effective: 1 << 21, inheritable: 0, ambient: 0 },
            Op::DieWithParent,
            Op::NoNewPrivs,
            Op::DefaultSignals,
            Op::CloseDescriptors { keep: 5 },
            filter,
            Op::Exec,
        ] {
            draft.add(Layer::Program, "", op);
        }
        draft
    }

    fn letting_go() -> Option<Op> {
        Some(Op::LetGo { permitted: 0, effective: 0, inheritable: 0 })
    }

    /// The steps before and after the fork, each by the beginning of its name.
    fn halves(draft: &Draft) -> (Vec<String>, Vec<String>) {
        let name = |step: &Step| {
            let name = format!("{:?}", step.op);
            name.split([' ', '(']).next().unwrap_or_default().to_string()
        };
        let at = draft.steps.iter().position(|s| matches!(s.op, Op::ForkLast)).expect("a fork");
        let (before, after) = draft.steps.split_at(at);
        (before.iter().map(name).collect(), after.iter().skip(1).map(name).collect())
    }

    #[test]
    fn everything_that_gives_rights_up_comes_before_the_fork() {
        let mut draft = draft(flag::PID | flag::NET, without("mknod"));
        plan(&mut draft, letting_go());
        let (before, after) = halves(&draft);
        assert_eq!(
            after,
            [
                "NewSession", "ControllingTerminal", "ExactRlimit", "Scheduler", "ByParent", "DieWithParent",
                "Exec"
            ]
        );
        assert_eq!(before.last().map(String::as_str), Some("LetGo"));
        assert_eq!(before.iter().rev().nth(1).map(String::as_str), Some("Seccomp"));
        assert!(before.contains(&"SoftLimit".to_string()) && before.contains(&"NewSession".to_string()));
        assert!(draft.steps.iter().any(|s| matches!(s.op, Op::ReadyToFork { keep: 5 })));
        assert_eq!(draft.notes, Vec::<String>::new());
    }

    #[test]
    fn a_filter_that_refuses_a_call_of_the_fork_is_loaded_after_it_and_noted() {
        for call in ["clone", "setsid", "capset", "recvmsg", "ioctl", "sendmsg"] {
            let mut draft = draft(flag::PID, without(call));
            plan(&mut draft, letting_go());
            let (before, after) = halves(&draft);
            assert!(!before.iter().any(|step| step == "Seccomp" || step == "LetGo"), "{call}: {before:?}");
            assert_eq!(after.iter().rev().nth(1).map(String::as_str), Some("Seccomp"), "{call}");
            assert!(draft.notes.iter().any(|note| note.contains(&format!("let {call} through"))), "{call}");
        }
    }

    #[test]
    fn without_a_pid_namespace_to_enter_nothing_is_forked() {
        let mut draft = draft(flag::NET, without("mknod"));
        let steps = draft.steps.len();
        plan(&mut draft, None);
        assert_eq!(draft.steps.len(), steps);
        assert!(!draft.steps.iter().any(|s| matches!(s.op, Op::ForkLast)));
    }
}
