//! donjon's own executable, out of a container's reach (R8).
//!
//! **The attack** (CVE-2019-5736): a process of donjon is in a container's pid namespace, while it joins or waits for
//! `start`. A program there opens its `/proc/PID/exe`, waits until no donjon runs, and writes: the next container is
//! started by a runtime of the attacker's. **The defence**: those processes can't be looked into by anybody but who may
//! trace over the host's user namespace. Where a container may have that right, as there is no user namespace between,
//! donjon executes itself once more from a read-only mount of its own file, which is attached nowhere: what leads to the
//! file through `/proc/PID/exe` leads through that mount.
//!
//! **Can't stop**: a container with `CAP_SYS_ADMIN` over the host, which can mount the host's file systems itself. Nor one
//! that may trace, has no user namespace of its own, and enters the pid namespace of a container that waits for `start`:
//! who waits was not executed anew, which would take longer than the whole creation.
//!
//! Linux 5.12 (`mount_setattr`); needs the right to mount, which root without a user namespace has.

use std::ffi::CString;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;

use donjon_confine::Spec;
use donjon_confine::layers::namespaces::{flag, makes};
use donjon_sys::mount::{SetAttr, attr, mount_setattr};
use donjon_sys::process::{CStringArray, execveat};
use oci_spec::runtime::{Capability, LinuxNamespaceType};
use rustix::fs::StatVfsMountFlags;
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};

use super::error::OciError;

/// Executes donjon once more, from a read-only mount, if a process of this container could look at it. Returns when
/// there is no need, or no need any more.
pub fn protect(spec: &Spec, joins: bool) -> Result<(), OciError> {
    if !is_visible(spec, joins) || !donjon_confine::hooks::protects("own-image") {
        return Ok(());
    }
    let fail = || OciError::io("put donjon's own executable out of the container's reach");
    let flags = rustix::fs::statvfs(c"/proc/self/exe").map_err(fail())?.f_flag;
    if flags.contains(StatVfsMountFlags::RDONLY) {
        return Ok(());
    }
    let clone = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let file = open_tree(rustix::fs::CWD, c"/proc/self/exe", clone).map_err(fail())?;
    let change = SetAttr { set: attr::RDONLY | attr::NOSUID | attr::NODEV, ..SetAttr::default() };
    mount_setattr(file.as_fd(), c"", false, change, None).map_err(fail())?;
    let words = |list: Vec<Vec<u8>>| -> Result<CStringArray, OciError> {
        let strings: Result<Vec<CString>, _> = list.into_iter().map(CString::new).collect();
        strings.map(CStringArray::new).map_err(|_| fail()(Errno::INVAL))
    };
    let argv = words(std::env::args_os().map(OsStringExt::into_vec).collect())?;
    let envp = std::env::vars_os().map(|(name, value)| [name.into_vec(), value.into_vec()].join(&b'='));
    let envp = words(envp.collect())?;
    Err(fail()(execveat(file.as_fd(), &argv, &envp)))
}

/// Whether a process of a container may trace donjon's: without a user namespace between, and with the right to trace,
/// its own or that of another container in the same pid namespace.
fn is_visible(spec: &Spec, joins: bool) -> bool {
    let separate = spec.linux().as_ref().and_then(|l| l.namespaces().as_ref());
    let separate = separate.into_iter().flatten().any(|n| n.typ() == LinuxNamespaceType::User);
    if !rustix::process::geteuid().is_root() || separate {
        return false;
    }
    let bounding = spec.process().as_ref().and_then(|p| p.capabilities().as_ref());
    let bounding = bounding.and_then(|c| c.bounding().as_ref());
    let traces = bounding.is_some_and(|set| set.contains(&Capability::SysPtrace));
    traces || joins || !makes(spec, flag::PID)
}
