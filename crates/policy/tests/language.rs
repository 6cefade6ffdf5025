//! The language as files are written in it: layers that build on one another, words that are refused with their place, and
//! what one policy allows that another does not.

#![allow(clippy::unwrap_used, clippy::panic)] // a test: it ends where it fails

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use donjon_policy::diff::{Change, Direction, changes};
use donjon_policy::keys::{KEYS, Kind};
use donjon_policy::model::{Device, Mount, Policy};
use donjon_policy::{MOST_BYTES, PolicyError, Stack};

/// Files in a directory of their own.
struct Files(PathBuf);

impl Files {
    fn new(name: &str, files: &[(&str, &str)]) -> Self {
        let dir = std::env::temp_dir().join(format!("donjon-language-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        let files_here = Self(dir);
        for (name, text) in files {
            std::fs::write(files_here.path(name), text).unwrap();
        }
        files_here
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn policy(&self, name: &str) -> Result<Policy, PolicyError> {
        Stack::read(&self.path(name))?.over(Policy::defaults()?)
    }

    /// The error of a file, its place without the directory.
    fn error(&self, name: &str) -> (String, String) {
        let error = self.policy(name).unwrap_err();
        (error.place.replace(&format!("{}/", self.0.display()), ""), error.what)
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The error of a text: its place and what is wrong.
fn refused(text: &str) -> (String, String) {
    let error = Policy::from_toml(text, "p.toml").unwrap_err();
    (error.place, error.what)
}

#[test]
fn every_word_that_means_nothing_is_refused_with_line_and_column() {
    for (text, place, what) in [
        ("[filesystem]\nwrite = [\"/tmp/**\", \"/**\"]", "p.toml:2:21", "filesystem.write[1]"),
        ("[filesystem]\nexecute = [\"/**\"]", "p.toml:2:12", "means everything"),
        ("[filesystem]\nexecute = []", "p.toml:2:1", "no program could start"),
        ("[filesystem]\nread = [\"a\"]", "p.toml:2:9", "no absolute path"),
        ("[filesystem]\nread = [\"/a/*/b\"]", "p.toml:2:9", "last part"),
        ("[filesystem]\nwrite = [\"/run/*.pid\"]", "p.toml:2:10", "write \"/run/**\""),
        ("[filesystem]\nhide = [\"/etc/x\"]\nread = [\"/etc/x/y\"]", "p.toml:3:9", "which is hidden"),
        ("[filesystem]\nlandlock = false\nread = [\"/a\"]", "p.toml:2:1", "Landlock is what holds"),
        ("[syscalls]\ndeny = [\"@file-systm\"]", "p.toml:2:9", "no set of system calls"),
        ("[syscalls]\nallow = [\"ptrase\"]", "p.toml:2:10", "did you mean ptrace"),
        ("[syscalls]\nallow = [\"bpf\"]\ndeny = [\"bpf\"]", "p.toml:2:10", "both allowed and denied"),
        ("[syscalls]\ndeny = [\"@process\"]", "p.toml:2:1", "needed to start"),
        ("[syscalls]\nbase = [\"read\"]", "p.toml:2:1", "close is missing"),
        ("[sockets]\nfamilies = [\"ipx\"]", "p.toml:2:13", "no socket family"),
        ("[capabilities]\nadd = [\"CAP_KILL\"]\ndrop = [\"KILL\"]", "p.toml:2:8", "both added and dropped"),
        ("[capabilities]\nadd = [\"SYS_ADMN\"]", "p.toml:2:8", "did you mean SYS_ADMIN"),
        ("[resources]\nmemory = \"1x\"", "p.toml:2:1", "no size"),
        ("[resources]\nmemory = \"2g\"\nmemory-swap = \"1g\"", "p.toml:3:1", "memory and swap together"),
        ("[resources]\npids = 0", "p.toml:2:1", "nothing could run"),
        ("[resources.ulimits]\nfiles = \"1\"", "p.toml:2:1", "no resource"),
        ("[limits]\ncpus = -1.0", "p.toml:2:1", "resources.cpus"),
        ("[limits]\npids = 1\n[resources]\npids = 2", "p.toml:1:2", "duplicate"),
        ("[network]\negress = [\"example.org\"]", "p.toml:2:11", "no ports"),
        ("[network]\npublish = [\"80\"]", "p.toml:2:12", "PORT:PORT"),
        ("[integrity]\nexec = \"sometimes\"", "p.toml:2:8", "unknown variant"),
        ("[secrets]\npassword = \"env:X\"", "p.toml:1:2", "reserved"),
        ("[lsm]\napparmor = \"unconfined\"", "p.toml:2:1", "confines nothing"),
        ("[lsm]\nselinux = \"a b\"", "p.toml:2:1", "holds a space"),
        ("[sysctls]\n\"kernel.panic\" = \"1\"", "p.toml:2:1", "the whole machine"),
        ("[namespaces]\nnetwork = \"host\"", "p.toml:2:1", "not in this version"),
        ("[[devices]]\npath = \"/dev/mem\"", "p.toml:2:1", "the whole machine"),
        ("[[mounts]]\ntarget = \"/proc/x\"\ntype = \"tmpfs\"", "p.toml:2:1", "donjon's own inside"),
        ("[[mounts]]\ntarget = \"/x\"", "p.toml:1:1", "has a source"),
        (
            "[[mounts]]\ntype=\"tmpfs\"\ntarget=\"/x\"\n[[mounts]]\ntype=\"tmpfs\"\ntarget=\"/x\"",
            "p.toml:6:1",
            "two mounts",
        ),
        ("best-effort = [\"seccomp\"]", "p.toml:1:16", "can be left out"),
        ("extend-only = \"wide\"", "p.toml:1:15", "unknown variant"),
        ("read = []", "p.toml:1:1", "no key here"),
        ("a = 1\na = 2", "p.toml:2:1", "duplicate"),
        ("[filesystem]\nread = [", "p.toml:2:9", "array"),
        ("[process]\nenv = { \"A=B\" = \"1\" }", "p.toml:2:9", "no name of a variable"),
    ] {
        let (at, why) = refused(text);
        assert!(at == place && why.contains(what), "{text:?}\nsays {at}: {why}\nnot  {place}: {what}");
    }
}

#[test]
fn files_that_are_no_policy_are_refused_unread_or_with_the_place_of_the_byte() {
    let files = Files::new("bytes", &[("big.toml", &"#".repeat(10 << 20))]);
    assert!(files.error("big.toml").1.contains("larger than 1 MiB"));
    std::fs::write(files.path("latin.toml"), b"# ok\n# caf\xe9\n").unwrap();
    assert_eq!(files.error("latin.toml"), ("latin.toml:2:6".into(), "is no UTF-8, as TOML is".into()));
    assert!(files.error("missing.toml").1.contains("No such file"));
    std::fs::create_dir(files.path("dir.toml")).unwrap();
    assert!(files.error("dir.toml").1.contains("not a regular file"));
    let most = MOST_BYTES / 8;
    let many = format!("[filesystem]\nread = [{}]", "\"/a\",".repeat(most));
    std::fs::write(files.path("many.toml"), many).unwrap();
    assert_eq!(files.error("many.toml").0, "many.toml:2:1");
}

#[test]
fn a_file_lies_on_what_it_extends_and_has_the_last_word() {
    let files = Files::new(
        "extend",
        &[
            (
                "base.toml",
                "extend = \"strict\"\n[resources]\npids = 32\n[filesystem]\nread = [\"/usr/**\", \"/etc/**\"]\n",
            ),
            (
                "web.toml",
                "extend = \"base.toml\"\n[filesystem]\nread = [\"/usr/**\"]\n[sockets]\nallow = [\"inet\"]\n",
            ),
        ],
    );
    let policy = files.policy("web.toml").unwrap();
    assert_eq!(policy.resources.pids, Some(32));
    assert_eq!(
        policy.filesystem.read.as_deref(),
        Some(&["/usr/**".to_string()][..]),
        "the later list is all that counts"
    );
    assert_eq!(policy.filesystem.proc_pid_only, Some(true), "strict lies below");
    assert_eq!(policy.sockets.allow, ["inet"]);
    assert!(!policy.resources.memory_named, "the preset's limit of memory is a wish");
    assert_eq!(policy.sources.len(), 2, "both files are in force (R24)");
}

#[test]
fn a_file_and_its_pieces_are_one_layer() {
    let files = Files::new(
        "include",
        &[
            (
                "libc.toml",
                "[filesystem]\nread = [\"/usr/lib/**\"]\nexecute = [\"/usr/lib64/ld.so\"]\n[resources]\npids = 5\n",
            ),
            (
                "tls.toml",
                "[filesystem]\nread = [\"/etc/ssl/**\", \"/usr/lib/**\"]\n[syscalls]\ndeny = [\"mlock\"]\n",
            ),
            (
                "web.toml",
                "include = [\"libc.toml\", \"tls.toml\"]\n[filesystem]\nread = [\"/srv/**\"]\n[resources]\npids = 9\n",
            ),
            ("other.toml", "[resources]\npids = 7\n"),
            ("torn.toml", "include = [\"libc.toml\",\n \"other.toml\"]\n"),
            ("both.toml", "include = [\"tls.toml\"]\n[syscalls]\nallow = [\"mlock\"]\n"),
            ("lies.toml", "include = [\"on.toml\"]\n"),
            ("on.toml", "extend = \"strict\"\n"),
        ],
    );
    let policy = files.policy("web.toml").unwrap();
    assert_eq!(policy.filesystem.read.unwrap(), ["/usr/lib/**", "/etc/ssl/**", "/srv/**"]);
    assert_eq!(policy.filesystem.execute.unwrap(), ["/usr/lib64/ld.so"]);
    assert_eq!(policy.resources.pids, Some(9), "its own word counts");
    assert_eq!(policy.syscalls.deny, ["mlock"]);
    let (place, what) = files.error("torn.toml");
    assert!(place == "torn.toml" && what.contains("resources.pids"), "{place} {what}");
    let (place, what) = files.error("both.toml");
    assert!(place == "both.toml:3:10" && what.contains("both allowed and denied"), "{place} {what}");
    let (place, what) = files.error("lies.toml");
    assert!(place == "lies.toml:1:12" && what.contains("is a piece"), "{place} {what}");
}

#[test]
fn circles_missing_files_and_files_without_end_are_refused() {
    let files = Files::new(
        "circle",
        &[
            ("a.toml", "extend = \"b.toml\"\n"),
            ("b.toml", "\ninclude = [\"c.toml\"]\n"),
            ("c.toml", "include = [\"b.toml\"]\n"),
            ("self.toml", "include = [\"./self.toml\"]\n"),
            ("lost.toml", "[resources]\n[filesystem]\n"),
            ("finds.toml", "include = [\"nowhere.toml\"]\n"),
            ("preset.toml", "# no such\nextend = \"lax\"\n"),
        ],
    );
    for name in ["a.toml", "b.toml", "c.toml", "self.toml"] {
        let (_, what) = files.error(name);
        assert!(what.contains("is built on itself"), "{name}: {what}");
    }
    let (place, what) = files.error("finds.toml");
    assert!(place == "finds.toml:1:12" && what.contains("No such file"), "{place} {what}");
    let (place, what) = files.error("preset.toml");
    assert!(place == "preset.toml:2:1" && what.contains("is no preset"), "{place} {what}");
    for i in 0..40 {
        std::fs::write(files.path(&format!("n{i}.toml")), format!("extend = \"n{}.toml\"\n", i + 1)).unwrap();
    }
    assert!(files.error("n0.toml").1.contains("32 are the most"));
}

#[test]
fn what_may_only_be_narrowed_can_t_be_widened_by_a_file_or_a_flag() {
    let base =
        "extend-only = \"narrow\"\n[filesystem]\nread = [\"/usr/**\", \"/etc/**\"]\n[resources]\npids = 64\n";
    let files = Files::new(
        "narrow",
        &[
            ("base.toml", base),
            (
                "good.toml",
                "extend = \"base.toml\"\n[filesystem]\nread = [\"/usr/lib/**\"]\n[resources]\npids = 8\n[syscalls]\ndeny = [\"@setuid\"]\n",
            ),
            (
                "wide.toml",
                "extend = \"base.toml\"\n# more\n[filesystem]\nread = [\"/usr/**\", \"/home/**\"]\n",
            ),
            ("many.toml", "extend = \"base.toml\"\n[resources]\npids = 65\n"),
            ("far.toml", "extend = \"good.toml\"\n[capabilities]\nadd = [\"SYS_PTRACE\"]\n"),
        ],
    );
    let good = files.policy("good.toml").unwrap();
    assert_eq!(good.resources.pids, Some(8));
    let (place, what) = files.error("wide.toml");
    assert!(place == "wide.toml:4:1" && what.contains("may read /home/**"), "{place} {what}");
    let (place, what) = files.error("many.toml");
    assert!(place == "many.toml:3:1" && what.contains("65, not 64"), "{place} {what}");
    let (place, what) = files.error("far.toml");
    assert!(place == "far.toml:3:1" && what.contains("SYS_PTRACE"), "{place} {what}");
    let flags = Policy::from_toml("[namespaces]\nnested = true", "flags").unwrap();
    let error = good.merge(flags, "the command line").unwrap_err();
    assert!(error.place == "the command line" && error.what.contains("user namespaces"), "{error}");
}

#[test]
fn what_a_later_layer_mounts_joins_the_lists_of_files() {
    let agent = Policy::defaults().unwrap().under_preset("agent").unwrap();
    let mount = |target: &str, read_only| Mount {
        source: Some("/srv".into()),
        target: target.into(),
        read_only,
        ..Mount::default()
    };
    let flags = Policy {
        mounts: vec![mount("/project", false), mount("/docs", true)],
        devices: vec![Device { path: "/dev/fuse".into() }],
        ..Policy::default()
    };
    let policy = agent.merge(flags, "the command line").unwrap();
    let write = policy.filesystem.write.unwrap();
    assert!(
        write.contains(&"/project/**".to_string()) && write.contains(&"/dev/fuse".to_string()),
        "{write:?}"
    );
    assert!(!write.contains(&"/docs/**".to_string()), "{write:?}");
    assert_eq!(policy.filesystem.read, None, "a list that does not exist is not made");
}

#[test]
fn what_can_not_be_held_yet_is_refused_at_the_start_and_never_passed_over() {
    use donjon_policy::{Caller, Identity, Request, RootTree, to_spec};
    let tree =
        RootTree { path: "/srv".into(), root: Default::default(), default_args: vec!["/bin/sh".into()] };
    let request = Request { id: "0".repeat(64), range: Some((100_000, 65_536)), ..Request::default() };
    let start = |text: &str| {
        let policy = Policy::defaults().unwrap().merge(Policy::from_toml(text, "p").unwrap(), "p").unwrap();
        to_spec(&policy, &tree, &Identity::default(), &Caller::default(), &request).map(drop)
    };
    for text in [
        "[network]\negress = [\"example.org:443\"]",
        "[network]\npublish = [\"80:80\"]",
        "[integrity]\nexec = \"measure\"",
    ] {
        assert!(start(text).unwrap_err().what.contains("can't be held by this version"), "{text}");
    }
    for text in ["[network]\negress = []", "[integrity]\nexec = \"off\"", "[lsm]\napparmor = \"web\""] {
        assert_eq!(start(text), Ok(()), "{text}");
    }
}

#[test]
fn the_list_of_keys_is_the_model() {
    fn walk(value: &serde_json::Value, path: String, all: &mut BTreeSet<String>) {
        match value {
            serde_json::Value::Object(table) if !table.is_empty() => {
                for (name, value) in table {
                    walk(value, if path.is_empty() { name.clone() } else { format!("{path}.{name}") }, all);
                }
            }
            serde_json::Value::Array(list) if list.first().is_some_and(serde_json::Value::is_object) => {
                walk(&list[0], format!("{path}[]"), all);
            }
            _ => drop(all.insert(path)),
        }
    }
    let policy =
        Policy { mounts: vec![Mount::default()], devices: vec![Device::default()], ..Policy::default() };
    let mut model = BTreeSet::new();
    walk(&serde_json::to_value(policy).unwrap(), String::new(), &mut model);
    let listed: BTreeSet<String> = KEYS.iter().map(|key| key.path.to_string()).collect();
    assert_eq!(listed.len(), KEYS.len(), "a key is listed twice");
    assert_eq!(model, listed);
}

/// For each key that is a boundary: a narrow and a wide word, in whole policies.
const WIDER: &[(&str, &str, &str)] = &[
    ("process.user", "process.user = \"1000\"", "process.user = \"root\""),
    ("process.groups", "", "process.groups = [\"disk\"]"),
    ("process.timeout", "process.timeout = 5", "process.timeout = 0"),
    ("filesystem.read", "filesystem.read = [\"/usr/**\"]", "filesystem.read = [\"/usr/**\", \"/etc/x\"]"),
    ("filesystem.write", "filesystem.write = [\"/tmp/a/**\"]", "filesystem.write = [\"/tmp/**\"]"),
    ("filesystem.execute", "filesystem.execute = [\"/bin/sh\"]", ""),
    ("filesystem.hide", "filesystem.hide = [\"/etc/ssh\"]", "filesystem.hide = [\"/etc/ssh/keys\"]"),
    ("filesystem.unmask", "", "filesystem.unmask = [\"/proc/kcore\"]"),
    ("filesystem.read-only", "filesystem.read-only = true", "filesystem.read-only = false"),
    ("filesystem.read-only-paths", "filesystem.read-only-paths = [\"/etc\"]", ""),
    ("filesystem.proc-pid-only", "filesystem.proc-pid-only = true", ""),
    ("filesystem.ram", "", "filesystem.ram = \"1g\""),
    ("filesystem.shm-size", "", "filesystem.shm-size = \"1m\""),
    ("filesystem.landlock", "", "filesystem.landlock = false"),
    ("filesystem.allow-mount", "", "filesystem.allow-mount = [\"/etc\"]"),
    ("mounts[].type", "", "mounts = [{ type = \"tmpfs\", target = \"/x\" }]"),
    (
        "mounts[].source",
        "mounts = [{ source = \"/a\", target = \"/x\" }]",
        "mounts = [{ source = \"/b\", target = \"/x\" }]",
    ),
    ("mounts[].target", "", "mounts = [{ source = \"/a\", target = \"/x\" }]"),
    (
        "mounts[].read-only",
        "mounts = [{ source = \"/a\", target = \"/x\", read-only = true }]",
        "mounts = [{ source = \"/a\", target = \"/x\" }]",
    ),
    (
        "mounts[].exec",
        "mounts = [{ source = \"/a\", target = \"/x\", exec = false }]",
        "mounts = [{ source = \"/a\", target = \"/x\" }]",
    ),
    (
        "mounts[].size",
        "mounts = [{ type = \"tmpfs\", target = \"/x\", size = \"1m\" }]",
        "mounts = [{ type = \"tmpfs\", target = \"/x\" }]",
    ),
    ("devices[].path", "", "devices = [{ path = \"/dev/fuse\" }]"),
    ("syscalls.base", "syscalls.base = [\"@basic-io\", \"@process\", \"sendmsg\"]", ""),
    ("syscalls.allow", "", "syscalls.allow = [\"ptrace\"]"),
    ("syscalls.deny", "syscalls.deny = [\"@setuid\"]", "syscalls.deny = [\"setuid\"]"),
    ("syscalls.profile", "", "syscalls.profile = \"docker.json\""),
    ("sockets.families", "sockets.families = [\"unix\"]", "sockets.families = [\"unix\", \"inet\"]"),
    ("sockets.allow", "", "sockets.allow = [\"packet\"]"),
    ("capabilities.root", "capabilities.root = []", "capabilities.root = [\"CHOWN\"]"),
    ("capabilities.add", "", "capabilities.add = [\"SYS_CHROOT\"]"),
    ("capabilities.drop", "capabilities.drop = [\"cap_chown\"]", ""),
    ("network.egress", "", "network.egress = [\"*:443\"]"),
    ("network.publish", "", "network.publish = [\"80:80\"]"),
    ("resources.pids", "resources.pids = 1000", "resources.pids = -1"),
    ("resources.memory", "", "resources.memory = \"2g\""),
    ("resources.memory-swap", "", "resources.memory-swap = \"-1\""),
    ("resources.cpus", "resources.cpus = 0.5", "resources.cpus = 0.6"),
    (
        "resources.ulimits",
        "resources.ulimits = { nofile = \"10\" }",
        "resources.ulimits = { nofile = \"10:11\" }",
    ),
    ("integrity.exec", "integrity.exec = \"enforce\"", "integrity.exec = \"measure\""),
    ("lsm.apparmor", "lsm.apparmor = \"web\"", ""),
    ("lsm.selinux", "lsm.selinux = \"a:b:c:d\"", "lsm.selinux = \"a:b:c:e\""),
    ("namespaces.user", "", "namespaces.user = \"range\""),
    ("namespaces.nested", "", "namespaces.nested = true"),
    ("sysctls", "", "sysctls = { \"net.ipv4.ip_forward\" = \"1\" }"),
    ("best-effort", "", "best-effort = [\"landlock\"]"),
];

/// Keys whose value moves no boundary, or that say how a file is built.
const NO_BOUNDARY: &[&str] = &[
    "extend", "include", "extend-only", "incomplete", "process.workdir", "process.env", "process.entrypoint",
    "process.hostname", "process.umask", "process.terminal", "process.init", "process.stop-signal",
    "process.stop-timeout", "mounts[].mode", "namespaces.network", "namespaces.time-offsets", "secrets",
];

fn whole(text: &str) -> Policy {
    Policy::defaults()
        .unwrap()
        .merge(Policy::parse(text, "p").unwrap_or_else(|e| panic!("{text}: {e}")), "p")
        .unwrap()
}

fn is(direction: Direction) -> impl Fn(&Change) -> bool {
    move |change| change.direction == direction
}

#[test]
fn a_policy_that_widens_is_always_found_whichever_key_does_it() {
    let held: BTreeSet<&str> =
        WIDER.iter().map(|(key, ..)| *key).chain(NO_BOUNDARY.iter().copied()).collect();
    let all: BTreeSet<&str> = KEYS.iter().map(|key| key.path).collect();
    assert_eq!(held, all, "each key is a boundary with an example, or none");
    for (key, narrow, wide) in WIDER {
        let (narrow, wide) = (whole(narrow), whole(wide));
        let there = changes(&narrow, &wide);
        assert!(there.iter().any(is(Direction::Wider)), "{key}: {there:?}");
        assert!(there.iter().all(|change| !change.words.is_empty() && !change.keys.is_empty()), "{there:?}");
        let name = key.split("[]").next().unwrap();
        assert!(there.iter().any(|change| change.keys.contains(&name)), "{key} is not named: {there:?}");
        // The way back narrows, but for what can't be compared.
        let back = changes(&wide, &narrow);
        let incomparable = ["mounts[].source", "syscalls.profile", "lsm.selinux"].contains(key);
        assert_eq!(back.iter().any(is(Direction::Wider)), incomparable, "{key}: {back:?}");
    }
}

#[test]
fn a_policy_that_widens_is_found_among_any_other_changes() {
    // Every pair of keys: one narrows while the other widens.
    for (key, narrow, wide) in WIDER {
        for (other, less, more) in WIDER {
            let section = |key: &str| key.split(['.', '[']).next().unwrap_or_default().to_string();
            let clash =
                ["mounts", "devices"].contains(&section(key).as_str()) && section(key) == section(other);
            if key == other
                || clash
                || narrow.split(" =").next() == more.split(" =").next()
                || wide.split(" =").next() == less.split(" =").next()
                || narrow.split(" =").next() == less.split(" =").next() && !narrow.is_empty()
                || wide.split(" =").next() == more.split(" =").next() && !wide.is_empty()
            {
                continue;
            }
            let a = Policy::parse(&format!("{narrow}\n{more}"), "a");
            let b = Policy::parse(&format!("{wide}\n{less}"), "b");
            let (Ok(a), Ok(b)) = (a, b) else { panic!("{key} {other}") };
            let (a, b) =
                (Policy::defaults().unwrap().merge(a, "a"), Policy::defaults().unwrap().merge(b, "b"));
            // Some say what can't be said at once.
            let (Ok(a), Ok(b)) = (a, b) else { continue };
            let found = changes(&a, &b);
            // What base, allow and deny say is one set, of which one may take away what another would give. So are
            // the lists of capabilities.
            let hidden = ["syscalls", "capabilities"].iter().any(|set| key.starts_with(set) && other.starts_with(set))
                    // Who is not root does not have what root has.
                    || key.starts_with("capabilities") && *other == "process.user";
            assert!(hidden || found.iter().any(is(Direction::Wider)), "{key} beside {other}: {found:?}");
        }
    }
}

#[test]
fn a_policy_does_not_differ_from_itself() {
    for (key, narrow, wide) in WIDER {
        for text in [narrow, wide] {
            assert_eq!(changes(&whole(text), &whole(text)), [], "{key}");
        }
    }
    for name in Policy::presets() {
        let policy = Policy::defaults().unwrap().under_preset(name).unwrap();
        assert_eq!(changes(&policy, &policy), [], "{name}");
    }
}

#[test]
fn every_preset_differs_from_every_other_and_only_build_and_agent_give_more_of_anything() {
    let with = |name: &str| Policy::defaults().unwrap().under_preset(name).unwrap();
    let names: Vec<&str> = Policy::presets().collect();
    assert_eq!(names, ["default", "strict", "service", "build", "agent"]);
    for a in &names {
        for b in &names {
            assert_eq!(changes(&with(a), &with(b)).is_empty(), a == b, "{a} {b}");
        }
    }
    for name in names {
        let wider: Vec<&str> = changes(&with("default"), &with(name))
            .iter()
            .filter(|change| change.direction == Direction::Wider)
            .flat_map(|change| change.keys.clone())
            .collect();
        // Room to work in, and nothing that reaches the kernel.
        let expected: &[&str] = match name {
            "build" => &["filesystem.ram", "resources.pids", "resources.memory"],
            "agent" => &["filesystem.ram", "resources.memory"],
            _ => &[],
        };
        assert_eq!(wider, expected, "{name}");
    }
}

#[test]
fn every_preset_is_a_policy_without_a_problem() {
    for name in Policy::presets().filter(|name| *name != "default") {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/{name}.toml"));
        let policy = Policy::from_toml(&std::fs::read_to_string(path).unwrap(), name)
            .unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(donjon_policy::check::problems(&policy), [], "{name}");
    }
}

#[test]
fn words_with_a_choice_are_listed_as_the_model_has_them() {
    for key in KEYS {
        if let Kind::OneOf(words) = key.kind {
            let (section, name) = key.path.split_once('.').unwrap_or(("", key.path));
            for word in words {
                let text = match section.strip_suffix("[]") {
                    Some(list) => format!("[[{list}]]\n{name} = \"{word}\""),
                    None if section.is_empty() => format!("{name} = \"{word}\""),
                    None => format!("[{section}]\n{name} = \"{word}\""),
                };
                assert!(Policy::parse(&text, "p").is_ok(), "{text}");
            }
        }
    }
}

/// Whether a value is what the schema says, for the part of JSON schema that ours uses.
fn fits(
    value: &serde_json::Value,
    schema: &serde_json::Value,
    root: &serde_json::Value,
) -> Result<(), String> {
    use serde_json::Value;
    if let Some(to) = schema.get("$ref").and_then(Value::as_str) {
        return fits(value, root.pointer(to.trim_start_matches('#')).unwrap(), root);
    }
    let wrong = |what: &str| Err(format!("{value} is {what}: {schema}"));
    match schema["type"].as_str().unwrap() {
        "string" if !value.is_string() => return wrong("no string"),
        "boolean" if !value.is_boolean() => return wrong("no boolean"),
        "integer" if !value.is_i64() => return wrong("no integer"),
        "number" if !value.is_number() => return wrong("no number"),
        "array" => {
            for item in value.as_array().ok_or_else(|| format!("{value} is no array"))? {
                fits(item, &schema["items"], root)?;
            }
        }
        "object" => {
            let table = value.as_object().ok_or_else(|| format!("{value} is no object"))?;
            if schema
                .get("maxProperties")
                .and_then(Value::as_u64)
                .is_some_and(|most| table.len() as u64 > most)
            {
                return wrong("too much");
            }
            for needed in schema.get("required").and_then(Value::as_array).into_iter().flatten() {
                table.get(needed.as_str().unwrap()).ok_or_else(|| format!("{value} lacks {needed}"))?;
            }
            for (name, inside) in table {
                match schema.get("properties").and_then(|properties| properties.get(name)) {
                    Some(schema) => fits(inside, schema, root)?,
                    None => match schema.get("additionalProperties") {
                        Some(Value::Bool(false)) => return Err(format!("{name} is no key")),
                        Some(schema) => fits(inside, schema, root)?,
                        None => {}
                    },
                }
            }
        }
        _ => {}
    }
    if schema.get("enum").and_then(Value::as_array).is_some_and(|all| !all.contains(value)) {
        return wrong("no such word");
    }
    if schema.get("minimum").and_then(Value::as_f64).is_some_and(|least| value.as_f64().unwrap() < least) {
        return wrong("too small");
    }
    Ok(())
}

fn toml_value(text: &str) -> serde_json::Value {
    toml::from_str::<serde_json::Value>(text).unwrap_or_else(|e| panic!("{text}: {e}"))
}

#[test]
fn the_schema_takes_what_the_language_takes_and_no_other_key() {
    let schema = donjon_policy::schema::schema();
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = [
        "src/default.toml",
        "src/strict.toml",
        "src/service.toml",
        "src/build.toml",
        "src/agent.toml",
        "../../fuzz/targets/seeds/policy/full.toml",
    ];
    let texts: Vec<String> =
        files.iter().map(|file| std::fs::read_to_string(here.join(file)).unwrap()).collect();
    for text in
        texts.iter().map(String::as_str).chain(WIDER.iter().flat_map(|(_, narrow, wide)| [*narrow, *wide]))
    {
        assert_eq!(fits(&toml_value(text), &schema, &schema), Ok(()), "{text}");
    }
    for text in [
        "reads = []", "[filesystem]\nreads = []", "[resources]\npids = \"1\"", "[resources]\npids = -2",
        "[integrity]\nexec = \"x\"", "[[mounts]]\nsource = \"/a\"", "[secrets]\nx = \"1\"",
        "[process]\nenv = [\"A\"]", "extend-only = \"wide\"",
    ] {
        assert!(fits(&toml_value(text), &schema, &schema).is_err(), "{text}");
        // What the schema refuses the language refuses as well.
        assert!(Policy::from_toml(text, "p").is_err(), "{text}");
    }
}

#[test]
fn the_published_schema_is_the_one_of_this_version() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/policy.schema.json");
    let now = serde_json::to_string_pretty(&donjon_policy::schema::schema()).unwrap() + "\n";
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        std::fs::write(&path, &now).unwrap();
    }
    let published = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        published == now,
        "docs/policy.schema.json is old: UPDATE_SCHEMA=1 cargo test -p donjon-policy --test language"
    );
}

#[test]
fn a_policy_that_is_written_down_is_the_same_policy_and_can_be_read() {
    let texts = WIDER.iter().flat_map(|(_, narrow, wide)| [*narrow, *wide]).map(whole);
    let presets = Policy::presets().map(|name| Policy::defaults().unwrap().under_preset(name).unwrap());
    for policy in texts.chain(presets) {
        let text = policy.clone().settled().to_toml();
        let again = Policy::parse(&text, "again").unwrap_or_else(|e| panic!("{e}:\n{text}"));
        let found = changes(&policy, &again);
        assert_eq!(found, [], "{text}");
        let errors = donjon_policy::check::problems(&again);
        let errors: Vec<_> =
            errors.iter().filter(|p| p.weight == donjon_policy::check::Weight::Error).collect();
        assert!(errors.is_empty(), "{errors:?}\n{text}");
    }
}

#[test]
fn the_record_of_a_container_says_what_its_policy_said() {
    use donjon_policy::{Caller, Identity, Request, RootTree, to_spec};
    let tree =
        RootTree { path: "/srv".into(), root: Default::default(), default_args: vec!["/bin/sh".into()] };
    let request = Request {
        id: "0".repeat(64),
        cgroup: Some("donjon-x".into()),
        range: Some((100_000, 65_536)),
        ..Request::default()
    };
    let caller = Caller { uid: 1001, gid: 1001, ..Caller::default() };
    let mut compared = 0;
    let texts = WIDER.iter().flat_map(|(_, narrow, wide)| [*narrow, *wide]).map(whole);
    let presets = Policy::presets().map(|name| Policy::defaults().unwrap().under_preset(name).unwrap());
    for mut policy in texts.chain(presets) {
        policy.process.user = Some("0".into());
        // What can't be started has no record.
        let Ok(spec) = to_spec(&policy, &tree, &Identity::default(), &caller, &request) else { continue };
        let again = Policy::of_spec(&spec).unwrap();
        if again.integrity.exec == Some(donjon_policy::model::ExecIntegrity::Enforce) {
            // The root is read-only then, and the record says so.
            policy.filesystem.read_only = Some(true);
        }
        let moved: Vec<Change> = changes(&policy, &again)
            .into_iter()
            .filter(|change| change.direction != Direction::Other)
            // How long it may run and what could have been mounted is nothing that the specification says.
            .filter(|change| {
                !["process.timeout", "filesystem.allow-mount", "process.groups"].contains(&change.keys[0])
            })
            .collect();
        assert_eq!(moved, [], "{}", policy.settled().to_toml());
        compared += 1;
    }
    assert!(compared > 40, "{compared}");
}

#[test]
fn the_page_of_the_language_has_a_line_for_every_key() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(here.join("../../docs/policy.md")).unwrap();
    for key in KEYS {
        let layers: Vec<String> =
            key.held_by.iter().map(|layer| format!("[{layer}](layers/{layer}.md)")).collect();
        let held = if layers.is_empty() { "-".to_string() } else { layers.join(", ") };
        let line = page.lines().find(|line| line.starts_with(&format!("| `{}` |", key.path)));
        let line = line.unwrap_or_else(|| panic!("docs/policy.md has no line for {}", key.path));
        assert!(line.contains(&format!("| {held} |")), "{line}\nshould say {held}");
        assert!(
            line.ends_with(&format!("| {} |", key.about.replace('|', "\\|"))),
            "{line}\nshould say {}",
            key.about
        );
        for layer in key.held_by {
            assert!(
                here.join(format!("../../docs/layers/{layer}.md")).exists(),
                "there is no page about {layer}"
            );
        }
    }
    for preset in Policy::presets() {
        assert!(page.contains(preset), "docs/policy.md does not name the preset {preset}");
    }
}

#[test]
fn lists_of_files_and_labels_are_steps_of_the_plan() {
    use donjon_confine::{Host, Plan};
    use donjon_policy::{Caller, Identity, Request, RootTree, to_spec};
    let tree =
        RootTree { path: "/srv".into(), root: Default::default(), default_args: vec!["/bin/sh".into()] };
    let request = Request { id: "0".repeat(64), ..Request::default() };
    let caller = Caller { uid: 1001, gid: 1001, ..Caller::default() };
    let host = |landlock_abi| Host {
        uid: 1001,
        gid: 1001,
        kernel: (6, 18),
        landlock_abi,
        reads_audit: false,
        filters: &[],
        cgroups: Default::default(),
    };
    let spec = |text: &str| to_spec(&whole(text), &tree, &Identity::default(), &caller, &request).unwrap();
    let listed = spec("filesystem.read = [\"/usr/**\"]\nfilesystem.execute = [\"/bin/*\", \"/bin/sh\"]");
    let plan = Plan::new(&listed, &host(7)).unwrap().to_text();
    assert!(plan.contains(", 3 for files that the policy names"), "{plan}");
    // Without Landlock the lists can't be held, so nothing starts.
    assert!(Plan::new(&listed, &host(0)).unwrap_err().to_string().contains("no Landlock"));
    let labelled = spec("lsm.apparmor = \"web\"\nlsm.selinux = \"a:b:c:d\"");
    let plan = Plan::new(&labelled, &host(7)).unwrap().to_text();
    assert!(plan.contains("web") && plan.contains("a:b:c:d"), "{plan}");
    let further =
        Plan::for_exec(&labelled, labelled.process().as_ref().unwrap(), &host(7), 1).unwrap().to_text();
    assert!(further.contains("web") && further.contains("a:b:c:d"), "{further}");
    assert!(!Plan::new(&spec(""), &host(7)).unwrap().to_text().contains("policy names"));
}
