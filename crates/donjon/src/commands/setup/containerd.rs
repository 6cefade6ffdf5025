//! containerd's plugin for Kubernetes: `config.toml` of version 2 (containerd 1.3 and later) and 3 (containerd 2).
//!
//! donjon is started by the shim that starts runc, `io.containerd.runc.v2`, by the option `BinaryName`.

use std::path::PathBuf;

use toml_edit::{DocumentMut, Item};

use super::{Caller, NAME, Place, Refusal, Wanted, tables};
use crate::commands::Failure;

/// The shim.
const SHIM: &str = "io.containerd.runc.v2";

/// The machine's file, or that of a rootless containerd.
pub fn place(caller: &Caller) -> Result<Place, Failure> {
    Place::single(match caller {
        Caller::Root => PathBuf::from("/etc/containerd/config.toml"),
        Caller::Ordinary { config } => config.join("containerd/config.toml"),
    })
}

/// The table of the runtime, with the options of its neighbour, and `default_runtime_name`.
pub fn edit(text: &str, wanted: &Wanted) -> Result<Option<String>, Refusal> {
    let mut document = tables::parse(text)?;
    let plugin = plugin(&mut document)?;
    let plugin = ["plugins", plugin, "containerd"];
    let [first, second, third] = plugin;
    let runtimes = [first, second, third, "runtimes"];
    let path = |name, rest: &[&'static str]| [&runtimes[..], &[name], rest].concat();

    let mine = path(NAME, &[]);
    let named = match tables::get(&document, &mine)? {
        None => false,
        Some(_) => {
            let shim = tables::text(&document, &path(NAME, &["runtime_type"]))?;
            let program = tables::text(&document, &path(NAME, &["options", "BinaryName"]))?;
            if shim != Some(SHIM) || program != Some(&wanted.program) {
                return Err(Refusal::foreign(&tables::field(&mine), wanted));
            }
            true
        }
    };
    let default = [first, second, third, "default_runtime_name"];
    let present = tables::text(&document, &default)?.map(str::to_string);
    let is_default = present.as_deref() == Some(NAME);
    if named && (is_default || !wanted.default) {
        return Ok(None);
    }
    if wanted.default && !is_default {
        tables::set(tables::make(&mut document, &plugin)?, default[3], NAME);
    }
    if !named {
        let mut systemd = None;
        for neighbour in ["runc", present.as_deref().unwrap_or("runc")] {
            let option = [&runtimes[..], &[neighbour, "options", "SystemdCgroup"]].concat();
            systemd = systemd.or(tables::value(&document, &option, "true or false", Item::as_bool)?);
        }
        // A table of runtimes takes the place of the built-in one (seen with 1.6): runc would be gone.
        if tables::get(&document, &runtimes)?.is_none_or(|table| table.is_empty()) {
            tables::set(tables::make(&mut document, &path("runc", &[]))?, "runtime_type", SHIM);
        }
        tables::set(tables::make(&mut document, &mine)?, "runtime_type", SHIM);
        let options = tables::make(&mut document, &path(NAME, &["options"]))?;
        tables::set(options, "BinaryName", wanted.program.as_str());
        if let Some(systemd) = systemd {
            tables::set(options, "SystemdCgroup", systemd);
        }
    }
    Ok(Some(tables::write(&document, text)))
}

/// The plugin that the file's version has the runtimes in. An empty file becomes one of version 2, which every containerd
/// in use reads.
fn plugin(document: &mut DocumentMut) -> Result<&'static str, Refusal> {
    if document.is_empty() {
        tables::set(document.as_table_mut(), "version", 2);
    }
    match tables::value(document, &["version"], "a number", Item::as_integer)? {
        Some(2) => Ok("io.containerd.grpc.v1.cri"),
        Some(3) => Ok("io.containerd.cri.v1.runtime"),
        None => Err(Refusal {
            what: "version is missing: that is a file of version 1".into(),
            hint: Some("bring it to the newest version: containerd config migrate".into()),
        }),
        Some(other) => Err(Refusal {
            what: format!("version is {other}; 2 and 3 are known"),
            hint: Some("make the change by hand: docs/guide/containerd.md".into()),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V2: &str = "io.containerd.grpc.v1.cri";
    const V3: &str = "io.containerd.cri.v1.runtime";

    fn wanted(default: bool) -> Wanted {
        Wanted { program: "/usr/bin/donjon".into(), default }
    }

    fn edited(old: &str, default: bool) -> String {
        let new = edit(old, &wanted(default)).unwrap().unwrap();
        assert_eq!(edit(&new, &wanted(default)).unwrap(), None, "{new}");
        new
    }

    #[test]
    fn both_versions_get_the_runtime_in_their_own_table() {
        for (version, plugin) in [(2, V2), (3, V3)] {
            let new = edited(&format!("# mine\nversion = {version} # why\n"), false);
            assert!(new.starts_with(&format!("# mine\nversion = {version} # why\n")), "{new}");
            let table =
                format!("[plugins.\"{plugin}\".containerd.runtimes.donjon]\nruntime_type = \"{SHIM}\"\n");
            assert!(new.contains(&table), "{new}");
            assert!(new.contains("runtimes.donjon.options]\nBinaryName = \"/usr/bin/donjon\"\n"), "{new}");
            assert!(!new.contains("default_runtime_name") && !new.contains("SystemdCgroup"), "{new}");
        }
    }

    #[test]
    fn an_empty_file_becomes_one_of_version_2_and_keeps_runc() {
        for old in ["", "# nothing yet\n"] {
            let new = edited(old, true);
            assert!(new.contains("version = 2\n") && new.contains(".runtimes.runc]\n"), "{new}");
            assert!(new.contains("default_runtime_name = \"donjon\"\n"), "{new}");
        }
    }

    #[test]
    fn the_cgroup_driver_is_the_neighbours_and_the_neighbour_stays_as_it_is() {
        for (version, plugin) in [(2, V2), (3, V3)] {
            for driver in [true, false] {
                let old = format!(
                    "version = {version}\n[plugins.'{plugin}'.containerd.runtimes.runc]\n  runtime_type = \"{SHIM}\"\n  \
                     [plugins.'{plugin}'.containerd.runtimes.runc.options]\n    SystemdCgroup = {driver} # here\n"
                );
                let new = edited(&old, false);
                assert!(new.starts_with(&old), "{new}");
                assert!(new.ends_with(&format!("SystemdCgroup = {driver}\n")), "{new}");
            }
        }
    }

    #[test]
    fn what_is_not_understood_is_refused_by_its_name() {
        let refused = |text: &str| edit(text, &wanted(true)).unwrap_err().what;
        assert!(refused("root = \"/x\"\n").starts_with("version is missing"));
        assert!(refused("version = 9\n").starts_with("version is 9"));
        assert!(refused("version = \"2\"\n").starts_with("version is not a number"));
        assert!(refused("version = 2\nplugins = 3\n").starts_with("plugins is not a table"));
        let donjon = format!("version = 2\n[plugins.\"{V2}\".containerd.runtimes.donjon]\n");
        for other in [
            "",
            "runtime_type = \"io.containerd.runsc.v1\"\noptions.BinaryName = \"/usr/bin/donjon\"\n",
            "runtime_type = \"io.containerd.runc.v2\"\noptions.BinaryName = \"/opt/donjon\"\n",
        ] {
            let text = refused(&format!("{donjon}{other}"));
            assert!(text.contains("runtimes.donjon is there already"), "{text}");
        }
        let text = refused(&format!("{donjon}runtime_type = 1\n"));
        assert!(text.contains("runtime_type is not a string"), "{text}");
    }
}
