//! `cargo xtask test vm`: donjon in a virtual machine with a kernel of Debian's and the unified hierarchy of cgroups,
//! whatever this machine has. QEMU translates every instruction, so neither KVM nor root is needed.

use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::machine::{is_root, output, packages};
use crate::place::Place;
use crate::rooms::Count;

/// The package that depends on the newest kernel of the release.
const KERNEL: &str = "linux-image-amd64";
/// What of a kernel's package is needed; a module that is built in is not in the package. `guest.sh` loads them.
const PARTS: [&str; 8] = [
    "boot/vmlinuz-*", "crc16.ko*", "mbcache.ko*", "crc32c_generic.ko*", "jbd2.ko*", "ext4.ko*", "loop.ko*",
    "overlay.ko*",
];
/// Seconds for everything between power on and power off.
const SECONDS: &str = "300";
/// The guest's last line.
const END: &str = "the tests have ended";
/// How many lines of the console are told when the guest does not come to its end.
const LAST: usize = 30;

/// Boots the virtual machine and counts its tests; that it can't be had is a failure.
pub fn room(place: &Place, filter: &[&str], count: &mut Count) {
    let dir = place.rooms.join("vm");
    let ran = guest(place, &dir, filter).and_then(|guest| guest.boot(&dir.join("console"), count));
    match ran {
        Ok(ran) if ran > 0 => {}
        Ok(_) => count.one("vm: the room holds tests", false),
        Err(why) => {
            eprintln!("vm: {why}");
            count.one("vm: the virtual machine ran to its end", false);
        }
    }
}

/// What QEMU boots.
#[derive(Debug)]
pub struct Guest {
    /// The kernel's image.
    pub kernel: PathBuf,
    /// What it unpacks as its root.
    pub initramfs: PathBuf,
    /// Its command line.
    pub append: String,
    /// Megabytes.
    pub memory: &'static str,
}

/// A command line that puts everything on the serial console.
pub const APPEND: &str = "console=ttyS0 loglevel=1 panic=-1";

/// Lays everything ready in a directory.
fn guest(place: &Place, dir: &Path, filter: &[&str]) -> Result<Guest, String> {
    if !cfg!(target_arch = "x86_64") {
        return Err("the virtual machine is for x86-64 alone".to_string());
    }
    packages(&["qemu-system-x86", "busybox-static"])?;
    let parts = kernel(dir)?;
    let tree = dir.join("tree");
    lay_tree(place, &tree, &parts, filter).map_err(|e| format!("{}: {e}", tree.display()))?;
    let initramfs = dir.join("initramfs");
    pack(&tree, &initramfs)?;
    Ok(Guest { kernel: kernel_image(dir)?, initramfs, append: APPEND.to_string(), memory: "1024" })
}

/// The kernel itself.
pub fn kernel_image(dir: &Path) -> Result<PathBuf, String> {
    let parts = kernel(dir)?;
    let image = files(&parts)?.into_iter().find(|path| named(path).starts_with("vmlinuz"));
    image.ok_or(format!("no kernel in {}", parts.display()))
}

fn named(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn files(dir: &Path) -> Result<Vec<PathBuf>, String> {
    let fault = |e| format!("{}: {e}", dir.display());
    fs::read_dir(dir).map_err(fault)?.map(|entry| entry.map(|e| e.path()).map_err(fault)).collect()
}

/// The directory with a kernel and its modules, which are kept for the next time.
fn kernel(dir: &Path) -> Result<PathBuf, String> {
    let parts = dir.join("kernel");
    if parts.exists() {
        return Ok(parts);
    }
    let new = dir.join("kernel.new");
    anew(&new).map_err(|e| format!("{}: {e}", new.display()))?;
    download(&new).or_else(|why| {
        // The list of packages may be older than the archive.
        if !is_root()? {
            return Err(format!("{why}\n(`sudo apt-get update` may help)"));
        }
        output(&["apt-get", "update", "--quiet"])?;
        download(&new)
    })?;
    let package = files(&new)?.pop().ok_or("apt-get downloaded no kernel")?;
    unpack(&package, &new)?;
    fs::remove_file(&package).map_err(|e| format!("{}: {e}", package.display()))?;
    fs::rename(&new, &parts).map_err(|e| format!("{}: {e}", parts.display()))?;
    Ok(parts)
}

/// An empty directory.
pub fn anew(dir: &Path) -> std::io::Result<()> {
    if dir.exists() {
        fs::remove_dir_all(dir)?;
    }
    fs::create_dir_all(dir)
}

/// Downloads the kernel's package into a directory, without installing it.
fn download(dir: &Path) -> Result<(), String> {
    let depends = output(&["apt-cache", "depends", KERNEL])?;
    let package = depends
        .lines()
        .find_map(|line| line.trim().strip_prefix("Depends: "))
        .ok_or(format!("apt-cache names no kernel that {KERNEL} depends on"))?;
    println!("   apt-get download {package}");
    output(&["env", "--chdir", &text(dir)?, "apt-get", "download", package]).map(|_| ())
}

pub fn text(path: &Path) -> Result<String, String> {
    path.to_str().map(str::to_string).ok_or(format!("{} is not UTF-8", path.display()))
}

/// Takes the needed parts out of a package; they come to lie beside each other.
fn unpack(package: &Path, into: &Path) -> Result<(), String> {
    // tar complains of each part that is not there, in its exit status as well: what is missing shows later.
    let script = r#"from=$1 into=$2; shift 2
        dpkg-deb --fsys-tarfile "$from" |
        tar -x -C "$into" --wildcards --no-anchored --transform 's,.*/,,' "$@" || true"#;
    let (package, into) = (text(package)?, text(into)?);
    let mut command = vec!["sh", "-c", script, "sh", &package, &into];
    command.extend_from_slice(&PARTS);
    output(&command).map(|_| ())
}

/// Lays out what the guest finds in its initramfs: `tests/vm/guest.sh` is its first process.
fn lay_tree(place: &Place, tree: &Path, parts: &Path, filter: &[&str]) -> std::io::Result<()> {
    anew(tree)?;
    for dir in ["usr/bin", "etc", "srv", "modules", "proc", "sys", "dev"] {
        fs::create_dir_all(tree.join(dir))?;
    }
    std::os::unix::fs::symlink("usr/bin", tree.join("bin"))?;
    fs::copy(place.rooms.join("root/bin/busybox"), tree.join("usr/bin/busybox"))?;
    fs::copy(place.rooms.join("donjon"), tree.join("usr/bin/donjon"))?;
    fs::copy(place.repository.join("tests/vm/guest.sh"), tree.join("init"))?;
    fs::set_permissions(tree.join("init"), fs::Permissions::from_mode(0o755))?;
    for part in files(parts).map_err(std::io::Error::other)? {
        if named(&part).contains(".ko") {
            fs::copy(&part, tree.join("modules").join(named(&part)))?;
        }
    }
    let copied = Command::new("cp").arg("-a").arg(place.rooms.join("root")).arg(tree.join("srv")).status()?;
    if !copied.success() {
        return Err(std::io::Error::other("the root file system of the tests could not be copied"));
    }
    let texts = [
        ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nu1001:x:1001:1001::/home/u1001:/bin/sh\n"),
        ("etc/group", "root:x:0:\nu1001:x:1001:\n"),
        ("srv/filters", &filter.iter().map(|f| format!("{f}\n")).collect::<String>()),
    ];
    texts.into_iter().try_for_each(|(name, text)| fs::write(tree.join(name), text))
}

/// Makes the archive that the kernel unpacks; everything in it is root's.
pub fn pack(tree: &Path, archive: &Path) -> Result<(), String> {
    let script = r#"cd "$1" && find . | busybox cpio -o -H newc -R 0:0 >"$2""#;
    output(&["sh", "-c", script, "sh", &text(tree)?, &text(archive)?]).map(|_| ())
}

impl Guest {
    /// Runs the machine until it powers off; returns how many tests it ran.
    pub fn boot(&self, console: &Path, count: &mut Count) -> Result<usize, String> {
        let mut child = Command::new("timeout")
            .args([SECONDS, "qemu-system-x86_64", "-machine", "q35,accel=tcg", "-cpu", "max", "-smp", "2"])
            .args(["-m", self.memory, "-nodefaults", "-display", "none", "-serial", "stdio", "-no-reboot"])
            .args(["-append", &self.append])
            .arg("-kernel")
            .arg(&self.kernel)
            .arg("-initrd")
            .arg(&self.initramfs)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("timeout: {e}"))?;
        let told = child.stdout.take().map(|serial| listen(serial, console, count));
        let status = child.wait().map_err(|e| format!("qemu-system-x86_64: {e}"))?;
        let told =
            told.ok_or("qemu-system-x86_64 has no output")?.map_err(|e| format!("the console: {e}"))?;
        if told.ended && status.success() {
            return Ok(told.tests);
        }
        let last: Vec<String> = told.last.into_iter().collect();
        let why = match status.code() {
            Some(124) => format!("took more than {SECONDS} s"),
            _ if status.success() => "stopped before its tests had ended".to_string(),
            _ => format!("failed: {status}"),
        };
        Err(format!(
            "the virtual machine {why}; {} tells all, and last:\n{}",
            console.display(),
            last.join("\n")
        ))
    }
}

/// What the guest told.
#[derive(Debug, Default)]
struct Told {
    tests: usize,
    ended: bool,
    last: VecDeque<String>,
}

/// Counts the guest's tests, prints what belongs to them, and writes everything down.
fn listen(serial: impl Read, console: &Path, count: &mut Count) -> std::io::Result<Told> {
    let mut told = Told::default();
    let mut log = fs::File::create(console)?;
    for line in BufReader::new(serial).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).trim_end().to_string();
        writeln!(log, "{line}")?;
        match line.strip_prefix("test ").and_then(|l| l.rsplit_once(" ... ")) {
            Some((name, verdict)) => {
                told.tests += 1;
                count.one(name, verdict == "ok");
            }
            None if line.starts_with("     ") => println!("{line}"),
            None => told.ended |= line == END,
        }
        told.last.push_back(line);
        if told.last.len() > LAST {
            told.last.pop_front();
        }
    }
    Ok(told)
}
