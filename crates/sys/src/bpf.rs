//! Device programs of control groups: loading, attaching, finding and taking off.
//!
//! See `man 2 bpf`, `include/uapi/linux/bpf.h` and the section on devices of
//! `Documentation/admin-guide/cgroup-v2.rst`. Needs `CAP_BPF` and `CAP_NET_ADMIN`, or `CAP_SYS_ADMIN`, of the initial
//! user namespace. Linux 4.15.

use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

use crate::clone::check;

/// One instruction, `struct bpf_insn`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Instruction {
    /// Operation.
    pub code: u8,
    /// Destination register in the lower four bits, source register in the upper ones (little endian).
    pub registers: u8,
    /// Signed offset.
    pub offset: i16,
    /// Signed constant.
    pub immediate: i32,
}

/// What a program is called; the kernel cuts at 15 bytes.
pub type Name = [u8; 16];

const PROG_LOAD: libc::c_long = 5;
const PROG_ATTACH: libc::c_long = 8;
const PROG_DETACH: libc::c_long = 9;
const PROG_GET_FD_BY_ID: libc::c_long = 13;
const OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const PROG_QUERY: libc::c_long = 16;

const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_TYPE_CGROUP_DEVICE: u32 = 6;
const F_ALLOW_MULTI: u32 = 1 << 1;
const F_REPLACE: u32 = 1 << 2;

/// The beginning of `union bpf_attr` for `BPF_PROG_LOAD`, up to the name (Linux 4.15).
#[repr(C)]
struct Load {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    name: Name,
}

/// For `BPF_PROG_ATTACH` and `BPF_PROG_DETACH`.
#[repr(C)]
struct Attach {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
    replace_bpf_fd: u32,
}

/// For `BPF_PROG_QUERY`.
#[repr(C)]
struct Query {
    target_fd: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_cnt: u32,
    padding: u32,
}

/// For `BPF_PROG_GET_FD_BY_ID`.
#[repr(C)]
struct ById {
    prog_id: u32,
    next_id: u32,
    open_flags: u32,
}

/// For `BPF_OBJ_GET_INFO_BY_FD`.
#[repr(C)]
struct InfoByFd {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

/// The beginning of `struct bpf_prog_info`, up to the name.
#[repr(C)]
#[derive(Default)]
struct Info {
    kind: u32,
    id: u32,
    tag: [u8; 8],
    lengths: [u32; 2],
    pointers: [u64; 2],
    load_time: u64,
    created_by_uid: u32,
    nr_map_ids: u32,
    map_ids: u64,
    name: Name,
}

fn raw(fd: BorrowedFd<'_>) -> Result<u32, Errno> {
    u32::try_from(fd.as_raw_fd()).map_err(|_| Errno::BADF)
}

/// Loads a device program. `EACCES` or `EINVAL`: the kernel's verifier does not take it.
pub fn load_device_program(instructions: &[Instruction], name: Name) -> Result<OwnedFd, Errno> {
    let attr = Load {
        prog_type: PROG_TYPE_CGROUP_DEVICE,
        insn_cnt: u32::try_from(instructions.len()).map_err(|_| Errno::TOOBIG)?,
        insns: instructions.as_ptr() as u64,
        // It calls no function of the kernel's, so any licence does.
        license: c"Apache-2.0".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buf: 0,
        kern_version: 0,
        prog_flags: 0,
        name,
    };
    // SAFETY: `attr` has the layout and size of this command's attributes; the instructions, whose number it holds, and
    // the licence live through the call, and the kernel only reads them.
    let fd = check(unsafe { libc::syscall(libc::SYS_bpf, PROG_LOAD, &raw const attr, size_of::<Load>()) })?;
    // SAFETY: the call returned a new descriptor, close-on-exec, that nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

fn attach_command(command: libc::c_long, attr: &Attach) -> Result<(), Errno> {
    // SAFETY: `attr` has the layout and size of the attributes of both commands; the kernel only reads it.
    check(unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attr), size_of::<Attach>()) })?;
    Ok(())
}

/// Attaches a device program to a group, beside those that are there. With `instead` it takes that one's place at once
/// (Linux 5.6; `EINVAL` before).
pub fn attach_device_program(
    group: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
    instead: Option<BorrowedFd<'_>>,
) -> Result<(), Errno> {
    let attr = Attach {
        target_fd: raw(group)?,
        attach_bpf_fd: raw(program)?,
        attach_type: ATTACH_TYPE_CGROUP_DEVICE,
        attach_flags: F_ALLOW_MULTI | if instead.is_some() { F_REPLACE } else { 0 },
        replace_bpf_fd: instead.map_or(Ok(0), raw)?,
    };
    attach_command(PROG_ATTACH, &attr)
}

/// Takes a device program off a group.
pub fn detach_device_program(group: BorrowedFd<'_>, program: BorrowedFd<'_>) -> Result<(), Errno> {
    let attr = Attach {
        target_fd: raw(group)?,
        attach_bpf_fd: raw(program)?,
        attach_type: ATTACH_TYPE_CGROUP_DEVICE,
        attach_flags: 0,
        replace_bpf_fd: 0,
    };
    attach_command(PROG_DETACH, &attr)
}

/// The ids of the device programs that are attached to a group itself. Fills `ids` and returns how many there are;
/// `ENOSPC`: more than fit.
pub fn device_programs(group: BorrowedFd<'_>, ids: &mut [u32]) -> Result<usize, Errno> {
    let mut attr = Query {
        target_fd: raw(group)?,
        attach_type: ATTACH_TYPE_CGROUP_DEVICE,
        query_flags: 0,
        attach_flags: 0,
        prog_ids: ids.as_mut_ptr() as u64,
        prog_cnt: u32::try_from(ids.len()).map_err(|_| Errno::INVAL)?,
        padding: 0,
    };
    // SAFETY: `attr` has the layout and size of this command's attributes; the kernel writes at most `prog_cnt` ids to
    // `ids`, which is that long and borrowed for the call, and the number to `attr`.
    check(unsafe { libc::syscall(libc::SYS_bpf, PROG_QUERY, &raw mut attr, size_of::<Query>()) })?;
    usize::try_from(attr.prog_cnt).map_err(|_| Errno::OVERFLOW)
}

/// A descriptor of the program with this id. `ENOENT`: it is gone.
pub fn program_by_id(id: u32) -> Result<OwnedFd, Errno> {
    let attr = ById { prog_id: id, next_id: 0, open_flags: 0 };
    // SAFETY: `attr` has the layout and size of this command's attributes; the kernel only reads it.
    let fd = check(unsafe {
        libc::syscall(libc::SYS_bpf, PROG_GET_FD_BY_ID, &raw const attr, size_of::<ById>())
    })?;
    // SAFETY: the call returned a new descriptor, close-on-exec, that nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// What a program was called when it was loaded.
pub fn program_name(program: BorrowedFd<'_>) -> Result<Name, Errno> {
    let mut info = Info::default();
    let mut attr =
        InfoByFd { bpf_fd: raw(program)?, info_len: size_of::<Info>() as u32, info: (&raw mut info) as u64 };
    // SAFETY: `attr` has the layout and size of this command's attributes; the kernel writes at most `info_len` bytes to
    // `info`, which is that large and has no pointer that the kernel would follow, and the length to `attr`.
    check(unsafe { libc::syscall(libc::SYS_bpf, OBJ_GET_INFO_BY_FD, &raw mut attr, size_of::<InfoByFd>()) })?;
    Ok(info.name)
}
