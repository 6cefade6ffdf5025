//! The change as a unified diff, which `patch` reads.
//!
//! The changes of this command are lines that come in and lines that are replaced one by one. What is found here is right
//! for every two texts, and the shortest for such.

use std::fmt::Write;

/// Lines shown around a change.
const AROUND: usize = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line<'a> {
    Same(&'a str),
    Gone(&'a str),
    Come(&'a str),
}

impl Line<'_> {
    fn in_old(&self) -> bool {
        !matches!(self, Self::Come(_))
    }

    fn in_new(&self) -> bool {
        !matches!(self, Self::Gone(_))
    }
}

/// Every line of both texts, in order.
fn lines<'a>(old: &'a str, new: &'a str) -> Vec<Line<'a>> {
    let old: Vec<&str> = old.split_inclusive('\n').collect();
    let new: Vec<&str> = new.split_inclusive('\n').collect();
    let (mut i, mut j) = (0, 0);
    let mut out = Vec::new();
    while let (Some(gone), Some(come)) = (old.get(i), new.get(j)) {
        if gone == come {
            out.push(Line::Same(gone));
            (i, j) = (i + 1, j + 1);
        } else if let Some(n) = new.iter().skip(j).position(|line| line == gone) {
            out.extend(new.iter().skip(j).take(n).map(|line| Line::Come(line)));
            j += n;
        } else {
            out.extend([Line::Gone(gone), Line::Come(come)]);
            (i, j) = (i + 1, j + 1);
        }
    }
    out.extend(old.iter().skip(i).map(|line| Line::Gone(line)));
    out.extend(new.iter().skip(j).map(|line| Line::Come(line)));
    out
}

/// A unified diff; `None` in the place of the old text means that there was no file.
pub fn unified(name: &str, old: Option<&str>, new: &str) -> String {
    let lines = lines(old.unwrap_or_default(), new);
    let mut out = format!("--- {}\n+++ {name}\n", if old.is_some() { name } else { "/dev/null" });
    let changed: Vec<usize> = (0..lines.len()).filter(|n| !matches!(lines[*n], Line::Same(_))).collect();
    let mut rest = changed.as_slice();
    while let Some(first) = rest.first() {
        // Changes that are near each other are shown together.
        let near = rest.windows(2).take_while(|pair| pair[1] - pair[0] <= 2 * AROUND + 1).count();
        let start = first.saturating_sub(AROUND);
        let end = (rest[near] + AROUND + 1).min(lines.len());
        rest = &rest[near + 1..];
        let side = |there: fn(&Line) -> bool| {
            let count = |lines: &[Line]| lines.iter().filter(|line| there(line)).count();
            let (before, here) = (count(&lines[..start]), count(&lines[start..end]));
            // An empty side is said to begin at the line before it.
            format!("{},{here}", if here == 0 { before } else { before + 1 })
        };
        let _ = writeln!(out, "@@ -{} +{} @@", side(|line| line.in_old()), side(|line| line.in_new()));
        for line in &lines[start..end] {
            let (mark, text) = match line {
                Line::Same(text) => (' ', text),
                Line::Gone(text) => ('-', text),
                Line::Come(text) => ('+', text),
            };
            out.push(mark);
            out.push_str(text);
            if !text.ends_with('\n') {
                out.push_str("\n\\ No newline at end of file\n");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn added_and_replaced_lines_are_shown_with_what_is_around_them() {
        let old: String = (1..=20).map(|n| format!("{n}\n")).collect();
        let new = old.replace("2\n3\n", "2\nthree\n").replace("19\n", "19\nmore\n");
        let expected = "--- f\n+++ f\n@@ -1,6 +1,6 @@\n 1\n 2\n-3\n+three\n 4\n 5\n 6\n@@ -17,4 +17,5 @@\n 17\n 18\n 19\n+more\n 20\n";
        assert_eq!(unified("f", Some(&old), &new), expected);
        assert_eq!(unified("f", None, "a\n"), "--- /dev/null\n+++ f\n@@ -0,0 +1,1 @@\n+a\n");
        assert_eq!(
            unified("f", Some("a"), "a\nb\n"),
            "--- f\n+++ f\n@@ -1,1 +1,2 @@\n-a\n\\ No newline at end of file\n+a\n+b\n"
        );
    }

    #[test]
    fn whatever_the_texts_are_both_can_be_read_from_it() {
        let texts = ["", "\n", "a\n", "a\n\nb\n\nc", "b\n\n\na\nc\n", "c\nb\na\n", "\n\n\n"];
        for (old, new) in texts.iter().flat_map(|old| texts.map(|new| (*old, new))) {
            let lines = lines(old, new);
            let side = |there: fn(&Line) -> bool| -> String {
                let text = |line: &Line| match *line {
                    Line::Same(text) | Line::Gone(text) | Line::Come(text) => text.to_string(),
                };
                lines.iter().filter(|line| there(line)).map(text).collect()
            };
            assert_eq!(side(|line| line.in_old()), old, "{old:?} {new:?}");
            assert_eq!(side(|line| line.in_new()), new, "{old:?} {new:?}");
        }
    }
}
