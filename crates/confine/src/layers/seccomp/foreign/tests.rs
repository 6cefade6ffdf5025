use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::super::interpret::{Data, run};
use super::*;

const ALLOW: u32 = 0x7fff_0000;
const KILL: u32 = 0;
const EPERM: u32 = 0x0005_0001;

fn read_profile(profile: Value) -> LinuxSeccomp {
    serde_json::from_value(profile).unwrap()
}

fn compiled(profile: Value) -> Program {
    compile(&read_profile(profile)).unwrap().0
}

fn notes(profile: Value) -> Vec<String> {
    compile(&read_profile(profile)).unwrap().1
}

/// The field that is refused.
fn refused(profile: Value) -> (String, String) {
    compile(&read_profile(profile)).unwrap_err().field_and_reason()
}

fn answer(program: &Program, arch: u32, nr: u32, args: &[u64]) -> u32 {
    let mut six = [0; 6];
    six[..args.len()].copy_from_slice(args);
    run(&program.filter, &Data { nr, arch, args: six }).unwrap().0
}

fn native(program: &Program, name: &str, args: &[u64]) -> u32 {
    answer(program, AUDIT_ARCH, abi::native(name).unwrap(), args)
}

/// An allow-list with `execve` and these rules.
fn allow_list(rules: Value) -> Value {
    let mut syscalls = vec![json!({ "names": ["execve"], "action": "SCMP_ACT_ALLOW" })];
    syscalls.extend(rules.as_array().unwrap().iter().cloned());
    json!({ "defaultAction": "SCMP_ACT_ERRNO", "syscalls": syscalls })
}

/// Each line of `answers` is what libseccomp's filter, with the front that runc puts before it, said about a range of
/// numbers: architecture, first and last number, four arguments, and the value.
#[cfg(target_arch = "x86_64")]
fn agrees_with_libseccomp(profile: &str, answers: &str) {
    let program = compile(&serde_json::from_str(profile).unwrap()).unwrap().0;
    let hex = |text: &str| u64::from_str_radix(text, 16).unwrap();
    let mut compared = 0;
    for line in answers.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let (first, last) = words[1].split_once('-').unwrap();
        let args: Vec<u64> = words[2].split(',').map(hex).collect();
        for nr in hex(first)..=hex(last) {
            let said = answer(&program, hex(words[0]) as u32, nr as u32, &args);
            assert_eq!(said, hex(words[3]) as u32, "{line}: number {nr:#x}");
            compared += 1;
        }
    }
    assert!(compared > 3000, "{compared}");
}

#[cfg(target_arch = "x86_64")]
#[test]
fn an_allow_list_like_dockers_means_what_it_means_under_runc() {
    agrees_with_libseccomp(include_str!("golden/allow-list.json"), include_str!("golden/allow-list.answers"));
}

#[cfg(target_arch = "x86_64")]
#[test]
fn rules_about_sockets_like_podmans_mean_what_they_mean_under_runc() {
    agrees_with_libseccomp(
        include_str!("golden/audit-socket.json"),
        include_str!("golden/audit-socket.answers"),
    );
}

#[cfg(target_arch = "x86_64")]
#[test]
fn a_deny_list_of_every_action_means_what_it_means_under_runc() {
    agrees_with_libseccomp(include_str!("golden/deny-list.json"), include_str!("golden/deny-list.answers"));
}

#[cfg(target_arch = "x86_64")]
#[test]
fn rules_that_meet_are_decided_as_libseccomp_decides_them() {
    agrees_with_libseccomp(include_str!("golden/precedence.json"), include_str!("golden/precedence.answers"));
}

/// Whether a rule is about this call, read plainly.
fn matches(rule: &Words<'_>, narrow: bool, args: &[u64; 6]) -> bool {
    let alternatives = if narrow { &rule.narrow } else { &rule.wide };
    alternatives.iter().any(|conditions| {
        conditions.iter().all(|c| {
            let arg = args[c.index as usize] & if narrow { 0xffff_ffff } else { u64::MAX };
            match c.operator {
                Operator::ScmpCmpNe => arg != c.value,
                Operator::ScmpCmpLt => arg < c.value,
                Operator::ScmpCmpLe => arg <= c.value,
                Operator::ScmpCmpEq => arg == c.value,
                Operator::ScmpCmpGe => arg >= c.value,
                Operator::ScmpCmpGt => arg > c.value,
                Operator::ScmpCmpMaskedEq => arg & c.value == c.wanted,
            }
        })
    })
}

#[test]
fn profiles_made_at_random_say_what_their_rules_say_on_every_interface() {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = move |n: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % n
    };
    let names: Vec<&str> = super::super::all_names().filter(|name| *name != "execve").collect();
    let operators = ["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"];
    let mut decided = [0; 2];
    for _ in 0..25 {
        let few: Vec<&str> = (0..8).map(|_| names[next(names.len() as u64) as usize]).collect();
        let rules: Vec<Value> = (0..next(30) + 1)
            .map(|_| {
                let args: Vec<Value> = (0..next(4))
                    .map(|_| {
                        let value = if next(3) == 0 { next(u64::MAX) } else { next(8) };
                        let op = format!("SCMP_CMP_{}", operators[next(7) as usize]);
                        json!({ "index": next(4), "value": value, "valueTwo": next(8), "op": op })
                    })
                    .collect();
                json!({ "names": [few[next(8) as usize]], "action": "SCMP_ACT_LOG", "args": args })
            })
            .collect();
        let mut profile = allow_list(Value::Array(rules));
        profile["architectures"] = json!(["SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_ARM"]);
        profile["defaultErrnoRet"] = json!(38);
        let profile = read_profile(profile);
        let program = compile(&profile).unwrap().0;
        let rules = read(&profile).unwrap();
        for abi in &ABIS {
            for name in &few {
                let Some(nr) = (abi.number)(name, abi::native(name)) else { continue };
                if ABIS.iter().any(|abi| (abi.multiplexed)(name).is_some()) {
                    continue;
                }
                for _ in 0..60 {
                    let args = [0; 6].map(|_: u64| match next(4) {
                        0 => next(u64::MAX),
                        1 => next(8) | next(2) << 32,
                        _ => next(8),
                    });
                    let logged = rules.iter().any(|rule| {
                        rule.value != ALLOW
                            && rule.names.iter().any(|n| n == name)
                            && matches(rule, abi.narrow, &args)
                    });
                    let want = if logged { 0x7ffc_0000 } else { ENOSYS };
                    let said = answer(&program, abi.audit, nr, &args);
                    assert_eq!(said, want, "{:?} {name} {args:x?}", abi.name);
                    decided[usize::from(logged)] += 1;
                }
            }
        }
    }
    assert!(decided.iter().all(|n| *n > 1000), "{decided:?}");
}

#[cfg(target_arch = "x86_64")]
mod multiplexers {
    use super::*;

    const I386: u32 = 0x4000_0003;
    const SOCKETCALL: u32 = 102;
    const IPC: u32 = 117;

    fn with(rules: Value) -> Program {
        let mut profile = allow_list(rules);
        profile["architectures"] = json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]);
        compiled(profile)
    }

    #[test]
    fn a_rule_for_some_sockets_opens_no_socket_whose_family_can_not_be_seen() {
        let unix = json!([{ "index": 0, "value": 1, "op": "SCMP_CMP_EQ" }]);
        let program = with(json!([
            { "names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": unix },
            { "names": ["bind", "accept"], "action": "SCMP_ACT_ALLOW" },
        ]));
        assert_eq!(native(&program, "socket", &[1]), ALLOW);
        assert_eq!(answer(&program, I386, 359, &[1]), ALLOW, "the direct call");
        assert_eq!(answer(&program, I386, 359, &[38]), EPERM);
        for operation in 0..=21 {
            let want = if matches!(operation, 2 | 5) { ALLOW } else { EPERM };
            for pointer in [0, 1, 38] {
                assert_eq!(answer(&program, I386, SOCKETCALL, &[operation, pointer]), want, "{operation}");
            }
        }
        assert_eq!(answer(&program, I386, IPC, &[1]), EPERM);
    }

    #[test]
    fn a_call_that_is_refused_for_some_arguments_is_refused_through_the_multiplexer() {
        let mut profile = json!({ "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86"] });
        let alg = json!([{ "index": 0, "value": 38, "op": "SCMP_CMP_EQ" }]);
        profile["syscalls"] = json!([
            { "names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": 97, "args": alg },
            { "names": ["shmat", "semop"], "action": "SCMP_ACT_ERRNO" },
        ]);
        let program = compiled(profile);
        assert_eq!(answer(&program, I386, SOCKETCALL, &[1]), 0x0005_0000 | 97);
        assert_eq!(answer(&program, I386, SOCKETCALL, &[2]), ALLOW);
        assert_eq!(answer(&program, I386, IPC, &[21]), EPERM);
        assert_eq!(answer(&program, I386, IPC, &[1]), EPERM, "semop has no number of its own");
        assert_eq!(answer(&program, I386, IPC, &[2]), ALLOW);
    }

    #[test]
    fn what_the_profile_says_about_a_multiplexer_by_its_name_comes_first() {
        let open = json!({ "names": ["socket", "ipc"], "action": "SCMP_ACT_ALLOW" });
        let closed = json!({ "names": ["socketcall"], "action": "SCMP_ACT_ERRNO" });
        let program = with(json!([open, closed]));
        for operation in 0..=20 {
            assert_eq!(
                answer(&program, I386, SOCKETCALL, &[operation]),
                EPERM,
                "also one equal to the default"
            );
            assert_eq!(answer(&program, I386, IPC, &[operation]), ALLOW);
        }
        let no_socket = json!({ "names": ["socketcall"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38,
            "args": [{ "index": 0, "value": 1, "op": "SCMP_CMP_EQ" }] });
        let program = with(json!([{ "names": ["socket", "bind"], "action": "SCMP_ACT_ALLOW" }, no_socket]));
        assert_eq!(answer(&program, I386, SOCKETCALL, &[1]), ENOSYS);
        assert_eq!(answer(&program, I386, SOCKETCALL, &[2]), ALLOW);
        assert_eq!(answer(&program, I386, SOCKETCALL, &[3]), EPERM);
    }

    #[test]
    fn interfaces_that_are_not_listed_end_the_thread() {
        let program = compiled(allow_list(json!([{ "names": ["getpid"], "action": "SCMP_ACT_ALLOW" }])));
        assert_eq!(native(&program, "getpid", &[]), ALLOW);
        assert_eq!(answer(&program, I386, 20, &[]), KILL);
        assert_eq!(answer(&program, AUDIT_ARCH, abi::X32_BIT | 39, &[]), KILL, "x32");
        assert_eq!(answer(&program, 0xc000_00b7, 172, &[]), KILL, "arm64");
    }

    #[test]
    fn every_interface_has_its_own_numbers() {
        let mut profile = allow_list(json!([{ "names": ["_llseek", "readv"], "action": "SCMP_ACT_ALLOW" }]));
        profile["architectures"] =
            json!(["SCMP_ARCH_NATIVE", "SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]);
        let program = compiled(profile);
        let open = |arch: u32, base: u32| -> Vec<u32> {
            (0..1024).filter(|nr| answer(&program, arch, base | nr, &[]) == ALLOW).collect()
        };
        assert_eq!(open(AUDIT_ARCH, 0), [19, 59]);
        assert_eq!(open(I386, 0), [11, 140, 145]);
        assert_eq!(open(AUDIT_ARCH, abi::X32_BIT), [515, 520]);
    }
}

#[test]
fn calls_newer_than_the_profile_do_not_exist_where_the_default_refuses() {
    let newest = abi::native("openat2").unwrap();
    let rules = json!([{ "names": ["openat2"], "action": "SCMP_ACT_ALLOW" }]);
    let mut profile = allow_list(rules);
    let program = compiled(profile.clone());
    assert_eq!(answer(&program, AUDIT_ARCH, newest, &[]), ALLOW);
    assert_eq!(answer(&program, AUDIT_ARCH, newest - 1, &[]), EPERM);
    assert_eq!(answer(&program, AUDIT_ARCH, newest + 1, &[]), ENOSYS);
    profile["defaultAction"] = json!("SCMP_ACT_LOG");
    let program = compiled(profile);
    assert_eq!(answer(&program, AUDIT_ARCH, newest + 1, &[]), 0x7ffc_0000);
}

#[test]
fn what_is_wrong_is_named_by_its_json_path() {
    let arg = |index: u64| json!([{ "index": index, "value": 1, "op": "SCMP_CMP_EQ" }]);
    let fields = [
        (json!({ "names": [], "action": "SCMP_ACT_ALLOW" }), "syscalls[1].names"),
        (json!({ "names": ["read", ""], "action": "SCMP_ACT_ALLOW" }), "syscalls[1].names[1]"),
        (
            json!({ "names": ["read"], "action": "SCMP_ACT_ALLOW", "args": arg(6) }),
            "syscalls[1].args[0].index",
        ),
        (json!({ "names": ["read"], "action": "SCMP_ACT_ALLOW", "errnoRet": 1 }), "syscalls[1].errnoRet"),
        (json!({ "names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 4096 }), "syscalls[1].errnoRet"),
        (json!({ "names": ["read"], "action": "SCMP_ACT_NOTIFY" }), "listenerPath"),
        (json!({ "names": ["read", "sendmsg"], "action": "SCMP_ACT_NOTIFY" }), "syscalls[1].names[1]"),
    ];
    for (rule, field) in fields {
        assert_eq!(refused(allow_list(json!([rule]))).0, format!("linux.seccomp.{field}"), "{rule}");
    }
    assert_eq!(refused(json!({ "defaultAction": "SCMP_ACT_NOTIFY" })).0, "linux.seccomp.defaultAction");
    let errno = json!({ "defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 1 });
    assert_eq!(refused(errno).0, "linux.seccomp.defaultErrnoRet");
    let metadata = json!({ "defaultAction": "SCMP_ACT_ALLOW", "listenerMetadata": "pod" });
    assert_eq!(refused(metadata).0, "linux.seccomp.listenerMetadata");
    let same = |action: &str| json!({ "names": ["read"], "action": action, "args": arg(0) });
    let (field, why) = refused(allow_list(json!([same("SCMP_ACT_ALLOW"), same("SCMP_ACT_LOG")])));
    assert_eq!(field, "linux.seccomp.syscalls[2]");
    assert!(why.contains("syscalls[1]"), "{why}");
}

#[test]
fn a_profile_under_which_no_program_could_start_is_refused_with_the_call() {
    let (field, why) = refused(json!({ "defaultAction": "SCMP_ACT_ERRNO" }));
    assert_eq!(field, "linux.seccomp.syscalls");
    assert!(why.starts_with("execve is refused"), "{why}");
    let mut profile = allow_list(json!([{ "names": ["mount"], "action": "SCMP_ACT_NOTIFY" }]));
    profile["listenerPath"] = json!("/run/agent");
    let (_, why) = refused(profile.clone());
    assert!(why.starts_with("sendmsg is refused"), "{why}");
    profile["syscalls"][0]["names"] = json!(["execve", "sendmsg"]);
    assert!(compiled(profile).listener);
    // It depends on the program: that is for the kernel to say.
    let sometimes = json!([{ "index": 1, "value": 0, "op": "SCMP_CMP_NE" }]);
    let rule = json!({ "names": ["execve"], "action": "SCMP_ACT_ALLOW", "args": sometimes });
    compiled(json!({ "defaultAction": "SCMP_ACT_ERRNO", "syscalls": [rule] }));
}

#[test]
fn a_filter_that_the_kernel_would_not_take_is_refused_with_its_length() {
    let rule = |value: u64| {
        let args = json!([{ "index": 0, "value": value, "op": "SCMP_CMP_EQ" }]);
        json!({ "names": ["read"], "action": "SCMP_ACT_ALLOW", "args": args })
    };
    for many in [3000, 6000] {
        let (field, why) = refused(allow_list((0..many).map(rule).collect()));
        assert_eq!(field, "linux.seccomp.syscalls");
        assert!(why.contains("the kernel takes 4096"), "{why}");
    }
}

#[test]
fn names_that_nobody_has_are_passed_over_and_told() {
    let listed =
        json!(["_llseek", "s390_runtime_instr", "newfstatat", "socketcall", "recv", "opeat", "read"]);
    let told = notes(allow_list(json!([{ "names": listed, "action": "SCMP_ACT_ALLOW" }])));
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("linux.seccomp.syscalls[1].names[5]: \"opeat\""), "{told:?}");
    let many: Vec<String> = (0..100).map(|i| format!("opeat{i}")).collect();
    let told = notes(allow_list(json!([{ "names": many, "action": "SCMP_ACT_ALLOW" }])));
    assert_eq!(told.len(), MOST_NOTES + 1);
    assert!(told[MOST_NOTES].contains("92 more"), "{told:?}");
}

#[test]
fn rules_without_effect_are_told() {
    let tiocsti = json!([{ "index": 1, "value": 0x5412, "op": "SCMP_CMP_EQ" }]);
    let told = notes(allow_list(json!([
        { "names": ["ioctl"], "action": "SCMP_ACT_ERRNO", "errnoRet": 25, "args": tiocsti },
        { "names": ["ioctl"], "action": "SCMP_ACT_ALLOW" },
    ])));
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("syscalls[1] has no effect"), "{told:?}");
    let foreign = json!({ "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_S390X"] });
    assert!(notes(foreign)[0].contains("linux.seccomp.architectures[0]: no call of SCMP_ARCH_S390X"));
}

#[test]
fn flags_are_those_of_the_profile_and_no_others() {
    let with = |flags: Value, listener: bool| {
        let mut profile = allow_list(json!([{ "names": ["sendmsg"], "action": "SCMP_ACT_ALLOW" }]));
        profile["flags"] = flags;
        if listener {
            profile["listenerPath"] = json!("/run/agent");
            profile["syscalls"]
                .as_array_mut()
                .unwrap()
                .push(json!({ "names": ["mount"], "action": "SCMP_ACT_NOTIFY" }));
        }
        compiled(profile).load_flags()
    };
    let all = json!([
        "SECCOMP_FILTER_FLAG_TSYNC",
        "SECCOMP_FILTER_FLAG_LOG",
        "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
        "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
    ]);
    assert_eq!(with(json!([]), false), 0);
    assert_eq!(
        with(json!([]), true),
        flag::NEW_LISTENER,
        "an agent that did not ask for it is interrupted as before"
    );
    assert_eq!(with(all.clone(), false), flag::LOG | flag::SPEC_ALLOW);
    let listening = flag::LOG | flag::SPEC_ALLOW | flag::NEW_LISTENER | flag::WAIT_KILLABLE_RECV;
    assert_eq!(with(all, true), listening);
    let unknown = json!({ "defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_NEW_LISTENER"] });
    assert!(serde_json::from_value::<LinuxSeccomp>(unknown).is_err());
}

#[test]
fn every_architecture_of_the_specification_is_understood() {
    let words = serde_json::to_value(super::super::supported::architectures()).unwrap();
    let profile = json!({ "defaultAction": "SCMP_ACT_ALLOW", "architectures": words });
    assert_eq!(notes(profile).len(), words.as_array().unwrap().len() - ABIS.len());
}

#[test]
fn a_loaded_filter_answers_with_every_action_that_lets_the_test_live() {
    let program = compiled(json!({ "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86"],
        "flags": ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"],
        "syscalls": [
            { "names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": 97,
              "args": [{ "index": 0, "value": 0x27, "op": "SCMP_CMP_GT" }] },
            { "names": ["getcwd"], "action": "SCMP_ACT_TRACE" },
        ] }));
    std::thread::spawn(move || {
        use rustix::{io::Errno, net, process};
        donjon_sys::process::no_new_privs().unwrap();
        donjon_sys::seccomp::load(&program.filter, program.load_flags()).unwrap();
        let vsock = net::socket(net::AddressFamily::from_raw(40), net::SocketType::STREAM, None);
        assert_eq!(vsock.err(), Some(Errno::AFNOSUPPORT));
        assert!(net::socket(net::AddressFamily::UNIX, net::SocketType::STREAM, None).is_ok());
        assert_eq!(process::getcwd(Vec::new()).err(), Some(Errno::NOSYS), "nobody traces");
    })
    .join()
    .unwrap();
}

#[test]
fn the_common_path_stays_short() {
    let names: Vec<&str> = super::super::all_names().collect();
    let every_second: BTreeSet<&str> = names.iter().step_by(2).copied().collect();
    let mut profile = allow_list(json!([{ "names": every_second, "action": "SCMP_ACT_ALLOW" }]));
    profile["architectures"] = json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]);
    let program = compiled(profile);
    for name in names {
        let data = Data { nr: abi::native(name).unwrap(), arch: AUDIT_ARCH, args: [0; 6] };
        let steps = run(&program.filter, &data).unwrap().1;
        assert!(steps <= 20, "{name}: {steps}");
    }
}
