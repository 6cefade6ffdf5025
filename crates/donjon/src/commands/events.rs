//! `donjon events verify`: whether the log of what was refused is what was written.

use std::io::Write;

use donjon_runtime::Store;
use donjon_runtime::events::chain::Digest;
use donjon_runtime::events::printable;
use donjon_runtime::events::verify::{Status, Verdict, verify};
use serde_json::json;

use super::{Failure, Format};

/// The log is not what was written, or nothing can be said.
const NOT_INTACT: u8 = 1;

/// Prints a verdict for each container and returns donjon's exit status.
pub fn run(store: &Store, names: &[String], head: Option<Digest>, format: Format) -> Result<u8, Failure> {
    let mut code = 0;
    let mut all = Vec::new();
    for name in names {
        let container = store.find(name)?;
        let verdict = verify(&container, head)?;
        if matches!(verdict.status, Status::Damaged | Status::Unchained) {
            code = NOT_INTACT;
        }
        let name = container.state().map_or_else(|_| container.id.short().to_string(), |state| state.name);
        all.push((container.id.to_string(), name, verdict));
    }
    let mut out = std::io::stdout().lock();
    match format {
        Format::Text => {
            for (_, name, verdict) in &all {
                print(&mut out, name, verdict)?;
            }
        }
        Format::Json => {
            let list: Vec<serde_json::Value> = all
                .iter()
                .map(|(id, name, verdict)| {
                    json!({
                        "container": id, "name": name, "status": verdict.status, "records": verdict.records,
                        "head": verdict.head, "findings": verdict.findings, "notes": verdict.notes,
                    })
                })
                .collect();
            serde_json::to_writer_pretty(&mut out, &list)?;
            writeln!(out)?;
        }
    }
    out.flush()?;
    Ok(code)
}

fn print(out: &mut impl Write, name: &str, verdict: &Verdict) -> std::io::Result<()> {
    let records = match verdict.records {
        1 => "1 record".to_string(),
        n => format!("{n} records"),
    };
    match verdict.status {
        Status::Intact => writeln!(out, "{name}: intact, {records}")?,
        Status::Empty => writeln!(out, "{name}: nothing was refused, so there is no log")?,
        Status::Unchained => {
            writeln!(out, "{name}: can't be told: {records} of an older donjon, which kept no chain")?
        }
        Status::Damaged => writeln!(out, "{name}: NOT what was written")?,
    }
    for finding in &verdict.findings {
        match finding.line {
            Some(line) => writeln!(out, "  line {line}: {}", printable(&finding.what))?,
            None => writeln!(out, "  {}", printable(&finding.what))?,
        }
    }
    for note in &verdict.notes {
        writeln!(out, "  note: {}", printable(note))?;
    }
    match &verdict.head {
        Some(head) if verdict.status == Status::Intact => writeln!(out, "  head {head}"),
        _ => Ok(()),
    }
}
