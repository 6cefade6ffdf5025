//! `donjon list`: the containers of the OCI side.

use std::io::Write;

use donjon_runtime::oci::{Status, Store};
use serde_json::Value;

use super::state;
use crate::commands::{Failure, Format, table};

/// Prints them. One whose record is damaged is told and does not hide the others.
pub fn run(store: Option<&Store>, format: Format, quiet: bool) -> Result<(), Failure> {
    let mut records = Vec::new();
    if let Some(store) = store {
        for id in store.ids()? {
            match state::read(store, &id) {
                Ok(record) => records.extend(record),
                Err(error) => Failure::from(error).print(),
            }
        }
    }
    let mut out = std::io::stdout().lock();
    if quiet {
        for record in &records {
            writeln!(out, "{}", record.id)?;
        }
        return Ok(out.flush()?);
    }
    match format {
        Format::Json => {
            let all: Vec<Value> = records.iter().map(|record| state::of(record, record.status())).collect();
            serde_json::to_writer(&mut out, &all)?;
            writeln!(out)?;
        }
        Format::Text => {
            let titles = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"];
            let mut rows = vec![titles.map(str::to_string).to_vec()];
            for record in &records {
                let status = record.status();
                let pid = match status {
                    Status::Stopped => 0,
                    _ => record.init.map_or(0, |init| init.pid),
                };
                rows.push(vec![
                    record.id.clone(),
                    pid.to_string(),
                    status.word().to_string(),
                    record.bundle.display().to_string(),
                    record.created.clone(),
                    donjon_image::users::caller(record.owner, 0).name,
                ]);
            }
            table::print(&mut out, &rows)?;
        }
    }
    Ok(out.flush()?)
}
