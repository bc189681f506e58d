//! Frames: floods, lies, and what the rules of WebSocket forbid.

use crate::case::{Case, ends, survives, survives_large};
use crate::wire::{
    BINARY, CONTINUATION, FIN, PING, TIME, command, field, frame, frame_head, put, raw_frame, text,
};

#[test]
fn pings_whose_answers_nobody_reads() {
    let case = Case::start();
    let link = case.link();
    link.go_deaf();
    let flood = || link.flood(&frame(PING, &[b'p'; 125]), 400_000);
    link.send_while_stalled(flood, || link.cut());
    case.end_within(0);
}

#[test]
fn empty_frames_within_a_message() {
    survives(|link| {
        link.raw(&raw_frame(BINARY, b""));
        link.flood(&raw_frame(CONTINUATION, b""), 1_000_000);
        link.raw(&frame(CONTINUATION, &put(b"k", b"\x40\xa1x", TIME + 1.0)));
    });
}

#[test]
fn a_record_in_frames_of_one_byte() {
    let length = 500_000;
    let end = survives_large(length, |link| {
        let message = put(b"k1", &field(&text(&vec![b'x'; length])), TIME + 1.0);
        let (last, before) = message.split_last().expect("bytes");
        let mut opcode = BINARY;
        let mut frames = Vec::new();
        for byte in before {
            frames.extend(raw_frame(opcode, &[*byte]));
            opcode = CONTINUATION;
        }
        frames.extend(frame(CONTINUATION, &[*last]));
        link.raw(&frames);
    });
    assert_eq!(end.number("SELECT count(*) FROM Dog"), 2);
}

#[test]
fn pings_between_all_frames_of_a_message() {
    survives(|link| {
        let message = put(b"k1", b"\x40\xa1x", TIME + 1.0);
        let mut opcode = BINARY;
        for byte in &message {
            link.raw(&raw_frame(opcode, &[*byte]));
            link.flood(&frame(PING, b"p"), 1000);
            opcode = CONTINUATION;
        }
        link.raw(&frame(CONTINUATION, b""));
    });
}

#[test]
fn empty_messages() {
    ends("protocol", |link| link.flood(&frame(BINARY, b""), 100_000));
}

#[test]
fn a_frame_that_claims_half_of_all_bytes_there_are() {
    ends("too_large", |link| {
        link.raw(&[&frame_head(FIN | BINARY, 1 << 62), b"Bxxx".as_slice()].concat());
    });
}

#[test]
fn a_frame_that_claims_what_may_be_and_sends_nothing() {
    let case = Case::start();
    let link = case.link();
    let head = frame_head(FIN | BINARY, 9 << 30);
    link.raw(&[head, put(b"k1", b"\x40\xa1x", TIME + 1.0)].concat());
    assert!(link.is_confirmed(TIME + 1.0));
    case.end_within(0);
}

#[test]
fn a_large_command_that_nobody_knows() {
    survives(|link| {
        let mut message = command(200, &[&text(&vec![b'x'; 64 << 20])]);
        message.extend([0xc1; 16]);
        link.send(&message);
        link.flood(&frame(BINARY, &command(201, &[])), 100_000);
    });
}

#[test]
fn messages_that_stop_in_the_middle_of_everything() {
    let message = put(b"k1", b"\x40\xa1x", TIME + 1.0);
    for length in [1, 7, 8, 9, 10, 20, message.len() - 5] {
        ends("protocol", |link| link.send(&message[..length]));
    }
}
