//! `donjon top` and `donjon stats`: the processes of a container, and what they use.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use donjon_confine::layers::cgroups::Groups;
use donjon_runtime::container::Container;
use donjon_runtime::events::printable;
use donjon_runtime::process::Identity;
use donjon_runtime::state::Status;
use donjon_runtime::store::Store;
use donjon_runtime::usage::{Usage, members};
use serde::Serialize;

use super::table;
use super::{Failure, Format};

/// Between two looks at the processor time.
const INTERVAL: Duration = Duration::from_secs(1);

/// `donjon top`: the processes of a container as the host sees them.
pub fn top(store: &Store, container: &str, format: Format) -> Result<(), Failure> {
    let (name, init) = running(&store.find(container)?)?;
    let processes = members(init.pid).map_err(|errno| {
        Failure::new(format!("look at the processes of {name}: {}", donjon_confine::error::words(errno)))
    })?;
    let mut out = std::io::stdout().lock();
    if format == Format::Json {
        let list: Vec<serde_json::Value> = processes
            .iter()
            .map(|p| {
                serde_json::json!({
                    "Pid": p.pid, "ParentPid": p.parent, "HostPid": p.host_pid, "State": p.state.to_string(),
                    "Threads": p.threads, "CpuSeconds": ticks(p.cpu_ticks), "MemoryBytes": p.memory, "Command": p.command,
                })
            })
            .collect();
        serde_json::to_writer_pretty(&mut out, &list)?;
        writeln!(out)?;
        return Ok(());
    }
    let titles = ["PID", "PPID", "HOST PID", "STATE", "TIME", "MEMORY", "COMMAND"];
    let mut rows = vec![titles.map(str::to_string).to_vec()];
    rows.extend(processes.iter().map(|p| {
        vec![
            p.pid.to_string(),
            p.parent.to_string(),
            p.host_pid.to_string(),
            p.state.to_string(),
            format!("{:.2}s", ticks(p.cpu_ticks)),
            table::bytes(p.memory),
            printable(&p.command),
        ]
    }));
    table::print(&mut out, &rows)?;
    Ok(())
}

/// One container in `donjon stats --format json`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Sample {
    id: String,
    name: String,
    /// Of one processor.
    cpu_percent: f64,
    memory_bytes: u64,
    /// Nothing: no limit that a cgroup holds.
    memory_limit: Option<u64>,
    tasks: u64,
}

/// `donjon stats`: what containers use, again and again unless `once`. Without names: all that run.
pub fn stats(store: &Store, names: &[String], once: bool, format: Format) -> Result<(), Failure> {
    let mut before = measure(store, names)?;
    loop {
        std::thread::sleep(INTERVAL);
        let now = match measure(store, names) {
            Ok(now) => now,
            // Those that were named have ended while they were watched: the end of the matter.
            Err(_) if !once => return Ok(()),
            Err(failure) => return Err(failure),
        };
        let samples: Vec<Sample> = now.iter().map(|m| m.since(&before)).collect();
        show(&samples, once, format)?;
        if once {
            return Ok(());
        }
        before = now;
    }
}

/// What a container had used at a moment.
struct Measured {
    id: String,
    name: String,
    at: Instant,
    usage: Usage,
    memory_limit: Option<u64>,
}

impl Measured {
    fn since(&self, all_before: &[Self]) -> Sample {
        let percent = all_before.iter().find(|before| before.id == self.id).map_or(0.0, |before| {
            let used = ticks(self.usage.cpu_ticks.saturating_sub(before.usage.cpu_ticks));
            let passed = self.at.duration_since(before.at).as_secs_f64();
            if passed > 0.0 { 100.0 * used / passed } else { 0.0 }
        });
        Sample {
            id: self.id.clone(),
            name: self.name.clone(),
            cpu_percent: (percent * 10.0).round() / 10.0,
            memory_bytes: self.usage.memory,
            memory_limit: self.memory_limit,
            tasks: self.usage.tasks,
        }
    }
}

fn measure(store: &Store, names: &[String]) -> Result<Vec<Measured>, Failure> {
    let mut measured = Vec::new();
    if names.is_empty() {
        for container in store.list()?.into_iter().filter_map(|listed| listed.container.ok()) {
            // One that ended meanwhile is not there any more.
            measured.extend(measure_one(&container).ok());
        }
    } else {
        for name in names {
            measured.push(measure_one(&store.find(name)?)?);
        }
    }
    measured.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(measured)
}

fn measure_one(container: &Container) -> Result<Measured, Failure> {
    let (name, init) = running(container)?;
    let groups = container.state().ok().and_then(|s| Groups::open(&s.cgroups).ok()).unwrap_or_default();
    let members = members(init.pid).map_err(|errno| {
        Failure::new(format!("look at the processes of {name}: {}", donjon_confine::error::words(errno)))
    })?;
    let mut usage = Usage::of(&members);
    let mut memory_limit = None;
    // The group counts what the processes' own figures leave out: files in RAM, the kernel's part.
    if let Some((used, limit)) = groups.memory() {
        (usage.memory, memory_limit) = (used, limit);
    }
    Ok(Measured { id: container.id.to_string(), name, at: Instant::now(), usage, memory_limit })
}

fn show(samples: &[Sample], once: bool, format: Format) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    if format == Format::Json {
        serde_json::to_writer(&mut out, samples)?;
        writeln!(out)?;
        return Ok(());
    }
    if !once && out.is_terminal() {
        // From the top left corner, erasing what was there.
        write!(out, "\x1b[H\x1b[J")?;
    }
    let mut rows = vec![["CONTAINER ID", "NAME", "CPU", "MEMORY", "TASKS"].map(str::to_string).to_vec()];
    rows.extend(samples.iter().map(|s| {
        vec![
            s.id.chars().take(12).collect(),
            s.name.clone(),
            format!("{:.1}%", s.cpu_percent),
            match s.memory_limit {
                Some(limit) => format!("{} of {}", table::bytes(s.memory_bytes), table::bytes(limit)),
                None => table::bytes(s.memory_bytes),
            },
            s.tasks.to_string(),
        ]
    }));
    table::print(&mut out, &rows)?;
    out.flush()?;
    Ok(())
}

fn running(container: &Container) -> Result<(String, Identity), Failure> {
    let (state, status) = container.status()?;
    match (state.init, status) {
        (Some(init), Status::Running) => Ok((state.name, init)),
        _ => Err(Failure::new(format!("{} is not running", state.name)).hint("donjon ps lists what runs")),
    }
}

fn ticks(ticks: u64) -> f64 {
    ticks as f64 / rustix::param::clock_ticks_per_second() as f64
}
