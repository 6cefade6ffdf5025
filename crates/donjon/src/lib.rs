//! donjon: a container runtime that gives root to no one.
//!
//! This crate reads the command line and prints; what is done lies in `donjon-runtime` and `donjon-confine`. It is a
//! library so that `donjon-manual` gets at the definitions of the arguments; the program is `main.rs`.
#![forbid(unsafe_code)]

mod args;
mod commands;
mod filters;

use std::io::Write;
use std::process::ExitCode;

use args::Stop;

pub use args::whole::definition;

/// donjon, from its command line to its exit status.
pub fn main() -> ExitCode {
    // Reading the words opens nothing that stays open. Then: what the caller's shell left open is nobody's business here
    // (R6), but for what an engine told to pass on.
    let line = args::parse(std::env::args_os().collect());
    let kept = line.as_ref().map_or(0, |line| line.invocation.kept_descriptors());
    let line = match donjon_runtime::start::close_inherited(kept) {
        Err(error) => Err(Stop::Wrong(error.into())),
        Ok(()) => line,
    };
    let result = match line {
        Ok(line) => commands::run(line),
        Err(Stop::Text(text)) => {
            let mut out = std::io::stdout().lock();
            out.write_all(text.as_bytes()).and_then(|()| out.flush()).map(|()| 0).map_err(Into::into)
        }
        Err(Stop::Wrong(failure)) => Err(failure),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            failure.print();
            ExitCode::from(failure.code)
        }
    }
}
