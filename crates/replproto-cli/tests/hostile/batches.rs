//! Transactions: their lengths, their entries, and everything in an entry but its value.

use replproto_core::wire::varint;

use crate::case::{Case, ends, survives};
use crate::wire::{
    BINARY, Entry, GOOD, LOCAL_ONLY, TIME, batch, field, frame, put, structure, text,
};

/// Batches of one item each; each ends its link for this cause.
fn each_ends(items: &[&[u8]], cause: &str) {
    for item in items {
        println!("{}", item.escape_ascii());
        ends(cause, |link| {
            link.send(&batch(&[item.to_vec()], Some(TIME)))
        });
    }
}

#[test]
fn items_that_are_no_entries() {
    each_ends(
        &[
            b"",
            b"\x11",
            b"\x00\x00\x00",
            b"\x40\x00\x00",
            b"\x7f\x00\x00",
            b"\xff\xff\xff\xff\xff",
            b"\x11\x00\x01\xbf\xff",
            b"\x11\x00\x01\xff\xff\xff\xff\xff",
            // Terminators with numbers that are none.
            b"\x0b\x7f\xf8\0\0\0\0\0\0",
            b"\x0b\xff\xf0\0\0\0\0\0\0",
        ],
        "protocol",
    );
}

#[test]
fn lengths_that_nothing_could_have() {
    for length in [b"\xff\xff\xff\xff\xff", b"\xff\x3f\x00\x00\x00"] {
        ends("protocol", |link| {
            let mut message = batch(&[], None);
            message.extend_from_slice(length);
            message.extend([0; 100]);
            link.send(&message);
        });
    }
}

#[test]
fn numbers_in_their_longest_form() {
    let end = survives(|link| {
        let mut entry = b"\xc0\x00\x00\x11\xff\0\0\0\0\xff\0\0\0\x01\xff\0\0\0\x02k1".to_vec();
        entry.extend(TIME.to_be_bytes());
        entry.extend(b"\xff\0\0\0\0");
        entry.extend_from_slice(GOOD);
        let mut message = TIME.to_be_bytes().to_vec();
        message.push(0xff);
        message.extend((entry.len() as u32).to_be_bytes());
        message.extend(entry);
        link.send(&message);
    });
    assert_eq!(end.number("SELECT count(*) FROM Dog"), 2);
}

#[test]
fn one_record_again_and_again_in_one_transaction() {
    survives(|link| {
        let message = batch(&[Entry::put(b"k1", GOOD).bytes()], None);
        link.flood(&frame(BINARY, &message), 30_000);
    });
}

#[test]
fn a_transaction_in_one_message_of_many_entries() {
    let end = survives(|link| {
        let entries = vec![Entry::put(b"k1", GOOD).bytes(); 100_000];
        link.send(&batch(&entries, Some(TIME)));
    });
    assert_eq!(end.number("SELECT count(*) FROM Dog"), 2);
}

#[test]
fn entries_that_are_not_for_us() {
    survives(|link| {
        let local = Entry {
            action: 0x11 | LOCAL_ONLY,
            ..Entry::put(b"k1", GOOD)
        };
        let unknown = Entry {
            action: 0x1e,
            ..Entry::put(b"k1", GOOD)
        };
        // A terminator that is cut is an entry of a type that nobody knows.
        link.send(&batch(&[b"\x0b\0\0\0\0\0\0\0".to_vec()], None));
        for entry in [local, unknown] {
            link.flood(&frame(BINARY, &batch(&[entry.bytes()], None)), 30_000);
        }
    });
}

#[test]
fn values_that_are_none() {
    let end = survives(|link| {
        let message = batch(&[Entry::put(b"k1", b"\xc1").bytes()], None);
        link.flood(&frame(BINARY, &message), 30_000);
    });
    assert_eq!(end.skipped(), 30_000);
    assert_eq!(end.number("SELECT count(*) FROM _replproto_skipped"), 1000);
}

#[test]
fn ids_and_users_of_all_kinds() {
    let long = vec![b'a'; 1 << 20];
    let nested: Vec<u8> = b"\x1f".repeat(100_000);
    let end = survives(|link| {
        let keys: [&[u8]; 12] = [
            b"",
            b"\0",
            b"\x01",
            b"\x1b",
            b"\xff\xff",
            b"\x17\xff",
            b"a\0b",
            b"a\0\0b",
            b"\x0f",
            b"\x02sym",
            &long,
            &nested,
        ];
        for key in keys {
            for user in keys {
                let entry = Entry {
                    user,
                    ..Entry::put(key, GOOD)
                };
                link.send(&batch(&[entry.bytes()], None));
            }
        }
    });
    assert_eq!(
        end.number("SELECT count(*) FROM pragma_integrity_check WHERE integrity_check = 'ok'"),
        1
    );
}

#[test]
fn versions_and_expiry_dates_that_are_no_numbers() {
    let dates = [
        f64::NAN,
        -f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        -1.0,
        0.0,
        f64::MAX,
        f64::MIN_POSITIVE,
    ];
    let expires = 0x1000;
    let end = survives(|link| {
        for (number, date) in dates.into_iter().enumerate() {
            let key = format!("v{number}");
            let versioned = Entry {
                version: date,
                ..Entry::put(key.as_bytes(), GOOD)
            };
            link.send(&batch(&[versioned.bytes()], None));
            let key = format!("e{number}");
            let mut entry = Entry {
                action: 0x11 | expires,
                ..Entry::put(key.as_bytes(), &[])
            }
            .bytes();
            // The date comes before the user, who is nobody.
            entry.pop();
            entry.extend(date.to_be_bytes());
            entry.push(0);
            entry.extend_from_slice(GOOD);
            link.send(&batch(&[entry], Some(TIME)));
        }
    });
    assert_eq!(
        end.number("SELECT count(*) FROM Dog WHERE id LIKE '\"e%'"),
        8,
        "{}",
        end.log
    );
    assert_eq!(
        end.number("SELECT count(*) FROM Dog WHERE id LIKE '\"e%' AND expires_at IS NULL"),
        4
    );
    assert_eq!(end.skipped(), 4);
}

#[test]
fn records_of_tables_and_nodes_that_nobody_has_named() {
    ends("missing", |link| {
        let entry = Entry {
            table: 7,
            ..Entry::put(b"k1", GOOD)
        };
        link.send(&batch(&[entry.bytes()], Some(TIME)));
    });
    ends("missing", |link| {
        let mut entry = Entry::put(b"k1", GOOD).bytes();
        entry[1] = 9;
        link.send(&batch(&[entry], Some(TIME)));
    });
}

#[test]
fn a_thousand_tables_in_one_transaction() {
    let end = survives(|link| {
        for table in 2..1002 {
            link.send(&structure(table, &format!("T{table}"), &[&["k"]], None));
        }
        let entries: Vec<Vec<u8>> = (0..20_000)
            .map(|number| {
                let entry = Entry {
                    table: 2 + number % 1000,
                    ..Entry::put(b"k1", GOOD)
                };
                entry.bytes()
            })
            .collect();
        link.send(&batch(&entries, Some(TIME)));
    });
    assert_eq!(end.number("SELECT count(*) FROM T1001"), 1);
}

#[test]
fn a_length_in_pieces_over_many_messages() {
    ends("protocol", |link| {
        for length in [1, 2, 3] {
            let mut message = batch(&[], None);
            let mut bytes = Vec::new();
            varint::encode(1_000_000, &mut bytes);
            message.extend_from_slice(&bytes[..length]);
            link.send(&message);
        }
    });
}

#[test]
fn a_record_as_large_as_it_may_be_and_one_byte_more() {
    let most = 16 << 20;
    let case = Case::start();
    let link = case.link();
    for (key, length) in [("k1", most), ("k2", most + 1), ("k3", 10)] {
        let overhead = Entry::put(key.as_bytes(), &field(&text(b""))).bytes().len();
        let value = field(&text(&vec![b'x'; length - overhead.min(length)]));
        link.send(&put(key.as_bytes(), &value, TIME + 1.0));
    }
    let end = case.end_with_last(&link, most);
    assert_eq!(
        end.texts("SELECT id FROM Dog ORDER BY id"),
        ["\"k1\"", "\"k3\"", "\"last\""]
    );
    assert_eq!(end.skipped(), 1);
}
