//! How many processes and threads a container has, and how much memory: counted now and then in the container's own
//! `/proc`, which lists nobody else's.
//!
//! What comes and goes between two looks is not seen. For processes the calls that make one are counted on top, as if
//! none had ended since: too many rather than too few. Memory that processes share counts for each of them.

use std::time::{Duration, Instant};

use rustix::fs::{CWD, Mode, OFlags};

/// The time between two looks, at the least. A look costs 20 us and more by process; it grows with what it costs.
const PAUSE: Duration = Duration::from_millis(20);
/// Most processes that are looked at.
const MOST: usize = 20_000;

/// Looks now and then.
#[derive(Debug)]
pub struct Peaks {
    next: Instant,
    /// At the last look.
    tasks: u64,
    /// Made since.
    made: u64,
}

impl Peaks {
    /// Nothing was seen yet.
    pub fn new() -> Self {
        Self { next: Instant::now(), tasks: 1, made: 0 }
    }

    /// A process or thread is about to be made: at most how many there are then.
    pub fn made(&mut self) -> u64 {
        self.made = self.made.saturating_add(1);
        self.tasks.saturating_add(self.made)
    }

    /// Looks, if it is time: tasks, and bytes of memory.
    pub fn look(&mut self) -> Option<(u64, u64)> {
        let begin = Instant::now();
        if begin < self.next {
            return None;
        }
        let sums = sums();
        let now = Instant::now();
        // A twentieth of the time at the most.
        self.next = now + PAUSE.max(now.saturating_duration_since(begin).saturating_mul(20));
        let (tasks, memory) = sums?;
        (self.tasks, self.made) = (tasks, 0);
        Some((tasks, memory))
    }

    /// When to look again.
    pub fn next(&self) -> Instant {
        self.next
    }
}

/// `None`: the container has no procfs at its place.
fn sums() -> Option<(u64, u64)> {
    let proc = rustix::fs::openat(
        CWD,
        c"/proc",
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .ok()?;
    let (mut tasks, mut memory) = (0u64, 0u64);
    let pids = rustix::fs::Dir::read_from(&proc).ok()?.flatten().filter_map(|entry| {
        let name = entry.file_name().to_bytes();
        name.iter().all(u8::is_ascii_digit).then(|| name.to_vec())
    });
    for pid in pids.take(MOST) {
        let name = [pid.as_slice(), b"/status"].concat();
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let Ok(status) = rustix::fs::openat(&proc, name, flags, Mode::empty()) else { continue };
        let mut text = [0u8; 4096];
        let Ok(n) = rustix::io::read(&status, &mut text[..]) else { continue };
        let (threads, resident) = threads_and_memory(text.get(..n).unwrap_or_default());
        tasks = tasks.saturating_add(threads);
        memory = memory.saturating_add(resident);
    }
    (tasks > 0).then_some((tasks, memory))
}

/// `Threads:` and `VmRSS:` of `/proc/PID/status`.
fn threads_and_memory(status: &[u8]) -> (u64, u64) {
    let field = |name: &[u8]| {
        let line = status.split(|b| *b == b'\n').find_map(|line| line.strip_prefix(name))?;
        let digits = line.iter().copied().filter(u8::is_ascii_digit);
        Some(digits.fold(0u64, |n, d| n.saturating_mul(10).saturating_add(u64::from(d - b'0'))))
    };
    (field(b"Threads:").unwrap_or(1), field(b"VmRSS:").unwrap_or(0).saturating_mul(1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_counted_with_their_threads_and_memory() {
        assert_eq!(threads_and_memory(b"Name:\tx\nVmRSS:\t    1234 kB\nThreads:\t7\n"), (7, 1234 * 1024));
        // A zombie has no memory.
        assert_eq!(threads_and_memory(b"Name:\tx\nThreads:\t1\n"), (1, 0));
        assert_eq!(threads_and_memory(b""), (1, 0));
        let (tasks, memory) = sums().unwrap();
        assert!(tasks >= 1 && memory > 0);
    }

    #[test]
    fn between_two_looks_everything_that_is_made_counts() {
        let mut peaks = Peaks::new();
        let (tasks, _) = peaks.look().unwrap();
        assert_eq!((peaks.made(), peaks.made()), (tasks + 1, tasks + 2));
        assert!(peaks.look().is_none());
    }
}
