//! Base copies.

use crate::case::{Case, ends, survives};
use crate::publisher::LAST;
use crate::wire::{BINARY, GOOD, TIME, command, frame, number, put};

fn copy_start(start: f64) -> Vec<u8> {
    command(148, &[&number(start), b"\x01"])
}

fn copy_complete() -> Vec<u8> {
    command(149, &[])
}

/// A program that has asked for a copy, and its link.
fn copying() -> (Case, crate::publisher::Link) {
    let case = Case::with(&["--reconnect-delay", "1h", "--start", "copy"]);
    let link = case.link();
    (case, link)
}

#[test]
fn copies_that_begin_again_and_again() {
    let (case, link) = copying();
    link.flood(&frame(BINARY, &copy_start(TIME)), 200_000);
    link.send(&put(b"k1", GOOD, TIME));
    link.send(&copy_complete());
    case.end_with_last(&link, 0);
}

#[test]
fn copies_of_nothing_again_and_again() {
    let (case, link) = copying();
    let copy = [
        frame(BINARY, &copy_start(TIME)),
        frame(BINARY, &copy_complete()),
    ]
    .concat();
    link.flood(&copy, 20_000);
    case.end_with_last(&link, 0);
}

#[test]
fn rows_and_a_new_copy_in_turn() {
    let (case, link) = copying();
    for round in 0..1000 {
        link.send(&copy_start(TIME + f64::from(round)));
        link.send(&put(format!("k{round}").as_bytes(), GOOD, TIME));
    }
    link.send(&copy_complete());
    let end = case.end_with_last(&link, 0);
    assert_eq!(end.number("SELECT count(*) FROM Dog"), 2, "{}", end.log);
}

#[test]
fn the_end_of_a_copy_that_never_began() {
    survives(|link| link.flood(&frame(BINARY, &copy_complete()), 100_000));
}

#[test]
fn copies_at_times_that_are_none() {
    for time in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        ends("protocol", |link| link.send(&copy_start(time)));
    }
}

/// Nobody has asked for it. Whatever becomes of it, what was there before stays, and the log goes on.
#[test]
fn a_copy_that_nobody_asked_for() {
    let case = Case::persistent();
    let link = case.link();
    link.send(&put(b"k1", GOOD, TIME));
    assert!(link.is_confirmed(TIME));
    link.send(&copy_start(TIME + 10.0));
    link.send(&put(b"k2", GOOD, TIME + 10.0));
    link.send(&copy_complete());
    link.send_last();
    if !link.is_confirmed(LAST) {
        let link = case.link();
        link.send(&copy_start(TIME + 10.0));
        link.send(&put(b"k1", GOOD, TIME + 10.0));
        link.send(&copy_complete());
        link.send_last();
        assert!(link.is_confirmed(LAST));
    }
    case.end_within(0);
}
