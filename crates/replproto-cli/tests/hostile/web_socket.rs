//! Frames: floods, lies, and what the rules of WebSocket forbid.

use crate::case::{Case, ends, survives, survives_large};
use crate::publisher::Link;
use crate::wire::{
    BINARY, CLOSE, CONTINUATION, FIN, PING, TEXT, TIME, command, field, frame, frame_head, put,
    raw_frame, text,
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
fn frames_that_break_the_rules() {
    let long_ping = raw_frame(FIN | PING, &[b'p'; 126]);
    let starts_twice = [raw_frame(BINARY, b"B"), raw_frame(BINARY, b"B")].concat();
    for (frames, cause) in [
        // The bit of compressed messages, which nobody has agreed on.
        (raw_frame(FIN | 0x40 | BINARY, b"x"), "protocol"),
        (raw_frame(FIN | 0x10 | BINARY, b"x"), "protocol"),
        (raw_frame(FIN | 3, b"x"), "protocol"),
        (raw_frame(FIN | 11, b"x"), "protocol"),
        (raw_frame(PING, b"x"), "protocol"),
        (long_ping, "protocol"),
        (frame(CONTINUATION, b"x"), "protocol"),
        (starts_twice, "protocol"),
        // Publishers do not mask.
        (b"\x82\x81\0\0\0\0x".to_vec(), "protocol"),
        // A length that has its highest bit, and one that is longer than it needs to be.
        (frame_head(FIN | BINARY, u64::MAX), "protocol"),
        (b"\x82\x7e\x00\x01x".to_vec(), "protocol"),
        (frame(TEXT, b"[142]"), "protocol"),
        (frame(TEXT, b"\xff\xfe"), "protocol"),
    ] {
        println!("{}", frames.escape_ascii());
        let all = move |link: &Link| link.raw(&frames);
        ends(cause, all);
    }
}

#[test]
fn close_frames_of_every_kind() {
    let reason = |code: u16, text: &[u8]| frame(CLOSE, &[&code.to_be_bytes()[..], text].concat());
    for (frames, cause) in [
        (frame(CLOSE, b""), "peer_closed"),
        (reason(1000, b""), "peer_closed"),
        (reason(4999, &[b'r'; 123]), "peer_closed"),
        // It is told in the log, which belongs to whoever reads it.
        (
            reason(
                1008,
                b"no\r\n\x1b[31m\x1b]0;title\x07\x00 ERROR disk failed",
            ),
            "peer_closed",
        ),
        (
            reason(1008, "\u{202e}desrever \u{85}\u{2028}".as_bytes()),
            "peer_closed",
        ),
        (frame(CLOSE, b"\x03"), "protocol"),
        (reason(1005, b""), "protocol"),
        (reason(999, b""), "protocol"),
        (reason(65_535, b""), "protocol"),
        (reason(1000, b"\xff\xfe"), "protocol"),
        (raw_frame(FIN | CLOSE, &[3; 126]), "protocol"),
    ] {
        println!("{}", frames.escape_ascii());
        ends(cause, |link| link.raw(&frames));
    }
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
