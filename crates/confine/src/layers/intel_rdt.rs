//! Intel RDT: how much of a processor's cache and memory bandwidth the program gets (`linux.intelRdt`).
//!
//! **Stops**: one program that throws the others' data out of a shared cache, as far as the class of service says so.
//!
//! **Can't stop**: anything without the hardware: a machine whose resctrl is not mounted refuses the start (R31). A class
//! that donjon would have to name itself is refused as well: nobody else would know it. One that was made for a container
//! is removed when the container is deleted, unless others have joined it.
//!
//! resctrl: Linux 4.10. See `Documentation/filesystems/resctrl.rst`.

use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;
use rustix::io::Errno;
use rustix::process::Pid;

use crate::error::SpecError;
use crate::outside::Work;
use crate::plan::{Draft, Layer, Op};

/// Where resctrl is mounted.
const TOP: &str = "/sys/fs/resctrl";
/// `RDTGROUP_SUPER_MAGIC` of `linux/magic.h`.
const MAGIC: i64 = 0x0765_5821;

/// A class of service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Class {
    /// Its name: a directory of resctrl.
    pub name: String,
    /// Its lines of `schemata`; none: the class exists already, and is joined as it is.
    pub schemata: Vec<String>,
}

/// The step in which the parent puts the process into its class.
pub(crate) fn plan(spec: &Spec, draft: &mut Draft) -> Result<(), SpecError> {
    let Some(rdt) = spec.linux().as_ref().and_then(|l| l.intel_rdt().as_ref()) else { return Ok(()) };
    let refuse =
        |field: &str, what: &str| SpecError::new(Layer::Cgroups, format!("linux.intelRdt.{field}"), what);
    for (field, asked) in [
        ("enableCMT", rdt.enable_cmt()),
        ("enableMBM", rdt.enable_mbm()),
        ("enableMonitoring", rdt.enable_monitoring()),
    ] {
        if asked.unwrap_or(false) {
            return Err(refuse(field, "donjon makes no monitoring groups"));
        }
    }
    let name = rdt.clos_id().as_deref().unwrap_or_default();
    if name.is_empty() {
        return Err(refuse("closID", "is missing: name the class of service, donjon makes up none"));
    }
    if !is_name(name) {
        return Err(refuse("closID", "is no name of a class of service"));
    }
    let mut schemata = Vec::new();
    for (field, line) in [("l3CacheSchema", rdt.l3_cache_schema()), ("memBwSchema", rdt.mem_bw_schema())] {
        if let Some(text) = line.as_deref().filter(|t| !t.is_empty()) {
            let lines: Vec<&str> = text.lines().filter(|l| !l.is_empty()).collect();
            if lines.iter().any(|l| !l.contains(':')) {
                return Err(refuse(field, "is no line RESOURCE:ID=VALUE;ID=VALUE"));
            }
            schemata.extend(lines.into_iter().map(str::to_string));
        }
    }
    for line in rdt.schemata().iter().flatten() {
        if line.contains('\n') || !line.contains(':') {
            return Err(refuse("schemata", "holds what is no line RESOURCE:ID=VALUE;ID=VALUE"));
        }
        schemata.push(line.clone());
    }
    let class = Class { name: name.to_string(), schemata };
    draft.add(Layer::Cgroups, "linux.intelRdt", Op::ByParent(Work::IntelRdt(class)));
    Ok(())
}

/// Makes the class if it is to have lines of its own, and puts process `pid` into it. One that exists must have those
/// lines already: others use it. Returns whether it was made.
pub(crate) fn join(class: &Class, pid: Pid) -> Result<bool, Errno> {
    let errno = |e: std::io::Error| Errno::from_io_error(&e).unwrap_or(Errno::IO);
    if rustix::fs::statfs(TOP)?.f_type != MAGIC {
        return Err(Errno::NODEV);
    }
    let dir = PathBuf::from(TOP).join(&class.name);
    let made = !class.schemata.is_empty()
        && match std::fs::create_dir(&dir) {
            Ok(()) => true,
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => false,
            Err(e) => return Err(errno(e)),
        };
    let result = enter(class, &dir, made, pid).map_err(errno);
    if result.is_err() && made {
        let _ = std::fs::remove_dir(&dir);
    }
    result.map(|()| made)
}

/// Removes a class that [`join`] made. One that has tasks is in use by others, and stays; one that is gone is no error.
pub fn remove(name: &str) -> Result<(), Errno> {
    match rustix::fs::statfs(TOP) {
        Ok(stat) if stat.f_type == MAGIC => remove_below(Path::new(TOP), name),
        // With resctrl unmounted its classes are gone.
        _ => Ok(()),
    }
}

fn remove_below(top: &Path, name: &str) -> Result<(), Errno> {
    let dir = top.join(name);
    let tasks = std::fs::read_to_string(dir.join("tasks")).unwrap_or_default();
    if !is_name(name) || !tasks.trim().is_empty() {
        return Ok(());
    }
    match rustix::fs::rmdir(&dir) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Whether a class can have this name.
fn is_name(name: &str) -> bool {
    !matches!(name, "" | "." | ".." | "info" | "mon_groups" | "mon_data") && !name.contains(['/', '\n', '\0'])
}

fn enter(class: &Class, dir: &Path, made: bool, pid: Pid) -> std::io::Result<()> {
    let file = dir.join("schemata");
    if made {
        std::fs::write(file, class.schemata.iter().map(|l| format!("{l}\n")).collect::<String>())?;
    } else {
        let now = std::fs::read_to_string(file)?;
        let has = |line: &String| now.lines().any(|l| l.trim() == line.trim());
        if !class.schemata.iter().all(has) {
            return Err(std::io::Error::from(Errno::EXIST));
        }
    }
    std::fs::write(dir.join("tasks"), pid.as_raw_nonzero().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_that_others_have_joined_stays_and_nothing_else_is_taken_for_one() {
        let top = std::env::temp_dir().join(format!("donjon-rdt-{}", std::process::id()));
        for name in ["empty", "used", "outside"] {
            std::fs::create_dir_all(top.join(name)).unwrap();
        }
        std::fs::write(top.join("used/tasks"), "1\n").unwrap();
        for name in ["empty", "used", "missing", "../outside", "", ".", "info"] {
            assert_eq!(remove_below(&top, name), Ok(()), "{name}");
        }
        assert_eq!(remove_below(&top.join("used"), "../outside"), Ok(()));
        let left = |name: &str| top.join(name).exists();
        assert_eq!((left("empty"), left("used"), left("outside")), (false, true, true));
        std::fs::remove_dir_all(&top).unwrap();
    }
}
