//! What the engines share: the place for their files, the image, the two runtimes.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use donjon_tests::{eventually, told};

/// An OCI runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runtime {
    /// What people are used to: runc.
    Reference,
    /// donjon.
    Donjon,
}

impl Runtime {
    /// The name that the engines know it by.
    pub fn name(self) -> &'static str {
        match self {
            Runtime::Reference => "reference",
            Runtime::Donjon => "donjon",
        }
    }

    /// The program. `DONJON_TEST_CLIENT_RUNTIME` puts another runtime in donjon's place, to try a test itself.
    pub fn program(self) -> String {
        match self {
            Runtime::Reference => ["/usr/sbin/runc", "/usr/bin/runc"]
                .into_iter()
                .find(|p| Path::new(p).exists())
                .expect("the Debian package runc")
                .to_string(),
            Runtime::Donjon => {
                std::env::var("DONJON_TEST_CLIENT_RUNTIME").unwrap_or_else(|_| told("DONJON_TEST_BINARY"))
            }
        }
    }
}

/// The directory of everything, on a file system that ends with the namespaces.
pub fn base() -> &'static Path {
    static BASE: OnceLock<PathBuf> = OnceLock::new();
    BASE.get_or_init(|| {
        told("DONJON_TEST_APART");
        let base = PathBuf::from("/run/donjon-clients");
        fs::create_dir(&base).expect("a new /run");
        for (name, mode) in [("tmp", 0o1777), ("work", 0o1777)] {
            fs::create_dir(base.join(name)).expect("a directory");
            fs::set_permissions(base.join(name), fs::Permissions::from_mode(mode)).expect("its mode");
        }
        base
    })
}

/// A directory of one test's own, which every user may write to.
pub fn work(name: &str) -> PathBuf {
    let path = base().join("work").join(super::fresh(name));
    fs::create_dir(&path).expect("a directory");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).expect("its mode");
    path
}

/// The image's one layer: the root of all tests, packed.
pub(super) fn layer() -> &'static Path {
    static LAYER: OnceLock<PathBuf> = OnceLock::new();
    LAYER.get_or_init(|| {
        let layer = base().join("layer.tar");
        let root = format!("{}/root", told("DONJON_TEST_ROOMS"));
        let mut tar = Command::new("tar");
        tar.args(["--owner=0", "--group=0", "--numeric-owner", "-C", &root, "-cf"]).arg(&layer).arg(".");
        assert!(tar.status().expect("tar").success(), "the image could not be packed");
        layer
    })
}

/// Where Debian's packages put programs; what was put into `/usr/local` is not what is tested.
const PROGRAMS: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// The `PATH` of the image.
pub(super) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A command with nothing of the developer's environment.
pub(super) fn bare(program: &str, home: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", PROGRAMS).env("HOME", home).env("TMPDIR", base().join("tmp"));
    command
}

/// Starts a daemon and waits until it answers. The end of the namespaces ends it.
pub(super) fn daemon(mut command: Command, home: &Path, answers: impl Fn() -> bool) {
    let log = home.join("log");
    let file = File::create(&log).expect("the daemon's log");
    command.stdin(Stdio::null()).stdout(file.try_clone().expect("the log")).stderr(file);
    let mut running = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let answered = eventually(30, || answers() || running.try_wait().is_ok_and(|status| status.is_some()));
    let told = fs::read_to_string(log).unwrap_or_default();
    assert!(answered && running.try_wait().is_ok_and(|status| status.is_none()), "{command:?}: {told}");
    std::thread::spawn(move || running.wait());
}

/// Whether the machine has the unified hierarchy of cgroups alone.
pub fn unified() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}
