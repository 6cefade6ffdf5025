//! Each step of the plan fails, and at each step the child dies: one clear error, and nothing is left.

use donjon_tests::World;

/// One step of the plan.
struct Step {
    layer: String,
    does: String,
}

fn plan(world: &World, image: &str, options: &[&str]) -> Vec<Step> {
    let mut arguments = vec!["run", "--plan", "--format", "json"];
    arguments.extend_from_slice(options);
    arguments.extend_from_slice(&[image, "true"]);
    let plan = world.donjon(&arguments).hooked().go().json();
    let steps = plan["steps"].as_array().expect("the plan has steps").clone();
    let text = |step: &serde_json::Value, name: &str| step[name].as_str().unwrap_or_default().to_string();
    steps.iter().map(|s| Step { layer: text(s, "layer"), does: text(s, "does") }).collect()
}

/// The options of a run with many kinds of steps.
const MANY: [&str; 9] = [
    "--read-only", "--tmpfs", "/scratch", "--hostname", "keep", "--init", "--ulimit", "nofile=64",
    "--umask=077",
];

fn every_step_fails(image: impl Fn(&World) -> String, options: &[&str]) {
    let world = World::ordinary();
    let image = image(&world);
    let steps = plan(&world, &image, options);
    assert!(steps.len() > 15, "a plan of {} steps", steps.len());
    for (n, step) in steps.iter().enumerate() {
        let mut arguments = vec!["run"];
        arguments.extend_from_slice(options);
        arguments.extend_from_slice(&[&image, "echo", "ran"]);
        let run = world.donjon(&arguments).failing_at(n).go();
        let what = format!("failing step {n} ({}: {})", step.layer, step.does);
        // The last one is the program's own exec: 126, cannot be invoked.
        assert_eq!(run.code(), if n + 1 == steps.len() { 126 } else { 125 }, "{what}: {run:?}");
        let told = run.stderr.to_lowercase();
        assert!(told.contains(&step.layer), "{what}: the error does not name the layer: {run:?}");
        assert!(told.contains("input/output error"), "{what}: the error does not say why: {run:?}");
        assert_eq!(run.stdout, "", "{what}: {run:?}");
        world.assert_nothing_left(&what);
    }
}

fn at_every_step_the_child_dies(image: impl Fn(&World) -> String, options: &[&str]) {
    let world = World::ordinary();
    let image = image(&world);
    let steps = plan(&world, &image, options);
    for (n, step) in steps.iter().enumerate() {
        let mut arguments = vec!["run"];
        arguments.extend_from_slice(options);
        arguments.extend_from_slice(&[&image, "echo", "ran"]);
        let run = world.donjon(&arguments).dying_at(n).go();
        let what = format!("dying at step {n} ({}: {})", step.layer, step.does);
        assert_eq!(run.code(), 125, "{what}: {run:?}");
        assert!(!run.stderr.trim().is_empty(), "{what}: not a word: {run:?}");
        assert_eq!(run.stdout, "", "{what}: {run:?}");
        world.assert_nothing_left(&what);
    }
}

#[test]
fn every_step_of_a_directory_image_fails_cleanly() {
    every_step_fails(World::image, &[]);
}

#[test]
fn every_step_of_the_host_image_fails_cleanly() {
    every_step_fails(|_| "host".into(), &[]);
}

#[test]
fn every_step_of_a_run_with_many_options_fails_cleanly() {
    every_step_fails(World::image, &MANY);
}

#[test]
fn every_step_of_a_run_with_a_terminal_fails_cleanly() {
    every_step_fails(World::image, &["-t"]);
}

#[test]
fn every_step_of_a_detached_run_fails_cleanly() {
    every_step_fails(World::image, &["-d"]);
}

#[test]
fn a_child_that_dies_at_any_step_of_a_directory_image_leaves_nothing() {
    at_every_step_the_child_dies(World::image, &[]);
}

#[test]
fn a_child_that_dies_at_any_step_of_the_host_image_leaves_nothing() {
    at_every_step_the_child_dies(|_| "host".into(), &[]);
}

#[test]
fn a_child_that_dies_at_any_step_of_a_detached_run_leaves_nothing() {
    at_every_step_the_child_dies(World::image, &["-d"]);
}

#[test]
fn every_step_of_an_exec_fails_cleanly_and_the_container_lives_on() {
    let world = World::ordinary();
    world.shell(&["-d", "--name", "house"], "sleep 300").hooked().go().succeeds();
    let mut failed = 0;
    for n in 0..60 {
        let run = world.donjon(&["exec", "house", "echo", "ran"]).failing_at(n).go();
        if run.code() == 0 {
            break;
        }
        assert!([125, 126].contains(&run.code()), "failing step {n}: {run:?}");
        run.complains("input/output error").never_says("ran\n");
        failed += 1;
    }
    assert!(failed > 5, "only {failed} steps failed");
    for n in 0..failed {
        let run = world.donjon(&["exec", "house", "echo", "ran"]).dying_at(n).go();
        assert_eq!(run.code(), 125, "dying at step {n}: {run:?}");
    }
    world.donjon(&["exec", "house", "echo", "alive"]).go().succeeds().prints("alive");
    world.donjon(&["exec", "house", "ps"]).go().never_says("echo");
    world.donjon(&["rm", "-f", "house"]).go().succeeds();
    world.assert_nothing_left("failed execs");
}
