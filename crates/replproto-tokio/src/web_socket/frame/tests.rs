//! What holds for any bytes and any split of them.

use bytes::BytesMut;
use proptest::prelude::*;

use super::*;

const LIMITS: FrameLimits = FrameLimits {
    frame: 300,
    message: 400,
    frames: 6,
};

/// What a reader hands out, with the parts of each message joined.
#[derive(Clone, Debug, PartialEq)]
enum Heard {
    Message(MessageKind, Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
}

/// Reads bytes that come in pieces of these lengths, again and again.
fn read(role: Role, bytes: &[u8], pieces: &[usize]) -> (Vec<Heard>, Option<FrameError>) {
    let mut reader = FrameReader::new(role, LIMITS);
    let mut unread = Vec::new();
    let mut rest = bytes;
    let mut pieces = pieces.iter().cycle();
    let mut heard = Vec::new();
    let mut message = Vec::new();
    let mut is_first = true;
    loop {
        let step = match reader.read(&mut unread) {
            Ok(Some(step)) => step,
            Ok(None) if rest.is_empty() => return (heard, None),
            Ok(None) => {
                let is_closed = matches!(heard.last(), Some(Heard::Close(..)));
                assert!(is_closed || unread.len() <= 130, "{}", unread.len());
                let piece = pieces
                    .next()
                    .map_or(rest.len(), |piece| (*piece).min(rest.len()));
                unread.extend_from_slice(&rest[..piece]);
                rest = &rest[piece..];
                continue;
            }
            Err(error) => {
                assert_eq!(reader.read(&mut unread), Err(error), "it is not for ever");
                return (heard, Some(error));
            }
        };
        let FrameStep { skip, length, item } = step;
        assert!(skip + length > 0, "nothing is done");
        let payload = unread[skip..skip + length].to_vec();
        unread.drain(..skip + length);
        match item {
            None => assert_eq!(length, 0, "payload is passed over"),
            Some(FrameItem::Part { kind, last }) => {
                assert!(length > 0 || last || is_first);
                is_first = last;
                message.extend(payload);
                if last {
                    heard.push(Heard::Message(kind, std::mem::take(&mut message)));
                }
            }
            Some(FrameItem::Ping) => heard.push(Heard::Ping(payload)),
            Some(FrameItem::Pong) => heard.push(Heard::Pong(payload)),
            Some(FrameItem::Close { code, reason }) => heard.push(Heard::Close(code, reason)),
        }
    }
}

/// One frame as it is sent.
#[derive(Clone, Debug)]
struct Sent {
    kind: FrameKind,
    is_final: bool,
    payload: Vec<u8>,
    mask: [u8; 4],
}

fn write(frames: &[Sent], to: Role) -> Vec<u8> {
    let mut out = BytesMut::new();
    for frame in frames {
        let mask = (to == Role::Server).then_some(frame.mask);
        write_frame(&mut out, frame.kind, frame.is_final, &frame.payload, mask);
    }
    out.to_vec()
}

fn role() -> impl Strategy<Value = Role> {
    prop_oneof![Just(Role::Client), Just(Role::Server)]
}

fn pieces() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(1..40usize, 1..6)
}

fn control() -> impl Strategy<Value = Sent> {
    let kind = prop_oneof![Just(FrameKind::Ping), Just(FrameKind::Pong)];
    let payload = prop::collection::vec(any::<u8>(), 0..=CONTROL_BYTES_MAX);
    (kind, payload, any::<[u8; 4]>()).prop_map(|(kind, payload, mask)| Sent {
        kind,
        is_final: true,
        payload,
        mask,
    })
}

/// A message in fragments, with control frames between them, and what is heard of it.
fn message() -> impl Strategy<Value = (Vec<Sent>, Vec<Heard>)> {
    let content = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200).prop_map(|bytes| (MessageKind::Binary, bytes)),
        "\\PC{0,40}".prop_map(|text| (MessageKind::Text, text.into_bytes())),
    ];
    let cuts = prop::collection::vec((0..100usize, prop::option::of(control())), 0..5);
    (content, cuts, any::<[u8; 4]>()).prop_map(|((kind, bytes), cuts, mask)| {
        let mut frames = Vec::new();
        let mut heard = Vec::new();
        let mut rest = &bytes[..];
        let mut next = match kind {
            MessageKind::Text => FrameKind::Text,
            MessageKind::Binary => FrameKind::Binary,
        };
        let mut fragment = |payload: &[u8], is_final| Sent {
            kind: std::mem::replace(&mut next, FrameKind::Continuation),
            is_final,
            payload: payload.to_vec(),
            mask,
        };
        for (cut, control) in cuts {
            let (payload, more) = rest.split_at(cut.min(rest.len()));
            rest = more;
            frames.push(fragment(payload, false));
            if let Some(control) = control {
                heard.push(match control.kind {
                    FrameKind::Ping => Heard::Ping(control.payload.clone()),
                    _ => Heard::Pong(control.payload.clone()),
                });
                frames.push(control);
            }
        }
        frames.push(fragment(rest, true));
        heard.push(Heard::Message(kind, bytes));
        (frames, heard)
    })
}

fn conversation() -> impl Strategy<Value = (Vec<Sent>, Vec<Heard>)> {
    prop::collection::vec(message(), 0..5).prop_map(|messages| {
        let (frames, heard): (Vec<_>, Vec<_>) = messages.into_iter().unzip();
        (frames.concat(), heard.concat())
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_in_both_roles(
        (frames, expected) in conversation(),
        role in role(),
        pieces in pieces(),
    ) {
        let bytes = write(&frames, role);
        prop_assert_eq!(read(role, &bytes, &pieces), (expected, None));
    }

    #[test]
    fn any_split_gives_the_same_messages_and_the_same_error(
        (frames, _) in conversation(),
        role in role(),
        pieces in pieces(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        tail in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let mut bytes = write(&frames, role);
        for (index, byte) in damage {
            if !bytes.is_empty() {
                let index = index.index(bytes.len());
                bytes[index] = byte;
            }
        }
        bytes.extend(tail);
        prop_assert_eq!(read(role, &bytes, &pieces), read(role, &bytes, &[]));
    }

    #[test]
    fn arbitrary_bytes_are_survived(
        bytes in prop::collection::vec(
            // Bytes that headers are made of, more often than others.
            prop_oneof![Just(0x81), Just(0x82), Just(0x02), Just(0x80), Just(0x00), Just(0x88), 0..8u8, any::<u8>()],
            0..400,
        ),
        role in role(),
        pieces in pieces(),
    ) {
        prop_assert_eq!(read(role, &bytes, &pieces), read(role, &bytes, &[1]));
    }
}

/// The error that these bytes from a server give.
fn refused(bytes: &[u8]) -> FrameError {
    read(Role::Client, bytes, &[]).1.expect("accepted")
}

#[test]
fn fragments_must_follow_one_another() {
    let error = refused(&[0x80, 0]);
    assert_eq!(error.violation, Violation::NothingToContinue);
    let error = refused(&[0x02, 1, 7, 0x82, 0]);
    assert_eq!(error.violation, Violation::Interleaved);
    assert_eq!(error.at, 3);
    assert_eq!(error.violation.close_code(), 1002);
}

#[test]
fn a_length_over_a_limit_is_refused_by_its_header_alone() {
    let error = refused(&[0x82, 127, 0, 0, 1, 0, 0, 0, 0, 0]);
    let violation = Violation::LongMessage {
        limit: 400,
        actual: 1 << 40,
    };
    assert_eq!(error.violation, violation);
    assert_eq!(violation.close_code(), 1009);
    let error = refused(&[0x82, 126, 1, 45]);
    let violation = Violation::LongFrame {
        limit: 300,
        actual: 301,
    };
    assert_eq!(error.violation, violation);
    // Two fragments that are too long only together: the second is refused before any of it has come.
    let mut bytes = vec![0x02, 126, 1, 44];
    bytes.resize(304, 0);
    bytes.extend([0x80, 101]);
    let violation = Violation::LongMessage {
        limit: 400,
        actual: 401,
    };
    let at = 304;
    assert_eq!(refused(&bytes), FrameError { at, violation });
}

#[test]
fn a_message_of_empty_frames_ends_at_the_limit() {
    let mut bytes = vec![0x02, 0];
    bytes.extend([0x00, 0].repeat(5));
    assert_eq!(read(Role::Client, &bytes, &[]), (vec![], None));
    bytes.extend([0x00, 0]);
    assert_eq!(refused(&bytes).violation, Violation::ManyFrames(7));
    assert_eq!(refused(&bytes).violation.close_code(), 1009);
}

#[test]
fn frames_that_carry_something_are_not_counted() {
    let limits = FrameLimits {
        frame: 300,
        message: u64::MAX,
        frames: 6,
    };
    let many_frames_of = |length: u8| {
        let mut reader = FrameReader::new(Role::Client, limits);
        let mut bytes = vec![0x02, length];
        bytes.resize(2 + usize::from(length), 7);
        for number in 1..=10_000u64 {
            if let Err(error) = reader.read(&mut bytes) {
                assert_eq!(error.violation, Violation::ManyFrames(number));
                return Some(number);
            }
            bytes[0] = 0x00;
        }
        None
    };
    assert_eq!(many_frames_of(64), None);
    // Each pair of these makes room for one frame.
    assert_eq!(many_frames_of(32), Some(13));
    assert_eq!(many_frames_of(0), Some(7));
}

#[test]
fn a_text_fails_at_its_first_wrong_byte() {
    // A fragment of valid text, then one that is wrong before it has come to its end.
    let bytes = b"\x01\x02ab\x80\x7e\x01\x00\xf4\x90";
    let error = refused(bytes);
    assert_eq!(error.violation, Violation::TextEncoding);
    assert_eq!(error.violation.close_code(), 1007);
    assert_eq!(error.at, 4);
    // A character that never ends.
    let error = refused(b"\x81\x02a\xce");
    assert_eq!(error.violation, Violation::TextEncoding);
}

#[test]
fn close_frames_follow_the_rules() {
    let close = |payload: &[u8]| {
        let mut bytes = vec![0x88, payload.len() as u8];
        bytes.extend_from_slice(payload);
        // Nothing after it is looked at.
        bytes.extend([0xff; 20]);
        read(Role::Client, &bytes, &[])
    };
    let closed = |payload: &[u8]| match close(payload) {
        (heard, None) => heard,
        (_, Some(error)) => panic!("{error}"),
    };
    assert_eq!(closed(b""), [Heard::Close(None, String::new())]);
    for code in [1000, 1001, 1003, 1007, 1011, 1014, 3000, 4999u16] {
        let payload = [&code.to_be_bytes()[..], "é".as_bytes()].concat();
        assert_eq!(closed(&payload), [Heard::Close(Some(code), "é".into())]);
    }
    let refused = |payload: &[u8]| close(payload).1.expect("accepted").violation;
    assert_eq!(refused(&[3]), Violation::HalfCloseCode);
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535u16] {
        let violation = refused(&code.to_be_bytes());
        assert_eq!(violation, Violation::CloseCode(code));
        assert_eq!(violation.close_code(), 1002);
    }
    let violation = refused(&[0x03, 0xe8, 0xce]);
    assert_eq!(violation, Violation::ReasonEncoding);
    assert_eq!(violation.close_code(), 1007);
}

#[test]
fn the_beginning_of_a_message_is_told_before_its_first_byte() {
    let part = Some(FrameItem::Part {
        kind: MessageKind::Binary,
        last: false,
    });
    for (header, item) in [([0x02, 0], &part), ([0x82, 5], &part)] {
        let mut reader = FrameReader::new(Role::Client, LIMITS);
        let step = reader.read(&mut header.clone()).unwrap().unwrap();
        assert_eq!((&step.item, step.length), (item, 0));
    }
    let mut reader = FrameReader::new(Role::Client, LIMITS);
    let items = [[0x02, 0], [0x00, 0], [0x00, 3]]
        .map(|mut header| reader.read(&mut header).unwrap().unwrap().item);
    assert_eq!(items, [part, None, None]);
}

#[test]
fn an_empty_message_is_one_empty_part() {
    let mut reader = FrameReader::new(Role::Client, LIMITS);
    let step = reader.read(&mut [0x82, 0]).unwrap().unwrap();
    let part = FrameItem::Part {
        kind: MessageKind::Binary,
        last: true,
    };
    assert_eq!(step.item, Some(part));
    assert_eq!(step.length, 0);
}
