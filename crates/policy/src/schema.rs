//! The language as a JSON schema (draft 2020-12), made from the list of keys. Editors that check TOML by a schema take it;
//! docs/policy.schema.json is this, and a test says so.

use serde_json::{Map, Value, json};

use crate::keys::{KEYS, Kind};

/// The schema of a policy file.
pub fn schema() -> Value {
    let mut root = table("A policy of donjon: what a container may do. See docs/policy.md.");
    for key in KEYS {
        let mut inside = &mut root;
        let mut parts = key.path.split('.').peekable();
        while let Some(part) = parts.next() {
            let properties = inside.entry("properties").or_insert_with(|| json!({}));
            let Some(properties) = properties.as_object_mut() else { break };
            if parts.peek().is_none() {
                properties.insert(part.to_string(), Value::Object(leaf(key.kind, key.about)));
                break;
            }
            let (name, list) = match part.strip_suffix("[]") {
                Some(name) => (name, true),
                None => (part, false),
            };
            let next = properties.entry(name).or_insert_with(|| match list {
                true => json!({ "type": "array", "items": table("") }),
                false => Value::Object(table("")),
            });
            let next = if list { next.get_mut("items") } else { Some(next) };
            let Some(next) = next.and_then(Value::as_object_mut) else { break };
            inside = next;
        }
    }
    for (list, needed) in [("mounts", "target"), ("devices", "path")] {
        if let Some(items) = root.get_mut("properties").and_then(|p| p.get_mut(list)?.get_mut("items")) {
            items["required"] = json!([needed]);
        }
    }
    older(&mut root, &["properties"], "limits", "#/properties/resources");
    older(
        &mut root,
        &["properties", "filesystem", "properties"],
        "mask",
        "#/properties/filesystem/properties/hide",
    );
    root.insert("$schema".into(), json!("https://json-schema.org/draft/2020-12/schema"));
    root.insert("title".into(), json!("donjon policy"));
    Value::Object(root)
}

/// An older name of a key, which is still read.
fn older(root: &mut Map<String, Value>, way: &[&str], name: &str, of: &str) {
    let mut inside = Some(root);
    for part in way {
        inside = inside.and_then(|table| table.get_mut(*part)).and_then(Value::as_object_mut);
    }
    if let Some(table) = inside {
        table.insert(name.to_string(), json!({ "$ref": of, "deprecated": true }));
    }
}

fn table(about: &str) -> Map<String, Value> {
    let mut table = Map::new();
    if !about.is_empty() {
        table.insert("description".into(), json!(about));
    }
    table.insert("type".into(), json!("object"));
    table.insert("additionalProperties".into(), json!(false));
    table
}

fn leaf(kind: Kind, about: &str) -> Map<String, Value> {
    let value = match kind {
        Kind::Word => json!({ "type": "string" }),
        Kind::OneOf(words) => json!({ "type": "string", "enum": words }),
        Kind::Flag => json!({ "type": "boolean" }),
        Kind::Integer(least) => json!({ "type": "integer", "minimum": least }),
        Kind::Number(least) => json!({ "type": "number", "minimum": least }),
        Kind::Words => json!({ "type": "array", "items": { "type": "string" } }),
        Kind::WordsByName => json!({ "type": "object", "additionalProperties": { "type": "string" } }),
        Kind::IntegersByName => json!({ "type": "object", "additionalProperties": { "type": "integer" } }),
        Kind::Reserved => json!({ "type": "object", "maxProperties": 0 }),
    };
    let mut leaf = value.as_object().cloned().unwrap_or_default();
    leaf.insert("description".into(), json!(about));
    leaf
}
