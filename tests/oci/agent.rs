//! A seccomp agent: the engine's own process answers the calls that a profile reports.

use std::os::fd::AsRawFd;
use std::os::unix::net::UnixListener;

use donjon_tests::World;
use serde_json::{Value, json};

/// `struct seccomp_notif` and `struct seccomp_notif_resp` as plain words (`linux/seccomp.h`).
#[repr(C)]
#[derive(Default)]
struct Notification {
    id: u64,
    pid: u32,
    flags: u32,
    nr: i32,
    arch: u32,
    instruction_pointer: u64,
    args: [u64; 6],
}

#[repr(C)]
struct Answer {
    id: u64,
    val: i64,
    error: i32,
    flags: u32,
}

/// Takes one listener, answers one call with EDOM, and returns the state that came with the listener.
fn answer_one(listener: &UnixListener) -> Value {
    let (file, state) = donjon_tests::receive_descriptor(listener);
    let mut notification = Notification::default();
    // SAFETY: the ioctl writes one zeroed seccomp_notif, which `notification` is.
    let received = unsafe { libc::ioctl(file.as_raw_fd(), 0xc050_2100, &raw mut notification) };
    assert_eq!(received, 0, "{}", std::io::Error::last_os_error());
    assert_eq!(i64::from(notification.nr), libc::SYS_mkdir);
    let answer = Answer { id: notification.id, val: 0, error: -libc::EDOM, flags: 0 };
    // SAFETY: the ioctl reads one seccomp_notif_resp, which `answer` is.
    let sent = unsafe { libc::ioctl(file.as_raw_fd(), 0xc018_2101, &raw const answer) };
    assert_eq!(sent, 0, "{}", std::io::Error::last_os_error());
    serde_json::from_slice(&state).expect("the state as JSON")
}

#[test]
fn a_call_that_a_profile_reports_is_answered_by_the_agent() {
    let world = World::root();
    for by_start in [false, true] {
        let path = world.path(if by_start { "agent-start" } else { "agent-run" });
        let mut bundle = world.bundle("b", "mkdir /tmp/x; echo ended");
        bundle.set(
            "/linux/seccomp",
            json!({
                "defaultAction": "SCMP_ACT_ALLOW",
                "listenerPath": path,
                "listenerMetadata": "what the agent knows it by",
                "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]
            }),
        );
        let listener = UnixListener::bind(&path).expect("a socket");
        let agent = std::thread::spawn(move || answer_one(&listener));
        let said = if by_start {
            bundle.create("c1").go().succeeds();
            world.donjon(&["start", "c1"]).go().succeeds();
            let ended = donjon_tests::eventually(10, || world.read("output").contains("ended"));
            assert!(ended, "{}", world.read("output"));
            world.donjon(&["delete", "--force", "c1"]).go().succeeds();
            world.read("output")
        } else {
            bundle.run("c1").go().succeeds().stderr.clone()
        };
        assert!(said.contains("argument out of domain"), "{said}");
        let state = agent.join().expect("the agent");
        assert_eq!(state["metadata"], "what the agent knows it by");
        assert_eq!((&state["fds"], &state["state"]["id"]), (&json!(["seccompFd"]), &json!("c1")));
        assert!(state["pid"].as_i64().expect("a pid") > 1);
    }
    world.assert_nothing_left("an agent");
}

#[test]
fn a_profile_that_reports_to_nobody_is_refused() {
    let world = World::root();
    let mut bundle = world.bundle("b", "echo ran");
    let profile = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]
    });
    bundle.set("/linux/seccomp", profile);
    bundle.run("c1").go().exits(1).complains("listenerPath").never_says("ran");
    bundle.set("/linux/seccomp/listenerPath", json!("/no/such/agent"));
    bundle.run("c1").go().exits(1).complains("/no/such/agent");
    world.assert_nothing_left("an agent that is not there");
}
