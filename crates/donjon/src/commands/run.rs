//! `donjon run`: flags and files to a policy, policy and image to a specification, specification to a plan, and the
//! plan to a container.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use donjon_confine::{Host, Plan, Spec};
use donjon_image::{Asker, Image, Reference, User, users};
use donjon_policy::model::UserNamespace;
use donjon_policy::{Caller, Identity, Policy, PolicyError, Request, RootTree, Stack, to_spec};
use donjon_runtime::Store;
use donjon_runtime::container::Container;
use donjon_runtime::learn::recorder::Observation;
use donjon_runtime::names::Id;
use donjon_runtime::ranges;
use donjon_runtime::start::{self, Launch};
use rustix::process::Signal;

use super::{Failure, Format, explain};
use crate::args::RunArgs;

/// Runs a program in a new container and returns donjon's exit status.
pub fn run(args: RunArgs, root: Option<&Path>) -> Result<u8, Failure> {
    run_and_tell(args, root, None, true)
}

/// The same for somebody who looks at what the program does, and tells it: by tracing, or with an observer.
pub fn run_observed(
    args: RunArgs,
    root: Option<&Path>,
    observation: Option<Observation>,
) -> Result<u8, Failure> {
    run_and_tell(args, root, observation, false)
}

fn run_and_tell(
    args: RunArgs,
    root: Option<&Path>,
    observation: Option<Observation>,
    alone: bool,
) -> Result<u8, Failure> {
    // Reading the command line is done.
    start::let_go_of_code();
    let host = crate::filters::host();
    let policy = effective(&args)?;
    if args.plan {
        let id = Id::random().map_err(|e| Failure::new(donjon_confine::error::words(e)))?;
        let location = root.map_or_else(Store::location, Path::to_path_buf);
        let spec = specify(&args, &policy, &host, &id, location, &Ranges::Example)?;
        return print_plan(&Plan::new(&spec, &host)?, args.format);
    }
    let store = match root {
        Some(root) => Store::open_at(root)?,
        None => Store::open()?,
    };
    let container = store.create(args.name.as_deref())?;
    let prepared = specify(
        &args,
        &policy,
        &host,
        &container.id,
        store.path().to_path_buf(),
        &Ranges::Of(&store, &container),
    )
    .and_then(|spec| launch(&args, &policy, spec, host))
    .map(|launch| Launch { observation, ..launch });
    let launch = match prepared {
        Ok(launch) => launch,
        Err(failure) => {
            let _ = store.remove(container);
            return Err(failure);
        }
    };
    if policy.namespaces.user == Some(UserNamespace::Host) {
        let _ = std::io::stderr()
            .write_all(b"donjon: --userns host: ids and capabilities inside are the host's own\n");
    }
    let f = &policy.filesystem;
    let names_files = [&f.read, &f.write, &f.execute].iter().any(|list| list.is_some());
    // Not needed any more, and a warden lives as long as its container.
    drop((policy, args.flags));
    if args.detach {
        let id = start::detached(&store, container, launch)?;
        if names_files {
            let state = store.find(id.as_str()).ok().and_then(|container| container.state().ok());
            tell_passed_over(&state.map(|state| state.passed_over).unwrap_or_default());
        }
        writeln!(std::io::stdout(), "{id}")?;
        return Ok(0);
    }
    let unseen = alone && names_files && !launch.host.reads_audit;
    let outcome = start::foreground(&store, container, launch)?;
    tell_passed_over(&outcome.passed_over);
    explain::summarize(&outcome.watch, outcome.kept.then_some(&outcome.name));
    if unseen && outcome.watch.end.code != 0 && outcome.watch.events.is_empty() {
        let _ = writeln!(std::io::stderr(), "donjon: hint: {}", explain::UNSEEN);
    }
    Ok(outcome.watch.end.code)
}

/// The policy in effect: defaults, preset, files with what they build on, flags, each on top of the one before.
pub fn effective(args: &RunArgs) -> Result<Policy, Failure> {
    let mut policy = Policy::defaults()?;
    if let Some(preset) = &args.preset {
        policy = policy.under_preset(preset)?;
    }
    for file in &args.files {
        let stack = Stack::read(file)?;
        if let Some(place) = stack.incomplete() {
            unread(&place, args.incomplete)?;
        }
        policy = stack.over(policy)?;
    }
    Ok(policy.merge(args.flags.clone(), "the command line")?)
}

/// A learnt policy that nobody has read is used only when that was said, and never in silence.
fn unread(place: &str, wanted: bool) -> Result<(), Failure> {
    if !wanted {
        let what = "incomplete = true: it was learnt from a run, and nobody has read it yet";
        return Err(Failure::new(format!("{place}: {what}"))
            .hint("read it and take the line out; or use it as it is with --incomplete"));
    }
    let _ = writeln!(std::io::stderr(), "donjon: {place}: a learnt policy that nobody has read is in force");
    Ok(())
}

/// Tells what the policy files name and the container does not hold.
fn tell_passed_over(passed_over: &[String]) {
    let told: Vec<&String> = passed_over.iter().filter(|note| !of_a_preset(note)).collect();
    let mut text = String::new();
    for note in told.iter().take(10) {
        text.push_str(&format!("donjon: {}\n", donjon_runtime::events::printable(note)));
    }
    if told.len() > 10 {
        text.push_str(&format!("donjon: and {} more paths of the policy\n", told.len() - 10));
    }
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// Whether it is about a path that a preset names: presets are meant for many images, and no image holds all of it.
pub fn of_a_preset(passed_over: &str) -> bool {
    Policy::presets().filter_map(|name| Policy::preset(name).ok()).any(|preset| {
        let f = &preset.filesystem;
        let lists = [("read", &f.read), ("write", &f.write), ("execute", &f.execute)];
        lists.iter().any(|(key, list)| {
            let names = |path: &String| passed_over.starts_with(&format!("filesystem.{key}: {path} "));
            list.iter().flatten().any(names)
        })
    })
}

/// Where a range of host ids comes from.
pub enum Ranges<'a> {
    /// One that is free for this container.
    Of(&'a Store, &'a Container),
    /// For a plan that is only printed.
    Example,
}

/// The specification of the container.
pub fn specify(
    args: &RunArgs,
    policy: &Policy,
    host: &Host,
    id: &Id,
    state: PathBuf,
    ranges: &Ranges<'_>,
) -> Result<Spec, Failure> {
    let hostname = policy.process.hostname.as_deref().unwrap_or(id.short());
    let image = Image::open(&args.image, &Asker { uid: host.uid, gid: host.gid, hostname })?;
    let who = who(args, policy, &image, host)?;
    let caller = Caller {
        uid: host.uid,
        gid: host.gid,
        home: std::env::var_os("HOME").map(PathBuf::from),
        own: std::iter::once(std::fs::canonicalize(&state).unwrap_or(state)).collect(),
        policies: policy
            .sources
            .iter()
            .cloned()
            .chain(policy.syscalls.profile.as_ref().map(PathBuf::from))
            .flat_map(|file| names_of(&file))
            .collect(),
    };
    let request = Request {
        args: args.command.clone(),
        id: id.to_string(),
        range: range(policy, host, ranges)?,
        cgroup: Some(format!("donjon-{id}").into()),
    };
    let policy = &in_the_callers_directory(policy);
    let tree = RootTree { path: image.path, root: image.root, default_args: image.command };
    Ok(to_spec(policy, &tree, &who, &caller, &request)?)
}

/// Without `-w` the program starts where its caller is, if that directory is mounted at its own place.
fn in_the_callers_directory(policy: &Policy) -> std::borrow::Cow<'_, Policy> {
    if policy.process.workdir.is_some() || policy.mounts.is_empty() {
        return std::borrow::Cow::Borrowed(policy);
    }
    let mounted = |here: &Path| {
        policy.mounts.iter().any(|mount| {
            let source = mount.source.as_ref().and_then(|source| std::fs::canonicalize(source).ok());
            source.is_some_and(|source| Path::new(&mount.target) == source && here.starts_with(&source))
        })
    };
    match std::env::current_dir()
        .ok()
        .filter(|here| mounted(here))
        .and_then(|here| here.to_str().map(String::from))
    {
        Some(here) => {
            let mut policy = policy.clone();
            policy.process.workdir = Some(here);
            std::borrow::Cow::Owned(policy)
        }
        None => std::borrow::Cow::Borrowed(policy),
    }
}

/// Where a file is, and where its name is: replacing a link is as good as rewriting what it leads to.
fn names_of(file: &Path) -> Vec<PathBuf> {
    let mut names: Vec<PathBuf> = std::fs::canonicalize(file).into_iter().collect();
    let above = match file.parent() {
        Some(above) if above != Path::new("") => above,
        _ => Path::new("."),
    };
    if let (Ok(above), Some(name)) = (std::fs::canonicalize(above), file.file_name()) {
        names.push(above.join(name));
    }
    names
}

/// Who the program is inside.
fn who(args: &RunArgs, policy: &Policy, image: &Image, host: &Host) -> Result<Identity, Failure> {
    let user = match &policy.process.user {
        Some(word) => users::resolve_user(&image.path, word)?,
        None if args.keep_id => {
            let own = users::caller(host.uid, host.gid);
            User { home: "/".into(), ..own }
        }
        None => image.user.clone(),
    };
    let additional_gids = users::resolve_groups(&image.path, &policy.process.groups)?;
    Ok(Identity {
        uid: user.uid,
        gid: user.gid,
        additional_gids,
        name: user.name,
        home: user.home,
        powerless: args.image == Reference::Host,
    })
}

/// The host ids that a container gets besides the caller's own.
fn range(policy: &Policy, host: &Host, ranges: &Ranges<'_>) -> Result<Option<(u32, u32)>, Failure> {
    let mode = policy.namespaces.user.unwrap_or_default();
    match (mode, host.uid) {
        (UserNamespace::Host, _) => Ok(None),
        (_, 0) => Ok(Some(match ranges {
            Ranges::Of(store, container) => store.take_range(container)?,
            Ranges::Example => ranges::FIRST,
        })),
        (UserNamespace::Range, uid) => {
            Ok(Some(ranges::subordinate(uid).map_err(|e| Failure::new(&e).hint(e.hint()))?))
        }
        (UserNamespace::Auto, _) => Ok(None),
    }
}

fn launch(args: &RunArgs, policy: &Policy, spec: Spec, host: Host) -> Result<Launch, Failure> {
    let plan = Plan::new(&spec, &host)?;
    let p = &policy.process;
    let stop_signal = match p.stop_signal.as_deref() {
        None => Signal::TERM,
        Some(word) => donjon_runtime::warden::signals::parse(word).ok_or_else(|| {
            PolicyError::new("--stop-signal", format!("{word:?} can't be sent"))
                .hint("for instance TERM, INT, QUIT, 15")
        })?,
    };
    Ok(Launch {
        spec,
        plan,
        host,
        image: args.image.to_string(),
        policies: policies(args, policy),
        interactive: args.interactive,
        auto_remove: args.remove,
        stop_signal,
        stop_timeout: Duration::from_secs(p.stop_timeout.unwrap_or(10)),
        time_limit: p.timeout.filter(|seconds| *seconds > 0).map(Duration::from_secs),
        cidfile: args.cidfile.clone(),
        pidfile: args.pidfile.clone(),
        observation: None,
    })
}

/// What the policy was put together from: `donjon explain` finds the lines of rules there.
fn policies(args: &RunArgs, policy: &Policy) -> Vec<String> {
    args.preset.iter().map(|name| format!("preset:{name}")).chain(policy.layers.iter().cloned()).collect()
}

fn print_plan(plan: &Plan, format: Format) -> Result<u8, Failure> {
    let mut out = std::io::stdout().lock();
    match format {
        Format::Text => out.write_all(plan.to_text().as_bytes())?,
        Format::Json => {
            serde_json::to_writer_pretty(&mut out, &plan.to_json())?;
            writeln!(out)?;
        }
    }
    out.flush()?;
    Ok(0)
}
