//! The Debian package, by `dpkg-deb`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Dist, licences, text};
use crate::machine::output;

/// What Debian says of the package.
const DESCRIPTION: &str = "\
container runtime that gives root to no one
 donjon starts an untrusted program behind every wall that Linux has, without a
 daemon, without root and without a setuid helper. What is not allowed is
 forbidden, and what was refused is told, with what would allow it.
 .
 It is also an OCI runtime for Podman, Docker, containerd and CRI-O.
";

/// Documents that the package holds, from the repository.
const DOCUMENTS: [&str; 7] = [
    "README.md", "SECURITY.md", "SPECIFICATION.md", "docs/architecture.md", "docs/threat-model.md",
    "docs/layers", "docs/guide",
];

/// Builds the package, twice, and returns where it is.
pub fn package(dist: &Dist, binary: &Path) -> Result<PathBuf, String> {
    let architecture = output(&["dpkg", "--print-architecture"])?.trim().to_string();
    let version = format!("{}-1", env!("CARGO_PKG_VERSION"));
    let name = format!("donjon_{version}_{architecture}.deb");
    let mut built = Vec::new();
    for n in ["tree", "tree-again"] {
        let tree = dist.out.join(n);
        lay(dist, binary, &tree, &version, &architecture)?;
        let package = dist.out.join(format!("{n}.deb"));
        build(dist, &tree, &package)?;
        built.push(fs::read(&package).map_err(|e| format!("{}: {e}", package.display()))?);
        fs::remove_file(&package).map_err(|e| format!("{}: {e}", package.display()))?;
        fs::remove_dir_all(&tree).map_err(|e| format!("{}: {e}", tree.display()))?;
    }
    let package = dist.out.join(name);
    match built.as_slice() {
        [first, again] if first == again => fs::write(&package, first),
        _ => return Err("the package built twice is not the same twice".into()),
    }
    .map_err(|e| format!("{}: {e}", package.display()))?;
    Ok(package)
}

/// Everything that the package holds, below a directory.
fn lay(dist: &Dist, binary: &Path, tree: &Path, version: &str, architecture: &str) -> Result<(), String> {
    let (out, repository) = (&dist.out, dist.repository());
    let put = |from: &Path, to: &str| copy(from, &tree.join(to));
    put(binary, "usr/bin/donjon")?;
    put(&out.join("manual/man1"), "usr/share/man/man1")?;
    put(&out.join("manual/bash/donjon"), "usr/share/bash-completion/completions/donjon")?;
    put(&out.join("manual/zsh/_donjon"), "usr/share/zsh/vendor-completions/_donjon")?;
    put(&out.join("manual/fish/donjon.fish"), "usr/share/fish/vendor_completions.d/donjon.fish")?;
    let doc = "usr/share/doc/donjon";
    for document in DOCUMENTS {
        put(&repository.join(document), &format!("{doc}/{document}"))?;
    }
    put(&repository.join("xtask/src/dist/apparmor"), &format!("{doc}/examples/apparmor.d/donjon"))?;

    let write = |to: &str, content: &str| {
        let path = tree.join(to);
        let made = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&path, content));
        made.map_err(|e| format!("{}: {e}", path.display()))
    };
    put(&repository.join("CHANGELOG.md"), &format!("{doc}/changelog"))?;
    let maintainer = maintainer();
    let date = output(&["date", "--utc", "--rfc-email", "--date", &format!("@{}", dist.epoch)])?;
    write(
        &format!("{doc}/changelog.Debian"),
        &format!(
            "donjon ({version}) unstable; urgency=medium\n\n  * Version {}; see changelog.gz.\n\n -- {maintainer}  {}\n",
            env!("CARGO_PKG_VERSION"),
            date.trim()
        ),
    )?;
    write(
        &format!("{doc}/copyright"),
        &format!(
            "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\
             Upstream-Name: donjon\n\n\
             Files: *\nCopyright: the authors of donjon\nLicense: Apache-2.0\n\
             Comment: The crates that are in the program, and their licences: /{doc}/licences.gz.\n \
             It also holds parts of the Rust standard library (MIT or Apache-2.0) and, on Debian, of the GNU C library\n \
             (LGPL-2.1 or later, /usr/share/common-licenses/LGPL-2.1).\n\n\
             License: Apache-2.0\n On Debian systems the text is in /usr/share/common-licenses/Apache-2.0.\n"
        ),
    )?;
    write(&format!("{doc}/licences"), &licences::collect(repository)?)?;
    let compressed = ["changelog", "changelog.Debian", "licences"].map(|name| tree.join(doc).join(name));
    for path in compressed.into_iter().chain(paths(&tree.join("usr/share/man/man1"))?) {
        output(&["gzip", "-9", "--no-name", &text(&path)])?;
    }

    let mut sums = String::new();
    let mut kilobytes = 0;
    for path in files(tree)? {
        let below = text(path.strip_prefix(tree).unwrap_or(&path));
        let sum = output(&["md5sum", &text(&path)])?;
        sums.push_str(&format!("{}  {below}\n", sum.split(' ').next().unwrap_or_default()));
        kilobytes += path.metadata().map_or(0, |m| m.len().div_ceil(1024));
    }
    write("DEBIAN/md5sums", &sums)?;
    write(
        "DEBIAN/control",
        &format!(
            "Package: donjon\nVersion: {version}\nArchitecture: {architecture}\nMaintainer: {maintainer}\n\
             Installed-Size: {kilobytes}\nRecommends: uidmap\nSection: admin\nPriority: optional\nDescription: {DESCRIPTION}"
        ),
    )
}

/// Debian's own variables, as `dch` reads them.
fn maintainer() -> String {
    let or = |name, other: &str| std::env::var(name).unwrap_or_else(|_| other.into());
    format!("{} <{}>", or("DEBFULLNAME", "donjon contributors"), or("DEBEMAIL", "root@localhost"))
}

/// Modes and times, and the package.
fn build(dist: &Dist, tree: &Path, package: &Path) -> Result<(), String> {
    for path in everything(tree)? {
        let executable = path.is_dir() || path.ends_with("usr/bin/donjon");
        let mode = fs::Permissions::from_mode(if executable { 0o755 } else { 0o644 });
        fs::set_permissions(&path, mode).map_err(|e| format!("{}: {e}", path.display()))?;
    }
    output(&["find", &text(tree), "-exec", "touch", "--date", &format!("@{}", dist.epoch), "{}", "+"])?;
    let status = Command::new("dpkg-deb")
        .args(["-Zxz", "--root-owner-group", "--build"])
        .args([tree, package])
        .env("SOURCE_DATE_EPOCH", &dist.epoch)
        // The number of threads changes the bytes.
        .env("DPKG_DEB_THREADS_MAX", "1")
        .stdout(std::process::Stdio::null())
        .status()
        .map_err(|e| format!("dpkg-deb: {e}"))?;
    if status.success() { Ok(()) } else { Err("dpkg-deb failed".into()) }
}

fn copy(from: &Path, to: &Path) -> Result<(), String> {
    let failed = |e: std::io::Error| format!("{}: {e}", from.display());
    if from.is_dir() {
        return paths(from)?
            .iter()
            .try_for_each(|path| copy(path, &to.join(path.file_name().unwrap_or_default())));
    }
    to.parent().map_or(Ok(()), fs::create_dir_all).map_err(failed)?;
    fs::copy(from, to).map(drop).map_err(failed)
}

/// What is in a directory, sorted.
fn paths(directory: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir(directory).map_err(|e| format!("{}: {e}", directory.display()))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    Ok(paths)
}

/// A directory and all below it, sorted.
fn everything(directory: &Path) -> Result<Vec<PathBuf>, String> {
    let mut all = vec![directory.to_path_buf()];
    for path in paths(directory)? {
        if path.is_dir() { all.extend(everything(&path)?) } else { all.push(path) }
    }
    Ok(all)
}

fn files(directory: &Path) -> Result<Vec<PathBuf>, String> {
    Ok(everything(directory)?.into_iter().filter(|path| path.is_file()).collect())
}
