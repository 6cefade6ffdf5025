//! Whole plans, from a policy to the last step, compared with what they were: pure, without privileges or a kernel.
//!
//! A change of a plan is a change of what donjon does, so it shows in a review. `UPDATE_PLANS=1 cargo test -p
//! donjon-policy --test plans` writes the new ones.

#![allow(clippy::unwrap_used, clippy::panic)] // a test: it ends where it fails

use std::path::Path;

use donjon_confine::extensions::Root;
use donjon_confine::layers::cgroups::Hierarchy;
use donjon_confine::{Host, Plan, Spec};
use donjon_policy::model::UserNamespace;
use donjon_policy::{Caller, Identity, Policy, Request, RootTree, to_spec};

struct Case {
    policy: Policy,
    uid: u32,
    tree: RootTree,
    who: Identity,
    cgroups: Hierarchy,
}

impl Case {
    fn new() -> Self {
        Self {
            policy: Policy::defaults().unwrap(),
            uid: 1001,
            tree: RootTree {
                path: "/srv/root".into(),
                root: Root::default(),
                default_args: vec!["/bin/sh".into()],
            },
            who: Identity { name: "root".into(), home: "/root".into(), ..Identity::default() },
            cgroups: Hierarchy::None,
        }
    }

    fn with(mut self, toml: &str) -> Self {
        self.policy = self.policy.merge(Policy::from_toml(toml, "case").unwrap(), "case").unwrap();
        self
    }

    fn host_image(mut self) -> Self {
        let pairs = |list: &[(&str, u32)]| list.iter().map(|(n, m)| (n.to_string(), *m)).collect();
        self.tree = RootTree {
            path: "/".into(),
            root: Root::Host {
                lowers: vec!["usr".into(), "etc".into()],
                links: vec![("bin".into(), "usr/bin".into())],
                dirs: pairs(&[
                    ("home", 0o755),
                    ("proc", 0o555),
                    ("dev", 0o755),
                    ("sys", 0o555),
                    ("tmp", 0o1777),
                ]),
                hidden: vec!["etc/shadow".into()],
                files: vec![("etc/hostname".into(), "keep\n".into())],
                own: pairs(&[("usr/local", 0o755), ("etc/default", 0o755)]),
            },
            default_args: vec!["/bin/sh".into()],
        };
        self.who = Identity {
            uid: self.uid,
            gid: self.uid,
            name: "alice".into(),
            home: "/home/alice".into(),
            powerless: true,
            ..Identity::default()
        };
        self
    }

    fn spec(&self) -> Spec {
        let caller = Caller { uid: self.uid, gid: self.uid, ..Caller::default() };
        let request = Request {
            args: vec!["true".into()],
            id: "0123456789ab".repeat(6)[..64].into(),
            range: Some((0x7000_0000, 65536)),
            cgroup: Some("donjon-case".into()),
        };
        to_spec(&self.policy, &self.tree, &self.who, &caller, &request).unwrap()
    }

    fn host(&self) -> Host {
        Host {
            uid: self.uid,
            gid: self.uid,
            kernel: (6, 18),
            landlock_abi: 7,
            reads_audit: false,
            filters: &[],
            cgroups: self.cgroups.clone(),
        }
    }

    fn plan(&self) -> Plan {
        Plan::new(&self.spec(), &self.host()).unwrap()
    }
}

#[track_caller]
fn compare(name: &str, plan: &Plan) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plans").join(format!("{name}.txt"));
    let text = plan.to_text();
    if std::env::var_os("UPDATE_PLANS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let before = std::fs::read_to_string(&path).unwrap_or_default();
    for (n, (was, is)) in before.lines().zip(text.lines()).enumerate() {
        assert_eq!(was, is, "{name}, line {}", n + 1);
    }
    assert_eq!(before.lines().count(), text.lines().count(), "{name}: {text}");
}

fn controllers(path: &str) -> Hierarchy {
    Hierarchy::V2 {
        parent: path.into(),
        controllers: ["memory", "cpu", "pids"].map(String::from).to_vec(),
        step_aside: false,
    }
}

#[test]
fn the_plan_of_a_directory_as_an_ordinary_user() {
    compare("directory", &Case::new().plan());
}

#[test]
fn the_plan_of_the_host_image_as_an_ordinary_user() {
    compare("host", &Case::new().host_image().plan());
}

#[test]
fn the_plan_of_a_directory_as_root_with_cgroups() {
    let case = Case { uid: 0, cgroups: controllers("/sys/fs/cgroup"), ..Case::new() };
    compare("root", &case.with("[limits]\nmemory = \"64m\"\ncpus = 0.5\n").plan());
}

#[test]
fn the_plan_with_a_range_of_ids() {
    let mut case = Case::new();
    case.policy.namespaces.user = Some(UserNamespace::Range);
    compare("range", &case.plan());
}

#[test]
fn the_plan_under_the_strict_preset_with_a_read_only_root_a_terminal_and_an_init() {
    let mut case = Case::new();
    case.policy = case.policy.under_preset("strict").unwrap();
    let case = case.with("[process]\nterminal = true\ninit = true\n[filesystem]\nread-only = true\n");
    compare("strict", &case.plan());
}

#[test]
fn the_plan_of_a_further_process() {
    let case = Case::new();
    let spec = case.spec();
    let process = spec.process().clone().unwrap();
    compare("exec", &Plan::for_exec(&spec, &process, &case.host(), 4711).unwrap());
}

/// What each line of the order depends on; see the architecture.
#[test]
fn no_plan_breaks_the_order_of_the_layers() {
    let strict = Policy::defaults().unwrap().under_preset("strict").unwrap();
    for case in [
        Case::new(),
        Case::new().host_image(),
        Case { uid: 0, ..Case::new() },
        Case { policy: strict, ..Case::new() },
        Case::new().with("[process]\ninit = true\nterminal = true\n[filesystem]\nread-only = true\n"),
    ] {
        let plan = case.plan();
        let steps: Vec<String> = plan.steps().iter().map(|s| format!("{}: {}", s.layer, s.op)).collect();
        let last =
            |word: &str| steps.iter().rposition(|s| s.contains(word)).unwrap_or_else(|| panic!("no {word}"));
        let first =
            |word: &str| steps.iter().position(|s| s.contains(word)).unwrap_or_else(|| panic!("no {word}"));
        let mounts = ["mounts:", "overlay:", "devices:"]
            .into_iter()
            .filter_map(|l| steps.iter().rposition(|s| s.starts_with(l)));
        assert!(mounts.max().unwrap() < first("pivot_root"), "{steps:#?}");
        // Files below `net` are others in each network namespace: what hides them is put there in the container's own.
        assert!(first("enter the network namespace") < first("mask /"), "{steps:#?}");
        assert!(first("pivot_root") < first("compare the kernel's list"), "{steps:#?}");
        assert!(first("compare the kernel's list") < first("Landlock domain"), "{steps:#?}");
        assert!(last("bounding set") < first("become user"), "{steps:#?}");
        assert!(first("become user") < last("capabilities: capabilities"), "{steps:#?}");
        assert!(last("no_new_privs") < first("Landlock domain"), "{steps:#?}");
        assert!(first("Landlock domain") < first("seccomp filter"), "{steps:#?}");
        assert!(first("close every descriptor") < first("seccomp filter"), "{steps:#?}");
        assert_eq!(first("seccomp filter") + 1, last("execute"), "{steps:#?}");
        assert_eq!(last("execute") + 1, steps.len());
    }
}
