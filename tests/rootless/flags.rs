//! Wrong flags, conflicting flags, policy files.

use donjon_tests::World;

#[test]
fn unknown_flags_are_refused_with_the_nearest_known_one() {
    let world = World::ordinary();
    let run = world.shell(&["--hostnam", "x"], "echo ran").go();
    assert!([2, 125].contains(&run.code()), "{run:?}");
    run.complains("--hostname").never_says("ran\n");
}

#[test]
fn privileged_does_not_exist_and_what_to_name_instead_is_said() {
    let world = World::ordinary();
    let run = world.shell(&["--privileged"], "echo ran").go();
    run.refused().complains("--privileged").complains("--cap-add").never_says("ran\n");
}

#[test]
fn other_networks_are_not_there_yet_and_that_is_said() {
    let world = World::ordinary();
    world.shell(&["--rm", "--network", "none"], "echo ran").go().succeeds();
    for network in ["host", "bridge", "slirp4netns", "container:x"] {
        let run = world.shell(&["--rm", "--network", network], "echo ran").go();
        assert!([2, 125].contains(&run.code()), "{run:?}");
        run.complains("none").never_says("ran\n");
    }
}

#[test]
fn an_image_is_needed() {
    let world = World::ordinary();
    let run = world.donjon(&["run"]).go();
    assert!([2, 125].contains(&run.code()), "{run:?}");
    run.complains("image");
    world.donjon(&["run", "dir:"]).go().refused();
}

#[test]
fn help_of_every_command_is_printed() {
    let world = World::ordinary();
    world.donjon(&["--help"]).go().succeeds().says("run");
    for command in [
        "run", "ps", "logs", "stop", "kill", "rm", "wait", "inspect", "exec", "stats", "top", "explain",
        "doctor",
    ] {
        world.donjon(&[command, "--help"]).go().succeeds().says("Usage");
    }
    world.donjon(&["--version"]).go().succeeds().says("donjon");
}

#[test]
fn doctor_prints_one_line_a_layer() {
    let world = World::ordinary();
    let run = world.donjon(&["doctor"]).go();
    for word in ["user", "overlay", "seccomp", "landlock", "cgroup"] {
        assert!(run.stdout.to_lowercase().contains(word), "{word}: {run:?}");
    }
}

#[test]
fn a_plan_is_printed_and_nothing_runs() {
    let world = World::ordinary();
    let run = world.shell(&["--plan"], "echo ran").go();
    run.succeeds().says("seccomp").says("landlock").says("pivot_root").never_says("ran\n");
    let json = world.shell(&["--plan", "--format", "json"], "echo ran").go().json();
    assert!(json.to_string().contains("seccomp"));
    world.assert_nothing_left("a plan");
}

#[test]
fn a_policy_file_says_what_flags_say() {
    let world = World::ordinary();
    let policy = world.file("policy.toml", "[process]\nhostname = \"from-file\"\n");
    let path = policy.to_string_lossy().into_owned();
    world.shell(&["--rm", "--policy", &path], "hostname").go().succeeds().prints("from-file");
    world
        .shell(&["--rm", "--policy", &path, "--hostname", "from-flag"], "hostname")
        .go()
        .succeeds()
        .prints("from-flag");
}

#[test]
fn an_unknown_key_of_a_policy_file_is_an_error_with_the_nearest_known_key() {
    let world = World::ordinary();
    let policy = world.file("policy.toml", "[process]\nhostnam = \"x\"\n");
    let path = policy.to_string_lossy().into_owned();
    let run = world.shell(&["--rm", "--policy", &path], "echo ran").go();
    run.refused().complains("hostnam").complains("hostname").complains("policy.toml").never_says("ran\n");
}

#[test]
fn a_policy_file_that_is_no_policy_is_refused() {
    let world = World::ordinary();
    for text in [
        "[process]\nhostname = ",
        "[process]\nhostname = 7\n",
        "\0\0\0",
        "[[[[",
        "[process]\nhostname = \"a\"\nhostname = \"b\"\n",
    ] {
        let policy = world.file("policy.toml", text);
        let run = world.shell(&["--rm", "--policy", &policy.to_string_lossy()], "echo ran").go();
        run.refused().complains("policy.toml").never_says("ran\n");
    }
    world.shell(&["--rm", "--policy", "/no/such"], "echo ran").go().refused().complains("/no/such");
}

#[test]
fn security_options_that_are_not_understood_are_refused() {
    let world = World::ordinary();
    for option in ["seccomp=/no/such", "no-new-privileges=maybe", "colour=red", "apparmor", "seccomp"] {
        let run = world.shell(&["--rm", "--security-opt", option], "echo ran").go();
        run.refused().never_says("ran\n");
    }
    for flags in [
        ["--cap-add", "FLY"],
        ["--cap-drop", "FLY"],
        ["--device", "/no/such"],
        ["--sysctl", "nonsense"],
        ["--userns", "moon"],
    ] {
        let run = world.shell(&["--rm", flags[0], flags[1]], "echo ran").go();
        assert!([2, 125].contains(&run.code()), "{run:?}");
        run.never_says("ran\n").never_says("panicked");
    }
    world.assert_nothing_left("bad security options");
}

#[test]
fn arguments_that_are_not_text_do_no_harm() {
    let world = World::ordinary();
    world.donjon(&["run", "--rm", &world.image(), "echo", "\u{1b}[31m", "\n", ""]).go().succeeds();
    world.donjon(&["run", "--rm", "--hostname", &"x".repeat(300), &world.image(), "true"]).go().refused();
    let run = world.donjon(&["run", "--rm", "-e", "=x", &world.image(), "true"]).go();
    assert!([0, 2, 125].contains(&run.code()), "{run:?}");
    run.never_says("panicked");
}
