//! `donjon setup ENGINE`: the change that makes an engine use donjon as an OCI runtime, printed, and made with `--apply`.
//!
//! An engine starts the program that its configuration names, often as root. So nothing is written that was not
//! understood, and no path is followed that somebody else may change (R19): neither that of the program nor that of the
//! file.

pub mod change;
mod containerd;
mod crio;
mod docker;
mod file;
mod podman;
mod program;
mod tables;

use std::io::Write;
use std::path::{Path, PathBuf};

use super::Failure;
use crate::args::SetupArgs;
use file::File;

/// The name that the engines know donjon by.
const NAME: &str = "donjon";

/// The engines that can be set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // each is the engine of that name
pub enum Engine {
    Podman,
    Docker,
    Containerd,
    Crio,
}

impl Engine {
    /// All of them.
    pub const ALL: [Engine; 4] = [Engine::Podman, Engine::Docker, Engine::Containerd, Engine::Crio];

    /// The word of the command line.
    pub fn name(self) -> &'static str {
        match self {
            Engine::Podman => "podman",
            Engine::Docker => "docker",
            Engine::Containerd => "containerd",
            Engine::Crio => "crio",
        }
    }

    fn place(self, caller: &Caller) -> Result<Place, Failure> {
        match self {
            Engine::Podman => podman::place(caller),
            Engine::Docker => docker::place(caller),
            Engine::Containerd => containerd::place(caller),
            Engine::Crio => crio::place(caller),
        }
    }

    /// The text with the change; none when it says all that already.
    fn edit(self, text: &str, wanted: &Wanted) -> Result<Option<String>, Refusal> {
        match self {
            Engine::Podman => podman::edit(text, wanted),
            Engine::Docker => docker::edit(text, wanted),
            Engine::Containerd => containerd::edit(text, wanted),
            Engine::Crio => crio::edit(text, wanted),
        }
    }

    /// What makes the engine read its configuration again, and what shows that it did.
    fn next(self, caller: &Caller) -> (Option<&'static str>, &'static str) {
        match (self, caller) {
            (Engine::Podman, _) => {
                (None, "podman --runtime donjon info --format '{{.Host.OCIRuntime.Path}}'")
            }
            (Engine::Docker, Caller::Root) => {
                (Some("systemctl reload docker"), "docker info --format '{{json .Runtimes}}'")
            }
            (Engine::Docker, Caller::Ordinary { .. }) => {
                (Some("systemctl --user restart docker"), "docker info --format '{{json .Runtimes}}'")
            }
            (Engine::Containerd, Caller::Root) => {
                (Some("systemctl restart containerd"), "containerd config dump | grep -A 20 runtimes.donjon")
            }
            (Engine::Containerd, Caller::Ordinary { .. }) => (
                Some("systemctl --user restart containerd"),
                "containerd -c ~/.config/containerd/config.toml config dump | grep -A 20 runtimes.donjon",
            ),
            (Engine::Crio, _) => {
                (Some("systemctl restart crio"), "crio status config | grep -A 5 runtimes.donjon")
            }
        }
    }
}

/// Whose configuration it is.
#[derive(Debug)]
pub enum Caller {
    /// The machine's.
    Root,
    /// A user's own.
    Ordinary {
        /// `$XDG_CONFIG_HOME`, or `~/.config`.
        config: PathBuf,
    },
}

impl Caller {
    fn find() -> Result<Self, Failure> {
        if rustix::process::geteuid().is_root() {
            return Ok(Self::Root);
        }
        let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        absolute("XDG_CONFIG_HOME")
            .or_else(|| absolute("HOME").map(|home| home.join(".config")))
            .map(|config| Self::Ordinary { config })
            .ok_or_else(|| {
                Failure::new("setup: neither XDG_CONFIG_HOME nor HOME names a directory")
                    .hint("name the file: --file FILE")
            })
    }
}

/// Where an engine's configuration lies.
#[derive(Debug)]
pub struct Place {
    /// The file to change.
    file: PathBuf,
    /// Where it is kept as it was. Not a drop-in directory: there are engines that read every file of it.
    backups: PathBuf,
    /// Other files that the engine reads, and which may name donjon already.
    others: Vec<PathBuf>,
}

impl Place {
    /// A file that is kept beside itself; a drop-in beside its directory.
    fn single(file: PathBuf) -> Result<Self, Failure> {
        let Some(directory) = file.parent() else {
            return Err(Failure::new(format!("setup: {} is no file", file.display())));
        };
        let drop_in = directory.extension().is_some_and(|extension| extension == "d");
        let backups = directory.parent().filter(|_| drop_in).unwrap_or(directory).to_path_buf();
        Ok(Self { file, backups, others: Vec::new() })
    }

    /// A drop-in; `main` and those files of the same directory that are `read` belong to it.
    fn drop_in(main: PathBuf, file: PathBuf, read: fn(&Path) -> bool) -> Result<Self, Failure> {
        let mut place = Self::single(file)?;
        place.others.push(main);
        let directory = place.file.parent().unwrap_or(Path::new("/"));
        match std::fs::read_dir(directory) {
            Ok(entries) => {
                let paths = entries.flatten().map(|entry| entry.path());
                place.others.extend(paths.filter(|path| *path != place.file && read(path)));
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(Failure::new(format!("setup: {}: {error}", directory.display()))),
        }
        place.others.sort();
        Ok(place)
    }
}

/// What the configuration is to say.
#[derive(Debug)]
pub struct Wanted {
    /// donjon's absolute path.
    program: String,
    /// Whether it is the default as well.
    default: bool,
}

/// Why a file can't be changed.
#[derive(Debug)]
pub struct Refusal {
    /// The field and what is wrong with it.
    what: String,
    /// The next step.
    hint: Option<String>,
}

impl Refusal {
    fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), hint: None }
    }

    /// `donjon` is there and means something else.
    fn foreign(field: &str, wanted: &Wanted) -> Self {
        Self {
            what: format!("{field} is there already, and is not {}", wanted.program),
            hint: Some("remove that entry first, or name its program with --path".into()),
        }
    }

    fn of(self, path: &Path) -> Failure {
        let failure = Failure::new(format!("setup: {}: {}", path.display(), self.what));
        match self.hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

/// Prints the change, and makes it when that was asked.
pub fn run(args: &SetupArgs) -> Result<(), Failure> {
    let caller = Caller::find()?;
    let wanted = Wanted { program: program::find(args.path.as_deref())?, default: args.default };
    let place = match &args.file {
        Some(file) => Place::single(file.clone())?,
        None => args.engine.place(&caller)?,
    };
    let mut out = std::io::stdout().lock();
    for other in &place.others {
        let Some(text) = File::read(other, &place.backups)?.text else { continue };
        if args.engine.edit(&text, &wanted).map_err(|refusal| refusal.of(other))?.is_none() {
            writeln!(out, "already set in {}", other.display())?;
            return Ok(());
        }
    }
    let file = File::read(&place.file, &place.backups)?;
    let old = file.text.as_deref().unwrap_or_default();
    let edit = |text: &str| args.engine.edit(text, &wanted).map_err(|refusal| refusal.of(&place.file));
    let Some(new) = edit(old)? else {
        writeln!(out, "already set in {}", place.file.display())?;
        return Ok(());
    };
    // Read again it must say what was wanted: whatever form the file has, nothing is written that was misunderstood.
    if edit(&new)?.is_some() {
        return Err(
            Refusal::new("has a form that can't be added to; make the change by hand").of(&place.file)
        );
    }
    let name = place.file.display().to_string();
    write!(out, "{}", change::unified(&name, file.text.as_deref(), &new))?;
    if !args.apply {
        writeln!(out, "nothing is changed yet: --apply makes the change")?;
        return Ok(());
    }
    let backup = file.replace(&new)?;
    writeln!(out, "written: {name}")?;
    if let Some(backup) = backup {
        writeln!(out, "as it was: {}", backup.display())?;
    }
    let (reload, check) = args.engine.next(&caller);
    if let Some(reload) = reload {
        writeln!(out, "next: {reload}")?;
    }
    writeln!(out, "check: {check}")?;
    Ok(())
}
