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
