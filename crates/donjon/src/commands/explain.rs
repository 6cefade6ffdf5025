//! `donjon explain`, and the summary after a foreground run: what was refused, and what would allow it.
//!
//! Texts come from inside the container, so everything is shown through [`printable`].

pub mod trace;

use std::io::Write;

use donjon_runtime::container::Container;
use donjon_runtime::events::{self, Closed, Event, printable};
use donjon_runtime::store::Store;
use donjon_runtime::warden::Watch;

use super::table;
use super::{Failure, Format};

/// Most lines of a summary.
const SUMMARY: usize = 10;

/// Prints what was refused in a container; the newest one if none is named.
pub fn run(store: &Store, container: Option<&str>, format: Format) -> Result<(), Failure> {
    let container = match container {
        Some(name) => store.find(name)?,
        None => newest(store)?,
    };
    let refused = events::read(&container)?;
    let mut out = std::io::stdout().lock();
    if format == Format::Json {
        serde_json::to_writer_pretty(&mut out, &refused)?;
        writeln!(out)?;
        return Ok(());
    }
    let name = container.state().map_or_else(|_| container.id.short().to_string(), |state| state.name);
    if refused.is_empty() {
        writeln!(out, "nothing was refused in {name}")?;
        return Ok(());
    }
    let titles = ["TIMES", "LAYER", "REFUSED", "BY", "ANSWER", "RULE", "WOULD BE ALLOWED BY"];
    let mut rows = vec![titles.map(str::to_string).to_vec()];
    rows.extend(refused.iter().map(|event| {
        vec![
            event.count.to_string(),
            event.layer.clone(),
            what(event),
            who(event),
            event.errno.clone(),
            printable(&event.rule),
            allowed_by(event),
        ]
    }));
    table::print(&mut out, &rows)?;
    let mut costs: Vec<(&str, &str)> = refused
        .iter()
        .filter_map(|event| Some((event.allow.as_deref()?, event.advice.as_str())))
        .filter(|(_, advice)| !advice.is_empty())
        .collect();
    costs.sort_unstable();
    costs.dedup();
    if !costs.is_empty() {
        writeln!(out, "\nWhat allowing it would cost:")?;
        for (allow, advice) in costs {
            writeln!(out, "  {}: {}", printable(allow), printable(advice))?;
        }
    }
    Ok(())
}

/// Prints a few lines on standard error after a foreground run, if something was refused. `name` is given when there
/// is a record left to ask about.
pub fn summarize(watch: &Watch, name: Option<&str>) {
    let mut text = Vec::new();
    // A Vec takes everything.
    if let Some(reason) = &watch.end.reason {
        let _ = writeln!(text, "donjon: {}", printable(reason));
    }
    if !watch.events.is_empty() {
        let _ = write_summary(&mut text, &watch.events, name);
    }
    if name.is_some() && watch.log.lost > 0 {
        let _ = writeln!(text, "donjon: {}", lost(&watch.log));
    }
    if text.is_empty() {
        return;
    }
    let _ = std::io::stderr().write_all(&text);
}

fn write_summary(out: &mut impl Write, refused: &[Event], name: Option<&str>) -> std::io::Result<()> {
    writeln!(out, "donjon: refused:")?;
    let rows: Vec<Vec<String>> = refused
        .iter()
        .take(SUMMARY)
        .map(|event| {
            let times = if event.count > 1 { format!("{}x", event.count) } else { String::new() };
            vec![format!("  {}", what(event)), times, event.layer.clone(), allowed_by(event)]
        })
        .collect();
    table::print(out, &rows)?;
    let more = refused.len().saturating_sub(SUMMARY);
    if more > 0 {
        writeln!(out, "  and {more} more")?;
    }
    match name {
        Some(name) => writeln!(out, "  more: donjon explain {name}"),
        None => Ok(()),
    }
}

/// What is not in the log, and why.
fn lost(log: &Closed) -> String {
    let kinds =
        if log.lost == 1 { "1 kind of refusal is" } else { &format!("{} kinds of refusals are", log.lost) };
    format!("{kinds} not in the event log: {}", printable(&log.why))
}

/// `unshare: new user namespace`
fn what(event: &Event) -> String {
    let operation = printable(&event.operation);
    let object = printable(&event.object);
    if object.is_empty() || object == operation {
        operation
    } else if object.starts_with(&operation) {
        object
    } else {
        format!("{operation}: {object}")
    }
}

fn who(event: &Event) -> String {
    match (event.comm.as_str(), event.pid) {
        ("", 0) => String::new(),
        ("", pid) => format!("pid {pid}"),
        (comm, pid) => format!("{} ({pid})", printable(comm)),
    }
}

fn allowed_by(event: &Event) -> String {
    event.allow.as_deref().map_or_else(|| "nothing: always refused".to_string(), printable)
}

fn newest(store: &Store) -> Result<Container, Failure> {
    let mut containers: Vec<(String, Container)> = store
        .list()?
        .into_iter()
        .filter_map(|listed| listed.container.ok())
        .filter_map(|container| Some((container.state().ok()?.created, container)))
        .collect();
    containers.sort_by(|a, b| a.0.cmp(&b.0));
    containers.pop().map(|(_, container)| container).ok_or_else(|| {
        Failure::new("there is no container to explain")
            .hint("run one without --rm: its record stays until donjon rm")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(operation: &str, object: &str, count: u64, allow: Option<&str>) -> Event {
        Event {
            time: String::new(),
            container: String::new(),
            pid: 7,
            comm: "x".into(),
            layer: "seccomp".into(),
            operation: operation.into(),
            object: object.into(),
            rule: String::new(),
            errno: "EPERM".into(),
            allow: allow.map(str::to_string),
            advice: String::new(),
            count,
            warden: 0,
        }
    }

    fn summary(refused: &[Event], name: Option<&str>) -> String {
        let mut out = Vec::new();
        write_summary(&mut out, refused, name).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_summary_has_one_line_each_and_says_what_would_allow_it() {
        let refused = [
            event("unshare", "new user namespace", 3, Some("--nested-userns")),
            event("ioctl", "ioctl TIOCSTI (typing into a terminal)", 1, None),
        ];
        let expected = "donjon: refused:\n  unshare: new user namespace             3x  seccomp  --nested-userns\n  \
                        ioctl TIOCSTI (typing into a terminal)      seccomp  nothing: always refused\n  \
                        more: donjon explain mossy_keep\n";
        assert_eq!(summary(&refused, Some("mossy_keep")), expected);
    }

    #[test]
    fn a_long_summary_is_cut_and_a_removed_container_is_not_asked_about() {
        let refused: Vec<Event> = (0..14).map(|n| event("bpf", &n.to_string(), 1, None)).collect();
        let text = summary(&refused, None);
        assert_eq!(text.lines().count(), 12);
        assert!(text.ends_with("  and 4 more\n"), "{text}");
    }

    #[test]
    fn a_hostile_object_can_not_write_to_the_terminal() {
        let text = summary(&[event("open", "a\x1b]0;owned\x07\nb", 1, Some("x\r"))], None);
        assert!(!text.contains('\x1b') && !text.contains('\r') && text.lines().count() == 2, "{text}");
    }
}
