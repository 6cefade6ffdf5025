//! Version 1, one directory per controller, and the hybrid layout, whose controllers are version 1's.

use std::path::{Path, PathBuf};

use rustix::fs::Mode;

use super::{Group, Groups, Hierarchy, failed, house, own_groups, write};
use crate::error::StartError;

/// The controllers that donjon limits with.
const CONTROLLERS: [&str; 3] = ["memory", "cpu", "pids"];

/// Finds the caller's own group of each controller below `/sys/fs/cgroup`.
pub(super) fn probe() -> Hierarchy {
    let own = own_groups();
    let controllers: Vec<(String, PathBuf)> = CONTROLLERS
        .iter()
        .filter_map(|controller| {
            let (mounted, path) = own.iter().find(|(names, _)| names.split(',').any(|n| n == *controller))?;
            // A hierarchy of several controllers is mounted under their joined names, each alone a link to it.
            let top = [*controller, mounted.as_str()]
                .iter()
                .map(|name| Path::new("/sys/fs/cgroup").join(name))
                .find(|top| top.join("cgroup.procs").exists())?;
            let top = std::fs::canonicalize(top).ok()?;
            let group = top.join(path.trim_start_matches('/'));
            // In a container of an engine without a cgroup namespace the own group is the visible root.
            let group = if group.join("cgroup.procs").exists() { group } else { top };
            Some((controller.to_string(), group))
        })
        .collect();
    if controllers.is_empty() { Hierarchy::None } else { Hierarchy::V1 { controllers } }
}

pub(super) fn create(group: &Group, controllers: &[(String, PathBuf)]) -> Result<Groups, StartError> {
    let mut groups = Groups { dirs: Vec::new(), v2: false };
    match fill(group, controllers, &mut groups) {
        Ok(()) => Ok(groups),
        Err(error) => {
            let _ = groups.remove();
            Err(error)
        }
    }
}

fn fill(group: &Group, controllers: &[(String, PathBuf)], groups: &mut Groups) -> Result<(), StartError> {
    let needed = group.limits.controllers();
    for (controller, own) in controllers.iter().filter(|(c, _)| needed.contains(&c.as_str())) {
        let path = house(own)?.join(&group.name);
        groups
            .add(controller.clone(), &path, Some(Mode::from_raw_mode(0o755)))
            .map_err(|e| failed(format!("make {}", path.display()), e))?;
        let Some(dir) = groups.dirs.last() else { continue };
        for (name, value, optional) in settings(group, controller) {
            match write(&dir.dir, name, &value) {
                // The kernel counts no swap (swapaccount=0).
                Err(rustix::io::Errno::NOENT) if optional => {}
                other => {
                    other.map_err(|e| failed(format!("write {value} to {}/{name}", path.display()), e))?
                }
            }
        }
    }
    Ok(())
}

/// Files and values of a controller, in the order that the kernel accepts, and whether the file may be missing.
fn settings(group: &Group, controller: &str) -> Vec<(&'static str, String, bool)> {
    let l = &group.limits;
    let mut settings = Vec::new();
    match controller {
        "memory" => {
            settings.extend(l.memory.map(|n| ("memory.limit_in_bytes", n.to_string(), false)));
            let both = l.memory_and_swap.filter(|n| *n != u64::MAX);
            settings.extend(both.map(|n| ("memory.memsw.limit_in_bytes", n.to_string(), true)));
        }
        "cpu" => {
            if let Some((quota, period)) = l.cpu {
                settings.push(("cpu.cfs_period_us", period.to_string(), false));
                settings.push(("cpu.cfs_quota_us", quota.to_string(), false));
            }
        }
        _ => settings.extend(l.pids.map(|n| ("pids.max", n.to_string(), false))),
    }
    settings
}
