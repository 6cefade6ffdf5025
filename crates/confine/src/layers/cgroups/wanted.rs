//! What a specification wants of control groups, decided before any exists.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxNamespaceType, LinuxResources, Spec};
use serde::{Deserialize, Serialize};

use super::hierarchies::{Hierarchies, Version};
use super::paths::{self, Location, Unit};
use super::resources::{Purpose, Resources};
use super::settings::{self, Current, Missing, Setting};
use crate::error::SpecError;
use crate::plan::Layer;

/// How groups are made: `--systemd-cgroup`, `--cgroup-manager`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// By directories, which donjon makes.
    #[default]
    Cgroupfs,
    /// By a unit, which systemd makes at donjon's request over D-Bus.
    Systemd,
    /// Not at all.
    Disabled,
}

/// What the caller says beside the specification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// How groups are made.
    pub driver: Driver,
    /// The caller is no root of the initial user namespace: only what was delegated can be had, and systemd is the
    /// user's own.
    pub rootless: bool,
    /// Limits that can't be applied are noted instead of ending the start (R31: only ever by the caller's word).
    pub best_effort: bool,
}

/// Where the group is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Placement {
    Nowhere,
    At(Location),
    In(Unit),
}

/// What a container's group is to be. Nothing of the machine was touched for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    pub(super) id: String,
    pub(super) options: Options,
    pub(super) placement: Placement,
    /// `linux.cgroupsPath` was given.
    pub(super) explicit: bool,
    pub(super) hierarchies: Hierarchies,
    pub(super) resources: Resources,
    pub(super) settings: Vec<Setting>,
    /// The user of the host that is to own the group (version 2, when it is mounted writable inside).
    pub(super) owner: Option<u32>,
    pub(super) notes: Vec<String>,
}

impl Wanted {
    /// Decides. Every field of `linux.resources` is checked, for the version that `hierarchies` (the one thing that was
    /// probed) have; an error names the field by its JSON path.
    pub fn plan(
        spec: &Spec,
        id: &str,
        options: Options,
        hierarchies: &Hierarchies,
    ) -> Result<Self, SpecError> {
        let linux = spec.linux().as_ref();
        let path = linux.and_then(|l| l.cgroups_path().as_deref()).filter(|p| !p.as_os_str().is_empty());
        let none = LinuxResources::default();
        let resources = linux.and_then(|l| l.resources().as_ref()).unwrap_or(&none);
        let resources = Resources::check(resources, hierarchies.version, Purpose::Start)?;
        let mut wanted = Self {
            id: id.to_string(),
            options,
            placement: placement(path, id, options, hierarchies)?,
            explicit: path.is_some(),
            hierarchies: hierarchies.clone(),
            settings: settings::of(&resources, &Current::default()),
            resources,
            owner: owner(spec, hierarchies.version),
            notes: Vec::new(),
        };
        wanted.drop_what_has_no_controller()?;
        let asked = linux.and_then(|l| l.resources().as_ref()).is_some_and(|r| r.devices().is_some());
        wanted.check_devices(asked)?;
        Ok(wanted)
    }

    /// Limits whose controller no hierarchy has end the start here, or are noted. Which controllers a group of version 2
    /// gets shows when it is made.
    fn drop_what_has_no_controller(&mut self) -> Result<(), SpecError> {
        let nowhere = self.placement == Placement::Nowhere;
        let gone = |setting: &Setting| {
            setting.missing == Missing::Fails
                && (nowhere || self.hierarchies.of(&setting.controller).is_none())
        };
        for setting in self.settings.iter().filter(|s| gone(s)) {
            let why = match nowhere {
                true => "can't be applied: control groups are disabled or not mounted".to_string(),
                false => {
                    format!(
                        "can't be applied: no hierarchy with the controller {} is mounted",
                        setting.controller
                    )
                }
            };
            if !self.options.best_effort {
                return Err(SpecError::new(Layer::Cgroups, &setting.field, why));
            }
            self.notes.push(format!("cgroups: {} {why}", setting.field));
        }
        let kept = self.settings.iter().filter(|s| !gone(s)).cloned().collect();
        self.settings = kept;
        Ok(())
    }

    /// Root's containers have a list of devices, and it needs a group. Where nothing is mounted that has groups, rules that
    /// were asked for end the start.
    fn check_devices(&mut self, asked: bool) -> Result<(), SpecError> {
        let disabled = self.options.driver == Driver::Disabled;
        if !asked || disabled || self.options.rootless || self.hierarchies.of("devices").is_some() {
            return Ok(());
        }
        let why = "can't be applied: no control groups that limit devices are mounted";
        if !self.options.best_effort {
            return Err(SpecError::new(Layer::Cgroups, "linux.resources.devices", why));
        }
        self.notes.push(format!("cgroups: linux.resources.devices {why}"));
        Ok(())
    }

    /// Whether the specification limits anything but devices.
    pub fn has_limits(&self) -> bool {
        self.settings.iter().any(|s| s.missing == Missing::Fails)
    }

    /// Whether the container gets a group at all.
    pub fn is_nowhere(&self) -> bool {
        self.placement == Placement::Nowhere
    }

    /// Whether the container's process is born in the group, and not put into it.
    pub fn is_birthplace(&self) -> bool {
        self.hierarchies.version == Version::V2 && matches!(self.placement, Placement::At(_))
    }

    /// What is made, for a person.
    pub fn in_words(&self) -> String {
        let limits: Vec<String> = self.settings.iter().map(|s| format!("{}={}", s.file, s.value)).collect();
        let version = if self.hierarchies.version == Version::V2 { "v2" } else { "v1" };
        let place = match &self.placement {
            Placement::Nowhere => return "no cgroup of its own".to_string(),
            Placement::At(Location::Absolute(path)) => format!("/{}", path.display()),
            Placement::At(Location::Relative(path)) => path.display().to_string(),
            Placement::In(unit) => format!("unit {} in {}", unit.name, unit.slice),
        };
        format!("a cgroup ({version}), {place}: {}", limits.join(", "))
    }
}

fn placement(
    path: Option<&Path>,
    id: &str,
    options: Options,
    hierarchies: &Hierarchies,
) -> Result<Placement, SpecError> {
    match options.driver {
        Driver::Disabled => Ok(Placement::Nowhere),
        Driver::Systemd => {
            paths::refuse_systemd(hierarchies.version, options.rootless)?;
            Ok(Placement::In(paths::unit(path, id, options.rootless)?))
        }
        Driver::Cgroupfs => {
            let location = paths::location(path, id)?;
            Ok(if hierarchies.list.is_empty() { Placement::Nowhere } else { Placement::At(location) })
        }
    }
}

/// Who is to own the group: the user that runs the program, when the specification mounts the group writable in a cgroup
/// namespace of the container's own. Version 1 is never given away: it can't be delegated safely.
fn owner(spec: &Spec, version: Version) -> Option<u32> {
    let linux = spec.linux().as_ref()?;
    let own_namespace = linux
        .namespaces()
        .iter()
        .flatten()
        .any(|n| n.typ() == LinuxNamespaceType::Cgroup && n.path().is_none());
    let writable = spec.mounts().iter().flatten().any(|m| {
        m.source().as_deref() == Some(Path::new("cgroup"))
            && m.destination() == &PathBuf::from("/sys/fs/cgroup")
            && !m.options().iter().flatten().any(|o| o == "ro")
    });
    if version == Version::V1 || !own_namespace || !writable {
        return None;
    }
    let user = spec.process().as_ref()?.user().uid();
    let mappings = linux.uid_mappings().as_deref().unwrap_or_default();
    if mappings.is_empty() {
        return Some(user);
    }
    mappings.iter().find_map(|m| {
        let offset = user.checked_sub(m.container_id())?;
        if offset < m.size() { m.host_id().checked_add(offset) } else { None }
    })
}

#[cfg(test)]
mod tests {
    use super::super::hierarchies::Hierarchy;
    use super::*;

    fn v2() -> Hierarchies {
        let list =
            vec![Hierarchy { controllers: vec![], top: "/sys/fs/cgroup".into(), own: "user/shell".into() }];
        Hierarchies { version: Version::V2, list }
    }

    fn v1() -> Hierarchies {
        let list = ["memory", "pids", "devices"]
            .map(|c| Hierarchy {
                controllers: vec![c.to_string()],
                top: Path::new("/sys/fs/cgroup").join(c),
                own: "".into(),
            })
            .to_vec();
        Hierarchies { version: Version::V1, list }
    }

    fn plan(linux: &str, options: Options, hierarchies: &Hierarchies) -> Result<Wanted, String> {
        let json = format!(r#"{{"ociVersion": "1.3.0", "linux": {linux}}}"#);
        let spec: Spec = serde_json::from_str(&json).expect(&json);
        Wanted::plan(&spec, "id", options, hierarchies).map_err(|e| e.to_string())
    }

    #[test]
    fn a_limit_without_its_controller_is_refused_or_noted() {
        let cpu = r#"{"resources": {"cpu": {"shares": 512}, "pids": {"limit": 5}}}"#;
        let error = plan(cpu, Options::default(), &v1()).unwrap_err();
        assert!(error.contains("linux.resources.cpu.shares") && error.contains("controller cpu"), "{error}");
        let wanted = plan(cpu, Options { best_effort: true, ..Options::default() }, &v1()).unwrap();
        assert_eq!(wanted.notes.len(), 1);
        assert_eq!(wanted.settings.len(), 1);
        assert!(plan(cpu, Options::default(), &v2()).unwrap().notes.is_empty());
    }

    #[test]
    fn disabled_groups_hold_no_limit() {
        let options = Options { driver: Driver::Disabled, ..Options::default() };
        assert!(plan("{}", options, &v2()).unwrap().is_nowhere());
        let limits = r#"{"resources": {"pids": {"limit": 5}}}"#;
        assert!(plan(limits, options, &v2()).unwrap_err().contains("linux.resources.pids.limit"));
        let none = Hierarchies { version: Version::V1, list: vec![] };
        assert!(plan("{}", Options::default(), &none).unwrap().is_nowhere());
        assert!(plan(limits, Options::default(), &none).is_err());
        let devices = r#"{"resources": {"devices": [{"allow": false, "access": "rwm"}]}}"#;
        let error = plan(devices, Options::default(), &none).unwrap_err();
        assert!(error.contains("linux.resources.devices"), "{error}");
        assert!(plan(devices, Options { rootless: true, ..Options::default() }, &none).is_ok());
        assert!(plan(devices, Options::default(), &v1()).is_ok());
    }

    #[test]
    fn the_driver_decides_how_the_path_is_read() {
        let path = r#"{"cgroupsPath": "machine.slice:libpod:1a"}"#;
        let systemd = Options { driver: Driver::Systemd, ..Options::default() };
        assert!(matches!(plan(path, systemd, &v2()).unwrap().placement, Placement::In(_)));
        assert!(matches!(plan(path, Options::default(), &v2()).unwrap().placement, Placement::At(_)));
        assert!(plan(r#"{"cgroupsPath": "/a"}"#, systemd, &v2()).unwrap_err().contains("linux.cgroupsPath"));
        assert!(plan(r#"{"cgroupsPath": "/a/../b"}"#, Options::default(), &v1()).is_err());
        assert!(plan("{}", Options { rootless: true, ..systemd }, &v1()).is_err());
    }

    #[test]
    fn the_group_is_given_to_who_mounts_it_writable() {
        let json = |options: &str, own: &str| {
            format!(
                r#"{{"ociVersion": "1.3.0", "root": {{"path": "r"}},
                "process": {{"cwd": "/", "args": ["x"], "user": {{"uid": 7, "gid": 0}}}},
                "mounts": [{{"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": [{options}]}}],
                "linux": {{"namespaces": [{own}],
                           "uidMappings": [{{"containerID": 0, "hostID": 1000, "size": 1}}, {{"containerID": 1, "hostID": 100000, "size": 10}}]}}}}"#
            )
        };
        let owner_of = |options: &str, own: &str, version| {
            let text = json(options, own);
            owner(&serde_json::from_str(&text).expect(&text), version)
        };
        let own = r#"{"type": "cgroup"}"#;
        assert_eq!(owner_of(r#""rw""#, own, Version::V2), Some(100_006));
        assert_eq!(owner_of(r#""nosuid", "ro""#, own, Version::V2), None);
        assert_eq!(owner_of(r#""rw""#, "", Version::V2), None);
        assert_eq!(owner_of(r#""rw""#, own, Version::V1), None);
    }
}
