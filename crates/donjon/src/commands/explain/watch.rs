//! `donjon explain --watch`: each new refusal of a running container, once, until the container ends.

use std::collections::BTreeSet;
use std::time::Duration;

use donjon_runtime::container::Container;
use donjon_runtime::events::{self, Event};
use donjon_runtime::state::Status;

use super::origin::Layer;
use super::{Seen, Shown};
use crate::commands::{Failure, Format};

/// Between two looks at the log's size.
const PAUSE: Duration = Duration::from_millis(200);

/// Prints what was refused so far, and then what is. Ends with the container.
pub fn run(container: &Container, layers: &[Layer], format: Format) -> Result<(), Failure> {
    let mut told: BTreeSet<[String; 4]> = BTreeSet::new();
    let mut kernel = super::kernel_records(container);
    let mut size = None;
    loop {
        // Asked before the log is read: what its warden wrote last is then in it.
        let (_, status) = container.status()?;
        let now = events::size(container);
        let mut refused: Vec<Event> = Vec::new();
        if size != Some(now) {
            size = Some(now);
            refused = events::read(container)?;
        }
        if let Some(kernel) = &mut kernel {
            let known = refused.iter().map(|event| event.pid).collect();
            refused.extend(kernel.refused(&known));
        }
        for event in refused.iter().filter(|event| told.insert(kind(event))) {
            Shown::new(event, layers).print(format, Seen::Once)?;
        }
        if matches!(status, Status::Exited(_)) {
            return Ok(());
        }
        std::thread::sleep(PAUSE);
    }
}

/// What makes two refusals the same one for the reader.
fn kind(event: &Event) -> [String; 4] {
    [&event.layer, &event.operation, &event.object, &event.rule].map(String::clone)
}
