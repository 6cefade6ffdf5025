//! `donjon update`: other limits for a container that lives.

use std::io::Read;

use donjon_runtime::oci::bundle::{parse_json, read_json};
use donjon_runtime::oci::{Store, limits};
use oci_spec::runtime::LinuxResources;
use serde_json::{Map, Value, json};

use crate::args::oci::Update;
use crate::commands::Failure;

/// Most that is read from standard input, in bytes.
const LARGEST: u64 = 1 << 20;

/// Changes what was named.
pub fn run(store: &Store, id: &str, update: &Update) -> Result<(), Failure> {
    let resources = match update.resources.as_deref() {
        None => of_values(&update.values)?,
        Some(_) if !update.values.is_empty() => {
            return Err(Failure::new("update: --resources and single values do not go together"));
        }
        Some("-") => {
            let mut bytes = Vec::new();
            std::io::stdin().take(LARGEST).read_to_end(&mut bytes)?;
            parse_json(&bytes).map_err(|what| Failure::new(format!("--resources: {what}")))?
        }
        Some(file) => read_json(file.as_ref())?,
    };
    Ok(limits::update(store, id, &resources)?)
}

/// Where each option's value lies in `linux.resources`.
fn place(option: &str) -> Option<(&'static str, &'static str)> {
    Some(match option {
        "memory" => ("memory", "limit"),
        "memory-reservation" => ("memory", "reservation"),
        "memory-swap" => ("memory", "swap"),
        "kernel-memory" => ("memory", "kernel"),
        "kernel-memory-tcp" => ("memory", "kernelTCP"),
        "cpu-period" => ("cpu", "period"),
        "cpu-quota" => ("cpu", "quota"),
        "cpu-burst" => ("cpu", "burst"),
        "cpu-share" => ("cpu", "shares"),
        "cpu-idle" => ("cpu", "idle"),
        "cpu-rt-period" => ("cpu", "realtimePeriod"),
        "cpu-rt-runtime" => ("cpu", "realtimeRuntime"),
        "cpuset-cpus" => ("cpu", "cpus"),
        "cpuset-mems" => ("cpu", "mems"),
        "pids-limit" => ("pids", "limit"),
        "blkio-weight" => ("blockIO", "weight"),
        _ => return None,
    })
}

/// The resources that single values name.
fn of_values(values: &[(&'static str, String)]) -> Result<LinuxResources, Failure> {
    if values.is_empty() {
        return Err(Failure::new("update: name what to change").hint("donjon update --help lists the limits"));
    }
    let mut resources = Map::new();
    for (option, word) in values {
        let wrong = |what: &str| Failure::new(format!("--{option}: {word:?} {what}"));
        let Some((group, name)) = place(option) else {
            return Err(wrong("can't be changed for a container that lives"));
        };
        let value = match name {
            "cpus" | "mems" => json!(word),
            _ => json!(number(word, group == "memory").ok_or_else(|| wrong("is no number"))?),
        };
        if let Some(map) = resources.entry(group).or_insert_with(|| json!({})).as_object_mut() {
            map.insert(name.to_string(), value);
        }
    }
    let bytes = serde_json::to_vec(&Value::Object(resources))?;
    parse_json(&bytes).map_err(|what| Failure::new(format!("update: {what}")))
}

/// A number; of bytes also with k, m or g behind it.
fn number(word: &str, bytes: bool) -> Option<i64> {
    let (digits, unit) = match word.to_ascii_lowercase().chars().last() {
        Some('b') if bytes => (word.len() - 1, 1),
        Some('k') if bytes => (word.len() - 1, 1 << 10),
        Some('m') if bytes => (word.len() - 1, 1 << 20),
        Some('g') if bytes => (word.len() - 1, 1 << 30),
        _ => (word.len(), 1),
    };
    word.get(..digits)?.parse::<i64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_become_resources() {
        let values =
            [("memory", "64m"), ("cpu-quota", "50000"), ("cpuset-cpus", "0-1"), ("pids-limit", "-1")];
        let values: Vec<_> = values.map(|(option, word)| (option, word.to_string())).to_vec();
        let resources = of_values(&values).unwrap();
        assert_eq!(resources.memory().as_ref().unwrap().limit(), Some(64 << 20));
        assert_eq!(resources.cpu().as_ref().unwrap().quota(), Some(50_000));
        assert_eq!(resources.cpu().as_ref().unwrap().cpus().as_deref(), Some("0-1"));
        assert_eq!(resources.pids().as_ref().unwrap().limit(), -1);
        assert!(of_values(&[("memory", "much".to_string())]).is_err());
        assert!(of_values(&[]).is_err());
    }
}
