//! What a call's pointers point to, in its caller's memory.
//!
//! The caller waits, but its other threads do not, and may change what is there: it is looked at once, only written
//! down, and no decision rests on it.

use donjon_sys::ptrace::read_memory;

/// Longest path that the kernel takes (`PATH_MAX`).
const LONGEST: usize = 4096;
const PAGE: u64 = 4096;

/// The string at an address, without its end; `None` when it can't be read, or has none.
pub fn string(tid: i32, address: u64, buffer: &mut [u8; LONGEST]) -> Option<&[u8]> {
    let mut filled = 0usize;
    // A path is short, and never read across a page that may not be mapped.
    let mut wanted = 256usize;
    while filled < LONGEST {
        let from = address.checked_add(filled as u64)?;
        let in_page = (PAGE - from % PAGE) as usize;
        let end = (filled + wanted.min(in_page)).min(LONGEST);
        let n = read_memory(tid, from, buffer.get_mut(filled..end)?).ok().filter(|n| *n > 0)?;
        if let Some(at) = buffer.get(filled..filled + n)?.iter().position(|b| *b == 0) {
            return buffer.get(..filled + at);
        }
        filled += n;
        wanted = LONGEST;
    }
    None
}

/// A number at an address.
pub fn number(tid: i32, address: u64) -> Option<u64> {
    let mut bytes = [0u8; 8];
    (read_memory(tid, address, &mut bytes).ok()? == bytes.len()).then(|| u64::from_ne_bytes(bytes))
}

/// A socket's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A file of the family unix.
    Path(Vec<u8>),
    /// A name of the family unix that is no file.
    Abstract,
    /// `ADDRESS:PORT`.
    Internet {
        /// In words.
        text: String,
        /// The port.
        port: u16,
    },
    /// Of another family, or none.
    Other,
}

/// The address of `length` bytes at a place.
pub fn address(tid: i32, place: u64, length: u64) -> Option<Address> {
    let mut bytes = [0u8; 128];
    let length = usize::try_from(length & 0xffff_ffff).ok()?.min(bytes.len());
    let n = read_memory(tid, place, bytes.get_mut(..length)?).ok()?;
    Some(decode(bytes.get(..n)?))
}

/// `struct sockaddr_un`, `sockaddr_in` and `sockaddr_in6` of `linux/un.h` and `linux/in.h`.
fn decode(bytes: &[u8]) -> Address {
    let Some((family, rest)) = bytes.split_first_chunk::<2>() else { return Address::Other };
    match (u16::from_ne_bytes(*family), rest) {
        (1, []) => Address::Other,
        (1, [0, ..]) => Address::Abstract,
        (1, path) => Address::Path(path.split(|b| *b == 0).next().unwrap_or_default().to_vec()),
        (2, [p, q, a, b, c, d, ..]) => {
            let port = u16::from_be_bytes([*p, *q]);
            Address::Internet { text: format!("{a}.{b}.{c}.{d}:{port}"), port }
        }
        (10, [p, q, _, _, _, _, ip @ ..]) => match ip.first_chunk::<16>() {
            Some(ip) => {
                let port = u16::from_be_bytes([*p, *q]);
                Address::Internet { text: format!("[{}]:{port}", std::net::Ipv6Addr::from(*ip)), port }
            }
            None => Address::Other,
        },
        _ => Address::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_the_kernel_reads_them_and_garbage_is_none() {
        let unix = |path: &[u8]| [&1u16.to_ne_bytes()[..], path].concat();
        assert_eq!(decode(&unix(b"/run/x\0\0junk")), Address::Path(b"/run/x".to_vec()));
        assert_eq!(decode(&unix(b"\0hidden")), Address::Abstract);
        assert_eq!(decode(&unix(b"")), Address::Other);
        let inet = [&2u16.to_ne_bytes()[..], &[0, 80, 127, 0, 0, 1, 0, 0]].concat();
        assert_eq!(decode(&inet), Address::Internet { text: "127.0.0.1:80".into(), port: 80 });
        let mut inet6 = [&10u16.to_ne_bytes()[..], &[1, 187, 0, 0, 0, 0]].concat();
        inet6.extend([0u8; 15]);
        assert_eq!(decode(&inet6), Address::Other);
        inet6.extend([1, 0, 0, 0, 0]);
        assert_eq!(decode(&inet6), Address::Internet { text: "[::1]:443".into(), port: 443 });
        for length in 0..30 {
            decode(&vec![2; length]);
            decode(&vec![0xff; length]);
        }
    }

    #[test]
    fn a_string_of_this_process_is_read_up_to_its_end_and_never_beyond_what_is_mapped() {
        let own = i32::try_from(std::process::id()).unwrap();
        let mut buffer = [0u8; LONGEST];
        let text = c"/etc/hosts";
        assert_eq!(string(own, text.as_ptr() as u64, &mut buffer), Some(&b"/etc/hosts"[..]));
        let long = vec![b'a'; 8192];
        assert_eq!(string(own, long.as_ptr() as u64, &mut buffer), None);
        assert_eq!(string(own, 0, &mut buffer), None);
        assert_eq!(string(own, u64::MAX - 3, &mut buffer), None);
        assert_eq!(number(own, (&raw const long).cast::<u8>() as u64 | 1 << 63), None);
    }
}
