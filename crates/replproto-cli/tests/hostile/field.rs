//! Faults that were found from outside, played from the bytes that showed them (the container of `replproto inspect`).

use std::path::PathBuf;

use crate::case::Case;
use crate::publisher::Link;
use crate::support::{code, run, stderr, stdout};
use crate::wire::schema;

fn path(name: &str) -> PathBuf {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/hostile/inputs");
    PathBuf::from(folder).join(name).with_extension("bin")
}

/// Sets the link up, and sends the messages of a file, which bring what their records need.
fn play(link: &Link, name: &str) {
    link.greet("node-a");
    let (_, request) = link.subscription();
    link.send(&schema([], request));
    let file = std::fs::read(path(name)).expect("an input");
    let mut rest = file.as_slice();
    while let Some((length, after)) = rest.split_first_chunk() {
        let (message, after) = after.split_at(u32::from_le_bytes(*length) as usize);
        link.send(message);
        rest = after;
    }
}

/// Follows a publisher that sends these messages until no more come, and all is well.
fn until_idle(name: &str, start: &str) -> crate::program::End {
    let case = Case::with(&["--start", start, "--until-idle", "1s", "--deadline", "200s"]);
    let link = case.open();
    play(&link, name);
    let end = case.program.ends();
    assert_eq!(end.code, Some(0), "{}", end.log);
    end
}

#[test]
fn nested_sets_cost_their_record_only() {
    let end = until_idle("nested-sets", "1");
    assert_eq!(end.skipped(), 1);
    assert_eq!(end.number("SELECT count(*) FROM _replproto_skipped"), 1);
    let tables = end.texts("SELECT sql_name FROM _replproto_table");
    assert_eq!(
        end.number(&format!("SELECT count(*) FROM \"{}\"", tables[0])),
        1
    );
    for options in [
        &["inspect"][..],
        &["inspect", "--stats"],
        &["inspect", "--json"],
    ] {
        let file = path("nested-sets");
        let output = run(&[options, &[file.to_str().expect("UTF-8")]].concat());
        assert_eq!(code(&output), Some(0), "{}", stderr(&output));
        assert!(!stdout(&output).is_empty());
    }
}

#[test]
fn an_expiry_date_that_is_no_number_is_none() {
    let end = until_idle("expiry-that-is-no-number", "copy");
    let rows = end.texts("SELECT id || ifnull(expires_at, '') FROM Page ORDER BY id");
    assert_eq!(rows, ["\"a\"", "\"b\"", "\"c\""]);
}

#[test]
fn an_interim_answer_is_not_the_answer() {
    let case = Case::with(&["--start", "1", "--until-idle", "1s", "--deadline", "200s"]);
    let mut dial = case.dial();
    dial.raw(b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n");
    play(&dial.upgrade(), "one-record");
    let end = case.program.ends();
    assert_eq!(end.code, Some(0), "{}", end.log);
    let tables = end.texts("SELECT sql_name FROM _replproto_table");
    assert_eq!(
        end.number(&format!("SELECT count(*) FROM \"{}\"", tables[0])),
        1
    );
}
