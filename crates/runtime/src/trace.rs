//! Finding out by tracing what is refused: `donjon explain --trace`.
//!
//! The seccomp listener sees what the filter refuses, and nothing else: a read-only mount, Landlock, an owner and mode
//! of a file refuse inside the kernel without a word to donjon. Here the whole of `donjon run` is run as a traced child,
//! and each system call of the container's programs that fails for want of a right is written down. Tracing makes a
//! program slow; nothing of its confinement is changed by it.
//!
//! What the tracer reads from the container (paths in memory) is only shown, never acted on.

use std::collections::{HashMap, HashSet};

use donjon_confine::layers::seccomp::name;
use donjon_sys::ptrace::{self, Change, SystemCall, event, option};
use rustix::fs::{CWD, FileType, OFlags};
use rustix::io::Errno;

use crate::process::read_file;
use crate::start::RunError;

/// A system call that failed for want of a right.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Failed {
    /// The process's name for itself.
    pub comm: String,
    /// The system call.
    pub call: String,
    /// Its arguments, where they are numbers.
    pub args: [u64; 6],
    /// The file that it was about, as the container sees it.
    pub path: Option<String>,
    /// What the program was told.
    pub errno: Errno,
    /// Whether owner and mode of the file alone explain it.
    pub by_mode: Option<String>,
    /// Whether it was to be written, made, removed or changed.
    pub writes: bool,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Found {
    /// In the order of the first time, with how often.
    pub failed: Vec<(Failed, u64)>,
    /// How donjon ended.
    pub code: u8,
}

/// Most kinds of failures that are told apart.
const MOST: usize = 500;

/// Runs `run` in a child and traces the programs that it starts in another pid namespace.
pub fn trace(run: impl FnOnce() -> u8) -> Result<Found, RunError> {
    let io = |what: &str| RunError::io(format!("trace: {what}"));
    let (wait, go) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(io("make a pipe"))?;
    let child = donjon_sys::clone::fork(|| {
        donjon_sys::process::close_copy(std::os::fd::AsFd::as_fd(&go));
        // Until the tracer is there.
        let mut byte = [0u8; 1];
        match rustix::io::read(&wait, &mut byte) {
            Ok(1) => run(),
            _ => 125,
        }
    })
    .map_err(io("fork"))?;
    let child = child.as_raw_nonzero().get();
    let options = option::TRACESYSGOOD
        | option::TRACEFORK
        | option::TRACEVFORK
        | option::TRACECLONE
        | option::TRACEEXEC
        | option::EXITKILL;
    ptrace::seize(child, options).map_err(io("trace the container (is another tracer there?)"))?;
    rustix::io::write(&go, b"g").map_err(io("let it go"))?;
    drop((wait, go));
    // Ctrl-C is the container's: it ends, and then this does.
    let _ignored = donjon_sys::process::block_signals();
    Ok(Tracer { root: child, own: namespace(std::process::id() as i32), ..Tracer::default() }.run())
}

#[derive(Default)]
struct Tracer {
    root: i32,
    own: Option<Vec<u8>>,
    /// Known processes and threads: the call that each is in, if its calls are watched.
    known: HashMap<i32, Watched>,
    /// Stopped before their parent's event told of them.
    early: HashSet<i32>,
    places: HashMap<Failed, usize>,
    found: Found,
}

#[derive(Default, Clone, Copy)]
struct Watched {
    /// A program of the container's: not donjon on its way there.
    program: bool,
    call: Option<(u64, [u64; 6])>,
}

fn namespace(pid: i32) -> Option<Vec<u8>> {
    rustix::fs::readlinkat(CWD, format!("/proc/{pid}/ns/pid"), Vec::new())
        .ok()
        .map(std::ffi::CString::into_bytes)
}

impl Tracer {
    fn run(mut self) -> Found {
        self.known.insert(self.root, Watched::default());
        loop {
            match ptrace::wait_any() {
                Ok((pid, Change::Ended(code))) => {
                    self.known.remove(&pid);
                    if pid == self.root {
                        self.found.code = u8::try_from(code).unwrap_or(255);
                    }
                }
                Ok((pid, Change::Stopped { signal, event })) => self.stopped(pid, signal, event),
                Err(Errno::INTR) => {}
                // Nobody is left.
                Err(_) => return self.found,
            }
        }
    }

    fn stopped(&mut self, pid: i32, signal: i32, event: i32) {
        if !self.known.contains_key(&pid) {
            self.early.insert(pid);
            return;
        }
        let mut deliver = 0;
        match (event, signal) {
            (event::FORK | event::VFORK | event::CLONE, _) => {
                if let Ok(new) = ptrace::event_message(pid) {
                    let parent = self.known.get(&pid).copied().unwrap_or_default();
                    self.known.insert(new, Watched { program: parent.program, call: None });
                    if self.early.remove(&new) {
                        self.go_on(new, 0);
                    }
                }
            }
            (event::EXEC, _) => {
                let elsewhere = namespace(pid).is_some_and(|ns| Some(ns) != self.own);
                if let Some(watched) = self.known.get_mut(&pid) {
                    watched.program |= elsewhere;
                    watched.call = None;
                }
            }
            (event::STOP, 19..=22) => {
                // A stop that the program was sent, not one of tracing.
                let _ = ptrace::listen(pid);
                return;
            }
            (event::STOP, _) => {}
            (_, signal) if signal == 5 | 0x80 => self.at_system_call(pid),
            (_, signal) => deliver = signal,
        }
        self.go_on(pid, deliver);
    }

    /// A process that died meanwhile is told by the next wait.
    fn go_on(&self, pid: i32, signal: i32) {
        let _ = match self.known.get(&pid) {
            Some(Watched { program: true, .. }) => ptrace::to_system_call(pid, signal),
            _ => ptrace::go_on(pid, signal),
        };
    }

    fn at_system_call(&mut self, pid: i32) {
        match ptrace::system_call(pid) {
            Ok(SystemCall::Entry { nr, args }) => {
                if let Some(watched) = self.known.get_mut(&pid) {
                    watched.call = Some((nr, args));
                }
            }
            Ok(SystemCall::Exit { errno }) => {
                let call = self.known.get_mut(&pid).and_then(|watched| watched.call.take());
                if let (Some((nr, args)), Some(errno)) = (call, errno) {
                    self.failed(pid, nr, args, errno);
                }
            }
            _ => {}
        }
    }

    fn failed(&mut self, pid: i32, nr: u64, args: [u64; 6], errno: Errno) {
        let Some(call) = i32::try_from(nr).ok().and_then(name) else { return };
        let wanted = match errno {
            Errno::PERM
            | Errno::ACCESS
            | Errno::ROFS
            | Errno::AFNOSUPPORT
            | Errno::PROTONOSUPPORT
            | Errno::NETUNREACH => true,
            // These are the answers of a limit only in these calls.
            Errno::AGAIN => matches!(call, "fork" | "vfork" | "clone" | "clone3"),
            Errno::XDEV => matches!(call, "rename" | "renameat" | "renameat2" | "link" | "linkat"),
            Errno::NOSPC | Errno::OVERFLOW => true,
            _ => false,
        };
        if !wanted {
            return;
        }
        let path = path_of(pid, call, &args);
        let comm = read_file(&format!("/proc/{pid}/comm")).unwrap_or_default();
        let writes = writes(call, &args);
        let failed = Failed {
            comm: String::from_utf8_lossy(comm.strip_suffix(b"\n").unwrap_or(&comm)).into_owned(),
            call: call.to_string(),
            // Pointers differ from call to call; numbers are kept where they say something.
            args: if PATHS.iter().any(|(name, ..)| *name == call) {
                [0; 6]
            } else {
                args.map(|a| if a > u64::from(u32::MAX) { 0 } else { a })
            },
            by_mode: path
                .as_deref()
                .filter(|_| errno == Errno::ACCESS)
                .and_then(|path| by_mode(pid, path, writes)),
            path,
            errno,
            writes,
        };
        if let Some((_, count)) = self.places.get(&failed).and_then(|place| self.found.failed.get_mut(*place))
        {
            *count += 1;
        } else if self.places.len() < MOST {
            self.places.insert(failed.clone(), self.found.failed.len());
            self.found.failed.push((failed, 1));
        }
    }
}

/// Calls on a path: the argument that holds it, and the one that holds the directory it is relative to.
const PATHS: [(&str, usize, Option<usize>); 44] = [
    ("open", 0, None),
    ("creat", 0, None),
    ("openat", 1, Some(0)),
    ("openat2", 1, Some(0)),
    ("access", 0, None),
    ("faccessat", 1, Some(0)),
    ("faccessat2", 1, Some(0)),
    ("stat", 0, None),
    ("lstat", 0, None),
    ("newfstatat", 1, Some(0)),
    ("statx", 1, Some(0)),
    ("readlink", 0, None),
    ("readlinkat", 1, Some(0)),
    ("chdir", 0, None),
    ("mkdir", 0, None),
    ("mkdirat", 1, Some(0)),
    ("rmdir", 0, None),
    ("unlink", 0, None),
    ("unlinkat", 1, Some(0)),
    ("rename", 1, None),
    ("renameat", 3, Some(2)),
    ("renameat2", 3, Some(2)),
    ("link", 1, None),
    ("linkat", 3, Some(2)),
    ("symlink", 1, None),
    ("symlinkat", 2, Some(1)),
    ("chmod", 0, None),
    ("fchmodat", 1, Some(0)),
    ("fchmodat2", 1, Some(0)),
    ("chown", 0, None),
    ("lchown", 0, None),
    ("fchownat", 1, Some(0)),
    ("truncate", 0, None),
    ("utimensat", 1, Some(0)),
    ("utimes", 0, None),
    ("mknod", 0, None),
    ("mknodat", 1, Some(0)),
    ("setxattr", 0, None),
    ("lsetxattr", 0, None),
    ("execve", 0, None),
    ("execveat", 1, Some(0)),
    ("mount", 1, None),
    ("umount2", 0, None),
    ("inotify_add_watch", 1, None),
];

/// The path that a call is about.
fn path_of(pid: i32, call: &str, args: &[u64; 6]) -> Option<String> {
    let (_, path, dir) = PATHS.iter().find(|(name, ..)| *name == call)?;
    let mut buffer = [0u8; 1024];
    let address = *args.get(*path)?;
    // Not across a page that may not be mapped.
    let room = (4096 - (address % 4096)) as usize;
    let first = room.min(buffer.len());
    let mut n = ptrace::read_memory(pid, address, buffer.get_mut(..first)?).ok()?;
    if !buffer.get(..n)?.contains(&0) && n == first && n < buffer.len() {
        n += ptrace::read_memory(pid, address + n as u64, buffer.get_mut(n..)?).unwrap_or(0);
    }
    let bytes = buffer.get(..n)?;
    let text = String::from_utf8_lossy(bytes.split(|b| *b == 0).next().unwrap_or_default()).into_owned();
    if text.starts_with('/') {
        return Some(text);
    }
    let link = |name: String| {
        rustix::fs::readlinkat(CWD, name, Vec::new())
            .ok()
            .map(|l| String::from_utf8_lossy(l.as_bytes()).into_owned())
    };
    let base = match dir.and_then(|dir| args.get(dir)).map(|fd| *fd as i32) {
        // AT_FDCWD
        None | Some(-100) => link(format!("/proc/{pid}/cwd")),
        Some(fd) => link(format!("/proc/{pid}/fd/{fd}")),
    };
    let base = base.unwrap_or_else(|| "?".to_string());
    Some(if text.is_empty() { base } else { format!("{}/{text}", base.trim_end_matches('/')) })
}

/// Whether a call writes, makes, removes or changes.
fn writes(call: &str, args: &[u64; 6]) -> bool {
    let flags = match call {
        "open" => args[1],
        "openat" => args[2],
        "openat2" => return false,
        "access" => return args[1] & 2 != 0,
        "faccessat" | "faccessat2" => return args[2] & 2 != 0,
        "stat" | "lstat" | "newfstatat" | "statx" | "readlink" | "readlinkat" | "chdir" | "execve"
        | "execveat" | "inotify_add_watch" => return false,
        _ => return true,
    };
    // O_WRONLY, O_RDWR, O_CREAT, O_TRUNC
    flags & 3 != 0 || flags & 0o1100 != 0
}

/// Whether owner and mode of a file, as the container sees them, explain that it was refused.
fn by_mode(pid: i32, path: &str, writes: bool) -> Option<String> {
    let root = rustix::fs::open(
        format!("/proc/{pid}/root"),
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )
    .ok()?;
    let file = donjon_confine::resolve::in_root(&root, path, OFlags::PATH).or_else(|_| {
        let above =
            path.rsplit_once('/').map_or("/", |(above, _)| if above.is_empty() { "/" } else { above });
        donjon_confine::resolve::in_root(&root, above, OFlags::PATH)
    });
    let stat = rustix::fs::fstat(file.ok()?).ok()?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
        return None;
    }
    let status = String::from_utf8_lossy(&read_file(&format!("/proc/{pid}/status")).ok()?).into_owned();
    let id = |name: &str| -> Option<u32> {
        status.lines().find_map(|l| l.strip_prefix(name))?.split_ascii_whitespace().nth(1)?.parse().ok()
    };
    let shift = match (id("Uid:")? == stat.st_uid, id("Gid:")? == stat.st_gid) {
        (true, _) => 6,
        (false, true) => 3,
        (false, false) => 0,
    };
    let needed = if writes { 0o2 } else { 0o4 };
    let granted = (stat.st_mode >> shift) & needed != 0;
    (!granted).then(|| format!("owner and mode ({:04o})", stat.st_mode & 0o7777))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_writes_by_its_flags() {
        assert!(writes("open", &[0, 0o101, 0, 0, 0, 0]) && !writes("open", &[0, 0, 0, 0, 0, 0]));
        assert!(
            writes("openat", &[0, 0, 1, 0, 0, 0]) && writes("mkdir", &[0; 6]) && !writes("execve", &[0; 6])
        );
    }

    #[test]
    fn a_refused_call_of_a_traced_program_is_found_only_in_another_pid_namespace() {
        // The traced child here stays in this namespace, so nothing of it counts; but it is followed to its end.
        let found = trace(|| {
            let status = std::process::Command::new("/bin/true").status();
            status.map_or(1, |s| s.code().unwrap_or(1) as u8 + 7)
        })
        .unwrap();
        assert_eq!((found.code, found.failed.len()), (7, 0));
    }
}
