//! An engine's mounts, done as they are written: any file system, any option, nothing added.
//!
//! **Stops**: the same paths that lead out of the root as for donjon's own mounts: each is built detached and attached
//! once to a descriptor that was looked at first (R2, R3). And a mount that would stand in the place of procfs: programs
//! and this runtime believe what they read and write there.
//!
//! **Can't stop**: what the engine asked for. Two things it does not get: a hierarchy of cgroups of version 1 that can be
//! written to (R16, see [`super::cgroupfs`], and [`super::version_1`] for what comes along with a bind), and a mount over
//! the root itself.
//!
//! A file system's parameters are set one by one (`man 2 fsconfig`), at most 255 bytes each. `mount_setattr`: Linux 5.12,
//! id maps as well; which file systems have them is the kernel's to say.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use donjon_sys::mount::{SetAttr, attr, mount_setattr};
use oci_spec::runtime::{LinuxIdMapping, LinuxNamespaceType, Mount, Spec};
use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, FsPickFlags, MountAttrFlags};

use crate::child::Context;
use crate::error::SpecError;
use crate::extensions::Extensions;
use crate::layers::namespaces;
use crate::layers::rootfs::{self, Expected, Kind};
use crate::plan::{Draft, Layer, Op, Slot};
use crate::resolve;

use super::table::{Change, MS_PRIVATE, MS_SHARED, MS_SLAVE, MS_UNBINDABLE, Propagation, Written};
use super::{cgroupfs, copy_up, handle, may_follow, version_1};

/// One mount of an engine.
#[derive(Debug)]
pub struct AsWritten {
    /// Where, inside the root.
    pub target: CString,
    /// What.
    pub thing: Thing,
    /// What becomes of its attributes.
    pub change: Change,
    /// What becomes of its attributes and of those of the mounts below it.
    pub below: Change,
    /// In the order in which it is applied.
    pub propagation: Vec<Propagation>,
    /// Keep the mount here, for a later step.
    pub slot: Option<Slot>,
}

impl AsWritten {
    /// Whether the process must be in its groups before: the mount shows them, or what is copied into RAM is theirs to
    /// count.
    pub(crate) fn needs_its_group(&self) -> bool {
        match &self.thing {
            Thing::Cgroups { .. } => true,
            Thing::New(new) | Thing::Remount(new) => new.copy_up,
            Thing::Bind { .. } => false,
        }
    }
}

/// What is mounted.
#[derive(Debug)]
pub enum Thing {
    /// A new file system.
    New(New),
    /// The container's groups of processes.
    Cgroups {
        /// The file system of version 2, or what stands in its place.
        new: New,
        /// Whether version 2 was named.
        v2: bool,
        /// Whether the container has a namespace that shows its own groups alone.
        own_namespace: bool,
    },
    /// Something of the host's.
    Bind {
        /// Index of the host source.
        source: usize,
        /// With the mounts below it.
        recursive: bool,
        /// What only the parent can do to it.
        by_parent: Option<ByParent>,
        /// It must be a procfs.
        procfs: bool,
    },
    /// Other attributes, or parameters, for what is mounted there already.
    Remount(New),
}

/// A new file system.
#[derive(Debug, Default)]
pub struct New {
    /// Its type.
    pub fstype: CString,
    /// What `/proc/mounts` shows as its source, or the device that it lies on.
    pub source: CString,
    /// Its parameters (without a value: a flag).
    pub params: Vec<(CString, Option<CString>)>,
    /// It gets the mode of the directory that it covers.
    pub mode_of_target: bool,
    /// It begins with what the image has there.
    pub copy_up: bool,
    /// A procfs of the pid namespace that is entered by path, and that this process is not in yet.
    pub of_joined: bool,
    /// The SELinux context of its root alone: the kernel made the file system with the namespace, and takes no `context`.
    pub root_context: Option<CString>,
}

/// Why the parent has to make a mount.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ByParent {
    /// Owners are shown through this id map; true: also those of the mounts below.
    pub idmap: Option<(IdMap, bool)>,
}

/// Whose id map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdMap {
    /// The container's user namespace.
    Container,
    /// One for this mount. Triples of id in the file system, id shown, count.
    Own {
        /// User ids.
        uids: Vec<(u32, u32, u32)>,
        /// Group ids.
        gids: Vec<(u32, u32, u32)>,
    },
}

/// File systems that lie on nothing: read-only is a matter of the mount alone. Their superblock may be the host's own.
const PSEUDO: [&str; 7] = ["proc", "sysfs", "tmpfs", "devpts", "mqueue", "cgroup", "cgroup2"];

/// What may be mounted over in procfs: files that tell a container about its share of the machine.
const IN_PROC: [&str; 10] = [
    "cpuinfo", "diskstats", "loadavg", "meminfo", "slabinfo", "stat", "swaps", "sys/crypto/fips_enabled",
    "sys/kernel/ns_last_pid", "uptime",
];

/// A path of the specification below `/`, without `.`, `..` and doubled slashes; a relative one begins at `/`.
pub(crate) fn clean(path: &Path) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => parts.push(name.as_bytes()),
            Component::ParentDir => drop(parts.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    parts.iter().fold(Vec::new(), |mut path, part| {
        path.push(b'/');
        path.extend_from_slice(part);
        path
    })
}

/// Steps for the mounts of an engine, in its order.
pub(crate) fn plan(spec: &Spec, ext: &Extensions, draft: &mut Draft) -> Result<(), SpecError> {
    let mut entered = false;
    for (i, mount) in spec.mounts().iter().flatten().enumerate() {
        if mount.typ().as_deref() == Some("sysfs") && !std::mem::replace(&mut entered, true) {
            // No earlier than it must be: the namespace is being made meanwhile.
            namespaces::plan_early_network(spec, draft);
        }
        plan_one(spec, ext, &format!("mounts[{i}]"), mount, draft)?;
    }
    Ok(())
}

fn plan_one(
    spec: &Spec,
    ext: &Extensions,
    field: &str,
    mount: &Mount,
    draft: &mut Draft,
) -> Result<(), SpecError> {
    let refuse = |name: &str, what: String| SpecError::new(Layer::Mounts, format!("{field}.{name}"), what);
    let text =
        |name: &str, bytes: &[u8]| SpecError::c_string(Layer::Mounts, &format!("{field}.{name}"), bytes);
    let bytes = clean(mount.destination());
    if bytes.is_empty() {
        return Err(refuse("destination", format!("{} is the root itself", mount.destination().display())));
    }
    let target = text("destination", &bytes)?;
    let mut written = Written::read(field, mount)?;
    let typ = mount.typ().as_deref().filter(|t| !t.is_empty());
    let bind = written.bind || typ == Some("bind");
    let proc = bytes.strip_prefix(b"/proc");
    match proc {
        Some(b"") if bind || typ == Some("proc") || written.remount => {}
        Some(b"") => return Err(refuse("type", "nothing but a procfs is mounted at /proc".to_string())),
        Some([b'/', entry @ ..]) if IN_PROC.iter().any(|known| known.as_bytes() == entry) => {}
        // One that hides an entry is what masks do, too.
        Some([b'/', ..]) if typ == Some("tmpfs") && !bind => {}
        Some([b'/', ..]) if !written.remount => {
            let what = format!("{} lies in procfs, which nothing may stand in for", target.to_string_lossy());
            return Err(refuse("destination", what));
        }
        _ => {}
    }
    if bind && written.copy_up {
        return Err(refuse("options", "tmpcopyup is for a tmpfs".to_string()));
    }
    if bind && !written.params.is_empty() {
        // As mount(2) has it: its data says nothing to a bind mount. Engines write such options all the same.
        let names: Vec<_> = written.params.iter().map(|(name, _)| name.to_string_lossy()).collect();
        let names = names.join(", ");
        draft.notes.push(format!(
            "mounts: {field}.options: {names}: parameters of a file system, not of a bind mount"
        ));
    }
    let idmap = idmap(spec, field, mount, &written)?;
    let mut seal = false;
    let mut slot = None;
    let thing = if written.remount {
        Thing::Remount(New { params: parameters(&mut written), ..New::default() })
    } else if bind {
        let source = mount.source().clone().filter(|s| !s.as_os_str().is_empty());
        let source = source.ok_or_else(|| refuse("source", "a bind mount needs a source".to_string()))?;
        // A clone that is to share with the host must be taken where the host's mounts are shared.
        let shared = written.propagation.iter().any(|p| p.flag == MS_SHARED);
        let by_parent = (idmap.is_some() || shared).then_some(ByParent { idmap });
        let source = draft.source(Layer::Mounts, format!("{field}.source"), source);
        Thing::Bind { source, recursive: written.recursive, by_parent, procfs: proc == Some(b"") }
    } else {
        if idmap.is_some() {
            return Err(refuse("options", "owners are shown through an id map in a bind mount".to_string()));
        }
        let typ = typ
            .filter(|t| *t != "none")
            .ok_or_else(|| refuse("type", "is missing: no file system, and no option bind".to_string()))?;
        if written.copy_up && typ != "tmpfs" {
            return Err(refuse("options", "tmpcopyup is for a tmpfs".to_string()));
        }
        let read_only = written.change.set & attr::RDONLY != 0;
        // Mount points may have to be made in it: it becomes read-only when all is mounted.
        seal = read_only && matches!(typ, "tmpfs" | "cgroup");
        if seal {
            written.change.set &= !attr::RDONLY;
        }
        if typ == "devpts" && bytes == b"/dev/pts" {
            slot = Some(Slot::DEVPTS);
        }
        if read_only && !PSEUDO.contains(&typ) {
            written.superblock.push("ro");
        }
        if typ == "proc" && ext.proc_pid_only && !written.has("subset") {
            written.params.push((c"subset".into(), Some(c"pid".into())));
        }
        let root_context = label(spec, typ, &mut written)?;
        let shown = mount.source().as_ref().map_or(typ.as_bytes(), |s| s.as_os_str().as_bytes());
        let new = New {
            fstype: text("type", typ.as_bytes())?,
            source: text("source", shown)?,
            mode_of_target: typ == "tmpfs" && !written.has("mode"),
            copy_up: written.copy_up,
            of_joined: typ == "proc" && draft.pid_last,
            root_context,
            params: parameters(&mut written),
        };
        match typ {
            "cgroup" | "cgroup2" => {
                if !read_only && typ == "cgroup" {
                    draft.notes.push(format!(
                        "mounts: {field}: where the machine has cgroups of version 1 they can't be written to inside"
                    ));
                }
                let own_namespace = namespaces::is_private(spec, LinuxNamespaceType::Cgroup);
                Thing::Cgroups { new, v2: typ == "cgroup2", own_namespace }
            }
            _ => Thing::New(new),
        }
    };
    if seal {
        let sealed = draft.sealed_slot();
        draft.seals.push((sealed, target.clone()));
        slot = Some(sealed);
    }
    let Written { change, below, propagation, .. } = written;
    let step = AsWritten { target, thing, change, below, propagation, slot };
    draft.add(Layer::Mounts, field, Op::MountAsWritten(step));
    Ok(())
}

/// Flags of the file system and its parameters, as one list.
fn parameters(written: &mut Written) -> Vec<(CString, Option<CString>)> {
    let flags = written.superblock.iter().filter_map(|flag| match *flag {
        // Two words that only some file systems know, and that are their own matter.
        "noiversion" => None,
        "iversion" => Some((c"i_version".into(), None)),
        flag => CString::new(flag).ok().map(|flag| (flag, None)),
    });
    flags.chain(std::mem::take(&mut written.params)).collect()
}

/// `linux.mountLabel`: the SELinux context of everything in a new file system, or what is returned of its root alone.
fn label(spec: &Spec, typ: &str, written: &mut Written) -> Result<Option<CString>, SpecError> {
    let label = spec.linux().as_ref().and_then(|l| l.mount_label().as_deref()).filter(|l| !l.is_empty());
    let Some(label) = label.filter(|_| !written.has("context")) else { return Ok(None) };
    let label = SpecError::c_string(Layer::Mounts, "linux.mountLabel", label)?;
    match typ {
        // They have contexts of their own, and are one file system for many mounts.
        "proc" | "sysfs" | "cgroup2" => Ok(None),
        // Version 1 has a RAM directory around its hierarchies.
        "cgroup" => Ok(Some(label)),
        // What other containers use as well keeps the context that it has.
        "mqueue" => Ok(Some(label).filter(|_| namespaces::is_made(spec, LinuxNamespaceType::Ipc))),
        _ => {
            written.params.push((c"context".into(), Some(label)));
            Ok(None)
        }
    }
}

/// The id map that a mount asks for.
fn idmap(
    spec: &Spec,
    field: &str,
    mount: &Mount,
    written: &Written,
) -> Result<Option<(IdMap, bool)>, SpecError> {
    let read = |name: &str, maps: &Option<Vec<LinuxIdMapping>>| {
        let triples = maps.iter().flatten().map(|m| (m.container_id(), m.host_id(), m.size()));
        triples
            .enumerate()
            .map(|(i, (inside, outside, size))| {
                match size > 0 && inside.checked_add(size).is_some() && outside.checked_add(size).is_some() {
                    true => Ok((inside, outside, size)),
                    false => Err(SpecError::new(
                        Layer::Mounts,
                        format!("{field}.{name}[{i}]"),
                        "the range is empty or ends beyond 4294967295",
                    )),
                }
            })
            .collect::<Result<Vec<_>, _>>()
    };
    let uids = read("uidMappings", mount.uid_mappings())?;
    let gids = read("gidMappings", mount.gid_mappings())?;
    let recursive = written.idmap.unwrap_or(false);
    match (uids.is_empty(), gids.is_empty(), written.idmap) {
        (true, true, None) => Ok(None),
        (true, true, Some(_)) if namespaces::is_private(spec, LinuxNamespaceType::User) => {
            Ok(Some((IdMap::Container, recursive)))
        }
        (true, true, Some(_)) => Err(SpecError::new(
            Layer::Mounts,
            format!("{field}.options"),
            "an id map needs uidMappings and gidMappings, or a user namespace of the container's",
        )),
        (false, false, _) => Ok(Some((IdMap::Own { uids, gids }, recursive))),
        (true, false, _) | (false, true, _) => Err(SpecError::new(
            Layer::Mounts,
            field,
            "uidMappings and gidMappings are given together or not at all",
        )),
    }
}

/// Carries one mount out.
pub(crate) fn mount(ctx: &mut Context<'_>, step: &AsWritten) -> Result<(), Errno> {
    let links = may_follow(&step.target) || !ctx.protects("resolver");
    match &step.thing {
        Thing::New(new) => {
            let mount = new_file_system(ctx, step, &new.fstype, new, links)?;
            let target = rootfs::mount_point(ctx, &step.target, Kind::Dir, links)?;
            attach(ctx, mount, &target, step)
        }
        Thing::Cgroups { new, v2, own_namespace } => {
            let target = rootfs::mount_point(ctx, &step.target, Kind::Dir, links)?;
            cgroupfs::mount(ctx, step, new, *v2, *own_namespace, &target)
        }
        Thing::Bind { source, recursive, procfs, .. } => {
            let tree = rootfs::clone_source(ctx, *source, *recursive)?;
            if *procfs && rustix::fs::fstatfs(&tree)?.f_type != handle::MAGIC {
                return Err(Errno::NODEV);
            }
            let is_dir = FileType::from_raw_mode(rustix::fs::fstat(&tree)?.st_mode) == FileType::Directory;
            let kind = if is_dir { Kind::Dir } else { Kind::File };
            let target = rootfs::mount_point(ctx, &step.target, kind, links)?;
            let tree = attach_and_keep(ctx, tree, &target, step)?;
            if *recursive {
                version_1::hold_below(ctx, *source, &tree)?;
            }
            Ok(())
        }
        Thing::Remount(new) => {
            let root = ctx.slots.get(Slot::ROOT)?;
            let target = match links {
                true => resolve::in_root(root, step.target.as_c_str(), OFlags::PATH)?,
                false => resolve::no_symlinks(root, step.target.as_c_str(), OFlags::PATH)?,
            };
            if links {
                ctx.is_no_wall(target.as_fd())?;
            }
            if !new.params.is_empty() {
                let flags = FsPickFlags::FSPICK_CLOEXEC | FsPickFlags::FSPICK_EMPTY_PATH;
                let fs = rustix::mount::fspick(target.as_fd(), c"", flags)?;
                set_parameters(&fs, &new.params)?;
                rustix::mount::fsconfig_reconfigure(fs.as_fd())?;
            }
            let held = apply(ctx, &target, step)?;
            ctx.mounted.changed(target.as_fd(), expected(step))?;
            if held { ctx.mounted.also(target.as_fd(), attr::RDONLY) } else { Ok(()) }
        }
    }
}

/// Makes a file system of type `fstype`, otherwise as `new` says, detached, with the attributes of `step`.
pub(super) fn new_file_system(
    ctx: &Context<'_>,
    step: &AsWritten,
    fstype: &CStr,
    new: &New,
    links: bool,
) -> Result<OwnedFd, Errno> {
    let fs = rustix::mount::fsopen(fstype, FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_set_string(fs.as_fd(), c"source", new.source.as_c_str())?;
    let covered = match new.mode_of_target || new.copy_up {
        true => covered(ctx, &step.target, links)?,
        false => None,
    };
    if let (true, Some(covered)) = (new.mode_of_target, &covered) {
        let mut digits = [0u8; 8];
        let mode = octal(rustix::fs::fstat(covered)?.st_mode & 0o7777, &mut digits);
        rustix::mount::fsconfig_set_string(fs.as_fd(), c"mode", mode)?;
    }
    set_parameters(&fs, &new.params)?;
    if new.of_joined {
        let pid = ctx.from.namespaces.iter().find(|(flag, _)| *flag == namespaces::flag::PID);
        let (_, namespace) = pid.ok_or(Errno::NOENT)?;
        rustix::mount::fsconfig_set_fd(fs.as_fd(), c"pidns", namespace)?;
    }
    rustix::mount::fsconfig_create(fs.as_fd())?;
    let mount = rustix::mount::fsmount(
        fs.as_fd(),
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::from_bits_retain(ctx.weakened(step.change.set) as u32),
    )?;
    if let (true, Some(covered)) = (new.copy_up, &covered) {
        copy_up::copy(covered.as_fd(), mount.as_fd())?;
    }
    if let Some(context) = new.root_context.as_deref().filter(|_| fstype == c"mqueue") {
        // The descriptor of a mount is O_PATH, which can't change attributes.
        let root = resolve::no_symlinks(&mount, c".", OFlags::RDONLY | OFlags::DIRECTORY)?;
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::fsetxattr(&root, c"security.selinux", context.to_bytes_with_nul(), flags)?;
    }
    Ok(mount)
}

/// The directory that a mount at `target` covers, if there is one.
fn covered(ctx: &Context<'_>, target: &CStr, links: bool) -> Result<Option<OwnedFd>, Errno> {
    let root = ctx.slots.get(Slot::ROOT)?;
    let how = OFlags::PATH | OFlags::DIRECTORY;
    let found = match links {
        true => resolve::in_root(root, target, how),
        false => resolve::no_symlinks(root, target, how),
    };
    match found {
        Ok(directory) => Ok(Some(directory)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

fn set_parameters(fs: &OwnedFd, params: &[(CString, Option<CString>)]) -> Result<(), Errno> {
    for (key, value) in params {
        match value {
            Some(value) => rustix::mount::fsconfig_set_string(fs.as_fd(), key.as_c_str(), value.as_c_str())?,
            None => rustix::mount::fsconfig_set_flag(fs.as_fd(), key.as_c_str())?,
        }
    }
    Ok(())
}

/// Gives a mount, detached or not, what its step says: attributes first, then those of the mounts below, then how it
/// shares. A hierarchy of version 1 stays read-only: then `true` is returned.
pub(super) fn apply(ctx: &Context<'_>, mount: &OwnedFd, step: &AsWritten) -> Result<bool, Errno> {
    let held = matches!(step.thing, Thing::Bind { .. } | Thing::Remount(_)) && version_1::is_one(ctx, mount)?;
    let (own, below) = match held {
        true => (version_1::held(step.change), version_1::held(step.below)),
        false => (step.change, step.below),
    };
    for (change, recursive) in [(own, false), (below, true)] {
        if !change.is_empty() {
            let change = SetAttr { set: ctx.weakened(change.set), clear: change.clear, propagation: 0 };
            mount_setattr(mount.as_fd(), c"", recursive, change, None)?;
        }
    }
    for propagation in &step.propagation {
        let change = SetAttr { propagation: propagation.flag, ..SetAttr::default() };
        mount_setattr(mount.as_fd(), c"", propagation.recursive, change, None)?;
    }
    Ok(held)
}

/// What the kernel must say of a mount when the root has been put together.
pub(super) fn expected(step: &AsWritten) -> Expected {
    let (own, below) = (step.change, step.below);
    let last = step.propagation.last().map_or(0, |p| p.flag);
    Expected {
        present: own.set & !below.clear | below.set,
        absent: (own.clear & !below.set | below.clear) & !attr::ATIME,
        propagation: match last {
            // A slave of nobody is private.
            MS_SLAVE => 0,
            MS_SHARED | MS_PRIVATE | MS_UNBINDABLE => last,
            _ => 0,
        },
        may_share: last == MS_SHARED,
    }
}

/// Attaches a mount with what its step says, and keeps it where a later step looks for it.
pub(super) fn attach(
    ctx: &mut Context<'_>,
    mount: OwnedFd,
    target: &OwnedFd,
    step: &AsWritten,
) -> Result<(), Errno> {
    let mount = attach_and_keep(ctx, mount, target, step)?;
    match step.slot {
        Some(slot) => ctx.slots.put(slot, mount),
        None => Ok(()),
    }
}

/// The same for one that no later step looks for: it is returned.
fn attach_and_keep(
    ctx: &mut Context<'_>,
    mount: OwnedFd,
    target: &OwnedFd,
    step: &AsWritten,
) -> Result<OwnedFd, Errno> {
    let held = apply(ctx, &mount, step)?;
    let id = rootfs::attach_expecting(ctx, &mount, target, expected(step))?;
    if held {
        ctx.mounted.also(mount.as_fd(), attr::RDONLY)?;
    }
    if !may_follow(&step.target) {
        ctx.remember_wall(id);
    }
    Ok(mount)
}

/// Writes `n` in octal into `buffer`.
fn octal(mut n: u32, buffer: &mut [u8; 8]) -> &CStr {
    buffer.fill(b'0');
    if let Some(last) = buffer.last_mut() {
        *last = 0;
    }
    for digit in buffer.iter_mut().rev().skip(1) {
        *digit = b'0' + (n & 7) as u8;
        n >>= 3;
    }
    CStr::from_bytes_until_nul(buffer).unwrap_or(c"0755")
}
