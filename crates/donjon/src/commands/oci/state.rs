//! `donjon state`: the state of a container, as the specification has it.

use std::io::Write;

use donjon_runtime::oci::{OciError, Record, Status, Store};
use serde_json::{Value, json};

use crate::commands::Failure;

/// Prints it.
pub fn run(store: &Store, id: &str) -> Result<(), Failure> {
    let record = store.find(id)?.record()?;
    let mut out = std::io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, &of(&record, record.status()))?;
    writeln!(out)?;
    Ok(out.flush()?)
}

/// What `state` and `list` say of a container: the specification's state, with what other runtimes add.
pub fn of(record: &Record, status: Status) -> Value {
    let pid = match status {
        Status::Stopped => 0,
        _ => record.init.map_or(0, |init| init.pid),
    };
    let mut state = record.state(status.word(), pid);
    if let Some(map) = state.as_object_mut() {
        map.insert("pid".to_string(), json!(pid));
        map.insert("rootfs".to_string(), json!(record.rootfs));
        map.insert("created".to_string(), json!(record.created));
        map.insert("owner".to_string(), json!(donjon_image::users::caller(record.owner, 0).name));
    }
    state
}

/// A container that can't be read, told apart from one that is not there.
pub fn read(store: &Store, id: &str) -> Result<Option<Record>, OciError> {
    match store.find(id).and_then(|entry| entry.record()) {
        Ok(record) => Ok(Some(record)),
        Err(OciError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
