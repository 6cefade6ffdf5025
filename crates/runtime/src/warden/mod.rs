//! The warden: one small process beside a container that watches over it.
//!
//! It is a single loop over a handful of descriptors, without threads: the container's first process (its end), the
//! seccomp listener (refused calls), signals (passed on), and the container's output or terminal. Everything that
//! comes from inside is bytes that are copied, or a notification that is answered with an errno; nothing of it is
//! ever executed, parsed as trusted, or opened by name. Before it looks at any of it the warden has confined itself
//! (see [`confinement`]).
//!
//! Nothing here blocks but `poll`: a reader that does not read, a disk that is full or a container that floods the
//! listener slow the container down, and the warden still answers signals.

mod calls;
pub mod confinement;
pub mod crowd;
pub mod listener;
pub mod output;
pub mod signals;
pub mod terminal;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use donjon_confine::Guard;
use donjon_confine::layers::cgroups::{Events, Limits};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Signal, WaitId, WaitIdOptions, waitid};

use crate::audit::Audit;
use crate::events::{Closed, Event, Recorder, Refused};
use crate::learn::recorder::Recorder as Observer;
use crate::log::Stream;
use crate::process::{send, send_to_init};
use crate::state::{End, now};
use crowd::Crowd;
use listener::Listener;
use output::Logged;
use signals::Signals;
use terminal::{Proxy, Side};

/// After the watched process has ended, others that still hold its output open are listened to for this long: the
/// children that a further process leaves behind, or somebody outside that a descriptor was passed to.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Where the container's output goes.
#[derive(Debug)]
pub enum Output {
    /// To the caller's own standard output and error, which the container inherited.
    Inherited,
    /// Through a terminal of the container to the caller's.
    Terminal(Proxy),
    /// Into the log.
    Log {
        /// The pipes or the terminal, and the log.
        logged: Logged,
        /// The other end of an input that nobody writes to, held open.
        _input: Option<OwnedFd>,
    },
}

/// Which process is watched.
#[derive(Debug)]
pub enum Watched {
    /// The first process of a pid namespace, with its open `/proc/PID/status`: it gets signals as
    /// [`send_to_init`] describes.
    Init(Option<OwnedFd>),
    /// A further process of a container.
    Further,
}

/// How long the container may run, and how it is stopped then.
#[derive(Debug, Clone, Copy)]
pub struct TimeLimit {
    /// From now on.
    pub after: Option<Duration>,
    /// What is sent first.
    pub stop_signal: Signal,
    /// How long it is given before SIGKILL.
    pub stop_timeout: Duration,
}

/// Everything that the loop works with.
#[derive(Debug)]
pub struct Warden {
    /// The watched process.
    pub pidfd: OwnedFd,
    /// Which kind it is.
    pub watched: Watched,
    /// Where refused calls are reported.
    pub listener: Option<Listener>,
    /// What counts them.
    pub recorder: Recorder,
    /// Signals to pass on.
    pub signals: Signals,
    /// Where output goes.
    pub output: Output,
    /// When it has to end.
    pub limit: TimeLimit,
    /// What its cgroups tell; nothing for a further process.
    pub limits: Option<Limited>,
    /// Looks whether the limit of processes is reached, where no cgroup tells.
    pub crowd: Option<Crowd>,
    /// The audit records, and whose are looked for there.
    pub audit: Option<Audit>,
    /// Ends the container if this process is killed; held until it has ended by itself.
    pub guard: Option<Guard>,
    /// Answers the listener in the warden's place, and writes down what it sees.
    pub observer: Option<Observer>,
}

/// The limits of a container's cgroups, and what tells that they were hit.
#[derive(Debug)]
pub struct Limited {
    /// The open files.
    pub events: Events,
    /// The limits.
    pub limits: Limits,
}

impl Limited {
    /// Writes down what was hit; returns why the container ended, if memory is why.
    fn report(&self, killed: bool, recorder: &mut Recorder) -> Option<String> {
        let counts = self.events.read();
        let limit = |n: Option<u64>| n.map(|n| n.to_string()).unwrap_or_default();
        if counts.pids > 0 {
            let refused = Refused {
                layer: "cgroups",
                operation: "fork".to_string(),
                object: "one more process or thread".to_string(),
                rule: format!("[resources] pids = {}", limit(self.limits.pids)),
                errno: "EAGAIN",
                allow: Some("--pids-limit NUMBER".to_string()),
                advice: "more processes at once",
                ..Refused::default()
            };
            recorder.record_times(refused, counts.pids);
        }
        if counts.out_of_memory > 0 {
            let refused = Refused {
                layer: "cgroups",
                operation: "memory".to_string(),
                object: "more memory; a process was killed".to_string(),
                rule: format!("[resources] memory = {}", limit(self.limits.memory)),
                allow: Some("--memory SIZE".to_string()),
                advice: "more of the machine's memory",
                ..Refused::default()
            };
            recorder.record_times(refused, counts.out_of_memory);
        }
        (counts.out_of_memory > 0 && killed).then(|| {
            format!("it ran out of memory: the limit is {} bytes (--memory)", limit(self.limits.memory))
        })
    }
}

/// What a warden saw.
#[derive(Debug)]
pub struct Watch {
    /// How the process ended.
    pub end: End,
    /// What was refused.
    pub events: Vec<Event>,
    /// Where the log of it ended.
    pub log: Closed,
}

/// What a descriptor that is ready belongs to.
#[derive(Debug, Clone, Copy)]
enum Source {
    Process,
    Signals,
    Listener,
    Observer,
    Terminal(Side),
    Log(Stream),
}

/// The stages of a time limit.
#[derive(Debug, Clone, Copy)]
enum Deadline {
    None,
    Stop(Instant),
    Kill(Instant),
}

impl Warden {
    /// Watches until the process has ended and its output is passed on.
    pub fn watch(mut self) -> Watch {
        let mut deadline = match self.limit.after.and_then(|after| Instant::now().checked_add(after)) {
            Some(at) => Deadline::Stop(at),
            None => Deadline::None,
        };
        let mut timed_out = false;
        // The signal whose default action the warden carried out in the kernel's stead.
        let mut ended_for = None;
        let mut ended: Option<(Option<i32>, Option<i32>)> = None;
        let mut give_up_at: Option<Instant> = None;
        let mut abandoned = false;
        loop {
            let given_up =
                give_up_at.is_some_and(|at| Instant::now() >= at) && (abandoned || !self.is_delivering());
            if ended.is_some() && (given_up || self.is_drained()) {
                break;
            }
            let until = match (deadline, give_up_at) {
                (_, Some(at)) => Some(at).filter(|at| Instant::now() < *at),
                (Deadline::Stop(at) | Deadline::Kill(at), None) => Some(at),
                (Deadline::None, None) => None,
            };
            let until = match &self.crowd {
                Some(crowd) if ended.is_none() => Some(until.map_or(crowd.next(), |at| at.min(crowd.next()))),
                _ => until,
            };
            let until = [until, self.recorder.next()].into_iter().flatten().min();
            for (source, flags) in self.wait(ended.is_some(), until) {
                match source {
                    Source::Process => {
                        ended = self.reap();
                        give_up_at = ended.and_then(|_| Instant::now().checked_add(LAST_WORDS));
                    }
                    Source::Signals => {
                        while let Some(signal) = self.signals.next() {
                            if ended.is_some()
                                && matches!(signal, Signal::INT | Signal::TERM | Signal::HUP | Signal::QUIT)
                            {
                                // Only a reader that does not read is left to wait for: not against the person's will.
                                abandoned = true;
                            } else if self.pass_on(signal) {
                                ended_for = Some(signal);
                            }
                        }
                    }
                    Source::Listener => {
                        if let Some(listener) = &mut self.listener
                            && !listener.handle(flags, &mut self.recorder)
                        {
                            self.listener = None;
                        }
                    }
                    // It ends with the last program that could call. Otherwise nobody answers their calls any more.
                    Source::Observer => {
                        let finished = self.observer.take().is_some_and(|observer| observer.has_finished());
                        if !finished && ended.is_none() {
                            let _ = send(self.pidfd.as_fd(), Signal::KILL);
                        }
                    }
                    Source::Terminal(side) => {
                        if let Output::Terminal(proxy) = &mut self.output {
                            proxy.handle(side, flags);
                        }
                    }
                    Source::Log(stream) => {
                        if let Output::Log { logged, .. } = &mut self.output {
                            logged.handle(stream);
                        }
                    }
                }
            }
            self.recorder.retry();
            if ended.is_none()
                && let Some(crowd) = &mut self.crowd
                && !crowd.look(&mut self.recorder)
            {
                self.crowd = None;
            }
            deadline = match deadline {
                Deadline::Stop(at) if Instant::now() >= at && ended.is_none() => {
                    timed_out = true;
                    if self.send(self.limit.stop_signal) {
                        ended_for = Some(self.limit.stop_signal);
                    }
                    Instant::now().checked_add(self.limit.stop_timeout).map_or(Deadline::None, Deadline::Kill)
                }
                Deadline::Kill(at) if Instant::now() >= at && ended.is_none() => {
                    let _ = send(self.pidfd.as_fd(), Signal::KILL);
                    Deadline::None
                }
                other => other,
            };
        }
        let (status, signal) = ended.unwrap_or((None, Some(9)));
        let out_of_memory = match &self.limits {
            Some(limits) => limits.report(signal == Some(9), &mut self.recorder),
            None => None,
        };
        if let Some(audit) = self.audit.take() {
            audit.report(&mut self.recorder);
        }
        let log = self.recorder.finish();
        if let Some(observer) = self.observer.take() {
            observer.finish();
        }
        let mut end = in_words(status, signal, ended_for);
        if timed_out {
            end.reason = Some("its time was up (--timeout)".to_string());
        } else if out_of_memory.is_some() {
            end.reason = out_of_memory;
        }
        Watch { end, events: self.recorder.events().to_vec(), log }
    }

    /// Waits for something to do, at most until `until`.
    fn wait(&self, ended: bool, until: Option<Instant>) -> Vec<(Source, PollFlags)> {
        let mut interests: Vec<(Source, BorrowedFd<'_>, PollFlags)> = Vec::with_capacity(8);
        if !ended {
            interests.push((Source::Process, self.pidfd.as_fd(), PollFlags::IN));
        }
        interests.push((Source::Signals, self.signals.as_fd(), PollFlags::IN));
        interests.extend(self.listener.as_ref().map(|l| (Source::Listener, l.as_fd(), PollFlags::IN)));
        interests.extend(self.observer.as_ref().map(|o| (Source::Observer, o.as_fd(), PollFlags::IN)));
        match &self.output {
            Output::Inherited => {}
            Output::Terminal(proxy) => {
                interests
                    .extend(proxy.interests().map(|(side, fd, flags)| (Source::Terminal(side), fd, flags)));
            }
            Output::Log { logged, .. } => {
                interests
                    .extend(logged.interests().map(|(stream, fd, flags)| (Source::Log(stream), fd, flags)));
            }
        }
        let mut fds: Vec<PollFd<'_>> =
            interests.iter().map(|(_, fd, flags)| PollFd::from_borrowed_fd(*fd, *flags)).collect();
        let limit = until.map(|until| {
            let left = until.saturating_duration_since(Instant::now());
            Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            }
        });
        match poll(&mut fds, limit.as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => return Vec::new(),
            // Out of memory in the kernel: a moment later there may be some.
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
        fds.iter()
            .zip(&interests)
            .filter(|(fd, _)| !fd.revents().is_empty())
            .map(|(fd, (source, ..))| (*source, fd.revents()))
            .collect()
    }

    fn is_drained(&self) -> bool {
        match &self.output {
            Output::Inherited => true,
            Output::Terminal(proxy) => proxy.is_drained(),
            Output::Log { logged, .. } => logged.is_drained(),
        }
    }

    /// Whether bytes are on their way to a reader: they are never given up while he may still read.
    fn is_delivering(&self) -> bool {
        matches!(&self.output, Output::Terminal(proxy) if proxy.is_delivering())
    }

    /// Collects the exit status: of the program, or the signal that ended it.
    fn reap(&self) -> Option<(Option<i32>, Option<i32>)> {
        match waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
            Ok(Some(status)) => Some((status.exit_status(), status.terminating_signal())),
            Ok(None) | Err(Errno::INTR) => None,
            // Reaped by somebody else: that it has ended is certain.
            Err(_) => Some((None, Some(9))),
        }
    }

    /// Does with a signal what it is for; `true` when the process was killed in place of its default action.
    fn pass_on(&self, signal: Signal) -> bool {
        match signal {
            Signal::WINCH => {
                if let Output::Terminal(proxy) = &self.output {
                    proxy.resize();
                }
                false
            }
            Signal::TSTP => {
                self.stop();
                false
            }
            Signal::CONT => {
                if let Output::Terminal(proxy) = &self.output {
                    proxy.resume();
                }
                self.send(signal)
            }
            _ => self.send(signal),
        }
    }

    /// Stops the watched process and then the warden, until somebody continues the warden.
    fn stop(&self) {
        if let Output::Terminal(proxy) = &self.output {
            proxy.suspend();
        }
        // Pid 1 of a namespace ignores SIGTSTP; SIGSTOP from outside it does not.
        let _ = send(self.pidfd.as_fd(), Signal::STOP);
        let _ = rustix::process::kill_process(rustix::process::getpid(), Signal::STOP);
        // Continued. SIGCONT is in the signal descriptor as well, and passed on from there.
    }

    fn send(&self, signal: Signal) -> bool {
        let sent = match &self.watched {
            Watched::Init(status) => {
                send_to_init(self.pidfd.as_fd(), status.as_ref().map(AsFd::as_fd), signal)
            }
            Watched::Further => send(self.pidfd.as_fd(), signal).map(|()| false),
        };
        sent.unwrap_or(false)
    }
}

/// The end as it is written down. `ended_for` is the signal for which the warden killed the process.
fn in_words(status: Option<i32>, signal: Option<i32>, ended_for: Option<Signal>) -> End {
    let signal = match (signal, ended_for) {
        (Some(9), Some(meant)) => Some(meant.as_raw()),
        (signal, _) => signal,
    };
    let code = match (status, signal) {
        (Some(code), _) => u8::try_from(code & 0xff).unwrap_or(255),
        (None, Some(signal)) => u8::try_from(128 + signal).unwrap_or(255),
        (None, None) => 255,
    };
    End { code, signal, time: now(), reason: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_is_the_programs_own_or_128_and_the_signal() {
        assert_eq!(in_words(Some(0), None, None).code, 0);
        assert_eq!(in_words(Some(255), None, None).code, 255);
        assert_eq!(in_words(None, Some(11), None).code, 139);
        // Killed because Ctrl-C would have done nothing: it ended by SIGINT, as far as anybody asks.
        let end = in_words(None, Some(9), Some(Signal::INT));
        assert_eq!((end.code, end.signal), (130, Some(2)));
        // It ended on its own in the meantime.
        assert_eq!(in_words(Some(3), None, Some(Signal::INT)).code, 3);
    }
}
