//! Where a start waits for somebody outside: hooks, and `start` after `create`.
//!
//! A hook is a program that the engine names (OCI runtime specification, "POSIX-platform Hooks"). Those of the runtime's
//! side (`prestart`, `createRuntime`) are run by the parent while the child waits at [`Op::AwaitHooks`]; those of the
//! container's side (`createContainer` before `pivot_root`, `startContainer` right before the program) are run by the
//! child, in the container's namespaces.
//!
//! **The attacks**: the container makes a hook wait for ever, or a hook inherits a descriptor of the host and passes it
//! on. **The defence**: a hook has a time limit if the engine gave it one, gets standard input, output and error alone,
//! and default signals. And the process that waits for `start` can't be looked into, holds no descriptor but those of the
//! program, the states that its hooks read, and a socket that lies where the caller alone can reach it.
//!
//! **Can't stop**: a hook of the container's side that executes a file of the image. The engine named it.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd};

use donjon_sys::process::CStringArray;
use oci_spec::runtime::{Hook, Spec};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::SocketFlags;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, waitid};

use crate::channel::{self, message};
use crate::child::Context;
use crate::error::SpecError;
use crate::layers::descriptors;
use crate::plan::{Draft, Layer, Op};

/// A hook that the child runs.
#[derive(Debug)]
pub struct HookStep {
    /// The program: a path, as seen where the hook runs.
    pub path: CString,
    /// Its arguments, its name first.
    pub argv: CStringArray,
    /// Its environment.
    pub envp: CStringArray,
    /// Seconds that it may take.
    pub timeout: Option<u32>,
    /// Which state of the container it reads.
    pub state: Stage,
}

/// When a hook of the container's side runs, and so what its state says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// `createContainer`: the state says `creating`.
    Create,
    /// `startContainer`: the state says `created`.
    Start,
}

/// How a hook that failed is told through the channel: above every errno of the kernel.
const EXITED: i32 = 2000;
const KILLED: i32 = 2300;
/// `ETIMEDOUT`
const TIMED_OUT: i32 = libc::ETIMEDOUT;

/// The words for what [`run_hook`] returned.
pub(crate) fn failure_in_words(errno: Errno) -> Option<String> {
    match errno.raw_os_error() {
        TIMED_OUT => Some("it took longer than its timeout, and was killed".to_string()),
        n @ EXITED..KILLED => Some(format!("it ended with status {}", n - EXITED)),
        n @ KILLED..2400 => Some(format!("it was ended by signal {}", n - KILLED)),
        _ => None,
    }
}

/// One hook, checked.
fn hook(field: &str, hook: &Hook, state: Stage) -> Result<HookStep, SpecError> {
    let refuse = |name: &str, what: String| SpecError::new(Layer::Program, format!("{field}.{name}"), what);
    if !hook.path().is_absolute() {
        return Err(refuse("path", format!("{} is no absolute path", hook.path().display())));
    }
    let timeout = match hook.timeout() {
        None => None,
        Some(seconds) => match u32::try_from(seconds).ok().filter(|n| *n > 0) {
            Some(seconds) => Some(seconds),
            None => return Err(refuse("timeout", format!("{seconds} is no number of seconds above 0"))),
        },
    };
    let path = std::os::unix::ffi::OsStrExt::as_bytes(hook.path().as_os_str());
    let path = SpecError::c_string(Layer::Program, &format!("{field}.path"), path)?;
    let strings = |name: &str, list: &[String]| -> Result<Vec<CString>, SpecError> {
        list.iter()
            .enumerate()
            .map(|(i, s)| SpecError::c_string(Layer::Program, &format!("{field}.{name}[{i}]"), s.as_str()))
            .collect()
    };
    let mut args = strings("args", hook.args().as_deref().unwrap_or_default())?;
    if args.is_empty() {
        args.push(path.clone());
    }
    let env = strings("env", hook.env().as_deref().unwrap_or_default())?;
    Ok(HookStep { path, argv: CStringArray::new(args), envp: CStringArray::new(env), timeout, state })
}

/// Every hook of a specification, checked: those of the runtime's side as well, before anything exists.
pub(crate) fn check(spec: &Spec) -> Result<(), SpecError> {
    let Some(hooks) = spec.hooks() else { return Ok(()) };
    #[allow(deprecated)] // the specification still has it, and docker uses it
    let lists = [
        ("prestart", hooks.prestart()),
        ("createRuntime", hooks.create_runtime()),
        ("createContainer", hooks.create_container()),
        ("startContainer", hooks.start_container()),
        ("poststart", hooks.poststart()),
        ("poststop", hooks.poststop()),
    ];
    for (name, list) in lists {
        for (i, entry) in list.iter().flatten().enumerate() {
            hook(&format!("hooks.{name}[{i}]"), entry, Stage::Create)?;
        }
    }
    Ok(())
}

/// The steps between the mounts and `pivot_root`.
pub(crate) fn plan_create(spec: &Spec, draft: &mut Draft) -> Result<(), SpecError> {
    let Some(hooks) = spec.hooks() else { return Ok(()) };
    #[allow(deprecated)]
    let outside = hooks.prestart().iter().chain(hooks.create_runtime()).flatten().count();
    let inside = hooks.create_container().iter().flatten();
    if outside > 0 || inside.clone().count() > 0 || has_start_hooks(spec) {
        draft.add(Layer::Program, "hooks", Op::AwaitHooks);
    }
    for (i, entry) in inside.enumerate() {
        let field = format!("hooks.createContainer[{i}]");
        let step = hook(&field, entry, Stage::Create)?;
        draft.add(Layer::Program, field, Op::Hook(step));
    }
    Ok(())
}

fn has_start_hooks(spec: &Spec) -> bool {
    spec.hooks().as_ref().is_some_and(|h| h.start_container().iter().flatten().next().is_some())
}

/// The steps right before the program; `waits` is the first descriptor that is not passed on, if `start` is waited for.
pub(crate) fn plan_start(spec: &Spec, waits: Option<u32>, draft: &mut Draft) -> Result<(), SpecError> {
    if let Some(keep) = waits {
        draft.add(Layer::Program, "", Op::AwaitStart { keep });
    }
    let hooks = spec.hooks().as_ref().and_then(|h| h.start_container().as_ref());
    for (i, entry) in hooks.into_iter().flatten().enumerate() {
        let field = format!("hooks.startContainer[{i}]");
        let step = hook(&field, entry, Stage::Start)?;
        draft.add(Layer::Program, field, Op::Hook(step));
    }
    Ok(())
}

/// Tells the parent that everything but `pivot_root` is done, and waits until it has run the hooks of its side; takes
/// the states for the hooks of this side.
pub(crate) fn await_hooks(ctx: &mut Context<'_>) -> Result<(), Errno> {
    ctx.send(message::READY, 0, 0, None)?;
    super::identity::await_parent(ctx)
}

/// Runs a hook and waits for its end.
pub(crate) fn run_hook(ctx: &Context<'_>, hook: &HookStep) -> Result<(), Errno> {
    let state = ctx.states.get(hook.state as usize).and_then(Option::as_ref).ok_or(Errno::BADF)?;
    run(hook, state.as_fd())
}

/// Runs a hook in the caller's own namespaces, with `state` as its standard input, and says how it failed.
pub fn run_outside(field: &str, entry: &Hook, state: BorrowedFd<'_>) -> Result<(), String> {
    let step = hook(field, entry, Stage::Create).map_err(|e| e.what)?;
    run(&step, state).map_err(|errno| {
        let why = failure_in_words(errno).unwrap_or_else(|| crate::error::words(errno));
        format!("{}: {why}", entry.path().display())
    })
}

/// Starts the program of a hook with `state` as its standard input.
fn run(hook: &HookStep, state: BorrowedFd<'_>) -> Result<(), Errno> {
    let (pid, pidfd) = donjon_sys::clone::clone3(0, None, || {
        let prepared = rustix::fs::seek(state, rustix::fs::SeekFrom::Start(0))
            .and_then(|_| rustix::stdio::dup2_stdin(state))
            .and_then(|()| donjon_sys::process::cloexec_from(3))
            // A group of its own: what it started ends with it when its time is over.
            .and_then(|()| rustix::process::setpgid(None, None))
            .and_then(|()| donjon_sys::process::default_signals());
        if prepared.is_ok() {
            let _ = donjon_sys::process::execve(&hook.path, &hook.argv, &hook.envp);
        }
        127
    })?;
    wait(pid, pidfd.as_fd(), hook.timeout)
}

/// Waits for a process, which leads its own group, at most so many seconds; then it is killed. One that failed takes its
/// group with it.
fn wait(pid: Pid, pidfd: BorrowedFd<'_>, seconds: Option<u32>) -> Result<(), Errno> {
    let limit = seconds.map(|s| Timespec { tv_sec: i64::from(s), tv_nsec: 0 });
    let in_time = loop {
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], limit.as_ref()) {
            Ok(n) => break n > 0,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    };
    if !in_time {
        let _ = rustix::process::pidfd_send_signal(pidfd, Signal::KILL);
    }
    // Looked at before it is reaped: until then nobody else can lead a group of this number.
    let looked = waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)?;
    if looked.and_then(|status| status.exit_status()) != Some(0) {
        // What a hook that failed has started goes with it; one that succeeded may have left a service.
        let _ = rustix::process::kill_process_group(pid, Signal::KILL);
    }
    let status = waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED)?.ok_or(Errno::CHILD)?;
    match (in_time, status.exit_status(), status.terminating_signal()) {
        (false, ..) => Err(Errno::TIMEDOUT),
        (true, Some(0), _) => Ok(()),
        (true, Some(code), _) => Err(Errno::from_raw_os_error(EXITED + code.clamp(0, 255))),
        (true, None, signal) => Err(Errno::from_raw_os_error(KILLED + signal.unwrap_or(0).clamp(0, 99))),
    }
}

/// Tells the parent that the container is created, lets go of it, and waits for `start`, whose connection takes the
/// place of the parent's channel.
pub(crate) fn await_start(ctx: &mut Context<'_>, keep: u32) -> Result<(), Errno> {
    let listener = ctx.from.start.ok_or(Errno::BADF)?;
    ctx.send(message::CREATED, 0, 0, None)?;
    if ctx.protects("own-descriptors") {
        // It may wait for long, and with neighbours: nothing is left to be taken from it (R6).
        let mut kept = [descriptors::number(&listener); 3];
        for (place, state) in kept.iter_mut().skip(1).zip(ctx.states.iter().flatten()) {
            *place = descriptors::number(state);
        }
        descriptors::close_others(keep, &mut kept)?;
    } else {
        donjon_sys::process::close_copy(ctx.from.channel);
    }
    loop {
        let connection = match rustix::net::accept_with(listener, SocketFlags::CLOEXEC) {
            Ok(connection) => connection,
            Err(Errno::INTR | Errno::CONNABORTED) => continue,
            Err(errno) => return Err(errno),
        };
        // A `start` that was killed before it said go: the next one is waited for.
        if let Ok(Some((message::GO, ..))) = channel::receive(connection.as_fd()) {
            ctx.starter = Some(connection);
            return Ok(());
        }
    }
}
