//! What the fuzzers call, and a bounded run of it on a stable toolchain.
//!
//! Each function takes any bytes. It may refuse them; it may not panic, overflow, hang, or contradict itself.
#![forbid(unsafe_code)]

pub mod mutate;

use donjon_confine::{Host, Plan, Spec};

/// An OCI configuration: read, planned, and the plan printed both ways.
pub fn plan(data: &[u8]) {
    let Ok(spec) = serde_json::from_slice::<Spec>(data) else { return };
    for (uid, gid, landlock_abi) in [(1000, 1000, 7), (0, 0, 1), (u32::MAX - 1, 0, 0)] {
        let host = Host { uid, gid, kernel: (6, 18), landlock_abi, cgroups: Default::default() };
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

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::mutate::Dice;

    /// How long each test mutates.
    const BOUND: Duration = Duration::from_secs(10);

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
        let host =
            Host { uid: 1000, gid: 1000, kernel: (6, 18), landlock_abi: 7, cgroups: Default::default() };
        for seed in PLANS {
            let spec: Spec = serde_json::from_str(seed).expect("a seed is a specification");
            plan(seed.as_bytes());
            let planned = Plan::new(&spec, &host);
            assert!(planned.is_ok(), "{planned:?}");
        }
    }

    #[test]
    fn bytes_that_are_hardly_a_specification_do_no_harm() {
        run(plan, |dice| {
            let seed = PLANS[dice.below(PLANS.len())];
            dice.bytes(seed.as_bytes())
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
}
