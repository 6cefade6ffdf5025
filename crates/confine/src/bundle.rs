//! The plan of a bundle: a specification that an engine wrote, with donjon as its OCI runtime.
//!
//! The layers are the same as those of `donjon run`; what differs is who decides. An engine's specification is done as
//! written: a boundary that it names is put up or the start fails, one that it leaves out stays out. What donjon does
//! without being asked is what no program can notice: paths that are never followed out of the root, mounts that are
//! compared with the plan, descriptors that are closed, a runtime that can't be looked into.

use oci_spec::runtime::Spec;

use crate::error::SpecError;
use crate::extensions::Extensions;
use crate::host::Host;
use crate::layers::{capabilities, descriptors, seccomp};
use crate::layers::{devices, identity, keyring, landlock, limits, mounts, namespaces, program, rootfs};
use crate::plan::{Draft, Layer, Op, Plan, Slot};

/// What the command line of an OCI runtime adds to a bundle.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// `create`: the program waits for `start`.
    pub waits_for_start: bool,
    /// `--no-pivot`: the root is moved over the old one instead, for a machine whose root is an initial ramfs.
    pub no_pivot: bool,
    /// `--no-new-keyring`: the caller's session keyring stays.
    pub no_new_keyring: bool,
    /// `--preserve-fds`: how many descriptors after standard error the program gets.
    pub preserve_fds: u32,
}

impl Plan {
    /// Computes the plan of a bundle. Pure: touches neither the file system nor the kernel.
    pub fn of_bundle(spec: &Spec, host: &Host, options: &Options) -> Result<Plan, SpecError> {
        let ext = Extensions::of_bundle(spec.annotations().as_ref())
            .map_err(|e| SpecError::new(Layer::Program, format!("annotations[{}]", e.key), e.why))?;
        let process = program::process(spec)?;
        let id_maps = identity::id_maps(spec, host)?;
        let mut draft = Draft::default();
        identity::plan_namespace_ids(&id_maps, process, spec, &mut draft)?;
        namespaces::plan(spec, &mut draft)?;
        mounts::plan_start(spec, &mut draft)?;
        namespaces::plan_early_network(spec, &mut draft);
        rootfs::plan(spec, &ext, host, &id_maps, &mut draft)?;
        mounts::plan(spec, &ext, &mut draft)?;
        devices::plan(spec, process, &mut draft)?;
        namespaces::plan_network(spec, &mut draft);
        identity::plan_not_dumpable(&mut draft);
        limits::plan(spec, process, &ext, &mut draft)?;
        mounts::plan_masks(spec, &mut draft)?;
        mounts::plan_seals(&mut draft);
        rootfs::plan_pivot(spec, &mut draft)?;
        limits::plan_rlimits(process, &ext, 0, &mut draft)?;
        if !options.no_new_keyring {
            keyring::plan(&mut draft);
        }
        descriptors::plan_stdio(process, &mut draft);
        capabilities::plan_bounding(process, &mut draft)?;
        identity::plan_process_ids(process, spec, &id_maps, &mut draft)?;
        capabilities::plan_sets(process, &mut draft)?;
        rootfs::plan_working_directory(process, &mut draft)?;
        program::plan_find(&mut draft);
        landlock::plan(spec, &ext, host, false, &mut draft)?;
        draft.add(Layer::Program, "", Op::DefaultSignals);
        descriptors::plan_close(&mut draft);
        seccomp::install::plan(spec, &ext, host, &mut draft)?;
        program::plan_exec(&mut draft);
        Ok(Plan {
            clone_flags: namespaces::clone_flags(spec)?,
            program: program::program(process)?,
            slots: usize::from(Slot::sealed(draft.sealed).0),
            sources: draft.sources,
            steps: draft.steps,
            join: None,
            pids_limit: None,
            network: namespaces::network(spec)?,
            id_maps,
            cgroup: None,
            notes: draft.notes,
        })
    }
}
