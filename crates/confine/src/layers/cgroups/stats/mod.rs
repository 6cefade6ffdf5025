//! What a group uses: serialises to the object `data` of runc's `events --stats`, whose readers leave out what is zero
//! in the same places.

mod v1;
mod v2;

use std::collections::BTreeMap;

use serde::Serialize;

use super::cgroup::Cgroup;
use super::resources::parse_list;

fn zero<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// All numbers. Those that the machine does not have are zero or left out.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[allow(missing_docs)] // each is described at its type
pub struct Stats {
    pub cpu: Cpu,
    pub cpuset: CpuSet,
    pub memory: Memory,
    pub pids: Pids,
    pub blkio: Blkio,
    /// By page size.
    pub hugetlb: BTreeMap<String, Hugetlb>,
    /// Filled by the caller where resctrl is used.
    pub intel_rdt: serde_json::Map<String, serde_json::Value>,
    /// Filled by the caller.
    pub network_interfaces: Option<Vec<NetworkInterface>>,
}

/// Processor time.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Cpu {
    #[serde(skip_serializing_if = "zero")]
    pub usage: CpuUsage,
    #[serde(skip_serializing_if = "zero")]
    pub throttling: Throttling,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Psi>,
}

/// Processor time in nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct CpuUsage {
    #[serde(skip_serializing_if = "zero")]
    pub total: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu_kernel: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu_user: Vec<u64>,
    pub kernel: u64,
    pub user: u64,
}

/// How often, and how long in nanoseconds, the limit of processor time was reached.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct Throttling {
    #[serde(skip_serializing_if = "zero")]
    pub periods: u64,
    #[serde(skip_serializing_if = "zero")]
    pub throttled_periods: u64,
    #[serde(skip_serializing_if = "zero")]
    pub throttled_time: u64,
}

/// Processors and memory nodes. Only the first two are version 2's as well.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct CpuSet {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cpus: Vec<u16>,
    pub cpu_exclusive: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mems: Vec<u16>,
    pub mem_hardwall: u64,
    pub mem_exclusive: u64,
    pub memory_migrate: u64,
    pub memory_spread_page: u64,
    pub memory_spread_slab: u64,
    pub memory_pressure: u64,
    pub sched_load_balance: u64,
    pub sched_relax_domain_level: i64,
}

/// Memory in bytes; `swap` is memory and swap together, under version 2 as well.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Memory {
    #[serde(skip_serializing_if = "zero")]
    pub cache: u64,
    #[serde(skip_serializing_if = "zero")]
    pub usage: MemoryEntry,
    #[serde(skip_serializing_if = "zero")]
    pub swap: MemoryEntry,
    #[serde(skip_serializing_if = "zero")]
    pub kernel: MemoryEntry,
    #[serde(rename = "kernelTCP", skip_serializing_if = "zero")]
    pub kernel_tcp: MemoryEntry,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub raw: BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Psi>,
}

/// One kind of memory: in use, most ever, the limit (`u64::MAX`: none), and how often it was reached.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct MemoryEntry {
    pub limit: u64,
    #[serde(skip_serializing_if = "zero")]
    pub usage: u64,
    #[serde(skip_serializing_if = "zero")]
    pub max: u64,
    pub failcnt: u64,
}

/// Processes and threads; a limit of 0 is none.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Pids {
    #[serde(skip_serializing_if = "zero")]
    pub current: u64,
    #[serde(skip_serializing_if = "zero")]
    pub limit: u64,
}

/// Block devices.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct Blkio {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_service_bytes_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_serviced_recursive: Vec<BlkioEntry>,
    #[serde(rename = "ioQueueRecursive", skip_serializing_if = "Vec::is_empty")]
    pub io_queued_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_service_time_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_wait_time_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_merged_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_time_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sectors_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Psi>,
}

/// One number of one block device.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct BlkioEntry {
    #[serde(skip_serializing_if = "zero")]
    pub major: u64,
    #[serde(skip_serializing_if = "zero")]
    pub minor: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub op: String,
    #[serde(skip_serializing_if = "zero")]
    pub value: u64,
}

/// Huge pages of one size, in bytes.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Hugetlb {
    #[serde(skip_serializing_if = "zero")]
    pub usage: u64,
    #[serde(skip_serializing_if = "zero")]
    pub max: u64,
    pub failcnt: u64,
}

/// Pressure stall information (`Documentation/accounting/psi.rst`): shares of time in percent, and microseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Psi {
    /// Some task waited.
    #[serde(skip_serializing_if = "zero")]
    pub some: PsiTimes,
    /// All tasks waited.
    #[serde(skip_serializing_if = "zero")]
    pub full: PsiTimes,
}

/// See [`Psi`].
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct PsiTimes {
    pub avg10: f64,
    pub avg60: f64,
    pub avg300: f64,
    pub total: u64,
}

/// An interface of the container's network.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs)]
pub struct NetworkInterface {
    pub name: String,
    pub rx_bytes: u64,
    pub rx_packets: u64,
    pub rx_errors: u64,
    pub rx_dropped: u64,
    pub tx_bytes: u64,
    pub tx_packets: u64,
    pub tx_errors: u64,
    pub tx_dropped: u64,
}

impl Cgroup {
    /// What the group uses now.
    pub fn stats(&self) -> Stats {
        if self.record.unified { v2::stats(self) } else { v1::stats(self) }
    }
}

/// A number of a file; "max" is no limit.
fn number(text: &str) -> Option<u64> {
    match text.trim() {
        "max" => Some(u64::MAX),
        text => text.parse().ok(),
    }
}

/// Lines of `KEY NUMBER`.
fn keyed(text: &str) -> BTreeMap<String, u64> {
    text.lines()
        .filter_map(|line| {
            let (key, value) = line.split_once(' ')?;
            Some((key.to_string(), value.trim().parse().ok()?))
        })
        .collect()
}

/// A list like `0-3,7`, each number by itself.
fn members(text: &str) -> Vec<u16> {
    parse_list(text).unwrap_or_default().into_iter().flat_map(|(from, to)| from..=to).collect()
}

/// Sizes of huge pages of this machine, as the files of groups are called.
fn huge_page_sizes() -> Vec<String> {
    let entries = std::fs::read_dir("/sys/kernel/mm/hugepages").into_iter().flatten().flatten();
    let mut sizes: Vec<u64> = entries
        .filter_map(|e| e.file_name().to_str()?.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok())
        .collect();
    sizes.sort_unstable();
    sizes
        .into_iter()
        .map(|kb| match kb {
            1_048_576.. => format!("{}GB", kb >> 20),
            1024.. => format!("{}MB", kb >> 10),
            kb => format!("{kb}KB"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_zero_is_left_out_where_runc_leaves_it_out() {
        let empty = serde_json::to_value(Stats::default()).unwrap();
        assert_eq!(
            empty,
            serde_json::json!({
                "cpu": {},
                "cpuset": {"cpu_exclusive": 0, "mem_hardwall": 0, "mem_exclusive": 0, "memory_migrate": 0,
                           "memory_spread_page": 0, "memory_spread_slab": 0, "memory_pressure": 0,
                           "sched_load_balance": 0, "sched_relax_domain_level": 0},
                "memory": {}, "pids": {}, "blkio": {}, "hugetlb": {}, "intel_rdt": {},
                "network_interfaces": null
            })
        );
        let some = Stats {
            cpu: Cpu { usage: CpuUsage { total: 5, ..Default::default() }, ..Default::default() },
            memory: Memory {
                usage: MemoryEntry { limit: 9, usage: 3, ..Default::default() },
                ..Default::default()
            },
            blkio: Blkio {
                io_queued_recursive: vec![BlkioEntry { major: 8, op: "Read".into(), ..Default::default() }],
                ..Default::default()
            },
            ..Default::default()
        };
        let some = serde_json::to_value(some).unwrap();
        assert_eq!(some["cpu"], serde_json::json!({"usage": {"total": 5, "kernel": 0, "user": 0}}));
        assert_eq!(some["memory"], serde_json::json!({"usage": {"limit": 9, "usage": 3, "failcnt": 0}}));
        assert_eq!(some["blkio"], serde_json::json!({"ioQueueRecursive": [{"major": 8, "op": "Read"}]}));
    }

    #[test]
    fn numbers_of_files_are_read() {
        assert_eq!((number("max\n"), number("12\n"), number("x")), (Some(u64::MAX), Some(12), None));
        assert_eq!(members("0-2,5\n"), [0, 1, 2, 5]);
        assert_eq!(keyed("a 1\nb x\nc 3\n").into_values().sum::<u64>(), 4);
    }
}
