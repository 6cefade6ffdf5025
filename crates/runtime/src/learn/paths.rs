//! From a path as a program wrote it to the file that it means, in the container's own root.
//!
//! The recorder's root is the container's root by then, so whatever a link says, the kernel finds it there. The way is
//! walked name by name all the same: a policy names files by where they are, not by the links that lead to them.

use rustix::fs::{AtFlags, CWD, FileType, Stat};
use rustix::io::Errno;

/// Most symbolic links on one way, as in the kernel.
const MOST_LINKS: usize = 40;
/// Longest path that is made on the way.
const LONGEST: usize = 4096;

/// What a path means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meant {
    /// Something that exists, by its own path.
    There(Vec<u8>),
    /// A name that does not exist, in a directory that does.
    Missing(Vec<u8>),
    /// Something of procfs: it has no lasting name.
    Process,
    /// Nothing: a directory on the way is missing, or the links go round in a circle.
    Nowhere,
}

/// Where links are read.
pub trait Links {
    /// What the symbolic link at an absolute path says. `EINVAL`: it is none.
    fn read(&self, path: &[u8]) -> Result<Vec<u8>, Errno>;
    /// What an entry of the caller's own directory in procfs leads to: `cwd`, `root`, `exe`, `fd/3`.
    fn own(&self, entry: &[u8]) -> Option<Vec<u8>>;
}

/// The container's root, as the recorder's own.
#[derive(Debug)]
pub struct Root<'a> {
    /// The machine's `/proc`.
    pub proc: rustix::fd::BorrowedFd<'a>,
    /// The caller.
    pub tid: i32,
}

impl Links for Root<'_> {
    fn read(&self, path: &[u8]) -> Result<Vec<u8>, Errno> {
        rustix::fs::readlinkat(CWD, path, Vec::new()).map(std::ffi::CString::into_bytes)
    }

    fn own(&self, entry: &[u8]) -> Option<Vec<u8>> {
        let name = [self.tid.to_string().as_bytes(), b"/", entry].concat();
        rustix::fs::readlinkat(self.proc, name, Vec::new()).ok().map(std::ffi::CString::into_bytes)
    }
}

/// What is at a path that was found.
pub fn look(path: &[u8]) -> Option<Stat> {
    rustix::fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW).ok()
}

/// Whether that is a directory.
pub fn is_directory(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

/// Follows `path` from the directory `base`. `follow`: also a link at its end.
pub fn follow(links: &impl Links, base: &[u8], path: &[u8], follow: bool) -> Meant {
    let mut todo: Vec<Vec<u8>> = Vec::with_capacity(16);
    push(&mut todo, path);
    if !path.starts_with(b"/") {
        push(&mut todo, base);
    }
    walk(links, Vec::with_capacity(128), todo, follow)
}

/// Follows one name in a directory that is known to be one, by its own path.
pub fn follow_name(links: &impl Links, directory: &[u8], name: &[u8], follow: bool) -> Meant {
    walk(links, directory.to_vec(), vec![name.to_vec()], follow)
}

/// The directory and the name of a path that has no other reading: absolute, without `.`, `..` and `//`.
pub fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = path.iter().rposition(|b| *b == b'/')?;
    let (directory, name) = (path.get(..end)?, path.get(end + 1..)?);
    (!matches!(name, b"" | b"." | b"..") && !directory.is_empty()).then_some((directory, name))
}

/// The names of a path, the first one last.
fn push(todo: &mut Vec<Vec<u8>>, path: &[u8]) {
    todo.extend(path.split(|b| *b == b'/').filter(|name| !name.is_empty()).rev().map(<[u8]>::to_vec));
}

fn walk(links: &impl Links, mut at: Vec<u8>, mut todo: Vec<Vec<u8>>, follow: bool) -> Meant {
    let mut passed = 0;
    while let Some(name) = todo.pop() {
        match name.as_slice() {
            b"." => continue,
            b".." => {
                let end = at.iter().rposition(|b| *b == b'/').unwrap_or(0);
                at.truncate(end);
                continue;
            }
            _ => {}
        }
        if at == b"/proc" {
            match in_procfs(links, &name, &mut todo) {
                Some(target) => {
                    at.clear();
                    push(&mut todo, &target);
                    passed += 1;
                    if passed > MOST_LINKS {
                        return Meant::Nowhere;
                    }
                    continue;
                }
                None => return Meant::Process,
            }
        }
        let end = at.len();
        at.push(b'/');
        at.extend_from_slice(&name);
        if at.len() > LONGEST {
            return Meant::Nowhere;
        }
        if todo.is_empty() && !follow {
            return match links.read(&at) {
                Ok(_) | Err(Errno::INVAL) => Meant::There(at),
                Err(Errno::NOENT) => Meant::Missing(at),
                Err(_) => Meant::Nowhere,
            };
        }
        match links.read(&at) {
            Err(Errno::INVAL) => {}
            Ok(target) => {
                passed += 1;
                if passed > MOST_LINKS || todo.len() > LONGEST {
                    return Meant::Nowhere;
                }
                at.truncate(if target.starts_with(b"/") { 0 } else { end });
                push(&mut todo, &target);
            }
            Err(Errno::NOENT) if todo.is_empty() => return Meant::Missing(at),
            Err(_) => return Meant::Nowhere,
        }
    }
    Meant::There(if at.is_empty() { b"/".to_vec() } else { at })
}

/// Entries of the caller's own directory that lead out of procfs again: those are followed.
fn in_procfs(links: &impl Links, name: &[u8], todo: &mut Vec<Vec<u8>>) -> Option<Vec<u8>> {
    if name != b"self" && name != b"thread-self" {
        return None;
    }
    let entry = match todo.last().map(Vec::as_slice) {
        Some(entry @ (b"cwd" | b"root" | b"exe")) => entry.to_vec(),
        Some(b"fd") => {
            let number = todo.len().checked_sub(2).and_then(|at| todo.get(at))?;
            let entry = [b"fd/", number.as_slice()].concat();
            todo.pop();
            entry
        }
        _ => return None,
    };
    todo.pop();
    links.own(&entry).filter(|target| target.starts_with(b"/"))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    struct Tree(HashMap<&'static [u8], Option<&'static [u8]>>);

    impl Links for Tree {
        fn read(&self, path: &[u8]) -> Result<Vec<u8>, Errno> {
            match self.0.get(path) {
                Some(Some(target)) => Ok(target.to_vec()),
                Some(None) => Err(Errno::INVAL),
                None => Err(Errno::NOENT),
            }
        }

        fn own(&self, entry: &[u8]) -> Option<Vec<u8>> {
            match entry {
                b"fd/3" => Some(b"/etc/hosts".to_vec()),
                b"fd/4" => Some(b"pipe:[123]".to_vec()),
                b"exe" => Some(b"/usr/bin/dash".to_vec()),
                b"root" => Some(b"/".to_vec()),
                _ => None,
            }
        }
    }

    fn meant(path: &str) -> String {
        let mut tree: HashMap<&'static [u8], Option<&'static [u8]>> = HashMap::new();
        for there in
            ["/usr", "/usr/bin", "/usr/bin/dash", "/etc", "/etc/hosts", "/home", "/home/a", "/proc", "/dev"]
        {
            tree.insert(there.as_bytes(), None);
        }
        for (link, target) in [
            ("/bin", "usr/bin"),
            ("/usr/bin/sh", "dash"),
            ("/usr/bin/awk", "/etc/alternatives/../hosts"),
            ("/circle", "/circle"),
            ("/dev/fd", "/proc/self/fd"),
            ("/up", "../../../etc"),
        ] {
            tree.insert(link.as_bytes(), Some(target.as_bytes()));
        }
        match follow(&Tree(tree), b"/home/a", path.as_bytes(), true) {
            Meant::There(path) => String::from_utf8(path).unwrap(),
            Meant::Missing(path) => format!("missing {}", String::from_utf8(path).unwrap()),
            Meant::Process => "process".into(),
            Meant::Nowhere => "nowhere".into(),
        }
    }

    #[test]
    fn links_are_followed_within_the_root_and_names_are_those_of_the_file() {
        for (path, expected) in [
            ("/bin/sh", "/usr/bin/dash"),
            ("//bin/./sh", "/usr/bin/dash"),
            ("../../bin/sh", "/usr/bin/dash"),
            ("../../../../../etc/hosts", "/etc/hosts"),
            ("/up/hosts", "/etc/hosts"),
            ("new", "missing /home/a/new"),
            (".", "/home/a"),
            ("", "/home/a"),
            ("/", "/"),
            ("/none/such", "nowhere"),
            ("/usr/bin/awk", "nowhere"),
            ("/circle", "nowhere"),
            ("/proc/self/maps", "process"),
            ("/proc/12/fd/3", "process"),
            ("/proc/cpuinfo", "process"),
            ("/proc", "/proc"),
            ("/proc/self/fd/3", "/etc/hosts"),
            ("/dev/fd/3", "/etc/hosts"),
            ("/proc/self/fd/4", "process"),
            ("/proc/self/exe", "/usr/bin/dash"),
            ("/proc/self/root/bin/sh", "/usr/bin/dash"),
        ] {
            assert_eq!(meant(path), expected, "{path}");
        }
    }

    #[test]
    fn a_link_at_the_end_is_itself_where_it_is_not_followed() {
        let tree = Tree(HashMap::from([(&b"/a"[..], Some(&b"b"[..]))]));
        assert_eq!(follow(&tree, b"/", b"a", false), Meant::There(b"/a".to_vec()));
        assert_eq!(follow(&tree, b"/", b"a", true), Meant::Missing(b"/b".to_vec()));
        assert_eq!(follow(&tree, b"/", &[b'x'; 9000], true), Meant::Nowhere);
    }
}
