//! The chain that the lines of `events.jsonl` are: each names the digest of everything before it.
//!
//! **The attack**: somebody takes a refusal out of the log, changes it, puts another in its place, or cuts the end off.
//! **The defence**: a record holds its number and the digest of the chain so far, and the digest after the last record
//! stands in a file of its own (`events.head`) and, once the container has ended, in its record. The chain begins with the
//! container's id and the time of its creation, so a log can't be taken for that of another container.
//!
//! **Can't stop**: whoever may write all of these files (the caller's own programs outside of any container) can make a
//! new chain. A head that was noted elsewhere (`donjon events verify` prints it and compares one with `--head`) tells.
//!
//! Digests are SHA-256, in hexadecimal digits:
//!
//! ```text
//! digest 0 = sha256("donjon event log 1\n" ID "\n" TIME OF CREATION "\n")
//! digest N = sha256(digest N-1, then line N with its newline)
//! ```
//!
//! Several wardens write (a container's own and those of `exec`): appending a line and noting the head is done under
//! `flock`, which is never waited for. A writer that finds lines behind the head, because a warden was killed between the
//! two or because they are an older donjon's, takes them into the chain as they are.

use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use super::Event;
use crate::container::write_all;

/// Tries to get the lock before a record is put off.
const TRIES: u32 = 3;

/// A digest of the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Before the first record.
    pub fn first(id: &str, created: &str) -> Self {
        let mut hash = Sha256::new();
        for part in ["donjon event log 1\n", id, "\n", created, "\n"] {
            hash.update(part);
        }
        Self(hash.finalize().into())
    }

    /// The hash that goes on from here; what follows is the line.
    fn next(&self) -> Sha256 {
        let mut hash = Sha256::new();
        hash.update(self.hex());
        hash
    }

    /// After a line, which is given without its newline.
    pub fn after(&self, line: &[u8]) -> Self {
        let mut hash = self.next();
        hash.update(line);
        hash.update(b"\n");
        Self(hash.finalize().into())
    }

    fn hex(&self) -> [u8; 64] {
        let mut text = [0; 64];
        for (pair, byte) in text.chunks_exact_mut(2).zip(self.0) {
            for (digit, half) in pair.iter_mut().zip([byte >> 4, byte & 15]) {
                *digit = if half < 10 { b'0' + half } else { b'a' + half - 10 };
            }
        }
        text
    }

    /// Reads 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 64 || !text.is_ascii() {
            return None;
        }
        let mut digest = [0; 32];
        for (n, byte) in digest.iter_mut().enumerate() {
            let pair = text.get(2 * n..2 * n + 2)?;
            if pair.bytes().any(|b| !b.is_ascii_hexdigit()) {
                return None;
            }
            *byte = u8::from_str_radix(pair, 16).ok()?;
        }
        Some(Self(digest))
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(std::str::from_utf8(&self.hex()).unwrap_or_default())
    }
}

/// Where the chain ends: what `events.head` holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// How many lines there are.
    pub records: u64,
    /// The size of the log, in bytes.
    pub size: u64,
    /// The digest after the last line.
    pub digest: Digest,
}

/// Size of `events.head`: always the same, so that one write replaces all of it.
const HEAD_SIZE: usize = 10 + 1 + 10 + 1 + 64 + 1;

impl Head {
    fn to_text(self) -> String {
        format!("{:010} {:010} {}\n", self.records, self.size, self.digest)
    }

    /// Reads what `events.head` holds.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?.strip_suffix('\n')?;
        let mut words = text.split(' ');
        let mut number = || words.next().filter(|w| w.len() == 10)?.parse::<u64>().ok();
        let (records, size) = (number()?, number()?);
        let digest = Digest::parse(words.next()?)?;
        words.next().is_none().then_some(Self { records, size, digest })
    }
}

/// Why a record is not in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotWritten {
    /// Somebody else holds the lock: another try may work.
    Busy,
    /// The log has reached its size.
    Full,
    /// The kernel's answer: a full disk, most likely. Another try may work.
    Failed(Errno),
}

impl From<Errno> for NotWritten {
    fn from(errno: Errno) -> Self {
        Self::Failed(errno)
    }
}

/// One writer's end of the chain.
#[derive(Debug)]
pub(super) struct Chain {
    dir: OwnedFd,
    first: (String, String),
    files: Option<Files>,
    /// The head that this writer left or found last: a head file that knows less was tampered with.
    known: Option<Head>,
}

#[derive(Debug)]
struct Files {
    log: OwnedFd,
    head: OwnedFd,
}

/// The log is locked as long as this lives.
struct Locked<'a>(BorrowedFd<'a>);

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        let _ = rustix::fs::flock(self.0, FlockOperation::Unlock);
    }
}

impl Chain {
    /// In a container's directory. Nothing is made before the first record.
    pub(super) fn new(dir: OwnedFd, id: String, created: String) -> Self {
        Self { dir, first: (id, created), files: None, known: None }
    }

    /// Where the chain ends now, also when others wrote last.
    pub(super) fn head(&self) -> Option<Head> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let noted = rustix::fs::openat(&self.dir, c"events.head", flags, Mode::empty()).ok().and_then(noted);
        match (self.known, noted) {
            (Some(known), Some(noted)) if noted.records > known.records => Some(noted),
            (Some(known), _) => Some(known),
            (None, noted) => noted,
        }
    }

    /// Appends a record, unless the log would become larger than `limit`. Never waits.
    pub(super) fn append(&mut self, event: &Event, limit: u64) -> Result<(), NotWritten> {
        for _ in 0..2 {
            let files = match self.files.take() {
                Some(files) => files,
                None => Files::open(self.dir.as_fd())?,
            };
            let locked = lock(files.log.as_fd())?;
            let removed = |file: &OwnedFd| rustix::fs::fstat(file).is_ok_and(|stat| stat.st_nlink == 0);
            if removed(&files.log) || removed(&files.head) {
                // Somebody took them away: they are made again, and what is missing will be seen.
                continue;
            }
            let appended = self.append_to(&files, event, limit);
            drop(locked);
            self.files = Some(files);
            return appended;
        }
        Err(NotWritten::Failed(Errno::NOENT))
    }

    fn append_to(&mut self, files: &Files, event: &Event, limit: u64) -> Result<(), NotWritten> {
        let size = rustix::fs::fstat(&files.log)?.st_size as u64;
        let noted = noted(&files.head);
        let begin = match (self.known, noted) {
            (Some(known), Some(noted)) if noted.records > known.records => noted,
            (Some(known), _) => known,
            (None, Some(noted)) => noted,
            (None, None) => Head { records: 0, size: 0, digest: Digest::first(&self.first.0, &self.first.1) },
        };
        let (here, torn) = files.catch_up(begin, size)?;
        let json = serde_json::to_vec(event).map_err(|_| Errno::INVAL)?;
        let mut line = Vec::with_capacity(json.len() + 100);
        if torn {
            line.push(b'\n');
        }
        let start = line.len();
        // A Vec takes everything.
        let _ = write!(line, "{{\"seq\":{},\"prev\":\"{}\",", here.records + 1, here.digest);
        line.extend_from_slice(json.get(1..).unwrap_or_default());
        let digest = here.digest.after(line.get(start..).unwrap_or_default());
        line.push(b'\n');
        let end = Head { records: here.records + 1, size: size.saturating_add(line.len() as u64), digest };
        if end.size > limit {
            self.known = Some(here);
            return Err(NotWritten::Full);
        }
        if noted.is_none() {
            // A head before there is anything to lose: on a full disk this fails, and nothing was begun.
            files.note(&begin)?;
        }
        if let Err(errno) = write_all(files.log.as_fd(), &line) {
            // Nobody else writes meanwhile, so what is cut off is this writer's own half of a line.
            let _ = rustix::fs::ftruncate(&files.log, size);
            return Err(errno.into());
        }
        // The file has its size already: this needs no room on the disk.
        let _ = files.note(&end);
        self.known = Some(end);
        Ok(())
    }
}

/// What `events.head` holds.
fn noted(head: impl AsFd) -> Option<Head> {
    let mut bytes = [0; HEAD_SIZE];
    let n = rustix::io::pread(head, &mut bytes, 0).ok()?;
    Head::parse(bytes.get(..n)?)
}

/// Locks the log, with a few tries.
fn lock(log: BorrowedFd<'_>) -> Result<Locked<'_>, NotWritten> {
    for attempt in 0..TRIES {
        match rustix::fs::flock(log, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(Locked(log)),
            Err(Errno::WOULDBLOCK | Errno::INTR) if attempt + 1 < TRIES => rustix::thread::sched_yield(),
            Err(Errno::WOULDBLOCK | Errno::INTR) => break,
            Err(errno) => return Err(errno.into()),
        }
    }
    Err(NotWritten::Busy)
}

impl Files {
    fn open(dir: BorrowedFd<'_>) -> Result<Self, Errno> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let mode = Mode::RUSR | Mode::WUSR;
        Ok(Self {
            log: rustix::fs::openat(dir, c"events.jsonl", flags | OFlags::APPEND, mode)?,
            head: rustix::fs::openat(dir, c"events.head", flags, mode)?,
        })
    }

    fn note(&self, head: &Head) -> Result<(), Errno> {
        match rustix::io::pwrite(&self.head, head.to_text().as_bytes(), 0)? {
            HEAD_SIZE => Ok(()),
            _ => Err(Errno::NOSPC),
        }
    }

    /// Takes in what was written behind `begin`. Returns where the chain is now, and whether the last line lacks its end.
    fn catch_up(&self, begin: Head, size: u64) -> Result<(Head, bool), Errno> {
        let mut buffer = [0; 4096];
        if size <= begin.size {
            // Cut off, if it is smaller: the chain goes on from what is missing, and `verify` sees it.
            let last = buffer.get_mut(..1).unwrap_or_default();
            let whole =
                size == 0 || (rustix::io::pread(&self.log, &mut *last, size - 1)? == 1 && *last == b"\n"[..]);
            return Ok((Head { size, ..begin }, !whole));
        }
        let mut here = begin;
        let mut hash = here.digest.next();
        let mut torn = false;
        while here.size < size {
            let n = match rustix::io::pread(&self.log, &mut buffer, here.size) {
                Ok(0) => break,
                Ok(n) => n,
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(errno),
            };
            here.size += n as u64;
            for part in buffer.get(..n).unwrap_or_default().split_inclusive(|b| *b == b'\n') {
                hash.update(part);
                torn = !part.ends_with(b"\n");
                if !torn {
                    here.digest = Digest(hash.finalize().into());
                    here.records += 1;
                    hash = here.digest.next();
                }
            }
        }
        if torn {
            hash.update(b"\n");
            here.digest = Digest(hash.finalize().into());
            here.records += 1;
        }
        Ok((here, torn))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_what_sha256sum_prints() {
        // printf 'donjon event log 1\nid\ntime\n' | sha256sum
        let first = Digest::first("id", "time");
        let sum = |text: &str| {
            let text = format!("printf '{text}' | sha256sum");
            let out = std::process::Command::new("sh").args(["-c", &text]).output().unwrap();
            String::from_utf8(out.stdout).unwrap()[..64].to_string()
        };
        assert_eq!(first.to_string(), sum("donjon event log 1\\nid\\ntime\\n"));
        assert_eq!(first.after(b"line").to_string(), sum(&format!("{first}line\\n")));
        assert_eq!(Digest::parse(&first.to_string()), Some(first));
        for wrong in ["", "12", &"g".repeat(64), &"+1".repeat(32), &"é".repeat(32)] {
            assert_eq!(Digest::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_head_is_read_as_it_was_written_and_no_other_way() {
        let head = Head { records: 7, size: 1234, digest: Digest::first("a", "b") };
        let text = head.to_text();
        assert_eq!((text.len(), Head::parse(text.as_bytes())), (HEAD_SIZE, Some(head)));
        for cut in 0..text.len() {
            assert_eq!(Head::parse(&text.as_bytes()[..cut]), None);
        }
        assert_eq!(Head::parse(format!("{text}\n").as_bytes()), None);
    }
}
