//! Capability names.

use donjon_confine::layers::capabilities::{NAMES, number};

use super::WordError;

/// The bare upper-case name of a capability that is to be added.
pub fn added(word: &str) -> Result<String, WordError> {
    if word.eq_ignore_ascii_case("all") {
        return Err("ALL can't be added: name the capabilities that the program needs".to_string());
    }
    bare(word)
}

/// The bare upper-case name of a capability that is to be dropped, or `ALL`.
pub fn dropped(word: &str) -> Result<String, WordError> {
    if word.eq_ignore_ascii_case("all") { Ok("ALL".to_string()) } else { bare(word) }
}

fn bare(word: &str) -> Result<String, WordError> {
    let upper = word.to_ascii_uppercase();
    let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
    if number(name).is_some() {
        return Ok(name.to_string());
    }
    let near = NAMES.iter().map(|n| (strsim::levenshtein(name, n), *n)).min();
    match near {
        Some((distance, near)) if distance <= 3 => {
            Err(format!("{word:?} is no capability; did you mean {near}?"))
        }
        _ => Err(format!("{word:?} is no capability; see man 7 capabilities")),
    }
}
