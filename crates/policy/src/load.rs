//! Reading a policy: from TOML, and the defaults that are built in.

use crate::error::PolicyError;
use crate::model::Policy;

/// `default.toml` and `strict.toml`, as the build script turned them into JSON.
const DEFAULT: &str = include_str!(concat!(env!("OUT_DIR"), "/default.json"));
const STRICT: &str = include_str!(concat!(env!("OUT_DIR"), "/strict.json"));

/// A policy file larger than this is refused unread.
pub const MOST_BYTES: usize = 1 << 20;

/// Words that a policy may hold, for the suggestion when one is misspelt.
const KEYS: &[&str] = &[
    "process", "filesystem", "mounts", "limits", "capabilities", "syscalls", "sockets", "namespaces",
    "sysctls", "devices", "best-effort", "user", "groups", "workdir", "env", "entrypoint", "hostname",
    "umask", "terminal", "init", "stop-signal", "stop-timeout", "timeout", "read-only", "ram", "shm-size",
    "mask", "unmask", "read-only-paths", "proc-pid-only", "landlock", "allow-mount", "type", "source",
    "target", "exec", "size", "mode", "pids", "memory", "memory-swap", "cpus", "ulimits", "root", "add",
    "drop", "base", "allow", "deny", "profile", "families", "network", "nested", "time-offsets", "path",
];

impl Policy {
    /// The defaults, `default.toml`.
    pub fn defaults() -> Result<Policy, PolicyError> {
        built_in(DEFAULT, "the built-in defaults")
    }

    /// A named preset: `default` adds nothing, `strict` takes away.
    pub fn preset(name: &str) -> Result<Policy, PolicyError> {
        match name {
            "default" => Ok(Policy::default()),
            "strict" => built_in(STRICT, "the preset strict"),
            other => Err(PolicyError::new("--preset", format!("{other:?} is no preset"))
                .hint("there are: default, strict")),
        }
    }

    /// This policy under a preset. Its limits are wishes, as the defaults' are: they hold where a cgroup can be made.
    pub fn under_preset(self, name: &str) -> Result<Policy, PolicyError> {
        let mut policy = self.merge(Policy::preset(name)?, "--preset")?;
        (policy.limits.memory_named, policy.limits.cpus_named) = (false, false);
        Ok(policy)
    }

    /// Reads one layer of policy; `name` is the file's, for errors. Never panics, whatever the text is.
    pub fn from_toml(text: &str, name: &str) -> Result<Policy, PolicyError> {
        if text.len() > MOST_BYTES {
            return Err(PolicyError::new(
                name,
                "is larger than 1 MiB; that is no policy that a person has read",
            ));
        }
        toml::from_str(text).map_err(|error| {
            let line = error.span().map(|span| {
                let before = text.get(..span.start).unwrap_or_default();
                before.bytes().filter(|b| *b == b'\n').count() + 1
            });
            let place = line.map_or_else(|| name.to_string(), |line| format!("{name}, line {line}"));
            let message = error.message().to_string();
            match unknown_key(&message) {
                Some(key) => {
                    let error = PolicyError::new(place, format!("{key:?} is no key here"));
                    match nearest(key) {
                        Some(near) => error.hint(format!("did you mean {near:?}?")),
                        None => error
                            .hint(message.split_once(", ").map_or(message.clone(), |(_, rest)| rest.into())),
                    }
                }
                None => PolicyError::new(place, message.lines().next().unwrap_or("is no TOML").to_string()),
            }
        })
    }

    /// Reads a policy file.
    pub fn from_file(path: &std::path::Path) -> Result<Policy, PolicyError> {
        let name = path.display().to_string();
        let fail = |what: &str| PolicyError::new(name.clone(), what.to_string());
        let meta = std::fs::metadata(path).map_err(|e| fail(&reason(&e)))?;
        if !meta.is_file() {
            return Err(fail("is not a regular file"));
        }
        if meta.len() > MOST_BYTES as u64 {
            return Err(fail("is larger than 1 MiB; that is no policy that a person has read"));
        }
        let text = std::fs::read_to_string(path).map_err(|e| fail(&reason(&e)))?;
        Policy::from_toml(&text, &name)
    }
}

fn built_in(json: &str, name: &str) -> Result<Policy, PolicyError> {
    serde_json::from_str(json).map_err(|e| PolicyError::new(name, e.to_string()))
}

/// An input-output error in words, without its number.
pub(crate) fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_string()
}

fn unknown_key(message: &str) -> Option<&str> {
    message.strip_prefix("unknown field `")?.split('`').next()
}

/// The known word that is closest to a misspelt one, if one is close.
fn nearest(word: &str) -> Option<&'static str> {
    KEYS.iter()
        .map(|key| (strsim::damerau_levenshtein(word, key), *key))
        .min()
        .filter(|(distance, key)| *distance <= 1 + key.len() / 4)
        .map(|(_, key)| key)
}
