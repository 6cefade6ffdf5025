//! The plan: every kernel operation of a start, in order, as a value.
//!
//! A plan is computed from the specification and one probe of the host, before any process exists. It can be
//! printed (`donjon run --plan`), compared in tests without privileges, and made to fail at any step. The child
//! walks it and decides nothing.

use std::ffi::CString;
use std::fmt;
use std::path::PathBuf;

use donjon_sys::landlock::RulesetAttr;
use donjon_sys::process::CStringArray;
use donjon_sys::scheduling::SchedAttr;
use oci_spec::runtime::Spec;
use rustix::thread::CpuSet;

use crate::beside::Network;
use crate::error::SpecError;
use crate::extensions::{Extensions, Origin};
use crate::host::Host;
use crate::idmap;
use crate::layers::namespaces::paths::Joined;
use crate::layers::{
    apparmor, capabilities, cgroups, descriptors, devices, identity, integrity, keyring, landlock, lifecycle,
    limits, mounts, namespaces, net_devices, program, rootfs, seccomp, selinux,
};
use crate::outside;
use crate::spawn::PassedOver;

/// A mechanism of isolation; also the name by which `--best-effort` and error messages speak of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)] // each is the name of its file in `layers/`
pub enum Layer {
    Identity,
    Namespaces,
    Rootfs,
    Overlay,
    Mounts,
    Devices,
    Cgroups,
    Limits,
    Keyring,
    Capabilities,
    Landlock,
    Descriptors,
    Seccomp,
    Program,
    Scheduling,
    Apparmor,
    Selinux,
    Integrity,
}

impl Layer {
    /// The name as written in flags, plans and errors.
    pub fn name(self) -> &'static str {
        match self {
            Layer::Identity => "identity",
            Layer::Namespaces => "namespaces",
            Layer::Rootfs => "rootfs",
            Layer::Overlay => "overlay",
            Layer::Mounts => "mounts",
            Layer::Devices => "devices",
            Layer::Cgroups => "cgroups",
            Layer::Limits => "limits",
            Layer::Keyring => "keyring",
            Layer::Capabilities => "capabilities",
            Layer::Landlock => "landlock",
            Layer::Descriptors => "descriptors",
            Layer::Seccomp => "seccomp",
            Layer::Program => "program",
            Layer::Scheduling => "scheduling",
            Layer::Apparmor => "apparmor",
            Layer::Selinux => "selinux",
            Layer::Integrity => "integrity",
        }
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One kernel operation, or a few that only make sense together.
#[derive(Debug)]
pub struct Step {
    /// The mechanism that it belongs to.
    pub layer: Layer,
    /// The field of the specification that asked for it, as a JSON path (`mounts[3]`); empty: always done.
    pub field: String,
    /// What is done.
    pub op: Op,
}

impl Step {
    pub(crate) fn new(layer: Layer, field: impl Into<String>, op: Op) -> Self {
        Self { layer, field: field.into(), op }
    }

    /// The mount that the parent has to make for this step, if it is such a one.
    pub(crate) fn mount_of_parent(&self) -> Option<idmap::Wanted<'_>> {
        use mounts::as_written::{AsWritten, IdMap, Thing};
        let container = |source: usize, recursive: bool| idmap::Wanted {
            source,
            recursive,
            idmap: Some((&IdMap::Container, recursive)),
        };
        match &self.op {
            Op::Overlay { source, idmap: true, .. } => Some(container(*source, false)),
            Op::BindRoot { source, idmap: true } => Some(container(*source, true)),
            Op::Mount(mounts::MountStep {
                what: mounts::What::Bind { source, recursive, idmap: true },
                ..
            }) => Some(container(*source, *recursive)),
            Op::MountAsWritten(AsWritten {
                thing: Thing::Bind { source, recursive, by_parent: Some(by_parent), .. },
                ..
            }) => Some(idmap::Wanted {
                source: *source,
                recursive: *recursive,
                idmap: by_parent.idmap.as_ref().map(|(map, recursive)| (map, *recursive)),
            }),
            _ => None,
        }
    }
}

/// A place in the child's table of descriptors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot(pub(crate) u16);

impl Slot {
    /// The RAM file system that holds upper layers, mount points and masks while the root is put together.
    pub const SCRATCH: Slot = Slot(0);
    /// The mount that becomes the root.
    pub const ROOT: Slot = Slot(1);
    /// The private procfs handle (R4).
    pub const PROC: Slot = Slot(2);
    /// The container's own devpts.
    pub const DEVPTS: Slot = Slot(3);
    /// The container's `/dev`.
    pub const DEV: Slot = Slot(4);
    /// The read-only mount of the two masks.
    pub const MASKS: Slot = Slot(5);
    /// The terminal's slave side.
    pub const TERMINAL: Slot = Slot(6);
    const FIRST_SEALED: u16 = 7;

    /// The slot of the `n`th mount that is sealed read-only at the end.
    pub(crate) fn sealed(n: usize) -> Slot {
        Slot(Self::FIRST_SEALED.saturating_add(u16::try_from(n).unwrap_or(u16::MAX)))
    }
}

/// What a step does. Each variant is executed by the layer file that plans it.
#[derive(Debug)]
#[allow(missing_docs)] // the fields are described where they are executed
pub enum Op {
    // identity
    MapOwnId { uid_map: CString, gid_map: CString },
    AwaitParent { why: &'static str },
    BecomeRoot,
    NotDumpable,
    DieWithParent,
    NewSession,
    SetIds { uid: u32, gid: u32, groups: identity::Groups },
    Umask(u32),
    NoNewPrivs,
    // namespaces
    JoinNamespaces { flags: u64 },
    ForkInto { flags: u64 },
    ReadyToFork { keep: u32 },
    ForkLast,
    EnterNamespaces,
    Unshare { flags: u64 },
    Hostname(CString),
    Domainname(CString),
    EnterNetwork,
    TimeOffsets(CString),
    // rootfs
    PrivateMounts,
    Scratch { bytes: Option<u64> },
    BindRoot { source: usize, idmap: bool },
    RamRoot,
    RootDir { path: CString, mode: u32 },
    RootLink { path: CString, target: CString },
    SealRoot,
    PivotRoot,
    VerifyMounts,
    WorkingDirectory { path: CString },
    // overlay
    Overlay { source: usize, tag: CString, at: OverlayAt, idmap: bool },
    OwnDirectories { tag: CString, dirs: Vec<(CString, u32)> },
    Hide { tag: CString, path: CString },
    Supply { tag: CString, path: CString, content: CString },
    // mounts
    Mount(mounts::MountStep),
    Mask { path: CString },
    ReadOnly { path: CString, attrs: u64 },
    Seal { slot: Slot, path: CString },
    ProcHandle { group: CString },
    // devices
    Device { name: CString, host: CString, major: u32, minor: u32 },
    DeviceLink { name: CString, target: CString },
    Terminal,
    ControllingTerminal,
    // limits
    SoftLimit { name: &'static str, resource: u32, soft: u64 },
    Rlimit { name: &'static str, resource: u32, soft: u64, hard: u64 },
    Sysctl { path: CString, value: CString },
    OomScoreAdj(CString),
    // keyring
    SessionKeyring,
    // capabilities
    BoundingSet { keep: u64 },
    CapabilitySets { permitted: u64, effective: u64, inheritable: u64, ambient: u64 },
    LetGo { permitted: u64, effective: u64, inheritable: u64 },
    // integrity
    NoCodeOn { number: i32, name: &'static str },
    NoNewCode,
    // landlock
    Landlock { attr: RulesetAttr, rules: Vec<landlock::PathRule>, log: bool },
    // descriptors
    Stdio,
    CloseDescriptors { keep: u32 },
    // seccomp
    Seccomp(seccomp::Program),
    // program
    DefaultSignals,
    FindProgram,
    Init,
    Exec,
    // hooks, and what else waits for somebody outside
    AwaitHooks,
    Hook(lifecycle::HookStep),
    AwaitStart { keep: u32 },
    // what an engine's specification asks for, and donjon's own never does
    ByParent(outside::Work),
    StartPropagation(mounts::table::Propagation),
    ProcOrCallers { group: CString },
    CallersProc,
    RootInPlace { source: usize },
    MakeWorkingDirectory { path: CString },
    MoveRoot,
    RootPropagation(mounts::table::Propagation),
    MountAsWritten(mounts::as_written::AsWritten),
    Node(devices::nodes::Node),
    Link(devices::nodes::Link),
    TerminalSize { rows: u16, columns: u16 },
    ExactRlimit { name: &'static str, resource: u32, soft: u64, hard: u64 },
    Scheduler { attr: SchedAttr, word: &'static str },
    IoPriority { class: u16, priority: u16 },
    MemoryPolicy { mode: u32, nodes: Vec<u64>, word: &'static str },
    Personality { persona: u32 },
    Affinity { cpus: CpuSet, list: String },
    Apparmor { command: CString },
    Selinux { label: CString, keyring: bool },
    StdioOwner { uid: u32 },
    NetDevices(Vec<net_devices::Device>),
}

/// Where an overlay is attached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OverlayAt {
    /// It is the root.
    Root,
    /// It is this top-level directory of a RAM root.
    Top(CString),
}

/// Who writes the id maps of the new user namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdMaps {
    /// No new user namespace.
    None,
    /// The child itself: one id, the caller's own.
    Own,
    /// The parent: root directly, an ordinary user through `newuidmap`. Triples of inside, outside, count.
    Parent {
        /// User ids.
        uids: Vec<(u32, u32, u32)>,
        /// Group ids.
        gids: Vec<(u32, u32, u32)>,
    },
}

/// A host path that the plan mounts from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The path as written; made canonical before the clone.
    pub path: PathBuf,
    /// The field that named it.
    pub field: String,
    /// The layer it is for.
    pub layer: Layer,
    /// Whether symbolic links on the way are followed.
    pub links: Links,
}

/// What is done about symbolic links on the way to a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// Followed, once, before the clone.
    Followed,
    /// Refused: the path was judged in its canonical form.
    Refused,
}

/// The program to run.
#[derive(Debug)]
pub struct Program {
    /// The paths to try in order (one, when the first argument holds a slash).
    pub candidates: Vec<CString>,
    /// The arguments, the first included.
    pub argv: CStringArray,
    /// The environment.
    pub envp: CStringArray,
}

/// The complete list of what a start does. See the module's documentation.
#[derive(Debug)]
pub struct Plan {
    pub(crate) clone_flags: u64,
    pub(crate) id_maps: IdMaps,
    pub(crate) sources: Vec<Source>,
    pub(crate) steps: Vec<Step>,
    pub(crate) program: Program,
    pub(crate) slots: usize,
    pub(crate) join: Option<i32>,
    /// Namespaces to be entered by path.
    pub(crate) entering: Vec<Joined>,
    /// A network namespace to be made beside.
    pub(crate) network: Option<Network>,
    /// Most processes and threads, counted by the user namespace.
    pub(crate) pids_limit: Option<u64>,
    /// The group to be made for it.
    pub(crate) cgroup: Option<cgroups::Group>,
    pub(crate) notes: Vec<String>,
}

/// Steps, sources and notes while the layers add theirs.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    pub steps: Vec<Step>,
    pub sources: Vec<Source>,
    pub notes: Vec<String>,
    pub sealed: usize,
    pub seals: Vec<(Slot, CString)>,
    pub judged_sources: bool,
    /// Who wrote the specification.
    pub origin: Origin,
    /// The root is moved over the old one.
    pub no_pivot: bool,
    /// The container's first process is set up outside the pid namespace that it is to be in.
    pub pid_last: bool,
}

impl Draft {
    pub fn add(&mut self, layer: Layer, field: impl Into<String>, op: Op) {
        self.steps.push(Step::new(layer, field, op));
    }

    /// Registers a host path to mount from and returns its index.
    pub fn source(&mut self, layer: Layer, field: impl Into<String>, path: impl Into<PathBuf>) -> usize {
        let links = if self.judged_sources { Links::Refused } else { Links::Followed };
        self.sources.push(Source { path: path.into(), field: field.into(), layer, links });
        self.sources.len() - 1
    }

    /// A new slot for a mount that is sealed read-only after everything is mounted.
    pub fn sealed_slot(&mut self) -> Slot {
        self.sealed += 1;
        Slot::sealed(self.sealed - 1)
    }
}

impl Plan {
    /// Computes the plan of a new container. Pure: touches neither the file system nor the kernel.
    pub fn new(spec: &Spec, host: &Host) -> Result<Plan, SpecError> {
        let ext = Extensions::read(spec.annotations().as_ref())
            .map_err(|e| SpecError::new(Layer::Program, format!("annotations[{}]", e.key), e.why))?;
        let process = program::process(spec)?;
        let id_maps = identity::id_maps(spec, host)?;
        let mut draft = Draft { judged_sources: ext.judged_sources, ..Draft::default() };
        let cgroup = cgroups::plan(spec, &ext, &host.cgroups, &mut draft)?;
        // The order of the layers. Each line depends on those above it.
        identity::plan_namespace_ids(&id_maps, process, spec, &mut draft)?;
        namespaces::plan(spec, &mut draft)?;
        mounts::plan_start(spec, &mut draft)?;
        // While procfs is not attached nothing can be mounted over the files that are written here.
        limits::plan(spec, process, &ext, &mut draft)?;
        namespaces::plan_early_network(spec, &mut draft);
        rootfs::plan(spec, &ext, host, &id_maps, &mut draft)?;
        mounts::plan(spec, &ext, &mut draft)?;
        devices::plan(spec, process, &mut draft)?;
        namespaces::plan_network(spec, &mut draft);
        identity::plan_not_dumpable(&mut draft);
        mounts::plan_masks(spec, &mut draft)?;
        mounts::plan_seals(&mut draft);
        rootfs::plan_pivot(spec, &mut draft)?;
        let network = namespaces::network(spec, ext.origin)?;
        let guarded = network.is_some() && id_maps == IdMaps::Own;
        let counted = cgroup.as_ref().is_some_and(|group| group.limits.pids.is_some());
        limits::plan_rlimits(process, &ext, u64::from(guarded) + u64::from(counted), &mut draft)?;
        apparmor::plan(process, &mut draft)?;
        selinux::plan(process, true, &mut draft)?;
        keyring::plan(&mut draft);
        descriptors::plan_stdio(process, &mut draft);
        Self::plan_process(spec, &ext, process, host, &id_maps, false, &mut draft)?;
        Ok(Plan {
            clone_flags: namespaces::clone_flags(spec)?,
            program: program::program(process)?,
            slots: usize::from(Slot::sealed(draft.sealed).0),
            sources: draft.sources,
            steps: draft.steps,
            join: None,
            entering: Vec::new(),
            pids_limit: ext.pids_limit.filter(|_| id_maps != IdMaps::None),
            network,
            id_maps,
            cgroup,
            notes: draft.notes,
        })
    }

    /// Computes the plan of a further process in a running container whose first process is `target` (as seen by
    /// the caller): the same confinement, in the namespaces that exist.
    pub fn for_exec(
        spec: &Spec,
        process: &oci_spec::runtime::Process,
        host: &Host,
        target: i32,
    ) -> Result<Plan, SpecError> {
        let ext = Extensions::read(spec.annotations().as_ref())
            .map_err(|e| SpecError::new(Layer::Program, format!("annotations[{}]", e.key), e.why))?;
        let id_maps = identity::id_maps(spec, host)?;
        let mut draft = Draft::default();
        mounts::handle::plan_further(process, &mut draft);
        if matches!(host.cgroups, cgroups::Hierarchy::V1 { .. }) {
            draft.add(
                Layer::Cgroups,
                "linux.cgroupsPath",
                Op::AwaitParent { why: "the parent has put it into the container's cgroups" },
            );
        }
        namespaces::plan_join(spec, &mut draft)?;
        identity::plan_joined_ids(&mut draft);
        devices::plan_terminal(process, &mut draft);
        let more = u64::from(id_maps == IdMaps::Own) + u64::from(host.cgroups.counts_processes());
        limits::plan_rlimits(process, &ext, more, &mut draft)?;
        apparmor::plan(process, &mut draft)?;
        selinux::plan(process, true, &mut draft)?;
        keyring::plan(&mut draft);
        descriptors::plan_stdio(process, &mut draft);
        Self::plan_process(spec, &ext, process, host, &id_maps, true, &mut draft)?;
        namespaces::inside::plan(&mut draft, None);
        Ok(Plan {
            clone_flags: 0,
            id_maps: IdMaps::None,
            program: program::program(process)?,
            slots: usize::from(Slot::sealed(0).0),
            sources: draft.sources,
            steps: draft.steps,
            join: Some(target),
            entering: Vec::new(),
            pids_limit: None,
            network: None,
            cgroup: None,
            notes: draft.notes,
        })
    }

    /// The last layers, the same for a container's first process and for a later one.
    fn plan_process(
        spec: &Spec,
        ext: &Extensions,
        process: &oci_spec::runtime::Process,
        host: &Host,
        id_maps: &IdMaps,
        further: bool,
        draft: &mut Draft,
    ) -> Result<(), SpecError> {
        capabilities::plan_bounding(process, draft)?;
        identity::plan_process_ids(process, spec, id_maps, ext.origin, draft)?;
        capabilities::plan_sets(process, draft)?;
        rootfs::plan_working_directory(process, draft)?;
        program::plan_find(draft);
        identity::plan_parent_death(draft);
        integrity::plan(ext, host, draft)?;
        landlock::plan(spec, ext, host, further, draft)?;
        program::plan_init(ext, draft);
        draft.add(Layer::Program, "", Op::DefaultSignals);
        descriptors::plan_close(3, draft);
        seccomp::install::plan(spec, ext, host, draft)?;
        program::plan_exec(draft);
        Ok(())
    }

    /// Puts a filter that reports every call that matters in the place of the container's own, which is returned for
    /// the answers. `None`: there is no filter.
    pub fn observe(&mut self) -> Result<Option<seccomp::Program>, SpecError> {
        for step in &mut self.steps {
            if let Op::Seccomp(own) = &mut step.op {
                let reporting = seccomp::observe::program(own)
                    .map_err(|e| SpecError::new(Layer::Seccomp, "linux.seccomp", e.to_string()))?;
                return Ok(Some(std::mem::replace(own, reporting)));
            }
        }
        Ok(None)
    }

    /// The paths that are tried for the program, in order.
    pub fn candidates(&self) -> &[CString] {
        &self.program.candidates
    }

    /// The steps in order.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The cgroup to be made for it, if one is.
    pub fn cgroup(&self) -> Option<&cgroups::Group> {
        self.cgroup.as_ref()
    }

    /// What is not enforced, and why: to be shown to the person.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The rules that the container's Landlock domain is made of.
    fn landlock_rules(&self) -> &[landlock::PathRule] {
        let rules = self.steps.iter().find_map(|s| match &s.op {
            Op::Landlock { rules, .. } => Some(rules.as_slice()),
            _ => None,
        });
        rules.unwrap_or_default()
    }

    /// Whether the policy names the files that may be executed.
    pub(crate) fn names_what_is_executed(&self) -> bool {
        self.landlock_rules()
            .iter()
            .any(|rule| matches!(rule.from, Some((landlock::files::List::Execute, _))))
    }

    /// A rule of Landlock that grants nothing in this container, and why.
    pub(crate) fn passed_over(&self, rule: u16, errno: i32) -> Option<PassedOver> {
        let rule = self.landlock_rules().get(usize::from(rule))?;
        let (list, _) = rule.from?;
        let path = rule.path.to_string_lossy();
        let below = path.trim_end_matches('/');
        let (path, why) = match (&rule.form, errno) {
            (landlock::files::Form::Matching(pattern), _) => {
                (format!("{below}/{}", pattern.to_string_lossy()), "matches nothing in this container")
            }
            (landlock::files::Form::Tree, _) => (format!("{below}/**"), "is not in this container"),
            (_, 0) => (path.into_owned(), "is a directory: /** after it means what lies below"),
            _ => (path.into_owned(), "is not in this container"),
        };
        Some(PassedOver { list: list.key(), path, why })
    }

    /// The limit of processes and threads that the user namespace holds.
    pub fn process_limit(&self) -> Option<u64> {
        self.pids_limit
    }

    /// The first descriptor that is not passed on to the program.
    pub(crate) fn first_closed(&self) -> u32 {
        let closing = self.steps.iter().find_map(|s| match s.op {
            Op::CloseDescriptors { keep } => Some(keep),
            _ => None,
        });
        closing.unwrap_or(3)
    }

    /// Whether a small init stays as pid 1.
    pub(crate) fn has_init(&self) -> bool {
        self.steps.iter().any(|s| matches!(s.op, Op::Init))
    }

    /// Whether the process gets a terminal of the container.
    pub fn has_terminal(&self) -> bool {
        self.steps.iter().any(|s| matches!(s.op, Op::Terminal))
    }

    /// Mounts that the parent has to make, because only it may or because it must be done where the host's mounts are.
    pub(crate) fn made_by_parent(&self) -> impl Iterator<Item = idmap::Wanted<'_>> + '_ {
        self.steps.iter().filter_map(Step::mount_of_parent)
    }

    pub(crate) fn needs_parent(&self) -> bool {
        self.steps.iter().any(|s| matches!(s.op, Op::AwaitParent { .. }))
    }

    /// Every namespace that is made by a clone, whichever process makes it.
    pub(crate) fn new_namespaces(&self) -> u64 {
        self.steps.iter().fold(self.clone_flags, |all, step| match step.op {
            Op::ForkInto { flags } => all | flags,
            _ => all,
        })
    }

    /// Whether a process goes ahead and makes the container's first one as its sibling.
    pub(crate) fn has_forerunner(&self) -> bool {
        self.join.is_none() && self.steps.iter().any(|s| matches!(s.op, Op::ForkInto { .. }))
    }

    /// Whether a process that was made already leaves it to its child to be in the container's pid namespace.
    pub(crate) fn forks_last(&self) -> bool {
        self.steps.iter().any(|step| matches!(step.op, Op::ForkLast))
    }

    /// Whether the program waits for `start`.
    pub(crate) fn waits_for_start(&self) -> bool {
        self.steps.iter().any(|step| matches!(step.op, Op::AwaitStart { .. }))
    }
}
