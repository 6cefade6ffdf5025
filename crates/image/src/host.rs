//! `host`: the programs of this machine and none of its data.
//!
//! **The attack**: a program from the internet runs with the caller's own id, and everything that id can read lies
//! open to it: keys in `/etc`, other people's homes, logs, sockets. **The defence**: the root is put together from
//! nothing. `/usr`, `/etc` and `/opt` are there, read-only under a RAM layer; what holds credentials in `/etc` is
//! absent; every other directory is new and empty.
//!
//! **Can't stop**: a secret that somebody put into a world-readable file of `/usr` or `/opt`, or into a file of `/etc`
//! that nothing here knows.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use donjon_confine::extensions::Root;

use crate::users::{self, User};
use crate::{Asker, Image, ImageError};

/// Top-level directories whose content is shown.
const LOWERS: [&str; 3] = ["usr", "etc", "opt"];

/// Top-level names that are links into `usr` where the distribution merged them, and directories elsewhere.
const PROGRAMS: [&str; 6] = ["bin", "sbin", "lib", "lib32", "lib64", "libx32"];

/// New, empty directories, with their modes.
const EMPTY: [(&str, u32); 16] = [
    ("dev", 0o755),
    ("home", 0o755),
    ("media", 0o755),
    ("mnt", 0o755),
    ("proc", 0o555),
    ("root", 0o700),
    ("run", 0o755),
    ("srv", 0o755),
    ("sys", 0o555),
    ("tmp", 0o1777),
    ("var", 0o755),
    ("var/cache", 0o755),
    ("var/lib", 0o755),
    ("var/log", 0o755),
    ("var/spool", 0o755),
    ("var/tmp", 0o1777),
];

/// Entries of `/etc` that are credentials, hold them, or identify the machine.
const CREDENTIALS: &[&str] = &[
    "shadow", "shadow-", "gshadow", "gshadow-", "passwd-", "group-", "subuid", "subgid", "subuid-",
    "subgid-", "sudoers", "sudoers.d", "sudo.conf", "doas.conf", "security/opasswd", "machine-id", "hostid",
    "adjtime", "ssh", "ssl/private", "pki/tls/private", "krb5.keytab", "krb5kdc", "ipsec.secrets", "ipsec.d",
    "swanctl", "strongswan.d", "wireguard", "openvpn", "ppp", "tinc", "NetworkManager", "netplan", "network",
    "wpa_supplicant", "iwd", "letsencrypt", "kubernetes", "rancher", "cni", "docker", "containers", "crio",
    "containerd", "fstab", "crypttab", "cryptsetup-keys.d", "samba", "cifs-utils", "mysql", "postgresql",
    "postgresql-common", "mongod.conf", "redis", "rabbitmq", "exim4", "postfix", "dovecot", "msmtprc",
    "mail", "chrony", "ntp.keys", "snmp", "cups", "bind", "ldap", "nslcd.conf", "sssd", "libnss-ldap.conf",
    "pam_ldap.secret", "freeradius", "vault.d", "consul.d", "nomad.d", "salt", "puppet", "puppetlabs",
    "chef", "ansible", "cloud", "boto.cfg", "s3cmd.cfg", "aws", "azure", "google", "davfs2", "backup",
    "restic", "borgmatic", "cron.d", "cron.daily", "cron.hourly", "cron.monthly", "cron.weekly", "crontab",
    "at.deny", "audit", "systemd", "credstore", "credstore.encrypted", "apt/auth.conf", "apt/auth.conf.d",
    "gitlab-runner", "grub.d", "default/grub", "libvirt", "multipath", "iscsi", "nvme", "lvm", "udev",
    "qemu", "resolvconf", "issue", "issue.net", "motd", "update-motd.d", "environment",
];

/// Words in the name of a file that holds a secret, wherever it comes from.
const SUSPICIOUS: [&str; 9] =
    [".key", ".pem", ".p12", ".pfx", ".keytab", "secret", "credential", "password", "token"];

pub(crate) fn open(asker: &Asker<'_>) -> Result<Image, ImageError> {
    let user = users::caller(asker.uid, asker.gid);
    let mut lowers: Vec<String> = LOWERS.iter().filter(|d| is_directory(d)).map(|d| d.to_string()).collect();
    let mut links = Vec::new();
    for name in PROGRAMS {
        let path = Path::new("/").join(name);
        match std::fs::read_link(&path) {
            Ok(target) => {
                if let Some(target) = target.to_str() {
                    links.push((name.to_string(), target.trim_start_matches('/').to_string()));
                }
            }
            Err(_) if is_directory(name) => lowers.push(name.to_string()),
            Err(_) => {}
        }
    }
    if !lowers.iter().any(|d| d == "usr") {
        return Err(ImageError::new("host", "this machine has no /usr").hint("use dir:PATH"));
    }
    let mut dirs: Vec<(String, u32)> = EMPTY.iter().map(|(d, mode)| (d.to_string(), *mode)).collect();
    add_home(&mut dirs, &user.home);
    let files = files(asker, &user);
    let (mut hidden, own) = look_at_etc();
    hidden.retain(|path| !files.iter().any(|(file, _)| file == path));
    Ok(Image {
        path: "/".into(),
        root: Root::Host { lowers, links, dirs, hidden, files, own },
        command: vec!["/bin/sh".into()],
        user,
    })
}

/// The caller's home directory, empty, with the directories above it.
fn add_home(dirs: &mut Vec<(String, u32)>, home: &str) {
    let mut path = String::new();
    for part in home.split('/').filter(|p| !p.is_empty()) {
        if part == "." || part == ".." {
            return;
        }
        if !path.is_empty() {
            path.push('/');
        }
        path.push_str(part);
        // A home in /usr or /etc (daemons have such) exists there, or not at all.
        if LOWERS.contains(&path.as_str()) || PROGRAMS.contains(&path.as_str()) {
            return;
        }
        if !dirs.iter().any(|(d, _)| *d == path) {
            dirs.push((path.clone(), 0o755));
        }
    }
}

fn is_directory(name: &str) -> bool {
    std::fs::symlink_metadata(Path::new("/").join(name)).is_ok_and(|m| m.is_dir())
}

/// Directories of `/usr` where things are put.
const OWN: [&str; 13] = [
    "usr/bin", "usr/include", "usr/lib", "usr/libexec", "usr/local", "usr/local/bin", "usr/local/etc",
    "usr/local/lib", "usr/local/share", "usr/sbin", "usr/share", "usr/share/doc", "usr/src",
];

/// What of `/etc` is absent inside, and directories that get a counterpart in the upper layer. One reading of the
/// directory; single looks only at the few nested names.
fn look_at_etc() -> (Vec<String>, Vec<(String, u32)>) {
    let etc = Path::new("/etc");
    let mut hidden = Vec::new();
    let mut own = Vec::new();
    own.extend(OWN.iter().filter(|d| is_directory(d)).map(|d| (d.to_string(), 0o755)));
    let Ok(entries) = std::fs::read_dir(etc) else { return (hidden, own) };
    for entry in entries.flatten() {
        let Ok(name) = entry.file_name().into_string() else { continue };
        let special = entry.file_type().is_ok_and(|t| t.is_socket() || t.is_fifo() || t.is_block_device());
        let lower = name.to_ascii_lowercase();
        if special || CREDENTIALS.contains(&name.as_str()) || SUSPICIOUS.iter().any(|s| lower.contains(s)) {
            hidden.push(format!("etc/{name}"));
            continue;
        }
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            own.push((format!("etc/{name}"), 0o755));
        }
        for nested in
            CREDENTIALS.iter().filter(|c| c.strip_prefix(name.as_str()).is_some_and(|r| r.starts_with('/')))
        {
            if std::fs::symlink_metadata(etc.join(nested)).is_ok() {
                hidden.push(format!("etc/{nested}"));
            }
        }
    }
    // What only root and its group may read is nobody's business, whatever it is called. An ordinary caller could not
    // read it either way, so the looks are spent only for root.
    if rustix::process::geteuid().is_root()
        && let Ok(entries) = std::fs::read_dir(etc)
    {
        for entry in entries.flatten() {
            let Ok(name) = entry.file_name().into_string() else { continue };
            let path = format!("etc/{name}");
            if entry.metadata().is_ok_and(|m| m.mode() & 0o004 == 0 && !m.is_symlink())
                && !hidden.contains(&path)
            {
                hidden.push(path);
            }
        }
    }
    (hidden, own)
}

/// Files that are donjon's own inside. A file that the machine has not is not missed.
fn files(asker: &Asker<'_>, user: &User) -> Vec<(String, String)> {
    let hosts =
        format!("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost\n127.0.1.1\t{}\n", asker.hostname);
    let mut files = vec![
        ("etc/hosts".to_string(), hosts),
        ("etc/hostname".to_string(), format!("{}\n", asker.hostname)),
        ("etc/resolv.conf".to_string(), "# There is no network but loopback.\n".to_string()),
        ("etc/passwd".to_string(), users::passwd_of_the_machine(user)),
        ("etc/group".to_string(), users::group_of_the_machine(user)),
    ];
    files.retain(|(_, text)| !text.contains('\0'));
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> Image {
        let uid = rustix::process::getuid().as_raw();
        let gid = rustix::process::getgid().as_raw();
        open(&Asker { uid, gid, hostname: "keep" }).unwrap()
    }

    #[test]
    fn credentials_of_this_machine_are_hidden_and_supplied_files_are_not() {
        let Root::Host { hidden, files, lowers, .. } = image().root else { panic!("not host") };
        for name in ["shadow", "machine-id", "ssl/private"] {
            let there = std::fs::symlink_metadata(Path::new("/etc").join(name)).is_ok();
            assert_eq!(hidden.contains(&format!("etc/{name}")), there, "{name}");
        }
        for (file, _) in &files {
            assert!(!hidden.contains(file), "{file}");
        }
        assert!(lowers.contains(&"usr".to_string()));
    }

    #[test]
    fn a_home_anywhere_is_made_with_the_directories_above() {
        let made = |home: &str| {
            let mut dirs = vec![("home".to_string(), 0o755)];
            add_home(&mut dirs, home);
            dirs.into_iter().map(|(d, _)| d).collect::<Vec<_>>()
        };
        assert_eq!(made("/home/alice"), ["home", "home/alice"]);
        assert_eq!(made("/data/people/alice"), ["home", "data", "data/people", "data/people/alice"]);
        assert_eq!(made("/usr/sbin"), ["home"]);
        assert_eq!(made("/"), ["home"]);
        assert_eq!(made("/home/../etc"), ["home"]);
    }
}
