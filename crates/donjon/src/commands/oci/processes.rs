//! `donjon ps ID`: the processes of a container of the OCI side, as the caller's pid namespace numbers them.

use std::io::Write;

use donjon_runtime::oci::OciError;

use super::store_of;
use crate::args::globals::Globals;
use crate::commands::{Failure, Format};

/// Where ps(1) is: by its absolute path, never the caller's `PATH` (R19).
const PS: [&str; 2] = ["/bin/ps", "/usr/bin/ps"];

/// Prints them: their pids as JSON, or the lines of ps(1) about them.
pub fn run(id: &str, format: Format, options: &[String], globals: &Globals) -> Result<u8, Failure> {
    print(id, format, options, globals).map(|()| 0).map_err(|failure| failure.in_terms_of(globals))
}

fn print(id: &str, format: Format, options: &[String], globals: &Globals) -> Result<(), Failure> {
    let pids = donjon_runtime::oci::processes::of(&store_of(globals, id)?, id)?;
    let mut out = std::io::stdout().lock();
    match format {
        Format::Json => {
            serde_json::to_writer(&mut out, &pids)?;
            writeln!(out)?;
        }
        Format::Text => write!(out, "{}", lines(&pids, options)?)?,
    }
    Ok(out.flush()?)
}

/// The head of what ps(1) prints and its lines about these processes.
fn lines(pids: &[i32], options: &[String]) -> Result<String, Failure> {
    let ps = PS.iter().find(|path| std::path::Path::new(path).exists());
    let ps =
        ps.ok_or_else(|| Failure::new("ps: this machine has no ps(1)").hint("--format json needs none"))?;
    let default = ["-ef".to_string()];
    let options = if options.is_empty() { &default[..] } else { options };
    let output = std::process::Command::new(ps)
        .args(options)
        .stdin(std::process::Stdio::null())
        .output()
        .map_err(|error| OciError::Usage(format!("run {ps}: {error}")))?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr).trim().to_string();
        return Err(Failure::new(format!("{ps} {}: {words}", options.join(" "))));
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut all = text.lines();
    let head = all.next().unwrap_or_default();
    let column = head.split_whitespace().position(|word| word == "PID");
    let column = column.ok_or_else(|| Failure::new("ps: these options print no column PID"))?;
    let ours = |line: &&str| {
        let pid = line.split_whitespace().nth(column).and_then(|word| word.parse::<i32>().ok());
        pid.is_some_and(|pid| pids.contains(&pid))
    };
    Ok(std::iter::once(head).chain(all.filter(ours)).map(|line| format!("{line}\n")).collect())
}
