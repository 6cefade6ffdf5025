//! Where audit records can be read.

use std::io::{Read, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// Where `auditd` writes.
pub const LOG: &str = "/var/log/audit/audit.log";
/// Most that is read for one container, in bytes.
const MOST: u64 = 4 << 20;
/// The daemon writes a moment after the kernel has told it.
const DELAY: Duration = Duration::from_millis(60);

/// One of the places.
#[derive(Debug)]
pub enum Source {
    /// The daemon's log.
    Log {
        /// The file.
        file: std::fs::File,
        /// Where this reader is.
        from: u64,
    },
    /// The kernel's own log: one message a read.
    Kernel(std::fs::File),
}

impl Source {
    /// Opens the daemon's log at its end; nothing when it can't be read.
    pub fn open_log() -> Option<Self> {
        let mut file = std::fs::File::open(LOG).ok()?;
        let from = file.seek(SeekFrom::End(0)).ok()?;
        Some(Self::Log { file, from })
    }

    /// Opens the kernel's own log at its end; nothing when it can't be read.
    pub fn open_kernel() -> Option<Self> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let mut file = std::fs::File::from(rustix::fs::open(c"/dev/kmsg", flags, Mode::empty()).ok()?);
        file.seek(SeekFrom::End(0)).ok()?;
        Some(Self::Kernel(file))
    }

    /// The last part of the daemon's log as well, for a container that runs already.
    pub fn with_the_past(self) -> Self {
        match self {
            Self::Log { file, from } => Self::Log { file, from: from.saturating_sub(MOST) },
            kernel => kernel,
        }
    }

    /// What was written since, once the daemon has had the time to write it.
    pub fn wait_and_read(&mut self) -> String {
        if matches!(self, Self::Log { .. }) {
            std::thread::sleep(DELAY);
        }
        self.read()
    }

    /// What was written since.
    pub fn read(&mut self) -> String {
        let mut bytes = Vec::new();
        match self {
            Self::Log { file, from } => {
                // Turned over meanwhile: what was written before is gone, and what is there is not ours to guess about.
                if file.seek(SeekFrom::Start(*from)).is_ok()
                    && file.take(MOST).read_to_end(&mut bytes).is_ok()
                {
                    *from = from.saturating_add(bytes.len() as u64);
                }
            }
            Self::Kernel(file) => {
                let mut message = [0; 8192];
                while (bytes.len() as u64) < MOST {
                    match rustix::io::read(file.as_fd(), &mut message) {
                        Ok(0) => break,
                        // The first line is the message; others are about the device that wrote it.
                        Ok(n) => {
                            let message = message.get(..n).unwrap_or_default();
                            bytes
                                .extend_from_slice(message.split(|b| *b == b'\n').next().unwrap_or_default());
                            bytes.push(b'\n');
                        }
                        // Overwritten before it was read: the next one is there.
                        Err(Errno::PIPE | Errno::INTR) => {}
                        Err(_) => break,
                    }
                }
            }
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }
}
