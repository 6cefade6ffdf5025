//! `HOME`, which engines leave to the runtime: from the container's own `/etc/passwd`, by the user's id.
//!
//! **The attacks**: the file is a link out of the root, a pipe that never ends, or too large to hold. **The defence**:
//! links are followed as if the root were `/`, only a regular file is read, and of it no more than [`LARGEST`] bytes.
//! What is read becomes one variable of the container's process and decides nothing here.

use std::os::fd::{AsFd, BorrowedFd};

use donjon_confine::resolve;
use oci_spec::runtime::Process;
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::process::read_all;

/// Largest `/etc/passwd`, in bytes.
const LARGEST: usize = 1024 * 1024;

/// Gives the process the variable, unless it has it; `/` when the container knows nothing of its user.
pub fn complete(process: &mut Process, root: impl rustix::path::Arg) {
    let mut env = process.env().clone().unwrap_or_default();
    if env.iter().any(|entry| entry.strip_prefix("HOME=").is_some_and(|home| !home.is_empty())) {
        return;
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::openat(CWD, root, flags, Mode::empty());
    let list = root.and_then(|root| passwd(root.as_fd())).unwrap_or_default();
    let home = of_user(&list, process.user().uid()).unwrap_or("/");
    env.retain(|entry| !entry.starts_with("HOME="));
    env.push(format!("HOME={home}"));
    process.set_env(Some(env));
}

fn passwd(root: BorrowedFd<'_>) -> Result<String, Errno> {
    let file = resolve::in_root(root, c"etc/passwd", OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?;
    match FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) {
        FileType::RegularFile => Ok(String::from_utf8_lossy(&read_all(file.as_fd(), LARGEST)?).into_owned()),
        _ => Err(Errno::INVAL),
    }
}

/// The sixth field of the first line with this id; a path without control characters, or it is not taken.
fn of_user(list: &str, uid: u32) -> Option<&str> {
    let line = list.lines().find(|line| line.split(':').nth(2).is_some_and(|id| id.parse() == Ok(uid)))?;
    let home = line.split(':').nth(5)?;
    (home.starts_with('/') && !home.contains(|c: char| c.is_control())).then_some(home)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_home_of_an_id_is_the_sixth_field_of_its_first_line() {
        let list = "root:x:0:0:root:/root:/bin/sh\n# a comment\nbad\nguest:x:1000:1000::/home/guest:\n\
                    again:x:1000:1000::/other:\nempty:x:7:7:::\nodd:x:8:8::/a\u{7}b:\n";
        assert_eq!(of_user(list, 0), Some("/root"));
        assert_eq!(of_user(list, 1000), Some("/home/guest"));
        for unknown in [7, 8, 9] {
            assert_eq!(of_user(list, unknown), None, "{unknown}");
        }
    }

    #[test]
    fn a_home_that_was_given_stays() {
        let mut process = Process::default();
        process.set_env(Some(vec!["HOME=/given".to_string()]));
        complete(&mut process, "/");
        assert_eq!(process.env().as_deref(), Some(&["HOME=/given".to_string()][..]));
    }

    #[test]
    fn a_root_without_users_gives_the_root_directory() {
        let mut process = Process::default();
        process.set_env(Some(vec!["HOME=".to_string(), "A=b".to_string()]));
        complete(&mut process, "/no/such/root");
        assert_eq!(process.env().as_deref(), Some(&["A=b".to_string(), "HOME=/".to_string()][..]));
    }
}
