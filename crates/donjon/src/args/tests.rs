use super::*;

fn line(words: &[&str]) -> Result<Invocation, String> {
    let words = std::iter::once("donjon").chain(words.iter().copied()).map(OsString::from).collect();
    match parse(words) {
        Ok(line) => Ok(line.invocation),
        Err(Stop::Text(text)) => Err(text),
        Err(Stop::Wrong(failure)) => Err(format!("{}{}", failure.message, failure.hint.unwrap_or_default())),
    }
}

fn run(words: &[&str]) -> RunArgs {
    let words: Vec<&str> = std::iter::once("run").chain(words.iter().copied()).collect();
    match line(&words) {
        Ok(Invocation::Run(args)) => *args,
        other => panic!("{words:?}: {other:?}"),
    }
}

#[test]
fn what_follows_the_image_is_the_programs_and_never_donjons() {
    assert_eq!(run(&["host", "sh", "-c", "id"]).command, ["sh", "-c", "id"]);
    assert_eq!(run(&["host", "--", "sh", "-c", "id"]).command, ["sh", "-c", "id"]);
    assert_eq!(run(&["host", "--", "--", "x"]).command, ["--", "x"]);
    assert_eq!(
        run(&["--rm", "host", "env", "-i", "--rm", "-e", "X=1"]).command,
        ["env", "-i", "--rm", "-e", "X=1"]
    );
    assert_eq!(run(&["--entrypoint", "echo", "host", "-n", "a"]).command, ["-n", "a"]);
    assert!(run(&["--", "host", "id"]).command == ["id"]);
    assert!(run(&["host"]).command.is_empty());
}

#[test]
fn short_switches_go_together_and_values_may_begin_with_a_dash() {
    let args = run(&["-itd", "-e", "A=-b", "--pids-limit", "-1", "host"]);
    assert!(args.interactive && args.detach && args.flags.process.terminal == Some(true));
    assert_eq!(args.flags.resources.pids, Some(-1));
    assert_eq!(args.flags.process.env["A"], "-b");
}

#[test]
fn an_option_given_twice_is_refused() {
    for words in [
        ["--user", "1", "--user", "2"],
        ["--userns", "auto", "--userns", "host"],
        ["--umask", "0", "--umask", "1"],
    ] {
        let words: Vec<&str> = std::iter::once("run").chain(words).chain(["host"]).collect();
        assert!(line(&words).unwrap_err().contains("multiple times"), "{words:?}");
    }
}

#[test]
fn privileged_is_answered_with_what_to_name_instead() {
    let text = line(&["run", "--privileged", "host", "id"]).unwrap_err();
    assert!(text.contains("does not exist") && text.contains("--cap-add"), "{text}");
}

#[test]
fn a_misspelt_command_or_option_is_answered_with_the_nearest() {
    assert!(line(&["rnu", "host"]).unwrap_err().contains("run"));
    assert!(line(&["run", "--hostnam", "x", "host"]).unwrap_err().contains("--hostname"));
}

#[test]
fn every_command_has_a_help_text_with_its_usage() {
    for (name, _) in COMMANDS.iter().filter(|(n, _)| *n != "help") {
        let text = line(&[name, "--help"]).unwrap_err();
        assert!(text.contains("Usage: donjon"), "{name}: {text}");
    }
    assert!(line(&["help", "run"]).unwrap_err().contains("--cap-add"));
    assert!(line(&["--help"]).unwrap_err().contains("doctor"));
}

#[test]
fn exec_takes_everything_after_the_container_as_the_program() {
    let Ok(Invocation::Exec(args)) = line(&["exec", "-it", "-e", "X=y", "web", "ls", "-l"]) else { panic!() };
    assert_eq!((args.container.as_str(), args.command), ("web", vec!["ls".to_string(), "-l".to_string()]));
    assert!(args.interactive && args.terminal && args.env == [("X".to_string(), "y".to_string())]);
    assert!(line(&["exec", "web"]).is_err());
}

#[test]
fn the_whole_definition_says_what_every_commands_help_says() {
    let whole = whole::definition();
    for (name, _) in COMMANDS.iter().filter(|(n, _)| *n != "help") {
        let mut command = whole.find_subcommand(name).unwrap_or_else(|| panic!("{name} is missing")).clone();
        assert_eq!(command.render_help().to_string(), line(&[name, "--help"]).unwrap_err(), "{name}");
    }
}

#[test]
fn setup_names_an_engine_and_takes_absolute_paths_alone() {
    let Ok(Invocation::Setup(args)) = line(&["setup", "docker", "--default", "--path", "/usr/bin/donjon"])
    else {
        panic!()
    };
    assert!(args.default && !args.apply);
    assert_eq!(args.path.as_deref(), Some(std::path::Path::new("/usr/bin/donjon")));
    assert!(line(&["setup"]).unwrap_err().contains("ENGINE"));
    assert!(line(&["setup", "lxc"]).unwrap_err().contains("containerd"));
    assert!(line(&["setup", "podman", "--path", "donjon"]).unwrap_err().contains("absolute"));
}

#[test]
fn events_verify_takes_nothing_away_from_the_oci_runtimes_events() {
    let oci = |words: &[&str]| match line(words) {
        Ok(Invocation::Oci(oci::Oci::Events { id, stats, .. })) => (id, stats),
        other => panic!("{words:?}: {other:?}"),
    };
    // One bare word is an id, whatever it is.
    assert_eq!(oci(&["events", "web"]), ("web".into(), false));
    assert_eq!(oci(&["events", "verify"]), ("verify".into(), false));
    assert_eq!(oci(&["events", "--stats", "verify"]), ("verify".into(), true));
    assert_eq!(oci(&["events", "--interval", "5s", "verify"]), ("verify".into(), false));
    assert_eq!(oci(&["events", "--", "verify"]), ("verify".into(), false));
    let engine = ["--systemd-cgroup", "events", "verify"];
    assert_eq!(oci(&engine), ("verify".into(), false));
    assert!(line(&["events"]).unwrap_err().contains("ID"));
    assert!(line(&["events", "web", "more"]).is_err());

    let Ok(Invocation::Verify { names, head: None, format: Format::Json }) =
        line(&["events", "verify", "--json", "web", "db"])
    else {
        panic!()
    };
    assert_eq!(names, ["web", "db"]);
    let digest = "0123456789abcdef".repeat(4);
    let Ok(Invocation::Verify { head: Some(head), .. }) =
        line(&["events", "verify", "--head", &digest, "web"])
    else {
        panic!()
    };
    assert_eq!(head.to_string(), digest);
    assert!(line(&["events", "verify", "--head", "12", "web"]).unwrap_err().contains("64"));
    assert!(line(&["events", "verify", "--head", &digest, "web", "db"]).is_err());
    let help = line(&["events", "verify", "--help"]).unwrap_err();
    assert!(help.contains("Usage: donjon events verify") && help.contains("--head"), "{help}");
}
