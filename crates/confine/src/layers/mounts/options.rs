//! The options of donjon's own mounts: a short list, and an option that would weaken a boundary is refused (R28).
//!
//! An engine's options are read by [`super::table`].

use std::ffi::CString;

use donjon_sys::mount::attr;
use oci_spec::runtime::Mount;

use crate::error::SpecError;
use crate::plan::Layer;

/// The options of one mount.
#[derive(Default)]
pub(super) struct Options {
    pub attrs: u64,
    pub clear: u64,
    pub recursive_attrs: u64,
    pub bind: bool,
    pub recursive: bool,
    pub idmap: bool,
    pub params: Vec<(CString, Option<CString>)>,
}

pub(super) fn options(field: &str, mount: &Mount) -> Result<Options, SpecError> {
    let mut o = Options::default();
    let refuse = |what: String| SpecError::new(Layer::Mounts, format!("{field}.options"), what);
    for option in mount.options().iter().flatten() {
        match option.as_str() {
            "bind" => o.bind = true,
            "rbind" => (o.bind, o.recursive) = (true, true),
            "ro" => o.attrs |= attr::RDONLY,
            "rw" => o.clear |= attr::RDONLY,
            "rro" => o.recursive_attrs |= attr::RDONLY,
            "nosuid" | "nodev" | "defaults" | "async" | "relatime" | "rrw" => {}
            "rnosuid" | "rnodev" | "rrelatime" => {}
            "noexec" => o.attrs |= attr::NOEXEC,
            "exec" => o.clear |= attr::NOEXEC,
            "rnoexec" => o.recursive_attrs |= attr::NOEXEC,
            "rexec" => {}
            "noatime" => o.attrs |= attr::NOATIME,
            "strictatime" => o.attrs |= attr::STRICTATIME,
            "nodiratime" => o.attrs |= attr::NODIRATIME,
            "nosymfollow" => o.attrs |= attr::NOSYMFOLLOW,
            "idmap" | "ridmap" => o.idmap = true,
            "private" | "rprivate" => {}
            "slave" | "rslave" | "shared" | "rshared" | "unbindable" | "runbindable" => {
                return Err(refuse(format!("{option}: mounts of a donjon container are private")));
            }
            "suid" | "dev" | "rsuid" | "rdev" => {
                return Err(refuse(format!("{option}: every mount is nosuid and nodev")));
            }
            "tmpcopyup" => return Err(refuse("tmpcopyup is not supported yet".to_string())),
            other => {
                let (key, value) = match other.split_once('=') {
                    Some((key, value)) => (key, Some(value)),
                    None => (other, None),
                };
                let known = match mount.typ().as_deref() {
                    Some("tmpfs") => {
                        matches!(key, "size" | "mode" | "nr_inodes" | "nr_blocks" | "uid" | "gid")
                    }
                    Some("devpts") => matches!(key, "newinstance" | "ptmxmode" | "mode" | "gid" | "max"),
                    Some("proc") => matches!(key, "hidepid" | "subset"),
                    _ => false,
                };
                if !known {
                    return Err(refuse(format!("{other:?} is no mount option that donjon knows")));
                }
                let text = |s: &str| SpecError::c_string(Layer::Mounts, field, s);
                if key != "newinstance" {
                    o.params.push((text(key)?, value.map(text).transpose()?));
                }
            }
        }
    }
    if o.attrs & o.clear != 0 {
        return Err(refuse("an option and its opposite are both given".to_string()));
    }
    Ok(o)
}
