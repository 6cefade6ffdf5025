//! The device program of version 2 (`BPF_PROG_TYPE_CGROUP_DEVICE`): compiled from the list of rules, attached to the
//! group, replaced when the list changes.
//!
//! The kernel runs it at each opening and making of a device node, with the kind, the numbers and the access that is
//! asked for. The program walks the rules from the last to the first. A rule that fits decides about those kinds of
//! access that are still open: one that allows takes them off, and when none is left, access is given; one that denies
//! ends it. What is open at the end is denied. So "the last rule decides" holds for each kind of access by itself.
//!
//! Programs of others (systemd's, for instance) stay, and all have to allow. Linux 4.15; 5.6 to replace at once.

use std::os::fd::{AsFd, BorrowedFd};

use donjon_sys::bpf::{self, Instruction};
use rustix::io::Errno;

use super::devices::{Kind, Rule, access};

/// By this the program is found again.
const NAME: bpf::Name = *b"donjon_devices\0\0";

// Registers: the result, the context, and what is taken from it.
const RESULT: u8 = 0;
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
const OPEN: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

// Operations (`Documentation/bpf/standardization/instruction-set.rst`).
const LOAD_WORD: u8 = 0x61;
const AND: u8 = 0x57;
const SHIFT_RIGHT: u8 = 0x77;
const MOVE: u8 = 0xb7;
const MOVE_REGISTER: u8 = 0xbf;
const JUMP_EQUAL: u8 = 0x15;
const JUMP_NOT_EQUAL: u8 = 0x55;
const EXIT: u8 = 0x95;

fn instruction(code: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> Instruction {
    let registers =
        if cfg!(target_endian = "little") { source << 4 | destination } else { destination << 4 | source };
    Instruction { code, registers, offset, immediate }
}

/// Makes the program.
pub(super) fn compile(rules: &[Rule]) -> Vec<Instruction> {
    let mut program = vec![
        // struct bpf_cgroup_dev_ctx: kind and access in two halves of one word, major, minor.
        instruction(LOAD_WORD, KIND, CONTEXT, 0, 0),
        instruction(MOVE_REGISTER, OPEN, KIND, 0, 0),
        instruction(AND, KIND, 0, 0, 0xffff),
        instruction(SHIFT_RIGHT, OPEN, 0, 0, 16),
        instruction(LOAD_WORD, MAJOR, CONTEXT, 4, 0),
        instruction(LOAD_WORD, MINOR, CONTEXT, 8, 0),
    ];
    let rules: Vec<&Rule> = rules.iter().rev().collect();
    let mut rest = Part::default();
    // A jump reaches 32,767 instructions far.
    for same_kind in rules.chunk_by(|a, b| a.kind == b.kind).flat_map(|rules| rules.chunks(1000)) {
        let mut of_kind = Part::default();
        for same_major in same_kind.chunk_by(|a, b| a.major == b.major) {
            let mut of_major = Part::default();
            for rule in same_major {
                of_major.add(Part::verdict(rule).only_for(MINOR, rule.minor));
            }
            of_kind.add(of_major.only_for(MAJOR, same_major.first().and_then(|rule| rule.major)));
        }
        let kind = same_kind.first().and_then(|rule| rule.kind).map(|kind| match kind {
            Kind::Block => 1,
            Kind::Char => 2,
        });
        rest.add(of_kind.only_for(KIND, kind));
    }
    rest.add(Part::end(false));
    program.extend(rest.instructions);
    program
}

/// Some instructions one after the other.
#[derive(Debug, Default)]
struct Part {
    instructions: Vec<Instruction>,
    /// Whether what follows is never reached: the kernel refuses a program that has such.
    ends: bool,
}

impl Part {
    fn end(allow: bool) -> Self {
        let result = instruction(MOVE, RESULT, 0, 0, i32::from(allow));
        Self { instructions: vec![result, instruction(EXIT, 0, 0, 0, 0)], ends: true }
    }

    /// What a rule that fits does.
    fn verdict(rule: &Rule) -> Self {
        let mut part = Self::default();
        match (rule.access, rule.allow) {
            // It decides about whatever is open: the kernel's verifier is spared a second way on.
            (access::ALL, _) => {}
            (some, true) => part.instructions.extend([
                instruction(AND, OPEN, 0, 0, !i32::from(some)),
                instruction(JUMP_NOT_EQUAL, OPEN, 0, 2, 0),
            ]),
            (some, false) => part.instructions.extend([
                instruction(MOVE_REGISTER, RESULT, OPEN, 0, 0),
                instruction(AND, RESULT, 0, 0, i32::from(some)),
                instruction(JUMP_EQUAL, RESULT, 0, 2, 0),
            ]),
        }
        let whole = part.instructions.is_empty();
        part.add(Self::end(rule.allow));
        Self { ends: whole, ..part }
    }

    /// The same for one value of a register; without a value, for all.
    fn only_for(self, register: u8, value: Option<u32>) -> Self {
        // Device numbers have 20 bits at most, so no constant is negative.
        let Some(value) = value.and_then(|value| i32::try_from(value).ok()) else { return self };
        let length = i16::try_from(self.instructions.len()).unwrap_or(i16::MAX);
        let mut instructions = vec![instruction(JUMP_NOT_EQUAL, register, 0, length, value)];
        instructions.extend(self.instructions);
        Self { instructions, ends: false }
    }

    fn add(&mut self, next: Self) {
        if !self.ends {
            self.instructions.extend(next.instructions);
            self.ends = next.ends;
        }
    }
}

/// Puts the program of these rules on a group, in place of donjon's earlier one.
pub(super) fn install(group: BorrowedFd<'_>, rules: &[Rule]) -> Result<(), Errno> {
    let program = bpf::load_device_program(&compile(rules), NAME)?;
    let earlier = earlier(group)?;
    if let [one] = earlier.as_slice()
        && bpf::attach_device_program(group, program.as_fd(), Some(one.as_fd())).is_ok()
    {
        return Ok(());
    }
    // First the new one: in between both have to allow.
    bpf::attach_device_program(group, program.as_fd(), None)?;
    earlier.iter().try_for_each(|one| bpf::detach_device_program(group, one.as_fd()))
}

/// Donjon's programs on a group.
fn earlier(group: BorrowedFd<'_>) -> Result<Vec<std::os::fd::OwnedFd>, Errno> {
    // 64 is the kernel's own limit for one group (BPF_CGROUP_MAX_PROGS).
    let mut ids = [0u32; 64];
    let count = bpf::device_programs(group, &mut ids)?;
    let mut programs = Vec::new();
    for id in ids.iter().take(count) {
        let program = match bpf::program_by_id(*id) {
            Ok(program) => program,
            Err(Errno::NOENT) => continue,
            Err(errno) => return Err(errno),
        };
        if bpf::program_name(program.as_fd())? == NAME {
            programs.push(program);
        }
    }
    Ok(programs)
}

/// Whether the bits of [`access`] are the kernel's: `BPF_DEVCG_ACC_MKNOD`, `READ`, `WRITE`.
const _: () = assert!(access::MKNOD == 1 && access::READ == 2 && access::WRITE == 4);

#[cfg(test)]
mod tests {
    use super::super::devices::tests::{accesses, lists};
    use super::super::devices::{DEFAULT, permits};
    use super::*;

    /// Runs a program as the kernel would, for the operations that are used.
    fn run(program: &[Instruction], kind: Kind, major: u32, minor: u32, wanted: u8) -> bool {
        let kind = if kind == Kind::Block { 1u32 } else { 2 };
        let context = [u32::from(wanted) << 16 | kind, major, minor];
        let mut registers = [0u64; 11];
        let mut at = 0usize;
        for _ in 0..10_000 {
            let i = program[at];
            let (destination, source) = (usize::from(i.registers & 15), usize::from(i.registers >> 4));
            let immediate = i64::from(i.immediate) as u64;
            at += 1;
            let jump = match i.code {
                LOAD_WORD => {
                    registers[destination] = u64::from(context[usize::try_from(i.offset).unwrap() / 4]);
                    false
                }
                MOVE_REGISTER => {
                    registers[destination] = registers[source];
                    false
                }
                AND => {
                    registers[destination] &= immediate;
                    false
                }
                SHIFT_RIGHT => {
                    registers[destination] >>= immediate;
                    false
                }
                MOVE => {
                    registers[destination] = immediate;
                    false
                }
                JUMP_EQUAL => registers[destination] == immediate,
                JUMP_NOT_EQUAL => registers[destination] != immediate,
                EXIT => return registers[0] == 1,
                other => panic!("no operation {other:#x}"),
            };
            if jump {
                at += usize::try_from(i.offset).unwrap();
            }
        }
        panic!("the program does not end");
    }

    #[test]
    fn the_program_says_the_same_as_the_rules() {
        for rules in lists(3000) {
            let program = compile(&rules);
            for (kind, major, minor, wanted) in accesses() {
                assert_eq!(
                    run(&program, kind, major, minor, wanted),
                    permits(&rules, kind, major, minor, wanted),
                    "{rules:?} {kind:?} {major}:{minor} {wanted}"
                );
            }
        }
    }

    #[test]
    fn the_defaults_give_null_and_no_disk() {
        let program = compile(&DEFAULT);
        assert!(run(&program, Kind::Char, 1, 3, access::READ | access::WRITE));
        assert!(run(&program, Kind::Char, 136, 7, access::ALL));
        assert!(run(&program, Kind::Block, 8, 0, access::MKNOD));
        assert!(!run(&program, Kind::Block, 8, 0, access::READ));
        assert!(!run(&program, Kind::Char, 1, 1, access::READ | access::MKNOD));
        assert!(!run(&compile(&[]), Kind::Char, 1, 3, access::READ));
    }
}
