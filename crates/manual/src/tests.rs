use std::process::{Command as Program, Stdio};

use super::*;

fn content(name: &str) -> String {
    let (_, content) = files().unwrap().into_iter().find(|(file, _)| file == name).expect(name);
    String::from_utf8(content).unwrap()
}

/// What a program says of a text on its standard input; `None` when the program is not here.
fn said(program: &[&str], text: &str) -> Option<(bool, String)> {
    let mut child = Program::new(program[0])
        .args(&program[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .ok()?;
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    Some((out.status.success(), String::from_utf8_lossy(&out.stderr).into_owned()))
}

#[test]
fn every_command_has_a_page_with_its_usage_and_all_its_options() {
    let whole = donjon::definition();
    assert!(whole.get_subcommands().count() > 12);
    for command in whole.get_subcommands() {
        let name = command.get_name();
        let page = content(&format!("man1/donjon-{name}.1"));
        assert!(page.contains(&format!("donjon\\-{name}")) && page.contains(".SH SYNOPSIS"), "{page}");
        for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
            if let Some(long) = argument.get_long() {
                let option = format!("\\-\\-{}", long.replace('-', "\\-"));
                assert!(page.contains(&option), "{name}: {long} is not in the page");
            }
        }
        assert!(content("man1/donjon.1").contains(&format!("donjon\\-{name}")), "{name}");
    }
}

#[test]
fn the_pages_are_sound_for_man() {
    for (name, page) in files().unwrap().into_iter().filter(|(name, _)| name.starts_with("man1/")) {
        let page = String::from_utf8(page).unwrap();
        assert!(page.contains(".TH ") && page.contains(".SH NAME"), "{name}");
        let Some((sound, warnings)) = said(&["groff", "-man", "-ww", "-z", "-Tutf8"], &page) else {
            continue;
        };
        assert!(sound && warnings.is_empty(), "{name}: {warnings}");
    }
}

#[test]
fn the_completions_know_every_command_and_their_shells_can_read_them() {
    let commands = donjon::definition();
    for (file, checker) in [
        ("bash/donjon", &["bash", "-n"][..]),
        ("zsh/_donjon", &["zsh", "-n"]),
        ("fish/donjon.fish", &["fish", "-n"]),
    ] {
        let text = content(file);
        for command in commands.get_subcommands() {
            assert!(text.contains(command.get_name()), "{file}: {} is missing", command.get_name());
        }
        if let Some((sound, errors)) = said(checker, &text) {
            assert!(sound, "{file}: {errors}");
        }
    }
    assert!(content("bash/donjon").contains("--cap-add"));
}

#[test]
fn the_completion_of_bash_completes_commands_options_and_engines() {
    let script = content("bash/donjon")
        + "\ncomplete_line() { COMP_WORDS=($1); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); COMPREPLY=();
            _donjon donjon \"${COMP_WORDS[COMP_CWORD]}\" \"${COMP_WORDS[COMP_CWORD-1]}\"; echo \"${COMPREPLY[*]}\"; }\n
            complete_line 'donjon set'; complete_line 'donjon setup --app'; complete_line 'donjon setup cont'\n";
    let out = Program::new("bash").arg("-c").arg(&script).output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines, ["setup", "--apply", "containerd"], "{}", String::from_utf8_lossy(&out.stderr));
}

#[test]
fn a_command_of_a_command_has_a_page_of_its_own() {
    let page = content("man1/donjon-events-verify.1");
    assert!(page.contains("\\-\\-head") && page.contains("donjon\\-events\\-verify"), "{page}");
    assert!(content("man1/donjon-events.1").contains("donjon\\-events\\-verify"));
}
