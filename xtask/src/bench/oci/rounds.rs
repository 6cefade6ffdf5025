//! The measuring itself, as root: prints `name TAB value` for every sample.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use super::super::rounds::{note, sample, timed};
use super::{Runtime, bundle, memory, runtimes};
use crate::machine::output;

/// How many containers stay beside each other.
const MANY: usize = 1000;

/// Measures one layout.
pub fn main(arguments: &[&str]) -> Result<(), String> {
    let (layout, rooms, scratch, quick) = match arguments {
        [layout, rooms, scratch] => (*layout, *rooms, *scratch, false),
        [layout, rooms, scratch, "--quick"] => (*layout, *rooms, *scratch, true),
        _ => return Err("bench-oci is started by bench".into()),
    };
    let mut runtimes = runtimes(rooms, scratch);
    if layout == "hybrid" {
        runtimes.retain(|runtime| runtime.name != "crun");
    }
    let rounds = Rounds { layout, scratch, quick, runtimes };
    rounds.check()?;
    rounds.runs()?;
    rounds.cycles()?;
    if layout == "unified" {
        rounds.peaks(rooms)?;
        rounds.many()?;
    }
    if layout != "hybrid" { memory::measure(&rounds) } else { Ok(()) }
}

/// One layout's rounds.
pub struct Rounds<'a> {
    /// The layout's name, a part of the samples' names.
    pub layout: &'a str,
    /// The directory with the bundles.
    pub scratch: &'a str,
    /// A tenth of everything.
    pub quick: bool,
    /// The runtimes that take this layout.
    pub runtimes: Vec<Runtime>,
}

impl Rounds<'_> {
    fn rounds(&self, all: usize) -> usize {
        if self.quick { all / 10 } else { all }
    }

    fn bundle(&self, name: &str) -> String {
        format!("{}/{name}", self.scratch)
    }

    /// A runtime that doesn't work must not look fast. Where one can't load a program for devices, as crun without
    /// the right to raise its limit of locked memory, all go without the rules for devices.
    fn check(&self) -> Result<(), String> {
        for devices in [true, false] {
            bundle::write(self.scratch, devices)?;
            match self.runtimes.iter().try_for_each(|runtime| self.check_one(runtime)) {
                Ok(()) if devices => return Ok(()),
                Ok(()) => sample(&format!("oci {} without devices", self.layout), 1.0),
                Err(why) if devices => note(&format!("without rules for devices, as {why}")),
                Err(why) => return Err(why),
            }
        }
        Ok(())
    }

    fn check_one(&self, runtime: &Runtime) -> Result<(), String> {
        let id = format!("{}-check", runtime.name);
        let words = runtime.words(&["run", "--bundle", &self.bundle(bundle::END), &id]);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        output(&words).map(|_| ()).map_err(|why| {
            super::remove(std::slice::from_ref(runtime));
            format!("{} does not work here: {why}", runtime.name)
        })
    }

    /// Calls `one` for every runtime a round, each round beginning with another, and keeps what follows the warm-up.
    fn interleaved(
        &self,
        rounds: usize,
        one: impl Fn(&Runtime, usize) -> Result<Vec<(&'static str, f64)>, String>,
    ) -> Result<(), String> {
        let warm = self.rounds(20).max(2);
        for round in 0..warm + rounds {
            for n in 0..self.runtimes.len() {
                let runtime = &self.runtimes[(n + round) % self.runtimes.len()];
                for (what, taken) in one(runtime, round)? {
                    if round >= warm {
                        sample(&format!("oci {} {what} {}", self.layout, runtime.name), taken);
                    }
                }
            }
        }
        Ok(())
    }

    fn runs(&self) -> Result<(), String> {
        note(&format!("run of the OCI runtimes, {} layout", self.layout));
        let bundle = self.bundle(bundle::END);
        self.interleaved(self.rounds(200), |runtime, round| {
            let id = format!("{}-{round}", runtime.name);
            Ok(vec![("run", timed(&runtime.words(&["run", "--bundle", &bundle, &id]), None)?)])
        })
    }

    /// `create`, `start` and `delete`; between the last two, until the process has ended, which is seen in /proc
    /// without asking a runtime and is a part of the whole.
    fn cycles(&self) -> Result<(), String> {
        note(&format!("create, start and delete, {} layout", self.layout));
        let bundle = self.bundle(bundle::END);
        self.interleaved(self.rounds(200), |runtime, round| {
            let id = format!("{}-{round}", runtime.name);
            let begin = Instant::now();
            let (create, pid) = self.create(runtime, &bundle, &id)?;
            let start = timed(&runtime.words(&["start", &id]), None)?;
            ended(&pid)?;
            let delete = timed(&runtime.words(&["delete", &id]), None)?;
            let whole = begin.elapsed().as_secs_f64() * 1e3;
            Ok(vec![("create", create), ("start", start), ("delete", delete), ("whole", whole)])
        })
    }

    /// Creates a container; milliseconds, and the number of its process.
    fn create(&self, runtime: &Runtime, bundle: &str, id: &str) -> Result<(f64, String), String> {
        let pid_file = format!("{}/pid", self.scratch);
        let words = runtime.words(&["create", "--bundle", bundle, "--pid-file", &pid_file, id]);
        let taken = timed(&words, None)?;
        let pid = fs::read_to_string(&pid_file).map_err(|e| format!("{pid_file}: {e}"))?;
        Ok((taken, pid.trim().to_string()))
    }

    /// Peak resident memory of `run`, in KiB.
    fn peaks(&self, rooms: &str) -> Result<(), String> {
        for runtime in &self.runtimes {
            for n in 0..10 {
                let id = format!("{}-peak-{n}", runtime.name);
                let words = runtime.words(&["run", "--bundle", &self.bundle(bundle::END), &id]);
                let peak = super::super::rounds::peak(rooms, &words)?;
                sample(&format!("oci peak {}", runtime.name), peak);
            }
        }
        Ok(())
    }

    /// Containers whose process stays: created and started one after the other, then killed and deleted. The
    /// samples keep this order, so that the first can be laid beside the last.
    fn many(&self) -> Result<(), String> {
        let (count, bundle) = (self.rounds(MANY), self.bundle(bundle::STAY));
        for runtime in &self.runtimes {
            note(&format!("{count} containers of {}", runtime.name));
            let mut pids = Vec::new();
            for n in 0..count {
                let id = format!("{}-many-{n}", runtime.name);
                let (create, pid) = self.create(runtime, &bundle, &id)?;
                let start = timed(&runtime.words(&["start", &id]), None)?;
                sample(&format!("oci many come {}", runtime.name), create + start);
                pids.push(pid);
            }
            for (n, pid) in pids.iter().enumerate() {
                let id = format!("{}-many-{n}", runtime.name);
                let kill = timed(&runtime.words(&["kill", &id, "KILL"]), None)?;
                ended(pid)?;
                let delete = timed(&runtime.words(&["delete", &id]), None)?;
                sample(&format!("oci many go {}", runtime.name), kill + delete);
            }
        }
        Ok(())
    }
}

/// Waits for the end of a process; one that nobody has waited for has ended too.
fn ended(pid: &str) -> Result<(), String> {
    let stat = Path::new("/proc").join(pid).join("stat");
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(10) {
        let Ok(text) = fs::read_to_string(&stat) else { return Ok(()) };
        let state = text.rsplit_once(") ").map(|(_, rest)| &rest[..1]);
        if matches!(state, Some("Z" | "X")) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_micros(50));
    }
    Err(format!("the container's process {pid} does not end"))
}
