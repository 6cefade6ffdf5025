//! `cargo xtask test`: the rooms, one line a test, and the closing count.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::clients;
use crate::machine::{User, is_root, packages};
use crate::place::Place;
use crate::{systemd, vm};

const ROOMS: [&str; 11] =
    ["lint", "pure", "rootless", "root", "oci", "clients", "escapes", "faults", "vm", "systemd", "fuzz"];

/// How many tests passed and failed.
#[derive(Debug, Default, Clone, Copy)]
pub struct Count {
    passed: usize,
    failed: usize,
}

impl Count {
    /// One line for one test, as everywhere else.
    pub fn one(&mut self, name: &str, passed: bool) {
        println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
        if passed {
            self.passed += 1;
        } else {
            self.failed += 1;
        }
    }
}

/// Runs the rooms that the arguments name; true when nothing failed.
pub fn test(arguments: &[&str]) -> Result<bool, String> {
    let at = arguments.iter().position(|a| *a == "--").unwrap_or(arguments.len());
    let (arguments, filter) = arguments.split_at(at);
    let filter = filter.get(1..).unwrap_or_default();
    let rooms = chosen(arguments)?;
    let started = Instant::now();
    let mut count = Count::default();
    let whole_program = rooms.iter().any(|r| !["lint", "pure", "systemd", "fuzz"].contains(r));
    let prepared = if whole_program { Some(prepare()) } else { None };
    for room in rooms {
        println!("-- {room}");
        match (room, &prepared) {
            ("lint", _) => lint(&mut count)?,
            ("pure", _) => {
                let workspace = ["test", "--quiet", "--workspace", "--no-fail-fast"];
                let own = ["--exclude", "donjon-tests", "--exclude", "donjon-fuzz-targets"];
                run(place()?.cargo(&[&workspace[..], &own[..]].concat()), room, filter, &mut count)?;
            }
            ("fuzz", _) => {
                let arguments = ["test", "--quiet", "-p", "donjon-fuzz-targets"];
                run(place()?.cargo(&arguments), room, filter, &mut count)?;
            }
            ("vm", Some(Ok((place, _)))) => vm::room(place, filter, &mut count),
            ("systemd", _) => systemd::room(&place()?, filter, &mut count),
            (_, Some(Ok((place, user)))) => whole(place, user, room, filter, &mut count)?,
            (_, Some(Err(why))) => {
                eprintln!("{room}: {why}");
                count.one(&format!("{room}: the room could be prepared"), false);
            }
            (_, None) => {}
        }
    }
    println!("\n{} s", started.elapsed().as_secs());
    println!("{} passed, {} failed", count.passed, count.failed);
    Ok(count.failed == 0 && count.passed > 0)
}

fn chosen<'a>(arguments: &[&'a str]) -> Result<Vec<&'a str>, String> {
    let (mut named, mut without) = (Vec::new(), Vec::new());
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let (list, room) = match (*argument, argument.strip_prefix("--without=")) {
            ("--without", _) => (&mut without, *rest.next().ok_or("--without needs a room")?),
            (_, Some(room)) => (&mut without, room),
            (room, None) => (&mut named, room),
        };
        if !ROOMS.contains(&room) {
            return Err(format!("no room is called {room}; the rooms are {}", ROOMS.join(" ")));
        }
        list.push(room);
    }
    let all = if named.is_empty() { ROOMS.to_vec() } else { named };
    Ok(all.into_iter().filter(|room| !without.contains(room)).collect())
}

fn place() -> Result<Place, String> {
    Place::find(&User::find()?)
}

/// Everything that the whole-program rooms need.
fn prepare() -> Result<(Place, User), String> {
    println!("-- preparing");
    packages(&["busybox-static", "uidmap", "auditd"])?;
    let user = User::find()?;
    let place = Place::find(&user)?;
    place.root()?;
    place.floor()?;
    place.hooked()?;
    place.released()?;
    Ok((place, user))
}

fn lint(count: &mut Count) -> Result<(), String> {
    let place = place()?;
    let checks: [(&str, &[&str]); 2] = [
        ("lint: the code is formatted", &["fmt", "--all", "--check"]),
        (
            "lint: clippy has nothing to say",
            &["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"],
        ),
    ];
    for (name, arguments) in checks {
        let status = place.cargo(arguments).status().map_err(|e| format!("cargo: {e}"))?;
        count.one(name, status.success());
    }
    Ok(())
}

/// A room of whole-program tests: one test binary that finds the programs through its environment.
fn whole(place: &Place, user: &User, room: &str, filter: &[&str], count: &mut Count) -> Result<(), String> {
    if ["root", "oci", "clients"].contains(&room) && !is_root()? {
        eprintln!("{room}: this room needs root: run it with sudo, or leave it out with --without {room}");
        count.one(&format!("{room}: the room is run by root"), false);
        return Ok(());
    }
    let arguments = ["test", "--quiet", "-p", "donjon-tests", "--test", room];
    let mut command = place.cargo(&arguments);
    command
        .env("DONJON_TEST_ROOMS", &place.rooms)
        .env("DONJON_TEST_BINARY", place.rooms.join("donjon"))
        .env("DONJON_TEST_HOOKED", place.rooms.join("donjon-hooks"))
        .env("DONJON_TEST_PEAK", place.rooms.join("peak"))
        .env("DONJON_TEST_USER", format!("{}:{}", user.uid, user.gid));
    if room == "clients" {
        match clients::apart(place, &command) {
            Ok(apart) => command = apart,
            Err(why) => {
                eprintln!("clients: {why}");
                count.one("clients: the engines could be had", false);
                return Ok(());
            }
        }
    }
    run(command, room, filter, count)
}

/// Runs a test command and counts its lines. An ignored test counts as failed: nothing passes by not running.
fn run(mut command: Command, room: &str, filter: &[&str], count: &mut Count) -> Result<(), String> {
    let mut child = command
        .args(["--", "--format=pretty", "--test-threads=3"])
        .args(filter)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| format!("cargo: {e}"))?;
    let before = count.failed;
    let mut ran = 0;
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).split(b'\n') {
            let line = line.map_err(|e| format!("{room}: {e}"))?;
            let line = String::from_utf8_lossy(&line).into_owned();
            match line.strip_prefix("test ").and_then(|l| l.rsplit_once(" ... ")) {
                Some((name, verdict)) => {
                    ran += 1;
                    let name = name.trim_end_matches(" - should panic");
                    count.one(&format!("{room}: {name}"), verdict.starts_with("ok"));
                    if verdict.starts_with("ignored") {
                        println!("     (it was ignored, which is no pass)");
                    }
                }
                None if line.starts_with("running ")
                    || line.starts_with("test result:")
                    || line.is_empty() => {}
                None => println!("     {line}"),
            }
        }
    }
    let status = child.wait().map_err(|e| format!("{room}: {e}"))?;
    if !status.success() && count.failed == before {
        count.one(&format!("{room}: the tests could be built and run to their end"), false);
    }
    if ran == 0 && status.success() {
        count.one(&format!("{room}: the room holds tests"), false);
    }
    Ok(())
}
