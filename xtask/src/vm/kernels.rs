//! The kernels that the virtual machines boot: Debian's stable one, and a newer one.

use std::fs;
use std::path::{Path, PathBuf};

use super::archive::Archive;
use super::{files, named, text};
use crate::machine::output;

/// The package that depends on the newest kernel of a suite.
const KERNEL: &str = "linux-image-amd64";
/// Where kernels come from that are newer than the release's, made for the newest release.
const SUITE: &str = "stable-backports";
/// Kernels that the release itself has beside its own.
const OTHERS: &str = r"^linux-image-[0-9]+\.[0-9]+-amd64$";
/// What of a kernel's packages is needed; a module that is built in is not there. `guest.sh` loads them.
const PARTS: [&str; 8] = [
    "vmlinuz*", "crc16.ko*", "mbcache.ko*", "crc32c_generic.ko*", "jbd2.ko*", "ext4.ko*", "loop.ko*",
    "overlay.ko*",
];

/// Which kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernel {
    /// That of the machine's release.
    Stable,
    /// The newest of the backports, or else the newest that the machine's release offers beside its own.
    Newer,
}

impl Kernel {
    /// Its word in names of files and tests.
    pub fn word(self) -> &'static str {
        match self {
            Self::Stable => "stable",
            Self::Newer => "newer",
        }
    }

    /// The directory with the kernel and its modules beside each other, which are kept for the next time.
    pub fn parts(self, dir: &Path) -> Result<PathBuf, String> {
        let parts = dir.join(format!("kernel-{}", self.word()));
        if parts.exists() {
            return Ok(parts);
        }
        let (archive, package) = match self {
            Self::Stable => (Archive::of_machine(), KERNEL.to_string()),
            Self::Newer => newer(dir)?,
        };
        let new = dir.join("kernel.new");
        for package in archive.download(&archive.needed(&package, of_kernel)?, &new)? {
            unpack(&package, &new)?;
            fs::remove_file(&package).map_err(|e| format!("{}: {e}", package.display()))?;
        }
        fs::rename(&new, &parts).map_err(|e| format!("{}: {e}", parts.display()))?;
        Ok(parts)
    }

    /// The kernel itself.
    pub fn image(self, dir: &Path) -> Result<PathBuf, String> {
        let parts = self.parts(dir)?;
        let image = files(&parts)?.into_iter().find(|path| named(path).starts_with("vmlinuz"));
        image.ok_or(format!("no kernel in {}", parts.display()))
    }
}

/// Since Linux 7 the kernel and its modules are packages that the image's depends on.
fn of_kernel(package: &str) -> bool {
    ["linux-image-", "linux-binary-", "linux-modules-"].iter().any(|prefix| package.starts_with(prefix))
}

/// Where the newer kernel is, and its package.
fn newer(dir: &Path) -> Result<(Archive, String), String> {
    let machine = Archive::of_machine();
    let stable = machine.version(KERNEL)?;
    let backports = Archive::of_suite(SUITE, &dir.join("apt"));
    let why = match backports.and_then(|archive| Ok((archive.version(KERNEL)?, archive))) {
        Ok((version, archive)) if is_newer(&version, &stable) => return Ok((archive, KERNEL.to_string())),
        Ok((version, _)) => format!("{SUITE} has {version}"),
        Err(why) => why,
    };
    let mut best: Option<(String, String)> = None;
    for name in machine.names(OTHERS)? {
        let version = machine.version(&name)?;
        if is_newer(&version, best.as_ref().map_or(&stable, |(version, _)| version)) {
            best = Some((version, name));
        }
    }
    let (_, name) = best.ok_or(format!("apt offers no kernel that is newer than {stable}: {why}"))?;
    Ok((machine, name))
}

fn is_newer(version: &str, than: &str) -> bool {
    output(&["dpkg", "--compare-versions", version, "gt", than]).is_ok()
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
