//! `cargo xtask test vm`: donjon in virtual machines with kernels of Debian's, the unified hierarchy of cgroups and the
//! security modules, whatever this machine has. QEMU translates every instruction, so neither KVM nor root is needed.

mod archive;
mod kernels;
mod programs;

use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub use kernels::Kernel;

use crate::machine::{output, packages};
use crate::place::Place;
use crate::rooms::Count;
use programs::Programs;

/// Seconds for everything between power on and power off.
const SECONDS: &str = "480";
/// The guest's last line.
const END: &str = "the tests have ended";
/// How many lines of the console are told when the guest does not come to its end.
const LAST: usize = 30;

/// Tests of the rooms that are left to this machine: translated instructions would take minutes for some, and the guest's
/// `timeout` passes on a descriptor that it has not closed.
const SKIPPED: [&str; 4] = ["--skip", "cut_short::", "--skip", "descriptors_are_passed_on_when_named"];
/// The name of what all machines unpack as their root.
const INITRAMFS: &str = "initramfs";

/// One virtual machine.
#[derive(Debug)]
struct Machine {
    kernel: Kernel,
    /// AppArmor and SELinux exclude one another.
    module: &'static str,
    /// The security modules before it.
    others: &'static str,
    /// The files of `tests/vm` whose tests are run.
    tests: &'static [&'static str],
    /// The rooms of other tests that are run as well, by root.
    rooms: &'static [&'static str],
    /// Further words of the kernel's command line.
    words: &'static str,
}

const MACHINES: [Machine; 4] = [
    Machine {
        kernel: Kernel::Stable,
        module: "apparmor",
        others: MODULES,
        tests: &["cgroups", "bundles", "apparmor", "integrity"],
        rooms: &[],
        words: "",
    },
    Machine {
        kernel: Kernel::Newer,
        module: "selinux",
        others: MODULES,
        tests: &["cgroups", "bundles", "selinux"],
        rooms: &[],
        words: "",
    },
    Machine {
        kernel: Kernel::Newer,
        module: "apparmor",
        others: MODULES,
        tests: &["apparmor", "integrity", "resctrl"],
        rooms: &["oci"],
        // QEMU knows nothing of resctrl; told that it is there, the kernel has one class of it.
        words: "setcpuid=rdt_a,cat_l3,mba rdt=l3cat,mba",
    },
    Machine {
        kernel: Kernel::Stable,
        module: "selinux",
        others: "lockdown,yama,integrity",
        tests: &["selinux", "without_landlock"],
        rooms: &[],
        words: "",
    },
];
const MODULES: &str = "landlock,lockdown,yama,integrity";

/// Boots the virtual machines and counts their tests; that one can't be had is a failure.
pub fn room(place: &Place, filter: &[&str], count: &mut Count) {
    let dir = place.rooms.join("vm");
    let ready = lay_ready(place, &dir, filter);
    if let Err(why) = &ready {
        eprintln!("vm: {why}");
        return count.one("vm: the virtual machines could be prepared", false);
    }
    // Each is one thread of QEMU's. What they say is told one machine after the other.
    let at_once = std::thread::available_parallelism().map_or(1, |n| n.get().min(2));
    let mut all = 0;
    for some in MACHINES.chunks(at_once) {
        let booted: Vec<_> = std::thread::scope(|scope| {
            let running: Vec<_> = some.iter().map(|one| scope.spawn(|| one.boot(&dir))).collect();
            running.into_iter().map(std::thread::ScopedJoinHandle::join).collect()
        });
        for (one, booted) in some.iter().zip(booted) {
            let (said, ran) = booted.unwrap_or_else(|_| (Vec::new(), Err("its thread panicked".into())));
            said.iter().for_each(|said| said.tell(count));
            let ran = ran.and_then(|ran| one.ran_all(place, filter, ran));
            all += ran.as_ref().map_or(0, |ran| *ran);
            if let Err(why) = ran {
                eprintln!("vm: {}: {why}", one.name());
                count.one(&format!("vm: {}: the virtual machine ran to its end", one.name()), false);
            }
        }
    }
    if all == 0 {
        count.one("vm: the room holds tests", false);
    }
}

impl Machine {
    fn name(&self) -> String {
        format!("{} kernel, {}", self.kernel.word(), self.module)
    }

    fn boot(&self, dir: &Path) -> (Vec<Said>, Result<usize, String>) {
        let (word, module) = (self.kernel.word(), self.module);
        let mut said = Vec::new();
        let booted = self.kernel.image(dir).and_then(|kernel| {
            let (tests, rooms) = (self.tests.join(","), self.rooms.join(","));
            let words =
                format!("donjon.kernel={word} donjon.tests={tests} donjon.rooms={rooms} {}", self.words);
            let guest = Guest {
                kernel,
                initramfs: dir.join(INITRAMFS),
                // `bpf` must come after all others: it answers for them otherwise.
                append: format!("{APPEND} lsm={},{module},bpf {words}", self.others),
                memory: "1024",
            };
            guest.boot(&dir.join(format!("console-{word}-{module}")), &mut |one| said.push(one))
        });
        (said, booted)
    }

    /// A module that is not there must not pass by its tests not running.
    fn ran_all(&self, place: &Place, filter: &[&str], ran: usize) -> Result<usize, String> {
        let in_files = self.tests.iter().map(|test| tests_of(place, test)).sum::<Result<usize, String>>()?;
        let dir = place.rooms.join("vm/tree/rooms");
        let in_rooms =
            self.rooms.iter().map(|room| listed(&dir.join(room))).sum::<Result<usize, String>>()?;
        let held = in_files + in_rooms;
        let all = !filter.is_empty() || ran == held;
        if all { Ok(ran) } else { Err(format!("{ran} of {held} tests were run")) }
    }
}

/// How many tests a file of `tests/vm` holds.
fn tests_of(place: &Place, name: &str) -> Result<usize, String> {
    let path = place.repository.join(format!("tests/vm/{name}.sh"));
    let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(text.lines().filter(|line| line.starts_with("test_")).count())
}

/// How many tests a test binary has that are run.
fn listed(binary: &Path) -> Result<usize, String> {
    let binary = text(binary)?;
    let list = output(&[&[binary.as_str(), "--list", "--format=terse"], &SKIPPED[..]].concat())?;
    Ok(list.lines().filter(|line| line.ends_with(": test")).count())
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

/// Makes the initramfs of all machines.
fn lay_ready(place: &Place, dir: &Path, filter: &[&str]) -> Result<(), String> {
    if !cfg!(target_arch = "x86_64") {
        return Err("the virtual machine is for x86-64 alone".to_string());
    }
    packages(&["qemu-system-x86", "busybox-static"])?;
    fs::create_dir_all(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    let programs = Programs::unpacked(dir)?;
    let tree = dir.join("tree");
    lay_tree(place, &tree, filter).map_err(|e| format!("{}: {e}", tree.display()))?;
    for room in MACHINES.iter().flat_map(|machine| machine.rooms) {
        let built = place.test_binary(room)?;
        fs::copy(&built, tree.join("rooms").join(room)).map_err(|e| format!("{}: {e}", built.display()))?;
    }
    programs.copy_into(&tree)?;
    let policy = programs.policy(&place.repository.join("tests/vm/selinux.cil"), dir)?;
    fs::copy(&policy, tree.join("srv/policy")).map_err(|e| format!("{}: {e}", policy.display()))?;
    programs.key(&tree.join("srv"))?;
    for kernel in [Kernel::Stable, Kernel::Newer] {
        lay_modules(&kernel.parts(dir)?, &tree.join("modules").join(kernel.word()))?;
    }
    pack(&tree, &dir.join(INITRAMFS))
}

fn named(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn files(dir: &Path) -> Result<Vec<PathBuf>, String> {
    let fault = |e| format!("{}: {e}", dir.display());
    fs::read_dir(dir).map_err(fault)?.map(|entry| entry.map(|e| e.path()).map_err(fault)).collect()
}

/// An empty directory.
pub fn anew(dir: &Path) -> std::io::Result<()> {
    if dir.exists() {
        fs::remove_dir_all(dir)?;
    }
    fs::create_dir_all(dir)
}

pub fn text(path: &Path) -> Result<String, String> {
    path.to_str().map(str::to_string).ok_or(format!("{} is not UTF-8", path.display()))
}

/// Lays out what the guest finds in its initramfs: `tests/vm/guest.sh` is its first process.
fn lay_tree(place: &Place, tree: &Path, filter: &[&str]) -> std::io::Result<()> {
    programs::lay_merged(tree)?;
    for dir in ["srv", "modules", "tests", "rooms", "proc", "sys", "dev"] {
        fs::create_dir_all(tree.join(dir))?;
    }
    fs::copy(place.rooms.join("root/bin/busybox"), tree.join("usr/bin/busybox"))?;
    fs::copy(place.rooms.join("donjon"), tree.join("usr/bin/donjon"))?;
    for file in files(&place.repository.join("tests/vm")).map_err(std::io::Error::other)? {
        fs::copy(&file, tree.join("tests").join(named(&file)))?;
    }
    fs::rename(tree.join("tests/guest.sh"), tree.join("init"))?;
    fs::set_permissions(tree.join("init"), fs::Permissions::from_mode(0o755))?;
    let copied = Command::new("cp").arg("-a").arg(place.rooms.join("root")).arg(tree.join("srv")).status()?;
    if !copied.success() {
        return Err(std::io::Error::other("the root file system of the tests could not be copied"));
    }
    let texts = [
        ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nu1001:x:1001:1001::/home/u1001:/bin/sh\n"),
        ("etc/group", "root:x:0:\nu1001:x:1001:\n"),
        ("srv/filters", &filter.iter().map(|f| format!("{f}\n")).collect::<String>()),
        ("srv/skipped", &SKIPPED.join(" ")),
    ];
    texts.into_iter().try_for_each(|(name, text)| fs::write(tree.join(name), text))
}

fn lay_modules(parts: &Path, into: &Path) -> Result<(), String> {
    let fault = |e: std::io::Error| format!("{}: {e}", into.display());
    fs::create_dir_all(into).map_err(fault)?;
    for part in files(parts)?.iter().filter(|part| named(part).contains(".ko")) {
        fs::copy(part, into.join(named(part))).map_err(fault)?;
    }
    Ok(())
}

/// Makes the archive that the kernel unpacks; everything in it is root's.
pub fn pack(tree: &Path, archive: &Path) -> Result<(), String> {
    let script = r#"cd "$1" && find . | busybox cpio -o -H newc -R 0:0 >"$2""#;
    output(&["sh", "-c", script, "sh", &text(tree)?, &text(archive)?]).map(|_| ())
}

impl Guest {
    /// Runs the machine until it powers off, telling what it says of its tests; returns how many it ran.
    pub fn boot(&self, console: &Path, tell: &mut dyn FnMut(Said)) -> Result<usize, String> {
        let mut child = Command::new("timeout")
            // One thread for all processors: with several, code that a kernel changes is now and then run as it was.
            .args([SECONDS, "qemu-system-x86_64", "-machine", "q35", "-accel", "tcg,thread=single"])
            .args(["-cpu", "max", "-smp", "2", "-m", self.memory])
            .args(["-nodefaults", "-display", "none", "-serial", "stdio", "-no-reboot"])
            .args(["-append", &self.append])
            .arg("-kernel")
            .arg(&self.kernel)
            .arg("-initrd")
            .arg(&self.initramfs)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("timeout: {e}"))?;
        let told = child.stdout.take().map(|serial| listen(serial, console, tell));
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

/// What a guest says of its tests.
#[derive(Debug)]
pub enum Said {
    /// A test and whether it passed.
    Test(String, bool),
    /// A line that belongs to it.
    Line(String),
}

impl Said {
    /// Prints it, and counts a test.
    pub fn tell(&self, count: &mut Count) {
        match self {
            Self::Test(name, passed) => count.one(name, *passed),
            Self::Line(line) => println!("{line}"),
        }
    }
}

/// What the guest told.
#[derive(Debug, Default)]
struct Told {
    tests: usize,
    ended: bool,
    last: VecDeque<String>,
}

/// Tells of the guest's tests and what belongs to them, and writes everything down.
fn listen(serial: impl Read, console: &Path, tell: &mut dyn FnMut(Said)) -> std::io::Result<Told> {
    let mut told = Told::default();
    let mut log = fs::File::create(console)?;
    for line in BufReader::new(serial).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).trim_end().to_string();
        writeln!(log, "{line}")?;
        match line.strip_prefix("test ").and_then(|l| l.rsplit_once(" ... ")) {
            Some((name, verdict)) => {
                told.tests += 1;
                tell(Said::Test(name.to_string(), verdict == "ok"));
            }
            None if line.starts_with("     ") => tell(Said::Line(line.clone())),
            None => told.ended |= line == END,
        }
        told.last.push_back(line);
        if told.last.len() > LAST {
            told.last.pop_front();
        }
    }
    Ok(told)
}
