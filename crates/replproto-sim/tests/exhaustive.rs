//! The exhaustive search, at a length that a debug build can afford, and the proof that it sees.

use std::process::{Command, Output};

use replproto_sim::exhaustive::{Runner, Search, Step};

fn search(length: u32, jobs: usize, canary: bool) -> Search {
    Search {
        length,
        jobs,
        canary,
    }
}

#[test]
fn every_sequence_of_five_inputs_holds() {
    let mut told = 0;
    let held = search(5, 2, false).run(|held| told = held);
    assert_eq!((held, told), (Ok(32_768), 32_768));
}

#[test]
fn the_first_sequence_that_breaks_a_rule_is_named_whatever_the_number_of_threads() {
    use Step::{BlobFailed, Chunk, FinalChunk, Message};
    let first = search(5, 1, true).run(|_| ()).expect_err("the canary");
    assert_eq!(
        first.sequence,
        [Message, FinalChunk, FinalChunk, Chunk, BlobFailed]
    );
    assert_eq!((first.inputs, first.violation.oracle), (5, "canary"));
    let other = search(5, 3, true).run(|_| ()).expect_err("the canary");
    assert_eq!(first, other);
    let again = Runner::new(5, true).run(&first.sequence);
    assert_eq!(again, Err(first.clone()));
    assert_eq!(Runner::new(5, false).run(&first.sequence), Ok(()));
}

#[test]
fn a_trace_tells_each_input_and_what_follows() {
    let mut lines = Vec::new();
    let sequence = [Step::Message, Step::Consumed, Step::Close];
    let done = Runner::new(3, false).trace(&sequence, &mut |line| lines.push(line.to_string()));
    assert_eq!(done, Ok(()));
    let at = |word: &str| lines.iter().position(|line| line.trim().starts_with(word));
    let order = ["message", "Event(Record", "consumed", "close", "Close"].map(at);
    assert!(order.is_sorted() && order[0].is_some(), "{lines:#?}");
}

fn run(arguments: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_replproto-sim");
    let run = Command::new(program)
        .arg("exhaustive")
        .args(arguments)
        .output();
    run.expect("the program runs")
}

#[test]
fn the_command_prints_the_count_or_the_sequence() {
    let held = run(&["--length", "3"]);
    let text = String::from_utf8_lossy(&held.stdout);
    assert!(
        held.status.success() && text.contains("\n512 sequences held"),
        "{text}"
    );

    let broken = run(&["--length", "5", "--canary"]);
    let text = String::from_utf8_lossy(&broken.stdout);
    let words = "message,final-chunk,final-chunk,chunk,blob-failed";
    assert_eq!(broken.status.code(), Some(1), "{text}");
    let says = format!("{words} breaks at input 5: canary:");
    assert!(text.contains(&says), "{text}");

    let again = run(&["--canary", "--sequence", words]);
    let text = String::from_utf8_lossy(&again.stdout);
    assert_eq!(again.status.code(), Some(1), "{text}");
    assert!(text.contains(&says), "{text}");

    let too_long = ["tick"; 17].join(",");
    for wrong in ["message,finish", &too_long] {
        let refused = run(&["--sequence", wrong]);
        assert_eq!(refused.status.code(), Some(2), "{wrong}");
    }
}
