//! The root: a mount tree of its own, and no way back to the host's.
//!
//! **Stops**: reaching host files by path, by `..`, by a symbolic link that the image carries, or by a mount that
//! is swapped under the runtime's feet. The tree is put together through descriptors below one root (R2, R3);
//! `pivot_root` makes it the root and the old one is detached; then the kernel's own list of mounts is compared
//! with the plan (R7), and the working directory is proved to lie inside (R6).
//!
//! **Can't stop**: what a directory that the caller mounts in gives away; `donjon run` refuses the worst.
//!
//! Needs `openat2` (5.6), `mount_setattr` (5.12); comparing mounts needs `listmount` and `statmount` (6.8), and is
//! left out, with a note in `doctor`, below that.

pub(crate) mod in_place;
mod mounted;

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use donjon_sys::mount::{SetAttr, attr, mount_setattr};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, StatxFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags};

use crate::child::Context;
use crate::error::SpecError;
use crate::extensions::{Extensions, Origin, Root, Upper};
use crate::host::Host;
use crate::plan::{Draft, IdMaps, Layer, Op, OverlayAt, Slot};
use crate::resolve;
use oci_spec::runtime::{Process, Spec};

pub(crate) use mounted::{Expected, Mounted};

use super::mounts::table::MS_PRIVATE;

/// Steps that build the root, up to and without its mounts.
pub(crate) fn plan(
    spec: &Spec,
    ext: &Extensions,
    host: &Host,
    maps: &IdMaps,
    draft: &mut Draft,
) -> Result<(), SpecError> {
    let root = spec
        .root()
        .as_ref()
        .ok_or_else(|| SpecError::new(Layer::Rootfs, "root", "is missing: a container needs a root"))?;
    if ext.origin == Origin::Bundle {
        return in_place::plan(root, draft);
    }
    let bytes = match ext.upper {
        Upper::Ram { bytes } => Some(bytes),
        Upper::None => None,
    };
    // Where root maps a whole range, the tree's owners are shown through it. Nobody else may do that.
    let idmap = matches!(maps, IdMaps::Parent { .. }) && host.uid == 0;
    draft.add(Layer::Rootfs, "root", Op::Scratch { bytes });
    let path = |p: &str| SpecError::c_string(Layer::Rootfs, "root", p);
    match &ext.root {
        Root::Dir { own } => {
            let source = draft.source(Layer::Rootfs, "root.path", root.path().clone());
            match ext.upper {
                Upper::Ram { .. } => {
                    own_directories(own.iter().map(|(path, mode)| (path.as_str(), *mode)), c"t", draft)?;
                    draft.add(
                        Layer::Overlay,
                        "root.path",
                        Op::Overlay { source, tag: c"t".into(), at: OverlayAt::Root, idmap },
                    );
                }
                Upper::None => {
                    draft.add(Layer::Rootfs, "root.path", Op::BindRoot { source, idmap });
                }
            }
        }
        Root::Host { lowers, links, dirs, hidden, files, own } => {
            draft.add(Layer::Rootfs, "root.path", Op::RamRoot);
            for (dir, mode) in dirs {
                draft.add(Layer::Rootfs, "root.path", Op::RootDir { path: path(dir)?, mode: *mode });
            }
            for (link, target) in links {
                draft.add(
                    Layer::Rootfs,
                    "root.path",
                    Op::RootLink { path: path(link)?, target: path(target)? },
                );
            }
            for (i, lower) in lowers.iter().enumerate() {
                let tag = path(&format!("t{i}"))?;
                own_directories(
                    own.iter().filter_map(|(p, mode)| Some((below(lower, p)?, *mode))),
                    &tag,
                    draft,
                )?;
                for hidden in hidden.iter().filter_map(|h| below(lower, h)) {
                    draft.add(
                        Layer::Overlay,
                        "root.path",
                        Op::Hide { tag: tag.clone(), path: path(hidden)? },
                    );
                }
                for (file, content) in files.iter().filter_map(|(f, c)| below(lower, f).map(|f| (f, c))) {
                    draft.add(
                        Layer::Overlay,
                        "root.path",
                        Op::Supply { tag: tag.clone(), path: path(file)?, content: path(content)? },
                    );
                }
                let source = draft.source(Layer::Overlay, "root.path", root.path().join(lower));
                draft.add(
                    Layer::Overlay,
                    "root.path",
                    // The host's own files stay the host's: their owners are nobody inside, and what only root
                    // may read stays unreadable.
                    Op::Overlay { source, tag, at: OverlayAt::Top(path(lower)?), idmap: false },
                );
            }
        }
    }
    Ok(())
}

/// The step that makes directories in the upper layer of overlay `tag`.
fn own_directories<'a>(
    dirs: impl Iterator<Item = (&'a str, u32)>,
    tag: &CStr,
    draft: &mut Draft,
) -> Result<(), SpecError> {
    let dirs = dirs
        .map(|(path, mode)| {
            let plain = path.split('/').all(|part| !matches!(part, "" | "." | ".."));
            match plain {
                true => Ok((SpecError::c_string(Layer::Overlay, "root", path)?, mode & 0o1777)),
                false => Err(SpecError::new(Layer::Overlay, "root", format!("{path:?} is no relative path"))),
            }
        })
        .collect::<Result<Vec<_>, SpecError>>()?;
    if !dirs.is_empty() {
        draft.add(Layer::Overlay, "root.path", Op::OwnDirectories { tag: tag.into(), dirs });
    }
    Ok(())
}

/// The part of `path` below the top-level directory `top`.
fn below<'a>(top: &str, path: &'a str) -> Option<&'a str> {
    path.strip_prefix(top)?.strip_prefix('/')
}

/// Steps that make the tree the root.
pub(crate) fn plan_pivot(spec: &Spec, draft: &mut Draft) -> Result<(), SpecError> {
    if draft.origin == Origin::Bundle {
        return in_place::plan_pivot(spec, draft);
    }
    if spec.root().as_ref().and_then(|r| r.readonly()).unwrap_or(false) {
        draft.add(Layer::Rootfs, "root.readonly", Op::SealRoot);
    }
    draft.add(Layer::Rootfs, "", Op::PivotRoot);
    draft.add(Layer::Rootfs, "", Op::VerifyMounts);
    Ok(())
}

/// The step into the working directory. It is made in the container if it does not exist, never on the host.
pub(crate) fn plan_working_directory(process: &Process, draft: &mut Draft) -> Result<(), SpecError> {
    let cwd = process.cwd();
    if !cwd.is_absolute() {
        return Err(SpecError::new(Layer::Rootfs, "process.cwd", "is not an absolute path"));
    }
    let path = SpecError::c_string(
        Layer::Rootfs,
        "process.cwd",
        std::os::unix::ffi::OsStrExt::as_bytes(cwd.as_os_str()),
    )?;
    draft.add(Layer::Rootfs, "process.cwd", Op::WorkingDirectory { path });
    Ok(())
}

/// Cuts all propagation, both ways, before the first mount.
pub(crate) fn private_mounts() -> Result<(), Errno> {
    let change = SetAttr { propagation: MS_PRIVATE, ..SetAttr::default() };
    mount_setattr(rustix::fs::CWD, c"/", true, change, None)
}

/// Where the RAM file system lies until the old root is let go, and goes with it: a directory that every machine has
/// and nobody needs any more in this mount namespace, as procfs is at hand by its own descriptor.
const STAGE: &CStr = c"/proc";

/// Mounts a RAM file system out of everybody's way. It holds upper layers and masks, and dies with the mounts that
/// use it.
pub(crate) fn scratch(ctx: &mut Context<'_>, bytes: Option<u64>) -> Result<(), Errno> {
    let fs = rustix::mount::fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let mut number = [0u8; 24];
    let size = decimal(bytes.unwrap_or(1 << 20), &mut number);
    rustix::mount::fsconfig_set_string(fs.as_fd(), c"size", size)?;
    rustix::mount::fsconfig_set_string(fs.as_fd(), c"mode", c"0755")?;
    rustix::mount::fsconfig_create(fs.as_fd())?;
    let mount = rustix::mount::fsmount(
        fs.as_fd(),
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV,
    )?;
    move_to(&mount, rustix::fs::CWD, STAGE)?;
    rustix::fs::mkdirat(&mount, c"root", Mode::from_raw_mode(0o755))?;
    ctx.slots.put(Slot::SCRATCH, mount)
}

/// The lower tree itself as root: what an engine prepared and wants written to.
pub(crate) fn bind_root(ctx: &mut Context<'_>, source: usize) -> Result<(), Errno> {
    let tree = clone_source(ctx, source, true)?;
    let change = SetAttr { set: attr::NOSUID | attr::NODEV, ..SetAttr::default() };
    mount_setattr(tree.as_fd(), c"", true, change, None)?;
    let id = unique_id(tree.as_fd())?;
    ctx.mounted.tree(id)?;
    place_root(ctx, tree, attr::NOSUID | attr::NODEV)
}

/// A directory of the RAM file system as root.
pub(crate) fn ram_root(ctx: &mut Context<'_>) -> Result<(), Errno> {
    let scratch = ctx.slots.get(Slot::SCRATCH)?;
    let tree = rustix::mount::open_tree(
        scratch,
        c"root",
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC,
    )?;
    place_root(ctx, tree, attr::NOSUID | attr::NODEV)
}

/// Attaches the mount that becomes the root below the scratch file system and remembers it.
pub(crate) fn place_root(ctx: &mut Context<'_>, tree: OwnedFd, expected: u64) -> Result<(), Errno> {
    let scratch = ctx.slots.get(Slot::SCRATCH)?;
    move_to(&tree, scratch, c"root")?;
    ctx.root_device = device_of(tree.as_fd())?;
    ctx.mounted.expect(tree.as_fd(), expected)?;
    ctx.slots.put(Slot::ROOT, tree)
}

/// A directory at the top of a RAM root.
pub(crate) fn root_dir(ctx: &Context<'_>, path: &CStr, mode: u32) -> Result<(), Errno> {
    let root = ctx.slots.get(Slot::ROOT)?;
    rustix::fs::mkdirat(root, path, Mode::from_raw_mode(mode))
}

/// A symbolic link at the top of a RAM root.
pub(crate) fn root_link(ctx: &Context<'_>, path: &CStr, target: &CStr) -> Result<(), Errno> {
    rustix::fs::symlinkat(target, ctx.slots.get(Slot::ROOT)?, path)
}

/// Makes the root read-only, now that every mount point in it exists.
pub(crate) fn seal_root(ctx: &mut Context<'_>) -> Result<(), Errno> {
    let root = ctx.slots.get(Slot::ROOT)?;
    mount_setattr(root, c"", false, SetAttr { set: attr::RDONLY, ..SetAttr::default() }, None)?;
    ctx.mounted.also(root, attr::RDONLY)
}

/// Changes the root and lets the old one go.
pub(crate) fn pivot_root(ctx: &mut Context<'_>) -> Result<(), Errno> {
    rustix::process::fchdir(ctx.slots.get(Slot::ROOT)?)?;
    ctx.slots.close(Slot::SCRATCH);
    ctx.slots.close(Slot::MASKS);
    donjon_sys::mount::pivot_to_current_directory()
}

/// Moves a detached mount to `path` below `dir`.
pub(crate) fn move_to(mount: &OwnedFd, dir: impl AsFd, path: &CStr) -> Result<(), Errno> {
    rustix::mount::move_mount(mount.as_fd(), c"", dir.as_fd(), path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}

/// Attaches a detached mount exactly on what `target` refers to, and remembers it for the final comparison. Returns its
/// unique id.
pub(crate) fn attach(
    ctx: &mut Context<'_>,
    mount: &OwnedFd,
    target: &OwnedFd,
    expected: u64,
) -> Result<u64, Errno> {
    attach_expecting(ctx, mount, target, Expected { present: expected, ..Expected::default() })
}

/// The same with everything that is expected of the mount at the end.
pub(crate) fn attach_expecting(
    ctx: &mut Context<'_>,
    mount: &OwnedFd,
    target: &OwnedFd,
    expected: Expected,
) -> Result<u64, Errno> {
    rustix::mount::move_mount(
        mount.as_fd(),
        c"",
        target.as_fd(),
        c"",
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH,
    )?;
    ctx.mounted.expect_all(mount.as_fd(), expected)
}

/// Opens host source number `source` again, in this mount namespace, and proves that it is the one that the
/// parent looked at; then clones it as a detached mount.
pub(crate) fn clone_source(ctx: &mut Context<'_>, source: usize, recursive: bool) -> Result<OwnedFd, Errno> {
    if let Some(made_by_parent) = ctx.idmapped.get_mut(source).and_then(Option::take) {
        // The kernel lists mounts in the order in which they were made, and engines look at that list. A clone of it, made
        // now, takes its place; before Linux 6.15 one of a detached mount can't be had (EINVAL), and it is listed earlier.
        return clone_tree(made_by_parent.as_fd(), recursive).or(Ok(made_by_parent));
    }
    let file = open_source(ctx, source)?;
    clone_tree(file.as_fd(), recursive)
}

/// Opens host source number `source` in this mount namespace, if it is the one that the parent looked at.
fn open_source(ctx: &Context<'_>, source: usize) -> Result<OwnedFd, Errno> {
    let source = ctx.from.sources.get(source).ok_or(Errno::NOENT)?;
    let file = resolve::canonical(source.path.as_c_str(), OFlags::PATH)?;
    let stat = rustix::fs::fstat(&file)?;
    if (stat.st_dev, stat.st_ino) != source.identity {
        return Err(Errno::STALE);
    }
    Ok(file)
}

/// A detached copy of the mount at `file`, which may be any file or directory in it.
pub(crate) fn clone_tree(file: BorrowedFd<'_>, recursive: bool) -> Result<OwnedFd, Errno> {
    let mut flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    rustix::mount::open_tree(file, c"", flags)
}

/// What a mount point has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Dir,
    /// Anything that is not a directory.
    File,
}

/// Finds the mount point `path` in the new root, or makes it: only in the container's own RAM, never in something
/// that was mounted in. With `links` false, any symbolic link on the way refuses (R2).
pub(crate) fn mount_point(ctx: &Context<'_>, path: &CStr, kind: Kind, links: bool) -> Result<OwnedFd, Errno> {
    let root = ctx.slots.get(Slot::ROOT)?;
    let found = if links {
        resolve::in_root(root, path, OFlags::PATH)
    } else {
        resolve::no_symlinks(root, path, OFlags::PATH)
    };
    let file = match found {
        Err(Errno::NOENT) => make(ctx, root, path, kind, links)?,
        other => other?,
    };
    if links {
        ctx.is_no_wall(file.as_fd())?;
    }
    let is_dir = FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) == FileType::Directory;
    match (kind, is_dir) {
        (Kind::Dir, false) => Err(Errno::NOTDIR),
        (Kind::File, true) => Err(Errno::ISDIR),
        _ => Ok(file),
    }
}

/// Links to what does not exist that are followed on one way, as many as the kernel follows of others.
const DANGLING: usize = 40;

/// Makes every missing component of `path` below `root`.
fn make(
    ctx: &Context<'_>,
    root: BorrowedFd<'_>,
    path: &CStr,
    kind: Kind,
    links: bool,
) -> Result<OwnedFd, Errno> {
    make_below(ctx, root, path, kind, links, DANGLING)
}

/// An engine's mount point may be a link to what is made by programs later (`/etc/resolv.conf` in many images): then what
/// it points to is made, inside the root.
fn make_behind_link(
    ctx: &Context<'_>,
    root: BorrowedFd<'_>,
    above: &[u8],
    target: &[u8],
    rest: &[u8],
    kind: Kind,
    left: usize,
) -> Result<OwnedFd, Errno> {
    let above = if target.first() == Some(&b'/') { &[] } else { above };
    let mut path = [0u8; 4096];
    let mut length = 0;
    for byte in above.iter().chain(b"/").chain(target).chain(rest) {
        *path.get_mut(length).ok_or(Errno::NAMETOOLONG)? = *byte;
        length += 1;
    }
    let mut buffer = [0u8; 4097];
    let path = c_str(&mut buffer, path.get(..length).unwrap_or_default())?;
    match resolve::in_root(root, path, OFlags::PATH) {
        Err(Errno::NOENT) => make_below(ctx, root, path, kind, true, left.checked_sub(1).ok_or(Errno::LOOP)?),
        other => other,
    }
}

fn make_below(
    ctx: &Context<'_>,
    root: BorrowedFd<'_>,
    path: &CStr,
    kind: Kind,
    links: bool,
    left: usize,
) -> Result<OwnedFd, Errno> {
    let bytes = path.to_bytes();
    let mut end = 0;
    let mut buffer = [0u8; 4097];
    // Mostly the last component alone is missing.
    let last = bytes.iter().rposition(|b| *b == b'/').unwrap_or(0);
    let above = c_str(&mut buffer, bytes.get(..last.max(1)).unwrap_or_default())?;
    let above = if links {
        resolve::in_root(root, above, OFlags::PATH | OFlags::DIRECTORY)
    } else {
        resolve::no_symlinks(root, above, OFlags::PATH | OFlags::DIRECTORY)
    };
    let mut at = match above {
        Ok(above) if last + 1 < bytes.len() => {
            end = last;
            above
        }
        _ => resolve::in_root(root, c"/", OFlags::PATH | OFlags::DIRECTORY)?,
    };
    while end < bytes.len() {
        // The next component ends at the next slash.
        while bytes.get(end) == Some(&b'/') {
            end += 1;
        }
        let start = end;
        while end < bytes.len() && bytes.get(end) != Some(&b'/') {
            end += 1;
        }
        if start == end {
            break;
        }
        let last = bytes.get(end..).is_none_or(|rest| rest.iter().all(|b| *b == b'/'));
        // What exists is found from the root, so that links and `..` mean what they mean inside.
        let prefix = c_str(&mut buffer, bytes.get(..end).unwrap_or_default())?;
        let found = if links {
            resolve::in_root(root, prefix, OFlags::PATH)
        } else {
            resolve::no_symlinks(root, prefix, OFlags::PATH)
        };
        at = match found {
            Ok(next) => next,
            Err(Errno::NOENT) => {
                ctx.is_own_ram(at.as_fd())?;
                if links {
                    ctx.is_no_wall(at.as_fd())?;
                }
                let name = c_str(&mut buffer, bytes.get(start..end).unwrap_or_default())?;
                if links && ctx.as_written {
                    let mut target = [std::mem::MaybeUninit::uninit(); 4096];
                    if let Ok((target, _)) = rustix::fs::readlinkat_raw(&at, name, &mut target) {
                        let above = bytes.get(..start).unwrap_or_default();
                        let rest = bytes.get(end..).unwrap_or_default();
                        return make_behind_link(ctx, root, above, target, rest, kind, left);
                    }
                }
                if last && kind == Kind::File {
                    rustix::fs::openat(
                        &at,
                        name,
                        OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC,
                        Mode::from_raw_mode(0o644),
                    )?;
                } else {
                    rustix::fs::mkdirat(&at, name, Mode::from_raw_mode(0o755))?;
                }
                resolve::no_symlinks(&at, name, OFlags::PATH)?
            }
            Err(errno) => return Err(errno),
        };
    }
    Ok(at)
}

/// NUL-terminates `bytes` in `buffer`.
pub(crate) fn c_str<'a>(buffer: &'a mut [u8; 4097], bytes: &[u8]) -> Result<&'a CStr, Errno> {
    let room = buffer.get_mut(..=bytes.len()).ok_or(Errno::NAMETOOLONG)?;
    let (text, nul) = room.split_at_mut(bytes.len());
    text.copy_from_slice(bytes);
    nul.fill(0);
    CStr::from_bytes_with_nul(room).map_err(|_| Errno::INVAL)
}

/// Writes `n` in decimal into `buffer`.
pub(crate) fn decimal(mut n: u64, buffer: &mut [u8; 24]) -> &CStr {
    let mut at = buffer.len() - 1;
    buffer.fill(0);
    loop {
        at -= 1;
        if let Some(digit) = buffer.get_mut(at) {
            *digit = b'0' + (n % 10) as u8;
        }
        n /= 10;
        if n == 0 || at == 0 {
            break;
        }
    }
    buffer.get(at..).and_then(|b| CStr::from_bytes_until_nul(b).ok()).unwrap_or(c"0")
}

/// The device number of the file system behind a descriptor.
pub(crate) fn device_of(fd: BorrowedFd<'_>) -> Result<u64, Errno> {
    rustix::fs::fstat(fd).map(|s| s.st_dev)
}

/// Enters the working directory through a descriptor and proves that it lies inside the root (R6). A missing one
/// is made, if it would lie in the container's own RAM.
pub(crate) fn working_directory(ctx: &Context<'_>, path: &CStr) -> Result<(), Errno> {
    let root = rustix::fs::open(c"/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let dir = match resolve::in_root(&root, path, OFlags::PATH | OFlags::DIRECTORY) {
        Err(Errno::NOENT) => make(ctx, root.as_fd(), path, Kind::Dir, true)?,
        other => other?,
    };
    rustix::process::fchdir(&dir)?;
    // The kernel itself says "(unreachable)" of a directory outside the root.
    let mut buffer = [0u8; 4096];
    donjon_sys::process::getcwd(&mut buffer)?;
    if buffer.first() == Some(&b'/') || !ctx.protects("working-directory") {
        Ok(())
    } else {
        Err(Errno::XDEV)
    }
}

/// `STATX_MNT_ID_UNIQUE` (6.8); 0 on older kernels, where nothing is compared.
pub(crate) fn unique_id(fd: BorrowedFd<'_>) -> Result<u64, Errno> {
    const MNT_ID_UNIQUE: u32 = 0x4000;
    let flags = StatxFlags::from_bits_retain(MNT_ID_UNIQUE);
    let stat = rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, flags)?;
    Ok(if stat.stx_mask & MNT_ID_UNIQUE != 0 { stat.stx_mnt_id } else { 0 })
}
