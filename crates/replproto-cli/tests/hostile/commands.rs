//! Commands: their MessagePack, and floods of them.

use replproto_core::Sequence;
use replproto_core::wire::Message;
use replproto_core::wire::message::{ChunkHeader, NodeName};

use crate::case::{Case, ends, endures, survives};
use crate::publisher::{LAST, Link, NODE};
use crate::wire::{
    BINARY, DATABASE, GOOD, TIME, array_of, binary, chunk, command, extension, frame, map_head,
    number, put, schema, text,
};

/// All commands but COPY_START, after which nothing is confirmed for long.
const CODES: [u8; 16] = [
    129, 130, 132, 133, 134, 136, 137, 140, 141, 142, 143, 144, 145, 146, 147, 149,
];

/// This as every element of every command.
fn in_every_place(element: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    CODES.into_iter().flat_map(move |code| {
        (0..3).map(move |place| {
            let mut elements = [b"\x01".as_slice(); 3];
            elements[place] = element;
            command(code, &elements)
        })
    })
}

#[test]
fn nesting_in_every_place() {
    let depth = 1_000_000;
    for start in [b"\x91".as_slice(), b"\x81", b"\xd4\x73\x00"] {
        endures(in_every_place(&start.repeat(depth / start.len())));
    }
}

#[test]
fn lengths_without_bytes_in_every_place() {
    for head in [b"\xdd".as_slice(), b"\xdf", b"\xdb", b"\xc6", b"\xc9"] {
        endures(in_every_place(&[head, &[0xff; 4]].concat()));
    }
}

#[test]
fn things_of_no_use_in_every_place() {
    endures(in_every_place(b"\xc1"));
    endures(in_every_place(b"\xd4\0\0"));
    // As a sequence it is one, after which no other is confirmed.
    let integers = in_every_place(b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff");
    endures(integers.filter(|message| message[2] != 143));
    endures(in_every_place(&number(f64::NAN)));
    endures(in_every_place(&extension(0x42, &[0xff; 1000])));
    endures(in_every_place(&text(b"\xff\xfe\xed\xa0\x80")));
    endures(in_every_place(&binary(&[0; 100])));
}

/// Sends a command again and again.
fn flood(link: &Link, message: &[u8]) {
    link.flood(&frame(BINARY, message), 20_000);
}

#[test]
fn floods_of_commands_that_change_nothing() {
    survives(|link| {
        let name = NodeName {
            name: Some(NODE.into()),
            database: DATABASE.into(),
            ..NodeName::default()
        };
        let same_nodes = Message::NodeMap {
            ids: vec![(NODE.into(), 0)],
            subscribed: vec!["us".into()],
        };
        for message in [
            Message::NodeName(name).encode(),
            same_nodes.encode(),
            schema([], None),
            schema(["Dog"], Some(1)),
            schema(["Dog"], Some(99)),
            command(144, &[&number(TIME)]),
            command(147, &[&map_head(0)]),
            command(133, &[b"\x01", b"\x01", b"\x01"]),
            command(134, &[b"\x01"]),
            command(136, &[&map_head(0)]),
            command(137, &[&map_head(0)]),
            command(200, &[]),
            command(149, &[]),
        ] {
            flood(link, &message);
        }
    });
}

#[test]
fn requests_whose_answers_nobody_reads() {
    let case = Case::start();
    let link = case.link();
    link.go_deaf();
    let play = || {
        flood(
            &link,
            &command(133, &[b"\x01", b"\x01", b"\xa2k1", b"\xa3Dog"]),
        );
        flood(
            &link,
            &command(136, &[b"\xde\x00\x01\xa9operation\xa6whoami"]),
        );
    };
    link.send_while_stalled(play, || {});
    link.cut();
    case.end_within(0);
}

#[test]
fn sequences_of_all_kinds() {
    let end = survives(|link| {
        for sequence in [
            TIME + 5.0,
            0.0,
            -1.0,
            -0.0,
            TIME - 1.0,
            TIME + 4.0,
            2f64.powi(-1074),
        ] {
            link.send(&Message::SequenceUpdate(Sequence(sequence)).encode());
            link.send(&put(b"k1", GOOD, sequence));
        }
        for number in 0..200_000 {
            link.send(&Message::SequenceUpdate(Sequence(TIME + f64::from(number))).encode());
        }
    });
    assert_eq!(end.cursor(), Some(LAST));
    for wrong in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        ends("protocol", |link| {
            link.send(&command(143, &[&number(wrong)]))
        });
    }
}

#[test]
fn a_position_at_the_end_of_all_numbers() {
    let end = 2f64.powi(53);
    let case = Case::persistent();
    let link = case.link();
    link.send(&put(b"k1", GOOD, end));
    assert!(link.is_confirmed(end));
    link.cut();
    let link = case.open();
    assert_eq!(link.set_up(), end);
    case.end_within(0);
}

#[test]
fn node_maps_that_change() {
    survives(|link| {
        for round in 0..20 {
            let ids = (0..60_000)
                .map(|id| (format!("node{round}_{id}"), id))
                .collect();
            let subscribed = Vec::new();
            link.send(&Message::NodeMap { ids, subscribed }.encode());
            link.send(&put(b"k1", GOOD, TIME + f64::from(round)));
        }
    });
    let ids_twice = Message::NodeMap {
        ids: vec![
            ("a".into(), 0),
            ("b".into(), 0),
            ("a".into(), 1),
            ("a".into(), 1),
        ],
        subscribed: Vec::new(),
    };
    survives(|link| link.send(&ids_twice.encode()));
}

#[test]
fn residency_lists_without_end() {
    ends("too_large", |link| {
        for id in 0..400_000 {
            let nodes = vec![format!("{}{id}", "n".repeat(100))];
            link.send(&Message::ResidencyList { nodes, id }.encode());
        }
    });
}

/// A map with one key.
fn map(key: &str, value: &[u8]) -> Vec<u8> {
    [b"\x81", text(key.as_bytes()).as_slice(), value].concat()
}

/// Lists of the shortest elements there are take many times their bytes in memory.
#[test]
fn lists_that_unfold() {
    let count = 1_000_000;
    let mut messages = Vec::new();
    for list in [
        array_of(b"\xa0", count),
        array_of(b"\x80", count),
        array_of(b"\x90", count),
        array_of(b"\x81\xa5table\xa0", count / 4),
        array_of(b"\x81\xa4name\xa0", count / 4),
    ] {
        for code in [129, 130, 140, 145] {
            messages.push(command(code, &[&list, &list, b"\x01"]));
            messages.push(command(code, &[b"\xa1a", b"\xa4data", &list]));
        }
        for key in ["typedStructs", "structures", "attributes"] {
            messages.push(command(132, &[&map(key, &list), b"\x07", b"\xa3Cat"]));
        }
        for key in ["excludeNodes", "includeNodes"] {
            messages.push(command(147, &[&map(key, &list)]));
        }
    }
    endures(messages);
}

#[test]
fn maps_of_many_keys() {
    let count = 100_000;
    let mut messages = Vec::new();
    for key in [
        b"\xa1k\xc0".as_slice(),
        b"\x01\xc0",
        b"\xa5table\xa0",
        b"\x90\x90",
    ] {
        let map = [map_head(count), key.repeat(count as usize)].concat();
        messages.extend([
            command(132, &[&map, b"\x07", b"\xa3Cat"]),
            command(140, &[b"\xa6node-a", b"\xa4data", b"\x90", &map]),
            command(141, &[&map, b"\x90"]),
            command(145, &[&[b"\x91", map.as_slice()].concat(), b"\xa4data"]),
            command(146, &[&map, b"\xc4\x00"]),
        ]);
    }
    endures(messages);
}

#[test]
fn a_chunk_that_claims_more_than_there_is() {
    let header = ChunkHeader {
        file: "a".into(),
        ..ChunkHeader::default()
    };
    let mut message = chunk(header, b"");
    let body = message.len() - 2;
    message.truncate(body);
    message.extend(b"\xc6\xff\xff\xff\xff");
    message.extend([b'x'; 1000]);
    ends("protocol", |link| link.send(&message));
}

#[test]
fn a_command_that_is_too_large() {
    let name = vec![b'x'; 5 << 20];
    ends("too_large", |link| {
        link.send(&command(145, &[&text(&name)]))
    });
}
