//! Resources as properties of a unit (`man 5 systemd.resource-control`). systemd writes them whenever it renews its
//! groups, so what donjon writes to files alone would be lost then.

use zbus::Variant;

use crate::layers::cgroups::devices::{Exceptions, Rule};
use crate::layers::cgroups::hierarchies::Version;
use crate::layers::cgroups::resources::{Resources, parse_list};
use crate::layers::cgroups::settings::{Current, blkio_weight, cpu_weight, swap_alone};

/// A name and a value.
pub(super) type Property = (&'static str, Variant<'static>);

/// What resources come to. systemd's version decides about those that came later: processors 244, the period of a quota
/// 242, idle groups 252.
pub(super) fn of(resources: &Resources, current: &Current, systemd: u32) -> Vec<Property> {
    let spec = resources.spec();
    let v2 = resources.version() == Version::V2;
    let mut all: Vec<Property> = Vec::new();
    let set = |n: Option<i64>| n.filter(|n| *n != 0);
    if let Some(memory) = spec.memory() {
        let limit = if v2 { "MemoryMax" } else { "MemoryLimit" };
        all.extend(set(memory.limit()).map(|n| (limit, bytes(n))));
        if v2 {
            all.extend(set(memory.reservation()).map(|n| ("MemoryLow", bytes(n))));
            let there = current.memory_max.as_deref().map(|text| text.parse().unwrap_or(-1));
            let beside = set(memory.limit()).or(there.filter(|_| memory.swap().is_some()));
            all.extend(swap_alone(memory.swap(), beside).map(|n| ("MemorySwapMax", bytes(n))));
        }
    }
    if let Some(cpu) = spec.cpu() {
        let idle = cpu.idle() == Some(1) && v2 && systemd >= 252;
        match cpu.shares().filter(|n| *n != 0) {
            _ if idle => all.push(("CPUWeight", Variant::from(0u64))),
            Some(shares) if v2 => all.push(("CPUWeight", Variant::from(cpu_weight(shares)))),
            Some(shares) => all.push(("CPUShares", Variant::from(shares))),
            None => {}
        }
        let period = cpu.period().filter(|n| *n != 0);
        all.extend(period.filter(|_| systemd >= 242).map(|n| ("CPUQuotaPeriodUSec", Variant::from(n))));
        all.extend(set(cpu.quota()).map(|quota| {
            ("CPUQuotaPerSecUSec", Variant::from(per_second(quota, period.unwrap_or(100_000))))
        }));
        for (name, list) in [("AllowedCPUs", cpu.cpus()), ("AllowedMemoryNodes", cpu.mems())] {
            let bits = list.as_deref().and_then(bit_mask).filter(|_| systemd >= 244);
            all.extend(bits.map(|bits| (name, Variant::from(bits))));
        }
    }
    if let Some(pids) = spec.pids() {
        // systemd knows no 0.
        let most = u64::try_from(pids.limit()).map_or(u64::MAX, |n| n.max(1));
        all.push(("TasksMax", Variant::from(most)));
    }
    if let Some(weight) = spec.block_io().as_ref().and_then(|io| io.weight()).filter(|n| *n != 0) {
        all.push(match v2 {
            true => ("IOWeight", Variant::from(blkio_weight(weight))),
            false => ("BlockIOWeight", Variant::from(u64::from(weight))),
        });
    }
    if let Some(rules) = resources.rules().filter(|_| !v2) {
        all.extend(devices(rules));
    }
    all
}

fn bytes(n: i64) -> Variant<'static> {
    Variant::from(u64::try_from(n).unwrap_or(u64::MAX))
}

/// Microseconds in each second. systemd keeps whole percents, so a fraction is rounded up here: the file, which is
/// written afterwards and must not be above it, has the exact value.
fn per_second(quota: i64, period: u64) -> u64 {
    match u64::try_from(quota) {
        Ok(quota) => quota.saturating_mul(1_000_000).div_ceil(period.max(1)).next_multiple_of(10_000),
        Err(_) => u64::MAX,
    }
}

/// `0-3,7` as bits, the first processor first.
fn bit_mask(list: &str) -> Option<Vec<u8>> {
    let mut bits = Vec::new();
    for n in parse_list(list)?.into_iter().flat_map(|(from, to)| from..=to) {
        let at = usize::from(n / 8);
        if bits.len() <= at {
            bits.resize(at + 1, 0u8);
        }
        bits[at] |= 1 << (n % 8);
    }
    Some(bits)
}

/// Version 1's devices: without these, systemd allows everything again when it renews its groups. What it has no word for
/// is denied by it until donjon's own list is written. Of version 2 the program stays whatever systemd does.
fn devices(rules: &[Rule]) -> Vec<Property> {
    let Ok(exceptions) = Exceptions::of(rules) else { return Vec::new() };
    let (policy, list): (_, Vec<(String, String)>) = match exceptions.allow {
        true => ("auto", Vec::new()),
        false => ("strict", exceptions.list.iter().filter_map(|(d, bits)| d.for_systemd(*bits)).collect()),
    };
    // An empty list first takes away what the unit had.
    let none: Vec<(String, String)> = Vec::new();
    let mut all = vec![("DevicePolicy", Variant::from(policy)), ("DeviceAllow", Variant::from(none))];
    if !list.is_empty() {
        all.push(("DeviceAllow", Variant::from(list)));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::super::super::resources::Purpose;
    use super::*;

    fn told(json: &str, version: Version, systemd: u32) -> Vec<String> {
        let spec = serde_json::from_str(json).expect(json);
        let resources = Resources::check(&spec, version, Purpose::Update).unwrap();
        of(&resources, &Current::default(), systemd).into_iter().map(|(n, v)| format!("{n}={v:?}")).collect()
    }

    const ALL: &str = r#"{"memory": {"limit": 100, "swap": 250, "reservation": -1},
        "cpu": {"shares": 1024, "quota": 25500, "period": 100000, "cpus": "0-1,9", "mems": "0"},
        "pids": {"limit": 0}, "blockIO": {"weight": 500}}"#;

    #[test]
    fn resources_become_properties() {
        assert_eq!(
            told(ALL, Version::V2, 252),
            [
                "MemoryMax=U64(100)",
                "MemoryLow=U64(18446744073709551615)",
                "MemorySwapMax=U64(150)",
                "CPUWeight=U64(100)",
                "CPUQuotaPeriodUSec=U64(100000)",
                "CPUQuotaPerSecUSec=U64(260000)",
                &format!("AllowedCPUs={:?}", Variant::from(vec![3u8, 2])),
                &format!("AllowedMemoryNodes={:?}", Variant::from(vec![1u8])),
                "TasksMax=U64(1)",
                "IOWeight=U64(4950)",
            ]
        );
        let old = told(ALL, Version::V1, 241).join(" ");
        assert!(!old.contains("Period") && !old.contains("Allowed"), "{old}");
        assert!(old.contains("MemoryLimit=U64(100)") && old.contains("CPUShares=U64(1024)"), "{old}");
        assert_eq!(told(r#"{"cpu": {"idle": 1, "shares": 5}}"#, Version::V2, 252), ["CPUWeight=U64(0)"]);
        assert!(told("{}", Version::V2, 252).is_empty());
    }

    #[test]
    fn a_quota_is_a_whole_percent_or_the_next() {
        assert_eq!(per_second(20_000, 100_000), 200_000);
        assert_eq!(per_second(20_001, 100_000), 210_000);
        assert_eq!(per_second(-1, 100_000), u64::MAX);
    }

    #[test]
    fn version_1_is_told_of_devices_and_version_2_is_not() {
        let rules = r#"{"devices": [{"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw"}]}"#;
        let v1 = told(rules, Version::V1, 252).join(" ");
        assert!(v1.contains("strict") && v1.contains("/dev/char/10:229") && v1.contains("char-136"), "{v1}");
        assert!(told(rules, Version::V2, 252).is_empty());
        let all = told(r#"{"devices": [{"allow": true, "access": "rwm"}]}"#, Version::V1, 252).join(" ");
        assert!(all.contains("auto") && !all.contains("/dev/char"), "{all}");
    }
}
