//! What a container left behind: processes, mounts, records.
//!
//! Every process that donjon starts here carries the world's name: donjon itself in its environment, the
//! container's program in its arguments or environment when the test puts it there. Root can read both of any
//! process; an ordinary user reads the arguments alone of processes that are not dumpable.

use std::fs;

use crate::world::World;

/// What is left of a world.
#[derive(Debug, Default)]
pub struct Leftovers {
    /// Processes, with their arguments.
    pub processes: Vec<String>,
    /// Lines of the host's mount table.
    pub mounts: Vec<String>,
    /// Containers on record.
    pub records: Vec<String>,
}

impl Leftovers {
    pub(crate) fn find(world: &World) -> Self {
        let token = world.token();
        Self {
            processes: processes(world).into_iter().map(|(pid, what)| format!("{pid}: {what}")).collect(),
            mounts: mount_table().lines().filter(|l| l.contains(&token)).map(str::to_string).collect(),
            records: [world.containers(), world.names("run/donjon/oci")].concat(),
        }
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.processes.is_empty() && self.mounts.is_empty() && self.records.is_empty()
    }
}

/// The processes that carry the world's name.
pub(crate) fn processes(world: &World) -> Vec<(i32, String)> {
    let token = world.token();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("/proc").flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
        if pid == std::process::id() as i32 {
            continue;
        }
        let text = |name: &str| {
            let bytes = fs::read(entry.path().join(name)).unwrap_or_default();
            String::from_utf8_lossy(&bytes).replace('\0', " ")
        };
        let arguments = text("cmdline");
        if arguments.contains(&token) || text("environ").contains(&token) {
            found.push((pid, arguments));
        }
    }
    found
}

/// The host's mount table.
pub fn mount_table() -> String {
    fs::read_to_string("/proc/self/mountinfo").expect("the mount table")
}
