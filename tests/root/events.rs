//! A disk that is really full takes records away, not the container; and it is told.

use std::process::Command;

use donjon_tests::{World, told};

/// Runs a script in a mount namespace of its own, with a small file system at `small`.
fn on_a_small_disk(world: &World, script: &str) -> (i32, String) {
    let small = world.dir("small");
    let prelude = format!(
        "set -e; mount -t tmpfs -o size=512k,mode=700 tmpfs {0}; cd {1}; mkfifo go; exec 3<>go; \
         D=\"{2} --root {0}/donjon\"; \
         fill() {{ dd if=/dev/zero of={0}/fill bs=1k 2>/dev/null || true; }}; \
         seen() {{ n=0; until test -e \"$(echo $1)\" && grep -q \"$2\" $1; do n=$((n+1)); test $n -lt 200; sleep 0.05; done; }}; ",
        small.display(),
        world.path("work"),
        told("DONJON_TEST_BINARY"),
    );
    let script = prelude + &script.replace("IMAGE", &world.image()).replace("SMALL", &world.path("small"));
    let out = Command::new("timeout")
        .args(["60", "unshare", "-m", "--propagation", "private", "sh", "-c", &script])
        .env_clear()
        .envs(world.environment())
        .stdin(std::process::Stdio::null())
        .output()
        .expect("unshare");
    let text = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    (out.status.code().unwrap_or(-1), text)
}

/// A container that waits for a line, is refused a call, says so, and waits again.
const RUN: &str = "$D run -i --name told IMAGE sh -c 'read x; attacker socket 17 3 0; echo over; read x; true' \
                   <go >out 2>err & seen 'SMALL/donjon/containers/*/state.json' init; fill; echo >&3; seen out over; ";

#[test]
fn a_full_disk_loses_records_and_says_so() {
    let world = World::root();
    let (code, text) =
        on_a_small_disk(&world, &format!("{RUN} echo >&3; wait $!; cat err; rm SMALL/fill; $D rm told"));
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("AF_PACKET"), "the summary is there: {text}");
    assert!(text.contains("1 kind of refusal is not in the event log: No space left on device"), "{text}");
}

#[test]
fn a_disk_that_is_full_for_a_while_loses_nothing() {
    let world = World::root();
    let script =
        "rm SMALL/fill; echo >&3; wait $!; cat err; $D events verify told; $D explain told; $D rm told";
    let (code, text) = on_a_small_disk(&world, &format!("{RUN} {script}"));
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("told: intact, 1 record"), "{text}");
    assert!(!text.contains("not in the event log"), "{text}");
}
