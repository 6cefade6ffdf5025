//! `--device /dev/NAME`.

use super::WordError;
use crate::model::Device;

/// Devices that give the machine away, whatever their permissions are.
const NEVER: &[&str] =
    &["mem", "kmem", "port", "kmsg", "console", "tty0", "ptmx", "uinput", "cuse", "watchdog", "mapper"];

/// `/dev/NAME`, also in the form `/dev/NAME:/dev/NAME[:rw]`.
pub fn device(word: &str) -> Result<Device, WordError> {
    let mut parts = word.split(':');
    let path = parts.next().unwrap_or_default();
    if let Some(inside) = parts.next().filter(|inside| *inside != path) {
        return Err(format!("{word:?}: a device keeps its name inside; {inside} would be another"));
    }
    if let Some(rights) = parts.next().filter(|r| !matches!(*r, "rw" | "rwm")) {
        return Err(format!(
            "{word:?}: {rights:?} can't be enforced for a device: it is given to read and write, or not at all"
        ));
    }
    let name =
        path.strip_prefix("/dev/").filter(|n| !n.is_empty() && !n.contains('/') && !n.starts_with('.'));
    match name {
        None => Err(format!("{word:?}: only devices directly in /dev can be given")),
        Some(name) if NEVER.contains(&name) => Err(format!("{path} would give the whole machine away")),
        Some(_) => Ok(Device { path: path.to_string() }),
    }
}
