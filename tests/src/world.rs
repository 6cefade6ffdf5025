//! One test's own place on the machine.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::image::OwnRoot;
use crate::leftovers::Leftovers;
use crate::run::{Binary, Run};

/// Who starts donjon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// The ordinary user that the test run made, or the caller when the tests run as an ordinary user.
    Ordinary,
    /// Root.
    Root,
}

/// A directory, a runtime directory and a user, all of one test. Dropping it ends what still runs in it.
#[derive(Debug)]
pub struct World {
    who: Who,
    uid: u32,
    gid: u32,
    dir: PathBuf,
}

static COUNT: AtomicU32 = AtomicU32::new(0);

/// What `cargo xtask test` said in the environment.
pub fn told(name: &str) -> String {
    match std::env::var(name) {
        Ok(value) => value,
        Err(_) => panic!("{name} is not set: run these tests with `cargo xtask test`"),
    }
}

fn is_root() -> bool {
    // SAFETY: geteuid takes nothing and can't fail.
    unsafe { libc::geteuid() == 0 }
}

impl World {
    /// A world of the ordinary user.
    pub fn ordinary() -> Self {
        let ids = told("DONJON_TEST_USER");
        let (uid, gid) = ids.split_once(':').expect("DONJON_TEST_USER is UID:GID");
        Self::new(Who::Ordinary, uid.parse().expect("a uid"), gid.parse().expect("a gid"))
    }

    /// A world of root. Where another runs the tests this fails, rather than pass without having looked.
    pub fn root() -> Self {
        assert!(
            is_root(),
            "this test needs root: run `sudo cargo xtask test`, or leave its room out with --without ROOM"
        );
        Self::new(Who::Root, 0, 0)
    }

    /// A world of the ordinary user, and one of root where root runs the tests.
    pub fn each() -> Vec<Self> {
        if is_root() { vec![Self::ordinary(), Self::root()] } else { vec![Self::ordinary()] }
    }

    fn new(who: Who, uid: u32, gid: u32) -> Self {
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = PathBuf::from(format!("/tmp/donjon-world-{}-{n}w", std::process::id()));
        fs::create_dir(&dir).expect("the test's directory");
        let world = Self { who, uid, gid, dir };
        fs::set_permissions(&world.dir, fs::Permissions::from_mode(0o755)).expect("its mode");
        world.own(&world.dir);
        for (name, mode) in [("run", 0o700), ("home", 0o755), ("home/.ssh", 0o700), ("work", 0o755)] {
            let path = world.dir(name);
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a directory's mode");
        }
        world
    }

    fn own(&self, path: &Path) {
        chown(path, Some(self.uid), Some(self.gid)).expect("giving a path to the test's user");
    }

    /// Who starts donjon here.
    pub fn who(&self) -> Who {
        self.who
    }

    /// The user's id on the host.
    pub fn uid(&self) -> u32 {
        self.uid
    }

    /// The group's id on the host.
    pub fn gid(&self) -> u32 {
        self.gid
    }

    /// The name of the test's directory: appears in the environment of every process of this world.
    pub fn token(&self) -> String {
        self.dir.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// A path inside the test's directory, as text for a command line.
    pub fn path(&self, name: &str) -> String {
        self.dir.join(name).to_string_lossy().into_owned()
    }

    /// A directory of the user's inside the test's directory, made when it is missing.
    pub fn dir(&self, name: &str) -> PathBuf {
        let path = self.dir.join(name);
        if !path.exists() {
            fs::create_dir_all(&path).expect("a directory of the test");
            self.own(&path);
        }
        path
    }

    /// A file of the user's inside the test's directory.
    pub fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.dir.join(name);
        fs::write(&path, content).expect("a file of the test");
        self.own(&path);
        path
    }

    /// The content of a file inside the test's directory.
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.dir.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    /// The names in a directory inside the test's directory, sorted.
    pub fn names(&self, name: &str) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.dir.join(name))
            .map(|d| d.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect())
            .unwrap_or_default();
        names.sort();
        names
    }

    /// The busybox root that all tests share, as an image argument. Never written to.
    pub fn image(&self) -> String {
        format!("dir:{}/root", told("DONJON_TEST_ROOMS"))
    }

    /// A root of this test alone, to deface.
    pub fn own_root(&self) -> OwnRoot {
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        OwnRoot::new(self.dir(&format!("root{n}")), (self.uid, self.gid))
    }

    /// donjon with these arguments.
    pub fn donjon(&self, arguments: &[&str]) -> Run<'_> {
        let state = self.path("run/donjon");
        match self.who {
            Who::Ordinary => Run::new(self, Binary::Released, arguments),
            // Root's containers are elsewhere by default, and not one test's alone.
            Who::Root => Run::new(self, Binary::Released, &[&["--root", &state], arguments].concat()),
        }
    }

    /// `donjon run` of a shell command in the shared busybox root.
    pub fn shell(&self, options: &[&str], script: &str) -> Run<'_> {
        let image = self.image();
        let mut arguments = vec!["run"];
        arguments.extend_from_slice(options);
        arguments.extend_from_slice(&[&image, "--", "sh", "-c", script]);
        self.donjon(&arguments)
    }

    /// `donjon run` of the attacking program in the shared busybox root.
    pub fn attack(&self, options: &[&str], attack: &[&str]) -> Run<'_> {
        let image = self.image();
        let mut arguments = vec!["run"];
        arguments.extend_from_slice(options);
        arguments.extend_from_slice(&[&image, "--", "/bin/attacker"]);
        arguments.extend_from_slice(attack);
        self.donjon(&arguments)
    }

    /// The environment of everything that the user starts here.
    pub fn environment(&self) -> Vec<(String, String)> {
        vec![
            ("PATH".into(), "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin".into()),
            ("HOME".into(), self.path("home")),
            ("TERM".into(), "xterm".into()),
            ("LANG".into(), "C.UTF-8".into()),
            ("XDG_RUNTIME_DIR".into(), self.path("run")),
        ]
    }

    /// The containers that donjon has on record here.
    pub fn containers(&self) -> Vec<String> {
        self.names("run/donjon/containers")
    }

    /// What of this world still runs, is mounted or is recorded.
    pub fn leftovers(&self) -> Leftovers {
        Leftovers::find(self)
    }

    /// Waits until nothing of this world is left, at most five seconds.
    pub fn assert_nothing_left(&self, after: &str) {
        let mut left = self.leftovers();
        let end = Instant::now() + Duration::from_secs(5);
        while !left.is_empty() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20));
            left = self.leftovers();
        }
        assert!(left.is_empty(), "after {after} there is left: {left:#?}");
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for _ in 0..50 {
            let pids = crate::leftovers::processes(self);
            if pids.is_empty() {
                break;
            }
            for (pid, _) in pids {
                // SAFETY: a signal to a process that this test started; ESRCH does no harm.
                unsafe { libc::kill(pid, libc::SIGKILL) };
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        if std::env::var_os("DONJON_TEST_KEEP").is_none() {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

/// Runs the attacking program outside every container, as the proof that the attack works where nothing forbids
/// it. Returns its exit status and output.
pub fn attacker_outside(attack: &[&str]) -> (i32, String) {
    let path = format!("{}/root/bin/attacker", told("DONJON_TEST_ROOMS"));
    let out = Command::new(path).args(attack).output().expect("the attacker");
    (out.status.code().unwrap_or(-1), String::from_utf8_lossy(&out.stdout).into_owned())
}

/// Asks again until the answer is yes or `seconds` have passed.
pub fn eventually(seconds: u64, mut ask: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        if ask() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    ask()
}
