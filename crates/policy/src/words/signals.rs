//! Signal names.

use super::WordError;

const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// The number of a signal given as `TERM`, `SIGTERM`, `15`, `RTMIN+3`.
pub fn signal(word: &str) -> Result<i32, WordError> {
    let bad = || format!("{word:?} is no signal; write for instance TERM or 15");
    if let Ok(number) = word.parse::<i32>() {
        return if (1..=64).contains(&number) { Ok(number) } else { Err(bad()) };
    }
    let upper = word.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(rest) = name.strip_prefix("RTMIN") {
        let plus: i32 = if rest.is_empty() {
            0
        } else {
            rest.strip_prefix('+').and_then(|n| n.parse().ok()).ok_or_else(bad)?
        };
        return Some(34 + plus).filter(|n| (34..=64).contains(n)).ok_or_else(bad);
    }
    let position = NAMES
        .iter()
        .position(|n| *n == name || (*n == "IO" && name == "POLL") || (*n == "ABRT" && name == "IOT"));
    position.and_then(|p| i32::try_from(p + 1).ok()).ok_or_else(bad)
}

/// The name of a signal number, `SIGTERM`.
pub fn name(number: i32) -> String {
    usize::try_from(number - 1)
        .ok()
        .and_then(|i| NAMES.get(i))
        .map_or_else(|| format!("signal {number}"), |n| format!("SIG{n}"))
}
