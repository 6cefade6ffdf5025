//! What a person writes in place of an image.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// A reference to an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// `host`: the programs of this machine, none of its data.
    Host,
    /// `dir:PATH`: a directory that holds a root file system.
    Dir(PathBuf),
}

/// A word that is no reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("image {word:?}: {what}")]
pub struct ReferenceError {
    /// The word.
    pub word: String,
    /// What is wrong.
    pub what: &'static str,
}

impl ReferenceError {
    /// The next step.
    pub fn hint(&self) -> &'static str {
        "write host for the programs of this machine, or dir:PATH for a root file system in a directory"
    }
}

/// Transports of other engines that are known but not read here.
const ELSEWHERE: [&str; 7] =
    ["docker", "docker-archive", "docker-daemon", "oci", "oci-archive", "containers-storage", "sif"];

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(word: &str) -> Result<Self, ReferenceError> {
        let fail = |what| Err(ReferenceError { word: word.to_string(), what });
        match word.split_once(':') {
            None if word == "host" => Ok(Reference::Host),
            None if word.is_empty() => fail("is empty"),
            Some(("dir", "")) => fail("names no directory"),
            Some(("dir", path)) if path.contains('\0') => fail("holds a NUL byte"),
            Some(("dir", path)) => Ok(Reference::Dir(PathBuf::from(path))),
            Some((transport, _)) if ELSEWHERE.contains(&transport) => {
                fail("this version has no images but host and dir:PATH")
            }
            _ if word.starts_with(['/', '.']) => fail("a directory is written dir:PATH"),
            _ => fail("there is no such image; this version has host and dir:PATH"),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reference::Host => write!(f, "host"),
            Reference::Dir(path) => write!(f, "dir:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_and_directories_are_references() {
        assert_eq!("host".parse(), Ok(Reference::Host));
        assert_eq!("dir:/srv/root".parse(), Ok(Reference::Dir("/srv/root".into())));
        assert_eq!("dir:a:b".parse(), Ok(Reference::Dir("a:b".into())));
        for text in ["host", "dir:/srv/root", "dir:a:b"] {
            assert_eq!(text.parse::<Reference>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn everything_else_is_refused_with_those_known() {
        for word in
            ["", "dir:", "debian", "docker://debian", "/srv/root", "./root", "floppy:disk", "HOST", "dir"]
        {
            let error = word.parse::<Reference>().unwrap_err();
            assert!(error.hint().contains("dir:PATH") && error.hint().contains("host"), "{word}");
        }
    }
}
