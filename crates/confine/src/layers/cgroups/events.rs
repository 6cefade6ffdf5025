//! What a group tells about limits that were hit. The files are opened before the warden confines itself and read
//! when the container has ended.

use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};

/// How often limits were hit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Processes that were killed for want of memory.
    pub out_of_memory: u64,
    /// Processes or threads that could not be made.
    pub pids: u64,
}

/// The open files.
#[derive(Debug, Default)]
pub struct Events {
    /// With the key of the line that counts.
    memory: Option<(OwnedFd, &'static str)>,
    pids: Option<OwnedFd>,
}

impl Events {
    pub(super) fn add(&mut self, dir: &OwnedFd, v2: bool, controller: &str) {
        let open = |name: &str| {
            rustix::fs::openat(dir, name, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())
                .ok()
        };
        if v2 || controller == "memory" {
            let name = if v2 { "memory.events" } else { "memory.oom_control" };
            self.memory = open(name).map(|file| (file, "oom_kill"));
        }
        if v2 || controller == "pids" {
            self.pids = open("pids.events");
        }
    }

    /// Reads the counts; what can't be read counts as nothing.
    pub fn read(&self) -> Counts {
        Counts {
            out_of_memory: self.memory.as_ref().map_or(0, |(file, key)| count(file, key)),
            pids: self.pids.as_ref().map_or(0, |file| count(file, "max")),
        }
    }
}

fn count(file: &OwnedFd, key: &str) -> u64 {
    let mut buffer = [0u8; 1024];
    let n = rustix::io::pread(file, &mut buffer, 0).unwrap_or(0);
    value(&String::from_utf8_lossy(buffer.get(..n).unwrap_or_default()), key)
}

pub(super) fn value(text: &str, key: &str) -> u64 {
    text.lines()
        .find_map(|line| line.split_once(' ').filter(|(k, _)| *k == key))
        .and_then(|(_, n)| n.trim().parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_the_key_counts_and_no_other() {
        let text = "low 0\nhigh 2\nmax 7\noom 3\noom_kill 5\noom_group_kill 1\n";
        assert_eq!((value(text, "oom_kill"), value(text, "max"), value(text, "none")), (5, 7, 0));
        assert_eq!(value("oom_kill_disable 1\nunder_oom 0\noom_kill 4\n", "oom_kill"), 4);
        assert_eq!(value("max many\n", "max"), 0);
    }
}
