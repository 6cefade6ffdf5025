//! What containers are called: ids of 64 hexadecimal digits, and names.
//!
//! Both become file names below the state directory and words on terminals, so both are checked at the border:
//! letters, digits, `_`, `.` and `-`, and never a leading dot or dash (R32).

use std::fmt;

use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};

/// Longest accepted name, in bytes.
pub const MAX_NAME: usize = 128;

/// A text that can't be a name or an id.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} can't be a name: {why}")]
pub struct NameError {
    /// The text, as given.
    pub text: String,
    /// What is wrong with it.
    pub why: &'static str,
}

/// A container's id: 64 lowercase hexadecimal digits, random.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(String);

impl Id {
    /// A new random id.
    pub fn random() -> Result<Self, Errno> {
        let mut bytes = [0u8; 32];
        fill(&mut bytes)?;
        let mut text = String::with_capacity(64);
        for byte in bytes {
            text.push(hex_digit(byte >> 4));
            text.push(hex_digit(byte & 15));
        }
        Ok(Self(text))
    }

    /// Accepts the text of an id that was made by [`Id::random`].
    pub fn parse(text: &str) -> Option<Self> {
        let hex = text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        (text.len() == 64 && hex).then(|| Self(text.to_string()))
    }

    /// The whole id.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first twelve digits, as shown in lists.
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A container's name, checked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Name(String);

impl Name {
    /// Accepts `[A-Za-z0-9][A-Za-z0-9_.-]*` of at most [`MAX_NAME`] bytes.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let fail = |why| Err(NameError { text: text.to_string(), why });
        if text.is_empty() {
            return fail("it is empty");
        }
        if text.len() > MAX_NAME {
            return fail("it is longer than 128 bytes");
        }
        if !text.starts_with(|c: char| c.is_ascii_alphanumeric()) {
            return fail("it must begin with a letter or a digit");
        }
        if !text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-')) {
            return fail("only letters, digits, '_', '.' and '-' may be in it");
        }
        Ok(Self(text.to_string()))
    }

    /// A random name such as `mossy_keep`. `attempt` counts from 0: later ones carry a number, so that a state
    /// directory that holds every plain pair still finds a free name.
    pub fn random(attempt: u32) -> Result<Self, Errno> {
        let mut bytes = [0u8; 4];
        fill(&mut bytes)?;
        let [a, b, c, d] = bytes;
        let first = ADJECTIVES.get(usize::from(a) % ADJECTIVES.len()).copied().unwrap_or("mossy");
        let second = PLACES.get(usize::from(b) % PLACES.len()).copied().unwrap_or("keep");
        Ok(Self(match attempt {
            0..3 => format!("{first}_{second}"),
            _ => format!("{first}_{second}{}", u16::from_le_bytes([c, d])),
        }))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

fn hex_digit(value: u8) -> char {
    char::from_digit(u32::from(value), 16).unwrap_or('0')
}

fn fill(bytes: &mut [u8]) -> Result<(), Errno> {
    // Up to 256 bytes come whole once the pool is initialised; see man 2 getrandom.
    let n = getrandom(&mut *bytes, GetRandomFlags::empty())?;
    if n == bytes.len() { Ok(()) } else { Err(Errno::IO) }
}

const ADJECTIVES: [&str; 64] = [
    "amber", "ancient", "ashen", "bold", "brazen", "bright", "bronze", "calm", "carved", "cobbled", "copper",
    "crimson", "dusky", "dusty", "eager", "elder", "fabled", "faded", "gallant", "gentle", "gilded",
    "golden", "granite", "grey", "hidden", "high", "hollow", "humble", "iron", "ivied", "jolly", "keen",
    "lofty", "lone", "lucky", "mellow", "merry", "misty", "mossy", "noble", "oaken", "pale", "patient",
    "plain", "proud", "quiet", "ruddy", "rustic", "sable", "silent", "silver", "sleepy", "snowy", "solid",
    "stern", "stony", "sunny", "tall", "tawny", "vaulted", "vigilant", "weathered", "winding", "wise",
];

const PLACES: [&str; 64] = [
    "abbey", "arch", "armoury", "bailey", "balcony", "barbican", "barrack", "bastion", "battlement",
    "beacon", "belfry", "bower", "bridge", "brewhouse", "bulwark", "buttress", "castle", "cellar", "chamber",
    "chapel", "citadel", "cloister", "corbel", "court", "crypt", "curtain", "ditch", "donjon", "dovecote",
    "drawbridge", "fort", "gallery", "garden", "gate", "gatehouse", "hall", "hearth", "keep", "kitchen",
    "ladder", "larder", "lodge", "loophole", "manor", "merlon", "moat", "motte", "orchard", "oriel",
    "palisade", "parapet", "pillar", "portcullis", "postern", "rampart", "smithy", "spire", "stable",
    "stair", "tower", "turret", "vault", "wall", "well",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_64_hex_digits_and_survives_parsing() {
        let id = Id::random().unwrap();
        assert_eq!(Id::parse(id.as_str()), Some(id.clone()));
        assert_eq!(id.short().len(), 12);
        assert_ne!(id, Id::random().unwrap());
        for wrong in ["", "abc", &"g".repeat(64), &"A".repeat(64), &"a".repeat(65)] {
            assert_eq!(Id::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn names_that_could_leave_the_directory_or_look_like_flags_are_refused() {
        for wrong in
            ["", ".", "..", "../x", "a/b", "-rf", ".hidden", "a b", "naïve", "a\0b", "a\nb", &"x".repeat(129)]
        {
            assert!(Name::parse(wrong).is_err(), "{wrong:?}");
        }
        for right in ["web", "Web-1", "a_b.c", "7", &"x".repeat(128)] {
            assert_eq!(Name::parse(right).unwrap().as_str(), right);
        }
    }

    #[test]
    fn generated_names_are_names() {
        for attempt in 0..20 {
            let name = Name::random(attempt).unwrap();
            assert_eq!(Name::parse(name.as_str()).unwrap(), name);
        }
        for word in ADJECTIVES.iter().chain(&PLACES) {
            assert!(word.bytes().all(|b| b.is_ascii_lowercase()), "{word}");
        }
    }
}
