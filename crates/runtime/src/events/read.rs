//! Reading the log: each kind of refusal once.

use std::collections::BTreeMap;

use rustix::io::Errno;

use super::{Event, Kind, MAX_FILE};
use crate::container::Container;
use crate::state::StateError;

/// Most bytes that are read: more was not written by donjon.
pub(super) fn limit() -> usize {
    usize::try_from(MAX_FILE).unwrap_or(usize::MAX).saturating_mul(2)
}

/// Reads a container's refusals, added up over all writers, in the order of the first time. Lines that can't be
/// read (a record that a full disk cut) are left out.
pub fn read(container: &Container) -> Result<Vec<Event>, StateError> {
    match container.read(c"events.jsonl", limit()) {
        Ok(bytes) => Ok(merge(&bytes)),
        Err(Errno::NOENT) => Ok(Vec::new()),
        Err(errno) => Err(StateError::Unreadable { path: container.path().join("events.jsonl"), errno }),
    }
}

/// The size of the log now: when it is what it was, there is nothing new.
pub fn size(container: &Container) -> u64 {
    let log = container.open_file(c"events.jsonl");
    log.and_then(rustix::fs::fstat).map_or(0, |stat| stat.st_size as u64)
}

/// The refusals that the lines of a log tell.
pub fn merge(bytes: &[u8]) -> Vec<Event> {
    add_up_writers(bytes.split(|b| *b == b'\n').filter_map(|line| serde_json::from_slice::<Event>(line).ok()))
}

/// Equal refusals as one, with the sum of their counts.
pub fn add_up(each: impl Iterator<Item = Event>) -> Vec<Event> {
    // Each as if it were another writer's.
    add_up_writers(each.zip(1..).map(|(event, warden)| Event { warden, ..event }))
}

fn add_up_writers(each: impl Iterator<Item = Event>) -> Vec<Event> {
    // By kind: its place in the result, and each writer's highest count.
    let mut kinds: BTreeMap<Kind, (usize, BTreeMap<i32, u64>)> = BTreeMap::new();
    let mut events = Vec::new();
    for event in each {
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
