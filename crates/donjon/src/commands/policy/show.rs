//! `donjon policy show`: a policy as a whole, with what holds each line; or what holds a running container, as the kernel
//! says it.

use std::io::Write;

use donjon_confine::{Extensions, Spec};
use donjon_policy::Policy;
use donjon_policy::keys::KEYS;
use donjon_runtime::events::printable;
use donjon_runtime::in_force::{InForce, file_name};
use donjon_runtime::state::Status;
use donjon_runtime::store::Store;
use serde_json::{Value, json};

use super::super::run::of_a_preset;
use super::super::{Failure, Format, table};

/// Prints a policy.
pub fn policy(policy: &Policy, format: Format) -> Result<u8, Failure> {
    let policy = policy.clone().settled();
    let mut out = std::io::stdout().lock();
    match format {
        Format::Text => out.write_all(policy.to_toml().as_bytes())?,
        Format::Json => {
            serde_json::to_writer_pretty(&mut out, &json!({ "policy": policy, "held-by": held_by() }))?;
            writeln!(out)?;
        }
    }
    Ok(0)
}

/// The layers by key.
fn held_by() -> Value {
    let held = KEYS.iter().filter(|key| !key.held_by.is_empty());
    held.map(|key| (key.path.to_string(), json!(key.held_by))).collect::<serde_json::Map<_, _>>().into()
}

/// One line of the answer.
struct Row {
    layer: &'static str,
    what: String,
    value: String,
    /// Keys of the policy that it carries out.
    keys: &'static str,
}

/// Prints what holds a container. 1 when something holds less than was recorded at its start.
pub fn container(store: &Store, name: &str, format: Format) -> Result<u8, Failure> {
    let container = store.find(name)?;
    let (state, status) = container.status()?;
    let (Some(init), Status::Running) = (state.init, status) else {
        return Err(Failure::new(format!("{} is not running: nothing is in force", state.name))
            .hint("donjon inspect shows its record; donjon policy diff compares it"));
    };
    let spec = container.config()?;
    let ext = Extensions::read(spec.annotations().as_ref())
        .map_err(|error| Failure::new(format!("the record of {}: {error}", state.name)))?;
    let gone = || Failure::new(format!("{} ended meanwhile", state.name));
    let found = InForce::read(init.pid, ext.init, &state.cgroups).map_err(|_| gone())?;
    // Whatever was read of a pid that means another process by now is nothing.
    if !init.lives() {
        return Err(gone());
    }
    let policy = Policy::of_spec(&spec)?.settled();
    let less = held_less(&found, &spec);
    let mut out = std::io::stdout().lock();
    match format {
        Format::Json => {
            let json = json!({
                "container": state.name, "kernel": in_json(&found), "policy": policy, "held-by": held_by(),
                "not-enforced": state.notes, "passed-over": state.passed_over, "less-than-recorded": less,
            });
            serde_json::to_writer_pretty(&mut out, &json)?;
            writeln!(out)?;
        }
        Format::Text => {
            writeln!(out, "{}, process {}: read from the kernel\n", printable(&state.name), found.pid)?;
            let titles = ["LAYER", "WHAT", "CARRIES OUT", "IN FORCE"];
            let mut rows = vec![titles.map(str::to_string).to_vec()];
            rows.extend(rows_of(&found, &ext, &spec).into_iter().map(|row| {
                vec![row.layer.to_string(), printable(&row.what), row.keys.to_string(), printable(&row.value)]
            }));
            table::print(&mut out, &rows)?;
            for (file, errno) in &found.unread {
                writeln!(out, "not known: {file}: {}", donjon_confine::error::words(*errno))?;
            }
            for note in &state.notes {
                writeln!(out, "not enforced: {}", printable(note))?;
            }
            for note in state.passed_over.iter().filter(|note| !of_a_preset(note)) {
                writeln!(out, "passed over: {}", printable(note))?;
            }
            writeln!(
                out,
                "\nfrom its record; what the kernel tells of nobody: the rules of Landlock, the calls of the filter\n"
            )?;
            let text = Policy {
                filesystem: policy.filesystem,
                syscalls: policy.syscalls,
                sockets: policy.sockets,
                ..Policy::default()
            };
            out.write_all(text.to_toml().as_bytes())?;
        }
    }
    drop(out);
    for what in &less {
        let _ = writeln!(std::io::stderr(), "donjon: {}: {}", printable(&state.name), printable(what));
    }
    Ok(u8::from(!less.is_empty()))
}

fn rows_of(found: &InForce, ext: &Extensions, spec: &Spec) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut row = |layer: &'static str, what: &str, value: String, keys: &'static str| {
        rows.push(Row { layer, what: what.to_string(), value, keys });
    };
    let ids = |map: &[(u64, u64, u64)]| {
        let one = |(inside, outside, count): &(u64, u64, u64)| match count {
            1 => format!("{inside} is {outside} outside"),
            n => format!("{inside} to {} are {outside} to {}", inside + n - 1, outside + n - 1),
        };
        map.iter().map(one).collect::<Vec<_>>().join("; ")
    };
    row("identity", "user ids", ids(&found.uids), "namespaces.user");
    row("identity", "group ids", ids(&found.gids), "namespaces.user");
    row("identity", "no_new_privs", if found.no_new_privs { "yes" } else { "NO" }.to_string(), "always");
    row("namespaces", "its own", found.own_namespaces.join(" "), "namespaces");
    if !found.shared_namespaces.is_empty() {
        row("namespaces", "the caller's", found.shared_namespaces.join(" "), "namespaces");
    }
    row("capabilities", "bounding", InForce::names(found.bounding), "capabilities");
    row("capabilities", "effective", InForce::names(found.effective), "capabilities");
    if found.ambient != 0 {
        row("capabilities", "ambient", InForce::names(found.ambient), "capabilities.add");
    }
    let mode = match found.seccomp_mode {
        0 => "NONE",
        1 => "strict",
        _ => "filter",
    };
    let filters = found.filters.map_or(String::new(), |n| format!(", {n} in all"));
    row("seccomp", "mode", format!("{mode}{filters}"), "syscalls, sockets");
    for (module, label) in &found.labels {
        row("apparmor", module, label.clone(), "lsm");
    }
    for (name, soft, hard) in
        found.limits.iter().filter(|(_, soft, hard)| soft != "unlimited" || hard != "unlimited")
    {
        let named = ulimit(name);
        let limited = spec.process().as_ref().and_then(|p| p.rlimits().clone()).unwrap_or_default();
        let key = match named {
            "nproc" => "resources.pids",
            named
                if limited
                    .iter()
                    .any(|l| l.typ().to_string().eq_ignore_ascii_case(&format!("RLIMIT_{named}"))) =>
            {
                "resources.ulimits"
            }
            _ => "",
        };
        row("limits", name, if soft == hard { soft.clone() } else { format!("{soft} (hard {hard})") }, key);
    }
    for (path, value) in &found.groups {
        row("cgroups", &file_name(path), value.clone(), "resources");
    }
    let (masks, others): (Vec<_>, Vec<_>) = found.mounts.iter().partition(|mount| is_mask(mount));
    let (devices, others): (Vec<_>, Vec<_>) = others.into_iter().partition(|mount| {
        mount.at.starts_with("/dev/") && !matches!(mount.kind.as_str(), "tmpfs" | "devpts" | "mqueue")
    });
    for mount in others {
        let kind = format!("{} {}", mount.kind, mount.options.join(","));
        let keys = match mount.at.as_str() {
            "/" => "filesystem.read-only, ram",
            "/proc" | "/sys/devices/system/cpu" => "filesystem.proc-pid-only",
            "/dev/shm" => "filesystem.shm-size",
            "/proc/sys" => "filesystem.read-only-paths",
            _ => "",
        };
        row("mounts", &mount.at, kind, keys);
    }
    let given: Vec<&str> = devices.iter().map(|device| device.at.as_str()).collect();
    row("devices", "given", given.join(" "), "devices");
    let hidden: Vec<&str> = masks.iter().map(|mask| mask.at.as_str()).collect();
    row("mounts", "hidden", format!("{}: {}", hidden.len(), hidden.join(" ")), "filesystem.hide");
    let domain = match ext.landlock {
        true => "one domain (from its record: the kernel tells nobody)",
        false => "NONE (from its record)",
    };
    row("landlock", "domain", domain.to_string(), "filesystem, mounts");
    rows
}

/// The name that `ulimit` has for a limit which the kernel lists under a longer one.
fn ulimit(listed: &str) -> &'static str {
    match listed {
        "Max cpu time" => "cpu",
        "Max file size" => "fsize",
        "Max data size" => "data",
        "Max stack size" => "stack",
        "Max core file size" => "core",
        "Max resident set" => "rss",
        "Max processes" => "nproc",
        "Max open files" => "nofile",
        "Max locked memory" => "memlock",
        "Max address space" => "as",
        "Max file locks" => "locks",
        "Max pending signals" => "sigpending",
        "Max msgqueue size" => "msgqueue",
        "Max nice priority" => "nice",
        "Max realtime priority" => "rtprio",
        "Max realtime timeout" => "rttime",
        _ => "",
    }
}

/// A file or directory that nobody may open, on a mount of its own.
fn is_mask(mount: &donjon_runtime::in_force::Mounted) -> bool {
    matches!(mount.root.rsplit_once('/'), Some((above, "file" | "dir")) if above.ends_with("/masks"))
        && mount.has("ro")
}

fn in_json(found: &InForce) -> Value {
    let map = |map: &[(u64, u64, u64)]| -> Vec<Value> {
        map.iter()
            .map(|(inside, outside, count)| json!({ "inside": inside, "outside": outside, "count": count }))
            .collect()
    };
    let set = |bits| donjon_confine::layers::capabilities::names(bits);
    let limits: Vec<Value> = found
        .limits
        .iter()
        .map(|(name, soft, hard)| json!({ "name": name, "soft": soft, "hard": hard }))
        .collect();
    let mounts: Vec<Value> = found
        .mounts
        .iter()
        .map(|mount| json!({ "at": mount.at, "kind": mount.kind, "options": mount.options, "mask": is_mask(mount) }))
        .collect();
    let groups: serde_json::Map<String, Value> =
        found.groups.iter().map(|(path, value)| (path.display().to_string(), json!(value))).collect();
    json!({
        "pid": found.pid,
        "uids": map(&found.uids),
        "gids": map(&found.gids),
        "namespaces": { "own": found.own_namespaces, "shared": found.shared_namespaces },
        "capabilities": {
            "bounding": set(found.bounding), "permitted": set(found.permitted),
            "effective": set(found.effective), "ambient": set(found.ambient),
        },
        "no-new-privs": found.no_new_privs,
        "seccomp": { "mode": found.seccomp_mode, "filters": found.filters },
        "labels": found.labels.iter().map(|(module, label)| json!({ "module": module, "label": label })).collect::<Vec<_>>(),
        "limits": limits,
        "cgroups": groups,
        "mounts": mounts,
        "unread": found.unread.iter().map(|(file, _)| file).collect::<Vec<_>>(),
    })
}

/// What holds less than it was started with: nothing of this can happen, so it is said loudly.
fn held_less(found: &InForce, spec: &Spec) -> Vec<String> {
    let mut less = Vec::new();
    let recorded = spec
        .process()
        .as_ref()
        .and_then(|p| p.capabilities().as_ref()?.bounding().clone())
        .unwrap_or_default();
    let recorded =
        recorded.iter().filter_map(|c| donjon_confine::layers::capabilities::number(&c.to_string()));
    let recorded = recorded.fold(0u64, |all, number| all | 1 << number);
    if found.bounding & !recorded != 0 {
        less.push(format!(
            "has the capabilities {}, which it was not started with",
            InForce::names(found.bounding & !recorded)
        ));
    }
    if !found.no_new_privs {
        less.push("no_new_privs is not set".to_string());
    }
    if found.seccomp_mode != 2 {
        less.push("no seccomp filter is in force".to_string());
    }
    for kind in ["pid", "mnt", "net", "ipc", "uts", "cgroup"] {
        if found.shared_namespaces.contains(&kind) {
            less.push(format!("shares the {kind} namespace of whoever asks"));
        }
    }
    // A table of mounts that could be read shows that the walls stand.
    if !found.mounts.is_empty() {
        for path in spec.linux().as_ref().and_then(|l| l.readonly_paths().clone()).unwrap_or_default() {
            let there = found.mounts.iter().rfind(|mount| mount.at == path);
            if there.is_some_and(|mount| !mount.has("ro")) {
                less.push(format!("{path} is not read-only"));
            }
        }
    }
    less
}
