//! `donjon exec`: a further program in a running container, behind the same walls.

use donjon_runtime::Store;
use donjon_runtime::exec::{self, Target};

use super::Failure;
use crate::args::ExecArgs;

/// Runs a further program and returns donjon's exit status.
pub fn exec(store: &Store, args: ExecArgs) -> Result<u8, Failure> {
    let container = store.find(&args.container)?;
    let target = Target::open(&container)?;
    let mut process = target
        .spec
        .process()
        .clone()
        .ok_or_else(|| Failure::new(format!("the record of {} names no process", args.container)))?;
    process.set_args(Some(args.command));
    process.set_terminal(Some(args.terminal));
    if let Some(dir) = args.workdir {
        if !dir.starts_with('/') || dir.contains('\0') {
            return Err(Failure::new(format!("--workdir: {dir:?} is no absolute path")));
        }
        process.set_cwd(dir.into());
    }
    let mut env = process.env().clone().unwrap_or_default();
    let mut set = |name: &str, value: &str| {
        env.retain(|entry| entry.split_once('=').is_none_or(|(n, _)| n != name));
        env.push(format!("{name}={value}"));
    };
    if args.terminal {
        set("TERM", "xterm-256color");
    }
    for (name, value) in &args.env {
        set(name, value);
    }
    process.set_env(Some(env));
    let watch = exec::exec(&container, &target, &process, args.interactive, &crate::filters::host())?;
    super::explain::summarize(&watch, Some(&args.container));
    Ok(watch.end.code)
}
