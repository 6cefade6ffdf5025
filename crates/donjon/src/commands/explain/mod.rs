//! `donjon explain`, and the summary after a foreground run: what was refused, by which rule, what would allow it, and
//! whether that is wise.
//!
//! Texts come from inside the container, so everything is shown through [`printable`].

mod apply;
mod change;
mod origin;
pub mod trace;
mod watch;
mod wise;

use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;

use donjon_confine::{Extensions, Host};
use donjon_runtime::audit::{Follow, Subject};
use donjon_runtime::container::Container;
use donjon_runtime::events::{self, Closed, Event, printable};
use donjon_runtime::state::{Status, parse_time};
use donjon_runtime::store::Store;
use donjon_runtime::warden;

use super::table;
use super::{Failure, Format};
use change::Change;
use origin::{Layer, Origin};
use wise::Advice;

/// Most lines of a summary.
const SUMMARY: usize = 10;

/// What is to be done with what was refused.
#[derive(Debug)]
pub enum What {
    /// It is told.
    Tell,
    /// It is told, and what comes as well.
    Watch,
    /// What would allow it is written to a policy file.
    Apply {
        /// The file.
        file: PathBuf,
        /// Without asking.
        all: bool,
    },
}

/// Tells what was refused in a container; in the newest one if none is named.
pub fn run(store: &Store, container: Option<&str>, what: &What, format: Format) -> Result<(), Failure> {
    let container = match container {
        Some(name) => store.find(name)?,
        None => newest(store)?,
    };
    let state = container.state().ok();
    let layers = origin::layers(state.as_ref());
    if let What::Watch = what {
        return watch::run(&container, &layers, format);
    }
    let mut refused = events::read(&container)?;
    if let Some(mut kernel) = kernel_records(&container) {
        let known: BTreeSet<i32> = refused.iter().map(|event| event.pid).collect();
        refused.extend(kernel.refused(&known));
    }
    if let What::Apply { file, all } = what {
        return apply::run(&refused, file, *all);
    }
    let shown = refused.iter().map(|event| Shown::new(event, &layers));
    let mut out = std::io::stdout().lock();
    if format == Format::Json {
        let list: Vec<serde_json::Value> = shown.map(|shown| shown.to_json()).collect();
        serde_json::to_writer_pretty(&mut out, &list)?;
        writeln!(out)?;
        return Ok(());
    }
    let name = state.as_ref().map_or_else(|| container.id.short().to_string(), |state| state.name.clone());
    if refused.is_empty() && holds_files_unseen(&container) {
        writeln!(out, "donjon was told of nothing that was refused in {name}\n  hint: {UNSEEN}")?;
    } else if refused.is_empty() {
        writeln!(out, "nothing was refused in {name}")?;
    }
    // The same advice is given once.
    let mut given: BTreeSet<&str> = BTreeSet::new();
    for (n, shown) in shown.enumerate() {
        if n > 0 {
            writeln!(out)?;
        }
        let known = !given.insert(shown.advice.why);
        shown.write(&mut out, Seen::Counted { advised: known }, width())?;
    }
    if let Some(log) = state.as_ref().and_then(|state| state.events.as_ref()).filter(|log| log.lost > 0) {
        writeln!(out, "\n{}", lost(log))?;
    }
    if refused.iter().any(|event| change::of(event).line.is_some()) {
        writeln!(
            out,
            "\nto write what you choose of this into a policy: donjon explain --apply FILE {name}"
        )?;
    }
    Ok(())
}

/// The kernel's own records of a container that runs, if they can be read; one that has ended has them in its log.
fn kernel_records(container: &Container) -> Option<Follow> {
    let (state, status) = container.status().ok()?;
    let init = state.init.filter(|_| status == Status::Running)?;
    let since = parse_time(&state.created)?.duration_since(std::time::UNIX_EPOCH).ok()?.as_secs();
    Follow::open(Subject::new(container.id.as_str(), &container.config().ok()?, init.pid), since)
}

/// What to do where refusals can't be seen.
pub const UNSEEN: &str = "the policy names the files that may be used, and what Landlock refuses is told in the machine's \
                          audit log alone (Linux 6.15, auditd), which can't be read here. \
                          donjon explain --trace with the same options lists every call that is refused";

/// Whether the container's policy names files, and nobody tells donjon what is refused of others.
fn holds_files_unseen(container: &Container) -> bool {
    let named = container.config().ok().and_then(|spec| Extensions::read(spec.annotations().as_ref()).ok());
    named.is_some_and(|ext| ext.landlock && !ext.files.name_nothing()) && !Host::probe().reads_audit
}

/// Whether a count is worth telling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// So far: it may go on.
    Once,
    /// So often; and whether the same advice was given before.
    Counted {
        /// It was.
        advised: bool,
    },
}

/// A refusal with all that is to be said about it.
struct Shown<'a> {
    event: &'a Event,
    origin: Option<Origin>,
    change: Change,
    advice: Advice,
}

impl<'a> Shown<'a> {
    fn new(event: &'a Event, layers: &[Layer]) -> Self {
        Self { event, origin: origin::of(event, layers), change: change::of(event), advice: wise::of(event) }
    }

    /// Prints it now, whoever reads.
    fn print(&self, format: Format, seen: Seen) -> Result<(), Failure> {
        let mut out = std::io::stdout().lock();
        match format {
            Format::Text => {
                self.write(&mut out, seen, width())?;
                writeln!(out)?;
            }
            Format::Json => {
                serde_json::to_writer(&mut out, &self.to_json())?;
                writeln!(out)?;
            }
        }
        Ok(out.flush()?)
    }

    fn write(&self, out: &mut impl Write, seen: Seen, width: usize) -> std::io::Result<()> {
        let event = self.event;
        let times = match (seen, event.count) {
            (Seen::Counted { .. }, 2..) => format!(", {} times", event.count),
            _ => String::new(),
        };
        writeln!(out, "{}: {}{times}", printable(&event.layer), what(event))?;
        let answer = match event.errno.as_str() {
            "" => String::new(),
            errno => format!(", answered {}", printable(errno)),
        };
        let by = match who(event).as_str() {
            "" => format!("first at {}", moment(&event.time)),
            who => format!("{who}, first at {}", moment(&event.time)),
        };
        entry(out, "by", &format!("{by}{answer}"), width)?;
        if !event.rule.is_empty() {
            let origin = self.origin.as_ref().map_or_else(String::new, |origin| format!("  ({origin})"));
            entry(out, "rule", &format!("{}{}", printable(&event.rule), printable(&origin)), width)?;
        }
        match (&self.change.flag, &self.change.line) {
            (Some(flag), line) => {
                entry(out, "allow", &printable(flag), width)?;
                if let Some(line) = line {
                    entry(out, "policy", &line.to_string(), width)?;
                } else if let Some(why) = self.change.why_not {
                    entry(out, "policy", &format!("by hand: {why}"), width)?;
                }
            }
            (None, _) if self.advice.verdict == wise::Verdict::Never => {}
            (None, _) => entry(out, "allow", "nothing that donjon has", width)?,
        }
        let verdict = self.advice.verdict.word();
        match seen {
            // A word of donjon's own about the log.
            _ if event.layer == "donjon" => Ok(()),
            Seen::Counted { advised: true } => entry(out, "wise?", &format!("{verdict}, as above"), width),
            _ => entry(out, "wise?", &format!("{verdict}: {}", self.advice.why), width),
        }
    }

    fn to_json(&self) -> serde_json::Value {
        let mut value = serde_json::json!(self.event);
        if let Some(map) = value.as_object_mut() {
            map.insert("origin".to_string(), serde_json::json!(self.origin));
            map.insert("flag".to_string(), serde_json::json!(self.change.flag));
            let line = self.change.line.as_ref().map(ToString::to_string);
            map.insert("policy".to_string(), serde_json::json!(line));
            map.insert("wise".to_string(), serde_json::json!(self.advice));
        }
        value
    }
}

/// `  rule    ...`, wrapped at spaces.
fn entry(out: &mut impl Write, title: &str, text: &str, width: usize) -> std::io::Result<()> {
    let mut line = format!("  {title:<6}");
    let indent = line.chars().count();
    let mut length = indent;
    for word in text.split(' ') {
        let more = word.chars().count() + 1;
        if length + more > width && length > indent {
            writeln!(out, "{}", line.trim_end())?;
            line = " ".repeat(indent);
            length = indent;
        }
        line.push(' ');
        line.push_str(word);
        length += more;
    }
    writeln!(out, "{}", line.trim_end())
}

/// The width of the terminal; what goes elsewhere is not wrapped.
fn width() -> usize {
    rustix::termios::tcgetwinsize(rustix::stdio::stdout())
        .map_or(usize::MAX, |size| usize::from(size.ws_col).max(40))
}

/// Date and time without the fraction of a second.
fn moment(time: &str) -> String {
    printable(time.split(['.', 'Z']).next().unwrap_or_default()).replace('T', " ")
}

/// Prints a few lines on standard error after a foreground run, if something was refused. `name` is given when there
/// is a record left to ask about.
pub fn summarize(watch: &warden::Watch, name: Option<&str>) {
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
            vec![format!("  {}", what(event)), times, printable(&event.layer), allowed_by(event)]
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
