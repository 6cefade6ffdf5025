//! `pause`, `resume`, `update` and `events`: what is done to a container through its cgroup.

use donjon_confine::layers::cgroups::Cgroup;
use oci_spec::runtime::LinuxResources;

use super::error::OciError;
use super::record::{Record, Status};
use super::store::{Entry, Store};

/// A container's cgroup, with its directory locked.
fn locked(store: &Store, id: &str) -> Result<(Entry, Record, Cgroup), OciError> {
    let mut entry = store.find(id)?;
    entry.lock()?;
    let record = entry.record()?;
    let group = group(&record)?;
    Ok((entry, record, group))
}

fn group(record: &Record) -> Result<Cgroup, OciError> {
    let none = || {
        let id = &record.id;
        OciError::Usage(format!("{id:?} has no cgroup: none could be made for it, or none was asked for"))
    };
    record.group()?.ok_or_else(none)
}

fn demand(record: &Record, allowed: &[Status], action: &'static str) -> Result<(), OciError> {
    let status = record.status();
    match allowed.contains(&status) {
        true => Ok(()),
        false => Err(OciError::Status { id: record.id.clone(), status: status.word(), action }),
    }
}

/// Freezes all processes.
pub fn pause(store: &Store, id: &str) -> Result<(), OciError> {
    let (_entry, record, group) = locked(store, id)?;
    demand(&record, &[Status::Running, Status::Created], "pause")?;
    // Half a container frozen would be neither: what could not be frozen goes on as a whole.
    if let Err(error) = group.freeze() {
        let _ = group.thaw();
        return Err(error.into());
    }
    Ok(())
}

/// Lets them go on.
pub fn resume(store: &Store, id: &str) -> Result<(), OciError> {
    let (_entry, record, group) = locked(store, id)?;
    demand(&record, &[Status::Paused], "resume")?;
    Ok(group.thaw()?)
}

/// Changes limits: what `resources` names, and nothing else.
pub fn update(store: &Store, id: &str, resources: &LinuxResources) -> Result<(), OciError> {
    let (_entry, record, mut group) = locked(store, id)?;
    demand(&record, &[Status::Created, Status::Running, Status::Paused], "update")?;
    Ok(group.update(resources, false)?)
}

/// The cgroup of a container that lives, to be watched.
pub fn watched(store: &Store, id: &str) -> Result<Cgroup, OciError> {
    let record = store.find(id)?.record()?;
    demand(&record, &[Status::Created, Status::Running, Status::Paused], "watch")?;
    group(&record)
}
