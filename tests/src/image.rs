//! Root file systems that a test may deface.

use std::fs;
use std::os::unix::fs::{PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};

use crate::world::told;

/// A small root of one test's own: busybox, the attacker and the usual directories.
#[derive(Debug)]
pub struct OwnRoot {
    path: PathBuf,
    owner: (u32, u32),
}

impl OwnRoot {
    pub(crate) fn new(path: PathBuf, owner: (u32, u32)) -> Self {
        let root = Self { path, owner };
        for dir in ["bin", "dev", "proc", "sys", "etc", "tmp", "run", "root", "home", "mnt", "var"] {
            fs::create_dir(root.path.join(dir)).expect("a directory of the root");
        }
        fs::set_permissions(root.path.join("tmp"), fs::Permissions::from_mode(0o1777)).expect("its mode");
        let shared = PathBuf::from(told("DONJON_TEST_ROOMS")).join("root/bin");
        for file in ["busybox", "attacker"] {
            fs::copy(shared.join(file), root.path.join("bin").join(file)).expect("a program of the root");
        }
        for applet in ["sh", "cat", "ls", "true", "id", "touch", "echo", "sleep", "mount", "pwd", "stat"] {
            symlink("busybox", root.path.join("bin").join(applet)).expect("an applet");
        }
        fs::write(root.path.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n").expect("passwd");
        fs::write(root.path.join("etc/group"), "root:x:0:\n").expect("group");
        root.give(&root.path);
        root
    }

    fn give(&self, path: &Path) {
        lchown(path, Some(self.owner.0), Some(self.owner.1)).expect("giving a root to the test's user");
        if path.is_dir() && !path.is_symlink() {
            for entry in fs::read_dir(path).expect("a directory of the root").flatten() {
                self.give(&entry.path());
            }
        }
    }

    /// Where it is on the host.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// As an image argument.
    pub fn image(&self) -> String {
        format!("dir:{}", self.path.display())
    }

    /// Puts a symbolic link where `name` was.
    pub fn link(&self, name: &str, target: impl AsRef<Path>) -> &Self {
        let path = self.remove(name);
        symlink(target, &path).expect("a symbolic link in the root");
        lchown(&path, Some(self.owner.0), Some(self.owner.1)).expect("its owner");
        self
    }

    /// Puts a regular file where `name` was.
    pub fn file(&self, name: &str, content: &str, mode: u32) -> &Self {
        let path = self.remove(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).expect("its directory");
        }
        fs::write(&path, content).expect("a file in the root");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("its mode");
        lchown(&path, Some(self.owner.0), Some(self.owner.1)).expect("its owner");
        self
    }

    /// Makes a directory in the root.
    pub fn dir(&self, name: &str) -> &Self {
        let path = self.path.join(name);
        fs::create_dir_all(&path).expect("a directory in the root");
        lchown(&path, Some(self.owner.0), Some(self.owner.1)).expect("its owner");
        self
    }

    /// Takes `name` away, whatever it is.
    pub fn remove(&self, name: &str) -> PathBuf {
        let path = self.path.join(name);
        if path.is_symlink() || path.is_file() {
            fs::remove_file(&path).expect("removing a file of the root");
        } else if path.is_dir() {
            fs::remove_dir_all(&path).expect("removing a directory of the root");
        }
        path
    }
}
