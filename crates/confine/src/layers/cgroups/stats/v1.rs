//! Files of version 1.

use super::{BlkioEntry, Hugetlb, MemoryEntry, Stats, huge_page_sizes, keyed, members, number};
use crate::layers::cgroups::cgroup::Cgroup;
use crate::layers::cgroups::read_all;

/// Ticks of the clock in `cpuacct.stat`, which is the same on all architectures that Rust runs on (`USER_HZ`).
const TICK: u64 = 1_000_000_000 / 100;

pub(super) fn stats(cgroup: &Cgroup) -> Stats {
    let text = |controller: &str, file: &str| cgroup.dir(controller).and_then(|d| read_all(&d.fd, file));
    let n = |controller: &str, file: &str| text(controller, file).and_then(|t| number(&t)).unwrap_or(0);
    let mut stats = Stats::default();

    stats.cpu.usage.total = n("cpuacct", "cpuacct.usage");
    let modes = keyed(&text("cpuacct", "cpuacct.stat").unwrap_or_default());
    stats.cpu.usage.user = modes.get("user").copied().unwrap_or(0).saturating_mul(TICK);
    stats.cpu.usage.kernel = modes.get("system").copied().unwrap_or(0).saturating_mul(TICK);
    let each = text("cpuacct", "cpuacct.usage_percpu").unwrap_or_default();
    stats.cpu.usage.percpu = each.split_whitespace().filter_map(|t| t.parse().ok()).collect();
    let both = text("cpuacct", "cpuacct.usage_all").unwrap_or_default();
    (stats.cpu.usage.percpu_user, stats.cpu.usage.percpu_kernel) = usage_all(&both);
    let throttled = keyed(&text("cpu", "cpu.stat").unwrap_or_default());
    let of = |key: &str| throttled.get(key).copied().unwrap_or(0);
    stats.cpu.throttling.periods = of("nr_periods");
    stats.cpu.throttling.throttled_periods = of("nr_throttled");
    stats.cpu.throttling.throttled_time = of("throttled_time");

    let c = |file: &str| n("cpuset", &format!("cpuset.{file}"));
    stats.cpuset.cpus = members(&text("cpuset", "cpuset.cpus").unwrap_or_default());
    stats.cpuset.mems = members(&text("cpuset", "cpuset.mems").unwrap_or_default());
    stats.cpuset.cpu_exclusive = c("cpu_exclusive");
    stats.cpuset.mem_hardwall = c("mem_hardwall");
    stats.cpuset.mem_exclusive = c("mem_exclusive");
    stats.cpuset.memory_migrate = c("memory_migrate");
    stats.cpuset.memory_spread_page = c("memory_spread_page");
    stats.cpuset.memory_spread_slab = c("memory_spread_slab");
    stats.cpuset.memory_pressure = c("memory_pressure");
    stats.cpuset.sched_load_balance = c("sched_load_balance");
    let level = text("cpuset", "cpuset.sched_relax_domain_level").unwrap_or_default();
    stats.cpuset.sched_relax_domain_level = level.trim().parse().unwrap_or(0);

    stats.memory.raw = keyed(&text("memory", "memory.stat").unwrap_or_default());
    stats.memory.cache = stats.memory.raw.get("cache").copied().unwrap_or(0);
    let entry = |kind: &str| {
        let m = |file: &str| n("memory", &format!("memory.{kind}{file}"));
        MemoryEntry {
            limit: m("limit_in_bytes"),
            usage: m("usage_in_bytes"),
            max: m("max_usage_in_bytes"),
            failcnt: m("failcnt"),
        }
    };
    stats.memory.usage = entry("");
    stats.memory.swap = entry("memsw.");
    stats.memory.kernel = entry("kmem.");
    stats.memory.kernel_tcp = entry("kmem.tcp.");

    stats.pids.current = n("pids", "pids.current");
    stats.pids.limit = Some(n("pids", "pids.max")).filter(|n| *n != u64::MAX).unwrap_or(0);

    // The scheduler BFQ counts recursively; otherwise what is throttled is counted.
    let io = |files: &[&str]| {
        files.iter().find_map(|file| text("blkio", file)).map(|t| blkio(&t)).unwrap_or_default()
    };
    stats.blkio.io_service_bytes_recursive = io(&[
        "blkio.bfq.io_service_bytes_recursive",
        "blkio.throttle.io_service_bytes_recursive",
        "blkio.throttle.io_service_bytes",
    ]);
    stats.blkio.io_serviced_recursive = io(&[
        "blkio.bfq.io_serviced_recursive",
        "blkio.throttle.io_serviced_recursive",
        "blkio.throttle.io_serviced",
    ]);
    stats.blkio.io_queued_recursive = io(&["blkio.bfq.io_queued_recursive"]);
    stats.blkio.io_service_time_recursive = io(&["blkio.bfq.io_service_time_recursive"]);
    stats.blkio.io_wait_time_recursive = io(&["blkio.bfq.io_wait_time_recursive"]);
    stats.blkio.io_merged_recursive = io(&["blkio.bfq.io_merged_recursive"]);
    stats.blkio.io_time_recursive = io(&["blkio.bfq.time_recursive"]);
    stats.blkio.sectors_recursive = io(&["blkio.bfq.sectors_recursive"]);

    if cgroup.dir("hugetlb").is_some() {
        for size in huge_page_sizes() {
            let h = |file: &str| {
                let name = |kind: &str| format!("hugetlb.{size}.{kind}{file}");
                text("hugetlb", &name("rsvd.")).or_else(|| text("hugetlb", &name("")))
            };
            let Some(usage) = h("usage_in_bytes") else { continue };
            let value = |text: Option<String>| text.and_then(|t| number(&t)).unwrap_or(0);
            let entry = Hugetlb {
                usage: value(Some(usage)),
                max: value(h("max_usage_in_bytes")),
                failcnt: value(h("failcnt")),
            };
            stats.hugetlb.insert(size, entry);
        }
    }
    stats
}

/// User and kernel time of each processor.
fn usage_all(text: &str) -> (Vec<u64>, Vec<u64>) {
    text.lines()
        .skip(1)
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(1);
            Some((fields.next()?.parse::<u64>().ok()?, fields.next()?.parse::<u64>().ok()?))
        })
        .unzip()
}

/// Lines of `MAJOR:MINOR [OPERATION] VALUE`; the sums that follow belong to no device.
fn blkio(text: &str) -> Vec<BlkioEntry> {
    text.lines()
        .filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let (device, op, value) = match words.as_slice() {
                [device, op, value] => (device, *op, value),
                [device, value] => (device, "", value),
                _ => return None,
            };
            let (major, minor) = device.split_once(':')?;
            Some(BlkioEntry {
                major: major.parse().ok()?,
                minor: minor.parse().ok()?,
                op: op.to_string(),
                value: value.parse().ok()?,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_processors_and_numbers_of_devices_are_read() {
        assert_eq!(usage_all("cpu user system\n0 5 6\n1 7 8\n"), (vec![5, 7], vec![6, 8]));
        let entries = blkio("8:0 Read 5\n8:16 7\n8:0 Total x\nTotal 12\n");
        let read = BlkioEntry { major: 8, minor: 0, op: "Read".into(), value: 5 };
        assert_eq!(entries, [read, BlkioEntry { major: 8, minor: 16, op: String::new(), value: 7 }]);
    }
}
