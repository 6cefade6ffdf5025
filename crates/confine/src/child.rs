//! The child: walks the plan and decides nothing.
//!
//! Between clone and exec there are straight system calls alone. Everything that they need (strings, filters,
//! room for descriptors) was made before; nothing is allocated, locked or printed here. A step that fails is
//! reported to the parent by its number and errno, and the parent finds the words.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;

use crate::channel::{self, message};
use crate::hooks::Hooks;
use crate::layers::rootfs::Mounted;
use crate::layers::{apparmor, net_devices, scheduling, selinux};
use crate::layers::{
    capabilities, descriptors, devices, identity, integrity, keyring, landlock, lifecycle, limits, mounts,
    namespaces, overlay, program, rootfs, seccomp,
};
use crate::plan::{Op, Plan, Program, Slot, Step};
use crate::spawn::OpenSource;

/// Descriptors by slot.
#[derive(Debug)]
pub(crate) struct Slots(Vec<Option<OwnedFd>>);

impl Slots {
    pub fn new(n: usize) -> Self {
        Self((0..n).map(|_| None).collect())
    }

    pub fn get(&self, slot: Slot) -> Result<BorrowedFd<'_>, Errno> {
        self.0.get(usize::from(slot.0)).and_then(Option::as_ref).map(AsFd::as_fd).ok_or(Errno::BADF)
    }

    pub fn put(&mut self, slot: Slot, fd: OwnedFd) -> Result<(), Errno> {
        *self.0.get_mut(usize::from(slot.0)).ok_or(Errno::BADF)? = Some(fd);
        Ok(())
    }

    pub fn close(&mut self, slot: Slot) {
        if let Some(place) = self.0.get_mut(usize::from(slot.0)) {
            *place = None;
        }
    }
}

/// What the parent opened for the child.
#[derive(Clone, Copy)]
pub(crate) struct Opened<'a> {
    pub channel: BorrowedFd<'a>,
    pub stdio: Option<[BorrowedFd<'a>; 3]>,
    pub sources: &'a [OpenSource],
    /// The process whose namespaces are joined.
    pub target: Option<BorrowedFd<'a>>,
    /// Where the network namespace comes from.
    pub network: Option<BorrowedFd<'a>>,
    /// Namespaces to be entered by path, with their kind.
    pub namespaces: &'a [(u64, OwnedFd)],
    /// Where `start` connects to.
    pub start: Option<BorrowedFd<'a>>,
}

/// What the child works with. Made by the parent, changed in the child's copy only.
pub(crate) struct Context<'a> {
    /// What the parent opened.
    pub from: Opened<'a>,
    pub program: &'a Program,
    /// The connection of `start`, which takes the place of the channel.
    pub starter: Option<OwnedFd>,
    /// States of the container for hooks: see [`crate::layers::lifecycle::Stage`].
    pub states: [Option<OwnedFd>; 2],
    /// Mounts that the parent made because only it may: by source.
    pub idmapped: Vec<Option<OwnedFd>>,
    pub slots: Slots,
    pub mounted: Mounted,
    /// Device number of the file system that is the root.
    pub root_device: u64,
    own_ram: [u64; 64],
    own_ram_count: usize,
    /// Mounts that nothing may be mounted over: unique ids.
    walls: Vec<u64>,
    /// Whether the private procfs handle is a descriptor of the mount that became `/proc`.
    pub proc_attached: bool,
    /// The root is an engine's own directory: mount points are made wherever it says, as it expects.
    pub as_written: bool,
    pub found: Option<usize>,
    /// The listener of the filter, until the last process but the program lets go of it.
    pub listener: Option<OwnedFd>,
    /// The limit of processes, while it is raised for a fork.
    pub processes: Option<rustix::process::Rlimit>,
    pub hooks: &'a Hooks,
}

impl<'a> Context<'a> {
    pub fn new(from: Opened<'a>, plan: &'a Plan, hooks: &'a Hooks) -> Self {
        let came_along: usize = from.sources.iter().map(|source| source.hierarchies.len()).sum();
        Self {
            from,
            program: &plan.program,
            starter: None,
            states: [None, None],
            idmapped: from.sources.iter().map(|_| None).collect(),
            slots: Slots::new(plan.slots),
            mounted: Mounted::with_capacity(plan.steps.len() + 1 + came_along),
            root_device: 0,
            own_ram: [0; 64],
            own_ram_count: 0,
            walls: Vec::with_capacity(plan.steps.len()),
            proc_attached: false,
            as_written: false,
            found: None,
            listener: None,
            processes: None,
            hooks,
        }
    }

    /// Remembers that the file system of this mount is the container's own RAM, where mount points may be made.
    pub fn remember_own_ram(&mut self, mount: BorrowedFd<'_>) -> Result<(), Errno> {
        let device = rootfs::device_of(mount)?;
        if let Some(place) = self.own_ram.get_mut(self.own_ram_count) {
            *place = device;
            self.own_ram_count += 1;
        }
        Ok(())
    }

    /// Remembers a mount of donjon's own in `/proc`, `/dev` or `/sys`.
    pub fn remember_wall(&mut self, id: u64) {
        // There is room for one of each step, and so for all: the child never grows it.
        if self.walls.len() < self.walls.capacity() {
            self.walls.push(id);
        }
    }

    /// ELOOP when `target` lies on such a mount: a link of the image led there.
    pub fn is_no_wall(&self, target: BorrowedFd<'_>) -> Result<(), Errno> {
        let id = rootfs::unique_id(target)?;
        if id != 0 && self.walls.contains(&id) && !crate::hooks::naive() { Err(Errno::LOOP) } else { Ok(()) }
    }

    /// An error unless `dir` lies in the container's own RAM, or in its root.
    pub fn is_own_ram(&self, dir: BorrowedFd<'_>) -> Result<(), Errno> {
        if crate::hooks::naive() || self.as_written {
            return Ok(());
        }
        let device = rootfs::device_of(dir)?;
        let own = self.own_ram.get(..self.own_ram_count).unwrap_or_default();
        if device == self.root_device || own.contains(&device) { Ok(()) } else { Err(Errno::NOENT) }
    }

    /// Whether a protection is on: always, but in a build for the tests that prove its worth.
    pub fn protects(&self, what: &str) -> bool {
        self.hooks.protects(what)
    }

    /// Mount attributes, less those that a test switched off.
    pub fn weakened(&self, attrs: u64) -> u64 {
        use donjon_sys::mount::attr;
        let nosuid = if self.protects("nosuid") { 0 } else { attr::NOSUID };
        let rdonly = if self.protects("readonly-paths") { 0 } else { attr::RDONLY };
        attrs & !(nosuid | rdonly)
    }

    /// Who is told how it goes: the parent, or later the process that started the container.
    pub fn channel(&self) -> BorrowedFd<'_> {
        self.starter.as_ref().map_or(self.from.channel, AsFd::as_fd)
    }

    /// Sends a descriptor to the parent.
    pub fn send_descriptor(&self, kind: u8, fd: BorrowedFd<'_>) -> Result<(), Errno> {
        self.send(kind, 0, 0, Some(fd))
    }

    /// Sends a message of fixed length to the parent, with a descriptor or without.
    pub fn send(&self, kind: u8, a: u16, b: i32, fd: Option<BorrowedFd<'_>>) -> Result<(), Errno> {
        channel::send(self.channel(), kind, a, b, fd)
    }
}

/// Walks the plan from step `from` to its end, which is `execve`. Returns the status to exit with when a step
/// failed, after reporting it.
pub(crate) fn walk(steps: &[Step], from: usize, ctx: &mut Context<'_>) -> u8 {
    for (i, step) in steps.iter().enumerate().skip(from) {
        let result = match ctx.hooks.before(i) {
            Ok(()) => run(steps, i, step, ctx),
            Err(errno) => Err(errno),
        };
        match result {
            Ok(Next::Step) => {}
            Ok(Next::Exit(code)) => return code,
            Err(errno) => {
                return failed(i, errno, ctx);
            }
        }
    }
    125
}

/// Tells the parent that a step failed. Returns the status to exit with.
pub(crate) fn failed(step: usize, errno: Errno, ctx: &Context<'_>) -> u8 {
    // If the parent is gone there is nobody left to tell.
    let _ = ctx.send(message::FAILED, step as u16, errno.raw_os_error(), None);
    125
}

enum Next {
    Step,
    Exit(u8),
}

fn run(steps: &[Step], index: usize, step: &Step, ctx: &mut Context<'_>) -> Result<Next, Errno> {
    match &step.op {
        Op::MapOwnId { uid_map, gid_map } => identity::map_own_id(uid_map, gid_map),
        Op::AwaitParent { .. } => identity::await_parent(ctx),
        Op::BecomeRoot => identity::become_root(),
        Op::NotDumpable => match ctx.protects("dumpable") {
            true => donjon_sys::process::set_dumpable(false),
            false => donjon_sys::process::set_dumpable(true),
        },
        Op::DieWithParent => identity::die_with_parent(ctx),
        Op::NewSession => match ctx.protects("setsid") {
            true => identity::new_session(),
            false => Ok(()),
        },
        Op::SetIds { uid, gid, groups } => identity::set_ids(*uid, *gid, groups),
        Op::Umask(mask) => {
            rustix::process::umask(rustix::fs::Mode::from_raw_mode(*mask));
            Ok(())
        }
        Op::NoNewPrivs => match ctx.protects("no_new_privs") {
            true => donjon_sys::process::no_new_privs(),
            false => Ok(()),
        },
        Op::JoinNamespaces { flags } => namespaces::join(ctx, *flags),
        Op::ForkInto { flags } => return fork_into(steps, index, *flags, ctx),
        Op::ReadyToFork { keep } => namespaces::inside::ready(ctx, *keep),
        Op::ForkLast => {
            return namespaces::inside::fork(steps, index, ctx).map(|()| Next::Exit(0));
        }
        Op::EnterNamespaces => namespaces::paths::enter(ctx),
        Op::Unshare { flags } => donjon_sys::process::unshare(*flags),
        Op::Hostname(name) => namespaces::hostname(name),
        Op::Domainname(name) => rustix::system::setdomainname(name.to_bytes()),
        Op::EnterNetwork => crate::beside::enter(ctx.from.network),
        Op::TimeOffsets(text) => namespaces::time_offsets(text),
        Op::PrivateMounts => rootfs::private_mounts(),
        Op::Scratch { bytes } => rootfs::scratch(ctx, *bytes),
        Op::BindRoot { source, .. } => rootfs::bind_root(ctx, *source),
        Op::RamRoot => rootfs::ram_root(ctx),
        Op::RootDir { path, mode } => rootfs::root_dir(ctx, path, *mode),
        Op::RootLink { path, target } => rootfs::root_link(ctx, path, target),
        Op::SealRoot => match ctx.protects("readonly-root") {
            true => rootfs::seal_root(ctx),
            false => Ok(()),
        },
        Op::PivotRoot => rootfs::pivot_root(ctx),
        Op::VerifyMounts => match ctx.protects("verify") {
            true => ctx.mounted.verify(),
            false => Ok(()),
        },
        Op::WorkingDirectory { path } => rootfs::working_directory(ctx, path),
        Op::Overlay { source, tag, at, .. } => overlay::overlay(ctx, *source, tag, at),
        Op::OwnDirectories { tag, dirs } => overlay::own_directories(ctx, tag, dirs),
        Op::Hide { tag, path } => overlay::hide(ctx, tag, path),
        Op::Supply { tag, path, content } => overlay::supply(ctx, tag, path, content),
        Op::Mount(mount) => mounts::mount(ctx, mount),
        Op::Mask { path } => match ctx.protects("masks") {
            true => mounts::mask(ctx, path),
            false => Ok(()),
        },
        Op::ReadOnly { path, attrs } => match ctx.protects("readonly-paths") {
            true => mounts::read_only(ctx, path, *attrs),
            false => Ok(()),
        },
        Op::Seal { slot, .. } => mounts::seal(ctx, *slot),
        Op::ProcHandle { group } => mounts::handle::proc_handle(ctx, group),
        Op::Device { name, host, major, minor } => devices::device(ctx, name, host, *major, *minor),
        Op::DeviceLink { name, target } => devices::link(ctx, name, target),
        Op::Terminal => devices::terminal(ctx),
        Op::ControllingTerminal => devices::controlling_terminal(),
        Op::Rlimit { resource: 6, .. } if !ctx.protects("nproc") => Ok(()),
        Op::Rlimit { resource, soft, hard, .. } => limits::rlimit(*resource, *soft, *hard),
        Op::SoftLimit { resource, soft, .. } => limits::soft_limit(*resource, *soft),
        Op::Sysctl { path, .. }
            if !ctx.protects("userns-limit") && path.to_bytes().starts_with(b"sys/user/") =>
        {
            Ok(())
        }
        Op::Sysctl { path, value } => mounts::handle::write(ctx, path, value.to_bytes()),
        Op::OomScoreAdj(value) => limits::oom_score_adj(ctx, value),
        Op::SessionKeyring => match ctx.protects("keyring") {
            true => keyring::session_keyring(),
            false => Ok(()),
        },
        Op::NoCodeOn { .. } | Op::NoNewCode if !ctx.protects("integrity") => Ok(()),
        Op::NoCodeOn { number, .. } => integrity::no_code_on(*number),
        Op::NoNewCode => integrity::no_new_code(),
        Op::BoundingSet { .. } | Op::CapabilitySets { .. } if !ctx.protects("capabilities") => Ok(()),
        Op::BoundingSet { keep } => capabilities::bounding_set(*keep),
        Op::CapabilitySets { permitted, effective, inheritable, ambient } => {
            capabilities::capability_sets(*permitted, *effective, *inheritable, *ambient)
        }
        Op::LetGo { .. } if !ctx.protects("capabilities") => Ok(()),
        Op::LetGo { permitted, effective, inheritable } => {
            donjon_sys::process::capset(*effective, *permitted, *inheritable)
        }
        Op::Landlock { attr, rules, log } => match ctx.protects("landlock") {
            true => landlock::restrict(ctx, attr, rules, *log),
            false => Ok(()),
        },
        Op::Stdio => descriptors::stdio(ctx),
        Op::CloseDescriptors { keep } => match ctx.protects("close-fds") {
            true => donjon_sys::process::cloexec_from(*keep),
            false => Ok(()),
        },
        Op::Seccomp(program) => seccomp::install::load(ctx, program),
        Op::DefaultSignals => donjon_sys::process::default_signals(),
        Op::FindProgram => program::find(ctx),
        Op::Init => return init(steps, index, ctx),
        Op::Exec => Err(program::exec(ctx)),
        Op::AwaitHooks => lifecycle::await_hooks(ctx),
        Op::Hook(hook) => lifecycle::run_hook(ctx, hook),
        Op::AwaitStart { keep } => lifecycle::await_start(ctx, *keep),
        Op::ByParent(_) => Ok(()),
        Op::StartPropagation(propagation) => rootfs::in_place::start_propagation(ctx, *propagation),
        Op::ProcOrCallers { group } => mounts::handle::proc_or_callers(ctx, group),
        Op::CallersProc => mounts::handle::callers_proc(ctx),
        Op::RootInPlace { source } => rootfs::in_place::root_in_place(ctx, *source),
        Op::MakeWorkingDirectory { path } => rootfs::in_place::make_working_directory(ctx, path),
        Op::MoveRoot => rootfs::in_place::move_root(ctx),
        Op::RootPropagation(propagation) => rootfs::in_place::root_propagation(ctx, *propagation),
        Op::MountAsWritten(mount) => mounts::as_written::mount(ctx, mount),
        Op::Node(node) => devices::nodes::make(ctx, node),
        Op::Link(link) => devices::nodes::link(ctx, link),
        Op::TerminalSize { rows, columns } => devices::terminal_size(*rows, *columns),
        Op::ExactRlimit { resource, soft, hard, .. } => limits::exact_rlimit(*resource, *soft, *hard),
        Op::Scheduler { attr, .. } => donjon_sys::scheduling::sched_setattr(None, *attr),
        Op::IoPriority { class, priority } => donjon_sys::scheduling::ioprio_set(*class, *priority),
        Op::MemoryPolicy { mode, nodes, .. } => donjon_sys::scheduling::set_mempolicy(*mode, nodes),
        Op::Personality { persona } => donjon_sys::scheduling::personality(*persona),
        Op::Affinity { cpus, .. } => scheduling::affinity(cpus),
        Op::Apparmor { command } => apparmor::on_exec(ctx, command),
        Op::Selinux { label, keyring } => selinux::on_exec(ctx, label, *keyring),
        Op::NetDevices(_) => net_devices::await_devices(ctx),
        Op::StdioOwner { uid } => descriptors::stdio_owner(*uid),
    }
    .map(|()| Next::Step)
}

/// A process that joins a pid namespace stays outside; its children are inside. The child, which may get further new
/// namespaces, is made a sibling, so that the parent waits for it directly, and this process ends.
fn fork_into(steps: &[Step], index: usize, flags: u64, ctx: &mut Context<'_>) -> Result<Next, Errno> {
    const CLONE_PARENT: u64 = 0x8000;
    let (pid, pidfd) = {
        let ctx = &mut *ctx;
        donjon_sys::clone::clone3(CLONE_PARENT | flags, None, move || {
            // Wait for the parent to know this process before anything of it can end.
            match identity::await_parent(ctx) {
                Ok(()) => walk(steps, index + 1, ctx),
                Err(_) => 125,
            }
        })?
    };
    ctx.send(message::PROCESS, 0, pid.as_raw_nonzero().get(), Some(pidfd.as_fd()))?;
    Ok(Next::Exit(0))
}

/// Forks the program and stays as pid 1: reaps what dies, passes signals on, and ends as the program ends.
fn init(steps: &[Step], index: usize, ctx: &mut Context<'_>) -> Result<Next, Errno> {
    donjon_sys::process::block_signals()?;
    let child = {
        let ctx = &mut *ctx;
        donjon_sys::clone::fork(move || walk(steps, index + 1, ctx))?
    };
    Ok(Next::Exit(crate::layers::program::be_init(ctx, child)))
}
