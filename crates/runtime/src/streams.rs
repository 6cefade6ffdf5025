//! Standard input, output and error of a container.
//!
//! **The attack**: a container without `-t` inherits the person's terminal as standard output. A terminal is open
//! for reading too, so it could read there what the person types. **The defence**: what is a terminal is opened anew
//! for writing alone. And without `-i` standard input is `/dev/null`.
//!
//! **Can't stop**: escape sequences in what is printed. With `-t` the container gets a terminal of its own.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::termios::isatty;

use crate::container::Container;
use crate::log::Writer;
use crate::warden::Output;
use crate::warden::output::Logged;
use crate::warden::terminal::{Proxy, reopen};

/// The three streams: the container's ends until the child has them, and the warden's.
#[derive(Debug)]
pub struct Streams {
    ends: Option<[OwnedFd; 3]>,
    warden: WardensEnd,
    /// Held open so that a detached container with `-i` does not see the end of its input.
    input: Option<OwnedFd>,
}

#[derive(Debug)]
enum WardensEnd {
    Inherited,
    Pipes(Logged),
    Terminal,
    TerminalToLog(Writer),
}

impl Streams {
    /// Opens what a container needs: its own terminal, pipes into the log, or the caller's streams.
    pub fn open(
        container: &Container,
        detached: bool,
        terminal: bool,
        interactive: bool,
    ) -> Result<Self, Errno> {
        match (terminal, detached) {
            (true, false) => Ok(Self { ends: None, warden: WardensEnd::Terminal, input: None }),
            (true, true) => Ok(Self {
                ends: None,
                warden: WardensEnd::TerminalToLog(Writer::new(container)?),
                input: None,
            }),
            (false, false) => Self::inherited(interactive),
            (false, true) => Self::logged(container, interactive),
        }
    }

    /// The caller's own streams, or a terminal, for a further process of a container.
    pub fn of_caller(terminal: bool, interactive: bool) -> Result<Self, Errno> {
        match terminal {
            true => Ok(Self { ends: None, warden: WardensEnd::Terminal, input: None }),
            false => Self::inherited(interactive),
        }
    }

    fn inherited(interactive: bool) -> Result<Self, Errno> {
        let stdin = match interactive {
            true => rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?,
            false => null()?,
        };
        let ends = [stdin, for_writing(rustix::stdio::stdout())?, for_writing(rustix::stdio::stderr())?];
        Ok(Self { ends: Some(ends), warden: WardensEnd::Inherited, input: None })
    }

    fn logged(container: &Container, interactive: bool) -> Result<Self, Errno> {
        let (logged, ends) = Logged::pipes(Writer::new(container)?)?;
        let (stdin, input) = match interactive {
            true => pipe_with(PipeFlags::CLOEXEC).map(|(read, write)| (read, Some(write)))?,
            false => (null()?, None),
        };
        Ok(Self { ends: Some([stdin, ends.stdout, ends.stderr]), warden: WardensEnd::Pipes(logged), input })
    }

    /// What the child gets; nothing when it has a terminal.
    pub fn ends(&self) -> Option<[BorrowedFd<'_>; 3]> {
        self.ends.as_ref().map(|[stdin, stdout, stderr]| [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()])
    }

    /// Closes the container's ends here: a pipe comes to its end only when nobody else holds it.
    pub fn close_ends(&mut self) {
        self.ends = None;
    }

    /// The warden's part, with the master side of the terminal if there is one.
    pub fn output(self, console: Option<OwnedFd>, interactive: bool) -> Result<Output, Errno> {
        match (self.warden, console) {
            (WardensEnd::Inherited, _) => Ok(Output::Inherited),
            (WardensEnd::Pipes(logged), _) => Ok(Output::Log { logged, _input: self.input }),
            (WardensEnd::Terminal, Some(master)) => Ok(Output::Terminal(Proxy::new(master, interactive)?)),
            (WardensEnd::TerminalToLog(writer), Some(master)) => {
                Ok(Output::Log { logged: Logged::terminal(master, writer)?, _input: None })
            }
            (WardensEnd::Terminal | WardensEnd::TerminalToLog(_), None) => Err(Errno::NOTTY),
        }
    }
}

fn null() -> Result<OwnedFd, Errno> {
    rustix::fs::open(c"/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}

/// A stream for writing: a terminal is opened anew for writing alone. Where that is not allowed (after `su` the
/// terminal belongs to somebody else) it is passed on as it is, as every shell does.
fn for_writing(fd: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    if isatty(fd)
        && let Ok(own) = reopen(fd, OFlags::WRONLY)
    {
        return Ok(own);
    }
    rustix::io::fcntl_dupfd_cloexec(fd, 3)
}
