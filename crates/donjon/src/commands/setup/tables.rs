//! TOML files that keep their comments and their order.

use toml_edit::{DocumentMut, Item, Table, TableLike, Value};

use super::Refusal;

/// A document; an empty text is an empty one.
pub fn parse(text: &str) -> Result<DocumentMut, Refusal> {
    text.parse().map_err(|error: toml_edit::TomlError| {
        Refusal::new(format!("is no TOML: {}", error.to_string().trim_end().replace('\n', "\n  ")))
    })
}

/// The table at a path; none when it is missing.
pub fn get<'a>(document: &'a DocumentMut, path: &[&str]) -> Result<Option<&'a dyn TableLike>, Refusal> {
    let mut at: &dyn TableLike = document.as_table();
    for (depth, name) in path.iter().enumerate() {
        let Some(item) = at.get(name).filter(|item| !item.is_none()) else { return Ok(None) };
        at = item.as_table_like().ok_or_else(|| odd(path, depth, item, "a table"))?;
    }
    Ok(Some(at))
}

/// The table at a path, made when it is missing.
pub fn make<'a>(document: &'a mut DocumentMut, path: &[&str]) -> Result<&'a mut dyn TableLike, Refusal> {
    let mut at: &mut dyn TableLike = document.as_table_mut();
    for (depth, name) in path.iter().enumerate() {
        if !at.contains_key(name) {
            let mut table = Table::new();
            // Its header is written when it holds more than tables.
            table.set_implicit(true);
            // At the end: behind its parent it would come between that and the comments that belong to it.
            table.set_position(Some(isize::MAX));
            at.insert(name, Item::Table(table));
        }
        let item = at.get_mut(name).ok_or_else(|| Refusal::new(format!("{name} can't be added")))?;
        if !item.is_table_like() {
            return Err(odd(path, depth, item, "a table"));
        }
        at = item.as_table_like_mut().ok_or_else(|| Refusal::new(format!("{name} is no table")))?;
    }
    Ok(at)
}

/// The value of a key as `read` has it, which is `kind`; none when the table or the key is missing.
pub fn value<'a, T>(
    document: &'a DocumentMut,
    path: &[&str],
    kind: &str,
    read: impl Fn(&'a Item) -> Option<T>,
) -> Result<Option<T>, Refusal> {
    let Some((name, tables)) = path.split_last() else { return Ok(None) };
    let item = get(document, tables)?.and_then(|table| table.get(name)).filter(|item| !item.is_none());
    item.map(|item| read(item).ok_or_else(|| odd(path, tables.len(), item, kind))).transpose()
}

/// The text of a key.
pub fn text<'a>(document: &'a DocumentMut, path: &[&str]) -> Result<Option<&'a str>, Refusal> {
    value(document, path, "a string", Item::as_str)
}

/// Sets a key; where it is there already, its indentation and the comment behind it stay.
pub fn set(table: &mut dyn TableLike, key: &str, value: impl Into<Value>) {
    let mut value = value.into();
    match table.get_mut(key) {
        Some(item) => {
            if let Some(old) = item.as_value() {
                *value.decor_mut() = old.decor().clone();
            }
            *item = Item::Value(value);
        }
        None => {
            table.insert(key, Item::Value(value));
        }
    }
}

/// The text of a changed document.
///
/// The comments at the end of a file belong to its last table; toml_edit would put new tables before them.
pub fn write(document: &DocumentMut, old: &str) -> String {
    let new = document.to_string();
    let end = document.trailing().as_str().unwrap_or_default();
    let (Some(body), Some(before)) = (new.strip_suffix(end), old.strip_suffix(end)) else { return new };
    if end.trim().is_empty() {
        return new;
    }
    let at = match before.trim_end().lines().last() {
        None => Some(0),
        Some(last) => {
            let which = before.matches(last).count().saturating_sub(1);
            let found = body.match_indices(last).nth(which).map(|(at, _)| at + last.len());
            found.and_then(|at| Some(at + body.get(at..)?.find('\n')? + 1))
        }
    };
    let Some((kept, added)) = at.and_then(|at| body.split_at_checked(at)) else { return new };
    let line_end = if end.ends_with('\n') { "" } else { "\n" };
    format!("{kept}{end}{line_end}{added}")
}

/// A path as the file would write it.
pub fn field(path: &[&str]) -> String {
    let quoted = |name: &&str| if name.contains('.') { format!("{name:?}") } else { (*name).to_string() };
    path.iter().map(quoted).collect::<Vec<_>>().join(".")
}

fn odd(path: &[&str], depth: usize, item: &Item, kind: &str) -> Refusal {
    let path = path.get(..=depth).unwrap_or(path);
    Refusal::new(format!("{} is not {kind} but of type {}", field(path), item.type_name()))
}
