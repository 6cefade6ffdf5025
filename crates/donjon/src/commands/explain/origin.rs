//! Where a rule is written: the file of policy, and the line.
//!
//! A record holds the rule in words. The layers of policy that the container was started under are on its record
//! ([`donjon_runtime::state::State::policies`]); they are read again, as they are now, and the last one that says
//! something about the rule's key is where it comes from. A value that none of them has was a flag's.

use std::path::Path;

use donjon_runtime::events::Event;
use donjon_runtime::state::State;
use serde::Serialize;
use toml_edit::{Document, Item, TableLike};

/// A file of policy larger than this was not read by the start either.
const LONGEST: u64 = 1 << 20;

/// Where a rule is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Origin {
    /// The file, or in words what stands in its place.
    pub policy: String,
    /// Its line, if it is known.
    pub line: Option<usize>,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}", self.policy),
            None => f.write_str(&self.policy),
        }
    }
}

/// One layer of policy: what it is called, and its text where that is at hand.
#[derive(Debug, Clone)]
pub struct Layer {
    /// A path, or in words.
    pub name: String,
    /// TOML.
    pub text: Option<String>,
}

/// The built-in layers, with the lines that the repository has.
const BUILT_IN: [(&str, &str); 5] = [
    ("default", include_str!("../../../../policy/src/default.toml")),
    ("strict", include_str!("../../../../policy/src/strict.toml")),
    ("service", include_str!("../../../../policy/src/service.toml")),
    ("build", include_str!("../../../../policy/src/build.toml")),
    ("agent", include_str!("../../../../policy/src/agent.toml")),
];

/// The layers that a container was started under, the lowest first.
pub fn layers(state: Option<&State>) -> Vec<Layer> {
    let built_in = |name: &str| {
        let text = BUILT_IN.iter().find(|(known, _)| *known == name).map(|(_, text)| (*text).to_string());
        Layer { name: format!("built-in {name}.toml"), text }
    };
    let named = state.into_iter().flat_map(|state| &state.policies).map(|policy| {
        match policy.strip_prefix("preset:") {
            Some(preset) => built_in(preset),
            None => Layer { name: policy.clone(), text: text_of(Path::new(policy)) },
        }
    });
    std::iter::once(built_in("default")).chain(named).collect()
}

fn text_of(path: &Path) -> Option<String> {
    let small = std::fs::metadata(path).is_ok_and(|file| file.is_file() && file.len() <= LONGEST);
    small.then(|| std::fs::read_to_string(path).ok()).flatten()
}

/// What a rule is about: names of the table, names of the keys, and the value, where the rule tells one.
type Key = (&'static [&'static str], &'static [&'static str]);

/// The keys that a rule comes from.
fn keys(event: &Event) -> Option<Key> {
    let rule = event.rule.as_str();
    const LIMITS: &[&str] = &["limits", "resources"];
    Some(match rule.split_once(']').map_or(rule, |(table, _)| table) {
        "[syscalls" => (&["syscalls"], &["base", "deny", "profile"]),
        "[sockets" => (&["sockets"], &["families"]),
        "[capabilities" => (&["capabilities"], &["root", "drop"]),
        "[namespaces" => (&["namespaces"], &["nested"]),
        "[limits" | "[resources" if rule.contains("pids") => (LIMITS, &["pids"]),
        "[limits" | "[resources" if rule.contains("memory") => (LIMITS, &["memory"]),
        _ => return None,
    })
}

/// Where the rule that refused this is written.
pub fn of(event: &Event, layers: &[Layer]) -> Option<Origin> {
    let Some((tables, keys)) = keys(event) else {
        let inside = matches!(event.layer.as_str(), "seccomp" | "capabilities");
        return inside.then(|| Origin { policy: "built into donjon".to_string(), line: None });
    };
    let (layer, line, value) = layers.iter().rev().find_map(|layer| {
        let (line, value) = find(layer.text.as_deref()?, tables, keys)?;
        Some((layer, line, value))
    })?;
    // `pids = 30` is nowhere: a flag said it.
    if let (Some(told), Some(number)) = (event.rule.rsplit_once("= ").map(|(_, told)| told), value)
        && told.parse::<i64>().is_ok_and(|told| told != number)
    {
        return Some(Origin { policy: "the command line".to_string(), line: None });
    }
    Some(Origin { policy: layer.name.clone(), line: Some(line) })
}

/// The line of the first of the keys that is in one of the tables, and its value as a number.
fn find(text: &str, tables: &[&str], keys: &[&str]) -> Option<(usize, Option<i64>)> {
    let document = Document::parse(text).ok()?;
    for table in tables {
        let Some(table) = document.as_table().get(table).and_then(Item::as_table_like) else { continue };
        for key in keys {
            let Some((key, item)) = TableLike::get_key_value(table, key) else { continue };
            let start = key.span().or_else(|| item.span())?.start;
            let line = text.get(..start)?.matches('\n').count() + 1;
            return Some((line, number(item)));
        }
    }
    None
}

/// A number, or a size as policies write it.
fn number(item: &Item) -> Option<i64> {
    if let Some(number) = item.as_integer() {
        return Some(number);
    }
    let text = item.as_str()?.trim();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift =
        match text.get(digits.len()..)?.to_ascii_lowercase().trim_end_matches("ib").trim_end_matches('b') {
            "" => 0,
            "k" => 10,
            "m" => 20,
            "g" => 30,
            "t" => 40,
            _ => return None,
        };
    digits.parse::<i64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(layer: &str, rule: &str) -> Event {
        Event { layer: layer.into(), rule: rule.into(), ..Event::default() }
    }

    fn defaults() -> Vec<Layer> {
        layers(None)
    }

    #[test]
    fn a_rule_of_the_defaults_has_its_line_there() {
        let text = defaults()[0].text.clone().unwrap();
        for (rule, begins) in [
            ("[syscalls] allow: not listed", "base ="),
            ("[sockets] families: not listed", "families ="),
            ("[capabilities]: SYS_ADMIN is not granted", "root ="),
            ("[namespaces] nested = false", "nested ="),
            ("[limits] pids = 512", "pids ="),
            ("[limits] memory = 1073741824", "memory ="),
        ] {
            let origin = of(&event("seccomp", rule), &defaults()).unwrap();
            assert_eq!(origin.policy, "built-in default.toml");
            let line = text.lines().nth(origin.line.unwrap() - 1).unwrap();
            assert!(line.starts_with(begins), "{rule}: {line}");
        }
        let always = of(&event("seccomp", "always refused"), &defaults()).unwrap();
        assert_eq!((always.policy.as_str(), always.line), ("built into donjon", None));
        assert_eq!(of(&event("landlock", "the rules made from the container's mounts"), &defaults()), None);
    }

    #[test]
    fn the_last_layer_that_says_something_is_where_a_rule_comes_from() {
        let mut layers = defaults();
        let file = "# mine\n[sockets]\nallow = []\n\n[sockets.x]\n\n[limits]\n# few\npids = 20\n";
        layers.push(Layer { name: "/p.toml".into(), text: Some(file.into()) });
        layers.push(Layer { name: "/gone.toml".into(), text: None });
        layers.push(Layer { name: "/broken.toml".into(), text: Some("[[".into()) });
        let said = |rule| of(&event("limits", rule), &layers).unwrap().to_string();
        assert_eq!(said("[limits] pids = 20"), "/p.toml:9");
        assert_eq!(said("[limits] pids = 7"), "the command line");
        assert!(said("[sockets] families: not listed").starts_with("built-in default.toml:"));
        layers.push(Layer { name: "/q.toml".into(), text: Some("namespaces = { nested = false }".into()) });
        assert_eq!(
            of(&event("seccomp", "[namespaces] nested = false"), &layers).unwrap().to_string(),
            "/q.toml:1"
        );
    }
}
