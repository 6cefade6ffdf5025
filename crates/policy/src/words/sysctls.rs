//! `--sysctl KEY=VALUE`.

use super::WordError;

const OWN: [&str; 5] = ["net.", "kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue."];

/// A setting that belongs to one of the container's own namespaces, as key and value.
pub fn sysctl(word: &str) -> Result<(String, String), WordError> {
    let (key, value) = word.split_once('=').ok_or_else(|| format!("{word:?}: write KEY=VALUE"))?;
    check(key)?;
    Ok((key.to_string(), value.to_string()))
}

/// Whether the key may be set at all.
pub fn check(key: &str) -> Result<(), WordError> {
    if OWN.iter().any(|p| key.starts_with(p)) && !key.contains('/') && !key.split('.').any(str::is_empty) {
        Ok(())
    } else {
        Err(format!(
            "{key} is a setting of the whole machine; a container has net.*, kernel.shm*, kernel.msg*, kernel.sem and fs.mqueue.*"
        ))
    }
}
