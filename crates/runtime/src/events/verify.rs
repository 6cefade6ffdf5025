//! Whether a log is what was written: `donjon events verify`.
//!
//! Every line is compared with what the next one says of everything before it, and the end with the heads that are
//! noted: in `events.head`, in the container's record once it has ended, and where the caller noted one. Found are a record
//! that was changed, removed, added, repeated or moved, an end that was cut off, and a log that belongs to another
//! container. What can't be found is in [`super::chain`].

use std::time::Duration;

use rustix::fs::FlockOperation;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::chain::{Digest, Head};
use super::read::limit;
use super::{Closed, Event};
use crate::container::Container;
use crate::process::read_all;
use crate::state::StateError;
use std::os::fd::AsFd;

/// What is to be said of a log as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// It is what was written.
    Intact,
    /// Nothing was refused, so there is no log.
    Empty,
    /// It was written by a donjon that kept no chain: nothing can be said.
    Unchained,
    /// It is not what was written.
    Damaged,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// As a whole.
    pub status: Status,
    /// How many lines the log has.
    pub records: u64,
    /// The digest after the last of them; the one to note elsewhere.
    pub head: Option<String>,
    /// What is wrong with it.
    pub findings: Vec<Finding>,
    /// What is not wrong, and should be known.
    pub notes: Vec<String>,
}

/// Something that is wrong with a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The line where it shows, counted from 1.
    pub line: Option<u64>,
    /// What it is.
    pub what: String,
}

/// What a log is held against.
#[derive(Debug, Clone, Default)]
pub struct Against<'a> {
    /// The container's id.
    pub id: &'a str,
    /// The time of its creation.
    pub created: &'a str,
    /// The content of `events.head`, if there is one.
    pub head: Option<&'a [u8]>,
    /// What the container's record says of the log; nothing while it runs.
    pub closed: Option<&'a Closed>,
    /// A head that the caller noted earlier.
    pub noted: Option<Digest>,
}

/// The part of a record that makes it one of a chain.
#[derive(Deserialize)]
struct Link {
    seq: u64,
    prev: String,
}

/// Verifies a container's log.
pub fn verify(container: &Container, noted: Option<Digest>) -> Result<Verdict, StateError> {
    let state = container.state()?;
    let unreadable =
        |name: &'static str| move |errno| StateError::Unreadable { path: container.path().join(name), errno };
    let log = match container.open_file(c"events.jsonl") {
        Ok(log) => Some(log),
        Err(Errno::NOENT) => None,
        Err(errno) => return Err(unreadable("events.jsonl")(errno)),
    };
    // Between a record and its head nobody looks, or only after a second: a writer never holds the log that long.
    for _ in 0..100 {
        let locked = log.as_ref().map(|log| rustix::fs::flock(log, FlockOperation::NonBlockingLockShared));
        if !matches!(locked, Some(Err(_))) {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let head = match container.read(c"events.head", 4096) {
        Ok(bytes) => Some(bytes),
        Err(Errno::NOENT) => None,
        Err(errno) => return Err(unreadable("events.head")(errno)),
    };
    let bytes = match &log {
        Some(log) => read_all(log.as_fd(), limit()).map_err(unreadable("events.jsonl"))?,
        None => Vec::new(),
    };
    drop(log);
    Ok(judge(
        &bytes,
        &Against {
            id: container.id.as_str(),
            created: &state.created,
            head: head.as_deref(),
            closed: state.events.as_ref(),
            noted,
        },
    ))
}

/// Verifies the bytes of a log.
pub fn judge(bytes: &[u8], against: &Against<'_>) -> Verdict {
    let mut findings = Findings::default();
    let mut notes = Vec::new();
    let mut digest = Digest::first(against.id, against.created);
    // By number of lines.
    let mut digests = vec![digest];
    let mut chained = 0u64;
    let mut expected = 1u64;
    let mut older = 0u64;
    let body = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let lines = body.split(|b| *b == b'\n').filter(|_| !bytes.is_empty());
    for (line, number) in lines.zip(1u64..) {
        match serde_json::from_slice::<Link>(line) {
            Ok(Link { seq, prev }) => {
                let prev = Digest::parse(&prev);
                if seq > expected {
                    findings.at(number, missing(expected, seq - 1));
                } else if seq < expected {
                    findings.at(number, format!("record {seq} stands where record {expected} belongs"));
                } else if prev != Some(digest) {
                    findings.at(number, match number {
                        1 => "the log does not begin with this container: it is another's, or its beginning was changed"
                            .to_string(),
                        _ => format!("what stands before record {seq} is not what was written there"),
                    });
                }
                chained += 1;
                expected = seq.saturating_add(1);
                // So that one change is found once.
                digest = prev.unwrap_or(digest);
            }
            Err(_) => {
                expected = expected.saturating_add(1);
                match serde_json::from_slice::<Event>(line) {
                    Ok(_) if chained == 0 => older += 1,
                    Ok(_) => notes.push(format!("line {number} is of a donjon that keeps no chain")),
                    Err(_) => notes.push(format!(
                        "line {number} was cut short: the disk was full, or donjon was killed"
                    )),
                }
            }
        }
        digest = digest.after(line);
        digests.push(digest);
    }
    let records = digests.len() as u64 - 1;
    let at = |count: u64| usize::try_from(count).ok().and_then(|count| digests.get(count)).copied();
    let closed = against.closed;
    let told = closed.is_some_and(|closed| closed.records > 0);

    let head = against.head.map(Head::parse);
    match head {
        Some(Some(head)) if head.records > records => {
            findings.whole(format!("the end is cut off: {}", missing(records + 1, head.records)));
        }
        Some(Some(head)) => {
            if at(head.records) != Some(head.digest) {
                findings.whole("the log does not lead to its head (events.head): the last record was changed, or the head".into());
            }
            if records > head.records {
                findings.at(
                    head.records + 1,
                    format!(
                        "{} behind the head: added by somebody, or written when donjon was killed",
                        count(records - head.records, "line")
                    ),
                );
            }
        }
        Some(None) => findings
            .whole("the head (events.head) can't be read: whether the end was cut off can't be told".into()),
        None if chained > 0 => {
            findings.whole("the head (events.head) is gone: whether the end was cut off can't be told".into())
        }
        None => {}
    }
    if let Some(closed) = closed {
        if closed.records > records {
            findings.whole(format!(
                "the container's record tells of {}, the log has {records}",
                count(closed.records, "record")
            ));
        } else if told && at(closed.records).map(|digest| digest.to_string()).as_deref() != Some(&closed.head)
        {
            findings.whole("the log does not lead to the head that the container's record tells".into());
        } else if !told && records > 0 && chained == 0 {
            findings.whole("the container's record tells of no log".into());
        }
        if closed.lost > 0 {
            notes.push(format!(
                "{} could not be written down: {}",
                count(closed.lost, "kind of refusal"),
                closed.why
            ));
        }
    }
    if let Some(noted) = against.noted
        && !digests.contains(&noted)
    {
        findings.whole(
            "the head that was noted is not in the chain: the log was cut or written anew since".into(),
        );
    }
    if chained > 0 && older > 0 {
        notes.push(format!(
            "{} at the beginning: of a donjon that kept no chain; what became of them before is not known",
            count(older, "line")
        ));
    }
    let findings = findings.0;
    let status = match (findings.is_empty(), records, chained) {
        (false, ..) => Status::Damaged,
        (true, 0, _) => Status::Empty,
        (true, _, 0) => Status::Unchained,
        (true, ..) => Status::Intact,
    };
    let head = (chained > 0).then(|| digest.to_string());
    Verdict { status, records, head, findings, notes }
}

/// Findings, in the order of the lines.
#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn at(&mut self, line: u64, what: String) {
        self.0.push(Finding { line: Some(line), what });
    }

    fn whole(&mut self, what: String) {
        self.0.push(Finding { line: None, what });
    }
}

fn missing(from: u64, to: u64) -> String {
    match from == to {
        true => format!("record {from} is missing"),
        false => format!("records {from} to {to} are missing"),
    }
}

fn count(n: u64, what: &str) -> String {
    match what.split_once(" of ") {
        Some((what, of)) if n != 1 => format!("{n} {what}s of {of}s"),
        _ => format!("{n} {what}{}", if n == 1 { "" } else { "s" }),
    }
}
