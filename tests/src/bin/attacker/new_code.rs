//! Ways to bring code in that was not in the image: six bytes that return 42.

use std::ffi::CString;
use std::fs;
use std::io::Write;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use super::{errno, raw, verdict};

#[cfg(target_arch = "x86_64")]
const CODE: &[u8] = &[0xb8, 42, 0, 0, 0, 0xc3];
#[cfg(target_arch = "aarch64")]
const CODE: &[u8] = &[0x40, 0x05, 0x80, 0x52, 0xc0, 0x03, 0x5f, 0xd6];
const PAGE: usize = 4096;
const READ_EXEC: i32 = libc::PROT_READ | libc::PROT_EXEC;
const READ_WRITE: i32 = libc::PROT_READ | libc::PROT_WRITE;

/// Tries one way, and prints whether the code ran.
pub fn bring_in(way: &str, rest: &[&str]) -> ! {
    let done = match (way, rest) {
        ("anonymous", []) => anonymous(READ_WRITE | libc::PROT_EXEC).and_then(run),
        ("mprotect", []) => anonymous(READ_WRITE).and_then(|at| {
            raw(libc::SYS_mprotect, [at, PAGE as i64, i64::from(READ_EXEC), 0, 0, 0])?;
            run(at)
        }),
        ("personality", []) => {
            const READ_IMPLIES_EXEC: i64 = 0x40_0000;
            raw(libc::SYS_personality, [READ_IMPLIES_EXEC, 0, 0, 0, 0, 0])
                .and_then(|_| anonymous(READ_WRITE))
                .and_then(run)
        }
        ("memfd", []) => memfd().and_then(|fd| {
            write_all(&fd, CODE)?;
            map(&fd).and_then(run)
        }),
        ("memfd-execve", []) => memfd().and_then(|fd| {
            write_all(&fd, &own_image())?;
            let (empty, name) = (CString::default(), CString::from(c"euid"));
            let arguments = [empty.as_ptr(), name.as_ptr(), std::ptr::null()];
            let at = i64::from(libc::AT_EMPTY_PATH);
            raw(
                libc::SYS_execveat,
                [i64::from(fd.as_raw_fd()), empty.as_ptr() as i64, arguments.as_ptr() as i64, 0, at, 0],
            )
        }),
        ("file", [directory]) => {
            let path = format!("{directory}/code");
            fs::write(&path, CODE).map_err(number).and_then(|()| mapped(&path)).and_then(run)
        }
        ("execve", [directory]) => execute(&format!("{directory}/program")),
        ("shm", []) => shm().and_then(run),
        ("self-mem", []) => self_mem(),
        ("ptrace", []) => poke(),
        ("mapped", [path]) => mapped(path).and_then(run),
        ("reopened-output", []) => std::io::stdout()
            .write_all(CODE)
            .and_then(|()| std::io::stdout().flush())
            .map_err(number)
            .and_then(|()| mapped("/proc/self/fd/1"))
            .map(|at| std::process::exit(if run(at) == Ok(42) { 0 } else { 2 })),
        _ => Err(libc::ENOTSUP),
    };
    if way == "reopened-output" {
        std::process::exit(1);
    }
    verdict(done)
}

fn number(error: std::io::Error) -> i32 {
    error.raw_os_error().unwrap_or(0)
}

fn own_image() -> Vec<u8> {
    fs::read("/proc/self/exe").unwrap_or_default()
}

fn anonymous(protection: i32) -> Result<i64, i32> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let at = raw(libc::SYS_mmap, [0, PAGE as i64, i64::from(protection), i64::from(flags), -1, 0])?;
    put(at);
    Ok(at)
}

fn put(at: i64) {
    // SAFETY: the page was just mapped, writable, and is longer than the code.
    unsafe { std::ptr::copy_nonoverlapping(CODE.as_ptr(), at as *mut u8, CODE.len()) };
}

fn run(at: i64) -> Result<i64, i32> {
    // SAFETY: the page holds the whole of a function that takes nothing and returns an int, and may be executed; if the
    // kernel thinks otherwise this process ends by a signal, which is no success either.
    let function: extern "C" fn() -> i32 = unsafe { std::mem::transmute(at as *const ()) };
    Ok(i64::from(function()))
}

fn memfd() -> Result<OwnedFd, i32> {
    let fd = raw(libc::SYS_memfd_create, [c"code".as_ptr() as i64, 0, 0, 0, 0, 0])?;
    // SAFETY: the descriptor was just made and belongs to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

fn write_all(fd: &OwnedFd, bytes: &[u8]) -> Result<(), i32> {
    fs::File::from(fd.try_clone().map_err(number)?).write_all(bytes).map_err(number)
}

fn map(fd: &impl AsRawFd) -> Result<i64, i32> {
    let (protection, fd) = (i64::from(READ_EXEC), i64::from(fd.as_raw_fd()));
    raw(libc::SYS_mmap, [0, PAGE as i64, protection, i64::from(libc::MAP_PRIVATE), fd, 0])
}

fn mapped(path: &str) -> Result<i64, i32> {
    map(&fs::File::open(path).map_err(number)?)
}

fn execute(path: &str) -> Result<i64, i32> {
    fs::write(path, own_image()).map_err(number)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).map_err(number)?;
    Command::new(path).arg("euid").status().map(|_| 0).map_err(number)
}

fn shm() -> Result<i64, i32> {
    let id = raw(libc::SYS_shmget, [0, PAGE as i64, i64::from(libc::IPC_CREAT | 0o700), 0, 0, 0])?;
    let at = raw(libc::SYS_shmat, [id, 0, 0, 0, 0, 0])?;
    put(at);
    raw(libc::SYS_shmat, [id, 0, i64::from(libc::SHM_EXEC | libc::SHM_RDONLY), 0, 0, 0])
}

/// Returns 42 once it was overwritten.
#[inline(never)]
extern "C" fn victim() -> i32 {
    std::hint::black_box(7)
}

fn self_mem() -> Result<i64, i32> {
    use std::os::unix::fs::FileExt;
    let memory = fs::OpenOptions::new().read(true).write(true).open("/proc/self/mem").map_err(number)?;
    let place = victim as extern "C" fn() -> i32 as usize as u64;
    memory.write_all_at(CODE, place).map_err(number)?;
    match std::hint::black_box(victim as extern "C" fn() -> i32)() {
        42 => Ok(42),
        _ => Err(libc::EFAULT),
    }
}

/// Overwrites a function of a child that lets itself be traced.
fn poke() -> Result<i64, i32> {
    // SAFETY: one thread; the child calls functions of this file and ends.
    let child = unsafe { libc::fork() };
    if child == 0 {
        if raw(libc::SYS_ptrace, [i64::from(libc::PTRACE_TRACEME), 0, 0, 0, 0, 0]).is_err() {
            std::process::exit(1);
        }
        // SAFETY: takes numbers.
        unsafe { libc::raise(libc::SIGSTOP) };
        std::process::exit(std::hint::black_box(victim as extern "C" fn() -> i32)());
    }
    let mut status = 0;
    // SAFETY: the status is a live int.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    if !libc::WIFSTOPPED(status) {
        return Err(libc::EPERM);
    }
    let place = victim as extern "C" fn() -> i32 as usize as i64;
    let mut word = [0u8; 8];
    word[..CODE.len()].copy_from_slice(CODE);
    raw(
        libc::SYS_ptrace,
        [i64::from(libc::PTRACE_POKETEXT as i32), i64::from(child), place, i64::from_ne_bytes(word), 0, 0],
    )?;
    raw(libc::SYS_ptrace, [i64::from(libc::PTRACE_DETACH as i32), i64::from(child), 0, 0, 0, 0])?;
    // SAFETY: as above.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    if libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 42 { Ok(42) } else { Err(errno()) }
}
