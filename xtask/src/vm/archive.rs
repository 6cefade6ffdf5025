//! Debian packages that are downloaded and unpacked, and never installed: from where this machine's apt has its own, or
//! from another suite of the same mirror. apt verifies them as always; its state of the machine's is read alone.

use std::fs;
use std::path::{Path, PathBuf};

use super::{anew, files, text};
use crate::machine::{is_root, output};

/// The keys of Debian's archive.
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A configuration of apt.
#[derive(Debug)]
pub struct Archive {
    options: Vec<String>,
    /// Whether its lists are the machine's.
    of_machine: bool,
}

impl Archive {
    /// The machine's own.
    pub fn of_machine() -> Self {
        Self { options: Vec::new(), of_machine: true }
    }

    /// One suite of the mirror that the machine has Debian from; its lists lie in `dir`.
    pub fn of_suite(suite: &str, dir: &Path) -> Result<Self, String> {
        let fault = |e: std::io::Error| format!("{}: {e}", dir.display());
        anew(dir).map_err(fault)?;
        for part in ["state/lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(dir.join(part)).map_err(fault)?;
        }
        let source = format!("deb [signed-by={KEYS}] {} {suite} main\n", mirror()?);
        fs::write(dir.join("sources.list"), source).map_err(fault)?;
        fs::write(dir.join("status"), "").map_err(fault)?;
        let dir = text(dir)?;
        let options = [
            format!("Dir::State={dir}/state"),
            format!("Dir::State::status={dir}/status"),
            format!("Dir::Cache={dir}/cache"),
            format!("Dir::Etc::sourcelist={dir}/sources.list"),
            "Dir::Etc::sourceparts=/dev/null".to_string(),
            "Acquire::Languages=none".to_string(),
        ];
        let archive = Self {
            options: options.into_iter().flat_map(|option| ["-o".to_string(), option]).collect(),
            of_machine: false,
        };
        archive.run("apt-get", &["update", "--quiet"])?;
        Ok(archive)
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Result<String, String> {
        self.run_in("/", program, arguments)
    }

    fn run_in(&self, dir: &str, program: &str, arguments: &[&str]) -> Result<String, String> {
        let mut command = vec!["env", "--chdir", dir, program];
        command.extend(self.options.iter().map(String::as_str));
        command.extend_from_slice(arguments);
        output(&command)
    }

    /// The version of a package that would be installed.
    pub fn version(&self, package: &str) -> Result<String, String> {
        let shown = self.run("apt-cache", &["show", "--no-all-versions", package])?;
        let version = shown.lines().find_map(|line| line.strip_prefix("Version: "));
        version.map(str::to_string).ok_or(format!("apt-cache shows no version of {package}"))
    }

    /// The packages whose names match a pattern.
    pub fn names(&self, pattern: &str) -> Result<Vec<String>, String> {
        let found = self.run("apt-cache", &["search", "--names-only", pattern])?;
        Ok(found.lines().filter_map(|line| line.split(' ').next()).map(str::to_string).collect())
    }

    /// A package and those that it needs, as far as `follow` says.
    pub fn needed(&self, package: &str, follow: fn(&str) -> bool) -> Result<Vec<String>, String> {
        let mut all = vec![package.to_string()];
        let mut next = 0;
        while let Some(package) = all.get(next) {
            let depends = self.run("apt-cache", &["depends", package])?;
            for name in depends.lines().filter_map(|line| line.trim().strip_prefix("Depends: ")) {
                if follow(name) && !all.iter().any(|known| known == name) {
                    all.push(name.to_string());
                }
            }
            next += 1;
        }
        Ok(all)
    }

    /// Downloads packages into a directory that is made for them.
    pub fn download(&self, packages: &[String], into: &Path) -> Result<Vec<PathBuf>, String> {
        println!("   apt-get download {}", packages.join(" "));
        let dir = text(into)?;
        let once = || {
            anew(into).map_err(|e| format!("{dir}: {e}"))?;
            let mut arguments = vec!["download"];
            arguments.extend(packages.iter().map(String::as_str));
            self.run_in(&dir, "apt-get", &arguments)
        };
        self.with_new_lists(once)?;
        files(into)
    }

    /// Downloads packages and everything that they need on a machine without any.
    pub fn download_whole(&self, packages: &[&str], into: &Path) -> Result<Vec<PathBuf>, String> {
        println!("   apt-get --download-only install {}", packages.join(" "));
        let dir = text(into)?;
        let once = || {
            anew(into).map_err(|e| format!("{dir}: {e}"))?;
            fs::create_dir_all(into.join("archives/partial")).map_err(|e| format!("{dir}: {e}"))?;
            fs::write(into.join("status"), "").map_err(|e| format!("{dir}: {e}"))?;
            let (status, cache) = (format!("Dir::State::status={dir}/status"), format!("Dir::Cache={dir}"));
            let mut arguments = vec!["-o", &status, "-o", &cache, "-o", "Debug::NoLocking=1"];
            arguments.extend(["--yes", "--quiet", "--no-install-recommends", "--download-only", "install"]);
            arguments.extend_from_slice(packages);
            self.run("apt-get", &arguments)
        };
        self.with_new_lists(once)?;
        let mut found = files(&into.join("archives"))?;
        found.retain(|path| path.extension().is_some_and(|e| e == "deb"));
        Ok(found)
    }

    /// Tries again with new lists of packages: the machine's may be older than the archive.
    fn with_new_lists(&self, once: impl Fn() -> Result<String, String>) -> Result<(), String> {
        once().map(drop).or_else(|why| {
            if !self.of_machine {
                return Err(why);
            }
            update(&why)?;
            once().map(drop)
        })
    }
}

/// New lists of packages for the machine, which root alone can get.
fn update(why: &str) -> Result<(), String> {
    if !is_root()? {
        return Err(format!("{why}\n(`sudo apt-get update` may help)"));
    }
    output(&["apt-get", "update", "--quiet"]).map(drop)
}

/// The mirror that the machine has Debian from.
fn mirror() -> Result<String, String> {
    mirror_of_lists().or_else(|why| {
        update(&why)?;
        mirror_of_lists()
    })
}

fn mirror_of_lists() -> Result<String, String> {
    let format = "$(ORIGIN) $(LABEL) $(COMPONENT) $(SITE)";
    let targets = output(&["apt-get", "indextargets", "--format", format, "Created-By: Packages"])?;
    let site = targets.lines().find_map(|line| line.strip_prefix("Debian Debian main "));
    site.map(str::to_string)
        .ok_or("apt's configuration names no mirror of Debian, or has no lists of it".into())
}
