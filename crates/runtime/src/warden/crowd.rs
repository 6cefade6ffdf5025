//! Whether the container is at its limit of processes, where no cgroup counts how often that was hit.
//!
//! `RLIMIT_NPROC` makes `fork` fail without a word to anybody but the program, so the warden looks now and then: soon
//! after the start, then less and less often. One look is one system call (how many threads the machine has) unless
//! these are as many as the limit; then the container's own are counted. A container that touches its limit between two
//! looks goes unseen; a fork bomb does not.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};

use crate::events::{Recorder, Refused};
use crate::process::read_file;

const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(10);

/// Looks now and then.
#[derive(Debug)]
pub struct Crowd {
    init: i32,
    limit: u64,
    pause: Duration,
    next: Instant,
}

impl Crowd {
    /// For the container whose first process is `init`, under a limit of so many processes and threads.
    pub fn new(init: i32, limit: u64) -> Self {
        Self { init, limit, pause: FIRST, next: Instant::now() + FIRST }
    }

    /// When to look next.
    pub fn next(&self) -> Instant {
        self.next
    }

    /// Looks, if it is time; `false` when the limit was seen, which is told once.
    pub fn look(&mut self, recorder: &mut Recorder) -> bool {
        let now = Instant::now();
        if now < self.next {
            return true;
        }
        self.pause = (self.pause * 2).min(LONGEST);
        self.next = now + self.pause;
        let limit = self.limit;
        if u64::from(rustix::system::sysinfo().procs) < limit || tasks_below(self.init) < limit {
            return true;
        }
        let refused = Refused {
            pid: self.init,
            layer: "limits",
            operation: "fork".to_string(),
            object: format!("more than {limit} processes and threads at once"),
            rule: format!("[resources] pids = {limit}"),
            errno: "EAGAIN",
            allow: Some("--pids-limit NUMBER".to_string()),
            advice: "more processes at once",
        };
        recorder.record(refused, String::new);
        false
    }
}

/// Processes and threads of `init` and all below it.
fn tasks_below(init: i32) -> u64 {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    let mut threads: HashMap<i32, u64> = HashMap::new();
    let Ok(proc) =
        rustix::fs::open(c"/proc", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
    else {
        return 0;
    };
    let Ok(entries) = rustix::fs::Dir::read_from(&proc) else { return 0 };
    for entry in entries.flatten() {
        let Some(pid) = entry.file_name().to_str().ok().and_then(|n| n.parse::<i32>().ok()) else { continue };
        let Ok(status) = read_file(&format!("/proc/{pid}/status")) else { continue };
        let status = String::from_utf8_lossy(&status).into_owned();
        let field = |name: &str| status.lines().find_map(|l| l.strip_prefix(name)).map(str::trim);
        let Some(parent) = field("PPid:").and_then(|p| p.parse::<i32>().ok()) else { continue };
        children.entry(parent).or_default().push(pid);
        threads.insert(pid, field("Threads:").and_then(|n| n.parse().ok()).unwrap_or(1));
    }
    let mut seen = HashSet::new();
    let mut left = vec![init];
    let mut sum = 0u64;
    while let Some(pid) = left.pop() {
        if seen.insert(pid) {
            sum = sum.saturating_add(threads.get(&pid).copied().unwrap_or(0));
            left.extend(children.get(&pid).into_iter().flatten());
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_and_its_child_are_counted() {
        let mut child = std::process::Command::new("/bin/sleep").arg("5").spawn().unwrap();
        let own = i32::try_from(std::process::id()).unwrap();
        let with = tasks_below(own);
        assert_eq!(tasks_below(child.id() as i32), 1);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(with >= 2, "{with}");
        assert_eq!(tasks_below(i32::MAX), 0);
    }
}
