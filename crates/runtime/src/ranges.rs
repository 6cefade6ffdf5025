//! Ranges of host ids for user namespaces.
//!
//! **The attack**: two containers with the same ids outside are no strangers to each other: whatever file, process or
//! limit one of them leaves, the other owns. **The defence**: each container of root's has 65536 ids that no other
//! running container has, taken by one atomic step (R32). They lie between systemd's (up to 0x6fffffff) and the first
//! number that file systems may take for a negative one (0x80000000), where `/etc/subuid` hands out none.
//!
//! An ordinary user's range is the one that the administrator wrote for them in `/etc/subuid` and `/etc/subgid`; the
//! kernel takes it from `newuidmap` alone (R1).

use std::path::Path;

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::container::Container;
use crate::names::Id;
use crate::store::{Store, StoreError};

/// The first range of root's containers: its first id and its count.
pub const FIRST: (u32, u32) = (0x7000_0000, SIZE);

const SIZE: u32 = 65536;
/// So many ranges fit below 0x80000000.
const COUNT: u32 = 4096;

impl Store {
    /// Takes a range of ids that no other container of this store has. Only root can use it.
    pub fn take_range(&self, container: &Container) -> Result<(u32, u32), StoreError> {
        let fail = |what| move |errno| StoreError::Io { what, path: self.path().join("ranges"), errno };
        let dir = self.ranges()?;
        rustix::fs::flock(&dir, FlockOperation::LockExclusive).map_err(fail("lock"))?;
        // By chance, so that a range is not taken up again at once after its container has ended.
        let start =
            container.id.as_str().get(..4).and_then(|hex| u32::from_str_radix(hex, 16).ok()).unwrap_or(0);
        for n in 0..COUNT {
            let index = start.wrapping_add(n) % COUNT;
            let name = index.to_string();
            match rustix::fs::symlinkat(container.id.as_str(), &dir, &*name) {
                Ok(()) => return Ok((FIRST.0 + index * SIZE, SIZE)),
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(fail("take a range of ids in")(errno)),
            }
            let holder = rustix::fs::readlinkat(&dir, &*name, Vec::new())
                .ok()
                .and_then(|target| Id::parse(target.to_str().unwrap_or_default()));
            if holder.is_some_and(|id| self.has(&id)) {
                continue;
            }
            // Its container is gone, and the lock keeps everybody else from seeing the gap.
            rustix::fs::unlinkat(&dir, &*name, AtFlags::empty()).map_err(fail("free a range of ids in"))?;
            rustix::fs::symlinkat(container.id.as_str(), &dir, &*name)
                .map_err(fail("take a range of ids in"))?;
            return Ok((FIRST.0 + index * SIZE, SIZE));
        }
        Err(fail("find a free range of ids in")(Errno::NOSPC))
    }
}

/// A user without subordinate ids.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("--userns range: {file} has no ids for user {uid}")]
pub struct NoRange {
    /// The user.
    pub uid: u32,
    /// The file.
    pub file: &'static str,
}

impl NoRange {
    /// The next step.
    pub fn hint(&self) -> String {
        let Self { uid, .. } = self;
        format!(
            "an administrator gives some: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {}; without \
             --userns range none are needed",
            name_of(*uid).unwrap_or_else(|| uid.to_string())
        )
    }
}

/// The first subordinate range of a user: first id and count, the same for users and groups.
pub fn subordinate(uid: u32) -> Result<(u32, u32), NoRange> {
    let read = |file: &'static str| {
        let text = std::fs::read_to_string(Path::new(file)).unwrap_or_default();
        range_of(&text, uid, name_of(uid).as_deref()).ok_or(NoRange { uid, file })
    };
    let (users, groups) = (read("/etc/subuid")?, read("/etc/subgid")?);
    if users.0 != groups.0 {
        // One range for both keeps a file's owner and group together.
        return Err(NoRange { uid, file: "/etc/subuid and /etc/subgid with the same first id" });
    }
    Ok((users.0, users.1.min(groups.1)))
}

fn name_of(uid: u32) -> Option<String> {
    let text = std::fs::read_to_string("/etc/passwd").ok()?;
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_string())
    })
}

fn range_of(text: &str, uid: u32, name: Option<&str>) -> Option<(u32, u32)> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let owner = fields.next()?;
        if Some(owner) != name && owner.parse() != Ok(uid) {
            return None;
        }
        let (first, count): (u32, u32) = (fields.next()?.parse().ok()?, fields.next()?.trim().parse().ok()?);
        (first > 0 && count > 0 && first.checked_add(count).is_some()).then_some((first, count))
    })
}

/// Opens the directory of ranges, making it when it is missing.
pub(crate) fn directory(
    store: &Path,
    root: impl std::os::fd::AsFd,
) -> Result<std::os::fd::OwnedFd, StoreError> {
    let fail = |errno| StoreError::Io { what: "open", path: store.join("ranges"), errno };
    match rustix::fs::mkdirat(&root, c"ranges", Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(fail(errno)),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(&root, c"ranges", flags, Mode::empty()).map_err(fail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::Scratch;

    #[test]
    fn two_containers_never_have_the_same_range_and_a_removed_ones_is_free() {
        let scratch = Scratch::new();
        let store = Store::open_at(&scratch.0.join("donjon")).unwrap();
        let containers: Vec<_> = (0..20).map(|_| store.create(None).unwrap()).collect();
        let mut ranges: Vec<_> = containers.iter().map(|c| store.take_range(c).unwrap()).collect();
        ranges.sort_unstable();
        ranges.dedup();
        assert_eq!(ranges.len(), 20);
        for (first, count) in ranges {
            assert!(first >= FIRST.0 && first.checked_add(count).is_some_and(|end| end <= 0x8000_0000));
        }
        let first = containers.into_iter().next().unwrap();
        let path = store.path().join("ranges");
        let before = std::fs::read_dir(&path).unwrap().count();
        let id = first.id.clone();
        store.remove(first).unwrap();
        // Another container whose search begins at the same place takes it over.
        let again = store.create(None).unwrap();
        std::fs::rename(
            store.path().join("containers").join(again.id.as_str()),
            store.path().join("containers").join(id.as_str()),
        )
        .unwrap();
        let again = store.find(id.as_str()).unwrap();
        store.take_range(&again).unwrap();
        assert!(std::fs::read_dir(&path).unwrap().count() <= before + 1);
    }

    #[test]
    fn subordinate_ranges_are_found_by_name_and_by_number() {
        let text = "alice:100000:65536\n1002:200000:10\nbob:0:5\nbroken:x:y\n";
        assert_eq!(range_of(text, 1001, Some("alice")), Some((100_000, 65536)));
        assert_eq!(range_of(text, 1002, None), Some((200_000, 10)));
        assert_eq!(range_of(text, 1003, Some("bob")), None, "a range that begins with root's id");
        assert_eq!(range_of(text, 7, Some("broken")), None);
    }
}
