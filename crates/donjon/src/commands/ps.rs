//! `donjon ps`: which containers there are.

use std::io::Write;

use donjon_runtime::events::printable;
use donjon_runtime::state::{State, StateError, Status, parse_time};
use donjon_runtime::store::{Listed, Store};
use serde::Serialize;

use super::table;
use super::{Failure, Format};

/// One line of the list.
struct Row {
    id: String,
    short: String,
    state: Option<(State, Status)>,
    /// Why its record can't be read.
    damage: Option<String>,
}

/// A container in the words that other engines use in JSON.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Entry<'a> {
    id: &'a str,
    names: Vec<&'a str>,
    image: &'a str,
    command: &'a [String],
    created_at: &'a str,
    state: &'a str,
    status: String,
    exit_code: Option<u8>,
    pid: Option<i32>,
    auto_remove: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

/// Lists running containers, with `all` every one.
pub fn run(store: &Store, all: bool, quiet: bool, format: Format) -> Result<(), Failure> {
    let mut rows: Vec<Row> = store.list()?.into_iter().filter_map(look).collect();
    rows.retain(|row| all || !matches!(row.state, Some((_, Status::Exited(_)))));
    rows.sort_by(|a, b| created(b).cmp(created(a)));
    let mut out = std::io::stdout().lock();
    match (quiet, format) {
        (true, _) => rows.iter().try_for_each(|row| writeln!(out, "{}", row.short))?,
        (false, Format::Json) => {
            let entries: Vec<Entry<'_>> = rows.iter().map(entry).collect();
            serde_json::to_writer_pretty(&mut out, &entries)?;
            writeln!(out)?;
        }
        (false, Format::Text) => {
            let titles = ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "NAME"];
            let mut lines = vec![titles.map(str::to_string).to_vec()];
            lines.extend(rows.iter().map(line));
            table::print(&mut out, &lines)?;
        }
    }
    for row in &rows {
        if let Some(damage) = &row.damage {
            let _ = writeln!(std::io::stderr(), "donjon: {damage}\n  hint: donjon rm -f {}", row.short);
        }
    }
    Ok(())
}

/// One that can't be read is shown as such; one that has gone since the directory was listed is not shown.
fn look(listed: Listed) -> Option<Row> {
    let row = |state, damage| {
        Some(Row { id: listed.id.to_string(), short: listed.id.short().to_string(), state, damage })
    };
    match &listed.container {
        Err(error) => row(None, Some(error.to_string())),
        Ok(container) => match container.status() {
            Ok(state) => row(Some(state), None),
            Err(StateError::Unfinished { .. }) if !container.path().exists() => None,
            // Its start is under way.
            Err(StateError::Unfinished { .. }) if container.has_warden() => {
                row(Some((State::new(&listed.id, ""), Status::Created)), None)
            }
            Err(error) => row(None, Some(error.to_string())),
        },
    }
}

fn created(row: &Row) -> &str {
    row.state.as_ref().map_or("", |(state, _)| &state.created)
}

/// What a status looks like in a list: `Up 3 minutes`, `Exited (0) 2 hours ago`.
pub fn status_in_words(state: &State, status: &Status) -> String {
    let ago = |text: &str| parse_time(text).map(|time| table::span(table::since(time)));
    match status {
        Status::Created => "Starting".to_string(),
        Status::Running => format!("Up {}", ago(&state.created).unwrap_or_default()),
        Status::Exited(end) => {
            let ago = ago(&end.time).map(|ago| format!(" {ago} ago")).unwrap_or_default();
            let reason = end.reason.as_ref().map(|reason| format!(", {reason}")).unwrap_or_default();
            format!("Exited ({}){ago}{reason}", end.code)
        }
    }
}

fn line(row: &Row) -> Vec<String> {
    let Some((state, status)) = &row.state else {
        return vec![row.short.clone(), String::new(), String::new(), String::new(), "Damaged".to_string()];
    };
    let ago = parse_time(&state.created).map(|time| format!("{} ago", table::span(table::since(time))));
    vec![
        row.short.clone(),
        table::cut(&printable(&state.image), 40),
        table::cut(&printable(&state.command.join(" ")), 30),
        ago.unwrap_or_default(),
        status_in_words(state, status),
        state.name.clone(),
    ]
}

fn entry(row: &Row) -> Entry<'_> {
    let error = row.damage.as_deref();
    let Some((state, status)) = &row.state else {
        return Entry {
            id: &row.id,
            names: Vec::new(),
            image: "",
            command: &[],
            created_at: "",
            state: "damaged",
            status: "Damaged".to_string(),
            exit_code: None,
            pid: None,
            auto_remove: false,
            error,
        };
    };
    Entry {
        id: &row.id,
        names: vec![&state.name],
        image: &state.image,
        command: &state.command,
        created_at: &state.created,
        state: status.word(),
        status: status_in_words(state, status),
        exit_code: match status {
            Status::Exited(end) => Some(end.code),
            _ => None,
        },
        pid: match status {
            Status::Running => state.init.map(|init| init.pid),
            _ => None,
        },
        auto_remove: state.auto_remove,
        error,
    }
}
