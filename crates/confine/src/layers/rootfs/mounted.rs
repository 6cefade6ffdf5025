//! The comparison of what was mounted with what was planned (R7).
//!
//! **The attack**: a mount is attached elsewhere, replaced or weakened while the root is put together, by whoever shares a
//! directory with the container. **The defence**: each mount is remembered by an id that the kernel never gives twice, and
//! asked for again when everything is in its place.
//!
//! `listmount`, `statmount`: Linux 6.8; below that nothing is compared.

use std::os::fd::BorrowedFd;

use rustix::io::Errno;

use super::unique_id;
use crate::layers::mounts::table::{MS_PRIVATE, MS_SHARED};

/// The mounts that were attached, with what must be in force for each.
#[derive(Debug)]
pub(crate) struct Mounted {
    /// Unique ids with what is expected.
    entries: Vec<(u64, Expected)>,
    trees: Vec<u64>,
    /// An engine's container: its mounts may be slaves of the host's, hooks may mount into it, and how its mounts share
    /// is its own matter.
    shares: Option<Sharing>,
}

/// What must be in force for a mount when the root has been put together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Expected {
    /// Attributes that it has.
    pub present: u64,
    /// Attributes that it does not have.
    pub absent: u64,
    /// Of an engine's mount: the `MS_*` bits of how it shares; 0: nothing special.
    pub propagation: u64,
    /// Of an engine's mount: what is mounted below it may reach others.
    pub may_share: bool,
}

/// What is known of how an engine's mounts share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// As each mount's own options say.
    AsExpected,
    /// As `linux.rootfsPropagation` says for all of them.
    AsTheRoot,
}

impl Mounted {
    /// Room for `n` mounts; the child never grows it.
    pub fn with_capacity(n: usize) -> Self {
        Self { entries: Vec::with_capacity(n), trees: Vec::with_capacity(n), shares: None }
    }

    /// Remembers that the mount of `fd` is to have the attributes `present`.
    pub fn expect(&mut self, fd: BorrowedFd<'_>, present: u64) -> Result<u64, Errno> {
        self.expect_all(fd, Expected { present, ..Expected::default() })
    }

    /// Says that this is an engine's container, and how its mounts share.
    pub fn as_an_engine_says(&mut self, sharing: Sharing) {
        self.shares = Some(sharing);
    }

    /// Remembers everything that is expected of the mount of `fd`.
    pub fn expect_all(&mut self, fd: BorrowedFd<'_>, expected: Expected) -> Result<u64, Errno> {
        if self.entries.len() == self.entries.capacity() {
            return Err(Errno::NOBUFS);
        }
        let id = unique_id(fd)?;
        self.entries.push((id, expected));
        Ok(id)
    }

    /// Remembers that other mounts came along below the mount with this id.
    pub fn tree(&mut self, id: u64) -> Result<(), Errno> {
        if self.trees.len() == self.trees.capacity() {
            return Err(Errno::NOBUFS);
        }
        self.trees.push(id);
        Ok(())
    }

    /// Adds an attribute to what is expected of the mount of `fd`.
    pub fn also(&mut self, fd: BorrowedFd<'_>, more: u64) -> Result<(), Errno> {
        let id = unique_id(fd)?;
        for entry in self.entries.iter_mut().filter(|e| e.0 == id) {
            entry.1.present |= more;
            entry.1.absent &= !more;
        }
        Ok(())
    }

    /// What is expected of the mount of `fd` from now on, where that is said.
    pub fn changed(&mut self, fd: BorrowedFd<'_>, now: Expected) -> Result<(), Errno> {
        let id = unique_id(fd)?;
        for (_, before) in self.entries.iter_mut().filter(|e| e.0 == id) {
            before.present = before.present & !now.absent | now.present;
            before.absent = before.absent & !now.present | now.absent;
            if now.propagation != 0 {
                (before.propagation, before.may_share) = (now.propagation, now.may_share);
            }
        }
        Ok(())
    }

    /// Compares with the kernel's own list (R7): every mount of the plan is there with its attributes, and there
    /// is no other but what came along with a recursive bind.
    ///
    /// Of an engine's container the mounts of the plan alone are compared.
    pub fn verify(&self) -> Result<(), Errno> {
        let mut all = [0u64; 1024];
        let n = match donjon_sys::mount::listmount(None, &mut all) {
            Ok(n) if n < all.len() || self.shares.is_some() => n,
            Ok(_) => return Err(Errno::NOBUFS),
            Err(Errno::NOSYS) => return Ok(()),
            Err(errno) => return Err(errno),
        };
        let all = all.get(..n).unwrap_or_default();
        for (id, expected) in &self.entries {
            let facts = donjon_sys::mount::statmount(*id)?;
            let shares_as_it_should = match self.shares {
                None => facts.propagation & MS_PRIVATE != 0,
                Some(Sharing::AsTheRoot) => true,
                Some(Sharing::AsExpected) => {
                    facts.propagation & expected.propagation == expected.propagation
                        && (expected.may_share || facts.propagation & MS_SHARED == 0)
                }
            };
            if facts.attr & expected.present != expected.present
                || facts.attr & expected.absent != 0
                || !shares_as_it_should
            {
                return Err(Errno::STALE);
            }
        }
        if self.shares.is_some() {
            return Ok(());
        }
        // Every mount that the plan does not name must have come along with a recursive bind.
        let mut explained = [false; 1024];
        let explain = |id: u64, explained: &mut [bool; 1024]| {
            for (place, _) in explained.iter_mut().zip(all).filter(|(_, listed)| **listed == id) {
                *place = true;
            }
        };
        for (id, _) in &self.entries {
            explain(*id, &mut explained);
        }
        let mut below = [0u64; 1024];
        for tree in &self.trees {
            if explained.iter().take(n).all(|e| *e) {
                break;
            }
            let n = donjon_sys::mount::listmount(Some(*tree), &mut below)?;
            for id in below.get(..n).unwrap_or_default() {
                explain(*id, &mut explained);
            }
        }
        if explained.iter().take(n).all(|e| *e) { Ok(()) } else { Err(Errno::STALE) }
    }
}
