use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::PathBuf;

use rustix::fs::FlockOperation;

use super::chain::{Digest, Head};
use super::verify::{Status, Verdict, verify};
use super::*;
use crate::container::Container;
use crate::state::State;
use crate::store::Store;
use crate::store::tests::Scratch;

const CREATED: &str = "2026-01-02T03:04:05.678Z";

fn refused(operation: &str, object: &str) -> Refused {
    Refused {
        pid: 7,
        layer: "seccomp",
        operation: operation.into(),
        object: object.into(),
        rule: "@network".into(),
        errno: "EPERM",
        allow: Some("--security-opt seccomp=...".into()),
        advice: "",
    }
}

fn container() -> (Scratch, Container) {
    let scratch = Scratch::new();
    let store = Store::open_at(&scratch.0.join("donjon")).unwrap();
    let container = store.create(None).unwrap();
    let mut state = State::new(&container.id, "web");
    state.created = CREATED.into();
    container.write_state(&state).unwrap();
    (scratch, container)
}

#[test]
fn equal_refusals_are_one_record_with_a_count() {
    let (_scratch, container) = container();
    let mut recorder = Recorder::new(&container, CREATED.into()).unwrap();
    for _ in 0..1234 {
        recorder.record(refused("socket", "AF_NETLINK"), || "curl".into());
    }
    recorder.record(refused("mount", ""), || "curl".into());
    // What a killed warden leaves behind is the last power of ten.
    assert_eq!(read(&container).unwrap().iter().map(|e| e.count).collect::<Vec<_>>(), [1000, 1]);
    recorder.finish();
    let events = read(&container).unwrap();
    assert_eq!(events.iter().map(|e| e.count).collect::<Vec<_>>(), [1234, 1]);
    assert_eq!(events[0].container, container.id.as_str());
    assert_eq!(recorder.events().len(), 2);
}

#[test]
fn endless_variation_fills_neither_memory_nor_disk() {
    let (_scratch, container) = container();
    let mut recorder = Recorder::new(&container, CREATED.into()).unwrap();
    for n in 0..20_000 {
        recorder.record(refused("open", &format!("{n}{}", "x".repeat(4000))), || "curl".into());
    }
    recorder.finish();
    assert_eq!(recorder.events().len(), MAX_KINDS + 1);
    let size = std::fs::metadata(container.path().join("events.jsonl")).unwrap().len();
    assert!(size <= MAX_FILE, "{size}");
    let others = read(&container).unwrap().pop().unwrap();
    assert_eq!((others.operation.as_str(), others.count), ("(others)", 20_000 - MAX_KINDS as u64));
}

#[test]
fn counts_of_several_wardens_are_added_up() {
    let (_scratch, container) = container();
    let mut own = Recorder::new(&container, CREATED.into()).unwrap();
    let mut of_exec = Recorder::new(&container, CREATED.into()).unwrap();
    of_exec.warden += 1;
    for _ in 0..5 {
        own.record(refused("bpf", ""), || "curl".into());
        of_exec.record(refused("bpf", ""), || "curl".into());
    }
    own.finish();
    of_exec.finish();
    assert_eq!(read(&container).unwrap()[0].count, 10);
}

#[test]
fn a_cut_line_loses_itself_and_nothing_else() {
    let (_scratch, container) = container();
    let mut recorder = Recorder::new(&container, CREATED.into()).unwrap();
    recorder.record(refused("bpf", ""), || "curl".into());
    let path = container.path().join("events.jsonl");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes.splice(0..0, b"{\"time\":\"20\nnot json\n".iter().copied());
    std::fs::write(&path, bytes).unwrap();
    assert_eq!(read(&container).unwrap().len(), 1);
}

#[test]
fn nothing_refused_is_no_file_and_no_error() {
    let (_scratch, container) = container();
    Recorder::new(&container, CREATED.into()).unwrap().finish();
    assert!(read(&container).unwrap().is_empty());
    assert!(!container.path().join("events.jsonl").exists());
}

#[test]
fn a_containers_text_can_not_drive_the_terminal() {
    assert_eq!(printable("a\x1b[2Jb\u{202e}c\n"), "a\\u{1b}[2Jb\\u{202e}c\\n");
    assert_eq!(printable("naïve €"), "naïve €");
}

/// A log of `n` records, one of a writer of `exec` after each second one, and its file.
fn log(n: usize) -> (Scratch, Container, PathBuf) {
    let (scratch, container) = container();
    let mut own = Recorder::new(&container, CREATED.into()).unwrap();
    let mut of_exec = Recorder::new(&container, CREATED.into()).unwrap();
    of_exec.warden += 1;
    for k in 0..n {
        let recorder = if k % 3 == 2 { &mut of_exec } else { &mut own };
        recorder.record(refused("bpf", &k.to_string()), || "curl".into());
    }
    let path = container.path().join("events.jsonl");
    (scratch, container, path)
}

fn said(container: &Container) -> Verdict {
    verify(container, None).unwrap()
}

/// Closes the container's record with what a writer told.
fn close(container: &Container, closed: &Closed) {
    let mut state = container.state().unwrap();
    state.events = Some(closed.clone());
    container.write_state(&state).unwrap();
}

/// What is found when the lines of a log of nine records are changed so.
fn found(change: impl FnOnce(&mut Vec<String>)) -> Vec<(Option<u64>, String)> {
    let (_scratch, container, path) = log(9);
    let mut lines: Vec<String> = std::fs::read_to_string(&path).unwrap().lines().map(String::from).collect();
    change(&mut lines);
    std::fs::write(&path, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    let verdict = said(&container);
    assert_eq!(verdict.status, if verdict.findings.is_empty() { Status::Intact } else { Status::Damaged });
    verdict.findings.into_iter().map(|finding| (finding.line, finding.what)).collect()
}

#[test]
fn an_untouched_log_of_several_writers_is_intact() {
    assert!(found(|_| ()).is_empty());
    let (_scratch, container, path) = log(9);
    let verdict = said(&container);
    assert_eq!((verdict.status, verdict.records), (Status::Intact, 9));
    let head = Head::parse(&std::fs::read(path.with_file_name("events.head")).unwrap()).unwrap();
    assert_eq!(verdict.head, Some(head.digest.to_string()));
    assert_eq!(head.size, std::fs::metadata(path).unwrap().len());
}

#[test]
fn a_changed_record_is_found_wherever_it_stands() {
    for n in 0..9 {
        let found = found(|lines| lines[n] = lines[n].replace("curl", "wget"));
        assert_eq!(found.len(), 1, "{found:?}");
        match n {
            8 => assert!(found[0].0.is_none() && found[0].1.contains("events.head"), "{found:?}"),
            _ => assert_eq!(found[0].0, Some(n as u64 + 2), "{found:?}"),
        }
    }
}

#[test]
fn every_single_byte_of_the_log_counts() {
    let (_scratch, container, path) = log(3);
    let whole = std::fs::read(&path).unwrap();
    for n in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[n] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(said(&container).status, Status::Damaged, "byte {n}");
    }
    std::fs::write(&path, whole).unwrap();
    assert_eq!(said(&container).status, Status::Intact);
}

#[test]
fn a_removed_record_is_found_and_named() {
    for n in 0..8 {
        let found = found(|lines| drop(lines.remove(n)));
        let expected = format!("record {} is missing", n + 1);
        assert_eq!(found[0], (Some(n as u64 + 1), expected), "{found:?}");
    }
    let found = found(|lines| drop(lines.drain(2..5)));
    assert_eq!(found[0], (Some(3), "records 3 to 5 are missing".to_string()));
}

#[test]
fn an_end_that_was_cut_off_is_found() {
    let last = found(|lines| drop(lines.pop()));
    assert_eq!(last, [(None, "the end is cut off: record 9 is missing".to_string())]);
    let all = found(Vec::clear);
    assert_eq!(all, [(None, "the end is cut off: records 1 to 9 are missing".to_string())]);
    // In the middle of a line.
    let (_scratch, container, path) = log(3);
    let whole = std::fs::read(&path).unwrap();
    for keep in 0..whole.len() {
        std::fs::write(&path, &whole[..keep]).unwrap();
        // The last newline alone says nothing.
        let expected = if keep + 1 == whole.len() { Status::Intact } else { Status::Damaged };
        assert_eq!(said(&container).status, expected, "{keep} of {}", whole.len());
    }
}

#[test]
fn moved_repeated_and_added_records_are_found() {
    assert!(!found(|lines| lines.swap(3, 4)).is_empty());
    assert!(!found(|lines| lines.insert(4, lines[2].clone())).is_empty());
    assert!(!found(|lines| lines.reverse()).is_empty());
    let torn = found(|lines| lines.insert(4, "{\"time".into()));
    assert!(!torn.is_empty());
    // Well made, and still more than the head tells.
    let (_scratch, container, path) = log(2);
    let head = Digest::parse(&said(&container).head.unwrap()).unwrap();
    let mut text = std::fs::read_to_string(&path).unwrap();
    text.push_str(&format!("{{\"seq\":3,\"prev\":\"{head}\"}}\n"));
    std::fs::write(&path, text).unwrap();
    let verdict = said(&container);
    assert_eq!(verdict.findings[0].line, Some(3));
    assert!(verdict.findings[0].what.contains("1 line behind the head"), "{verdict:?}");
}

#[test]
fn the_log_of_another_container_is_not_taken_for_this_ones() {
    let (_scratch, container, path) = log(3);
    let (_other_scratch, other, other_path) = log(3);
    for name in ["events.jsonl", "events.head"] {
        std::fs::copy(other_path.with_file_name(name), path.with_file_name(name)).unwrap();
    }
    let verdict = said(&container);
    assert!(verdict.findings[0].what.contains("does not begin with this container"), "{verdict:?}");
    assert_eq!(said(&other).status, Status::Intact);
    // Nor one of the same id and another time.
    let mut state = other.state().unwrap();
    state.created = "2020-01-01T00:00:00.000Z".into();
    other.write_state(&state).unwrap();
    assert_eq!(said(&other).status, Status::Damaged);
}

#[test]
fn a_head_that_is_gone_or_broken_is_told() {
    let (_scratch, container, path) = log(3);
    let head = path.with_file_name("events.head");
    std::fs::write(&head, "x").unwrap();
    assert!(said(&container).findings[0].what.contains("can't be read"));
    std::fs::remove_file(&head).unwrap();
    assert!(said(&container).findings[0].what.contains("is gone"));
}

#[test]
fn a_log_that_is_gone_altogether_is_missed_once_the_container_has_ended() {
    let (_scratch, container) = container();
    let mut recorder = Recorder::new(&container, CREATED.into()).unwrap();
    recorder.record(refused("bpf", ""), || "curl".into());
    close(&container, &recorder.finish());
    assert_eq!(said(&container).status, Status::Intact);
    for name in ["events.jsonl", "events.head"] {
        std::fs::remove_file(container.path().join(name)).unwrap();
    }
    let verdict = said(&container);
    assert_eq!(verdict.status, Status::Damaged);
    assert!(verdict.findings[0].what.contains("tells of 1 record"), "{verdict:?}");
}

#[test]
fn a_log_written_anew_is_told_by_a_head_that_was_noted_elsewhere() {
    let (_scratch, container, path) = log(3);
    let noted = Digest::parse(&said(&container).head.unwrap()).unwrap();
    // As somebody would who may write all files and knows the chain.
    for name in ["events.jsonl", "events.head"] {
        std::fs::remove_file(path.with_file_name(name)).unwrap();
    }
    let mut forger = Recorder::new(&container, CREATED.into()).unwrap();
    forger.record(refused("bpf", "harmless"), || "curl".into());
    assert_eq!(said(&container).status, Status::Intact, "what the chain alone can't tell");
    let verdict = verify(&container, Some(noted)).unwrap();
    assert_eq!(verdict.status, Status::Damaged);
    // One that lies further back in the chain is as good.
    let (_scratch, container, _) = log(3);
    let noted = Digest::parse(&said(&container).head.unwrap()).unwrap();
    let mut later = Recorder::new(&container, CREATED.into()).unwrap();
    later.record(refused("bpf", "more"), || "curl".into());
    assert_eq!(verify(&container, Some(noted)).unwrap().status, Status::Intact);
}

#[test]
fn what_is_taken_away_under_a_living_writer_is_missed() {
    for files in [&["events.jsonl"][..], &["events.head"], &["events.jsonl", "events.head"]] {
        let (_scratch, container) = container();
        let mut recorder = Recorder::new(&container, CREATED.into()).unwrap();
        recorder.record(refused("bpf", "1"), || "curl".into());
        recorder.record(refused("bpf", "2"), || "curl".into());
        for file in files {
            std::fs::remove_file(container.path().join(file)).unwrap();
        }
        recorder.record(refused("bpf", "3"), || "curl".into());
        let verdict = said(&container);
        match files {
            // The writer knew it.
            ["events.head"] => assert_eq!(verdict.status, Status::Intact, "{verdict:?}"),
            _ => assert!(verdict.findings[0].what.contains("records 1 to 2 are missing"), "{verdict:?}"),
        }
    }
}

#[test]
fn a_log_without_a_chain_is_told_as_such_and_goes_on_in_one() {
    let (_scratch, container) = container();
    let path = container.path().join("events.jsonl");
    let old =
        serde_json::to_string(&Event { layer: "seccomp".into(), count: 1, ..Event::default() }).unwrap();
    std::fs::write(&path, format!("{old}\n{old}\n{{\"torn")).unwrap();
    assert_eq!(said(&container).status, Status::Unchained);
    let mut recorder = Recorder::new(&container, CREATED.into()).unwrap();
    recorder.record(refused("bpf", ""), || "curl".into());
    let verdict = said(&container);
    assert_eq!((verdict.status, verdict.records), (Status::Intact, 4), "{verdict:?}");
    assert!(verdict.notes.iter().any(|note| note.contains("2 lines at the beginning")), "{verdict:?}");
    assert!(verdict.notes.iter().any(|note| note.contains("line 3 was cut short")), "{verdict:?}");
    // From here on the old lines count as well.
    let text = std::fs::read_to_string(&path).unwrap().replacen("seccomp", "landlock", 1);
    std::fs::write(&path, text).unwrap();
    assert_eq!(said(&container).status, Status::Damaged);
}

#[test]
fn a_writer_that_was_killed_between_record_and_head_is_caught_up_with() {
    let (_scratch, container, path) = log(3);
    let head = path.with_file_name("events.head");
    let before = std::fs::read(&head).unwrap();
    let mut killed = Recorder::new(&container, CREATED.into()).unwrap();
    killed.record(refused("bpf", "last words"), || "curl".into());
    std::fs::write(&head, before).unwrap();
    assert_eq!(said(&container).findings[0].line, Some(4));
    let mut next = Recorder::new(&container, CREATED.into()).unwrap();
    next.record(refused("bpf", "next"), || "curl".into());
    assert_eq!(said(&container).status, Status::Intact);
}

#[test]
fn a_log_that_somebody_holds_is_not_waited_for() {
    let (_scratch, container, path) = log(1);
    let held = std::fs::File::open(&path).unwrap();
    rustix::fs::flock(held.as_fd(), FlockOperation::LockExclusive).unwrap();
    let mut recorder = Recorder::new(&container, CREATED.into()).unwrap();
    let before = std::time::Instant::now();
    for n in 0..1000 {
        recorder.record(refused("open", &(n % 50).to_string()), || "curl".into());
    }
    assert!(before.elapsed().as_millis() < 500, "{:?}", before.elapsed());
    assert!(recorder.next().is_some());
    let closed = recorder.finish();
    assert!(before.elapsed().as_secs() < 5, "{:?}", before.elapsed());
    assert_eq!((closed.lost, closed.records), (50, 1));
    assert!(closed.why.contains("locked"), "{closed:?}");
    // Let go: what was put off is written.
    drop(held);
    std::thread::sleep(recorder.next().unwrap().saturating_duration_since(std::time::Instant::now()));
    recorder.retry();
    assert_eq!(recorder.finish().lost, 0);
    assert_eq!((said(&container).status, said(&container).records), (Status::Intact, 51));
}

#[test]
fn writers_at_the_same_time_make_one_chain() {
    let (_scratch, container) = container();
    let path = container.path().to_path_buf();
    let store = path.parent().unwrap().parent().unwrap().to_path_buf();
    let id = container.id.to_string();
    let threads: Vec<_> = (0..4)
        .map(|writer| {
            let (store, id) = (Store::open_at(&store).unwrap(), id.clone());
            std::thread::spawn(move || {
                let container = store.find(&id).unwrap();
                let mut recorder = Recorder::new(&container, CREATED.into()).unwrap();
                recorder.warden = writer;
                for n in 0..100 {
                    recorder.record(refused("open", &n.to_string()), || "curl".into());
                    recorder.retry();
                }
                recorder.finish().lost
            })
        })
        .collect();
    assert_eq!(threads.into_iter().map(|thread| thread.join().unwrap()).sum::<u64>(), 0);
    let verdict = said(&container);
    assert_eq!((verdict.status, verdict.records), (Status::Intact, 400), "{verdict:?}");
    assert!(read(&container).unwrap().iter().all(|event| event.count == 4));
}

#[test]
fn a_full_log_says_so_within_its_bound_and_stays_verifiable() {
    let (_scratch, container) = container();
    let mut closed = Vec::new();
    let mut counts = BTreeMap::new();
    for writer in 0..12 {
        let mut recorder = Recorder::new(&container, CREATED.into()).unwrap();
        recorder.warden = writer;
        for n in 0..300 {
            let object = format!("{writer} {n} {}", "x".repeat(4000));
            recorder.record(refused("open", &object), || "curl".into());
        }
        closed.push(recorder.finish());
        *counts.entry(closed.last().unwrap().lost > 0).or_insert(0) += 1;
    }
    let size = std::fs::metadata(container.path().join("events.jsonl")).unwrap().len();
    assert!(size <= MAX_FILE && size > MAX_FILE - 20_000, "{size}");
    assert!(counts[&true] > 1 && counts[&false] > 1, "{counts:?}");
    assert!(closed.last().unwrap().why.contains("1048576 bytes"), "{closed:?}");
    let verdict = said(&container);
    assert_eq!(verdict.status, Status::Intact, "{verdict:?}");
    assert!(read(&container).unwrap().iter().any(|event| event.operation == "(log full)"));
}

#[test]
fn a_log_that_can_not_be_written_is_told_and_caught_up_with() {
    // The disk that is really full is in tests/rootless/events.rs; here no file can be made.
    let (_scratch, container) = container();
    std::fs::create_dir(container.path().join("events.head")).unwrap();
    let mut recorder = Recorder::new(&container, CREATED.into()).unwrap();
    recorder.record(refused("bpf", ""), || "curl".into());
    let closed = recorder.finish();
    assert_eq!((closed.lost, closed.records), (1, 0));
    assert!(!closed.why.is_empty(), "{closed:?}");
    std::fs::remove_dir(container.path().join("events.head")).unwrap();
    assert_eq!(recorder.finish().lost, 0);
    assert_eq!(said(&container).status, Status::Intact);
}
