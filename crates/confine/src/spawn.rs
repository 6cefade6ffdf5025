//! The parent's side of a start: opens what the plan names, clones once, writes the id maps where the child may
//! not, and listens for how it goes.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, pidfd_open, waitid};

use crate::beside;
use crate::channel::{self, message};
use crate::child::{self, Context, Opened};
use crate::error::StartError;
use crate::hooks::Hooks;
use crate::idmap;
use crate::layers::mounts::version_1;
use crate::layers::{descriptors, namespaces, net_devices};
use crate::outside;
use crate::plan::{IdMaps, Layer, Links, Op, Plan, Step};

/// A host source that was looked at before the clone: its canonical path, and which file it is.
#[derive(Debug)]
pub(crate) struct OpenSource {
    pub path: CString,
    /// Device and inode number.
    pub identity: (u64, u64),
    /// Hierarchies of cgroups of version 1 that come along when it is bound: paths below it.
    pub hierarchies: Vec<CString>,
}

/// A process on its way through its plan.
#[derive(Debug)]
pub struct Confined {
    /// Its id in the caller's pid namespace.
    pub pid: Pid,
    /// A descriptor of it; close-on-exec.
    pub pidfd: OwnedFd,
    channel: OwnedFd,
    guard: Option<Guard>,
    /// The process that makes the network namespace and then ends.
    maker: Option<Guard>,
    /// Classes of service that were made for it.
    classes: Vec<String>,
    /// It is the child of the one that was cloned first, in a pid namespace of others.
    followed: bool,
    /// Where the seccomp listener goes at once: to somebody who answers the calls of the start itself.
    observer: Option<OwnedFd>,
}

/// The process that made the network namespace and then watches whether its maker lives: when its holder was
/// killed, it kills the container. Dropping it ends it; it is reaped with its maker.
#[derive(Debug)]
pub struct Guard {
    pidfd: OwnedFd,
    /// What it holds the other end of.
    _channel: OwnedFd,
}

impl Drop for Guard {
    fn drop(&mut self) {
        // The end of its channel would do, but after a failed start it may still wait for something else. Nobody waits
        // for its end: that would only make the container's end take longer.
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, rustix::process::Signal::KILL);
    }
}

/// What the new process handed over before it became the program.
#[derive(Debug, Default)]
pub struct Handover {
    /// The listener of its seccomp filter, where refused calls are reported.
    pub listener: Option<OwnedFd>,
    /// The master side of its terminal.
    pub console: Option<OwnedFd>,
    /// What the policy names and is not in the container.
    pub passed_over: Vec<PassedOver>,
    /// The listener went to an observer: [`Confined::observe`].
    pub observed: bool,
}

/// A path of the policy's lists of files that grants nothing in this container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassedOver {
    /// The list: `filesystem.read`.
    pub list: &'static str,
    /// The path, as the policy has it.
    pub path: String,
    /// Why.
    pub why: &'static str,
}

impl std::fmt::Display for PassedOver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} {}", self.list, self.path, self.why)
    }
}

/// What is done to a process by its parent, which is told its pid.
pub type Act<'a, T> = &'a mut dyn FnMut(Pid) -> Result<T, StartError>;

/// What a process is given besides its plan.
#[derive(Default)]
pub struct Given<'a> {
    /// What becomes its standard input, output and error; a plan with a terminal ignores it.
    pub stdio: Option<[BorrowedFd<'a>; 3]>,
    /// A directory of the v2 hierarchy of cgroups to be born in.
    pub cgroup: Option<BorrowedFd<'a>>,
    /// What is done when it exists and waits: for instance to put it into v1 cgroups.
    pub prepare: Option<Act<'a, ()>>,
    /// A listening socket where `start` connects to, for a plan that waits for it.
    pub start: Option<BorrowedFd<'a>>,
    /// Descriptors that it is not to have, whatever their numbers: a lock that it would hold (R6).
    pub withheld: &'a [BorrowedFd<'a>],
}

/// Clones a process and lets it walk the plan.
///
/// The calling process must have one thread. Errors leave nothing behind.
pub fn spawn(plan: &Plan, given: Given<'_>) -> Result<Confined, StartError> {
    let Given { stdio, cgroup, prepare, start, withheld } = given;
    let sources = open_sources(plan)?;
    let namespaces = namespaces::paths::open(&plan.entering)?;
    let internal = |what: &str| {
        let what = what.to_string();
        move |errno: Errno| StartError::new(Layer::Program, what, errno)
    };
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .map_err(internal("make the channel to the child"))?;
    let network = match plan.network {
        None => None,
        Some(_) => Some(
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .map_err(internal("make the channel for the network namespace"))?,
        ),
    };
    let target = match plan.join {
        None => None,
        Some(pid) => {
            let pid =
                Pid::from_raw(pid).ok_or_else(|| internal("find the container's process")(Errno::SRCH))?;
            Some(pidfd_open(pid, PidfdFlags::empty()).map_err(internal("find the container's process"))?)
        }
    };
    let hooks = Hooks::read();
    let opened = Opened {
        channel: theirs.as_fd(),
        stdio,
        sources: &sources,
        target: target.as_ref().map(AsFd::as_fd),
        network: network.as_ref().map(|(inner, _)| inner.as_fd()),
        namespaces: &namespaces,
        start,
    };
    // What the child works with; everything else that is open here it closes at once (R6).
    let first_closed = plan.first_closed();
    let mut kept: Vec<u32> = [Some(theirs.as_fd()), start, opened.target, opened.network]
        .into_iter()
        .flatten()
        .chain(stdio.into_iter().flatten())
        .chain(namespaces.iter().map(|(_, fd)| fd.as_fd()))
        .map(|fd| descriptors::number(&fd))
        .collect();
    let mut ctx = Context::new(opened, plan, &hooks);
    let (pid, pidfd) = donjon_sys::clone::clone3(plan.clone_flags, cgroup, || {
        withheld.iter().for_each(|fd| donjon_sys::process::close_copy(*fd));
        // The parent's end must not live on in the child, or the child would never see the parent end.
        donjon_sys::process::close_copy(ours.as_fd());
        if let Some((_, outer)) = &network {
            donjon_sys::process::close_copy(outer.as_fd());
        }
        if hooks.protects("own-descriptors") && descriptors::close_others(first_closed, &mut kept).is_err() {
            return 125;
        }
        child::walk(plan.steps(), 0, &mut ctx)
    })
    .map_err(clone_error)?;
    drop(ctx);
    drop(theirs);
    let mut confined = Confined::new(pid, pidfd, ours);
    if plan.has_forerunner() {
        confined.follow_forerunner(plan)?;
    }
    let Confined { pid, pidfd, channel: ours, .. } = confined;
    let made = match (&plan.network, network) {
        (Some(settings), Some((inner, outer))) => {
            let user = plan.new_namespaces() & namespaces::flag::USER != 0;
            let made = donjon_sys::clone::clone3(0, None, || {
                withheld.iter().for_each(|fd| donjon_sys::process::close_copy(*fd));
                donjon_sys::process::close_copy(ours.as_fd());
                donjon_sys::process::close_copy(inner.as_fd());
                let mut kept = [descriptors::number(&pidfd), descriptors::number(&outer)];
                if descriptors::close_others(3, &mut kept).is_err() {
                    return 125;
                }
                beside::make(pidfd.as_fd(), settings, user, outer.as_fd())
            });
            // Without the second process its channel ends, and the first fails where it waits for it.
            made.ok().map(|(_, pidfd)| (Guard { pidfd, _channel: inner }, settings.guards))
        }
        _ => None,
    };
    let (guard, maker) = match made {
        Some((guard, true)) => (Some(guard), None),
        Some((maker, false)) => (None, Some(maker)),
        None => (None, None),
    };
    let mut confined = Confined { guard, maker, ..Confined::new(pid, pidfd, ours) };
    if plan.needs_parent() || prepare.is_some() {
        let ready = match &plan.id_maps {
            IdMaps::Parent { uids, gids } => idmap::write(pid, uids, gids),
            _ => Ok(()),
        }
        .and_then(|()| confined.send_idmapped(plan, &sources))
        .and_then(|()| outside::act(plan, pid))
        .map(|classes| confined.classes = classes)
        .and_then(|()| prepare.map_or(Ok(()), |prepare| prepare(pid)))
        .and_then(|()| confined.go());
        if let Err(error) = ready {
            confined.kill_and_reap();
            outside::remove_classes(&confined.classes);
            // It may have failed itself, and not be there any more to be let go: then that is what is told.
            return Err(confined.last_word(plan).unwrap_or(error));
        }
    }
    Ok(confined)
}

impl Confined {
    fn new(pid: Pid, pidfd: OwnedFd, channel: OwnedFd) -> Self {
        Self {
            pid,
            pidfd,
            channel,
            guard: None,
            maker: None,
            classes: Vec::new(),
            followed: false,
            observer: None,
        }
    }

    fn go(&self) -> Result<(), StartError> {
        channel::send(self.channel.as_fd(), message::GO, 0, 0, None)
            .map_err(|e| StartError::new(Layer::Program, "release the child", e))
    }

    fn send_idmapped(&self, plan: &Plan, sources: &[OpenSource]) -> Result<(), StartError> {
        for wanted in plan.made_by_parent() {
            let index = wanted.source;
            let (Some(open), Some(source)) = (sources.get(index), plan.sources.get(index)) else { continue };
            let mount = idmap::mount(open, self.pid, &wanted, &source.field)?;
            channel::send(self.channel.as_fd(), message::MOUNT, index as u16, 0, Some(mount.as_fd()))
                .map_err(|e| StartError::new(Layer::Mounts, "hand a mount to the child", e))?;
        }
        Ok(())
    }

    /// A container's process that waits for `start`, with a connection to the socket that it listens on.
    pub fn waiting(pid: Pid, pidfd: OwnedFd, connection: OwnedFd) -> Self {
        Self { followed: true, ..Self::new(pid, pidfd, connection) }
    }

    /// Lets such a process go, and waits until its program runs. After an error it has ended.
    pub fn let_go(&mut self, plan: &Plan) -> Result<Handover, StartError> {
        self.go()?;
        self.started(plan)
    }

    /// Ends it: something beside it failed.
    pub fn end(&mut self) {
        self.kill_and_reap();
    }

    /// Waits until the program has been executed, and returns what was handed over; or until a step failed, and
    /// returns that in its own words. After an error the child is gone. `plan` is the one that it was spawned with.
    pub fn started(&mut self, plan: &Plan) -> Result<Handover, StartError> {
        self.reached(plan, &mut |_| Ok(Vec::new()), &mut |_| Ok(()))
    }

    /// Like [`Confined::started`], for a plan that may hold hooks or wait for `start`: `hooks` is called when everything
    /// that hooks look at is there, and returns the container's states for the hooks of its own side. Returns when the
    /// program runs, or the container is created and waits. `followed` is called when another process, which waits, goes
    /// on in the first one's stead.
    pub fn reached(
        &mut self,
        plan: &Plan,
        hooks: Act<'_, Vec<OwnedFd>>,
        followed: Act<'_, ()>,
    ) -> Result<Handover, StartError> {
        let mut handover = Handover::default();
        let forks = plan.forks_last();
        loop {
            let heard = match forks && !self.followed {
                true => self.hear_while_it_lives(),
                false => channel::receive(self.channel.as_fd()),
            };
            let (kind, step, number, fd) = match heard {
                Ok(Some(message)) => message,
                // The channel's last holder ended or became the program.
                Ok(None) => return self.after_end(plan, handover),
                Err(errno) => {
                    self.kill_and_reap();
                    return Err(StartError::new(Layer::Program, "hear from the child", errno));
                }
            };
            match kind {
                // From inside a pid namespace of others it may be somebody else who speaks.
                message::CREATED if !plan.waits_for_start() => return Err(self.misled()),
                _ if forks
                    && self.followed
                    && !matches!(kind, message::FAILED | message::LISTENER | message::CREATED) =>
                {
                    return Err(self.misled());
                }
                message::CONSOLE => handover.console = fd,
                message::PASSED_OVER => handover.passed_over.extend(plan.passed_over(step, number)),
                // The first is donjon's own, from before anybody else could speak.
                message::LISTENER if handover.observed || handover.listener.is_some() => {}
                message::LISTENER => {
                    match self.tell_observer(fd.as_ref()) {
                        // Held by the observer alone: if that ends, the calls fail instead of waiting for ever.
                        Ok(true) => handover.observed = true,
                        Ok(false) => handover.listener = fd,
                        Err(error) => {
                            self.kill_and_reap();
                            return Err(error);
                        }
                    }
                }
                message::CREATED => {
                    self.reap_maker();
                    return Ok(handover);
                }
                message::DEVICES => {
                    if let Err(error) = net_devices::move_all(plan, self.pid).and_then(|()| self.go()) {
                        self.kill_and_reap();
                        return Err(error);
                    }
                }
                message::READY => {
                    if let Err(error) = hooks(self.pid).and_then(|states| self.go_with_states(&states)) {
                        self.kill_and_reap();
                        return Err(error);
                    }
                }
                message::PROCESS => {
                    let Some(pid) = fd.and_then(|fd| self.follow(fd, number)) else {
                        self.kill_and_reap();
                        return Err(StartError::new(
                            Layer::Namespaces,
                            "follow the process into its pid namespace",
                            None,
                        ));
                    };
                    (self.pid, self.followed) = (pid, forks);
                    let ready = outside::act_inside(plan, pid).and_then(|()| followed(pid));
                    if let Err(error) = ready.and_then(|()| self.go()) {
                        self.kill_and_reap();
                        return Err(error);
                    }
                }
                _ => {
                    self.kill_and_reap();
                    return Err(self.failed(plan, usize::from(step), Errno::from_raw_os_error(number)));
                }
            }
        }
    }

    /// It is ended: what it said is not what a process of donjon's says.
    fn misled(&mut self) -> StartError {
        self.kill_and_reap();
        StartError::new(Layer::Namespaces, "hear from the process in its pid namespace", Errno::PROTO)
    }

    /// The next message; `None` also when the process has ended and its child, which waits to be followed, has not been
    /// told of: that child holds the channel, and would never say anything.
    fn hear_while_it_lives(&self) -> Result<Option<channel::Message>, Errno> {
        let mut both = [PollFd::new(&self.channel, PollFlags::IN), PollFd::new(&self.pidfd, PollFlags::IN)];
        loop {
            match poll(&mut both, None) {
                Ok(_) => break,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        // It may have spoken and ended between two looks: what was said comes first.
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let mut channel = [PollFd::new(&self.channel, PollFlags::IN)];
        match poll(&mut channel, Some(&now))? {
            0 => Ok(None),
            _ => channel::receive(self.channel.as_fd()),
        }
    }

    /// The listener goes to whoever holds the other end of `channel` as soon as there is one, with the process's id: what
    /// the process does from its filter on waits for answers.
    pub fn observe(&mut self, channel: OwnedFd) {
        self.observer = Some(channel);
    }

    fn tell_observer(&mut self, listener: Option<&OwnedFd>) -> Result<bool, StartError> {
        let (Some(channel), Some(listener)) = (self.observer.take(), listener) else { return Ok(false) };
        let pid = self.pid.as_raw_nonzero().get();
        channel::send(channel.as_fd(), message::LISTENER, 0, pid, Some(listener.as_fd()))
            .map(|()| true)
            .map_err(|e| StartError::new(Layer::Seccomp, "hand the listener to the observer", e))
    }

    fn go_with_states(&self, states: &[OwnedFd]) -> Result<(), StartError> {
        for (i, state) in states.iter().enumerate() {
            channel::send(self.channel.as_fd(), message::STATE, i as u16, 0, Some(state.as_fd()))
                .map_err(|e| StartError::new(Layer::Program, "hand the state to the hooks", e))?;
        }
        self.go()
    }

    /// The process that made the network namespace has ended, or is about to.
    fn reap_maker(&mut self) {
        if let Some(maker) = self.maker.take() {
            let _ = waitid(WaitId::PidFd(maker.pidfd.as_fd()), WaitIdOptions::EXITED);
        }
    }

    /// Waits for the sibling of a process that went ahead into other namespaces, and goes on with it.
    fn follow_forerunner(&mut self, plan: &Plan) -> Result<(), StartError> {
        let message = channel::receive(self.channel.as_fd());
        let followed = match message {
            Ok(Some((message::PROCESS, _, number, Some(fd)))) => self.follow(fd, number),
            Ok(Some((message::FAILED, step, errno, _))) => {
                self.kill_and_reap();
                return Err(self.failed(plan, usize::from(step), Errno::from_raw_os_error(errno)));
            }
            _ => None,
        };
        match followed {
            Some(pid) => {
                self.pid = pid;
                self.go()
            }
            None => {
                self.kill_and_reap();
                Err(StartError::new(Layer::Namespaces, "follow the process into its namespaces", None))
            }
        }
    }

    /// Goes on with the sibling that the child made in its stead.
    fn follow(&mut self, pidfd: OwnedFd, _pid_inside: i32) -> Option<Pid> {
        let outer = std::mem::replace(&mut self.pidfd, pidfd);
        let _ = waitid(WaitId::PidFd(outer.as_fd()), WaitIdOptions::EXITED);
        donjon_sys::process::pid_of(self.pidfd.as_fd())
    }

    fn after_end(&mut self, plan: &Plan, handover: Handover) -> Result<Handover, StartError> {
        self.reap_maker();
        // Nothing was reported: the program runs, or the child was killed. NOWAIT leaves its status to be waited for.
        if !handover.is_incomplete(plan) && (plan.has_init() || self.has_executed()) {
            return Ok(handover);
        }
        self.kill_and_reap();
        Err(StartError::new(Layer::Program, "start the program: its process was killed on the way", None)
            .hint("out of memory, or somebody killed it"))
    }

    /// Whether the process has become a program: the kernel marks one that has only been forked (`PF_FORKNOEXEC` in
    /// field 9 of `/proc/PID/stat`), also when it has ended. Where that can't be read, the handover counts alone.
    fn has_executed(&self) -> bool {
        const FORKED_ONLY: u64 = 0x40;
        let path = format!("/proc/{}/stat", self.pid.as_raw_nonzero());
        let Ok(stat) = std::fs::read(path) else { return true };
        // The name in parentheses may hold anything: fields count from the last one on, and the next is field 3.
        let after =
            stat.iter().rposition(|b| *b == b')').and_then(|at| stat.get(at + 1..)).unwrap_or_default();
        let flags = String::from_utf8_lossy(after)
            .split_ascii_whitespace()
            .nth(6)
            .and_then(|f| f.parse::<u64>().ok());
        flags.is_none_or(|flags| flags & FORKED_ONLY == 0)
    }

    /// The classes of service of resctrl that were made for it, to be removed when it is gone.
    pub fn made_classes(&self) -> &[String] {
        &self.classes
    }

    /// Takes the guard over, to be held as long as the container is to live.
    pub fn guard(&mut self) -> Option<Guard> {
        self.guard.take()
    }

    fn kill_and_reap(&mut self) {
        (self.guard, self.maker) = (None, None);
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, rustix::process::Signal::KILL);
        if waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED).is_err() {
            // Another's child, as it is for `start`: its parent reaps it, and this one waits for its end.
            let limit = Timespec { tv_sec: 10, tv_nsec: 0 };
            let mut ended = [PollFd::new(&self.pidfd, PollFlags::IN)];
            let _ = poll(&mut ended, Some(&limit));
        }
    }

    /// The failure that a process which has ended reported, if it did.
    fn last_word(&self, plan: &Plan) -> Option<StartError> {
        rustix::io::ioctl_fionbio(&self.channel, true).ok()?;
        while let Ok(Some((kind, step, errno, _))) = channel::receive(self.channel.as_fd()) {
            if kind == message::FAILED {
                return Some(self.failed(plan, usize::from(step), Errno::from_raw_os_error(errno)));
            }
        }
        None
    }

    /// A failed step in words.
    fn failed(&self, plan: &Plan, index: usize, errno: Errno) -> StartError {
        let Some(step) = plan.steps().get(index) else {
            return StartError::new(Layer::Program, format!("step {index}"), errno);
        };
        if matches!(step.op, Op::FindProgram | Op::Exec | Op::Init | Op::DefaultSignals) {
            return program_error(plan, step, errno);
        }
        let what = plan.describe(step);
        if let (Op::Hook(_), Some(why)) = (&step.op, crate::layers::lifecycle::failure_in_words(errno)) {
            return StartError::new(step.layer, format!("{what}: {why}"), None).field(&step.field);
        }
        let error = StartError::new(step.layer, what.clone(), errno).field(&step.field);
        match crate::hint::for_step(step.layer, &what, errno) {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }
}

fn executing(step: &Step) -> bool {
    matches!(step.op, Op::Exec)
}

/// What `execve`, or the search before it, answered, in words.
fn program_error(plan: &Plan, step: &Step, errno: Errno) -> StartError {
    let name = crate::layers::program::name(&plan.program);
    let found = !matches!(step.op, Op::FindProgram);
    let (text, code, hint) = match (found, errno) {
        (false, Errno::NOENT) if name.contains('/') => (
            format!("{name}: there is no such file or directory in the container"),
            127,
            "look for it with: donjon run IMAGE ls DIRECTORY",
        ),
        (false, Errno::NOENT) => (
            format!("{name}: there is no such program in the container"),
            127,
            "look for it with: donjon run IMAGE sh -c 'echo $PATH; ls /bin'",
        ),
        (false, Errno::LOOP) => (
            format!("{name}: its symbolic links go round in a circle"),
            127,
            "the image has a link there that points to itself, or to one that points back",
        ),
        (false, Errno::ISDIR) => (format!("{name}: is a directory, not a program"), 126, "name a file in it"),
        (false, Errno::ACCESS) => {
            (format!("{name}: may not be executed"), 126, "give it the execute permission (chmod +x)")
        }
        (true, Errno::NOENT) if executing(step) => (
            format!("{name}: is there, but its interpreter is not"),
            126,
            "a script names it in its first line (#!), a binary needs its dynamic loader in the container",
        ),
        (true, Errno::NOEXEC) if executing(step) => (
            format!("{name}: is no program that this machine can execute (exec format error)"),
            126,
            "it is of another architecture, or a script without a first line #!INTERPRETER",
        ),
        (true, Errno::ACCESS) if executing(step) => (
            format!("{name}: may not be executed"),
            126,
            match plan.names_what_is_executed() {
                true => {
                    "the policy's [filesystem] execute does not name it, its interpreter or its dynamic loader; or it lacks \
                     the execute permission, or lies on a mount that is noexec"
                }
                false => {
                    "it or its interpreter lacks the execute permission, lies on a mount that is noexec, or is refused by a \
                     policy of the machine's (IMA, AppArmor, SELinux)"
                }
            },
        ),
        _ => {
            let executing = executing(step);
            let what = if executing { format!("{} {name}", step.op) } else { step.op.to_string() };
            let mut error = StartError::new(Layer::Program, what, errno).field(&step.field);
            error.exit_code = if executing { 126 } else { 125 };
            return error;
        }
    };
    let mut error = StartError::new(Layer::Program, text, None).hint(hint);
    error.exit_code = code;
    error
}

impl Handover {
    /// Whether something that the plan hands over has not come: then the program never ran.
    fn is_incomplete(&self, plan: &Plan) -> bool {
        let listener = plan.steps().iter().any(|s| matches!(&s.op, Op::Seccomp(program) if program.listener));
        listener && self.listener.is_none() && !self.observed && crate::hooks::protects("seccomp")
    }
}

fn clone_error(errno: Errno) -> StartError {
    let error = StartError::new(Layer::Namespaces, "create the container's namespaces", errno);
    match errno {
        Errno::PERM => error.hint(
            "this user may not create user namespaces (a distribution's restriction, a chroot, or a container \
             around this one); donjon doctor says which and how to allow it",
        ),
        Errno::NOSPC => error.hint("the limit of namespaces is reached: see /proc/sys/user/max_user_namespaces and those beside it; donjon doctor tells"),
        Errno::AGAIN => error.hint("the limit of processes is reached: see ulimit -u, or the cgroup's pids.max"),
        Errno::INVAL | Errno::NOSYS => {
            error.hint("this kernel lacks one of the namespaces; donjon doctor says which")
        }
        _ => error,
    }
}

/// Looks at every host source once: it must exist; its canonical path and identity are what the child insists on.
fn open_sources(plan: &Plan) -> Result<Vec<OpenSource>, StartError> {
    let mut version_1 = version_1::Mounted::default();
    version_1.refuse_remounts(plan)?;
    plan.sources
        .iter()
        .enumerate()
        .map(|(index, source)| {
            let fail = |errno: Errno| {
                let error = StartError::new(source.layer, format!("open {}", source.path.display()), errno)
                    .field(&source.field);
                match errno {
                    Errno::NOENT => error.hint("it does not exist on this machine"),
                    Errno::LOOP => error.hint("its symbolic links go round in a circle"),
                    Errno::ACCESS => {
                        error.hint("you have no permission to reach it; donjon has no more than you")
                    }
                    _ => error,
                }
            };
            let canonical = match source.links {
                Links::Refused => source.path.clone(),
                Links::Followed => std::fs::canonicalize(&source.path)
                    .map_err(|e| fail(Errno::from_io_error(&e).unwrap_or(Errno::IO)))?,
            };
            let path = CString::new(canonical.as_os_str().as_bytes()).map_err(|_| fail(Errno::INVAL))?;
            let file =
                crate::resolve::canonical(path.as_c_str(), OFlags::PATH).map_err(|errno| match errno {
                    Errno::LOOP => fail(Errno::STALE)
                        .hint("it changed between the check and the start; if nobody meddled, try again"),
                    errno => fail(errno),
                })?;
            let stat = rustix::fs::fstat(&file).map_err(fail)?;
            let hierarchies = match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => version_1.below(plan, index, &canonical),
                _ => Vec::new(),
            };
            Ok(OpenSource { path, identity: (stat.st_dev, stat.st_ino), hierarchies })
        })
        .collect()
}
