//! Capabilities that this donjon has never heard of: an engine that is newer names them.
//!
//! The specification wants a warning and no error, as the program could not get them anyhow (OCI runtime specification
//! 1.1, "Process", `capabilities`). So they are taken out before the sets are read.

use donjon_confine::layers::capabilities::number;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::bundle::parse_json;

/// Reads JSON in which the object at `pointer` (RFC 6901) holds sets of capabilities. Returns as well what was left out.
pub fn parse<T: DeserializeOwned>(bytes: &[u8], pointer: &str) -> Result<(T, Vec<String>), String> {
    let error = match parse_json(bytes) {
        Ok(value) => return Ok((value, Vec::new())),
        Err(error) => error,
    };
    // Only then: reading twice costs time.
    let Ok(mut value) = serde_json::from_slice::<Value>(bytes) else { return Err(error) };
    let unknown = take_unknown(value.pointer_mut(pointer));
    if unknown.is_empty() {
        return Err(error);
    }
    let notes = unknown.into_iter().map(|name| {
        format!("capabilities: {name} is no capability that this kernel interface has: it can't be given")
    });
    let bytes = serde_json::to_vec(&value).map_err(|e| e.to_string())?;
    Ok((parse_json(&bytes)?, notes.collect()))
}

/// Takes the names that nobody knows out of every set.
fn take_unknown(sets: Option<&mut Value>) -> Vec<String> {
    let mut unknown = Vec::new();
    let sets = sets.and_then(Value::as_object_mut).into_iter().flat_map(|sets| sets.values_mut());
    for set in sets.filter_map(Value::as_array_mut) {
        set.retain(|name| match name.as_str() {
            Some(name) if number(name).is_none() => {
                unknown.push(name.to_string());
                false
            }
            _ => true,
        });
    }
    unknown.sort();
    unknown.dedup();
    unknown
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::runtime::Process;

    #[test]
    fn unknown_capabilities_are_left_out_and_told() {
        let json = r#"{"cwd": "/", "user": {"uid": 0, "gid": 0}, "args": ["x"],
            "capabilities": {"bounding": ["CAP_KILL", "CAP_NEW_THING"], "effective": ["CAP_NEW_THING"]}}"#;
        let (process, notes): (Process, _) = parse(json.as_bytes(), "/capabilities").unwrap();
        let sets = process.capabilities().clone().unwrap();
        assert_eq!(
            (sets.bounding().as_ref().unwrap().len(), sets.effective().as_ref().unwrap().len()),
            (1, 0)
        );
        assert!(notes.len() == 1 && notes[0].contains("CAP_NEW_THING"), "{notes:?}");
        // What else is wrong is still refused by its own path.
        let wrong = json.replace("\"uid\": 0", "\"uid\": \"x\"");
        assert!(parse::<Process>(wrong.as_bytes(), "/capabilities").unwrap_err().starts_with("user.uid"));
    }
}
