//! The arguments of `donjon run`: podman's names and meanings where podman has them. What they say becomes the last
//! layer of policy.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Arg, ArgAction, Command};
use donjon_image::Reference;
use donjon_policy::PolicyError;
use donjon_policy::model::{ExecIntegrity, Policy, UserNamespace};
use donjon_policy::words::{
    capabilities, devices, environment, mounts, numbers, security, signals, sysctls, ulimits,
};

use super::Stop;
use super::definitions::{Definition, Given, format};
use crate::commands::{Failure, Format};

/// What was asked of `donjon run`.
#[derive(Debug)]
pub struct RunArgs {
    /// What the flags say.
    pub flags: Policy,
    /// `--preset`
    pub preset: Option<String>,
    /// `--policy`, in order.
    pub files: Vec<PathBuf>,
    /// `--incomplete`: a learnt policy that nobody has read may be used.
    pub incomplete: bool,
    /// The image.
    pub image: Reference,
    /// The program and its arguments; empty: the image's own.
    pub command: Vec<String>,
    /// `-d`
    pub detach: bool,
    /// `-i`
    pub interactive: bool,
    /// `--rm`
    pub remove: bool,
    /// `--name`
    pub name: Option<String>,
    /// `--cidfile`
    pub cidfile: Option<PathBuf>,
    /// `--pidfile`
    pub pidfile: Option<PathBuf>,
    /// `--userns keep-id`: the program has the caller's own ids.
    pub keep_id: bool,
    /// `--plan`
    pub plan: bool,
    /// `--format`
    pub format: Format,
}

/// The options, grouped as a person looks for things.
const OPTIONS: &[(&str, &[Definition])] = &[
    (
        "Container",
        &[
            Definition::flag("detach", Some('d'), "Run in the background and print the id"),
            Definition::flag("interactive", Some('i'), "Pass standard input in"),
            Definition::flag("tty", Some('t'), "Give the program a terminal of its own"),
            Definition::flag("rm", None, "Remove the container's record when it ends"),
            Definition::value("name", None, "NAME", "Name of the container; default: a generated one"),
            Definition::value("timeout", None, "SECONDS", "Stop the container after this time"),
            Definition::value("stop-signal", None, "SIGNAL", "What donjon stop sends first; default: TERM"),
            Definition::value(
                "stop-timeout",
                None,
                "SECONDS",
                "How long donjon stop waits before SIGKILL; default: 10",
            ),
            Definition::flag("init", None, "Run a small init as pid 1, which reaps and forwards signals"),
            Definition::value("cidfile", None, "FILE", "Write the container's id to a new file"),
            Definition::value("pidfile", None, "FILE", "Write the pid of the first process to a file"),
        ],
    ),
    (
        "Program",
        &[
            Definition::value("workdir", Some('w'), "DIR", "Working directory, absolute"),
            Definition::value(
                "user",
                Some('u'),
                "USER[:GROUP]",
                "Name or number inside the image; default: root (host: yourself)",
            ),
            Definition::values("group-add", None, "GROUP", "A supplementary group (needs --userns range)"),
            Definition::values(
                "env",
                Some('e'),
                "NAME[=VALUE]",
                "Set a variable; without a value: to the caller's",
            ),
            Definition::values("env-file", None, "FILE", "Read variables from a file"),
            Definition::value("entrypoint", None, "PROGRAM", "Run this, with COMMAND as its arguments"),
            Definition::value("hostname", None, "NAME", "Host name; default: the beginning of the id"),
            Definition::value("umask", None, "MODE", "Octal; default: 022"),
        ],
    ),
    (
        "Files",
        &[
            Definition::values(
                "ro",
                None,
                "SRC[:DST]",
                "Show a file or directory, read-only; at the same place unless DST is named",
            ),
            Definition::values("rw", None, "SRC[:DST]", "Give a file or directory to read and write"),
            Definition::values(
                "volume",
                Some('v'),
                "SRC:DST[:OPTS]",
                "The same in podman's words; OPTS: ro, rw, exec, noexec",
            ),
            Definition::values(
                "mount",
                None,
                "type=...",
                "type=bind,src=,dst=[,ro] or type=tmpfs,dst=[,size=,mode=]",
            ),
            Definition::values(
                "tmpfs",
                None,
                "DST[:OPTS]",
                "An empty directory in RAM; OPTS: size=, mode=, exec, ro",
            ),
            Definition::flag(
                "read-only",
                None,
                "Nothing of the root can be written; /run, /tmp and /var/tmp are RAM",
            ),
            Definition::value("ram", None, "SIZE", "Limit of everything written to the root; default: 256m"),
            Definition::value("shm-size", None, "SIZE", "Limit of /dev/shm"),
            Definition::values("device", None, "/dev/NAME", "Give a character device"),
            Definition::values(
                "allow-mount",
                None,
                "PATH",
                "Mount this although it opens the house (a home directory, /etc...)",
            ),
        ],
    ),
    (
        "Isolation",
        &[
            Definition::values("policy", None, "FILE", "Read a policy file (TOML); flags have the last word"),
            Definition::value(
                "preset",
                None,
                "NAME",
                "Begin with a preset: default, strict, service, build, agent",
            ),
            Definition::flag("incomplete", None, "Use a learnt policy that nobody has read yet"),
            Definition::value(
                "integrity",
                None,
                "MODE",
                "enforce: no bytes but those of the image become code, and nothing of its root is written; off",
            ),
            Definition::values("cap-add", None, "CAP", "Add a capability inside the user namespace"),
            Definition::values("cap-drop", None, "CAP", "Drop a capability; ALL drops every one"),
            Definition::values("syscall", None, "NAME|@SET", "Allow a system call, or a set of them"),
            Definition::values(
                "socket",
                None,
                "FAMILY",
                "Allow a socket family besides unix, inet, inet6, netlink-route",
            ),
            Definition::values(
                "security-opt",
                None,
                "OPTION",
                "seccomp=FILE, mask=PATHS, unmask=PATHS, no-new-privileges",
            ),
            Definition::value(
                "userns",
                None,
                "MODE",
                "auto: one id, your own (default); keep-id: also your number; range: subordinate ids; host: none",
            ),
            Definition::flag("nested-userns", None, "Allow user namespaces inside: opens much kernel code"),
            Definition::value(
                "network",
                None,
                "MODE",
                "none: loopback alone (default, and the only one so far)",
            ),
            Definition::values(
                "time-offset",
                None,
                "CLOCK=SECONDS",
                "Shift a clock inside: monotonic or boottime; makes a time namespace",
            ),
            Definition::values("sysctl", None, "KEY=VALUE", "A setting of the container's own namespaces"),
            Definition::values(
                "best-effort",
                None,
                "LAYER",
                "Go on without this layer when it can't be set up",
            ),
        ],
    ),
    (
        "Limits",
        &[
            Definition::value("memory", Some('m'), "SIZE", "Memory; default: 1g where a cgroup can be made"),
            Definition::value("memory-swap", None, "SIZE", "Memory and swap together; -1: no limit of swap"),
            Definition::value("cpus", None, "NUMBER", "Processors' worth of time, for instance 1.5"),
            Definition::value(
                "pids-limit",
                None,
                "NUMBER",
                "Processes and threads; default: 512; -1: no limit",
            ),
            Definition::values(
                "ulimit",
                None,
                "NAME=SOFT[:HARD]",
                "A resource limit, for instance nofile=1024",
            ),
        ],
    ),
    ("Options", &[Definition::flag("plan", None, "Print every step of the start and do nothing")]),
];

/// The command's definition with the options that `wanted` wants, those of `more` among them.
fn definition(command: Command, more: &[Definition], wanted: &dyn Fn(&Definition) -> bool) -> Command {
    let mut command = command
        .override_usage("donjon run [OPTION...] IMAGE [--] [COMMAND [ARGUMENT...]]")
        .after_help(
            "IMAGE is host (the programs of this machine, none of its data) or dir:PATH (a root file system in a \
             directory).\nEverything that is not allowed is forbidden; what was refused is told at the end, with what \
             would allow it.\nExit status: the program's own; 128+N when signal N ended it; 125 donjon failed; 126 not \
             executable; 127 not found.",
        );
    for option in more.iter().filter(|option| wanted(option)) {
        command = command.arg(option.arg());
    }
    for (heading, options) in OPTIONS {
        command = command.next_help_heading(*heading);
        for option in options.iter().filter(|option| wanted(option)) {
            command = command.arg(option.arg());
        }
    }
    command
        .arg(format())
        .arg(Arg::new("privileged").long("privileged").action(ArgAction::SetTrue).hide(true))
        .arg(
            Arg::new("words")
                .value_name("IMAGE")
                .num_args(0..)
                .trailing_var_arg(true)
                .allow_hyphen_values(true)
                .hide(true),
        )
}

/// All arguments.
pub fn define(command: Command) -> Command {
    define_with(command, &[])
}

/// All arguments, with those of a command that runs as `run` does.
pub fn define_with(command: Command, more: &[Definition]) -> Command {
    definition(command, more, &|_| true)
}

/// Reads the words after the command's name; the first word is that name.
pub fn parse(command: Command, given_words: Vec<OsString>) -> Result<RunArgs, Stop> {
    parse_with(command, given_words, &[], |command| command).map(|(args, _)| args)
}

/// The same for a command with further options, whose values are left, and texts of its own.
pub fn parse_with(
    command: Command,
    given_words: Vec<OsString>,
    more: &[Definition],
    texts: impl Fn(Command) -> Command,
) -> Result<(RunArgs, Given), Stop> {
    let definition = |command, wanted: &dyn Fn(&Definition) -> bool| texts(definition(command, more, wanted));
    // Most command lines use few of the sixty options, and each that is defined costs a start its time: at first only
    // those are that may be meant. What can't be read then is read again with all of them, for the message.
    let few = definition(command.clone(), &|option| option.may_be_meant(&given_words));
    let mut given = match few.try_get_matches_from(given_words.iter()) {
        Ok(matches) => Given(matches),
        Err(_) => Given(definition(command.clone(), &|_| true).try_get_matches_from(given_words.iter())?),
    };
    if given.has("privileged") {
        let failure = Failure::new("--privileged does not exist: it would switch every layer off at once").hint(
            "name what the program needs: --cap-add CAP, --device /dev/NAME, --syscall NAME, --rw SRC, --nested-userns; \
             donjon tells what it refused",
        );
        return Err(Stop::Wrong(failure));
    }
    let mut words = given.many("words");
    if words.is_empty() {
        let failure =
            Failure::new("run: name an image").hint("host for the programs of this machine, or dir:PATH");
        return Err(Stop::Wrong(failure));
    }
    let word = words.remove(0);
    if word.starts_with('-') {
        // An option that does not exist was taken for the image: read again without that freedom.
        let strict = definition(command, &|_| true).mut_arg("words", |arg| arg.allow_hyphen_values(false));
        strict.try_get_matches_from(given_words)?;
    }
    let image: Reference = word
        .parse()
        .map_err(|e: donjon_image::ReferenceError| Stop::Wrong(Failure::new(&e).hint(e.hint())))?;
    if words.first().is_some_and(|w| w == "--") {
        words.remove(0);
    }
    if let Some(word) = words.iter().find(|w| w.contains('\0')) {
        return Err(Stop::Wrong(Failure::new(format!("run: {word:?} holds a NUL byte"))));
    }
    let (flags, keep_id) = policy(&mut given)?;
    let args = RunArgs {
        flags,
        preset: given.one("preset"),
        files: given.many("policy").into_iter().map(PathBuf::from).collect(),
        incomplete: given.has("incomplete"),
        image,
        command: words,
        detach: given.has("detach"),
        interactive: given.has("interactive"),
        remove: given.has("rm"),
        name: given.one("name"),
        cidfile: given.one("cidfile").map(PathBuf::from),
        pidfile: given.one("pidfile").map(PathBuf::from),
        keep_id,
        plan: given.has("plan"),
        format: given.format(),
    };
    Ok((args, given))
}

/// What the flags say, as a layer of policy, and whether `--userns keep-id` was among them.
fn policy(given: &mut Given) -> Result<(Policy, bool), PolicyError> {
    let mut policy = Policy::default();
    let p = &mut policy.process;
    p.user = given.one("user");
    p.groups = given.many("group-add");
    p.workdir = given.one("workdir");
    p.entrypoint =
        given.one("entrypoint").map(|program| if program.is_empty() { Vec::new() } else { vec![program] });
    p.hostname = given.one("hostname");
    p.umask = given.read("umask", |w| numbers::octal(w, 0o777).map(|_| w.to_string()))?;
    p.terminal = given.switch("tty");
    p.init = given.switch("init");
    p.stop_signal = given.read("stop-signal", |w| signals::signal(w).map(|_| w.to_string()))?;
    p.stop_timeout = given.read("stop-timeout", seconds)?;
    p.timeout = given.read("timeout", seconds)?;
    for variables in given.read_many("env-file", |w| environment::file(w.as_ref()))? {
        p.env.extend(variables);
    }
    p.env.extend(given.read_many("env", environment::variable)?.into_iter().flatten());

    let f = &mut policy.filesystem;
    f.read_only = given.switch("read-only");
    f.ram = given.read("ram", size)?;
    f.shm_size = given.read("shm-size", size)?;
    f.allow_mount = given.many("allow-mount");
    policy.mounts.extend(given.read_many("volume", mounts::volume)?);
    policy.mounts.extend(given.read_many("mount", mounts::mount)?);
    policy.mounts.extend(given.read_many("tmpfs", mounts::tmpfs)?);
    policy.mounts.extend(given.read_many("ro", |w| mounts::short(w, true))?);
    policy.mounts.extend(given.read_many("rw", |w| mounts::short(w, false))?);
    policy.devices = given.read_many("device", devices::device)?;

    policy.integrity.exec = match given.one("integrity").as_deref() {
        None => None,
        Some("off") => Some(ExecIntegrity::Off),
        Some("measure") => Some(ExecIntegrity::Measure),
        Some("enforce") => Some(ExecIntegrity::Enforce),
        Some(other) => {
            let what = format!("{other:?} is no mode; there are off, measure, enforce");
            return Err(PolicyError::new("--integrity", what));
        }
    };

    policy.capabilities.add = given.read_many("cap-add", capabilities::added)?;
    policy.capabilities.drop = given.read_many("cap-drop", capabilities::dropped)?;
    policy.syscalls.allow = given.many("syscall");
    policy.sockets.allow = given.many("socket");
    for word in given.many("security-opt") {
        security::security_opt(&word, &mut policy)
            .map_err(|what| PolicyError::new("--security-opt", what))?;
    }
    let userns = given.one("userns");
    let keep_id = userns.as_deref() == Some("keep-id");
    policy.namespaces.user = match userns.as_deref() {
        None => None,
        Some("auto" | "keep-id") => Some(UserNamespace::Auto),
        Some("range") => Some(UserNamespace::Range),
        Some("host") => Some(UserNamespace::Host),
        Some(other) => {
            return Err(PolicyError::new(
                "--userns",
                format!("{other:?} is no mode; there are auto, keep-id, range, host"),
            ));
        }
    };
    policy.namespaces.nested = given.switch("nested-userns");
    policy.namespaces.network = given.one("network");
    policy.sysctls = given.read_many("sysctl", sysctls::sysctl)?.into_iter().collect();
    policy.namespaces.time_offsets =
        given.read_many("time-offset", numbers::time_offsets)?.into_iter().flatten().collect();
    policy.best_effort = given.many("best-effort");

    let l = &mut policy.resources;
    l.memory = given.read("memory", size)?;
    l.memory_swap = given.read("memory-swap", |w| if w == "-1" { Ok(w.to_string()) } else { size(w) })?;
    l.cpus =
        given.read("cpus", |w| w.parse::<f64>().map_err(|_| format!("{w:?} is no number of processors")))?;
    l.pids = given
        .read("pids-limit", |w| w.parse::<i64>().map_err(|_| format!("{w:?} is no number of processes")))?;
    let ulimits = given.read_many("ulimit", ulimits::ulimit)?;
    for (i, (name, _)) in ulimits.iter().enumerate() {
        if ulimits.iter().skip(i + 1).any(|(other, _)| other == name) {
            return Err(PolicyError::new("--ulimit", format!("{name} is limited twice")));
        }
    }
    l.ulimits = ulimits.into_iter().collect();
    Ok((policy, keep_id))
}

fn size(word: &str) -> Result<String, String> {
    numbers::size(word).map(|_| word.to_string())
}

fn seconds(word: &str) -> Result<u64, String> {
    word.parse().map_err(|_| format!("{word:?} is no number of seconds"))
}
