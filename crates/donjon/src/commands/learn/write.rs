//! A draft as the text of a policy, and such a text as a draft again.

use std::fmt::Write;

use donjon_policy::quoted;
use donjon_policy::{Policy, PolicyError};
use donjon_runtime::events::printable;
use donjon_runtime::learn::Report;

use super::draft::{Draft, Lines};

/// What a container's first process that is root inside has unless its policy says otherwise.
const BY_DEFAULT: [&str; 8] =
    ["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "SETUID", "SETGID", "KILL", "NET_BIND_SERVICE"];

/// The beginning of a line that tells of a run.
const RUN: &str = "#   donjon run ";

/// The text of a policy. `runs` are the command lines that it was learnt from.
pub fn to_toml(draft: &Draft, report: &Report, runs: &[String]) -> String {
    let mut out = String::new();
    out.push_str("# Learnt by donjon learn from what happened in:\n");
    for run in runs {
        let _ = writeln!(out, "{RUN}{}", comment(run));
    }
    out.push_str(
        "# Behind each line is the program and the call that needed it first. What did not happen in these runs is not\n\
         # here. Read it, cut what is too wide, and take the next line out.\n\
         incomplete = true\n\n[filesystem]\n",
    );
    list(&mut out, "read", &draft.read);
    list(&mut out, "write", &draft.write);
    list(&mut out, "execute", &draft.execute);
    for remark in &draft.remarks {
        let _ = writeln!(out, "# {}", comment(remark));
    }
    out.push_str("\n[syscalls]\n# Those without a reason are made by nearly every program, carry no right, and were not watched.\n");
    list(&mut out, "base", &draft.syscalls);
    out.push_str("\n[sockets]\n");
    list(&mut out, "families", &draft.families);
    out.push_str("\n[capabilities]\n");
    let (root, more): (Lines, Lines) =
        draft.capabilities.clone().into_iter().partition(|(name, _)| BY_DEFAULT.contains(&name.as_str()));
    list(&mut out, "root", &root);
    if !more.is_empty() {
        list(&mut out, "add", &more);
    }
    let _ = writeln!(out, "\n[resources]\npids = {} # at least twice what was seen at once", draft.pids);
    let _ = writeln!(
        out,
        "# {} MiB were in use at once, shared memory counted by process. A named limit needs a cgroup to be made.\n\
         # memory = \"{}m\"",
        report.memory.div_ceil(1 << 20),
        draft.memory
    );
    if !report.connected.is_empty() || !report.bound.is_empty() {
        out.push_str("\n# Addresses, for the day when a policy can let them through:\n");
        for (what, addresses) in [("connected to", &report.connected), ("bound", &report.bound)] {
            for (address, first) in addresses {
                let _ = writeln!(out, "#   {what} {} ({})", comment(address), comment(&first.program));
            }
        }
    }
    if !report.refused.is_empty() {
        out.push_str(
            "\n# Refused during the run, as the container's own policy refuses it; the program wanted it. Not allowed here.\n",
        );
        for refused in &report.refused {
            let allow = refused.allow.as_deref().unwrap_or("nothing allows it");
            let _ = writeln!(
                out,
                "#   {} x {} ({}): {}",
                refused.count,
                comment(&refused.object),
                comment(&refused.program),
                comment(allow)
            );
        }
    }
    if report.lost > 0 {
        let _ = writeln!(
            out,
            "\n# {} things more were seen than the lists hold: this policy lacks them.",
            report.lost
        );
    }
    out
}

/// A text of the container's as one line of a comment.
fn comment(text: &str) -> String {
    let shown = printable(text);
    match shown.char_indices().nth(300) {
        Some((at, _)) => format!("{}...", shown.get(..at).unwrap_or_default()),
        None => shown,
    }
}

fn list(out: &mut String, key: &str, lines: &Lines) {
    if lines.is_empty() {
        let _ = writeln!(out, "{key} = []");
        return;
    }
    let _ = writeln!(out, "{key} = [");
    // Those without a reason together, as many as a line takes.
    let mut row = String::new();
    for word in lines.iter().filter(|(_, why)| why.is_empty()).map(|(word, _)| quoted(word)) {
        if row.len() + word.len() > 100 {
            let _ = writeln!(out, "   {row}");
            row.clear();
        }
        let _ = write!(row, " {word},");
    }
    if !row.is_empty() {
        let _ = writeln!(out, "   {row}");
    }
    for (word, why) in lines.iter().filter(|(_, why)| !why.is_empty()) {
        let _ = writeln!(out, "    {}, # {}", quoted(word), comment(why));
    }
    out.push_str("]\n");
}

/// What an earlier run left in a file: its draft, and the runs that it was learnt from. A file that says more than
/// `learn` writes is refused: writing it anew would lose that.
pub fn from_toml(text: &str, name: &str) -> Result<(Draft, Vec<String>), PolicyError> {
    let policy = Policy::from_toml(text, name)?;
    let mut rest = policy.clone();
    rest.incomplete = false;
    (rest.filesystem.read, rest.filesystem.write, rest.filesystem.execute) = (None, None, None);
    (rest.syscalls.base, rest.sockets.families, rest.capabilities.root) = (None, None, None);
    rest.capabilities.add.clear();
    (rest.resources.pids, rest.resources.memory, rest.resources.memory_swap) = (None, None, None);
    rest.resources.memory_named = false;
    if rest != Policy::default() {
        let what = "holds more than donjon learn writes, which would be lost";
        return Err(PolicyError::new(name, what)
            .hint("write to another file with -o, and put the two together with include = [...]"));
    }
    let lines = |words: Option<Vec<String>>| -> Lines {
        words.unwrap_or_default().into_iter().map(|word| (word.clone(), reason(text, &word))).collect()
    };
    let mut capabilities = lines(policy.capabilities.root);
    capabilities.extend(lines(Some(policy.capabilities.add)));
    let draft = Draft {
        read: lines(policy.filesystem.read),
        write: lines(policy.filesystem.write),
        execute: lines(policy.filesystem.execute),
        syscalls: lines(policy.syscalls.base),
        families: lines(policy.sockets.families),
        capabilities,
        pids: policy.resources.pids.and_then(|n| u64::try_from(n).ok()).unwrap_or(0),
        memory: 0,
        remarks: Vec::new(),
    };
    let runs = text.lines().filter_map(|line| line.strip_prefix(RUN)).map(str::to_string).collect();
    Ok((draft, runs))
}

/// Why a word is in an earlier file: what stands behind it.
fn reason(text: &str, word: &str) -> String {
    let begin = format!("    {}, # ", quoted(word));
    text.lines().find_map(|line| line.strip_prefix(&begin)).unwrap_or_default().to_string()
}

#[cfg(test)]
mod tests {
    use donjon_runtime::learn::report::{File, First, access};

    use super::*;

    fn report() -> Report {
        let first = First { program: "/usr/bin/evil\n[syscalls]\u{1b}".into(), call: "openat".into() };
        let file = |access| File { access, first: first.clone(), ..File::default() };
        let mut report = Report { tasks: 3, memory: 5 << 20, ..Report::default() };
        report.files.insert("/srv/a \"b\" \\c = # x".into(), file(access::READ | access::WRITE));
        report.files.insert("/usr/bin/x".into(), file(access::EXECUTE));
        report.calls.insert("openat".into(), first.clone());
        report.families.insert("unix".into(), first.clone());
        report.capabilities.insert("CHOWN".into(), first.clone());
        report.capabilities.insert("SYS_CHROOT".into(), first.clone());
        report.connected.insert("/run/x\n[evil]".into(), first);
        report
    }

    #[test]
    fn what_is_written_is_a_policy_that_says_what_was_seen_and_nothing_that_a_name_says() {
        let report = report();
        let draft = Draft::of(&report);
        let text = to_toml(&draft, &report, &["dir:/x -- a\n[syscalls]\nallow = ['ptrace']".to_string()]);
        let policy = Policy::from_toml(&text, "learnt").unwrap_or_else(|e| panic!("{e}\n{text}"));
        assert!(policy.incomplete, "{text}");
        assert_eq!(policy.filesystem.read.unwrap(), ["/srv/a \"b\" \\c = # x"]);
        assert!(
            policy.syscalls.allow.is_empty() && policy.syscalls.base.unwrap().contains(&"openat".to_string())
        );
        assert_eq!(policy.capabilities.root.unwrap(), ["CHOWN"]);
        assert_eq!(policy.capabilities.add, ["SYS_CHROOT"]);
        assert_eq!(policy.resources.pids, Some(16));
        assert!(!text.contains('\u{1b}'));
    }

    #[test]
    fn a_file_of_an_earlier_run_is_read_back_with_its_reasons() {
        let report = report();
        let draft = Draft::of(&report);
        let text = to_toml(&draft, &report, &["host -- a".to_string()]);
        let (earlier, runs) = from_toml(&text, "learnt").unwrap();
        assert_eq!(runs, ["host -- a"]);
        assert_eq!(earlier.execute["/usr/bin/x"], comment(&draft.execute["/usr/bin/x"]));
        assert_eq!(earlier.syscalls.keys().collect::<Vec<_>>(), draft.syscalls.keys().collect::<Vec<_>>());
        // What a person added would be lost.
        for more in ["[process]\nuser = \"www\"\n", "[[mounts]]\ntype = \"tmpfs\"\ntarget = \"/x\"\n"] {
            let error = from_toml(&format!("{text}\n{more}"), "learnt.toml").unwrap_err();
            assert!(error.to_string().contains("more than donjon learn writes"), "{error}");
        }
    }
}
