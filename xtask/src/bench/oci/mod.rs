//! The OCI side: donjon, crun and runc as root with the same bundle, the same commands, the same state directory in
//! RAM, in one run.
//!
//! crun refuses the hybrid layout of cgroups. So the rounds with all three run where the v2 hierarchy is alone, and, on
//! a machine with the hybrid layout, where it is taken away, which leaves v1; runc and donjon are measured on the
//! hybrid layout as well.

mod bundle;
mod memory;
pub mod report;
pub mod rounds;

use std::fs;
use std::path::{Path, PathBuf};

use super::Samples;
use crate::machine::output;
use crate::place::Place;

/// One OCI runtime: its name in the tables, and its program with the global options.
#[derive(Debug, Clone)]
pub struct Runtime {
    /// As it appears in the tables; a part of the ids of its containers too.
    pub name: &'static str,
    program: String,
    state: String,
}

impl Runtime {
    /// A whole command line.
    pub fn words(&self, arguments: &[&str]) -> Vec<String> {
        let mut words = vec![self.program.clone(), "--root".into(), self.state.clone()];
        words.extend(arguments.iter().map(|w| w.to_string()));
        words
    }
}

/// The three runtimes, with state directories in `scratch`.
pub fn runtimes(rooms: &str, scratch: &str) -> Vec<Runtime> {
    let programs = [
        ("donjon", format!("{rooms}/donjon")),
        ("crun", "/usr/bin/crun".into()),
        ("runc", "/usr/sbin/runc".into()),
    ];
    programs
        .into_iter()
        .map(|(name, program)| Runtime { name, program, state: format!("{scratch}/state/{name}") })
        .collect()
}

/// The layouts of cgroups, each with the shell command that makes it of the machine's in a mount namespace.
const LAYOUTS: [(&str, &str); 3] =
    [("unified", "mount -t cgroup2 none /sys/fs/cgroup"), ("v1", V1), ("hybrid", "true")];

/// The v1 hierarchies of the machine beside each other in a directory of their own.
const V1: &str = r#"
    mount -t tmpfs -o mode=755 none /mnt
    for controllers in $(sed -n 's/.* - cgroup [^ ]* rw,//p' /proc/self/mountinfo); do
        name=${controllers##*name=}
        case $controllers in name=*) controllers=none,$controllers ;; esac
        mkdir "/mnt/$name"
        mount -t cgroup -o "$controllers" none "/mnt/$name"
    done
    mount --move /mnt /sys/fs/cgroup"#;

/// Measures everything of the OCI side.
pub fn measure(place: &Place, quick: bool) -> Result<Samples, String> {
    let scratch = prepare(place)?;
    let hybrid = Path::new("/sys/fs/cgroup/unified/cgroup.procs").exists();
    let mut samples = Samples::new();
    let mut measured = Ok(());
    for (layout, mounts) in LAYOUTS.iter().filter(|(layout, _)| *layout == "unified" || hybrid) {
        let scratch = scratch.display().to_string();
        let rooms = place.rooms.display().to_string();
        let mut task = ["bench-oci", layout, &rooms, &scratch].map(String::from).to_vec();
        task.extend(quick.then(|| "--quick".to_string()));
        let xtask = Path::new(&scratch).join("xtask");
        measured = super::collect(mounts, &[], &xtask, &task, &mut samples);
        if measured.is_err() {
            break;
        }
    }
    remove(&runtimes(&place.rooms.to_string_lossy(), &scratch.to_string_lossy()));
    let _ = fs::remove_dir_all(&scratch);
    measured.map(|()| samples)
}

/// A directory in RAM with the root file system, root's own, that all containers share.
fn prepare(place: &Place) -> Result<PathBuf, String> {
    let scratch = Path::new("/dev/shm").join(format!("donjon-bench-oci-{}", std::process::id()));
    let fail = |e: std::io::Error| format!("{}: {e}", scratch.display());
    fs::create_dir_all(scratch.join("state")).map_err(fail)?;
    let me = std::env::current_exe().map_err(fail)?;
    fs::copy(me, scratch.join("xtask")).map_err(fail)?;
    let (root, rootfs) = (place.rooms.join("root"), scratch.join("rootfs"));
    output(&["cp", "-a", "--no-preserve=ownership", &root.to_string_lossy(), &rootfs.to_string_lossy()])?;
    Ok(scratch)
}

/// Removes what a measurement that failed has left.
fn remove(runtimes: &[Runtime]) {
    for runtime in runtimes {
        for entry in fs::read_dir(&runtime.state).into_iter().flatten().flatten() {
            let id = entry.file_name().to_string_lossy().into_owned();
            let words = runtime.words(&["delete", "--force", &id]);
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let _ = output(&words);
        }
    }
}
