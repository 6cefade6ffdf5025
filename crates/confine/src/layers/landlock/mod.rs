//! Landlock: a mandatory policy of the container's own, without any privilege.
//!
//! **Stops**: access to files outside the container's mounts even if a descriptor of a host directory or a way
//! around the mount namespace were found; device nodes and `ioctl` on devices outside `/dev`; signals and abstract
//! unix sockets across the container's border (R11). It is a second wall behind the mounts: rules follow from them.
//!
//! A policy may name files besides (`[filesystem] read`, `write`, `execute`, see [`files`]): then these are all that may be
//! read, written or executed, whatever the mounts would allow.
//!
//! **Can't stop**: what the mounts take back below a directory that a rule opens, as rights can only be given to a whole
//! tree: a read-only or `noexec` mount below a writable root is held by its mount flags alone, and by Landlock too only
//! with a read-only root. What was opened before (standard input, output and error); `stat`, `chmod`, `chown` and a few
//! other calls that Landlock does not cover.
//!
//! ABI 1 is Linux 5.13; 2 (5.19) adds moves between directories, 3 (6.2) truncation, 5 (6.10) device ioctls,
//! 6 (6.12) the scopes. Whatever the kernel's ABI lacks is left out and noted. Rules are opened inside the final
//! mount namespace, after the last mount: a process under Landlock can't mount.

pub mod files;

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd};

use donjon_sys::landlock::{RulesetAttr, add_path_beneath, create_ruleset, restrict_self};
use oci_spec::runtime::Spec;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::channel::message;
use crate::child::Context;
use crate::error::SpecError;
use crate::extensions::Extensions;
use crate::host::Host;
use crate::plan::{Draft, Layer, Op};
use crate::resolve;
use files::{Form, List};

/// Access rights of `linux/landlock.h`.
pub mod access {
    /// Execute a file.
    pub const EXECUTE: u64 = 1 << 0;
    /// Open a file for writing.
    pub const WRITE_FILE: u64 = 1 << 1;
    /// Open a file for reading.
    pub const READ_FILE: u64 = 1 << 2;
    /// List a directory.
    pub const READ_DIR: u64 = 1 << 3;
    /// Make a character device.
    pub const MAKE_CHAR: u64 = 1 << 6;
    /// Make a block device.
    pub const MAKE_BLOCK: u64 = 1 << 11;
    /// Link or move a file to another directory (ABI 2).
    pub const REFER: u64 = 1 << 13;
    /// Truncate a file (ABI 3).
    pub const TRUNCATE: u64 = 1 << 14;
    /// `ioctl` on a device that is opened from now on (ABI 5).
    pub const IOCTL_DEV: u64 = 1 << 15;

    /// Everything that an ABI knows for files.
    pub fn all(abi: u32) -> u64 {
        match abi {
            0 => 0,
            1 => (1 << 13) - 1,
            2 => (1 << 14) - 1,
            3 | 4 => (1 << 15) - 1,
            _ => (1 << 16) - 1,
        }
    }

    /// Reading.
    pub const READ: u64 = READ_FILE | READ_DIR;
    /// Writing, making and removing anything but device nodes.
    pub const WRITE: u64 = ((1 << 15) - 1) & !(EXECUTE | READ | MAKE_CHAR | MAKE_BLOCK) | REFER | TRUNCATE;
    /// What concerns the names in a directory, and not the content of any file: making, removing, moving.
    pub const WRITE_NAMES: u64 = WRITE & !(WRITE_FILE | TRUNCATE);
    /// What a rule on a file that is no directory may hold.
    pub const OF_FILES: u64 = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV;
}

/// Scope: abstract unix sockets (ABI 6).
const SCOPE_ABSTRACT_UNIX: u64 = 1;
/// Scope: signals (ABI 6).
const SCOPE_SIGNAL: u64 = 2;

/// One rule: these rights for this path of the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathRule {
    /// A path inside the container; of a pattern, the directory that it is about.
    pub path: CString,
    /// How much of it is meant.
    pub form: Form,
    /// Bits of [`access`].
    pub allowed: u64,
    /// Which list of the policy named it, and where in it. What a list names and is not there is passed over and told; what
    /// follows from a mount must be there.
    pub from: Option<(List, u16)>,
}

/// The step that puts the process under a ruleset made of the container's mounts.
pub(crate) fn plan(
    spec: &Spec,
    ext: &Extensions,
    host: &Host,
    further: bool,
    draft: &mut Draft,
) -> Result<(), SpecError> {
    if !ext.landlock {
        return Ok(());
    }
    let best_effort = ext.best_effort.iter().any(|l| l == Layer::Landlock.name());
    if host.landlock_abi == 0 {
        if !best_effort {
            return Err(SpecError::new(
                Layer::Landlock,
                "annotations[org.donjon.extensions].landlock",
                "this kernel has no Landlock (or it is missing from lsm=); --best-effort landlock starts without it",
            ));
        }
        draft
            .notes
            .push("landlock: not enforced, the kernel has none (allowed by --best-effort)".to_string());
        return Ok(());
    }
    for (abi, missing) in [
        (2, "moving files between directories is denied altogether (ABI 2, Linux 5.19)"),
        (3, "truncation is not controlled (ABI 3, Linux 6.2)"),
        (5, "ioctls on devices are not controlled (ABI 5, Linux 6.10)"),
        (6, "signals and abstract sockets are held by namespaces alone (ABI 6, Linux 6.12)"),
    ] {
        if host.landlock_abi < abi {
            draft.notes.push(format!("landlock: {missing}"));
        }
    }
    let handled = access::all(host.landlock_abi);
    let root_writable = !spec.root().as_ref().and_then(|r| r.readonly()).unwrap_or(false);
    let mut rules = Vec::new();
    let taken = files::taken(&ext.files);
    let mut rule = |path: &[u8], allowed: u64| -> Result<(), SpecError> {
        let path = SpecError::c_string(Layer::Landlock, "mounts", path)?;
        let allowed = allowed & handled & !taken;
        // The kernel takes no rule without rights.
        if allowed != 0 {
            rules.push(PathRule { path, form: Form::Tree, allowed, from: None });
        }
        Ok(())
    };
    let root = access::READ | access::EXECUTE | if root_writable { access::WRITE } else { 0 };
    rule(b"/", root)?;
    for mount in spec.mounts().iter().flatten() {
        let options = mount.options().as_deref().unwrap_or_default();
        let has = |name: &str| options.iter().any(|o| o == name);
        let path = std::os::unix::ffi::OsStrExt::as_bytes(mount.destination().as_os_str());
        match (path, mount.typ().as_deref()) {
            (b"/dev", _) => {
                rule(path, access::READ | access::WRITE_FILE | access::TRUNCATE | access::IOCTL_DEV)?
            }
            // Memory is a file there.
            (b"/proc", _) if ext.no_new_code => {}
            (b"/proc", _) => rule(path, access::READ | access::WRITE_FILE | access::TRUNCATE)?,
            _ if has("ro") || has("rro") => {}
            _ => {
                let execute = if has("noexec") || has("rnoexec") { 0 } else { access::EXECUTE };
                rule(path, access::READ | access::WRITE | execute)?;
            }
        }
    }
    rules.extend(files::rules(&ext.files, handled)?);
    // A further process is in a domain of its own beside the container's: under the scope of signals it could send
    // none to the programs that it was started to work with. The pid namespace still holds it.
    let scoped = match (host.landlock_abi >= 6, further) {
        (false, _) => 0,
        (true, false) => SCOPE_ABSTRACT_UNIX | SCOPE_SIGNAL,
        (true, true) => SCOPE_ABSTRACT_UNIX,
    };
    draft.add(
        Layer::Landlock,
        "annotations[org.donjon.extensions].landlock",
        Op::Landlock {
            attr: RulesetAttr { fs: handled, net: 0, scoped },
            rules,
            log: host.landlock_abi >= 7 && host.reads_audit,
        },
    );
    Ok(())
}

/// Opens every rule's path inside the container and enters the domain. What a list of the policy names and is not there
/// is passed over, and told.
pub(crate) fn restrict(
    ctx: &Context<'_>,
    attr: &RulesetAttr,
    rules: &[PathRule],
    log: bool,
) -> Result<(), Errno> {
    let ruleset = create_ruleset(attr)?;
    let root = rustix::fs::open(c"/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    for (i, rule) in rules.iter().enumerate() {
        let added = match &rule.form {
            Form::Matching(pattern) => {
                files::add_matching(ruleset.as_fd(), root.as_fd(), &rule.path, pattern, rule.allowed)
            }
            form => resolve::in_root(&root, rule.path.as_c_str(), OFlags::PATH)
                .and_then(|file| add(ruleset.as_fd(), file.as_fd(), form, rule.allowed)),
        };
        match (added, rule.from) {
            (Ok(0), Some(_)) => tell(ctx, i, 0)?,
            (Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS | Errno::LOOP), Some(_)) => {
                tell(ctx, i, Errno::NOENT.raw_os_error())?;
            }
            (other, _) => drop(other?),
        }
    }
    restrict_self(ruleset.as_fd(), if log { donjon_sys::landlock::LOG_NEW_EXEC } else { 0 })
}

/// Tells the parent about a rule that grants nothing here.
fn tell(ctx: &Context<'_>, rule: usize, errno: i32) -> Result<(), Errno> {
    ctx.send(message::PASSED_OVER, u16::try_from(rule).unwrap_or(u16::MAX), errno, None)
}

/// Adds the rights to the ruleset, as far as they can be had of what `file` is, and returns how many rules that makes.
fn add(ruleset: BorrowedFd<'_>, file: BorrowedFd<'_>, form: &Form, allowed: u64) -> Result<usize, Errno> {
    let is_dir = FileType::from_raw_mode(rustix::fs::fstat(file)?.st_mode) == FileType::Directory;
    let allowed = match (is_dir, form) {
        (false, _) => allowed & access::OF_FILES,
        (true, Form::Tree) => allowed,
        (true, Form::Object | Form::Matching(_)) => allowed & (access::READ_DIR | access::WRITE_NAMES),
    };
    if allowed == 0 {
        return Ok(0);
    }
    add_path_beneath(ruleset, file, allowed).map(|()| 1)
}
