//! The arguments of the commands that engines call: those of runc, crun and youki.
//!
//! Four names are two commands each: `run`, `exec`, `kill` and `ps` of the engine, and of the OCI runtime. `run` is the
//! runtime's when an option says so that only that one has (`--bundle`, `--console-socket`, ...), when a global option
//! of engines was given, or when there is one bare word, which is no image, and the current directory holds a
//! `config.json`. The others are told apart by whose container it is.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Arg, ArgAction, Command};
use donjon_policy::PolicyError;
use donjon_runtime::oci::create::Creation;

use super::definitions::{Given, flag, value, values};
use super::globals::Globals;
use super::{Invocation, Stop};
use crate::commands::Format;

/// A command of an OCI runtime.
#[derive(Debug)]
#[allow(missing_docs)] // each is the command of that name
pub enum Oci {
    Create(Creation),
    Run { creation: Creation, keep: bool },
    Start { id: String },
    State { id: String },
    Delete { ids: Vec<String>, force: bool, regex: bool },
    List { format: Format, quiet: bool },
    Pause { id: String },
    Resume { id: String },
    Update { id: String, update: Box<Update> },
    Events { id: String, stats: bool, interval: std::time::Duration },
    Spec { bundle: Option<PathBuf>, rootless: bool, file: Option<PathBuf> },
    Features,
    Checkpoint(&'static str),
}

/// What `update` changes: a file of the specification's `linux.resources`, and single values.
#[derive(Debug, Default)]
pub struct Update {
    /// `--resources`; `-` is standard input.
    pub resources: Option<String>,
    /// Single values: name of the option, value.
    pub values: Vec<(&'static str, String)>,
}

/// The single values of `update`.
const VALUES: [(&str, &str, &str); 15] = [
    ("memory", "BYTES", "Memory"),
    ("memory-reservation", "BYTES", "Memory that is kept when it gets scarce"),
    ("memory-swap", "BYTES", "Memory and swap together; -1: no limit"),
    ("kernel-memory", "BYTES", "Taken and not used: the kernel has no such limit any more"),
    ("kernel-memory-tcp", "BYTES", "Taken and not used"),
    ("cpu-period", "MICROSECONDS", "Period of the quota"),
    ("cpu-quota", "MICROSECONDS", "Processor time in each period"),
    ("cpu-burst", "MICROSECONDS", "Processor time that may be saved up"),
    ("cpu-share", "NUMBER", "Weight beside other groups"),
    ("cpu-idle", "0|1", "Run only when nobody else wants to"),
    ("cpu-rt-period", "MICROSECONDS", "Period of the realtime quota"),
    ("cpu-rt-runtime", "MICROSECONDS", "Realtime processor time in each period"),
    ("cpuset-cpus", "LIST", "Processors, for instance 0-2,7"),
    ("cpuset-mems", "LIST", "Memory nodes"),
    ("pids-limit", "NUMBER", "Processes and threads; -1: no limit"),
];
/// What `update` has besides.
const MORE_VALUES: [(&str, &str, &str); 3] = [
    ("blkio-weight", "NUMBER", "Weight of block input and output, 10 to 1000"),
    ("l3-cache-schema", "TEXT", "Intel RDT: schema of the L3 cache"),
    ("mem-bw-schema", "TEXT", "Intel RDT: schema of memory bandwidth"),
];

/// Options of `create` and of `run` that `donjon run IMAGE` does not have.
const CREATION: [(&str, Option<char>, &str, &str); 9] = [
    ("bundle", Some('b'), "DIR", "The bundle; default: the current directory"),
    ("config", None, "FILE", "Another file than the bundle's config.json"),
    ("console-socket", None, "SOCKET", "Hand the master side of the terminal to this socket"),
    ("pidfd-socket", None, "SOCKET", "Hand a pidfd of the first process to this socket"),
    ("pid-file", None, "FILE", "Write the pid of the first process to a file"),
    ("preserve-fds", None, "NUMBER", "Pass so many descriptors after standard error on"),
    ("no-pivot", None, "", "Move the root instead of pivot_root, for a root that is an initial ramfs"),
    ("no-new-keyring", None, "", "Keep the caller's session keyring"),
    ("no-subreaper", None, "", "Taken and not used: donjon is nobody's subreaper"),
];

fn option((name, short, placeholder, help): (&'static str, Option<char>, &'static str, &'static str)) -> Arg {
    match placeholder {
        "" => flag(name, short, help),
        placeholder => value(name, short, placeholder, help),
    }
}

fn id() -> Arg {
    Arg::new("id").value_name("ID").required(true).help("The container's id")
}

/// Whether `donjon run` with these words is the one of the OCI runtime.
pub fn run_is_meant(globals: &Globals, words: &[OsString]) -> bool {
    let words: Vec<&str> = words.iter().skip(1).map_while(|w| w.to_str()).collect();
    let before_image = words.iter().take_while(|w| w.starts_with('-'));
    let named = |word: &str| {
        let name = word.trim_start_matches('-').split('=').next().unwrap_or_default();
        word.starts_with("--") && (name == "keep" || CREATION.iter().any(|(known, ..)| *known == name))
            || word == "-b"
    };
    if globals.of_engine || before_image.clone().any(|w| named(w)) {
        return true;
    }
    // `run -d ID`: nothing else that this could be is in the way.
    let rest: Vec<&&str> = words.iter().filter(|w| !matches!(**w, "-d" | "--detach")).collect();
    match rest.as_slice() {
        [word] => {
            donjon_runtime::oci::store::is_id(word)
                && *word != &"host"
                && std::path::Path::new("config.json").exists()
        }
        _ => false,
    }
}

/// Whether this is a command of the OCI runtime alone.
pub fn is_command(name: &str) -> bool {
    const ALONE: [&str; 13] = [
        "create", "start", "state", "delete", "list", "pause", "resume", "update", "events", "spec",
        "features", "checkpoint", "restore",
    ];
    ALONE.contains(&name)
}

/// Adds the arguments of a command.
pub fn define(name: &str, command: Command) -> Command {
    match name {
        "create" | "run" => {
            let mut command = command.args(CREATION.map(option)).arg(id());
            if name == "run" {
                command = command
                    .arg(flag("detach", Some('d'), "Do not wait for the container's end"))
                    .arg(flag("keep", None, "Do not delete the container when it has ended"));
            }
            command
        }
        "delete" => command
            .arg(flag("force", Some('f'), "Also a running container: end it first"))
            .arg(flag("regex", Some('r'), "ID is a pattern: * and ? stand for other characters"))
            .arg(id().num_args(1..).action(ArgAction::Append)),
        "list" => command.arg(value("format", Some('f'), "FORMAT", "table or json")).arg(flag(
            "quiet",
            Some('q'),
            "Ids alone",
        )),
        "update" => command
            .args(VALUES.iter().chain(&MORE_VALUES).map(|(name, kind, help)| value(name, None, kind, help)))
            .arg(value("resources", Some('r'), "FILE", "linux.resources as JSON; - is standard input"))
            .arg(id()),
        "events" => super::events::beside(command)
            .arg(flag("stats", None, "Once: what the container uses"))
            .arg(value("interval", None, "DURATION", "Between two statistics, for instance 5s; default: 5s"))
            .arg(id()),
        "spec" => command
            .arg(value("bundle", Some('b'), "DIR", "Where to write it; default: the current directory"))
            .arg(value("config", Some('f'), "FILE", "Under another name than config.json"))
            .arg(flag("rootless", None, "For an ordinary user: the caller's id becomes root inside")),
        "features" => command,
        "checkpoint" | "restore" => command
            .arg(Arg::new("words").num_args(0..).trailing_var_arg(true).allow_hyphen_values(true).hide(true)),
        _ => command.arg(id()),
    }
}

/// Reads the words after the command's name; the first word is that name.
pub fn parse(name: &str, command: Command, words: Vec<OsString>) -> Result<Invocation, Stop> {
    let words = if name == "events" { super::events::without_verify(words) } else { words };
    let given = &mut Given(define(name, command).try_get_matches_from(words)?);
    let id = if name == "delete" { String::new() } else { given.one("id").unwrap_or_default() };
    Ok(Invocation::Oci(match name {
        "create" => {
            let mut creation = creation(given, id, true)?;
            creation.options.waits_for_start = true;
            Oci::Create(creation)
        }
        "run" => {
            let detached = given.has("detach");
            Oci::Run { creation: creation(given, id, detached)?, keep: given.has("keep") }
        }
        "start" => Oci::Start { id },
        "state" => Oci::State { id },
        "delete" => {
            Oci::Delete { ids: given.many("id"), force: given.has("force"), regex: given.has("regex") }
        }
        "list" => Oci::List { format: table_or_json(given)?, quiet: given.has("quiet") },
        "pause" => Oci::Pause { id },
        "resume" => Oci::Resume { id },
        "update" => {
            let mut update = Update { resources: given.one("resources"), values: Vec::new() };
            for (name, ..) in VALUES.iter().chain(&MORE_VALUES) {
                update.values.extend(given.one(name).map(|value| (*name, value)));
            }
            Oci::Update { id, update: Box::new(update) }
        }
        "events" => Oci::Events {
            id,
            stats: given.has("stats"),
            interval: given.read("interval", duration)?.unwrap_or(std::time::Duration::from_secs(5)),
        },
        "spec" => Oci::Spec {
            bundle: given.one("bundle").map(PathBuf::from),
            file: given.one("config").map(PathBuf::from),
            rootless: given.has("rootless"),
        },
        "features" => Oci::Features,
        "checkpoint" => Oci::Checkpoint("checkpoint"),
        _ => Oci::Checkpoint("restore"),
    }))
}

fn creation(given: &mut Given, id: String, detached: bool) -> Result<Creation, PolicyError> {
    let path = |given: &mut Given, name: &str| given.one(name).map(PathBuf::from);
    let mut creation = Creation {
        id,
        bundle: path(given, "bundle").unwrap_or_else(|| PathBuf::from(".")),
        config: path(given, "config"),
        console_socket: path(given, "console-socket"),
        pidfd_socket: path(given, "pidfd-socket"),
        pid_file: path(given, "pid-file"),
        detached,
        ..Creation::default()
    };
    creation.options.no_pivot = given.has("no-pivot");
    creation.options.no_new_keyring = given.has("no-new-keyring");
    creation.options.preserve_fds = preserve_fds(given)?;
    Ok(creation)
}

/// `--preserve-fds`: how many descriptors after standard error are passed on.
pub fn preserve_fds(given: &mut Given) -> Result<u32, PolicyError> {
    Ok(given
        .read("preserve-fds", |word| {
            word.parse::<u32>()
                .ok()
                .filter(|n| *n <= 1 << 16)
                .ok_or_else(|| format!("{word:?} is no number of descriptors"))
        })?
        .unwrap_or(0))
}

/// `--format table|json`, as other runtimes call it.
pub fn table_or_json(given: &mut Given) -> Result<Format, PolicyError> {
    match given.one("format").as_deref() {
        None | Some("table" | "text") => Ok(Format::Text),
        Some("json") => Ok(Format::Json),
        Some(other) => Err(PolicyError::new("--format", format!("{other:?} is neither table nor json"))),
    }
}

/// A number with ms, s, m or h behind it.
fn duration(word: &str) -> Result<std::time::Duration, String> {
    let number = word.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let wrong = || format!("{word:?} is no duration; write for instance 500ms, 5s or 1m");
    let unit = match word.get(number.len()..) {
        Some("ms") => 1,
        Some("s" | "") => 1000,
        Some("m") => 60_000,
        Some("h") => 3_600_000,
        _ => return Err(wrong()),
    };
    let millis = number.parse::<u64>().ok().and_then(|n| n.checked_mul(unit)).filter(|n| *n > 0);
    millis.map(std::time::Duration::from_millis).ok_or_else(wrong)
}

/// The options of `exec` that only an OCI runtime has.
pub fn exec_options(command: Command) -> Command {
    command
        .arg(value("process", Some('p'), "FILE", "The process as JSON, in place of a command"))
        .arg(value("cwd", None, "DIR", "Working directory"))
        .arg(value("user", Some('u'), "UID[:GID]", "Numbers, as the container has them"))
        .arg(values("additional-gids", Some('g'), "GID", "A supplementary group"))
        .arg(values("cap", Some('c'), "CAPABILITY", "Add a capability to those of the container"))
        .arg(flag("no-new-privs", None, "Set no_new_privs"))
        .arg(value("apparmor", None, "PROFILE", "AppArmor profile"))
        .arg(value("process-label", None, "LABEL", "SELinux label"))
        .arg(value("cgroup", None, "PATH", "A group below the container's"))
        .arg(flag("detach", Some('d'), "Do not wait for the process's end"))
        .arg(value("pid-file", None, "FILE", "Write its pid to a file"))
        .arg(value("console-socket", None, "SOCKET", "Hand the master side of the terminal to this socket"))
        .arg(value("preserve-fds", None, "NUMBER", "Pass so many descriptors after standard error on"))
        .arg(flag("ignore-paused", None, "Also in a container that is frozen"))
}

/// What `exec` was told that only an OCI runtime is told.
#[derive(Debug, Default)]
pub struct ExecOptions {
    /// `--process`
    pub process: Option<PathBuf>,
    /// `--user`
    pub user: Option<String>,
    /// `--additional-gids`
    pub groups: Vec<String>,
    /// `--cap`
    pub capabilities: Vec<String>,
    /// `--no-new-privs`
    pub no_new_privs: bool,
    /// `--apparmor`
    pub apparmor: Option<String>,
    /// `--process-label`
    pub label: Option<String>,
    /// `--cgroup`
    pub cgroup: Option<String>,
    /// `--detach`
    pub detach: bool,
    /// `--pid-file`
    pub pid_file: Option<PathBuf>,
    /// `--console-socket`
    pub console_socket: Option<PathBuf>,
    /// `--preserve-fds`
    pub preserve_fds: u32,
    /// `--ignore-paused`
    pub ignore_paused: bool,
    /// The first of the options above that was given.
    pub first: Option<&'static str>,
}

/// Reads them.
pub fn exec(given: &mut Given) -> Result<ExecOptions, PolicyError> {
    const ALL: [&str; 14] = [
        "process", "cwd", "user", "additional-gids", "cap", "no-new-privs", "apparmor", "process-label",
        "cgroup", "detach", "pid-file", "console-socket", "preserve-fds", "ignore-paused",
    ];
    let first = ALL
        .into_iter()
        .find(|name| given.0.value_source(name) == Some(clap::parser::ValueSource::CommandLine));
    Ok(ExecOptions {
        first,
        process: given.one("process").map(PathBuf::from),
        user: given.one("user"),
        groups: given.many("additional-gids"),
        capabilities: given.many("cap"),
        no_new_privs: given.has("no-new-privs"),
        apparmor: given.one("apparmor"),
        label: given.one("process-label"),
        cgroup: given.one("cgroup"),
        detach: given.has("detach"),
        pid_file: given.one("pid-file").map(PathBuf::from),
        console_socket: given.one("console-socket").map(PathBuf::from),
        preserve_fds: preserve_fds(given)?,
        ignore_paused: given.has("ignore-paused"),
    })
}
