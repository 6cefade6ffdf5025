//! `cargo xtask test systemd`: a container's group in a virtual machine that systemd runs, on version 2 and on the hybrid
//! layout of cgroups. The whole Debian is in its initramfs, so there is no disk to be made.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::machine::{is_root, output, packages};
use crate::place::Place;
use crate::rooms::Count;
use crate::vm::{self, Guest};

/// What the machine has beside what every Debian has.
const INCLUDE: &str = "--include=systemd,systemd-sysv,dbus,libpam-systemd,dbus-user-session";
/// Left out for the size.
const WITHOUT: [&str; 3] = ["doc", "man", "locale"];
const SERVICE: &str = "\
[Unit]
After=systemd-logind.service dbus.service
[Service]
Type=oneshot
ExecStart=/donjon/guest
TimeoutStartSec=600
";

/// Boots the machine in both layouts and counts its tests; that it can't be had is a failure.
pub fn room(place: &Place, filter: &[&str], count: &mut Count) {
    let dir = place.rooms.join("systemd");
    let ready = fs::create_dir_all(&dir)
        .map_err(|e| format!("{}: {e}", dir.display()))
        .and_then(|()| lay_ready(place, &dir, filter));
    let booted = ready.and_then(|(kernel, initramfs)| {
        [("v2", ""), ("hybrid", " systemd.unified_cgroup_hierarchy=0")].into_iter().try_for_each(
            |(layout, option)| {
                let append = format!("{} systemd.show_status=0{option}", vm::APPEND);
                let guest =
                    Guest { kernel: kernel.clone(), initramfs: initramfs.clone(), append, memory: "2048" };
                guest.boot(&dir.join(format!("console-{layout}")), &mut |said| said.tell(count)).map(drop)
            },
        )
    });
    if let Err(why) = booted {
        eprintln!("systemd: {why}");
        count.one("systemd: the virtual machines ran to their end", false);
    }
}

fn lay_ready(place: &Place, dir: &Path, filter: &[&str]) -> Result<(PathBuf, PathBuf), String> {
    if !cfg!(target_arch = "x86_64") {
        return Err("the virtual machine is for x86-64 alone".to_string());
    }
    if !is_root()? {
        return Err("this room needs root, whose files the machine's are: run it with sudo".to_string());
    }
    packages(&["qemu-system-x86", "busybox-static", "mmdebstrap"])?;
    let kernel = vm::Kernel::Stable.image(&place.rooms.join("vm"))?;
    let root = dir.join("root");
    if !root.exists() {
        let new = dir.join("root.new");
        vm::anew(&new).map_err(|e| format!("{}: {e}", new.display()))?;
        let paths = WITHOUT.map(|name| format!("--dpkgopt=path-exclude=/usr/share/{name}/*"));
        let mut command = vec!["mmdebstrap", "--quiet", "--variant=essential", INCLUDE];
        command.extend(paths.iter().map(String::as_str));
        let new = vm::text(&new)?;
        command.extend(["bookworm", &new]);
        println!("   mmdebstrap {INCLUDE} bookworm");
        output(&command)?;
        fs::rename(&new, &root).map_err(|e| format!("{}: {e}", root.display()))?;
    }
    let own = root.join("donjon");
    vm::anew(&own).map_err(|e| format!("{}: {e}", own.display()))?;
    for test in ["root", "systemd"] {
        let built = place.test_binary(test)?;
        fs::copy(&built, own.join(test)).map_err(|e| format!("{}: {e}", built.display()))?;
    }
    fill(place, &root, filter).map_err(|e| format!("{}: {e}", root.display()))?;
    let initramfs = dir.join("initramfs");
    vm::pack(&root, &initramfs)?;
    Ok((kernel, initramfs))
}

/// Adds what makes the machine run the tests: in a directory of its own, and few files of the system.
fn fill(place: &Place, root: &Path, filter: &[&str]) -> std::io::Result<()> {
    let own = root.join("donjon");
    fs::copy(place.repository.join("tests/systemd/guest.sh"), own.join("guest"))?;
    fs::set_permissions(own.join("guest"), fs::Permissions::from_mode(0o755))?;
    fs::write(own.join("filters"), filter.join(" "))?;
    let units = root.join("etc/systemd/system");
    put(&units.join("donjon-guest.service"), SERVICE)?;
    fs::create_dir_all(units.join("multi-user.target.wants"))?;
    let links = [
        (root.join("init"), "/lib/systemd/systemd"),
        (units.join("default.target"), "/lib/systemd/system/multi-user.target"),
        (units.join("multi-user.target.wants/donjon-guest.service"), "../donjon-guest.service"),
    ];
    for (link, target) in links {
        if !link.is_symlink() {
            symlink(target, link)?;
        }
    }
    // The ordinary user, whom PAM must know.
    let users = [
        ("etc/passwd", "u1001:x:1001:1001::/:/bin/sh\n"),
        ("etc/group", "u1001:x:1001:\n"),
        ("etc/shadow", "u1001:*:19000:0:99999:7:::\n"),
    ];
    for (file, line) in users {
        let text = fs::read_to_string(root.join(file))?;
        if !text.contains("u1001:") {
            put(&root.join(file), &(text + line))?;
        }
    }
    put(&root.join("etc/machine-id"), "0123456789abcdef0123456789abcdef\n")
}

/// Writes a file of the machine. Its links lead to paths of the host here, so a link is replaced, never followed.
fn put(path: &Path, text: &str) -> std::io::Result<()> {
    let new = path.with_extension("donjon-new");
    let mode = path.symlink_metadata().map_or(0o644, |m| m.permissions().mode());
    fs::write(&new, text)?;
    fs::set_permissions(&new, fs::Permissions::from_mode(mode & 0o777))?;
    fs::rename(&new, path)
}
