//! Tasks of this repository: `cargo xtask test`, `cargo xtask bench` and `cargo xtask dist`.
#![forbid(unsafe_code)]

mod bench;
mod clients;
mod dist;
mod machine;
mod place;
mod rooms;
mod systemd;
mod vm;

use std::process::ExitCode;

const HELP: &str = "\
Tasks of this repository.

cargo xtask test [ROOM...] [--without ROOM]... [-- FILTER...]
    Runs the rooms named, or all: lint pure rootless root oci clients escapes faults vm systemd fuzz.
    Installs the Debian packages that they need and makes the user donjon-test, when root runs it. A room that
    can't run here is a failure, unless --without names it. A filter chooses tests by a part of their name.

cargo xtask bench [--quick]
    Measures donjon beside bubblewrap, crun, runc and the floor, and writes benches/README.md (with --quick, a
    few rounds only, and the table to the standard output).

cargo xtask dist
    Makes target/dist: the static release binary, manual pages, completions for bash, zsh and fish, and a Debian
    package of all that; looks at it again, and prints sizes and SHA-256 sums. Dated by the commit, or by
    SOURCE_DATE_EPOCH; DEBFULLNAME and DEBEMAIL name the package's maintainer.
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["test", rest @ ..] => rooms::test(rest),
        ["bench", rest @ ..] => bench::bench(rest),
        ["dist", rest @ ..] => dist::dist(rest),
        ["bench-rounds", rest @ ..] => bench::rounds::main(rest).map(|()| true),
        ["bench-oci", rest @ ..] => bench::oci::rounds::main(rest).map(|()| true),
        [] | ["help" | "-h" | "--help"] => {
            print!("{HELP}");
            Ok(true)
        }
        [other, ..] => Err(format!("no task is called {other}\n\n{HELP}")),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("xtask: {why}");
            ExitCode::from(2)
        }
    }
}
