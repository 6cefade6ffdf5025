//! Files that a policy names: `[filesystem] read`, `write` and `execute`.
//!
//! **Stops**: whatever a list does not name, for the kind of access that the list is about, in every mount.
//!
//! **Can't stop**: what Landlock does not see: `stat`, `readlink`, `chmod`, `chown`, `utime`, `access`, and mapping a file
//! that may be read into memory as code.
//!
//! A rule of Landlock belongs to an object and holds for everything below it. So a path has one of three forms:
//!
//! - `/a/**` is the tree at `/a`, with what is made there later.
//! - `/a/b` is that object. Of a directory it grants what concerns its names (listing; making and removing), which holds in
//!   the directories below as well, and the content of no file.
//! - `/a/x*` are the objects in `/a` whose names match when the container starts. Names that come later are not among
//!   them, so `write` has no such form.
//!
//! What is executed is opened for reading by the kernel: `execute` grants reading it.

use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{OFlags, RawDir};
use rustix::io::Errno;

use super::{PathRule, access};
use crate::error::SpecError;
use crate::extensions::Files;
use crate::layers::rootfs;
use crate::plan::Layer;
use crate::resolve;

/// A list of more paths than this is refused: each is opened at every start.
pub const MOST_PATHS: usize = 4096;
/// A pattern that matches more names than this is refused.
const MOST_NAMES: usize = 4096;

/// How much of a path is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Form {
    /// It and everything below it.
    Tree,
    /// It alone.
    Object,
    /// The objects in it whose names match.
    Matching(CString),
}

/// The three lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum List {
    /// `filesystem.read`
    Read,
    /// `filesystem.write`
    Write,
    /// `filesystem.execute`
    Execute,
}

impl List {
    /// Its key in a policy.
    pub fn key(self) -> &'static str {
        match self {
            List::Read => "filesystem.read",
            List::Write => "filesystem.write",
            List::Execute => "filesystem.execute",
        }
    }

    /// What being on the list grants.
    fn grants(self) -> u64 {
        match self {
            List::Read => access::READ,
            List::Write => access::WRITE,
            List::Execute => access::EXECUTE | access::READ_FILE,
        }
    }

    /// What not being on it takes away.
    fn takes(self) -> u64 {
        match self {
            List::Execute => access::EXECUTE,
            other => other.grants(),
        }
    }
}

/// A path of a list in its form: directory or object, and how much of it.
pub fn form(path: &str) -> Result<(&str, Form), String> {
    let (above, last) = path.rsplit_once('/').ok_or("is no absolute path")?;
    let above = if above.is_empty() { "/" } else { above };
    match last {
        "**" => Ok((above, Form::Tree)),
        name if name.contains(['*', '?']) => CString::new(name)
            .map(|name| (above, Form::Matching(name)))
            .map_err(|_| "holds a NUL byte".into()),
        _ => Ok((path, Form::Object)),
    }
}

/// Whether a name matches a pattern: `*` stands for any characters, `?` for one byte. A name that begins with a dot is
/// matched by a pattern that does, as in a shell. Allocates nothing, and takes time of the product of the lengths.
pub fn matches(pattern: &[u8], name: &[u8]) -> bool {
    if name.first() == Some(&b'.') && pattern.first() != Some(&b'.') {
        return false;
    }
    let (mut p, mut n) = (0, 0);
    // Where the last star stands, and how much it has taken so far.
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(b'?') => (p, n) = (p + 1, n + 1),
            Some(byte) if name.get(n) == Some(byte) => (p, n) = (p + 1, n + 1),
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    (p, n) = (at + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(p).all(|byte| *byte == b'*')
}

/// The rights that the mounts do not grant any more, because a list says who has them.
pub(super) fn taken(files: &Files) -> u64 {
    let lists = [(&files.read, List::Read), (&files.write, List::Write), (&files.execute, List::Execute)];
    let taken =
        lists.iter().filter(|(list, _)| list.is_some()).fold(0, |all, (_, which)| all | which.takes());
    // A device that can be neither read nor written can't be opened; then nothing is left of it to grant.
    let opened = access::READ_FILE | access::WRITE_FILE;
    if taken & opened == opened { taken | access::IOCTL_DEV } else { taken }
}

/// The rules of the lists.
pub(super) fn rules(files: &Files, handled: u64) -> Result<Vec<PathRule>, SpecError> {
    let lists = [(&files.read, List::Read), (&files.write, List::Write), (&files.execute, List::Execute)];
    let mut rules = Vec::new();
    for (list, which) in lists {
        let paths = list.as_deref().unwrap_or_default();
        if paths.len() > MOST_PATHS {
            let what = format!("names {} paths; {MOST_PATHS} are the most", paths.len());
            return Err(SpecError::new(Layer::Landlock, which.key(), what));
        }
        for (i, path) in paths.iter().enumerate() {
            let field = format!("{}[{i}]", which.key());
            let (path, form) = form(path)
                .map_err(|what| SpecError::new(Layer::Landlock, &field, format!("{path:?} {what}")))?;
            let device = path == "/dev" || path.starts_with("/dev/");
            let allowed =
                which.grants() | if device && which != List::Execute { access::IOCTL_DEV } else { 0 };
            rules.push(PathRule {
                path: SpecError::c_string(Layer::Landlock, &field, path)?,
                form,
                allowed: allowed & handled,
                from: Some((which, i as u16)),
            });
        }
    }
    Ok(rules)
}

/// Adds rules for the objects in a directory whose names match, and returns how many there are. Links are followed below
/// `root`; one that leads nowhere is passed over. Never inlined: its buffers would be on the stack of every start.
#[inline(never)]
pub(super) fn add_matching(
    ruleset: BorrowedFd<'_>,
    root: BorrowedFd<'_>,
    directory: &CStr,
    pattern: &CStr,
    allowed: u64,
) -> Result<usize, Errno> {
    let names = resolve::in_root(root, directory, OFlags::RDONLY | OFlags::DIRECTORY)?;
    let mut buffer = [MaybeUninit::uninit(); 8192];
    let mut entries = RawDir::new(&names, &mut buffer);
    let mut count = 0;
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if matches!(name, b"." | b"..") || !matches(pattern.to_bytes(), name) {
            continue;
        }
        let mut path = [0u8; 4097];
        let mut whole = [0u8; 4097];
        let mut length = 0;
        for byte in directory.to_bytes().iter().chain(b"/").chain(name) {
            *whole.get_mut(length).ok_or(Errno::NAMETOOLONG)? = *byte;
            length += 1;
        }
        let path = rootfs::c_str(&mut path, whole.get(..length).unwrap_or_default())?;
        match resolve::in_root(root, path, OFlags::PATH) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS | Errno::LOOP) => {}
            file => count += super::add(ruleset, file?.as_fd(), &Form::Object, allowed)?,
        }
        if count > MOST_NAMES {
            return Err(Errno::TOOBIG);
        }
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_a_shell() {
        for (pattern, name, yes) in [
            ("*", "a", true),
            ("*", ".a", false),
            (".*", ".a", true),
            ("*.pem", "a.pem", true),
            ("*.pem", "a.pem.old", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-b-b", false),
            ("?", "a", true),
            ("?", "", false),
            ("?", "ab", false),
            ("a?c*", "abc", true),
            ("", "", true),
            ("**", "x", true),
        ] {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), yes, "{pattern} {name}");
        }
        // No blow-up where a naive matcher would try every split.
        assert!(!matches(&b"*a".repeat(100), &[b'a'; 99]));
    }

    #[test]
    fn a_list_takes_its_rights_from_every_mount_and_gives_them_to_what_it_names() {
        let files = Files { write: Some(vec!["/tmp/**".into(), "/dev/null".into()]), ..Files::default() };
        assert_eq!(taken(&files), access::WRITE);
        let rules = rules(&files, access::all(7)).unwrap();
        assert_eq!((rules[0].path.as_c_str(), &rules[0].form), (c"/tmp", &Form::Tree));
        assert_eq!(rules[0].allowed, access::WRITE);
        assert_eq!((rules[1].path.as_c_str(), &rules[1].form), (c"/dev/null", &Form::Object));
        assert_eq!(rules[1].allowed, access::WRITE | access::IOCTL_DEV);
        assert_eq!(taken(&Files::default()), 0);
    }

    #[test]
    fn what_is_executed_can_be_read_and_executing_alone_takes_no_reading_away() {
        let files = Files { execute: Some(vec!["/bin/a*".into()]), ..Files::default() };
        assert_eq!(taken(&files), access::EXECUTE);
        let rules = rules(&files, access::all(7)).unwrap();
        assert_eq!(rules[0].form, Form::Matching(c"a*".into()));
        assert_eq!(rules[0].allowed, access::EXECUTE | access::READ_FILE);
    }

    #[test]
    fn more_paths_than_a_start_can_open_are_refused() {
        let files = Files { read: Some(vec!["/a".into(); MOST_PATHS + 1]), ..Files::default() };
        let error = rules(&files, access::all(7)).unwrap_err();
        assert_eq!(error.field, "filesystem.read");
    }
}
