//! `donjon learn`: real programs are learnt and run under what was learnt; changed ones are refused.

use std::os::unix::ffi::OsStrExt;

use donjon_tests::{Outcome, World};

/// Learns a command in the host image, with these options.
fn learn(world: &World, options: &[&str], command: &[&str]) -> Outcome {
    let file = world.path("learnt.toml");
    let words = [&["learn", "-o", &file], options, &["host", "--"], command].concat();
    world.donjon(&words).seconds(60).go()
}

/// Runs a command under what was learnt, as it is.
fn under(world: &World, options: &[&str], command: &[&str]) -> Outcome {
    let file = world.path("learnt.toml");
    let words =
        [&["run", "--rm", "--incomplete", "--policy", &file], options, &["host", "--"], command].concat();
    world.donjon(&words).seconds(60).go()
}

/// Learns a command, runs it, and returns the policy.
fn learnt_and_run(world: &World, options: &[&str], command: &[&str], says: &str) -> String {
    learn(world, options, command).exits(0).says(says);
    let held = under(world, options, command);
    held.exits(0).says(says);
    assert!(!held.stderr.contains("refused"), "{}", held.stderr);
    world.read("learnt.toml")
}

/// The words of a list of the policy.
fn list(policy: &str, key: &str) -> Vec<String> {
    let begin = format!("{key} = [");
    let after = policy.split(&begin).nth(1).unwrap_or_else(|| panic!("no {key} in\n{policy}"));
    let inside = after.split("\n]").next().unwrap_or_default();
    let code: String = inside.lines().map(|line| line.split(" # ").next().unwrap_or_default()).collect();
    code.split('"').skip(1).step_by(2).map(str::to_string).collect()
}

#[test]
fn a_script_with_its_programs_runs_under_what_was_learnt_of_it() {
    let world = World::ordinary();
    let script =
        "d=$(mktemp -d); echo one >$d/a; mv $d/a $d/b; cat $d/b | tr o O; rm -r $d; ls /usr/share >/dev/null";
    let policy = learnt_and_run(&world, &[], &["bash", "-c", script], "One");
    assert!(policy.contains("\nincomplete = true\n"), "{policy}");
    assert!(list(&policy, "execute").iter().any(|path| path.ends_with("/tr")), "{policy}");
    assert!(list(&policy, "write").contains(&"/tmp/**".to_string()), "{policy}");
    // Two runs of mktemp have two names, and both are folded.
    assert!(!policy.contains("/tmp/tmp."), "{policy}");
    // Without the word nobody runs under what nobody has read.
    let file = world.path("learnt.toml");
    world.donjon(&["run", "--policy", &file, "host", "--", "true"]).go().exits(125).complains("incomplete");
    world.assert_nothing_left("learning");
}

#[test]
fn a_changed_program_is_refused_what_it_does_beyond_what_was_learnt() {
    let world = World::ordinary();
    learnt_and_run(&world, &[], &["bash", "-c", "cat /etc/hostname; true"], "");
    let script = "cat /etc/group && echo READ; /usr/bin/head -c 1 /etc/hostname && echo EXECUTED; \
                  echo x >/tmp/x && echo WRITTEN; exit 0";
    let refused = under(&world, &[], &["bash", "-c", script]);
    refused.never_says("READ").never_says("EXECUTED").never_says("WRITTEN");
    refused.complains("/etc/group").complains("head");
    // Another family of sockets, another call: refused by the filter, and told.
    let python = "import socket,sys\ntry:\n socket.socket(socket.AF_INET)\n print('MADE')\nexcept OSError as e:\n print('no')";
    learnt_and_run(&world, &[], &["/usr/bin/python3", "-c", "print('yes')"], "yes");
    let refused = under(&world, &[], &["/usr/bin/python3", "-c", python]);
    refused.says("no").never_says("MADE").complains("socket");
}

#[test]
fn python_with_threads_and_subprocesses_runs_under_what_was_learnt_of_it() {
    let world = World::ordinary();
    let program = "import subprocess,threading,tempfile,os\n\
                   t=threading.Thread(target=lambda: print('thread')); t.start(); t.join()\n\
                   d=tempfile.mkdtemp(); open(d+'/x','w').write('hi'); os.rename(d+'/x',d+'/y')\n\
                   print(open(d+'/y').read(), subprocess.run(['/usr/bin/id','-u'],capture_output=True).returncode)\n";
    let policy = learnt_and_run(&world, &[], &["/usr/bin/python3", "-c", program], "hi 0");
    assert!(list(&policy, "execute").contains(&"/usr/bin/id".to_string()), "{policy}");
}

#[test]
fn a_program_under_init_ends_as_it_ends() {
    let world = World::ordinary();
    learn(&world, &["--init"], &["sh", "-c", "sleep 0.1; exit 7"]).exits(7);
    under(&world, &["--init"], &["sh", "-c", "sleep 0.1; exit 7"]).exits(7);
}

#[test]
fn git_runs_under_what_was_learnt_of_it() {
    let world = World::ordinary();
    let script = "cd /tmp && git init -q r && cd r && for i in 1 2 3; do echo $i >f$i; git add . && \
                  git -c user.name=a -c user.email=a@b commit -qm c$i || exit 1; done; git log --oneline | wc -l; git gc -q";
    learnt_and_run(&world, &[], &["bash", "-c", script], "3");
}

#[test]
fn a_learnt_policy_of_a_static_web_server_has_at_most_eighty_calls() {
    let world = World::ordinary();
    let root = world.own_root();
    root.file("www/index.html", "served\n", 0o644).file("www/other.html", "OTHER\n", 0o644);
    let (file, image) = (world.path("learnt.toml"), root.image());
    let script = |page: &str| {
        format!(
            "httpd -f -p 127.0.0.1:8080 -h /www & p=$!; for i in 1 2 3 4 5 6 7 8 9; do sleep 0.2; \
             wget -q -O - http://127.0.0.1:8080/{page} && break; done; kill $p"
        )
    };
    let learn = ["learn", "-o", &file, &image, "--", "sh", "-c", &script("index.html")];
    world.donjon(&learn).go().exits(0).says("served");
    let policy = world.read("learnt.toml");
    let calls = list(&policy, "base");
    assert!(calls.len() <= 80, "{} calls:\n{policy}", calls.len());
    assert_eq!(list(&policy, "families"), ["inet"], "{policy}");
    assert!(policy.contains("bound 127.0.0.1:8080"), "{policy}");
    let under = |script: &str| {
        world
            .donjon(&["run", "--rm", "--incomplete", "--policy", &file, &image, "--", "sh", "-c", script])
            .go()
    };
    under(&script("index.html")).exits(0).says("served");
    // What the server was not asked for while it was looked at, it can't serve.
    under(&script("other.html")).never_says("OTHER");
}

#[test]
fn a_second_run_is_added_to_the_file_and_its_own_lines_are_kept_out_of_harms_way() {
    let world = World::ordinary();
    learn(&world, &[], &["cat", "/etc/hostname"]).exits(0);
    let first = world.read("learnt.toml");
    learn(&world, &[], &["cat", "/etc/hosts"]).exits(0).complains("together with");
    let both = world.read("learnt.toml");
    let read = list(&both, "read");
    assert!(read.contains(&"/etc/hostname".into()) && read.contains(&"/etc/hosts".into()), "{both}");
    assert!(both.contains("-- cat /etc/hostname") && both.contains("-- cat /etc/hosts"), "{both}");
    // The reasons of the first run are still there.
    for line in first.lines().filter(|line| line.contains(": execve")) {
        assert!(both.contains(line), "{line} is not in\n{both}");
    }
    under(&world, &[], &["cat", "/etc/hostname", "/etc/hosts"]).exits(0);
    // A file that a person has made more of is not written anew.
    let more = format!("{both}\n[process]\nworkdir = \"/tmp\"\n");
    world.file("learnt.toml", &more);
    learn(&world, &[], &["cat", "/etc/hosts"]).exits(125).complains("more than donjon learn writes");
    assert_eq!(world.read("learnt.toml"), more);
}

#[test]
fn a_file_that_can_not_be_written_is_told_before_anything_runs() {
    let world = World::ordinary();
    for file in ["/proc/learnt.toml".to_string(), world.path("none/such.toml"), world.path("work")] {
        let outcome = world.donjon(&["learn", "-o", &file, "host", "--", "echo", "RAN"]).go();
        outcome.exits(125).never_says("RAN").complains(&file);
    }
    world.donjon(&["learn", "-d", "host", "--", "true"]).go().exits(125).complains("-d");
}

#[test]
fn learning_opens_nothing_and_what_it_refused_is_in_the_comments() {
    let world = World::ordinary();
    let file = world.path("learnt.toml");
    let image = world.image();
    for (attack, note) in [
        (&["userns", "unshare"][..], "new user namespace"),
        (&["socket", "38", "5", "0"], "AF_ALG"),
        (&["ptrace", "1"], "ptrace"),
        (&["mount-tmpfs", "/tmp"], "mount"),
    ] {
        let _ = std::fs::remove_file(&file);
        let by_run = world.attack(&["--rm"], attack).go();
        let words = [&["learn", "-o", &file, &image, "--", "/bin/attacker"], attack].concat();
        let by_learn = world.donjon(&words).go();
        assert_eq!(by_learn.stdout, by_run.stdout, "{attack:?}");
        let policy = world.read("learnt.toml");
        let comments: Vec<&str> = policy.lines().filter(|line| line.starts_with('#')).collect();
        assert!(comments.iter().any(|line| line.contains(note)), "{note} is not in\n{policy}");
    }
}

#[test]
fn names_that_are_no_words_and_a_hundred_thousand_of_them_end_in_a_short_policy() {
    let world = World::ordinary();
    let root = world.own_root();
    let file = world.path("learnt.toml");
    root.dir("srv/odd");
    root.file("srv/odd/a\n[syscalls]\nb", "x", 0o644);
    root.file("srv/odd/q\"uote\\", "x", 0o644);
    root.file("srv/odd/star*", "x", 0o644);
    let raw = root.path().join("srv/odd").join(std::ffi::OsStr::from_bytes(b"\xff\xfe"));
    std::fs::write(raw, "x").unwrap();
    let image = root.image();
    let script =
        "cat /srv/odd/*; mkdir /tmp/many; i=0; while [ $i -lt 20000 ]; do : >/tmp/many/$i; i=$((i+1)); done";
    let words = ["learn", "-o", &file, &image, "--", "sh", "-c", script];
    world.donjon(&words).seconds(120).go().exits(0).says("xxxx");
    let policy = world.read("learnt.toml");
    assert!(list(&policy, "read").contains(&"/srv/odd/**".to_string()), "{policy}");
    assert_eq!(list(&policy, "write"), ["/tmp/**"], "{policy}");
    assert!(policy.lines().count() < 120, "{policy}");
    assert_eq!(policy.lines().filter(|line| line.starts_with('[')).count(), 5, "{policy}");
    let words =
        ["run", "--rm", "--incomplete", "--policy", &file, &image, "--", "sh", "-c", "cat /srv/odd/*"];
    world.donjon(&words).go().exits(0).says("xxxx");
}

#[test]
fn a_learner_that_is_killed_ends_its_container_and_leaves_no_file() {
    let world = World::ordinary();
    let file = world.path("learnt.toml");
    for signal in [libc::SIGKILL, libc::SIGTERM] {
        let running =
            world.donjon(&["learn", "-o", &file, "host", "--", "sh", "-c", "echo up; exec sleep 60"]).spawn();
        running.wait_for("up");
        running.signal(signal);
        let outcome = running.finish(15);
        if signal == libc::SIGKILL {
            assert!(!std::path::Path::new(&file).exists());
        } else {
            // Ended as a person asks a container to end: what was seen until then is a policy.
            outcome.exits(143);
            assert!(world.read("learnt.toml").contains("incomplete = true"));
        }
        // As after a run that was killed, its record is left.
        assert!(
            donjon_tests::eventually(5, || world.leftovers().processes.is_empty()),
            "{:?}",
            world.leftovers()
        );
        world.donjon(&["rm", "-f", "--all"]).go();
        world.assert_nothing_left("a killed learner");
        assert!(world.names(".").iter().all(|name| !name.starts_with(".learnt")), "{:?}", world.names("."));
    }
}

#[test]
fn a_program_that_executes_from_a_thread_and_one_that_forks_are_followed() {
    let world = World::ordinary();
    let file = world.path("learnt.toml");
    let image = world.image();
    let words = [
        "learn", "-o", &file, &image, "--", "/bin/attacker", "exec-from-thread", "/bin/busybox", "cat",
        "/etc/passwd",
    ];
    world.donjon(&words).go().says("root:");
    let policy = world.read("learnt.toml");
    assert!(list(&policy, "read").contains(&"/etc/passwd".to_string()), "{policy}");
    assert!(list(&policy, "execute").contains(&"/bin/busybox".to_string()), "{policy}");
    let words = [
        "learn",
        "-o",
        &file,
        &image,
        "--",
        "sh",
        "-c",
        "for i in 1 2 3 4 5 6 7 8 9; do sleep 1 & done; wait",
    ];
    world.donjon(&words).go().exits(0);
    let policy = world.read("learnt.toml");
    let pids = policy.lines().find_map(|line| line.strip_prefix("pids = ")).unwrap_or_default();
    let pids: u64 = pids.split(' ').next().unwrap_or_default().parse().unwrap();
    assert!((20..=64).contains(&pids), "{policy}");
}
