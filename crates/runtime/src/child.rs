//! A process on its way into a container: ended and reaped unless its start succeeds.

use std::os::fd::{AsFd, OwnedFd};

use donjon_confine::layers::cgroups::Groups;
use donjon_confine::{Confined, Given, Guard, Handover, Plan, StartError};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, waitid};

use crate::process::send;
use crate::streams::Streams;

/// A spawned process; dropping it kills it.
#[derive(Debug)]
pub struct Child(Option<Confined>, Pid);

impl Child {
    /// Spawns what the plan says, with the container's ends of the streams, in the container's cgroups.
    pub fn spawn(plan: &Plan, streams: &Streams, groups: &Groups) -> Result<Self, StartError> {
        let mut adopt = |pid| groups.adopt(pid);
        let prepare: Option<&mut dyn FnMut(Pid) -> Result<(), StartError>> =
            if groups.adopts() { Some(&mut adopt) } else { None };
        let given = Given { stdio: streams.ends(), cgroup: groups.birthplace(), prepare, ..Given::default() };
        let confined = donjon_confine::spawn(plan, given)?;
        let pid = confined.pid;
        Ok(Self(Some(confined), pid))
    }

    /// Its pid, as seen from here.
    pub fn pid(&self) -> Pid {
        self.1
    }

    /// Its listener is handed to an observer as soon as there is one.
    pub fn observe(&mut self, channel: OwnedFd) {
        if let Some(confined) = &mut self.0 {
            confined.observe(channel);
        }
    }

    /// Waits until the program runs. After an error the process is gone.
    pub fn started(&mut self, plan: &Plan) -> Result<Handover, StartError> {
        let Some(confined) = &mut self.0 else { return Ok(Handover::default()) };
        match confined.started(plan) {
            Ok(handover) => {
                self.1 = confined.pid;
                Ok(handover)
            }
            Err(error) => {
                self.0 = None;
                Err(error)
            }
        }
    }

    /// Its pidfd and its guard; from here on it lives as long as these are held.
    pub fn release(mut self) -> Option<(OwnedFd, Option<Guard>)> {
        self.0.take().map(|mut confined| {
            let guard = confined.guard();
            (confined.pidfd, guard)
        })
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if let Some(confined) = &self.0 {
            let _ = send(confined.pidfd.as_fd(), Signal::KILL);
            let _ = waitid(WaitId::PidFd(confined.pidfd.as_fd()), WaitIdOptions::EXITED);
        }
    }
}
