//! Variables of the environment (R23: never a pattern, never the caller's as a whole).

use std::path::Path;

use super::WordError;

/// `NAME=VALUE`, or `NAME` for the caller's value; `None` when the caller has none.
pub fn variable(word: &str) -> Result<Option<(String, String)>, WordError> {
    let (name, value) = match word.split_once('=') {
        Some((name, value)) => (name, Some(value.to_string())),
        None => (word, None),
    };
    if name.is_empty() || name.contains(['*', '?', '[', '\0']) || name.contains(char::is_whitespace) {
        return Err(format!("{word:?}: write NAME=VALUE, or NAME for your own value; there are no patterns"));
    }
    if value.as_deref().is_some_and(|v| v.contains('\0')) {
        return Err(format!("{name}: the value holds a NUL byte"));
    }
    let value = match value {
        Some(value) => value,
        None => match std::env::var(name) {
            Ok(value) => value,
            Err(std::env::VarError::NotPresent) => return Ok(None),
            Err(_) => return Err(format!("{name}: your value is no UTF-8")),
        },
    };
    Ok(Some((name.to_string(), value)))
}

/// A file of such lines; empty lines and those that begin with `#` are passed over.
pub fn file(path: &Path) -> Result<Vec<(String, String)>, WordError> {
    let name = path.display();
    let meta = std::fs::metadata(path).map_err(|e| format!("{name}: {}", crate::load::reason(&e)))?;
    if !meta.is_file() || meta.len() > 1 << 20 {
        return Err(format!("{name}: is no regular file of at most 1 MiB"));
    }
    let text = std::fs::read_to_string(path).map_err(|e| format!("{name}: {}", crate::load::reason(&e)))?;
    let mut variables = Vec::new();
    for (i, line) in text.lines().enumerate() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        variables.extend(variable(line).map_err(|e| format!("{name}, line {}: {e}", i + 1))?);
    }
    Ok(variables)
}
