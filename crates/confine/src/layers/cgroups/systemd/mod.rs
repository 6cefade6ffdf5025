//! The driver systemd: the group is a scope, which systemd makes when donjon asks over D-Bus.
//!
//! On a machine that systemd runs, the hierarchy is systemd's; a group that somebody else puts into it can be changed
//! whenever systemd renews its own. A scope with `Delegate=yes` belongs to who asked for it. Root asks the system's
//! manager, an ordinary user its own (`systemd --user`). Nothing here is touched with another driver.

mod bus;
mod properties;

use std::path::PathBuf;

use zbus::{ObjectPath, Variant};

use super::cgroup::failed;
use super::paths::Unit;
use super::resources::Resources;
use super::settings::Current;
use super::wanted::Wanted;
use crate::error::StartError;
use bus::{Bus, Call, Fault};
use properties::Property;

const NAME: &str = "org.freedesktop.systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const OBJECT: &str = "/org/freedesktop/systemd1";

fn manager(member: &str) -> Call<'_> {
    Call { destination: NAME, path: OBJECT, interface: MANAGER, member }
}

fn fault(what: String, fault: Fault, rootless: bool) -> StartError {
    let error = failed(format!("{what}: {fault}"), None).field("linux.cgroupsPath");
    match fault {
        Fault::Bus(_) if rootless => error.hint(
            "the driver systemd needs a session with a D-Bus of the user (dbus-user-session); or leave out \
             --systemd-cgroup",
        ),
        Fault::Bus(_) => error.hint(
            "the driver systemd needs systemd as the first process and D-Bus; or leave out --systemd-cgroup",
        ),
        Fault::Refused(..) => error,
    }
}

/// A conversation with systemd.
struct Systemd {
    bus: Bus,
    version: u32,
}

impl Systemd {
    fn connect(rootless: bool) -> Result<Self, Fault> {
        let mut bus = if rootless { Bus::user()? } else { Bus::system()? };
        let version = property(&mut bus, OBJECT, MANAGER, "Version")?;
        Ok(Self { bus, version: parse_version(&version) })
    }

    /// Asks to be told of jobs that end: before the job is there, so that its end is not missed.
    fn listen(&mut self) -> Result<(), Fault> {
        if !self.bus.direct {
            let rule = format!("type='signal',sender='{NAME}',interface='{MANAGER}',member='JobRemoved'");
            self.bus.call(&Call::of_bus("AddMatch"), &rule.as_str())?;
        }
        self.bus.call(&manager("Subscribe"), &()).map(drop)
    }

    /// Waits for the end of a job and returns its result in systemd's word.
    fn wait(&mut self, job: &str) -> Result<String, Fault> {
        loop {
            let signal = self.bus.signal()?;
            if signal.member != "JobRemoved" {
                continue;
            }
            let (_, path, _, result) = signal.body::<(u32, ObjectPath<'_>, &str, &str)>()?;
            if path.as_str() == job {
                return Ok(result.to_string());
            }
        }
    }

    fn start(&mut self, unit: &str, properties: &[Property]) -> Result<(), Fault> {
        let none: Vec<(&str, Vec<(&str, Variant<'_>)>)> = Vec::new();
        let call = manager("StartTransientUnit");
        let body = (unit, "replace", properties, none);
        let answer = match self.bus.call(&call, &body) {
            // It may be what is left of one that failed.
            Err(Fault::Refused(name, _)) if name.ends_with(".UnitExists") => {
                self.bus.call(&manager("ResetFailedUnit"), &unit)?;
                self.bus.call(&call, &body)?
            }
            other => other?,
        };
        let job = answer.body::<ObjectPath<'_>>()?.to_string();
        match self.wait(&job)?.as_str() {
            "done" => Ok(()),
            result => {
                let _ = self.bus.call(&manager("ResetFailedUnit"), &unit);
                Err(Fault::Refused(result.to_string(), format!("the unit {unit} could not be started")))
            }
        }
    }

    fn stop(&mut self, unit: &str) -> Result<(), Fault> {
        match self.bus.call(&manager("StopUnit"), &(unit, "replace")) {
            Ok(answer) => {
                let job = answer.body::<ObjectPath<'_>>()?.to_string();
                self.wait(&job)?;
            }
            // An empty scope is gone by itself.
            Err(Fault::Refused(name, _)) if name.ends_with(".NoSuchUnit") => return Ok(()),
            Err(fault) => return Err(fault),
        }
        // What failed is only forgotten when it is told to be.
        match self.bus.call(&manager("ResetFailedUnit"), &unit) {
            Ok(_) | Err(Fault::Refused(..)) => Ok(()),
            Err(fault) => Err(fault),
        }
    }

    /// The unit's group, from the root of the hierarchies.
    fn control_group(&mut self, unit: &str) -> Result<PathBuf, Fault> {
        let answer = self.bus.call(&manager("GetUnit"), &unit)?;
        let object = answer.body::<ObjectPath<'_>>()?.to_string();
        let path = property(&mut self.bus, &object, "org.freedesktop.systemd1.Scope", "ControlGroup")?;
        match path.strip_prefix('/') {
            Some(below)
                if !below.is_empty() && below.split('/').all(|name| !matches!(name, "" | "." | "..")) =>
            {
                Ok(PathBuf::from(below))
            }
            _ => Err(Fault::Bus(format!("the unit {unit} has the group {path:?}, which is none"))),
        }
    }
}

fn property(bus: &mut Bus, path: &str, interface: &str, name: &str) -> Result<String, Fault> {
    let call = Call { destination: NAME, path, interface: "org.freedesktop.DBus.Properties", member: "Get" };
    let answer = bus.call(&call, &(interface, name))?;
    match answer.body::<Variant<'_>>()? {
        Variant::Str(text) => Ok(text.to_string()),
        _ => Err(Fault::Bus(format!("the property {name} is no text"))),
    }
}

/// `252.39-1~deb12u1`, `v245.4-1.fc32`.
fn parse_version(text: &str) -> u32 {
    let text = text.trim_start_matches(['v', '"']);
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text[..digits].parse().unwrap_or(0)
}

/// Starts the scope with a process in it, and returns its group.
pub(super) fn start(wanted: &Wanted, unit: &Unit, pid: i32) -> Result<PathBuf, StartError> {
    let rootless = wanted.options.rootless;
    let run = || {
        let mut systemd = Systemd::connect(rootless)?;
        systemd.listen()?;
        let pid = u32::try_from(pid).map_err(|_| Fault::Bus(format!("{pid} is no process")))?;
        let mut all: Vec<Property> = vec![
            ("Description", Variant::from(format!("donjon container {}", wanted.id))),
            ("Slice", Variant::from(unit.slice.clone())),
            ("Delegate", Variant::from(true)),
            ("DefaultDependencies", Variant::from(false)),
            ("PIDs", Variant::from(vec![pid])),
        ];
        let counted = ["MemoryAccounting", "CPUAccounting", "TasksAccounting", "IOAccounting"];
        let v2 = wanted.hierarchies.version == super::hierarchies::Version::V2;
        all.extend(
            counted.into_iter().filter(|n| v2 || *n != "IOAccounting").map(|n| (n, Variant::from(true))),
        );
        all.extend(properties::of(&wanted.resources, &Current::default(), systemd.version));
        systemd.start(&unit.name, &all)?;
        systemd.control_group(&unit.name)
    };
    run().map_err(|f| fault(format!("start the unit {}", unit.name), f, rootless))
}

/// Changes a unit's properties, until it is stopped.
pub(super) fn change(
    unit: &str,
    rootless: bool,
    resources: &Resources,
    current: &Current,
) -> Result<(), StartError> {
    let run = || {
        let mut systemd = Systemd::connect(rootless)?;
        let all = properties::of(resources, current, systemd.version);
        if all.is_empty() {
            return Ok(());
        }
        systemd.bus.call(&manager("SetUnitProperties"), &(unit, true, all.as_slice())).map(drop)
    };
    run().map_err(|f| fault(format!("change the unit {unit}"), f, rootless))
}

/// Stops a unit; one that is gone already is stopped.
pub(super) fn stop(unit: &str, rootless: bool) -> Result<(), StartError> {
    let run = || {
        let mut systemd = Systemd::connect(rootless)?;
        systemd.listen()?;
        systemd.stop(unit)
    };
    run().map_err(|f| fault(format!("stop the unit {unit}"), f, rootless))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_systemd_are_read() {
        for (text, version) in [("252.39-1~deb12u1", 252), ("v245.4-1.fc32", 245), ("\"257\"", 257), ("x", 0)]
        {
            assert_eq!(parse_version(text), version, "{text}");
        }
    }

    #[test]
    fn without_a_bus_the_next_step_is_named() {
        let error = fault("start the unit x".into(), Fault::Bus("no such file".into()), true);
        assert!(error.hint.is_some_and(|hint| hint.contains("dbus-user-session")));
    }
}
