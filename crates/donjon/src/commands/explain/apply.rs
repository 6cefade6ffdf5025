//! `donjon explain --apply FILE`: writes the lines that a person chose into a policy file.
//!
//! Comments, order and form of the file stay. What is added is shown as a change of the file before it is made; the new
//! text must be a policy before it takes the old one's place, by one rename. Nothing is added that was not asked about,
//! unless `--yes` said so.

use std::collections::BTreeMap;
use std::io::{BufRead, IsTerminal, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use donjon_confine::error::words;
use donjon_policy::Policy;
use donjon_runtime::events::{Event, printable};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use toml_edit::{Array, DocumentMut, Item, Table, TableLike};

use super::change::{self, LIMITS, Line, Value};
use super::wise;
use crate::commands::Failure;
use crate::commands::setup::change::unified;

/// As large as a policy may be.
const LONGEST: u64 = 1 << 20;

/// Adds what would allow these refusals to the policy in `path`; with `all` without asking.
pub fn run(refused: &[Event], path: &Path, all: bool) -> Result<(), Failure> {
    let mut out = std::io::stdout();
    let file = File::read(path)?;
    let old = file.text.as_deref().unwrap_or_default();
    // Before anybody is asked.
    add(old, &[]).map_err(|what| file.failed(what))?;
    let mut candidates: BTreeMap<Line, Vec<&Event>> = BTreeMap::new();
    let mut there = 0;
    for event in refused {
        let change = change::of(event);
        match change.line {
            // Refused before it was added.
            Some(line) if add(old, std::slice::from_ref(&line)).is_ok_and(|new| new == old) => there += 1,
            Some(line) => candidates.entry(line).or_default().push(event),
            None if event.layer == "donjon" => {}
            None => {
                let why = change.why_not.unwrap_or("nothing allows it");
                writeln!(out, "left out: {}: {why}", super::what(event))?;
            }
        }
    }
    if candidates.is_empty() && there == 0 {
        return Err(Failure::new(
            "explain: nothing of what was refused can be allowed by a line of a policy",
        ));
    }
    let chosen = match all || candidates.is_empty() {
        true => candidates.into_keys().collect(),
        false => ask(&candidates)?,
    };
    let new = add(old, &chosen).map_err(|what| file.failed(what))?;
    if chosen.is_empty() || new == old {
        writeln!(out, "{} stays as it is", path.display())?;
        return Ok(());
    }
    // With what lies below it, so that contradictions show now and not at the next start.
    let name = path.display().to_string();
    Policy::defaults()?.merge(Policy::from_toml(&new, &name)?, &name)?;
    out.write_all(printable_lines(&unified(&name, file.text.as_deref(), &new)).as_bytes())?;
    file.replace(&new)?;
    writeln!(out, "written; it holds for what is started with donjon run --policy {name}")?;
    Ok(())
}

/// The lines of a file are the caller's own, but they may have been written by others.
fn printable_lines(text: &str) -> String {
    text.lines().map(|line| printable(line).replace("\\t", "\t") + "\n").collect()
}

/// Asks about each line on the terminal.
fn ask(candidates: &BTreeMap<Line, Vec<&Event>>) -> Result<Vec<Line>, Failure> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(Failure::new(
            "explain: --apply asks which lines are wanted, and there is no terminal to ask on",
        )
        .hint("--yes takes all of them"));
    }
    let mut out = std::io::stdout();
    let mut chosen = Vec::new();
    let mut rest = false;
    for (n, (line, events)) in candidates.iter().enumerate() {
        let Some(event) = events.first().filter(|_| !rest) else {
            chosen.push(line.clone());
            continue;
        };
        let advice = wise::of(event);
        let more = match events.len() {
            1 => String::new(),
            n => format!(", and {} more", n - 1),
        };
        writeln!(out, "\n{}/{}  {line}", n + 1, candidates.len())?;
        super::entry(&mut out, "for", &(super::what(event) + &more), super::width())?;
        let text = format!("{}: {}", advice.verdict.word(), advice.why);
        super::entry(&mut out, "wise?", &text, super::width())?;
        write!(out, "  Allow it? [y]es, [N]o, [a]ll that follow, [q]uit: ")?;
        out.flush()?;
        let mut answer = String::new();
        if stdin.lock().read_line(&mut answer)? == 0 {
            writeln!(out)?;
            return Err(Failure::new("explain: the answers ended; nothing was changed"));
        }
        match answer.trim() {
            "y" | "yes" | "Y" => chosen.push(line.clone()),
            "a" | "all" | "A" => {
                rest = true;
                chosen.push(line.clone());
            }
            "q" | "quit" | "Q" => {
                chosen.clear();
                break;
            }
            _ => {}
        }
    }
    writeln!(out)?;
    Ok(chosen)
}

/// The text with the lines in it.
pub fn add(text: &str, lines: &[Line]) -> Result<String, String> {
    let mut document: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| {
        format!("is no TOML: {}", error.message().lines().next().unwrap_or_default())
    })?;
    if document.as_table().is_empty() && text.trim().is_empty() && !lines.is_empty() {
        document.decor_mut().set_prefix("# What donjon explain --apply was told to allow.\n");
    }
    for line in lines {
        let (table, key) = line.place();
        // Another name of the same table may be the one that is there.
        let table = match table {
            LIMITS if document.contains_key("limits") => "limits",
            other => other,
        };
        let item = document.entry(table).or_insert_with(|| Item::Table(Table::new()));
        let Some(section) = item.as_table_like_mut() else { return Err(format!("{table} is no table")) };
        match line {
            Line::Add { word, .. } => {
                if table == "syscalls" && section.contains_key("profile") {
                    return Err("names a seccomp profile in place of system calls: change that".to_string());
                }
                refuse_contradiction(section, table, word)?;
                add_word(section, table, key, word)?;
            }
            Line::Set { value, .. } => set(section, key, value),
        }
    }
    Ok(document.to_string())
}

/// The same word in the list that takes away.
fn refuse_contradiction(section: &dyn TableLike, table: &str, word: &str) -> Result<(), String> {
    let key = match table {
        "syscalls" => "deny",
        "capabilities" => "drop",
        _ => return Ok(()),
    };
    let list = section.get(key).and_then(Item::as_array);
    let bare = |text: &str| text.trim_start_matches("CAP_").to_ascii_uppercase();
    match list.is_some_and(|list| list.iter().any(|v| v.as_str().is_some_and(|v| bare(v) == bare(word)))) {
        true => Err(format!("[{table}] {key} takes {word} away: take it off that list first")),
        false => Ok(()),
    }
}

fn add_word(section: &mut dyn TableLike, table: &str, key: &str, word: &str) -> Result<(), String> {
    let item = section.entry(key).or_insert_with(|| Item::Value(Array::new().into()));
    let Some(list) = item.as_array_mut() else { return Err(format!("[{table}] {key} is no list")) };
    if list.iter().any(|value| value.as_str() == Some(word)) {
        return Ok(());
    }
    // One word a line stays so: what stands before the last one, without a comment that is about the one before.
    let last = list.iter().last().and_then(|last| last.decor().prefix()?.as_str());
    let prefix = last.and_then(|prefix| prefix.rsplit_once('\n')).map(|(_, indent)| format!("\n{indent}"));
    let mut value = toml_edit::Value::from(word);
    match prefix {
        Some(prefix) => {
            *value.decor_mut() = toml_edit::Decor::new(prefix, "");
            list.push_formatted(value);
        }
        None => list.push(value),
    }
    Ok(())
}

fn set(section: &mut dyn TableLike, key: &str, value: &Value) {
    let mut value: toml_edit::Value = match value {
        Value::Yes => true.into(),
        Value::Number(number) => (*number).into(),
        Value::Text(text) => text.as_str().into(),
    };
    match section.get_mut(key).and_then(Item::as_value_mut) {
        Some(old) => {
            *value.decor_mut() = old.decor().clone();
            *old = value;
        }
        None => drop(section.insert(key, Item::Value(value))),
    }
}

/// A policy file, which may not be there yet.
struct File {
    path: PathBuf,
    opened: Option<(OwnedFd, Stat)>,
    text: Option<String>,
}

impl File {
    fn read(path: &Path) -> Result<Self, Failure> {
        let mut file = Self { path: path.to_path_buf(), opened: None, text: None };
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(opened) => std::fs::File::from(opened),
            Err(Errno::NOENT) => return Ok(file),
            Err(Errno::LOOP) => {
                return Err(file
                    .failed("is a symbolic link, which would be replaced by a file")
                    .hint("name the file that it leads to"));
            }
            Err(errno) => return Err(file.failed(words(errno))),
        };
        let stat = rustix::fs::fstat(&opened).map_err(|errno| file.failed(words(errno)))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(file.failed("is no regular file"));
        }
        let mut text = String::new();
        let read = (&opened).take(LONGEST + 1).read_to_string(&mut text);
        read.map_err(|error| file.failed(format!("can't be read as text: {error}")))?;
        if text.len() as u64 > LONGEST {
            return Err(file.failed("is larger than a policy may be"));
        }
        (file.opened, file.text) = (Some((opened.into(), stat)), Some(text));
        Ok(file)
    }

    /// Puts a new file in the place of the old one. On an error the old one is as it was.
    fn replace(&self, text: &str) -> Result<(), Failure> {
        let cannot = |errno: Errno| self.failed(words(errno));
        let above = match self.path.parent() {
            Some(above) if above != Path::new("") => above,
            _ => Path::new("."),
        };
        let Some(name) = self.path.file_name() else { return Err(self.failed("is no file")) };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(above, flags, Mode::empty()).map_err(cannot)?;
        let temporary = format!(".donjon-explain-{}", std::process::id());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let new =
            rustix::fs::openat(&directory, &temporary, flags, Mode::from_raw_mode(0o644)).map_err(cannot)?;
        let mut new = std::fs::File::from(new);
        let written = new.write_all(text.as_bytes()).map_err(|error| self.failed(error)).and_then(|()| {
            if let Some((_, stat)) = &self.opened {
                rustix::fs::fchmod(&new, Mode::from_raw_mode(stat.st_mode)).map_err(cannot)?;
            }
            rustix::fs::fsync(&new).map_err(cannot)?;
            self.unchanged(&directory)?;
            rustix::fs::renameat(&directory, &temporary, &directory, name).map_err(cannot)
        });
        if written.is_err() {
            let _ = rustix::fs::unlinkat(&directory, &temporary, AtFlags::empty());
        }
        written
    }

    /// Whether the name still means the file that was read.
    fn unchanged(&self, directory: &OwnedFd) -> Result<(), Failure> {
        let name = self.path.file_name().unwrap_or_default();
        let now = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW);
        let key = |s: &Stat| (s.st_dev, s.st_ino, s.st_size, s.st_mtime, s.st_mtime_nsec);
        let same = match (&self.opened, now) {
            (None, Err(Errno::NOENT)) => true,
            (Some((_, then)), Ok(now)) => key(then) == key(&now),
            _ => false,
        };
        if same { Ok(()) } else { Err(self.failed("was changed meanwhile").hint("try again")) }
    }

    fn failed(&self, what: impl std::fmt::Display) -> Failure {
        Failure::new(format!("explain: {}: {what}", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(table: &'static str, key: &'static str, word: &str) -> Line {
        Line::Add { table, key, word: word.into() }
    }

    fn pids(number: i64) -> Line {
        Line::Set { table: LIMITS, key: "pids", value: Value::Number(number) }
    }

    #[test]
    fn comments_order_and_form_of_the_file_stay() {
        let text = "# mine\n\n[sockets]   # families\nallow = [\n    \"netlink\",  # routes\n    \"vsock\",\n]\n\n# last\n[limits]\n\
                    pids = 10 # few\nmemory = \"1g\"\n";
        let new = add(text, &[word("sockets", "allow", "packet"), pids(20)]).unwrap();
        let expected = text
            .replace("    \"vsock\",\n", "    \"vsock\",\n    \"packet\",\n")
            .replace("10 # few", "20 # few");
        assert_eq!(new, expected);
        let lists = "syscalls = { allow = [\"a\"] }\n";
        assert_eq!(
            add(lists, &[word("syscalls", "allow", "b")]).unwrap(),
            "syscalls = { allow = [\"a\", \"b\"] }\n"
        );
        assert!(add("[resources]\npids = 1\n", &[pids(2)]).unwrap().contains("[resources]\npids = 2\n"));
    }

    #[test]
    fn what_is_there_is_not_added_twice_and_a_new_file_is_a_policy() {
        let lines = [word("syscalls", "allow", "ptrace"), word("capabilities", "add", "NET_RAW"), pids(7)];
        let new = add("", &lines).unwrap();
        Policy::from_toml(&new, "new").unwrap();
        assert!(new.starts_with("# What donjon explain --apply was told to allow.\n"), "{new}");
        assert_eq!(add(&new, &lines).unwrap(), new);
    }

    #[test]
    fn a_file_that_says_the_opposite_or_is_no_policy_is_left_alone() {
        for (text, line) in [
            ("[syscalls]\ndeny = [\"ptrace\"]\n", word("syscalls", "allow", "ptrace")),
            ("[capabilities]\ndrop = [\"CAP_NET_RAW\"]\n", word("capabilities", "add", "NET_RAW")),
            ("[syscalls]\nprofile = \"/x.json\"\n", word("syscalls", "allow", "ptrace")),
            ("[sockets]\nallow = 3\n", word("sockets", "allow", "packet")),
            ("sockets = 3\n", word("sockets", "allow", "packet")),
            ("[[", word("sockets", "allow", "packet")),
        ] {
            assert!(add(text, &[line]).is_err(), "{text}");
        }
    }
}
