//! The donjon that an engine is to start, and paths that nobody else may change (R19).
//!
//! Stops: an engine of root's, or of another user's, that starts what somebody else put in donjon's place. Can't stop: a
//! change of the owners and modes afterwards.

use std::ffi::{OsStr, OsString};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use crate::commands::Failure;

/// As many symbolic links as the kernel follows.
const LINKS: usize = 40;

/// The absolute path that the engine is to use: `named`, or this program.
pub fn find(named: Option<&Path>) -> Result<String, Failure> {
    let path = match named {
        Some(path) => path.to_path_buf(),
        None => std::env::current_exe().map_err(|error| {
            Failure::new(format!("setup: where this program is: {error}")).hint("--path PATH")
        })?,
    };
    let text = path.to_str().filter(|text| !text.contains(char::is_control)).ok_or_else(|| {
        Failure::new(format!("setup: {path:?} has characters that a configuration file can't hold"))
    })?;
    let real = unchangeable(&path)?;
    let metadata = std::fs::symlink_metadata(&real).map_err(|error| cannot(&real, &error))?;
    if !metadata.is_file() || metadata.mode() & 0o111 == 0 {
        return Err(Failure::new(format!("setup: {text} is not an executable file"))
            .hint("name donjon's own path: --path PATH"));
    }
    Ok(text.to_string())
}

/// Walks a path as the kernel does and refuses it when somebody other than root and the caller can change where it
/// leads, or what is there. Returns where it leads.
pub fn unchangeable(path: &Path) -> Result<PathBuf, Failure> {
    let mut at = PathBuf::from("/");
    judge(&at, &std::fs::symlink_metadata(&at).map_err(|error| cannot(&at, &error))?)?;
    let mut todo = Vec::new();
    push(&mut todo, path);
    let mut links = 0;
    while let Some(name) = todo.pop() {
        if name == ".." {
            at.pop();
            continue;
        }
        let next = at.join(&name);
        let metadata = std::fs::symlink_metadata(&next).map_err(|error| cannot(&next, &error))?;
        judge(&next, &metadata)?;
        if !metadata.is_symlink() {
            at = next;
            continue;
        }
        links += 1;
        if links > LINKS {
            return Err(Failure::new(format!("setup: {}: too many symbolic links", path.display())));
        }
        let target = std::fs::read_link(&next).map_err(|error| cannot(&next, &error))?;
        if target.is_absolute() {
            at = PathBuf::from("/");
        }
        push(&mut todo, &target);
    }
    Ok(at)
}

/// Puts the names of a path on the pile, the first one on top.
fn push(todo: &mut Vec<OsString>, path: &Path) {
    todo.extend(path.components().rev().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_os_string()),
        Component::ParentDir => Some(OsStr::new("..").to_os_string()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    }));
}

fn judge(path: &Path, metadata: &Metadata) -> Result<(), Failure> {
    let me = rustix::process::geteuid().as_raw();
    let path = path.display();
    if metadata.uid() != 0 && metadata.uid() != me {
        return Err(Failure::new(format!(
            "setup: {path} belongs to user {}, who could replace it",
            metadata.uid()
        ))
        .hint("use a donjon and files of root's, or of your own"));
    }
    // In a sticky directory others can make names, but not touch these.
    let sticky = metadata.is_dir() && metadata.mode() & 0o1000 != 0;
    if !metadata.is_symlink() && metadata.mode() & 0o022 != 0 && !sticky {
        return Err(Failure::new(format!(
            "setup: {path} can be written by others (mode {:o})",
            metadata.mode() & 0o7777
        ))
        .hint(format!("chmod go-w {path}")));
    }
    Ok(())
}

fn cannot(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(format!("setup: {}: {error}", path.display()))
}
