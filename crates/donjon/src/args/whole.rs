//! Every definition at once, for manual pages and completions. No command line needs them all.

use clap::Command;

use super::{COMMANDS, containers, explain, learn, named, oci, policy, program, run, setup};

/// donjon with all its commands and all their arguments.
pub fn definition() -> Command {
    COMMANDS.iter().filter(|(name, _)| *name != "help").fold(program(), |whole, (name, about)| {
        let command = named(name, about);
        whole.subcommand(match *name {
            "run" => run::define(command),
            "learn" => learn::define(command),
            "explain" => explain::define(command),
            "setup" => setup::define(command),
            "policy" => policy::define(command),
            other if oci::is_command(other) => oci::define(other, command),
            other => containers::define(other, command),
        })
    })
}
