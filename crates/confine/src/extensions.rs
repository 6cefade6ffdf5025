//! What the OCI specification has no word for.
//!
//! These settings travel in `org.donjon.*` annotations of the specification, so that both doors (`donjon run`
//! and an engine's `config.json`) meet in one value. They are believed where donjon itself wrote them; of a bundle's
//! `config.json` an annotation may only narrow (see [`Extensions::of_bundle`]).

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::layers::seccomp::SyscallPolicy;

/// Prefix of every annotation that donjon writes and reads.
pub const PREFIX: &str = "org.donjon.";

/// Who wrote a specification, and so what it may open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Origin {
    /// donjon itself, from a policy: its annotations are believed, and its boundaries hold for every mount.
    #[default]
    Donjon,
    /// An engine, for donjon as its OCI runtime: done as written, with no boundary that it did not ask for left out and
    /// none of its own kind added that a program would notice.
    Bundle,
}

/// donjon's own settings beside an OCI specification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Extensions {
    /// Who wrote the specification. Never read from it.
    #[serde(skip)]
    pub origin: Origin,
    /// How the root file system is put together.
    pub root: Root,
    /// Where writes to the root go.
    pub upper: Upper,
    /// With a single id mapped, calls that change ids succeed without effect.
    pub squash: bool,
    /// System calls in donjon's own words, in place of `linux.seccomp`: the filter is made from these.
    pub syscalls: Option<SyscallPolicy>,
    /// Landlock on top of the mounts.
    pub landlock: bool,
    /// Files that the policy names, for Landlock. Where a list is missing the mounts say what it would.
    #[serde(skip_serializing_if = "Files::name_nothing")]
    pub files: Files,
    /// Only the bytes of the root file system become code: see [`crate::layers::integrity`].
    pub no_new_code: bool,
    /// Fork a small init as pid 1 which reaps, forwards signals and runs the program as its child.
    pub init: bool,
    /// Options of the container's procfs: `subset=pid` under the strict preset.
    pub proc_pid_only: bool,
    /// User namespaces may be created inside (R15: this opens much kernel code to the container).
    pub nested_userns: bool,
    /// Layers that the caller allowed to be left out when the kernel lacks them (R31), by layer name.
    pub best_effort: Vec<String>,
    /// Limits (by cgroup controller) that nobody but the defaults asked for: left out where they can't be enforced.
    pub optional_limits: Vec<String>,
    /// The mounts' sources are canonical paths that were judged as such: a symbolic link on the way to one means that
    /// it was changed since, and is refused.
    pub judged_sources: bool,
    /// A ceiling on processes and threads, enforced by `RLIMIT_NPROC` in the user namespace even without a cgroup.
    pub pids_limit: Option<u64>,
}

/// Which files may be read, written and executed, where a policy names them: each list is all that may. The forms of a
/// path are those of [`crate::layers::landlock::files`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Files {
    /// Opened for reading, and listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read: Option<Vec<String>>,
    /// Opened for writing, made, removed, moved, truncated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write: Option<Vec<String>>,
    /// Executed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub execute: Option<Vec<String>>,
}

impl Files {
    /// Whether there is no list at all.
    pub fn name_nothing(&self) -> bool {
        self.read.is_none() && self.write.is_none() && self.execute.is_none()
    }
}

/// How the root file system is put together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Root {
    /// `root.path` of the specification is one directory tree.
    Dir {
        /// Directories of the tree, with their modes, that get a counterpart in the upper layer at once: see
        /// [`Root::Host`].
        #[serde(default)]
        own: Vec<(String, u32)>,
    },
    /// The programs of this machine and none of its data: a RAM root whose named top-level directories are
    /// overlays of the host's.
    Host {
        /// Top-level directories with the host's content below a RAM upper: `usr`, `etc`, `opt`.
        lowers: Vec<String>,
        /// Symbolic links at the top, for instance (`bin`, `usr/bin`).
        links: Vec<(String, String)>,
        /// Empty directories with their mode: `home`, `root`, `run`, `tmp` (0o1777), `var`, `srv`, `mnt`, `var/tmp`...
        dirs: Vec<(String, u32)>,
        /// Paths relative to the root, inside a lower, that are absent in the container (credentials).
        hidden: Vec<String>,
        /// Files whose content donjon supplies, relative to the root, inside a lower's upper layer.
        files: Vec<(String, String)>,
        /// Directories inside the lowers, with their modes, that get a counterpart in the upper layer at once. With
        /// one id mapped the overlay can't copy up a directory that somebody else owns (EOVERFLOW), so nothing could
        /// be made in it; one that exists in the upper layer already needs no copying.
        #[serde(default)]
        own: Vec<(String, u32)>,
    },
}

impl Default for Root {
    fn default() -> Self {
        Root::Dir { own: Vec::new() }
    }
}

/// Where writes to the root file system go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Upper {
    #[default]
    /// Nowhere: the lower tree itself is the root (an OCI engine prepared it).
    None,
    /// RAM, at most this many bytes; gone with the container.
    Ram {
        /// Limit in bytes for everything written.
        bytes: u64,
    },
}

/// An `org.donjon.*` annotation that can't be read.
#[derive(Debug, thiserror::Error)]
#[error("annotation {key}: {why}")]
pub struct AnnotationError {
    /// The annotation's full name.
    pub key: String,
    /// What is wrong with its value.
    pub why: String,
}

impl Extensions {
    const KEY: &str = "org.donjon.extensions";

    /// Writes these settings into the annotations of a specification.
    pub fn write(&self, annotations: &mut HashMap<String, String>) {
        let json = serde_json::to_string(self).unwrap_or_default();
        annotations.insert(Self::KEY.to_string(), json);
    }

    /// The settings of a bundle's specification: none but those of its annotations that narrow. Landlock, a limit of
    /// processes and a procfs without the machine's files can be asked for; anything else is refused.
    pub fn of_bundle(annotations: Option<&HashMap<String, String>>) -> Result<Self, AnnotationError> {
        let asked = Self::read(annotations)?;
        let narrow = Self {
            landlock: asked.landlock,
            proc_pid_only: asked.proc_pid_only,
            pids_limit: asked.pids_limit,
            ..Self::default()
        };
        match asked == narrow {
            true => Ok(Self { origin: Origin::Bundle, nested_userns: true, ..narrow }),
            false => Err(AnnotationError {
                key: Self::KEY.to_string(),
                why:
                    "of an engine's specification only landlock, proc-pid-only and pids-limit are taken: an \
                      annotation may narrow and nothing else"
                        .to_string(),
            }),
        }
    }

    /// Reads back what donjon wrote; without the annotation, the defaults.
    pub fn read(annotations: Option<&HashMap<String, String>>) -> Result<Self, AnnotationError> {
        match annotations.and_then(|a| a.get(Self::KEY)) {
            None => Ok(Self::default()),
            Some(json) => serde_json::from_str(json)
                .map_err(|e| AnnotationError { key: Self::KEY.to_string(), why: e.to_string() }),
        }
    }
}
