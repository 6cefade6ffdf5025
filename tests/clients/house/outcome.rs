//! What a command did, for a person to judge.

use std::fmt;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use super::Runtime;

/// Seconds that a command of an engine may take.
const SECONDS: &str = "60";

/// A command that has ended.
#[derive(Debug)]
pub struct Outcome {
    /// The command line, and the runtime that was used.
    what: String,
    /// The exit status.
    pub code: i32,
    /// The standard output.
    pub stdout: String,
    /// The standard error.
    pub stderr: String,
}

impl Outcome {
    /// Runs a command to its end, or for [`SECONDS`].
    pub(super) fn of(command: Command, runtime: Runtime, stdin: Option<&str>) -> Self {
        let what = format!("{} (with {})", line(&command), runtime.name());
        let mut bounded = bounded(&command);
        bounded.stdin(if stdin.is_some() { Stdio::piped() } else { Stdio::null() });
        let mut child = bounded
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("timeout is on every machine");
        if let (Some(text), Some(mut pipe)) = (stdin, child.stdin.take()) {
            pipe.write_all(text.as_bytes()).expect("the engine reads");
        }
        let output = child.wait_with_output().expect("the command's end");
        Self {
            what,
            code: output.status.code().unwrap_or_else(|| 128 + output.status.signal().unwrap_or(0)),
            stdout: String::from_utf8_lossy(&output.stdout).replace("\r\n", "\n"),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// It ended with this status.
    #[track_caller]
    pub fn exits(&self, code: i32) -> &Self {
        assert_eq!(self.code, code, "{self}");
        self
    }

    /// It ended well.
    #[track_caller]
    pub fn succeeds(&self) -> &Self {
        self.exits(0)
    }

    /// It did not end well, and in its time.
    #[track_caller]
    pub fn fails(&self) -> &Self {
        assert!(self.code != 0 && self.code != 124, "{self}");
        self
    }

    /// This, and nothing else, is on the standard output.
    #[track_caller]
    pub fn prints(&self, text: &str) -> &Self {
        assert_eq!(self.stdout.trim(), text, "{self}");
        self
    }

    /// This is somewhere on the standard output.
    #[track_caller]
    pub fn says(&self, text: &str) -> &Self {
        assert!(self.stdout.contains(text), "{text:?} is not in {self}");
        self
    }

    /// This is somewhere on the standard error, in small or capital letters.
    #[track_caller]
    pub fn complains(&self, text: &str) -> &Self {
        assert!(self.stderr.to_lowercase().contains(&text.to_lowercase()), "{text:?} is not in {self}");
        self
    }
}

/// For the message of an assertion.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, code, stdout, stderr } = self;
        write!(f, "\n$ {what}\n{stdout}-- standard error:\n{stderr}-- exit status {code}")
    }
}

/// The command as a person would type it.
fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|w| w.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// The same command, killed when it takes too long.
fn bounded(command: &Command) -> Command {
    let mut bounded = Command::new("timeout");
    bounded.args(["--kill-after=2", SECONDS]).arg(command.get_program()).args(command.get_args());
    bounded.env_clear();
    bounded.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    bounded.current_dir("/");
    bounded
}
