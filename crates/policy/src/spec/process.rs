//! `process` of a specification: the command, its user, environment, capabilities and limits.

use std::collections::HashSet;

use oci_spec::runtime::{
    Capability, LinuxCapabilitiesBuilder, PosixRlimit, PosixRlimitBuilder, Process as SpecProcess,
    ProcessBuilder, UserBuilder,
};

use super::{Identity, Request, RootTree, at, internal};
use crate::error::PolicyError;
use crate::model::Policy;
use crate::words::{capabilities, numbers, ulimits};

/// The program: its words, its environment, and what it may do as whom.
pub(super) fn process(
    policy: &Policy,
    tree: &RootTree,
    who: &Identity,
    request: &Request,
) -> Result<SpecProcess, PolicyError> {
    let p = &policy.process;
    let mut args = p.entrypoint.clone().unwrap_or_default();
    args.extend(request.args.iter().cloned());
    if args.is_empty() {
        args.clone_from(&tree.default_args);
    }
    let cwd = p.workdir.clone().unwrap_or_else(|| "/".to_string());
    if !cwd.starts_with('/') || cwd.contains('\0') {
        return Err(PolicyError::new("--workdir", format!("{cwd:?} is no absolute path")));
    }
    let umask = numbers::octal(p.umask.as_deref().unwrap_or("022"), 0o777).map_err(at("--umask"))?;
    let user = UserBuilder::default()
        .uid(who.uid)
        .gid(who.gid)
        .umask(umask)
        .additional_gids(who.additional_gids.clone())
        .build()
        .map_err(internal)?;
    let terminal = p.terminal.unwrap_or(false);
    let set = capability_set(policy, who)?;
    let ambient: HashSet<Capability> = if who.uid == 0 { HashSet::new() } else { set.clone() };
    let capabilities = LinuxCapabilitiesBuilder::default()
        .bounding(set.clone())
        .permitted(set.clone())
        .effective(set)
        .inheritable(ambient.clone())
        .ambient(ambient)
        .build()
        .map_err(internal)?;
    let mut spec = ProcessBuilder::default();
    if let Some(profile) = &policy.lsm.apparmor {
        spec = spec.apparmor_profile(profile.clone());
    }
    if let Some(context) = &policy.lsm.selinux {
        spec = spec.selinux_label(context.clone());
    }
    spec.terminal(terminal)
        .user(user)
        .args(args)
        .env(environment(policy, who, terminal))
        .cwd(cwd)
        .capabilities(capabilities)
        .rlimits(rlimits(policy)?)
        .no_new_privileges(true)
        .build()
        .map_err(internal)
}

/// The environment, from nothing: what the policy names, and who the program is.
fn environment(policy: &Policy, who: &Identity, terminal: bool) -> Vec<String> {
    let mut env = policy.process.env.clone();
    let mut default = |name: &str, value: &str| {
        env.entry(name.to_string()).or_insert_with(|| value.to_string());
    };
    default("HOME", &who.home);
    default("USER", &who.name);
    default("TERM", if terminal { "xterm-256color" } else { "dumb" });
    env.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
}

/// The capabilities that the program may have: root's list for one that starts as root, else only what was named.
pub(super) fn capability_names(policy: &Policy, who: &Identity) -> Result<Vec<String>, PolicyError> {
    let c = &policy.capabilities;
    let mut names = Vec::new();
    let all_dropped = c.drop.iter().any(|d| d == "ALL");
    if who.uid == 0 && !who.powerless && !all_dropped {
        for name in c.root.iter().flatten() {
            names.push(capabilities::added(name).map_err(at("[capabilities] root"))?);
        }
    }
    for name in &c.add {
        names.push(capabilities::added(name).map_err(at("--cap-add"))?);
    }
    for name in &c.drop {
        let name = capabilities::dropped(name).map_err(at("--cap-drop"))?;
        if name != "ALL" {
            names.retain(|n| *n != name);
        }
    }
    names.sort();
    names.dedup();
    Ok(names)
}

fn capability_set(policy: &Policy, who: &Identity) -> Result<HashSet<Capability>, PolicyError> {
    capability_names(policy, who)?
        .iter()
        .map(|name| {
            serde_json::from_value(serde_json::Value::String(format!("CAP_{name}")))
                .map_err(|e| PolicyError::new("[capabilities]", e.to_string()))
        })
        .collect()
}

fn rlimits(policy: &Policy) -> Result<Vec<PosixRlimit>, PolicyError> {
    policy
        .resources
        .ulimits
        .iter()
        .map(|(name, value)| {
            let (soft, hard) = ulimits::values(value).map_err(at("--ulimit"))?;
            PosixRlimitBuilder::default()
                .typ(ulimits::resource(name).map_err(at("--ulimit"))?)
                .soft(soft)
                .hard(hard)
                .build()
                .map_err(internal)
        })
        .collect()
}
