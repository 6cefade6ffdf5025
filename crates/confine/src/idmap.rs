//! Id maps that the parent writes, and mounts whose owners are shown through such a map.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};

use donjon_sys::mount::{SetAttr, attr, mount_setattr};
use rustix::fs::{Mode, OFlags};
use rustix::process::Pid;

use crate::error::StartError;
use crate::layers::mounts::as_written::IdMap;
use crate::layers::namespaces;
use crate::layers::rootfs::clone_tree;
use crate::plan::Layer;
use crate::resolve;
use crate::spawn::OpenSource;

/// Inside, outside, count.
type Maps = [(u32, u32, u32)];

/// Writes the id maps of process `pid`: root directly, an ordinary user through `newuidmap` and `newgidmap`, by
/// their absolute paths and with an empty environment (R1, R19).
pub(crate) fn write(pid: Pid, uids: &Maps, gids: &Maps) -> Result<(), StartError> {
    if rustix::process::geteuid().is_root() {
        write_directly(pid, "gid_map", gids)?;
        return write_directly(pid, "uid_map", uids);
    }
    helper("/usr/bin/newgidmap", "/etc/subgid", pid, gids)?;
    helper("/usr/bin/newuidmap", "/etc/subuid", pid, uids)
}

fn write_directly(pid: Pid, file: &str, maps: &Maps) -> Result<(), StartError> {
    let text: String =
        maps.iter().map(|(inside, outside, count)| format!("{inside} {outside} {count}\n")).collect();
    std::fs::write(format!("/proc/{}/{file}", pid.as_raw_nonzero()), text).map_err(|e| {
        StartError::new(
            Layer::Identity,
            format!("write {file} of the new user namespace"),
            rustix::io::Errno::from_io_error(&e),
        )
        .field("linux.uidMappings")
    })
}

fn helper(program: &str, ranges: &str, pid: Pid, maps: &Maps) -> Result<(), StartError> {
    let mut command = Command::new(program);
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command.arg(pid.as_raw_nonzero().to_string());
    for (inside, outside, count) in maps {
        command.args([inside.to_string(), outside.to_string(), count.to_string()]);
    }
    let fail = |what: String| {
        StartError::new(Layer::Identity, what, None).field("linux.uidMappings").hint(format!(
            "a range of ids needs the package uidmap and a line for you in {ranges}; without --userns range donjon \
             needs neither"
        ))
    };
    let output = command.output().map_err(|e| fail(format!("run {program}: {}", e.kind())))?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    Err(fail(format!("{program} refused: {}", words.lines().next().unwrap_or("no reason given"))))
}

/// A mount that the parent makes for the child.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    /// Index of the host source.
    pub source: usize,
    /// With the mounts below it.
    pub recursive: bool,
    /// Owners are shown through this map; true: also those of the mounts below.
    pub idmap: Option<(&'a IdMap, bool)>,
}

/// A detached mount of a host source, made where the host's mounts are: one that shares with the host's, or whose owners
/// are shown through an id map. Only root over the file system's user namespace may make the latter, so the parent does,
/// and hands it to the child, process `pid`.
pub(crate) fn mount(
    source: &OpenSource,
    pid: Pid,
    wanted: &Wanted<'_>,
    field: &str,
) -> Result<OwnedFd, StartError> {
    let path: &CStr = &source.path;
    let fail = |errno: rustix::io::Errno| {
        let path = path.to_string_lossy();
        let what = match wanted.idmap {
            Some(_) => format!("show the owners of {path} through the id map"),
            None => format!("share the mounts of {path} with the host"),
        };
        let error = StartError::new(Layer::Mounts, what, errno).field(field);
        match errno {
            rustix::io::Errno::INVAL if wanted.idmap.is_some() => error.hint(
                "this file system or kernel has no id-mapped mounts (ext4, xfs, btrfs have them; tmpfs from Linux 6.3)",
            ),
            rustix::io::Errno::PERM => error.hint("only root of this machine, or of the mount's own user namespace, may"),
            _ => error,
        }
    };
    let file = resolve::canonical(path, OFlags::PATH).map_err(fail)?;
    let stat = rustix::fs::fstat(&file).map_err(fail)?;
    if (stat.st_dev, stat.st_ino) != source.identity {
        return Err(fail(rustix::io::Errno::STALE));
    }
    let tree = clone_tree(file.as_fd(), wanted.recursive).map_err(fail)?;
    if let Some((map, recursive)) = wanted.idmap {
        let userns = match map {
            IdMap::Container => {
                let path = format!("/proc/{}/ns/user", pid.as_raw_nonzero());
                rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(fail)?
            }
            IdMap::Own { uids, gids } => namespace(uids, gids, field)?,
        };
        let change = SetAttr { set: attr::IDMAP, ..SetAttr::default() };
        mount_setattr(tree.as_fd(), c"", recursive, change, Some(userns.as_fd())).map_err(fail)?;
    }
    Ok(tree)
}

/// A user namespace that holds nothing but these maps: its only process ends when it has been opened.
fn namespace(uids: &Maps, gids: &Maps, field: &str) -> Result<OwnedFd, StartError> {
    let fail = |errno| {
        StartError::new(Layer::Mounts, "make a user namespace for the mount's id map", errno).field(field)
    };
    let (ours, theirs) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(fail)?;
    let (pid, pidfd) = donjon_sys::clone::clone3(namespaces::flag::USER, None, || {
        donjon_sys::process::close_copy(theirs.as_fd());
        // Until the other end is closed.
        let _ = rustix::io::read(&ours, &mut [0u8; 1]);
        0
    })
    .map_err(fail)?;
    let made = write(pid, uids, gids).map_err(|error| error.field(field)).and_then(|()| {
        let path = format!("/proc/{}/ns/user", pid.as_raw_nonzero());
        rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(fail)
    });
    drop(theirs);
    let _ = rustix::process::waitid(
        rustix::process::WaitId::PidFd(pidfd.as_fd()),
        rustix::process::WaitIdOptions::EXITED,
    );
    made
}
