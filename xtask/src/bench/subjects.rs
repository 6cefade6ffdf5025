//! What is measured: command lines and the OCI bundle for crun and runc.

use std::fs;
use std::path::Path;

/// One thing whose start is timed.
#[derive(Debug, Clone)]
pub struct Subject {
    /// As it appears in the tables.
    pub name: String,
    /// The command line.
    pub words: Vec<String>,
}

impl Subject {
    fn new(name: &str, words: &[&str]) -> Self {
        Self { name: name.into(), words: words.iter().map(|w| w.to_string()).collect() }
    }

    /// The same with every `@` replaced: containers at the same time need names of their own.
    pub fn numbered(&self, n: usize) -> Vec<String> {
        self.words.iter().map(|w| w.replace('@', &n.to_string())).collect()
    }
}

/// The subjects, floor first.
pub fn all(rooms: &str, scratch: &str) -> Vec<Subject> {
    let root = format!("{scratch}/root");
    let image = format!("dir:{root}");
    let donjon = format!("{rooms}/donjon");
    let bwrap = [
        "/usr/bin/bwrap", "--unshare-all", "--ro-bind", &root, "/", "--proc", "/proc", "--dev", "/dev",
        "/bin/true",
    ];
    let crun = [
        "/usr/bin/crun",
        "--cgroup-manager=disabled",
        &format!("--root={scratch}/run/crun"),
        "run",
        "--bundle",
        scratch,
        "c@",
    ];
    let runc = ["/usr/sbin/runc", "--root", &format!("{scratch}/run/runc"), "run", "--bundle", scratch, "r@"];
    vec![
        Subject::new("floor", &[&format!("{rooms}/floor"), &root, "/bin/true"]),
        Subject::new("donjon run --rm dir:ROOT", &[&donjon, "run", "--rm", &image, "/bin/true"]),
        Subject::new("donjon run --rm host", &[&donjon, "run", "--rm", "host", "/bin/true"]),
        Subject::new("bwrap --unshare-all", &bwrap),
        Subject::new("crun run", &crun),
        Subject::new("runc run", &runc),
    ]
}

/// An OCI bundle as engines write them for a rootless container, without cgroups and without a seccomp profile:
/// crun and runc are asked for less than donjon does.
pub fn write_bundle(scratch: &Path, root: &Path, uid: u32, gid: u32) -> std::io::Result<()> {
    for dir in ["crun", "runc"] {
        fs::create_dir_all(scratch.join("run").join(dir))?;
    }
    fs::write(scratch.join("config.json"), config(root, uid, gid))
}

fn config(root: &Path, uid: u32, gid: u32) -> String {
    let root = root.display();
    let namespaces = ["pid", "network", "ipc", "uts", "mount", "user", "cgroup"]
        .map(|n| format!(r#"{{"type":"{n}"}}"#))
        .join(",");
    let masked =
        ["acpi", "kcore", "keys", "latency_stats", "timer_list", "timer_stats", "sched_debug", "scsi"]
            .map(|n| format!(r#""/proc/{n}""#))
            .join(",");
    let readonly = ["bus", "fs", "irq", "sys", "sysrq-trigger"].map(|n| format!(r#""/proc/{n}""#)).join(",");
    format!(
        r#"{{
  "ociVersion": "1.0.2",
  "process": {{
    "terminal": false, "user": {{"uid": 0, "gid": 0}}, "args": ["/bin/true"], "cwd": "/",
    "env": ["PATH=/usr/bin:/bin"], "capabilities": {{}}, "noNewPrivileges": true
  }},
  "root": {{"path": "{root}", "readonly": true}},
  "hostname": "bench",
  "mounts": [
    {{"destination": "/proc", "type": "proc", "source": "proc"}},
    {{"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=64k"]}},
    {{"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]}},
    {{"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=64m"]}},
    {{"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"]}}
  ],
  "linux": {{
    "uidMappings": [{{"containerID": 0, "hostID": {uid}, "size": 1}}],
    "gidMappings": [{{"containerID": 0, "hostID": {gid}, "size": 1}}],
    "namespaces": [{namespaces}],
    "maskedPaths": [{masked}],
    "readonlyPaths": [{readonly}]
  }}
}}
"#
    )
}
