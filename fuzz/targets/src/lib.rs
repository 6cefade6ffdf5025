//! What the fuzzers call, and a bounded run of it on a stable toolchain.
//!
//! Each function takes any bytes. It may refuse them; it may not panic, overflow, hang, or contradict itself.
#![forbid(unsafe_code)]

pub mod mutate;

use donjon_confine::layers::cgroups::{Hierarchies, Wanted};
use donjon_confine::{Host, Plan, Spec, bundle};
use donjon_policy::check;
use donjon_policy::diff::{Direction, changes};
use donjon_policy::model::ExtendOnly;
use donjon_policy::{Caller, Identity, Policy, Request, RootTree, to_spec};
use donjon_runtime::audit::{Subject, refusals};
use donjon_runtime::events::chain::{Digest, Head};
use donjon_runtime::events::verify::{Against, Status, judge};
use donjon_runtime::events::{Closed, merge};
use donjon_runtime::oci::capabilities;

/// An OCI configuration: read, planned, and the plan printed both ways.
pub fn plan(data: &[u8]) {
    let Ok(spec) = serde_json::from_slice::<Spec>(data) else { return };
    for (uid, gid, landlock_abi) in [(1000, 1000, 7), (0, 0, 1), (u32::MAX - 1, 0, 0)] {
        let host = Host {
            uid,
            gid,
            kernel: (6, 18),
            landlock_abi,
            reads_audit: false,
            filters: &[],
            cgroups: Default::default(),
        };
        match Plan::new(&spec, &host) {
            Ok(plan) => {
                let text = plan.to_text();
                let steps = plan.to_json()["steps"].as_array().map(Vec::len);
                assert!(!text.is_empty());
                assert_eq!(steps, Some(plan.steps().len()), "the two forms of the plan differ");
                // The walls that no configuration of an engine may take away.
                assert!(text.contains("pivot_root"), "a plan without a root of its own: {text}");
            }
            Err(why) => assert!(!why.to_string().is_empty()),
        }
    }
}

/// The same as an engine's: planned as a bundle, with its cgroup, on both versions of the hierarchy.
pub fn bundle(data: &[u8]) {
    let Ok((spec, _)) = capabilities::parse::<Spec>(data, "/process/capabilities") else { return };
    let options = bundle::Options { waits_for_start: true, ..Default::default() };
    for uid in [0, 1000] {
        let host = Host {
            uid,
            gid: uid,
            kernel: (6, 18),
            landlock_abi: 7,
            reads_audit: false,
            filters: &[],
            cgroups: Default::default(),
        };
        match Plan::of_bundle(&spec, &host, &options) {
            Ok(plan) => {
                let text = plan.to_text();
                // What no configuration of an engine may take away.
                for wall in ["pivot_root", "can't be traced", "close every descriptor", "wait for start"] {
                    assert!(text.contains(wall), "a plan without {wall}: {text}");
                }
            }
            Err(why) => assert!(!why.to_string().is_empty()),
        }
        match Wanted::plan(&spec, "id", Default::default(), &Hierarchies::probe()) {
            Ok(wanted) => assert!(!wanted.in_words().is_empty()),
            Err(why) => assert!(why.field.starts_with("linux"), "{why}"),
        }
    }
}

/// A policy file: read, looked over, laid on the defaults, compared, written down, turned into a specification and planned.
pub fn policy(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(parsed) = Policy::parse(&text, "policy.toml") {
        let problems = check::problems(&parsed);
        let wrong = problems.iter().any(|problem| problem.weight == check::Weight::Error);
        assert_eq!(wrong, Policy::from_toml(&text, "policy.toml").is_err(), "check and run do not agree");
        for problem in problems {
            let error = problem.error(&text, "policy.toml");
            assert!(error.place.starts_with("policy.toml") && !error.what.is_empty(), "{error}");
        }
    }
    let layer = match Policy::from_toml(&text, "policy.toml") {
        Ok(layer) => layer,
        Err(why) => return assert!(why.to_string().starts_with("policy.toml"), "{why}"),
    };
    let Ok(defaults) = Policy::defaults() else { panic!("the defaults can't be read") };
    let narrow = Policy { extend_only: Some(ExtendOnly::Narrow), ..defaults.clone() };
    let narrowed = narrow.merge(layer.clone(), "policy.toml");
    let Ok(policy) = defaults.clone().merge(layer, "policy.toml") else { return };
    // What may only be narrowed is taken exactly when nothing is wider.
    let wider = changes(&defaults, &policy).iter().any(|change| change.direction == Direction::Wider);
    assert_eq!(narrowed.is_err(), wider, "{narrowed:?}");
    assert!(changes(&policy, &policy).is_empty(), "a policy differs from itself");
    let written = policy.clone().settled().to_toml();
    match Policy::from_toml(&written, "written.toml") {
        Ok(again) => assert_eq!(changes(&policy, &again), [], "{written}"),
        Err(why) => panic!("{why}: {written}"),
    }
    let tree =
        RootTree { path: "/srv".into(), root: Default::default(), default_args: vec!["/bin/sh".into()] };
    let request = Request { id: "0".repeat(64), range: Some((100_000, 65_536)), ..Request::default() };
    for uid in [0, 1000] {
        let caller = Caller { uid, gid: uid, own: vec!["/usr/share/doc".into()], ..Caller::default() };
        let Ok(spec) = to_spec(&policy, &tree, &Identity::default(), &caller, &request) else { continue };
        let host = Host {
            uid,
            gid: uid,
            kernel: (6, 18),
            landlock_abi: 7,
            reads_audit: false,
            filters: &[],
            cgroups: Default::default(),
        };
        let Ok(planned) = Plan::new(&spec, &host) else { continue };
        // The walls that no policy may take away.
        let text = planned.to_text();
        for wall in
            ["pivot_root", "no_new_privs", "seccomp filter", "session keyring", "close every descriptor"]
        {
            assert!(text.contains(wall), "a plan without {wall}: {text}");
        }
        let reaches_state = |mount: &oci_spec::runtime::Mount| {
            mount.source().as_ref().is_some_and(|source| source.starts_with("/usr/share/doc"))
        };
        assert!(!spec.mounts().iter().flatten().any(reaches_state), "donjon's own state is mounted");
    }
}

/// The id of the container that the seeds are of.
pub const ID: &str = "5676c4537b11e472235defae598626398f299e4a26f4d4e7f926df1e624e8791";
/// The time of its creation.
pub const CREATED: &str = "2026-11-24T09:32:01.000Z";

/// The bytes of an event log: read, and held against all kinds of heads.
pub fn events(data: &[u8]) {
    for event in merge(data) {
        assert!(event.count > 0 || event.layer.len() <= data.len());
    }
    let closed = Closed { records: 2, head: "0".repeat(64), ..Closed::default() };
    let plain = Against { id: ID, created: CREATED, ..Against::default() };
    for against in [
        plain.clone(),
        Against { head: Some(data), ..plain.clone() },
        Against { closed: Some(&closed), noted: Some(Digest::first("", "")), ..plain.clone() },
    ] {
        let verdict = judge(data, &against);
        assert_eq!(verdict.status == Status::Damaged, !verdict.findings.is_empty(), "{verdict:?}");
    }
    // Lines that hold together, with their own head, are intact; with a byte more they are not.
    let verdict = judge(data, &plain);
    let Some(digest) = verdict.head.as_deref().and_then(Digest::parse) else { return };
    let text = format!("{:010} {:010} {digest}\n", verdict.records, data.len());
    assert!(Head::parse(text.as_bytes()).is_some());
    let with_head = |data: &[u8]| judge(data, &Against { head: Some(text.as_bytes()), ..plain.clone() });
    let rest = with_head(data).findings;
    assert!(rest.len() < verdict.findings.len() || verdict.findings.is_empty(), "{rest:?}");
    let mut more = data.to_vec();
    more.extend_from_slice(b"x");
    assert_eq!(with_head(&more).status, Status::Damaged);
}

/// The text of an audit log: whose refusals are in it.
pub fn audit(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let subject = Subject {
        id: ID.to_string(),
        init: 4711,
        apparmor: Some(format!("donjon-{}", &ID[..12])),
        selinux: Some("system_u:system_r:container_t:s0:c12,c34".to_string()),
        ids: Some(200_000..265_536),
    };
    let found = refusals(&text, &subject, &[4712].into());
    assert!(found.len() <= text.lines().count());
    for (refused, _) in found {
        assert!(!refused.layer.is_empty() && !refused.rule.is_empty(), "{refused:?}");
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use donjon_runtime::oci::template::template;

    use super::*;
    use crate::mutate::Dice;

    /// How long each test mutates.
    const BOUND: Duration = Duration::from_secs(10);

    const POLICIES: [&str; 2] =
        [include_str!("../seeds/policy/full.toml"), include_str!("../../../crates/policy/src/default.toml")];

    const PLANS: [&str; 2] =
        [include_str!("../seeds/plan/engine.json"), include_str!("../seeds/plan/host.json")];

    /// Calls `target` with mutations until the time is up; says with which input it failed.
    fn run(target: fn(&[u8]), mut mutation: impl FnMut(&mut Dice) -> Vec<u8>) {
        let mut dice = Dice::new(0xD0D0);
        let end = Instant::now() + BOUND;
        let mut count = 0;
        while Instant::now() < end {
            let data = mutation(&mut dice);
            let before = Instant::now();
            if let Err(panic) = std::panic::catch_unwind(|| target(&data)) {
                println!("input {count}: {}", String::from_utf8_lossy(&data));
                std::panic::resume_unwind(panic);
            }
            assert!(
                before.elapsed() < Duration::from_secs(2),
                "input {count} took {:?}: {}",
                before.elapsed(),
                String::from_utf8_lossy(&data)
            );
            count += 1;
        }
        assert!(count > 100, "only {count} inputs in {BOUND:?}");
        println!("{count} inputs");
    }

    #[test]
    fn the_seeds_are_planned() {
        let cgroups = donjon_confine::layers::cgroups::Hierarchy::V2 {
            parent: "/sys/fs/cgroup".into(),
            controllers: ["memory", "cpu", "pids"].map(String::from).to_vec(),
            step_aside: false,
        };
        let host = Host {
            uid: 1000,
            gid: 1000,
            kernel: (6, 18),
            landlock_abi: 7,
            reads_audit: false,
            filters: &[],
            cgroups,
        };
        for seed in PLANS {
            let spec: Spec = serde_json::from_str(seed).expect("a seed is a specification");
            plan(seed.as_bytes());
            let planned = Plan::new(&spec, &host);
            assert!(planned.is_ok(), "{planned:?}");
        }
    }

    #[test]
    fn the_seeds_are_policies() {
        for seed in POLICIES {
            Policy::from_toml(seed, "seed").unwrap_or_else(|why| panic!("{why}"));
            policy(seed.as_bytes());
        }
    }

    #[test]
    fn bytes_that_are_hardly_a_policy_do_no_harm() {
        run(policy, |dice| {
            let seed = POLICIES[dice.below(POLICIES.len())];
            dice.bytes(seed.as_bytes())
        });
    }

    #[test]
    fn policies_with_odd_values_do_no_harm() {
        let odd = [
            "-1", "0", "1e309", "nan", "\"\"", "\"/\"", "\"..\"", "\"/proc/self/fd/3\"", "\"@default\"",
            "[]", "{}", "true", "99999999999999999999", "\"99999999999g\"", "\"0:0\"", "\"\\u0000\"",
            "[\"\"]", "\"/usr/share/doc\"", "[\"/**\"]", "[\"/a/*/b\"]", "[\"/usr/**\", \"/usr\"]",
            "[\"@process\"]", "\"narrow\"", "\"enforce\"", "[\"*:*\"]", "[\"/proc/self/**\"]",
        ];
        run(policy, |dice| {
            let seed = POLICIES[dice.below(POLICIES.len())];
            let mut lines: Vec<String> = seed.lines().map(String::from).collect();
            for _ in 0..=dice.below(3) {
                let at = dice.below(lines.len());
                if let Some((key, _)) = lines[at].clone().split_once('=') {
                    lines[at] = format!("{key}= {}", odd[dice.below(odd.len())]);
                }
            }
            lines.join("\n").into_bytes()
        });
    }

    #[test]
    fn bytes_that_are_hardly_a_specification_do_no_harm() {
        run(plan, |dice| {
            let seed = PLANS[dice.below(PLANS.len())];
            dice.bytes(seed.as_bytes())
        });
    }

    /// What engines write: what `donjon spec` writes, and the same with everything that has a field.
    fn bundles() -> [serde_json::Value; 3] {
        let all = include_str!("../seeds/bundle/all.json");
        [template(None), template(Some((1000, 1000))), serde_json::from_str(all).expect("a seed is JSON")]
    }

    #[test]
    fn the_seeds_are_bundles() {
        let host = Host {
            uid: 0,
            gid: 0,
            kernel: (6, 18),
            landlock_abi: 7,
            reads_audit: false,
            filters: &[],
            cgroups: Default::default(),
        };
        for seed in bundles() {
            let bytes = serde_json::to_vec(&seed).expect("JSON");
            bundle(&bytes);
            let (spec, _) =
                capabilities::parse::<Spec>(&bytes, "/process/capabilities").expect("a specification");
            let planned = Plan::of_bundle(&spec, &host, &Default::default());
            assert!(planned.is_ok(), "{planned:?}");
        }
    }

    #[test]
    fn bytes_that_are_hardly_a_bundle_do_no_harm() {
        let seeds = bundles().map(|seed| serde_json::to_vec(&seed).expect("JSON"));
        run(bundle, |dice| {
            let seed = &seeds[dice.below(seeds.len())];
            dice.bytes(seed)
        });
    }

    #[test]
    fn bundles_with_odd_values_do_no_harm() {
        let seeds = bundles();
        run(bundle, |dice| {
            let seed = &seeds[dice.below(seeds.len())];
            dice.json(seed).to_string().into_bytes()
        });
    }

    #[test]
    fn specifications_with_odd_values_do_no_harm() {
        let seeds = PLANS.map(|s| serde_json::from_str::<serde_json::Value>(s).expect("a seed is JSON"));
        run(plan, |dice| {
            let seed = &seeds[dice.below(seeds.len())];
            dice.json(seed).to_string().into_bytes()
        });
    }

    const LOG: &str = include_str!("../seeds/events/log.jsonl");

    #[test]
    fn the_seed_is_an_intact_log() {
        let verdict = judge(LOG.as_bytes(), &Against { id: ID, created: CREATED, ..Against::default() });
        // Its head is not beside it.
        assert_eq!((verdict.records, verdict.findings.len()), (3, 1), "{verdict:?}");
        assert_eq!(merge(LOG.as_bytes()).len(), 3);
        events(LOG.as_bytes());
    }

    #[test]
    fn bytes_that_are_hardly_an_event_log_do_no_harm() {
        run(events, |dice| dice.bytes(LOG.as_bytes()));
    }

    #[test]
    fn bytes_that_are_hardly_an_audit_log_do_no_harm() {
        let seed = include_str!("../seeds/audit/audit.log");
        assert!(seed.lines().count() > 5);
        audit(seed.as_bytes());
        run(audit, |dice| dice.bytes(seed.as_bytes()));
    }
}
