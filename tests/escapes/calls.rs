//! R13, R14, R15: what the filter and the ceilings keep away from the kernel.

use donjon_tests::{World, attacker_outside};

use crate::{held_by, held_by_each};

#[test]
fn r13_only_the_named_socket_families_are_given() {
    let world = World::ordinary();
    for run in [world.attack(&["--rm"], &["families"]), world.attack(&["--rm"], &["families"]).hooked()] {
        run.go().succeeds().prints("1 2 10 16");
    }
    let open = world.attack(&["--rm"], &["families"]).without("seccomp").go();
    assert!(open.stdout.split_whitespace().count() > 4, "the attack can't tell: {open:?}");
}

#[test]
fn r13_of_netlink_only_routing_is_given() {
    let world = World::ordinary();
    world.attack(&["--rm"], &["socket", "16", "3", "0"]).go().exits(0);
    // NETLINK_NETFILTER, NETLINK_AUDIT, NETLINK_KOBJECT_UEVENT, NETLINK_XFRM, NETLINK_GENERIC.
    for protocol in ["12", "15", "16"] {
        held_by(&world, &[], &["socket", "16", "3", protocol], "seccomp");
    }
    for protocol in ["6", "9"] {
        world.attack(&["--rm"], &["socket", "16", "3", protocol]).go().exits(1);
    }
}

#[test]
fn r13_the_kernels_crypto_sockets_are_refused() {
    // AF_ALG: a page-cache write through splice (Copy Fail, CVE-2026-31431).
    let world = World::ordinary();
    world.attack(&["--rm"], &["socket", "38", "5", "0"]).go().exits(1);
}

#[test]
fn r13_io_uring_is_unknown() {
    let world = World::ordinary();
    // io_uring_setup(1, null): EFAULT where it exists.
    world.attack(&["--rm"], &["syscall", "425", "1", "0"]).go().exits(1).prints("refused ENOSYS");
    let open = world.attack(&["--rm"], &["syscall", "425", "1", "0"]).without("seccomp").go();
    assert_ne!(open.stdout.trim(), "refused ENOSYS", "the attack can't tell");
}

#[test]
fn r13_dangerous_calls_are_refused() {
    let world = World::ordinary();
    // Each with arguments that the kernel answers otherwise than EPERM or ENOSYS when it gets to see them.
    let calls: [(&str, &[&str]); 12] = [
        ("bpf", &["321", "5000", "0", "0"]),
        ("perf_event_open", &["298", "0", "0", "-1", "-1", "0"]),
        ("userfaultfd", &["323", "1"]),
        ("keyctl", &["250", "0", "-3", "0"]),
        ("add_key", &["248", "0", "0", "0", "0", "0"]),
        ("request_key", &["249", "0", "0", "0", "0"]),
        ("kexec_load", &["246", "0", "0", "0", "0"]),
        ("open_by_handle_at", &["304", "-1", "0", "0"]),
        ("mount", &["165", "0", "0", "0", "0", "0"]),
        ("fsopen", &["430", "0", "0"]),
        ("pivot_root", &["155", "0", "0"]),
        ("ptrace of nobody", &["101", "16", "0"]),
    ];
    for (name, attack) in calls {
        let mut words = vec!["syscall"];
        words.extend_from_slice(attack);
        let run = world.attack(&["--rm"], &words).go();
        let refused = run.stdout.trim() == "refused EPERM" || run.stdout.trim() == "refused ENOSYS";
        // ptrace is allowed by many policies, since debuggers inside are harmless; it must not reach outside.
        assert!(refused || name.starts_with("ptrace"), "{name}: {run:?}");
    }
}

#[test]
fn r13_clone3_is_unknown_so_that_flags_can_be_seen() {
    let world = World::ordinary();
    world.attack(&["--rm"], &["userns", "clone3"]).go().exits(1).prints("refused ENOSYS");
}

#[test]
fn r13_the_32_bit_entry_is_closed() {
    let world = World::ordinary();
    // getppid is 64 there; socket through socketcall (102) is how a filter was passed by (CVE-2026-123876).
    let outside = attacker_outside(&["int80", "64"]);
    if outside.0 != 0 {
        // This kernel has no 32-bit entry at all, so there is nothing to close and the attack dies everywhere.
        let inside = world.attack(&["--rm"], &["int80", "64"]).go();
        assert_ne!(inside.code(), 0);
        return;
    }
    let run = world.attack(&["--rm"], &["int80", "64"]).go();
    assert_ne!(run.code(), 0, "{run:?}");
    world.attack(&["--rm"], &["int80", "64"]).without("seccomp").go().exits(0);
}

#[test]
fn r13_the_x32_entry_is_closed() {
    let world = World::ordinary();
    let run = world.attack(&["--rm"], &["syscall", "0x4000006e"]).go();
    assert_ne!(run.code(), 0, "{run:?}");
}

#[test]
fn r14_no_system_call_number_gets_more_than_the_filter_says() {
    // Whole-program side of the tests beside the compiler: numbers beyond the table are unknown, whatever they are.
    let world = World::ordinary();
    for number in ["500", "512", "547", "1000", "0xffffffff", "0x80000000", "-1"] {
        world.attack(&["--rm"], &["syscall", number]).go().exits(1).prints("refused ENOSYS");
    }
}

#[test]
fn r15_a_nested_user_namespace_is_refused_by_the_filter_and_by_the_ceiling() {
    let world = World::ordinary();
    held_by_each(&world, &[], &["userns", "unshare"], &["seccomp", "userns-limit"]);
    held_by_each(&world, &[], &["userns", "clone"], &["seccomp", "userns-limit"]);
}

#[test]
fn r15_other_namespaces_are_refused() {
    let world = World::ordinary();
    for flag in ["0x20000", "0x40000000", "0x20000000", "0x08000000", "0x04000000", "0x02000000", "0x80"] {
        world.attack(&["--rm"], &["syscall", "272", flag]).go().exits(1);
        world.attack(&["--rm", "--cap-add", "SYS_CHROOT"], &["syscall", "272", flag]).go().exits(1);
    }
}

#[test]
fn r15_setns_is_refused() {
    let world = World::ordinary();
    let run = world.shell(&["--rm"], "exec 5</proc/self/ns/user; attacker syscall 308 5 0").go();
    run.exits(1);
}

#[test]
fn r13_a_key_of_the_callers_session_is_not_found() {
    let world = World::ordinary();
    let name = format!("donjon-{}", world.token());
    let attack = ["key", name.as_str()];
    for run in [world.attack(&["--rm"], &attack), world.attack(&["--rm"], &attack).hooked()] {
        run.with_key(&name).go().exits(1);
    }
    // The private keyring alone holds, and so does the filter.
    world.attack(&["--rm"], &attack).with_key(&name).without("seccomp").go().exits(1);
    world.attack(&["--rm"], &attack).with_key(&name).without("keyring").go().exits(1);
    world.attack(&["--rm"], &attack).with_key(&name).without("seccomp,keyring").go().exits(0);
}

#[test]
fn r13_processes_are_limited_even_without_a_cgroup() {
    let world = World::ordinary();
    let options = ["--rm", "--pids-limit", "40"];
    let count =
        |run: donjon_tests::Run<'_>| run.go().succeeds().stdout.trim().parse::<usize>().expect("a count");
    assert!(count(world.attack(&options, &["forks", "200"])) < 40);
    assert!(count(world.attack(&options, &["forks", "200"]).hooked()) < 40);
    assert_eq!(count(world.attack(&options, &["forks", "200"]).without("nproc")), 200);
}
