//! What each command does and prints.

mod doctor;
pub mod exec;
pub mod explain;
mod failure;
mod inspect;
mod lifecycle;
mod logs;
mod ps;
mod run;
pub mod setup;
mod table;
mod usage;

use std::io::Write;

use donjon_runtime::Store;
use donjon_runtime::log::Selection;

use crate::args::{CommandLine, Invocation};

pub use failure::Failure;

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Does what the command line says and returns donjon's exit status.
pub fn run(line: CommandLine) -> Result<u8, Failure> {
    let open = || match &line.root {
        Some(path) => Store::open_at(path),
        None => Store::open(),
    };
    match line.invocation {
        Invocation::Run(args) => return run::run(*args, line.root.as_deref()),
        Invocation::Exec(args) => return exec::exec(&open()?, args),
        Invocation::Trace(args) => return explain::trace::run(*args, line.root.as_deref()),
        Invocation::Ps { all, quiet, format } => ps::run(&open()?, all, quiet, format)?,
        Invocation::Logs { container, follow, tail, timestamps } => {
            logs::run(&open()?, &container, Selection { tail, follow }, timestamps)?;
        }
        Invocation::Stop { names, patience } => lifecycle::stop(&open()?, &names, patience)?,
        Invocation::Kill { names, signal } => lifecycle::kill(&open()?, &names, signal)?,
        Invocation::Rm { all: true, force, .. } => lifecycle::remove_all(&open()?, force)?,
        Invocation::Rm { names, force, .. } => lifecycle::remove(&open()?, &names, force)?,
        Invocation::Wait { names } => lifecycle::wait(&open()?, &names)?,
        Invocation::Inspect { names } => inspect::run(&open()?, &names)?,
        Invocation::Stats { names, once, format } => usage::stats(&open()?, &names, once, format)?,
        Invocation::Top { container, format } => usage::top(&open()?, &container, format)?,
        Invocation::Doctor { format } => return doctor::run(format),
        Invocation::Explain { container, format } => explain::run(&open()?, container.as_deref(), format)?,
        Invocation::Setup(args) => setup::run(&args)?,
        Invocation::Version => writeln!(std::io::stdout(), "donjon {}", env!("CARGO_PKG_VERSION"))?,
    }
    Ok(0)
}
