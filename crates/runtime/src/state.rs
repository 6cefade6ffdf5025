//! What is known of a container: what was written down, and what is true.
//!
//! The file says what the warden knew last. Whether the container runs is never taken from it: that follows from
//! the warden's lock and from the process itself, so a warden or a container that was killed is seen as ended at
//! once, whatever the file says.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::events::Closed;
use crate::names::Id;
use crate::process::Identity;
use crate::store::words;

/// Format of state.json that this donjon writes and reads.
const VERSION: u32 = 1;

/// A container whose record can't be used. The others can.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// There is no record: its start is under way, or was cut off.
    #[error("state: {path} holds no state.json: its start was cut off, or is under way")]
    Unfinished {
        /// The container's directory.
        path: PathBuf,
    },
    /// The record can't be read.
    #[error("state: read {path}: {}", words(*.errno))]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        errno: Errno,
    },
    /// The record is not what donjon writes.
    #[error("state: {path} is damaged: {why}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

/// The content of state.json.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    version: u32,
    /// The id.
    pub id: String,
    /// The name.
    pub name: String,
    /// The image as the person wrote it: `host`, `dir:/srv/root`.
    pub image: String,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// When the container was created (RFC 3339, UTC).
    pub created: String,
    /// Whether it runs in the background.
    pub detached: bool,
    /// Whether it has a terminal of its own.
    pub terminal: bool,
    /// Whether its record goes away when it ends.
    pub auto_remove: bool,
    /// The number of the signal that `stop` sends first.
    pub stop_signal: i32,
    /// Seconds after which `stop` and a time-out send SIGKILL.
    pub stop_timeout: u64,
    /// Its first process, once there is one.
    pub init: Option<Identity>,
    /// The process that watches over it.
    pub warden: Option<Identity>,
    /// Directories of its cgroups.
    #[serde(default)]
    pub cgroups: Vec<PathBuf>,
    /// The layers of policy above the defaults, the lowest first: `preset:NAME`, or the path of a file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<String>,
    /// What is not enforced and why.
    pub notes: Vec<String>,
    /// What the policy's lists of files name and is not in the container.
    #[serde(default)]
    pub passed_over: Vec<String>,
    /// How it ended.
    pub end: Option<End>,
    /// Where its event log ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<Closed>,
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// The exit status as the shell sees it: the program's own, or 128 + the signal's number.
    pub code: u8,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// When (RFC 3339, UTC).
    pub time: String,
    /// Something that a person should know: out of memory, the time-out.
    pub reason: Option<String>,
}

/// What is true of a container now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// Its namespaces and mounts are being made.
    Created,
    /// Its program runs.
    Running,
    /// It has ended. A container whose warden was killed was killed with it: 137.
    Exited(End),
}

impl State {
    /// A record of a container that is about to start.
    pub fn new(id: &Id, name: &str) -> Self {
        Self {
            version: VERSION,
            id: id.to_string(),
            name: name.to_string(),
            image: String::new(),
            command: Vec::new(),
            created: now(),
            detached: false,
            terminal: false,
            auto_remove: false,
            stop_signal: 15,
            stop_timeout: 10,
            init: None,
            warden: None,
            cgroups: Vec::new(),
            policies: Vec::new(),
            notes: Vec::new(),
            passed_over: Vec::new(),
            end: None,
            events: None,
        }
    }

    pub(crate) fn parse(bytes: &[u8], path: &Path, id: &Id) -> Result<Self, StateError> {
        let damaged = |why: String| StateError::Damaged { path: path.to_path_buf(), why };
        let state: Self = serde_json::from_slice(bytes).map_err(|e| damaged(e.to_string()))?;
        if state.version != VERSION {
            return Err(damaged(format!(
                "format {} was written by another donjon; this one reads {VERSION}",
                state.version
            )));
        }
        if state.id != id.as_str() {
            return Err(damaged("it is the record of another container".to_string()));
        }
        Ok(state)
    }
}

impl Status {
    /// Judges a record. `warden` is whether its lock was held *before* the record was read.
    pub fn of(state: &State, warden: bool) -> Self {
        let alive = || state.init.is_some_and(|init| init.lives());
        match (&state.end, warden) {
            (Some(end), _) => Status::Exited(end.clone()),
            (None, true) if state.init.is_none() => Status::Created,
            // Between the program's end and the warden's last word it still counts as running.
            (None, true) => Status::Running,
            // The kernel kills the container with its warden; it may take a moment.
            (None, false) if alive() => Status::Running,
            (None, false) => Status::Exited(End {
                code: 137,
                signal: Some(9),
                time: String::new(),
                reason: Some("its warden was killed, and the container with it".to_string()),
            }),
        }
    }

    /// One word: `created`, `running`, `exited`.
    pub fn word(&self) -> &'static str {
        match self {
            Status::Created => "created",
            Status::Running => "running",
            Status::Exited(_) => "exited",
        }
    }
}

/// The time in RFC 3339, UTC, to the millisecond.
pub fn now() -> String {
    humantime::format_rfc3339_millis(SystemTime::now()).to_string()
}

/// Reads a time that [`now`] wrote.
pub fn parse_time(text: &str) -> Option<SystemTime> {
    humantime::parse_rfc3339(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        State::new(&Id::random().unwrap(), "web")
    }

    fn read(bytes: &[u8], id: &str) -> Result<State, StateError> {
        State::parse(bytes, Path::new("state.json"), &Id::parse(id).unwrap())
    }

    #[test]
    fn a_record_survives_writing_and_reading() {
        let state = state();
        assert_eq!(read(&serde_json::to_vec(&state).unwrap(), &state.id).unwrap(), state);
    }

    #[test]
    fn a_cut_or_foreign_record_is_an_error_that_names_the_file() {
        let state = state();
        let whole = serde_json::to_vec(&state).unwrap();
        for cut in [0, 1, whole.len() / 2, whole.len() - 1] {
            let error = read(&whole[..cut], &state.id).unwrap_err();
            assert!(error.to_string().contains("state.json is damaged"), "{error}");
        }
        let other = Id::random().unwrap();
        assert!(read(&whole, other.as_str()).unwrap_err().to_string().contains("another container"));
        let later = String::from_utf8(whole).unwrap().replace("\"version\":1", "\"version\":2");
        assert!(read(later.as_bytes(), &state.id).unwrap_err().to_string().contains("another donjon"));
    }

    #[test]
    fn a_killed_warden_means_an_exited_container_whatever_the_record_says() {
        let mut state = state();
        assert_eq!(Status::of(&state, true), Status::Created);
        state.init = Some(Identity { pid: i32::MAX, start_time: 1 });
        assert_eq!(Status::of(&state, true), Status::Running);
        let Status::Exited(end) = Status::of(&state, false) else { panic!("still running") };
        assert_eq!((end.code, end.signal), (137, Some(9)));
    }

    #[test]
    fn a_reused_pid_is_not_the_container() {
        let mut state = state();
        let me = Identity::of(rustix::process::getpid()).unwrap();
        state.init = Some(Identity { start_time: me.start_time + 1, ..me });
        assert_eq!(Status::of(&state, false).word(), "exited");
        state.init = Some(me);
        assert_eq!(Status::of(&state, false), Status::Running);
    }

    #[test]
    fn times_are_written_and_read_in_the_same_form() {
        let text = now();
        assert!(text.ends_with('Z') && text.len() == 24, "{text}");
        assert!(parse_time(&text).unwrap().elapsed().unwrap().as_secs() < 5);
    }
}
