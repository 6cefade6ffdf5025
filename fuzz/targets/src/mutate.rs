//! Mutations for the run without a fuzzer: the same in every run, so that a failure can be seen again.

use serde_json::Value;

/// A source of numbers (xorshift64*).
#[derive(Debug)]
pub struct Dice(u64);

/// Words that parsers stumble over.
const WORDS: [&str; 24] = [
    "", "0", "-1", "4294967296", "18446744073709551616", "..", "/", "/../..", "//", "/proc/self/fd/7",
    "a\u{0}b", "\n", "%s%n", "ALL", "CAP_SYS_ADMIN", "@", "rshared", "nan", "1e400", "\u{202e}", "\u{ffff}",
    "SCMP_ACT_ALLOW", "bind", "none",
];

impl Dice {
    /// A run that starts at `seed`, which may not be 0.
    pub fn new(seed: u64) -> Self {
        Self(seed.max(1))
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number below `end`; 0 when `end` is 0.
    pub fn below(&mut self, end: usize) -> usize {
        if end == 0 { 0 } else { (self.next() % end as u64) as usize }
    }

    /// Bytes changed, added, removed and repeated in a few places.
    pub fn bytes(&mut self, seed: &[u8]) -> Vec<u8> {
        let mut data = seed.to_vec();
        for _ in 0..=self.below(6) {
            let at = self.below(data.len());
            match self.below(6) {
                0 if !data.is_empty() => data[at] ^= 1 << self.below(8),
                1 if !data.is_empty() => data[at] = self.next() as u8,
                2 if !data.is_empty() => drop(data.drain(at..(at + self.below(24)).min(data.len()))),
                3 => {
                    let word = WORDS[self.below(WORDS.len())];
                    data.splice(at..at, word.bytes());
                }
                4 if !data.is_empty() => {
                    let piece = data[at..(at + self.below(64)).min(data.len())].to_vec();
                    let to = self.below(data.len());
                    data.splice(to..to, piece);
                }
                _ => data.truncate(at.max(1)),
            }
        }
        data
    }

    /// A JSON document that is still one, with a few values changed: gets behind the parser more often.
    pub fn json(&mut self, seed: &Value) -> Value {
        let mut value = seed.clone();
        for _ in 0..=self.below(4) {
            self.change(&mut value);
        }
        value
    }

    fn change(&mut self, value: &mut Value) {
        let deeper = self.below(8) != 0;
        match value {
            Value::Object(map) if deeper && !map.is_empty() => {
                let at = self.below(map.len());
                if let Some((_, inner)) = map.iter_mut().nth(at) {
                    self.change(inner);
                }
            }
            Value::Array(list) if deeper && !list.is_empty() => {
                let at = self.below(list.len());
                match self.below(6) {
                    0 => drop(list.remove(at)),
                    1 => list.push(list[at].clone()),
                    _ => self.change(&mut list[at]),
                }
            }
            other => *other = self.leaf(other),
        }
    }

    fn leaf(&mut self, old: &Value) -> Value {
        let word = WORDS[self.below(WORDS.len())];
        match (old, self.below(6)) {
            (Value::String(old), 0..=2) => Value::String(format!("{old}{word}")),
            (Value::String(_), _) => Value::String(word.into()),
            (Value::Number(_), 0..=3) => {
                let numbers = [0, 1, -1, i64::MAX, i64::MIN, 1 << 31, 1 << 32, 65535, 65536];
                Value::from(numbers[self.below(numbers.len())])
            }
            (Value::Number(_), 4) => Value::from(u64::MAX),
            (Value::Bool(old), 0..=3) => Value::Bool(!old),
            (_, 0) => Value::Null,
            (_, 1) => Value::Array(Vec::new()),
            (_, 2) => Value::Object(serde_json::Map::new()),
            _ => Value::String(word.repeat(1 + self.below(50))),
        }
    }
}
