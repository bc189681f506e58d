use super::*;
use alloc::string::ToString;
use core::cmp::Ordering;
use proptest::prelude::*;

fn text(text: &str) -> Key {
    Key::Text(text.into())
}

fn big(decimal: &str) -> Key {
    Key::BigInt(decimal.parse().unwrap())
}

#[test]
fn the_documented_examples() {
    let cases: [(Key, &[u8]); 17] = [
        (Key::Null, b"\x00"),
        (Key::Bool(false), b"\x06"),
        (Key::Bool(true), b"\x07"),
        (Key::Number(0.0), b"\x10\0\0\0"),
        (Key::Number(1.0), b"\x13\xff\0\0"),
        (Key::Number(-1.0), b"\x0c\0\xff\xff\xff\xff\xff\xff\xf0"),
        (Key::Number(0.1), b"\x13\xfb\x99\x99\x99\x99\x99\x99\xa0"),
        (Key::Number(f64::INFINITY), b"\x17\xff\0\0"),
        (
            Key::Number(f64::NEG_INFINITY),
            b"\x08\0\xff\xff\xff\xff\xff\xff\xf0",
        ),
        (big("9007199254740993"), b"\x14\x34\0\0\0\0\0\0\x08\x80"),
        (
            big("-9007199254740993"),
            b"\x0b\xcb\xff\xff\xff\xff\xff\xff\xe8\x80",
        ),
        (
            big("18446744073709551615"),
            b"\x14\x3e\xff\xff\xff\xff\xff\xff\xff\xff",
        ),
        (text(""), b"\x1b"),
        (text("a\0b"), b"a\x04\0b"),
        (text("\x1b"), b"\x1b\x1b"),
        (Key::Symbol("x".into()), b"\x02x"),
        (
            Key::Array(Vec::from([text("a"), Key::Number(-1.5)])),
            b"a\0\x0c\0\x7f\xff\xff\xff\xff\xff\xf0",
        ),
    ];
    for (key, bytes) in cases {
        assert_eq!(key.encode().as_deref(), Ok(bytes), "{key:?}");
        assert_eq!(Key::decode(bytes).as_ref(), Ok(&key), "{bytes:x?}");
    }
}

#[test]
fn minus_zero_and_late_nulls_are_read_better_than_by_the_reference() {
    let minus_zero = Key::decode(b"\x18\0\0\0").unwrap();
    assert!(matches!(minus_zero, Key::Number(value) if value.is_sign_negative()));
    let nulls = Key::Array(Vec::from([Key::Null, Key::Null, Key::Null]));
    assert_eq!(Key::decode(&[0; 5]), Ok(nulls));
}

#[test]
fn long_text_is_not_escaped() {
    let long = "x".repeat(64) + "\x05";
    assert_eq!(text(&long).encode().as_deref(), Ok(long.as_bytes()));
    // 32 characters of two units each.
    let astral = "😀".repeat(32) + "\x01";
    let error = text(&astral).encode().unwrap_err();
    assert_eq!(error.kind, KeyErrorKind::Unwritable);
    // What the peers write for such text reads back as far as it can.
    let raw = "x".repeat(64) + "\x04y\x01z";
    assert_eq!(Key::decode(raw.as_bytes()), Ok(text(&raw)));
}

#[test]
fn malformed_keys_are_named_with_their_place() {
    let malformed: [(&[u8], KeyErrorKind, usize); 9] = [
        (b"", KeyErrorKind::Empty, 0),
        (b"a\0", KeyErrorKind::UnexpectedEnd, 2),
        (b"\x19", KeyErrorKind::BadFirstByte(0x19), 0),
        (b"a\0\x05", KeyErrorKind::BadFirstByte(5), 2),
        (b"\x06a", KeyErrorKind::BadSeparator(b'a'), 1),
        (b"a\0\x13\xff\0\0", KeyErrorKind::UnexpectedEnd, 2),
        (b"\x18\0\0\x01", KeyErrorKind::BadNumber, 0),
        (b"\x14\x34\0\0\0\0\0\0\x08", KeyErrorKind::BadNumber, 0),
        // Bits below one are no part of an integer.
        (b"\x13\xff\0\0\0\0\0\0\x01\x80", KeyErrorKind::BadNumber, 0),
    ];
    for (bytes, kind, offset) in malformed {
        assert_eq!(
            Key::decode(bytes),
            Err(KeyError { kind, offset }),
            "{bytes:x?}"
        );
    }
}

#[test]
fn endless_bits_of_a_bigint_are_refused() {
    let mut key = Vec::from(*b"\x14\x34\0\0\0\0\0\0\x08");
    key.resize(KEY_BYTES_MAX, 0x80);
    assert_eq!(Key::decode(&key).unwrap_err().kind, KeyErrorKind::BadNumber);
}

#[test]
fn what_cannot_be_written_is_an_error() {
    let beyond_doubles = Key::BigInt(BigInt::from_limbs(false, alloc::vec![1; 17]));
    for key in [
        beyond_doubles,
        Key::Array(Vec::new()),
        Key::Bytes(b"A".to_vec()),
        Key::Array(Vec::from([Key::Null, Key::Bytes(b"\x01".to_vec())])),
    ] {
        assert_eq!(key.encode().unwrap_err().kind, KeyErrorKind::Unwritable);
    }
    assert!(text(&"x".repeat(KEY_BYTES_MAX)).encode().is_ok());
    let error = text(&"x".repeat(KEY_BYTES_MAX + 1)).encode().unwrap_err();
    assert_eq!(error.kind, KeyErrorKind::TooLong);
}

#[test]
fn user_names_are_text() {
    assert_eq!(decode_text(b"caf\xc3\xa9").unwrap(), "café");
    assert!(matches!(decode_text(b"user"), Ok(Cow::Borrowed("user"))));
    assert_eq!(decode_text(b"\x1b\x04\x03x").unwrap(), "\x03x");
    assert_eq!(decode_text(b"\xff").unwrap(), "\u{fffd}");
    for (bytes, kind) in [
        (&b""[..], KeyErrorKind::Empty),
        (b"\x13\xff\0\0", KeyErrorKind::NotText),
        (b"a\0b", KeyErrorKind::NotText),
    ] {
        assert_eq!(decode_text(bytes).unwrap_err().kind, kind);
    }
}

#[test]
fn json_and_control_forms() {
    let key = Key::Array(Vec::from([
        text("a\""),
        Key::Number(1.5),
        big("9007199254740993"),
        Key::Null,
    ]));
    let mut json = String::new();
    key.write_json(&mut json, JsonStyle::Natural);
    assert_eq!(json, r#"["a\"",1.5,{"$bigint":"9007199254740993"},null]"#);

    let mut control = b"before".to_vec();
    key.write_control(&mut control).unwrap();
    let expected = b"before\x94\xa2a\"\xcb\x3f\xf8\0\0\0\0\0\0\xd3\0\x20\0\0\0\0\0\x01\xc0";
    assert_eq!(control, expected);
    for unwritable in [Key::Symbol("s".into()), big("36893488147419103233")] {
        assert!(unwritable.write_control(&mut control).is_err());
        assert_eq!(control, expected);
    }
}

fn order(a: &Key, b: &Key) -> Ordering {
    match (a, b) {
        (Key::Number(a), Key::Number(b)) => a.partial_cmp(b).unwrap(),
        (Key::Text(a), Key::Text(b)) => a.cmp(b),
        (Key::Bool(a), Key::Bool(b)) => a.cmp(b),
        (Key::BigInt(a), Key::BigInt(b)) => a.to_i128().cmp(&b.to_i128()),
        _ => rank(a).cmp(&rank(b)),
    }
}

fn rank(key: &Key) -> u8 {
    match key {
        Key::Null => 0,
        Key::Symbol(_) => 1,
        Key::Bool(_) => 2,
        Key::Number(_) | Key::BigInt(_) => 3,
        _ => 4,
    }
}

prop_compose! {
    fn short_text()(units in prop::collection::vec(prop_oneof![0..8_u32, 0..0x300_u32], 0..40)) -> String {
        units.into_iter().filter_map(char::from_u32).collect()
    }
}

fn scalar() -> impl Strategy<Value = Key> {
    let whole = any::<i32>().prop_map(|value| Key::Number(value.into()));
    let double = any::<f64>()
        .prop_filter("NaN and -0 have no order", |v| !v.is_nan() && *v != 0.0)
        .prop_map(Key::Number);
    prop_oneof![
        Just(Key::Null),
        any::<bool>().prop_map(Key::Bool),
        whole,
        double,
        short_text().prop_map(Key::Text),
    ]
}

/// Odd and above 2^53, so that no double holds it.
fn odd_bigint() -> impl Strategy<Value = Key> {
    any::<i128>()
        .prop_map(|value| value >> (value as u32 % 70) | 1)
        .prop_filter("held by a double", |value| value.unsigned_abs() >> 53 != 0)
        .prop_map(|value| Key::BigInt(value.into()))
}

proptest! {
    #[test]
    fn encoded_order_is_value_order(a in scalar(), b in scalar()) {
        prop_assert_eq!(a.encode().unwrap().cmp(&b.encode().unwrap()), order(&a, &b));
    }

    #[test]
    fn bigints_are_ordered_among_themselves(a in odd_bigint(), b in odd_bigint()) {
        prop_assert_eq!(a.encode().unwrap().cmp(&b.encode().unwrap()), order(&a, &b));
    }

    #[test]
    fn keys_round_trip(elements in prop::collection::vec(prop_oneof![scalar(), odd_bigint()], 1..5)) {
        let key = match <[Key; 1]>::try_from(elements) {
            Ok([single]) => single,
            Err(several) => Key::Array(several),
        };
        let encoded = key.encode().unwrap();
        prop_assert_eq!(Key::decode(&encoded), Ok(key));
    }

    #[test]
    fn long_bigints_round_trip(limbs in prop::collection::vec(any::<u64>(), 2..15), negative: bool) {
        let mut limbs = limbs;
        limbs[0] |= 1;
        let key = Key::BigInt(BigInt::from_limbs(negative, limbs));
        if let Key::BigInt(value) = &key && value.bits() > 53 {
            prop_assert_eq!(Key::decode(&key.encode().unwrap()), Ok(key));
        }
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        if let Ok(key) = Key::decode(&bytes) {
            let mut json = String::new();
            key.write_json(&mut json, JsonStyle::Tagged);
            prop_assert!(!json.is_empty());
        }
        if let Err(error) = Key::decode(&bytes) {
            prop_assert!(error.offset <= bytes.len(), "{}", error.to_string());
        }
        let mut expected = String::from("before");
        let decoded = Key::decode(&bytes).map(|key| key.write_json(&mut expected, JsonStyle::Tagged));
        let mut json = String::from("before");
        prop_assert_eq!(write_json(&bytes, &mut json, JsonStyle::Tagged), decoded);
        prop_assert_eq!(json, expected);
        let _ = decode_text(&bytes);
    }
}
