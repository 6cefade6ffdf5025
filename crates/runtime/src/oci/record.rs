//! What is known of a container, and what is true of it.
//!
//! The record names the process and the cgroup; whether the process waits, runs, is frozen or has ended is asked of the
//! kernel. So a container that was killed is stopped, whatever the file says.

use std::collections::HashMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::error::OciError;
use crate::process::Identity;
use donjon_confine::layers::cgroups::{self, Cgroup};
use donjon_confine::layers::intel_rdt;

/// Format of state.json that this donjon writes and reads.
const VERSION: u32 = 1;

/// The content of state.json.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    version: u32,
    /// The id.
    pub id: String,
    /// The version of the specification that the bundle is written in.
    pub oci_version: String,
    /// The bundle, an absolute path.
    pub bundle: PathBuf,
    /// The root file system, an absolute path.
    pub rootfs: PathBuf,
    /// When it was created (RFC 3339, UTC).
    pub created: String,
    /// Who created it.
    pub owner: u32,
    /// The specification's annotations.
    #[serde(default)]
    pub annotations: HashMap<String, String>,
    /// Its cgroup: the one that is planned, or the one that its process was put into.
    pub cgroup: Option<cgroups::Record>,
    /// Whether its process was put into that cgroup. Before that the group may be somebody else's.
    pub in_cgroup: bool,
    /// Its first process, once there is one.
    pub init: Option<Identity>,
    /// Whether `create` came to its end.
    pub ready: bool,
    /// Classes of service of resctrl that were made for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<String>,
}

/// The states of the OCI runtime specification, and `paused`, which every runtime has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It is being created.
    Creating,
    /// Its process waits for `start`.
    Created,
    /// Its program runs.
    Running,
    /// Its cgroup is frozen.
    Paused,
    /// It has ended.
    Stopped,
}

impl Status {
    /// Its name in the specification.
    pub fn word(self) -> &'static str {
        match self {
            Status::Creating => "creating",
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Stopped => "stopped",
        }
    }
}

impl Record {
    /// The record of a container that is about to be created.
    pub fn new(id: &str, oci_version: &str, bundle: PathBuf, rootfs: PathBuf) -> Self {
        Self {
            version: VERSION,
            id: id.to_string(),
            oci_version: oci_version.to_string(),
            bundle,
            rootfs,
            created: crate::state::now(),
            owner: rustix::process::getuid().as_raw(),
            annotations: HashMap::new(),
            cgroup: None,
            in_cgroup: false,
            init: None,
            ready: false,
            classes: Vec::new(),
        }
    }

    pub(super) fn parse(bytes: &[u8], id: &str) -> Result<Self, OciError> {
        let damaged = |why: String| OciError::Record { id: id.to_string(), why };
        let record: Self = serde_json::from_slice(bytes).map_err(|e| damaged(e.to_string()))?;
        if record.version != VERSION {
            return Err(damaged(format!(
                "format {} was written by another donjon; this one reads {VERSION}",
                record.version
            )));
        }
        match record.id == id {
            true => Ok(record),
            false => Err(damaged("it is the record of another container".to_string())),
        }
    }

    /// What is true of the container now.
    pub fn status(&self) -> Status {
        let Some(stat) = self.init.and_then(|init| init.stat()) else {
            return if self.init.is_none() && !self.ready { Status::Creating } else { Status::Stopped };
        };
        match (stat.only_forked, self.ready) {
            (false, _) | (true, true) if self.is_frozen() => Status::Paused,
            (true, true) => Status::Created,
            (true, false) => Status::Creating,
            (false, _) => Status::Running,
        }
    }

    fn is_frozen(&self) -> bool {
        self.group().is_ok_and(|group| group.is_some_and(|group| group.is_frozen()))
    }

    /// Its cgroup, opened.
    pub fn group(&self) -> Result<Option<Cgroup>, OciError> {
        let own = self.cgroup.as_ref().filter(|_| self.in_cgroup);
        Ok(own.map(Cgroup::open).transpose()?.filter(|group| !group.is_nowhere()))
    }

    /// Removes what a creation that was cut off has made of its cgroup.
    pub fn remove_planned_group(&self) {
        if let Some(Ok(group)) = self.cgroup.as_ref().filter(|_| !self.in_cgroup).map(Cgroup::open) {
            group.remove_unused();
        }
    }

    /// Removes the classes of service that were made for it, but those that others have joined.
    pub fn remove_classes(&self) -> Result<(), OciError> {
        for class in &self.classes {
            intel_rdt::remove(class)
                .map_err(OciError::io(format!("delete: remove the class of service {class}")))?;
        }
        Ok(())
    }

    /// The state as hooks, `state` and seccomp agents get it (OCI runtime specification, "State"). `pid` is left out
    /// where it is 0.
    pub fn state(&self, status: &str, pid: i32) -> Value {
        let mut state = json!({
            "ociVersion": self.oci_version,
            "id": self.id,
            "status": status,
            "bundle": self.bundle,
            "annotations": self.annotations,
        });
        if let (Some(map), true) = (state.as_object_mut(), pid != 0) {
            map.insert("pid".to_string(), json!(pid));
        }
        state
    }
}
