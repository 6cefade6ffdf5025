//! A warden's pen: counts refusals and writes them down.
//!
//! A record is written when it is new, when its count reaches a power of ten, and at the end. Nothing here waits: when
//! another writer holds the log, or the disk is full, the record is put off, and what is put off is tried again later and
//! at the end. What could not be written in the end is told ([`Closed::lost`]).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::chain::{Chain, NotWritten};
use super::{Closed, Event, Kind, MAX_FILE, MAX_KINDS, Refused, cut};
use crate::container::Container;
use crate::state::now;

/// The last part of the log is kept for the word that it is full.
const RESERVE: u64 = 8 * 1024;
/// First pause before a record that was put off is tried again.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// Longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How long the end waits for the log at most, while other writers let it have nothing.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long it waits all in all.
const LONGEST_END: Duration = Duration::from_secs(5);

/// Counts refusals and writes them down.
#[derive(Debug)]
pub struct Recorder {
    container: String,
    pub(super) warden: i32,
    chain: Chain,
    seen: BTreeMap<Kind, usize>,
    events: Vec<Event>,
    /// Counts that the file already has, by index.
    written: Vec<u64>,
    /// Why the last try failed.
    trouble: Option<NotWritten>,
    /// When to try again what was put off.
    again: Option<Instant>,
    pause: Duration,
}

impl Recorder {
    /// Records into a container's directory; `created` is the time of its creation, as its record has it. The file is
    /// made with the first refusal.
    pub fn new(container: &Container, created: String) -> Result<Self, Errno> {
        let dir = container
            .dir()
            .try_clone_to_owned()
            .map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::MFILE))?;
        Ok(Self {
            container: container.id.to_string(),
            warden: rustix::process::getpid().as_raw_nonzero().get(),
            chain: Chain::new(dir, container.id.to_string(), created),
            seen: BTreeMap::new(),
            events: Vec::new(),
            written: Vec::new(),
            trouble: None,
            again: None,
            pause: FIRST_PAUSE,
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
        let Some(event) = self.events.get_mut(index) else { return };
        event.count = event.count.saturating_add(1);
        if milestone(event.count) == event.count && self.again.is_none() {
            self.write(index);
        }
    }

    /// The place of a refusal's kind.
    fn count(&mut self, refused: Refused, comm: impl FnOnce() -> String) -> usize {
        let mut event = Event { warden: self.warden, ..Event::bare(refused) };
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

    /// When [`Recorder::retry`] has something to do.
    pub fn next(&self) -> Option<Instant> {
        self.again
    }

    /// Tries again what was put off, if it is time.
    pub fn retry(&mut self) {
        if self.again.is_none_or(|at| Instant::now() < at) {
            return;
        }
        self.again = None;
        for index in 0..self.events.len() {
            let due = self.events.get(index).map_or(0, |event| milestone(event.count));
            if self.written.get(index).is_some_and(|written| *written < due) {
                self.write(index);
                if self.again.is_some() {
                    return;
                }
            }
        }
    }

    /// Writes down what the file does not have yet, and tells where the log ends. To be called at the end.
    pub fn finish(&mut self) -> Closed {
        let begin = Instant::now();
        let mut until = begin + PATIENCE;
        for index in 0..self.events.len() {
            self.write(index);
            while self.trouble == Some(NotWritten::Busy) && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(1));
                self.write(index);
            }
            if self.trouble.is_none() {
                until = (Instant::now() + PATIENCE).min(begin + LONGEST_END);
            }
        }
        let lost =
            self.events.iter().zip(&self.written).filter(|(event, written)| event.count != **written).count();
        let head = self.chain.head();
        Closed {
            records: head.map_or(0, |head| head.records),
            head: head.map(|head| head.digest.to_string()).unwrap_or_default(),
            lost: lost as u64,
            why: if lost > 0 { self.trouble.map(in_words).unwrap_or_default() } else { String::new() },
        }
    }

    /// Everything counted so far, in the order of the first time.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// A full disk or a full log loses records, never the container.
    fn write(&mut self, index: usize) {
        let (Some(event), Some(written)) = (self.events.get(index), self.written.get_mut(index)) else {
            return;
        };
        if *written == event.count || self.trouble == Some(NotWritten::Full) {
            return;
        }
        match self.chain.append(event, MAX_FILE - RESERVE) {
            Ok(()) => {
                *written = event.count;
                (self.trouble, self.again, self.pause) = (None, None, FIRST_PAUSE);
            }
            Err(NotWritten::Full) => {
                self.trouble = Some(NotWritten::Full);
                let last = Event {
                    time: now(),
                    container: self.container.clone(),
                    layer: "donjon".to_string(),
                    operation: "(log full)".to_string(),
                    object: format!("the log has its {MAX_FILE} bytes: what came later is not in it"),
                    count: 1,
                    warden: self.warden,
                    ..Event::default()
                };
                // Many wardens of `exec` can have said so before.
                let _ = self.chain.append(&last, MAX_FILE);
            }
            Err(other) => {
                self.trouble = Some(other);
                if self.again.is_none() {
                    self.again = Instant::now().checked_add(self.pause);
                    self.pause = (self.pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }
}

/// The largest power of ten that a count has reached.
fn milestone(count: u64) -> u64 {
    count.checked_ilog10().and_then(|log| 10u64.checked_pow(log)).unwrap_or(0)
}

fn in_words(trouble: NotWritten) -> String {
    match trouble {
        NotWritten::Busy => "another program holds events.jsonl locked".to_string(),
        NotWritten::Full => format!("events.jsonl has its {MAX_FILE} bytes"),
        NotWritten::Failed(errno) => crate::store::words(errno),
    }
}
