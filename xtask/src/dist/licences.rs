//! The licences of the crates that are in the binary: each of them asks to be handed on with it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::machine::output;

/// Where cargo unpacks sources.
pub fn registry() -> Result<PathBuf, String> {
    let home = match std::env::var_os("CARGO_HOME") {
        Some(home) => PathBuf::from(home),
        None => PathBuf::from(std::env::var_os("HOME").ok_or("HOME is not set")?).join(".cargo"),
    };
    Ok(home.join("registry/src"))
}

/// A list of the crates with their licences, and every licence's text once.
pub fn collect(repository: &Path) -> Result<String, String> {
    let manifest = repository.join("Cargo.toml");
    let tree = output(&[
        "cargo",
        "tree",
        "--locked",
        "--quiet",
        "--manifest-path",
        &super::text(&manifest),
        "-p",
        "donjon",
        "-e",
        "normal,no-proc-macro",
        "--prefix",
        "none",
        "--no-dedupe",
        "--format",
        "{p}\t{l}",
    ])?;
    let mut lines: Vec<&str> = tree.lines().filter(|line| !line.contains(&super::text(repository))).collect();
    lines.sort_unstable();
    lines.dedup();
    let mut list = String::from("donjon is one program that holds these crates.\n\n");
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in lines {
        let (package, licence) = line.split_once('\t').ok_or_else(|| format!("cargo tree says {line:?}"))?;
        let mut words = package.split(' ');
        let (name, version) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let name = format!("{name}-{}", version.trim_start_matches('v'));
        list.push_str(&format!("{name}: {licence}\n"));
        let files = files(&name)?;
        if files.is_empty() {
            return Err(format!("{name} has no file with its licence"));
        }
        for file in files {
            let text = fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
            texts.entry(text.trim().to_string()).or_default().push(name.clone());
        }
    }
    let mut texts: Vec<(Vec<String>, String)> =
        texts.into_iter().map(|(text, names)| (names, text)).collect();
    texts.sort();
    for (mut names, text) in texts {
        names.dedup();
        list.push_str(&format!("\n{}\n{}\n\n{text}\n", "=".repeat(72), names.join(", ")));
    }
    Ok(list)
}

/// The files of a crate that hold its licence.
fn files(name: &str) -> Result<Vec<PathBuf>, String> {
    let registry = registry()?;
    let mut found = Vec::new();
    for index in fs::read_dir(&registry).map_err(|e| format!("{}: {e}", registry.display()))?.flatten() {
        let Ok(entries) = fs::read_dir(index.path().join(name)) else { continue };
        found.extend(entries.flatten().map(|entry| entry.path()).filter(|path| {
            let name = path.file_name().map(|n| n.to_string_lossy().to_uppercase()).unwrap_or_default();
            path.is_file()
                && ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE"]
                    .iter()
                    .any(|n| name.starts_with(n))
        }));
    }
    found.sort();
    Ok(found)
}
