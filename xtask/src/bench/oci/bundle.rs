//! The bundles: the configuration that runc's `spec` writes, with as few changes as a measurement needs.

use std::fs;

use crate::machine::output;

/// Of the bundles, the one whose process ends at once.
pub const END: &str = "end";
/// The one whose process stays.
pub const STAY: &str = "stay";
/// The one whose process ends at once, with a limit of memory.
pub const LIMITED: &str = "limited";

/// Writes the bundles `end` and `stay`, with or without the rules for devices.
pub fn write(scratch: &str, devices: bool) -> Result<(), String> {
    for (bundle, arguments) in [(END, r#""/bin/true""#), (STAY, r#""/bin/sleep", "900""#)] {
        let bundle = format!("{scratch}/{bundle}");
        let _ = fs::remove_dir_all(&bundle);
        fs::create_dir_all(&bundle).map_err(|e| format!("{bundle}: {e}"))?;
        output(&["runc", "spec", "--bundle", &bundle])?;
        let path = format!("{bundle}/config.json");
        let mut text = fs::read_to_string(&path).map_err(|e| format!("{path}: {e}"))?;
        text = changed(&text, r#""terminal": true"#, r#""terminal": false"#)?;
        text = changed(&text, r#""sh""#, arguments)?;
        text = changed(&text, r#""rootfs""#, &format!("\"{scratch}/rootfs\""))?;
        if !devices {
            text = changed(&text, r#""devices": ["#, r#""devices": [], "rules": ["#)?;
        }
        fs::write(&path, text).map_err(|e| format!("{path}: {e}"))?;
    }
    Ok(())
}

/// Writes the bundle whose container may use so many KiB; returns it.
pub fn write_limited(scratch: &str, limit: u64) -> Result<String, String> {
    let path = format!("{scratch}/{END}/config.json");
    let text = fs::read_to_string(&path).map_err(|e| format!("{path}: {e}"))?;
    let limits = format!(r#""resources": {{ "memory": {{ "limit": {} }},"#, limit * 1024);
    let text = changed(&text, r#""resources": {"#, &limits)?;
    let bundle = format!("{scratch}/{LIMITED}");
    fs::create_dir_all(&bundle).map_err(|e| format!("{bundle}: {e}"))?;
    fs::write(format!("{bundle}/config.json"), text).map_err(|e| format!("{bundle}: {e}"))?;
    Ok(bundle)
}

/// The text with the one place that holds `from` changed.
fn changed(text: &str, from: &str, to: &str) -> Result<String, String> {
    match text.matches(from).count() {
        1 => Ok(text.replacen(from, to, 1)),
        n => Err(format!("the configuration that runc writes holds {from} {n} times")),
    }
}
