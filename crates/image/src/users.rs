//! Who the program is inside: `-u NAME|UID[:GROUP|GID]` and `--group-add`, by the image's own lists.
//!
//! **The attacks**: `/etc/passwd` of an image is a pipe that never ends, a device, a link to a file of the host, a
//! gigabyte of lines; a number that does not parse becomes 0 (CVE-2026-30892). **The defence**: the file is opened
//! below the root by the one resolver, must be a regular file of at most 1 MiB, and is opened without waiting (R18); a
//! word that can't be resolved is an error, never a default (R28).

use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use donjon_confine::resolve;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::ImageError;

/// Largest list of users or groups that is read.
const MOST_BYTES: u64 = 1 << 20;

/// A user inside.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Name; the number in digits when there is none.
    pub name: String,
    /// Home directory.
    pub home: String,
}

/// A group inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Group id.
    pub gid: u32,
    /// Name.
    pub name: String,
}

/// Resolves `-u` in the tree at `root`. `default` is who runs when only a group is changed.
pub fn resolve_user(root: &Path, word: &str) -> Result<User, ImageError> {
    let lists = Lists::open(root)?;
    let (user, group) = match word.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (word, None),
    };
    if user.is_empty() || group.is_some_and(str::is_empty) || group.is_some_and(|g| g.contains(':')) {
        return Err(ImageError::new(format!("--user {word:?}"), "write NAME or UID, or NAME:GROUP, UID:GID"));
    }
    let mut found = match number(user) {
        Some(uid) => {
            let known = lists.users().ok().and_then(|users| users.into_iter().find(|u| u.uid == uid));
            known.unwrap_or_else(|| User { uid, gid: 0, name: uid.to_string(), home: "/".into() })
        }
        None => lists.users()?.into_iter().find(|u| u.name == user).ok_or_else(|| {
            ImageError::new(format!("--user {user:?}"), "there is no such user in the image's /etc/passwd")
                .hint("name one of its users, or a number")
        })?,
    };
    if let Some(group) = group {
        found.gid = lists.group(group, "--user")?;
    }
    Ok(found)
}

/// Resolves `--group-add` words in the tree at `root`.
pub fn resolve_groups(root: &Path, words: &[String]) -> Result<Vec<u32>, ImageError> {
    if words.is_empty() {
        return Ok(Vec::new());
    }
    let lists = Lists::open(root)?;
    words.iter().map(|word| lists.group(word, "--group-add")).collect()
}

/// A plain decimal id; 4294967295 means "no id" to the kernel and is none.
fn number(word: &str) -> Option<u32> {
    let digits = !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| word.parse().ok()).flatten().filter(|id| *id != u32::MAX)
}

/// The lists of a tree.
struct Lists {
    root: OwnedFd,
}

impl Lists {
    fn open(root: &Path) -> Result<Self, ImageError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(root, flags, Mode::empty())
            .map(|root| Self { root })
            .map_err(|e| ImageError::new(root.display().to_string(), words(e)))
    }

    fn read(&self, name: &str) -> Result<String, ImageError> {
        let fail = |what: String| ImageError::new(format!("/{name} in the image"), what);
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = resolve::in_root(self.root.as_fd(), name, flags).map_err(|e| fail(words(e)))?;
        let stat = rustix::fs::fstat(&file).map_err(|e| fail(words(e)))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(fail("is no regular file".into()));
        }
        let mut bytes = Vec::new();
        std::fs::File::from(file)
            .take(MOST_BYTES + 1)
            .read_to_end(&mut bytes)
            .map_err(|e| fail(reason(&e)))?;
        if bytes.len() as u64 > MOST_BYTES {
            return Err(fail("is larger than 1 MiB".into()));
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn users(&self) -> Result<Vec<User>, ImageError> {
        Ok(self.read("etc/passwd")?.lines().filter_map(user_of_line).collect())
    }

    fn group(&self, word: &str, flag: &str) -> Result<u32, ImageError> {
        if let Some(gid) = number(word) {
            return Ok(gid);
        }
        let text = self.read("etc/group")?;
        text.lines().filter_map(group_of_line).find(|g| g.name == word).map(|g| g.gid).ok_or_else(|| {
            ImageError::new(format!("{flag} {word:?}"), "there is no such group in the image's /etc/group")
                .hint("name one of its groups, or a number")
        })
    }
}

fn user_of_line(line: &str) -> Option<User> {
    let fields: Vec<&str> = line.split(':').collect();
    let [name, _, uid, gid, _, home, ..] = fields.as_slice() else { return None };
    let home = if home.starts_with('/') { home } else { &"/" };
    Some(User { uid: number(uid)?, gid: number(gid)?, name: (*name).into(), home: (*home).into() })
}

fn group_of_line(line: &str) -> Option<Group> {
    let fields: Vec<&str> = line.split(':').collect();
    let [name, _, gid, ..] = fields.as_slice() else { return None };
    Some(Group { gid: number(gid)?, name: (*name).into() })
}

/// The caller by this machine's list; with an id that the list has not (a directory service), by number.
pub fn caller(uid: u32, gid: u32) -> User {
    let text = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let known = text.lines().filter_map(user_of_line).find(|u| u.uid == uid);
    let home = |home: String| if home == "/nonexistent" { "/".to_string() } else { home };
    match known {
        Some(user) => User { gid, home: home(user.home), ..user },
        None => User { uid, gid, name: format!("user{uid}"), home: format!("/home/user{uid}") },
    }
}

/// `/etc/passwd` as it is inside `host`: the machine's daemons and the caller, no other people.
pub(crate) fn passwd_of_the_machine(user: &User) -> String {
    let text = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let mut inside = String::new();
    for line in text.lines() {
        if user_of_line(line).is_some_and(|u| is_of_the_system(u.uid) && u.uid != user.uid) {
            inside.push_str(line);
            inside.push('\n');
        }
    }
    let User { uid, gid, name, home } = user;
    inside.push_str(&format!("{name}:x:{uid}:{gid}:{name}:{home}:/bin/sh\n"));
    inside
}

/// `/etc/group` as it is inside `host`, without members.
pub(crate) fn group_of_the_machine(user: &User) -> String {
    let text = std::fs::read_to_string("/etc/group").unwrap_or_default();
    let mut inside = String::new();
    let mut own = false;
    for group in text.lines().filter_map(group_of_line) {
        if is_of_the_system(group.gid) || group.gid == user.gid {
            own |= group.gid == user.gid;
            inside.push_str(&format!("{}:x:{}:\n", group.name, group.gid));
        }
    }
    if !own {
        inside.push_str(&format!("{}:x:{}:\n", user.name, user.gid));
    }
    inside
}

/// Ids of daemons (below 1000) and of nobody.
fn is_of_the_system(id: u32) -> bool {
    id < 1000 || id == 65534
}

fn words(errno: Errno) -> String {
    donjon_confine::error::words(errno)
}

/// An input-output error in words, without its number.
pub(crate) fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    struct Tree(PathBuf);

    impl Tree {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("donjon-image-{name}-{}", std::process::id()));
            let _ = std::fs::remove_dir_all(&path);
            std::fs::create_dir_all(path.join("etc")).unwrap();
            std::fs::write(
                path.join("etc/passwd"),
                "root:x:0:0:root:/root:/bin/sh\nguest:x:1000:1001:g:/home/g:/bin/sh\nodd:x:zero:0:::\n",
            )
            .unwrap();
            std::fs::write(path.join("etc/group"), "root:x:0:\nstaff:x:50:\n").unwrap();
            Self(path)
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn names_and_numbers_are_resolved_in_the_image() {
        let tree = Tree::new("names");
        let ids = |word: &str| resolve_user(&tree.0, word).map(|u| (u.uid, u.gid, u.name, u.home)).unwrap();
        assert_eq!(ids("guest"), (1000, 1001, "guest".into(), "/home/g".into()));
        assert_eq!(ids("guest:staff"), (1000, 50, "guest".into(), "/home/g".into()));
        assert_eq!(ids("1000"), (1000, 1001, "guest".into(), "/home/g".into()));
        assert_eq!(ids("77:88"), (77, 88, "77".into(), "/".into()));
        assert_eq!(ids("77"), (77, 0, "77".into(), "/".into()));
        assert_eq!(resolve_groups(&tree.0, &["staff".into(), "9".into()]).unwrap(), [50, 9]);
    }

    #[test]
    fn what_can_not_be_resolved_is_an_error_and_never_root() {
        let tree = Tree::new("errors");
        for word in [
            "", ":", "nobody-here", "odd", "-1", "+5", "0x10", "4294967295", "4294967296", "guest:", ":0",
            "guest:none", "1:2:3", "1 ",
        ] {
            assert!(resolve_user(&tree.0, word).is_err(), "{word:?}");
        }
    }

    #[test]
    fn a_list_that_is_no_file_of_the_image_is_refused() {
        let tree = Tree::new("hostile");
        let passwd = tree.0.join("etc/passwd");
        std::fs::remove_file(&passwd).unwrap();
        symlink("/proc/self/environ", &passwd).unwrap();
        assert!(resolve_user(&tree.0, "guest").is_err());
        std::fs::remove_file(&passwd).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, &passwd, FileType::Fifo, Mode::RUSR, 0).unwrap();
        assert!(resolve_user(&tree.0, "guest").is_err(), "a pipe was read");
        std::fs::remove_file(&passwd).unwrap();
        std::fs::write(&passwd, vec![b'x'; 2 << 20]).unwrap();
        assert!(resolve_user(&tree.0, "guest").is_err(), "2 MiB were read");
        // Numbers need no list.
        assert_eq!(resolve_user(&tree.0, "5:6").unwrap().uid, 5);
    }

    #[test]
    fn inside_host_other_people_are_not_on_the_list() {
        let user = User { uid: 4242, gid: 4243, name: "caller".into(), home: "/home/caller".into() };
        let passwd = passwd_of_the_machine(&user);
        assert!(
            passwd.contains("root:") && passwd.ends_with("caller:x:4242:4243:caller:/home/caller:/bin/sh\n")
        );
        assert!(passwd.lines().filter_map(user_of_line).all(|u| is_of_the_system(u.uid) || u.uid == 4242));
        assert!(group_of_the_machine(&user).contains("caller:x:4243:\n"));
    }
}
