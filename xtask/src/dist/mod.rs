//! `cargo xtask dist`: the release binary, its manual pages and completions, and a Debian package of them.
//!
//! The same commit gives the same bytes: times are those of the commit (or of `SOURCE_DATE_EPOCH`), modes and owners are
//! set, nothing of the building machine's paths gets in. The package is built twice and compared.

mod check;
mod debian;
mod licences;

use std::fs;
use std::path::{Path, PathBuf};

use crate::machine::{User, output};
use crate::place::Place;

/// What is to be made, and what of.
#[derive(Debug)]
pub struct Dist {
    place: Place,
    /// `target/dist`.
    pub out: PathBuf,
    /// Seconds since 1970 that everything is dated with.
    pub epoch: String,
}

/// Makes everything; an error when it is not as it should be.
pub fn dist(arguments: &[&str]) -> Result<bool, String> {
    if let Some(argument) = arguments.first() {
        return Err(format!("dist takes no arguments, and {argument} was given"));
    }
    let place = Place::find(&User::find()?)?;
    let epoch = match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(epoch) => epoch,
        Err(_) => output(&["git", "-C", &text(&place.repository), "log", "-1", "--format=%ct"])?,
    };
    let epoch: u64 = epoch.trim().parse().map_err(|_| format!("SOURCE_DATE_EPOCH={epoch:?} is no time"))?;
    let out = place.repository.join("target/dist");
    if out.exists() {
        fs::remove_dir_all(&out).map_err(|e| format!("{}: {e}", out.display()))?;
    }
    fs::create_dir_all(&out).map_err(|e| format!("{}: {e}", out.display()))?;
    let dist = Dist { place, out, epoch: epoch.to_string() };
    let binary = dist.binary()?;
    dist.manual()?;
    check::binary(&binary, &dist.paths()?)?;
    let package = debian::package(&dist, &binary)?;
    check::package(&dist, &package)?;

    let name = |path: &Path| path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let names = [name(&binary), name(&package)];
    let sums = output(&[
        "sh",
        "-c",
        "cd \"$1\" && shift && sha256sum \"$@\"",
        "sh",
        &text(&dist.out),
        &names[0],
        &names[1],
    ])?;
    fs::write(dist.out.join("SHA256SUMS"), &sums).map_err(|e| format!("SHA256SUMS: {e}"))?;
    println!("{}:", dist.out.display());
    for line in sums.lines() {
        let size = line
            .split_whitespace()
            .last()
            .and_then(|n| dist.out.join(n).metadata().ok())
            .map_or(0, |m| m.len());
        println!("  {size:>9} bytes  {line}");
    }
    Ok(true)
}

impl Dist {
    /// The release binary, as it is built everywhere: the paths of this machine are replaced in its messages.
    fn binary(&self) -> Result<PathBuf, String> {
        // In a directory of its own, as other flags would make cargo build everything anew each time.
        let target = self.place.repository.join("target/dist-build");
        let flags: Vec<String> = self
            .paths()?
            .iter()
            .zip(["donjon", "crates"])
            .map(|(path, name)| format!("{:?}", format!("--remap-path-prefix={path}={name}")))
            .collect();
        let config = format!("target.'cfg(target_os = \"linux\")'.rustflags=[{}]", flags.join(","));
        self.run(&[
            "build",
            "--release",
            "-p",
            "donjon",
            "--target-dir",
            &text(&target),
            "--config",
            &config,
        ])?;
        let triple = output(&["rustc", "--print", "host-tuple"])?;
        let (from, to) = (target.join(triple.trim()).join("release/donjon"), self.out.join("donjon"));
        fs::copy(&from, &to).map_err(|e| format!("{}: {e}", from.display()))?;
        Ok(to)
    }

    /// Manual pages and completions.
    fn manual(&self) -> Result<(), String> {
        self.run(&["run", "-p", "donjon-manual", "--", &text(&self.out.join("manual"))])
    }

    fn run(&self, arguments: &[&str]) -> Result<(), String> {
        println!("   cargo {}", arguments.join(" "));
        let status = self.place.cargo(arguments).status().map_err(|e| format!("cargo: {e}"))?;
        if status.success() { Ok(()) } else { Err(format!("cargo {} failed", arguments.join(" "))) }
    }

    /// The directories whose names must not be in the binary: the repository, and cargo's sources.
    fn paths(&self) -> Result<[String; 2], String> {
        Ok([text(&self.place.repository), text(&licences::registry()?)])
    }

    /// The repository.
    pub fn repository(&self) -> &Path {
        &self.place.repository
    }
}

/// A path for a command line.
pub fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
