use std::os::fd::AsFd;

use donjon_sys::seccomp as sys;
use oci_spec::runtime::LinuxSeccomp;
use rustix::io::Errno;

use super::interpret::{Data, expected, run};
use super::*;

const ALLOW: u32 = 0x7fff_0000;
const NOTIFY: u32 = 0x7fc0_0000;
const ENOSYS: u32 = 0x0005_0000 | 38;
const EPERM: u32 = 0x0005_0000 | 1;

fn policy(record: bool) -> SyscallPolicy {
    SyscallPolicy {
        allow: vec!["@default".into()],
        families: ["unix", "inet", "inet6", "netlink-route"].map(String::from).to_vec(),
        squash: true,
        record,
        ..SyscallPolicy::default()
    }
}

fn answer(profile: &LinuxSeccomp, call: &str, args: &[u64]) -> u32 {
    let mut six = [0; 6];
    six[..args.len()].copy_from_slice(args);
    let program = compile(profile).unwrap();
    run(&program.filter, &Data { nr: number(call).unwrap(), arch: AUDIT_ARCH, args: six }).unwrap().0
}

/// Values around every constant that a rule may compare with.
fn samples(profile: &LinuxSeccomp) -> Vec<u64> {
    let mut values = vec![0, 1, 2, u64::MAX, 1 << 32, (1 << 32) + 1, 0xffff_ffff, 0x8000_0000];
    for arg in profile.syscalls().iter().flatten().flat_map(|r| r.args().iter().flatten()) {
        for v in [arg.value(), arg.value_two().unwrap_or(0)] {
            values.extend([v, v.wrapping_add(1), v.wrapping_sub(1), v | 1 << 32, !v]);
        }
    }
    values.sort_unstable();
    values.dedup();
    values
}

fn agrees(profile: &LinuxSeccomp) {
    let program = compile(profile).unwrap();
    let values = samples(profile);
    let numbers =
        (0..=1023).chain([0x4000_0000, 0x4000_0001, 0x4000_0200, 0x7fff_ffff, 0x8000_0000, u32::MAX]);
    for nr in numbers {
        for arch in [AUDIT_ARCH, 0x4000_0003, 0xc000_00b7, 0] {
            let conditional = profile
                .syscalls()
                .iter()
                .flatten()
                .any(|r| r.args().is_some() && r.names().iter().any(|n| number(n) == Some(nr)));
            let picks = if conditional && arch == AUDIT_ARCH { values.len() } else { 1 };
            for i in 0..picks {
                for j in 0..picks.min(5) {
                    let other = values[(i * 7 + j * 13) % values.len()];
                    let args = [values[i], other, values[(i + j) % values.len()], 0, other, values[j]];
                    let data = Data { nr, arch, args };
                    assert_eq!(run(&program.filter, &data).unwrap().0, expected(profile, &data), "{data:x?}");
                }
            }
        }
    }
}

#[test]
fn the_default_filter_says_what_the_profile_says_about_every_call() {
    for record in [true, false] {
        for squash in [true, false] {
            for nested_userns in [true, false] {
                agrees(&profile(&SyscallPolicy { squash, nested_userns, ..policy(record) }).unwrap());
            }
        }
    }
}

#[test]
fn the_filter_of_every_capability_says_what_the_profile_says() {
    for (capability, _) in sets::BY_CAPABILITY {
        agrees(
            &profile(&SyscallPolicy { capabilities: vec![capability.to_string()], ..policy(true) }).unwrap(),
        );
    }
}

#[test]
fn profiles_made_at_random_compile_to_what_they_say() {
    // A small generator with a fixed seed: the same profiles each time.
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let mut next = move |n: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % n
    };
    let names: Vec<&str> = all_names().collect();
    let actions = ["ALLOW", "ERRNO", "KILL_PROCESS", "TRAP", "LOG", "TRACE", "NOTIFY"];
    let operators = ["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"];
    for _ in 0..12 {
        let rules: Vec<serde_json::Value> = (0..next(60) + 1)
            .map(|_| {
                let names: Vec<&str> =
                    (0..next(12) + 1).map(|_| names[next(names.len() as u64) as usize]).collect();
                let args: Vec<serde_json::Value> = (0..next(4))
                    .map(|_| {
                        let wide = next(3) == 0;
                        let value = if wide { next(u64::MAX) } else { next(16) };
                        serde_json::json!({
                            "index": next(6), "value": value, "valueTwo": value & next(u64::MAX),
                            "op": format!("SCMP_CMP_{}", operators[next(7) as usize]),
                        })
                    })
                    .collect();
                serde_json::json!({
                    "names": names, "args": args, "errnoRet": next(100) + 1,
                    "action": format!("SCMP_ACT_{}", actions[next(7) as usize]),
                })
            })
            .collect();
        let profile = serde_json::from_value(serde_json::json!({
            "defaultAction": format!("SCMP_ACT_{}", actions[next(7) as usize]), "syscalls": rules,
        }))
        .unwrap();
        agrees(&profile);
    }
}

#[test]
fn what_attackers_need_does_not_exist() {
    let p = profile(&policy(true)).unwrap();
    for call in [
        "io_uring_setup", "io_uring_enter", "io_uring_register", "userfaultfd", "keyctl", "add_key",
        "request_key", "bpf", "perf_event_open", "ptrace", "process_vm_readv", "process_vm_writev", "mount",
        "umount2", "pivot_root", "open_tree", "move_mount", "fsopen", "setns", "chroot", "kexec_load",
        "init_module", "finit_module", "open_by_handle_at", "name_to_handle_at", "quotactl", "reboot",
        "swapon", "acct", "settimeofday", "clock_settime", "iopl", "ioperm", "syslog", "vmsplice",
        "fanotify_init", "lookup_dcookie", "modify_ldt", "personality",
    ] {
        let args = if call == "personality" { vec![0x40_0000] } else { vec![] };
        assert_eq!(answer(&p, call, &args), NOTIFY, "{call}");
    }
    assert_eq!(answer(&p, "clone3", &[]), ENOSYS);
    assert_eq!(answer(&p, "clone", &[0x1000_0011]), NOTIFY, "a new user namespace");
    assert_eq!(answer(&p, "clone", &[0x11]), ALLOW, "fork");
    assert_eq!(answer(&p, "unshare", &[0x2_0000]), NOTIFY);
    assert_eq!(answer(&p, "unshare", &[0x200]), ALLOW, "CLONE_FS");
    assert_eq!(answer(&p, "ioctl", &[0, 0x5412]), NOTIFY, "TIOCSTI");
    assert_eq!(answer(&p, "ioctl", &[0, 0x5412 | 1 << 32]), NOTIFY, "the kernel cuts the request to 32 bits");
    assert_eq!(answer(&p, "ioctl", &[0, 0x5401]), ALLOW);
    assert_eq!(answer(&p, "prctl", &[1, 0]), NOTIFY);
    assert_eq!(answer(&p, "setuid", &[1000]), 0x0005_0000, "squashed");
    assert_eq!(answer(&p, "mknod", &[0, 0o020_666]), NOTIFY);
    assert_eq!(answer(&p, "mknod", &[0, 0o010_666]), ALLOW);
    let families = |family: u64, protocol: u64| answer(&p, "socket", &[family, 1, protocol]);
    for family in 0..64u64 {
        let want = if matches!(family, 1 | 2 | 10 | 16) { ALLOW } else { NOTIFY };
        assert_eq!(families(family, 0), want, "family {family}");
    }
    assert_eq!(families(16, 9), NOTIFY, "netlink audit");
    assert_eq!(families(2, 262), NOTIFY, "MPTCP");
    assert_eq!(families(2, 132), NOTIFY, "SCTP");
    assert_eq!(families(2 | 1 << 32, 6), ALLOW, "the kernel cuts the family to 32 bits");
}

#[test]
fn without_a_listener_refused_calls_answer_eperm() {
    let p = profile(&policy(false)).unwrap();
    assert!(!compile(&p).unwrap().listener);
    assert_eq!(answer(&p, "keyctl", &[]), EPERM);
    assert_eq!(answer(&p, "ioctl", &[0, 0x5412]), EPERM);
}

#[test]
fn what_the_hand_over_needs_is_never_reported() {
    // Between loading the filter and exec the child sends the listener away; nobody answers yet.
    let p = profile(&policy(true)).unwrap();
    for call in ["sendmsg", "write", "close", "execve", "exit_group"] {
        assert_eq!(answer(&p, call, &[]), ALLOW, "{call}");
    }
}

#[test]
fn three_tenths_of_the_system_calls_are_out_of_reach() {
    let p = profile(&policy(true)).unwrap();
    let reachable: std::collections::BTreeSet<&String> = p
        .syscalls()
        .iter()
        .flatten()
        .filter(|r| u32::from(r.action()) == ALLOW)
        .flat_map(|r| r.names())
        .collect();
    println!("{} of {} system calls are reachable", reachable.len(), all_names().count());
    assert!(reachable.len() * 10 <= all_names().count() * 7, "{}", reachable.len());
}

#[test]
fn names_that_do_not_exist_are_errors_in_a_policy() {
    let bad = |allow: &str| profile(&SyscallPolicy { allow: vec![allow.into()], ..SyscallPolicy::default() });
    assert!(matches!(bad("opeat"), Err(SeccompError::UnknownCall(_))));
    assert!(matches!(bad("@fils"), Err(SeccompError::UnknownSet(_))));
    let family = SyscallPolicy {
        families: vec!["ipx".into()],
        allow: vec!["@default".into()],
        ..SyscallPolicy::default()
    };
    assert!(matches!(profile(&family), Err(SeccompError::UnknownFamily(_))));
}

#[test]
fn what_every_start_needs_can_not_be_left_out() {
    for name in ["sendmsg", "execve", "close", "exit_group"] {
        let denied = SyscallPolicy {
            allow: vec!["@default".into()],
            deny: vec![name.into()],
            ..SyscallPolicy::default()
        };
        assert!(matches!(profile(&denied), Err(SeccompError::Needed(_))), "{name}");
    }
    let too_few = SyscallPolicy { allow: vec!["@timer".into()], ..SyscallPolicy::default() };
    assert!(matches!(profile(&too_few), Err(SeccompError::Needed(_))));
}

#[test]
fn personality_by_its_own_name_is_opened_whatever_its_argument() {
    let open = |allow: &[&str]| {
        let allow = allow.iter().map(|a| a.to_string()).collect();
        let profile = profile(&SyscallPolicy { allow, ..SyscallPolicy::default() }).unwrap();
        // ADDR_NO_RANDOMIZE
        answer(&profile, "personality", &[0x0004_0000]) == ALLOW
    };
    assert!(!open(&["@default"]) && open(&["@default", "personality"]));
}

#[test]
fn the_members_of_all_sets_are_system_calls() {
    for (set, _, members) in sets::SETS {
        for member in *members {
            assert!(number(member).is_some() || cfg!(not(target_arch = "x86_64")), "{member} of {set}");
        }
    }
}

#[test]
fn a_loaded_filter_refuses_for_real() {
    let program = compile(&profile(&policy(false)).unwrap()).unwrap();
    std::thread::spawn(move || {
        donjon_sys::process::no_new_privs().unwrap();
        sys::load(&program.filter, 0).unwrap();
        assert_eq!(donjon_sys::process::unshare(0x1000_0000), Err(Errno::PERM));
        assert_eq!(donjon_sys::process::join_session_keyring(), Err(Errno::PERM));
        let family = rustix::net::AddressFamily::from_raw(40);
        let made = rustix::net::socket(family, rustix::net::SocketType::STREAM, None);
        assert_eq!(made.err(), Some(Errno::PERM), "vsock");
    })
    .join()
    .unwrap();
}

#[test]
fn a_listener_hears_of_a_refused_call_and_answers_it() {
    let program = compile(&profile(&policy(true)).unwrap()).unwrap();
    let (sender, receiver) = std::sync::mpsc::channel();
    let refused = std::thread::spawn(move || {
        donjon_sys::process::no_new_privs().unwrap();
        sender.send(sys::load(&program.filter, program.load_flags()).unwrap().unwrap()).unwrap();
        donjon_sys::process::join_session_keyring()
    });
    let listener = receiver.recv().unwrap();
    let notification = sys::receive(listener.as_fd()).unwrap();
    assert_eq!(name(notification.nr), Some("keyctl"));
    assert!(notify::describe(notification.nr, &notification.args).allow.is_some());
    sys::refuse(listener.as_fd(), notification.id, Errno::NOTSUP).unwrap();
    assert_eq!(refused.join().unwrap(), Err(Errno::NOTSUP));
}

#[test]
fn the_common_path_is_short() {
    let program = compile(&profile(&policy(true)).unwrap()).unwrap();
    let steps = |call: &str| {
        run(&program.filter, &Data { nr: number(call).unwrap(), arch: AUDIT_ARCH, args: [0; 6] }).unwrap().1
    };
    println!("{} instructions; read takes {}, futex {}", program.filter.len(), steps("read"), steps("futex"));
    assert!(all_names().all(|call| is_conditional(call) || steps(call) <= 16));
}

fn is_conditional(call: &str) -> bool {
    profile(&policy(true))
        .unwrap()
        .syscalls()
        .iter()
        .flatten()
        .any(|r| r.args().is_some() && r.names().iter().any(|n| n == call))
}
