//! One container's directory: its files, and the lock that says whether its warden lives.
//!
//! ```text
//! config.json    the OCI specification that it was started with, annotations included
//! state.json     what is known of it; replaced as a whole, never changed in place
//! events.jsonl   what was refused; events.head is where its chain ends
//! log.jsonl      output of a detached container; log.jsonl.1 is the part before
//! lock           locked (flock) by the warden for life: nothing can be mistaken for it, not even a reused pid.
//!                Holds the cgroups that are about to be made, the warden's identity, and in the end the exit code, for
//!                those who wait with it open
//! ```

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::names::Id;
use crate::process::{Identity, read_all};
use crate::state::{State, StateError, Status};
use crate::store::StoreError;

/// Everything that donjon puts into a container's directory.
pub(crate) const FILES: &[&str] = &[
    "config.json", "config.json.new", "state.json", "state.json.new", "events.jsonl", "events.head",
    "log.jsonl", "log.jsonl.1", "lock",
];

/// Largest state.json that is read, in bytes.
const MAX_STATE: usize = 1024 * 1024;
/// Largest lock file that is read, in bytes.
const LARGEST_LOCK: usize = 64 * 1024;
/// Largest config.json that is read, in bytes.
const MAX_CONFIG: usize = 16 * 1024 * 1024;

/// A container of the store.
#[derive(Debug)]
pub struct Container {
    /// Its id.
    pub id: Id,
    /// Its name, when this value was made by [`crate::store::Store::create`]; else it is in the state.
    pub name: String,
    path: PathBuf,
    dir: OwnedFd,
    lock: Option<OwnedFd>,
}

impl Container {
    pub(crate) fn new(id: Id, path: PathBuf, dir: OwnedFd) -> Self {
        Self { id, name: String::new(), path, dir, lock: None }
    }

    /// The container's directory; close-on-exec.
    pub fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// The directory's path, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the lock that tells everybody that this process is the warden. It ends with the process.
    pub fn lock_for_life(&mut self) -> Result<(), StoreError> {
        self.take_lock(FlockOperation::LockExclusive).map_err(|e| self.io("lock", e))
    }

    /// Takes the lock if no warden holds it; whether it did.
    pub fn try_lock(&mut self) -> Result<bool, StoreError> {
        match self.take_lock(FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(true),
            Err(Errno::WOULDBLOCK) => Ok(false),
            Err(errno) => Err(self.io("lock", errno)),
        }
    }

    fn take_lock(&mut self, how: FlockOperation) -> Result<(), Errno> {
        let lock = self.open_lock()?;
        rustix::fs::flock(&lock, how)?;
        self.lock = Some(lock);
        Ok(())
    }

    /// Opens the lock file, making it when it is missing: also the lock of a directory that was never finished
    /// has to be one.
    fn open_lock(&self) -> Result<OwnedFd, Errno> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        rustix::fs::openat(&self.dir, c"lock", flags, Mode::RUSR | Mode::WUSR)
    }

    /// Writes into the lock file who holds it: with a damaged state.json this is how `rm -f` still finds him.
    pub(crate) fn sign_lock(&self, warden: Identity) -> Result<(), StoreError> {
        self.note_in_lock(&format!("warden {} {}\n", warden.pid, warden.start_time))
    }

    /// Writes into the lock file which cgroups are about to be made: a warden that is killed before it has written
    /// the record leaves them, and `rm -f` takes them away.
    pub(crate) fn note_groups(&self, places: &[PathBuf]) -> Result<(), StoreError> {
        let lines: String =
            places.iter().filter_map(|p| p.to_str()).map(|place| format!("group {place}\n")).collect();
        if lines.is_empty() { Ok(()) } else { self.note_in_lock(&lines) }
    }

    /// The cgroups that were noted.
    pub(crate) fn noted_groups(&self) -> Vec<PathBuf> {
        let text = self
            .open_lock()
            .ok()
            .and_then(|lock| read_all(lock.as_fd(), LARGEST_LOCK).ok())
            .unwrap_or_default();
        let text = String::from_utf8(text).unwrap_or_default();
        text.lines().filter_map(|l| l.strip_prefix("group ")).map(PathBuf::from).collect()
    }

    /// Writes the exit code into the lock file. `wait` reads it there even after `--rm` removed the record.
    pub(crate) fn note_exit(&self, code: u8) -> Result<(), StoreError> {
        self.note_in_lock(&format!("exit {code}\n"))
    }

    fn note_in_lock(&self, line: &str) -> Result<(), StoreError> {
        let Some(lock) = &self.lock else { return Ok(()) };
        write_all(lock.as_fd(), line.as_bytes()).map_err(|e| self.io("sign the lock of", e))
    }

    /// Who signed the lock last.
    pub(crate) fn signer(&self) -> Option<Identity> {
        let text = read_all(self.open_lock().ok()?.as_fd(), LARGEST_LOCK).ok()?;
        let text = String::from_utf8(text).ok()?;
        let (pid, start) = text.lines().rev().find_map(|l| l.strip_prefix("warden "))?.split_once(' ')?;
        Some(Identity { pid: pid.parse().ok()?, start_time: start.parse().ok()? })
    }

    /// Whether a warden lives.
    pub fn has_warden(&self) -> bool {
        let Ok(lock) = self.open_lock() else { return false };
        matches!(rustix::fs::flock(&lock, FlockOperation::NonBlockingLockShared), Err(Errno::WOULDBLOCK))
    }

    /// Blocks until no warden lives. Returns the exit code that it left in the lock.
    pub fn wait_for_warden(&self) -> Result<Option<u8>, StoreError> {
        let lock = match self.open_lock() {
            Ok(lock) => lock,
            // Removed meanwhile: it has certainly ended.
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(self.io("open the lock of", errno)),
        };
        loop {
            match rustix::fs::flock(&lock, FlockOperation::LockShared) {
                Err(Errno::INTR) => {}
                Err(errno) => return Err(self.io("wait for", errno)),
                Ok(()) => break,
            }
        }
        let text = read_all(lock.as_fd(), LARGEST_LOCK).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        Ok(text.lines().rev().find_map(|l| l.strip_prefix("exit ")).and_then(|code| code.parse().ok()))
    }

    /// What is written down of it.
    pub fn state(&self) -> Result<State, StateError> {
        let bytes = match self.read(c"state.json", MAX_STATE) {
            Ok(bytes) => bytes,
            Err(Errno::NOENT) => return Err(StateError::Unfinished { path: self.path.clone() }),
            Err(errno) => return Err(StateError::Unreadable { path: self.path.join("state.json"), errno }),
        };
        State::parse(&bytes, &self.path.join("state.json"), &self.id)
    }

    /// What is written down of it, and what is true of it now.
    pub fn status(&self) -> Result<(State, Status), StateError> {
        // The warden is asked before the file is read: it writes the end down before it lets the lock go, so
        // "no warden and no end" can only mean that it was killed.
        let warden = self.has_warden();
        let state = self.state()?;
        let status = Status::of(&state, warden);
        Ok((state, status))
    }

    /// Replaces state.json. Readers see the old or the new one, whole.
    pub fn write_state(&self, state: &State) -> Result<(), StoreError> {
        let json = serde_json::to_vec(state).map_err(|_| self.io("write the state of", Errno::INVAL))?;
        self.replace("state.json", &json)
    }

    /// Writes the specification down.
    pub fn write_config(&self, spec: &oci_spec::runtime::Spec) -> Result<(), StoreError> {
        let json =
            serde_json::to_vec(spec).map_err(|_| self.io("write the configuration of", Errno::INVAL))?;
        self.replace("config.json", &json)
    }

    /// The specification that it was started with.
    pub fn config(&self) -> Result<oci_spec::runtime::Spec, StateError> {
        let path = self.path.join("config.json");
        let bytes = self
            .read(c"config.json", MAX_CONFIG)
            .map_err(|errno| StateError::Unreadable { path: path.clone(), errno })?;
        // By the same reader as bundles: a second one would make the executable a tenth larger.
        crate::oci::bundle::parse_json(&bytes).map_err(|why| StateError::Damaged { path, why })
    }

    /// Opens a file of the container for reading; a link or a pipe in its place is refused.
    pub(crate) fn open_file(&self, name: &std::ffi::CStr) -> Result<OwnedFd, Errno> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        rustix::fs::openat(&self.dir, name, flags, Mode::empty())
    }

    pub(crate) fn read(&self, name: &std::ffi::CStr, limit: usize) -> Result<Vec<u8>, Errno> {
        read_all(self.open_file(name)?.as_fd(), limit)
    }

    /// No fsync: what this records ends with the machine's run, and readers only need old or new, not durable.
    fn replace(&self, name: &'static str, bytes: &[u8]) -> Result<(), StoreError> {
        let temporary = format!("{name}.new");
        let write = || -> Result<(), Errno> {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = rustix::fs::openat(&self.dir, &*temporary, flags, Mode::RUSR | Mode::WUSR)?;
            write_all(file.as_fd(), bytes)?;
            rustix::fs::renameat(&self.dir, &*temporary, &self.dir, name)
        };
        write().map_err(|errno| {
            let _ = rustix::fs::unlinkat(&self.dir, &*temporary, AtFlags::empty());
            StoreError::Io { what: "write", path: self.path.join(name), errno }
        })
    }

    fn io(&self, what: &'static str, errno: Errno) -> StoreError {
        StoreError::Io { what, path: self.path.clone(), errno }
    }
}

/// Writes everything, through interruptions.
pub(crate) fn write_all(file: BorrowedFd<'_>, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::write(file, bytes) {
            Ok(0) => return Err(Errno::IO),
            Ok(n) => bytes = bytes.get(n..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
