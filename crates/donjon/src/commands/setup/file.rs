//! A configuration file: read, kept as it was, and replaced at once.
//!
//! The new content is written to a file of its own, which gets the old one's mode, owner and extended attributes, is
//! flushed, and takes the name by one rename. The old file stays as a second name of itself, made by `linkat`, which never
//! overwrites. A symbolic link in the file's place is refused: a rename would replace the link, and what it points to
//! belongs to whatever made the link (a tool that manages the machine, most often).

use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use donjon_confine::error::words;
use donjon_runtime::state::now;
use rustix::fs::{AtFlags, FlockOperation, Gid, Mode, OFlags, Stat, Uid, XattrFlags};
use rustix::io::Errno;

use super::program::unchangeable;
use crate::commands::Failure;

/// No engine's configuration is longer.
const LONGEST: u64 = 1 << 20;

/// A file that may not be there yet.
#[derive(Debug)]
pub struct File {
    path: PathBuf,
    backups: PathBuf,
    /// The file as it was read.
    opened: Option<(std::fs::File, Stat)>,
    /// Its content.
    pub text: Option<String>,
}

impl File {
    /// Reads a file; a missing one has no text.
    pub fn read(path: &Path, backups: &Path) -> Result<Self, Failure> {
        let missing = Self { path: path.into(), backups: backups.into(), opened: None, text: None };
        // The longest part of its directory that exists.
        let Some(there) = path.ancestors().skip(1).find(|directory| directory.symlink_metadata().is_ok())
        else {
            return Ok(missing);
        };
        unchangeable(there)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(file) => std::fs::File::from(file),
            Err(Errno::NOENT) => return Ok(missing),
            Err(Errno::LOOP) => {
                let target = std::fs::read_link(path).unwrap_or_default();
                return Err(failed(path, "is a symbolic link, and would be replaced by a file").hint(
                    format!(
                        "if that file is to be changed: --file {}",
                        path.parent().unwrap_or(Path::new("/")).join(target).display()
                    ),
                ));
            }
            Err(errno) => return Err(failed(path, words(errno))),
        };
        let stat = rustix::fs::fstat(&file).map_err(|errno| failed(path, words(errno)))?;
        if rustix::fs::FileType::from_raw_mode(stat.st_mode) != rustix::fs::FileType::RegularFile {
            return Err(failed(path, "is no regular file"));
        }
        unchangeable(path)?;
        let mut text = String::new();
        (&file)
            .take(LONGEST + 1)
            .read_to_string(&mut text)
            .map_err(|error| failed(path, format!("can't be read as text: {error}")))?;
        if text.len() as u64 > LONGEST {
            return Err(failed(path, format!("is longer than {LONGEST} bytes")));
        }
        Ok(Self { opened: Some((file, stat)), text: Some(text), ..missing })
    }

    /// Replaces the content; returns where the old file is kept. On an error everything is as it was.
    pub fn replace(&self, content: &str) -> Result<Option<PathBuf>, Failure> {
        let (Some(parent), Some(name)) = (self.path.parent(), self.path.file_name()) else {
            return Err(failed(&self.path, "is no file"));
        };
        // For root's files everybody's eyes, for a user's own the user's alone, as the base directories want it.
        let mode = if rustix::process::geteuid().is_root() { 0o755 } else { 0o700 };
        for directory in [&self.backups, parent] {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(mode)
                .create(directory)
                .map_err(|error| failed(directory, error))?;
            unchangeable(directory)?;
        }
        let (directory, backups) = (open(parent)?, open(&self.backups)?);
        rustix::fs::flock(&backups, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| failed(&self.backups, "another donjon setup is at work there"))?;
        self.unchanged(&directory, name)?;

        let temporary = OsString::from(format!(".donjon-setup-{}", std::process::id()));
        let written = self.write(&backups, &temporary, content).and_then(|()| {
            let backup = self.keep(&directory, &backups, name)?;
            match rustix::fs::renameat(&backups, &temporary, &directory, name) {
                Ok(()) => Ok(backup),
                Err(errno) => {
                    if let Some(backup) = &backup {
                        let _ = rustix::fs::unlink(backup);
                    }
                    Err(failed(&self.path, words(errno)))
                }
            }
        });
        if written.is_err() {
            let _ = rustix::fs::unlinkat(&backups, &temporary, AtFlags::empty());
        }
        let backup = written?;
        for directory in [&directory, &backups] {
            rustix::fs::fsync(directory).map_err(|errno| failed(&self.path, words(errno)))?;
        }
        Ok(backup)
    }

    /// Whether the name still means the file that was read.
    fn unchanged(&self, directory: &OwnedFd, name: &OsStr) -> Result<(), Failure> {
        let now = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW);
        let same = match (&self.opened, now) {
            (None, Err(Errno::NOENT)) => true,
            (Some((_, then)), Ok(now)) => {
                let key = |s: &Stat| {
                    (s.st_dev, s.st_ino, s.st_size, s.st_ctime, s.st_ctime_nsec, s.st_mtime, s.st_mtime_nsec)
                };
                key(then) == key(&now)
            }
            _ => false,
        };
        if same { Ok(()) } else { Err(failed(&self.path, "was changed meanwhile").hint("try again")) }
    }

    /// A new file with the content, flushed; mode, owner and attributes are the old one's.
    fn write(&self, directory: &OwnedFd, name: &OsStr, content: &str) -> Result<(), Failure> {
        let cannot = |errno| failed(&self.path, words(errno));
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let new = rustix::fs::openat(directory, name, flags, Mode::RUSR | Mode::WUSR).map_err(cannot)?;
        let mut new = std::fs::File::from(new);
        new.write_all(content.as_bytes()).map_err(|error| failed(&self.path, error))?;
        let mode = match &self.opened {
            Some((old, stat)) => {
                let made = rustix::fs::fstat(&new).map_err(cannot)?;
                if (made.st_uid, made.st_gid) != (stat.st_uid, stat.st_gid) {
                    let owner = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
                    rustix::fs::fchown(&new, Some(owner.0), Some(owner.1)).map_err(cannot)?;
                }
                copy_attributes(old, &new).map_err(cannot)?;
                Mode::from_raw_mode(stat.st_mode)
            }
            None => Mode::from_raw_mode(0o644),
        };
        rustix::fs::fchmod(&new, mode).map_err(cannot)?;
        rustix::fs::fsync(&new).map_err(cannot)
    }

    /// Gives the old file a second name.
    fn keep(&self, directory: &OwnedFd, backups: &OwnedFd, name: &OsStr) -> Result<Option<PathBuf>, Failure> {
        if self.opened.is_none() {
            return Ok(None);
        }
        // Year to second.
        let time: String = now().chars().filter(char::is_ascii_digit).take(14).collect();
        for n in 1..100 {
            let mut backup = name.to_os_string();
            backup.push(format!(".donjon-backup-{time}"));
            if n > 1 {
                backup.push(format!("-{n}"));
            }
            match rustix::fs::linkat(directory, name, backups, &backup, AtFlags::empty()) {
                Ok(()) => return Ok(Some(self.backups.join(backup))),
                Err(Errno::EXIST) => {}
                Err(errno) => {
                    return Err(failed(
                        &self.path,
                        format!("can't be kept in {}: {}", self.backups.display(), words(errno)),
                    ));
                }
            }
        }
        Err(failed(&self.backups, "too many copies of the same second"))
    }
}

/// Access lists, labels.
fn copy_attributes(old: impl AsFd, new: impl AsFd) -> Result<(), Errno> {
    let mut names = vec![0; 64 << 10];
    let length = match rustix::fs::flistxattr(&old, &mut names[..]) {
        Ok(length) => length,
        Err(Errno::NOTSUP) => 0,
        Err(errno) => return Err(errno),
    };
    names.truncate(length);
    let mut value = vec![0; 64 << 10];
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let length = rustix::fs::fgetxattr(&old, name, &mut value[..])?;
        let wanted = value.get(..length).unwrap_or_default();
        // A label that it has anyway is not set again: that may need a right that nobody here has.
        let mut there = vec![0; length.max(1)];
        let same =
            rustix::fs::fgetxattr(&new, name, &mut there[..]).is_ok_and(|n| there.get(..n) == Some(wanted));
        if !same {
            rustix::fs::fsetxattr(&new, name, wanted, XattrFlags::empty())?;
        }
    }
    Ok(())
}

fn open(directory: &Path) -> Result<OwnedFd, Failure> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(directory, flags, Mode::empty()).map_err(|errno| failed(directory, words(errno)))
}

fn failed(path: &Path, what: impl std::fmt::Display) -> Failure {
    Failure::new(format!("setup: {}: {what}", path.display()))
}
