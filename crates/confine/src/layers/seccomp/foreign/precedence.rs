//! What several rules about one system call mean together: as libseccomp decides it, since that is what profiles were
//! written for and tried with.
//!
//! - The first rule without conditions is the last word. It takes the place of all rules with conditions before it,
//!   and those after it are not looked at.
//! - Rules with conditions are not tried in the order of the profile, but in one of their own: that of the higher
//!   argument first, then equality before less before greater, then the nearer bound.
//! - A rule whose conditions are the beginning of another's decides for both.
//! - Two rules with the same conditions and different actions contradict each other.

use oci_spec::runtime::LinuxSeccompOperator as Operator;

use crate::layers::seccomp::compile::{Condition, Decision};

/// One rule, as far as it is about one call.
#[derive(Debug, Clone)]
pub(super) struct Rule<'a> {
    /// Its place in the profile.
    pub place: usize,
    /// What the filter returns.
    pub value: u32,
    /// All must hold. By argument, none twice.
    pub conditions: &'a [Condition],
}

/// Two places in the profile that contradict each other.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Contradiction(pub usize, pub usize);

/// A place in the profile that says nothing, because another says it first.
pub(super) type Idle = (usize, usize);

struct Node {
    condition: Condition,
    /// What happens when it holds and nothing more is asked.
    action: Option<(u32, usize)>,
    /// What else is asked.
    below: Vec<Node>,
}

/// Decides between the rules about one call, in the order of the profile. `default` is for calls that none matches.
pub(super) fn decide<'a>(
    rules: impl Iterator<Item = Rule<'a>>,
    default: u32,
    idle: &mut Vec<Idle>,
) -> Result<Decision, Contradiction> {
    let mut tree: Vec<Node> = Vec::new();
    let mut always: Option<(u32, usize)> = None;
    for rule in rules.filter(|rule| rule.value != default) {
        match always {
            Some((value, place)) if value != rule.value => idle.push((rule.place, place)),
            Some(_) => {}
            None if rule.conditions.is_empty() => {
                for (value, place) in tree.drain(..).flat_map(actions) {
                    if value != rule.value {
                        idle.push((place, rule.place));
                    }
                }
                always = Some((rule.value, rule.place));
            }
            None => insert(&mut tree, rule.conditions, (rule.value, rule.place), idle)?,
        }
    }
    Ok(match always {
        Some((value, _)) => Decision::Always(value),
        None if tree.is_empty() => Decision::Always(default),
        None => {
            let mut cases = Vec::with_capacity(tree.len());
            flatten(tree, &mut Vec::new(), &mut cases);
            Decision::Depends(cases, default)
        }
    })
}

fn insert(
    level: &mut Vec<Node>,
    conditions: &[Condition],
    action: (u32, usize),
    idle: &mut Vec<Idle>,
) -> Result<(), Contradiction> {
    let Some((condition, rest)) = conditions.split_first() else { return Ok(()) };
    let mut place = level.len();
    let mut among_kin = false;
    for (i, there) in level.iter_mut().enumerate() {
        if there.condition == *condition {
            return meet(there, rest, action, idle);
        }
        let kin = kin(&there.condition, condition);
        if among_kin && !kin || comes_after(&there.condition, condition, kin) {
            place = i;
            break;
        }
        among_kin = kin;
    }
    let mut node = Node { condition: *condition, action: None, below: Vec::new() };
    if rest.is_empty() {
        node.action = Some(action);
    } else {
        insert(&mut node.below, rest, action, idle)?;
    }
    level.insert(place, node);
    Ok(())
}

/// A rule meets a condition of its own that is there already.
fn meet(
    there: &mut Node,
    rest: &[Condition],
    action: (u32, usize),
    idle: &mut Vec<Idle>,
) -> Result<(), Contradiction> {
    match there.action {
        Some((value, _)) if value == action.0 => Ok(()),
        Some((_, place)) if rest.is_empty() => Err(Contradiction(place, action.1)),
        Some((_, place)) => {
            idle.push((action.1, place));
            Ok(())
        }
        None if rest.is_empty() => {
            let below = std::mem::take(&mut there.below);
            if let Some((_, place)) =
                below.into_iter().flat_map(actions).find(|(value, _)| *value != action.0)
            {
                return Err(Contradiction(place, action.1));
            }
            there.action = Some(action);
            Ok(())
        }
        None => insert(&mut there.below, rest, action, idle),
    }
}

/// All that a node decides.
fn actions(node: Node) -> Vec<(u32, usize)> {
    node.action.into_iter().chain(node.below.into_iter().flat_map(actions)).collect()
}

fn flatten(level: Vec<Node>, path: &mut Vec<Condition>, cases: &mut Vec<(Vec<Condition>, u32)>) {
    for node in level {
        path.push(node.condition);
        match node.action {
            Some((value, _)) => cases.push((path.clone(), value)),
            None => flatten(node.below, path, cases),
        }
        path.pop();
    }
}

/// Whether two conditions look at the same argument and start with the same question about its high half: these stay
/// together in libseccomp's tree.
fn kin(a: &Condition, b: &Condition) -> bool {
    let masked = |c: &Condition| c.operator == Operator::ScmpCmpMaskedEq;
    let high = |c: &Condition| match masked(c) {
        true => (c.value >> 32, c.wanted >> 32),
        false => (c.value >> 32, 0),
    };
    !a.narrow
        && a.index == b.index
        && class(a.operator) == class(b.operator)
        && masked(a) == masked(b)
        && high(a) == high(b)
}

/// The number that a condition is ordered by.
fn bound(condition: &Condition) -> u64 {
    match condition.operator {
        Operator::ScmpCmpMaskedEq => condition.wanted,
        _ => condition.value,
    }
}

fn class(operator: Operator) -> u8 {
    match operator {
        Operator::ScmpCmpMaskedEq | Operator::ScmpCmpEq | Operator::ScmpCmpNe => 3,
        Operator::ScmpCmpLe | Operator::ScmpCmpLt => 2,
        Operator::ScmpCmpGe | Operator::ScmpCmpGt => 1,
    }
}

/// Whether `there` is tried after `new`. Among kin the low halves decide, otherwise the high ones.
fn comes_after(there: &Condition, new: &Condition, kin: bool) -> bool {
    let (a, b) = ((there.index, class(there.operator)), (new.index, class(new.operator)));
    if a != b {
        return a < b;
    }
    let part = |c: &Condition| if c.narrow || kin { bound(c) & 0xffff_ffff } else { bound(c) >> 32 };
    match there.operator {
        Operator::ScmpCmpLe | Operator::ScmpCmpLt => part(there) > part(new),
        _ => part(there) < part(new),
    }
}
