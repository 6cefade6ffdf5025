//! R1, R12: no privilege to gain, none to keep.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use donjon_tests::World;

/// What of a file would give rights to whoever executes it.
fn gifts(path: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mode = fs::metadata(path).expect("a file").permissions().mode();
    if mode & 0o6000 != 0 {
        found.push(format!("mode {mode:o}"));
    }
    let name = std::ffi::CString::new(path).expect("no NUL");
    // SAFETY: NUL-terminated strings; a null buffer of length 0 asks for the size alone.
    let size =
        unsafe { libc::getxattr(name.as_ptr(), c"security.capability".as_ptr(), std::ptr::null_mut(), 0) };
    if size > 0 {
        found.push("file capabilities".into());
    }
    found
}

#[test]
fn r1_nothing_of_donjon_is_setuid_or_carries_capabilities() {
    let binary = std::env::var("DONJON_TEST_BINARY").expect("run with cargo xtask test");
    assert!(gifts(&binary).is_empty(), "{:?}", gifts(&binary));
    let world = World::ordinary();
    let copy = world.path("work/copy");
    fs::copy(&binary, &copy).expect("a copy");
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o4755)).expect("a mode");
    assert!(!gifts(&copy).is_empty(), "the test can't tell");
}

#[test]
fn r1_no_helper_is_executed_on_the_way() {
    // With PATH and the well-known places out of the way nothing changes: donjon starts no other program.
    let world = World::ordinary();
    let run = world.shell(&["--rm"], "echo ran").env("PATH", "/nowhere").go();
    run.succeeds().prints("ran");
}

#[test]
fn r12_no_capability_but_the_named_ones_is_held() {
    let world = World::ordinary();
    let eight = (1u64 << 0) | (1 << 1) | (1 << 3) | (1 << 4) | (1 << 5) | (1 << 6) | (1 << 7) | (1 << 10);
    let image = world.image();
    let status = || world.donjon(&["run", "--rm", &image, "cat", "/proc/self/status"]);
    let held =
        |run: &donjon_tests::Outcome, set: &str| u64::from_str_radix(&run.field(set), 16).expect("a set");
    for run in [status().go(), status().hooked().go()] {
        for set in ["CapPrm", "CapEff", "CapBnd"] {
            assert_eq!(held(&run, set) & !eight, 0, "{set}: {run:?}");
        }
        // CVE-2022-29162: a non-empty inheritable set.
        assert_eq!((held(&run, "CapInh"), held(&run, "CapAmb")), (0, 0), "{run:?}");
    }
    let open = status().without("capabilities").go();
    assert_ne!(held(&open, "CapEff") & !eight, 0, "the test can't tell: {open:?}");
}

#[test]
fn r12_a_program_run_by_exec_holds_no_more_than_the_first() {
    // CVE-2025-27612: exec got other sets than run.
    let world = World::ordinary();
    world.shell(&["-d", "--name", "house", "--cap-drop", "ALL"], "sleep 60").go().succeeds();
    let run = world.donjon(&["exec", "house", "cat", "/proc/self/status"]).go();
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(run.field(set), "0000000000000000", "{set}");
    }
}

#[test]
fn r12_no_new_privs_is_on_and_was_off_before() {
    let world = World::ordinary();
    let image = world.image();
    let status = || world.donjon(&["run", "--rm", &image, "cat", "/proc/self/status"]);
    assert_eq!(status().go().field("NoNewPrivs"), "1");
    assert_eq!(status().hooked().go().field("NoNewPrivs"), "1");
    // A filter needs it or a capability, so it goes together with the filter.
    let open = status().without("no_new_privs,seccomp,landlock").go();
    assert_eq!(open.field("NoNewPrivs"), "0", "the test can't tell: {open:?}");
}

#[test]
fn r12_mounts_are_nosuid() {
    let world = World::ordinary();
    let work = world.path("work");
    let option = format!("{work}:/data");
    let image = world.image();
    let table =
        || world.donjon(&["run", "--rm", "--rw", &option, &image, "grep", " /data ", "/proc/self/mountinfo"]);
    table().go().succeeds().says("nosuid");
    table().hooked().go().succeeds().says("nosuid");
    table().without("nosuid,verify").go().never_says("nosuid");
}
