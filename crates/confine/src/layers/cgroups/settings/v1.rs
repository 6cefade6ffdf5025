//! Files of version 1 (`Documentation/admin-guide/cgroup-v1`).

use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxResources};

use super::Setting;
use crate::layers::cgroups::resources::throttles;

pub(super) fn settings(spec: &LinuxResources) -> Vec<Setting> {
    let mut all = Vec::new();
    all.extend(spec.cpu().iter().flat_map(cpuset));
    all.extend(spec.memory().iter().flat_map(memory));
    all.extend(spec.cpu().iter().flat_map(cpu));
    all.extend(spec.pids().iter().map(|pids| Setting::new("pids.max", pids_max(pids.limit()), "pids.limit")));
    all.extend(spec.block_io().iter().flat_map(block_io));
    for (i, limit) in spec.hugepage_limits().iter().flatten().enumerate() {
        let (file, field) = (format!("hugetlb.{}", limit.page_size()), format!("hugepageLimits[{i}].limit"));
        all.push(Setting::new(format!("{file}.limit_in_bytes"), limit.limit(), &field));
        all.push(Setting::new(format!("{file}.rsvd.limit_in_bytes"), limit.limit(), &field).may_be_missing());
    }
    if let Some(network) = spec.network() {
        let class = network.class_id().filter(|id| *id != 0);
        all.extend(class.map(|id| Setting::new("net_cls.classid", id, "network.classID")));
        for (i, entry) in network.priorities().iter().flatten().enumerate() {
            let value = format!("{} {}", entry.name(), entry.priority());
            all.push(Setting::new("net_prio.ifpriomap", value, &format!("network.priorities[{i}].priority")));
        }
    }
    all.extend(rdma(spec));
    all
}

/// -1 is no limit. 0 becomes 1, as in other runtimes: systemd knows no 0, and with either nothing can be forked.
pub(super) fn pids_max(limit: i64) -> String {
    match limit {
        ..0 => "max".to_string(),
        0 => "1".to_string(),
        limit => limit.to_string(),
    }
}

pub(super) fn rdma(spec: &LinuxResources) -> impl Iterator<Item = Setting> {
    spec.rdma().iter().flatten().map(|(name, limit)| {
        let mut value = name.clone();
        if let Some(n) = limit.hca_handles() {
            value.push_str(&format!(" hca_handle={n}"));
        }
        if let Some(n) = limit.hca_objects() {
            value.push_str(&format!(" hca_object={n}"));
        }
        Setting::new("rdma.max", value, &format!("rdma[{name:?}]"))
    })
}

fn memory(m: &LinuxMemory) -> Vec<Setting> {
    let set = |value: Option<i64>| value.filter(|n| *n != 0);
    let mut all = Vec::new();
    let (limit, swap) = (set(m.limit()), set(m.swap()));
    all.extend(limit.map(|n| Setting::new("memory.limit_in_bytes", n, "memory.limit")));
    let memsw = |n: i64, field| Setting::new("memory.memsw.limit_in_bytes", n, field);
    match (limit, swap) {
        // No limit of memory is none of both; a kernel that counts no swap has none anyway.
        (_, Some(-1)) => all.push(memsw(-1, "memory.swap").may_be_missing()),
        (Some(-1), None) => all.push(memsw(-1, "memory.limit").may_be_missing()),
        (_, Some(swap)) => all.push(memsw(swap, "memory.swap")),
        (_, None) => {}
    }
    let reservation = set(m.reservation());
    all.extend(reservation.map(|n| Setting::new("memory.soft_limit_in_bytes", n, "memory.reservation")));
    if m.disable_oom_killer() == Some(true) {
        all.push(Setting::new("memory.oom_control", 1, "memory.disableOOMKiller"));
    }
    all.extend(m.swappiness().map(|n| Setting::new("memory.swappiness", n, "memory.swappiness")));
    all
}

/// Before all others: without processors and memory nodes a group takes no process.
fn cpuset(c: &LinuxCpu) -> Vec<Setting> {
    let list = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let mut all = Vec::new();
    all.extend(list(c.cpus()).map(|text| Setting::new("cpuset.cpus", text, "cpu.cpus")));
    all.extend(list(c.mems()).map(|text| Setting::new("cpuset.mems", text, "cpu.mems")));
    all
}

fn cpu(c: &LinuxCpu) -> Vec<Setting> {
    let set = |value: Option<u64>| value.filter(|n| *n != 0);
    let signed = |value: Option<i64>| value.filter(|n| *n != 0);
    let mut all = Vec::new();
    all.extend(set(c.shares()).map(|n| Setting::new("cpu.shares", n, "cpu.shares")));
    all.extend(set(c.period()).map(|n| Setting::new("cpu.cfs_period_us", n, "cpu.period")));
    all.extend(signed(c.quota()).map(|n| Setting::new("cpu.cfs_quota_us", n, "cpu.quota")));
    // Linux 5.14; without it there are no bursts, which is the stricter.
    all.extend(c.burst().map(|n| Setting::new("cpu.cfs_burst_us", n, "cpu.burst").may_be_missing()));
    all.extend(c.idle().map(|n| Setting::new("cpu.idle", n, "cpu.idle")));
    all.extend(set(c.realtime_period()).map(|n| Setting::new("cpu.rt_period_us", n, "cpu.realtimePeriod")));
    let runtime = signed(c.realtime_runtime());
    all.extend(runtime.map(|n| Setting::new("cpu.rt_runtime_us", n, "cpu.realtimeRuntime")));
    all
}

fn block_io(io: &LinuxBlockIo) -> Vec<Setting> {
    let set = |value: Option<u16>| value.filter(|n| *n != 0);
    let mut all = Vec::new();
    // The scheduler BFQ has files of its own, and is the only one of today's that weighs.
    let weight = |n: u16| Setting::new("blkio.weight", n, "blockIO.weight").otherwise("blkio.bfq.weight", n);
    all.extend(set(io.weight()).map(weight));
    let leaf = set(io.leaf_weight());
    all.extend(leaf.map(|n| Setting::new("blkio.leaf_weight", n, "blockIO.leafWeight")));
    for (i, entry) in io.weight_device().iter().flatten().enumerate() {
        let (at, field) =
            (format!("{}:{}", entry.major(), entry.minor()), format!("blockIO.weightDevice[{i}]"));
        if let Some(n) = set(entry.weight()) {
            let value = format!("{at} {n}");
            all.push(
                Setting::new("blkio.weight_device", &value, &format!("{field}.weight"))
                    .otherwise("blkio.bfq.weight_device", &value),
            );
        }
        if let Some(n) = set(entry.leaf_weight()) {
            let field = format!("{field}.leafWeight");
            all.push(Setting::new("blkio.leaf_weight_device", format!("{at} {n}"), &field));
        }
    }
    let files = ["read_bps_device", "write_bps_device", "read_iops_device", "write_iops_device"];
    for ((name, list), file) in throttles(io).into_iter().zip(files) {
        for (i, entry) in list.iter().enumerate() {
            let value = format!("{}:{} {}", entry.major(), entry.minor(), entry.rate());
            let field = format!("blockIO.{name}[{i}].rate");
            all.push(Setting::new(format!("blkio.throttle.{file}"), value, &field));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(json: &str) -> Vec<String> {
        let spec = serde_json::from_str(json).expect(json);
        settings(&spec).into_iter().map(|s| format!("{}={}", s.file, s.value)).collect()
    }

    #[test]
    fn everything_of_version_1_has_its_file() {
        assert_eq!(
            written(
                r#"{"memory": {"limit": 100, "swap": 200, "reservation": 50, "swappiness": 0, "disableOOMKiller": true},
                    "cpu": {"shares": 512, "quota": 20000, "period": 100000, "burst": 10, "idle": 0,
                            "realtimeRuntime": 950, "realtimePeriod": 1000, "cpus": "0-1", "mems": "0"},
                    "pids": {"limit": 30},
                    "blockIO": {"weight": 10, "leafWeight": 20,
                                "weightDevice": [{"major": 8, "minor": 0, "weight": 500, "leafWeight": 300}],
                                "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 600}],
                                "throttleWriteIOPSDevice": [{"major": 8, "minor": 16, "rate": 300}]},
                    "hugepageLimits": [{"pageSize": "2MB", "limit": 9}],
                    "network": {"classID": 1048577, "priorities": [{"name": "eth0", "priority": 500}]},
                    "rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10}}}"#
            ),
            [
                "cpuset.cpus=0-1",
                "cpuset.mems=0",
                "memory.limit_in_bytes=100",
                "memory.memsw.limit_in_bytes=200",
                "memory.soft_limit_in_bytes=50",
                "memory.oom_control=1",
                "memory.swappiness=0",
                "cpu.shares=512",
                "cpu.cfs_period_us=100000",
                "cpu.cfs_quota_us=20000",
                "cpu.cfs_burst_us=10",
                "cpu.idle=0",
                "cpu.rt_period_us=1000",
                "cpu.rt_runtime_us=950",
                "pids.max=30",
                "blkio.weight=10",
                "blkio.leaf_weight=20",
                "blkio.weight_device=8:0 500",
                "blkio.leaf_weight_device=8:0 300",
                "blkio.throttle.read_bps_device=8:0 600",
                "blkio.throttle.write_iops_device=8:16 300",
                "hugetlb.2MB.limit_in_bytes=9",
                "hugetlb.2MB.rsvd.limit_in_bytes=9",
                "net_cls.classid=1048577",
                "net_prio.ifpriomap=eth0 500",
                "rdma.max=mlx5_1 hca_handle=3 hca_object=10",
            ]
        );
    }

    #[test]
    fn no_limit_of_memory_lifts_the_one_of_both() {
        assert_eq!(
            written(r#"{"memory": {"limit": -1}}"#),
            ["memory.limit_in_bytes=-1", "memory.memsw.limit_in_bytes=-1"]
        );
    }

    #[test]
    fn what_is_zero_is_not_set_but_for_processes() {
        assert!(written(r#"{"memory": {"limit": 0, "swap": 0}, "cpu": {"shares": 0, "quota": 0, "cpus": ""}, "blockIO": {"weight": 0}}"#).is_empty());
        assert_eq!(written(r#"{"pids": {"limit": 0}}"#), ["pids.max=1"]);
        assert_eq!(written(r#"{"pids": {"limit": -1}}"#), ["pids.max=max"]);
    }
}
