//! The processes of a container, as the caller's pid namespace numbers them.

use super::error::OciError;
use super::record::Status;
use super::store::Store;

/// Their pids: those of its cgroup; without one, the first process alone is known.
pub fn of(store: &Store, id: &str) -> Result<Vec<i32>, OciError> {
    let record = store.find(id)?.record()?;
    if record.status() == Status::Stopped {
        return Ok(Vec::new());
    }
    Ok(match record.group()? {
        Some(group) => group.pids(),
        None => record.init.map(|init| init.pid).into_iter().collect(),
    })
}
