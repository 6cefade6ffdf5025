//! A policy written down again: as a file of the language, with the layers that hold each line.

use std::fmt::Write;

use serde_json::Value;

use crate::keys::KEYS;
use crate::model::Policy;
use crate::words::capabilities;

impl Policy {
    /// The same policy, said in the fewest words: what one layer adds and another takes away again is not said at all.
    pub fn settled(mut self) -> Policy {
        let f = &mut self.filesystem;
        let seen_again = std::mem::take(&mut f.unmask);
        for list in [&mut f.hide, &mut f.read_only_paths] {
            list.retain(|path| !seen_again.contains(path));
        }
        let c = &mut self.capabilities;
        let bare = |word: &String| capabilities::dropped(word).unwrap_or_else(|_| word.clone());
        let dropped: Vec<String> = std::mem::take(&mut c.drop).iter().map(bare).collect();
        let all = dropped.iter().any(|word| word == "ALL");
        if let Some(root) = &mut c.root {
            root.retain(|word| !all && !dropped.contains(&bare(word)));
        }
        c.add.retain(|word| !dropped.contains(&bare(word)));
        let s = &mut self.syscalls;
        s.allow.retain(|word| !s.deny.contains(word));
        if let Some(base) = &mut s.base {
            base.retain(|word| !s.deny.contains(word));
        }
        let more = std::mem::take(&mut self.sockets.allow);
        if !more.is_empty() {
            self.sockets.families.get_or_insert_default().extend(more);
        }
        let lists = [
            Some(&mut self.filesystem.hide),
            Some(&mut self.filesystem.read_only_paths),
            Some(&mut self.filesystem.allow_mount),
            self.filesystem.read.as_mut(),
            self.filesystem.write.as_mut(),
            self.filesystem.execute.as_mut(),
            self.capabilities.root.as_mut(),
            Some(&mut self.capabilities.add),
            self.syscalls.base.as_mut(),
            Some(&mut self.syscalls.allow),
            Some(&mut self.syscalls.deny),
            self.sockets.families.as_mut(),
            Some(&mut self.network.egress),
            Some(&mut self.network.publish),
            Some(&mut self.best_effort),
            Some(&mut self.process.groups),
        ];
        for list in lists.into_iter().flatten() {
            let mut seen = std::collections::HashSet::new();
            list.retain(|word| seen.insert(word.clone()));
        }
        self
    }

    /// The policy as a file of the language; each line says which layers hold it.
    pub fn to_toml(&self) -> String {
        let value = serde_json::to_value(self).unwrap_or_default();
        // What a silent file says. An empty list says something where one could be missing.
        let silent = serde_json::to_value(Policy::default()).unwrap_or_default();
        let mut text = String::new();
        let mut section = "";
        let mut tables = Vec::new();
        for key in KEYS {
            let (table, name) = key.path.rsplit_once('.').unwrap_or(("", key.path));
            if table.ends_with("[]") {
                if !tables.contains(&table) {
                    tables.push(table);
                }
                continue;
            }
            let found = key.path.split('.').try_fold(&value, |inside, part| inside.get(part));
            let without = key.path.split('.').try_fold(&silent, |inside, part| inside.get(part));
            let Some(found) = found.filter(|_| found != without) else { continue };
            if found.is_object() {
                // Tables of their own come after the words of their section, and nothing of it follows them.
                continue;
            }
            if table != section {
                let _ = write!(text, "\n[{table}]\n");
                section = table;
            }
            let held = match key.held_by {
                [] => String::new(),
                layers => format!("  # {}", layers.join(", ")),
            };
            line(&mut text, name, found, &held);
        }
        for key in KEYS.iter().filter(|key| !key.path.contains("[]")) {
            let found = key.path.split('.').try_fold(&value, |inside, part| inside.get(part));
            let Some(table) = found.and_then(Value::as_object).filter(|table| !table.is_empty()) else {
                continue;
            };
            let held = if key.held_by.is_empty() {
                String::new()
            } else {
                format!("  # {}", key.held_by.join(", "))
            };
            let _ = write!(text, "\n[{}]{held}\n", key.path);
            for (name, value) in table {
                line(&mut text, &quoted(name), value, "");
            }
        }
        for table in tables {
            let name = table.trim_end_matches("[]");
            for entry in value.get(name).and_then(Value::as_array).into_iter().flatten() {
                let _ = write!(text, "\n[[{name}]]\n");
                let said = entry.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
                for (name, value) in said {
                    line(&mut text, name, value, "");
                }
            }
        }
        text.trim_start().to_string()
    }
}

fn line(text: &mut String, name: &str, value: &Value, held: &str) {
    let short = in_toml(value);
    match value {
        Value::Array(list) if short.len() > 80 => {
            let _ = writeln!(text, "{name} = [{held}");
            let mut row = String::new();
            for word in list {
                let word = in_toml(word);
                if !row.is_empty() && row.len() + word.len() > 96 {
                    let _ = writeln!(text, "    {}", row.trim_end());
                    row.clear();
                }
                row.push_str(&word);
                row.push_str(", ");
            }
            let _ = write!(text, "    {}\n]\n", row.trim_end());
        }
        _ => {
            let _ = writeln!(text, "{name} = {short}{held}");
        }
    }
}

fn in_toml(value: &Value) -> String {
    match value {
        Value::String(word) => quoted(word),
        Value::Array(list) => format!("[{}]", list.iter().map(in_toml).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}

/// A basic string of TOML, in which nothing of a terminal's is left as it is.
pub fn quoted(word: &str) -> String {
    let mut text = String::from("\"");
    for c in word.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(text, "\\u{:04x}", u32::from(c));
            }
            c => text.push(c),
        }
    }
    text.push('"');
    text
}
