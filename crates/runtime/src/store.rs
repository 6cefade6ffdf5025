//! Where containers are written down: the state directory.
//!
//! **The attacks**: another user makes the directory first, or puts a symbolic link in its place, and so chooses
//! what donjon reads and kills; a container reaches its own record and writes what it likes there; a name or id
//! with a slash leaves the directory. **The defence**: every directory on the way is opened without following
//! links, must belong to the caller and be closed to everybody else (R32); all work goes through descriptors below
//! it; names are checked words; and no writable mount of a container may hold it or lie in it (R24).
//!
//! ```text
//! $XDG_RUNTIME_DIR/donjon/
//!   names/NAME -> ID          a name is taken when its link exists: symlinkat is the lock
//!   containers/ID/            one container, see `container`
//! ```
//!
//! A start makes one directory and one link, and never lists either directory: its cost does not grow with the
//! number of containers.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::container::Container;
use crate::names::{Id, Name, NameError};

/// What can go wrong with the state directory as a whole.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The directory can't be made or opened.
    #[error("state: {what} {path}: {}", words(*.errno))]
    Io {
        /// What was tried.
        what: &'static str,
        /// The path.
        path: PathBuf,
        /// The kernel's answer.
        errno: Errno,
    },
    /// The directory is not the caller's alone.
    #[error("state: {path}: {why}")]
    NotOurs {
        /// The path.
        path: PathBuf,
        /// Who else can reach it.
        why: String,
    },
    /// A name that can't be one.
    #[error("state: --name: {0}")]
    Name(#[from] NameError),
    /// The name is in use.
    #[error("state: --name: {name} is the name of container {holder}")]
    NameTaken {
        /// The name.
        name: String,
        /// The id of the container that has it, shortened.
        holder: String,
    },
    /// Nothing is called that.
    #[error("state: no container is called {0:?}")]
    NotFound(String),
    /// An id prefix that fits several.
    #[error("state: {text:?} could be any of {}", .ids.join(", "))]
    Ambiguous {
        /// The prefix.
        text: String,
        /// Ids that begin with it, shortened.
        ids: Vec<String>,
    },
    /// A writable mount reaches the state directory.
    #[error("state: {field}: {path} would let the container write donjon's own record of it")]
    Exposed {
        /// The mount's field in the specification.
        field: String,
        /// Its source.
        path: PathBuf,
    },
}

impl StoreError {
    /// The next step for the person, if there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotOurs { path, .. } => Some(format!(
                "move {} away, or set XDG_RUNTIME_DIR to a directory of yours that nobody else can enter",
                path.display()
            )),
            Self::NameTaken { name, .. } => {
                Some(format!("choose another name, or remove that one: donjon rm {name}"))
            }
            Self::NotFound(_) => Some("donjon ps -a lists all containers".to_string()),
            Self::Ambiguous { .. } => Some("give more digits of the id, or the name".to_string()),
            Self::Exposed { .. } => {
                Some("mount a directory that does not hold the state directory".to_string())
            }
            Self::Io { errno: Errno::NOSPC | Errno::DQUOT, .. } => {
                Some("the disk is full: make room there".to_string())
            }
            Self::Io { errno: Errno::ACCESS | Errno::ROFS, .. } => {
                Some("set XDG_RUNTIME_DIR to a directory of yours".to_string())
            }
            Self::Io { .. } | Self::Name(_) => None,
        }
    }
}

pub(crate) fn words(errno: Errno) -> String {
    donjon_confine::error::words(errno)
}

/// The state directory, opened and verified.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    root: OwnedFd,
    containers: OwnedFd,
    names: OwnedFd,
}

/// A container of a list; one that can't be read does not hide the others.
#[derive(Debug)]
pub struct Listed {
    /// Its id.
    pub id: Id,
    /// Its directory.
    pub container: Result<Container, StoreError>,
}

impl Store {
    /// Opens the caller's state directory and makes what is missing of it.
    ///
    /// `/run/donjon` for root; else `$XDG_RUNTIME_DIR/donjon`, `/run/user/UID/donjon` or `/tmp/donjon-UID`, whichever
    /// is first found to be the caller's own. No privilege is needed.
    pub fn open() -> Result<Self, StoreError> {
        Self::open_at(&Self::location())
    }

    /// Opens the state directory at `path`, whose parent must exist.
    pub fn open_at(path: &Path) -> Result<Self, StoreError> {
        let root = private_directory(CWD, path, path)?;
        let containers = private_directory(root.as_fd(), Path::new("containers"), &path.join("containers"))?;
        let names = private_directory(root.as_fd(), Path::new("names"), &path.join("names"))?;
        Ok(Self { path: path.to_path_buf(), root, containers, names })
    }

    /// The state directory's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the caller's state directory is, or would be made.
    pub fn location() -> PathBuf {
        let uid = rustix::process::geteuid().as_raw();
        let runtime_dir = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        root_path(uid, runtime_dir.as_deref())
    }

    /// Makes a new container directory, locked by the caller for life, under a new id; with the name given or a
    /// generated one.
    pub fn create(&self, name: Option<&str>) -> Result<Container, StoreError> {
        let name = name.map(Name::parse).transpose()?;
        let id = Id::random().map_err(|e| self.io("draw a random id for", e))?;
        rustix::fs::mkdirat(&self.containers, id.as_str(), Mode::RWXU)
            .map_err(|e| self.io("make a container's directory in", e))?;
        let made = self.open_container(id.clone()).and_then(|mut container| {
            container.lock_for_life()?;
            // The directory comes first: a name never points to nothing, unless its container was removed by force.
            container.name = match name {
                Some(name) => self.take_name(&name, &id).map(|()| name)?,
                None => self.take_any_name(&id)?,
            }
            .to_string();
            Ok(container)
        });
        if made.is_err() {
            let _ = rustix::fs::unlinkat(&self.containers, format!("{id}/lock"), AtFlags::empty());
            let _ = rustix::fs::unlinkat(&self.containers, id.as_str(), AtFlags::REMOVEDIR);
        }
        made
    }

    fn take_any_name(&self, id: &Id) -> Result<Name, StoreError> {
        for attempt in 0..100 {
            let name = Name::random(attempt).map_err(|e| self.io("draw a random name for", e))?;
            match self.take_name(&name, id) {
                Err(StoreError::NameTaken { .. }) => continue,
                other => return other.map(|()| name),
            }
        }
        Err(self.io("find a free name in", Errno::EXIST))
    }

    fn take_name(&self, name: &Name, id: &Id) -> Result<(), StoreError> {
        for _ in 0..8 {
            match rustix::fs::symlinkat(id.as_str(), &self.names, name.as_str()) {
                Ok(()) => return Ok(()),
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(self.io("take a name in", errno)),
            }
            if let Some(holder) = self.free_stale_name(name)? {
                return Err(StoreError::NameTaken {
                    name: name.to_string(),
                    holder: holder.short().to_string(),
                });
            }
        }
        Err(self.io("take a name in", Errno::AGAIN))
    }

    /// Removes a name whose container is gone; returns the holder of a name that is in use. The lock makes looking
    /// and removing one act: without it, a second caller could remove the name that a first one had just taken.
    fn free_stale_name(&self, name: &Name) -> Result<Option<Id>, StoreError> {
        let lock = rustix::fs::openat(
            &self.names,
            c".",
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(|e| self.io("open", e))?;
        rustix::fs::flock(&lock, FlockOperation::LockExclusive).map_err(|e| self.io("lock", e))?;
        match self.holder(name) {
            Some(id) if self.has(&id) => Ok(Some(id)),
            _ => match rustix::fs::unlinkat(&self.names, name.as_str(), AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => Ok(None),
                Err(errno) => Err(self.io("free a stale name in", errno)),
            },
        }
    }

    fn holder(&self, name: &Name) -> Option<Id> {
        let target = rustix::fs::readlinkat(&self.names, name.as_str(), Vec::new()).ok()?;
        Id::parse(target.to_str().ok()?)
    }

    pub(crate) fn has(&self, id: &Id) -> bool {
        rustix::fs::statat(&self.containers, id.as_str(), AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// Finds a container by its whole id, its name, or the beginning of its id.
    pub fn find(&self, text: &str) -> Result<Container, StoreError> {
        if let Some(id) = Id::parse(text).filter(|id| self.has(id)) {
            return self.open_container(id);
        }
        if let Some(id) = Name::parse(text).ok().and_then(|name| self.holder(&name)).filter(|id| self.has(id))
        {
            return self.open_container(id);
        }
        let hex = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if !hex {
            return Err(StoreError::NotFound(text.to_string()));
        }
        let mut fitting = self.ids()?;
        fitting.retain(|id| id.as_str().starts_with(text));
        match fitting.as_slice() {
            [] => Err(StoreError::NotFound(text.to_string())),
            [id] => self.open_container(id.clone()),
            several => Err(StoreError::Ambiguous {
                text: text.to_string(),
                ids: several.iter().take(5).map(|id| id.short().to_string()).collect(),
            }),
        }
    }

    /// All containers, the ones that can't be opened included, in no order.
    pub fn list(&self) -> Result<Vec<Listed>, StoreError> {
        let ids = self.ids()?;
        Ok(ids
            .into_iter()
            .filter(|id| self.has(id))
            .map(|id| Listed { container: self.open_container(id.clone()), id })
            .collect())
    }

    fn ids(&self) -> Result<Vec<Id>, StoreError> {
        let dir = rustix::fs::Dir::read_from(&self.containers).map_err(|e| self.io("list", e))?;
        let mut ids = Vec::new();
        for entry in dir {
            let entry = entry.map_err(|e| self.io("list", e))?;
            // Anything else there is not ours: it is left alone and never opened.
            ids.extend(entry.file_name().to_str().ok().and_then(Id::parse));
        }
        Ok(ids)
    }

    fn open_container(&self, id: Id) -> Result<Container, StoreError> {
        let path = self.path.join("containers").join(id.as_str());
        let dir = open_private(self.containers.as_fd(), Path::new(id.as_str()), &path)?;
        Ok(Container::new(id, path, dir))
    }

    /// Removes a container's directory and its name. The caller holds its lock, or knows that it never started.
    pub fn remove(&self, container: Container) -> Result<(), StoreError> {
        let name = if container.name.is_empty() {
            container.state().ok().map(|s| s.name)
        } else {
            Some(container.name.clone())
        };
        // Only a name that is this container's own: after a removal by force it may be another's by now.
        if let Some(name) = name.as_deref().and_then(|n| Name::parse(n).ok())
            && self.holder(&name).as_ref() == Some(&container.id)
        {
            let _ = rustix::fs::unlinkat(&self.names, name.as_str(), AtFlags::empty());
        }
        // By their names first: that takes no descriptor, of which there may be none left.
        for name in crate::container::FILES {
            let _ = rustix::fs::unlinkat(container.dir(), *name, AtFlags::empty());
        }
        match rustix::fs::unlinkat(&self.containers, container.id.as_str(), AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(_) => {}
        }
        match empty_directory(container.dir(), 0) {
            // Gone already: its warden, or somebody else, was faster.
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(self.io("empty a container's directory in", errno)),
        }
        match rustix::fs::unlinkat(&self.containers, container.id.as_str(), AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(self.io("remove a container's directory in", errno)),
        }
    }

    /// Refuses a specification whose writable bind mounts hold the state directory or lie in it (R24).
    pub fn refuse_exposed(&self, spec: &oci_spec::runtime::Spec) -> Result<(), StoreError> {
        let mut own = None;
        for (index, mount) in spec.mounts().iter().flatten().enumerate() {
            let options = mount.options().as_deref().unwrap_or_default();
            let bind =
                mount.typ().as_deref() == Some("bind") || options.iter().any(|o| o == "bind" || o == "rbind");
            let Some(source) = mount.source().as_deref().filter(|_| bind) else { continue };
            let Ok(source) = std::fs::canonicalize(source) else { continue };
            let own: &PathBuf = own.get_or_insert_with(|| {
                std::fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone())
            });
            if own.starts_with(&source) || source.starts_with(own) {
                return Err(StoreError::Exposed { field: format!("mounts[{index}]"), path: source });
            }
        }
        Ok(())
    }

    /// The directory of ranges of ids.
    pub(crate) fn ranges(&self) -> Result<OwnedFd, StoreError> {
        crate::ranges::directory(&self.path, &self.root)
    }

    /// The directories that a confined warden needs to remove its own container: of containers, and of names.
    pub(crate) fn directories(&self) -> (BorrowedFd<'_>, BorrowedFd<'_>) {
        (self.containers.as_fd(), self.names.as_fd())
    }

    fn io(&self, what: &'static str, errno: Errno) -> StoreError {
        StoreError::Io { what, path: self.path.clone(), errno }
    }
}

/// The first place that is the caller's own. Only existence and ownership are looked at here; the directory itself
/// is verified when it is opened.
fn root_path(uid: u32, runtime_dir: Option<&Path>) -> PathBuf {
    if uid == 0 {
        return PathBuf::from("/run/donjon");
    }
    // After `su` the variable often still names another user's directory: that one is passed over.
    let ours = |path: &Path| {
        path.is_absolute() && rustix::fs::lstat(path).is_ok_and(|s| s.st_uid == uid && s.st_mode & 0o077 == 0)
    };
    if let Some(dir) = runtime_dir.filter(|dir| ours(dir)) {
        return dir.join("donjon");
    }
    let by_user = PathBuf::from(format!("/run/user/{uid}"));
    if ours(&by_user) {
        return by_user.join("donjon");
    }
    PathBuf::from(format!("/tmp/donjon-{uid}"))
}

/// Opens a directory of the caller's own, making it when it is missing.
pub(crate) fn private_directory(at: BorrowedFd<'_>, name: &Path, full: &Path) -> Result<OwnedFd, StoreError> {
    match open_private(at, name, full) {
        Err(StoreError::Io { errno: Errno::NOENT, .. }) => {}
        other => return other,
    }
    match rustix::fs::mkdirat(at, name, Mode::RWXU) {
        // Somebody else, possibly somebody hostile, was faster: the check below decides.
        Ok(()) | Err(Errno::EXIST) => open_private(at, name, full),
        Err(errno) => Err(StoreError::Io { what: "make", path: full.to_path_buf(), errno }),
    }
}

pub(crate) fn open_private(at: BorrowedFd<'_>, name: &Path, full: &Path) -> Result<OwnedFd, StoreError> {
    let not_ours = |why: String| StoreError::NotOurs { path: full.to_path_buf(), why };
    let io = |what, errno| StoreError::Io { what, path: full.to_path_buf(), errno };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = match rustix::fs::openat(at, name, flags, Mode::empty()) {
        Ok(dir) => dir,
        Err(Errno::LOOP | Errno::NOTDIR) => {
            return Err(not_ours("is a link or a file where a directory should be".to_string()));
        }
        Err(errno) => return Err(io("open", errno)),
    };
    let stat = rustix::fs::fstat(&dir).map_err(|e| io("look at", e))?;
    if stat.st_uid != rustix::process::geteuid().as_raw() {
        return Err(not_ours(format!("belongs to user {}, not to you", stat.st_uid)));
    }
    if stat.st_mode & 0o077 != 0 {
        return Err(not_ours(format!(
            "is open to others (mode {:04o}, must be 0700)",
            stat.st_mode & 0o7777
        )));
    }
    Ok(dir)
}

/// Removes everything in a directory without ever following a link.
fn empty_directory(dir: BorrowedFd<'_>, depth: u32) -> Result<(), Errno> {
    if depth > 16 {
        return Err(Errno::LOOP);
    }
    let mut entries = Vec::new();
    for entry in rustix::fs::Dir::read_from(dir)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            entries.push(entry.file_name().to_owned());
        }
    }
    for name in entries {
        match rustix::fs::unlinkat(dir, &*name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::ISDIR | Errno::PERM) => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let inner = rustix::fs::openat(dir, &*name, flags, Mode::empty())?;
                empty_directory(inner.as_fd(), depth + 1)?;
                rustix::fs::unlinkat(dir, &*name, AtFlags::REMOVEDIR)?;
            }
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    /// A fresh directory below the build's own temporary directory, removed at the end.
    pub(crate) struct Scratch(pub PathBuf);

    impl Scratch {
        pub fn new() -> Self {
            let path = std::env::temp_dir().join(format!("donjon-test-{}", Id::random().unwrap()));
            std::fs::create_dir(&path).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
            Self(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn store() -> (Scratch, Store) {
        let scratch = Scratch::new();
        let store = Store::open_at(&scratch.0.join("donjon")).unwrap();
        (scratch, store)
    }

    #[test]
    fn the_state_directory_is_made_private_and_opened_again() {
        let (scratch, store) = store();
        for part in ["", "containers", "names"] {
            let mode = std::fs::metadata(store.path().join(part)).unwrap().permissions().mode();
            assert_eq!(mode & 0o7777, 0o700, "{part}");
        }
        Store::open_at(&scratch.0.join("donjon")).unwrap();
    }

    #[test]
    fn a_state_directory_that_others_can_enter_is_refused() {
        let (scratch, store) = store();
        std::fs::set_permissions(store.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let error = Store::open_at(&scratch.0.join("donjon")).unwrap_err();
        assert!(error.to_string().contains("mode 0755"), "{error}");
    }

    #[test]
    fn a_link_in_place_of_the_state_directory_is_refused() {
        let scratch = Scratch::new();
        std::fs::create_dir(scratch.0.join("elsewhere")).unwrap();
        symlink("elsewhere", scratch.0.join("donjon")).unwrap();
        assert!(matches!(Store::open_at(&scratch.0.join("donjon")), Err(StoreError::NotOurs { .. })));
    }

    #[test]
    fn another_users_runtime_directory_is_passed_over() {
        let scratch = Scratch::new();
        let uid = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(&scratch.0).unwrap());
        let stranger = uid + 4_000_000;
        assert_eq!(root_path(stranger, Some(&scratch.0)), PathBuf::from(format!("/tmp/donjon-{stranger}")));
        assert_eq!(root_path(0, Some(&scratch.0)), PathBuf::from("/run/donjon"));
        if uid != 0 {
            assert_eq!(root_path(uid, Some(&scratch.0)), scratch.0.join("donjon"));
        }
    }

    #[test]
    fn a_container_is_found_by_id_name_and_prefix() {
        let (_scratch, store) = store();
        let a = store.create(Some("web")).unwrap();
        let b = store.create(None).unwrap();
        assert_eq!(store.find("web").unwrap().id, a.id);
        assert_eq!(store.find(a.id.as_str()).unwrap().id, a.id);
        assert_eq!(store.find(b.id.short()).unwrap().id, b.id);
        assert_eq!(store.find(&b.name).unwrap().id, b.id);
        for unknown in ["", "nothing", "../names", "0123456789abcdef0123456789abcdef"] {
            assert!(matches!(store.find(unknown), Err(StoreError::NotFound(_))), "{unknown}");
        }
    }

    #[test]
    fn a_prefix_of_two_ids_is_an_error_that_names_both() {
        let (_scratch, store) = store();
        let mut ids: Vec<String> = (0..40).map(|_| store.create(None).unwrap().id.to_string()).collect();
        ids.sort();
        // Forty ids and sixteen digits: at least one first digit is shared.
        let pair = ids.windows(2).find(|w| w[0][..1] == w[1][..1]).unwrap();
        let error = store.find(&pair[0][..1]).unwrap_err();
        assert!(error.to_string().contains(&pair[0][..12]), "{error}");
    }

    #[test]
    fn a_name_is_taken_once_and_free_again_after_removal() {
        let (_scratch, store) = store();
        let first = store.create(Some("web")).unwrap();
        let error = store.create(Some("web")).unwrap_err();
        assert!(error.to_string().contains(first.id.short()), "{error}");
        assert_eq!(store.list().unwrap().len(), 1, "the refused container left its directory behind");
        store.remove(first).unwrap();
        store.create(Some("web")).unwrap();
    }

    #[test]
    fn a_name_whose_container_is_gone_is_free() {
        let (_scratch, store) = store();
        let first = store.create(Some("web")).unwrap();
        std::fs::remove_dir_all(store.path().join("containers").join(first.id.as_str())).unwrap();
        let second = store.create(Some("web")).unwrap();
        assert_eq!(store.find("web").unwrap().id, second.id);
    }

    #[test]
    fn removing_never_follows_a_link_out_of_the_directory() {
        let (scratch, store) = store();
        let outside = scratch.0.join("precious");
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("file"), "x").unwrap();
        let container = store.create(Some("web")).unwrap();
        let dir = store.path().join("containers").join(container.id.as_str());
        symlink(&outside, dir.join("link")).unwrap();
        std::fs::create_dir_all(dir.join("deep/deeper")).unwrap();
        symlink(&outside, dir.join("deep/deeper/link")).unwrap();
        store.remove(container).unwrap();
        assert!(outside.join("file").exists());
        assert!(!dir.exists());
    }

    #[test]
    fn one_unreadable_container_does_not_hide_the_others() {
        let (_scratch, store) = store();
        let good = store.create(None).unwrap();
        let bad = store.create(None).unwrap();
        let dir = store.path().join("containers").join(bad.id.as_str());
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::write(store.path().join("containers/stray"), "x").unwrap();
        let listed = store.list().unwrap();
        assert_eq!(listed.len(), 2);
        assert!(listed.iter().any(|l| l.id == good.id && l.container.is_ok()));
        assert!(listed.iter().any(|l| l.id == bad.id && l.container.is_err()));
    }

    #[test]
    fn a_mount_that_reaches_the_state_directory_is_refused() {
        let (scratch, store) = store();
        let other = scratch.0.join("work");
        std::fs::create_dir(&other).unwrap();
        let with = |source: &Path| -> oci_spec::runtime::Spec {
            serde_json::from_value(serde_json::json!({
                "ociVersion": "1.2.0",
                "mounts": [{"destination": "/x", "type": "bind", "source": source, "options": ["rbind"]}]
            }))
            .unwrap()
        };
        for exposed in [scratch.0.as_path(), store.path(), &store.path().join("names"), Path::new("/")] {
            assert!(store.refuse_exposed(&with(exposed)).is_err(), "{}", exposed.display());
        }
        store.refuse_exposed(&with(&other)).unwrap();
    }
}
