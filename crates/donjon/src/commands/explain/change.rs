//! The smallest change that would allow a refusal: as a flag, and as a line of a policy.
//!
//! What the record of a refusal names comes from donjon's own tables, but the record lies in a file: each word is looked
//! at again before it becomes a line of a policy.

use donjon_runtime::events::Event;

/// A line of a policy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Line {
    /// A word more in a list.
    Add {
        /// `[table]`
        table: &'static str,
        /// The list in it.
        key: &'static str,
        /// The word.
        word: String,
    },
    /// Another value.
    Set {
        /// `[table]`
        table: &'static str,
        /// The key in it.
        key: &'static str,
        /// The value.
        value: Value,
    },
}

/// A value of a line.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    /// `true`
    Yes,
    /// A number.
    Number(i64),
    /// A text.
    Text(String),
}

/// What would allow a refusal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// The flag, if there is one.
    pub flag: Option<String>,
    /// The line of a policy, if one can hold it.
    pub line: Option<Line>,
    /// Why none can, where a flag could.
    pub why_not: Option<&'static str>,
}

/// The table of limits.
pub const LIMITS: &str = "resources";

impl Line {
    /// Table and key.
    pub fn place(&self) -> (&'static str, &'static str) {
        match self {
            Self::Add { table, key, .. } | Self::Set { table, key, .. } => (table, key),
        }
    }
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Add { table, key, word } => write!(f, "[{table}] {key} = [{word:?}]"),
            Self::Set { table, key, value } => write!(f, "[{table}] {key} = {value}"),
        }
    }
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Yes => f.write_str("true"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => write!(f, "{text:?}"),
        }
    }
}

/// What would allow this refusal.
pub fn of(event: &Event) -> Change {
    let Some(allow) = event.allow.as_deref() else { return Change::default() };
    let mut words = allow.split_ascii_whitespace();
    let (flag, argument) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let add = |table, key| Change {
        flag: Some(allow.to_string()),
        line: is_word(argument).then(|| Line::Add { table, key, word: argument.to_string() }),
        why_not: None,
    };
    let set = |flag: &str, key, value: Option<Value>| Change {
        flag: Some(match &value {
            Some(Value::Text(text)) => format!("{flag} {text}"),
            Some(Value::Number(number)) => format!("{flag} {number}"),
            _ => allow.to_string(),
        }),
        line: value.map(|value| Line::Set { table: LIMITS, key, value }),
        why_not: None,
    };
    match flag {
        "--syscall" => add("syscalls", "allow"),
        "--socket" => add("sockets", "allow"),
        "--cap-add" => add("capabilities", "add"),
        "--nested-userns" => Change {
            flag: Some(allow.to_string()),
            line: Some(Line::Set { table: "namespaces", key: "nested", value: Value::Yes }),
            why_not: None,
        },
        // Twice as much as was not enough.
        "--pids-limit" => set(flag, "pids", doubled(&event.rule).map(Value::Number)),
        "--memory" => {
            let size = doubled(&event.rule).map(|bytes| Value::Text(format!("{}m", (bytes >> 20).max(1))));
            set(flag, "memory", size)
        }
        "--ro" | "--rw" => Change {
            flag: Some(allow.to_string()),
            line: None,
            why_not: Some("which directory of this machine is to be there (SRC), only a person can say"),
        },
        "--device" => Change {
            flag: Some(allow.to_string()),
            line: None,
            why_not: Some("which device is meant, only a person can say"),
        },
        _ => Change {
            flag: Some(allow.to_string()),
            line: None,
            why_not: Some("no line of a policy says that"),
        },
    }
}

/// Twice the number that a rule ends with: `[limits] pids = 512`.
fn doubled(rule: &str) -> Option<i64> {
    let number = rule.rsplit_once("= ")?.1.parse::<i64>().ok()?;
    number.checked_mul(2).filter(|number| *number > 0)
}

/// Whether this is a name as system calls, families and capabilities have it.
fn is_word(word: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '@');
    !word.is_empty() && word.len() <= 64 && word.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(allow: &str, rule: &str) -> Event {
        Event { allow: Some(allow.to_string()), rule: rule.to_string(), ..Event::default() }
    }

    fn line(allow: &str, rule: &str) -> Option<String> {
        of(&event(allow, rule)).line.map(|line| line.to_string())
    }

    #[test]
    fn a_flag_has_its_line() {
        let said = |allow| line(allow, "").unwrap();
        assert_eq!(said("--syscall mount (or its set @mount)"), "[syscalls] allow = [\"mount\"]");
        assert_eq!(said("--socket netlink"), "[sockets] allow = [\"netlink\"]");
        assert_eq!(said("--cap-add NET_RAW"), "[capabilities] add = [\"NET_RAW\"]");
        assert_eq!(said("--nested-userns"), "[namespaces] nested = true");
    }

    #[test]
    fn a_limit_is_doubled() {
        let pids = of(&event("--pids-limit NUMBER", "[limits] pids = 512"));
        assert_eq!(pids.flag.as_deref(), Some("--pids-limit 1024"));
        assert_eq!(pids.line.unwrap().to_string(), "[resources] pids = 1024");
        let memory = of(&event("--memory SIZE", "[limits] memory = 1073741824"));
        assert_eq!(memory.line.unwrap().to_string(), "[resources] memory = \"2048m\"");
        for rule in ["", "pids = ", "pids = -1", "pids = 9223372036854775807"] {
            assert_eq!(line("--pids-limit NUMBER", rule), None, "{rule}");
        }
    }

    #[test]
    fn what_no_policy_can_hold_has_no_line_and_says_why() {
        for allow in
            ["--rw SRC:/data", "--ro SRC:/etc", "--device /dev/NAME", "a mount there without noexec (exec)"]
        {
            let change = of(&event(allow, ""));
            assert!(change.line.is_none() && change.why_not.is_some() && change.flag.is_some(), "{allow}");
        }
        assert_eq!(of(&Event::default()), Change::default());
    }

    #[test]
    fn a_record_can_not_write_a_line_of_its_own() {
        for word in ["x\"]", "a\nb", "", "[[mounts]]", "--rw", "é"] {
            let change = of(&event(&format!("--syscall {word}"), ""));
            let harmless = change.line.as_ref().is_none_or(|line| line.to_string().lines().count() == 1);
            assert!(harmless, "{change:?}");
        }
        assert_eq!(line("--syscall x\"]", ""), None);
    }
}
