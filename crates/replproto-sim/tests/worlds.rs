//! Worlds hold, repeat themselves exactly, and notice a broken rule.

use std::process::{Command, Output};

use replproto_sim::faults::Faults;
use replproto_sim::rng::Rng;
use replproto_sim::world::{Options, Report, World};

fn run(seed: u64) -> Report {
    World::run(Options {
        seed,
        steps: 600,
        ..Options::default()
    })
}

fn program(arguments: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_replproto-sim");
    Command::new(program)
        .args(arguments)
        .output()
        .expect("it runs")
}

#[test]
fn hundreds_of_worlds_hold() {
    let (mut links, mut steps) = (0, 0);
    for seed in 0..300 {
        let report = run(seed);
        assert!(report.violation.is_none(), "{report}");
        links += report.links;
        steps += report.steps;
    }
    // The faults did strike.
    assert!(links > 500, "{links} links");
    assert!(steps > 300 * 600, "{steps} steps");
}

#[test]
fn every_fault_is_drawn() {
    let mut rng = Rng::new(1);
    let drawn: Vec<Faults> = (0..200).map(|_| Faults::draw(&mut rng)).collect();
    let has: [fn(&Faults) -> bool; 12] = [
        |faults| faults.split,
        |faults| faults.cut,
        |faults| faults.crash,
        |faults| faults.stall,
        |faults| faults.slow,
        |faults| faults.not_ready,
        |faults| faults.reorder,
        |faults| faults.failing_saves > 0,
        |faults| faults.failing_reads > 0,
        |faults| faults.purge,
        |faults| faults.recopy,
        |faults| faults.drain,
    ];
    for (index, has) in has.iter().enumerate() {
        let on = drawn.iter().filter(|faults| has(faults)).count();
        assert!((60..140).contains(&on), "fault {index} in {on} of 200");
    }
}

#[test]
fn a_seed_gives_the_same_trace_in_this_process_and_in_another() {
    for seed in [1, 2, 3] {
        let (first, second) = (run(seed), run(seed));
        assert_eq!(first.hash, second.hash);
        assert_ne!(first.hash, run(seed + 1).hash);
        let seed = seed.to_string();
        let output = program(&["--seed", &seed, "--steps", "600"]);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{text}");
        assert!(
            text.contains(&format!("trace {:016x}", first.hash)),
            "{text}"
        );
    }
}

#[test]
fn a_broken_rule_is_reported_with_all_that_repeats_it() {
    let output = program(&[
        "--seed", "1", "--seeds", "20", "--steps", "3000", "--canary",
    ]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("canary: a link was dialled twice"), "{text}");
    assert!(text.contains("faults: "), "{text}");
    assert!(text.contains("the last steps:"), "{text}");
    let command = text.lines().last().expect("the command");
    let (_, arguments) = command.split_once(" -- ").expect("arguments");
    let arguments: Vec<&str> = arguments.split(' ').collect();
    let repeated = program(&arguments);
    assert_eq!(repeated.status.code(), Some(1));
    let repeated = String::from_utf8_lossy(&repeated.stdout).into_owned();
    let tail = |text: &str| {
        text.split_once("canary: ")
            .expect("a violation")
            .1
            .to_owned()
    };
    assert_eq!(tail(&repeated), tail(&text));
}
