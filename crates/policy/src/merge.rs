//! Putting layers of policy together: the later one has the last word, lists grow, contradictions are refused.

use crate::error::PolicyError;
use crate::model::Policy;

impl Policy {
    /// This layer with `later` on top. `name` is the later layer's, for errors.
    pub fn merge(mut self, later: Policy, name: &str) -> Result<Policy, PolicyError> {
        later.contradictions(name)?;
        let memory = later.limits.memory.clone();
        self.limits.memory_named |= later.limits.memory.is_some() || later.limits.memory_swap.is_some();
        self.limits.cpus_named |= later.limits.cpus.is_some();
        macro_rules! last_word {
            ($($section:ident . $field:ident),* $(,)?) => {
                $(if later.$section.$field.is_some() { self.$section.$field = later.$section.$field; })*
            };
        }
        last_word!(
            process.user, process.workdir, process.entrypoint, process.hostname, process.umask,
            process.terminal, process.init, process.stop_signal, process.stop_timeout, process.timeout,
            filesystem.read_only, filesystem.ram, filesystem.shm_size, filesystem.proc_pid_only,
            filesystem.landlock, limits.pids, limits.memory, limits.cpus, capabilities.root, syscalls.base,
            syscalls.profile, sockets.families, namespaces.user, namespaces.network, namespaces.nested,
        );
        // A limit of memory alone means: no swap beyond it. One inherited from below may be smaller than memory.
        match (&later.limits.memory_swap, &memory) {
            (Some(swap), _) => self.limits.memory_swap = Some(swap.clone()),
            (None, Some(memory)) => self.limits.memory_swap = Some(memory.clone()),
            (None, None) => {}
        }
        self.process.groups.extend(later.process.groups);
        self.process.env.extend(later.process.env);
        self.filesystem.mask.extend(later.filesystem.mask);
        self.filesystem.unmask.extend(later.filesystem.unmask);
        self.filesystem.read_only_paths.extend(later.filesystem.read_only_paths);
        self.filesystem.allow_mount.extend(later.filesystem.allow_mount);
        for mount in later.mounts {
            // A later layer's mount replaces an earlier layer's at the same place.
            self.mounts.retain(|m| m.target != mount.target);
            self.mounts.push(mount);
        }
        self.limits.ulimits.extend(later.limits.ulimits);
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
        self.namespaces.time_offsets.extend(later.namespaces.time_offsets);
        self.sysctls.extend(later.sysctls);
        self.devices.extend(later.devices);
        self.best_effort.extend(later.best_effort);
        Ok(self)
    }

    /// What one layer can't say at once (R28).
    fn contradictions(&self, name: &str) -> Result<(), PolicyError> {
        let both = |what: String| Err(PolicyError::new(name, what).hint("say one of the two"));
        if let Some(c) = self.capabilities.add.iter().find(|c| self.capabilities.drop.contains(c)) {
            return both(format!("the capability {c} is both added and dropped"));
        }
        if let Some(c) = self.syscalls.allow.iter().find(|c| self.syscalls.deny.contains(c)) {
            return both(format!("the system call {c} is both allowed and denied"));
        }
        for (i, mount) in self.mounts.iter().enumerate() {
            if self.mounts.iter().skip(i + 1).any(|m| m.target == mount.target) {
                return both(format!("two mounts at {}", mount.target));
            }
        }
        Ok(())
    }
}
