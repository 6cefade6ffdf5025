//! Bundles: what an engine hands to an OCI runtime.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::run::Run;
use crate::world::{Who, World, told};

/// A bundle of one test's own, with the shared busybox root, which is read-only. Its `config.json` is what
/// `donjon spec` writes, without a terminal.
#[derive(Debug)]
pub struct Bundle<'w> {
    world: &'w World,
    dir: PathBuf,
    /// The specification; [`Bundle::write`] writes it down.
    pub config: Value,
}

impl World {
    /// A bundle whose program is a shell command.
    pub fn bundle(&self, name: &str, script: &str) -> Bundle<'_> {
        let dir = self.dir(name);
        let path = dir.to_string_lossy().into_owned();
        let _ = fs::remove_file(dir.join("config.json"));
        let rootless: &[&str] = if self.who() == Who::Ordinary { &["--rootless"] } else { &[] };
        self.donjon(&[&["spec", "--bundle", &path][..], rootless].concat()).go().succeeds();
        let text = fs::read_to_string(dir.join("config.json")).expect("the file that spec writes");
        let mut config: Value = serde_json::from_str(&text).expect("JSON");
        config["process"]["terminal"] = json!(false);
        config["process"]["args"] = json!(["sh", "-c", script]);
        config["root"]["path"] = json!(format!("{}/root", told("DONJON_TEST_ROOMS")));
        // Every process that a test starts can be told by its environment.
        let variable = format!("WORLD={}", self.token());
        config["process"]["env"].as_array_mut().expect("the environment").push(json!(variable));
        let bundle = Bundle { world: self, dir, config };
        bundle.write();
        bundle
    }
}

impl<'w> Bundle<'w> {
    /// Sets a value by its JSON pointer (RFC 6901), making the objects on the way, and writes the file.
    pub fn set(&mut self, pointer: &str, value: Value) -> &mut Self {
        let mut at = &mut self.config;
        for name in pointer.trim_start_matches('/').split('/') {
            at = match at {
                Value::Array(list) => {
                    let index: usize = name.parse().expect("an index");
                    &mut list[index]
                }
                other => {
                    if !other.is_object() {
                        *other = json!({});
                    }
                    other.as_object_mut().expect("an object").entry(name).or_insert(Value::Null)
                }
            };
        }
        *at = value;
        self.write();
        self
    }

    /// Adds a value to the list at a JSON pointer, and writes the file.
    pub fn push(&mut self, pointer: &str, value: Value) -> &mut Self {
        if self.config.pointer(pointer).is_none_or(|list| !list.is_array()) {
            self.set(pointer, json!([]));
        }
        self.config.pointer_mut(pointer).and_then(Value::as_array_mut).expect("a list").push(value);
        self.write();
        self
    }

    /// The root that this test alone has: it may be written to.
    pub fn own_root(&mut self) -> PathBuf {
        let root = self.world.own_root();
        self.set("/root", json!({"path": root.path(), "readonly": false}));
        root.path().to_path_buf()
    }

    /// Replaces the shell command.
    pub fn script(&mut self, script: &str) -> &mut Self {
        self.set("/process/args", json!(["sh", "-c", script]))
    }

    /// Writes `config.json`.
    pub fn write(&self) {
        let text = serde_json::to_string_pretty(&self.config).expect("JSON");
        fs::write(self.dir.join("config.json"), text).expect("config.json");
    }

    /// Its directory, as text for a command line.
    pub fn path(&self) -> String {
        self.dir.to_string_lossy().into_owned()
    }

    /// Gives the container a group of its own: tests that run at once have containers of the same id.
    fn apart(&self, id: &str) {
        let mut config = self.config.clone();
        if self.world.who() == Who::Root && config["linux"].get("cgroupsPath").is_none() {
            config["linux"]["cgroupsPath"] = json!(format!("/{}-{id}", self.world.token()));
        }
        let text = serde_json::to_string_pretty(&config).expect("JSON");
        fs::write(self.dir.join("config.json"), text).expect("config.json");
    }

    /// `donjon run --bundle` of it.
    pub fn run(&self, id: &str) -> Run<'w> {
        self.run_with(&[], id)
    }

    /// The same with further options.
    pub fn run_with(&self, options: &[&str], id: &str) -> Run<'w> {
        self.apart(&id.replace('/', "_"));
        self.world.donjon(&[&["run", "--bundle", &self.path()][..], options, &[id]].concat())
    }

    /// `donjon create --bundle` of it. Its output goes to a file of the test, as the container keeps its streams.
    pub fn create(&self, id: &str) -> Run<'w> {
        self.apart(id);
        self.world.donjon(&["create", "--bundle", &self.path(), id]).output_to(&self.world.path("output"))
    }
}

impl World {
    /// The status of an OCI container; `None` when there is none.
    pub fn status(&self, id: &str) -> Option<String> {
        let state = self.donjon(&["state", id]).go();
        let state: Value = serde_json::from_str(&state.stdout).ok()?;
        Some(state["status"].as_str().expect("a status").to_string())
    }
}
