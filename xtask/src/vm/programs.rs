//! Debian's programs for the security modules, and its SELinux policy: unpacked for the virtual machine. Those that are
//! needed while it is laid out run from there, by the loader that was unpacked with them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::archive::Archive;
use super::{anew, files, text};
use crate::machine::output;

/// The packages that `tests/vm` uses; what they need comes with them.
const PACKAGES: [&str; 11] = [
    "apparmor", "attr", "e2fsprogs", "fsverity", "ima-evm-utils", "jq", "keyutils", "openssl",
    "policycoreutils", "secilc", "selinux-policy-default",
];
/// The directories of the root that packages fill under `usr`.
const DIRECTORIES: [&str; 4] = ["bin", "sbin", "lib", "lib64"];
const MODULES: &str = "usr/share/selinux/default";

/// The tree of the programs, which is kept for the next time.
#[derive(Debug)]
pub struct Programs {
    tree: PathBuf,
}

impl Programs {
    /// Downloads and unpacks them, unless that was done.
    pub fn unpacked(dir: &Path) -> Result<Self, String> {
        let tree = dir.join("programs");
        if !tree.exists() {
            let archives = dir.join("archives");
            let packages = Archive::of_machine().download_whole(&PACKAGES, &archives)?;
            let new = dir.join("programs.new");
            lay_merged(&new).map_err(|e| format!("{}: {e}", new.display()))?;
            for package in packages {
                unpack(&package, &new)?;
            }
            fs::remove_dir_all(&archives).map_err(|e| format!("{}: {e}", archives.display()))?;
            fs::rename(&new, &tree).map_err(|e| format!("{}: {e}", tree.display()))?;
        }
        Ok(Self { tree })
    }

    /// Copies what programs need to run into another tree; its first level must be that of [`lay_merged`].
    pub fn copy_into(&self, other: &Path) -> Result<(), String> {
        let (from, to) = (text(&self.tree)?, text(other)?);
        for directory in DIRECTORIES {
            output(&[
                "cp",
                "-a",
                "--no-clobber",
                &format!("{from}/usr/{directory}/."),
                &format!("{to}/usr/{directory}"),
            ])?;
        }
        output(&["cp", "-a", &format!("{from}/etc/."), &format!("{to}/etc")])?;
        // What the parser of profiles is told of Debian's kernels.
        let features = "usr/share/apparmor-features";
        fs::create_dir_all(other.join("usr/share")).map_err(|e| format!("{to}: {e}"))?;
        output(&["cp", "-a", &format!("{from}/{features}"), &format!("{to}/{features}")]).map(drop)
    }

    /// A command that runs a program of the tree.
    fn command(&self, program: &str) -> Result<Command, String> {
        let libraries: Vec<PathBuf> = files(&self.tree.join("usr/lib"))?
            .into_iter()
            .filter(|path| path.join("libc.so.6").exists())
            .collect();
        let library = libraries.first().ok_or("no C library was unpacked")?;
        let loader = files(&self.tree.join("usr/lib64"))?.pop().ok_or("no loader was unpacked")?;
        let mut command = Command::new(loader);
        command.arg("--library-path").arg(library).arg(self.tree.join("usr").join(program));
        command.stdin(Stdio::null());
        Ok(command)
    }

    /// Compiles Debian's policy and one module more into what a kernel reads.
    pub fn policy(&self, module: &Path, dir: &Path) -> Result<PathBuf, String> {
        let (cil, policy) = (dir.join("cil"), dir.join("policy"));
        if !cil.exists() {
            let new = dir.join("cil.new");
            anew(&new).map_err(|e| format!("{}: {e}", new.display()))?;
            self.convert(&new)?;
            fs::rename(&new, &cil).map_err(|e| format!("{}: {e}", cil.display()))?;
        }
        let mut command = self.command("bin/secilc")?;
        command.arg("-o").arg(&policy).args(["-f", "/dev/null", "-c", "33"]).args(files(&cil)?).arg(module);
        ran(&mut command, "secilc")?;
        Ok(policy)
    }

    /// The modules of Debian's policy that are in force by default, in the language that they are linked in.
    fn convert(&self, into: &Path) -> Result<(), String> {
        let modules = self.tree.join(MODULES);
        let names = fs::read_to_string(modules.join(".modules"));
        let names = names.map_err(|e| format!("{}: {e}", modules.display()))?;
        for name in names.split_whitespace() {
            let (packed, module) = (modules.join(format!("{name}.pp.bz2")), into.join(name));
            output(&["sh", "-c", r#"busybox bunzip2 <"$1" >"$2""#, "sh", &text(&packed)?, &text(&module)?])?;
            let mut command = self.command("libexec/selinux/hll/pp")?;
            ran(command.arg(&module).arg(into.join(format!("{name}.cil"))), "pp")?;
            fs::remove_file(&module).map_err(|e| format!("{}: {e}", module.display()))?;
        }
        Ok(())
    }

    /// Makes a key and its certificate for signing files.
    pub fn key(&self, into: &Path) -> Result<(), String> {
        let mut command = self.command("bin/openssl")?;
        command
            .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=donjon tests", "-config"]);
        command.arg(self.tree.join("etc/ssl/openssl.cnf")).args(["-outform", "DER", "-out"]);
        command.arg(into.join("certificate")).arg("-keyout").arg(into.join("key"));
        ran(&mut command, "openssl")
    }
}

fn ran(command: &mut Command, name: &str) -> Result<(), String> {
    let out = command.output().map_err(|e| format!("{name}: {e}"))?;
    let why = String::from_utf8_lossy(&out.stderr);
    if out.status.success() { Ok(()) } else { Err(format!("{name} failed: {}", why.trim())) }
}

/// An empty tree whose `bin`, `sbin` and `lib` are those of `usr`.
pub fn lay_merged(tree: &Path) -> std::io::Result<()> {
    anew(tree)?;
    for directory in DIRECTORIES {
        fs::create_dir_all(tree.join("usr").join(directory))?;
        std::os::unix::fs::symlink(format!("usr/{directory}"), tree.join(directory))?;
    }
    fs::create_dir_all(tree.join("etc"))
}

fn unpack(package: &Path, into: &Path) -> Result<(), String> {
    let script = r#"dpkg-deb --fsys-tarfile "$1" |
        tar -x -C "$2" --no-same-owner --keep-directory-symlink --exclude './usr/share/doc' --exclude './usr/share/man' \
            --exclude './usr/share/locale'"#;
    output(&["sh", "-c", script, "sh", &text(package)?, &text(into)?]).map(drop)
}
