//! The devices of an engine's container: those that the OCI runtime specification promises, and those of
//! `linux.devices`.
//!
//! **The attack**: the image, or another process, puts something else in a node's place; or the host's node of that name
//! is another device. **The defence**: a node is made in a directory that was opened without leaving the root, a node that
//! is there already must be the very device (R5), and a node of the host is looked at before it is bound.
//!
//! Nodes are made where that is allowed, else the host's own is bound: in a user namespace, or without `CAP_MKNOD`.
//!
//! **Can't stop**: what a device that the engine named can do. Which of them may be opened is the device controller's
//! matter (`linux.resources.devices`).

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use oci_spec::runtime::{LinuxDevice, LinuxDeviceType, LinuxNamespaceType, Process, Spec};
use rustix::fs::{Access, AtFlags, FileType, Gid, Mode, OFlags, Stat, Uid};
use rustix::io::Errno;

use crate::child::Context;
use crate::error::SpecError;
use crate::layers::mounts::{as_written, may_follow};
use crate::layers::namespaces;
use crate::layers::rootfs::{self, Kind};
use crate::plan::{Draft, Layer, Op, Slot};

use super::{ALWAYS, LINKS};

/// A device node.
#[derive(Debug)]
pub struct Node {
    /// The directory that it lies in, and its name there.
    pub place: Place,
    /// Block or character device, or a fifo.
    pub kind: FileType,
    /// Its number; none for a fifo.
    pub number: (u32, u32),
    /// Its mode.
    pub mode: u32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// The host's own node is bound, and none is made.
    pub bound: bool,
}

/// A name in a directory of the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The directory, made if it is missing.
    pub dir: CString,
    /// The name.
    pub name: CString,
    /// Both together.
    pub path: CString,
}

/// A symbolic link.
#[derive(Debug)]
pub struct Link {
    /// Where.
    pub place: Place,
    /// What it points to.
    pub target: CString,
    /// What is there already gives way.
    pub replaces: bool,
    /// Only where the container's procfs has this entry.
    pub if_in_proc: Option<CString>,
}

fn place(field: &str, path: &[u8]) -> Result<Place, SpecError> {
    let slash = path.iter().rposition(|b| *b == b'/').unwrap_or(0);
    let text = |bytes: &[u8]| SpecError::c_string(Layer::Devices, field, bytes);
    let name = path.get(slash + 1..).unwrap_or_default();
    if name.is_empty() {
        return Err(SpecError::new(Layer::Devices, field, "is the root itself"));
    }
    let dir = path.get(..slash).filter(|d| !d.is_empty()).unwrap_or(b"/");
    Ok(Place { dir: text(dir)?, name: text(name)?, path: text(path)? })
}

/// Steps for everything in `/dev`. Where the engine binds a directory of the host there, it is left as it is.
pub(super) fn plan(spec: &Spec, process: &Process, draft: &mut Draft) -> Result<(), SpecError> {
    let bound = namespaces::is_private(spec, LinuxNamespaceType::User);
    let named = spec.linux().as_ref().and_then(|l| l.devices().as_deref()).unwrap_or_default();
    let given = spec.mounts().iter().flatten().any(|m| {
        let typ = m.typ().as_deref();
        let binds = m.options().iter().flatten().any(|o| matches!(o.as_str(), "bind" | "rbind"));
        as_written::clean(m.destination()) == b"/dev" && (typ == Some("bind") || binds)
    });
    if !given {
        for (name, path, major, minor) in ALWAYS {
            if named.iter().any(|d| as_written::clean(d.path()) == path.to_bytes()) {
                continue;
            }
            let node = Node {
                place: Place { dir: c"/dev".into(), name: name.into(), path: path.into() },
                kind: FileType::CharacterDevice,
                number: (major, minor),
                mode: 0o666,
                uid: 0,
                gid: 0,
                bound,
            };
            draft.add(Layer::Devices, "", Op::Node(node));
        }
        for (i, device) in named.iter().enumerate() {
            let field = format!("linux.devices[{i}]");
            let node = node(&field, device, bound)?;
            draft.add(Layer::Devices, field, Op::Node(node));
        }
        for (name, target) in LINKS {
            let ptmx = name == c"ptmx";
            plan_link(name, target, ptmx, None, draft)?;
        }
        plan_link(c"core", c"/proc/kcore", false, Some(c"kcore"), draft)?;
    }
    super::plan_terminal(process, draft);
    super::plan_terminal_size(process, draft)
}

fn plan_link(
    name: &CStr,
    target: &CStr,
    replaces: bool,
    if_in_proc: Option<&CStr>,
    draft: &mut Draft,
) -> Result<(), SpecError> {
    let path = [b"/dev/", name.to_bytes()].concat();
    let link = Link {
        place: place("linux.devices", &path)?,
        target: target.into(),
        replaces,
        if_in_proc: if_in_proc.map(CString::from),
    };
    draft.add(Layer::Devices, "", Op::Link(link));
    Ok(())
}

fn node(field: &str, device: &LinuxDevice, bound: bool) -> Result<Node, SpecError> {
    let refuse = |name: &str, what: String| SpecError::new(Layer::Devices, format!("{field}.{name}"), what);
    let kind = match device.typ() {
        LinuxDeviceType::B => FileType::BlockDevice,
        LinuxDeviceType::C | LinuxDeviceType::U => FileType::CharacterDevice,
        LinuxDeviceType::P => FileType::Fifo,
        LinuxDeviceType::A => {
            return Err(refuse("type", "a is no type of a node; there are b, c, u and p".to_string()));
        }
    };
    let number = |name: &str, n: i64| {
        // Twelve and twenty bits are what the kernel has for them.
        let most = if name == "major" { 0xfff } else { 0xf_ffff };
        u32::try_from(n)
            .ok()
            .filter(|n| *n <= most)
            .ok_or_else(|| refuse(name, format!("{n} is no device number")))
    };
    let number = match kind {
        FileType::Fifo => (0, 0),
        _ => (number("major", device.major())?, number("minor", device.minor())?),
    };
    for (name, id) in [("uid", device.uid()), ("gid", device.gid())] {
        if id == Some(u32::MAX) {
            return Err(refuse(name, format!("{} is nobody's", u32::MAX)));
        }
    }
    // Some engines write the bits of the type along.
    let mode = device.file_mode().unwrap_or(0o666) & 0o7777;
    Ok(Node {
        place: place(&format!("{field}.path"), &as_written::clean(device.path()))?,
        kind,
        number,
        mode,
        uid: device.uid().unwrap_or(0),
        gid: device.gid().unwrap_or(0),
        bound: bound && kind != FileType::Fifo,
    })
}

fn is_it(stat: &Stat, node: &Node) -> bool {
    let number = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
    FileType::from_raw_mode(stat.st_mode) == node.kind
        && (node.kind == FileType::Fifo || number == node.number)
}

fn directory(ctx: &Context<'_>, place: &Place) -> Result<OwnedFd, Errno> {
    rootfs::mount_point(ctx, &place.dir, Kind::Dir, may_follow(&place.path))
}

/// Makes one node, or binds the host's.
pub(crate) fn make(ctx: &mut Context<'_>, node: &Node) -> Result<(), Errno> {
    let dir = directory(ctx, &node.place)?;
    let name = node.place.name.as_c_str();
    match rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(there) if is_it(&there, node) => return Ok(()),
        Ok(there) if node.bound && FileType::from_raw_mode(there.st_mode) == FileType::RegularFile => {
            // A place for a bind, as an engine or an earlier container left it.
            return bind(ctx, node, dir.as_fd());
        }
        Ok(_) => return Err(Errno::EXIST),
        Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno),
    }
    if node.bound {
        return bind(ctx, node, dir.as_fd());
    }
    let device = rustix::fs::makedev(node.number.0, node.number.1);
    let mode = Mode::from_raw_mode(node.mode);
    match rustix::fs::mknodat(&dir, name, node.kind, mode, device) {
        Ok(()) => {}
        Err(Errno::PERM) if node.kind != FileType::Fifo => return bind(ctx, node, dir.as_fd()),
        Err(errno) => return Err(errno),
    }
    let (uid, gid) = (Uid::from_raw(node.uid), Gid::from_raw(node.gid));
    rustix::fs::chownat(&dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
}

/// Binds the host's node of that path, if it is the device.
fn bind(ctx: &mut Context<'_>, node: &Node, dir: BorrowedFd<'_>) -> Result<(), Errno> {
    let tree = rustix::mount::open_tree(
        rustix::fs::CWD,
        node.place.path.as_c_str(),
        rustix::mount::OpenTreeFlags::OPEN_TREE_CLONE
            | rustix::mount::OpenTreeFlags::OPEN_TREE_CLOEXEC
            | rustix::mount::OpenTreeFlags::AT_SYMLINK_NOFOLLOW,
    )?;
    if !is_it(&rustix::fs::fstat(&tree)?, node) {
        return Err(Errno::NODEV);
    }
    let name = node.place.name.as_c_str();
    let create = OFlags::CREATE | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let target = rustix::fs::openat(dir, name, create, Mode::from_raw_mode(0o666))?;
    if FileType::from_raw_mode(rustix::fs::fstat(&target)?.st_mode) != FileType::RegularFile {
        return Err(Errno::EXIST);
    }
    rootfs::attach(ctx, &tree, &target, 0).map(drop)
}

/// Makes a symbolic link; one that is there already stays.
pub(crate) fn link(ctx: &Context<'_>, link: &Link) -> Result<(), Errno> {
    if let Some(entry) = &link.if_in_proc
        && rustix::fs::accessat(
            ctx.slots.get(Slot::PROC)?,
            entry.as_c_str(),
            Access::EXISTS,
            AtFlags::empty(),
        )
        .is_err()
    {
        return Ok(());
    }
    let dir = directory(ctx, &link.place)?;
    let name = link.place.name.as_c_str();
    if link.replaces {
        match rustix::fs::unlinkat(&dir, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
    match rustix::fs::symlinkat(link.target.as_c_str(), &dir, name) {
        Err(Errno::EXIST) if !link.replaces => Ok(()),
        other => other,
    }
}
