//! R31: a boundary that was asked for and can't be set up aborts the start and names itself.

use donjon_tests::World;

/// The steps of the plan of a plain run: index and layer.
fn steps(world: &World, options: &[&str]) -> Vec<(usize, String)> {
    let mut all = vec!["--plan", "--format", "json"];
    all.extend_from_slice(options);
    let plan = world.shell(&all, "true").hooked().go().json();
    let steps = plan["steps"].as_array().expect("steps").clone();
    steps.iter().enumerate().map(|(n, s)| (n, s["layer"].as_str().unwrap_or_default().to_string())).collect()
}

#[test]
fn r31_no_boundary_is_left_out_in_silence() {
    let world = World::ordinary();
    let steps = steps(&world, &[]);
    for layer in [
        "landlock", "seccomp", "capabilities", "limits", "keyring", "identity", "rootfs", "mounts",
        "devices", "overlay",
    ] {
        let (n, _) = steps.iter().find(|(_, l)| l == layer).unwrap_or_else(|| panic!("no step of {layer}"));
        let run = world.shell(&["--rm"], "echo ran").failing_at(*n).go();
        run.refused().complains(layer).never_says("ran\n");
    }
    world.assert_nothing_left("failed boundaries");
}

#[test]
fn r31_best_effort_takes_a_layers_name_and_no_other_word() {
    let world = World::ordinary();
    world.shell(&["--rm", "--best-effort", "moat"], "echo ran").go().refused().never_says("ran\n");
    world.shell(&["--rm", "--best-effort", "landlock"], "echo ran").go().succeeds();
}

#[test]
fn r31_what_was_left_out_is_on_record() {
    let world = World::ordinary();
    world.shell(&["--name", "less", "--best-effort", "landlock"], "true").go().succeeds();
    let text = world.donjon(&["inspect", "less"]).go().json().to_string();
    assert!(text.contains("landlock"), "{text}");
}
