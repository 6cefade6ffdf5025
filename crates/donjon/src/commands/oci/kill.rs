//! `donjon kill ID [SIGNAL]`: a signal for a container of the OCI side.

use donjon_runtime::oci::kill;
use donjon_runtime::warden::signals;
use rustix::process::Signal;

use super::store_of;
use crate::args::globals::Globals;
use crate::commands::Failure;

/// Sends it. The words are one id and at most a signal.
pub fn run(
    words: &[String],
    signal: Option<Signal>,
    all: bool,
    regex: bool,
    globals: &Globals,
) -> Result<u8, Failure> {
    let send = || -> Result<(), Failure> {
        let (id, signal) = match (words, signal) {
            ([id], signal) => (id, signal.unwrap_or(Signal::TERM)),
            ([id, word], None) => {
                let signal = signals::parse(word).ok_or_else(|| {
                    Failure::new(format!("kill: {word:?} is no signal; write for instance TERM or 15"))
                })?;
                (id, signal)
            }
            _ => return Err(Failure::new("kill: give one id, and then the signal")),
        };
        for id in matching(globals, vec![id.clone()], regex)? {
            kill::kill(&store_of(globals, &id)?, &id, signal, all)?;
        }
        Ok(())
    };
    send().map(|()| 0).map_err(|failure| failure.in_terms_of(globals))
}

/// The containers that are meant: with `pattern` those whose ids fit, with `*` and `?` for other characters.
pub fn matching(globals: &Globals, ids: Vec<String>, pattern: bool) -> Result<Vec<String>, Failure> {
    if !pattern {
        return Ok(ids);
    }
    let all = match super::store(globals)? {
        Some(store) => store.ids()?,
        None => Vec::new(),
    };
    let fits = |id: &String| ids.iter().any(|pattern| fits(pattern.as_bytes(), id.as_bytes()));
    Ok(all.into_iter().filter(fits).collect())
}

/// Whether a text fits a pattern with `*` (any characters) and `?` (one).
fn fits(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => {
            fits(rest, text) || text.split_first().is_some_and(|(_, text)| fits(pattern, text))
        }
        (Some((b'?', rest)), Some((_, text))) => fits(rest, text),
        (Some((a, rest)), Some((b, text))) => a == b && fits(rest, text),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_stand_for_whole_ids() {
        for (pattern, text, expected) in [
            ("web*", "web-1", true),
            ("web*", "a-web-1", false),
            ("*", "", true),
            ("?", "", false),
            ("w?b", "web", true),
            ("web", "web", true),
            ("web", "webs", false),
            ("*-*-1", "a-b-1", true),
        ] {
            assert_eq!(fits(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }
}
