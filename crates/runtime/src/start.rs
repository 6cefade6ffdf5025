//! From a plan to a running container with its warden.
//!
//! ```text
//! foreground   run ─ create record ─ spawn ─ confine itself ─ started ─ watch ─ exit code
//! detached     run ─ create record ─ fork ─ wait for "started" ─ print the id
//!                                     └─ new session, /dev/null ─ spawn ─ confine itself ─ started ─ report ─ watch
//! ```
//!
//! The record is written once the program runs, on the other processor if there is one. A start that fails leaves no
//! record; a program that starts and can't be recorded is ended.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use donjon_confine::layers::cgroups::Groups;
use donjon_confine::{Host, Plan, StartError};
use oci_spec::runtime::Spec;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use crate::audit::{Audit, Subject};
use crate::child::Child;
use crate::container::{Container, write_all};
use crate::events::Recorder;
use crate::learn::recorder::{Observation, Recorder as Observer};
use crate::names::Id;
use crate::process::{Identity, open_status, read_all};
use crate::state::{State, now};
use crate::store::{Store, StoreError, words};
use crate::streams::Streams;
use crate::warden::confinement::{ConfineError, Confinement, Reach};
use crate::warden::crowd::Crowd;
use crate::warden::listener::Listener;
use crate::warden::signals::Signals;
use crate::warden::terminal::Settings;
use crate::warden::{Limited, TimeLimit, Warden, Watch, Watched};

/// A container that did not start. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Its record can't be made.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A step of the plan failed.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The warden can't confine itself.
    #[error(transparent)]
    Confine(#[from] ConfineError),
    /// Something beside the plan failed.
    #[error("{what}: {}", words(*.errno))]
    Io {
        /// What was tried: begins with the flag or layer.
        what: String,
        /// The kernel's answer.
        errno: Errno,
    },
    /// The warden in the background reported that the start failed.
    #[error("{message}")]
    Reported {
        /// The message that it would have printed.
        message: String,
        /// The next step.
        hint: Option<String>,
        /// 125, 126 or 127.
        code: u8,
    },
}

impl RunError {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(Errno) -> Self {
        let what = what.into();
        move |errno| Self::Io { what, errno }
    }

    /// The exit status of donjon: 125, 126 or 127.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Start(error) => error.exit_code(),
            Self::Reported { code, .. } => *code,
            _ => 125,
        }
    }

    /// The next step for the person, if there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Store(error) => error.hint(),
            Self::Start(error) => error.hint.clone(),
            Self::Reported { hint, .. } => hint.clone(),
            Self::Confine(_) => Some("donjon doctor says what this kernel lacks".to_string()),
            Self::Io { errno: Errno::EXIST, .. } => Some("remove it first, or name another file".to_string()),
            Self::Io { .. } => None,
        }
    }
}

/// A container that is to be started.
#[derive(Debug)]
pub struct Launch {
    /// Its specification, with donjon's annotations.
    pub spec: Spec,
    /// What follows from it.
    pub plan: Plan,
    /// What the plan was made for.
    pub host: Host,
    /// The image, as written.
    pub image: String,
    /// The layers of policy, see [`State::policies`].
    pub policies: Vec<String>,
    /// Whether standard input is passed in (`-i`).
    pub interactive: bool,
    /// Whether the record goes away with the container (`--rm`).
    pub auto_remove: bool,
    /// What `stop` sends first.
    pub stop_signal: Signal,
    /// How long it is given.
    pub stop_timeout: Duration,
    /// How long the container may run (`--timeout`).
    pub time_limit: Option<Duration>,
    /// A new file for the id (`--cidfile`).
    pub cidfile: Option<PathBuf>,
    /// A file for the pid of the first process (`--pidfile`).
    pub pidfile: Option<PathBuf>,
    /// What the program does is written down: `donjon learn`.
    pub observation: Option<Observation>,
}

/// A foreground container that has ended.
#[derive(Debug)]
pub struct Outcome {
    /// Its id.
    pub id: Id,
    /// Its name.
    pub name: String,
    /// What its warden saw.
    pub watch: Watch,
    /// Whether there is a record left to ask about.
    pub kept: bool,
    /// What the policy's lists of files name and is not in the container.
    pub passed_over: Vec<String>,
}

/// What `run` leaves outside of the state directory, opened before the start and filled after it.
struct Notes {
    cidfile: Option<(PathBuf, OwnedFd)>,
    pidfile: Option<(PathBuf, OwnedFd)>,
}

impl Notes {
    fn open(launch: &Launch) -> Result<Self, RunError> {
        let open = |flag: &str, path: &PathBuf, how: OFlags| {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOCTTY | how;
            let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH;
            rustix::fs::openat(CWD, path, flags, mode)
                .map(|file| (path.clone(), file))
                .map_err(RunError::io(format!("{flag}: make {}", path.display())))
        };
        let cidfile =
            launch.cidfile.as_ref().map(|path| open("--cidfile", path, OFlags::EXCL)).transpose()?;
        let pidfile = launch.pidfile.as_ref().map(|path| open("--pidfile", path, OFlags::TRUNC)).transpose();
        match pidfile {
            Ok(pidfile) => Ok(Self { cidfile, pidfile }),
            Err(error) => {
                Self { cidfile, pidfile: None }.discard();
                Err(error)
            }
        }
    }

    fn fill(&self, id: &Id, pid: i32) -> Result<(), RunError> {
        for (note, text) in [(&self.cidfile, id.to_string()), (&self.pidfile, pid.to_string())] {
            if let Some((path, file)) = note {
                write_all(file.as_fd(), text.as_bytes())
                    .map_err(RunError::io(format!("write {}", path.display())))?;
            }
        }
        Ok(())
    }

    /// Takes the files away again. A warden that is confined already can't: they stay, empty.
    fn discard(self) {
        for (path, _) in self.cidfile.into_iter().chain(self.pidfile) {
            let _ = rustix::fs::unlink(path);
        }
    }
}

/// Lets go of the pages of code that were read in so far, once the command line is read: a start goes through much code
/// once, and without this all of it would be counted as its memory. (Doing it again after planning costs 50 us.)
pub fn let_go_of_code() {
    donjon_sys::process::let_go_of_code();
}

/// Closes whatever the caller's shell left open above standard error: neither a warden nor a container may hold it
/// (R6). To be called when this process has nothing open itself, before the store is opened. As an OCI runtime donjon
/// may have been told to pass the first `kept` of them on.
pub fn close_inherited(kept: u32) -> Result<(), RunError> {
    if !donjon_confine::hooks::protects("close-fds") {
        return Ok(());
    }
    donjon_sys::process::close_from(kept.saturating_add(3))
        .map_err(RunError::io("close the descriptors of the caller"))
}

/// Starts a container, whose record was just made, and watches over it until it ends. The calling process must have one thread and becomes
/// confined for good: it can print and exit afterwards, not much more.
pub fn foreground(store: &Store, container: Container, launch: Launch) -> Result<Outcome, RunError> {
    let prepared = store.refuse_exposed(&launch.spec).map_err(RunError::from).and_then(|()| {
        let signals = Signals::take_over().map_err(RunError::io("warden: take over the signals"))?;
        Ok((signals, Notes::open(&launch)?))
    });
    let (signals, notes) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            let _ = store.remove(container);
            return Err(error);
        }
    };
    let settings = Settings::now();
    let auto_remove = launch.auto_remove;
    let started = Start { store, container: &container, signals, detached: false }.run(launch);
    let started =
        started.and_then(|s| notes.fill(&container.id, s.pid).map(|()| (s.warden, s.state, s.groups)));
    let (warden, state, groups) = match started {
        Ok(started) => started,
        Err(error) => {
            notes.discard();
            let _ = store.remove(container);
            return Err(error);
        }
    };
    drop(notes);
    let watch = warden.watch();
    settings.restore();
    let outcome = Outcome {
        id: container.id.clone(),
        name: state.name.clone(),
        watch,
        kept: !auto_remove,
        passed_over: state.passed_over.clone(),
    };
    let _ = groups.remove();
    finish(store, container, state, &outcome.watch);
    Ok(outcome)
}

/// Starts a container in the background and returns its id once its program runs.
pub fn detached(store: &Store, container: Container, launch: Launch) -> Result<Id, RunError> {
    let prepared =
        store.refuse_exposed(&launch.spec).map_err(RunError::from).and_then(|()| Notes::open(&launch));
    let notes = match prepared {
        Ok(notes) => notes,
        Err(error) => {
            let _ = store.remove(container);
            return Err(error);
        }
    };
    let id = container.id.clone();
    match fork_warden(store, container, launch).and_then(|pid| notes.fill(&id, pid)) {
        Ok(()) => Ok(id),
        Err(error) => {
            notes.discard();
            Err(error)
        }
    }
}

/// What the warden in the background tells the waiting process, once.
#[derive(Debug, Serialize, Deserialize)]
enum Report {
    Started { pid: i32 },
    Failed { message: String, hint: Option<String>, code: u8 },
}

fn fork_warden(store: &Store, container: Container, launch: Launch) -> Result<i32, RunError> {
    let (hear, tell) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
        .map_err(RunError::io("warden: make a pipe to it"))?;
    let forked = donjon_sys::clone::fork(|| {
        donjon_sys::process::close_copy(hear.as_fd());
        background(store, container, launch, tell)
    });
    if let Err(errno) = forked {
        return Err(RunError::io("warden: fork it")(errno));
    }
    // The closure that held the container, the plan and the pipe's other end was dropped with the call: from here
    // on they are the warden's.
    let bytes = read_all(hear.as_fd(), 64 * 1024).map_err(RunError::io("warden: hear from it"))?;
    match serde_json::from_slice(&bytes) {
        Ok(Report::Started { pid }) => Ok(pid),
        Ok(Report::Failed { message, hint, code }) => Err(RunError::Reported { message, hint, code }),
        Err(_) => Err(RunError::Reported {
            message: "warden: it was killed before the container had started".to_string(),
            hint: Some("out of memory, or somebody killed it; donjon ps -a shows what is left".to_string()),
            code: 125,
        }),
    }
}

/// The life of a warden in the background.
fn background(store: &Store, container: Container, launch: Launch, tell: OwnedFd) -> u8 {
    let started = leave_terminal()
        .and_then(|()| Signals::take_over().map_err(RunError::io("warden: take over the signals")))
        .and_then(|signals| Start { store, container: &container, signals, detached: true }.run(launch));
    let report = match &started {
        Ok(started) => Report::Started { pid: started.pid },
        Err(error) => {
            Report::Failed { message: error.to_string(), hint: error.hint(), code: error.exit_code() }
        }
    };
    let Started { warden, state, groups, .. } = match started {
        Ok(started) => started,
        Err(error) => {
            // Before the report: who reads it may look for leftovers.
            let _ = store.remove(container);
            let _ = serde_json::to_vec(&report).map(|bytes| write_all(tell.as_fd(), &bytes));
            return error.exit_code();
        }
    };
    let _ = serde_json::to_vec(&report).map(|bytes| write_all(tell.as_fd(), &bytes));
    drop((tell, report));
    let_go_of_code();
    let watch = warden.watch();
    let _ = groups.remove();
    finish(store, container, state, &watch);
    watch.end.code
}

/// A session of its own, no terminal, no directory held, nothing of the caller's open.
fn leave_terminal() -> Result<(), RunError> {
    let fail = |what: &str| RunError::io(format!("warden: {what}"));
    rustix::process::setsid().map_err(fail("make a session"))?;
    rustix::process::chdir(c"/").map_err(fail("go to /"))?;
    let null = rustix::fs::open(c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map_err(fail("open /dev/null"))?;
    rustix::stdio::dup2_stdin(&null).map_err(fail("leave standard input"))?;
    rustix::stdio::dup2_stdout(&null).map_err(fail("leave standard output"))?;
    rustix::stdio::dup2_stderr(&null).map_err(fail("leave standard error"))
}

/// Writes the end down, or removes the record.
fn finish(store: &Store, container: Container, mut state: State, watch: &Watch) {
    let _ = container.note_exit(watch.end.code);
    if state.auto_remove {
        let _ = store.remove(container);
        return;
    }
    state.end = Some(watch.end.clone());
    state.events = Some(watch.log.clone());
    // A full disk: without the end on record the container shows as ended with its warden, which is true.
    let _ = container.write_state(&state);
}

/// What a start needs besides what it starts.
struct Start<'a> {
    store: &'a Store,
    container: &'a Container,
    signals: Signals,
    detached: bool,
}

/// A program that runs, and what watches over it.
struct Started {
    warden: Warden,
    state: State,
    pid: i32,
    groups: Groups,
}

/// Groups that are removed again when the start fails: declared before the child, so dropped after its end.
struct MadeGroups(Option<Groups>);

impl MadeGroups {
    fn get(&self) -> &Groups {
        static NONE: std::sync::OnceLock<Groups> = std::sync::OnceLock::new();
        self.0.as_ref().unwrap_or_else(|| NONE.get_or_init(Groups::default))
    }

    fn keep(mut self) -> Groups {
        self.0.take().unwrap_or_default()
    }
}

impl Drop for MadeGroups {
    fn drop(&mut self) {
        if let Some(groups) = &self.0 {
            let _ = groups.remove();
        }
    }
}

impl Start<'_> {
    fn run(self, launch: Launch) -> Result<Started, RunError> {
        let Launch { spec, mut plan, host, image, interactive, auto_remove, stop_signal, .. } = launch;
        let terminal = plan.has_terminal();
        let mut streams = Streams::open(self.container, self.detached, terminal, interactive)
            .map_err(RunError::io("warden: open the container's standard streams"))?;
        let groups = match plan.cgroup() {
            Some(group) => {
                self.container.note_groups(&group.places())?;
                Groups::create(group)?
            }
            None => Groups::default(),
        };
        let made = MadeGroups(Some(groups));
        let observed = launch.observation.map(|observation| observe(observation, &mut plan)).transpose()?;
        let (observer, channel) = observed.unzip();
        let mut child = Child::spawn(&plan, &streams, made.get())?;
        streams.close_ends();
        // Nor does planning count as memory of what comes now. The child works meanwhile: it costs the start no time.
        let_go_of_code();
        if let Some(channel) = channel {
            child.observe(channel);
        }
        // The child makes its mounts now, and whoever works beside it takes its processor away: only what has to be
        // done before the program runs is done here.
        let status = open_status(child.pid()).ok();
        // The event log begins with it.
        let created = now();
        let recorder = Recorder::new(self.container, created.clone())
            .map_err(RunError::io("warden: open the record of refusals"))?;
        let limits = plan.cgroup().map(|group| group.limits.clone()).unwrap_or_default();
        let events = made.get().events();
        let counted = limits.pids.is_some();
        let most = plan.process_limit().filter(|_| !counted);
        let reach = Reach {
            container: self.container.dir(),
            remove_from: Some(self.store.directories()),
            groups: made.get().parents().collect(),
        };
        let subject = Subject::new(self.container.id.as_str(), &spec, 0);
        let audit = if host.reads_audit || subject.has_label() { Audit::open(subject) } else { None };
        let confinement = Confinement::enter(&reach, host.landlock_abi)?;
        let handover = child.started(&plan)?;
        // The program runs: time to write things down. A failure ends it again.
        let identity =
            Identity::of(child.pid()).map_err(RunError::io("state: read the start time of the container"))?;
        let mut state = State::new(&self.container.id, &self.container.name);
        state.created = created;
        state.image = image;
        state.command = command(&spec);
        state.policies = launch.policies;
        state.detached = self.detached;
        state.terminal = terminal;
        state.auto_remove = auto_remove;
        state.stop_signal = stop_signal.as_raw();
        state.stop_timeout = launch.stop_timeout.as_secs();
        state.init = Some(identity);
        let warden =
            Identity::of(rustix::process::getpid()).map_err(RunError::io("state: read my start time"))?;
        state.warden = Some(warden);
        state.notes = plan.notes().to_vec();
        state.passed_over = handover.passed_over.iter().map(ToString::to_string).collect();
        state.cgroups = made.get().paths();
        self.container.sign_lock(warden)?;
        self.container.write_config(&spec)?;
        self.container.write_state(&state)?;
        confinement.close()?;
        // A detached warden lives long: what only the start needed goes before its memory is counted.
        drop((spec, plan));

        let listener = handover.listener.map(|fd| Listener::new(fd, child.pid()));
        let output = streams
            .output(handover.console, interactive)
            .map_err(RunError::io("warden: connect the container's terminal"))?;
        let pid = child.pid().as_raw_nonzero().get();
        let (pidfd, guard) =
            child.release().ok_or_else(|| RunError::io("warden: follow the container")(Errno::SRCH))?;
        let warden = Warden {
            pidfd,
            watched: Watched::Init(status),
            listener,
            recorder,
            signals: self.signals,
            output,
            limit: TimeLimit { after: launch.time_limit, stop_signal, stop_timeout: launch.stop_timeout },
            limits: Some(Limited { events, limits }),
            audit: audit.map(|audit| audit.of(pid)),
            guard,
            crowd: most.map(|most| Crowd::new(pid, most)),
            observer,
        };
        Ok(Started { warden, state, pid, groups: made.keep() })
    }
}

/// Puts a reporting filter into the plan, and forks the recorder that answers it.
fn observe(observation: Observation, plan: &mut Plan) -> Result<(Observer, OwnedFd), RunError> {
    let own = plan.observe().map_err(|error| RunError::Reported {
        message: error.to_string(),
        hint: None,
        code: 125,
    })?;
    let Some(own) = own else {
        return Err(RunError::io("learn: observe a container without a filter")(Errno::OPNOTSUPP));
    };
    Observer::fork(observation, &own, plan.candidates()).map_err(RunError::io("learn: start the recorder"))
}

fn command(spec: &Spec) -> Vec<String> {
    spec.process().as_ref().and_then(|p| p.args().clone()).unwrap_or_default()
}
