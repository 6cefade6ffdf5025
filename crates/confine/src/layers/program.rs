//! The program: found in the container, by the container's own paths, and executed there.
//!
//! Nothing of the container is ever executed or parsed in the host's context (R18).

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;

use donjon_sys::process::CStringArray;
use oci_spec::runtime::{Process, Spec};
use rustix::fs::{Access, AtFlags, FileType};
use rustix::io::Errno;

use crate::child::Context;
use crate::error::SpecError;
use crate::extensions::Extensions;
use crate::plan::{Draft, Layer, Op, Program};

/// Where `execvp` looks when there is no `PATH`.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The specification's process, which every plan needs.
pub(crate) fn process(spec: &Spec) -> Result<&Process, SpecError> {
    spec.process()
        .as_ref()
        .ok_or_else(|| SpecError::new(Layer::Program, "process", "is missing: there is nothing to run"))
}

/// The program with all paths to try, ready for `execve`.
pub(crate) fn program(process: &Process) -> Result<Program, SpecError> {
    let args = process.args().as_deref().unwrap_or_default();
    let first = args
        .first()
        .filter(|a| !a.is_empty())
        .ok_or_else(|| SpecError::new(Layer::Program, "process.args", "is empty: there is nothing to run"))?;
    let strings = |field: &str, list: &[String]| -> Result<Vec<CString>, SpecError> {
        list.iter()
            .enumerate()
            .map(|(i, s)| SpecError::c_string(Layer::Program, &format!("{field}[{i}]"), s.as_str()))
            .collect()
    };
    let env = process.env().as_deref().unwrap_or_default();
    let candidates = if first.contains('/') {
        vec![first.clone()]
    } else {
        let path = env.iter().find_map(|e| e.strip_prefix("PATH=")).unwrap_or(DEFAULT_PATH);
        path.split(':')
            .map(|dir| if dir.is_empty() { format!("./{first}") } else { format!("{dir}/{first}") })
            .collect()
    };
    Ok(Program {
        candidates: strings("process.args", &candidates)?,
        argv: CStringArray::new(strings("process.args", args)?),
        envp: CStringArray::new(strings("process.env", env)?),
    })
}

/// The step that finds the program, while errors can still be told apart.
pub(crate) fn plan_find(draft: &mut Draft) {
    draft.add(Layer::Program, "process.args", Op::FindProgram);
}

/// The step that forks the small init, if one was asked for.
pub(crate) fn plan_init(ext: &Extensions, draft: &mut Draft) {
    if ext.init {
        draft.add(Layer::Program, "annotations[org.donjon.extensions].init", Op::Init);
    }
}

/// The last step.
pub(crate) fn plan_exec(draft: &mut Draft) {
    draft.add(Layer::Program, "process.args", Op::Exec);
}

/// Finds the first candidate that is there and may be executed, as `execvp` would, and remembers its index.
pub(crate) fn find(ctx: &mut Context<'_>) -> Result<(), Errno> {
    let mut result = Errno::NOENT;
    for (i, path) in ctx.program.candidates.iter().enumerate() {
        match rustix::fs::statat(rustix::fs::CWD, path.as_c_str(), AtFlags::empty()) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                result = Errno::ISDIR;
            }
            Ok(_) => {
                match rustix::fs::accessat(
                    rustix::fs::CWD,
                    path.as_c_str(),
                    Access::EXEC_OK,
                    AtFlags::EACCESS,
                ) {
                    Ok(()) => {
                        ctx.found = Some(i);
                        return Ok(());
                    }
                    Err(errno) => result = errno,
                }
            }
            Err(Errno::NOENT | Errno::NOTDIR) => {}
            Err(errno) => result = errno,
        }
    }
    Err(result)
}

/// Becomes the program.
pub(crate) fn exec(ctx: &Context<'_>) -> Errno {
    let Some(path) = ctx.found.and_then(|i| ctx.program.candidates.get(i)) else { return Errno::NOENT };
    donjon_sys::process::execve(path, &ctx.program.argv, &ctx.program.envp)
}

/// The name of the program as the caller wrote it.
pub(crate) fn name(program: &Program) -> String {
    program
        .argv
        .strings()
        .first()
        .map(|s| String::from_utf8_lossy(std::ffi::OsStr::from_bytes(s.to_bytes()).as_bytes()).into_owned())
        .unwrap_or_default()
}

/// The life of the small init: every signal goes to the program, every dead process is reaped, and when the
/// program has ended its status is the result (128+n for signal n). The kernel then kills what is left.
pub(crate) fn be_init(_ctx: &Context<'_>, child: rustix::process::Pid) -> u8 {
    use rustix::process::{WaitOptions, wait};
    // Nothing but the program may hold the channel: its exec is told by the channel's end.
    let _ = donjon_sys::process::close_from(3);
    let Ok(signals) = donjon_sys::process::signal_descriptor() else { return 125 };
    loop {
        match donjon_sys::process::next_signal(std::os::fd::AsFd::as_fd(&signals)) {
            Ok(17) => {
                while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
                    if pid == child && (status.exited() || status.signaled()) {
                        let code = status
                            .exit_status()
                            .or_else(|| status.terminating_signal().map(|n| 128 + n))
                            .unwrap_or(125);
                        return u8::try_from(code).unwrap_or(u8::MAX);
                    }
                }
            }
            Ok(signal) => {
                let _ = donjon_sys::process::kill(child, signal);
            }
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(_) => return 125,
        }
    }
}
