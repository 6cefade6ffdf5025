//! From what was seen to the lines of a policy: names become directories where that says the same to a reader.
//!
//! What is folded: libraries (`/usr/lib/**`), one program's shared data (`/usr/share/NAME/**`), what is temporary
//! (`/tmp/**`, `/run/**`), entries by process or terminal (`/proc/**`, `/dev/pts/**`), what the program itself makes (its
//! directory, as a file that is not there at the start can't be named), and several files of one directory. Directories
//! that hold everybody's things (`/etc`, `/home`, `/usr/bin`...) never are; each file of theirs stands by itself.

use std::collections::{BTreeMap, BTreeSet};

use donjon_confine::layers::seccomp::observe::UNREPORTED;
use donjon_policy::paths::{List, check};
use donjon_runtime::learn::report::{File, First, Report, above, access};

/// So many files of one directory are the directory.
const MANY: usize = 4;
/// So many programs of one directory are the directory: each names a right of its own.
const MANY_PROGRAMS: usize = 64;

/// Most lines of a list of paths.
const MOST: usize = 4_000;

/// Directories whose whole content is never meant.
const NEVER: &[&str] = &[
    "/", "/bin", "/boot", "/data", "/dev", "/etc", "/home", "/media", "/mnt", "/opt", "/root", "/sbin",
    "/srv", "/sys", "/usr", "/usr/bin", "/usr/games", "/usr/libexec", "/usr/local", "/usr/local/bin",
    "/usr/local/etc", "/usr/local/sbin", "/usr/local/share", "/usr/sbin", "/usr/share", "/var", "/var/cache",
    "/var/lib", "/var/log",
];
/// Directories of libraries: all below is meant by one file of it.
const LIBRARIES: &[&str] =
    &["/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/libx32", "/usr/local/lib", "/lib", "/lib64"];
/// Directories of what does not last.
const TEMPORARY: &[&str] = &["/tmp", "/var/tmp", "/dev/shm", "/run"];

/// Lines of a list, each with why it is there.
pub type Lines = BTreeMap<String, String>;

/// What a policy is written from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Draft {
    /// `[filesystem] read`
    pub read: Lines,
    /// `[filesystem] write`
    pub write: Lines,
    /// `[filesystem] execute`
    pub execute: Lines,
    /// `[syscalls] base`
    pub syscalls: Lines,
    /// `[sockets] families`
    pub families: Lines,
    /// `[capabilities] root`, and those beyond the default.
    pub capabilities: Lines,
    /// `[resources] pids`
    pub pids: u64,
    /// `[resources] memory`, in MiB.
    pub memory: u64,
    /// What no line can say.
    pub remarks: Vec<String>,
}

impl Draft {
    /// The draft of what was seen.
    pub fn of(report: &Report) -> Self {
        let mut draft = Self::default();
        let made = Made::of(report);
        for (path, file) in &report.files {
            draft.file(path, file, &made);
        }
        draft.fold();
        draft.calls(report);
        draft.families = report.families.iter().map(|(word, first)| (word.clone(), why(first))).collect();
        draft.capabilities =
            report.capabilities.iter().map(|(word, first)| (word.clone(), why(first))).collect();
        draft.pids = (report.tasks.saturating_mul(2).max(16)).next_multiple_of(8);
        let mib = report.memory.div_ceil(1 << 20).saturating_mul(2).max(32);
        draft.memory = mib.checked_next_power_of_two().unwrap_or(mib);
        draft
    }

    /// This draft with what an earlier one holds; whose reasons stay.
    pub fn merge(mut self, earlier: Draft) -> Self {
        for (lines, earlier) in [
            (&mut self.read, earlier.read),
            (&mut self.write, earlier.write),
            (&mut self.execute, earlier.execute),
            (&mut self.syscalls, earlier.syscalls),
            (&mut self.families, earlier.families),
            (&mut self.capabilities, earlier.capabilities),
        ] {
            lines.extend(earlier);
        }
        self.fold();
        self.pids = self.pids.max(earlier.pids);
        self.memory = self.memory.max(earlier.memory);
        self
    }

    fn file(&mut self, path: &str, file: &File, made: &Made) {
        let reason = why(&file.first);
        let done = file.access;
        let general = place(path, file, made);
        let mut put = |list: List, word: String| {
            let lines = match list {
                List::Read => &mut self.read,
                List::Write => &mut self.write,
                _ => &mut self.execute,
            };
            match check(list, &word) {
                Ok(()) => {
                    lines.entry(word).or_insert_with(|| reason.clone());
                }
                Err(_) => self.remarks.push(format!("no line can name {word:?} ({reason})")),
            }
        };
        if done & (access::READ | access::LIST) != 0 {
            put(List::Read, general.clone());
        }
        if done & access::EXECUTE != 0 {
            put(
                List::Execute,
                if general.ends_with("/**") && !made.holds(path) {
                    path.to_string()
                } else {
                    general.clone()
                },
            );
        }
        if done & access::WRITE != 0 {
            put(List::Write, general.clone());
        }
        if done & (access::CREATE | access::DELETE) != 0 {
            // A name is made and removed in its directory; whose content is another matter.
            put(
                List::Write,
                match general.ends_with("/**") {
                    true => general,
                    false => made.lasting(above(path)).to_string(),
                },
            );
        }
    }

    fn fold(&mut self) {
        for (lines, many) in
            [(&mut self.read, MANY), (&mut self.write, MANY), (&mut self.execute, MANY_PROGRAMS)]
        {
            let lost = fold(lines, many);
            if lost > 0 {
                self.remarks
                    .push(format!("{lost} more of this list are left out: a policy takes {MOST} paths"));
            }
        }
    }

    fn calls(&mut self, report: &Report) {
        let seen = |name: &str| report.calls.contains_key(name);
        let any = |names: &[&str]| names.iter().any(|name| seen(name));
        let sockets = any(&["socket", "socketpair", "accept", "accept4"]);
        let listed = report.files.values().any(|file| file.access & access::LIST != 0);
        // Made for an object that was never made, a call can't have been made.
        let possible = |name: &str| match name {
            "epoll_wait" | "epoll_pwait" | "epoll_ctl" => any(&["epoll_create", "epoll_create1"]),
            "recvfrom" | "recvmsg" | "sendto" => sockets,
            "getdents64" => listed,
            _ => true,
        };
        for name in UNREPORTED.iter().copied().chain(["sendto", "ioctl"]).filter(|name| possible(name)) {
            self.syscalls.insert(name.to_string(), String::new());
        }
        for name in ["close", "execve", "exit_group", "sendmsg"] {
            self.syscalls.insert(name.to_string(), String::new());
        }
        for (name, first) in &report.calls {
            let arguments: Vec<&str> = report
                .arguments
                .keys()
                .filter_map(|key| key.strip_prefix(name.as_str())?.strip_prefix(' '))
                .collect();
            let mut reason = first.program.clone();
            if !arguments.is_empty() {
                let shown = arguments.iter().take(6).copied().collect::<Vec<_>>().join(", ");
                reason = format!("{reason}: {shown}{}", if arguments.len() > 6 { "..." } else { "" });
            }
            self.syscalls.insert(name.clone(), reason);
        }
    }
}

/// Who needed it first, and by which call.
fn why(first: &First) -> String {
    match first.program.is_empty() {
        true => first.call.clone(),
        false => format!("{}: {}", first.program, first.call),
    }
}

/// What the program makes itself is not there when it starts, and can't be named.
struct Made<'a> {
    /// Directories in which it makes files.
    within: BTreeSet<&'a str>,
    /// Everything it makes.
    names: BTreeSet<&'a str>,
}

impl<'a> Made<'a> {
    fn of(report: &'a Report) -> Self {
        let made =
            || report.files.iter().filter(|(_, file)| file.access & access::CREATE != 0 && !file.below);
        let names = made().map(|(path, _)| path.as_str()).collect();
        let mut made_here = Self { within: BTreeSet::new(), names };
        let within = made().map(|(path, _)| made_here.lasting(above(path))).collect();
        made_here.within = within;
        made_here
    }

    /// The nearest directory that was there before.
    fn lasting<'p>(&self, mut directory: &'p str) -> &'p str {
        while directory != "/" && self.names.contains(directory) {
            directory = above(directory);
        }
        directory
    }

    /// Whether a file was made by the program, or lies where it makes directories.
    fn holds(&self, path: &str) -> bool {
        let mut at = path;
        loop {
            if self.names.contains(at) {
                return true;
            }
            if at == "/" {
                return false;
            }
            at = above(at);
        }
    }
}

/// The word that stands for a file.
fn place(path: &str, file: &File, made: &Made) -> String {
    let tree = |directory: &str| format!("{}/**", directory.trim_end_matches('/'));
    let within = |directory: &str| {
        path == directory || path.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'))
    };
    if within("/proc") {
        return tree("/proc");
    }
    if within("/dev/pts") {
        return tree("/dev/pts");
    }
    if let Some(directory) = TEMPORARY.iter().find(|directory| within(directory)) {
        return tree(directory);
    }
    if file.below {
        return tree(path);
    }
    // A library's directory is meant as a whole; its programs stand by themselves.
    if file.access & !(access::READ | access::LIST | access::EXECUTE) == 0
        && let Some(directory) = LIBRARIES.iter().find(|directory| within(directory))
    {
        return tree(directory);
    }
    if file.access & !(access::READ | access::LIST) == 0
        && let Some(rest) = path.strip_prefix("/usr/share/")
        && let Some((name, _)) = rest.split_once('/')
    {
        return tree(&format!("/usr/share/{name}"));
    }
    let contents = file.access & (access::READ | access::WRITE | access::EXECUTE) != 0;
    if contents && !file.directory && made.holds(path) {
        return tree(made.lasting(above(path)));
    }
    path.to_string()
}

/// Puts a directory in the place of many of its names, as often as that goes; what a line covers goes. Returns how many
/// lines found no place: a policy takes 4096 of a list.
fn fold(lines: &mut Lines, many: usize) -> usize {
    while fold_once(lines, many) {}
    // A hostile program has many directories with few names each.
    for fewer in [2, 1] {
        if lines.len() > MOST {
            fold_once(lines, fewer);
        }
    }
    let beyond: Vec<String> = lines.keys().skip(MOST).cloned().collect();
    for word in &beyond {
        lines.remove(word);
    }
    beyond.len()
}

/// Folds every directory that has so many names; whether there was one.
fn fold_once(lines: &mut Lines, many: usize) -> bool {
    let mut by_directory: BTreeMap<&str, (usize, &str)> = BTreeMap::new();
    for (word, why) in lines.iter() {
        let directory = above(word.strip_suffix("/**").unwrap_or(word));
        let (count, _) = by_directory.entry(directory).or_insert((0, why));
        *count += 1;
    }
    let full: Vec<(String, String)> = by_directory
        .into_iter()
        .filter(|(directory, (count, _))| {
            *count >= many && !NEVER.contains(directory) && !is_a_home(directory)
        })
        .map(|(directory, (count, first))| {
            (format!("{directory}/**"), format!("{count} of its names; {first}"))
        })
        .collect();
    let folded = !full.is_empty();
    lines.extend(full);
    let trees: BTreeSet<String> =
        lines.keys().filter_map(|word| word.strip_suffix("/**")).map(str::to_string).collect();
    lines.retain(|word, _| {
        let (mut at, mut covered) = match word.strip_suffix("/**") {
            Some(tree) => (tree, false),
            None => (word.as_str(), trees.contains(word.as_str())),
        };
        while !covered && at != "/" {
            at = above(at);
            covered = trees.contains(at);
        }
        !covered
    });
    folded
}

fn is_a_home(directory: &str) -> bool {
    directory.strip_prefix("/home/").is_some_and(|rest| !rest.contains('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(files: &[(&str, u8)]) -> Report {
        let first = First { program: "/usr/bin/x".into(), call: "openat".into() };
        let file = |access| File { access, first: first.clone(), ..File::default() };
        Report {
            files: files.iter().map(|(path, access)| (path.to_string(), file(*access))).collect(),
            ..Report::default()
        }
    }

    fn words(lines: &Lines) -> Vec<&str> {
        lines.keys().map(String::as_str).collect()
    }

    #[test]
    fn libraries_temporary_files_and_processes_are_folded_and_the_rest_is_not() {
        let draft = Draft::of(&report(&[
            ("/usr/lib/x86_64-linux-gnu/libc.so.6", access::READ),
            ("/usr/lib/python3/os.py", access::READ),
            ("/usr/lib/x86_64-linux-gnu/ld.so", access::EXECUTE),
            ("/usr/share/locale/de/x.mo", access::READ),
            ("/etc/hosts", access::READ),
            ("/etc/passwd", access::READ),
            ("/etc/group", access::READ),
            ("/etc/nsswitch.conf", access::READ),
            ("/etc/resolv.conf", access::READ),
            ("/proc/self/maps", access::READ),
            ("/dev/pts/3", access::READ | access::WRITE),
            ("/tmp/tmp.8f3k2", access::CREATE | access::WRITE | access::READ),
            ("/usr/bin/env", access::EXECUTE),
        ]));
        assert_eq!(
            words(&draft.read),
            [
                "/dev/pts/**", "/etc/group", "/etc/hosts", "/etc/nsswitch.conf", "/etc/passwd",
                "/etc/resolv.conf", "/proc/**", "/tmp/**", "/usr/lib/**", "/usr/share/locale/**",
            ]
        );
        assert_eq!(words(&draft.execute), ["/usr/bin/env", "/usr/lib/x86_64-linux-gnu/ld.so"]);
        assert_eq!(words(&draft.write), ["/dev/pts/**", "/tmp/**"]);
        assert_eq!(draft.read["/etc/hosts"], "/usr/bin/x: openat");
    }

    #[test]
    fn what_the_program_makes_is_the_directory_that_was_there_before() {
        let draft = Draft::of(&report(&[
            ("/srv/app/new", access::CREATE),
            ("/srv/app/new/log", access::CREATE | access::WRITE),
            ("/srv/app/new/old", access::READ),
            ("/srv/app/state", access::WRITE),
            ("/var/spool/x.lock", access::DELETE),
        ]));
        assert_eq!(words(&draft.write), ["/srv/app/**", "/var/spool"]);
        assert_eq!(words(&draft.read), ["/srv/app/**"]);
        // Something in the root itself can't be opened up: everything would be.
        let draft = Draft::of(&report(&[("/core", access::CREATE | access::WRITE)]));
        assert!(!draft.write.contains_key("/**"), "{draft:?}");
        assert!(draft.remarks[0].contains("/**"), "{draft:?}");
    }

    #[test]
    fn many_files_of_one_directory_are_the_directory_but_never_of_etc_or_a_home() {
        let names = |directory: &str| (0..9).map(|n| format!("{directory}/{n}")).collect::<Vec<_>>();
        for (directory, folded) in
            [("/srv/www", true), ("/etc/nginx", true), ("/etc", false), ("/home/me", false)]
        {
            let names = names(directory);
            let files: Vec<(&str, u8)> = names.iter().map(|name| (name.as_str(), access::READ)).collect();
            let draft = Draft::of(&report(&files));
            assert_eq!(draft.read.len() == 1, folded, "{directory} {draft:?}");
        }
        // Directories of directories, as a git repository has them.
        let names: Vec<String> = (0..40).map(|n| format!("/srv/r/.git/objects/{}/{n}", n / 4)).collect();
        let files: Vec<(&str, u8)> = names.iter().map(|name| (name.as_str(), access::READ)).collect();
        assert_eq!(words(&Draft::of(&report(&files)).read), ["/srv/r/.git/objects/**"]);
    }

    #[test]
    fn a_draft_of_endless_names_is_short_and_made_at_once() {
        for directories in [1, 40, 4_000, 16_000] {
            let names: Vec<String> = (0..16_000).map(|n| format!("/srv/d{}/f{n}", n % directories)).collect();
            let files: Vec<(&str, u8)> = names.iter().map(|name| (name.as_str(), access::READ)).collect();
            let begin = std::time::Instant::now();
            let draft = Draft::of(&report(&files));
            assert!(draft.read.len() <= MOST, "{directories}: {}", draft.read.len());
            assert!(begin.elapsed().as_secs() < 10, "{directories}: {:?}", begin.elapsed());
            assert_eq!(draft.remarks.is_empty(), directories <= 4_000, "{:?}", draft.remarks);
        }
    }

    #[test]
    fn calls_for_objects_that_were_never_made_are_left_out() {
        let mut seen = report(&[("/etc/hosts", access::READ)]);
        let first = First::default();
        seen.calls.insert("openat".into(), first.clone());
        let without = Draft::of(&seen);
        for name in ["epoll_wait", "sendto", "recvfrom", "getdents64"] {
            assert!(!without.syscalls.contains_key(name), "{name}");
        }
        for name in ["execve", "sendmsg", "close", "exit_group", "openat", "read"] {
            assert!(without.syscalls.contains_key(name), "{name}");
        }
        seen.calls.insert("epoll_create1".into(), first.clone());
        seen.calls.insert("socket".into(), first);
        let with = Draft::of(&seen);
        assert!(with.syscalls.contains_key("epoll_wait") && with.syscalls.contains_key("sendto"));
    }

    #[test]
    fn two_runs_are_one_draft_that_allows_both() {
        let a = Draft::of(&report(&[("/etc/hosts", access::READ), ("/srv/a", access::WRITE)]));
        let b = Draft::of(&report(&[("/etc/passwd", access::READ), ("/etc/hosts", access::READ)]));
        let both = a.clone().merge(b.clone());
        assert_eq!(words(&both.read), ["/etc/hosts", "/etc/passwd"]);
        assert_eq!(words(&both.write), ["/srv/a"]);
        assert_eq!(both.clone().merge(both.clone()), both);
        assert_eq!(words(&b.merge(a).read), words(&both.read));
    }
}
