//! One executable attack for each class of escape that other runtimes had (the rules R1 to R32).
//!
//! An attack must fail against the released binary and against the hooked one, and must *succeed* against the
//! hooked one with the protection switched off: a test that passes both ways tests nothing.

mod bundle_paths;
mod bundle_processes;
mod calls;
mod descriptors;
mod fail_closed;
mod hierarchies;
mod new_code;
mod parsers;
mod paths;
mod privileges;
mod process_image;
mod procfs;
mod sockets;
mod terminals;

use donjon_tests::World;

/// Attacks from inside the shared root: held by both builds, through with `protections` off.
#[track_caller]
fn held_by(world: &World, options: &[&str], attack: &[&str], protections: &str) {
    let mut all = vec!["--rm"];
    all.extend_from_slice(options);
    for run in [world.attack(&all, attack), world.attack(&all, attack).hooked()] {
        run.go().exits(1).says("refused");
    }
    world.attack(&all, attack).without(protections).go().exits(0);
}

/// The same, and each protection alone is enough: with any one of them off, the others still hold.
#[track_caller]
fn held_by_each(world: &World, options: &[&str], attack: &[&str], protections: &[&str]) {
    held_by(world, options, attack, &protections.join(","));
    let mut all = vec!["--rm"];
    all.extend_from_slice(options);
    for off in protections {
        world.attack(&all, attack).without(off).go().exits(1).says("refused");
    }
}
