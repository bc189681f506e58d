//! A recording of a real link gives the same link again, with every rule of the core kept.

use replproto_sim::recording::{Failure, Replayed, replay};

/// The beginning of a link whose blobs come before their records.
const RECORDING: &str = include_str!("../traces/blobs-before-their-records.recording");

fn shown(text: &str) -> (Result<Replayed, Failure>, Vec<String>) {
    let mut lines = Vec::new();
    let done = replay(text, |line| lines.push(line.to_string()));
    (done, lines)
}

#[test]
fn a_recorded_link_is_the_same_again() {
    let (done, lines) = shown(RECORDING);
    let done = done.expect("every rule holds");
    assert_eq!(done.links, 1);
    assert_eq!(done.inputs, RECORDING.lines().count() as u64 - 1);
    assert!(done.records > 0);
    let count = |what: &str| lines.iter().filter(|line| line.contains(what)).count();
    let records = lines.iter().map(|line| line.matches(", version ").count());
    assert_eq!(records.sum::<usize>() as u64, done.records);
    assert!(count("OpenBlob") > 0);
    assert_eq!(count("refused"), 0);
    assert_eq!(shown(RECORDING).1, lines);
}

#[test]
fn what_broke_a_rule_once_holds() {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/traces");
    let mut recordings = 0;
    for file in std::fs::read_dir(dir).expect("the traces") {
        let file = file.expect("a file").path();
        if file.extension().is_some_and(|kind| kind == "recording") {
            let text = std::fs::read_to_string(&file).expect("it is readable");
            let (done, _) = shown(&text);
            assert!(done.is_ok(), "{}: {done:?}", file.display());
            recordings += 1;
        }
    }
    assert!(recordings >= 3);
}

#[test]
fn two_recorded_links_follow_each_other() {
    let (done, _) = shown(&RECORDING.repeat(2));
    assert_eq!(done.expect("every rule holds").links, 2);
}

#[test]
fn a_line_that_cannot_be_read_is_named() {
    let cut = &RECORDING[..RECORDING.len() - 3];
    let line = RECORDING.lines().count();
    assert!(matches!(shown(cut).0, Err(Failure::Unreadable { line: at, .. }) if at == line));
    let (_, inputs) = RECORDING.split_once('\n').expect("inputs");
    assert!(matches!(
        shown(inputs).0,
        Err(Failure::Unreadable { line: 1, .. })
    ));
}
