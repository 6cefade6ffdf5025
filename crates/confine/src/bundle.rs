//! The plan of a bundle: a specification that an engine wrote, with donjon as its OCI runtime.
//!
//! The layers are the same as those of `donjon run`; what differs is who decides. An engine's specification is done as
//! written: a boundary that it names is put up or the start fails, one that it leaves out stays out. What donjon does
//! without being asked is what no program can notice: paths that are never followed out of the root, mounts that are
//! compared with the plan, descriptors that are closed, a runtime that can't be looked into.
//!
//! Two things come in other places than in donjon's own starts. Settings of the kernel are written after the engine's
//! hooks, which make the network interfaces that some belong to. And masks come after the hooks, too: those of the
//! container's side look at the host's `/proc`, which the masks' own file system covers.

use oci_spec::runtime::{Process, Spec};

use crate::error::SpecError;
use crate::extensions::{Extensions, Origin};
use crate::host::Host;
use crate::layers::namespaces::flag;
use crate::layers::namespaces::paths::{self, Namespaces};
use crate::layers::scheduling::Moment;
use crate::layers::{apparmor, capabilities, descriptors, scheduling, seccomp, selinux};
use crate::layers::{
    devices, identity, intel_rdt, keyring, landlock, lifecycle, limits, mounts, namespaces, net_devices,
    program, rootfs,
};
use crate::outside;
use crate::plan::{Draft, IdMaps, Layer, Op, Plan, Slot, Step};

/// What the command line of an OCI runtime adds to a bundle.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// `create`: the program waits for `start`.
    pub waits_for_start: bool,
    /// `--no-pivot`: the root is moved over the old one instead, for a machine whose root is an initial ramfs.
    pub no_pivot: bool,
    /// `--no-new-keyring`: the caller's session keyring stays.
    pub no_new_keyring: bool,
    /// Its process is born in its cgroup, and not put into it while it works already.
    pub born_in_group: bool,
    /// `--preserve-fds`: how many descriptors after standard error the program gets.
    pub preserve_fds: u32,
}

impl Options {
    /// The first descriptor that is closed.
    fn first_closed(&self) -> u32 {
        self.preserve_fds.saturating_add(3)
    }
}

/// The annotations of a bundle that count.
fn extensions(spec: &Spec) -> Result<Extensions, SpecError> {
    Extensions::of_bundle(spec.annotations().as_ref())
        .map_err(|e| SpecError::new(Layer::Program, format!("annotations[{}]", e.key), e.why))
}

impl Plan {
    /// Computes the plan of a bundle. Pure: touches neither the file system nor the kernel.
    pub fn of_bundle(spec: &Spec, host: &Host, options: &Options) -> Result<Plan, SpecError> {
        let ext = extensions(spec)?;
        let process = program::process(spec)?;
        let mut all = Namespaces::of_bundle(spec)?;
        if namespaces::inside::can_be_last(spec, host) {
            all = all.with_pid_last();
        }
        let id_maps = identity::id_maps(spec, host)?;
        lifecycle::check(spec)?;
        let mut draft = Draft {
            origin: Origin::Bundle,
            no_pivot: options.no_pivot,
            pid_last: all.pid_last,
            ..Draft::default()
        };
        paths::plan_forerunner(&all, &mut draft);
        outside::plan(process, &mut draft)?;
        intel_rdt::plan(spec, &mut draft)?;
        identity::plan_bundle_ids(&id_maps, process, spec, &mut draft)?;
        paths::plan(&all, &mut draft);
        namespaces::plan(spec, &mut draft)?;
        mounts::plan_start(spec, &mut draft)?;
        rootfs::plan(spec, &ext, host, &id_maps, &mut draft)?;
        mounts::plan(spec, &ext, &mut draft)?;
        devices::plan(spec, process, &mut draft)?;
        namespaces::plan_network(spec, &mut draft);
        net_devices::plan(spec, &mut draft)?;
        identity::plan_not_dumpable(&mut draft);
        lifecycle::plan_create(spec, &mut draft)?;
        limits::plan(spec, process, &ext, &mut draft)?;
        mounts::plan_masks(spec, &mut draft)?;
        mounts::plan_seals(&mut draft);
        rootfs::plan_pivot(spec, &mut draft)?;
        if id_maps == IdMaps::None {
            wait_for_the_parent_late(options.born_in_group, &mut draft);
        }
        let last = Last { spec, ext: &ext, process, host, id_maps: &id_maps, options, further: false };
        last.plan(&mut draft)?;
        namespaces::inside::plan(&mut draft, capabilities::letting_go(process, last.filtered())?);
        Ok(Plan {
            clone_flags: if all.need_forerunner() { 0 } else { all.cloned() },
            program: program::program(process)?,
            slots: usize::from(Slot::sealed(draft.sealed).0),
            sources: draft.sources,
            steps: draft.steps,
            join: None,
            entering: all.joined,
            pids_limit: None,
            network: namespaces::network(spec, ext.origin)?,
            id_maps,
            cgroup: None,
            notes: draft.notes,
        })
    }

    /// Computes the plan of a further process in a bundle's container: `target` is its first process as the caller sees
    /// it, `namespaces` the kinds (`CLONE_NEW*`) in which the two differ.
    pub fn for_bundle_exec(
        spec: &Spec,
        process: &Process,
        host: &Host,
        options: &Options,
        target: i32,
        namespaces: u64,
    ) -> Result<Plan, SpecError> {
        let ext = extensions(spec)?;
        let mut draft = Draft { origin: Origin::Bundle, ..Draft::default() };
        outside::plan(process, &mut draft)?;
        scheduling::plan_affinity(process, Moment::Before, &mut draft)?;
        draft.add(
            Layer::Cgroups,
            "linux.cgroupsPath",
            Op::AwaitParent { why: "the parent has put it into the container's cgroups" },
        );
        scheduling::plan_affinity(process, Moment::After, &mut draft)?;
        mounts::handle::plan_further(process, &mut draft);
        namespaces::plan_join_flags(namespaces, &mut draft);
        identity::plan_joined_ids(&mut draft);
        devices::plan_terminal(process, &mut draft);
        devices::plan_terminal_size(process, &mut draft)?;
        let last = Last { spec, ext: &ext, process, host, id_maps: &IdMaps::None, options, further: true };
        last.plan(&mut draft)?;
        namespaces::inside::plan(&mut draft, capabilities::letting_go(process, last.filtered())?);
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
}

/// Moves the step at which the parent is waited for so far back that both work at once: before the first step that needs
/// something of the parent's, at the latest to the end of the draft.
fn wait_for_the_parent_late(born_in_group: bool, draft: &mut Draft) {
    let waits = |step: &Step| matches!(step.op, Op::AwaitParent { .. });
    let needs = |step: &Step| {
        step.mount_of_parent().is_some()
            || matches!(step.op, Op::AwaitHooks | Op::NetDevices(_))
            || (!born_in_group && needs_its_group(step))
    };
    if let Some(at) = draft.steps.iter().position(waits) {
        let step = draft.steps.remove(at);
        let later = draft.steps.iter().skip(at).position(needs).map_or(draft.steps.len(), |n| at + n);
        draft.steps.insert(later, step);
    }
}

/// Whether a step looks at the groups that the process is in, or fills memory that these are to count.
fn needs_its_group(step: &Step) -> bool {
    match &step.op {
        Op::Unshare { flags } => flags & flag::CGROUP != 0,
        Op::MountAsWritten(mount) => mount.needs_its_group(),
        _ => false,
    }
}

/// The last layers, the same for a container's first process and for a later one.
struct Last<'a> {
    spec: &'a Spec,
    ext: &'a Extensions,
    process: &'a Process,
    host: &'a Host,
    id_maps: &'a IdMaps,
    options: &'a Options,
    further: bool,
}

impl Last<'_> {
    /// Whether the process comes under a filter or a domain, which takes a right where `no_new_privs` is not set.
    fn filtered(&self) -> bool {
        self.ext.landlock || self.spec.linux().as_ref().is_some_and(|l| l.seccomp().is_some())
    }

    fn plan(&self, draft: &mut Draft) -> Result<(), SpecError> {
        let Self { spec, ext, process, host, id_maps, options, further } = *self;
        limits::plan_rlimits(process, ext, 0, draft)?;
        if !further {
            scheduling::plan_first(spec, draft)?;
        }
        scheduling::plan(process, draft)?;
        apparmor::plan(process, draft)?;
        let keyring = !options.no_new_keyring && !further;
        selinux::plan(process, keyring, draft)?;
        if keyring {
            keyring::plan(draft);
        }
        descriptors::plan_stdio(process, draft);
        descriptors::plan_stdio_owner(process, draft);
        capabilities::plan_bounding(process, draft)?;
        identity::plan_process_ids(process, spec, id_maps, Origin::Bundle, draft)?;
        capabilities::plan_bundle_sets(process, self.filtered(), draft)?;
        rootfs::plan_working_directory(process, draft)?;
        program::plan_find(draft);
        identity::plan_bundle_privileges(process, draft);
        landlock::plan(spec, ext, host, further, draft)?;
        if !further {
            lifecycle::plan_start(spec, options.waits_for_start.then(|| options.first_closed()), draft)?;
        }
        draft.add(Layer::Program, "", Op::DefaultSignals);
        descriptors::plan_close(options.first_closed(), draft);
        seccomp::install::plan(spec, ext, host, draft)?;
        program::plan_exec(draft);
        Ok(())
    }
}
