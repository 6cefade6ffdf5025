//! The measuring itself, as the ordinary user: prints `name TAB value` for every sample.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Instant;

use super::subjects::{self, Subject};

/// Times are taken around spawn and wait. No sample is dropped.
pub fn main(arguments: &[&str]) -> Result<(), String> {
    let (rooms, scratch, quick) = match arguments {
        [rooms, scratch] => (*rooms, *scratch, false),
        [rooms, scratch, "--quick"] => (*rooms, *scratch, true),
        _ => return Err("bench-rounds is started by bench".into()),
    };
    let bench = Bench { rooms, scratch, quick };
    let subjects = subjects::all(rooms, scratch);
    for subject in &subjects {
        bench.check(subject)?;
    }
    bench.starts(&subjects)?;
    bench.peaks(&subjects)?;
    bench.system_calls()?;
    bench.many(&subjects)?;
    bench.existing()
}

struct Bench<'a> {
    rooms: &'a str,
    scratch: &'a str,
    quick: bool,
}

/// Prints one sample.
pub fn sample(name: &str, value: f64) {
    println!("{name}\t{value}");
}

/// Tells what is being measured.
pub fn note(what: &str) {
    eprintln!("   measuring {what}");
}

/// Spawns and waits; milliseconds.
pub fn timed(words: &[String], run: Option<&str>) -> Result<f64, String> {
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if let Some(run) = run {
        command.env("XDG_RUNTIME_DIR", run);
    }
    let start = Instant::now();
    let status = command.status();
    let taken = start.elapsed().as_secs_f64() * 1e3;
    let status = status.map_err(|e| format!("{}: {e}", words[0]))?;
    if status.success() { Ok(taken) } else { Err(format!("{} ended with {status}", words.join(" "))) }
}

/// Peak resident memory, in KiB, of a command and of everything it waited for.
pub fn peak(rooms: &str, words: &[String]) -> Result<f64, String> {
    let out = Command::new(format!("{rooms}/peak")).args(words).stdin(Stdio::null()).output();
    let out = out.map_err(|e| format!("peak: {e}"))?;
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    let peak = text.lines().rev().find_map(|l| l.strip_prefix("peak ")?.parse().ok());
    peak.ok_or(format!("{}: no peak: {text}", words.join(" ")))
}

impl Bench<'_> {
    fn rounds(&self, all: usize) -> usize {
        if self.quick { all / 10 } else { all }
    }

    /// A subject that doesn't work must not look fast.
    fn check(&self, subject: &Subject) -> Result<(), String> {
        let words = subject.numbered(0);
        let out = Command::new(&words[0]).args(&words[1..]).stdin(Stdio::null()).output();
        let out = out.map_err(|e| format!("{}: {e}", words[0]))?;
        if out.status.success() {
            return Ok(());
        }
        let why = String::from_utf8_lossy(&out.stderr).into_owned();
        Err(format!("{} does not work here: {}: {}", subject.name, words.join(" "), why.trim()))
    }

    /// Start to end of `/bin/true`, one of each subject a round, each round beginning with another.
    fn starts(&self, subjects: &[Subject]) -> Result<(), String> {
        note("start to end of /bin/true");
        let (warm, rounds) = (self.rounds(20).max(3), self.rounds(400));
        for round in 0..warm + rounds {
            for n in 0..subjects.len() {
                let subject = &subjects[(n + round) % subjects.len()];
                let taken = timed(&subject.numbered(round), None)?;
                if round >= warm {
                    sample(&format!("start {}", subject.name), taken);
                }
            }
        }
        Ok(())
    }

    /// Peak resident memory of the runtime and of everything it waited for, in KiB.
    fn peaks(&self, subjects: &[Subject]) -> Result<(), String> {
        note("peak memory");
        for subject in subjects {
            for n in 0..10 {
                sample(&format!("peak {}", subject.name), peak(self.rooms, &subject.numbered(n))?);
            }
        }
        Ok(())
    }

    /// Nanoseconds a system call: getppid, whose answer the kernel remembers for a filter, and ioctl, whose
    /// argument a filter must look at each time.
    fn system_calls(&self) -> Result<(), String> {
        note("system calls");
        let attacker = format!("{}/root/bin/attacker", self.rooms);
        let donjon = format!("{}/donjon", self.rooms);
        let image = format!("dir:{}/root", self.scratch);
        let loops = self.rounds(2_000_000).to_string();
        for _ in 0..self.rounds(30).max(3) {
            for call in ["getppid", "ioctl"] {
                let ways: [(&str, Vec<&str>); 3] = [
                    ("no filter", vec![&attacker, "loop", call, &loops]),
                    ("donjon", vec![&donjon, "run", "--rm", &image, "/bin/attacker", "loop", call, &loops]),
                    ("linear filter", vec![&attacker, "loop-linear", call, &loops]),
                ];
                for (way, words) in ways {
                    let out = Command::new(words[0]).args(&words[1..]).stdin(Stdio::null()).output();
                    let out = out.map_err(|e| format!("{}: {e}", words[0]))?;
                    let text = String::from_utf8_lossy(&out.stdout).into_owned();
                    let value =
                        text.trim().parse().map_err(|_| format!("{}: no rate: {text}", words.join(" ")))?;
                    sample(&format!("call {call} {way}"), value);
                }
            }
        }
        Ok(())
    }

    /// 200 containers one after another, and 50 at a time; milliseconds for all of them.
    fn many(&self, subjects: &[Subject]) -> Result<(), String> {
        note("200 containers");
        let (count, at_once) = (self.rounds(200), if self.quick { 10 } else { 50 });
        sample("many count", count as f64);
        sample("many at once", at_once as f64);
        for _ in 0..self.rounds(50).clamp(1, 5) {
            for subject in subjects {
                let start = Instant::now();
                for n in 0..count {
                    timed(&subject.numbered(n), None)?;
                }
                sample(&format!("serial {}", subject.name), start.elapsed().as_secs_f64() * 1e3);
                let start = Instant::now();
                let next = std::sync::atomic::AtomicUsize::new(0);
                let worker = || -> Result<(), String> {
                    loop {
                        let n = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        if n >= count {
                            return Ok(());
                        }
                        timed(&subject.numbered(n), None)?;
                    }
                };
                std::thread::scope(|scope| {
                    let workers: Vec<_> = (0..at_once).map(|_| scope.spawn(worker)).collect();
                    workers
                        .into_iter()
                        .try_for_each(|w| w.join().unwrap_or_else(|_| Err("a worker died".into())))
                })?;
                sample(&format!("parallel {}", subject.name), start.elapsed().as_secs_f64() * 1e3);
            }
        }
        Ok(())
    }

    /// Start time beside no other container, and beside 500 finished and 50 running ones.
    fn existing(&self) -> Result<(), String> {
        note("starts beside existing containers");
        let donjon = format!("{}/donjon", self.rooms);
        let image = format!("dir:{}/root", self.scratch);
        let (finished, running) = (self.rounds(500), self.rounds(50));
        let (empty, full) = (format!("{}/run/empty", self.scratch), format!("{}/run/full", self.scratch));
        let real = |dir: String| -> Result<String, String> {
            fs::create_dir_all(&dir).map_err(|e| format!("{dir}: {e}"))?;
            let path = fs::canonicalize(&dir).map_err(|e| format!("{dir}: {e}"))?;
            Ok(path.to_string_lossy().into_owned())
        };
        let (empty, full) = (real(empty)?, real(full)?);
        for dir in [&empty, &full] {
            fs::create_dir_all(dir).map_err(|e| format!("{dir}: {e}"))?;
            private(dir)?;
        }
        let words = |list: &[&str]| list.iter().map(|w| w.to_string()).collect::<Vec<_>>();
        for _ in 0..finished {
            timed(&words(&[&donjon, "run", &image, "/bin/true"]), Some(&full))?;
        }
        for n in 0..running {
            let name = format!("idle{n}");
            timed(&words(&[&donjon, "run", "-d", "--name", &name, &image, "sleep", "900"]), Some(&full))?;
        }
        sample("existing finished", finished as f64);
        sample("existing running", running as f64);
        let start = words(&[&donjon, "run", "--rm", &image, "/bin/true"]);
        for round in 0..self.rounds(300) {
            let ways = [("none", &empty), ("many", &full)];
            for n in 0..2 {
                let (way, dir) = ways[(n + round) % 2];
                sample(&format!("existing {way}"), timed(&start, Some(dir))?);
            }
        }
        for n in 0..running {
            timed(&words(&[&donjon, "rm", "--force", &format!("idle{n}")]), Some(&full))?;
        }
        Ok(())
    }
}

fn private(dir: &str) -> Result<(), String> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).map_err(|e| format!("{dir}: {e}"))
}
