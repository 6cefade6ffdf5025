//! The engines, started on first use, each with directories and sockets of its own below an empty `/run`.

mod containerd;
mod docker;
mod ground;
mod outcome;
mod podman;

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use donjon_tests::{Terminal, TerminalRun};

pub use containerd::Containerd;
pub use ground::{Runtime, base, unified, work};
pub use outcome::Outcome;

/// An engine whose command line is Docker's or like it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// Podman run by root.
    Podman,
    /// Podman run by the ordinary user.
    Rootless,
    /// Docker Engine.
    Docker,
}

/// An engine that uses one runtime.
#[derive(Debug, Clone, Copy)]
pub struct Client {
    /// Which engine.
    pub engine: Engine,
    /// Which runtime it uses.
    pub runtime: Runtime,
}

/// A container that runs in the background; dropping it removes it.
#[derive(Debug)]
pub struct Container {
    client: Client,
    /// Its name.
    pub name: String,
}

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A name that nobody else uses.
pub fn fresh(what: &str) -> String {
    format!("{what}-{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

impl Engine {
    /// Does the same with the reference runtime and with donjon.
    pub fn each(self, check: impl Fn(Client)) {
        for runtime in [Runtime::Reference, Runtime::Donjon] {
            check(Client { engine: self, runtime });
        }
    }

    /// Runs a shell script with both runtimes; exit status and output have to agree. Returns what the reference said.
    #[track_caller]
    pub fn agrees(self, options: &[&str], script: &str) -> Outcome {
        let run = |runtime| Client { engine: self, runtime }.shell(options, script);
        let (reference, donjon) = (run(Runtime::Reference), run(Runtime::Donjon));
        let told = |o: &Outcome| (o.code, o.stdout.clone());
        assert_eq!(told(&reference), told(&donjon), "runc is on the left{reference}{donjon}");
        reference
    }

    /// Whether the engine limits what its containers use; rootless Podman can't without the unified hierarchy.
    pub fn limits(self) -> bool {
        self != Engine::Rootless
    }

    /// Whether it is one of the two ways to run Podman.
    pub fn is_podman(self) -> bool {
        self != Engine::Docker
    }
}

impl Client {
    fn image(&self) -> &'static str {
        match self.engine {
            Engine::Docker => "test",
            _ => "localhost/test",
        }
    }

    /// The engine's command line with these arguments.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = match self.engine {
            Engine::Podman => podman::root(),
            Engine::Rootless => podman::rootless(),
            Engine::Docker => docker::speaker("docker"),
        };
        if self.engine.is_podman() {
            command.args(["--runtime", self.runtime.name()]);
        }
        command.args(arguments);
        command
    }

    /// The arguments that make a container. It has no network unless the options say which.
    fn making<'a>(&self, verb: &[&'a str], options: &[&'a str], program: &[&'a str]) -> Vec<&'a str> {
        let mut arguments = verb.to_vec();
        if self.engine == Engine::Docker {
            arguments.extend(["--runtime", self.runtime.name()]);
        }
        if !options.iter().any(|o| ["--network", "--pod"].contains(o)) {
            arguments.extend(["--network", "none"]);
        }
        arguments.extend(options);
        arguments.push(self.image());
        arguments.extend(program);
        arguments
    }

    /// Any command of the engine's, to its end.
    pub fn go(&self, arguments: &[&str]) -> Outcome {
        Outcome::of(self.command(arguments), self.runtime, None)
    }

    /// Another program that speaks to Docker Engine, to its end.
    pub fn through_docker(&self, program: &str, arguments: &[&str]) -> Outcome {
        let mut command = docker::speaker(program);
        command.args(arguments);
        Outcome::of(command, self.runtime, None)
    }

    /// `run --rm` with these options.
    pub fn run(&self, options: &[&str], program: &[&str]) -> Outcome {
        self.go(&self.making(&["run", "--rm"], options, program))
    }

    /// `run --rm` of a shell script.
    pub fn shell(&self, options: &[&str], script: &str) -> Outcome {
        self.run(options, &["sh", "-c", script])
    }

    /// `run --rm -i` with something to read.
    pub fn reading(&self, text: &str, program: &[&str]) -> Outcome {
        Outcome::of(
            self.command(&self.making(&["run", "--rm", "-i"], &[], program)),
            self.runtime,
            Some(text),
        )
    }

    /// `run --rm -it` on a terminal of 24 rows and 80 columns.
    pub fn on_a_terminal(&self, script: &str) -> TerminalRun {
        let arguments = self.making(&["run", "--rm", "-it"], &[], &["sh", "-c", script]);
        Terminal::new(24, 80).start(self.command(&arguments))
    }

    /// `create`.
    #[track_caller]
    pub fn create(&self, options: &[&str], program: &[&str]) -> Container {
        self.make(&["create"], options, program)
    }

    /// `run -d`.
    #[track_caller]
    pub fn start(&self, options: &[&str], program: &[&str]) -> Container {
        self.make(&["run", "-d"], options, program)
    }

    #[track_caller]
    fn make(&self, verb: &[&str], options: &[&str], program: &[&str]) -> Container {
        let container = Container { client: *self, name: fresh("container") };
        let verb = [verb, &["--name", &container.name]].concat();
        self.go(&self.making(&verb, options, program)).succeeds();
        container
    }

    /// `run -d` of something that runs until it is ended, and ends at once when it is asked to.
    #[track_caller]
    pub fn idle(&self, options: &[&str]) -> Container {
        self.start(options, &["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done"])
    }
}

impl Container {
    /// A command of the engine's, with the container's name at the end.
    pub fn go(&self, arguments: &[&str]) -> Outcome {
        self.client.go(&[arguments, &[&self.name]].concat())
    }

    /// `exec` with these options.
    pub fn exec(&self, options: &[&str], program: &[&str]) -> Outcome {
        self.client.go(&[&["exec"], options, &[&self.name], program].concat())
    }

    /// `exec -it` of a shell script on a terminal of 24 rows and 80 columns.
    pub fn exec_on_a_terminal(&self, script: &str) -> TerminalRun {
        let arguments = ["exec", "-it", &self.name, "sh", "-c", script];
        Terminal::new(24, 80).start(self.client.command(&arguments))
    }

    /// What `inspect` says to a template.
    pub fn told(&self, template: &str) -> String {
        self.go(&["inspect", "--format", template]).succeeds().stdout.trim().to_string()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let how: &[&str] =
            if self.client.engine.is_podman() { &["rm", "-f", "-t", "0"] } else { &["rm", "-f"] };
        let mut command = self.client.command(&[how, &[&self.name]].concat());
        // A test that failed says so itself; the namespaces end what this can't.
        let _ = command.stdin(Stdio::null()).output();
    }
}

/// Makes tests of functions that take an engine: `TEST::ENGINE` for every engine that they are for.
#[macro_export]
macro_rules! for_engines {
    ($engines:tt { $($test:ident),+ $(,)? }) => {
        $(mod $test {
            $crate::for_engines!(@each $test $engines);
        })+
    };
    (@each $test:ident [$($engine:ident),+]) => {
        $(#[test]
        fn $engine() {
            super::$test($crate::for_engines!(@engine $engine));
        })+
    };
    (@engine podman) => { $crate::house::Engine::Podman };
    (@engine rootless) => { $crate::house::Engine::Rootless };
    (@engine docker) => { $crate::house::Engine::Docker };
}
