//! Files of version 2 (`Documentation/admin-guide/cgroup-v2.rst`).
//!
//! The specification speaks in version 1's units. Weights are converted, swap is counted alone, and kernel memory, which
//! is part of all memory here, has no limit of its own.

use std::collections::BTreeMap;

use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxResources};

use super::v1::{pids_max, rdma};
use super::{Current, Setting};
use crate::layers::cgroups::resources::throttles;

pub(super) fn settings(spec: &LinuxResources, current: &Current) -> Vec<Setting> {
    let mut all = Vec::new();
    all.extend(spec.cpu().iter().flat_map(cpuset));
    all.extend(spec.memory().iter().flat_map(|m| memory(m, current)));
    all.extend(spec.cpu().iter().flat_map(|c| cpu(c, current)));
    all.extend(spec.pids().iter().map(|pids| Setting::new("pids.max", pids_max(pids.limit()), "pids.limit")));
    all.extend(spec.block_io().iter().flat_map(block_io));
    for (i, limit) in spec.hugepage_limits().iter().flatten().enumerate() {
        let (file, field) = (format!("hugetlb.{}", limit.page_size()), format!("hugepageLimits[{i}].limit"));
        all.push(Setting::new(format!("{file}.max"), limit.limit(), &field));
        all.push(Setting::new(format!("{file}.rsvd.max"), limit.limit(), &field).may_be_missing());
    }
    all.extend(rdma(spec));
    // Last, so that it has the last word; in one order always.
    let unified: BTreeMap<_, _> = spec.unified().iter().flatten().collect();
    all.extend(
        unified
            .into_iter()
            .map(|(file, value)| Setting::new(file, value.trim(), &format!("unified[{file:?}]"))),
    );
    all
}

/// The formula that runc has since 1.3.2: 10 to the power of ((log2 S)² + 125 log2 S) / 612 - 7/34,
/// which maps the smallest, the default and the largest share (2, 1024, 262144) to those weights (1, 100, 10000). The
/// straight line of earlier versions gave 1024 shares the weight 39. 0 is "not set".
pub(in super::super) fn cpu_weight(shares: u64) -> u64 {
    match shares {
        0 => 0,
        1 | 2 => 1,
        262_144.. => 10_000,
        shares => {
            let l = (shares as f64).log2();
            let exponent = (l * l + 125.0 * l) / 612.0 - 7.0 / 34.0;
            // Without the small step back the default, whose exponent is 2 but for rounding, could become 101.
            (10f64.powf(exponent) - 1e-9).ceil().clamp(1.0, 10_000.0) as u64
        }
    }
}

/// 10 to 1000 becomes 1 to 10000, in a straight line, as the specification's readers agree.
pub(in super::super) fn blkio_weight(weight: u16) -> u64 {
    match weight {
        0 => 0,
        weight => 1 + (u64::from(weight).saturating_sub(10)) * 9999 / 990,
    }
}

/// A limit of swap alone out of one of both; `None`: no limit is set, -1: there is none.
pub(in super::super) fn swap_alone(swap: Option<i64>, limit: Option<i64>) -> Option<i64> {
    match (swap.filter(|n| *n != 0), limit.filter(|n| *n != 0)) {
        (None, Some(-1)) => Some(-1),
        (None, _) => None,
        (Some(-1), _) => Some(-1),
        (Some(swap), Some(-1)) => Some(swap),
        (Some(swap), limit) => Some(swap.saturating_sub(limit.unwrap_or(0)).max(0)),
    }
}

fn or_max(n: i64) -> String {
    if n < 0 { "max".to_string() } else { n.to_string() }
}

fn memory(m: &LinuxMemory, current: &Current) -> Vec<Setting> {
    let set = |value: Option<i64>| value.filter(|n| *n != 0);
    let mut all = Vec::new();
    let limit = set(m.limit());
    // The limit of memory that holds when both are: the one that is there, if this changes none.
    let there = current.memory_max.as_deref().map(|text| text.parse().unwrap_or(-1));
    if let Some(n) = swap_alone(m.swap(), limit.or(there.filter(|_| m.swap().is_some()))) {
        let field = if m.swap().is_some() { "memory.swap" } else { "memory.limit" };
        let setting = Setting::new("memory.swap.max", or_max(n), field);
        // A kernel that counts no swap gives none, and has no limit of it.
        all.push(if n <= 0 { setting.may_be_missing() } else { setting });
    }
    all.extend(limit.map(|n| Setting::new("memory.max", or_max(n), "memory.limit")));
    all.extend(set(m.reservation()).map(|n| Setting::new("memory.low", or_max(n), "memory.reservation")));
    all
}

fn cpuset(c: &LinuxCpu) -> Vec<Setting> {
    let list = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let mut all = Vec::new();
    all.extend(list(c.cpus()).map(|text| Setting::new("cpuset.cpus", text, "cpu.cpus")));
    all.extend(list(c.mems()).map(|text| Setting::new("cpuset.mems", text, "cpu.mems")));
    all
}

fn cpu(c: &LinuxCpu, current: &Current) -> Vec<Setting> {
    let mut all = Vec::new();
    all.extend(c.idle().map(|n| Setting::new("cpu.idle", n, "cpu.idle")));
    // A group that only gets what is left has the weight of that, and no other can be set.
    let shares = c.shares().filter(|n| *n != 0 && c.idle() != Some(1));
    all.extend(shares.map(|n| Setting::new("cpu.weight", cpu_weight(n), "cpu.shares")));
    let (quota, period) = (c.quota().filter(|n| *n != 0), c.period().filter(|n| *n != 0));
    let there = || current.cpu_max.as_deref().and_then(|text| text.split(' ').next());
    let field = if quota.is_some() { "cpu.quota" } else { "cpu.period" };
    let value = match (quota, period) {
        (None, None) => None,
        // Without a period the kernel keeps the one that is there.
        (Some(quota), None) => Some(or_max(quota)),
        (Some(quota), Some(period)) => Some(format!("{} {period}", or_max(quota))),
        (None, Some(period)) => Some(format!("{} {period}", there().unwrap_or("max"))),
    };
    all.extend(value.map(|value| Setting::new("cpu.max", value, field)));
    all.extend(c.burst().map(|n| Setting::new("cpu.max.burst", n, "cpu.burst").may_be_missing()));
    all
}

fn block_io(io: &LinuxBlockIo) -> Vec<Setting> {
    let set = |value: Option<u16>| value.filter(|n| *n != 0);
    let mut all = Vec::new();
    // The scheduler BFQ weighs by itself, in its own units; otherwise the controller does (io.cost).
    all.extend(
        set(io.weight()).map(|n| {
            Setting::new("io.bfq.weight", n, "blockIO.weight").otherwise("io.weight", blkio_weight(n))
        }),
    );
    for (i, entry) in io.weight_device().iter().flatten().enumerate() {
        let at = format!("{}:{}", entry.major(), entry.minor());
        all.extend(set(entry.weight()).map(|n| {
            Setting::new("io.bfq.weight", format!("{at} {n}"), &format!("blockIO.weightDevice[{i}].weight"))
                .otherwise("io.weight", format!("{at} {}", blkio_weight(n)))
        }));
    }
    for ((name, list), key) in throttles(io).into_iter().zip(["rbps", "wbps", "riops", "wiops"]) {
        for (i, entry) in list.iter().enumerate() {
            // 0 is version 1's word for no limit.
            let rate = if entry.rate() == 0 { "max".to_string() } else { entry.rate().to_string() };
            let value = format!("{}:{} {key}={rate}", entry.major(), entry.minor());
            all.push(Setting::new("io.max", value, &format!("blockIO.{name}[{i}].rate")));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written_over(json: &str, current: &Current) -> Vec<String> {
        let spec = serde_json::from_str(json).expect(json);
        settings(&spec, current).into_iter().map(|s| format!("{}={}", s.file, s.value)).collect()
    }

    fn written(json: &str) -> Vec<String> {
        written_over(json, &Current::default())
    }

    #[test]
    fn everything_of_version_2_has_its_file() {
        assert_eq!(
            written(
                r#"{"memory": {"limit": 100, "swap": 250, "reservation": 50, "kernel": 7, "kernelTCP": 8},
                    "cpu": {"shares": 1024, "quota": 20000, "period": 100000, "burst": 10, "idle": 0,
                            "cpus": "0-1", "mems": "0"},
                    "pids": {"limit": 30},
                    "blockIO": {"weight": 500, "weightDevice": [{"major": 8, "minor": 0, "weight": 500}],
                                "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 600}],
                                "throttleWriteBpsDevice": [{"major": 8, "minor": 0, "rate": 601}],
                                "throttleReadIOPSDevice": [{"major": 8, "minor": 0, "rate": 602}],
                                "throttleWriteIOPSDevice": [{"major": 8, "minor": 16, "rate": 0}]},
                    "hugepageLimits": [{"pageSize": "2MB", "limit": 9}],
                    "rdma": {"mlx5_1": {"hcaObjects": 10}},
                    "unified": {"memory.high": "90\n", "memory.oom.group": "1", "io.max": "259:0 rbps=1\n253:0 wiops=2"}}"#
            ),
            [
                "cpuset.cpus=0-1",
                "cpuset.mems=0",
                "memory.swap.max=150",
                "memory.max=100",
                "memory.low=50",
                "cpu.idle=0",
                "cpu.weight=100",
                "cpu.max=20000 100000",
                "cpu.max.burst=10",
                "pids.max=30",
                "io.bfq.weight=500",
                "io.bfq.weight=8:0 500",
                "io.max=8:0 rbps=600",
                "io.max=8:0 wbps=601",
                "io.max=8:0 riops=602",
                "io.max=8:16 wiops=max",
                "hugetlb.2MB.max=9",
                "hugetlb.2MB.rsvd.max=9",
                "rdma.max=mlx5_1 hca_object=10",
                "io.max=259:0 rbps=1\n253:0 wiops=2",
                "memory.high=90",
                "memory.oom.group=1",
            ]
        );
    }

    #[test]
    fn shares_become_weights_by_the_new_formula() {
        let pairs =
            [(0, 0), (1, 1), (2, 1), (1024, 100), (262_143, 10_000), (262_144, 10_000), (u64::MAX, 10_000)];
        for (shares, weight) in pairs {
            assert_eq!(cpu_weight(shares), weight, "{shares}");
        }
        let mut before = 0;
        for shares in (2..262_144).step_by(101) {
            let weight = cpu_weight(shares);
            assert!(weight >= before && (1..=10_000).contains(&weight), "{shares} {weight}");
            before = weight;
        }
        assert_eq!([10, 500, 1000].map(blkio_weight), [1, 4950, 10_000]);
    }

    #[test]
    fn swap_is_counted_alone() {
        for (swap, limit, alone) in [
            (None, Some(5), None),
            (Some(0), Some(5), None),
            (None, Some(-1), Some(-1)),
            (Some(-1), Some(5), Some(-1)),
            (Some(9), Some(5), Some(4)),
            (Some(5), Some(5), Some(0)),
            (Some(9), Some(-1), Some(9)),
        ] {
            assert_eq!(swap_alone(swap, limit), alone, "{swap:?} {limit:?}");
        }
    }

    #[test]
    fn a_change_counts_with_what_is_there() {
        let current = Current { memory_max: Some("100".into()), cpu_max: Some("20000 100000".into()) };
        assert_eq!(written_over(r#"{"memory": {"swap": 300}}"#, &current), ["memory.swap.max=200"]);
        assert_eq!(written_over(r#"{"cpu": {"period": 50000}}"#, &current), ["cpu.max=20000 50000"]);
        assert_eq!(written_over(r#"{"cpu": {"quota": 30000}}"#, &current), ["cpu.max=30000"]);
        assert_eq!(written_over(r#"{"cpu": {"quota": -1}}"#, &current), ["cpu.max=max"]);
        let open = Current { memory_max: Some("max".into()), cpu_max: None };
        assert_eq!(written_over(r#"{"memory": {"swap": 300}}"#, &open), ["memory.swap.max=300"]);
        assert_eq!(written_over(r#"{"memory": {"limit": 300}}"#, &current), ["memory.max=300"]);
    }

    #[test]
    fn an_idle_group_has_no_weight() {
        assert_eq!(written(r#"{"cpu": {"idle": 1, "shares": 1024}}"#), ["cpu.idle=1"]);
    }
}
