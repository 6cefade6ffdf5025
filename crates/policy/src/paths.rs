//! Paths as `[filesystem]` writes them: `/a/b`, `/a/**`, and in `read` and `execute` `/a/x*`.
//!
//! What each form means is told where it is enforced, in [`donjon_confine::layers::landlock::files`]. Here they are checked and
//! compared, as text: a symbolic link of an image is nothing that a policy file can know.

use std::path::Path;

use donjon_confine::layers::landlock::files::{Form, form, matches};

use crate::words::WordError;

/// Which list a path is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum List {
    /// `read`
    Read,
    /// `write`
    Write,
    /// `execute`
    Execute,
    /// `hide`
    Hide,
}

/// Whether a path is absolute and in its only form: no `.` and `..`, no empty part.
pub fn normal(path: &str) -> Result<(), WordError> {
    let rest = path.strip_prefix('/').ok_or_else(|| format!("{path:?} is no absolute path"))?;
    if path.contains('\0') {
        return Err(format!("{path:?} holds a NUL byte"));
    }
    if path.len() > 4095 {
        return Err("is a path of more than 4095 bytes, which the kernel does not take".to_string());
    }
    match rest.split('/').find(|part| matches!(*part, "" | "." | "..")) {
        Some(_) if rest.is_empty() => Ok(()),
        Some("") => Err(format!(
            "{path:?}: write it without // and without a / at the end; /** means what lies below"
        )),
        Some(part) => Err(format!("{path:?}: write it without {part}")),
        None => Ok(()),
    }
}

/// Whether the path may stand on the list.
pub fn check(list: List, path: &str) -> Result<(), WordError> {
    normal(path)?;
    let (above, _) = path.rsplit_once('/').unwrap_or_default();
    if above.contains(['*', '?']) {
        return Err(format!(
            "{path:?}: a pattern may stand in the last part alone; /** after a directory means all below it"
        ));
    }
    match (form(path).map_err(|what| format!("{path:?} {what}"))?, list) {
        ((_, Form::Matching(name)), _) if name.to_bytes().windows(2).any(|two| two == b"**") => {
            Err(format!("{path:?}: ** stands alone, as in /a/**"))
        }
        (("/", Form::Tree), List::Write | List::Execute) => Err(format!(
            "{path:?} means everything: leave the key out, which says the same, or name directories"
        )),
        (("/", Form::Tree | Form::Object), List::Hide) => Err(format!("{path:?}: the root can't be hidden")),
        ((directory, Form::Matching(_)), List::Write) => Err(format!(
            "{path:?}: a name that is not there yet can't be named by a pattern; write \"{}/**\"",
            directory.trim_end_matches('/')
        )),
        ((directory, Form::Matching(_)), List::Hide) => Err(format!(
            "{path:?}: names that come later would not be hidden; write \"{}/**\"",
            directory.trim_end_matches('/')
        )),
        _ => Ok(()),
    }
}

/// The path itself, without `/**`.
pub fn tree(path: &str) -> &str {
    match path.strip_suffix("/**") {
        Some("") => "/",
        Some(above) => above,
        None => path,
    }
}

/// Whether everything that `narrow` means is meant by `wide` as well.
pub fn covers(wide: &str, narrow: &str) -> bool {
    let (Ok((above, wide_form)), Ok((below, narrow_form))) = (form(wide), form(narrow)) else { return false };
    match (&wide_form, &narrow_form) {
        _ if wide == narrow => true,
        (Form::Tree, _) => Path::new(below).starts_with(above),
        (Form::Matching(all), Form::Matching(some)) => {
            above == below && all.to_bytes() == b"*" && !some.to_bytes().starts_with(b".")
        }
        (Form::Matching(pattern), Form::Object) => {
            let (directory, name) = below.rsplit_once('/').unwrap_or_default();
            let directory = if directory.is_empty() { "/" } else { directory };
            directory == above && matches(pattern.to_bytes(), name.as_bytes())
        }
        (Form::Matching(_), Form::Tree) | (Form::Object, _) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_path_covers() {
        for (wide, narrow, yes) in [
            ("/a/**", "/a/b", true),
            ("/a/**", "/a", true),
            ("/a/**", "/a/b/**", true),
            ("/a/**", "/a/b*", true),
            ("/a/**", "/ab", false),
            ("/a/b/**", "/a/**", false),
            ("/a", "/a/b", false),
            ("/a", "/a", true),
            ("/a/*.pem", "/a/x.pem", true),
            ("/a/*.pem", "/a/b/x.pem", false),
            ("/a/*", "/a/*.pem", true),
            ("/a/*", "/a/.x*", false),
            ("/a/*", "/a/**", false),
            ("/**", "/x", true),
            ("/*", "/x", true),
            ("/x", "/**", false),
        ] {
            assert_eq!(covers(wide, narrow), yes, "{wide} {narrow}");
        }
    }

    #[test]
    fn what_means_everything_or_nothing_is_refused() {
        for path in ["/a", "/a/b.c", "/a/**", "/", "/dev/null"] {
            assert_eq!(check(List::Write, path), Ok(()), "{path}");
        }
        assert_eq!(check(List::Read, "/a/*.pem"), Ok(()));
        assert_eq!(check(List::Read, "/**"), Ok(()));
        for path in [
            "", "a", "/a/", "/a//b", "/a/../b", "/./a", "/**", "/a/*", "/a/*/b", "/a/**/b", "/a/b**", "/a\0",
            "//**", "/../**",
        ] {
            assert!(check(List::Write, path).is_err(), "{path}");
        }
        for path in ["/**", "/", "/a/x*"] {
            assert!(check(List::Hide, path).is_err(), "{path}");
        }
        assert!(check(List::Execute, "/**").is_err());
    }
}
