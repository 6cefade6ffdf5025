//! CRI-O: a drop-in of donjon's own, `/etc/crio/crio.conf.d/50-donjon.conf`.
//!
//! CRI-O reads every file in that directory and below, whatever its name: so no copy is kept there.

use std::path::PathBuf;

use super::{Caller, NAME, Place, Refusal, Wanted, tables};
use crate::commands::Failure;

const RUNTIME: [&str; 2] = ["crio", "runtime"];
const DONJON: [&str; 4] = ["crio", "runtime", "runtimes", NAME];

/// Where containers are recorded: apart from those that donjon was asked for directly.
const STATE: &str = "/run/crio/donjon";

/// The drop-in; CRI-O is the machine's alone.
pub fn place(caller: &Caller) -> Result<Place, Failure> {
    match caller {
        Caller::Root => {
            let directory = PathBuf::from("/etc/crio");
            let file = directory.join("crio.conf.d/50-donjon.conf");
            Place::drop_in(directory.join("crio.conf"), file, |path| !path.is_dir())
        }
        Caller::Ordinary { .. } => Err(Failure::new("setup: CRI-O has no configuration of an ordinary user")
            .hint("run it as root, or name a file: --file FILE")),
    }
}

/// `[crio.runtime.runtimes.donjon]`, and `default_runtime`.
pub fn edit(text: &str, wanted: &Wanted) -> Result<Option<String>, Refusal> {
    let mut document = tables::parse(text)?;
    let named = match tables::get(&document, &DONJON)? {
        None => false,
        Some(_) => {
            let value = |key| {
                let [first, second, third, fourth] = DONJON;
                tables::text(&document, &[first, second, third, fourth, key])
            };
            let kind = value("runtime_type")?.unwrap_or_default();
            if value("runtime_path")? != Some(&wanted.program) || !["", "oci"].contains(&kind) {
                return Err(Refusal::foreign(&tables::field(&DONJON), wanted));
            }
            true
        }
    };
    let default = tables::text(&document, &["crio", "runtime", "default_runtime"])? == Some(NAME);
    if named && (default || !wanted.default) {
        return Ok(None);
    }
    if wanted.default && !default {
        tables::set(tables::make(&mut document, &RUNTIME)?, "default_runtime", NAME);
    }
    if !named {
        let table = tables::make(&mut document, &DONJON)?;
        tables::set(table, "runtime_path", wanted.program.as_str());
        tables::set(table, "runtime_type", "oci");
        tables::set(table, "runtime_root", STATE);
    }
    Ok(Some(tables::write(&document, text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(default: bool) -> Wanted {
        Wanted { program: "/usr/bin/donjon".into(), default }
    }

    #[test]
    fn the_drop_in_names_the_runtime_and_the_default_when_asked() {
        let new = edit("", &wanted(true)).unwrap().unwrap();
        assert_eq!(
            new,
            "[crio.runtime]\ndefault_runtime = \"donjon\"\n\n[crio.runtime.runtimes.donjon]\n\
             runtime_path = \"/usr/bin/donjon\"\nruntime_type = \"oci\"\nruntime_root = \"/run/crio/donjon\"\n"
        );
        assert_eq!(edit(&new, &wanted(true)).unwrap(), None);
        assert!(!edit("", &wanted(false)).unwrap().unwrap().contains("default_runtime"));
    }

    #[test]
    fn another_program_or_another_kind_of_runtime_is_refused() {
        for other in [
            "runtime_path = \"/opt/donjon\"",
            "runtime_path = \"/usr/bin/donjon\"\nruntime_type = \"vm\"",
            "",
        ] {
            let old = format!("[crio.runtime.runtimes.donjon]\n{other}\n");
            let refusal = edit(&old, &wanted(false)).unwrap_err();
            assert!(refusal.what.starts_with("crio.runtime.runtimes.donjon is there already"), "{refusal:?}");
        }
        let refusal = edit("[crio.runtime.runtimes.donjon]\nruntime_path = 1\n", &wanted(false)).unwrap_err();
        assert!(refusal.what.contains("runtime_path is not a string"), "{refusal:?}");
    }
}
