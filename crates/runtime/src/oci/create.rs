//! `create`: everything up to the program, which waits for `start`.
//!
//! **The attacks**: a container's process keeps a descriptor of the state directory or its lock; the creation is cut off
//! and leaves a process that nobody knows. **The defence**: the process never has these descriptors; it is written down
//! before it makes its first mount; and until it is created it ends when its creator does.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use donjon_confine::bundle::Options;
use donjon_confine::layers::cgroups::{self, Cgroup, Hierarchies, Wanted};
use donjon_confine::layers::namespaces::flag;
use donjon_confine::{Confined, Given, Handover, Host, Plan, Spec, StartError};
use rustix::io::Errno;
use rustix::net::{SocketType, bind, listen};
use rustix::process::Pid;

use super::bundle::Bundle;
use super::console;
use super::error::OciError;
use super::home;
use super::hooks::{self, Moment};
use super::own_image;
use super::record::Record;
use super::sockets::{address_in, unix_socket};
use super::store::{Entry, Store, is_id};
use crate::container::write_all;
use crate::process::Identity;

/// What `create` and `run` are told.
#[derive(Debug, Default)]
pub struct Creation {
    /// The container's id.
    pub id: String,
    /// The bundle's directory.
    pub bundle: PathBuf,
    /// Another file than the bundle's `config.json`.
    pub config: Option<PathBuf>,
    /// Where the engine waits for the terminal.
    pub console_socket: Option<PathBuf>,
    /// Where the engine waits for a pidfd.
    pub pidfd_socket: Option<PathBuf>,
    /// A file for the pid.
    pub pid_file: Option<PathBuf>,
    /// How many of the descriptors that are passed on are sockets that systemd passed in.
    pub listen_fds: u32,
    /// How its cgroup is made.
    pub cgroups: cgroups::Options,
    /// What the plan has to know.
    pub options: Options,
    /// Whether nobody stays to watch the container: `create`, and `run --detach`.
    pub detached: bool,
}

/// A container whose process waits, or already runs its program.
#[derive(Debug)]
pub struct Made {
    /// Its directory, locked.
    pub entry: Entry,
    /// What is written down of it.
    pub record: Record,
    /// Its specification.
    pub spec: Spec,
    /// Its process.
    pub confined: Confined,
    /// What the process handed over.
    pub handover: Handover,
    /// What is not done as written, and why.
    pub notes: Vec<String>,
}

/// Creates a container. After an error nothing of it is left.
pub fn create(store: &Store, creation: &Creation, host: &Host) -> Result<Made, OciError> {
    if !is_id(&creation.id) {
        return Err(OciError::Id { id: creation.id.clone() });
    }
    let mut bundle = Bundle::read(&creation.bundle, creation.config.as_deref())?;
    tell_of_sockets(&mut bundle.spec, creation.listen_fds);
    let root = bundle.spec.root().as_ref().map(|root| root.path().clone()).unwrap_or_default();
    if let Some(process) = bundle.spec.process_mut() {
        home::complete(process, root);
    }
    let terminal = bundle.spec.process().as_ref().and_then(|p| p.terminal()).unwrap_or(false);
    console::check(terminal, creation.detached, creation.console_socket.as_deref())?;
    let wanted = Wanted::plan(&bundle.spec, &creation.id, creation.cgroups, &Hierarchies::probe())?;
    let options = Options { born_in_group: wanted.is_birthplace(), ..creation.options.clone() };
    let plan = Plan::of_bundle(&bundle.spec, host, &options)?;
    own_image::protect(&bundle.spec, false)?;
    let entry = store.create(&creation.id)?;
    let mut record = Record::new(
        &creation.id,
        bundle.spec.version(),
        bundle.path,
        bundle.spec.root().as_ref().map(|r| r.path().clone()).unwrap_or_default(),
    );
    record.annotations = bundle.spec.annotations().clone().unwrap_or_default();
    record.cgroup = Some(Cgroup::planned(&wanted)).filter(|planned| !planned.groups.is_empty());
    if let Err(error) = entry.write_record(&record).and_then(|()| entry.note_belongings(&record)) {
        let _ = store.remove(entry);
        return Err(error);
    }
    let mut notes = bundle.notes;
    notes.extend_from_slice(plan.notes());
    let made = Cgroup::create_for_birth(&wanted).map_err(OciError::from).and_then(|mut group| {
        let of = (&wanted, &mut group);
        let filled = fill(&entry, &mut record, &bundle.spec, &plan, of, creation);
        if filled.is_err() {
            let _ = group.remove();
        }
        notes.extend_from_slice(group.notes());
        filled
    });
    match made {
        Ok((confined, handover)) => Ok(Made { entry, record, spec: bundle.spec, confined, handover, notes }),
        Err(error) => {
            let _ = store.remove(entry);
            Err(error)
        }
    }
}

/// Everything after the directory was made.
fn fill(
    entry: &Entry,
    record: &mut Record,
    spec: &Spec,
    plan: &Plan,
    (wanted, group): (&Wanted, &mut Cgroup),
    creation: &Creation,
) -> Result<(Confined, Handover), OciError> {
    entry.write_config(spec)?;
    let start = match creation.options.waits_for_start {
        true => Some(listen_in(entry).map_err(OciError::io("make the socket that start connects to"))?),
        false => None,
    };
    let withheld = entry.withheld();
    // A descriptor of its own, as the group changes when the process is put into it.
    let birthplace = group.birthplace().map(|dir| dir.try_clone_to_owned()).transpose();
    let birthplace = birthplace.map_err(|_| OciError::io("open the container's cgroup")(Errno::MFILE))?;
    let mut prepare = |pid: Pid| {
        if birthplace.is_none() {
            group.adopt(pid.as_raw_nonzero().get())?;
        }
        record.in_cgroup = true;
        record.cgroup = (!group.is_nowhere()).then(|| group.record().clone());
        record.init = Some(identity(pid)?);
        let written = entry.write_record(record).and_then(|()| entry.note_belongings(record));
        written.map_err(|e| StartError::of_program(e.to_string(), None))?;
        group.allow_devices_of(wanted)
    };
    let given = Given {
        prepare: Some(&mut prepare),
        cgroup: birthplace.as_ref().map(AsFd::as_fd),
        start: start.as_ref().map(AsFd::as_fd),
        withheld: &withheld,
        ..Given::default()
    };
    let mut confined = donjon_confine::spawn(plan, given)?;
    let noted = note_classes(entry, record, &confined);
    let reached = noted.and_then(|()| reach(&mut confined, entry, record, spec, plan)).and_then(|handover| {
        record.ready = true;
        // A program that runs shows that by itself.
        if creation.options.waits_for_start {
            entry.write_record(record)?;
        }
        if let (Some(socket), Some(master)) = (&creation.console_socket, &handover.console) {
            console::hand_over(socket, master.as_fd())?;
        }
        if let Some(socket) = &creation.pidfd_socket {
            console::hand_over_pidfd(socket, confined.pidfd.as_fd())?;
        }
        if let Some(file) = &creation.pid_file {
            write_pid(file, confined.pid)?;
        }
        Ok(handover)
    });
    match reached {
        Ok(handover) => Ok((confined, handover)),
        Err(error) => {
            confined.end();
            let _ = record.remove_classes();
            // The container is gone again; who set something up for it is told.
            let _ = hooks::run(spec, Moment::Stopped, &record.state("stopped", 0));
            Err(error)
        }
    }
}

/// Writes down which classes of service were made for it.
fn note_classes(entry: &Entry, record: &mut Record, confined: &Confined) -> Result<(), OciError> {
    record.classes = confined.made_classes().to_vec();
    match record.classes.is_empty() {
        true => Ok(()),
        false => entry.write_record(record).and_then(|()| entry.note_belongings(record)),
    }
}

/// Which process that is: it can't be gone, as it waits.
fn identity(pid: Pid) -> Result<Identity, StartError> {
    let fail = |errno| StartError::of_program("read the start time of the container's process", errno);
    Identity::of(pid).map_err(fail)
}

/// Follows the process until it waits for `start`, or runs; the hooks outside are run on the way.
fn reach(
    confined: &mut Confined,
    entry: &Entry,
    record: &mut Record,
    spec: &Spec,
    plan: &Plan,
) -> Result<Handover, OciError> {
    // A hook's failure has words of its own.
    let mut failed = None;
    let told = record.clone();
    let mut hooks = |pid: Pid| {
        let outside = pid.as_raw_nonzero().get();
        let run = hooks::run(spec, Moment::Create, &told.state("creating", outside));
        run.map_err(|error| {
            let told = StartError::of_program(error.to_string(), None);
            failed = Some(error);
            told
        })?;
        let inside = pid_inside(spec, outside);
        ["creating", "created"]
            .iter()
            .map(|status| hooks::memfd(&told.state(status, inside)))
            .collect::<Result<Vec<OwnedFd>, Errno>>()
            .map_err(|errno| StartError::of_program("hooks: write the container's state", errno))
    };
    let mut followed = |pid: Pid| {
        record.init = Some(identity(pid)?);
        let written = entry.write_record(record).and_then(|()| entry.note_belongings(record));
        written.map_err(|e| StartError::of_program(e.to_string(), None))
    };
    let reached = confined.reached(plan, &mut hooks, &mut followed);
    match (failed, reached) {
        (Some(error), _) => Err(error),
        (None, reached) => Ok(reached?),
    }
}

/// The pid of the container's process as it is seen inside.
fn pid_inside(spec: &Spec, outside: i32) -> i32 {
    if donjon_confine::layers::namespaces::makes(spec, flag::PID) {
        return 1;
    }
    let status = std::fs::read_to_string(format!("/proc/{outside}/status")).unwrap_or_default();
    let pids = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    pids.and_then(|pids| pids.split_ascii_whitespace().last()?.parse().ok()).unwrap_or(outside)
}

/// Tells the program of sockets that were passed in (`man 3 sd_listen_fds`): its pid is 1 where it has its own.
fn tell_of_sockets(spec: &mut Spec, count: u32) {
    if count == 0 {
        return;
    }
    if let Some(process) = spec.process_mut() {
        let mut env = process.env().clone().unwrap_or_default();
        env.retain(|entry| !entry.starts_with("LISTEN_FDS=") && !entry.starts_with("LISTEN_PID="));
        env.extend([format!("LISTEN_FDS={count}"), "LISTEN_PID=1".to_string()]);
        process.set_env(Some(env));
    }
}

/// The socket that the process listens on while it waits.
fn listen_in(entry: &Entry) -> Result<OwnedFd, Errno> {
    let socket = unix_socket(SocketType::SEQPACKET)?;
    bind(&socket, &address_in(entry.dir(), "start.sock")?)?;
    listen(&socket, 4)?;
    Ok(socket)
}

/// Writes a pid file: whoever watches for it sees it whole.
pub fn write_pid(file: &Path, pid: Pid) -> Result<(), OciError> {
    let fail = || OciError::io(format!("--pid-file: write {}", file.display()));
    let name = file.file_name().ok_or_else(|| fail()(Errno::ISDIR))?.to_string_lossy().into_owned();
    let new = file.with_file_name(format!(".{name}.donjon"));
    let flags = rustix::fs::OFlags::WRONLY
        | rustix::fs::OFlags::CREATE
        | rustix::fs::OFlags::EXCL
        | rustix::fs::OFlags::NOFOLLOW
        | rustix::fs::OFlags::CLOEXEC;
    let write = || -> Result<(), Errno> {
        // What lies at that name is a creation's that was cut off, or somebody's who waits to own the file: never written to.
        let _ = rustix::fs::unlink(&new);
        let open = rustix::fs::openat(rustix::fs::CWD, &new, flags, rustix::fs::Mode::from_raw_mode(0o644))?;
        write_all(open.as_fd(), pid.as_raw_nonzero().to_string().as_bytes())?;
        rustix::fs::rename(&new, file)
    };
    write().map_err(|errno| {
        let _ = rustix::fs::unlink(&new);
        fail()(errno)
    })
}
