//! What Landlock refused, from the machine's audit log, where the caller may read that.
//!
//! Landlock refuses inside the kernel, without a word to donjon. Since Linux 6.15 it writes audit records, if somebody
//! collects them: `type=LANDLOCK_DOMAIN` names the process that made a domain, the first time that the domain refuses
//! something, and `type=LANDLOCK_ACCESS` each refusal (`Documentation/admin-guide/LSM/landlock.rst`). The log is readable
//! to root and often to a group of administrators; everybody else has `donjon explain --trace`.
//!
//! Texts come from the container (paths); they are only shown, through [`crate::events::printable`].

use std::io::{Read, Seek, SeekFrom};
use std::time::Duration;

use crate::events::{Recorder, Refused};

/// Where `auditd` writes.
pub const LOG: &str = "/var/log/audit/audit.log";
/// Most of the log that is read for one container, in bytes.
const MOST: u64 = 4 << 20;
/// The daemon writes a moment after the kernel has told it.
const DELAY: Duration = Duration::from_millis(60);

/// The log, from the moment that a container starts.
#[derive(Debug)]
pub struct Audit {
    file: std::fs::File,
    from: u64,
}

impl Audit {
    /// Opens the log at its end; nothing when it can't be read.
    pub fn open() -> Option<Self> {
        let mut file = std::fs::File::open(LOG).ok()?;
        let from = file.seek(SeekFrom::End(0)).ok()?;
        Some(Self { file, from })
    }

    /// Records what was refused since to the domain that process `init` made.
    pub fn report(mut self, init: i32, recorder: &mut Recorder) {
        std::thread::sleep(DELAY);
        let mut bytes = Vec::new();
        // Turned over meanwhile: what was written before is gone, and what is there is not ours to guess about.
        if self.file.seek(SeekFrom::Start(self.from)).is_err()
            || (&mut self.file).take(MOST).read_to_end(&mut bytes).is_err()
        {
            return;
        }
        for refused in refusals(&String::from_utf8_lossy(&bytes), init) {
            recorder.record(refused, String::new);
        }
    }
}

/// Types of records, by name and by number, as a daemon older than the kernel writes them.
const ACCESS: [&str; 2] = ["LANDLOCK_ACCESS", "UNKNOWN[1423]"];
const DOMAIN: [&str; 2] = ["LANDLOCK_DOMAIN", "UNKNOWN[1424]"];

fn is(line: &str, types: &[&str]) -> bool {
    field(line, "type").is_some_and(|t| types.contains(&t))
}

/// The value of a field of an audit record: `name=value` or `name="value"`.
fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = line;
    loop {
        let at = rest.find(name)?;
        let (before, after) = rest.split_at(at);
        rest = after.get(name.len()..)?;
        let begins = before.is_empty() || before.ends_with(' ');
        if let Some(value) = rest.strip_prefix('=').filter(|_| begins) {
            return match value.strip_prefix('"') {
                Some(quoted) => quoted.split('"').next(),
                None => value.split_ascii_whitespace().next(),
            };
        }
    }
}

/// The refusals of the domain that process `init` made.
fn refusals(log: &str, init: i32) -> Vec<Refused> {
    // A domain is named once, in the same event as its first refusal, before it or after it.
    let domains: Vec<&str> = log
        .lines()
        .filter(|line| is(line, &DOMAIN) && field(line, "status") == Some("allocated"))
        .filter(|line| field(line, "pid").and_then(|pid| pid.parse().ok()) == Some(init))
        .filter_map(|line| field(line, "domain"))
        .collect();
    log.lines()
        .filter(|line| is(line, &ACCESS))
        .filter(|line| field(line, "domain").is_some_and(|domain| domains.contains(&domain)))
        .map(|line| {
            let blockers = field(line, "blockers").unwrap_or_default();
            let path = field(line, "path").map(decode);
            let object = path.clone().or_else(|| field(line, "ocomm").map(decode)).unwrap_or_default();
            let (allow, advice) = advice(blockers, path.as_deref());
            Refused {
                pid: init,
                layer: "landlock",
                operation: blockers.to_string(),
                object,
                rule: "the rules made from the container's mounts".to_string(),
                errno: if blockers.starts_with("scope") { "EPERM" } else { "EACCES" },
                allow,
                advice,
            }
        })
        .collect()
}

/// The kernel writes a path with odd bytes in hexadecimal digits.
fn decode(value: &str) -> String {
    let hex =
        value.len().is_multiple_of(2) && !value.is_empty() && value.bytes().all(|b| b.is_ascii_hexdigit());
    if !hex || value.starts_with('/') {
        return value.to_string();
    }
    let bytes: Vec<u8> = (0..value.len() / 2)
        .filter_map(|n| value.get(2 * n..2 * n + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok()))
        .collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What would allow a refused access, and what that costs.
fn advice(blockers: &str, path: Option<&str>) -> (Option<String>, &'static str) {
    let above = path
        .and_then(|p| p.rsplit_once('/'))
        .map_or("/", |(above, _)| if above.is_empty() { "/" } else { above });
    let reads = |right: &str| matches!(right, "fs.read_file" | "fs.read_dir" | "fs.execute");
    if blockers.starts_with("fs.") && blockers.split(',').all(reads) {
        (Some(format!("--ro SRC:{above}")), "the program can read what lies there")
    } else if blockers.starts_with("fs.") {
        (Some(format!("--rw SRC:{above}")), "the program can write what lies there")
    } else {
        (None, "processes and sockets outside stay out of reach")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Linux 6.18 and auditd 3.0 write them.
    const RECORDS: &str = r#"type=LANDLOCK_ACCESS msg=audit(1795489330.101:30): domain=19e7b1f3c blockers=fs.make_reg path="/data" dev="vda" ino=1234
type=LANDLOCK_DOMAIN msg=audit(1795489330.101:30): domain=19e7b1f3c status=allocated mode=enforcing pid=4711 uid=0 exe="/bin/donjon" comm="donjon"
type=SYSCALL msg=audit(1795489330.101:30): arch=c000003e syscall=257 success=no exit=-13 pid=4711 comm="touch"
type=UNKNOWN[1423] msg=audit(1795489331.000:31): domain=19e7b1f3c blockers=fs.write_file,fs.truncate path=2F612062 dev="vda" ino=5
type=LANDLOCK_ACCESS msg=audit(1795489331.000:32): domain=19e7b1f3c blockers=scope.signal opid=1 ocomm="systemd"
type=LANDLOCK_DOMAIN msg=audit(1795489332.000:33): domain=20aaaaaaa status=allocated mode=enforcing pid=99 uid=1000 exe="/x" comm="x"
type=LANDLOCK_ACCESS msg=audit(1795489332.000:33): domain=20aaaaaaa blockers=fs.read_file path="/etc/other" dev="vda" ino=9
"#;

    #[test]
    fn the_refusals_of_the_containers_own_domain_are_told_and_no_others() {
        let found = refusals(RECORDS, 4711);
        let told: Vec<(&str, &str, Option<&str>)> =
            found.iter().map(|r| (r.operation.as_str(), r.object.as_str(), r.allow.as_deref())).collect();
        assert_eq!(
            told,
            [
                ("fs.make_reg", "/data", Some("--rw SRC:/")),
                ("fs.write_file,fs.truncate", "/a b", Some("--rw SRC:/")),
                ("scope.signal", "systemd", None),
            ]
        );
        assert!(refusals(RECORDS, 1).is_empty());
    }

    #[test]
    fn torn_and_foreign_lines_do_no_harm() {
        for cut in 0..RECORDS.len() {
            if let Some(part) = RECORDS.get(..cut) {
                refusals(part, 4711);
            }
        }
        assert!(
            refusals("type=LANDLOCK_DOMAIN domain= status=allocated pid=4711\n\0\u{fffd}type=", 4711)
                .is_empty()
        );
        assert_eq!(field("xpid=1 pid=2", "pid"), Some("2"));
    }
}
