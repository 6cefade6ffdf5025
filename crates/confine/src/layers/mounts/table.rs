//! The options of an engine's mounts, as the OCI runtime specification lists them ("POSIX-platform Mounts").
//!
//! An option is done as written. Of two that contradict each other the later one counts, as engines expect that put a
//! person's options behind their own defaults. (R28 forbids that for donjon's own command line, where the person is the
//! only author.) What is no option of the list is a parameter of the file system, and the kernel judges it.

use std::ffi::CString;

use donjon_sys::mount::attr;
use oci_spec::runtime::Mount;

use crate::error::SpecError;
use crate::plan::Layer;

/// `linux/mount.h`
pub(crate) const MS_UNBINDABLE: u64 = 1 << 17;
pub(crate) const MS_PRIVATE: u64 = 1 << 18;
pub(crate) const MS_SLAVE: u64 = 1 << 19;
pub(crate) const MS_SHARED: u64 = 1 << 20;

/// Every option that means something, for `features`; any other is a parameter of a file system.
pub const OPTIONS: &[&str] = &[
    "async", "atime", "bind", "defaults", "dev", "diratime", "dirsync", "exec", "idmap", "iversion",
    "lazytime", "loud", "mand", "noatime", "nodev", "nodiratime", "noexec", "noiversion", "nolazytime",
    "nomand", "norelatime", "nostrictatime", "nosuid", "nosymfollow", "private", "ratime", "rbind", "rdev",
    "rdiratime", "relatime", "remount", "rexec", "ridmap", "rnoatime", "rnodev", "rnodiratime", "rnoexec",
    "rnorelatime", "rnostrictatime", "rnosuid", "rnosymfollow", "ro", "rprivate", "rrelatime", "rro", "rrw",
    "rshared", "rslave", "rstrictatime", "rsuid", "rsymfollow", "runbindable", "rw", "shared", "silent",
    "slave", "strictatime", "suid", "symfollow", "sync", "tmpcopyup", "unbindable",
];

/// What becomes of the attributes of a mount.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Change {
    /// Bits of [`attr`] to set.
    pub set: u64,
    /// Bits of [`attr`] to clear.
    pub clear: u64,
}

impl Change {
    fn set(&mut self, bits: u64) {
        self.set |= bits;
        self.clear &= !bits;
    }

    fn clear(&mut self, bits: u64) {
        self.clear |= bits;
        self.set &= !bits;
    }

    /// The mode of access times is one field of three bits: all are cleared before one is set.
    fn atime(&mut self, mode: u64) {
        self.set = self.set & !attr::ATIME | mode;
        self.clear |= attr::ATIME;
    }

    /// Whether anything changes.
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }
}

/// How a mount shares what is mounted below it later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Propagation {
    /// One of `MS_SHARED`, `MS_SLAVE`, `MS_PRIVATE`, `MS_UNBINDABLE`.
    pub flag: u64,
    /// For the mounts below, too.
    pub recursive: bool,
}

/// The word of an option, or of `linux.rootfsPropagation`.
pub(crate) fn propagation(word: &str) -> Option<Propagation> {
    let flag = |name: &str| {
        Some(match name {
            "private" => MS_PRIVATE,
            "slave" => MS_SLAVE,
            "shared" => MS_SHARED,
            "unbindable" => MS_UNBINDABLE,
            _ => return None,
        })
    };
    match flag(word) {
        Some(flag) => Some(Propagation { flag, recursive: false }),
        None => word.strip_prefix('r').and_then(flag).map(|flag| Propagation { flag, recursive: true }),
    }
}

/// The options of one mount, read.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// For this mount alone.
    pub change: Change,
    /// For this mount and those below it.
    pub below: Change,
    pub bind: bool,
    pub recursive: bool,
    pub remount: bool,
    /// In the order in which they are applied.
    pub propagation: Vec<Propagation>,
    /// Owners are shown through an id map; true: also of the mounts below.
    pub idmap: Option<bool>,
    pub copy_up: bool,
    /// Flags of the whole file system, as `fsconfig` takes them.
    pub superblock: Vec<&'static str>,
    /// Parameters of the file system.
    pub params: Vec<(CString, Option<CString>)>,
}

/// The attribute behind the name of an option without its `no`, and whether the bare name sets it.
fn attribute(name: &str) -> Option<(u64, bool)> {
    Some(match name {
        "ro" => (attr::RDONLY, true),
        "rw" => (attr::RDONLY, false),
        "nosuid" => (attr::NOSUID, true),
        "suid" => (attr::NOSUID, false),
        "nodev" => (attr::NODEV, true),
        "dev" => (attr::NODEV, false),
        "noexec" => (attr::NOEXEC, true),
        "exec" => (attr::NOEXEC, false),
        "nodiratime" => (attr::NODIRATIME, true),
        "diratime" => (attr::NODIRATIME, false),
        "nosymfollow" => (attr::NOSYMFOLLOW, true),
        "symfollow" => (attr::NOSYMFOLLOW, false),
        _ => return None,
    })
}

/// The mode of access times behind the name of an option: what is not asked for any more leaves the kernel's default.
fn atime(name: &str) -> Option<u64> {
    Some(match name {
        "noatime" => attr::NOATIME,
        "strictatime" => attr::STRICTATIME,
        "atime" | "relatime" | "norelatime" | "nostrictatime" => 0,
        _ => return None,
    })
}

impl Written {
    /// Reads the options of `mount`. `field` is the mount's.
    pub fn read(field: &str, mount: &Mount) -> Result<Self, SpecError> {
        let mut written = Self::default();
        for (i, option) in mount.options().iter().flatten().enumerate() {
            written.option(&format!("{field}.options[{i}]"), option)?;
        }
        Ok(written)
    }

    fn option(&mut self, field: &str, option: &str) -> Result<(), SpecError> {
        match option {
            "" | "defaults" | "silent" | "loud" => {}
            "bind" => self.bind = true,
            "rbind" => (self.bind, self.recursive) = (true, true),
            "remount" => self.remount = true,
            "tmpcopyup" => self.copy_up = true,
            "idmap" => self.idmap = Some(self.idmap.unwrap_or(false)),
            "ridmap" => self.idmap = Some(true),
            "sync" => self.superblock("sync", "async"),
            "async" => self.superblock("async", "sync"),
            "dirsync" => self.superblock("dirsync", ""),
            "mand" => self.superblock("mand", "nomand"),
            "nomand" => self.superblock("nomand", "mand"),
            "lazytime" => self.superblock("lazytime", "nolazytime"),
            "nolazytime" => self.superblock("nolazytime", "lazytime"),
            "iversion" => self.superblock("iversion", "noiversion"),
            "noiversion" => self.superblock("noiversion", "iversion"),
            other => match (propagation(other), attribute(other), atime(other)) {
                (Some(propagation), ..) => self.propagation.push(propagation),
                (_, Some((bits, true)), _) => self.change.set(bits),
                (_, Some((bits, false)), _) => self.change.clear(bits),
                (_, _, Some(mode)) => self.change.atime(mode),
                _ => return self.recursive_or_parameter(field, other),
            },
        }
        Ok(())
    }

    fn recursive_or_parameter(&mut self, field: &str, option: &str) -> Result<(), SpecError> {
        let below = option.strip_prefix('r').unwrap_or_default();
        match (attribute(below), atime(below)) {
            (Some((bits, true)), _) => self.below.set(bits),
            (Some((bits, false)), _) => self.below.clear(bits),
            (_, Some(mode)) => self.below.atime(mode),
            _ => {
                for part in parts(option).filter(|part| !part.is_empty()) {
                    let (key, value) = match part.split_once('=') {
                        Some((key, value)) => (key, Some(value)),
                        None => (part, None),
                    };
                    // The kernel's own limit for a parameter that is set by itself.
                    if key.is_empty() || value.is_some_and(|v| v.len() > 255) || key.len() > 255 {
                        let what = format!("{part:?} is no parameter, or longer than 255 bytes");
                        return Err(SpecError::new(Layer::Mounts, field, what));
                    }
                    let text = |s: &str| SpecError::c_string(Layer::Mounts, field, s);
                    self.params.push((text(key)?, value.map(|v| text(unquoted(v))).transpose()?));
                }
            }
        }
        Ok(())
    }

    fn superblock(&mut self, flag: &'static str, opposite: &str) {
        self.superblock.retain(|f| *f != opposite && *f != flag);
        self.superblock.push(flag);
    }

    /// Whether a parameter of this name was given.
    pub fn has(&self, name: &str) -> bool {
        self.params.iter().any(|(key, _)| key.as_bytes() == name.as_bytes())
    }
}

/// One option may hold several parameters, as one string of `mount(2)` does; a comma between double quotes, as in a
/// label, separates nothing.
fn parts(option: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    option.split(move |c| {
        quoted ^= c == '"';
        c == ',' && !quoted
    })
}

/// A value without the quotes that held it together.
fn unquoted(value: &str) -> &str {
    value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(options: &[&str]) -> Written {
        let mount = serde_json::from_value(serde_json::json!({
            "destination": "/a", "type": "tmpfs", "source": "tmpfs", "options": options,
        }));
        Written::read("mounts[0]", &mount.unwrap_or_default()).unwrap_or_default()
    }

    #[test]
    fn every_option_of_the_specification_means_something_of_its_own() {
        let set = |bits| Change { set: bits, clear: 0 };
        let clear = |bits| Change { set: 0, clear: bits };
        let mode = |bits| Change { set: bits, clear: attr::ATIME };
        for (option, change) in [
            ("ro", set(attr::RDONLY)),
            ("rw", clear(attr::RDONLY)),
            ("nosuid", set(attr::NOSUID)),
            ("suid", clear(attr::NOSUID)),
            ("nodev", set(attr::NODEV)),
            ("dev", clear(attr::NODEV)),
            ("noexec", set(attr::NOEXEC)),
            ("exec", clear(attr::NOEXEC)),
            ("noatime", mode(attr::NOATIME)),
            ("atime", mode(0)),
            ("relatime", mode(0)),
            ("norelatime", mode(0)),
            ("nostrictatime", mode(0)),
            ("strictatime", mode(attr::STRICTATIME)),
            ("nodiratime", set(attr::NODIRATIME)),
            ("diratime", clear(attr::NODIRATIME)),
            ("nosymfollow", set(attr::NOSYMFOLLOW)),
            ("symfollow", clear(attr::NOSYMFOLLOW)),
        ] {
            let alone = read(&[option]);
            assert_eq!((alone.change, alone.below), (change, Change::default()), "{option}");
            assert!(alone.params.is_empty(), "{option}");
            let recursive = read(&[&format!("r{option}")]);
            assert_eq!((recursive.change, recursive.below), (Change::default(), change), "r{option}");
        }
        for (option, flag) in [
            ("private", MS_PRIVATE),
            ("slave", MS_SLAVE),
            ("shared", MS_SHARED),
            ("unbindable", MS_UNBINDABLE),
        ] {
            assert_eq!(read(&[option]).propagation, [Propagation { flag, recursive: false }]);
            let recursive = read(&[&format!("r{option}")]).propagation;
            assert_eq!(recursive, [Propagation { flag, recursive: true }]);
        }
        for flag in ["sync", "async", "dirsync", "mand", "nomand", "lazytime", "nolazytime", "iversion"] {
            assert_eq!(read(&[flag]).superblock, [flag]);
        }
        assert_eq!((read(&["idmap"]).idmap, read(&["ridmap", "idmap"]).idmap), (Some(false), Some(true)));
        assert!(read(&["tmpcopyup"]).copy_up && read(&["remount"]).remount && read(&["bind"]).bind);
        assert!(read(&["rbind"]).recursive);
    }

    #[test]
    fn every_option_that_features_names_is_read_as_one() {
        assert!(OPTIONS.is_sorted());
        for option in OPTIONS.iter().copied() {
            assert!(read(&[option]).params.is_empty(), "{option}");
        }
    }

    #[test]
    fn of_two_options_that_contradict_the_later_counts() {
        assert_eq!(read(&["ro", "rw"]).change, Change { set: 0, clear: attr::RDONLY });
        assert_eq!(read(&["rw", "ro"]).change, Change { set: attr::RDONLY, clear: 0 });
        assert_eq!(read(&["noatime", "strictatime"]).change.set, attr::STRICTATIME);
        assert_eq!(read(&["sync", "async"]).superblock, ["async"]);
    }

    #[test]
    fn what_is_no_option_is_a_parameter_and_quotes_hold_a_label_together() {
        let params = |options: &[&str]| -> Vec<(String, Option<String>)> {
            let text = |c: &CString| c.to_string_lossy().into_owned();
            read(options).params.iter().map(|(k, v)| (text(k), v.as_ref().map(text))).collect()
        };
        let given = params(&["size=1m,mode=0700", "newinstance", "context=\"u:r:t:s0:c1,c2\""]);
        let pair = |k: &str, v: &str| (k.to_string(), Some(v.to_string()));
        assert_eq!(
            given,
            [
                pair("size", "1m"),
                pair("mode", "0700"),
                ("newinstance".to_string(), None),
                pair("context", "u:r:t:s0:c1,c2"),
            ]
        );
    }
}
