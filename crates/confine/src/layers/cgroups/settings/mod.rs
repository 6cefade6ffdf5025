//! From checked resources to files of a group and the values written to them.

mod v1;
mod v2;

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::io::Errno;

use super::hierarchies::Version;
use super::resources::Resources;
use super::{read, write};
use crate::error::StartError;
use crate::plan::Layer;

/// What it means that the file of a setting is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// The limit can't be had.
    Fails,
    /// The kernel does not have what would be limited, or limits it elsewhere.
    Passes,
}

/// One value for one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Setting {
    /// The controller whose file it is.
    pub controller: String,
    /// The file.
    pub file: String,
    /// What is written; of several lines, each by itself.
    pub value: String,
    /// The field of the specification behind it.
    pub field: String,
    /// File and value of another kind of kernel, used when the first file is not there.
    pub otherwise: Option<(String, String)>,
    /// What it means when that is not there either.
    pub missing: Missing,
}

impl Setting {
    fn new(file: impl Into<String>, value: impl ToString, field: &str) -> Self {
        let file = file.into();
        let controller = file.split('.').next().unwrap_or_default().to_string();
        let field = format!("linux.resources.{field}");
        Self { controller, file, value: value.to_string(), field, otherwise: None, missing: Missing::Fails }
    }

    fn otherwise(mut self, file: &str, value: impl ToString) -> Self {
        self.otherwise = Some((file.to_string(), value.to_string()));
        self
    }

    fn may_be_missing(mut self) -> Self {
        self.missing = Missing::Passes;
        self
    }
}

/// What a group has before it is changed: version 2 counts differently from the specification, so a change of one
/// value may need another's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Current {
    /// `memory.max`.
    pub memory_max: Option<String>,
    /// `cpu.max`.
    pub cpu_max: Option<String>,
}

impl Current {
    /// Reads what an update may need.
    pub(super) fn read(dir: &OwnedFd) -> Self {
        let word = |name| read(dir, name).map(|text| text.trim().to_string());
        Self { memory_max: word("memory.max"), cpu_max: word("cpu.max") }
    }
}

/// The settings that resources come to, in an order that mostly fits.
pub(super) fn of(resources: &Resources, current: &Current) -> Vec<Setting> {
    match resources.version() {
        Version::V1 => v1::settings(resources.spec()),
        Version::V2 => v2::settings(resources.spec(), current),
    }
}

pub(super) use v2::{blkio_weight, cpu_weight, swap_alone};

/// What of a setting failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub setting: Setting,
    /// No group has the setting's controller.
    pub no_group: bool,
    pub errno: Errno,
}

impl Failure {
    pub(super) fn into_error(self, path: &Path) -> StartError {
        let Self { setting, no_group, errno } = self;
        if no_group {
            let what =
                format!("set a limit: no group with the controller {} can be made", setting.controller);
            return StartError::new(Layer::Cgroups, what, errno).field(&setting.field).hint(
                "leave the limit out, have the controller delegated, or let the caller accept best effort",
            );
        }
        let what = format!("write {} to {}/{}", setting.value, path.display(), setting.file);
        let error = StartError::new(Layer::Cgroups, what, errno).field(&setting.field);
        match errno {
            Errno::NOENT => error.hint(format!(
                "the kernel or the group above does not give the controller {} or this setting of it",
                setting.controller
            )),
            Errno::BUSY if setting.controller == "memory" => {
                error.hint("more memory is in use already: choose a higher limit, or end processes first")
            }
            Errno::ACCESS | Errno::PERM | Errno::ROFS => {
                error.hint("this group is not the caller's to change")
            }
            Errno::INVAL | Errno::RANGE => error.hint("the kernel does not take this value in this group"),
            Errno::NODEV | Errno::NXIO => error.hint("there is no such device, or it has no such limit"),
            _ => error,
        }
    }
}

/// Writes settings; `dir` gives the directory of a controller. Returns those that failed.
///
/// Some values bound each other (a limit of memory and one of memory and swap; quota and burst): the kernel refuses
/// (`EINVAL`) one that does not fit to what the other is still. Those are written once more after all others.
pub(super) fn apply<'a>(
    settings: &[Setting],
    dir: impl Fn(&str) -> Option<&'a OwnedFd>,
) -> Result<(), Vec<Failure>> {
    let mut failures = Vec::new();
    for setting in settings {
        let Some(dir) = dir(&setting.controller) else {
            if setting.missing == Missing::Fails {
                failures.push(Failure { setting: setting.clone(), no_group: true, errno: Errno::NOENT });
            }
            continue;
        };
        if let Err(errno) = one(dir, setting) {
            failures.push(Failure { setting: setting.clone(), no_group: false, errno });
        }
    }
    failures.retain_mut(|failure| {
        if failure.errno != Errno::INVAL {
            return true;
        }
        match dir(&failure.setting.controller).map(|dir| one(dir, &failure.setting)) {
            Some(Ok(())) => false,
            Some(Err(errno)) => {
                failure.errno = errno;
                true
            }
            None => true,
        }
    });
    if failures.is_empty() { Ok(()) } else { Err(failures) }
}

fn one(dir: &OwnedFd, setting: &Setting) -> Result<(), Errno> {
    let lines = |file: &str, value: &str| value.lines().try_for_each(|line| write(dir, file, line));
    let mut result = lines(&setting.file, &setting.value);
    if let (Err(Errno::NOENT), Some((file, value))) = (result, &setting.otherwise) {
        result = lines(file, value);
    }
    match result {
        Err(Errno::NOENT) if setting.missing == Missing::Passes => Ok(()),
        result => result,
    }
}
