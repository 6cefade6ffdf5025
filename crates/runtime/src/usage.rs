//! What a container uses, and which processes are in it: as the host sees it, from `/proc`.
//!
//! Nothing is executed inside and no file of the container is read (R18; a `top` that ran the container's own `ps`
//! was CVE-2022-1227). A process belongs to a container when its pid namespace is that of the first process. The
//! texts come from inside: callers show them through [`crate::events::printable`].

use std::collections::HashMap;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::process::{Stat, read_file};

/// One process of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its pid on the host.
    pub host_pid: i32,
    /// Its pid in the container.
    pub pid: i32,
    /// Its parent's pid in the container; 0 when that is outside.
    pub parent: i32,
    /// One letter: R, S, D, Z, T...
    pub state: char,
    /// Processor time, in clock ticks, of itself and of the children that it waited for.
    pub cpu_ticks: u64,
    /// Proportional share of memory in bytes, or resident memory where that can't be read.
    pub memory: u64,
    /// Threads.
    pub threads: u64,
    /// Program and arguments as the process shows them, or its name in brackets.
    pub command: String,
}

/// Sums over a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Processor time in clock ticks.
    pub cpu_ticks: u64,
    /// Memory in bytes.
    pub memory: u64,
    /// Processes and threads.
    pub tasks: u64,
}

impl Usage {
    /// Adds the members up.
    pub fn of(members: &[Member]) -> Self {
        members.iter().fold(Self::default(), |sum, m| Self {
            cpu_ticks: sum.cpu_ticks.saturating_add(m.cpu_ticks),
            memory: sum.memory.saturating_add(m.memory),
            tasks: sum.tasks.saturating_add(m.threads),
        })
    }
}

/// All processes in the pid namespace of `init`, by their pid inside. Those that end meanwhile are left out.
pub fn members(init: i32) -> Result<Vec<Member>, Errno> {
    let namespace = pid_namespace(init)?;
    let mut found = Vec::new();
    let proc =
        rustix::fs::open(c"/proc", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    for entry in rustix::fs::Dir::read_from(&proc)? {
        let Ok(name) = entry?.file_name().to_owned().into_string() else { continue };
        let Ok(pid) = name.parse::<i32>() else { continue };
        if pid_namespace(pid).is_ok_and(|ns| ns == namespace) {
            found.extend(read_member(pid));
        }
    }
    let inside: HashMap<i32, i32> = found.iter().map(|(m, _)| (m.host_pid, m.pid)).collect();
    let mut members: Vec<Member> = found
        .into_iter()
        .map(|(member, parent)| Member { parent: inside.get(&parent).copied().unwrap_or(0), ..member })
        .collect();
    members.sort_by_key(|m| m.pid);
    Ok(members)
}

fn pid_namespace(pid: i32) -> Result<Vec<u8>, Errno> {
    rustix::fs::readlinkat(CWD, format!("/proc/{pid}/ns/pid"), Vec::new()).map(|link| link.into_bytes())
}

/// The process, and its parent's pid on the host.
fn read_member(pid: i32) -> Option<(Member, i32)> {
    let stat = Stat::parse(&read_file(&format!("/proc/{pid}/stat")).ok()?)?;
    let status = String::from_utf8_lossy(&read_file(&format!("/proc/{pid}/status")).ok()?).into_owned();
    let field = |name: &str| status.lines().find_map(|l| l.strip_prefix(name)).map(str::trim);
    let command = match read_file(&format!("/proc/{pid}/cmdline")) {
        Ok(bytes) if !bytes.is_empty() => {
            let words = bytes.strip_suffix(b"\0").unwrap_or(&bytes);
            String::from_utf8_lossy(words).replace('\0', " ")
        }
        _ => format!("[{}]", field("Name:")?),
    };
    let member = Member {
        host_pid: pid,
        pid: field("NSpid:")?.split_ascii_whitespace().next_back()?.parse().ok()?,
        parent: 0,
        state: char::from(stat.state),
        cpu_ticks: stat.cpu_ticks,
        memory: proportional(pid).unwrap_or_else(|| {
            stat.resident_pages.saturating_mul(u64::try_from(rustix::param::page_size()).unwrap_or(4096))
        }),
        threads: field("Threads:")?.parse().ok()?,
        command,
    };
    Some((member, stat.parent))
}

/// Memory with shared pages divided among those who share them, so that a sum counts each page once.
fn proportional(pid: i32) -> Option<u64> {
    let rollup = String::from_utf8(read_file(&format!("/proc/{pid}/smaps_rollup")).ok()?).ok()?;
    let kib = rollup.lines().find_map(|l| l.strip_prefix("Pss:"))?.trim().strip_suffix(" kB")?;
    kib.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_a_member_of_its_own_namespace_with_memory_and_a_command() {
        let own = rustix::process::getpid().as_raw_nonzero().get();
        let members = members(own).unwrap();
        let me = members.iter().find(|m| m.host_pid == own).unwrap();
        assert!(me.memory > 100_000 && me.threads >= 1 && me.command.contains("donjon"), "{me:?}");
        assert!(Usage::of(&members).memory >= me.memory);
    }

    #[test]
    fn a_process_that_is_gone_is_an_error_and_no_panic() {
        assert!(members(i32::MAX).is_err());
    }
}
