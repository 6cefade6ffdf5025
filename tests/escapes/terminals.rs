//! R10: the caller's terminal can't be typed into.

use donjon_tests::{Terminal, World};

fn legacy_tiocsti() -> bool {
    std::fs::read_to_string("/proc/sys/dev/tty/legacy_tiocsti").is_ok_and(|v| v.trim() == "1")
}

#[test]
fn r10_the_callers_terminal_is_not_the_containers() {
    let world = World::ordinary();
    let attack = |run: donjon_tests::Run<'_>| {
        let (code, screen, _) = Terminal::new(24, 80).run(run).finish();
        (code, screen)
    };
    let words = ["controlling-terminal"];
    let (code, screen) = attack(world.attack(&["--rm", "-i"], &words));
    assert_eq!(code, 1, "{screen}");
    let (code, screen) = attack(world.attack(&["--rm", "-i"], &words).hooked());
    assert_eq!(code, 1, "{screen}");
    let (code, screen) = attack(world.attack(&["--rm", "-i"], &words).without("setsid,landlock"));
    assert_eq!(code, 0, "the attack can't tell: {screen}");
}

#[test]
fn r10_no_key_can_be_pushed_into_a_terminal() {
    // CVE-2017-5226.
    let world = World::ordinary();
    let attack = |run: donjon_tests::Run<'_>| {
        let (code, screen, _) = Terminal::new(24, 80).run(run).finish();
        (code, screen)
    };
    for options in [&["--rm", "-i"][..], &["--rm", "-it"]] {
        let (code, screen) = attack(world.attack(options, &["tiocsti"]));
        assert_eq!(code, 1, "{screen}");
        assert!(screen.contains("refused EPERM"), "{screen}");
    }
    if legacy_tiocsti() {
        let (code, screen) = attack(world.attack(&["--rm", "-i"], &["tiocsti"]).without("seccomp,setsid"));
        assert_eq!(code, 0, "the attack can't tell: {screen}");
    } else {
        // This kernel refuses it to everybody (EIO), so only the filter's own answer tells the two apart.
        let (_, screen) = attack(world.attack(&["--rm", "-i"], &["tiocsti"]).without("seccomp,setsid"));
        assert!(screen.contains("refused EIO"), "the attack can't tell: {screen}");
    }
}

#[test]
fn r10_the_linux_consoles_own_way_is_closed_too() {
    // TIOCLINUX.
    let world = World::ordinary();
    let run = world.attack(&["--rm", "-t"], &["syscall", "16", "0", "0x541c", "0"]).go();
    run.exits(1).says("refused EPERM");
}
