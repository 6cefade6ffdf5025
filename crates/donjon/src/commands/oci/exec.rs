//! `donjon exec` in a container of the OCI side.

use donjon_runtime::oci::bundle::read_json;
use donjon_runtime::oci::exec::{Execution, Target, exec as execute};
use oci_spec::runtime::{Capability, LinuxCapabilities, Process};

use super::{are_open, listen_fds, store_of};
use crate::args::ExecArgs;
use crate::args::globals::Globals;
use crate::commands::Failure;

/// Donjon failed before the process ran: other runtimes end with 255 then.
const FAILED: u8 = 255;

/// Runs a process and returns donjon's exit status.
pub fn exec(args: ExecArgs, globals: &Globals) -> Result<u8, Failure> {
    run(args, globals).map_err(|failure| Failure { code: FAILED, ..failure.in_terms_of(globals) })
}

fn run(args: ExecArgs, globals: &Globals) -> Result<u8, Failure> {
    let mut execution = Execution {
        id: args.container.clone(),
        console_socket: args.oci.console_socket.clone(),
        pid_file: args.oci.pid_file.clone(),
        cgroup: args.oci.cgroup.clone(),
        detached: args.oci.detach,
        ignore_paused: args.oci.ignore_paused,
        ..Execution::default()
    };
    execution.options.preserve_fds = args.oci.preserve_fds.saturating_add(listen_fds().unwrap_or(0));
    are_open(execution.options.preserve_fds)?;
    let target = Target::open(&store_of(globals, &args.container)?, &execution)?;
    let process = match &args.oci.process {
        Some(file) => read_json(file)?,
        None => of_words(&target, &args)?,
    };
    Ok(execute(&target, &process, &execution, &crate::filters::host())?)
}

/// The container's own process, changed by what the options say.
fn of_words(target: &Target, args: &ExecArgs) -> Result<Process, Failure> {
    let process = target.spec.process().clone();
    let mut process =
        process.ok_or_else(|| Failure::new("process: the container's specification has none"))?;
    process.set_args(Some(args.command.clone()));
    process.set_terminal(Some(args.terminal));
    if let Some(dir) = &args.workdir {
        process.set_cwd(dir.into());
    }
    let mut env = process.env().clone().unwrap_or_default();
    for (name, value) in &args.env {
        env.retain(|entry| entry.split_once('=').is_none_or(|(n, _)| n != name));
        env.push(format!("{name}={value}"));
    }
    process.set_env(Some(env));
    let mut user = process.user().clone();
    if let Some(word) = &args.oci.user {
        let (uid, gid) = word.split_once(':').map_or((word.as_str(), None), |(uid, gid)| (uid, Some(gid)));
        user.set_uid(id("--user", uid)?);
        if let Some(gid) = gid {
            user.set_gid(id("--user", gid)?);
        }
    }
    if !args.oci.groups.is_empty() {
        let groups = args.oci.groups.iter().map(|word| id("--additional-gids", word));
        user.set_additional_gids(Some(groups.collect::<Result<_, _>>()?));
    }
    process.set_user(user);
    if args.oci.no_new_privs {
        process.set_no_new_privileges(Some(true));
    }
    if args.oci.apparmor.is_some() {
        process.set_apparmor_profile(args.oci.apparmor.clone());
    }
    if args.oci.label.is_some() {
        process.set_selinux_label(args.oci.label.clone());
    }
    if !args.oci.capabilities.is_empty() {
        process.set_capabilities(Some(with_capabilities(&process, &args.oci.capabilities)?));
    }
    Ok(process)
}

/// A number and nothing else: what is not understood is never root (R28).
fn id(option: &str, word: &str) -> Result<u32, Failure> {
    word.parse().map_err(|_| Failure::new(format!("{option}: {word:?} is no number of a user or group")))
}

/// The process's capabilities with more of them, in every set that a program could use.
fn with_capabilities(process: &Process, more: &[String]) -> Result<LinuxCapabilities, Failure> {
    let mut all = process.capabilities().clone().unwrap_or_default();
    let mut named = Vec::new();
    for word in more {
        let bare = word.to_ascii_uppercase();
        let bare = bare.strip_prefix("CAP_").unwrap_or(&bare).to_string();
        let capability: Result<Capability, _> = serde_json::from_value(format!("CAP_{bare}").into());
        named.push(capability.map_err(|_| Failure::new(format!("--cap: there is no capability {word:?}")))?);
    }
    let with = |set: &Option<std::collections::HashSet<Capability>>| {
        let mut set = set.clone().unwrap_or_default();
        set.extend(named.iter().copied());
        Some(set)
    };
    all.set_bounding(with(all.bounding()));
    all.set_permitted(with(all.permitted()));
    all.set_effective(with(all.effective()));
    if process.user().uid() != 0 {
        all.set_ambient(with(all.ambient()));
        all.set_inheritable(with(all.inheritable()));
    }
    Ok(all)
}
