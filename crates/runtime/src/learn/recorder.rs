//! The process that answers the container's reported calls and writes down what they are about.
//!
//! It is a child of the warden. It confines itself before it looks at the first path: it joins the container's user
//! namespace, so that its rights count nowhere else; takes the container's root for its own, so that a path means there
//! what it means inside; and loads a filter ([`super::filter`]) that leaves it nothing to change anything with. Until
//! then it answers by numbers alone: the first process can't be looked into before it has become the program.
//!
//! The kernel ends it with the warden. When it ends before the container, the warden ends the container.

use std::collections::{HashMap, HashSet};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use donjon_confine::layers::seccomp::interpret::{Data, Verdict, verdict};
use donjon_confine::layers::seccomp::notify::{describe, errno_for, is_pdeathsig};
use donjon_confine::layers::seccomp::{AUDIT_ARCH, Program, name};
use donjon_sys::process::{capset, close_between, die_with_parent, no_new_privs, set_dumpable, setns};
use donjon_sys::seccomp::{Notification, let_happen, pretend, receive, refuse, wake_on_one_processor};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketFlags, SocketType, socketpair,
};
use rustix::process::{WaitId, WaitIdOptions, waitid};

use super::calls::{self, About, Flags, PathAt};
use super::capabilities::{self, Holder};
use super::memory::{self, Address};
use super::paths::{self, Meant, Root};
use super::peaks::Peaks;
use super::report::{First, Notes, Refused, access};
use super::{filter, interpreters};
use crate::container::write_all;
use crate::warden::listener::errno_name;

/// Most paths as programs wrote them that are remembered, and their bytes together.
const MOST_SEEN: usize = 32_768;
const MOST_SEEN_BYTES: usize = 8 << 20;
/// Most directories that are not walked to again.
const MOST_DIRECTORIES: usize = 8_192;
/// A program's path is cut after so many characters: it stands at each of the files.
const LONGEST_PROGRAM: usize = 200;
/// How often it looks at what the container uses while nothing is reported.
const IDLE: Duration = Duration::from_millis(250);
const CLONE_NEWUSER: u64 = 0x1000_0000;
const CAP_DAC_READ_SEARCH: u64 = 1 << 2;
const CAP_SYS_PTRACE: u64 = 1 << 19;

/// What is to be recorded, and where it goes.
#[derive(Debug)]
pub struct Observation {
    /// A pipe that takes the report, as JSON, at the end.
    pub report: OwnedFd,
}

/// The recorder, as the warden holds it.
#[derive(Debug)]
pub struct Recorder {
    /// Comes to its end with the recorder.
    channel: OwnedFd,
    pidfd: OwnedFd,
}

impl Recorder {
    /// Forks it. `own` is the container's own filter; `candidates` are the paths that are tried for its program.
    /// Returns it, and the channel that the listener is to be handed through.
    pub fn fork(
        observation: Observation,
        own: &Program,
        candidates: &[std::ffi::CString],
    ) -> Result<(Self, OwnedFd), Errno> {
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        let hand = rustix::io::fcntl_dupfd_cloexec(&ours, 3)?;
        let proc =
            rustix::fs::open(c"/proc", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let report = observation.report;
        let (_, pidfd) = donjon_sys::clone::clone3(0, None, || {
            let kept = [theirs.as_fd(), proc.as_fd(), report.as_fd()];
            match run(kept, own, candidates) {
                Ok(()) => 0,
                Err(_) => 1,
            }
        })?;
        Ok((Self { channel: ours, pidfd }, hand))
    }

    /// The descriptor to poll: it hangs up when the recorder ends.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }

    /// Whether it ended because nobody is left who could call, its report written. To be asked once it hangs up.
    pub fn has_finished(&self) -> bool {
        let ended = waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED);
        matches!(ended, Ok(Some(status)) if status.exit_status() == Some(0))
    }

    /// Waits until it has written its report, a while at the most.
    pub fn finish(self) {
        const PATIENCE: Timespec = Timespec { tv_sec: 30, tv_nsec: 0 };
        let _ = poll(&mut [PollFd::new(&self.channel, PollFlags::IN)], Some(&PATIENCE));
    }
}

/// Everything from here on happens in the recorder.
fn run(
    [channel, proc, report]: [BorrowedFd<'_>; 3],
    own: &Program,
    candidates: &[std::ffi::CString],
) -> Result<(), Errno> {
    die_with_parent()?;
    no_new_privs()?;
    close_others([channel, proc, report])?;
    // A start that failed has no listener.
    let Some((listener, watched)) = hear(channel)? else { return Ok(()) };
    // Before Linux 6.6 it goes without, and takes longer.
    let _ = wake_on_one_processor(listener.as_fd());
    let mut recording = Recording {
        listener: listener.as_fd(),
        proc,
        report,
        own,
        watched,
        candidates: candidates.iter().map(|path| path.as_bytes().to_vec()).collect(),
        joined: false,
        notes: Notes::default(),
        peaks: Peaks::new(),
        seen: HashMap::new(),
        seen_bytes: 0,
        directories: HashSet::new(),
    };
    recording.serve();
    let bytes = serde_json::to_vec(&recording.notes.finish()).map_err(|_| Errno::INVAL)?;
    write_all(report, &bytes)
}

/// Closes everything but these and the standard streams.
fn close_others(kept: [BorrowedFd<'_>; 3]) -> Result<(), Errno> {
    let mut numbers = kept.map(|fd| fd.as_raw_fd().unsigned_abs());
    numbers.sort_unstable();
    let mut from = 3;
    for number in numbers {
        if number > from {
            close_between(from, number - 1)?;
        }
        from = from.max(number + 1);
    }
    close_between(from, u32::MAX)
}

/// Waits for the listener, and the pid of the container's first process with it.
fn hear(channel: BorrowedFd<'_>) -> Result<Option<(OwnedFd, i32)>, Errno> {
    let mut bytes = [0u8; 16];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut iov = [rustix::io::IoSliceMut::new(&mut bytes)];
    let received = rustix::net::recvmsg(channel, &mut iov, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let listener = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    drop(control);
    let pid = match bytes.get(..received.bytes) {
        Some([_, _, _, pid @ ..]) => pid.first_chunk().map(|pid| i32::from_le_bytes(*pid)),
        _ => None,
    };
    Ok(listener.zip(pid))
}

struct Recording<'a> {
    listener: BorrowedFd<'a>,
    proc: BorrowedFd<'a>,
    report: BorrowedFd<'a>,
    own: &'a Program,
    /// The process that has to die with the warden.
    watched: i32,
    /// What the first program may be.
    candidates: Vec<Vec<u8>>,
    /// It is confined, and may look.
    joined: bool,
    notes: Notes,
    peaks: Peaks,
    /// Paths as programs wrote them, with what was noted of them.
    seen: HashMap<Vec<u8>, u8>,
    seen_bytes: usize,
    /// Directories that were walked to, by their own paths: most files lie beside others.
    directories: HashSet<Vec<u8>>,
}

impl Recording<'_> {
    /// Answers until nobody is left who could call.
    fn serve(&mut self) {
        let mut rounds = 0u32;
        loop {
            let limit = Timespec { tv_sec: 0, tv_nsec: IDLE.as_nanos() as i64 };
            let mut fds = [PollFd::from_borrowed_fd(self.listener, PollFlags::IN)];
            match poll(&mut fds, Some(&limit)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => std::thread::sleep(Duration::from_millis(1)),
            }
            let ready = fds[0].revents();
            rounds = rounds.wrapping_add(1);
            if self.joined
                && (ready.is_empty() || rounds.is_multiple_of(32))
                && Instant::now() >= self.peaks.next()
            {
                self.look_at_peaks();
            }
            if ready.contains(PollFlags::IN) {
                match receive(self.listener) {
                    Ok(call) => self.answer(&call),
                    // Its caller died in the meantime.
                    Err(Errno::NOENT | Errno::INTR | Errno::AGAIN) => {}
                    Err(_) => return,
                }
            } else if ready.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL) {
                return;
            }
        }
    }

    fn look_at_peaks(&mut self) {
        if let Some((tasks, memory)) = self.peaks.look() {
            self.notes.peaks(tasks, memory);
        }
    }

    /// Notes a call, and answers it as the container's own filter would, or its warden.
    fn answer(&mut self, call: &Notification) {
        let args = call.args;
        let nr = call.nr.unsigned_abs();
        let pid = i32::try_from(call.pid).unwrap_or(0);
        let says = verdict(&self.own.filter, &Data { nr, arch: AUDIT_ARCH, args });
        if !self.joined && self.join(pid).is_ok() {
            self.joined = true;
            self.notes.looked();
            self.note_first_program(pid);
            self.look_at_peaks();
        }
        // ENOENT from an answer: the caller died meanwhile, and nobody waits for it.
        let _ = match says {
            Verdict::Allow => {
                self.note(call, pid, true);
                let_happen(self.listener, call.id)
            }
            Verdict::Pretend => {
                self.note(call, pid, false);
                pretend(self.listener, call.id, 0)
            }
            Verdict::Report if is_pdeathsig(call.nr, &args) && pid == self.watched => {
                pretend(self.listener, call.id, 0)
            }
            Verdict::Report if is_pdeathsig(call.nr, &args) => let_happen(self.listener, call.id),
            Verdict::Errno(errno) => refuse(self.listener, call.id, errno),
            Verdict::Report | Verdict::Kill => {
                let errno = errno_for(call.nr, &args);
                self.note_refused(call, pid, errno);
                refuse(self.listener, call.id, errno)
            }
        };
    }

    /// Joins the container of a process that has become a program.
    fn join(&mut self, pid: i32) -> Result<(), Errno> {
        let open = |what: &str, flags| {
            rustix::fs::openat(self.proc, format!("{pid}/{what}"), flags | OFlags::CLOEXEC, Mode::empty())
        };
        let namespace = open("ns/user", OFlags::RDONLY)?;
        let root = open("root", OFlags::PATH | OFlags::DIRECTORY)?;
        let own = rustix::fs::statat(self.proc, c"self/ns/user", rustix::fs::AtFlags::empty())?;
        let theirs = rustix::fs::fstat(&namespace)?;
        if (own.st_dev, own.st_ino) != (theirs.st_dev, theirs.st_ino) {
            setns(namespace.as_fd(), CLONE_NEWUSER)?;
        }
        rustix::process::fchdir(&root)?;
        rustix::process::chroot(c".")?;
        drop((namespace, root));
        let rights = CAP_SYS_PTRACE | CAP_DAC_READ_SEARCH;
        let confined = capset(rights, rights, 0).and_then(|()| set_dumpable(false)).and_then(|()| {
            let filter =
                filter::filter(self.report.as_raw_fd().unsigned_abs().into()).map_err(|_| Errno::INVAL)?;
            donjon_sys::seccomp::load(&filter.filter, 0).map(drop)
        });
        if confined.is_err() {
            // Half joined: it must not look at anything, and the warden ends the container with it.
            donjon_sys::clone::exit_now(1);
        }
        Ok(())
    }

    /// The call that made the first program could not be looked into.
    fn note_first_program(&mut self, pid: i32) {
        for path in std::mem::take(&mut self.candidates) {
            if let Meant::There(path) = paths::follow(&Root { proc: self.proc, tid: pid }, b"/", &path, true)
                && paths::look(&path).is_some_and(|stat| !paths::is_directory(&stat))
            {
                return self.note_executed(pid, path, "execve");
            }
        }
    }

    /// A file that is executed, and what the kernel executes for it.
    fn note_executed(&mut self, pid: i32, path: Vec<u8>, call: &'static str) {
        let mut next = Some(path);
        // As deep as the kernel goes.
        for _ in 0..6 {
            let Some(path) = next.take() else { return };
            self.put(pid, &path, access::EXECUTE, call);
            next = interpreters::of(&path).and_then(|named| {
                match paths::follow(&Root { proc: self.proc, tid: pid }, b"/", &named, true) {
                    Meant::There(path) => Some(path),
                    _ => None,
                }
            });
        }
    }

    fn note(&mut self, call: &Notification, pid: i32, happens: bool) {
        let Some(call_name) = name(call.nr) else { return };
        let args = call.args;
        let low = |at: usize| args.get(at).copied().unwrap_or(0) & 0xffff_ffff;
        let proc = self.proc;
        self.notes.call(call_name, || first(proc, pid, call_name));
        if matches!(call_name, "clone" | "fork" | "vfork") {
            let tasks = self.peaks.made();
            self.notes.peaks(tasks, 0);
        }
        if !happens {
            return;
        }
        match calls::about(call_name) {
            About::Nothing => {}
            About::Number(at) => {
                let number = if call_name == "clone" { low(at) & !0xff } else { low(at) };
                let proc = self.proc;
                self.notes.argument(call_name, &calls::number_in_words(call_name, number), || {
                    first(proc, pid, call_name)
                });
            }
            About::Socket => {
                if let Some(word) = calls::family(low(0), low(2)) {
                    let proc = self.proc;
                    self.notes.family(word, || first(proc, pid, call_name));
                }
            }
            _ if !self.joined => self.notes.unreadable(),
            About::Address(place, length) => self.note_address(pid, call_name, args[place], args[length]),
            About::Open(at, flags) => self.note_open(pid, call_name, &args, at, flags),
            About::File(at, done) => {
                if let Some((meant, _)) = self.meant(pid, &args, at, 0) {
                    self.note_done(pid, call_name, meant, done);
                }
            }
            About::Move(from, to) => {
                if let Some((Meant::There(path), _)) = self.meant(pid, &args, from, 0) {
                    self.put(pid, &path, access::DELETE, call_name);
                }
                if let Some((Meant::There(path) | Meant::Missing(path), _)) = self.meant(pid, &args, to, 0) {
                    self.put(pid, &path, access::CREATE, call_name);
                }
            }
            About::Execute(at) => {
                if let Some((Meant::There(path), _)) = self.meant(pid, &args, at, access::EXECUTE) {
                    self.note_executed(pid, path, call_name);
                }
            }
        }
        if self.joined
            && let Some(capability) = capabilities::by_call(call_name)
        {
            self.note_capability(pid, call_name, capability, &args);
        }
    }

    fn note_done(&mut self, pid: i32, call: &'static str, meant: Meant, done: u8) {
        match meant {
            // What makes a name fails where there is one, and what removes one where there is none.
            Meant::There(path) if done != access::CREATE => self.put(pid, &path, done, call),
            Meant::Missing(path) if done == access::CREATE => self.put(pid, &path, done, call),
            Meant::Process => self.put(pid, b"/proc/", done, call),
            _ => {}
        }
    }

    fn note_open(&mut self, pid: i32, call: &'static str, args: &[u64; 6], at: PathAt, flags: Flags) {
        let flags = match flags {
            Flags::Argument(at) => args[at],
            Flags::How(at) => match memory::number(pid, args[at]) {
                Some(flags) => flags,
                None => return self.notes.unreadable(),
            },
            Flags::Creat => 0o1101,
        };
        let Some(done) = calls::of_flags(flags) else { return };
        let at = PathAt { follow: calls::follows(flags), ..at };
        let nameless = calls::makes_nameless(flags);
        let makes = calls::makes(flags);
        let remembered = if makes || nameless { 0 } else { done };
        match self.meant(pid, args, at, remembered) {
            Some((Meant::There(path), _)) if nameless => {
                let path = [path.as_slice(), b"/*"].concat();
                self.put(pid, &path, access::CREATE | access::WRITE, call);
            }
            Some((Meant::There(path), written)) => {
                let listed = paths::look(&path).is_some_and(|stat| paths::is_directory(&stat));
                self.put(pid, &path, if listed { access::LIST } else { done }, call);
                if remembered != 0 {
                    self.remember(written, remembered);
                }
            }
            Some((Meant::Missing(path), _)) if makes => {
                self.put(pid, &path, access::CREATE | access::WRITE | done, call);
            }
            Some((Meant::Process, written)) => {
                self.put(pid, b"/proc/", done, call);
                if remembered != 0 {
                    self.remember(written, remembered);
                }
            }
            _ => {}
        }
    }

    fn note_address(&mut self, pid: i32, call: &'static str, place: u64, length: u64) {
        if place == 0 {
            return;
        }
        let proc = self.proc;
        match memory::address(pid, place, length) {
            None => self.notes.unreadable(),
            Some(Address::Internet { text, port }) => {
                self.notes.address(call, text, || first(proc, pid, call));
                if call == "bind" && (1..1024).contains(&port) {
                    self.note_capability(pid, call, "NET_BIND_SERVICE", &[0; 6]);
                }
            }
            Some(Address::Path(path)) => {
                let base = self.base(pid, None).unwrap_or_else(|| b"/".to_vec());
                let meant = paths::follow(&Root { proc: self.proc, tid: pid }, &base, &path, true);
                if let Meant::There(path) | Meant::Missing(path) = meant {
                    self.notes.address(call, String::from_utf8_lossy(&path).into_owned(), || {
                        first(proc, pid, call)
                    });
                    if call == "bind" {
                        self.put(pid, &path, access::CREATE, call);
                    }
                }
            }
            Some(Address::Abstract) => {
                self.notes.address(call, "an abstract name".to_string(), || first(proc, pid, call));
            }
            Some(Address::Other) => {}
        }
    }

    fn note_capability(&mut self, pid: i32, call: &'static str, capability: &str, args: &[u64; 6]) {
        let Some(holder) = Holder::read(self.proc, pid) else { return };
        let owner_of = |path: &[u8]| paths::look(path).map(|stat| stat.st_uid);
        let owner = match capability {
            // The argument is a pid, or a group, of the container's own procfs.
            "KILL" => {
                let target = i64::from(args[0] as i32).unsigned_abs();
                owner_of(format!("/proc/{target}").as_bytes())
            }
            "FOWNER" => {
                let descriptor = matches!(call, "fchmodat" | "fchmodat2" | "utimensat");
                let at = PathAt {
                    directory: descriptor.then_some(0),
                    path: usize::from(descriptor),
                    follow: true,
                };
                match self.meant(pid, args, at, 0) {
                    Some((Meant::There(path), _)) => owner_of(&path),
                    _ => None,
                }
            }
            _ => None,
        };
        // Nothing of another's is known to be touched.
        if owner.is_none() && matches!(capability, "KILL" | "FOWNER") {
            return;
        }
        if capabilities::used(&holder, capability, owner) {
            let proc = self.proc;
            self.notes.capability(capability, || first(proc, pid, call));
        }
    }

    fn note_refused(&mut self, call: &Notification, pid: i32, errno: Errno) {
        let refusal = describe(call.nr, &call.args);
        let proc = self.proc;
        let (syscall, object) = (refusal.syscall.clone(), refusal.object.clone());
        self.notes.refused(&syscall, &object, || Refused {
            layer: if refusal.capability.is_some() { "capabilities" } else { "seccomp" }.to_string(),
            call: refusal.syscall,
            object: refusal.object,
            rule: refusal.rule,
            errno: errno_name(errno).to_string(),
            allow: refusal.allow,
            advice: refusal.advice.to_string(),
            program: program_of(proc, pid),
            count: 1,
        });
    }

    /// The directory that a relative path is relative to.
    fn base(&self, pid: i32, descriptor: Option<u64>) -> Option<Vec<u8>> {
        const AT_FDCWD: i32 = -100;
        let entry = match descriptor.map(|fd| fd as i32) {
            None | Some(AT_FDCWD) => format!("{pid}/cwd"),
            Some(fd) => format!("{pid}/fd/{fd}"),
        };
        let link = rustix::fs::readlinkat(self.proc, entry, Vec::new()).ok()?.into_bytes();
        link.starts_with(b"/").then_some(link)
    }

    /// What a path argument means, and the path as it was written. `None`: it is known already with all of `known`, or
    /// can't be read.
    fn meant(&mut self, pid: i32, args: &[u64; 6], at: PathAt, known: u8) -> Option<(Meant, Vec<u8>)> {
        let mut buffer = [0u8; 4096];
        let Some(text) = memory::string(pid, args[at.path], &mut buffer) else {
            self.notes.unreadable();
            return None;
        };
        let written = match text {
            [b'/', ..] => text.to_vec(),
            _ => {
                let mut whole = self.base(pid, at.directory.map(|at| args[at]))?;
                whole.push(b'/');
                whole.extend_from_slice(text);
                whole
            }
        };
        if known != 0 && self.seen.get(&written).is_some_and(|seen| seen & known == known) {
            return None;
        }
        let root = Root { proc: self.proc, tid: pid };
        let meant =
            match paths::split(&written).filter(|(directory, _)| self.directories.contains(*directory)) {
                Some((directory, name)) => paths::follow_name(&root, directory, name, at.follow),
                None => paths::follow(&root, b"/", &written, at.follow),
            };
        if let Meant::There(path) = &meant
            && let Some((directory, _)) = paths::split(path)
            && self.directories.len() < MOST_DIRECTORIES
            && !self.directories.contains(directory)
            && path.len() < 512
        {
            self.directories.insert(directory.to_vec());
        }
        Some((meant, written))
    }

    /// So that a path that comes again costs no second way.
    fn remember(&mut self, written: Vec<u8>, known: u8) {
        if let Some(seen) = self.seen.get_mut(&written) {
            *seen |= known;
        } else if self.seen.len() < MOST_SEEN && self.seen_bytes + written.len() <= MOST_SEEN_BYTES {
            self.seen_bytes += written.len();
            self.seen.insert(written, known);
        }
    }

    /// Notes what is done with a file; a name that is no text is its directory.
    fn put(&mut self, pid: i32, path: &[u8], done: u8, call: &'static str) {
        let proc = self.proc;
        let stat = if path.len() > 1 && path.ends_with(b"/") { None } else { paths::look(path) };
        if let Some(stat) = &stat
            && capabilities::is_not_for_all(stat, done)
            && let Some(capability) =
                Holder::read(self.proc, pid).and_then(|holder| capabilities::overrides(&holder, stat, done))
        {
            self.notes.capability(capability, || first(proc, pid, call));
        }
        let directory = stat.as_ref().is_some_and(paths::is_directory);
        match std::str::from_utf8(path) {
            Ok(path) => match path.strip_suffix('/').filter(|above| !above.is_empty()) {
                Some(above) => self.notes.below(above, done, || first(proc, pid, call)),
                None => self.notes.file(path, done, directory, || first(proc, pid, call)),
            },
            Err(error) => {
                let text = path.get(..error.valid_up_to()).unwrap_or_default();
                let text = std::str::from_utf8(text).unwrap_or_default();
                let above = text.rsplit_once('/').map_or("", |(above, _)| above);
                self.notes.below(if above.is_empty() { "/" } else { above }, done, || first(proc, pid, call));
            }
        }
    }
}

/// Who called, and by what. Asked for only when something is new.
fn first(proc: BorrowedFd<'_>, pid: i32, call: &str) -> First {
    First { program: program_of(proc, pid), call: call.to_string() }
}

/// The path of a process's program.
fn program_of(proc: BorrowedFd<'_>, pid: i32) -> String {
    rustix::fs::readlinkat(proc, format!("{pid}/exe"), Vec::new())
        .map(|path| path.to_string_lossy().chars().take(LONGEST_PROGRAM).collect())
        .unwrap_or_default()
}
