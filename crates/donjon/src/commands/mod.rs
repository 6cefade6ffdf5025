//! What each command does and prints.

mod doctor;
mod events;
pub mod exec;
pub mod explain;
mod failure;
mod inspect;
mod learn;
mod lifecycle;
mod logs;
mod oci;
mod policy;
mod ps;
mod run;
pub mod setup;
mod table;
mod usage;

use std::io::Write;

use donjon_runtime::Store;
use donjon_runtime::log::Selection;

use crate::args::globals::Globals;
use crate::args::{CommandLine, Invocation};

pub use failure::Failure;
pub use oci::listen_fds;

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
    match line.invocation {
        Invocation::Run(args) => run::run(*args, line.globals.root.as_deref()),
        other => all_others(other, line.globals),
    }
}

/// Apart from `run`, and said to be seldom called: the compiler makes one long function of all commands, and a start would
/// read it in to return through it.
#[cold]
#[inline(never)]
fn all_others(invocation: Invocation, globals: Globals) -> Result<u8, Failure> {
    let root = globals.root.clone();
    let open = || match &root {
        Some(path) => Store::open_at(path),
        None => Store::open(),
    };
    match invocation {
        Invocation::Oci(command) => return oci::run(command, &globals),
        Invocation::Verify { names, head, format } => return events::run(&open()?, &names, head, format),
        Invocation::Run(args) => return run::run(*args, root.as_deref()),
        Invocation::Exec(args) => {
            if oci::holds(&globals, &args.container, None) {
                return oci::exec::exec(args, &globals);
            }
            return match (open()?, args.oci.first) {
                (store, None) => exec::exec(&store, args),
                // Nothing of that name on either side: as an OCI runtime says it.
                (store, Some(_)) if store.find(&args.container).is_err() => oci::exec::exec(args, &globals),
                (_, Some(option)) => Err(Failure::new(format!(
                    "exec: --{option} is for containers of an OCI engine; {} is one of donjon run",
                    args.container
                ))),
            };
        }
        Invocation::Learn(args) => return learn::run(*args, root.as_deref()),
        Invocation::Trace(args) => return explain::trace::run(*args, root.as_deref()),
        Invocation::OciPs { id, format, options } => {
            return oci::processes::run(&id, format, &options, &globals);
        }
        Invocation::Ps { all, quiet, format } => ps::run(&open()?, all, quiet, format)?,
        Invocation::Logs { container, follow, tail, timestamps } => {
            logs::run(&open()?, &container, Selection { tail, follow }, timestamps)?;
        }
        Invocation::Stop { names, patience } => lifecycle::stop(&open()?, &names, patience)?,
        Invocation::Kill { names, signal, all, regex } => {
            let first = names.first().map_or("", String::as_str);
            let of_oci = all.then_some("all").or(regex.then_some("regex"));
            if oci::holds(&globals, first, of_oci) {
                return oci::kill::run(&names, signal, all, regex, &globals);
            }
            lifecycle::kill(&open()?, &names, signal.unwrap_or(rustix::process::Signal::KILL))?;
        }
        Invocation::Rm { all: true, force, .. } => lifecycle::remove_all(&open()?, force)?,
        Invocation::Rm { names, force, .. } => lifecycle::remove(&open()?, &names, force)?,
        Invocation::Wait { names } => lifecycle::wait(&open()?, &names)?,
        Invocation::Inspect { names } => inspect::run(&open()?, &names)?,
        Invocation::Stats { names, once, format } => usage::stats(&open()?, &names, once, format)?,
        Invocation::Top { container, format } => usage::top(&open()?, &container, format)?,
        Invocation::Policy(args) => return policy::run(args, &|| open().map_err(Failure::from)),
        Invocation::Doctor { format } => return doctor::run(format),
        Invocation::Explain { container, what, format } => {
            explain::run(&open()?, container.as_deref(), &what, format)?;
        }
        Invocation::Setup(args) => setup::run(&args)?,
        Invocation::Version => write!(std::io::stdout(), "{}", crate::args::version())?,
    }
    Ok(0)
}
