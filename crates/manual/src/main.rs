//! `donjon-manual DIRECTORY`: manual pages and shell completions, made from the definitions of donjon's arguments.
//!
//! A program of its own, so that nothing of this is in donjon: `cargo xtask dist` runs it.
#![forbid(unsafe_code)]

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::Command;
use clap_complete::{Generator, Shell};
use clap_mangen::Man;
use roff::{Roff, bold, roman};

/// A file below the directory, and its content.
type File = (String, Vec<u8>);

fn main() -> ExitCode {
    let Some(directory) = std::env::args_os().nth(1) else {
        eprintln!("donjon-manual: name the directory to write to");
        return ExitCode::from(2);
    };
    match files().and_then(|files| write(Path::new(&directory), &files)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("donjon-manual: {error}");
            ExitCode::FAILURE
        }
    }
}

fn write(directory: &Path, files: &[File]) -> std::io::Result<()> {
    for (name, content) in files {
        let path = directory.join(name);
        std::fs::create_dir_all(path.parent().unwrap_or(directory))?;
        std::fs::write(path, content)?;
    }
    Ok(())
}

/// Everything: `man1/NAME.1`, also for commands of commands, and one completion for each shell under the name that the shell looks for.
fn files() -> std::io::Result<Vec<File>> {
    let whole = donjon::definition();
    let pages: Vec<String> = whole.get_subcommands().map(page_name).collect();
    let mut files = vec![page(&whole, "donjon".into(), &pages)?];
    for command in whole.get_subcommands() {
        let name = page_name(command);
        let below = |inner: &Command| format!("{name}-{}", inner.get_name());
        let others: Vec<String> =
            std::iter::once("donjon".to_string()).chain(command.get_subcommands().map(below)).collect();
        files.push(page(command, name.clone(), &others)?);
        for inner in command.get_subcommands() {
            files.push(page(inner, below(inner), std::slice::from_ref(&name))?);
        }
    }
    for (shell, name) in
        [(Shell::Bash, "bash/donjon"), (Shell::Zsh, "zsh/_donjon"), (Shell::Fish, "fish/donjon.fish")]
    {
        let mut command = whole.clone();
        command.set_bin_name("donjon");
        command.build();
        let mut content = Vec::new();
        shell.try_generate(&command, &mut content)?;
        files.push((name.to_string(), content));
    }
    Ok(files)
}

fn page_name(command: &Command) -> String {
    format!("donjon-{}", command.get_name())
}

/// One manual page, with the usage as the help has it and the pages that belong to it.
fn page(command: &Command, name: String, others: &[String]) -> std::io::Result<File> {
    let man = Man::new(command.clone().display_name(name.clone()))
        .title(name.to_uppercase())
        .date("")
        .source(format!("donjon {}", env!("CARGO_PKG_VERSION")))
        .manual("donjon");
    let mut out = Vec::new();
    man.render_title(&mut out)?;
    man.render_name_section(&mut out)?;
    let usage = command.clone().render_usage().to_string();
    let mut synopsis = Roff::new();
    synopsis.control("SH", ["SYNOPSIS"]).control("nf", []);
    for line in usage.trim_start_matches("Usage:").lines() {
        synopsis.text([roman(line.trim())]);
    }
    synopsis.control("fi", []);
    out.extend(synopsis.render().into_bytes());
    man.render_description_section(&mut out)?;
    man.render_options_section(&mut out)?;
    if command.has_subcommands() {
        let mut list = Roff::new();
        list.control("SH", ["COMMANDS"]);
        for command in command.get_subcommands() {
            let about = command.get_about().map(ToString::to_string).unwrap_or_default();
            list.control("TP", []).text([bold(command.get_name())]).text([roman(about)]);
        }
        out.extend(list.render().into_bytes());
    }
    if let Some(notes) = command.get_after_help() {
        let mut list = Roff::new();
        list.control("SH", ["NOTES"]);
        for line in notes.to_string().lines() {
            list.control("PP", []).text([roman(line)]);
        }
        out.extend(list.render().into_bytes());
    }
    let mut also = Roff::new();
    also.control("SH", ["SEE ALSO"]);
    for (n, other) in others.iter().enumerate() {
        let comma = if n + 1 < others.len() { "," } else { "" };
        also.text([bold(other.clone()), roman(format!("(1){comma}"))]);
    }
    out.extend(also.render().into_bytes());
    out.flush()?;
    Ok((format!("man1/{name}.1"), out))
}

#[cfg(test)]
mod tests;
