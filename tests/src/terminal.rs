//! A terminal of the test's own: what a person sits at.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use crate::run::Run;

/// A pseudo-terminal and the size that it shows.
#[derive(Debug)]
pub struct Terminal {
    master: File,
    slave: OwnedFd,
}

/// A donjon that runs on a terminal.
#[derive(Debug)]
pub struct TerminalRun {
    terminal: Terminal,
    child: Child,
    seen: String,
}

impl Terminal {
    /// A terminal of this many rows and columns.
    pub fn new(rows: u16, columns: u16) -> Self {
        let (mut master, mut slave) = (-1, -1);
        let mut size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: the two places and the size are valid; no name and no settings are asked for. The descriptors
        // are new and owned by nobody else; both are made close-on-exec.
        unsafe {
            let null = std::ptr::null_mut();
            let made = libc::openpty(&raw mut master, &raw mut slave, null, null.cast(), &raw mut size);
            assert_eq!(made, 0, "no pseudo-terminal: {}", std::io::Error::last_os_error());
            libc::fcntl(master, libc::F_SETFD, libc::FD_CLOEXEC);
            libc::fcntl(slave, libc::F_SETFD, libc::FD_CLOEXEC);
            Self { master: File::from_raw_fd(master), slave: OwnedFd::from_raw_fd(slave) }
        }
    }

    /// The terminal's settings, to see whether they were restored.
    pub fn settings(&self) -> (u32, u32, u32) {
        // SAFETY: termios is a plain structure of integers and the descriptor is open.
        unsafe {
            let mut settings: libc::termios = std::mem::zeroed();
            assert_eq!(libc::tcgetattr(self.slave.as_raw_fd(), &raw mut settings), 0);
            (settings.c_iflag, settings.c_oflag, settings.c_lflag)
        }
    }

    /// Changes the size, as dragging a window's corner does.
    pub fn resize(&self, rows: u16, columns: u16) {
        let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: the size is valid and the descriptor open.
        unsafe { libc::ioctl(self.master.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
    }

    /// Runs donjon on this terminal, as a shell would: in a session of its own, in the foreground.
    pub fn run(self, run: Run<'_>) -> TerminalRun {
        self.start(run.command())
    }

    /// The same for any command.
    pub fn start(self, mut command: Command) -> TerminalRun {
        let stdio = || self.slave.try_clone().expect("another descriptor of the terminal");
        command.stdin(stdio()).stdout(stdio()).stderr(stdio());
        // SAFETY: two plain system calls. Descriptor 0 is the terminal by then.
        unsafe {
            command.pre_exec(|| {
                if libc::setsid() < 0 || libc::ioctl(0, libc::TIOCSCTTY, 0) < 0 {
                    return Err(std::io::Error::last_os_error());
                }
                Ok(())
            })
        };
        let child = command.spawn().expect("donjon on a terminal");
        TerminalRun { terminal: self, child, seen: String::new() }
    }
}

impl TerminalRun {
    /// The terminal.
    pub fn terminal(&self) -> &Terminal {
        &self.terminal
    }

    /// donjon's process id.
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// Sends a signal to donjon itself.
    pub fn signal(&self, signal: i32) {
        // SAFETY: the process is this test's child and not yet waited for.
        unsafe { libc::kill(self.pid(), signal) };
    }

    /// Types.
    pub fn type_in(&mut self, keys: &str) {
        self.terminal.master.write_all(keys.as_bytes()).expect("typing");
    }

    /// Takes what is on the screen within this time.
    fn look(&mut self, wait: Duration) {
        let mut poll =
            libc::pollfd { fd: self.terminal.master.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one valid entry.
        let ready = unsafe { libc::poll(&raw mut poll, 1, wait.as_millis() as i32) };
        if ready > 0 && poll.revents & libc::POLLIN != 0 {
            let mut buffer = [0u8; 4096];
            let n = self.terminal.master.read(&mut buffer).unwrap_or(0);
            self.seen.push_str(&String::from_utf8_lossy(&buffer[..n]));
        }
    }

    /// Waits until this text is on the screen.
    #[track_caller]
    pub fn wait_for(&mut self, text: &str) {
        let end = Instant::now() + Duration::from_secs(20);
        while !self.seen.contains(text) {
            assert!(Instant::now() < end, "never saw {text:?} on the terminal, but: {}", self.seen);
            self.look(Duration::from_millis(50));
        }
    }

    /// Waits for the end; returns the exit status, everything that was on the screen, and the terminal.
    #[track_caller]
    pub fn finish(mut self) -> (i32, String, Terminal) {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            self.look(Duration::from_millis(20));
            if let Some(status) = self.child.try_wait().expect("waiting for donjon") {
                for _ in 0..3 {
                    self.look(Duration::from_millis(20));
                }
                return (status.code().unwrap_or(-1), self.seen, self.terminal);
            }
            if Instant::now() > end {
                self.signal(libc::SIGKILL);
                let _ = self.child.wait();
                panic!("donjon did not end on its terminal, which shows: {}", self.seen);
            }
        }
    }
}

/// What an engine does at the other end of a console socket: takes one descriptor.
pub fn receive_terminal(listener: &std::os::unix::net::UnixListener) -> std::fs::File {
    receive_descriptor(listener).0
}

/// Takes one message with a descriptor from whoever connects first.
pub fn receive_descriptor(listener: &std::os::unix::net::UnixListener) -> (std::fs::File, Vec<u8>) {
    use std::os::fd::{AsRawFd, FromRawFd};
    let (connection, _) = listener.accept().expect("a connection");
    let mut byte = [0u8; 8192];
    let mut control = [0u8; 64];
    let mut part = libc::iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: byte.len() };
    // SAFETY: an all-zero msghdr is valid.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = control.len();
    // SAFETY: the message describes two buffers that live through the call.
    let n = unsafe { libc::recvmsg(connection.as_raw_fd(), &raw mut message, 0) };
    assert!(n > 0, "the console socket was closed without a message");
    // SAFETY: the kernel filled the control buffer; a first header there is valid if it is not null.
    let fd = unsafe {
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        assert!(!header.is_null(), "no descriptor came");
        *libc::CMSG_DATA(header).cast::<i32>()
    };
    // SAFETY: the descriptor was just received and has no other owner.
    let file = unsafe { std::fs::File::from_raw_fd(fd) };
    (file, byte[..n as usize].to_vec())
}

/// Reads a terminal until it said `enough`, its other side is closed, or the time is over.
pub fn read_terminal(terminal: &mut std::fs::File, limit: std::time::Duration, enough: &str) -> String {
    use std::io::Read;
    use std::os::fd::AsRawFd;
    let end = std::time::Instant::now() + limit;
    let mut said = String::new();
    let mut buffer = [0u8; 1024];
    while !said.contains(enough) {
        let left = end.saturating_duration_since(std::time::Instant::now()).as_millis() as i32;
        let mut poll = libc::pollfd { fd: terminal.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one pollfd, as said.
        if left == 0 || unsafe { libc::poll(&raw mut poll, 1, left) } <= 0 {
            break;
        }
        match terminal.read(&mut buffer) {
            Ok(n) if n > 0 => said.push_str(&String::from_utf8_lossy(&buffer[..n])),
            _ => break,
        }
    }
    said
}
