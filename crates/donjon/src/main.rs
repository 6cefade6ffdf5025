//! The program: the library's `main`, and nothing else.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    donjon::main()
}
