use super::*;

/// As Linux 6.18 and auditd 3.0 write them.
const LANDLOCK: &str = r#"type=LANDLOCK_ACCESS msg=audit(1795489330.101:30): domain=19e7b1f3c blockers=fs.make_reg path="/data" dev="vda" ino=1234
type=LANDLOCK_DOMAIN msg=audit(1795489330.101:30): domain=19e7b1f3c status=allocated mode=enforcing pid=4711 uid=0 exe="/bin/donjon" comm="donjon"
type=SYSCALL msg=audit(1795489330.101:30): arch=c000003e syscall=257 success=no exit=-13 ppid=4711 pid=4712 comm="touch"
type=UNKNOWN[1423] msg=audit(1795489331.000:31): domain=19e7b1f3c blockers=fs.write_file,fs.truncate path=2F612062 dev="vda" ino=5
type=LANDLOCK_ACCESS msg=audit(1795489331.000:32): domain=19e7b1f3c blockers=scope.signal opid=1 ocomm="systemd"
type=LANDLOCK_DOMAIN msg=audit(1795489332.000:33): domain=20aaaaaaa status=allocated mode=enforcing pid=99 uid=1000 exe="/x" comm="x"
type=LANDLOCK_ACCESS msg=audit(1795489332.000:33): domain=20aaaaaaa blockers=fs.read_file path="/etc/other" dev="vda" ino=9
"#;

/// As AppArmor writes them, by auditd, and into the kernel's log of a machine without one.
const APPARMOR: &str = r#"type=AVC msg=audit(1795489330.101:40): apparmor="DENIED" operation="open" class="file" profile="donjon-0123456789ab" name="/proc/sys/kernel/core_pattern" pid=4720 comm="sh" requested_mask="w" denied_mask="w" fsuid=1000 ouid=0
type=AVC msg=audit(1795489330.102:41): apparmor="DENIED" operation="capable" class="cap" profile="donjon-0123456789ab" pid=4721 comm="ping" capability=13  capname="net_raw"
5,1234,987654321,-;audit: type=1400 audit(1795489330.103:42): apparmor="DENIED" operation="create" profile="donjon-0123456789ab//child" pid=4722 comm="tcpdump" family="packet" sock_type="raw" protocol=768 requested_mask="create" denied_mask="create"
[  123.456789] audit: type=1400 audit(1795489330.104:43): apparmor="DENIED" operation="ptrace" profile="donjon-0123456789ab" pid=4723 comm=7073206F requested_mask="trace" denied_mask="trace" peer="unconfined"
type=AVC msg=audit(1795489330.105:44): apparmor="ALLOWED" operation="open" profile="donjon-0123456789ab" name="/x" pid=4720 comm="sh" requested_mask="r" denied_mask="r" fsuid=0 ouid=0
type=AVC msg=audit(1795489330.106:45): apparmor="DENIED" operation="mount" info="failed mntpnt match" error=-13 profile="donjon-ffffffffffff" name="/mnt/" pid=4711 comm="mount" fstype="tmpfs" srcname="none" flags="rw"
type=AVC msg=audit(1795489330.107:46): apparmor="STATUS" operation="profile_load" profile="unconfined" name="donjon-0123456789ab" pid=77 comm="apparmor_parser"
"#;

/// As SELinux writes them.
const SELINUX: &str = r#"type=AVC msg=audit(1795489330.201:50): avc:  denied  { read write } for  pid=6591 comm="httpd" name="web pages" dev="0:37" ino=2112 scontext=system_u:system_r:container_t:s0:c12,c34 tcontext=system_u:object_r:user_home_t:s0 tclass=file permissive=0
type=AVC msg=audit(1795489330.202:51): avc:  denied  { name_bind } for  pid=6592 comm="nc" src=80 scontext=system_u:system_r:container_t:s0:c12,c34 tcontext=system_u:object_r:http_port_t:s0 tclass=tcp_socket permissive=0
type=AVC msg=audit(1795489330.203:52): avc:  denied  { open } for  pid=6593 comm="cat" path="/etc/shadow" dev="vda" ino=3 scontext=system_u:system_r:container_t:s0:c12,c34 tcontext=system_u:object_r:shadow_t:s0 tclass=file permissive=1
type=AVC msg=audit(1795489330.204:53): avc:  granted  { load_policy } for  pid=1 comm="init" scontext=system_u:system_r:container_t:s0:c12,c34 tcontext=system_u:object_r:security_t:s0 tclass=security
type=AVC msg=audit(1795489330.205:54): avc:  denied  { sys_admin } for  pid=6594 comm="mount" capability=21  scontext=system_u:system_r:container_t:s0:c1,c2 tcontext=system_u:system_r:container_t:s0:c1,c2 tclass=capability permissive=0
"#;

/// As a filter that kills is told of.
const SECCOMP: &str = "type=SECCOMP msg=audit(1795489330.301:60): auid=4294967295 uid=0 gid=0 ses=4294967295 \
subj=docker-default (enforce) pid=4712 comm=\"mount\" exe=\"/bin/busybox\" sig=31 arch=c000003e syscall=165 compat=0 \
ip=0x7f1 code=0x80000000\x1dARCH=x86_64 SYSCALL=mount
type=1326 audit(1795489330.302:61): auid=1000 uid=0 gid=0 ses=1 pid=4711 comm=\"x\" exe=\"/x\" sig=0 arch=c000003e \
syscall=41 compat=0 ip=0x7f1 code=0x50001
type=1326 audit(1795489330.303:62): auid=1000 uid=0 gid=0 ses=1 pid=4711 comm=\"x\" exe=\"/x\" sig=0 arch=c000003e \
syscall=2 compat=0 ip=0x7f1 code=0x7ffc0000
type=1326 audit(1795489330.304:63): auid=1000 uid=0 gid=0 ses=1 pid=99 comm=\"y\" exe=\"/y\" sig=31 arch=40000003 \
syscall=11 compat=1 ip=0x7f1 code=0x0
";

fn subject(init: i32) -> Subject {
    Subject {
        id: format!("0123456789ab{}", "0".repeat(52)),
        init,
        apparmor: Some("donjon-0123456789ab".into()),
        selinux: Some("system_u:system_r:container_t:s0:c12,c34".into()),
        ids: None,
    }
}

/// What is told: layer, operation, object, who.
fn told(log: &str, subject: &Subject, known: &[i32]) -> Vec<(&'static str, String, String, String)> {
    refusals(log, subject, &known.iter().copied().collect())
        .into_iter()
        .map(|(refused, comm)| {
            (refused.layer, refused.operation, refused.object, format!("{comm} {}", refused.pid))
        })
        .collect()
}

fn words(told: &[(&'static str, String, String, String)]) -> Vec<String> {
    told.iter()
        .map(|(layer, operation, object, who)| format!("{layer}: {operation}: {object}: {who}"))
        .collect()
}

#[test]
fn the_refusals_of_the_containers_own_domain_are_told_and_no_others() {
    let found = refusals(LANDLOCK, &subject(4711), &BTreeSet::new());
    let told: Vec<(&str, &str, Option<&str>)> =
        found.iter().map(|(r, _)| (r.operation.as_str(), r.object.as_str(), r.allow.as_deref())).collect();
    assert_eq!(
        told,
        [
            ("fs.make_reg", "/data", Some("--rw SRC:/")),
            ("fs.write_file,fs.truncate", "/a b", Some("--rw SRC:/")),
            ("scope.signal", "systemd", None),
        ]
    );
    assert!(refusals(LANDLOCK, &subject(1), &BTreeSet::new()).is_empty());
}

#[test]
fn what_its_own_apparmor_profile_refuses_is_told_from_every_log() {
    let found = words(&told(APPARMOR, &subject(1), &[]));
    assert_eq!(
        found,
        [
            "apparmor: open (w): /proc/sys/kernel/core_pattern: sh 4720",
            "apparmor: capable: CAP_NET_RAW: ping 4721",
            "apparmor: create: packet socket, raw: tcpdump 4722",
            "apparmor: ptrace: peer unconfined: ps o 4723",
        ]
    );
    let allow: Vec<Option<String>> = refusals(APPARMOR, &subject(1), &BTreeSet::new())
        .into_iter()
        .map(|(refused, _)| refused.allow)
        .collect();
    assert_eq!(
        allow[..2],
        [Some("--rw SRC:/proc/sys/kernel".to_string()), Some("--cap-add NET_RAW".to_string())]
    );
}

#[test]
fn a_profile_that_others_have_as_well_is_not_enough() {
    let log = APPARMOR.replace("donjon-0123456789ab", "docker-default");
    let shared = Subject { apparmor: Some("docker-default".into()), ..subject(4720) };
    assert_eq!(words(&told(&log, &shared, &[])).len(), 1, "that of its first process");
    assert_eq!(words(&told(&log, &shared, &[4721, 4722])).len(), 3);
    // A name that begins alike is another profile.
    let longer = Subject { apparmor: Some("docker".into()), ..subject(4720) };
    assert!(told(&log, &longer, &[4721]).is_empty());
    assert!(told(&log, &Subject { apparmor: None, ..subject(4720) }, &[4721]).is_empty());
}

#[test]
fn what_selinux_refuses_to_its_label_is_told() {
    let found = words(&told(SELINUX, &subject(1), &[]));
    assert_eq!(
        found,
        [
            "selinux: read write: file web pages: httpd 6591",
            "selinux: name_bind: tcp_socket port 80: nc 6592"
        ]
    );
    let other = Subject { selinux: Some("system_u:system_r:container_t:s0:c1,c2".into()), ..subject(1) };
    assert_eq!(
        words(&told(SELINUX, &other, &[])),
        ["selinux: sys_admin: capability capability 21: mount 6594"]
    );
    let log = SELINUX.replace(":c12,c34", "");
    let shared = Subject { selinux: Some("system_u:system_r:container_t:s0".into()), ..subject(1) };
    assert!(told(&log, &shared, &[]).is_empty(), "a label without categories is everybody's");
    assert_eq!(told(&log, &shared, &[6592]).len(), 1);
}

#[test]
#[cfg(target_arch = "x86_64")]
fn what_a_filter_kills_or_refuses_by_itself_is_told() {
    let found = told(SECCOMP, &subject(4711), &[4712]);
    assert_eq!(words(&found), ["seccomp: mount: mount: mount 4712", "seccomp: socket: socket: x 4711"]);
    let found = refusals(SECCOMP, &subject(99), &BTreeSet::new());
    assert_eq!(found.len(), 1);
    assert!(
        found[0].0.object.contains("of another architecture") && found[0].0.errno == "SIGSYS",
        "{found:?}"
    );
    // Whoever it is, with an id that the container has alone.
    let log = SECCOMP.replacen(" uid=0 ", " uid=200007 ", 1);
    let ranged = Subject { ids: Some(200_000..265_536), ..subject(1) };
    assert_eq!(words(&told(&log, &ranged, &[])), ["seccomp: mount: mount: mount 4712"]);
    // A child is known by the system call that stands beside another record.
    let log = format!("{LANDLOCK}{SECCOMP}");
    assert_eq!(told(&log, &subject(4711), &[]).iter().filter(|told| told.0 == "seccomp").count(), 2);
}

#[test]
fn a_name_that_looks_like_a_record_is_none() {
    let inside = "5,1,2,-;process 'x; audit: type=1400 audit(1.2:3): apparmor=\"DENIED\"' started";
    assert!(record::parse(inside).is_none());
    let user = "type=USER_AVC msg=audit(1.2:3): pid=1 msg='type=AVC apparmor=\"DENIED\" operation=\"open\" profile=\"donjon-0123456789ab\"'";
    assert!(record::parse(user).is_none());
    // Quotes and spaces in a name come as digits, so they end no field.
    let name = r#"type=AVC msg=audit(1.2:3): apparmor="DENIED" operation="open" profile="p" name=2F22207069643D31 pid=7 comm="20" denied_mask="r""#;
    let Some(Record::AppArmor { object, by, .. }) = record::parse(name) else { panic!() };
    assert_eq!((object.as_str(), by.pid, by.comm.as_str()), ("/\" pid=1", 7, "20"));
    assert_eq!(record::seconds("type=AVC msg=audit(1795489330.101:40): x"), Some(1_795_489_330));
    assert_eq!(record::seconds("node=a type=AVC msg=audit(17.101:40): x"), Some(17));
    assert_eq!(record::field("xpid=1 pid=2", "pid"), Some("2"));
}

#[test]
fn torn_and_foreign_lines_do_no_harm() {
    let all = format!("{LANDLOCK}{APPARMOR}{SELINUX}{SECCOMP}");
    for cut in 0..all.len() {
        if let Some(part) = all.get(..cut) {
            refusals(part.lines().last().unwrap_or_default(), &subject(4711), &BTreeSet::new());
        }
        if let Some(part) = all.get(cut..) {
            refusals(part.lines().next().unwrap_or_default(), &subject(4711), &BTreeSet::new());
        }
    }
    let odd = "type=LANDLOCK_DOMAIN domain= status=allocated pid=4711\n\0\u{fffd}type=";
    assert!(refusals(odd, &subject(4711), &BTreeSet::new()).is_empty());
}
