//! What was refused: `events.jsonl`, one JSON object per line.
//!
//! **The attack**: a container that repeats a refused call a million times, or varies it endlessly, to fill the
//! disk, the warden's memory or the reader's screen. **The defence**: equal refusals are one record with a count;
//! at most [`MAX_KINDS`] kinds are told apart and the rest are counted together; texts are cut; the file ends at
//! [`MAX_FILE`] bytes. Texts from the container are escaped when they are shown, never trusted.
//!
//! The file is only ever appended to, so that several wardens (a container's own and those of `exec`) can write
//! it: a record is written when it is new, when its count reaches a power of ten, and at the end. A reader takes
//! each writer's highest count and adds the writers up.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::container::{Container, write_all};
use crate::state::{StateError, now};

/// Kinds of refusals that are told apart for one writer.
pub const MAX_KINDS: usize = 256;
/// Size at which events.jsonl takes no further records, in bytes.
pub const MAX_FILE: u64 = 1024 * 1024;
/// Longest text of a record, in characters.
const MAX_TEXT: usize = 240;

/// A refusal, with how often it happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When it first happened (RFC 3339, UTC).
    pub time: String,
    /// The container's id.
    pub container: String,
    /// The process, in the pid namespace of the warden; 0 when there is none.
    pub pid: i32,
    /// The process's own name for itself.
    pub comm: String,
    /// The layer that refused: `seccomp`, `capabilities`, `cgroups`.
    pub layer: String,
    /// What was tried: the system call's name, `memory`, `fork`.
    pub operation: String,
    /// What it was tried on: decoded arguments. May be empty.
    pub object: String,
    /// The rule that refused it.
    pub rule: String,
    /// What the program was told: `EPERM`. Empty when it was told nothing.
    pub errno: String,
    /// The flag or policy line that would allow it, if there is one.
    pub allow: Option<String>,
    /// What allowing it would cost. May be empty.
    #[serde(default)]
    pub advice: String,
    /// How often.
    pub count: u64,
    /// The pid of the warden that wrote it: counts of several are added up.
    #[serde(default)]
    pub warden: i32,
}

/// What makes two refusals the same kind.
type Kind = (String, String, String, String, String);

impl Event {
    fn kind(&self) -> Kind {
        (
            self.layer.clone(),
            self.operation.clone(),
            self.object.clone(),
            self.rule.clone(),
            self.errno.clone(),
        )
    }
}

/// A refusal as its source tells it; the recorder adds the rest.
#[derive(Debug, Clone, Default)]
pub struct Refused {
    /// See [`Event::pid`].
    pub pid: i32,
    /// See [`Event::layer`].
    pub layer: &'static str,
    /// See [`Event::operation`].
    pub operation: String,
    /// See [`Event::object`].
    pub object: String,
    /// See [`Event::rule`].
    pub rule: String,
    /// See [`Event::errno`].
    pub errno: &'static str,
    /// See [`Event::allow`].
    pub allow: Option<String>,
    /// See [`Event::advice`].
    pub advice: &'static str,
}

/// Counts refusals and writes them down.
#[derive(Debug)]
pub struct Recorder {
    container: String,
    warden: i32,
    dir: OwnedFd,
    file: Option<OwnedFd>,
    seen: BTreeMap<Kind, usize>,
    events: Vec<Event>,
    /// Counts that the file already has, by index.
    written: Vec<u64>,
}

impl Recorder {
    /// Records into a container's directory. The file is made with the first refusal.
    pub fn new(container: &Container) -> Result<Self, Errno> {
        Ok(Self {
            container: container.id.to_string(),
            warden: rustix::process::getpid().as_raw_nonzero().get(),
            dir: container
                .dir()
                .try_clone_to_owned()
                .map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::MFILE))?,
            file: None,
            seen: BTreeMap::new(),
            events: Vec::new(),
            written: Vec::new(),
        })
    }

    /// Counts a refusal that happened so often, by nobody in particular.
    pub fn record_times(&mut self, refused: Refused, times: u64) {
        let index = self.count(refused, String::new);
        if let Some(event) = self.events.get_mut(index) {
            event.count = times;
        }
    }

    /// Counts one refusal. `comm` is asked for only when its kind is new.
    pub fn record(&mut self, refused: Refused, comm: impl FnOnce() -> String) {
        let index = self.count(refused, comm);
        if let Some(event) = self.events.get_mut(index) {
            event.count = event.count.saturating_add(1);
            if is_power_of_ten(event.count) {
                self.write(index);
            }
        }
    }

    /// The place of a refusal's kind.
    fn count(&mut self, refused: Refused, comm: impl FnOnce() -> String) -> usize {
        let mut event = Event {
            time: String::new(),
            container: String::new(),
            pid: refused.pid,
            comm: String::new(),
            layer: refused.layer.to_string(),
            operation: cut(refused.operation),
            object: cut(refused.object),
            rule: cut(refused.rule),
            errno: refused.errno.to_string(),
            allow: refused.allow.map(cut),
            advice: refused.advice.to_string(),
            count: 1,
            warden: self.warden,
        };
        let mut kind = event.kind();
        if !self.seen.contains_key(&kind) && self.seen.len() >= MAX_KINDS {
            event.operation = "(others)".to_string();
            event.object = format!("more than {MAX_KINDS} different refusals: these are counted together");
            event.allow = None;
            event.advice.clear();
            event.rule.clear();
            event.errno.clear();
            event.layer = "donjon".to_string();
            kind = event.kind();
        }
        match self.seen.get(&kind) {
            Some(index) => *index,
            None => {
                event.time = now();
                event.comm = cut(comm());
                event.container = self.container.clone();
                event.count = 0;
                self.seen.insert(kind, self.events.len());
                self.events.push(event);
                self.written.push(0);
                self.events.len() - 1
            }
        }
    }

    /// Writes down what the file does not have yet. To be called at the end.
    pub fn finish(&mut self) {
        for index in 0..self.events.len() {
            self.write(index);
        }
    }

    /// Everything counted so far, in the order of the first time.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// A full disk or a full file loses records, never the container: nobody is told but the reader, who sees the
    /// file's size.
    fn write(&mut self, index: usize) {
        let (Some(event), Some(written)) = (self.events.get(index), self.written.get_mut(index)) else {
            return;
        };
        if *written == event.count {
            return;
        }
        let Ok(mut line) = serde_json::to_vec(event) else { return };
        line.push(b'\n');
        if self.file.is_none() {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            self.file = rustix::fs::openat(&self.dir, c"events.jsonl", flags, Mode::RUSR | Mode::WUSR).ok();
        }
        let Some(file) = &self.file else { return };
        let room = rustix::fs::fstat(file)
            .is_ok_and(|s| (s.st_size as u64).saturating_add(line.len() as u64) <= MAX_FILE);
        if room && write_all(file.as_fd(), &line).is_ok() {
            *written = event.count;
        }
    }
}

/// Reads a container's refusals, added up over all writers, in the order of the first time. Lines that can't be
/// read (a record that a full disk cut) are left out.
pub fn read(container: &Container) -> Result<Vec<Event>, StateError> {
    let limit = usize::try_from(MAX_FILE).unwrap_or(usize::MAX) * 2;
    match container.read(c"events.jsonl", limit) {
        Ok(bytes) => Ok(merge(&bytes)),
        Err(Errno::NOENT) => Ok(Vec::new()),
        Err(errno) => Err(StateError::Unreadable { path: container.path().join("events.jsonl"), errno }),
    }
}

fn merge(bytes: &[u8]) -> Vec<Event> {
    // By kind: its place in the result, and each writer's highest count.
    let mut kinds: BTreeMap<Kind, (usize, BTreeMap<i32, u64>)> = BTreeMap::new();
    let mut events = Vec::new();
    for line in bytes.split(|b| *b == b'\n') {
        let Ok(event) = serde_json::from_slice::<Event>(line) else { continue };
        let (place, counts) = kinds.entry(event.kind()).or_insert_with(|| (events.len(), BTreeMap::new()));
        let count = counts.entry(event.warden).or_default();
        *count = event.count.max(*count);
        if *place == events.len() {
            events.push(event);
        }
    }
    for (index, counts) in kinds.into_values() {
        if let Some(event) = events.get_mut(index) {
            event.count = counts.values().fold(0, |sum: u64, n| sum.saturating_add(*n));
        }
    }
    events
}

fn is_power_of_ten(count: u64) -> bool {
    count.checked_ilog10().is_some_and(|log| 10u64.checked_pow(log) == Some(count))
}

fn cut(mut text: String) -> String {
    if let Some((at, _)) = text.char_indices().nth(MAX_TEXT) {
        text.truncate(at);
        text.push('…');
    }
    text
}

/// Text that came from a container, made harmless for a terminal: control characters and those that change the
/// direction of writing are shown as their codes.
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        let direction =
            matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if c.is_control() || direction {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;
    use crate::store::tests::Scratch;

    fn refused(operation: &str, object: &str) -> Refused {
        Refused {
            pid: 7,
            layer: "seccomp",
            operation: operation.into(),
            object: object.into(),
            rule: "@network".into(),
            errno: "EPERM",
            allow: Some("--security-opt seccomp=...".into()),
            advice: "",
        }
    }

    fn container() -> (Scratch, Container) {
        let scratch = Scratch::new();
        let store = Store::open_at(&scratch.0.join("donjon")).unwrap();
        let container = store.create(None).unwrap();
        (scratch, container)
    }

    #[test]
    fn equal_refusals_are_one_record_with_a_count() {
        let (_scratch, container) = container();
        let mut recorder = Recorder::new(&container).unwrap();
        for _ in 0..1234 {
            recorder.record(refused("socket", "AF_NETLINK"), || "curl".into());
        }
        recorder.record(refused("mount", ""), || "curl".into());
        // What a killed warden leaves behind is the last power of ten.
        assert_eq!(read(&container).unwrap().iter().map(|e| e.count).collect::<Vec<_>>(), [1000, 1]);
        recorder.finish();
        let events = read(&container).unwrap();
        assert_eq!(events.iter().map(|e| e.count).collect::<Vec<_>>(), [1234, 1]);
        assert_eq!(events[0].container, container.id.as_str());
        assert_eq!(recorder.events().len(), 2);
    }

    #[test]
    fn endless_variation_fills_neither_memory_nor_disk() {
        let (_scratch, container) = container();
        let mut recorder = Recorder::new(&container).unwrap();
        for n in 0..20_000 {
            recorder.record(refused("open", &format!("{n}{}", "x".repeat(4000))), || "curl".into());
        }
        recorder.finish();
        assert_eq!(recorder.events().len(), MAX_KINDS + 1);
        let size = std::fs::metadata(container.path().join("events.jsonl")).unwrap().len();
        assert!(size <= MAX_FILE, "{size}");
        let others = read(&container).unwrap().pop().unwrap();
        assert_eq!((others.operation.as_str(), others.count), ("(others)", 20_000 - MAX_KINDS as u64));
    }

    #[test]
    fn counts_of_several_wardens_are_added_up() {
        let (_scratch, container) = container();
        let mut own = Recorder::new(&container).unwrap();
        let mut of_exec = Recorder::new(&container).unwrap();
        of_exec.warden += 1;
        for _ in 0..5 {
            own.record(refused("bpf", ""), || "curl".into());
            of_exec.record(refused("bpf", ""), || "curl".into());
        }
        own.finish();
        of_exec.finish();
        assert_eq!(read(&container).unwrap()[0].count, 10);
    }

    #[test]
    fn a_cut_line_loses_itself_and_nothing_else() {
        let (_scratch, container) = container();
        let mut recorder = Recorder::new(&container).unwrap();
        recorder.record(refused("bpf", ""), || "curl".into());
        let path = container.path().join("events.jsonl");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.splice(0..0, b"{\"time\":\"20\nnot json\n".iter().copied());
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(read(&container).unwrap().len(), 1);
    }

    #[test]
    fn nothing_refused_is_no_file_and_no_error() {
        let (_scratch, container) = container();
        Recorder::new(&container).unwrap().finish();
        assert!(read(&container).unwrap().is_empty());
        assert!(!container.path().join("events.jsonl").exists());
    }

    #[test]
    fn a_containers_text_can_not_drive_the_terminal() {
        assert_eq!(printable("a\x1b[2Jb\u{202e}c\n"), "a\\u{1b}[2Jb\\u{202e}c\\n");
        assert_eq!(printable("naïve €"), "naïve €");
    }
}
