//! Where containers of the OCI side are written down: one directory each, named by the engine's id.
//!
//! **The attacks**: an id that is a path; another user's directory in the place of ours; two commands at once on one id.
//! **The defence**: an id is a checked word (R32), every directory is opened without following links and must be the
//! caller's alone, and what changes a container holds the lock of its directory.
//!
//! ```text
//! ROOT/oci/ID/state.json    which process, which cgroup, which bundle: see `record`
//!             config.json   the specification as it was created from
//!             start.sock    where `start` finds the process that waits
//!             lock          held by the command that changes the container; says what it has outside: see `belongings`
//! ```

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;
use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::error::OciError;
use super::record::Record;
use crate::container::write_all;
use crate::process::read_all;
use crate::store::{Store as EngineStore, StoreError, open_private, private_directory};

/// Longest id.
const LONGEST: usize = 1024;
/// Largest file that is read, in bytes.
const LARGEST: usize = 16 * 1024 * 1024;
/// Everything in a container's directory.
const FILES: [&str; 6] =
    ["state.json", "state.json.new", "config.json", "config.json.new", "start.sock", "lock"];

/// The directory of all containers.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    dir: OwnedFd,
}

/// One container's directory.
#[derive(Debug)]
pub struct Entry {
    id: String,
    path: PathBuf,
    dir: OwnedFd,
    lock: Option<OwnedFd>,
}

/// Whether `id` can be one: it becomes the name of a directory.
pub fn is_id(id: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'+' | b'-' | b'.');
    !id.is_empty() && id.len() <= LONGEST && !id.starts_with('.') && id.bytes().all(allowed)
}

impl Store {
    /// Where the caller's containers are by default: beside those of `donjon run`.
    pub fn location() -> PathBuf {
        let own = std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty()).map(PathBuf::from);
        match own {
            // Root of somebody's user namespace, as rootless podman makes one: /run is not its own.
            Some(dir) if rustix::process::geteuid().is_root() && in_user_namespace() => dir.join("donjon"),
            _ => EngineStore::location(),
        }
    }

    /// Opens the store below `root`, and makes it if `make` says so: a question about containers leaves nothing behind.
    pub fn open(root: &Path, make: bool) -> Result<Option<Self>, OciError> {
        let path = root.join("oci");
        if make {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(root).map_err(|e| {
                OciError::io(format!("state: make {}", root.display()))(
                    Errno::from_io_error(&e).unwrap_or(Errno::IO),
                )
            })?;
            let dir = private_directory(CWD, &path, &path)?;
            return Ok(Some(Self { path, dir }));
        }
        match open_private(CWD, &path, &path) {
            Ok(dir) => Ok(Some(Self { path, dir })),
            Err(StoreError::Io { errno: Errno::NOENT, .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes a container's directory and locks it.
    pub fn create(&self, id: &str) -> Result<Entry, OciError> {
        if !is_id(id) {
            return Err(OciError::Id { id: id.to_string() });
        }
        match rustix::fs::mkdirat(&self.dir, id, Mode::RWXU) {
            Ok(()) => {}
            Err(Errno::EXIST) => return Err(OciError::Exists { id: id.to_string() }),
            Err(errno) => return Err(self.io("make a container's directory in", errno)),
        }
        let entry = self.entry(id).and_then(|mut entry| {
            entry.lock()?;
            Ok(entry)
        });
        if entry.is_err() {
            let _ = rustix::fs::unlinkat(&self.dir, format!("{id}/lock"), AtFlags::empty());
            let _ = rustix::fs::unlinkat(&self.dir, id, AtFlags::REMOVEDIR);
        }
        entry
    }

    /// Finds a container.
    pub fn find(&self, id: &str) -> Result<Entry, OciError> {
        match is_id(id) {
            true => self.entry(id),
            false => Err(OciError::Id { id: id.to_string() }),
        }
    }

    /// Whether there is a container of this id.
    pub fn has(&self, id: &str) -> bool {
        is_id(id) && rustix::fs::statat(&self.dir, id, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// The ids of all containers, sorted.
    pub fn ids(&self) -> Result<Vec<String>, OciError> {
        let mut ids = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.dir).map_err(|e| self.io("list", e))? {
            let entry = entry.map_err(|e| self.io("list", e))?;
            ids.extend(entry.file_name().to_str().ok().filter(|name| is_id(name)).map(str::to_string));
        }
        ids.sort();
        Ok(ids)
    }

    fn entry(&self, id: &str) -> Result<Entry, OciError> {
        let path = self.path.join(id);
        match open_private(self.dir.as_fd(), Path::new(id), &path) {
            Ok(dir) => Ok(Entry { id: id.to_string(), path, dir, lock: None }),
            Err(StoreError::Io { errno: Errno::NOENT, .. }) => Err(OciError::NotFound { id: id.to_string() }),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes a container's directory. Its lock is held by the caller.
    pub fn remove(&self, entry: Entry) -> Result<(), OciError> {
        for name in FILES {
            let _ = rustix::fs::unlinkat(&entry.dir, name, AtFlags::empty());
        }
        match rustix::fs::unlinkat(&self.dir, entry.id.as_str(), AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(self.io("remove a container's directory in", errno)),
        }
    }

    fn io(&self, what: &'static str, errno: Errno) -> OciError {
        StoreError::Io { what, path: self.path.clone(), errno }.into()
    }
}

/// Whether this process lives in a user namespace of somebody's (podman's, for instance): the first one maps all ids.
pub fn in_user_namespace() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    !matches!(map.split_ascii_whitespace().collect::<Vec<_>>().as_slice(), ["0", "0", "4294967295"])
}

impl Entry {
    /// The container's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its directory; close-on-exec.
    pub fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// Waits for the lock that whoever changes the container holds.
    pub fn lock(&mut self) -> Result<(), OciError> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let lock = rustix::fs::openat(&self.dir, c"lock", flags, Mode::RUSR | Mode::WUSR);
        let lock = match lock {
            Err(Errno::NOENT) => return Err(OciError::NotFound { id: self.id.clone() }),
            other => other.map_err(|e| self.io("lock", e))?,
        };
        loop {
            match rustix::fs::flock(&lock, FlockOperation::LockExclusive) {
                Err(Errno::INTR) => {}
                other => break other.map_err(|e| self.io("lock", e))?,
            }
        }
        // Removed while this waited: the name may be another container's by now.
        let gone = rustix::fs::fstat(&lock).map_or(0, |stat| stat.st_nlink) == 0;
        self.lock = Some(lock);
        if gone { Err(OciError::NotFound { id: self.id.clone() }) } else { Ok(()) }
    }

    /// The descriptors that a container's process must not have.
    pub fn withheld(&self) -> Vec<BorrowedFd<'_>> {
        std::iter::once(self.dir.as_fd()).chain(self.lock.as_ref().map(AsFd::as_fd)).collect()
    }

    /// The lock, if this holds it.
    pub(super) fn held_lock(&self) -> Option<BorrowedFd<'_>> {
        self.lock.as_ref().map(AsFd::as_fd)
    }

    /// What is written down of the container.
    pub fn record(&self) -> Result<Record, OciError> {
        let bytes = match self.read("state.json") {
            Ok(bytes) => bytes,
            Err(Errno::NOENT) => {
                return Err(OciError::Record {
                    id: self.id.clone(),
                    why: "there is none: it is being created, or its creation was cut off".to_string(),
                });
            }
            Err(errno) => return Err(self.io("read the state of", errno)),
        };
        Record::parse(&bytes, &self.id)
    }

    /// Replaces the record.
    pub fn write_record(&self, record: &Record) -> Result<(), OciError> {
        let json = serde_json::to_vec(record).map_err(|_| self.io("write the state of", Errno::INVAL))?;
        self.replace("state.json", &json)
    }

    /// The specification that it was created from.
    pub fn config(&self) -> Result<Spec, OciError> {
        let bytes = self.read("config.json").map_err(|e| self.io("read the configuration of", e))?;
        super::bundle::parse_json(&bytes)
            .map_err(|why| OciError::Record { id: self.id.clone(), why: format!("config.json: {why}") })
    }

    /// Writes the specification down.
    pub fn write_config(&self, spec: &Spec) -> Result<(), OciError> {
        let json =
            serde_json::to_vec(spec).map_err(|_| self.io("write the configuration of", Errno::INVAL))?;
        self.replace("config.json", &json)
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, Errno> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        read_all(rustix::fs::openat(&self.dir, name, flags, Mode::empty())?.as_fd(), LARGEST)
    }

    /// Readers see the old file or the new one, whole.
    fn replace(&self, name: &'static str, bytes: &[u8]) -> Result<(), OciError> {
        let temporary = format!("{name}.new");
        let write = || -> Result<(), Errno> {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = rustix::fs::openat(&self.dir, &*temporary, flags, Mode::RUSR | Mode::WUSR)?;
            write_all(file.as_fd(), bytes)?;
            rustix::fs::renameat(&self.dir, &*temporary, &self.dir, name)
        };
        write().map_err(|errno| {
            let _ = rustix::fs::unlinkat(&self.dir, &*temporary, AtFlags::empty());
            StoreError::Io { what: "write", path: self.path.join(name), errno }.into()
        })
    }

    fn io(&self, what: &'static str, errno: Errno) -> OciError {
        StoreError::Io { what, path: self.path.clone(), errno }.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_word_and_never_a_path() {
        for good in ["a", "web-1", "A_b+c.d", "0", &"x".repeat(LONGEST)] {
            assert!(is_id(good), "{good}");
        }
        for bad in
            ["", ".", "..", ".hidden", "a/b", "/etc", "a b", "ä", "a\0", "a\n", &"x".repeat(LONGEST + 1)]
        {
            assert!(!is_id(bad), "{bad:?}");
        }
    }
}
