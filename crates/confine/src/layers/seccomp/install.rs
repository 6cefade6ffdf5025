//! The last step before the program: the filter goes in, and its listener goes out.

use std::os::fd::AsFd;

use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction, Spec};
use rustix::io::Errno;

use crate::channel::message;
use crate::child::Context;
use crate::error::SpecError;
use crate::extensions::{Extensions, Origin};
use crate::host::Host;
use crate::plan::{Draft, Layer, Op};

use super::{Program, foreign, supported};

/// Adds the step that loads the specification's filter, compiled.
pub(crate) fn plan(spec: &Spec, ext: &Extensions, host: &Host, draft: &mut Draft) -> Result<(), SpecError> {
    const WORDS: &str = "annotations[org.donjon.extensions].syscalls";
    if let Some(words) = &ext.syscalls {
        let program = super::program(words, host.filters)
            .map_err(|e| SpecError::new(Layer::Seccomp, WORDS, e.to_string()))?;
        draft.add(Layer::Seccomp, WORDS, Op::Seccomp(program));
        return Ok(());
    }
    let Some(profile) = spec.linux().as_ref().and_then(|l| l.seccomp().as_ref()) else {
        draft.notes.push("seccomp: no filter was asked for".to_string());
        return Ok(());
    };
    if ext.origin == Origin::Bundle {
        return plan_foreign(profile, draft);
    }
    if let Some(missing) = super::policy::NEEDED.iter().find(|name| !allows(profile, name)) {
        let what = format!(
            "{missing} is needed to start a program, and this profile does not allow it without conditions"
        );
        return Err(SpecError::new(Layer::Seccomp, "linux.seccomp.syscalls", what));
    }
    let program = super::compile(profile)
        .map_err(|e| SpecError::new(Layer::Seccomp, "linux.seccomp", e.to_string()))?;
    draft.add(Layer::Seccomp, "linux.seccomp", Op::Seccomp(program));
    Ok(())
}

/// Adds the step that loads a filter that somebody else wrote: an engine's or a user's, with the meaning that it has
/// under other runtimes.
pub(crate) fn plan_foreign(profile: &LinuxSeccomp, draft: &mut Draft) -> Result<(), SpecError> {
    let (program, notes) = foreign::compile(profile).map_err(|e| {
        let (field, what) = e.field_and_reason();
        SpecError::new(Layer::Seccomp, field, what)
    })?;
    for (i, flag) in profile.flags().iter().flatten().enumerate() {
        if !supported::kernel_has(*flag) {
            let (field, since) = (format!("linux.seccomp.flags[{i}]"), supported::since(*flag));
            let what = format!(
                "this kernel does not have {flag} (Linux {since}); leave it out, or use a newer kernel"
            );
            return Err(SpecError::new(Layer::Seccomp, field, what));
        }
    }
    draft.notes.extend(notes);
    draft.add(Layer::Seccomp, "linux.seccomp", Op::Seccomp(program));
    Ok(())
}

/// Whether a profile allows a call whatever its arguments are.
fn allows(profile: &LinuxSeccomp, name: &str) -> bool {
    let open = |action| matches!(action, LinuxSeccompAction::ScmpActAllow | LinuxSeccompAction::ScmpActLog);
    let mut rules = profile.syscalls().iter().flatten().filter(|rule| rule.names().iter().any(|n| n == name));
    match rules.clone().find(|rule| rule.args().as_ref().is_none_or(Vec::is_empty)) {
        // Rules with conditions come before the one without.
        Some(rule) => open(rule.action()) && rules.all(|rule| open(rule.action())),
        None => open(profile.default_action()) && rules.next().is_none(),
    }
}

/// Loads the filter and sends the listener to the parent. From here on every call is filtered, these included.
pub(crate) fn load(ctx: &mut Context<'_>, program: &Program) -> Result<(), Errno> {
    if !ctx.protects("seccomp") {
        return Ok(());
    }
    let flags = program.load_flags();
    let killable = donjon_sys::seccomp::flag::WAIT_KILLABLE_RECV;
    let loaded = match donjon_sys::seccomp::load(&program.filter, flags) {
        // Before Linux 5.19: a signal may interrupt a refused call, which is refused all the same.
        Err(Errno::INVAL) if flags & killable != 0 => {
            donjon_sys::seccomp::load(&program.filter, flags & !killable)
        }
        other => other,
    };
    match loaded? {
        Some(listener) => {
            let sent = ctx.send_descriptor(message::LISTENER, listener.as_fd());
            // Closed by exec or by a fork, not here: `close` may be a call that the filter refuses, reports or kills for.
            ctx.listener = Some(listener);
            sent
        }
        None => Ok(()),
    }
}
