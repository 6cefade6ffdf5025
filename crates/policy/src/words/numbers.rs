//! Sizes, octal modes, time offsets.

use super::WordError;

/// A size in bytes: a number with `b`, `k`, `m`, `g` or `t` (powers of 1024), in either case, `512m`, `64KiB`.
pub fn size(word: &str) -> Result<u64, WordError> {
    let bad = || format!("{word:?} is no size; write for instance 512m or 2g");
    let lower = word.to_ascii_lowercase();
    let digits = lower.find(|c: char| !c.is_ascii_digit()).unwrap_or(lower.len());
    let (number, unit) = lower.split_at(digits);
    let shift = match unit {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return Err(bad()),
    };
    let number: u64 = number.parse().map_err(|_| bad())?;
    number
        .checked_mul(1 << shift)
        .filter(|n| i64::try_from(*n).is_ok())
        .ok_or_else(|| format!("{word:?} is more than any machine has"))
}

/// An octal mode of at most `most`.
pub fn octal(word: &str, most: u32) -> Result<u32, WordError> {
    u32::from_str_radix(word, 8)
        .ok()
        .filter(|mode| *mode <= most && !word.starts_with('+'))
        .ok_or_else(|| format!("{word:?} is no octal mode up to {most:o}"))
}

/// `monotonic=SECONDS` or `boottime=SECONDS`, several with commas.
pub fn time_offsets(word: &str) -> Result<Vec<(String, i64)>, WordError> {
    word.split(',')
        .map(|part| {
            part.split_once('=')
                .filter(|(clock, _)| matches!(*clock, "monotonic" | "boottime"))
                .and_then(|(clock, seconds)| Some((clock.to_string(), seconds.parse().ok()?)))
                .ok_or_else(|| format!("{part:?}: write monotonic=SECONDS or boottime=SECONDS"))
        })
        .collect()
}
