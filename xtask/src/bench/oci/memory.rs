//! In how little memory a runtime works: itself in a control group with a limit, and its container with one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::super::rounds::{note, sample};
use super::rounds::Rounds;
use super::{Runtime, bundle};

/// The limits that are tried, in KiB.
const LIMITS: [u64; 8] = [256, 512, 768, 1024, 2048, 4096, 8192, 16384];

/// Prints, for every limit, how many of the tries came to a good end.
pub fn measure(rounds: &Rounds<'_>) -> Result<(), String> {
    let Some(controller) = Controller::find() else { return Ok(()) };
    note("runtimes in little memory");
    let tries = if rounds.quick { 3 } else { 10 };
    let name = format!("donjon-bench-{}", std::process::id());
    sample("oci memory tries", f64::from(tries));
    for limit in LIMITS {
        let limited = bundle::write_limited(rounds.scratch, limit)?;
        let end = format!("{}/{}", rounds.scratch, bundle::END);
        for runtime in &rounds.runtimes {
            let (mut inside, mut container) = (0, 0);
            for n in 0..tries {
                let id = format!("{}-{limit}-{n}", runtime.name);
                let group = controller.limited(&name, limit)?;
                inside += u32::from(works(runtime, &end, &id, Some(&group))?);
                forget(&name)?;
                container += u32::from(works(runtime, &limited, &id, None)?);
            }
            sample(&format!("oci memory inside {limit} {}", runtime.name), f64::from(inside));
            sample(&format!("oci memory container {limit} {}", runtime.name), f64::from(container));
        }
    }
    Ok(())
}

/// Whether a `run` comes to a good end; what is left of one that does not is removed.
fn works(runtime: &Runtime, bundle: &str, id: &str, group: Option<&Path>) -> Result<bool, String> {
    let mut words = ["timeout", "10"].map(String::from).to_vec();
    if let Some(group) = group {
        let script = r#"echo $$ >"$0" && exec "$@""#;
        words.extend(["sh", "-c", script, &group.join("cgroup.procs").to_string_lossy()].map(String::from));
    }
    words.extend(runtime.words(&["run", "--bundle", bundle, id]));
    let good = quietly(&words)?;
    if !good {
        quietly(&runtime.words(&["delete", "--force", id]))?;
        forget(id)?;
    }
    Ok(good)
}

/// Ends and removes what a runtime made in the hierarchies and, killed, did not come to write down.
fn forget(id: &str) -> Result<(), String> {
    let script = r#"for try in $(seq 50); do
            left=$(find /sys/fs/cgroup -depth -type d -name "$0")
            test -n "$left" || exit 0
            for group in $left; do
                xargs -r kill -KILL <"$group/cgroup.procs"
                rmdir "$group"
            done
            sleep 0.1
        done
        exit 1"#;
    match quietly(&["sh", "-c", script, id].map(String::from))? {
        true => Ok(()),
        false => Err(format!("the control groups of {id} can't be removed")),
    }
}

fn quietly(words: &[String]) -> Result<bool, String> {
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().map(|status| status.success()).map_err(|e| format!("{}: {e}", words[0]))
}

/// Where groups with a limit of memory are made.
struct Controller {
    root: PathBuf,
    file: &'static str,
}

impl Controller {
    /// The v1 hierarchy of the memory controller, or the v2 one that has it; none where neither is there.
    fn find() -> Option<Self> {
        let (v1, v2) = (Path::new("/sys/fs/cgroup/memory"), Path::new("/sys/fs/cgroup"));
        if v1.join("memory.limit_in_bytes").exists() {
            return Some(Self { root: v1.into(), file: "memory.limit_in_bytes" });
        }
        let controllers = fs::read_to_string(v2.join("cgroup.controllers")).unwrap_or_default();
        if !controllers.split_whitespace().any(|c| c == "memory") {
            return None;
        }
        fs::write(v2.join("cgroup.subtree_control"), "+memory").ok()?;
        Some(Self { root: v2.into(), file: "memory.max" })
    }

    fn limited(&self, name: &str, limit: u64) -> Result<PathBuf, String> {
        let group = self.root.join(name);
        fs::create_dir(&group).map_err(|e| format!("{}: {e}", group.display()))?;
        let file = group.join(self.file);
        fs::write(&file, format!("{limit}K")).map_err(|e| format!("{}: {e}", file.display()))?;
        Ok(group)
    }
}
