use super::*;
use alloc::{format, vec};
use proptest::prelude::*;

/// Hex text to bytes, spaces ignored.
fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|b| *b != b' ').collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(core::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

#[test]
fn the_protocols_examples() {
    let bytes =
        hex("c0001211 80c8 05 04 13ff0000 42796d05e4468000 07 42796d09532e8000 00 de0001a16e01");
    let entry = Entry::parse(&bytes).unwrap();
    assert_eq!((entry.kind, entry.node, entry.table), (1, 200, 5));
    assert_eq!(entry.optional.residency, Some(7));
    assert!(entry.optional.expires_at.is_some());
    assert_eq!(&bytes[entry.key.range()], hex("13ff0000"));
    assert_eq!(&bytes[entry.value.range()], hex("de0001a16e01"));

    let bytes =
        hex("c0004011 00 05 02 6b31 42796d05e4468000 01 42796d05e4080000 02 00 de0001a16e01");
    let entry = Entry::parse(&bytes).unwrap();
    assert_eq!(&bytes[entry.key.range()], b"k1");
    assert_eq!(&bytes[entry.value.range()], hex("de0001a16e01"));

    let mut with_previous = hex("42796d05e4468000");
    with_previous.extend(hex("02 03 05 02 6b31 42796d05e4468000 00"));
    let entry = Entry::parse(&with_previous).unwrap();
    assert_eq!((entry.kind, entry.node), (2, 3));
    assert!(entry.value.range().is_empty());
}

#[test]
fn impossible_first_bytes() {
    for first in 0..=255u8 {
        let possible = matches!(first, 0x01..=0x3f if first & 0x0f != 0)
            || matches!(first, 0xc0..=0xfe)
            || first == 0x42;
        let bytes = vec![first; 40];
        match Action::parse(&bytes) {
            Err(WireError::EntryStart(_)) => assert!(!possible || first == 0x42),
            result => assert!(possible && result.is_ok(), "{first:#x}"),
        }
    }
}

#[test]
fn lengths_are_checked_against_the_entry() {
    let bytes = hex("11 00 05 7f 6b31 42796d05e4468000 00");
    assert_eq!(
        Entry::parse(&bytes),
        Err(WireError::Overrun("the record id"))
    );
}

#[test]
fn a_version_or_a_date_that_is_no_time_is_for_others_to_judge() {
    for number in ["7ff0000000000000", "fff0000000000000", "7ff8000000000000"] {
        let entry = Entry::parse(&hex(&format!("11 00 05 00 {number} 00 c0"))).unwrap();
        assert!(!entry.version.is_finite());
        assert_eq!(entry.value.range(), 13..14);

        let with_date = hex(&format!(
            "c0001011 00 05 00 42796d05e4468000 {number} 00 c0"
        ));
        let entry = Entry::parse(&with_date).unwrap();
        assert_eq!(entry.optional.expires_at, None);
        assert!(entry.version.is_finite());
        assert_eq!(entry.value.range(), with_date.len() - 1..with_date.len());
    }
}

#[test]
fn the_head_needs_nothing_behind_the_version() {
    let head = |bytes: &[u8]| Entry::parse_head(Action::parse(bytes)?, bytes);
    let bytes = hex("c0005011 80c8 05 02 6b31 42796d05e4468000");
    let entry = head(&bytes).unwrap();
    assert_eq!((entry.node, entry.table), (200, 5));
    assert_eq!(&bytes[entry.key.range()], b"k1");
    assert!(entry.version.is_finite());
    assert!(head(&bytes[..bytes.len() - 1]).is_err());

    let long_id = hex("11 00 05 c0004000");
    let entry = head(&long_id).unwrap();
    assert!(entry.key.range().is_empty() && entry.version.is_nan());
}

fn rare<S: Strategy>(some: S) -> impl Strategy<Value = Option<S::Value>>
where
    S::Value: Clone,
{
    prop::option::weighted(0.2, some)
}

/// Half of them of one byte.
fn number() -> impl Strategy<Value = u32> {
    prop_oneof![0..0x80_u32, any::<u32>()]
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        kind in 1..=6u8,
        node in number(),
        table in number(),
        key in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..20),
            prop::collection::vec(any::<u8>(), 0..300),
        ],
        version in prop::num::f64::NORMAL,
        residency in rare(any::<u32>()),
        previous_residency in rare(any::<u32>()),
        expires_at in rare(prop::num::f64::NORMAL),
        operation in rare(1..=4u32),
        user in prop::collection::vec(any::<u8>(), 0..20),
        value in prop::collection::vec(any::<u8>(), 0..50),
        unknown_flag: bool,
    ) {
        let flags = if value.is_empty() { Flags::default() } else { Flags::FULL };
        let flags = if unknown_flag { flags.with(Flags(0x10_0000)) } else { flags };
        let new = NewEntry {
            kind, flags, node, table, key: &key, version, residency, previous_residency, expires_at, operation,
            user: &user, value: &value,
        };
        let mut bytes = Vec::new();
        new.encode(&mut bytes);
        let entry = Entry::parse(&bytes).unwrap();
        prop_assert_eq!((entry.kind, entry.node, entry.table), (kind, node, table));
        prop_assert_eq!(&bytes[entry.key.range()], &key[..]);
        prop_assert_eq!(entry.version, version);
        prop_assert_eq!(entry.optional.residency, residency);
        prop_assert_eq!(entry.optional.previous_residency, previous_residency);
        prop_assert_eq!(entry.optional.expires_at, expires_at);
        prop_assert_eq!(entry.optional.operation, operation.unwrap_or(0));
        prop_assert_eq!(&bytes[entry.user.range()], &user[..]);
        prop_assert_eq!(&bytes[entry.value.range()], &value[..]);
        let header = bytes.len() - value.len();
        for end in 0..header {
            prop_assert!(Entry::parse(&bytes[..end]).is_err());
        }
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes: Vec<u8>) {
        let _ = Entry::parse(&bytes);
    }
}
