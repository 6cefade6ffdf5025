//! What others do to a container: stop, kill, wait for, remove.
//!
//! There is nobody to ask: each command reads the record and acts on the processes themselves, by pidfd. The warden
//! sees the end and writes it down.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use donjon_confine::layers::cgroups::Groups;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal};

use crate::container::Container;
use crate::process::{Identity, open_status, send, send_to_init};
use crate::state::{State, StateError, Status};
use crate::store::{Store, StoreError, words};

/// How long a warden is given to write the end down once its container is dead.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// Why something could not be done to a container.
#[derive(Debug, thiserror::Error)]
pub enum LifeError {
    /// The state directory.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The container's record.
    #[error(transparent)]
    State(#[from] StateError),
    /// It has to run for that.
    #[error("{name} is not running")]
    NotRunning {
        /// Its name.
        name: String,
    },
    /// It must not run for that.
    #[error("{name} is running")]
    Running {
        /// Its name.
        name: String,
    },
    /// The kernel refused a signal.
    #[error("send {signal} to {name}: {}", words(*.errno))]
    Signal {
        /// The container's name.
        name: String,
        /// The signal's name.
        signal: String,
        /// The kernel's answer.
        errno: Errno,
    },
    /// Its processes did not end.
    #[error("{name} did not end within {} seconds after SIGKILL", LAST_WORDS.as_secs())]
    Unkillable {
        /// Its name.
        name: String,
    },
}

impl LifeError {
    /// The next step for the person, if there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Store(error) => error.hint(),
            Self::State(StateError::Damaged { .. } | StateError::Unfinished { .. }) => {
                Some("donjon rm -f removes it whatever its record says".to_string())
            }
            Self::NotRunning { .. } => Some("donjon ps lists what runs".to_string()),
            Self::Running { name } => Some(format!("donjon stop {name}, or donjon rm -f {name}")),
            Self::Unkillable { .. } => {
                Some("a process waits in the kernel (state D in donjon top), often for a disk or a network file system".to_string())
            }
            Self::State(_) | Self::Signal { .. } => None,
        }
    }
}

/// A running container's first process.
struct Init {
    pidfd: OwnedFd,
    status: Option<OwnedFd>,
}

impl Init {
    /// Opens it, proven to be the one of the record.
    fn open(identity: Identity) -> Result<Option<Self>, Errno> {
        // Opened first: if the identity still fits afterwards, this file is the same process's.
        let status = Pid::from_raw(identity.pid).and_then(|pid| open_status(pid).ok());
        Ok(identity.open()?.map(|pidfd| Self { pidfd, status }))
    }

    fn send(&self, signal: Signal) -> Result<(), Errno> {
        send_to_init(self.pidfd.as_fd(), self.status.as_ref().map(AsFd::as_fd), signal).map(drop)
    }

    /// Waits for its end; whether it came.
    fn wait(&self, limit: Duration) -> bool {
        let Some(until) = Instant::now().checked_add(limit) else { return false };
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let left = Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            };
            match poll(&mut [PollFd::new(&self.pidfd, PollFlags::IN)], Some(&left)) {
                Ok(n) => return n > 0,
                Err(Errno::INTR) => {}
                Err(_) => return false,
            }
        }
    }
}

fn running(container: &Container) -> Result<(State, Init), LifeError> {
    let (state, status) = container.status()?;
    let not_running = || LifeError::NotRunning { name: state.name.clone() };
    if status != Status::Running {
        return Err(not_running());
    }
    let init = state.init.map(Init::open).transpose().map_err(|e| signal_error(&state, Signal::CONT, e))?;
    match init.flatten() {
        Some(init) => Ok((state, init)),
        None => Err(not_running()),
    }
}

fn signal_error(state: &State, signal: Signal, errno: Errno) -> LifeError {
    LifeError::Signal {
        name: state.name.clone(),
        signal: crate::warden::signals::name(signal.as_raw()),
        errno,
    }
}

/// Sends a signal to a running container's first process. One that would end any other process ends this one too.
pub fn kill(container: &Container, signal: Signal) -> Result<(), LifeError> {
    let (state, init) = running(container)?;
    init.send(signal).map_err(|e| signal_error(&state, signal, e))
}

/// Stops a container: its stop signal, and SIGKILL if it still runs after `patience` (`None`: the container's own
/// setting). One that does not run is stopped already.
pub fn stop(container: &Container, patience: Option<Duration>) -> Result<(), LifeError> {
    let (state, init) = match running(container) {
        Err(LifeError::NotRunning { .. }) => return Ok(()),
        other => other?,
    };
    let signal = Signal::from_named_raw(state.stop_signal).unwrap_or(Signal::TERM);
    let patience = patience.unwrap_or(Duration::from_secs(state.stop_timeout));
    // A stopped process would not see it.
    let sent = init.send(signal).and_then(|()| send(init.pidfd.as_fd(), Signal::CONT));
    sent.map_err(|e| signal_error(&state, signal, e))?;
    if !init.wait(patience) {
        send(init.pidfd.as_fd(), Signal::KILL).map_err(|e| signal_error(&state, Signal::KILL, e))?;
        if !init.wait(LAST_WORDS) {
            return Err(LifeError::Unkillable { name: state.name });
        }
    }
    // The warden writes the end down; whoever asks next should see it.
    wait_for_lock(container);
    Ok(())
}

/// Waits until a container has ended and returns its exit code.
pub fn wait(container: &Container) -> Result<u8, LifeError> {
    let code = container.wait_for_warden()?;
    match (code, container.status()) {
        (_, Ok((_, Status::Exited(end)))) => Ok(end.code),
        (Some(code), _) => Ok(code),
        // No warden any more, but a process that its death has not reached yet.
        (None, Ok(_)) => Ok(137),
        (None, Err(error)) => Err(error.into()),
    }
}

/// Removes a container's record; a running one only by `force`, which kills it first. `force` needs no readable
/// record.
pub fn remove(store: &Store, container: Container, force: bool) -> Result<(), LifeError> {
    match remove_record(store, container, force) {
        // It goes away with its program (`--rm`), and that was ended here.
        Err(LifeError::Store(StoreError::Io { errno: Errno::NOENT, .. })) if force => Ok(()),
        other => other,
    }
}

fn remove_record(store: &Store, mut container: Container, force: bool) -> Result<(), LifeError> {
    let state = container.state();
    let name = state.as_ref().map_or_else(|_| container.id.short().to_string(), |s| s.name.clone());
    let init = state.as_ref().ok().and_then(|s| s.init);
    if !container.try_lock()? {
        if !force {
            return Err(LifeError::Running { name });
        }
        let signer = container.signer();
        end(init, &name)?;
        // A container that starts just now has no record yet; the warden's end is its end.
        if !locked_within(&mut container, Duration::from_secs(1))? {
            end(signer, &name)?;
            if !locked_within(&mut container, LAST_WORDS)? {
                return Err(LifeError::Unkillable { name });
            }
        }
    }
    // Its warden is gone. Its processes were told by the kernel, but see to it.
    end(init, &name)?;
    let noted = container.noted_groups();
    if let Ok(groups) = Groups::open(state.as_ref().map_or(&noted, |s| &s.cgroups)) {
        // One that is gone was removed by its warden.
        let _ = groups.remove();
    }
    container.name = state.map(|s| s.name).unwrap_or_default();
    store.remove(container)?;
    Ok(())
}

/// Kills a process that may be there, and waits for its end.
fn end(identity: Option<Identity>, name: &str) -> Result<(), LifeError> {
    let fail = |errno| LifeError::Signal { name: name.to_string(), signal: "SIGKILL".to_string(), errno };
    let Some(identity) = identity else { return Ok(()) };
    let Some(process) = Init::open(identity).map_err(fail)? else { return Ok(()) };
    send(process.pidfd.as_fd(), Signal::KILL).map_err(fail)?;
    if process.wait(LAST_WORDS) { Ok(()) } else { Err(LifeError::Unkillable { name: name.to_string() }) }
}

fn locked_within(container: &mut Container, limit: Duration) -> Result<bool, LifeError> {
    let begin = Instant::now();
    loop {
        if container.try_lock()? {
            return Ok(true);
        }
        if begin.elapsed() >= limit {
            return Ok(false);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn wait_for_lock(container: &Container) {
    let begin = Instant::now();
    while container.has_warden() && begin.elapsed() < LAST_WORDS {
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::Scratch;
    use std::process::{Child, Command, Stdio};

    fn store() -> (Scratch, Store) {
        let scratch = Scratch::new();
        let store = Store::open_at(&scratch.0.join("donjon")).unwrap();
        (scratch, store)
    }

    /// A process in the place of a container's first one. Dropping the container lets its lock go.
    fn with_process(store: &Store, program: &[&str]) -> (Container, Child) {
        let container = store.create(Some("web")).unwrap();
        let child = Command::new(program[0]).args(&program[1..]).stdin(Stdio::null()).spawn().unwrap();
        let mut state = State::new(&container.id, "web");
        state.init = Some(Identity::of(Pid::from_raw(child.id() as i32).unwrap()).unwrap());
        container.write_state(&state).unwrap();
        (container, child)
    }

    #[test]
    fn a_running_container_is_removed_only_by_force_and_then_killed() {
        let (_scratch, store) = store();
        let (warden, mut child) = with_process(&store, &["/bin/sleep", "60"]);
        let error = remove(&store, store.find("web").unwrap(), false).unwrap_err();
        assert_eq!(error.to_string(), "web is running");
        assert!(error.hint().unwrap().contains("rm -f web"));
        let reaper = std::thread::spawn(move || {
            let status = child.wait().unwrap();
            drop(warden);
            status
        });
        remove(&store, store.find("web").unwrap(), true).unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&reaper.join().unwrap()), Some(9));
        assert!(store.list().unwrap().is_empty());
    }

    #[test]
    fn stop_ends_a_program_without_handlers_at_once_and_one_with_a_handler_in_its_own_way() {
        let (_scratch, store) = store();
        for (script, expected) in [
            ("exec sleep 60", (None, Some(9))),
            ("trap 'exit 7' TERM; while :; do sleep 0.05; done", (Some(7), None)),
        ] {
            let (warden, mut child) = with_process(&store, &["/bin/sh", "-c", script]);
            std::thread::sleep(Duration::from_millis(100));
            let begin = Instant::now();
            let reaper = std::thread::spawn(move || {
                let status = child.wait().unwrap();
                drop(warden);
                status
            });
            stop(&store.find("web").unwrap(), Some(Duration::from_secs(8))).unwrap();
            assert!(begin.elapsed() < Duration::from_secs(4));
            let status = reaper.join().unwrap();
            assert_eq!((status.code(), std::os::unix::process::ExitStatusExt::signal(&status)), expected);
            remove(&store, store.find("web").unwrap(), false).unwrap();
        }
    }

    #[test]
    fn a_container_with_a_damaged_record_can_still_be_removed() {
        let (_scratch, store) = store();
        let container = store.create(Some("web")).unwrap();
        std::fs::write(container.path().join("state.json"), "{\"version\": 1, \"id").unwrap();
        let id = container.id.clone();
        drop(container);
        remove(&store, store.find(id.as_str()).unwrap(), true).unwrap();
        assert!(store.list().unwrap().is_empty());
        // The name is free again, although nothing told whose it was.
        store.create(Some("web")).unwrap();
    }

    #[test]
    fn wait_returns_the_code_even_when_the_record_is_gone() {
        let (_scratch, store) = store();
        let warden = store.create(Some("web")).unwrap();
        let waiter = store.find("web").unwrap();
        let waiting = std::thread::spawn(move || wait(&waiter));
        std::thread::sleep(Duration::from_millis(100));
        warden.note_exit(42).unwrap();
        store.remove(warden).unwrap();
        assert_eq!(waiting.join().unwrap().unwrap(), 42);
    }

    #[test]
    fn stopping_what_does_not_run_is_no_error_and_killing_it_is() {
        let (_scratch, store) = store();
        let container = store.create(Some("web")).unwrap();
        container.write_state(&State::new(&container.id, "web")).unwrap();
        drop(container);
        stop(&store.find("web").unwrap(), None).unwrap();
        assert!(matches!(kill(&store.find("web").unwrap(), Signal::TERM), Err(LifeError::NotRunning { .. })));
    }
}
