//! R6, R8 and R12 through an engine's bundle: what a program in a container can do to the processes of donjon that come
//! near it, and which rights it gets.

use donjon_tests::{Bundle, Outcome, Run, World, eventually};
use serde_json::{Value, json};

/// All sets that hold a capability which a program can use.
const SETS: [&str; 3] = ["bounding", "effective", "permitted"];

/// A container whose program attacks with the right to trace everybody, in the background. Its output is in `said`.
fn eve<'w>(world: &'w World, attack: &[&str]) -> Bundle<'w> {
    let words = [&["/bin/attacker"][..], attack].concat();
    let mut bundle = world.bundle("eve", "");
    bundle.set("/process/args", json!(words));
    for set in SETS {
        bundle.push(&format!("/process/capabilities/{set}"), json!("CAP_SYS_PTRACE"));
    }
    bundle.set("/linux/cgroupsPath", json!(format!("/{}-eve", world.token())));
    bundle
}

/// Starts her; returns her pid.
fn let_loose(world: &World, eve: &Bundle<'_>) -> i64 {
    let _ = std::fs::remove_file(world.path("output"));
    eve.create("eve").go().succeeds();
    world.donjon(&["start", "eve"]).go().succeeds();
    assert!(eventually(5, || world.read("output").contains("watching")), "{}", world.read("output"));
    let state: Value = serde_json::from_str(&world.donjon(&["state", "eve"]).go().stdout).expect("JSON");
    state["pid"].as_i64().expect("a pid")
}

/// A bundle in her pid namespace, as in a pod.
fn neighbour<'w>(world: &'w World, pid: i64) -> Bundle<'w> {
    let mut bundle = world.bundle("bob", "sleep 60");
    let namespaces = bundle.config["linux"]["namespaces"].as_array_mut().expect("a list");
    for namespace in namespaces.iter_mut().filter(|n| n["type"] == "pid") {
        namespace["path"] = json!(format!("/proc/{pid}/ns/pid"));
    }
    bundle.write();
    bundle
}

/// Waits for her end and returns what she said.
fn confession(world: &World) -> String {
    assert!(eventually(20, || world.status("eve").as_deref() == Some("stopped")), "{}", world.read("output"));
    for id in ["bob", "eve"] {
        world.donjon(&["delete", "--force", id]).go().succeeds();
    }
    world.read("output")
}

/// A container is created beside her, waits, and is started; returns what she says to that.
fn beside<'w>(world: &'w World, how: impl Fn(Run<'w>) -> Run<'w>, attack: &[&str]) -> String {
    let eve = eve(world, attack);
    let bob = neighbour(world, let_loose(world, &eve));
    how(bob.create("bob")).output_to("/dev/null").go().succeeds();
    std::thread::sleep(std::time::Duration::from_millis(300));
    how(world.donjon(&["start", "bob"])).go();
    confession(world)
}

/// Processes join her container again and again.
fn joined<'w>(world: &'w World, how: impl Fn(Run<'w>) -> Run<'w>, attack: &[&str]) -> String {
    let eve = eve(world, attack);
    let_loose(world, &eve);
    for _ in 0..100 {
        // What she has open for writing can't be executed any more: she is left alone with what she found.
        if world.read("output").contains("found") {
            break;
        }
        how(world.donjon(&["exec", "eve", "/bin/true"])).go();
    }
    confession(world)
}

#[test]
fn r8_the_image_of_a_donjon_that_waits_in_a_pod_can_not_be_written_to() {
    // CVE-2019-5736, by a neighbour in the pid namespace that may trace.
    let world = World::root();
    let attack = ["overwrite-image", "3"];
    for hooked in [false, true] {
        let said = beside(&world, |run| if hooked { run.copied().hooked() } else { run.copied() }, &attack);
        assert!(said.contains("found") && said.contains("refused EROFS"), "{said}");
    }
    let said = beside(&world, |run| run.copied().without("own-image"), &attack);
    assert!(said.contains("in "), "the attack can't tell: {said}");
    world.assert_nothing_left("an attack on a donjon that waits");
}

#[test]
fn r8_the_image_of_a_donjon_that_joins_a_bundle_s_container_can_not_be_written_to() {
    let world = World::root();
    let attack = ["overwrite-image", "4"];
    for hooked in [false, true] {
        let said = joined(&world, |run| if hooked { run.copied().hooked() } else { run.copied() }, &attack);
        assert!(!said.contains("in ") && said.contains("refused"), "{said}");
    }
    let said = joined(&world, |run| run.copied().without("own-image"), &attack);
    assert!(said.contains("in "), "the attack can't tell: {said}");
    world.assert_nothing_left("an attack on a donjon that joins");
}

#[test]
fn r8_no_donjon_can_be_looked_into_by_a_program_that_may_not_trace() {
    for world in World::each() {
        let mut bundle = world.bundle("eve", "");
        bundle.set("/process/args", json!(["/bin/attacker", "images", "3"]));
        bundle.set("/linux/cgroupsPath", json!(format!("/{}-eve", world.token())));
        if world.uid() != 0 {
            bundle.config["linux"].as_object_mut().expect("an object").remove("cgroupsPath");
        }
        bundle.write();
        let_loose(&world, &bundle);
        for _ in 0..20 {
            world.donjon(&["exec", "eve", "/bin/true"]).go();
        }
        let said = confession(&world);
        assert!(said.contains("refused") && !said.contains("in /"), "{said}");
        world.assert_nothing_left("a program that looks for donjon");
    }
}

#[test]
fn r6_a_donjon_that_waits_in_a_pod_holds_no_directory_of_the_host() {
    // CVE-2016-9962: what the runtime has open, taken by a program that may trace it.
    let world = World::root();
    let attack = |protections: Option<&str>| {
        let mut eve = eve(&world, &[]);
        eve.script("echo watching; sleep 60");
        let bob = neighbour(&world, let_loose(&world, &eve));
        let bob = match protections {
            None => bob.create("bob"),
            Some(off) => bob.create("bob").without(off),
        };
        bob.output_to("/dev/null").go().succeeds();
        let run = world.donjon(&["exec", "eve", "/bin/attacker", "steal-descriptor", "1"]).go();
        for id in ["bob", "eve"] {
            world.donjon(&["delete", "--force", id]).go().succeeds();
        }
        run
    };
    attack(None).exits(1).says("refused");
    attack(Some("")).exits(1).says("refused");
    attack(Some("own-descriptors")).exits(0).says("in ");
    world.assert_nothing_left("an attack on descriptors");
}

/// Filters with which a process joins in another order: none; one that `no_new_privs` pays for; one that takes a right.
fn orders() -> [(&'static str, bool, Value); 3] {
    let one_refused = json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{"names": ["mknod"], "action": "SCMP_ACT_ERRNO"}]});
    [
        ("no filter", true, Value::Null),
        ("a filter and no_new_privs", true, one_refused.clone()),
        ("a filter without no_new_privs", false, one_refused),
    ]
}

#[test]
fn r18_a_process_that_joins_has_nothing_that_a_program_which_traces_it_could_use() {
    // CVE-2016-9962: the joining process, stopped while it still has the runtime's rights.
    let world = World::root();
    for (what, no_new_privs, filter) in orders() {
        let attack = |how: &dyn Fn(Run<'_>) -> bool| {
            let mut eve = eve(&world, &["hijack", "2"]);
            eve.set("/process/noNewPrivileges", json!(no_new_privs));
            if !filter.is_null() {
                eve.set("/linux/seccomp", filter.clone());
            }
            let_loose(&world, &eve);
            let end = std::time::Instant::now() + std::time::Duration::from_secs(2);
            while std::time::Instant::now() < end && !world.read("output").contains("in ") {
                if !how(world.donjon(&["exec", "eve", "/bin/true"])) {
                    break;
                }
            }
            confession(&world)
        };
        for hooked in [false, true] {
            let said = attack(&|run| (if hooked { run.hooked() } else { run }).go().code() == 0);
            assert!(said.contains("refused"), "{what}: {said}");
            assert!(!said.contains("held 0"), "{what}: she never had a process in her hands: {said}");
        }
        let said = attack(&|run| {
            run.without("fork-last").go();
            true
        });
        assert!(said.contains("in Cap"), "{what}: the attack can't tell: {said}");
    }
    world.assert_nothing_left("attacks on processes that join");
}

#[test]
fn r18_a_container_that_is_made_beside_a_program_which_traces_has_nothing_more_than_its_own_rights() {
    // The same through a pod: the first process, stopped while it is set up or waits for start.
    let world = World::root();
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("the kernel's release");
    let numbers: Vec<u32> = release.split(['.', '-']).map_while(|n| n.parse().ok()).take(2).collect();
    // Before that nobody can make a procfs of a namespace that he is not in, and the fork comes first.
    let held = numbers >= vec![6, 18];
    for (what, no_new_privs, filter) in orders() {
        let confine = |bundle: &mut Bundle<'_>| {
            bundle.set("/process/noNewPrivileges", json!(no_new_privs));
            if !filter.is_null() {
                bundle.set("/linux/seccomp", filter.clone());
            }
        };
        let attack = |how: &dyn Fn(Run<'_>) -> Outcome| {
            let mut eve = eve(&world, &["hijack", "2", "neighbour"]);
            confine(&mut eve);
            let mut bob = neighbour(&world, let_loose(&world, &eve));
            confine(&mut bob);
            let end = std::time::Instant::now() + std::time::Duration::from_secs(2);
            while std::time::Instant::now() < end && !world.read("output").contains("in ") {
                // When she ends, her pid namespace ends with her.
                how(bob.create("bob").output_to("/dev/null"));
                how(world.donjon(&["start", "bob"]));
                world.donjon(&["delete", "--force", "bob"]).go();
            }
            confession(&world)
        };
        for hooked in [false, true] {
            let said = attack(&|run| (if hooked { run.hooked() } else { run }).go());
            assert_eq!(said.contains("refused"), held, "{what}: {said}");
            assert!(!said.contains("held 0"), "{what}: she never had a process in her hands: {said}");
        }
        let said = attack(&|run| run.without("fork-last").go());
        assert!(said.contains("in Cap"), "{what}: the attack can't tell: {said}");
    }
    world.assert_nothing_left("attacks on containers that are made in a pod");
}

/// A set of capabilities, as the kernel tells it.
fn held(run: &Outcome, set: &str) -> u64 {
    u64::from_str_radix(&run.field(set), 16).expect("a set")
}

const ALL_SETS: [&str; 5] = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];

#[test]
fn r12_a_program_of_a_bundle_holds_what_its_process_names_and_nothing_else() {
    for world in World::each() {
        let mut bundle = world.bundle("b", "cat /proc/self/status");
        let (audit, bind) = (1u64 << 29, 1u64 << 10);
        let named = json!(["CAP_AUDIT_WRITE", "CAP_NET_BIND_SERVICE"]);
        bundle
            .set("/process/capabilities", json!({"bounding": named, "effective": named, "permitted": named}));
        for run in [bundle.run("c1").go(), bundle.run("c1").hooked().go()] {
            for (set, expected) in ALL_SETS.into_iter().zip([0, audit | bind, audit | bind, audit | bind, 0])
            {
                assert_eq!(held(&run, set), expected, "{set}: {run:?}");
            }
            assert_eq!(run.field("NoNewPrivs"), "1");
        }
        let open = bundle.run("c1").without("capabilities").go();
        assert_ne!(held(&open, "CapEff") & !(audit | bind), 0, "the test can't tell: {open:?}");
        bundle.set("/process/capabilities", Value::Null);
        let run = bundle.run("c1").go();
        assert!(ALL_SETS.into_iter().all(|set| held(&run, set) == 0), "{run:?}");
    }
}

#[test]
fn r12_exec_gets_what_its_process_file_says_and_never_what_the_container_may() {
    // CVE-2025-27612: the container's bounding set, or the caller's rights, for a process that named none.
    for world in World::each() {
        let mut bundle = world.bundle("b", "sleep 60");
        for set in SETS {
            bundle.push(&format!("/process/capabilities/{set}"), json!("CAP_SYS_CHROOT"));
        }
        bundle.create("c1").go().succeeds();
        world.donjon(&["start", "c1"]).go().succeeds();
        let look = |process: &Value| {
            let file = world.file("process.json", &process.to_string());
            world.donjon(&["exec", "--process", file.to_str().expect("UTF-8"), "c1"])
        };
        let plain = json!({"args": ["cat", "/proc/self/status"], "env": ["PATH=/bin"], "cwd": "/",
                           "user": {"uid": 0, "gid": 0}});
        let mut empty = plain.clone();
        empty["capabilities"] = json!({});
        let mut bounding = plain.clone();
        bounding["capabilities"] = json!({"bounding": ["CAP_KILL"], "permitted": ["CAP_KILL", "CAP_CHOWN"]});
        for process in [&plain, &empty] {
            for run in [look(process).go(), look(process).hooked().go()] {
                assert!(ALL_SETS.into_iter().all(|set| held(&run, set) == 0), "{run:?}");
            }
            let open = look(process).without("capabilities").go();
            assert_ne!(held(&open, "CapEff"), 0, "the test can't tell: {open:?}");
        }
        // What lies outside the bounding set is not held either.
        let run = look(&bounding).go();
        for (set, expected) in ALL_SETS.into_iter().zip([0, 1 << 5, 1 << 5, 1 << 5, 0]) {
            assert_eq!(held(&run, set), expected, "{set}: {run:?}");
        }
        let status = ["exec", "--cap", "CAP_KILL", "c1", "cat", "/proc/self/status"];
        let run = world.donjon(&status).go();
        let own = held(&world.donjon(&["exec", "c1", "cat", "/proc/1/status"]).go(), "CapBnd");
        assert_eq!(held(&run, "CapBnd"), own | 1 << 5, "{run:?}");
        world.donjon(&["delete", "--force", "c1"]).go().succeeds();
        world.assert_nothing_left("rights of exec");
    }
}

#[test]
fn r28_an_id_that_the_kernel_takes_for_no_change_is_nobody_s() {
    // CVE-2026-30892: a wrong user of exec became root.
    for world in World::each() {
        let mut bundle = world.bundle("b", "id -u");
        for (field, value) in [
            ("uid", json!(u32::MAX)),
            ("gid", json!(u32::MAX)),
            ("additionalGids", json!([u32::MAX])),
            ("uid", json!(-1)),
            ("uid", json!("0")),
            ("uid", json!(1u64 << 32)),
        ] {
            let before = bundle.config.clone();
            bundle.set(&format!("/process/user/{field}"), value);
            bundle.run("c1").go().exits(1).complains("process.user").prints("");
            bundle.config = before;
            bundle.write();
        }
        bundle.script("sleep 60");
        bundle.create("c1").go().succeeds();
        world.donjon(&["start", "c1"]).go().succeeds();
        for user in ["4294967295", "0:4294967295", "4294967296", "-1", "", "root", "0x0", "1 ", "1:", ":1"] {
            let run = world.donjon(&["exec", "--user", user, "c1", "id", "-u"]).go();
            run.exits(255).prints("");
            assert!(!run.stderr.trim().is_empty(), "{user:?}: {run:?}");
        }
        world.donjon(&["exec", "-g", "4294967295", "c1", "id"]).go().exits(255).prints("");
        world
            .donjon(&["exec", "--preserve-fds", "9", "c1", "id"])
            .go()
            .exits(255)
            .complains("--preserve-fds");
        world.donjon(&["delete", "--force", "c1"]).go().succeeds();
        world.assert_nothing_left("ids that are none");
    }
}
