//! The OCI side of `benches/README.md`.

use std::fmt::Write;

use super::super::Samples;
use super::super::report::figure;

/// In the order of the tables.
const RUNTIMES: [&str; 3] = ["donjon", "crun", "runc"];
/// What is timed in a round, and what it is called.
const WHOLE: [(&str, &str); 2] = [("run", "`run`"), ("whole", "`create` to `delete`")];
/// The commands of a round.
const PARTS: [&str; 3] = ["create", "start", "delete"];

/// The layouts of cgroups, and what they are called.
const LAYOUTS: [(&str, &str); 3] =
    [("unified", "cgroup v2"), ("v1", "cgroup v1"), ("hybrid", "the hybrid layout of cgroups")];

/// Appends the OCI side to the page.
pub fn write(page: &mut String, samples: &Samples) {
    page.push_str(INTRODUCTION);
    for (layout, named) in LAYOUTS {
        times(page, samples, layout, named);
    }
    many(page, samples);
    memory(page, samples);
    targets(page, samples);
}

fn median(samples: &Samples, name: &str) -> f64 {
    figure(samples, name).map_or(f64::NAN, |f| f.median)
}

fn times(page: &mut String, samples: &Samples, layout: &str, named: &str) {
    if !samples.contains_key(&format!("oci {layout} run donjon")) {
        return;
    }
    let _ = write!(page, "\n### On {named}\n\nMilliseconds.");
    if samples.contains_key(&format!("oci {layout} without devices")) {
        page.push_str(WITHOUT_DEVICES);
    }
    page.push_str("\n\n");
    page.push_str("| | | median | 90 % below | best | × donjon | samples |\n|---|---|--:|--:|--:|--:|--:|\n");
    for (what, title) in WHOLE {
        let donjon = median(samples, &format!("oci {layout} {what} donjon"));
        for runtime in RUNTIMES {
            if let Some(f) = figure(samples, &format!("oci {layout} {what} {runtime}")) {
                let _ = writeln!(
                    page,
                    "| {title} | {runtime} | {:.2} | {:.2} | {:.2} | {:.2} | {} |",
                    f.median,
                    f.p90,
                    f.best,
                    f.median / donjon,
                    f.count
                );
            }
        }
    }
    page.push_str("\n| median | `create` | `start` | `delete` |");
    let peaks = layout == "unified";
    page.push_str(if peaks {
        " peak memory of `run`, KiB |\n|---|--:|--:|--:|--:|\n"
    } else {
        "\n|---|--:|--:|--:|\n"
    });
    for runtime in RUNTIMES {
        let part = |part: &str| median(samples, &format!("oci {layout} {part} {runtime}"));
        if part("create").is_nan() {
            continue;
        }
        let parts = PARTS.map(|name| format!("{:.2}", part(name))).join(" | ");
        let _ = write!(page, "| {runtime} | {parts} |");
        if peaks {
            let _ = write!(page, " {:.0} |", median(samples, &format!("oci peak {runtime}")));
        }
        page.push('\n');
    }
}

/// The medians of the first and of the last tenth of what was measured in order.
fn ends(samples: &Samples, name: &str) -> (f64, f64) {
    let all = samples.get(name).map(Vec::as_slice).unwrap_or_default();
    let tenth = (all.len() / 10).max(1).min(all.len());
    let middle = |part: &[f64]| {
        let part = Samples::from([(String::new(), part.to_vec())]);
        if all.is_empty() { f64::NAN } else { median(&part, "") }
    };
    (middle(&all[..tenth]), middle(&all[all.len() - tenth..]))
}

fn many(page: &mut String, samples: &Samples) {
    let count = samples.get("oci many come donjon").map_or(0, Vec::len);
    let tenth = count / 10;
    let _ = writeln!(
        page,
        "\n### {count} containers beside each other\n\nMilliseconds a container, medians; all stay until the last is \
        there.\n\n| | `create` and `start`, first {tenth} | last {tenth} | grown | `kill` and `delete`, first {tenth} \
        | last {tenth} |\n|---|--:|--:|--:|--:|--:|"
    );
    for runtime in RUNTIMES {
        let come = ends(samples, &format!("oci many come {runtime}"));
        let go = ends(samples, &format!("oci many go {runtime}"));
        let grown = come.1 / come.0;
        let _ = writeln!(
            page,
            "| {runtime} | {:.2} | {:.2} | {grown:.2} × | {:.2} | {:.2} |",
            come.0, come.1, go.0, go.1
        );
    }
}

/// The limits that were tried, in KiB, with how many tries came to a good end.
fn tried(samples: &Samples, way: &str, runtime: &str) -> Vec<(u64, f64)> {
    let prefix = format!("oci memory {way} ");
    let mut tried: Vec<(u64, f64)> = samples
        .iter()
        .filter_map(|(name, values)| {
            let (limit, named) = name.strip_prefix(&prefix)?.split_once(' ')?;
            if named == runtime { Some((limit.parse().ok()?, *values.first()?)) } else { None }
        })
        .collect();
    tried.sort_by_key(|(limit, _)| *limit);
    tried
}

/// The least limit from which on every try came to a good end.
fn least(samples: &Samples, way: &str, runtime: &str) -> Option<u64> {
    let tries = median(samples, "oci memory tries");
    let tried = tried(samples, way, runtime);
    let good = tried.iter().rev().take_while(|(_, good)| *good >= tries);
    good.last().map(|(limit, _)| *limit)
}

fn at_512(samples: &Samples, way: &str, runtime: &str) -> f64 {
    tried(samples, way, runtime).iter().find(|(limit, _)| *limit == 512).map_or(f64::NAN, |(_, good)| *good)
}

fn memory(page: &mut String, samples: &Samples) {
    if !samples.contains_key("oci memory tries") {
        page.push_str("\nThis machine has no memory controller to limit memory with.\n");
        return;
    }
    let tries = median(samples, "oci memory tries");
    page.push_str(
        "\n### Little memory\n\n`run` with a limit of memory: on the container alone (`linux.resources.memory.limit`), \
        and on a control group that the runtime itself is in.\n\n| | the container in 512 KiB | least limit, KiB | \
        the runtime in 512 KiB | least limit, KiB |\n|---|--:|--:|--:|--:|\n",
    );
    for runtime in RUNTIMES {
        let cell = |way: &str| {
            let least = least(samples, way, runtime).map_or("none tried".to_string(), |l| l.to_string());
            format!("{:.0} of {tries:.0} | {least}", at_512(samples, way, runtime))
        };
        let _ = writeln!(page, "| {runtime} | {} | {} |", cell("container"), cell("inside"));
    }
}

fn targets(page: &mut String, samples: &Samples) {
    page.push_str("\n### Targets\n\n| target | measured | |\n|---|--:|---|\n");
    let mut row = |target: &str, measured: String, met: bool| {
        let _ = writeln!(page, "| {target} | {measured} | {} |", if met { "met" } else { "**missed**" });
    };
    for (layout, named) in LAYOUTS {
        for (what, title) in WHOLE {
            for (other, most) in [("crun", 0.5), ("runc", 0.2)] {
                let of = |runtime: &str| median(samples, &format!("oci {layout} {what} {runtime}"));
                let ratio = of("donjon") / of(other);
                if !ratio.is_nan() {
                    row(
                        &format!("{title} ≤ {most} × {other}, {named}"),
                        format!("{ratio:.2}"),
                        ratio <= most,
                    );
                }
            }
        }
    }
    let (first, last) = ends(samples, "oci many come donjon");
    row("containers cost the same beside others", format!("{:.2} ×", last / first), last / first < 1.1);
    if !samples.contains_key("oci memory tries") {
        return;
    }
    let (good, tries) = (at_512(samples, "container", "donjon"), median(samples, "oci memory tries"));
    row("a container in 512 KiB", format!("{good:.0} of {tries:.0}"), good >= tries);
    let (own, other) = (least(samples, "inside", "donjon"), least(samples, "inside", "crun"));
    let kib = |limit: Option<u64>| limit.map_or("none tried".to_string(), |l| format!("{l} KiB"));
    let met = own.is_some_and(|own| other.is_none_or(|other| own <= other));
    row("runs in as little memory as crun", format!("{}, crun {}", kib(own), kib(other)), met);
}

const INTRODUCTION: &str = "\n## The OCI commands\n\n\
donjon, crun and runc as root with one bundle: the configuration that `runc spec` writes, with `/bin/true` as the process
and no terminal. State directories and bundle lie in RAM. One of each runtime a round, each round beginning with another,
after a warm-up; no sample is dropped. Between `start` and `delete` the harness waits for the process's end by looking into
/proc, and that is a part of the whole.
";

const WITHOUT_DEVICES: &str = " The rules for devices are left out of the configuration, for all alike: not every \
    runtime could load a program for them here.";
