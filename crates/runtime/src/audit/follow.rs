//! The audit records of a container that still runs: those of its past, and those that come.

use std::collections::BTreeSet;

use super::record::{parse, seconds};
use super::source::Source;
use super::{Subject, refusals};
use crate::events::{Event, add_up};

/// Most lines that are kept.
const MOST: usize = 20_000;

/// Reads on and on.
#[derive(Debug)]
pub struct Follow {
    source: Source,
    subject: Subject,
    since: u64,
    /// The lines that are of some use.
    lines: Vec<String>,
}

impl Follow {
    /// From this second on (since 1970); nothing when nothing can be read.
    pub fn open(subject: Subject, since: u64) -> Option<Self> {
        let source = Source::open_log().or_else(|| Source::open_kernel().filter(|_| subject.has_label()))?;
        Some(Self { source: source.with_the_past(), subject, since, lines: Vec::new() })
    }

    /// What was refused so far, each kind once. `known` are processes that are known to be the container's.
    pub fn refused(&mut self, known: &BTreeSet<i32>) -> Vec<Event> {
        let text = self.source.read();
        let useful = |line: &&str| parse(line).is_some() && seconds(line).is_some_and(|at| at >= self.since);
        let room = MOST.saturating_sub(self.lines.len());
        self.lines.extend(text.lines().filter(useful).take(room).map(String::from));
        let found = refusals(&self.lines.join("\n"), &self.subject, known);
        add_up(found.into_iter().map(|(refused, comm)| Event::of(refused, comm, self.subject.id.clone())))
    }
}
