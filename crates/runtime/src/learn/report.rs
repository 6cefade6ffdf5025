//! What was seen, in bounds.
//!
//! **The attack**: a program that opens a million names, or makes a million sockets, to fill the recorder's memory or the
//! policy. **The defence**: every list has an end. Files beyond it are noted as their directory, and what even then finds
//! no place is counted, and said.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

/// Most files that are told apart, and their bytes together.
const MOST_FILES: usize = 16_384;
const MOST_BYTES: usize = 8 << 20;
/// Most directories that stand for files beyond that.
const MOST_DIRECTORIES: usize = 4_096;
/// Most different arguments of one call, addresses, refused calls.
const MOST_WORDS: usize = 256;

/// What a program does with a file, as bits.
pub mod access {
    /// Reads it.
    pub const READ: u8 = 1;
    /// Writes, truncates or changes it.
    pub const WRITE: u8 = 2;
    /// Executes it.
    pub const EXECUTE: u8 = 4;
    /// Makes it.
    pub const CREATE: u8 = 8;
    /// Removes or moves it away.
    pub const DELETE: u8 = 16;
    /// Lists it: a directory.
    pub const LIST: u8 = 32;
}

/// Who did something first, and by which call.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct First {
    /// The path of the program.
    pub program: String,
    /// The system call.
    pub call: String,
}

/// A file, or everything below a directory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Bits of [`access`].
    pub access: u8,
    /// It is a directory.
    pub directory: bool,
    /// Everything below it is meant: files that have no name of their own here.
    pub below: bool,
    /// See [`First`].
    pub first: First,
}

/// A call that the container's filter refuses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// The layer: `seccomp` or `capabilities`.
    pub layer: String,
    /// The system call.
    pub call: String,
    /// What it was about.
    pub object: String,
    /// The rule that refused it.
    pub rule: String,
    /// What the program was told.
    pub errno: String,
    /// The flag that would allow it.
    pub allow: Option<String>,
    /// What allowing it would cost.
    pub advice: String,
    /// The program.
    pub program: String,
    /// How often.
    pub count: u64,
}

/// What was seen of one run, or of several.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// System calls by name.
    pub calls: BTreeMap<String, First>,
    /// What their arguments were, where these say something: by `CALL what`.
    pub arguments: BTreeMap<String, First>,
    /// Files, as the container sees them, symbolic links followed.
    pub files: BTreeMap<String, File>,
    /// Socket families, in the policy's words.
    pub families: BTreeMap<String, First>,
    /// Addresses that were connected to, by `ADDRESS:PORT` or path.
    pub connected: BTreeMap<String, First>,
    /// Addresses that were bound.
    pub bound: BTreeMap<String, First>,
    /// Capabilities that something was done by.
    pub capabilities: BTreeMap<String, First>,
    /// Calls that were refused.
    pub refused: Vec<Refused>,
    /// Most processes and threads at once, at the most.
    pub tasks: u64,
    /// Most memory of all processes together, in bytes; 0: unknown.
    pub memory: u64,
    /// Calls whose caller could not be looked into, or whose pointer led nowhere.
    pub unreadable: u64,
    /// Whether the container could be looked into at all.
    pub looked: bool,
    /// What found no place.
    pub lost: u64,
    /// The recorder came to its end, and so this is all of it.
    pub complete: bool,
}

/// A report in the making.
#[derive(Debug, Default)]
pub struct Notes {
    report: Report,
    /// Bytes of all paths.
    bytes: usize,
    directories: usize,
    refused: HashMap<(String, String), usize>,
}

/// Puts `first` into a list that has an end.
fn put(list: &mut BTreeMap<String, First>, word: String, first: impl FnOnce() -> First, lost: &mut u64) {
    if list.contains_key(&word) {
        return;
    }
    match list.len() < MOST_WORDS {
        true => {
            list.insert(word, first());
        }
        false => *lost = lost.saturating_add(1),
    }
}

impl Notes {
    /// A call was made. There are about four hundred of them.
    pub fn call(&mut self, name: &'static str, first: impl FnOnce() -> First) {
        if !self.report.calls.contains_key(name) {
            self.report.calls.insert(name.to_string(), first());
        }
    }

    /// With an argument that says something.
    pub fn argument(&mut self, call: &str, what: &str, first: impl FnOnce() -> First) {
        put(&mut self.report.arguments, format!("{call} {what}"), first, &mut self.report.lost);
    }

    /// A socket of a family was made.
    pub fn family(&mut self, word: &str, first: impl FnOnce() -> First) {
        put(&mut self.report.families, word.to_string(), first, &mut self.report.lost);
    }

    /// A socket was connected to this address, or bound to it.
    pub fn address(&mut self, call: &str, address: String, first: impl FnOnce() -> First) {
        let list = if call == "bind" { &mut self.report.bound } else { &mut self.report.connected };
        put(list, address, first, &mut self.report.lost);
    }

    /// A capability was used.
    pub fn capability(&mut self, name: &str, first: impl FnOnce() -> First) {
        put(&mut self.report.capabilities, name.to_string(), first, &mut self.report.lost);
    }

    /// Something was done with a file. Beyond the bounds its directory stands for it.
    pub fn file(&mut self, path: &str, access: u8, directory: bool, first: impl FnOnce() -> First) {
        if let Some(known) = self.report.files.get_mut(path) {
            known.access |= access;
            return;
        }
        let nameable = !path.contains(['*', '?']) && !path.chars().any(char::is_control) && path.len() < 4096;
        let room = self.report.files.len() < MOST_FILES && self.bytes + path.len() <= MOST_BYTES;
        if nameable && room {
            self.bytes += path.len();
            self.report
                .files
                .insert(path.to_string(), File { access, directory, below: false, first: first() });
        } else {
            self.below(above(path), access, first);
        }
    }

    /// Something was done with a file below a directory that has no name of its own here.
    pub fn below(&mut self, directory: &str, access: u8, first: impl FnOnce() -> First) {
        // A directory that can't be written down either is left to the one above it.
        let mut directory = directory;
        while directory.contains(['*', '?'])
            || directory.chars().any(char::is_control)
            || directory.len() > 4000
        {
            directory = above(directory);
        }
        if let Some(known) = self.report.files.get_mut(directory) {
            known.access |= access;
            known.directory = true;
            known.below = true;
        } else if self.directories < MOST_DIRECTORIES {
            self.directories += 1;
            let file = File { access, directory: true, below: true, first: first() };
            self.report.files.insert(directory.to_string(), file);
        } else {
            self.report.lost = self.report.lost.saturating_add(1);
        }
    }

    /// A call was refused.
    pub fn refused(&mut self, call: &str, object: &str, refused: impl FnOnce() -> Refused) {
        let key = (call.to_string(), object.to_string());
        let known = self.refused.get(&key).copied();
        if let Some(known) = known.and_then(|at| self.report.refused.get_mut(at)) {
            known.count = known.count.saturating_add(1);
            return;
        }
        match known {
            None if self.report.refused.len() < MOST_WORDS => {
                self.refused.insert(key, self.report.refused.len());
                self.report.refused.push(Refused { count: 1, ..refused() });
            }
            _ => self.report.lost = self.report.lost.saturating_add(1),
        }
    }

    /// A caller could not be looked into.
    pub fn unreadable(&mut self) {
        self.report.unreadable = self.report.unreadable.saturating_add(1);
    }

    /// So many processes and threads, so much memory.
    pub fn peaks(&mut self, tasks: u64, memory: u64) {
        self.report.tasks = self.report.tasks.max(tasks);
        self.report.memory = self.report.memory.max(memory);
    }

    /// The container can be looked into.
    pub fn looked(&mut self) {
        self.report.looked = true;
    }

    /// All of it.
    pub fn finish(self) -> Report {
        Report { complete: true, ..self.report }
    }
}

/// The directory that a path lies in.
pub fn above(path: &str) -> &str {
    match path.rsplit_once('/') {
        None | Some(("", _)) => "/",
        Some((above, _)) => above,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first() -> First {
        First { program: "/bin/x".into(), call: "openat".into() }
    }

    #[test]
    fn a_million_names_take_bounded_memory_and_become_their_directory() {
        let mut notes = Notes::default();
        for n in 0..1_000_000 {
            notes.file(&format!("/tmp/d{}/name-{n}", n % 10), access::READ, false, first);
        }
        let report = notes.finish();
        assert!(report.files.len() <= MOST_FILES + 10, "{}", report.files.len());
        assert_eq!(report.files.values().filter(|file| file.below).count(), 10);
        assert_eq!(report.lost, 0);
        // In a million directories even these have an end, and what is beyond is counted.
        let mut notes = Notes::default();
        for n in 0..100_000 {
            notes.file(&format!("/tmp/{n}/x"), access::READ, false, first);
        }
        let report = notes.finish();
        assert!(report.files.len() <= MOST_FILES + MOST_DIRECTORIES, "{}", report.files.len());
        assert_eq!(report.lost, (100_000 - MOST_FILES - MOST_DIRECTORIES) as u64);
    }

    #[test]
    fn a_name_that_no_policy_can_hold_is_its_directory() {
        let mut notes = Notes::default();
        for path in ["/srv/a\nb", "/srv/*", "/srv/a?", "/srv/x\u{1b}[2J"] {
            notes.file(path, access::READ, false, first);
        }
        notes.file("/data/od\nd/x*", access::WRITE, false, first);
        let report = notes.finish();
        let found: Vec<_> = report.files.iter().map(|(path, file)| (path.as_str(), file.below)).collect();
        assert_eq!(found, [("/data", true), ("/srv", true)]);
    }

    #[test]
    fn what_is_done_again_is_one_line_that_remembers_the_first() {
        let mut notes = Notes::default();
        notes.file("/etc/hosts", access::READ, false, first);
        notes.file("/etc/hosts", access::WRITE, false, First::default);
        notes.call("openat", first);
        notes.call("openat", First::default);
        for _ in 0..3 {
            notes.refused("bpf", "bpf", Refused::default);
        }
        let report = notes.finish();
        assert_eq!(report.files["/etc/hosts"].access, access::READ | access::WRITE);
        assert_eq!((&report.files["/etc/hosts"].first, &report.calls["openat"]), (&first(), &first()));
        assert_eq!(report.refused[0].count, 3);
        let mut notes = Notes::default();
        for n in 0..10_000 {
            notes.argument("ioctl", &format!("{n:#x}"), first);
        }
        let report = notes.finish();
        assert_eq!((report.arguments.len(), report.lost), (MOST_WORDS, 10_000 - MOST_WORDS as u64));
    }
}
