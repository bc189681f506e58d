//! Values as a hostile peer would write them, and values of every kind there and back.

use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use super::*;
use proptest::prelude::*;

fn read(bytes: &[u8]) -> Result<Value, ValueErrorKind> {
    read_with(bytes, &Dictionary::empty())
}

/// All readers, which must agree.
fn read_with(bytes: &[u8], dictionary: &Dictionary) -> Result<Value, ValueErrorKind> {
    let value = RawValue::new(bytes, dictionary);
    let decoded = value.decode();
    let mut json = String::new();
    assert_eq!(
        value.write_json(&mut json, JsonStyle::Tagged).err(),
        decoded.clone().err()
    );
    assert_eq!(value.read_all().err(), decoded.clone().err());
    let mut fields = Vec::new();
    let is_object = value.json_fields(JsonStyle::Tagged, |name, text| {
        fields.push((name.to_string(), text))
    });
    assert_eq!(
        is_object,
        decoded
            .clone()
            .map(|value| matches!(value, Value::Object(_)))
    );
    if let Ok(Value::Object(expected)) = &decoded {
        let names = expected.iter().map(|(name, _)| name);
        assert!(fields.iter().map(|(name, _)| name).eq(names));
        assert!(fields.iter().all(|(_, text)| json.contains(text)));
    }
    decoded.map_err(|error| error.kind)
}

fn typed(list: &[u8]) -> Dictionary {
    Dictionary::decode(Some(list), None).unwrap()
}

fn named(list: &[u8]) -> Dictionary {
    Dictionary::decode(None, Some(list)).unwrap()
}

#[test]
fn nesting_stops_at_the_limit() {
    let depth = MAX_DEPTH as usize;
    let arrays = |count| {
        let mut bytes = vec![0x91; count];
        bytes.push(0xc0);
        bytes
    };
    assert!(read(&arrays(depth)).is_ok());
    assert_eq!(read(&arrays(depth + 1)), Err(ValueErrorKind::TooDeep));
    // Typed structs inside each other's only slot, a byte each.
    let dictionary = typed(b"\x91\x91\x93\x01\x00\xa1o");
    let structs = |count| {
        let mut bytes = vec![0x20; count];
        bytes.push(0xc0);
        bytes
    };
    assert!(read_with(&structs(depth), &dictionary).is_ok());
    assert_eq!(
        read_with(&structs(depth + 1), &dictionary),
        Err(ValueErrorKind::TooDeep)
    );
    // Empty containers are containers too, also at the end.
    let mut records = vec![0x91; depth];
    records.push(0x40);
    assert_eq!(
        read_with(&records, &named(b"\x91\x90")),
        Err(ValueErrorKind::TooDeep)
    );
    // Siblings do not add up.
    let mut siblings = vec![0xdc, 0x01, 0x00];
    siblings.extend([0x90; 256]);
    assert!(read(&siblings).is_ok());
}

#[test]
fn claimed_counts_are_never_trusted() {
    for bytes in [
        &b"\xdd\xff\xff\xff\xff\xc0"[..],
        b"\xdf\xff\xff\xff\xff\xc0\xc0",
        b"\xd4\x72\x40\xdd\xff\xff\xff\xff\xc0",
        b"\xdb\xff\xff\xff\xffa",
        b"\xc9\xff\xff\xff\xff\x0ba",
    ] {
        assert_eq!(
            read(bytes),
            Err(ValueErrorKind::UnexpectedEnd),
            "{bytes:x?}"
        );
    }
    // Every level claims as many elements as there are bytes.
    let mut nested = Vec::new();
    for _ in 0..MAX_DEPTH {
        nested.extend([0xdc, 0xff, 0x00]);
    }
    nested.resize(0x1_0000, 0xc0);
    assert_eq!(read(&nested), Err(ValueErrorKind::UnexpectedEnd));
}

#[test]
fn slots_without_bytes_do_not_multiply() {
    // 16,384 fields that take no byte of the value.
    let mut list = b"\x91\xdc\x40\x00".to_vec();
    for _ in 0..0x4000 {
        list.extend(b"\x93\x03\x00\xa4name");
    }
    let dictionary = typed(&list);
    assert_eq!(
        read_with(b"\x20", &dictionary),
        Err(ValueErrorKind::TooMuchWork)
    );
    // Bytes pay for fields.
    let many_bytes = vec![0x20; 0x1000];
    let value = RawValue::new(&many_bytes, &dictionary);
    assert_eq!(value.read_all().unwrap().fields, 0x4000);
}

#[test]
fn names_used_many_times_are_charged() {
    // One name of 15,000 bytes, used by records of two bytes.
    let mut list = b"\x91\x91\xda\x3a\x98".to_vec();
    list.resize(list.len() + 15_000, b'n');
    let dictionary = named(&list);
    assert!(read_with(b"\x40\xc0", &dictionary).is_ok());
    let mut many = vec![0xdc, 0x20, 0x00];
    for _ in 0..0x2000 {
        many.extend([0x40, 0xc0]);
    }
    assert_eq!(
        read_with(&many, &dictionary),
        Err(ValueErrorKind::TooMuchWork)
    );
    // The same with an inline definition.
    let mut inline = vec![0xdc, 0xff, 0xff, 0xd4, 0x72, 0x40];
    inline.extend(&list[1..]);
    inline.push(0xc0);
    for _ in 1..0xffff {
        inline.extend([0x40, 0xc0]);
    }
    assert_eq!(read(&inline), Err(ValueErrorKind::TooMuchWork));
}

#[test]
fn references_that_overlap_are_refused() {
    let two_texts = typed(b"\x91\x92\x93\x03\x01\xa1a\x93\x03\x01\xa1b");
    for (bytes, start, end) in [
        (&b"\x20\x02\x01ab"[..], 2, 1),
        (b"\x20\x00\x03ab", 0, 3),
        (b"\x20\x03\xf6ab", 3, 2),
    ] {
        let bad = ValueErrorKind::BadReference {
            start,
            end,
            length: 2,
        };
        assert_eq!(read_with(bytes, &two_texts), Err(bad), "{bytes:x?}");
    }
    // A document must fill its part.
    let two_documents = typed(b"\x91\x92\x93\x01\x02\xa1a\x93\x01\x02\xa1b");
    assert_eq!(
        read_with(b"\x20\0\0\x02\0\x01\x01\x01", &two_documents),
        Err(ValueErrorKind::TrailingBytes)
    );
    assert_eq!(
        read_with(b"\x20\0\0\0\0\x01", &two_documents),
        Err(ValueErrorKind::UnexpectedEnd)
    );
}

#[test]
fn definitions_end_with_their_document() {
    let two_documents = typed(b"\x91\x92\x93\x01\x02\xa1a\x93\x01\x02\xa1b");
    let inline_then_reference = b"\x20\0\0\x07\0\xd4\x72\x40\x91\xa1x\x01\x40\x02";
    assert_eq!(
        read_with(inline_then_reference, &two_documents),
        Err(ValueErrorKind::UnknownRecord(0))
    );
    // And one that is read lazily knows the definitions before it.
    let bytes = b"\xd4\x72\x40\x92\xa1a\xa1b\xd4\x72\x41\x91\xa1x\x01\x41\x02";
    let dictionary = Dictionary::empty();
    let field = RawValue::new(bytes, &dictionary)
        .field("b")
        .unwrap()
        .unwrap();
    let x = field.field("x").unwrap().unwrap();
    assert_eq!(x.as_f64(), Some(2.0));
}

#[test]
fn definitions_of_every_malformed_kind_are_refused() {
    for bytes in [
        &b"\xd4\x72\x00\x90"[..],
        b"\xd4\x72\x80\x90",
        b"\xd5\x72\x40\x00\x90",
        b"\xd6\x72\x40\x40\x40\x40\x90",
        b"\xd4\x72\x40\x91\x90\x01",
        b"\xd4\x72\x40\xa1a",
    ] {
        assert_eq!(
            read(bytes),
            Err(ValueErrorKind::BadDefinition),
            "{bytes:x?}"
        );
    }
    // In the control profile there are none.
    let control = RawValue::control(b"\xd4\x72\x40\x90").decode();
    assert_eq!(
        control.unwrap_err().kind,
        ValueErrorKind::UnknownExtension(0x72)
    );
}

#[test]
fn a_thousand_definitions_are_cheap() {
    // Two-byte ids from the highest down, each defined and used, in 8 KiB.
    let mut bytes = vec![0xdc, 0x04, 0x00];
    for id in (0..0x400_u16).rev() {
        let (low, high) = (0x60 | (id % 32) as u8, (id / 32) as u8);
        bytes.extend([0xd5, 0x72, low, high, 0x91, 0xa1, b'n', 0xc0]);
    }
    let Ok(Value::Array(records)) = read(&bytes) else {
        panic!("valid");
    };
    assert_eq!(records.len(), 0x400);
}

#[test]
fn the_first_byte_depends_on_the_profile() {
    assert_eq!(read(b"\x3c"), Err(ValueErrorKind::ReservedByte(0x3c)));
    assert_eq!(read(b"\xc1"), Err(ValueErrorKind::ReservedByte(0xc1)));
    assert_eq!(read(b"\x20"), Err(ValueErrorKind::UnknownStructure(0)));
    assert_eq!(
        read(b"\x3b\xff\xff\xff\xff"),
        Err(ValueErrorKind::UnknownStructure(u32::MAX))
    );
    assert_eq!(read(b""), Err(ValueErrorKind::UnexpectedEnd));
    let control = RawValue::control(b"\x3c").decode();
    assert_eq!(control, Ok(Value::Number(60.0)));
}

#[test]
fn the_name_proto_is_renamed_and_tags_are_told_from_names() {
    let dictionary = named(b"\x92\x91\xa9__proto__\x91\xa4$set");
    let renamed = read_with(b"\x40\x01", &dictionary).unwrap();
    assert_eq!(renamed.get("__proto_"), Some(&Value::Number(1.0)));
    let json = |bytes: &[u8]| {
        let mut json = String::new();
        RawValue::new(bytes, &dictionary)
            .write_json(&mut json, JsonStyle::Natural)
            .unwrap();
        json
    };
    assert_eq!(json(b"\x41\x01"), r#"{"$object":[["$set",1]]}"#);
    assert_eq!(
        json(b"\xd4\x72\x40\x91\xa2$a\x01"),
        r#"{"$object":[["$a",1]]}"#
    );
    let mut control = String::new();
    RawValue::control(b"\x82\xa1a\x81\xa2$b\x80\xa1c\x01")
        .write_json(&mut control, JsonStyle::Natural)
        .unwrap();
    assert_eq!(control, r#"{"a":{"$object":[["$b",{}]]},"c":1}"#);
}

#[test]
fn of_fields_with_one_name_the_last_counts() {
    let dictionary = named(b"\x91\x93\xa1a\xa1b\xa1a");
    for bytes in [
        &b"\x40\x01\x02\x03"[..],
        b"\xd4\x72\x40\x93\xa1a\xa1b\xa1a\x01\x02\x03",
    ] {
        let value = RawValue::new(bytes, &dictionary);
        let field = value.field("a").unwrap().unwrap();
        assert_eq!(field.as_f64(), Some(3.0));
        let decoded = value.decode().unwrap();
        assert_eq!(decoded.get("a"), Some(&Value::Number(3.0)));
    }
    let map = RawValue::control(b"\x82\xa1a\x01\xa1a\x91\x02");
    let field = map.field("a").unwrap().unwrap();
    assert_eq!(field.decode(), Ok(Value::Array(vec![Value::Number(2.0)])));
}

#[test]
fn long_bigints_are_written_quickly_and_in_full() {
    let mut bytes = b"\xc9\x00\x10\x00\x00\x42".to_vec();
    bytes.resize(bytes.len() + 0x10_0000, 0x7f);
    let mut json = String::new();
    RawValue::new(&bytes, &Dictionary::empty())
        .write_json(&mut json, JsonStyle::Natural)
        .unwrap();
    assert!(json.starts_with(r#"{"$bigint":"0x7f7f"#));
    assert_eq!(json.len(), r#"{"$bigint":"0x"}"#.len() + 0x20_0000);
}

#[test]
fn what_an_encoder_refuses() {
    let too_long = Value::BigInt("18446744073709551616".parse().unwrap());
    assert_eq!(
        too_long.encode(Profile::Control),
        Err(EncodeError::BigIntTooLong)
    );
    assert!(too_long.encode(Profile::Table).is_ok());
    let mut deep = Value::Null;
    for _ in 0..MAX_DEPTH {
        deep = Value::Array(vec![deep]);
    }
    assert!(deep.encode(Profile::Table).is_ok());
    let deeper = Value::Array(vec![deep]);
    assert_eq!(deeper.encode(Profile::Table), Err(EncodeError::TooDeep));
    let wide = (0..0x1_0000).map(|at| (at.to_string(), Value::Null));
    let wide = Value::Object(wide.collect());
    assert_eq!(wide.encode(Profile::Control), Err(EncodeError::TooLong));
    assert!(wide.encode(Profile::Table).is_ok());
}

#[test]
fn more_shapes_than_record_ids_are_redefined() {
    let shape = |at: usize| Value::Object(vec![(at.to_string(), Value::Null)]);
    let shapes: Vec<Value> = (0..150).map(|at| shape(at % 100)).collect();
    let value = Value::Array(shapes);
    let bytes = value.encode(Profile::Table).unwrap();
    assert_eq!(read(&bytes), Ok(value));
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        Just(Value::Undefined),
        any::<bool>().prop_map(Value::Bool),
        any::<i32>().prop_map(|value| Value::Number(value.into())),
        any::<f64>()
            .prop_filter("-0 loses its sign", |value| value.to_bits() != 1 << 63)
            .prop_filter("NaN is not equal to itself", |value| !value.is_nan())
            .prop_map(Value::Number),
        any::<i128>().prop_map(|value| Value::BigInt(value.into())),
        ".{0,40}".prop_map(Value::Text),
        prop::collection::vec(any::<u8>(), 0..300).prop_map(Value::Bytes),
        (-8_640_000_000_000_000_i64..=8_640_000_000_000_000)
            .prop_map(|milliseconds| Value::Date(milliseconds as f64)),
        prop::collection::vec(any::<u8>(), 0..20).prop_map(Value::Blob),
    ]
}

fn tree() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(5, 60, 8, |inner| {
        let pairs = prop::collection::vec((inner.clone(), inner.clone()), 0..4);
        let fields = prop::collection::btree_map("[a-c$_]{0,3}", inner.clone(), 0..5);
        prop_oneof![
            prop::collection::vec(inner, 0..20).prop_map(Value::Array),
            pairs.prop_map(Value::Map),
            fields.prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn values_round_trip(value in tree()) {
        let bytes = value.encode(Profile::Table).unwrap();
        prop_assert_eq!(read(&bytes), Ok(value));
    }

    #[test]
    fn fields_that_are_read_lazily_are_those_of_the_whole(
        fields in prop::collection::btree_map("[a-c$_]{1,3}", tree(), 0..8),
    ) {
        let value = Value::Object(fields.clone().into_iter().collect());
        let bytes = value.encode(Profile::Table).unwrap();
        let dictionary = Dictionary::default();
        let raw = RawValue::new(&bytes, &dictionary);
        for (name, expected) in fields {
            let field = raw.field(&name).unwrap().expect("it is there");
            prop_assert_eq!(field.decode().unwrap(), expected);
        }
        prop_assert!(raw.field("d").unwrap().is_none());
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        let dictionary = Dictionary::decode(
            Some(b"\x91\x95\x93\x03\x00\xa1a\x93\x00\x04\xa1b\x93\x01\x02\xa1c\x93\x02\x01\xa1d\x93\x01\x01\xa1e"),
            Some(b"\x92\x92\xa1a\xa1b\x90"),
        ).unwrap();
        let _ = read_with(&bytes, &dictionary);
        let value = RawValue::new(&bytes, &dictionary);
        for name in ["a", "b", "c", "d", "e"] {
            if let Ok(Some(field)) = value.field(name) {
                let _ = field.decode();
            }
        }
        let _ = value.blob_references(|_| {});
        let _ = RawValue::control(&bytes).decode();
        let _ = BlobExtension::parse(&bytes);
        let _ = Dictionary::decode(Some(&bytes), Some(&bytes));
    }
}
