//! Podman and Buildah: `containers.conf`.
//!
//! The change is a drop-in of donjon's own, `containers.conf.d/50-donjon.conf`, which Podman reads since version 3
//! (`man 5 containers.conf`). For an older one there is `--file`.

use std::path::{Path, PathBuf};

use toml_edit::{Array, Item};

use super::{Caller, NAME, Place, Refusal, Wanted, tables};
use crate::commands::Failure;

const RUNTIMES: [&str; 2] = ["engine", "runtimes"];
const DEFAULT: [&str; 2] = ["engine", "runtime"];

/// The drop-in, and the files that are read before it.
pub fn place(caller: &Caller) -> Result<Place, Failure> {
    let directory = match caller {
        Caller::Root => PathBuf::from("/etc/containers"),
        Caller::Ordinary { config } => config.join("containers"),
    };
    Place::drop_in(
        directory.join("containers.conf"),
        directory.join("containers.conf.d/50-donjon.conf"),
        |path: &Path| path.extension().is_some_and(|e| e == "conf"),
    )
}

/// `[engine.runtimes] donjon = ["PATH"]`, and `[engine] runtime`.
pub fn edit(text: &str, wanted: &Wanted) -> Result<Option<String>, Refusal> {
    let mut document = tables::parse(text)?;
    let path = [RUNTIMES[0], RUNTIMES[1], NAME];
    let named = match tables::value(&document, &path, "a list of paths", Item::as_array)? {
        None => false,
        Some(paths) if paths.len() == 1 && paths.get(0).and_then(|p| p.as_str()) == Some(&wanted.program) => {
            true
        }
        Some(_) => return Err(Refusal::foreign(&tables::field(&path), wanted)),
    };
    let default = tables::text(&document, &DEFAULT)? == Some(NAME);
    if named && (default || !wanted.default) {
        return Ok(None);
    }
    if wanted.default && !default {
        tables::set(tables::make(&mut document, &DEFAULT[..1])?, DEFAULT[1], NAME);
    }
    if !named {
        tables::set(
            tables::make(&mut document, &RUNTIMES)?,
            NAME,
            Array::from_iter([wanted.program.as_str()]),
        );
    }
    Ok(Some(tables::write(&document, text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(default: bool) -> Wanted {
        Wanted { program: "/usr/bin/donjon".into(), default }
    }

    fn refused(text: &str) -> String {
        edit(text, &wanted(true)).unwrap_err().what
    }

    #[test]
    fn an_empty_file_gets_the_table_and_nothing_else() {
        let text = edit("", &wanted(false)).unwrap();
        assert_eq!(text.as_deref(), Some("[engine.runtimes]\ndonjon = [\"/usr/bin/donjon\"]\n"));
    }

    #[test]
    fn comments_order_and_other_runtimes_stay() {
        let old = "# mine\n[engine] # engine\n  runtime = \"crun\" # why\n# events_logger = \"journald\"\n\n[engine.runtimes]\n\
                   crun = [\"/usr/bin/crun\"]\n\n[network]\n# last\n";
        let new = edit(old, &wanted(true)).unwrap().unwrap();
        let expected = "# mine\n[engine] # engine\n  runtime = \"donjon\" # why\n# events_logger = \"journald\"\n\n\
                        [engine.runtimes]\ncrun = [\"/usr/bin/crun\"]\ndonjon = [\"/usr/bin/donjon\"]\n\n[network]\n# last\n";
        assert_eq!(new, expected);
        assert_eq!(edit(&new, &wanted(true)).unwrap(), None);
    }

    #[test]
    fn comments_at_the_end_stay_with_the_table_that_they_are_in() {
        for old in [
            "[engine]\n# runtime = \"crun\"\n\n# last\n",
            "[engine]\nx = 1\n# engine\n\n[secrets]\n# driver = \"file\"\n",
            "# all of it\n",
        ] {
            let new = edit(old, &wanted(false)).unwrap().unwrap();
            assert!(new.starts_with(old), "{old} became {new}");
            assert_eq!(edit(&new, &wanted(false)).unwrap(), None, "{old} became {new}");
        }
        let new = edit("[engine]\nx = 1\n[secrets]\n# driver\n", &wanted(true)).unwrap().unwrap();
        assert!(new.starts_with("[engine]\nx = 1\nruntime = \"donjon\"\n"), "{new}");
        assert!(new.contains("[secrets]\n# driver\n"), "{new}");
    }

    #[test]
    fn tables_in_one_line_and_dotted_keys_are_added_to() {
        for old in [
            "engine = { runtimes = { crun = [\"/usr/bin/crun\"] } }\n",
            "engine.runtime = \"crun\"\n",
            "[engine]\nruntimes.crun = [\"/usr/bin/crun\"]\n",
            "[engine]\n[engine.runtimes]\n",
        ] {
            let new = edit(old, &wanted(true)).unwrap().unwrap();
            assert_eq!(edit(&new, &wanted(true)).unwrap(), None, "{old} became {new}");
        }
    }

    #[test]
    fn what_is_not_understood_is_refused_by_its_name() {
        assert!(refused("[engine\n").contains("is no TOML"));
        assert!(refused("engine = 1\n").starts_with("engine is not a table"));
        assert!(refused("[engine]\nruntimes = [1]\n").starts_with("engine.runtimes is not a table"));
        assert!(refused("[engine]\nruntime = 3\n").starts_with("engine.runtime is not a string"));
        assert!(refused("[engine.runtimes]\ndonjon = \"/usr/bin/donjon\"\n").contains("not a list of paths"));
        for other in ["[\"/opt/donjon\"]", "[]", "[\"/usr/bin/donjon\", \"/opt/donjon\"]"] {
            let text = refused(&format!("[engine.runtimes]\ndonjon = {other}\n"));
            assert!(text.starts_with("engine.runtimes.donjon is there already"), "{text}");
        }
    }
}
