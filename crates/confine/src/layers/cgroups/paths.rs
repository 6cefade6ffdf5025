//! What `linux.cgroupsPath` means.
//!
//! For the driver `cgroupfs` it is a path: absolute, from the root of the hierarchies; relative, or empty and then the
//! container's id, below a place that donjon determines. For systemd it is `slice:prefix:name`, three names and never
//! a path. No component may be `..`: a group outside of what was named would be somebody else's.

use std::path::{Component, Path, PathBuf};

use super::hierarchies::{Hierarchy, Version};
use crate::error::SpecError;
use crate::plan::Layer;

const FIELD: &str = "linux.cgroupsPath";
/// A name of a file, and of a unit, is not longer.
const LONGEST: usize = 255;

/// Where a container's group is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Location {
    /// From the root of each hierarchy.
    Absolute(PathBuf),
    /// Below the default parent of each hierarchy.
    Relative(PathBuf),
}

fn refuse(what: impl Into<String>) -> SpecError {
    SpecError::new(Layer::Cgroups, FIELD, what)
}

/// Reads a path; an empty one is the container's id, relative.
pub(super) fn location(path: Option<&Path>, id: &str) -> Result<Location, SpecError> {
    let path = match path {
        Some(path) if !path.as_os_str().is_empty() => path,
        _ => Path::new(id),
    };
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) if name.len() > LONGEST => {
                return Err(refuse(format!("has a component of more than {LONGEST} bytes")));
            }
            Component::Normal(name) if name.as_encoded_bytes().iter().any(|b| *b < b' ' || *b == 0x7f) => {
                return Err(refuse("holds a control character"));
            }
            Component::Normal(name) => clean.push(name),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => return Err(refuse("holds the component ..")),
        }
    }
    if clean.as_os_str().is_empty() {
        return Err(refuse("is the root of the hierarchy, which is no container's"));
    }
    Ok(if path.is_absolute() { Location::Absolute(clean) } else { Location::Relative(clean) })
}

impl Location {
    /// The group's path below the top of a hierarchy.
    ///
    /// The default parent is the caller's own group under version 1, and the group above it under version 2, where the
    /// own group holds processes and so can give no controllers to others.
    pub(super) fn below(&self, hierarchy: &Hierarchy) -> PathBuf {
        match self {
            Location::Absolute(path) => path.clone(),
            Location::Relative(path) if hierarchy.is_v2() => {
                hierarchy.own.parent().unwrap_or(Path::new("")).join(path)
            }
            Location::Relative(path) => hierarchy.own.join(path),
        }
    }
}

/// A unit of systemd's: `slice:prefix:name`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unit {
    /// The slice, with its ending.
    pub slice: String,
    /// The scope, with its ending.
    pub name: String,
}

/// Reads `slice:prefix:name`; an empty path is a unit `donjon-ID` in the default slice, and so is an empty slice.
pub(super) fn unit(path: Option<&Path>, id: &str, rootless: bool) -> Result<Unit, SpecError> {
    let default = if rootless { "user.slice" } else { "system.slice" };
    let text = match path {
        None => "",
        Some(path) => path.to_str().ok_or_else(|| refuse("is not UTF-8"))?,
    };
    let (slice, prefix, name) = match text.split(':').collect::<Vec<_>>().as_slice() {
        [""] => ("", "donjon", id),
        [slice, prefix, name] => (*slice, *prefix, *name),
        _ => return Err(refuse(format!("is {text:?}; for systemd it has the form slice:prefix:name"))),
    };
    let slice = if slice.is_empty() { default } else { slice };
    check_slice(slice)?;
    if name.is_empty() || name.ends_with(".slice") {
        return Err(refuse(format!("names {name:?}, which is no scope")));
    }
    let scope = if prefix.is_empty() { format!("{name}.scope") } else { format!("{prefix}-{name}.scope") };
    if !is_unit_name(&scope) {
        return Err(refuse(format!(
            "makes the unit {scope:?}: names have letters, digits and _.-@\\ and at most {LONGEST} bytes"
        )));
    }
    Ok(Unit { slice: slice.to_string(), name: scope })
}

/// `man 5 systemd.unit`; the colon, which it allows too, separates here.
fn is_unit_name(name: &str) -> bool {
    name.len() <= LONGEST
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-' | b'@' | b'\\'))
}

/// Checks a slice's name: `a-b.slice` lies in `a.slice`, so none of its parts is empty. `-.slice` is the root
/// (`man 5 systemd.slice`).
fn check_slice(slice: &str) -> Result<(), SpecError> {
    let name = slice.strip_suffix(".slice").filter(|_| is_unit_name(slice));
    let plain = |name: &str| name.split('-').all(|part| !part.is_empty() && !part.starts_with('.'));
    match name {
        Some(name) if name == "-" || plain(name) => Ok(()),
        _ => Err(refuse(format!("names {slice:?}, which is no slice"))),
    }
}

/// Why a driver can't be used with a version.
pub(super) fn refuse_systemd(version: Version, rootless: bool) -> Result<(), SpecError> {
    match version {
        Version::V1 if rootless => Err(refuse(
            "asks for a unit of an ordinary user's systemd, which has no controllers to give under cgroup v1: \
             leave out --systemd-cgroup",
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(path: &str) -> Result<Location, String> {
        location(Some(Path::new(path)), "id").map_err(|e| e.to_string())
    }

    #[test]
    fn paths_are_absolute_or_relative_or_the_id() {
        assert_eq!(at("/a//b/./c/"), Ok(Location::Absolute("a/b/c".into())));
        assert_eq!(at("a/b"), Ok(Location::Relative("a/b".into())));
        assert_eq!(at(""), Ok(Location::Relative("id".into())));
        assert_eq!(location(None, "id").unwrap(), Location::Relative("id".into()));
        for bad in ["/a/../b", "..", "/", "/.", "a/..", "a\nb"] {
            assert!(at(bad).unwrap_err().starts_with("cgroups: linux.cgroupsPath: "), "{bad}");
        }
        assert!(at(&format!("/{}", "x".repeat(256))).is_err());
    }

    #[test]
    fn relative_paths_lie_beside_the_own_group_under_version_2_and_in_it_under_version_1() {
        let v2 = Hierarchy { controllers: vec![], top: "/t".into(), own: "user/session".into() };
        let v1 = Hierarchy { controllers: vec!["pids".into()], ..v2.clone() };
        let relative = Location::Relative("id".into());
        assert_eq!(relative.below(&v2), Path::new("user/id"));
        assert_eq!(relative.below(&Hierarchy { own: "".into(), ..v2.clone() }), Path::new("id"));
        assert_eq!(relative.below(&v1), Path::new("user/session/id"));
        assert_eq!(Location::Absolute("a".into()).below(&v1), Path::new("a"));
    }

    #[test]
    fn units_are_slice_prefix_and_name() {
        let read = |text: &str, rootless| {
            unit(Some(Path::new(text)), "id", rootless).map(|u| (u.slice, u.name)).map_err(|e| e.to_string())
        };
        let is = |slice: &str, name: &str| Ok((slice.to_string(), name.to_string()));
        assert_eq!(read("machine.slice:libpod:1a", false), is("machine.slice", "libpod-1a.scope"));
        assert_eq!(read(":docker:1a", true), is("user.slice", "docker-1a.scope"));
        assert_eq!(read("", false), is("system.slice", "donjon-id.scope"));
        assert_eq!(read("a-b.slice::x", false), is("a-b.slice", "x.scope"));
        assert_eq!(read("-.slice:p:x", false), is("-.slice", "p-x.scope"));
        for bad in [
            "/a/b", "a:b", "a.slice:b:c:d", "a:b:c", "a--b.slice:p:n", "-a.slice:p:n", ".slice:p:n",
            "a/b.slice:p:n", "a.slice:p:", "a.slice:p:x.slice", "a.slice:p:x/y", "a.slice:..:../x",
        ] {
            assert!(read(bad, false).unwrap_err().starts_with("cgroups: linux.cgroupsPath: "), "{bad}");
        }
    }

    #[test]
    fn an_ordinary_users_systemd_needs_version_2() {
        assert!(refuse_systemd(Version::V1, true).is_err());
        assert!(refuse_systemd(Version::V1, false).is_ok());
        assert!(refuse_systemd(Version::V2, true).is_ok());
    }
}
