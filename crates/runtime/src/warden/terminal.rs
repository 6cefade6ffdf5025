//! The container's terminal: the warden stands between it and the person's.
//!
//! **The attack**: a program that holds the person's own terminal can type into it (TIOCSTI, CVE-2017-5226), read
//! what the person types later, and leave it in a state that hides what happens. **The defence** (R10): with `-t`
//! the container gets a pseudo-terminal of its own devpts; the warden copies bytes between the two, and nothing
//! but bytes. The person's terminal is raw meanwhile and is put back whatever happens, also after a panic.
//!
//! Can't stop: escape sequences in the output, which a terminal emulator interprets; and SIGKILL to the warden,
//! after which `reset` helps.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Mutex;

use rustix::event::PollFlags;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::getpgrp;
use rustix::termios::{
    OptionalActions, SpecialCodeIndex, Termios, isatty, tcgetattr, tcgetpgrp, tcgetwinsize, tcsetattr,
    tcsetwinsize,
};

/// How much is read at once.
const PIECE: usize = 4096;

/// The person's settings while they are changed, for the panic hook.
static SAVED: Mutex<Option<Termios>> = Mutex::new(None);

/// The person's terminal, raw; put back when this is dropped.
#[derive(Debug)]
struct Raw {
    person: OwnedFd,
    saved: Termios,
}

impl Raw {
    /// Makes the terminal raw. `None` when `fd` is no terminal.
    fn enter(fd: BorrowedFd<'_>) -> Result<Option<Self>, Errno> {
        let Ok(saved) = tcgetattr(fd) else { return Ok(None) };
        let raw = Self { person: rustix::io::fcntl_dupfd_cloexec(fd, 3)?, saved };
        restore_after_panic(&raw.saved);
        raw.again()?;
        Ok(Some(raw))
    }

    /// Makes it raw once more: after a stop the shell has put back its own settings.
    fn again(&self) -> Result<(), Errno> {
        let mut settings = self.saved.clone();
        settings.make_raw();
        tcsetattr(&self.person, OptionalActions::Drain, &settings)
    }

    fn leave(&self) {
        let _ = tcsetattr(&self.person, OptionalActions::Drain, &self.saved);
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.leave();
        if let Ok(mut saved) = SAVED.lock() {
            *saved = None;
        }
    }
}

/// A panic aborts: no destructor runs, so the hook puts the terminal back.
fn restore_after_panic(settings: &Termios) {
    if let Ok(mut saved) = SAVED.lock() {
        *saved = Some(settings.clone());
    }
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if let Ok(saved) = SAVED.try_lock()
            && let Some(settings) = saved.as_ref()
        {
            let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, settings);
        }
        before(info);
    }));
}

/// The settings of a terminal that the container inherits as standard output or error: it can change them, and so
/// they are put back in the end.
#[derive(Debug)]
pub struct Settings(Option<(OwnedFd, Termios)>);

impl Settings {
    /// Remembers the settings of the first of the three standard streams that is a terminal.
    pub fn now() -> Self {
        let streams = [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()];
        Self(streams.into_iter().find_map(|fd| {
            let settings = tcgetattr(fd).ok()?;
            Some((rustix::io::fcntl_dupfd_cloexec(fd, 3).ok()?, settings))
        }))
    }

    /// Puts them back if they were changed. A process in the background leaves the terminal alone: there it is
    /// somebody else's, and touching it would stop this process.
    pub fn restore(self) {
        let Some((terminal, before)) = self.0 else { return };
        let Ok(now) = tcgetattr(&terminal) else { return };
        let same = now.input_modes == before.input_modes
            && now.output_modes == before.output_modes
            && now.control_modes == before.control_modes
            && now.local_modes == before.local_modes;
        let ours = tcgetpgrp(&terminal).is_ok_and(|group| group == getpgrp());
        if !same && ours {
            let _ = tcsetattr(&terminal, OptionalActions::Drain, &before);
        }
    }
}

/// Copies between the person's terminal and the container's.
#[derive(Debug)]
pub struct Proxy {
    master: Option<OwnedFd>,
    /// Where the person types; `None` without `-i`, or after its end.
    input: Option<OwnedFd>,
    output: Option<OwnedFd>,
    to_container: Queue,
    to_person: Queue,
    raw: Option<Raw>,
}

/// Bytes on their way, read only when the ones before are gone: a reader that is slow slows the writer.
#[derive(Debug, Default)]
struct Queue {
    bytes: Vec<u8>,
    done: usize,
}

impl Queue {
    fn is_empty(&self) -> bool {
        self.done >= self.bytes.len()
    }

    /// Reads a piece; `false` at the end.
    fn fill(&mut self, from: BorrowedFd<'_>) -> Result<bool, Errno> {
        self.bytes.resize(PIECE, 0);
        self.done = 0;
        let result = rustix::io::read(from, &mut self.bytes);
        self.bytes.truncate(*result.as_ref().unwrap_or(&0));
        result.map(|n| n > 0)
    }

    /// Writes what fits. `limit` is how much can be written without blocking.
    fn drain(&mut self, to: BorrowedFd<'_>, limit: usize) -> Result<(), Errno> {
        let rest = self.bytes.get(self.done..).unwrap_or_default();
        let rest = rest.get(..limit).unwrap_or(rest);
        self.done += rustix::io::write(to, rest)?;
        Ok(())
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.done = 0;
    }
}

/// What became of one look at a descriptor.
fn is_transient(errno: Errno) -> bool {
    matches!(errno, Errno::INTR | Errno::AGAIN)
}

impl Proxy {
    /// Connects the container's terminal with standard input (if `interactive`) and standard output.
    pub fn new(master: OwnedFd, interactive: bool) -> Result<Self, Errno> {
        // Nobody else holds this description: the child closed its copy when it became the program.
        let flags = rustix::fs::fcntl_getfl(&master)?;
        rustix::fs::fcntl_setfl(&master, flags | OFlags::NONBLOCK)?;
        let stdin = rustix::stdio::stdin();
        let input = match interactive {
            true => Some(own_description(stdin, OFlags::RDONLY)?),
            false => None,
        };
        let output = Some(own_description(rustix::stdio::stdout(), OFlags::WRONLY)?);
        let raw = match interactive {
            true => Raw::enter(stdin)?,
            false => None,
        };
        let proxy = Self {
            master: Some(master),
            input,
            output,
            to_container: Queue::default(),
            to_person: Queue::default(),
            raw,
        };
        proxy.resize();
        Ok(proxy)
    }

    /// Gives the container's terminal the size of the person's.
    pub fn resize(&self) {
        let size = tcgetwinsize(rustix::stdio::stdout()).or_else(|_| tcgetwinsize(rustix::stdio::stdin()));
        if let (Ok(size), Some(master)) = (size, &self.master) {
            let _ = tcsetwinsize(master, size);
        }
    }

    /// Before the warden stops: the shell gets its terminal back as it was.
    pub fn suspend(&self) {
        if let Some(raw) = &self.raw {
            raw.leave();
        }
    }

    /// After the warden was continued.
    pub fn resume(&self) {
        if let Some(raw) = &self.raw {
            let _ = raw.again();
        }
        self.resize();
    }

    /// What to wait for, by descriptor.
    pub fn interests(&self) -> impl Iterator<Item = (Side, BorrowedFd<'_>, PollFlags)> {
        let read = |empty| if empty { PollFlags::IN } else { PollFlags::empty() };
        let write = |empty: bool| if empty { PollFlags::empty() } else { PollFlags::OUT };
        let master = self.master.as_ref().map(|fd| {
            (Side::Master, fd.as_fd(), read(self.to_person.is_empty()) | write(self.to_container.is_empty()))
        });
        let input = self
            .input
            .as_ref()
            .filter(|_| self.to_container.is_empty() && self.master.is_some())
            .map(|fd| (Side::Input, fd.as_fd(), PollFlags::IN));
        let output = self
            .output
            .as_ref()
            .filter(|_| !self.to_person.is_empty())
            .map(|fd| (Side::Output, fd.as_fd(), PollFlags::OUT));
        // A hang-up is reported even when nothing is asked for: a side that nothing is asked of stays out.
        master.filter(|(_, _, flags)| !flags.is_empty()).into_iter().chain(input).chain(output)
    }

    /// Moves bytes: `ready` is what poll said about `side`.
    pub fn handle(&mut self, side: Side, ready: PollFlags) {
        match side {
            Side::Master => self.handle_master(ready),
            Side::Input => self.handle_input(),
            Side::Output => self.handle_output(),
        }
    }

    fn handle_master(&mut self, ready: PollFlags) {
        let Some(master) = &self.master else { return };
        if ready.contains(PollFlags::OUT) && !self.to_container.is_empty() {
            match self.to_container.drain(master.as_fd(), PIECE) {
                Err(errno) if !is_transient(errno) => self.to_container.clear(),
                _ => {}
            }
        }
        if ready.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) && self.to_person.is_empty() {
            match self.to_person.fill(master.as_fd()) {
                // Nobody reads any more: the container goes on without a listener.
                Ok(true) if self.output.is_none() => self.to_person.clear(),
                Ok(true) => {}
                Err(errno) if is_transient(errno) => {}
                // EIO: the last process that had the terminal open is gone.
                Ok(false) | Err(_) => self.master = None,
            }
        }
    }

    fn handle_input(&mut self) {
        let Some(input) = &self.input else { return };
        match self.to_container.fill(input.as_fd()) {
            Ok(true) => {}
            Err(errno) if is_transient(errno) => {}
            // The end of a file or pipe: what a person does to say so is Ctrl-D.
            Ok(false) | Err(_) => {
                self.input = None;
                let end = self
                    .master
                    .as_ref()
                    .and_then(|m| tcgetattr(m).ok())
                    .map(|t| t.special_codes[SpecialCodeIndex::VEOF]);
                self.to_container.bytes.push(end.unwrap_or(4));
            }
        }
    }

    fn handle_output(&mut self) {
        let Some(output) = &self.output else { return };
        // A pipe that is ready takes 4096 bytes. A terminal that could not be opened anew takes a few: little is
        // given at a time, so that the loop does not hang on a reader that has stopped.
        let limit = if is_nonblocking(output.as_fd()) || !isatty(output) { PIECE } else { 256 };
        match self.to_person.drain(output.as_fd(), limit) {
            Ok(()) => {}
            Err(errno) if is_transient(errno) => {}
            Err(_) => {
                self.output = None;
                self.to_person.clear();
            }
        }
    }

    /// Whether bytes wait for the person to read them.
    pub fn is_delivering(&self) -> bool {
        !self.to_person.is_empty()
    }

    /// Whether everything that the container wrote has been passed on.
    pub fn is_drained(&self) -> bool {
        self.master.is_none() && self.to_person.is_empty()
    }
}

/// An end of the copying.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The container's terminal.
    Master,
    /// Where the person types.
    Input,
    /// Where the person reads.
    Output,
}

/// A terminal opened anew, so that it can be non-blocking without changing that for the shell, which shares the
/// inherited one. What is no terminal, or may not be opened (after `su` it belongs to somebody else), is used as
/// it is.
fn own_description(fd: BorrowedFd<'_>, access: OFlags) -> Result<OwnedFd, Errno> {
    if isatty(fd)
        && let Ok(own) = reopen(fd, access | OFlags::NONBLOCK)
    {
        return Ok(own);
    }
    rustix::io::fcntl_dupfd_cloexec(fd, 3)
}

/// Opens the file behind a descriptor once more.
pub(crate) fn reopen(fd: BorrowedFd<'_>, flags: OFlags) -> Result<OwnedFd, Errno> {
    use std::os::fd::AsRawFd;
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    rustix::fs::open(path, flags | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())
}

fn is_nonblocking(fd: BorrowedFd<'_>) -> bool {
    rustix::fs::fcntl_getfl(fd).is_ok_and(|flags| flags.contains(OFlags::NONBLOCK))
}
