//! `donjon inspect`: everything that is known of a container, as JSON.

use std::io::Write;

use donjon_runtime::container::Container;
use donjon_runtime::events;
use donjon_runtime::state::Status;
use donjon_runtime::store::Store;
use serde_json::{Value, json};

use super::Failure;

/// Prints an array with one object for each container.
pub fn run(store: &Store, names: &[String]) -> Result<(), Failure> {
    let mut described = Vec::new();
    for name in names {
        described.push(describe(&store.find(name)?)?);
    }
    let mut out = std::io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, &described)?;
    writeln!(out)?;
    Ok(())
}

/// The names of fields are those of other engines where these have them. `Spec` is the OCI specification that the
/// container was started with: the settings in effect, whatever flag or file they came from.
fn describe(container: &Container) -> Result<Value, Failure> {
    let (state, status) = container.status()?;
    let end = match &status {
        Status::Exited(end) => Some(end),
        _ => None,
    };
    let running = status == Status::Running;
    let refused = events::read(container)?;
    // A container that was killed while it started may have no configuration yet.
    let spec = container.config().ok();
    Ok(json!({
        "Id": state.id,
        "Name": state.name,
        "Created": state.created,
        "Image": state.image,
        "Command": state.command,
        "State": {
            "Status": status.word(),
            "Running": running,
            "Pid": state.init.filter(|_| running).map_or(0, |init| init.pid),
            "WardenPid": state.warden.filter(|_| running).map_or(0, |warden| warden.pid),
            "ExitCode": end.map_or(0, |end| end.code),
            "Signal": end.and_then(|end| end.signal),
            "FinishedAt": end.map(|end| &end.time),
            "Reason": end.and_then(|end| end.reason.as_ref()),
        },
        "Detached": state.detached,
        "Terminal": state.terminal,
        "AutoRemove": state.auto_remove,
        "StopSignal": donjon_runtime::warden::signals::name(state.stop_signal),
        "StopTimeout": state.stop_timeout,
        "NotEnforced": state.notes,
        "Refused": refused,
        "EventLog": state.events,
        "Directory": container.path(),
        "Spec": spec,
    }))
}
