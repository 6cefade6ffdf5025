//! Where things are: the repository, what cargo built, and the rooms that the tests use.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::machine::User;

/// The paths of this checkout.
#[derive(Debug, Clone)]
pub struct Place {
    /// The workspace's root.
    pub repository: PathBuf,
    /// What the tests and the bench use: binaries and root file systems that the ordinary user can reach.
    pub rooms: PathBuf,
    /// `target/TRIPLE`.
    built: PathBuf,
}

impl Place {
    /// Finds the paths; `rooms` is `target/rooms`, or lies under `/var/tmp` when the user can't reach that.
    pub fn find(user: &User) -> Result<Self, String> {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("no workspace")?.to_path_buf();
        let me = std::env::current_exe().map_err(|e| format!("where xtask is: {e}"))?;
        let built =
            me.parent().and_then(Path::parent).ok_or("xtask is not in a target directory")?.to_path_buf();
        let target = built.parent().ok_or("xtask is not in a target directory")?;
        let mut rooms = target.join("rooms");
        if user.made && !reachable(target) {
            rooms = PathBuf::from("/var/tmp/donjon-rooms");
        }
        fs::create_dir_all(&rooms).map_err(|e| format!("{}: {e}", rooms.display()))?;
        let place = Self { repository, rooms, built };
        Ok(place)
    }

    /// A cargo command in the workspace.
    pub fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.args(arguments).current_dir(&self.repository);
        // Set by the `cargo run` around this program; they would make the inner cargo rebuild.
        for name in ["CARGO_MANIFEST_DIR", "CARGO_MANIFEST_PATH", "CARGO_PKG_NAME", "CARGO_PKG_VERSION"] {
            command.env_remove(name);
        }
        command
    }

    fn build(&self, arguments: &[&str]) -> Result<(), String> {
        let mut all = vec!["build", "--quiet"];
        all.extend_from_slice(arguments);
        println!("   cargo {}", all.join(" "));
        let status = self.cargo(&all).status().map_err(|e| format!("cargo: {e}"))?;
        if status.success() { Ok(()) } else { Err(format!("cargo {} failed", all.join(" "))) }
    }

    /// Copies a program that cargo built into the rooms, under another name.
    fn bring(&self, built: &str, name: &str) -> Result<(), String> {
        let (from, to) = (self.built.join(built), self.rooms.join(name));
        // A copy of its own: what others build meanwhile can't change it, and replacing it is atomic.
        let new = to.with_extension("new");
        fs::copy(&from, &new).map_err(|e| format!("{}: {e}", from.display()))?;
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).map_err(|e| format!("{name}: {e}"))?;
        fs::rename(&new, &to).map_err(|e| format!("{name}: {e}"))
    }

    /// A binary of whole-program tests, built now.
    pub fn test_binary(&self, test: &str) -> Result<PathBuf, String> {
        let arguments = ["test", "-p", "donjon-tests", "--test", test, "--no-run", "--message-format=json"];
        let out = self.cargo(&arguments).output().map_err(|e| format!("cargo: {e}"))?;
        let text = String::from_utf8_lossy(&out.stdout);
        let path =
            text.lines().rev().find_map(|line| line.split_once(r#""executable":""#)?.1.split('"').next());
        match path.filter(|_| out.status.success()) {
            Some(path) => Ok(PathBuf::from(path)),
            None => {
                Err(format!("cargo {} failed: {}", arguments.join(" "), String::from_utf8_lossy(&out.stderr)))
            }
        }
    }

    /// The donjon that people get.
    pub fn released(&self) -> Result<(), String> {
        self.build(&["--release", "-p", "donjon"])?;
        self.bring("release/donjon", "donjon")
    }

    /// The donjon whose protections can be switched off.
    pub fn hooked(&self) -> Result<(), String> {
        self.build(&["-p", "donjon", "--features", "donjon-confine/test-hooks"])?;
        self.bring("debug/donjon", "donjon-hooks")
    }

    /// The floor, and the program that measures peak memory.
    pub fn floor(&self) -> Result<(), String> {
        self.build(&["--release", "-p", "floor"])?;
        self.bring("release/floor", "floor")?;
        self.bring("release/peak", "peak")
    }

    /// The root file system of the tests: busybox, the attacking program, and the usual directories.
    pub fn root(&self) -> Result<(), String> {
        self.build(&["--release", "-p", "donjon-tests", "--bin", "attacker"])?;
        let root = self.rooms.join("root");
        if !root.join("bin/busybox").exists() {
            self.lay_root(&root).map_err(|e| format!("{}: {e}", root.display()))?;
        }
        self.bring("release/attacker", "root/bin/attacker")
    }

    fn lay_root(&self, root: &Path) -> std::io::Result<()> {
        for dir in ["bin", "dev", "proc", "sys", "etc", "run", "root", "home", "mnt", "usr/bin", "var", "opt"]
        {
            fs::create_dir_all(root.join(dir))?;
        }
        for dir in ["tmp", "var/tmp"] {
            fs::create_dir_all(root.join(dir))?;
            fs::set_permissions(root.join(dir), fs::Permissions::from_mode(0o1777))?;
        }
        let busybox = ["/usr/bin/busybox", "/bin/busybox"].iter().find(|p| Path::new(p).exists());
        let busybox = busybox.ok_or_else(|| std::io::Error::other("no busybox on this machine"))?;
        let applets = Command::new(busybox).arg("--list").output()?;
        for applet in String::from_utf8_lossy(&applets.stdout).lines() {
            let link = root.join("bin").join(applet);
            if applet != "busybox" && !link.is_symlink() {
                symlink("busybox", link)?;
            }
        }
        let texts = [
            ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nguest:x:1000:1000:guest:/home:/bin/sh\n"),
            ("etc/group", "root:x:0:\nguest:x:1000:\n"),
            ("etc/shadow", "root:*:1::::::\n"),
            ("bin/script", "#!/bin/sh\necho ran \"$@\"\n"),
            ("bin/orphan", "#!/no/such/interpreter\n"),
            ("bin/garbage", "\u{1}\u{2}\u{3}\u{4} not a program\n"),
            ("bin/unfit", "#!/bin/sh\necho ran\n"),
        ];
        for (name, text) in texts {
            fs::write(root.join(name), text)?;
        }
        for name in ["bin/script", "bin/orphan", "bin/garbage"] {
            fs::set_permissions(root.join(name), fs::Permissions::from_mode(0o755))?;
        }
        // Last, as its presence says that the root is complete.
        fs::copy(busybox, root.join("bin/busybox"))?;
        fs::set_permissions(root.join("bin/busybox"), fs::Permissions::from_mode(0o755))?;
        Ok(())
    }
}

/// Whether somebody else may pass through every directory above.
fn reachable(path: &Path) -> bool {
    path.ancestors().all(|p| p.metadata().is_ok_and(|m| m.mode() & 0o001 != 0))
}
