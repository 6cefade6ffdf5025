//! `donjon learn`: runs a program as `donjon run` does, writes down what it does, and makes a policy of it.
//!
//! The file is tried before the run, and written as a whole after it, in the place of what was there: somebody who reads
//! it meanwhile, or a run that is cut off, sees the old one.

mod draft;
mod write;

use std::io::Write;
use std::path::{Path, PathBuf};

use donjon_policy::Policy;
use donjon_policy::model::UserNamespace;
use donjon_runtime::learn::Report;
use donjon_runtime::learn::outside::{Learnt, learn};

use super::{Failure, run as running};
use crate::args::{LearnArgs, RunArgs};
use draft::Draft;

/// Runs, looks on, and writes the policy. The exit status is the program's.
pub fn run(args: LearnArgs, root: Option<&Path>) -> Result<u8, Failure> {
    let LearnArgs { run: args, output } = args;
    refuse_what_can_not_be_learnt(&args)?;
    let target = output.map(Target::open).transpose()?;
    let line = command_line(&args);
    let root = root.map(PathBuf::from);
    let args = RunArgs { remove: true, ..args };
    let Learnt { code, report } = learn(|observation| {
        running::run_observed(args, root.as_deref(), Some(observation)).unwrap_or_else(|failure| {
            failure.print();
            failure.code
        })
    })?;
    let Some(report) = report else {
        // A start that failed has said so.
        return match code {
            125..=127 => Ok(code),
            _ => Err(Failure::new("learn: the recorder was ended before the container; nothing is written")
                .hint("out of memory, or somebody killed it")),
        };
    };
    if !report.looked {
        return Err(Failure::new(
            "learn: the program can't be looked into: it may be executed, but not read",
        )
        .hint("make its file readable (chmod +r) in the image"));
    }
    let (text, draft) = text(&report, target.as_ref(), line)?;
    match &target {
        Some(target) => target.write(&text)?,
        None => std::io::stdout().lock().write_all(text.as_bytes())?,
    }
    tell(&report, &draft, target.as_ref());
    Ok(code)
}

fn refuse_what_can_not_be_learnt(args: &RunArgs) -> Result<(), Failure> {
    let no = |what: &str, hint: &str| Err(Failure::new(format!("learn: {what}")).hint(hint));
    if args.detach {
        return no(
            "-d: it waits for the program's end to write the policy",
            "leave -d out, or put & behind it",
        );
    }
    if args.plan {
        return no("--plan: nothing would run", "donjon run --plan prints the plan");
    }
    let policy = running::effective(args)?;
    if policy.syscalls.profile.is_some() {
        return no(
            "a seccomp profile of another engine's format",
            "leave it out: the result takes its place",
        );
    }
    if policy.namespaces.user == Some(UserNamespace::Host) {
        return no(
            "--userns host: the recorder's rights would be those of root on this machine",
            "learn with --userns auto or range",
        );
    }
    Ok(())
}

/// The policy's text, checked, with what is in the file already.
fn text(report: &Report, target: Option<&Target>, line: String) -> Result<(String, Draft), Failure> {
    let mut draft = Draft::of(report);
    let mut runs = Vec::new();
    if let Some(earlier) = target.and_then(|target| target.earlier.as_deref()) {
        let (earlier, lines) = write::from_toml(earlier, "the file of -o")?;
        draft = draft.merge(earlier);
        runs = lines;
    }
    if !runs.contains(&line) {
        runs.push(line);
    }
    let text = write::to_toml(&draft, report, &runs);
    Policy::from_toml(&text, "the learnt policy")?;
    Ok((text, draft))
}

fn tell(report: &Report, draft: &Draft, target: Option<&Target>) {
    let mut out = String::from("donjon: learnt ");
    out.push_str(&format!(
        "{} system calls, {} lines of files to read, {} to write, {} to execute",
        draft.syscalls.len(),
        draft.read.len(),
        draft.write.len(),
        draft.execute.len()
    ));
    match target {
        Some(target) if target.earlier.is_some() => {
            out.push_str(&format!(", together with what {} held\n", target.path.display()));
        }
        Some(target) => out.push_str(&format!(": {}\n", target.path.display())),
        None => out.push('\n'),
    }
    if !report.refused.is_empty() {
        out.push_str(&format!(
            "donjon: {} kinds of calls were refused, as donjon run refuses them; the policy names them in its comments\n",
            report.refused.len()
        ));
    }
    if report.lost > 0 {
        out.push_str(&format!(
            "donjon: {} things more were seen than the lists hold: the policy lacks them\n",
            report.lost
        ));
    }
    out.push_str("  hint: read it, and take the line incomplete = true out; until then: donjon run --incomplete --policy FILE\n");
    let _ = std::io::stderr().write_all(out.as_bytes());
}

/// The run in words, without what only this run was.
fn command_line(args: &RunArgs) -> String {
    let mut words = vec![args.image.to_string(), "--".to_string()];
    words.extend(args.command.iter().cloned());
    words.join(" ")
}

/// The file of `-o`.
struct Target {
    path: PathBuf,
    /// What it held before.
    earlier: Option<String>,
}

impl Target {
    /// Looks whether it can be written, and what is in it.
    fn open(path: PathBuf) -> Result<Self, Failure> {
        let fail = |what: String| Failure::new(format!("-o {}: {what}", path.display()));
        let earlier = match std::fs::symlink_metadata(&path) {
            Ok(meta) if !meta.is_file() => {
                return Err(
                    fail("is no regular file".into()).hint("name a file, or one that is not there yet")
                );
            }
            Ok(_) => {
                let text = donjon_policy::text_of(&path)?;
                write::from_toml(&text, &path.display().to_string())?;
                Some(text)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(fail(error.to_string())),
        };
        let target = Self { path, earlier };
        // Written into a new file beside it and then moved: so that is what has to work.
        let beside = target.beside();
        let tried = std::fs::OpenOptions::new().write(true).create_new(true).open(&beside);
        let removed = tried.and_then(|_| std::fs::remove_file(&beside));
        match removed {
            Ok(()) => Ok(target),
            Err(error) => {
                Err(Failure::new(format!("-o {}: can't be written: {error}", target.path.display()))
                    .hint("nothing was run; name a file in a directory that you may write to"))
            }
        }
    }

    fn beside(&self) -> PathBuf {
        let name = self.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        self.path.with_file_name(format!(".{name}.{}", std::process::id()))
    }

    fn write(&self, text: &str) -> Result<(), Failure> {
        let beside = self.beside();
        let write = || {
            let mut file = std::fs::OpenOptions::new().write(true).create_new(true).open(&beside)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&beside, &self.path)
        };
        write().map_err(|error| {
            let _ = std::fs::remove_file(&beside);
            Failure::new(format!("-o {}: {error}", self.path.display()))
        })
    }
}
