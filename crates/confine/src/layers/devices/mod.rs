//! Devices: six that every program expects, and a terminal if asked for.
//!
//! **Stops**: reaching hardware, kernel memory and other people's terminals. `/dev` is a RAM file system of the
//! container's own; only `null`, `zero`, `full`, `random`, `urandom`, `tty` of the host are bound into it, each
//! checked by its device number (R5), and whatever the caller named. Nothing else can be made: `mknod` of a device
//! needs a privilege over the host, and every other mount is `nodev`.
//!
//! **Can't stop**: what a device that was named can do. The device controller of cgroups is not needed for that,
//! since no other node exists or can be made.

pub mod nodes;

use std::ffi::CStr;
use std::os::fd::AsFd;

use donjon_sys::mount::{SetAttr, attr, mount_setattr};
use oci_spec::runtime::{LinuxDeviceType, Process, Spec};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::pty::OpenptFlags;

use crate::child::Context;
use crate::error::SpecError;
use crate::extensions::Origin;
use crate::plan::{Draft, Layer, Op, Slot};
use crate::resolve;

use super::rootfs::{self, Kind};

/// Name, major, minor of the devices that every container has (`Documentation/admin-guide/devices.txt`).
const ALWAYS: [(&CStr, &CStr, u32, u32); 6] = [
    (c"null", c"/dev/null", 1, 3),
    (c"zero", c"/dev/zero", 1, 5),
    (c"full", c"/dev/full", 1, 7),
    (c"random", c"/dev/random", 1, 8),
    (c"urandom", c"/dev/urandom", 1, 9),
    (c"tty", c"/dev/tty", 5, 0),
];

const LINKS: [(&CStr, &CStr); 5] = [
    (c"fd", c"/proc/self/fd"),
    (c"stdin", c"/proc/self/fd/0"),
    (c"stdout", c"/proc/self/fd/1"),
    (c"stderr", c"/proc/self/fd/2"),
    (c"ptmx", c"pts/ptmx"),
];

/// Steps that furnish `/dev`.
pub(crate) fn plan(spec: &Spec, process: &Process, draft: &mut Draft) -> Result<(), SpecError> {
    if draft.origin == Origin::Bundle {
        return nodes::plan(spec, process, draft);
    }
    let has_dev = draft.steps.iter().any(|s| matches!(&s.op, Op::Mount(m) if m.slot == Some(Slot::DEV)));
    if has_dev {
        for (name, host, major, minor) in ALWAYS {
            draft.add(Layer::Devices, "", Op::Device { name: name.into(), host: host.into(), major, minor });
        }
        for (name, target) in LINKS {
            draft.add(Layer::Devices, "", Op::DeviceLink { name: name.into(), target: target.into() });
        }
    }
    let named = spec.linux().as_ref().and_then(|l| l.devices().as_ref());
    for (i, device) in named.into_iter().flatten().enumerate() {
        let field = format!("linux.devices[{i}]");
        let inside = device.path().to_str().and_then(|p| p.strip_prefix("/dev/"));
        let Some(name) = inside.filter(|n| !n.is_empty() && !n.contains('/') && *n != "." && *n != "..")
        else {
            return Err(SpecError::new(
                Layer::Devices,
                format!("{field}.path"),
                format!("{} does not lie directly in /dev", device.path().display()),
            ));
        };
        if !has_dev {
            return Err(SpecError::new(Layer::Devices, field, "needs a tmpfs mounted at /dev"));
        }
        if ALWAYS.iter().any(|(always, ..)| always.to_bytes() == name.as_bytes()) {
            continue;
        }
        if !matches!(device.typ(), LinuxDeviceType::C | LinuxDeviceType::U) {
            return Err(SpecError::new(
                Layer::Devices,
                format!("{field}.type"),
                "only character devices can be given to a container",
            ));
        }
        let number = |n: i64, what: &str| {
            u32::try_from(n).map_err(|_| {
                SpecError::new(Layer::Devices, format!("{field}.{what}"), format!("{n} is no device number"))
            })
        };
        draft.add(
            Layer::Devices,
            field.clone(),
            Op::Device {
                name: SpecError::c_string(Layer::Devices, &field, name)?,
                // A node can't be made without privileges over the host; the host's own of that name is bound.
                host: SpecError::c_string(Layer::Devices, &field, format!("/dev/{name}"))?,
                major: number(device.major(), "major")?,
                minor: number(device.minor(), "minor")?,
            },
        );
    }
    if process.terminal().unwrap_or(false) {
        let has_pts =
            draft.steps.iter().any(|s| matches!(&s.op, Op::Mount(m) if m.slot == Some(Slot::DEVPTS)));
        if !has_pts {
            return Err(SpecError::new(
                Layer::Devices,
                "process.terminal",
                "needs a devpts mounted at /dev/pts",
            ));
        }
        plan_terminal(process, draft);
    }
    Ok(())
}

/// A terminal of the container's devpts, if the process is to have one.
pub(crate) fn plan_terminal(process: &Process, draft: &mut Draft) {
    if process.terminal().unwrap_or(false) {
        draft.add(Layer::Devices, "process.terminal", Op::Terminal);
        draft.add(Layer::Devices, "process.terminal", Op::ControllingTerminal);
    }
}

/// The step that gives the terminal its size, if one was named.
pub(crate) fn plan_terminal_size(process: &Process, draft: &mut Draft) -> Result<(), SpecError> {
    let Some(size) = process.console_size().filter(|_| process.terminal().unwrap_or(false)) else {
        return Ok(());
    };
    let number = |name: &str, n: u64| {
        u16::try_from(n).map_err(|_| {
            SpecError::new(
                Layer::Devices,
                format!("process.consoleSize.{name}"),
                format!("{n} is no size of a terminal: at most 65535"),
            )
        })
    };
    let (rows, columns) = (number("height", size.height())?, number("width", size.width())?);
    draft.add(Layer::Devices, "process.consoleSize", Op::TerminalSize { rows, columns });
    Ok(())
}

/// Gives the terminal on standard input a size, in characters.
pub(crate) fn terminal_size(rows: u16, columns: u16) -> Result<(), Errno> {
    let size = rustix::termios::Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(rustix::stdio::stdin(), size)
}

/// Binds one device of the host's into the container's `/dev`, if it is the one that it should be.
pub(crate) fn device(
    ctx: &mut Context<'_>,
    name: &CStr,
    host: &CStr,
    major: u32,
    minor: u32,
) -> Result<(), Errno> {
    // Cloned by its name, then looked at: what was cloned is what is checked, wherever the name led.
    let tree = rustix::mount::open_tree(
        rustix::fs::CWD,
        host,
        rustix::mount::OpenTreeFlags::OPEN_TREE_CLONE
            | rustix::mount::OpenTreeFlags::OPEN_TREE_CLOEXEC
            | rustix::mount::OpenTreeFlags::AT_SYMLINK_NOFOLLOW,
    )?;
    let stat = rustix::fs::fstat(&tree)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::CharacterDevice
        || rustix::fs::major(stat.st_rdev) != major
        || rustix::fs::minor(stat.st_rdev) != minor
    {
        return Err(Errno::NODEV);
    }
    let attrs = ctx.weakened(attr::NOSUID | attr::NOEXEC);
    mount_setattr(tree.as_fd(), c"", false, SetAttr { set: attrs, ..SetAttr::default() }, None)?;
    let dev = ctx.slots.get(Slot::DEV)?;
    let target = rustix::fs::openat(
        dev,
        name,
        OFlags::CREATE | OFlags::EXCL | OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::from_raw_mode(0o666),
    )?;
    rootfs::attach(ctx, &tree, &target, attrs).map(drop)
}

/// A symbolic link in `/dev`.
pub(crate) fn link(ctx: &Context<'_>, name: &CStr, target: &CStr) -> Result<(), Errno> {
    rustix::fs::symlinkat(target, ctx.slots.get(Slot::DEV)?, name)
}

/// Makes a terminal on the container's own devpts, sends its master side to the parent and puts the slave side in
/// the place of standard input, output and error. No path is looked up for the slave: the kernel hands out the
/// peer of the master (`TIOCGPTPEER`).
pub(crate) fn terminal(ctx: &mut Context<'_>) -> Result<(), Errno> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let joined = ctx.slots.get(Slot::ROOT).is_err();
    let master = if let Ok(devpts) = ctx.slots.get(Slot::DEVPTS) {
        rustix::fs::openat(devpts, c"ptmx", flags, Mode::empty())?
    } else if let Ok(root) = ctx.slots.get(Slot::ROOT) {
        // An engine gave the container another's devpts, with all of /dev.
        resolve::no_symlinks(root, c"/dev/pts/ptmx", flags)?
    } else {
        let root = rustix::fs::open(c"/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        resolve::no_symlinks(&root, c"/dev/pts/ptmx", flags)?
    };
    // A ptmx is character device 5:2, whatever the container put at its name (R5).
    let stat = rustix::fs::fstat(&master)?;
    if rustix::fs::major(stat.st_rdev) != 5 || rustix::fs::minor(stat.st_rdev) != 2 {
        return Err(Errno::NODEV);
    }
    rustix::pty::unlockpt(&master)?;
    let slave = rustix::pty::ioctl_tiocgptpeer(
        &master,
        OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC,
    )?;
    if !joined && (ctx.as_written || ctx.slots.get(Slot::DEV).is_ok()) {
        let mut name = [0u8; 24];
        let name =
            rootfs::decimal(u64::from(rustix::fs::minor(rustix::fs::fstat(&slave)?.st_rdev)), &mut name);
        let flags =
            rustix::mount::OpenTreeFlags::OPEN_TREE_CLONE | rustix::mount::OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let tree = match ctx.slots.get(Slot::DEVPTS) {
            Ok(devpts) => rustix::mount::open_tree(devpts, name, flags)?,
            Err(_) => {
                let root = ctx.slots.get(Slot::ROOT)?;
                let devpts = resolve::no_symlinks(root, c"/dev/pts", OFlags::PATH | OFlags::DIRECTORY)?;
                rustix::mount::open_tree(devpts.as_fd(), name, flags)?
            }
        };
        if rustix::fs::fstat(&tree)?.st_rdev != rustix::fs::fstat(&slave)?.st_rdev {
            return Err(Errno::NODEV);
        }
        let console = rootfs::mount_point(ctx, c"/dev/console", Kind::File, false)?;
        let _id = rootfs::attach(ctx, &tree, &console, 0)?;
    }
    ctx.send_descriptor(crate::channel::message::CONSOLE, master.as_fd())?;
    rustix::stdio::dup2_stdin(&slave)?;
    rustix::stdio::dup2_stdout(&slave)?;
    rustix::stdio::dup2_stderr(&slave)
}

/// Makes the terminal on standard input the one that controls this session.
pub(crate) fn controlling_terminal() -> Result<(), Errno> {
    rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())
}
