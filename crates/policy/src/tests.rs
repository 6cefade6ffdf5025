use std::path::PathBuf;

use donjon_confine::extensions::Root;
use donjon_confine::{Extensions, Host, Plan};

use crate::model::{Mount, MountKind, UserNamespace};
use crate::words::{
    capabilities, devices, environment, mounts, numbers, security, signals, sysctls, ulimits,
};
use crate::{Caller, Identity, Policy, Request, RootTree, to_spec};

fn tree() -> RootTree {
    RootTree { path: "/srv".into(), root: Root::default(), default_args: vec!["/bin/sh".into()] }
}

fn alice() -> Caller {
    Caller { uid: 1001, gid: 1001, home: Some("/home/alice".into()), own: Vec::new(), policies: Vec::new() }
}

fn request() -> Request {
    Request {
        args: vec!["true".into()],
        id: "0123456789abcdef".into(),
        range: Some((100_000, 65_536)),
        cgroup: None,
    }
}

fn root_inside() -> Identity {
    Identity { name: "root".into(), home: "/root".into(), ..Identity::default() }
}

fn host(uid: u32) -> Host {
    Host {
        uid,
        gid: uid,
        kernel: (6, 18),
        landlock_abi: 7,
        reads_audit: false,
        filters: &[],
        cgroups: Default::default(),
    }
}

#[test]
fn the_defaults_can_be_planned_for_every_kind_of_caller() {
    for (uid, user) in [(1001, UserNamespace::Auto), (1001, UserNamespace::Range), (0, UserNamespace::Auto)] {
        let mut policy = Policy::defaults().unwrap();
        policy.namespaces.user = Some(user);
        let caller = Caller { uid, gid: uid, ..alice() };
        let spec = to_spec(&policy, &tree(), &root_inside(), &caller, &request()).unwrap();
        Plan::new(&spec, &host(uid)).unwrap();
        let squash = Extensions::read(spec.annotations().as_ref()).unwrap().squash;
        assert_eq!(squash, uid != 0 && user == UserNamespace::Auto);
    }
}

#[test]
fn the_strict_preset_takes_away() {
    let policy = Policy::defaults().unwrap().under_preset("strict").unwrap();
    let spec = to_spec(&policy, &tree(), &root_inside(), &alice(), &request()).unwrap();
    let bounding = spec.process().as_ref().unwrap().capabilities().as_ref().unwrap().bounding().clone();
    assert!(bounding.unwrap_or_default().is_empty());
    Plan::new(&spec, &host(1001)).unwrap();
    // Its limits are the preset's wish, not the person's: without a cgroup the start goes on.
    let request = Request { cgroup: Some("donjon-x".into()), ..request() };
    let spec = to_spec(&policy, &tree(), &root_inside(), &alice(), &request).unwrap();
    Plan::new(&spec, &host(1001)).unwrap();
    assert!(Policy::preset("lax").is_err());
}

#[test]
fn the_environment_is_made_from_nothing() {
    let spec = to_spec(&Policy::defaults().unwrap(), &tree(), &root_inside(), &alice(), &request()).unwrap();
    let env = spec.process().as_ref().unwrap().env().clone().unwrap();
    let names: Vec<&str> = env.iter().map(|e| e.split('=').next().unwrap()).collect();
    assert_eq!(names, ["HOME", "PATH", "TERM", "USER"]);
}

#[test]
fn an_unknown_key_is_an_error_with_its_line_and_the_nearest_known_key() {
    let error = Policy::from_toml("[limits]\npids = 3\nmemmory = \"1g\"\n", "p.toml").unwrap_err();
    assert_eq!(error.place, "p.toml:3:1");
    assert_eq!(error.hint.as_deref(), Some("did you mean \"memory\"?"));
    assert!(Policy::from_toml(&"#".repeat(2 << 20), "big").is_err());
    assert_eq!(Policy::from_toml("[limits]\npids = \"many\"", "p.toml").unwrap_err().place, "p.toml:2:8");
    assert!(Policy::from_toml(&"[".repeat(100_000), "deep").is_err());
}

#[test]
fn a_later_layer_has_the_last_word_and_lists_grow() {
    let base =
        Policy::from_toml("[limits]\npids = 3\nmemory = \"1g\"\n[capabilities]\ndrop = [\"KILL\"]", "a")
            .unwrap();
    let later =
        Policy::from_toml("[limits]\nmemory = \"2g\"\n[capabilities]\nadd = [\"KILL\", \"CHOWN\"]", "b")
            .unwrap();
    let merged = base.merge(later, "b").unwrap();
    assert_eq!(merged.resources.pids, Some(3));
    assert_eq!(merged.resources.memory.as_deref(), Some("2g"));
    assert_eq!(merged.resources.memory_swap.as_deref(), Some("2g"), "no swap beyond the new limit");
    assert!(merged.capabilities.drop.is_empty());
    assert_eq!(merged.capabilities.add, ["KILL", "CHOWN"]);
}

#[test]
fn contradictions_within_one_layer_are_refused() {
    for text in [
        "[capabilities]\nadd = [\"KILL\"]\ndrop = [\"KILL\"]",
        "[syscalls]\nallow = [\"bpf\"]\ndeny = [\"bpf\"]",
        "[[mounts]]\nsource = \"/a\"\ntarget = \"/x\"\n[[mounts]]\nsource = \"/b\"\ntarget = \"/x\"",
    ] {
        let layer = Policy::parse(text, "p").unwrap();
        assert!(Policy::default().merge(layer, "p").is_err(), "{text}");
        assert!(Policy::from_toml(text, "p").is_err(), "{text}");
    }
}

#[test]
fn a_program_that_is_not_root_has_no_capability_but_those_that_were_named() {
    let who =
        Identity { uid: 1001, gid: 1001, name: "alice".into(), home: "/".into(), ..Identity::default() };
    let mut policy = Policy::defaults().unwrap();
    let caps = |policy: &Policy| {
        let spec = to_spec(policy, &tree(), &who, &alice(), &request()).unwrap();
        spec.process()
            .as_ref()
            .unwrap()
            .capabilities()
            .as_ref()
            .unwrap()
            .ambient()
            .clone()
            .unwrap_or_default()
            .len()
    };
    assert_eq!(caps(&policy), 0);
    policy.capabilities.add.push("NET_BIND_SERVICE".into());
    assert_eq!(caps(&policy), 1);
}

#[test]
fn the_walls_of_the_container_can_t_be_mounted_over() {
    for target in ["/proc", "/proc/sys", "/sys", "/dev", "/dev/null"] {
        let mut policy = Policy::defaults().unwrap();
        policy.mounts.push(Mount { kind: MountKind::Tmpfs, target: target.into(), ..Mount::default() });
        assert!(to_spec(&policy, &tree(), &root_inside(), &alice(), &request()).is_err(), "{target}");
    }
}

#[test]
fn words_mean_what_podman_s_mean_or_are_refused() {
    assert_eq!(numbers::size("512m"), Ok(512 << 20));
    assert_eq!(numbers::size("2G"), Ok(2 << 30));
    for bad in ["", "m", "-1", "1x", "99999999999g", "1.5g"] {
        assert!(numbers::size(bad).is_err(), "{bad}");
    }
    assert_eq!(numbers::octal("027", 0o777), Ok(0o027));
    assert!(numbers::octal("8", 0o777).is_err());
    assert!(numbers::octal("1777", 0o777).is_err());
    assert_eq!(numbers::time_offsets("boottime=5,monotonic=-3").unwrap().len(), 2);
    assert!(numbers::time_offsets("realtime=5").is_err());
    assert_eq!(capabilities::added("cap_net_raw").as_deref(), Ok("NET_RAW"));
    assert!(capabilities::added("ALL").is_err());
    assert!(capabilities::added("SYS_ADMN").unwrap_err().contains("SYS_ADMIN"));
    assert_eq!(capabilities::dropped("all").as_deref(), Ok("ALL"));
    assert_eq!(ulimits::values("10:20"), Ok((10, 20)));
    assert_eq!(ulimits::values("-1"), Ok((u64::MAX, u64::MAX)));
    assert!(ulimits::values("20:10").is_err());
    assert!(ulimits::ulimit("files=3").is_err());
    assert_eq!(signals::signal("SIGTERM"), Ok(15));
    assert_eq!(signals::signal("9"), Ok(9));
    assert_eq!(signals::signal("RTMIN+1"), Ok(35));
    assert!(signals::signal("TERMINATE").is_err());
    assert!(sysctls::sysctl("net.ipv4.ip_forward=1").is_ok());
    assert!(sysctls::sysctl("kernel.panic=1").is_err());
    assert!(sysctls::sysctl("net.ipv4/../../kernel.panic=1").is_err());
    assert!(devices::device("/dev/fuse").is_ok());
    for bad in ["/dev/mem", "/dev/../etc/shadow", "/dev/snd/x", "fuse", "/dev/fuse:/dev/x"] {
        assert!(devices::device(bad).is_err(), "{bad}");
    }
}

#[test]
fn mounts_are_read_as_podman_reads_them_and_unknown_options_refused() {
    let v = mounts::volume("/a:/b:ro,noexec").unwrap();
    assert_eq!(
        (v.source.as_deref(), v.target.as_str(), v.read_only, v.exec),
        (Some("/a"), "/b", true, Some(false))
    );
    for bad in
        ["/a", "name:/b", "/a:b", "/a:/b:shared", "/a:/b:ro,rw", "/a:/b:Z", "/a:/../b", "/a:/", "a:b:c:d"]
    {
        assert!(mounts::volume(bad).is_err(), "{bad}");
    }
    let m = mounts::mount("type=bind,src=/a,dst=/b,ro").unwrap();
    assert!(m.read_only);
    for bad in [
        "type=bind,dst=/b", "src=/a,dst=/b", "type=image,src=x,dst=/b", "type=tmpfs,src=/a,dst=/b",
        "type=bind,src=/a,dst=/b,U",
    ] {
        assert!(mounts::mount(bad).is_err(), "{bad}");
    }
    let t = mounts::tmpfs("/t:size=1m,mode=700").unwrap();
    assert_eq!((t.size.as_deref(), t.mode.as_deref()), (Some("1m"), Some("700")));
    assert!(mounts::tmpfs("/t:suid").is_err());
    assert_eq!(mounts::short("/usr:/x", true).unwrap().target, "/x");
    assert_eq!(PathBuf::from(mounts::short("/usr/../usr", true).unwrap().target), PathBuf::from("/usr"));
}

#[test]
fn the_environment_takes_no_patterns() {
    assert_eq!(environment::variable("A=b=c"), Ok(Some(("A".into(), "b=c".into()))));
    assert_eq!(environment::variable("DONJON_SURELY_NOT_SET"), Ok(None));
    for bad in ["*", "A*", "=x", "A B=c"] {
        assert!(environment::variable(bad).is_err(), "{bad}");
    }
}

#[test]
fn security_options_can_only_narrow() {
    let mut p = Policy::default();
    assert!(security::security_opt("no-new-privileges", &mut p).is_ok());
    for bad in [
        "no-new-privileges=false", "seccomp=unconfined", "apparmor=unconfined", "label=disable", "mask=proc",
        "x",
    ] {
        assert!(security::security_opt(bad, &mut p).is_err(), "{bad}");
    }
    security::security_opt("unmask=/proc/kcore:/proc/keys", &mut p).unwrap();
    assert_eq!(p.filesystem.unmask.len(), 2);
}
