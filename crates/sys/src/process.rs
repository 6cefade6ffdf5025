//! Process attributes and the last steps before a program runs.

use std::ffi::{CStr, CString, c_char};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

use crate::clone::check;

/// A NULL-terminated array of C strings, as `execve` takes it, built before the clone.
#[derive(Debug)]
pub struct CStringArray {
    strings: Vec<CString>,
    pointers: Vec<*const c_char>,
}

impl CStringArray {
    /// Takes the strings over; they stay where they are for the array's life.
    pub fn new(strings: Vec<CString>) -> Self {
        let pointers = strings.iter().map(|s| s.as_ptr()).chain(std::iter::once(std::ptr::null())).collect();
        Self { strings, pointers }
    }

    /// The strings.
    pub fn strings(&self) -> &[CString] {
        &self.strings
    }
}

/// Replaces the program of this process. Returns only when that failed. See `man 2 execve`.
pub fn execve(path: &CStr, argv: &CStringArray, envp: &CStringArray) -> Errno {
    // SAFETY: `path` is NUL-terminated; both arrays end in NULL and point to live NUL-terminated strings, which
    // CStringArray owns.
    let result = unsafe { libc::execve(path.as_ptr(), argv.pointers.as_ptr(), envp.pointers.as_ptr()) };
    match check(libc::c_long::from(result)) {
        Err(errno) => errno,
        Ok(_) => Errno::INVAL,
    }
}

/// The same for the program behind a descriptor, which may have been opened with `O_PATH`. See `man 2 execveat`.
pub fn execveat(file: BorrowedFd<'_>, argv: &CStringArray, envp: &CStringArray) -> Errno {
    // SAFETY: the path is empty and NUL-terminated; both arrays end in NULL and point to live NUL-terminated strings,
    // which CStringArray owns.
    let result = unsafe {
        libc::syscall(
            libc::SYS_execveat,
            file.as_raw_fd(),
            c"".as_ptr(),
            argv.pointers.as_ptr(),
            envp.pointers.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    match check(result) {
        Err(errno) => errno,
        Ok(_) => Errno::INVAL,
    }
}

/// Marks every descriptor from `first` on close-on-exec. Needs Linux 5.11. See `man 2 close_range`.
pub fn cloexec_from(first: u32) -> Result<(), Errno> {
    const CLOSE_RANGE_CLOEXEC: u32 = 4;
    // SAFETY: takes numbers only. Marking is harmless to whoever owns the descriptors.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, CLOSE_RANGE_CLOEXEC) })?;
    Ok(())
}

/// Gives this process a new, empty session keyring, so that the caller's keys can't be reached.
/// See `man 2 keyctl`, `KEYCTL_JOIN_SESSION_KEYRING`.
pub fn join_session_keyring() -> Result<(), Errno> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_long = 1;
    // SAFETY: a NULL name asks for an anonymous keyring; no memory is read.
    check(unsafe {
        libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, std::ptr::null::<c_char>())
    })?;
    Ok(())
}

/// Brings the loopback interface of this network namespace up. Needs `CAP_NET_ADMIN` over it.
/// See `man 7 netdevice`, `SIOCSIFFLAGS`.
pub fn loopback_up() -> Result<(), Errno> {
    let socket = rustix::net::socket_with(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )?;
    // SAFETY: ifreq is made of integers and an all-zero one is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as c_char;
    request.ifr_name[1] = b'o' as c_char;
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads an ifreq, which `request` is.
    check(libc::c_long::from(unsafe {
        libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request)
    }))?;
    Ok(())
}

/// Moves this process into all namespaces of `flags` (`CLONE_NEW*`) of the process behind `pidfd` at once.
/// Needs Linux 5.8 and `CAP_SYS_ADMIN` over each. See `man 2 setns`.
pub fn setns(pidfd: BorrowedFd<'_>, flags: u64) -> Result<(), Errno> {
    // SAFETY: takes numbers only. rustix's own wrappers demand nothing more of a single-threaded caller.
    check(unsafe { libc::syscall(libc::SYS_setns, pidfd.as_raw_fd(), flags as libc::c_int) })?;
    Ok(())
}

/// Leaves the current namespaces of `flags` for new ones. See `man 2 unshare`.
pub fn unshare(flags: u64) -> Result<(), Errno> {
    // SAFETY: takes numbers only; CLONE_FILES and CLONE_VM, which could split shared state, are masked out.
    check(unsafe {
        libc::syscall(
            libc::SYS_unshare,
            flags as libc::c_int & !(libc::CLONE_FILES | libc::CLONE_VM | libc::CLONE_FS),
        )
    })?;
    Ok(())
}

/// Sets real, effective and saved user id of this (single-threaded) process. See `man 2 setresuid`.
pub fn setresuid(uid: u32) -> Result<(), Errno> {
    // SAFETY: takes numbers only; the raw call changes this thread, which is the only one.
    check(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) })?;
    Ok(())
}

/// Sets real, effective and saved group id of this (single-threaded) process. See `man 2 setresgid`.
pub fn setresgid(gid: u32) -> Result<(), Errno> {
    // SAFETY: as for setresuid.
    check(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) })?;
    Ok(())
}

/// Replaces the supplementary groups of this (single-threaded) process. See `man 2 setgroups`.
pub fn setgroups(gids: &[u32]) -> Result<(), Errno> {
    // SAFETY: the array is valid for its length; the kernel only reads it.
    check(unsafe { libc::syscall(libc::SYS_setgroups, gids.len(), gids.as_ptr()) })?;
    Ok(())
}

#[repr(C)]
struct CapHeader {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct CapData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

const CAPABILITY_VERSION_3: u32 = 0x2008_0522;

/// Sets this thread's capability sets (bit n is capability number n). See `man 2 capset`.
pub fn capset(effective: u64, permitted: u64, inheritable: u64) -> Result<(), Errno> {
    let header = CapHeader { version: CAPABILITY_VERSION_3, pid: 0 };
    let part = |shift: u32| CapData {
        effective: (effective >> shift) as u32,
        permitted: (permitted >> shift) as u32,
        inheritable: (inheritable >> shift) as u32,
    };
    let data = [part(0), part(32)];
    // SAFETY: version 3 takes a header and two data elements; the kernel only reads them.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) })?;
    Ok(())
}

/// `prctl` with plain numbers. See `man 2 prctl`.
fn prctl(option: libc::c_int, a: u64, b: u64) -> Result<libc::c_long, Errno> {
    // SAFETY: used below only with options whose arguments are numbers.
    check(unsafe { libc::syscall(libc::SYS_prctl, option, a, b, 0u64, 0u64) })
}

/// Removes capability number `cap` from the bounding set; EINVAL means that the kernel has no such number.
pub fn drop_from_bounding_set(cap: u32) -> Result<(), Errno> {
    prctl(libc::PR_CAPBSET_DROP, u64::from(cap), 0).map(drop)
}

/// Empties the ambient set.
pub fn clear_ambient_set() -> Result<(), Errno> {
    prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as u64, 0).map(drop)
}

/// Raises capability number `cap` in the ambient set; it must be permitted and inheritable.
pub fn raise_ambient(cap: u32) -> Result<(), Errno> {
    prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE as u64, u64::from(cap)).map(drop)
}

/// Keeps the permitted set over a change from user id 0 to another.
pub fn keep_capabilities(keep: bool) -> Result<(), Errno> {
    prctl(libc::PR_SET_KEEPCAPS, u64::from(keep), 0).map(drop)
}

/// From now on no `execve` grants anything. See `Documentation/userspace-api/no_new_privs.rst`.
pub fn no_new_privs() -> Result<(), Errno> {
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0).map(drop)
}

/// From now on, here and in every program that is executed, memory that could be written never becomes executable
/// (`PR_SET_MDWE`, `PR_MDWE_REFUSE_EXEC_GAIN`; `man 2 PR_SET_MDWE`). Linux 6.3.
pub fn refuse_exec_gain() -> Result<(), Errno> {
    prctl(libc::PR_SET_MDWE, 1, 0).map(drop)
}

/// Tells interpreters, for good, to take a script from a file only if that file could be executed itself
/// (`SECBIT_EXEC_RESTRICT_FILE`; `Documentation/userspace-api/check_exec.rst`). They have to ask for it. Needs no
/// privilege. Linux 6.14.
pub fn restrict_interpreters() -> Result<(), Errno> {
    const RESTRICT_FILE: libc::c_long = 1 << 8;
    const LOCKED: libc::c_long = 1 << 9;
    let bits = prctl(libc::PR_GET_SECUREBITS, 0, 0)? | RESTRICT_FILE | LOCKED;
    prctl(libc::PR_SET_SECUREBITS, bits.cast_unsigned(), 0).map(drop)
}

/// Whether other processes of the same user may trace this one and read its `/proc` entries.
pub fn set_dumpable(dumpable: bool) -> Result<(), Errno> {
    prctl(libc::PR_SET_DUMPABLE, u64::from(dumpable), 0).map(drop)
}

/// The kernel kills this process with SIGKILL when the thread that created it ends.
pub fn die_with_parent() -> Result<(), Errno> {
    prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as u64, 0).map(drop)
}

/// Sets every standard signal to its default action and unblocks all, as a fresh program expects: an ignored signal
/// (the Rust runtime ignores SIGPIPE) and a blocked one would survive `execve`.
pub fn default_signals() -> Result<(), Errno> {
    /// `struct kernel_sigaction`: handler, flags, restorer, mask. All zero is SIG_DFL.
    const DEFAULT: [u64; 4] = [0; 4];
    for signal in 1..=31 {
        if signal == libc::SIGKILL || signal == libc::SIGSTOP {
            continue;
        }
        // SAFETY: `DEFAULT` is a valid kernel sigaction (no handler, so no code of ours is named), the old one is
        // not asked for, 8 is the kernel's signal set size.
        check(unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                DEFAULT.as_ptr(),
                std::ptr::null_mut::<u64>(),
                8usize,
            )
        })?;
    }
    let none = 0u64;
    // SAFETY: reads one 8-byte signal set.
    check(unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const none,
            std::ptr::null_mut::<u64>(),
            8usize,
        )
    })?;
    Ok(())
}

/// Writes the current directory into `buffer`, without its NUL, and returns its length. A directory outside the
/// root begins with `(unreachable)`. See `man 2 getcwd`.
pub fn getcwd(buffer: &mut [u8]) -> Result<usize, Errno> {
    // SAFETY: the buffer is writable for its length.
    let n = check(unsafe { libc::syscall(libc::SYS_getcwd, buffer.as_mut_ptr(), buffer.len()) })?;
    Ok((n as usize).saturating_sub(1))
}

/// Closes every descriptor from `first` on, whoever owns it: for a process that goes on as something else, as
/// the small init does. See `man 2 close_range`.
pub fn close_from(first: u32) -> Result<(), Errno> {
    // SAFETY: takes numbers only. An owner that later closes its number again gets EBADF, which it ignores; the
    // callers never open another descriptor after this.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0u32) })?;
    Ok(())
}

/// Closes the descriptors from `first` to `last`, whoever owns them: for a child of `clone3`, where what belongs to the
/// parent is not to come along. See `man 2 close_range`.
pub fn close_between(first: u32, last: u32) -> Result<(), Errno> {
    // SAFETY: takes numbers only. In the child nobody uses these again: the owners' copies end with exec or exit,
    // without a destructor.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0u32) })?;
    Ok(())
}

/// Blocks every signal of this thread, so that [`next_signal`] gets them.
pub fn block_signals() -> Result<(), Errno> {
    let all = u64::MAX;
    // SAFETY: reads one 8-byte signal set.
    check(unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const all,
            std::ptr::null_mut::<u64>(),
            8usize,
        )
    })?;
    Ok(())
}

/// A descriptor that delivers blocked signals; close-on-exec. Unlike a wait (`man 2 rt_sigtimedwait`) it leaves them
/// blocked while they are waited for, so that others see in `/proc/PID/status` that they are handled. See `man 2
/// signalfd`.
pub fn signal_descriptor() -> Result<OwnedFd, Errno> {
    let all = u64::MAX;
    // SAFETY: reads one 8-byte signal set.
    let fd = check(unsafe {
        libc::syscall(libc::SYS_signalfd4, -1i64, &raw const all, 8usize, i64::from(libc::SFD_CLOEXEC))
    })?;
    // SAFETY: success is a new descriptor that nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Waits for the next signal of a [`signal_descriptor`] and returns its number.
pub fn next_signal(from: BorrowedFd<'_>) -> Result<i32, Errno> {
    // struct signalfd_siginfo begins with the number, four bytes of 128.
    let mut info = [0u32; 32];
    let bytes: &mut [u8] = as_bytes(&mut info);
    rustix::io::read(from, bytes)?;
    Ok(info[0] as i32)
}

fn as_bytes(words: &mut [u32; 32]) -> &mut [u8] {
    // SAFETY: 32 words are 128 bytes, any bytes are valid words, and the borrow is exclusive.
    unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), 128) }
}

/// Sends signal number `signal` to process `pid` of this pid namespace. See `man 2 kill`.
pub fn kill(pid: rustix::process::Pid, signal: i32) -> Result<(), Errno> {
    // SAFETY: takes numbers only.
    check(unsafe { libc::syscall(libc::SYS_kill, pid.as_raw_nonzero().get(), signal) })?;
    Ok(())
}

/// The process id, in the caller's pid namespace, of the process behind `pidfd`; `None` when it is gone or not
/// visible. See `man 2 pidfd_open`, `PIDFD_GET_INFO` (Linux 6.13); before that, the `Pid:` line of its fdinfo.
pub fn pid_of(pidfd: BorrowedFd<'_>) -> Option<rustix::process::Pid> {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).ok()?;
    let pid = info.lines().find_map(|l| l.strip_prefix("Pid:"))?.trim().parse().ok()?;
    rustix::process::Pid::from_raw(pid)
}

/// The `CLONE_NEW*` flag of the namespace behind a descriptor; an error when it is none. See `man 2 ioctl_nsfs`,
/// `NS_GET_NSTYPE` (Linux 4.11).
pub fn namespace_kind(namespace: BorrowedFd<'_>) -> Result<u64, Errno> {
    const NSFS_MAGIC: i64 = 0x6e73_6673;
    const NS_GET_NSTYPE: libc::c_ulong = 0xb703;
    // Another file system's or device's ioctl of the same number is never called.
    if rustix::fs::fstatfs(namespace)?.f_type as i64 != NSFS_MAGIC {
        return Err(Errno::INVAL);
    }
    // SAFETY: the ioctl of a namespace takes no argument and returns the flag.
    let flag = check(libc::c_long::from(unsafe { libc::ioctl(namespace.as_raw_fd(), NS_GET_NSTYPE) }))?;
    u64::try_from(flag).map_err(|_| Errno::INVAL)
}

/// Closes this process's copy of a descriptor that belongs to the parent: for a child of `clone3`, whose copy of
/// the owner is never dropped.
pub fn close_copy(fd: BorrowedFd<'_>) {
    // SAFETY: takes a number only. In the child nobody uses it again: the owner's copy ends with exec or exit.
    unsafe { libc::syscall(libc::SYS_close, fd.as_raw_fd()) };
}

/// Gives the pages of this process's own code back to the page cache: what runs on is read in again as it is
/// touched. For a process that has done much and will now do little. Takes no lock and no memory. See `man 2 madvise`,
/// `man 3 getauxval`.
pub fn let_go_of_code() {
    // SAFETY: getauxval reads what the kernel told at the start of the program.
    let told = |what| unsafe { libc::getauxval(what) };
    let (at, size, count) = (told(libc::AT_PHDR), told(libc::AT_PHENT), told(libc::AT_PHNUM));
    if at == 0 || size as usize != size_of::<libc::Elf64_Phdr>() {
        return;
    }
    // SAFETY: the kernel says that so many headers of this size are there; they are mapped and never written to.
    let headers = unsafe { std::slice::from_raw_parts(at as *const libc::Elf64_Phdr, count as usize) };
    // A program that may lie anywhere says where its headers were to be.
    let base = headers.iter().find(|h| h.p_type == libc::PT_PHDR).map_or(0, |h| at.wrapping_sub(h.p_vaddr));
    // SAFETY: sysconf reads what the kernel told at the start; no system call, which a filter could refuse.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as u64;
    for header in headers.iter().filter(|h| h.p_type == libc::PT_LOAD && h.p_flags & libc::PF_W == 0) {
        let first = base.wrapping_add(header.p_vaddr);
        let (start, end) = (first & !(page - 1), first.wrapping_add(header.p_filesz) & !(page - 1));
        if start < end {
            // SAFETY: a segment that was never writable holds what its file holds, and reads as such again. What can't
            // be let go of (the vDSO) stays.
            unsafe { libc::madvise(start as *mut libc::c_void, (end - start) as usize, libc::MADV_DONTNEED) };
        }
    }
}
