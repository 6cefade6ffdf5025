//! Putting layers of policy together: the later one has the last word, lists that add grow, contradictions are refused,
//! and so is what widens a layer that may only be narrowed.

use crate::check;
use crate::diff::{Direction, changes};
use crate::error::PolicyError;
use crate::load::in_words;
use crate::model::{ExtendOnly, Mount, MountKind, Policy};

impl Policy {
    /// This layer with `later` on top. `name` is the later layer's, for errors.
    pub fn merge(self, later: Policy, name: &str) -> Result<Policy, PolicyError> {
        if let Some(problem) = check::contradiction(&later) {
            let mut error = PolicyError::new(name, format!("{}: {}", in_words(&problem.key), problem.what));
            (error.hint, error.key) = (problem.hint, problem.key);
            return Err(error);
        }
        if self.extend_only != Some(ExtendOnly::Narrow) {
            return Ok(self.over_with(later));
        }
        let said = later.clone();
        let merged = self.clone().over_with(later);
        match changes(&self, &merged).into_iter().find(|change| change.direction == Direction::Wider) {
            None => Ok(merged),
            Some(change) => {
                // Of the keys that could have done it, the one that this layer has.
                let key = change.keys.iter().find(|key| said.says(key)).or(change.keys.first()).copied();
                let key = key.unwrap_or_default();
                let what = format!("{key}: widens what may only be narrowed: {}", change.words);
                Err(PolicyError::new(name, what)
                    .at_key(&key.split('.').collect::<Vec<_>>())
                    .hint("a policy below says extend-only = \"narrow\": take this out, or extend another"))
            }
        }
    }

    /// Whether this layer has a word on a key.
    fn says(&self, key: &str) -> bool {
        let value = serde_json::to_value(self).unwrap_or_default();
        let found = key.split('.').try_fold(&value, |inside, part| inside.get(part));
        found.is_some_and(|value| match value {
            serde_json::Value::Null => false,
            serde_json::Value::Array(list) => !list.is_empty(),
            serde_json::Value::Object(table) => !table.is_empty(),
            _ => true,
        })
    }

    fn over_with(mut self, later: Policy) -> Policy {
        self.grow_lists(&later);
        let memory = later.resources.memory.clone();
        self.resources.memory_named |=
            later.resources.memory.is_some() || later.resources.memory_swap.is_some();
        self.resources.cpus_named |= later.resources.cpus.is_some();
        macro_rules! last_word {
            ($($section:ident . $field:ident),* $(,)?) => {
                $(if later.$section.$field.is_some() { self.$section.$field = later.$section.$field; })*
            };
        }
        last_word!(
            process.user, process.workdir, process.entrypoint, process.hostname, process.umask,
            process.terminal, process.init, process.stop_signal, process.stop_timeout, process.timeout,
            filesystem.read, filesystem.write, filesystem.execute, filesystem.read_only, filesystem.ram,
            filesystem.shm_size, filesystem.proc_pid_only, filesystem.landlock, resources.pids,
            resources.memory, resources.cpus, capabilities.root, syscalls.base, syscalls.profile,
            sockets.families, integrity.exec, lsm.apparmor, lsm.selinux, namespaces.user, namespaces.network,
            namespaces.nested,
        );
        // A limit of memory alone means: no swap beyond it. One inherited from below may be smaller than memory.
        match (&later.resources.memory_swap, &memory) {
            (Some(swap), _) => self.resources.memory_swap = Some(swap.clone()),
            (None, Some(memory)) => self.resources.memory_swap = Some(memory.clone()),
            (None, None) => {}
        }
        self.extend_only = self.extend_only.or(later.extend_only);
        self.incomplete |= later.incomplete;
        self.process.groups.extend(later.process.groups);
        self.process.env.extend(later.process.env);
        self.filesystem.hide.extend(later.filesystem.hide);
        self.filesystem.unmask.extend(later.filesystem.unmask);
        self.filesystem.read_only_paths.extend(later.filesystem.read_only_paths);
        self.filesystem.allow_mount.extend(later.filesystem.allow_mount);
        for mount in later.mounts {
            // A later layer's mount replaces an earlier layer's at the same place.
            self.mounts.retain(|m| m.target != mount.target);
            self.mounts.push(mount);
        }
        self.resources.ulimits.extend(later.resources.ulimits);
        // The later layer's word about a capability counts.
        self.capabilities.drop.retain(|c| !later.capabilities.add.contains(c));
        self.capabilities.add.retain(|c| {
            !later.capabilities.drop.contains(c) && !later.capabilities.drop.iter().any(|d| d == "ALL")
        });
        self.capabilities.add.extend(later.capabilities.add);
        self.capabilities.drop.extend(later.capabilities.drop);
        self.syscalls.allow.extend(later.syscalls.allow);
        self.syscalls.deny.extend(later.syscalls.deny);
        self.sockets.allow.extend(later.sockets.allow);
        self.network.egress.extend(later.network.egress);
        self.network.publish.extend(later.network.publish);
        self.namespaces.time_offsets.extend(later.namespaces.time_offsets);
        self.sysctls.extend(later.sysctls);
        self.devices.extend(later.devices);
        self.best_effort.extend(later.best_effort);
        self
    }

    /// What a later layer mounts or gives as a device is meant to be used: it joins the lists of files that lie below,
    /// as its options say. A list of the later layer's own is all that counts.
    fn grow_lists(&mut self, later: &Policy) {
        let devices: Vec<String> = later.devices.iter().map(|device| device.path.clone()).collect();
        let below = |mount: &Mount| format!("{}/**", mount.target.trim_end_matches('/'));
        let of = |wanted: fn(&Mount) -> bool| -> Vec<String> {
            later.mounts.iter().filter(|mount| wanted(mount)).map(below).collect()
        };
        let may_execute = |mount: &Mount| match mount.kind {
            MountKind::Bind => mount.exec != Some(false),
            MountKind::Tmpfs => mount.exec == Some(true),
        };
        let f = &mut self.filesystem;
        let lists = [
            (&mut f.read, of(|_| true), devices.as_slice()),
            (&mut f.write, of(|mount| !mount.read_only), devices.as_slice()),
            (&mut f.execute, of(may_execute), &[]),
        ];
        for (list, mounted, devices) in lists {
            if let Some(list) = list {
                list.extend(mounted);
                list.extend_from_slice(devices);
            }
        }
    }
}
