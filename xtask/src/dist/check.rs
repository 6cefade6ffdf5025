//! What is made is looked at again, as somebody who gets it would.

use std::fs;
use std::path::Path;

use super::{Dist, text};
use crate::machine::output;

/// The most that the binary may have.
const LARGEST: usize = 6 << 20;

/// Static, small, and without the paths of the machine that built it.
pub fn binary(path: &Path, paths: &[String]) -> Result<(), String> {
    let bytes = fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
    if bytes.len() > LARGEST {
        return Err(format!("the binary has {} bytes; {LARGEST} are allowed", bytes.len()));
    }
    if interpreter(&bytes).ok_or("the binary is no 64-bit ELF file")? {
        return Err("the binary needs a loader: it is not static".into());
    }
    for path in paths {
        if bytes.windows(path.len()).any(|window| window == path.as_bytes()) {
            return Err(format!("the binary holds the path {path}"));
        }
    }
    Ok(())
}

/// Whether an ELF file names an interpreter (`man 5 elf`: PT_INTERP is 3).
fn interpreter(elf: &[u8]) -> Option<bool> {
    let number = |at: usize, size: usize| {
        let bytes = elf.get(at..at.checked_add(size)?)?;
        Some(bytes.iter().rev().fold(0_usize, |n, byte| (n << 8) | usize::from(*byte)))
    };
    if elf.get(..5)? != b"\x7fELF\x02" {
        return None;
    }
    let (table, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
    let mut found = false;
    for n in 0..count {
        found |= number(table.checked_add(n.checked_mul(size)?)?, 4)? == 3;
    }
    Some(found)
}

/// Owners, modes and fields of the package; and that what comes out of it runs.
pub fn package(dist: &Dist, package: &Path) -> Result<(), String> {
    let package = text(package);
    for line in output(&["dpkg-deb", "--contents", &package])?.lines() {
        sound(line)?;
    }
    for field in ["Package", "Version", "Architecture", "Maintainer", "Description"] {
        if output(&["dpkg-deb", "--field", &package, field])?.trim().is_empty() {
            return Err(format!("the package has no field {field}"));
        }
    }
    for field in ["Depends", "Pre-Depends"] {
        if !output(&["dpkg-deb", "--field", &package, field])?.trim().is_empty() {
            return Err(format!("the package has a field {field}: donjon needs nothing"));
        }
    }
    let unpacked = dist.out.join("unpacked");
    output(&["dpkg-deb", "--extract", &package, &text(&unpacked)])?;
    let said = output(&[&text(&unpacked.join("usr/bin/donjon")), "version"])?;
    let expected = format!("donjon {}\n", env!("CARGO_PKG_VERSION"));
    if said != expected {
        return Err(format!("the packaged donjon says {said:?} and not {expected:?}"));
    }
    let sums = unpacked.join("DEBIAN");
    output(&["dpkg-deb", "--control", &package, &text(&sums)])?;
    output(&["sh", "-c", "cd \"$1\" && md5sum --quiet --check DEBIAN/md5sums", "sh", &text(&unpacked)])?;
    fs::remove_dir_all(&unpacked).map_err(|e| format!("{}: {e}", unpacked.display()))?;
    // Where lintian is installed, its errors are errors.
    if output(&["lintian", "--version"]).is_ok() {
        output(&["lintian", "--fail-on", "error", "--allow-root", &package])?;
    }
    Ok(())
}

/// One line of `dpkg-deb --contents`: of root, without a bit that gives rights, written by root alone.
fn sound(line: &str) -> Result<(), String> {
    let mut words = line.split_whitespace();
    let (mode, owner) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let kind = mode.starts_with('d') || mode.starts_with('-');
    let gives = mode.contains(['s', 'S', 't', 'T']);
    let others_write = [5, 8].iter().any(|at| mode.as_bytes().get(*at) != Some(&b'-'));
    if !kind || gives || others_write || owner != "root/root" {
        return Err(format!("the package holds {line:?}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_that_give_rights_and_other_owners_are_found() {
        assert!(sound("-rwxr-xr-x root/root   5120 2026-01-01 00:00 ./usr/bin/donjon").is_ok());
        assert!(sound("drwxr-xr-x root/root      0 2026-01-01 00:00 ./usr/").is_ok());
        for line in [
            "-rwsr-xr-x root/root   5120 2026-01-01 00:00 ./usr/bin/donjon",
            "-rwxr-sr-x root/root   5120 2026-01-01 00:00 ./usr/bin/donjon",
            "-rwxrwxr-x root/root   5120 2026-01-01 00:00 ./usr/bin/donjon",
            "-rwxr-xrwx root/root   5120 2026-01-01 00:00 ./usr/bin/donjon",
            "-rwxr-xr-x user/user   5120 2026-01-01 00:00 ./usr/bin/donjon",
            "lrwxrwxrwx root/root      0 2026-01-01 00:00 ./usr/bin/donjon -> x",
            "",
        ] {
            assert!(sound(line).is_err(), "{line}");
        }
    }

    #[test]
    fn a_program_that_needs_a_loader_is_told_from_one_that_does_not() {
        let elf = |kind: u8| {
            let mut bytes = vec![0; 120];
            bytes[..5].copy_from_slice(b"\x7fELF\x02");
            (bytes[32], bytes[54], bytes[56], bytes[64]) = (64, 56, 1, kind);
            bytes
        };
        assert_eq!(interpreter(&elf(3)), Some(true));
        assert_eq!(interpreter(&elf(1)), Some(false));
        assert_eq!(interpreter(b"#!/bin/sh\n"), None);
        assert_eq!(interpreter(&elf(1)[..64]), None);
    }
}
