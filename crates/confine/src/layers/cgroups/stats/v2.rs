//! Files of version 2, told in the terms of version 1 that readers of these numbers know.

use super::{
    Blkio, BlkioEntry, Hugetlb, MemoryEntry, Psi, PsiTimes, Stats, huge_page_sizes, keyed, members, number,
};
use crate::layers::cgroups::cgroup::Cgroup;
use crate::layers::cgroups::{events, read_all};

pub(super) fn stats(cgroup: &Cgroup) -> Stats {
    let text = |file: &str| cgroup.dir("").and_then(|d| read_all(&d.fd, file));
    let n = |file: &str| text(file).and_then(|t| number(&t));
    let psi = |file: &str| text(file).map(|t| psi(&t));
    let mut stats = Stats::default();

    let cpu = keyed(&text("cpu.stat").unwrap_or_default());
    let nanoseconds = |key: &str| cpu.get(key).copied().unwrap_or(0).saturating_mul(1000);
    stats.cpu.usage.total = nanoseconds("usage_usec");
    stats.cpu.usage.user = nanoseconds("user_usec");
    stats.cpu.usage.kernel = nanoseconds("system_usec");
    stats.cpu.throttling.periods = cpu.get("nr_periods").copied().unwrap_or(0);
    stats.cpu.throttling.throttled_periods = cpu.get("nr_throttled").copied().unwrap_or(0);
    stats.cpu.throttling.throttled_time = nanoseconds("throttled_usec");
    stats.cpu.psi = psi("cpu.pressure");

    stats.cpuset.cpus = members(&text("cpuset.cpus.effective").unwrap_or_default());
    stats.cpuset.mems = members(&text("cpuset.mems.effective").unwrap_or_default());

    stats.memory.raw = keyed(&text("memory.stat").unwrap_or_default());
    stats.memory.cache = stats.memory.raw.get("file").copied().unwrap_or(0);
    let hits = text("memory.events").map_or(0, |t| events::value(&t, "max"));
    stats.memory.usage = MemoryEntry {
        limit: n("memory.max").unwrap_or(0),
        usage: n("memory.current").unwrap_or(0),
        max: n("memory.peak").unwrap_or(0),
        failcnt: hits,
    };
    if let (Some(used), Some(limit)) = (n("memory.swap.current"), n("memory.swap.max")) {
        stats.memory.swap = MemoryEntry {
            limit: stats.memory.usage.limit.saturating_add(limit),
            usage: stats.memory.usage.usage.saturating_add(used),
            ..Default::default()
        };
    }
    // Linux 5.18; part of all memory, so it has no limit of its own.
    let kernel = stats.memory.raw.get("kernel").copied().unwrap_or(0);
    stats.memory.kernel.usage = kernel;
    stats.memory.psi = psi("memory.pressure");

    stats.pids.current = n("pids.current").unwrap_or_else(|| {
        // Without the controller processes can be counted, and threads not.
        text("cgroup.procs").map_or(0, |t| t.lines().count() as u64)
    });
    stats.pids.limit = n("pids.max").filter(|n| *n != u64::MAX).unwrap_or(0);

    stats.blkio = blkio(&text("io.stat").unwrap_or_default());
    stats.blkio.psi = psi("io.pressure");

    for size in huge_page_sizes() {
        let h = |file: &str| n(&format!("hugetlb.{size}.{file}"));
        let Some(usage) = h("rsvd.current").or_else(|| h("current")) else { continue };
        let failcnt = text(&format!("hugetlb.{size}.events")).map_or(0, |t| events::value(&t, "max"));
        stats.hugetlb.insert(size, Hugetlb { usage, max: 0, failcnt });
    }
    stats
}

fn psi(text: &str) -> Psi {
    let mut psi = Psi::default();
    for line in text.lines() {
        let mut words = line.split(' ');
        let times = match words.next() {
            Some("some") => &mut psi.some,
            Some("full") => &mut psi.full,
            _ => continue,
        };
        *times = words.fold(PsiTimes::default(), |mut times, word| {
            match word.split_once('=') {
                Some(("avg10", n)) => times.avg10 = n.parse().unwrap_or(0.0),
                Some(("avg60", n)) => times.avg60 = n.parse().unwrap_or(0.0),
                Some(("avg300", n)) => times.avg300 = n.parse().unwrap_or(0.0),
                Some(("total", n)) => times.total = n.parse().unwrap_or(0),
                _ => {}
            }
            times
        });
    }
    psi
}

fn blkio(text: &str) -> Blkio {
    let mut blkio = Blkio::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let Some((major, minor)) = words.next().and_then(|device| device.split_once(':')) else { continue };
        let (Ok(major), Ok(minor)) = (major.parse(), minor.parse()) else { continue };
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            let (list, op) = match key {
                "rbytes" => (&mut blkio.io_service_bytes_recursive, "Read"),
                "wbytes" => (&mut blkio.io_service_bytes_recursive, "Write"),
                "rios" => (&mut blkio.io_serviced_recursive, "Read"),
                "wios" => (&mut blkio.io_serviced_recursive, "Write"),
                _ => continue,
            };
            let Ok(value) = value.parse() else { continue };
            list.push(BlkioEntry { major, minor, op: op.to_string(), value });
        }
    }
    blkio
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pressure_is_read() {
        let read = psi(
            "some avg10=0.50 avg60=1.00 avg300=2.25 total=77\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=5\n",
        );
        assert_eq!(read.some, PsiTimes { avg10: 0.5, avg60: 1.0, avg300: 2.25, total: 77 });
        assert_eq!(read.full.total, 5);
    }

    #[test]
    fn devices_are_told_as_version_1_told_them() {
        let read = blkio("8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=9\n254:1 \nbad\n");
        let values = |list: &[BlkioEntry]| list.iter().map(|e| (e.op.clone(), e.value)).collect::<Vec<_>>();
        assert_eq!(values(&read.io_service_bytes_recursive), [("Read".into(), 10), ("Write".into(), 20)]);
        assert_eq!(values(&read.io_serviced_recursive), [("Read".into(), 1), ("Write".into(), 2)]);
    }
}
