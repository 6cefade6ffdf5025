//! Podman and Buildah: `containers.conf`.
//!
//! The change is a drop-in of donjon's own, `containers.conf.d/50-donjon.conf`, which Podman reads since version 3
//! (`man 5 containers.conf`). For an older one there is `--file`.

use std::path::{Path, PathBuf};

use toml_edit::{Array, Item};

use super::{Caller, NAME, Place, Refusal, Wanted, tables};
use crate::commands::Failure;

const RUNTIMES: [&str; 2] = ["engine", "runtimes"];
const DEFAULT: [&str; 2] = ["engine", "runtime"];

/// The drop-in, and the files that are read before it.
pub fn place(caller: &Caller) -> Result<Place, Failure> {
    let directory = match caller {
        Caller::Root => PathBuf::from("/etc/containers"),
        Caller::Ordinary { config } => config.join("containers"),
    };
    Place::drop_in(
        directory.join("containers.conf"),
        directory.join("containers.conf.d/50-donjon.conf"),
        |path: &Path| path.extension().is_some_and(|e| e == "conf"),
    )
}

/// `[engine.runtimes] donjon = ["PATH"]`, and `[engine] runtime`.
pub fn edit(text: &str, wanted: &Wanted) -> Result<Option<String>, Refusal> {
    let mut document = tables::parse(text)?;
    let path = [RUNTIMES[0], RUNTIMES[1], NAME];
    let named = match tables::value(&document, &path, "a list of paths", Item::as_array)? {
        None => false,
        Some(paths) if paths.len() == 1 && paths.get(0).and_then(|p| p.as_str()) == Some(&wanted.program) => {
            true
        }
        Some(_) => return Err(Refusal::foreign(&tables::field(&path), wanted)),
    };
    let default = tables::text(&document, &DEFAULT)? == Some(NAME);
    if named && (default || !wanted.default) {
        return Ok(None);
    }
    if wanted.default && !default {
        tables::set(tables::make(&mut document, &DEFAULT[..1])?, DEFAULT[1], NAME);
    }
    if !named {
        tables::set(
            tables::make(&mut document, &RUNTIMES)?,
            NAME,
            Array::from_iter([wanted.program.as_str()]),
        );
    }
    Ok(Some(document.to_string()))
}
