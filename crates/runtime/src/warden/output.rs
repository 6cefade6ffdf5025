//! Standard output and error of a detached container: pipes that the warden empties into the log.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::PollFlags;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

use crate::log::{Stream, Writer};

/// The warden's ends of the pipes, or of a terminal that nobody looks at, and the log.
#[derive(Debug)]
pub struct Logged {
    sources: [Option<OwnedFd>; 2],
    writer: Writer,
}

/// The container's ends.
#[derive(Debug)]
pub struct Ends {
    /// What becomes its standard output.
    pub stdout: OwnedFd,
    /// What becomes its standard error.
    pub stderr: OwnedFd,
}

impl Logged {
    /// Two new pipes into the log.
    pub fn pipes(writer: Writer) -> Result<(Self, Ends), Errno> {
        let (read_out, stdout) = pipe_with(PipeFlags::CLOEXEC)?;
        let (read_err, stderr) = pipe_with(PipeFlags::CLOEXEC)?;
        // Only the warden's ends: each end of a pipe has flags of its own.
        for end in [&read_out, &read_err] {
            rustix::fs::fcntl_setfl(end, OFlags::NONBLOCK)?;
        }
        Ok((Self { sources: [Some(read_out), Some(read_err)], writer }, Ends { stdout, stderr }))
    }

    /// The master side of a container's terminal into the log.
    pub fn terminal(master: OwnedFd, writer: Writer) -> Result<Self, Errno> {
        let flags = rustix::fs::fcntl_getfl(&master)?;
        rustix::fs::fcntl_setfl(&master, flags | OFlags::NONBLOCK)?;
        Ok(Self { sources: [Some(master), None], writer })
    }

    /// What to wait for.
    pub fn interests(&self) -> impl Iterator<Item = (Stream, BorrowedFd<'_>, PollFlags)> {
        let [stdout, stderr] = &self.sources;
        let stdout = stdout.as_ref().map(|fd| (Stream::Stdout, fd.as_fd(), PollFlags::IN));
        let stderr = stderr.as_ref().map(|fd| (Stream::Stderr, fd.as_fd(), PollFlags::IN));
        stdout.into_iter().chain(stderr)
    }

    /// Logs what there is of a stream: one piece, so that other work gets its turn.
    pub fn handle(&mut self, stream: Stream) {
        let source = &mut self.sources[stream as usize];
        let Some(fd) = source else { return };
        let mut piece = [0u8; 16 * 1024];
        match rustix::io::read(fd, &mut piece) {
            Ok(n) if n > 0 => self.writer.write(stream, piece.get(..n).unwrap_or_default()),
            Err(Errno::INTR | Errno::AGAIN) => {}
            Ok(_) | Err(_) => {
                *source = None;
                self.writer.end(stream);
            }
        }
    }

    /// Whether both streams have ended.
    pub fn is_drained(&self) -> bool {
        self.sources.iter().all(Option::is_none)
    }
}
