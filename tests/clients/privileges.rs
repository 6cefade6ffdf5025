//! What the program may do: user, capabilities, system calls, limits of the process.

use std::fs;

use crate::for_engines;
use crate::house::{Engine, unified, work};

for_engines!([podman, rootless, docker] {
    the_process_has_the_same_privileges,
    capabilities_are_added_and_dropped,
    no_new_privileges_is_as_asked,
    system_calls_are_filtered_by_default_and_not_when_unconfined,
    a_seccomp_profile_of_the_users_own_holds,
    the_user_is_as_asked,
    limits_of_the_process_are_as_asked,
    the_environment_is_as_asked,
    the_score_for_the_oom_killer_is_as_asked,
    kernel_parameters_are_set,
    dropped_privileges_deny_what_they_are_for,
});
for_engines!([podman, rootless] {
    a_privileged_container_with_the_machines_groups_reads_them,
    a_privileged_container_has_everything_that_the_engine_has,
    the_umask_is_as_asked,
});
for_engines!([podman] {
    ids_are_mapped_as_asked,
});
for_engines!([rootless] {
    the_users_own_id_is_kept,
});

/// What the kernel tells of a process and its privileges.
const STATUS: &str = "grep -E '^(Umask|Uid|Gid|Groups|Cap|NoNew|Seccomp:)' /proc/self/status; umask; pwd; \
                      cat /proc/self/oom_score_adj; cat /proc/self/limits; cat /proc/self/uid_map; \
                      ls /proc/self/fd | head -n 3; env | grep -v HOSTNAME | sort";

fn the_process_has_the_same_privileges(engine: Engine) {
    engine.agrees(&[], STATUS).succeeds();
    engine.agrees(&["-u", "1000:1000"], STATUS).succeeds().says("CapEff:\t0000000000000000");
    engine.agrees(&["-u", "guest", "--cap-add", "NET_RAW"], STATUS).succeeds();
    engine.agrees(&["-u", "1234", "--group-add", "77"], STATUS).succeeds();
}

fn capabilities_are_added_and_dropped(engine: Engine) {
    let effective = "grep ^Cap /proc/self/status";
    let only = engine.agrees(&["--cap-drop", "all", "--cap-add", "net_raw"], effective);
    only.says("CapEff:\t0000000000002000")
        .says("CapBnd:\t0000000000002000")
        .says("CapInh:\t0000000000000000");
    engine.agrees(&["--cap-add", "SYS_PTRACE"], effective).succeeds();
    engine.agrees(&["--cap-drop", "all"], effective).says("CapEff:\t0000000000000000");
    engine.each(|client| {
        client.run(&["--cap-add", "no_such"], &["true"]).exits(125);
    });
}

fn dropped_privileges_deny_what_they_are_for(engine: Engine) {
    engine.each(|client| {
        client.shell(&[], "touch /tmp/f; chown 1:1 /tmp/f && stat -c %u /tmp/f").prints("1");
        client
            .shell(&["--cap-drop", "chown"], "touch /tmp/f; chown 1:1 /tmp/f")
            .fails()
            .complains("not permitted");
        client.shell(&[], "mount -t tmpfs tmpfs /mnt").fails();
        if engine == Engine::Docker {
            client.shell(&[], "unshare -U true").fails();
        }
        client.shell(&[], "hostname other").fails();
    });
}

fn no_new_privileges_is_as_asked(engine: Engine) {
    let script = "grep NoNewPrivs /proc/self/status";
    engine.agrees(&["--security-opt", "no-new-privileges"], script).prints("NoNewPrivs:\t1");
    engine.agrees(&[], script).prints("NoNewPrivs:\t0");
}

fn system_calls_are_filtered_by_default_and_not_when_unconfined(engine: Engine) {
    let script = "grep Seccomp: /proc/self/status";
    engine.agrees(&[], script).prints("Seccomp:\t2");
    engine.agrees(&["--security-opt", "seccomp=unconfined"], script).prints("Seccomp:\t0");
}

fn a_seccomp_profile_of_the_users_own_holds(engine: Engine) {
    let profile = work("profile").join("profile.json");
    let text = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["mkdir", "mkdirat", "no_such_call"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28},
        {"names": ["socket"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 0, "value": 10, "op": "SCMP_CMP_EQ"}]}]}"#;
    fs::write(&profile, text).expect("a profile");
    let option = format!("seccomp={}", profile.display());
    engine.each(|client| {
        let options = ["--security-opt", &option];
        client.shell(&options, "mkdir /tmp/d").fails().complains("no space left on device");
        client.shell(&options, "touch /tmp/f && echo made").succeeds().prints("made");
    });
}

fn the_user_is_as_asked(engine: Engine) {
    engine.agrees(&["-u", "1000:1000"], "id").prints("uid=1000(guest) gid=1000(guest) groups=1000(guest)");
    engine.agrees(&["-u", "guest"], "id; touch /tmp/f; stat -c %u:%g /tmp/f").succeeds();
    engine
        .agrees(&["-u", "4321:8765", "--group-add", "5"], "id")
        .succeeds()
        .says("uid=4321")
        .says("gid=8765");
    engine.each(|client| {
        client.run(&["-u", "nobody_knows"], &["true"]).fails();
        client.shell(&["-u", "guest"], "cat /etc/shadow > /dev/null; touch /made").fails();
    });
}

fn limits_of_the_process_are_as_asked(engine: Engine) {
    let options = ["--ulimit", "nofile=100:200", "--ulimit", "nproc=500:500", "--ulimit", "core=0"];
    engine.agrees(&options, "ulimit -n; ulimit -Hn; ulimit -c").succeeds().prints("100\n200\n0");
    engine.agrees(&options, "cat /proc/self/limits").succeeds();
}

fn the_environment_is_as_asked(engine: Engine) {
    engine.each(|client| {
        let container = client.idle(&["-e", "NAME=a value", "--hostname", "inner"]);
        let script = "echo $NAME; echo $HOME; echo $HOSTNAME; echo $PATH";
        let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        container
            .exec(&[], &["sh", "-c", script])
            .succeeds()
            .prints(&format!("a value\n/root\ninner\n{path}"));
    });
}

fn the_score_for_the_oom_killer_is_as_asked(engine: Engine) {
    engine.agrees(&["--oom-score-adj", "500"], "cat /proc/self/oom_score_adj").prints("500");
}

fn kernel_parameters_are_set(engine: Engine) {
    let script = "cat /proc/sys/net/ipv4/ip_forward; echo 0 > /proc/sys/net/ipv4/ip_forward";
    engine.agrees(&["--sysctl", "net.ipv4.ip_forward=1"], script).says("1");
}

fn the_umask_is_as_asked(engine: Engine) {
    engine.agrees(&["--umask", "077"], "umask; touch /tmp/f; stat -c %a /tmp/f").prints("0077\n600");
}

fn a_privileged_container_has_everything_that_the_engine_has(engine: Engine) {
    let script = "grep -E '^(Cap|Seccomp:)' /proc/self/status; [ -e /dev/kmsg ] && echo kmsg; ls /proc/acpi | wc -l; \
                  mount -t tmpfs tmpfs /mnt && echo mounted";
    engine.agrees(&["--privileged"], script).succeeds().says("Seccomp:\t0").says("kmsg").says("mounted");
}

fn a_privileged_container_with_the_machines_groups_reads_them(engine: Engine) {
    let options = ["--privileged", "-v", "/sys/fs/cgroup:/sys/fs/cgroup"];
    let script = "f=/sys/fs/cgroup/memory/cgroup.procs; [ -e $f ] || f=/sys/fs/cgroup/cgroup.procs; \
                  cat $f > /dev/null && echo read";
    engine.agrees(&options, script).succeeds().prints("read");
}

fn ids_are_mapped_as_asked(engine: Engine) {
    let options = ["--uidmap", "0:100000:65536", "--gidmap", "0:100000:65536"];
    let script = "cat /proc/self/uid_map; id -u; touch /tmp/f; chown 7:7 /tmp/f; stat -c %u /bin/busybox /tmp/f; \
                  grep -E '^(Cap|Seccomp:)' /proc/self/status";
    engine.agrees(&options, script).succeeds().says("100000").says("\n0\n0\n7\n");
}

fn the_users_own_id_is_kept(engine: Engine) {
    engine
        .agrees(&["--userns", "keep-id"], "id; cat /proc/self/uid_map; touch /tmp/f; stat -c %u /tmp/f")
        .succeeds();
    engine.agrees(&["--userns", "auto"], "id -u; touch /tmp/f").succeeds().prints("0");
    if unified() {
        engine.agrees(&["--cgroupns", "private"], "cat /proc/self/cgroup").succeeds().prints("0::/");
    }
}
