//! `dir:PATH`: a root file system in a directory, for instance one that mmdebstrap or umoci made.

use std::path::Path;

use donjon_confine::extensions::Root;

use crate::users::User;
use crate::{Image, ImageError};

/// What a container of a directory runs when nothing is named.
const SHELL: &str = "/bin/sh";

pub(crate) fn open(path: &Path) -> Result<Image, ImageError> {
    let name = || format!("dir:{}", path.display());
    let fail = |what: &str| ImageError::new(name(), what);
    let canonical = std::fs::canonicalize(path).map_err(|e| {
        let error = fail(&crate::users::reason(&e));
        match e.kind() {
            std::io::ErrorKind::NotFound => error.hint("name a directory that holds a root file system (bin, etc, usr...)"),
            std::io::ErrorKind::PermissionDenied => error.hint("donjon has no more rights than you: you must be able to read it"),
            _ => error.hint("its symbolic links may go round in a circle"),
        }
    })?;
    let meta = std::fs::metadata(&canonical).map_err(|e| fail(&crate::users::reason(&e)))?;
    if !meta.is_dir() {
        return Err(fail("is no directory").hint("unpack it first; archives are not read"));
    }
    if canonical == Path::new("/") {
        return Err(fail("is the whole machine, with everybody's data").hint("use the image host: its programs without its data"));
    }
    Ok(Image {
        path: canonical,
        root: Root::Dir,
        user: User { uid: 0, gid: 0, name: "root".into(), home: "/root".into() },
        command: vec![SHELL.into()],
    })
}
