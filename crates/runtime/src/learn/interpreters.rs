//! What the kernel executes besides a program: the interpreter of a script, and the loader that a binary names. A policy
//! has to name them as well.

use rustix::fs::{CWD, Mode, OFlags};

/// How much of a file is looked at, as much as the kernel does for a script (`BINPRM_BUF_SIZE`), and more for a binary.
const HEAD: usize = 4096;
const SCRIPT: usize = 256;
const PT_INTERP: u32 = 3;

/// The path that the file at `path`, which has no links in it, names as its interpreter or loader.
pub fn of(path: &[u8]) -> Option<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = rustix::fs::openat(CWD, path, flags, Mode::empty()).ok()?;
    let mut head = [0u8; HEAD];
    let n = rustix::io::read(&file, &mut head[..]).ok()?;
    named_in(head.get(..n)?)
}

fn named_in(head: &[u8]) -> Option<Vec<u8>> {
    match head {
        [b'#', b'!', line @ ..] => {
            let line = line.get(..line.len().min(SCRIPT - 2))?;
            let line = line.split(|b| *b == b'\n').next()?;
            let word = line.split(|b| matches!(b, b' ' | b'\t' | 0)).find(|word| !word.is_empty())?;
            Some(word.to_vec())
        }
        // ELF of 64 bits, in this machine's order of bytes.
        [0x7f, b'E', b'L', b'F', 2, 1, ..] if cfg!(target_endian = "little") => loader(head),
        _ => None,
    }
}

/// `p_offset` and `p_filesz` of the program header PT_INTERP: `man 5 elf`.
fn loader(head: &[u8]) -> Option<Vec<u8>> {
    let u16_at = |at: usize| Some(u16::from_le_bytes(*head.get(at..)?.first_chunk()?));
    let u64_at = |at: usize| usize::try_from(u64::from_le_bytes(*head.get(at..)?.first_chunk()?)).ok();
    let (table, size, count) = (u64_at(32)?, usize::from(u16_at(54)?), usize::from(u16_at(56)?));
    (0..count).find_map(|n| {
        let header = table.checked_add(n.checked_mul(size)?)?;
        let kind = u32::from_le_bytes(*head.get(header..)?.first_chunk()?);
        let from = u64_at(header.checked_add(8)?)?;
        let end = from.checked_add(u64_at(header.checked_add(32)?)?)?;
        let path = head.get(from..end).filter(|_| kind == PT_INTERP)?;
        path.split(|b| *b == 0).next().map(<[u8]>::to_vec)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scripts_first_line_and_a_binarys_loader_are_found() {
        assert_eq!(named_in(b"#!/bin/sh -e\nexit").as_deref(), Some(&b"/bin/sh"[..]));
        assert_eq!(named_in(b"#! \t/usr/bin/env python3\n").as_deref(), Some(&b"/usr/bin/env"[..]));
        assert_eq!(named_in(b"#!\n/bin/sh"), None);
        assert_eq!(named_in(b"text"), None);
        let own = std::fs::canonicalize("/bin/sh").unwrap();
        let loader = of(own.as_os_str().as_encoded_bytes()).unwrap();
        assert!(
            loader.starts_with(b"/lib")
                && std::path::Path::new(std::str::from_utf8(&loader).unwrap()).exists()
        );
    }

    #[test]
    fn a_binary_that_lies_about_its_tables_is_none() {
        let whole = std::fs::read(std::fs::canonicalize("/bin/sh").unwrap()).unwrap();
        let head = &whole[..HEAD];
        for length in 0..600 {
            named_in(&head[..length]);
        }
        for at in 0..1024 {
            for value in [0, 0x7f, 0xff] {
                let mut changed = head.to_vec();
                changed[at] = value;
                named_in(&changed);
            }
        }
    }
}
