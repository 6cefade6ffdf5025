//! `dir:PATH`: a root file system in a directory, for instance one that mmdebstrap or umoci made.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use donjon_confine::extensions::Root;

use crate::users::User;
use crate::{Image, ImageError};

/// What a container of a directory runs when nothing is named.
const SHELL: &str = "/bin/sh";

pub(crate) fn open(path: &Path, uid: u32) -> Result<Image, ImageError> {
    let name = || format!("dir:{}", path.display());
    let fail = |what: &str| ImageError::new(name(), what);
    let canonical = std::fs::canonicalize(path).map_err(|e| {
        let error = fail(&crate::users::reason(&e));
        match e.kind() {
            std::io::ErrorKind::NotFound => {
                error.hint("name a directory that holds a root file system (bin, etc, usr...)")
            }
            std::io::ErrorKind::PermissionDenied => {
                error.hint("donjon has no more rights than you: you must be able to read it")
            }
            _ => error.hint("its symbolic links may go round in a circle"),
        }
    })?;
    let meta = std::fs::metadata(&canonical).map_err(|e| fail(&crate::users::reason(&e)))?;
    if !meta.is_dir() {
        return Err(fail("is no directory").hint("unpack it first; archives are not read"));
    }
    if canonical == Path::new("/") {
        return Err(fail("is the whole machine, with everybody's data")
            .hint("use the image host: its programs without its data"));
    }
    Ok(Image {
        root: Root::Dir {
            own: if meta.uid() == uid || uid == 0 { Vec::new() } else { directories(&canonical) },
        },
        path: canonical,
        user: User { uid: 0, gid: 0, name: "root".into(), home: "/root".into() },
        command: vec![SHELL.into()],
    })
}

/// Top-level directories whose own directories are looked at as well.
const DEEPER: [&str; 5] = ["etc", "home", "run", "usr", "var"];

/// The upper two levels of directories of a tree that belongs to somebody else, with their modes: see
/// [`Root::Host`]'s `own`. Names and modes are all that is taken from the tree, and links are not followed.
fn directories(root: &Path) -> Vec<(String, u32)> {
    let mut found = Vec::new();
    list(root, "", &mut found);
    for name in DEEPER {
        if found.iter().any(|(d, _)| d == name) {
            list(&root.join(name), name, &mut found);
        }
    }
    found
}

/// Most directories that are looked at.
const MOST: usize = 512;

fn list(dir: &Path, above: &str, found: &mut Vec<(String, u32)>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if found.len() >= MOST || !entry.file_type().is_ok_and(|t| t.is_dir()) {
            continue;
        }
        let (Ok(name), Ok(meta)) = (entry.file_name().into_string(), entry.metadata()) else { continue };
        let path = if above.is_empty() { name } else { format!("{above}/{name}") };
        found.push((path, meta.permissions().mode() & 0o1777));
    }
}
