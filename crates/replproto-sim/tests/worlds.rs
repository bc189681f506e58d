//! Worlds hold, repeat themselves exactly, and notice a broken rule.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use replproto_sim::options::TraceFile;
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

/// A world that breaks the canary's rule, with its trace written.
fn broken(name: &str) -> (String, PathBuf) {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&dir).expect("a directory");
    let dir = dir.to_str().expect("a name");
    let output = program(&[
        "--seed",
        "1",
        "--seeds",
        "20",
        "--steps",
        "3000",
        "--canary",
        "--trace-dir",
        dir,
    ]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (_, file) = text.split_once("trace file: ").expect("a trace");
    let file = file.lines().next().expect("a name").into();
    (text, file)
}

#[test]
fn a_broken_rule_is_reported_with_all_that_repeats_it() {
    let (text, _) = broken("repeat");
    assert!(text.contains("canary: a link was dialled twice"), "{text}");
    assert!(text.contains("faults "), "{text}");
    let command = text.lines().last().expect("the command");
    let (_, arguments) = command.split_once(" -- ").expect("arguments");
    let arguments: Vec<&str> = arguments.split(' ').collect();
    let repeated = program(&arguments);
    assert_eq!(repeated.status.code(), Some(1));
    let repeated = String::from_utf8_lossy(&repeated.stdout).into_owned();
    let steps = |text: &str| {
        let (_, steps) = text.rsplit_once("the last steps:\n").expect("steps");
        let steps = steps.lines().take_while(|line| line.starts_with("  "));
        steps.map(str::to_owned).collect::<Vec<_>>()
    };
    assert!(!steps(&repeated).is_empty());
    assert_eq!(steps(&repeated), steps(&text));
    assert!(repeated.contains("canary is again broken"), "{repeated}");
}

#[test]
fn a_broken_world_is_shrunk_to_one_that_breaks_the_same_rule() {
    let (_, file) = broken("shrink");
    let file = file.to_str().expect("a name");
    assert_eq!(program(&["shrink", file]).status.code(), Some(1));
    let text = fs::read_to_string(format!("{file}.shrunk")).expect("it is written");
    let shrunk: TraceFile = text.parse().expect("a trace");
    assert_eq!(shrunk.breaks.as_deref(), Some("canary"));
    assert!(shrunk.options.steps < 3000, "{text}");
    let faults = shrunk.options.faults.expect("they are named");
    // Of many: the second link of this world needs a commit that fails and a cursor that cannot be read just before.
    assert!(faults.iter().count() <= 2, "{text}");
}

#[test]
fn the_number_of_jobs_changes_nothing() {
    let run = |jobs| {
        program(&[
            "--seed", "9", "--seeds", "8", "--steps", "300", "--jobs", jobs,
        ])
    };
    let one = run("1");
    assert!(one.status.success());
    assert_eq!(one.stdout, run("3").stdout);
}

#[test]
fn what_broke_a_rule_once_holds() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("traces");
    let mut traces = 0;
    for file in fs::read_dir(dir).expect("the traces") {
        let file = file.expect("a file").path();
        if file
            .extension()
            .is_some_and(|extension| extension == "trace")
        {
            let text = fs::read_to_string(&file).expect("it is readable");
            let trace: TraceFile = text.parse().expect("a trace");
            let report = World::run(trace.options);
            assert!(report.violation.is_none(), "{}: {report}", file.display());
            traces += 1;
        }
    }
    assert!(traces > 0);
}
