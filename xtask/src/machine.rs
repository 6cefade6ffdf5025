//! The machine: who runs this, the ordinary user, Debian's packages.

use std::process::{Command, Stdio};

/// The name of the user that the rootless tests run as when root starts them.
const NAME: &str = "donjon-test";

/// The ordinary user of the tests.
#[derive(Debug, Clone)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Whether it is the user that root made for the tests; otherwise it is the caller.
    pub made: bool,
}

/// Whether root runs this.
pub fn is_root() -> Result<bool, String> {
    Ok(number(&["id", "-u"])? == 0)
}

fn number(command: &[&str]) -> Result<u32, String> {
    let text = output(command)?;
    text.trim().parse().map_err(|_| format!("{} says {text:?}", command.join(" ")))
}

/// What a command prints; an error when it fails.
pub fn output(command: &[&str]) -> Result<String, String> {
    let (program, arguments) = command.split_first().ok_or("no command")?;
    let out = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let out = out.map_err(|e| format!("{program}: {e}"))?;
    if !out.status.success() {
        let why = String::from_utf8_lossy(&out.stderr).into_owned();
        return Err(format!("{} failed: {}", command.join(" "), why.trim()));
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

impl User {
    /// The ordinary user: the caller, or one made by root.
    pub fn find() -> Result<Self, String> {
        if !is_root()? {
            return Ok(Self { uid: number(&["id", "-u"])?, gid: number(&["id", "-g"])?, made: false });
        }
        if output(&["id", "-u", NAME]).is_err() {
            output(&["useradd", "--create-home", "--shell", "/bin/sh", NAME])?;
        }
        Ok(Self { uid: number(&["id", "-u", NAME])?, gid: number(&["id", "-g", NAME])?, made: true })
    }
}

/// Sees to it that these Debian packages are there: root installs what is missing, others are told the names.
pub fn packages(wanted: &[&str]) -> Result<(), String> {
    let missing: Vec<&str> = wanted.iter().copied().filter(|name| !installed(name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let command = format!("apt-get install --no-install-recommends {}", missing.join(" "));
    if !is_root()? {
        return Err(format!("these Debian packages are missing: run `sudo {command}`"));
    }
    println!("   apt-get update && {command}");
    output(&["apt-get", "update", "--quiet"])?;
    let mut install = vec!["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "--quiet", "--yes"];
    install.push("--no-install-recommends");
    install.extend_from_slice(&missing);
    output(&install).map(|_| ())
}

fn installed(package: &str) -> bool {
    let status = output(&["dpkg-query", "--show", "--showformat=${db:Status-Status}", package]);
    status.is_ok_and(|s| s == "installed")
}
