//! Docker Engine: `daemon.json`.
//!
//! The text is not written anew but added to, so that everything else stays as it was typed. serde_json finds the values in
//! it; nothing here reads JSON by itself.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::ser::PrettyFormatter;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{Caller, NAME, Place, Refusal, Wanted};
use crate::commands::Failure;

/// The machine's file, or that of a rootless engine.
pub fn place(caller: &Caller) -> Result<Place, Failure> {
    Place::single(match caller {
        Caller::Root => PathBuf::from("/etc/docker/daemon.json"),
        Caller::Ordinary { config } => config.join("docker/daemon.json"),
    })
}

/// `"runtimes": {"donjon": {"path": "PATH"}}`, and `"default-runtime"`.
pub fn edit(text: &str, wanted: &Wanted) -> Result<Option<String>, Refusal> {
    let start = if text.trim().is_empty() { "{}\n" } else { text };
    let mut new = start.to_string();
    let top = Object::whole(&new)?;
    match top.get("runtimes") {
        None => new = top.with(&new, "runtimes", &json!({ NAME: { "path": wanted.program } })),
        Some(_) => {
            let runtimes = top.object(&new, "runtimes")?;
            match runtimes.get(NAME) {
                None => new = runtimes.with(&new, NAME, &json!({ "path": wanted.program })),
                Some(range) => {
                    let donjon = value(&new, range, "runtimes.donjon")?;
                    if donjon.get("path") != Some(&json!(wanted.program))
                        || donjon.get("runtimeType").is_some()
                    {
                        return Err(Refusal::foreign("runtimes.donjon", wanted));
                    }
                }
            }
        }
    }
    let top = Object::whole(&new)?;
    if wanted.default {
        match top.get("default-runtime") {
            None => new = top.with(&new, "default-runtime", &json!(NAME)),
            Some(range) => match value(&new, range.clone(), "default-runtime")? {
                Value::String(name) if name == NAME => {}
                Value::String(_) => new.replace_range(range, &json!(NAME).to_string()),
                _ => return Err(Refusal::new("default-runtime is not a string")),
            },
        }
    }
    Ok((new != start).then_some(new))
}

fn value(text: &str, range: Range<usize>, field: &str) -> Result<Value, Refusal> {
    serde_json::from_str(text.get(range).unwrap_or_default())
        .map_err(|error| Refusal::new(format!("{field}: {error}")))
}

/// An object in a text: where it is, and where the values of its keys are.
#[derive(Debug)]
struct Object {
    range: Range<usize>,
    /// White space before the key of the object that this one is in; what separates its own keys when it has none.
    outer: String,
    members: Vec<(String, Range<usize>)>,
}

impl Object {
    /// The object that the text is.
    fn whole(text: &str) -> Result<Self, Refusal> {
        let whole: &RawValue =
            serde_json::from_str(text).map_err(|error| Refusal::new(format!("is no JSON: {error}")))?;
        Self::read(text, range(text, whole), "\n".into())
            .map_err(|error| Refusal::new(format!("is not what the Docker daemon reads: {error}")))
    }

    /// The object that a key holds.
    fn object(&self, text: &str, key: &str) -> Result<Self, Refusal> {
        let range = self.get(key).unwrap_or_default();
        Self::read(text, range, self.separator(text))
            .map_err(|error| Refusal::new(format!("{key} is not an object: {error}")))
    }

    fn read(text: &str, at: Range<usize>, outer: String) -> Result<Self, serde_json::Error> {
        let Members(members) = serde_json::from_str(text.get(at.clone()).unwrap_or_default())?;
        let members = members.into_iter().map(|(key, raw)| (key, range(text, raw))).collect();
        Ok(Self { range: at, outer, members })
    }

    fn get(&self, key: &str) -> Option<Range<usize>> {
        self.members.iter().find(|(name, _)| name == key).map(|(_, range)| range.clone())
    }

    /// The white space before each key.
    fn separator(&self, text: &str) -> String {
        if self.members.is_empty() {
            // Four spaces deeper than the object around it, unless everything is in one line.
            return if self.outer.contains('\n') {
                format!("{}    ", self.outer)
            } else {
                self.outer.clone()
            };
        }
        let inside = text.get(self.range.start + 1..self.range.end).unwrap_or_default();
        inside.chars().take_while(|c| c.is_ascii_whitespace()).collect()
    }

    /// The text with a key added at the end of the object.
    fn with(&self, text: &str, key: &str, value: &Value) -> String {
        let separator = self.separator(text);
        let value = if separator.contains('\n') {
            // In JSON a line end is never inside a string.
            indented(value).replace('\n', &separator)
        } else {
            value.to_string()
        };
        let member = format!("{separator}{}: {value}", json!(key));
        let mut new = text.to_string();
        match self.members.last() {
            Some((_, last)) => new.insert_str(last.end, &format!(",{member}")),
            None => {
                let end = if self.outer.contains('\n') { self.outer.as_str() } else { "" };
                new.replace_range(self.range.clone(), &format!("{{{member}{end}}}"));
            }
        }
        new
    }
}

fn indented(value: &Value) -> String {
    let mut bytes = Vec::new();
    let four = PrettyFormatter::with_indent(b"    ");
    match value.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, four)) {
        Ok(()) => String::from_utf8(bytes).unwrap_or_else(|_| value.to_string()),
        Err(_) => value.to_string(),
    }
}

/// The keys of an object in order, each once.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members(Vec::new()))
    }
}

impl<'de> Visitor<'de> for Members<'de> {
    type Value = Self;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Self, A::Error> {
        while let Some((key, value)) = map.next_entry::<String, &'de RawValue>()? {
            if self.0.iter().any(|(other, _)| *other == key) {
                return Err(serde::de::Error::custom(format!("{key:?} is there twice")));
            }
            self.0.push((key, value));
        }
        Ok(self)
    }
}

/// Where in the text a value is that was read from it.
fn range(text: &str, raw: &RawValue) -> Range<usize> {
    let start = (raw.get().as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
    start..start + raw.get().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(default: bool) -> Wanted {
        Wanted { program: "/usr/bin/donjon".into(), default }
    }

    fn edited(old: &str) -> String {
        let new = edit(old, &wanted(true)).unwrap().unwrap();
        assert_eq!(edit(&new, &wanted(true)).unwrap(), None, "{new}");
        new
    }

    #[test]
    fn a_missing_file_becomes_a_readable_one() {
        let expected = "{\n    \"runtimes\": {\n        \"donjon\": {\n            \"path\": \"/usr/bin/donjon\"\n        }\n    \
                        },\n    \"default-runtime\": \"donjon\"\n}\n";
        assert_eq!(edited(""), expected);
        assert_eq!(edited("{}\n"), expected);
    }

    #[test]
    fn order_indentation_and_every_other_character_stay() {
        let old =
            "{\n  \"z\": 1.50e3,\n  \"runtimes\": { \"kata\": {\"path\":\"/k\"} },\n  \"a\": [ 1,2 ]\n}";
        let expected = "{\n  \"z\": 1.50e3,\n  \"runtimes\": { \"kata\": {\"path\":\"/k\"}, \"donjon\": {\"path\":\"/usr/bin/donjon\"} \
                        },\n  \"a\": [ 1,2 ],\n  \"default-runtime\": \"donjon\"\n}";
        assert_eq!(edited(old), expected);
        let old = "{\"default-runtime\":\"runc\",\"dns\":[\"{}\"]}";
        let expected = "{\"default-runtime\":\"donjon\",\"dns\":[\"{}\"],\"runtimes\": {\"donjon\":{\"path\":\"/usr/bin/donjon\"}}}";
        assert_eq!(edited(old), expected);
        let old = "{\n\t\"runtimes\": {}\n}\n";
        let new = edited(old);
        assert!(new.starts_with("{\n\t\"runtimes\": {\n\t    \"donjon\": {\n"), "{new}");
    }

    #[test]
    fn a_path_keeps_its_spaces_and_quotes() {
        let wanted = Wanted { program: "/a  b/\"don\\jon".into(), default: false };
        let new = edit("{}", &wanted).unwrap().unwrap();
        let value: Value = serde_json::from_str(&new).unwrap();
        assert_eq!(value["runtimes"]["donjon"]["path"], "/a  b/\"don\\jon");
    }

    #[test]
    fn what_is_not_understood_is_refused_by_its_name() {
        let refused = |text: &str| edit(text, &wanted(true)).unwrap_err().what;
        assert!(refused("{\"a\": 1,}").contains("is no JSON"));
        assert!(refused("[]").contains("expected an object"));
        assert!(refused("{\"a\": 1, \"a\": 2}").contains("\"a\" is there twice"));
        assert!(refused("{\"runtimes\": []}").starts_with("runtimes is not an object"));
        assert!(refused("{\"default-runtime\": 1}").starts_with("default-runtime is not a string"));
        for other in [
            "{}",
            "7",
            "{\"path\": \"/opt/donjon\"}",
            "{\"path\": \"/usr/bin/donjon\", \"runtimeType\": \"x\"}",
        ] {
            let text = refused(&format!("{{\"runtimes\": {{\"donjon\": {other}}}}}"));
            assert!(text.starts_with("runtimes.donjon is there already"), "{text}");
        }
    }
}
