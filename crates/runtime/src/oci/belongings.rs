//! What a container has outside its directory, written down a second time.
//!
//! **The fault**: a damaged record no longer says which process and which cgroup are the container's, and `delete --force`
//! would take the directory away and leave those for ever. **The remedy**: before a group is made, and again when it and
//! the process are the container's own, a line goes into its lock file, which is only ever added to. `delete --force` of a
//! damaged record goes by the last line that can be read.
//!
//! What is not provably the container's is not touched: a group that its process was not put into yet may be somebody
//! else's, and is removed only if it is empty, as it is with a whole record; and a process is told by its start time.

use std::os::fd::AsFd;

use donjon_confine::layers::cgroups;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::error::OciError;
use super::record::Record;
use super::store::Entry;
use crate::container::write_all;
use crate::process::{Identity, read_all};

/// Largest lock file that is read, in bytes.
const LARGEST: usize = 1024 * 1024;
/// What each line begins with.
const WORD: &str = "has ";

/// What `delete` needs of a record.
#[derive(Debug, Serialize, Deserialize)]
struct Belongings {
    cgroup: Option<cgroups::Record>,
    in_cgroup: bool,
    init: Option<Identity>,
    #[serde(default)]
    classes: Vec<String>,
}

impl Entry {
    /// Adds to the lock file, which is held, what this record says of the container's belongings.
    pub(super) fn note_belongings(&self, record: &Record) -> Result<(), OciError> {
        let Some(lock) = self.held_lock() else { return Ok(()) };
        let has = Belongings {
            cgroup: record.cgroup.clone(),
            in_cgroup: record.in_cgroup,
            init: record.init,
            classes: record.classes.clone(),
        };
        let fail = || OciError::io(format!("write down what container {:?} has", self.id()));
        let line = serde_json::to_string(&has).map_err(|_| fail()(Errno::INVAL))?;
        write_all(lock, format!("{WORD}{line}\n").as_bytes()).map_err(fail())
    }

    /// As much of the record as the lock file tells: nothing, where that can't be read either.
    pub(super) fn noted_belongings(&self) -> Record {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let text = rustix::fs::openat(self.dir(), c"lock", flags, Mode::empty())
            .and_then(|file| read_all(file.as_fd(), LARGEST))
            .unwrap_or_default();
        let last = text
            .split(|b| *b == b'\n')
            .rev()
            .filter_map(|line| line.strip_prefix(WORD.as_bytes()))
            .find_map(|line| serde_json::from_slice::<Belongings>(line).ok());
        let mut record = Record::new(self.id(), "", Default::default(), Default::default());
        if let Some(Belongings { cgroup, in_cgroup, init, classes }) = last
            && donjon_confine::hooks::protects("belongings")
        {
            (record.cgroup, record.in_cgroup, record.init, record.classes) =
                (cgroup, in_cgroup, init, classes);
        }
        record
    }
}
