//! `donjon explain --trace`: runs a program as `donjon run` would and lists every call that failed for want of a right.

use std::io::Write;
use std::path::{Path, PathBuf};

use donjon_confine::error::words;
use donjon_confine::layers::seccomp::{notify, number};
use donjon_policy::Policy;
use donjon_policy::model::MountKind;
use donjon_runtime::events::printable;
use donjon_runtime::trace::{Failed, Found, trace};
use rustix::io::Errno;

use super::super::{Failure, Format, run as running, table};
use crate::args::RunArgs;

/// Runs, traces and tells. The exit status is the program's.
pub fn run(args: RunArgs, root: Option<&Path>) -> Result<u8, Failure> {
    let policy = running::effective(&args)?;
    let (format, root) = (args.format, root.map(PathBuf::from));
    let mut args = Some(RunArgs { remove: true, detach: false, ..args });
    let found = trace(|| {
        let Some(args) = args.take() else { return 125 };
        match running::run_observed(args, root.as_deref(), None) {
            Ok(code) => code,
            Err(failure) => {
                failure.print();
                failure.code
            }
        }
    })?;
    match format {
        Format::Text => print(&found, &policy)?,
        Format::Json => {
            let list: Vec<serde_json::Value> = found
                .failed
                .iter()
                .map(|(failed, count)| {
                    let (layer, allow) = explain(failed, &policy);
                    serde_json::json!({
                        "layer": layer, "operation": failed.call, "object": failed.path, "comm": failed.comm,
                        "errno": words(failed.errno), "allow": allow, "count": count,
                    })
                })
                .collect();
            let mut out = std::io::stdout().lock();
            serde_json::to_writer_pretty(&mut out, &list)?;
            writeln!(out)?;
        }
    }
    Ok(found.code)
}

/// On standard error: the program's own output may be on its way elsewhere.
fn print(found: &Found, policy: &Policy) -> Result<(), Failure> {
    let mut out = Vec::new();
    if found.failed.is_empty() {
        writeln!(out, "donjon: no call failed for want of a right")?;
    } else {
        let titles = ["TIMES", "LAYER", "REFUSED", "BY", "ANSWER", "WOULD BE ALLOWED BY"];
        let mut rows = vec![titles.map(str::to_string).to_vec()];
        rows.extend(found.failed.iter().map(|(failed, count)| {
            let (layer, allow) = explain(failed, policy);
            let what = match &failed.path {
                Some(path) => format!("{} {path}", failed.call),
                None => describe(failed),
            };
            vec![
                count.to_string(),
                layer.to_string(),
                table::cut(&printable(&what), 60),
                printable(&failed.comm),
                words(failed.errno),
                // It names paths that came from inside.
                printable(&allow),
            ]
        }));
        table::print(&mut out, &rows)?;
    }
    let _ = std::io::stderr().write_all(&out);
    Ok(())
}

fn describe(failed: &Failed) -> String {
    let Some(nr) = number(&failed.call).and_then(|nr| i32::try_from(nr).ok()) else {
        return failed.call.clone();
    };
    let object = notify::describe(nr, &failed.args).object;
    if object == failed.call { object } else { format!("{}: {object}", failed.call) }
}

/// The layer that most likely refused, and what would allow it.
fn explain(failed: &Failed, policy: &Policy) -> (&'static str, String) {
    let path = failed.path.as_deref().unwrap_or_default();
    let mount = policy
        .mounts
        .iter()
        .filter(|m| Path::new(path).starts_with(&m.target))
        .max_by_key(|m| m.target.len());
    // What a list of files leaves out, a line in it allows.
    let files = &policy.filesystem;
    let list = match (failed.call.starts_with("exec"), failed.writes) {
        (true, _) => files.execute.as_ref().map(|_| "execute"),
        (false, true) => files.write.as_ref().map(|_| "write"),
        (false, false) => files.read.as_ref().map(|_| "read"),
    };
    match failed.errno {
        Errno::ROFS => match mount {
            Some(mount) if mount.kind == MountKind::Bind => {
                let source = mount.source.as_deref().unwrap_or_default();
                ("mounts", format!("--rw {source}:{} in place of --ro", mount.target))
            }
            _ if path.starts_with("/proc") || path.starts_with("/sys") => {
                ("mounts", "nothing: the machine's settings are not the container's".into())
            }
            _ if policy.filesystem.read_only == Some(true) => {
                ("rootfs", format!("--tmpfs {} , or without --read-only", above(path)))
            }
            _ => ("mounts", format!("--rw SRC:{}", above(path))),
        },
        Errno::ACCESS if path.is_empty() => by_call(failed),
        Errno::ACCESS => match &failed.by_mode {
            Some(why) => ("identity", format!("{why}: files of others stay theirs")),
            None if let Some(key) = list => ("landlock", format!("[filesystem] {key} = [{path:?}]")),
            None if path.starts_with("/proc") || path.starts_with("/sys") => {
                ("mounts", format!("--security-opt unmask={path}"))
            }
            None if failed.call.starts_with("exec") => {
                ("landlock", "a mount there without noexec (exec)".into())
            }
            None => {
                ("landlock", format!("--{} SRC:{}", if failed.writes { "rw" } else { "ro" }, above(path)))
            }
        },
        Errno::NETUNREACH => ("network", "nothing yet: there is loopback only".into()),
        Errno::AGAIN => ("limits", "--pids-limit NUMBER".into()),
        Errno::NOSPC => ("limits", "--ram SIZE".into()),
        Errno::OVERFLOW => (
            "identity",
            "--userns range, or an image of your own: this file belongs to an id that is not mapped".into(),
        ),
        Errno::XDEV => ("landlock", "copy instead: it lies on another mount".into()),
        _ => by_call(failed),
    }
}

/// What the filter or a missing capability says of the call.
fn by_call(failed: &Failed) -> (&'static str, String) {
    let Some(nr) = number(&failed.call).and_then(|nr| i32::try_from(nr).ok()) else {
        return ("seccomp", String::new());
    };
    let refusal = notify::describe(nr, &failed.args);
    let layer = if refusal.capability.is_some() { "capabilities" } else { "seccomp" };
    (layer, refusal.allow.unwrap_or_else(|| "nothing: always refused".into()))
}

/// The directory that a path lies in.
fn above(path: &str) -> &str {
    path.rsplit_once('/').map_or("/", |(above, _)| if above.is_empty() { "/" } else { above })
}
