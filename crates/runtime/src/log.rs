//! The output of a detached container: `log.jsonl`, one JSON object per piece of a line.
//!
//! `{"time": "...", "stream": "stdout", "log": "text\n"}`, as the `json-file` driver of other engines writes it. A
//! piece without its newline is part of a line that goes on. Bytes that are not UTF-8 are replaced.
//!
//! **The attack**: output without end, to fill the memory that the state directory lives in. **The defence**: at
//! [`MAX_FILE`] bytes the file becomes `log.jsonl.1` in place of the one before, so a container never takes more than
//! twice that. When the disk is full, output is dropped: the container never waits for the log.

use std::collections::VecDeque;
use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{AtFlags, Mode, OFlags, inotify};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::container::{Container, write_all};
use crate::state::{StateError, now};

/// Size at which the log is put aside, in bytes.
pub const MAX_FILE: u64 = 4 * 1024 * 1024;
const CURRENT: &CStr = c"log.jsonl";
const BEFORE: &CStr = c"log.jsonl.1";
/// A line of the file that is longer than this is no record of donjon's.
const MAX_RECORD: usize = 256 * 1024;

/// Where a piece of output came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Standard output, or a terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

/// One line of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// When the warden read it (RFC 3339, UTC).
    pub time: String,
    /// Where it came from.
    pub stream: Stream,
    /// The text, with its newline if it ends a line.
    pub log: String,
}

/// Writes the log.
#[derive(Debug)]
pub struct Writer {
    dir: OwnedFd,
    file: Option<OwnedFd>,
    size: u64,
    max: u64,
    /// A character that was cut at the end of the last piece, by stream.
    cut: [Vec<u8>; 2],
    buffer: Vec<u8>,
    /// The last write was not whole: what follows must begin on a line of its own.
    torn: bool,
}

impl Writer {
    /// Logs into a container's directory. The file is made with the first output.
    pub fn new(container: &Container) -> Result<Self, Errno> {
        let dir = rustix::io::fcntl_dupfd_cloexec(container.dir(), 3)?;
        Ok(Self {
            dir,
            file: None,
            size: 0,
            max: MAX_FILE,
            cut: [Vec::new(), Vec::new()],
            buffer: Vec::new(),
            torn: false,
        })
    }

    /// Writes what was read from a stream, line by line.
    pub fn write(&mut self, stream: Stream, bytes: &[u8]) {
        let cut = &mut self.cut[stream as usize];
        let joined;
        let bytes = if cut.is_empty() {
            bytes
        } else {
            cut.extend_from_slice(bytes);
            joined = std::mem::take(cut);
            &joined
        };
        let whole = bytes.len() - unfinished_character(bytes);
        let (bytes, rest) = bytes.split_at(whole);
        self.cut[stream as usize].extend_from_slice(rest);
        self.append(stream, bytes);
    }

    /// Writes what was held back: the stream has ended.
    pub fn end(&mut self, stream: Stream) {
        let rest = std::mem::take(&mut self.cut[stream as usize]);
        self.append(stream, &rest);
    }

    fn append(&mut self, stream: Stream, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let time = now();
        self.buffer.clear();
        if std::mem::take(&mut self.torn) {
            self.buffer.push(b'\n');
        }
        for line in bytes.split_inclusive(|b| *b == b'\n') {
            let log = String::from_utf8_lossy(line).into_owned();
            let record = Record { time: time.clone(), stream, log };
            if serde_json::to_writer(&mut self.buffer, &record).is_ok() {
                self.buffer.push(b'\n');
            }
        }
        if self.file.is_none() || self.size.saturating_add(self.buffer.len() as u64) > self.max {
            self.turn_over();
        }
        let Some(file) = &self.file else { return };
        match write_all(file.as_fd(), &self.buffer) {
            Ok(()) => self.size = self.size.saturating_add(self.buffer.len() as u64),
            Err(_) => self.torn = true,
        }
        // A single burst of output should not stay in the warden's memory for good.
        self.buffer.shrink_to(4096);
    }

    fn turn_over(&mut self) {
        if self.file.take().is_some() {
            let _ = rustix::fs::renameat(&self.dir, CURRENT, &self.dir, BEFORE);
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        self.file = rustix::fs::openat(&self.dir, CURRENT, flags, Mode::RUSR | Mode::WUSR).ok();
        self.size = 0;
    }
}

/// How many bytes at the end are the beginning of a UTF-8 character.
fn unfinished_character(bytes: &[u8]) -> usize {
    for back in 1..=3.min(bytes.len()) {
        let byte = bytes[bytes.len() - back];
        let length = match byte {
            0xC0..=0xDF => 2,
            0xE0..=0xEF => 3,
            0xF0..=0xF7 => 4,
            0x80..=0xBF => continue,
            _ => return 0,
        };
        return if length > back { back } else { 0 };
    }
    0
}

/// What of a log to read.
#[derive(Debug, Clone, Copy, Default)]
pub struct Selection {
    /// Only the last so many lines.
    pub tail: Option<u64>,
    /// Go on until the container ends.
    pub follow: bool,
}

/// Gives each piece of a container's log to `show`, in order, until `show` fails.
pub fn read<E>(
    container: &Container,
    selection: Selection,
    mut show: impl FnMut(Record) -> Result<(), E>,
) -> Result<Result<(), E>, StateError> {
    let unreadable = |errno| StateError::Unreadable { path: container.path().join("log.jsonl"), errno };
    let mut last = Tail { limit: selection.tail, records: VecDeque::new(), lines: 0 };
    let mut source = Source::default();
    let before = match container.open_file(BEFORE) {
        Ok(file) => Some(Reader::new(file)),
        Err(Errno::NOENT) => None,
        Err(errno) => return Err(unreadable(errno)),
    };
    source.current = before;
    // First what is there.
    loop {
        match source.next(container).map_err(unreadable)? {
            Some(record) if last.limit.is_some() => last.push(record),
            Some(record) => {
                if let Err(error) = show(record) {
                    return Ok(Err(error));
                }
            }
            None => break,
        }
    }
    for record in last.records.drain(..) {
        if let Err(error) = show(record) {
            return Ok(Err(error));
        }
    }
    if !selection.follow {
        return Ok(Ok(()));
    }
    let mut changes = Changes::of(container).map_err(unreadable)?;
    loop {
        // Asked before reading: what is read afterwards is then complete.
        let warden = container.has_warden();
        while let Some(record) = source.next(container).map_err(unreadable)? {
            if let Err(error) = show(record) {
                return Ok(Err(error));
            }
        }
        if !warden {
            return Ok(Ok(()));
        }
        changes.wait(Duration::from_millis(500));
    }
}

/// The last lines, no more than asked for.
struct Tail {
    limit: Option<u64>,
    records: VecDeque<Record>,
    lines: u64,
}

impl Tail {
    fn push(&mut self, record: Record) {
        // A line begins where the piece before it ended with a newline.
        let begins = self.records.back().is_none_or(|before| before.log.ends_with('\n'));
        if begins {
            self.lines += 1;
        }
        self.records.push_back(record);
        while self.lines > self.limit.unwrap_or(u64::MAX) {
            while self.records.pop_front().is_some_and(|r| !r.log.ends_with('\n')) {}
            self.lines -= 1;
        }
    }
}

/// The records of the files, one after the other, through turn-overs.
#[derive(Default)]
struct Source {
    current: Option<Reader>,
}

impl Source {
    /// The next record; `None` when there is none yet.
    fn next(&mut self, container: &Container) -> Result<Option<Record>, Errno> {
        loop {
            if let Some(reader) = &mut self.current
                && let Some(record) = reader.next()?
            {
                return Ok(Some(record));
            }
            // At the end of what is open: is there a newer file?
            let newest = match rustix::fs::statat(container.dir(), CURRENT, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat.st_ino,
                Err(Errno::NOENT) => return Ok(None),
                Err(errno) => return Err(errno),
            };
            if self.current.as_ref().is_some_and(|reader| reader.inode() == Some(newest)) {
                return Ok(None);
            }
            // The file at hand was turned over; what was written to it since the last look comes first.
            if let Some(reader) = &mut self.current
                && let Some(record) = reader.next()?
            {
                return Ok(Some(record));
            }
            self.current = match container.open_file(CURRENT) {
                Ok(file) => Some(Reader::new(file)),
                Err(Errno::NOENT) => return Ok(None),
                Err(errno) => return Err(errno),
            };
        }
    }
}

struct Reader {
    file: OwnedFd,
    buffer: Vec<u8>,
}

impl Reader {
    fn new(file: OwnedFd) -> Self {
        Self { file, buffer: Vec::new() }
    }

    fn inode(&self) -> Option<u64> {
        rustix::fs::fstat(&self.file).ok().map(|s| s.st_ino)
    }

    /// The next whole line that is a record; others are passed over.
    fn next(&mut self) -> Result<Option<Record>, Errno> {
        loop {
            while let Some(end) = self.buffer.iter().position(|b| *b == b'\n') {
                let record = serde_json::from_slice(&self.buffer[..end]);
                self.buffer.drain(..=end);
                if let Ok(record) = record {
                    return Ok(Some(record));
                }
            }
            if self.buffer.len() > MAX_RECORD {
                self.buffer.clear();
            }
            let mut piece = [0u8; 8192];
            match rustix::io::read(&self.file, &mut piece) {
                Ok(0) => return Ok(None),
                Ok(n) => self.buffer.extend_from_slice(&piece[..n]),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
}

/// Waits for something to change in a container's directory. A killed warden changes nothing there, hence the
/// time-out.
struct Changes {
    watch: OwnedFd,
}

impl Changes {
    fn of(container: &Container) -> Result<Self, Errno> {
        let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        let flags = inotify::WatchFlags::MODIFY | inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVE;
        inotify::add_watch(&watch, container.path(), flags)?;
        Ok(Self { watch })
    }

    fn wait(&mut self, limit: Duration) {
        let limit = Timespec { tv_sec: limit.as_secs() as i64, tv_nsec: limit.subsec_nanos().into() };
        let _ = poll(&mut [PollFd::new(&self.watch, PollFlags::IN)], Some(&limit));
        let mut events = [0u8; 4096];
        while rustix::io::read(&self.watch, &mut events).is_ok_and(|n| n > 0) {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;
    use crate::store::tests::Scratch;

    fn container() -> (Scratch, Container) {
        let scratch = Scratch::new();
        let container = Store::open_at(&scratch.0.join("donjon")).unwrap().create(None).unwrap();
        (scratch, container)
    }

    fn text(container: &Container, selection: Selection) -> String {
        let mut all = String::new();
        read(container, selection, |r| -> Result<(), ()> {
            all.push_str(&r.log);
            Ok(())
        })
        .unwrap()
        .unwrap();
        all
    }

    #[test]
    fn what_is_written_is_read_in_order_with_its_stream() {
        let (_scratch, container) = container();
        let mut writer = Writer::new(&container).unwrap();
        writer.write(Stream::Stdout, b"one\ntwo");
        writer.write(Stream::Stderr, b"oops\n");
        writer.write(Stream::Stdout, b" and a half\n");
        let mut records = Vec::new();
        read(&container, Selection::default(), |r| -> Result<(), ()> {
            records.push((r.stream, r.log));
            Ok(())
        })
        .unwrap()
        .unwrap();
        let expected = [
            (Stream::Stdout, "one\n"),
            (Stream::Stdout, "two"),
            (Stream::Stderr, "oops\n"),
            (Stream::Stdout, " and a half\n"),
        ];
        assert_eq!(records, expected.map(|(s, l)| (s, l.to_string())));
    }

    #[test]
    fn a_character_that_is_cut_between_two_reads_stays_whole() {
        let (_scratch, container) = container();
        let mut writer = Writer::new(&container).unwrap();
        for byte in "né€😀".bytes() {
            writer.write(Stream::Stdout, &[byte]);
        }
        writer.write(Stream::Stdout, b"\xff\xe2\x82");
        writer.end(Stream::Stdout);
        assert_eq!(text(&container, Selection::default()), "né€😀\u{fffd}\u{fffd}");
    }

    #[test]
    fn the_log_is_bounded_and_ends_with_the_newest_output() {
        let (_scratch, container) = container();
        let mut writer = Writer::new(&container).unwrap();
        writer.max = 2000;
        for n in 0..500 {
            writer.write(Stream::Stdout, format!("{n}\n").as_bytes());
        }
        for name in ["log.jsonl", "log.jsonl.1"] {
            assert!(std::fs::metadata(container.path().join(name)).unwrap().len() <= 2000);
        }
        let all = text(&container, Selection::default());
        let numbers: Vec<u32> = all.lines().map(|l| l.parse().unwrap()).collect();
        assert_eq!(numbers.last(), Some(&499));
        assert!(numbers.windows(2).all(|w| w[1] == w[0] + 1), "{numbers:?}");
    }

    #[test]
    fn tail_counts_lines_and_not_pieces() {
        let (_scratch, container) = container();
        let mut writer = Writer::new(&container).unwrap();
        writer.write(Stream::Stdout, b"one\ntwo\nth");
        writer.write(Stream::Stdout, b"re");
        writer.write(Stream::Stdout, b"e\nfo");
        writer.write(Stream::Stdout, b"ur");
        let tail = |n| text(&container, Selection { tail: Some(n), follow: false });
        assert_eq!(tail(0), "");
        assert_eq!(tail(1), "four");
        assert_eq!(tail(2), "three\nfour");
        assert_eq!(tail(99), "one\ntwo\nthree\nfour");
    }

    #[test]
    fn following_goes_through_a_turn_over_and_ends_with_the_warden() {
        let (_scratch, container) = container();
        // The lock that `create` took says that the warden lives.
        let path = container.path().to_path_buf();
        let reader = {
            let id = container.id.clone();
            let store = Store::open_at(path.parent().unwrap().parent().unwrap()).unwrap();
            std::thread::spawn(move || {
                text(&store.find(id.as_str()).unwrap(), Selection { tail: None, follow: true })
            })
        };
        let mut writer = Writer::new(&container).unwrap();
        writer.max = 600;
        for n in 0..40 {
            writer.write(Stream::Stdout, format!("{n}\n").as_bytes());
            std::thread::sleep(Duration::from_millis(5));
        }
        drop(container);
        let all = reader.join().unwrap();
        assert_eq!(all, (0..40).map(|n| format!("{n}\n")).collect::<String>());
    }

    #[test]
    fn a_torn_record_does_not_swallow_the_next() {
        let (_scratch, container) = container();
        let mut writer = Writer::new(&container).unwrap();
        writer.write(Stream::Stdout, b"first\n");
        write_all(writer.file.as_ref().unwrap().as_fd(), b"{\"time\":\"20").unwrap();
        writer.torn = true;
        writer.write(Stream::Stdout, b"second\n");
        assert_eq!(text(&container, Selection::default()), "first\nsecond\n");
    }
}
