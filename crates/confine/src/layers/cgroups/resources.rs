//! `linux.resources`, checked: every value in its range and of a meaning that the machine's version can give it. What
//! passes here can only be refused by the kernel for what this machine is, not for what the specification says.

use oci_spec::runtime::{
    LinuxBlockIo, LinuxCpu, LinuxHugepageLimit, LinuxMemory, LinuxNetwork, LinuxRdma, LinuxResources,
    LinuxThrottleDevice,
};

use super::devices::{self, Rule};
use super::hierarchies::Version;
use crate::error::SpecError;
use crate::plan::Layer;

/// What limits are checked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A group that is made: what is not named has no limit.
    Start,
    /// A group that is changed: what is not named stays.
    Update,
}

/// Resources that were checked.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Resources {
    spec: LinuxResources,
    /// The rules of devices, with the defaults; `None` in an update that names none.
    rules: Option<Vec<Rule>>,
    version: Version,
}

impl Resources {
    /// Checks.
    pub(super) fn check(
        spec: &LinuxResources,
        version: Version,
        purpose: Purpose,
    ) -> Result<Self, SpecError> {
        if let Some(m) = spec.memory() {
            memory(m, version, purpose)?;
        }
        if let Some(c) = spec.cpu() {
            cpu(c, version)?;
        }
        if let Some(pids) = spec.pids() {
            at_least(pids.limit(), -1, "pids.limit", "is below -1, which stands for no limit")?;
        }
        if let Some(io) = spec.block_io() {
            block_io(io, version)?;
        }
        for (i, limit) in spec.hugepage_limits().iter().flatten().enumerate() {
            hugepages(i, limit)?;
        }
        if let Some(n) = spec.network() {
            network(n, version)?;
        }
        for (name, limit) in spec.rdma().iter().flatten() {
            rdma(name, limit)?;
        }
        for (file, value) in spec.unified().iter().flatten() {
            unified(file, value, version)?;
        }
        let rules = match (spec.devices(), purpose) {
            (Some(list), _) => Some(devices::rules(list)?),
            (None, Purpose::Start) => Some(devices::rules(&[])?),
            (None, Purpose::Update) => None,
        };
        if let Some(rules) = rules.as_ref().filter(|_| version == Version::V1) {
            devices::Exceptions::of(rules).map_err(|index| {
                let given = spec.devices().as_ref().map_or(0, Vec::len);
                let field = if index < given { format!("devices[{index}]") } else { "devices".to_string() };
                refuse(&field, "makes an exception of an exception, which cgroup v1 can't express")
            })?;
        }
        Ok(Self { spec: spec.clone(), rules, version })
    }

    pub(super) fn spec(&self) -> &LinuxResources {
        &self.spec
    }

    pub(super) fn rules(&self) -> Option<&[Rule]> {
        self.rules.as_deref()
    }

    pub(super) fn version(&self) -> Version {
        self.version
    }
}

fn refuse(field: &str, what: impl Into<String>) -> SpecError {
    SpecError::new(Layer::Cgroups, format!("linux.resources.{field}"), what)
}

fn at_least(value: i64, least: i64, field: &str, what: &str) -> Result<(), SpecError> {
    if value < least { Err(refuse(field, what)) } else { Ok(()) }
}

fn not_in_v2(field: &str) -> SpecError {
    refuse(field, "has no counterpart in cgroup v2, which this machine has")
}

fn memory(m: &LinuxMemory, version: Version, purpose: Purpose) -> Result<(), SpecError> {
    let fields = [("limit", m.limit()), ("reservation", m.reservation()), ("swap", m.swap())];
    for (name, value) in fields {
        at_least(
            value.unwrap_or(0),
            -1,
            &format!("memory.{name}"),
            "is below -1, which stands for no limit",
        )?;
    }
    // 0 is "not set", as it always was in runtimes.
    let set = |value: Option<i64>| value.filter(|n| *n != 0);
    match (set(m.limit()), set(m.swap())) {
        (Some(limit), Some(swap)) if limit > 0 && swap > 0 && swap < limit => {
            return Err(refuse(
                "memory.swap",
                "is memory and swap together, so not below linux.resources.memory.limit",
            ));
        }
        (Some(-1), Some(swap)) if swap > 0 && version == Version::V1 => {
            return Err(refuse(
                "memory.swap",
                "limits memory and swap together, and memory alone has no limit",
            ));
        }
        (None, Some(swap)) if swap > 0 && purpose == Purpose::Start => {
            return Err(refuse(
                "memory.swap",
                "is memory and swap together, so it needs linux.resources.memory.limit",
            ));
        }
        _ => {}
    }
    if let Some(swappiness) = m.swappiness() {
        if version == Version::V2 {
            return Err(not_in_v2("memory.swappiness"));
        }
        if swappiness > 100 {
            return Err(refuse("memory.swappiness", "is not between 0 and 100"));
        }
    }
    if m.disable_oom_killer() == Some(true) && version == Version::V2 {
        return Err(not_in_v2("memory.disableOOMKiller"));
    }
    Ok(())
}

/// What the kernel takes as period, in microseconds.
const PERIOD: std::ops::RangeInclusive<u64> = 1000..=1_000_000;
/// What version 1 takes as shares.
const SHARES: std::ops::RangeInclusive<u64> = 2..=262_144;

fn cpu(c: &LinuxCpu, version: Version) -> Result<(), SpecError> {
    let set = |value: Option<u64>| value.filter(|n| *n != 0);
    if let Some(shares) = set(c.shares())
        && version == Version::V1
        && !SHARES.contains(&shares)
    {
        return Err(refuse("cpu.shares", "is not between 2 and 262144"));
    }
    if let Some(period) = set(c.period())
        && !PERIOD.contains(&period)
    {
        return Err(refuse("cpu.period", "is not between 1000 and 1000000 microseconds"));
    }
    let quota = c.quota().unwrap_or(0);
    if quota < -1 || (1..1000).contains(&quota) {
        return Err(refuse("cpu.quota", "is neither -1, for no limit, nor at least 1000 microseconds"));
    }
    if let (Some(burst), Ok(quota @ 1..)) = (c.burst(), u64::try_from(quota))
        && burst > quota
    {
        return Err(refuse("cpu.burst", "is above linux.resources.cpu.quota"));
    }
    if let Some(idle) = c.idle()
        && !(0..=1).contains(&idle)
    {
        return Err(refuse("cpu.idle", "is neither 0 nor 1"));
    }
    let runtime = c.realtime_runtime().unwrap_or(0);
    at_least(runtime, -1, "cpu.realtimeRuntime", "is below -1, which stands for no limit")?;
    if version == Version::V2 {
        if runtime != 0 {
            return Err(not_in_v2("cpu.realtimeRuntime"));
        }
        if set(c.realtime_period()).is_some() {
            return Err(not_in_v2("cpu.realtimePeriod"));
        }
    }
    for (field, list) in [("cpu.cpus", c.cpus()), ("cpu.mems", c.mems())] {
        if let Some(list) = list.as_deref().filter(|list| !list.is_empty()) {
            parse_list(list).ok_or_else(|| refuse(field, format!("is {list:?}, not a list like 0-3,7")))?;
        }
    }
    Ok(())
}

/// Reads a list of processors or memory nodes: `0-3,7`.
pub(super) fn parse_list(text: &str) -> Option<Vec<(u16, u16)>> {
    text.trim()
        .split(',')
        .map(|part| {
            let number = |text: &str| match text.bytes().all(|b| b.is_ascii_digit()) {
                true => text.parse::<u16>().ok(),
                false => None,
            };
            let (from, to) = part.split_once('-').unwrap_or((part, part));
            Some((number(from)?, number(to)?)).filter(|(from, to)| from <= to)
        })
        .collect()
}

fn block_io(io: &LinuxBlockIo, version: Version) -> Result<(), SpecError> {
    let weight = |field: &str, value: Option<u16>| match value {
        Some(n) if n != 0 && !(10..=1000).contains(&n) => Err(refuse(field, "is not between 10 and 1000")),
        _ => Ok(()),
    };
    let leaf = |field: &str, value: Option<u16>| match value {
        Some(n) if n != 0 && version == Version::V2 => Err(not_in_v2(field)),
        value => weight(field, value),
    };
    let device = |field: &str, major: i64, minor: i64| {
        for (name, n) in [("major", major), ("minor", minor)] {
            if u32::try_from(n).is_err() {
                return Err(refuse(&format!("{field}.{name}"), format!("is {n}, no number of a device")));
            }
        }
        Ok(())
    };
    weight("blockIO.weight", io.weight())?;
    leaf("blockIO.leafWeight", io.leaf_weight())?;
    for (i, entry) in io.weight_device().iter().flatten().enumerate() {
        let field = format!("blockIO.weightDevice[{i}]");
        device(&field, entry.major(), entry.minor())?;
        if entry.weight().is_none() && entry.leaf_weight().is_none() {
            return Err(refuse(&field, "names neither weight nor leafWeight"));
        }
        weight(&format!("{field}.weight"), entry.weight())?;
        leaf(&format!("{field}.leafWeight"), entry.leaf_weight())?;
    }
    for (name, list) in throttles(io) {
        for (i, entry) in list.iter().enumerate() {
            device(&format!("blockIO.{name}[{i}]"), entry.major(), entry.minor())?;
        }
    }
    Ok(())
}

/// The four lists of rates by their names.
pub(super) fn throttles(io: &LinuxBlockIo) -> [(&'static str, &[LinuxThrottleDevice]); 4] {
    [
        ("throttleReadBpsDevice", io.throttle_read_bps_device()),
        ("throttleWriteBpsDevice", io.throttle_write_bps_device()),
        ("throttleReadIOPSDevice", io.throttle_read_iops_device()),
        ("throttleWriteIOPSDevice", io.throttle_write_iops_device()),
    ]
    .map(|(name, list)| (name, list.as_deref().unwrap_or_default()))
}

fn hugepages(i: usize, limit: &LinuxHugepageLimit) -> Result<(), SpecError> {
    let size = limit.page_size();
    let number = size.strip_suffix('B').and_then(|s| s.strip_suffix(['K', 'M', 'G'])).unwrap_or_default();
    let plain = !number.is_empty() && number.len() < 8 && number.bytes().all(|b| b.is_ascii_digit());
    if !plain || number.starts_with('0') {
        return Err(refuse(
            &format!("hugepageLimits[{i}].pageSize"),
            format!("is {size:?}, not a size like 64KB, 2MB or 1GB"),
        ));
    }
    at_least(limit.limit(), 0, &format!("hugepageLimits[{i}].limit"), "is negative")
}

fn network(n: &LinuxNetwork, version: Version) -> Result<(), SpecError> {
    if version == Version::V2 {
        if n.class_id().is_some_and(|id| id != 0) {
            return Err(not_in_v2("network.classID"));
        }
        if n.priorities().as_ref().is_some_and(|list| !list.is_empty()) {
            return Err(not_in_v2("network.priorities"));
        }
    }
    for (i, entry) in n.priorities().iter().flatten().enumerate() {
        // IFNAMSIZ has a byte for the end of the string.
        let name = entry.name();
        if name.is_empty() || name.len() > 15 || name.bytes().any(|b| b <= b' ' || b == b'/' || b == 0x7f) {
            return Err(refuse(
                &format!("network.priorities[{i}].name"),
                format!("is {name:?}, no name of an interface"),
            ));
        }
    }
    Ok(())
}

fn rdma(name: &str, limit: &LinuxRdma) -> Result<(), SpecError> {
    if name.is_empty() || name.len() > 64 || name.bytes().any(|b| b <= b' ' || b == 0x7f) {
        return Err(refuse(&format!("rdma[{name:?}]"), "is no name of a device"));
    }
    if limit.hca_handles().is_none() && limit.hca_objects().is_none() {
        return Err(refuse(&format!("rdma[{name:?}]"), "names neither hcaHandles nor hcaObjects"));
    }
    Ok(())
}

/// Files of a group that are no setting of it: who is in it, and what is done to those.
const NO_SETTINGS: [&str; 7] = [
    "cgroup.procs", "cgroup.threads", "cgroup.kill", "cgroup.freeze", "cgroup.type",
    "cgroup.subtree_control", "cgroup.events",
];

fn unified(file: &str, value: &str, version: Version) -> Result<(), SpecError> {
    let field = format!("unified[{file:?}]");
    if version == Version::V1 {
        return Err(refuse(
            &field,
            "is a setting of cgroup v2, and the controllers of this machine are v1's",
        ));
    }
    let plain = file.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    let named =
        file.split_once('.').is_some_and(|(controller, rest)| !controller.is_empty() && !rest.is_empty());
    if !plain || !named || file.len() > 255 {
        return Err(refuse(&field, "is no file of a group: it has the form CONTROLLER.SETTING"));
    }
    if NO_SETTINGS.contains(&file) {
        return Err(refuse(&field, "is no limit: donjon writes this file itself"));
    }
    if value.len() > 4096 || value.bytes().any(|b| (b < b' ' && b != b'\n' && b != b'\t') || b == 0x7f) {
        return Err(refuse(&field, "has a value that no file of a group takes"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str, version: Version, purpose: Purpose) -> Result<Resources, String> {
        let spec: LinuxResources = serde_json::from_str(json).expect(json);
        Resources::check(&spec, version, purpose).map_err(|e| e.field)
    }

    /// Each is refused for the field that follows it, under both versions or one.
    #[test]
    fn every_bad_value_is_refused_by_its_path() {
        let both = [Version::V1, Version::V2];
        let (v1, v2) = ([Version::V1], [Version::V2]);
        let cases: &[(&str, &str, &[Version])] = &[
            (r#"{"memory": {"limit": -2}}"#, "memory.limit", &both),
            (r#"{"memory": {"reservation": -5}}"#, "memory.reservation", &both),
            (r#"{"memory": {"limit": 10, "swap": -2}}"#, "memory.swap", &both),
            (r#"{"memory": {"limit": 10, "swap": 9}}"#, "memory.swap", &both),
            (r#"{"memory": {"swap": 9}}"#, "memory.swap", &both),
            (r#"{"memory": {"limit": -1, "swap": 9}}"#, "memory.swap", &v1),
            (r#"{"memory": {"swappiness": 101}}"#, "memory.swappiness", &both),
            (r#"{"memory": {"swappiness": 10}}"#, "memory.swappiness", &v2),
            (r#"{"memory": {"disableOOMKiller": true}}"#, "memory.disableOOMKiller", &v2),
            (r#"{"cpu": {"shares": 1}}"#, "cpu.shares", &v1),
            (r#"{"cpu": {"shares": 262145}}"#, "cpu.shares", &v1),
            (r#"{"cpu": {"period": 999}}"#, "cpu.period", &both),
            (r#"{"cpu": {"period": 1000001}}"#, "cpu.period", &both),
            (r#"{"cpu": {"quota": 999}}"#, "cpu.quota", &both),
            (r#"{"cpu": {"quota": -2}}"#, "cpu.quota", &both),
            (r#"{"cpu": {"quota": 1000, "burst": 1001}}"#, "cpu.burst", &both),
            (r#"{"cpu": {"idle": 2}}"#, "cpu.idle", &both),
            (r#"{"cpu": {"realtimeRuntime": -2}}"#, "cpu.realtimeRuntime", &both),
            (r#"{"cpu": {"realtimeRuntime": 5}}"#, "cpu.realtimeRuntime", &v2),
            (r#"{"cpu": {"realtimePeriod": 5}}"#, "cpu.realtimePeriod", &v2),
            (r#"{"cpu": {"cpus": "3-1"}}"#, "cpu.cpus", &both),
            (r#"{"cpu": {"cpus": "0,,1"}}"#, "cpu.cpus", &both),
            (r#"{"cpu": {"mems": "all"}}"#, "cpu.mems", &both),
            (r#"{"pids": {"limit": -2}}"#, "pids.limit", &both),
            (r#"{"blockIO": {"weight": 9}}"#, "blockIO.weight", &both),
            (r#"{"blockIO": {"weight": 1001}}"#, "blockIO.weight", &both),
            (r#"{"blockIO": {"leafWeight": 9}}"#, "blockIO.leafWeight", &both),
            (r#"{"blockIO": {"leafWeight": 10}}"#, "blockIO.leafWeight", &v2),
            (
                r#"{"blockIO": {"weightDevice": [{"major": 8, "minor": 0}]}}"#,
                "blockIO.weightDevice[0]",
                &both,
            ),
            (
                r#"{"blockIO": {"weightDevice": [{"major": -8, "minor": 0, "weight": 10}]}}"#,
                "blockIO.weightDevice[0].major",
                &both,
            ),
            (
                r#"{"blockIO": {"weightDevice": [{"major": 8, "minor": 0, "weight": 5}]}}"#,
                "blockIO.weightDevice[0].weight",
                &both,
            ),
            (
                r#"{"blockIO": {"throttleWriteIOPSDevice": [{"major": 8, "minor": 0, "rate": 1}, {"major": 8, "minor": -1, "rate": 1}]}}"#,
                "blockIO.throttleWriteIOPSDevice[1].minor",
                &both,
            ),
            (r#"{"hugepageLimits": [{"pageSize": "2mb", "limit": 1}]}"#, "hugepageLimits[0].pageSize", &both),
            (
                r#"{"hugepageLimits": [{"pageSize": "../x", "limit": 1}]}"#,
                "hugepageLimits[0].pageSize",
                &both,
            ),
            (
                r#"{"hugepageLimits": [{"pageSize": "02MB", "limit": 1}]}"#,
                "hugepageLimits[0].pageSize",
                &both,
            ),
            (r#"{"hugepageLimits": [{"pageSize": "2MB", "limit": -1}]}"#, "hugepageLimits[0].limit", &both),
            (r#"{"network": {"classID": 1}}"#, "network.classID", &v2),
            (r#"{"network": {"priorities": [{"name": "eth0", "priority": 1}]}}"#, "network.priorities", &v2),
            (
                r#"{"network": {"priorities": [{"name": "a b", "priority": 1}]}}"#,
                "network.priorities[0].name",
                &v1,
            ),
            (r#"{"rdma": {"mlx": {}}}"#, r#"rdma["mlx"]"#, &both),
            (r#"{"rdma": {"m x": {"hcaHandles": 1}}}"#, r#"rdma["m x"]"#, &both),
            (r#"{"unified": {"memory.max": "1"}}"#, r#"unified["memory.max"]"#, &v1),
            (r#"{"unified": {"memory": "1"}}"#, r#"unified["memory"]"#, &both),
            (r#"{"unified": {"../memory.max": "1"}}"#, r#"unified["../memory.max"]"#, &both),
            (r#"{"unified": {"cgroup.procs": "1"}}"#, r#"unified["cgroup.procs"]"#, &both),
            (r#"{"unified": {"cgroup.kill": "1"}}"#, r#"unified["cgroup.kill"]"#, &both),
            (r#"{"unified": {"memory.max": "1\u0000"}}"#, r#"unified["memory.max"]"#, &both),
            (
                r#"{"devices": [{"allow": true, "type": "c", "major": 1, "access": "r"}, {"allow": false, "type": "c", "major": 1, "minor": 1, "access": "r"}]}"#,
                "devices[1]",
                &v1,
            ),
        ];
        for (json, field, versions) in cases {
            for version in *versions {
                assert_eq!(
                    check(json, *version, Purpose::Start).err(),
                    Some(format!("linux.resources.{field}")),
                    "{json} {version:?}"
                );
            }
            if let [only] = versions {
                let other = if *only == Version::V1 { Version::V2 } else { Version::V1 };
                assert!(
                    check(json, other, Purpose::Start).err() != Some(format!("linux.resources.{field}")),
                    "{json} {other:?}"
                );
            }
        }
    }

    #[test]
    fn what_engines_send_passes() {
        for json in [
            "{}",
            r#"{"devices": [{"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rwm"}]}"#,
            r#"{"devices": [{"allow": true, "access": "rwm"}]}"#,
            r#"{"memory": {"limit": 0, "swap": 0, "disableOOMKiller": false, "checkBeforeUpdate": true}, "cpu": {"shares": 0, "quota": 0, "period": 0, "cpus": ""}, "pids": {"limit": 0}, "blockIO": {"weight": 0}}"#,
            r#"{"memory": {"limit": -1, "swap": -1, "reservation": 5, "kernel": 9, "kernelTCP": 9}, "pids": {"limit": -1}}"#,
            r#"{"cpu": {"shares": 2, "quota": 20000, "period": 100000, "burst": 20000, "cpus": "0-1,3", "mems": "0"}}"#,
        ] {
            for version in [Version::V1, Version::V2] {
                check(json, version, Purpose::Start).expect(json);
            }
        }
        assert!(check(r#"{"memory": {"swap": 9}}"#, Version::V2, Purpose::Update).is_ok());
    }

    #[test]
    fn an_update_without_devices_leaves_them() {
        assert!(check("{}", Version::V2, Purpose::Update).unwrap().rules().is_none());
        assert_eq!(check("{}", Version::V2, Purpose::Start).unwrap().rules(), Some(&devices::DEFAULT[..]));
    }

    #[test]
    fn lists_of_processors_are_numbers_and_ranges() {
        assert_eq!(parse_list("0-3,7"), Some(vec![(0, 3), (7, 7)]));
        for bad in ["", ",", "1-", "-1", "1-2-3", "a", "+1", "99999"] {
            assert_eq!(parse_list(bad), None, "{bad}");
        }
    }
}
