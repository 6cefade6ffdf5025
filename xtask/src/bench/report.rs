//! The tables of `benches/README.md`.

use std::fmt::Write;
use std::fs;

use super::Samples;
use crate::machine::output;

/// Medians and the ninetieth percentile of one measurement.
pub struct Figure {
    /// Half of the samples are below.
    pub median: f64,
    /// Nine tenths of the samples are below.
    pub p90: f64,
    /// The least.
    pub best: f64,
    /// How many samples there are.
    pub count: usize,
}

/// Works out the figures of a measurement, when there is such a one.
pub fn figure(samples: &Samples, name: &str) -> Option<Figure> {
    let mut values = samples.get(name)?.clone();
    values.sort_by(f64::total_cmp);
    let at = |share: f64| values[((values.len() - 1) as f64 * share).round() as usize];
    Some(Figure { median: at(0.5), p90: at(0.9), best: values[0], count: values.len() })
}

/// The subjects in the order of the tables.
const SUBJECTS: [&str; 6] = [
    "floor", "donjon run --rm dir:ROOT", "donjon run --rm host", "bwrap --unshare-all", "crun run",
    "runc run",
];

/// The whole page.
pub fn markdown(samples: &Samples, binary: u64, load: &str) -> String {
    let mut page = String::from(INTRODUCTION);
    let _ = write!(page, "\n## The machine\n\n{}", machine(load));
    starts(&mut page, samples);
    targets(&mut page, samples, binary);
    memory(&mut page, samples);
    calls(&mut page, samples);
    many(&mut page, samples);
    existing(&mut page, samples);
    super::oci::report::write(&mut page, samples);
    page
}

fn starts(page: &mut String, samples: &Samples) {
    let floor = figure(samples, "start floor").map_or(f64::NAN, |f| f.median);
    let donjon = figure(samples, "start donjon run --rm dir:ROOT").map_or(f64::NAN, |f| f.median);
    page.push_str("\n## Start to end of `/bin/true`\n\n");
    page.push_str(
        "| | median ms | 90 % below | best | × floor | × donjon | samples |\n|---|--:|--:|--:|--:|--:|--:|\n",
    );
    for name in SUBJECTS {
        if let Some(f) = figure(samples, &format!("start {name}")) {
            let (by_floor, by_donjon) = (f.median / floor, f.median / donjon);
            let _ = writeln!(
                page,
                "| `{name}` | {:.2} | {:.2} | {:.2} | {by_floor:.2} | {by_donjon:.2} | {} |",
                f.median, f.p90, f.best, f.count
            );
        }
    }
}

fn targets(page: &mut String, samples: &Samples, binary: u64) {
    let median = |name: &str| figure(samples, name).map_or(f64::NAN, |f| f.median);
    let donjon = median("start donjon run --rm dir:ROOT");
    let ratio = donjon / median("start floor");
    let bwrap = donjon / median("start bwrap --unshare-all");
    let peak = median("peak donjon run --rm dir:ROOT") / 1024.0;
    let warden = median("warden private") / 1024.0;
    let size = binary as f64 / f64::from(1 << 20);
    let grown = median("existing many") / median("existing none");
    let rows: [(&str, String, bool); 6] = [
        ("start ≤ 1.5 × the floor", format!("{ratio:.2}"), ratio <= 1.5),
        ("start < bubblewrap", format!("{bwrap:.2} × bubblewrap"), bwrap < 1.0),
        ("start does not grow with existing containers", format!("{grown:.2} ×"), grown < 1.05),
        ("peak memory of a start ≤ 4 MiB", format!("{peak:.2} MiB"), peak <= 4.0),
        ("warden of an idle container ≤ 2 MiB private", format!("{warden:.2} MiB"), warden <= 2.0),
        ("release binary ≤ 6 MiB", format!("{size:.2} MiB"), size <= 6.0),
    ];
    page.push_str("\n## Targets\n\n| target | measured | |\n|---|--:|---|\n");
    for (target, measured, met) in rows {
        let _ = writeln!(page, "| {target} | {measured} | {} |", if met { "met" } else { "**missed**" });
    }
}

fn memory(page: &mut String, samples: &Samples) {
    page.push_str(
        "\n## Peak resident memory of a start\n\nOf the runtime, its children and the container's program \
        (`wait4`), KiB.\n\n| | median | most |\n|---|--:|--:|\n",
    );
    for name in SUBJECTS {
        if let Some(values) = samples.get(&format!("peak {name}")) {
            let most = values.iter().copied().fold(0.0, f64::max);
            let median = figure(samples, &format!("peak {name}")).map_or(f64::NAN, |f| f.median);
            let _ = writeln!(page, "| `{name}` | {median:.0} | {most:.0} |");
        }
    }
}

fn calls(page: &mut String, samples: &Samples) {
    page.push_str("\n## What the filter costs\n\nNanoseconds a system call, medians. The kernel remembers that a \
        filter always allows `getppid`; at `ioctl` it runs the filter each time. The linear filter compares one \
        number after the other, as the usual library writes it.\n\n\
        | call | no filter | donjon | linear filter |\n|---|--:|--:|--:|\n");
    for call in ["getppid", "ioctl"] {
        let of = |way: &str| figure(samples, &format!("call {call} {way}")).map_or(f64::NAN, |f| f.median);
        let _ = writeln!(
            page,
            "| `{call}` | {:.0} | {:.0} | {:.0} |",
            of("no filter"),
            of("donjon"),
            of("linear filter")
        );
    }
}

fn many(page: &mut String, samples: &Samples) {
    let number = |name: &str| figure(samples, name).map_or(f64::NAN, |f| f.median);
    let (count, at_once) = (number("many count"), number("many at once"));
    let _ = writeln!(
        page,
        "\n## {count} containers\n\nMilliseconds a container: all of them divided by their number, median.\n"
    );
    let _ = writeln!(page, "| | one after another | {at_once} at a time |\n|---|--:|--:|");
    for name in SUBJECTS {
        let of = |way: &str| number(&format!("{way} {name}")) / count;
        let _ = writeln!(page, "| `{name}` | {:.2} | {:.2} |", of("serial"), of("parallel"));
    }
}

fn existing(page: &mut String, samples: &Samples) {
    let number = |name: &str| figure(samples, name).map_or(f64::NAN, |f| f.median);
    let (finished, running) = (number("existing finished"), number("existing running"));
    page.push_str("\n## Beside existing containers\n\nMedian milliseconds of a start.\n\n");
    let _ = writeln!(page, "| no other | {finished} finished and {running} running |\n|--:|--:|");
    let _ = writeln!(page, "| {:.2} | {:.2} |", number("existing none"), number("existing many"));
}

fn machine(load: &str) -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|l| l.starts_with(name)).unwrap_or_default();
        line.split_once([':', '=']).map(|(_, v)| v.trim().trim_matches('"').to_string()).unwrap_or_default()
    };
    let cpu = read("/proc/cpuinfo");
    let cores = cpu.lines().filter(|l| l.starts_with("processor")).count();
    let memory: f64 = field(&read("/proc/meminfo"), "MemTotal")
        .split(' ')
        .next()
        .and_then(|v| v.parse().ok())
        .unwrap_or(0.0);
    let kernel = read("/proc/sys/kernel/osrelease");
    let first =
        |command: &[&str]| output(command).unwrap_or_default().lines().next().unwrap_or_default().to_string();
    let guest =
        if field(&cpu, "flags").split(' ').any(|f| f == "hypervisor") { ", a virtual machine" } else { "" };
    format!(
        "{}, {cores} cores, {:.0} GiB{guest}; {}, Linux {}; {}, {}, {}. Load before the run: {}.\n",
        field(&cpu, "model name"),
        memory / f64::from(1 << 20),
        field(&read("/etc/os-release"), "PRETTY_NAME"),
        kernel.trim(),
        first(&["bwrap", "--version"]),
        first(&["crun", "--version"]),
        first(&["runc", "--version"]),
        load.split(' ').next().unwrap_or_default(),
    )
}

const INTRODUCTION: &str = "\
# Benchmarks

Written by `cargo xtask bench`. Everything is measured side by side in one run: one of each subject a round, each round
beginning with another, after a warm-up; no sample is dropped. Times are taken around `posix_spawn` and `wait`, as an
ordinary user, in a mount namespace with the cgroup v2 hierarchy alone (crun refuses the hybrid layout).

- **floor** (`benches/floor`): the least a start can cost. One `clone3` into seven namespaces, one id map, one bind mount,
  procfs, `pivot_root`, `execve`. It protects nothing.
- **donjon** runs with all layers on, as it comes. It alone has a seccomp filter with a listener, Landlock, an overlay,
  limits, and a record of the container.
- **bubblewrap** gets new namespaces, a read-only bind mount, `/proc` and `/dev`; no filter, no masks.
- **crun** and **runc** get a rootless bundle with the usual mounts and masks, no cgroup, no seccomp profile.

The root file system holds busybox, statically linked, and is the same for all but the `host` image.
";
