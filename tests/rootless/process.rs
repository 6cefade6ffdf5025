//! What the program gets: environment, user, directory, limits, streams.

use donjon_tests::World;

#[test]
fn the_environment_is_rebuilt_from_nothing() {
    let world = World::ordinary();
    let run = world
        .donjon(&["run", "--rm", &world.image(), "env"])
        .env("SECRET_TOKEN", "leaked")
        .env("http_proxy", "leaked")
        .env("HTTPS_PROXY", "leaked")
        .env("LD_PRELOAD", "")
        .go();
    run.succeeds()
        .never_says("leaked")
        .never_says("XDG_RUNTIME_DIR")
        .never_says("LD_PRELOAD")
        .says("PATH=")
        .says("HOME=");
    for line in run.stdout.lines() {
        let name = line.split('=').next().unwrap_or_default();
        let known = ["HOME", "PATH", "TERM", "USER", "HOSTNAME", "container", "PWD", "SHLVL", "LANG"];
        assert!(known.contains(&name), "{name} is in the environment: {run:?}");
    }
}

#[test]
fn e_sets_a_variable_and_takes_one_over_by_name() {
    let world = World::ordinary();
    let run = world
        .donjon(&["run", "--rm", "-e", "A=1=2", "-e", "TAKEN", "--env", "EMPTY=", &world.image(), "env"])
        .env("TAKEN", "over")
        .env("OTHER", "not")
        .go();
    run.says("A=1=2\n").says("TAKEN=over\n").says("EMPTY=\n").never_says("OTHER");
}

#[test]
fn an_env_file_is_read() {
    let world = World::ordinary();
    let file = world.file("env", "# a comment\nB=two words\n\nC=\n");
    let run =
        world.donjon(&["run", "--rm", "--env-file", &file.to_string_lossy(), &world.image(), "env"]).go();
    run.says("B=two words\n").says("C=\n").never_says("comment");
}

#[test]
fn u_chooses_the_user_inside() {
    let world = World::ordinary();
    world.shell(&["--rm", "-u", "1000:1001"], "id -u; id -g").go().succeeds().prints("1000\n1001");
    world.shell(&["--rm", "-u", "guest"], "id -u; id -g").go().succeeds().prints("1000\n1000");
    world.shell(&["--rm", "--user", "77"], "id -u").go().succeeds().prints("77");
}

#[test]
fn a_user_who_is_not_in_the_image_is_refused() {
    let world = World::ordinary();
    world.shell(&["--rm", "-u", "nobody-here"], "id").go().refused().complains("nobody-here");
    world.assert_nothing_left("an unknown user");
}

#[test]
fn w_chooses_the_working_directory() {
    let world = World::ordinary();
    world
        .donjon(&["run", "--rm", "-w", "/usr/bin", &world.image(), "pwd"])
        .go()
        .succeeds()
        .prints("/usr/bin");
    world.donjon(&["run", "--rm", &world.image(), "pwd"]).go().succeeds().prints("/");
}

#[test]
fn hostname_is_the_containers_own() {
    let world = World::ordinary();
    world
        .donjon(&["run", "--rm", "--hostname", "keep", &world.image(), "hostname"])
        .go()
        .succeeds()
        .prints("keep");
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").expect("the hostname");
    let run = world.donjon(&["run", "--rm", &world.image(), "hostname"]).go();
    run.succeeds();
    assert_ne!(run.stdout.trim(), host.trim(), "the host's name leaked");
}

#[test]
fn umask_is_022_unless_asked() {
    let world = World::ordinary();
    world.shell(&["--rm"], "umask").with_umask(0).go().succeeds().prints("0022");
    world.shell(&["--rm", "--umask", "077"], "umask").go().succeeds().prints("0077");
}

#[test]
fn ulimit_lowers_a_limit() {
    let world = World::ordinary();
    world
        .shell(&["--rm", "--ulimit", "nofile=64:64"], "ulimit -n; ulimit -Hn")
        .go()
        .succeeds()
        .prints("64\n64");
    world.shell(&["--rm"], "ulimit -c").go().succeeds().prints("0");
}

#[test]
fn without_i_the_standard_input_is_empty() {
    let world = World::ordinary();
    world.donjon(&["run", "--rm", &world.image(), "cat"]).stdin("typed").go().succeeds().prints("");
}

#[test]
fn with_i_the_standard_input_arrives_whole() {
    let world = World::ordinary();
    world
        .donjon(&["run", "--rm", "-i", &world.image(), "cat"])
        .stdin("typed")
        .go()
        .succeeds()
        .prints("typed");
    let long = "0123456789".repeat(100_000);
    let run = world.donjon(&["run", "--rm", "-i", &world.image(), "wc", "-c"]).stdin(&long).go();
    run.succeeds().prints("1000000");
}

#[test]
fn both_outputs_stay_apart() {
    let world = World::ordinary();
    let run = world.shell(&["--rm"], "echo out; echo err >&2").go();
    run.prints("out").complains("err").never_says("panicked");
}

#[test]
fn a_closed_output_ends_a_program_as_everywhere() {
    let world = World::ordinary();
    let run = world.shell(&["--rm"], "yes | head -n 1").go();
    run.succeeds().prints("y");
}

#[test]
fn entrypoint_replaces_the_program() {
    let world = World::ordinary();
    let image = world.image();
    world.donjon(&["run", "--rm", "--entrypoint", "echo", &image, "a", "b"]).go().succeeds().prints("a b");
}

#[test]
fn timeout_ends_the_container() {
    let world = World::ordinary();
    let start = std::time::Instant::now();
    let run = world.shell(&["--rm", "--timeout", "1"], "sleep 30").go();
    assert!(run.code() == 137 || run.code() == 143 || run.code() == 124, "{run:?}");
    assert!(start.elapsed().as_secs() < 15, "it took {:?}", start.elapsed());
    world.assert_nothing_left("a timeout");
}

#[test]
fn init_reaps_orphans() {
    let world = World::ordinary();
    let script = "(sleep 0.1 &) ; (sleep 0.1 &) ; sleep 0.6; ps -o stat,comm";
    world.shell(&["--rm", "--init"], script).go().succeeds().never_says("Z ");
}

#[test]
fn init_forwards_signals() {
    let world = World::ordinary();
    let run = world
        .shell(&["--rm", "--init"], "trap 'echo got; exit 7' TERM; echo ready; while :; do sleep 0.1; done")
        .spawn();
    run.wait_for("ready");
    run.signal(libc::SIGTERM);
    run.finish(10).exits(7).says("got");
}

#[test]
fn a_signal_to_donjon_reaches_the_program() {
    let world = World::ordinary();
    for (signal, name) in
        [(libc::SIGTERM, "TERM"), (libc::SIGINT, "INT"), (libc::SIGHUP, "HUP"), (libc::SIGUSR1, "USR1")]
    {
        let script =
            format!("trap 'echo got {name}; exit 9' {name}; echo ready; while :; do sleep 0.1; done");
        let run = world.shell(&["--rm"], &script).spawn();
        run.wait_for("ready");
        run.signal(signal);
        run.finish(10).exits(9).says(&format!("got {name}"));
    }
}

#[test]
fn the_caller_needs_no_runtime_directory_and_no_home() {
    let world = World::ordinary();
    let run = world
        .donjon(&["run", "--rm", &world.image(), "echo", "ran"])
        .without_env("XDG_RUNTIME_DIR")
        .without_env("HOME")
        .go();
    run.succeeds().prints("ran");
}
