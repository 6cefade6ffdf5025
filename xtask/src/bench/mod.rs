//! `cargo xtask bench`: donjon beside bubblewrap, crun, runc and the floor, in one run.
//!
//! This side prepares, starts [`rounds`] as the ordinary user (so that starting a subject costs the harness one
//! `posix_spawn` and nothing else, the same for all), asks for the warden's memory, and writes the tables. [`oci`]
//! does the same for the OCI commands, as root.

pub mod oci;
mod report;
pub mod rounds;
mod subjects;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::machine::{User, is_root, output, packages};
use crate::place::Place;

/// Every measurement: a name and its samples, in the order taken.
pub type Samples = BTreeMap<String, Vec<f64>>;

/// Measures, and writes `benches/README.md`; with `--quick` a few rounds only, printed.
pub fn bench(arguments: &[&str]) -> Result<bool, String> {
    let quick = match arguments {
        [] => false,
        ["--quick"] => true,
        other => return Err(format!("bench takes --quick alone, not {}", other.join(" "))),
    };
    if !is_root()? {
        return Err(
            "the bench needs root: it makes the user donjon-test and a mount namespace with the cgroup \
                    layout that crun wants; the subjects themselves run as that user"
                .into(),
        );
    }
    packages(&["busybox-static", "bubblewrap", "crun", "runc"])?;
    let user = User::find()?;
    let place = Place::find(&user)?;
    place.root()?;
    place.floor()?;
    place.released()?;
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let scratch = Path::new("/tmp").join(format!("donjon-bench-{}", std::process::id()));
    prepare_scratch(&scratch, &place, &user)?;
    let measured = measure(&place, &user, &scratch, quick);
    let warden = warden_memory(&place, &user, &scratch);
    if let Ok(run) = fs::read_link(scratch.join("run")) {
        let _ = fs::remove_dir_all(run);
    }
    let _ = fs::remove_dir_all(&scratch);
    let mut samples = measured?;
    samples.insert("warden private".into(), warden?);
    samples.extend(oci::measure(&place, quick)?);
    let binary = fs::metadata(place.rooms.join("donjon")).map_err(|e| format!("donjon: {e}"))?.len();
    let text = report::markdown(&samples, binary, &load);
    if quick {
        print!("{text}");
    } else {
        let path = place.repository.join("benches/README.md");
        fs::write(&path, text).map_err(|e| format!("{}: {e}", path.display()))?;
        println!("   wrote benches/README.md");
    }
    Ok(true)
}

/// A directory of the user's: the root file system that all subjects start from, as a user who unpacked it would own
/// it; the bundle; and the runtime directory, which is RAM as on every desktop and server with a login.
fn prepare_scratch(scratch: &Path, place: &Place, user: &User) -> Result<(), String> {
    let fail = |path: &Path| {
        let path = path.display().to_string();
        move |e: std::io::Error| format!("{path}: {e}")
    };
    let name = scratch.file_name().and_then(|n| n.to_str()).unwrap_or("donjon-bench");
    let run = Path::new("/dev/shm").join(name);
    fs::create_dir_all(scratch).map_err(fail(scratch))?;
    fs::create_dir_all(&run).map_err(fail(&run))?;
    std::os::unix::fs::symlink(&run, scratch.join("run")).map_err(fail(&run))?;
    let root = scratch.join("root");
    output(&["cp", "-a", &place.rooms.join("root").to_string_lossy(), &root.to_string_lossy()])?;
    subjects::write_bundle(scratch, &root, user.uid, user.gid).map_err(fail(scratch))?;
    let owner = format!("{}:{}", user.uid, user.gid);
    output(&["chown", "-R", "-h", &owner, &scratch.to_string_lossy()])?;
    output(&["chown", "-R", &owner, &run.to_string_lossy()])?;
    output(&["chmod", "700", &run.to_string_lossy()])?;
    Ok(())
}

/// The command prefix that becomes the ordinary user with an empty environment.
fn as_user(user: &User, scratch: &Path) -> Vec<String> {
    let mut words: Vec<String> = ["setpriv", "--clear-groups"].map(String::from).to_vec();
    words.push(format!("--reuid={}", user.uid));
    words.push(format!("--regid={}", user.gid));
    words.extend(["env", "-i", "PATH=/usr/bin:/bin:/usr/sbin:/sbin", "TERM=dumb"].map(String::from));
    words.push(format!("HOME={}", scratch.display()));
    let run = fs::read_link(scratch.join("run")).unwrap_or_else(|_| scratch.join("run"));
    words.push(format!("XDG_RUNTIME_DIR={}", run.display()));
    words
}

/// Runs the rounds in a private mount namespace with the v2 hierarchy alone at /sys/fs/cgroup: crun refuses the
/// hybrid layout. All subjects run there, so that none is better off.
fn measure(place: &Place, user: &User, scratch: &Path, quick: bool) -> Result<Samples, String> {
    let me = std::env::current_exe().map_err(|e| format!("where xtask is: {e}"))?;
    let copy = scratch.join("xtask");
    fs::copy(&me, &copy).map_err(|e| format!("{}: {e}", me.display()))?;
    let mut task = vec!["bench-rounds".to_string()];
    task.extend([place.rooms.display().to_string(), scratch.display().to_string()]);
    task.extend(quick.then(|| "--quick".to_string()));
    let mut samples = Samples::new();
    let mounts = "mount -t cgroup2 none /sys/fs/cgroup";
    collect(mounts, &as_user(user, scratch), &copy, &task, &mut samples)?;
    Ok(samples)
}

/// Runs a task of this program in a private mount namespace, after the shell commands of `mounts`, and takes its
/// samples.
fn collect(
    mounts: &str,
    prefix: &[String],
    program: &Path,
    task: &[String],
    samples: &mut Samples,
) -> Result<(), String> {
    let out = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-euc", &format!("{mounts}; exec \"$@\""), "sh"])
        .args(prefix)
        .arg(program)
        .args(task)
        .current_dir("/")
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|e| format!("unshare: {e}"))?;
    if !out.status.success() {
        return Err(format!("{} ended with {}", task[0], out.status));
    }
    for line in String::from_utf8_lossy(&out.stdout).lines() {
        if let Some((name, value)) = line.split_once('\t') {
            let value = value.parse().map_err(|_| format!("not a number: {line}"))?;
            samples.entry(name.to_string()).or_default().push(value);
        }
    }
    Ok(())
}

/// Private memory, in KiB, of the warden of an idle detached container and of its guard together: asked by root, since
/// neither can be looked into by anybody else.
fn warden_memory(place: &Place, user: &User, scratch: &Path) -> Result<Vec<f64>, String> {
    let donjon = place.rooms.join("donjon").display().to_string();
    let image = format!("dir:{}/root", scratch.display());
    let mut start = as_user(user, scratch);
    start.extend([&donjon, "run", "-d", "--name", "idle", &image, "sleep", "600"].map(String::from));
    let words: Vec<&str> = start.iter().map(String::as_str).collect();
    output(&words)?;
    std::thread::sleep(std::time::Duration::from_secs(1));
    let mut memory = Vec::new();
    for entry in fs::read_dir("/proc").map_err(|e| format!("/proc: {e}"))?.flatten() {
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        let ours = String::from_utf8_lossy(&environment).contains(&*scratch.to_string_lossy());
        let image = fs::read_link(entry.path().join("exe")).unwrap_or_default();
        if ours && image.ends_with("donjon") {
            let rollup = fs::read_to_string(entry.path().join("smaps_rollup")).unwrap_or_default();
            let private = rollup.lines().filter(|l| l.starts_with("Private_"));
            memory.push(private.filter_map(|l| l.split_whitespace().nth(1)?.parse::<f64>().ok()).sum());
        }
    }
    let mut end = as_user(user, scratch);
    end.extend([&donjon, "rm", "--force", "idle"].map(String::from));
    let words: Vec<&str> = end.iter().map(String::as_str).collect();
    output(&words)?;
    match memory.len() {
        2 => Ok(vec![memory.iter().sum()]),
        n => Err(format!("a warden and its guard were expected, not {n} processes")),
    }
}
