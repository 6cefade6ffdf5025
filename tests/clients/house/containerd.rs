//! containerd: one daemon for all tests, and its own client `ctr`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use donjon_tests::{Terminal, TerminalRun};

use super::ground::{PATH, Runtime, bare, base, daemon, layer};
use super::{Outcome, fresh};

const IMAGE: &str = "docker.io/library/test:latest";

/// containerd with one runtime.
#[derive(Debug, Clone, Copy)]
pub struct Containerd {
    runtime: Runtime,
}

/// A task that runs in the background; dropping it removes it.
#[derive(Debug)]
pub struct Task {
    containerd: Containerd,
    id: String,
}

impl Containerd {
    /// Does the same with the reference runtime and with donjon.
    pub fn each(check: impl Fn(Self)) {
        for runtime in [Runtime::Reference, Runtime::Donjon] {
            check(Self { runtime });
        }
    }

    /// Runs a shell script with both runtimes; exit status and output have to agree.
    #[track_caller]
    pub fn agree(options: &[&str], script: &str) -> Outcome {
        let run = |runtime| Self { runtime }.run(options, &["sh", "-c", script]);
        let (mut reference, mut donjon) = (run(Runtime::Reference), run(Runtime::Donjon));
        let told = |o: &Outcome| (o.code, o.stdout.clone());
        // ctr was seen to lose the end of an output whose writer had ended well, once, and not again in 1,680 runs: what one
        // has and the other lacks at the end is looked at once more.
        if reference.code == donjon.code
            && (reference.stdout.starts_with(&donjon.stdout) || donjon.stdout.starts_with(&reference.stdout))
            && reference.stdout != donjon.stdout
        {
            (reference, donjon) = (run(Runtime::Reference), run(Runtime::Donjon));
        }
        assert_eq!(told(&reference), told(&donjon), "runc is on the left{reference}{donjon}");
        reference
    }

    /// Any command of `ctr`'s.
    pub fn go(&self, arguments: &[&str]) -> Outcome {
        Outcome::of(command(arguments), self.runtime, None)
    }

    /// `ctr run --rm`.
    pub fn run(&self, options: &[&str], program: &[&str]) -> Outcome {
        let (binary, id) = (self.runtime.program(), fresh("task"));
        let run = ["run", "--runc-binary", &binary, "--rm"];
        self.go(&[&run, options, &[IMAGE, &id], program].concat())
    }

    /// `ctr run --rm -t` on a terminal.
    pub fn on_a_terminal(&self, script: &str) -> TerminalRun {
        let (binary, id) = (self.runtime.program(), fresh("task"));
        let run = ["run", "--runc-binary", &binary, "--rm", "-t", IMAGE, &id, "sh", "-c", script];
        Terminal::new(24, 80).start(command(&run))
    }

    /// `ctr run -d`.
    #[track_caller]
    pub fn start(&self, options: &[&str], program: &[&str]) -> Task {
        let task = Task { containerd: *self, id: fresh("task") };
        let binary = self.runtime.program();
        let run = ["run", "--runc-binary", &binary, "-d"];
        self.go(&[&run, options, &[IMAGE, &task.id], program].concat()).succeeds();
        task
    }
}

impl Task {
    /// A command of `ctr task`'s, with the task's id at the end.
    pub fn go(&self, arguments: &[&str]) -> Outcome {
        self.containerd.go(&[&["task"], arguments, &[&self.id]].concat())
    }

    /// `ctr task exec`.
    pub fn exec(&self, options: &[&str], program: &[&str]) -> Outcome {
        let id = fresh("exec");
        self.containerd.go(&[&["task", "exec", "--exec-id", &id], options, &[&self.id], program].concat())
    }

    /// The state that `ctr task ls` tells.
    pub fn state(&self) -> String {
        let listed = self.containerd.go(&["task", "ls"]);
        let line = listed.stdout.lines().find(|l| l.split_whitespace().next() == Some(&self.id));
        line.and_then(|l| l.split_whitespace().nth(2)).unwrap_or_default().to_string()
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        for arguments in [["task", "rm", "-f", &self.id].as_slice(), &["container", "rm", &self.id]] {
            let _ = command(arguments).stdin(Stdio::null()).output();
        }
    }
}

fn command(arguments: &[&str]) -> Command {
    static READY: OnceLock<PathBuf> = OnceLock::new();
    let mut command = client(READY.get_or_init(start));
    command.args(arguments);
    command
}

fn client(home: &Path) -> Command {
    let mut command = bare("ctr", home);
    command.arg("--address").arg(home.join("socket"));
    command
}

/// Starts the daemon, and brings the image in.
fn start() -> PathBuf {
    let home = base().join("containerd");
    fs::create_dir(&home).expect("a directory of containerd's");
    let at = home.display();
    let configuration = format!(
        "version = 2\nroot = \"{at}/root\"\nstate = \"{at}/state\"\n\
         disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
         [grpc]\naddress = \"{at}/socket\"\n[ttrpc]\naddress = \"{at}/socket.ttrpc\"\n"
    );
    fs::write(home.join("config.toml"), configuration).expect("containerd's configuration");
    let mut command = bare("containerd", &home);
    command.arg("--config").arg(home.join("config.toml"));
    let answers = || client(&home).arg("version").output().is_ok_and(|o| o.status.success());
    daemon(command, &home, answers);
    let mut import = client(&home);
    import.args(["images", "import"]).arg(archive(&home));
    let imported = import.output().expect("ctr");
    assert!(imported.status.success(), "ctr images import: {}", String::from_utf8_lossy(&imported.stderr));
    home
}

/// An archive as `docker save` writes it.
fn archive(home: &Path) -> PathBuf {
    let (dir, archive) = (home.join("image"), home.join("image.tar"));
    fs::create_dir(&dir).expect("a directory");
    fs::copy(layer(), dir.join("layer.tar")).expect("the layer");
    let sum = Command::new("sha256sum").arg(dir.join("layer.tar")).output().expect("sha256sum");
    let sum = String::from_utf8_lossy(&sum.stdout);
    let digest = sum.split_whitespace().next().expect("a digest");
    let config = serde_json::json!({
        "architecture": if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" },
        "os": "linux",
        "config": {"Env": [format!("PATH={PATH}")], "Cmd": ["sh"]},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{digest}")]},
    });
    let manifest =
        serde_json::json!([{"Config": "config.json", "RepoTags": [IMAGE], "Layers": ["layer.tar"]}]);
    fs::write(dir.join("config.json"), config.to_string()).expect("the image's configuration");
    fs::write(dir.join("manifest.json"), manifest.to_string()).expect("the image's manifest");
    let mut tar = Command::new("tar");
    tar.arg("-C").arg(&dir).arg("-cf").arg(&archive).args(["manifest.json", "config.json", "layer.tar"]);
    assert!(tar.status().expect("tar").success(), "the image could not be packed");
    archive
}
