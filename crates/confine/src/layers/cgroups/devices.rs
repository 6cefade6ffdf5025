//! The list of allowed devices (`linux.resources.devices`).
//!
//! **Stops**: a container with `CAP_MKNOD`, or a bind-mounted or forgotten device node, from reaching a device that
//! nobody allowed: the host's disks, memory, terminals.
//!
//! Rules apply in their order, and what none of them allows is denied. For each kind of access (mknod, read, write)
//! the last rule that speaks of it decides. Version 2 has a program for that ([`super::device_program`]); version 1
//! has a default and a list of exceptions to it, which can express less: see [`Exceptions`].

use std::collections::BTreeMap;

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};

use crate::error::SpecError;
use crate::plan::Layer;

/// The two kinds of devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Kind {
    Block,
    Char,
}

impl Kind {
    fn letter(self) -> char {
        match self {
            Kind::Block => 'b',
            Kind::Char => 'c',
        }
    }
}

/// Kinds of access, as the kernel numbers them (`BPF_DEVCG_ACC_*`).
pub(super) mod access {
    pub const MKNOD: u8 = 1;
    pub const READ: u8 = 2;
    pub const WRITE: u8 = 4;
    pub const ALL: u8 = MKNOD | READ | WRITE;
}

/// One rule. `None` stands for every kind or number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Rule {
    pub allow: bool,
    pub kind: Option<Kind>,
    pub major: Option<u32>,
    pub minor: Option<u32>,
    pub access: u8,
}

impl Rule {
    const fn allow(kind: Kind, major: Option<u32>, minor: Option<u32>, access: u8) -> Self {
        Self { allow: true, kind: Some(kind), major, minor, access }
    }

    /// Whether this speaks of everything.
    fn is_all(self) -> bool {
        self.kind.is_none() && self.major.is_none() && self.minor.is_none() && self.access == access::ALL
    }
}

/// What every container may use, after the rules of its specification: the devices that the specification demands in
/// each container, pseudo-terminals, and making a node of anything, which alone gives access to nothing.
pub(super) const DEFAULT: [Rule; 10] = [
    Rule::allow(Kind::Char, None, None, access::MKNOD),
    Rule::allow(Kind::Block, None, None, access::MKNOD),
    Rule::allow(Kind::Char, Some(1), Some(3), access::ALL), // null
    Rule::allow(Kind::Char, Some(1), Some(5), access::ALL), // zero
    Rule::allow(Kind::Char, Some(1), Some(7), access::ALL), // full
    Rule::allow(Kind::Char, Some(1), Some(8), access::ALL), // random
    Rule::allow(Kind::Char, Some(1), Some(9), access::ALL), // urandom
    Rule::allow(Kind::Char, Some(5), Some(0), access::ALL), // tty
    Rule::allow(Kind::Char, Some(5), Some(2), access::ALL), // ptmx
    Rule::allow(Kind::Char, Some(136), None, access::ALL),  // pts
];

/// The kernel's device numbers: 12 bits and 20 bits.
const MAJOR: i64 = (1 << 12) - 1;
const MINOR: i64 = (1 << 20) - 1;

/// Reads the rules of a specification; the defaults come after them.
pub(super) fn rules(spec: &[LinuxDeviceCgroup]) -> Result<Vec<Rule>, SpecError> {
    let mut rules = spec.iter().enumerate().map(|(i, rule)| read(i, rule)).collect::<Result<Vec<_>, _>>()?;
    rules.extend(DEFAULT);
    Ok(rules)
}

fn read(index: usize, rule: &LinuxDeviceCgroup) -> Result<Rule, SpecError> {
    let refuse = |field: &str, what: String| {
        SpecError::new(Layer::Cgroups, format!("linux.resources.devices[{index}].{field}"), what)
    };
    let kind = match rule.typ() {
        None | Some(LinuxDeviceType::A) => None,
        Some(LinuxDeviceType::B) => Some(Kind::Block),
        Some(LinuxDeviceType::C) => Some(Kind::Char),
        Some(other) => return Err(refuse("type", format!("is {}, not a, b or c", other.as_str()))),
    };
    let number = |field: &str, value: Option<i64>, most: i64| match value {
        None | Some(-1) => Ok(None),
        Some(n) if (0..=most).contains(&n) => Ok(u32::try_from(n).ok()),
        Some(n) => Err(refuse(field, format!("is {n}, and device numbers are between 0 and {most}"))),
    };
    let letters = rule.access().as_deref().unwrap_or_default();
    let mut bits = 0;
    for letter in letters.chars() {
        bits |= match letter {
            'm' => access::MKNOD,
            'r' => access::READ,
            'w' => access::WRITE,
            _ => return Err(refuse("access", format!("is {letters:?}, not made of r, w and m"))),
        };
    }
    if bits == 0 {
        return Err(refuse("access", "is empty: name some of r, w and m".into()));
    }
    Ok(Rule {
        allow: rule.allow(),
        kind,
        major: number("major", rule.major(), MAJOR)?,
        minor: number("minor", rule.minor(), MINOR)?,
        access: bits,
    })
}

/// Devices of one kind, as one line of `devices.list` names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Devices {
    kind: Kind,
    major: Option<u32>,
    minor: Option<u32>,
}

impl Devices {
    /// Whether all of `other` is among these.
    fn cover(self, other: Devices) -> bool {
        let one = |a: Option<u32>, b: Option<u32>| a.is_none() || a == b;
        self.kind == other.kind && one(self.major, other.major) && one(self.minor, other.minor)
    }

    /// Whether any device is among both.
    fn meet(self, other: Devices) -> bool {
        let one = |a: Option<u32>, b: Option<u32>| a.is_none() || b.is_none() || a == b;
        self.kind == other.kind && one(self.major, other.major) && one(self.minor, other.minor)
    }

    /// A line for `devices.allow` or `devices.deny`.
    fn line(self, bits: u8) -> String {
        let number = |n: Option<u32>| n.map_or("*".to_string(), |n| n.to_string());
        format!("{} {}:{} {}", self.kind.letter(), number(self.major), number(self.minor), letters(bits))
    }
}

fn letters(bits: u8) -> String {
    let all = [(access::READ, 'r'), (access::WRITE, 'w'), (access::MKNOD, 'm')];
    all.into_iter().filter(|(bit, _)| bits & bit != 0).map(|(_, letter)| letter).collect()
}

impl Devices {
    /// As systemd names them: a path, a major number, or all of a kind. It has no word for one minor number of all major
    /// ones.
    pub(super) fn for_systemd(self, bits: u8) -> Option<(String, String)> {
        let kind = if self.kind == Kind::Block { "block" } else { "char" };
        let name = match (self.major, self.minor) {
            (Some(major), Some(minor)) => format!("/dev/{kind}/{major}:{minor}"),
            (Some(major), None) => format!("{kind}-{major}"),
            (None, None) => format!("{kind}-*"),
            (None, Some(_)) => return None,
        };
        Some((name, letters(bits)))
    }
}

/// What version 1 can hold: a default, and devices that are an exception to it
/// (`Documentation/admin-guide/cgroup-v1/devices.rst`).
///
/// An exception has no exceptions of its own. So "all of major 1, but not 1:3" can't be written, and such a list of
/// rules is refused instead of being applied in part.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Exceptions {
    /// Everything is allowed but the exceptions; otherwise nothing but them.
    pub allow: bool,
    /// The exceptions and their access.
    pub list: BTreeMap<Devices, u8>,
}

impl Exceptions {
    /// What a list of rules comes to, or the index of the first that can't be expressed.
    pub(super) fn of(rules: &[Rule]) -> Result<Self, usize> {
        let mut exceptions = Exceptions::default();
        for (index, rule) in rules.iter().enumerate() {
            exceptions.apply(*rule).map_err(|()| index)?;
        }
        Ok(exceptions)
    }

    fn apply(&mut self, rule: Rule) -> Result<(), ()> {
        if rule.is_all() {
            *self = Exceptions { allow: rule.allow, list: BTreeMap::new() };
            return Ok(());
        }
        let kinds = rule.kind.map_or(vec![Kind::Block, Kind::Char], |kind| vec![kind]);
        for kind in kinds {
            let devices = Devices { kind, major: rule.major, minor: rule.minor };
            if rule.allow != self.allow {
                *self.list.entry(devices).or_default() |= rule.access;
                continue;
            }
            // Back to the default: exceptions that lie within go, and none may reach out of it.
            for (exception, bits) in &mut self.list {
                if devices.cover(*exception) {
                    *bits &= !rule.access;
                } else if devices.meet(*exception) && *bits & rule.access != 0 {
                    return Err(());
                }
            }
            self.list.retain(|_, bits| *bits != 0);
        }
        Ok(())
    }

    /// Reads `devices.list`. Where everything is allowed by default the kernel does not tell the exceptions.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut exceptions = Exceptions::default();
        for line in text.lines() {
            let mut words = line.split([' ', ':']);
            let (kind, major, minor, letters) = (words.next()?, words.next()?, words.next()?, words.next()?);
            let kind = match kind {
                "a" => {
                    exceptions.allow = true;
                    continue;
                }
                "b" => Kind::Block,
                "c" => Kind::Char,
                _ => return None,
            };
            let number = |text: &str| match text {
                "*" => Some(None),
                text => text.parse().ok().map(Some),
            };
            let mut bits = 0;
            for letter in letters.chars() {
                bits |= match letter {
                    'm' => access::MKNOD,
                    'r' => access::READ,
                    'w' => access::WRITE,
                    _ => return None,
                };
            }
            *exceptions
                .list
                .entry(Devices { kind, major: number(major)?, minor: number(minor)? })
                .or_default() |= bits;
        }
        Some(exceptions)
    }

    /// What to write to come from `self`, as the kernel tells it, to `wanted`: file and line, in their order. What is
    /// newly allowed comes before what is not allowed any more, so a running container loses nothing in between.
    pub(super) fn way_to(&self, wanted: &Exceptions) -> Vec<(&'static str, String)> {
        let mut writes = Vec::new();
        let fresh = self.allow || wanted.allow;
        if wanted.allow != self.allow {
            writes.push((if wanted.allow { "devices.allow" } else { "devices.deny" }, "a".to_string()));
        }
        let file = if wanted.allow { "devices.deny" } else { "devices.allow" };
        let had = |devices: &Devices| if fresh { 0 } else { self.list.get(devices).copied().unwrap_or(0) };
        for (devices, bits) in &wanted.list {
            if *bits & !had(devices) != 0 {
                writes.push((file, devices.line(*bits)));
            }
        }
        if !fresh {
            for (devices, bits) in &self.list {
                let gone = bits & !wanted.list.get(devices).copied().unwrap_or(0);
                if gone != 0 {
                    writes.push(("devices.deny", devices.line(gone)));
                }
            }
        }
        writes
    }

    /// Whether these are told to be in force by the kernel.
    pub(super) fn are(&self, told: &Exceptions) -> bool {
        self.allow == told.allow && (self.allow || self.list == told.list)
    }
}

/// What a list of rules says about one access: the reference that both versions are tested against.
#[cfg(test)]
pub(super) fn permits(rules: &[Rule], kind: Kind, major: u32, minor: u32, wanted: u8) -> bool {
    [access::MKNOD, access::READ, access::WRITE].into_iter().filter(|bit| wanted & bit != 0).all(|bit| {
        rules
            .iter()
            .rev()
            .find(|r| {
                r.kind.is_none_or(|k| k == kind)
                    && r.major.is_none_or(|n| n == major)
                    && r.minor.is_none_or(|n| n == minor)
                    && r.access & bit != 0
            })
            .is_some_and(|r| r.allow)
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Lists of rules, made from a simple generator: always the same ones.
    pub fn lists(count: usize) -> Vec<Vec<Rule>> {
        let mut seed = 0x9e37_79b9_7f4a_7c15u64;
        let mut next = move |below: u64| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed % below
        };
        let number = move |next: &mut dyn FnMut(u64) -> u64| match next(3) {
            0 => None,
            n => Some(n as u32 + 4),
        };
        (0..count)
            .map(|_| {
                (0..next(7))
                    .map(|_| Rule {
                        allow: next(2) == 0,
                        kind: [None, Some(Kind::Block), Some(Kind::Char)][next(3) as usize],
                        major: number(&mut next),
                        minor: number(&mut next),
                        access: next(7) as u8 + 1,
                    })
                    .collect()
            })
            .collect()
    }

    /// Every access that the lists can tell apart.
    pub fn accesses() -> Vec<(Kind, u32, u32, u8)> {
        let mut all = Vec::new();
        for kind in [Kind::Block, Kind::Char] {
            for major in 4..8 {
                for minor in 4..8 {
                    all.extend((1..8).map(|bits| (kind, major, minor, bits)));
                }
            }
        }
        all
    }

    #[test]
    fn version_1_says_the_same_as_the_rules_where_it_can_say_it() {
        let mut expressed = 0;
        for rules in lists(4000) {
            let Ok(exceptions) = Exceptions::of(&rules) else { continue };
            expressed += 1;
            for (kind, major, minor, wanted) in accesses() {
                let devices = Devices { kind, major: Some(major), minor: Some(minor) };
                let excepted = exceptions
                    .list
                    .iter()
                    .filter(|(e, _)| e.cover(devices))
                    .fold(0, |bits, (_, more)| bits | more);
                let permitted =
                    if exceptions.allow { excepted & wanted == 0 } else { excepted & wanted == wanted };
                assert_eq!(
                    permitted,
                    permits(&rules, kind, major, minor, wanted),
                    "{rules:?} {kind:?} {major}:{minor} {wanted}"
                );
            }
        }
        assert!(expressed > 1000, "{expressed}");
    }

    #[test]
    fn an_exception_of_an_exception_is_no_list_of_version_1() {
        let all = Rule::allow(Kind::Char, Some(1), None, access::ALL);
        let one = Rule { allow: false, ..Rule::allow(Kind::Char, Some(1), Some(3), access::ALL) };
        assert_eq!(Exceptions::of(&[all, one]), Err(1));
        assert!(Exceptions::of(&[one, all]).is_ok());
    }

    #[test]
    fn a_change_allows_before_it_denies() {
        let from = Exceptions::parse("c 1:3 rwm\nb 8:* r\n").unwrap();
        let to = Exceptions::parse("c 1:3 rw\nc 5:0 rw\n").unwrap();
        assert_eq!(
            from.way_to(&to),
            [
                ("devices.allow", "c 5:0 rw".to_string()),
                ("devices.deny", "b 8:* r".to_string()),
                ("devices.deny", "c 1:3 m".to_string())
            ]
        );
        let everything = Exceptions::parse("a *:* rwm\n").unwrap();
        assert!(everything.allow);
        assert_eq!(everything.way_to(&to)[0], ("devices.deny", "a".to_string()));
        assert_eq!(Exceptions::parse("d 1:1 rwm"), None);
    }

    #[test]
    fn bad_rules_are_named_with_their_path() {
        let rule = |json: &str| -> String {
            let spec: Vec<LinuxDeviceCgroup> = serde_json::from_str(&format!("[{json}]")).unwrap();
            rules(&spec).unwrap_err().field
        };
        let at = "linux.resources.devices[0].";
        assert_eq!(rule(r#"{"allow": true, "access": ""}"#), format!("{at}access"));
        assert_eq!(rule(r#"{"allow": true}"#), format!("{at}access"));
        assert_eq!(rule(r#"{"allow": true, "access": "rx"}"#), format!("{at}access"));
        assert_eq!(rule(r#"{"allow": true, "type": "p", "access": "r"}"#), format!("{at}type"));
        assert_eq!(rule(r#"{"allow": true, "type": "c", "major": -2, "access": "r"}"#), format!("{at}major"));
        assert_eq!(
            rule(r#"{"allow": true, "type": "c", "minor": 1048576, "access": "r"}"#),
            format!("{at}minor")
        );
    }
}
