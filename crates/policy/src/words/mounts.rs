//! `-v`, `--mount`, `--tmpfs`, `--ro`, `--rw`.

use std::path::Path;

use super::WordError;
use crate::model::{Mount, MountKind};

/// An absolute path below `/` without `.` and `..`.
pub(crate) fn target(word: &str, path: &str) -> Result<String, WordError> {
    let parts_ok = path.split('/').all(|p| p != ".." && p != ".");
    if path.starts_with('/') && parts_ok && path.bytes().any(|b| b != b'/') && !path.contains('\0') {
        Ok(path.to_string())
    } else {
        Err(format!("{word:?}: {path:?} is no absolute path of the container below /"))
    }
}

/// `SRC:DST[:OPTIONS]`, as podman's `-v`.
pub fn volume(word: &str) -> Result<Mount, WordError> {
    let parts: Vec<&str> = word.split(':').collect();
    let (source, destination, options) = match parts.as_slice() {
        [_] => {
            return Err(format!(
                "{word:?}: anonymous volumes are not there yet; write SRC:DST, or --tmpfs {word}"
            ));
        }
        [source, destination] => (*source, *destination, ""),
        [source, destination, options] => (*source, *destination, *options),
        _ => return Err(format!("{word:?}: write SRC:DST[:OPTIONS]; a path with a colon takes --mount")),
    };
    if !source.starts_with(['/', '.']) {
        return Err(format!("{word:?}: named volumes are not there yet; for a directory write ./{source}"));
    }
    let mut mount =
        Mount { source: Some(source.to_string()), target: target(word, destination)?, ..Mount::default() };
    let (mut ro, mut rw) = (false, false);
    for option in options.split(',').filter(|o| !o.is_empty()) {
        match option {
            "ro" => ro = true,
            "rw" => rw = true,
            "exec" => mount.exec = Some(true),
            "noexec" => mount.exec = Some(false),
            "nosuid" | "nodev" | "rbind" | "bind" | "private" | "rprivate" => {}
            "z" | "Z" => {
                return Err(format!(
                    "{word:?}: {option} relabels files of the host for SELinux, which is not in this version"
                ));
            }
            "U" => {
                return Err(format!(
                    "{word:?}: U changes the owners of files of the host; ids are mapped instead"
                ));
            }
            "O" => return Err(format!("{word:?}: O (an overlay over the source) is not there yet")),
            other => return Err(format!("{word:?}: {other:?} is no option; there are ro, rw, exec, noexec")),
        }
    }
    if ro && rw {
        return Err(format!("{word:?}: both ro and rw"));
    }
    mount.read_only = ro;
    Ok(mount)
}

/// `SRC[:DST]`: donjon's short form; DST is by default where SRC lies on the host.
pub fn short(word: &str, read_only: bool) -> Result<Mount, WordError> {
    let (source, destination) = match word.split_once(':') {
        Some((_, d)) if d.contains(':') => return Err(format!("{word:?}: write SRC or SRC:DST")),
        Some((source, destination)) => (source, Some(destination)),
        None => (word, None),
    };
    if source.is_empty() {
        return Err(format!("{word:?}: there is no source"));
    }
    let destination = match destination {
        Some(destination) => target(word, destination)?,
        None => {
            let path = std::fs::canonicalize(Path::new(source))
                .map_err(|e| format!("{source}: {}", crate::load::reason(&e)))?;
            let text =
                path.to_str().ok_or_else(|| format!("{source}: the path is no UTF-8; write SRC:DST"))?;
            if text == "/" {
                return Err("/ would open the whole machine".to_string());
            }
            text.to_string()
        }
    };
    Ok(Mount { source: Some(source.to_string()), target: destination, read_only, ..Mount::default() })
}

/// `DST[:OPTIONS]` with `size=`, `mode=`, `exec`, `noexec`, `ro`, `rw`.
pub fn tmpfs(word: &str) -> Result<Mount, WordError> {
    let (destination, options) = word.split_once(':').unwrap_or((word, ""));
    let mut mount = Mount { kind: MountKind::Tmpfs, target: target(word, destination)?, ..Mount::default() };
    for option in options.split(',').filter(|o| !o.is_empty()) {
        tmpfs_option(word, option, &mut mount)?;
    }
    Ok(mount)
}

fn tmpfs_option(word: &str, option: &str, mount: &mut Mount) -> Result<(), WordError> {
    match option.split_once('=').unwrap_or((option, "")) {
        ("size" | "tmpfs-size", size) => {
            super::numbers::size(size)?;
            mount.size = Some(size.to_string());
        }
        ("mode" | "tmpfs-mode", mode) => {
            super::numbers::octal(mode, 0o1777)?;
            mount.mode = Some(mode.to_string());
        }
        ("exec", "") => mount.exec = Some(true),
        ("noexec", "") => mount.exec = Some(false),
        ("ro", "") => mount.read_only = true,
        ("rw" | "nosuid" | "nodev", "") => {}
        _ => {
            return Err(format!(
                "{word:?}: {option:?} is no option; there are size=, mode=, exec, noexec, ro"
            ));
        }
    }
    Ok(())
}

/// `type=bind|tmpfs,src=,dst=,ro...`, as podman's `--mount`.
pub fn mount(word: &str) -> Result<Mount, WordError> {
    let mut mount = Mount::default();
    let mut kind = None;
    let mut rest = Vec::new();
    for option in word.split(',') {
        match option.split_once('=').unwrap_or((option, "")) {
            ("type", "bind") => kind = Some(MountKind::Bind),
            ("type", "tmpfs") => kind = Some(MountKind::Tmpfs),
            ("type", other) => {
                return Err(format!("{word:?}: {other:?} is no type of mount; there are bind and tmpfs"));
            }
            ("src" | "source", path) => mount.source = Some(path.to_string()),
            ("dst" | "destination" | "target", path) => mount.target = target(word, path)?,
            ("ro" | "readonly", "" | "true") => mount.read_only = true,
            ("ro" | "readonly", "false") | ("rw", "" | "true") => mount.read_only = false,
            _ => rest.push(option),
        }
    }
    mount.kind = kind.ok_or_else(|| format!("{word:?}: type=bind or type=tmpfs is missing"))?;
    if mount.target.is_empty() {
        return Err(format!("{word:?}: dst= is missing"));
    }
    for option in rest {
        match (mount.kind, option) {
            (MountKind::Tmpfs, option) => tmpfs_option(word, option, &mut mount)?,
            (MountKind::Bind, "exec") => mount.exec = Some(true),
            (MountKind::Bind, "noexec") => mount.exec = Some(false),
            (
                MountKind::Bind,
                "bind-propagation=private" | "bind-propagation=rprivate" | "nosuid" | "nodev",
            ) => {}
            _ => return Err(format!("{word:?}: {option:?} is no option of a bind mount")),
        }
    }
    match (mount.kind, &mount.source) {
        (MountKind::Bind, None) => Err(format!("{word:?}: src= is missing")),
        (MountKind::Tmpfs, Some(_)) => Err(format!("{word:?}: a tmpfs has no source")),
        _ => Ok(mount),
    }
}
