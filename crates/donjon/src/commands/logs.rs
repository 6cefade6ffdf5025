//! `donjon logs`: the output of a detached container.

use std::io::{self, Write};

use donjon_runtime::log::{Record, Selection, Stream, read};
use donjon_runtime::store::Store;

use super::Failure;

/// Prints a container's output, each stream to its own. It is the container's own text, as `run` would show it.
pub fn run(store: &Store, container: &str, selection: Selection, timestamps: bool) -> Result<(), Failure> {
    let container = store.find(container)?;
    let (state, _) = container.status()?;
    if !state.detached {
        return Err(Failure::new(format!("{} ran in the foreground: its output was not kept", state.name))
            .hint("containers started with donjon run -d have a log"));
    }
    let mut printer = Printer { timestamps, inside: [false, false] };
    read(&container, selection, |record| printer.print(&record))??;
    Ok(())
}

/// Puts times before lines.
struct Printer {
    timestamps: bool,
    /// By stream: whether the line there goes on.
    inside: [bool; 2],
}

impl Printer {
    fn print(&mut self, record: &Record) -> io::Result<()> {
        let inside = &mut self.inside[record.stream as usize];
        let time = if self.timestamps && !*inside { format!("{} ", record.time) } else { String::new() };
        *inside = !record.log.ends_with('\n');
        let text = format!("{time}{}", record.log);
        match record.stream {
            Stream::Stdout => {
                let mut out = io::stdout().lock();
                out.write_all(text.as_bytes())?;
                out.flush()
            }
            Stream::Stderr => io::stderr().lock().write_all(text.as_bytes()),
        }
    }
}
