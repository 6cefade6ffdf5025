//! Where in a file something stands: errors say file, line and column.

use toml::de::{DeTable, DeValue};

/// A place in a text, both from 1 on; the column counts characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl Place {
    /// The place of a byte of the text.
    pub fn of_byte(text: &[u8], byte: usize) -> Self {
        let before = text.get(..byte).unwrap_or(text);
        let start = before.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        let line = before.iter().filter(|b| **b == b'\n').count() + 1;
        let column = String::from_utf8_lossy(before.get(start..).unwrap_or_default()).chars().count() + 1;
        Self { line, column }
    }

    /// Where a key stands in a policy; as far as the way to it exists. Parts of the key that are numbers are places in a
    /// list.
    pub fn of_key(text: &str, key: &[String]) -> Option<Self> {
        let document = DeTable::parse(text).ok()?;
        let mut found = None;
        let mut table = Some(document.get_ref());
        let mut value: Option<&DeValue<'_>> = None;
        for part in key {
            if let Some(inside) = table {
                let Some((name, next)) = inside.iter().find(|(name, _)| means(name.get_ref(), part)) else {
                    break;
                };
                found = Some(name.span().start);
                (table, value) = (next.get_ref().as_table(), Some(next.get_ref()));
            } else {
                let list = value.and_then(DeValue::as_array);
                let Some(next) = part.parse().ok().and_then(|i: usize| list?.get(i)) else { break };
                found = Some(next.span().start);
                (table, value) = (next.get_ref().as_table(), Some(next.get_ref()));
            }
        }
        found.map(|byte| Self::of_byte(text.as_bytes(), byte))
    }
}

/// Whether the word of a file is that of the model: some have an older name.
fn means(word: &str, key: &str) -> bool {
    word == key || matches!((word, key), ("limits", "resources") | ("mask", "hide"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_with_its_line_and_column() {
        let text = "# ü\n[limits]\npids = 3\n[filesystem]\nread = [\"/ä\", \"/b\",\n  \"/c\"]\n[[mounts]]\n  target = \"/x\"\n";
        let at = |key: &str| {
            let key: Vec<String> = key.split('.').map(String::from).collect();
            Place::of_key(text, &key).map(|place| (place.line, place.column))
        };
        assert_eq!(at("resources.pids"), Some((3, 1)));
        assert_eq!(at("filesystem.read"), Some((5, 1)));
        assert_eq!(at("filesystem.read.1"), Some((5, 15)));
        assert_eq!(at("filesystem.read.2"), Some((6, 3)));
        assert_eq!(at("mounts.0.target"), Some((8, 3)));
        assert_eq!(at("mounts.0.source"), Some((7, 1)));
        assert_eq!(at("sockets"), None);
    }
}
