//! What profiles may say, for `features`: the words that are understood, and those that this kernel can carry out.

use donjon_sys::seccomp::flag;
use oci_spec::runtime::{
    Arch, LinuxSeccompAction as Action, LinuxSeccompFilterFlag as Flag, LinuxSeccompOperator as Operator,
};

/// All actions.
pub fn actions() -> &'static [Action] {
    &[
        Action::ScmpActKill,
        Action::ScmpActKillProcess,
        Action::ScmpActKillThread,
        Action::ScmpActTrap,
        Action::ScmpActErrno,
        Action::ScmpActTrace,
        Action::ScmpActAllow,
        Action::ScmpActLog,
        Action::ScmpActNotify,
    ]
}

/// All operators.
pub fn operators() -> &'static [Operator] {
    &[
        Operator::ScmpCmpNe,
        Operator::ScmpCmpLt,
        Operator::ScmpCmpLe,
        Operator::ScmpCmpEq,
        Operator::ScmpCmpGe,
        Operator::ScmpCmpGt,
        Operator::ScmpCmpMaskedEq,
    ]
}

/// All architectures that a profile may list. Those of other machines are passed over, as no call of theirs comes here.
pub fn architectures() -> &'static [Arch] {
    &[
        Arch::ScmpArchX86,
        Arch::ScmpArchX86_64,
        Arch::ScmpArchX32,
        Arch::ScmpArchArm,
        Arch::ScmpArchAarch64,
        Arch::ScmpArchMips,
        Arch::ScmpArchMips64,
        Arch::ScmpArchMips64n32,
        Arch::ScmpArchMipsel,
        Arch::ScmpArchMipsel64,
        Arch::ScmpArchMipsel64n32,
        Arch::ScmpArchPpc,
        Arch::ScmpArchPpc64,
        Arch::ScmpArchPpc64le,
        Arch::ScmpArchS390,
        Arch::ScmpArchS390x,
        Arch::ScmpArchParisc,
        Arch::ScmpArchParisc64,
        Arch::ScmpArchRiscv64,
        Arch::ScmpArchLoongarch64,
        Arch::ScmpArchM68k,
        Arch::ScmpArchSh,
        Arch::ScmpArchSheb,
    ]
}

/// All flags that are understood.
pub fn known_flags() -> &'static [Flag] {
    &[
        Flag::SeccompFilterFlagTsync,
        Flag::SeccompFilterFlagLog,
        Flag::SeccompFilterFlagSpecAllow,
        Flag::SeccompFilterFlagWaitKillableRecv,
    ]
}

/// The flags that this kernel has.
pub fn supported_flags() -> Vec<Flag> {
    known_flags().iter().copied().filter(|flag| kernel_has(*flag)).collect()
}

/// Whether this kernel takes a flag. Asks it with no filter, which changes nothing.
pub(super) fn kernel_has(word: Flag) -> bool {
    let bits = match word {
        Flag::SeccompFilterFlagTsync => flag::TSYNC,
        Flag::SeccompFilterFlagLog => flag::LOG,
        Flag::SeccompFilterFlagSpecAllow => flag::SPEC_ALLOW,
        // Alone it is refused in any case.
        Flag::SeccompFilterFlagWaitKillableRecv => flag::WAIT_KILLABLE_RECV | flag::NEW_LISTENER,
    };
    donjon_sys::seccomp::has_flags(bits)
}

/// The first kernel with a flag.
pub(super) fn since(word: Flag) -> &'static str {
    match word {
        Flag::SeccompFilterFlagTsync => "3.17",
        Flag::SeccompFilterFlagLog => "4.14",
        Flag::SeccompFilterFlagSpecAllow => "4.17",
        Flag::SeccompFilterFlagWaitKillableRecv => "5.19",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_kernel_has_the_flags_that_every_kernel_since_5_19_has() {
        assert_eq!(supported_flags(), known_flags());
        assert!(!donjon_sys::seccomp::has_flags(1 << 30), "a flag that nobody has");
    }

    #[test]
    fn every_word_is_written_as_the_specification_writes_it() {
        let words = [
            serde_json::to_value(actions()),
            serde_json::to_value(operators()),
            serde_json::to_value(architectures()),
            serde_json::to_value(known_flags()),
        ];
        let words = words.map(|words| words.unwrap().to_string());
        assert!(
            words[0].contains("\"SCMP_ACT_KILL_PROCESS\"") && words[1].contains("\"SCMP_CMP_MASKED_EQ\"")
        );
        for arch in
            ["X86_64", "X32", "MIPS64N32", "MIPSEL64N32", "PPC64LE", "S390X", "LOONGARCH64", "M68K", "SHEB"]
        {
            assert!(words[2].contains(&format!("\"SCMP_ARCH_{arch}\"")), "{arch}");
        }
        assert!(words[3].contains("\"SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV\""));
    }
}
