//! Compiles the filters of containers that keep the defaults, so that a start finds them ready.

use std::fmt::Write;

use donjon_confine::layers::seccomp::{compile, profile};
use donjon_policy::{Identity, Policy, syscalls_of};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let policy = Policy::defaults()?;
    let mut code = String::from("&[\n");
    // Root inside or not, with one id mapped or a range.
    for powerless in [false, true] {
        for squash in [true, false] {
            let words = syscalls_of(&policy, &Identity { powerless, ..Identity::default() }, squash)?;
            let program = compile(&profile(&words)?)?;
            writeln!(
                code,
                "Ready {{ source: {:?}, listener: {}, flags: {}, filter: &[",
                serde_json::to_string(&words)?,
                program.listener,
                program.flags
            )?;
            for step in program.filter.iter() {
                writeln!(
                    code,
                    "SockFilter {{ code: {}, jt: {}, jf: {}, k: {} }},",
                    step.code, step.jt, step.jf, step.k
                )?;
            }
            code.push_str("] },\n");
        }
    }
    code.push_str("]\n");
    std::fs::write(std::path::Path::new(&std::env::var("OUT_DIR")?).join("filters.rs"), code)?;
    println!("cargo::rerun-if-changed=build.rs");
    Ok(())
}
