//! The commands that engines call: donjon as an OCI runtime.
//!
//! Errors are printed as everywhere, written to `--log` for the engine, and end with 1 as in other runtimes.

mod events;
pub mod exec;
pub mod kill;
mod list;
mod log;
pub mod processes;
mod spec;
mod state;
mod update;

use std::io::Write;
use std::path::PathBuf;

use donjon_confine::layers::cgroups;
use donjon_runtime::oci::create::Creation;
use donjon_runtime::oci::{OciError, Store, create, delete, features, limits, run as oci_run, start};

use super::Failure;
use crate::args::globals::{CgroupManager, Globals};
use crate::args::oci::Oci;

/// donjon failed, as an OCI runtime says it.
pub const FAILED: u8 = 1;

/// Does what the command line says and returns donjon's exit status.
pub fn run(command: Oci, globals: &Globals) -> Result<u8, Failure> {
    carry_out(command, globals).map_err(|failure| failure.in_terms_of(globals))
}

fn carry_out(command: Oci, globals: &Globals) -> Result<u8, Failure> {
    match command {
        Oci::Create(creation) => {
            let creation = completed(creation, globals)?;
            let made = create::create(&make_store(globals)?, &creation, &crate::filters::host())?;
            note(&made.notes, globals);
        }
        Oci::Run { creation, keep } => {
            let creation = completed(creation, globals)?;
            let store = make_store(globals)?;
            let outcome = oci_run::run(&store, &creation, &crate::filters::host(), keep)?;
            note(&outcome.notes, globals);
            outcome.warnings.into_iter().for_each(|warning| warn(warning, globals));
            return Ok(outcome.code);
        }
        Oci::Start { id } => {
            let warning = start::start(&store_of(globals, &id)?, &id, &crate::filters::host())?;
            warning.into_iter().for_each(|warning| warn(warning, globals));
        }
        Oci::State { id } => state::run(&store_of(globals, &id)?, &id)?,
        Oci::Delete { ids, force, regex } => {
            for id in kill::matching(globals, ids, regex)? {
                match store_of(globals, &id) {
                    Ok(store) => {
                        let warning = delete::delete(&store, &id, force)?;
                        warning.into_iter().for_each(|warning| warn(warning, globals));
                    }
                    // As in other runtimes: it is gone, which is what was asked for.
                    Err(_) if force => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Oci::List { format, quiet } => list::run(store(globals)?.as_ref(), format, quiet)?,
        Oci::Spec { bundle, rootless, file } => spec::run(bundle, rootless, file)?,
        Oci::Features => {
            let mut out = std::io::stdout().lock();
            serde_json::to_writer_pretty(&mut out, &features::features())?;
            writeln!(out)?;
            out.flush()?;
        }
        Oci::Checkpoint(what) => {
            return Err(Failure::new(format!("{what}: donjon can't checkpoint and restore containers yet"))
                .hint("the engine can stop the container and start it anew"));
        }
        Oci::Pause { id } => limits::pause(&store_of(globals, &id)?, &id)?,
        Oci::Resume { id } => limits::resume(&store_of(globals, &id)?, &id)?,
        Oci::Update { id, update } => update::run(&store_of(globals, &id)?, &id, &update)?,
        Oci::Events { id, stats, interval } => {
            let told = store_of(globals, &id).map_err(Failure::from);
            let told = told.and_then(|store| events::run(&store, &id, stats, interval));
            // The word alone is an id.
            told.map_err(|failure| match id == "verify" {
                true => {
                    failure.hint("to verify the event log of a container: donjon events verify CONTAINER")
                }
                false => failure,
            })?;
        }
    }
    Ok(0)
}

/// Where the containers of this caller are.
pub fn location(globals: &Globals) -> PathBuf {
    globals.root.clone().unwrap_or_else(Store::location)
}

/// The store, if there is one.
pub fn store(globals: &Globals) -> Result<Option<Store>, OciError> {
    Store::open(&location(globals), false)
}

/// The store, to find this container in it.
pub fn store_of(globals: &Globals, id: &str) -> Result<Store, OciError> {
    store(globals)?.ok_or_else(|| OciError::NotFound { id: id.to_string() })
}

/// The store, to put a container into it.
fn make_store(globals: &Globals) -> Result<Store, OciError> {
    let location = location(globals);
    Store::open(&location, true)?.ok_or(OciError::NotFound { id: location.display().to_string() })
}

/// Whether a command that both sides have is about a container of the OCI side: an option says so that only that side
/// has, or there is such a container.
pub fn holds(globals: &Globals, id: &str, only: Option<&str>) -> bool {
    globals.of_engine || only.is_some() || matches!(store(globals), Ok(Some(store)) if store.has(id))
}

/// What is not done as written: it is in the log, and with `--debug` on standard error.
fn note(notes: &[String], globals: &Globals) {
    for text in notes {
        log::write(globals, "warning", text);
        if globals.debug {
            let _ = writeln!(std::io::stderr(), "donjon: note: {text}");
        }
    }
}

/// Something that failed and is no error: it is told.
fn warn(warning: OciError, globals: &Globals) {
    let failure = Failure::from(warning);
    log::write(globals, "warning", &failure.message);
    failure.print();
}

/// What the options before the command and the environment say of a creation.
fn completed(mut creation: Creation, globals: &Globals) -> Result<Creation, Failure> {
    creation.cgroups = cgroups::Options {
        driver: match globals.cgroup_manager {
            CgroupManager::Cgroupfs => cgroups::Driver::Cgroupfs,
            CgroupManager::Systemd => cgroups::Driver::Systemd,
            CgroupManager::Disabled => cgroups::Driver::Disabled,
        },
        rootless: globals.rootless.unwrap_or_else(|| {
            !rustix::process::geteuid().is_root() || donjon_runtime::oci::store::in_user_namespace()
        }),
        best_effort: false,
    };
    with_listen_fds(creation)
}

/// Sockets that systemd passes in (`man 3 sd_listen_fds`) are passed on, and the program is told.
fn with_listen_fds(mut creation: Creation) -> Result<Creation, Failure> {
    if let Some(count) = listen_fds() {
        creation.listen_fds = count;
        creation.options.preserve_fds = creation.options.preserve_fds.saturating_add(count);
    }
    are_open(creation.options.preserve_fds)?;
    Ok(creation)
}

/// Refuses to pass on descriptors after standard error that do not exist: donjon's own would get their numbers.
pub fn are_open(count: u32) -> Result<(), Failure> {
    for n in 3..count.saturating_add(3) {
        if rustix::fs::stat(format!("/proc/self/fd/{n}")).is_err() {
            return Err(Failure::new(format!("--preserve-fds: descriptor {n} is not open")));
        }
    }
    Ok(())
}

/// How many sockets systemd passed in: to this process, not to one above it that left its environment.
pub fn listen_fds() -> Option<u32> {
    if std::env::var("LISTEN_PID").ok()?.parse() != Ok(std::process::id()) {
        return None;
    }
    std::env::var("LISTEN_FDS").ok()?.parse().ok().filter(|n| *n > 0 && *n <= 1024)
}

impl From<OciError> for Failure {
    fn from(error: OciError) -> Self {
        Self { code: FAILED, hint: error.hint(), message: error.to_string() }
    }
}

impl Failure {
    /// The failure as an engine that called donjon is to see it: in its log, and with 1 as exit status.
    pub fn in_terms_of(self, globals: &Globals) -> Self {
        let mut failure = self;
        if !failure.message.is_empty() {
            log::write(globals, "error", &failure.message);
        }
        failure.code = FAILED;
        failure
    }
}
