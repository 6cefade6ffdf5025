//! Starting donjon, with everything bounded in time.

use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use crate::world::{Who, World, told};

/// Which build of donjon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binary {
    /// The one that people get.
    Released,
    /// The same source with the feature `test-hooks`: protections can be switched off and steps made to fail.
    Hooked,
}

/// One start of donjon, being put together.
#[derive(Debug)]
pub struct Run<'w> {
    world: &'w World,
    binary: Binary,
    copied: bool,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    stdin: Option<Vec<u8>>,
    open_stdin: bool,
    seconds: u64,
    prepare: Vec<Prepare>,
    directory: Option<String>,
    output: Option<String>,
}

#[derive(Debug, Clone)]
enum Prepare {
    /// Open this path as this descriptor, inherited by donjon.
    Leak {
        path: std::ffi::CString,
        descriptor: i32,
    },
    /// Join a new session keyring that holds a key of this name.
    Keyring {
        name: std::ffi::CString,
    },
    Umask(u32),
}

impl<'w> Run<'w> {
    pub(crate) fn new(world: &'w World, binary: Binary, arguments: &[&str]) -> Self {
        Self {
            world,
            binary,
            copied: false,
            arguments: arguments.iter().map(|a| a.to_string()).collect(),
            environment: world.environment(),
            stdin: None,
            open_stdin: false,
            seconds: 20,
            prepare: Vec::new(),
            directory: None,
            output: None,
        }
    }

    /// Uses the hooked build.
    pub fn hooked(mut self) -> Self {
        self.binary = Binary::Hooked;
        self
    }

    /// Uses the hooked build with these protections, separated by commas, switched off.
    pub fn without(self, protections: &str) -> Self {
        self.hooked().env("DONJON_TEST_WITHOUT", protections)
    }

    /// Uses the hooked build and makes this step of the plan fail with "Input/output error".
    pub fn failing_at(self, step: usize) -> Self {
        self.hooked().env("DONJON_TEST_FAIL_STEP", &step.to_string())
    }

    /// Uses the hooked build and lets the child end without a word before this step.
    pub fn dying_at(self, step: usize) -> Self {
        self.hooked().env("DONJON_TEST_DIE_STEP", &step.to_string())
    }

    /// Uses a copy of the binary in the test's own directory: one that an attack may open for writing.
    pub fn copied(mut self) -> Self {
        self.copied = true;
        self
    }

    /// Adds a variable to donjon's own environment.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.retain(|(n, _)| n != name);
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Takes a variable away from donjon's own environment.
    pub fn without_env(mut self, name: &str) -> Self {
        self.environment.retain(|(n, _)| n != name);
        self
    }

    /// What donjon reads on its standard input; nothing (`/dev/null`) unless said.
    pub fn stdin(mut self, text: &str) -> Self {
        self.stdin = Some(text.as_bytes().to_vec());
        self
    }

    /// Leaves the standard input open as a pipe, for [`Running::type_in`].
    pub fn open_stdin(mut self) -> Self {
        self.open_stdin = true;
        self
    }

    /// The most that it may take; 20 seconds unless said.
    pub fn seconds(mut self, seconds: u64) -> Self {
        self.seconds = seconds;
        self
    }

    /// Lets standard output and error go to a file, for a container that outlives the command.
    pub fn output_to(mut self, path: &str) -> Self {
        self.output = Some(path.into());
        self
    }

    /// donjon's own working directory; the test's `work` unless said.
    pub fn from_directory(mut self, path: &str) -> Self {
        self.directory = Some(path.into());
        self
    }

    /// Lets donjon inherit an open descriptor of a host path, as a careless caller would.
    pub fn leaking(mut self, path: &str, descriptor: i32) -> Self {
        let path = std::ffi::CString::new(path).expect("no NUL");
        self.prepare.push(Prepare::Leak { path, descriptor });
        self
    }

    /// Starts donjon with a session keyring that holds a secret of this name.
    pub fn with_key(mut self, name: &str) -> Self {
        self.prepare.push(Prepare::Keyring { name: std::ffi::CString::new(name).expect("no NUL") });
        self
    }

    /// Starts donjon with this umask.
    pub fn with_umask(mut self, umask: u32) -> Self {
        self.prepare.push(Prepare::Umask(umask));
        self
    }

    pub(crate) fn command(&self) -> Command {
        let mut program = match self.binary {
            Binary::Released => told("DONJON_TEST_BINARY"),
            Binary::Hooked => told("DONJON_TEST_HOOKED"),
        };
        if self.copied {
            let copy = self.world.path(&format!("donjon-{:?}", self.binary));
            if !std::path::Path::new(&copy).exists() {
                std::fs::copy(&program, &copy).expect("a copy of donjon");
            }
            program = copy;
        }
        let mut command = Command::new(program);
        command.args(&self.arguments).env_clear().envs(self.environment.iter().cloned());
        command.current_dir(self.directory.clone().unwrap_or_else(|| self.world.path("work")));
        // SAFETY: geteuid takes nothing and can't fail.
        let as_root = unsafe { libc::geteuid() } == 0;
        if as_root && self.world.who() == Who::Ordinary {
            // The standard library drops the supplementary groups together with the user id.
            command.uid(self.world.uid()).gid(self.world.gid());
        }
        for prepare in self.prepare.clone() {
            // SAFETY: the closure makes plain system calls on values that it owns and allocates nothing.
            unsafe { command.pre_exec(move || prepare.carry_out()) };
        }
        command
    }

    /// Runs to the end.
    pub fn go(self) -> Outcome {
        let seconds = self.seconds;
        self.spawn().finish(seconds)
    }

    /// Starts and returns at once.
    pub fn spawn(self) -> Running {
        let mut command = self.command();
        let stdin = if self.stdin.is_some() || self.open_stdin { Stdio::piped() } else { Stdio::null() };
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        if let Some(path) = &self.output {
            let file = std::fs::OpenOptions::new().create(true).append(true).open(path).expect("a file");
            command.stdout(file.try_clone().expect("a descriptor")).stderr(file);
        }
        // A copy of donjon that was just written may still be open for writing in a child that another test has forked
        // and that has not come to its exec yet.
        let until = Instant::now() + Duration::from_secs(5);
        let mut child = loop {
            match command.spawn() {
                Err(e) if e.kind() == std::io::ErrorKind::ExecutableFileBusy && Instant::now() < until => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                other => break other.unwrap_or_else(|e| panic!("{command:?}: {e}")),
            }
        };
        let mut stdin = child.stdin.take();
        if let (Some(text), Some(mut pipe)) = (&self.stdin, stdin.take_if(|_| !self.open_stdin)) {
            let text = text.clone();
            std::thread::spawn(move || {
                // A container that ends without reading closes the pipe.
                let _ = pipe.write_all(&text);
            });
        }
        let stdout = child.stdout.take().map_or_else(Collected::nothing, Collected::start);
        let stderr = child.stderr.take().map_or_else(Collected::nothing, Collected::start);
        Running { child, stdin, stdout, stderr, what: format!("donjon {}", self.arguments.join(" ")) }
    }
}

impl Prepare {
    fn carry_out(&self) -> std::io::Result<()> {
        // SAFETY: plain system calls; every string is NUL-terminated and outlives the call.
        let ok = unsafe {
            match self {
                Prepare::Umask(umask) => {
                    libc::umask(*umask);
                    true
                }
                Prepare::Leak { path, descriptor } => {
                    let fd = libc::open(path.as_ptr(), libc::O_RDONLY);
                    fd >= 0 && libc::dup2(fd, *descriptor) == *descriptor
                }
                Prepare::Keyring { name } => {
                    let joined =
                        libc::syscall(libc::SYS_keyctl, 1 /* join a new session keyring */, 0usize);
                    let secret = c"secret";
                    let key = libc::syscall(
                        libc::SYS_add_key,
                        c"user".as_ptr(),
                        name.as_ptr(),
                        secret.as_ptr(),
                        secret.count_bytes(),
                        -3isize, /* the session keyring */
                    );
                    joined >= 0 && key >= 0
                }
            }
        };
        if ok { Ok(()) } else { Err(std::io::Error::last_os_error()) }
    }
}

/// A pipe that a thread empties.
#[derive(Debug, Clone)]
struct Collected(Arc<(Mutex<Taken>, Condvar)>);

/// What came out of the pipe so far, and whether its end was reached.
#[derive(Debug, Default)]
struct Taken {
    bytes: Vec<u8>,
    ended: bool,
}

impl Collected {
    fn nothing() -> Self {
        Self(Arc::new((Mutex::new(Taken { bytes: Vec::new(), ended: true }), Condvar::new())))
    }

    fn start(mut pipe: impl Read + Send + 'static) -> Self {
        let shared = Self(Arc::new((Mutex::new(Taken::default()), Condvar::new())));
        let writer = shared.clone();
        std::thread::spawn(move || {
            let mut buffer = [0u8; 4096];
            loop {
                let n = pipe.read(&mut buffer).unwrap_or(0);
                let mut state = writer.0.0.lock().expect("the collector");
                state.bytes.extend_from_slice(&buffer[..n]);
                state.ended = n == 0;
                writer.0.1.notify_all();
                if n == 0 {
                    return;
                }
            }
        });
        shared
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.0.lock().expect("the collector").bytes).into_owned()
    }

    /// Waits until `enough` says so of the text, or the pipe's end; false at the deadline.
    fn wait(&self, end: Instant, enough: impl Fn(&str) -> bool) -> bool {
        let mut state = self.0.0.lock().expect("the collector");
        loop {
            if state.ended || enough(&String::from_utf8_lossy(&state.bytes)) {
                return true;
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self.0.1.wait_timeout(state, left).expect("the collector").0;
        }
    }
}

/// A donjon that was started.
#[derive(Debug)]
pub struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Collected,
    stderr: Collected,
    what: String,
}

impl Running {
    /// donjon's process id.
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// Sends a signal to donjon itself.
    pub fn signal(&self, signal: i32) {
        // SAFETY: the process is this test's child and not yet waited for.
        unsafe { libc::kill(self.pid(), signal) };
    }

    /// Waits until this text was written to the standard output.
    pub fn wait_for(&self, text: &str) {
        let end = Instant::now() + Duration::from_secs(20);
        let seen = self.stdout.wait(end, |t| t.contains(text)) && self.stdout.text().contains(text);
        assert!(
            seen,
            "{} never wrote {text:?}\nstdout: {}\nstderr: {}",
            self.what,
            self.stdout.text(),
            self.stderr.text()
        );
    }

    /// What it wrote so far.
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// Writes to its standard input.
    pub fn type_in(&mut self, text: &str) {
        let pipe = self.stdin.as_mut().expect("open_stdin was asked for");
        pipe.write_all(text.as_bytes()).expect("writing to the container");
    }

    /// Closes its standard input.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Waits for the end, and for the end of its output: whoever keeps that open is a fault too.
    pub fn finish(mut self, seconds: u64) -> Outcome {
        let end = Instant::now() + Duration::from_secs(seconds);
        self.stdin = None;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("waiting for donjon") {
                break status;
            }
            if Instant::now() > end {
                self.signal(libc::SIGKILL);
                panic!(
                    "{} did not end in {seconds} s\nstdout: {}\nstderr: {}",
                    self.what,
                    self.stdout(),
                    self.stderr.text()
                );
            }
            std::thread::sleep(Duration::from_millis(3));
        };
        let closed = Instant::now() + Duration::from_secs(5);
        let quiet = self.stdout.wait(closed, |_| false) && self.stderr.wait(closed, |_| false);
        assert!(quiet, "{} ended, but something still holds its output open", self.what);
        Outcome { status, stdout: self.stdout.text(), stderr: self.stderr.text(), what: self.what.clone() }
    }
}

/// How a run of donjon ended.
#[derive(Debug)]
pub struct Outcome {
    status: ExitStatus,
    /// What was written to the standard output.
    pub stdout: String,
    /// What was written to the standard error.
    pub stderr: String,
    what: String,
}

impl Outcome {
    /// The exit status; 1000+n when donjon itself died of signal n, which it never should.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| 1000 + self.status.signal().unwrap_or(0))
    }

    fn shown(&self) -> String {
        format!("{}\nexit {}\nstdout: {}\nstderr: {}", self.what, self.code(), self.stdout, self.stderr)
    }

    /// Asserts the exit status.
    #[track_caller]
    pub fn exits(&self, code: i32) -> &Self {
        assert_eq!(self.code(), code, "{}", self.shown());
        self
    }

    /// Asserts that the exit status is 0.
    #[track_caller]
    pub fn succeeds(&self) -> &Self {
        self.exits(0)
    }

    /// Asserts that the program inside failed, not donjon.
    #[track_caller]
    pub fn fails_inside(&self) -> &Self {
        let code = self.code();
        assert!(code != 0 && !(125..=127).contains(&code) && code < 1000, "{}", self.shown());
        self
    }

    /// Asserts the whole standard output, line ends at the end aside.
    #[track_caller]
    pub fn prints(&self, text: &str) -> &Self {
        assert_eq!(self.stdout.trim_end(), text, "{}", self.shown());
        self
    }

    /// Asserts that the standard output holds this.
    #[track_caller]
    pub fn says(&self, text: &str) -> &Self {
        assert!(self.stdout.contains(text), "{text:?} is not in the output of {}", self.shown());
        self
    }

    /// Asserts that neither output holds this.
    #[track_caller]
    pub fn never_says(&self, text: &str) -> &Self {
        let there = self.stdout.contains(text) || self.stderr.contains(text);
        assert!(!there, "{text:?} is in the output of {}", self.shown());
        self
    }

    /// Asserts that the standard error holds this, upper and lower case alike.
    #[track_caller]
    pub fn complains(&self, text: &str) -> &Self {
        let there = self.stderr.to_lowercase().contains(&text.to_lowercase());
        assert!(there, "{text:?} is not in the standard error of {}", self.shown());
        self
    }

    /// Asserts that donjon refused before anything ran: status 125, one clear error, no panic.
    #[track_caller]
    pub fn refused(&self) -> &Self {
        self.exits(125).never_says("panicked");
        assert!(!self.stderr.trim().is_empty(), "no word of why: {}", self.shown());
        self
    }

    /// The standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {}", self.shown()))
    }

    /// The value of a `name: value` line of the standard output, as `/proc/self/status` writes them.
    #[track_caller]
    pub fn field(&self, name: &str) -> String {
        let line = self.stdout.lines().find(|l| l.split(':').next() == Some(name));
        match line.and_then(|l| l.split_once(':')) {
            Some((_, value)) => value.trim().to_string(),
            None => panic!("no {name} in {}", self.shown()),
        }
    }
}
