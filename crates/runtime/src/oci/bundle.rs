//! A bundle: a directory with a `config.json` and mostly the root file system.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::capabilities;
use super::error::OciError;
use crate::process::read_all;
use crate::store::words;

/// Largest config.json, in bytes.
const LARGEST: usize = 16 * 1024 * 1024;

/// A bundle that was read.
#[derive(Debug)]
pub struct Bundle {
    /// Its directory, canonical.
    pub path: PathBuf,
    /// Its specification; paths of the host in it are absolute.
    pub spec: Spec,
    /// What of it is left out.
    pub notes: Vec<String>,
}

impl Bundle {
    /// Reads the bundle in a directory; `config` names another file than its `config.json`.
    pub fn read(dir: &Path, config: Option<&Path>) -> Result<Self, OciError> {
        let path = std::fs::canonicalize(dir).map_err(|e| OciError::Bundle {
            path: dir.to_path_buf(),
            what: words(Errno::from_io_error(&e).unwrap_or(Errno::IO)),
        })?;
        let file = config.map_or_else(|| path.join("config.json"), |config| path.join(config));
        let refuse = |what: &str| OciError::Bundle { path: file.clone(), what: what.to_string() };
        let read = capabilities::parse(&read_file(&file)?, "/process/capabilities");
        let (mut spec, notes): (Spec, _) = read.map_err(|what| refuse(&what))?;
        check_version(spec.version()).map_err(|what| refuse(&what))?;
        if spec.linux().is_none() {
            return Err(refuse("linux: is missing: donjon runs containers of Linux"));
        }
        let Some(mut root) = spec.root().clone() else {
            return Err(refuse("root: is missing: a container needs a root"));
        };
        // An empty path stands for the bundle itself nowhere; the specification demands a path.
        if root.path().as_os_str().is_empty() {
            return Err(refuse("root.path: is empty"));
        }
        root.set_path(path.join(root.path()));
        spec.set_root(Some(root));
        if let Some(mounts) = spec.mounts_mut() {
            for mount in mounts {
                let bind = mount.typ().as_deref() == Some("bind")
                    || mount.options().iter().flatten().any(|o| o == "bind" || o == "rbind");
                if let Some(source) = mount.source().clone().filter(|source| bind && source.is_relative()) {
                    mount.set_source(Some(path.join(source)));
                }
            }
        }
        Ok(Self { path, spec, notes })
    }
}

/// Reads a file of JSON. An error names the place in it.
pub fn read_json<T: serde::de::DeserializeOwned>(file: &Path) -> Result<T, OciError> {
    parse_json(&read_file(file)?).map_err(|what| OciError::Bundle { path: file.to_path_buf(), what })
}

/// Reads a file that an engine names: a regular one, opened without waiting.
pub fn read_file(file: &Path) -> Result<Vec<u8>, OciError> {
    let fail = |what: String| OciError::Bundle { path: file.to_path_buf(), what };
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let open = rustix::fs::openat(CWD, file, flags, Mode::empty()).map_err(|e| fail(words(e)))?;
    let stat = rustix::fs::fstat(&open).map_err(|e| fail(words(e)))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(fail("is no regular file".to_string()));
    }
    read_all(open.as_fd(), LARGEST).map_err(|e| fail(words(e)))
}

/// Reads JSON; an error begins with the path of the value.
pub fn parse_json<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        match path.as_str() {
            "." | "" => error.inner().to_string(),
            path => format!("{path}: {}", error.inner()),
        }
    })?;
    deserializer.end().map_err(|e| e.to_string())?;
    Ok(value)
}

/// Any version 1.x that this runtime can read: later minor versions only add.
fn check_version(version: &str) -> Result<(), String> {
    let mut numbers = version.split(['.', '-', '+']);
    let parts =
        [numbers.next(), numbers.next(), numbers.next()].map(|n| n.and_then(|n| n.parse::<u32>().ok()));
    match parts {
        [Some(1), Some(_), Some(_)] => Ok(()),
        [Some(_), Some(_), Some(_)] => {
            Err(format!("ociVersion: {version:?} is another major version than 1, which this runtime reads"))
        }
        _ => Err(format!("ociVersion: {version:?} is no version: three numbers with dots between")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_by_their_major_number() {
        for good in ["1.0.0", "1.0.2-dev", "1.3.0", "1.99.1+x"] {
            check_version(good).unwrap();
        }
        for bad in ["", "1", "1.2", "2.0.0", "0.9.9", "one.two.three", "v1.0.0"] {
            assert!(check_version(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_error_of_type_names_the_value() {
        for (json, path) in [
            (r#"{"ociVersion": 1}"#, "ociVersion"),
            (
                r#"{"ociVersion": "1.0.0", "process": {"user": {"uid": "x", "gid": 0}, "cwd": "/"}}"#,
                "process.user.uid",
            ),
            (
                r#"{"ociVersion": "1.0.0", "mounts": [{"destination": "/a"}, {"destination": 3}]}"#,
                "mounts[1].destination",
            ),
            (
                r#"{"ociVersion": "1.0.0", "linux": {"resources": {"pids": {"limit": "many"}}}}"#,
                "linux.resources.pids.limit",
            ),
        ] {
            let error = parse_json::<Spec>(json.as_bytes()).unwrap_err();
            assert!(error.starts_with(path), "{error}");
        }
    }
}
