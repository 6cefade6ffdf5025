//! `donjon stop`, `kill`, `rm` and `wait`: the same thing done to one container or several.
//!
//! Each container is done for itself: one that fails does not keep the others from their turn, and the command ends
//! with 125 in the end.

use std::io::Write;
use std::time::Duration;

use donjon_runtime::container::Container;
use donjon_runtime::life::{self, LifeError};
use donjon_runtime::state::Status;
use donjon_runtime::store::{Store, StoreError};
use rustix::process::Signal;

use super::Failure;
use super::failure::FAILED;

/// `donjon stop`
pub fn stop(store: &Store, names: &[String], patience: Option<Duration>) -> Result<(), Failure> {
    each(names, |name| {
        life::stop(&store.find(name)?, patience)?;
        Ok(name.to_string())
    })
}

/// `donjon kill`
pub fn kill(store: &Store, names: &[String], signal: Signal) -> Result<(), Failure> {
    each(names, |name| {
        life::kill(&store.find(name)?, signal)?;
        Ok(name.to_string())
    })
}

/// `donjon wait`: prints each exit code.
pub fn wait(store: &Store, names: &[String]) -> Result<(), Failure> {
    each(names, |name| Ok(life::wait(&store.find(name)?)?.to_string()))
}

/// `donjon rm`: with `force` also running ones; `missing_is_fine` for `rm -f` of what is not there.
pub fn remove(store: &Store, names: &[String], force: bool) -> Result<(), Failure> {
    each(names, |name| {
        match store.find(name) {
            Ok(container) => life::remove(store, container, force)?,
            // As in other engines: it is gone, which is what was asked for.
            Err(StoreError::NotFound(_)) if force => {}
            Err(error) => return Err(error.into()),
        }
        Ok(name.to_string())
    })
}

/// `donjon rm -a`: every container that does not run; with `force` every one.
pub fn remove_all(store: &Store, force: bool) -> Result<(), Failure> {
    let mut removable: Vec<Container> = Vec::new();
    let mut unreadable: Vec<String> = Vec::new();
    for listed in store.list()? {
        match listed.container {
            Ok(container) => match container.status() {
                Ok((_, Status::Running | Status::Created)) if !force => {}
                _ => removable.push(container),
            },
            Err(error) => unreadable.push(error.to_string()),
        }
    }
    let mut removable = removable.into_iter();
    let ids: Vec<String> = removable.as_slice().iter().map(|c| c.id.to_string()).collect();
    let result = each(&ids, |id| match removable.next() {
        Some(container) => match life::remove(store, container, force) {
            // One that began to run since it was looked at.
            Err(LifeError::Running { .. }) => Ok(String::new()),
            other => other.map(|()| id.to_string()).map_err(Failure::from),
        },
        None => Ok(String::new()),
    });
    for error in &unreadable {
        Failure::new(error).print();
    }
    if unreadable.is_empty() { result } else { Err(said()) }
}

/// Does `act` for each name and prints what it returns.
fn each(names: &[String], mut act: impl FnMut(&str) -> Result<String, Failure>) -> Result<(), Failure> {
    let mut failed = false;
    for name in names {
        match act(name) {
            Ok(text) if text.is_empty() => {}
            Ok(text) => {
                let mut out = std::io::stdout().lock();
                writeln!(out, "{text}")?;
                out.flush()?;
            }
            Err(failure) => {
                failure.print();
                failed = true;
            }
        }
    }
    if failed { Err(said()) } else { Ok(()) }
}

/// A failure about which everything has been said.
fn said() -> Failure {
    Failure { code: FAILED, message: String::new(), hint: None }
}
