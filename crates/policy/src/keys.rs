//! Every key of the language: what it takes, what it means, and which mechanisms hold it. The JSON schema, the suggestion
//! for a misspelt word, `donjon policy show` and the tests of docs/policy.md are made from this one list, and a test compares
//! it with the model.

/// What a key takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// Text.
    Word,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// true or false.
    Flag,
    /// A whole number, at least this.
    Integer(i64),
    /// A number, at least this.
    Number(f64),
    /// A list of texts.
    Words,
    /// A table of texts by name.
    WordsByName,
    /// A table of whole numbers by name.
    IntegersByName,
    /// Nothing that may be in it means anything yet.
    Reserved,
}

/// One key.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Its path: `filesystem.read`; `mounts[].target` in a list of tables.
    pub path: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// What it means, in one line.
    pub about: &'static str,
    /// The layers that hold it, as docs/layers names them; none for what is no boundary.
    pub held_by: &'static [&'static str],
}

const fn key(path: &'static str, kind: Kind, held_by: &'static [&'static str], about: &'static str) -> Key {
    Key { path, kind, about, held_by }
}

use Kind::{Flag, Integer, IntegersByName, Number, OneOf, Word, Words, WordsByName};

/// All keys, in the order in which a file is best written.
pub const KEYS: &[Key] = &[
    key("extend", Word, &[], "what this file lies on: a preset, or a file (a word with / or .toml)"),
    key("include", Words, &[], "pieces of this file, in files of their own"),
    key("extend-only", OneOf(&["narrow"]), &[], "what lies on top of this file may only narrow"),
    key("incomplete", Flag, &[], "learnt, and read by nobody yet: refused without --incomplete"),
    key(
        "best-effort",
        Words,
        &[],
        "layers that may be left out where they can't be set up: cgroups, landlock",
    ),
    key("process.user", Word, &["identity"], "who the program is inside: NAME|UID[:GROUP|GID]"),
    key("process.groups", Words, &["identity"], "supplementary groups inside"),
    key("process.workdir", Word, &[], "the working directory"),
    key("process.env", WordsByName, &[], "variables of the environment"),
    key("process.entrypoint", Words, &[], "what the command's words are given to"),
    key("process.hostname", Word, &["namespaces"], "the host name inside"),
    key("process.umask", Word, &[], "octal, as a string: \"022\""),
    key("process.terminal", Flag, &["devices"], "a terminal of the container's own"),
    key("process.init", Flag, &[], "a small init as pid 1"),
    key("process.stop-signal", Word, &[], "what donjon stop sends first"),
    key("process.stop-timeout", Integer(0), &[], "seconds between that signal and SIGKILL"),
    key("process.timeout", Integer(0), &[], "seconds after which the container is stopped; 0: never"),
    key("filesystem.read", Words, &["landlock"], "all that may be read and listed"),
    key("filesystem.write", Words, &["landlock"], "all that may be written, made, removed and moved"),
    key("filesystem.execute", Words, &["landlock"], "all that may be executed"),
    key("filesystem.hide", Words, &["mounts"], "what is hidden behind a mask"),
    key("filesystem.unmask", Words, &[], "paths that are taken off the list of what is hidden or read-only"),
    key("filesystem.read-only", Flag, &["rootfs", "landlock"], "nothing of the root can be written"),
    key("filesystem.read-only-paths", Words, &["mounts"], "what can't be written below a writable root"),
    key("filesystem.proc-pid-only", Flag, &["mounts"], "/proc holds processes and nothing of the machine"),
    key("filesystem.ram", Word, &["rootfs"], "the limit of everything that is written to the root"),
    key("filesystem.shm-size", Word, &["mounts"], "a limit of its own for /dev/shm"),
    key("filesystem.landlock", Flag, &["landlock"], "Landlock behind the mounts"),
    key("filesystem.allow-mount", Words, &[], "host paths that may be mounted although they open the house"),
    key("mounts[].type", OneOf(&["bind", "tmpfs"]), &["mounts"], "something of the host's, or RAM"),
    key("mounts[].source", Word, &["mounts"], "the path on the host (bind)"),
    key("mounts[].target", Word, &["mounts"], "the path in the container"),
    key("mounts[].read-only", Flag, &["mounts"], "nothing below can be written"),
    key(
        "mounts[].exec",
        Flag,
        &["mounts"],
        "programs there may be executed; default: of a bind yes, of RAM no",
    ),
    key("mounts[].size", Word, &["mounts"], "the limit of a tmpfs"),
    key("mounts[].mode", Word, &["mounts"], "the mode of a tmpfs, octal"),
    key("devices[].path", Word, &["devices", "landlock"], "a character device of the host, in /dev"),
    key("syscalls.base", Words, &["seccomp"], "sets and names that exist"),
    key("syscalls.allow", Words, &["seccomp"], "sets and names on top of the base"),
    key("syscalls.deny", Words, &["seccomp"], "sets and names that are refused although allowed otherwise"),
    key("syscalls.profile", Word, &["seccomp"], "a profile in the format of other engines, instead"),
    key("sockets.families", Words, &["seccomp"], "socket families"),
    key("sockets.allow", Words, &["seccomp"], "families on top of these"),
    key(
        "capabilities.root",
        Words,
        &["capabilities", "seccomp"],
        "what a program that starts as root inside has",
    ),
    key("capabilities.add", Words, &["capabilities", "seccomp"], "capabilities that are added"),
    key(
        "capabilities.drop",
        Words,
        &["capabilities", "seccomp"],
        "capabilities that are dropped; ALL: every one of root's",
    ),
    key("network.egress", Words, &[], "where connections may go: DESTINATION:PORTS[/tcp|udp]"),
    key("network.publish", Words, &[], "what is offered outside: [ADDRESS:]PORT:PORT[/tcp|udp]"),
    key("resources.pids", Integer(-1), &["cgroups", "limits"], "processes and threads; -1: no limit"),
    key("resources.memory", Word, &["cgroups"], "memory"),
    key("resources.memory-swap", Word, &["cgroups"], "memory and swap together; \"-1\": no limit of swap"),
    key("resources.cpus", Number(0.01), &["cgroups"], "processors' worth of time"),
    key("resources.ulimits", WordsByName, &["limits"], "NAME = \"SOFT[:HARD]\""),
    key(
        "integrity.exec",
        OneOf(&["off", "measure", "enforce"]),
        &["integrity", "mounts", "landlock", "seccomp"],
        "which bytes may become code: enforce: those of the root alone",
    ),
    key("lsm.apparmor", Word, &["apparmor"], "the AppArmor profile that the program runs under"),
    key("lsm.selinux", Word, &["selinux"], "the SELinux context that the program runs in"),
    key(
        "namespaces.user",
        OneOf(&["auto", "range", "host"]),
        &["namespaces", "identity"],
        "how ids inside relate to ids outside",
    ),
    key("namespaces.network", OneOf(&["none"]), &["namespaces"], "loopback alone, so far"),
    key("namespaces.nested", Flag, &["seccomp", "limits"], "user namespaces may be made inside"),
    key("namespaces.time-offsets", IntegersByName, &["namespaces"], "seconds by clock: monotonic, boottime"),
    key("sysctls", WordsByName, &["limits"], "settings of the container's own namespaces"),
    key("secrets", Kind::Reserved, &[], "reserved"),
];

/// The words that a policy may hold, each once, for the suggestion when one is misspelt.
pub(crate) fn words() -> impl Iterator<Item = &'static str> {
    KEYS.iter().flat_map(|key| key.path.split('.')).map(|word| word.trim_end_matches("[]"))
}
