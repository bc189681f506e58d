//! Answers to the upgrade.

use crate::case::Case;
use crate::publisher::LAST;
use crate::wire::{GOOD, TIME, put};

/// Answers the upgrade with this; the dial must fail for this cause.
fn refuses(answer: &[u8], cause: &str) {
    let case = Case::start();
    let mut dial = case.dial();
    println!("{}", answer[..answer.len().min(80)].escape_ascii());
    dial.raw(answer);
    case.end_after(cause);
}

#[test]
fn heads_that_are_no_answer() {
    for head in [
        "HTTP/1.1 200 OK\r\n\r\n<html>",
        "HTTP/1.1 301 Moved\r\nLocation: ws://127.0.0.1:1/\r\n\r\n",
        "HTTP/2 101\r\n\r\n",
        "SSH-2.0-OpenSSH_9.6\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\n\r\n",
        "HTTP/1.1 999 \r\n\r\n",
        "HTTP/1.1 \u{1b}[31m \r\n\r\n",
        "\0\0\0\0\0\0\0\0\0\0\0\0\r\n\r\n",
    ] {
        refuses(head.as_bytes(), "upgrade");
    }
    refuses(b"HTTP/1.1 401 Unauthorized\r\n\r\n", "authorization");
    refuses(&[0xff; 4096], "upgrade");
}

#[test]
fn an_acceptance_of_something_else() {
    let case = Case::start();
    let dial = case.dial();
    let good = dial.acceptance("");
    drop((dial, case));
    for wrong in [
        // The key of another dial.
        good.clone(),
        good.replace("harperdb-replication-v1", "harperdb-replication-v2"),
    ] {
        refuses(wrong.as_bytes(), "upgrade");
    }
    let case = Case::start();
    let mut dial = case.dial();
    // Nobody has offered it.
    let head = dial.acceptance("Sec-WebSocket-Extensions: permessage-deflate\r\n");
    dial.raw(head.as_bytes());
    case.end_after("upgrade");
}

#[test]
fn heads_without_an_end() {
    let long = 32 << 20;
    let line = [b"HTTP/1.1 101 ".as_slice(), &vec![b'x'; long]].concat();
    let header = [b"HTTP/1.1 101 X\r\nX: ".as_slice(), &vec![b'x'; long]].concat();
    let headers = [
        b"HTTP/1.1 101 X\r\n".as_slice(),
        &b"A: b\r\n".repeat(long / 6),
    ]
    .concat();
    let folded = [
        b"HTTP/1.1 101 X\r\nA:".as_slice(),
        &b" b\r\n".repeat(long / 4),
    ]
    .concat();
    for head in [line, header, headers, folded] {
        refuses(&head, "upgrade");
    }
}

#[test]
fn interim_answers_without_an_end() {
    let hint = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n";
    refuses(&hint.repeat(500_000), "upgrade");
    refuses(&b"HTTP/1.1 100 \r\n\r\n".repeat(1_000_000), "upgrade");
}

#[test]
fn interim_answers_before_the_real_one() {
    let case = Case::start();
    let mut dial = case.dial();
    dial.raw(b"HTTP/1.1 100 Continue\r\n\r\n");
    dial.raw(b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n");
    let link = dial.upgrade();
    link.set_up();
    case.end_with_last(&link, 0);
}

#[test]
fn a_refusal_with_a_body_without_an_end() {
    let refusal = b"HTTP/1.1 503 Busy\r\nContent-Length: 1000000000\r\n\r\n";
    refuses(
        &[refusal.as_slice(), &vec![b'x'; 32 << 20]].concat(),
        "upgrade",
    );
}

#[test]
fn a_head_that_comes_with_the_first_frames() {
    let case = Case::start();
    let mut dial = case.dial();
    let mut bytes = dial.acceptance("").into_bytes();
    bytes.extend(b"\x89\x00".repeat(10_000));
    dial.raw(&bytes);
    let link = dial.upgraded();
    link.set_up();
    link.send_last();
    assert!(link.is_confirmed(LAST));
    case.end_within(0);
}

#[test]
fn connections_that_end_at_once() {
    let case = Case::persistent();
    for _ in 0..10 {
        drop(case.dial());
    }
    let link = case.link();
    case.end_with_last(&link, 0);
}

#[test]
fn links_that_end_after_each_record() {
    let case = Case::persistent();
    for number in 0..200 {
        let link = case.link();
        let sequence = TIME + f64::from(number);
        link.send(&put(b"k1", GOOD, sequence));
        assert!(link.is_confirmed(sequence));
        link.cut();
    }
    let link = case.link();
    case.end_with_last(&link, 0);
}
