//! The processes of a container, as the caller's pid namespace numbers them.

use super::error::OciError;
use super::record::Status;
use super::store::Store;

/// Their pids.
pub fn of(store: &Store, id: &str) -> Result<Vec<i32>, OciError> {
    let record = store.find(id)?.record()?;
    match record.status() {
        Status::Stopped => Ok(Vec::new()),
        _ => Ok(record.init.map(|init| init.pid).into_iter().collect()),
    }
}
