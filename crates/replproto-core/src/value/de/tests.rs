use super::*;
use crate::value::{Dictionary, Profile, RawValue, Value};
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

fn number(value: f64) -> Value {
    Value::Number(value)
}

fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    Value::Object(fields.map(|(name, value)| (name.into(), value)).into())
}

fn encoded(value: &Value) -> Vec<u8> {
    value.encode(Profile::Table).unwrap()
}

/// `T` from the bytes of a value.
fn read<T: for<'a> Deserialize<'a>>(value: &Value) -> Result<T, ValueError> {
    let bytes = encoded(value);
    let dictionary = Dictionary::empty();
    RawValue::new(&bytes, &dictionary).deserialize()
}

#[derive(Debug, PartialEq, Deserialize)]
struct Reading<'a> {
    id: &'a str,
    count: u32,
    level: f64,
    missing: Option<u8>,
    gone: Option<u8>,
    place: Place,
    tags: Vec<String>,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Place {
    lat: f32,
}

#[test]
fn structs_borrow_text_and_skip_what_they_do_not_know() {
    let value = object([
        (
            "unknown",
            Value::Array(vec![object([("deep", Value::Null)])]),
        ),
        ("id", Value::Text("dev-1".into())),
        ("count", number(7.0)),
        ("level", number(2.0)),
        ("gone", Value::Undefined),
        (
            "place",
            object([("lat", number(0.5)), ("lng", Value::Null)]),
        ),
        ("tags", Value::Array(vec![Value::Text("a".into())])),
    ]);
    let bytes = encoded(&value);
    let dictionary = Dictionary::empty();
    let reading: Reading<'_> = RawValue::new(&bytes, &dictionary).deserialize().unwrap();
    let expected = Reading {
        id: "dev-1",
        count: 7,
        level: 2.0,
        missing: None,
        gone: None,
        place: Place { lat: 0.5 },
        tags: vec!["a".into()],
    };
    assert_eq!(reading, expected);
}

#[test]
fn bigints_become_the_integer_that_holds_them() {
    assert_eq!(read(&Value::BigInt(5_u64.into())), Ok(5_u8));
    assert_eq!(read(&Value::BigInt(i64::MIN.into())), Ok(i64::MIN));
    assert_eq!(read(&Value::BigInt(u64::MAX.into())), Ok(u64::MAX));
    assert_eq!(read(&Value::BigInt(i128::MIN.into())), Ok(i128::MIN));
    assert_eq!(read(&Value::BigInt(u128::MAX.into())), Ok(u128::MAX));
    let beyond = "340282366920938463463374607431768211456";
    let value = Value::BigInt(beyond.parse().unwrap());
    assert_eq!(read(&value), Ok(String::from(beyond)));
    assert!(read::<u64>(&Value::BigInt((-1_i64).into())).is_err());
}

#[test]
fn numbers_are_integers_where_they_are_whole() {
    assert_eq!(read(&number(-3.0)), Ok(-3_i16));
    assert_eq!(read(&number(3.0)), Ok(3.0_f64));
    assert_eq!(read(&number(1e300)), Ok(1e300_f64));
    assert!(read::<u32>(&number(0.5)).is_err());
    assert!(read::<u8>(&number(256.0)).is_err());
    assert!(read::<u64>(&number(f64::INFINITY)).is_err());
    assert_eq!(read(&Value::Date(1500.0)), Ok(1500_i64));
    assert!(read::<f64>(&Value::Date(f64::NAN)).unwrap().is_nan());
}

#[test]
fn containers_of_every_kind() {
    let bytes = Value::Bytes(vec![1, 2, 3]);
    assert_eq!(read(&bytes), Ok(vec![1_u8, 2, 3]));
    let raw = encoded(&bytes);
    let dictionary = Dictionary::empty();
    let borrowed: &[u8] = RawValue::new(&raw, &dictionary).deserialize().unwrap();
    assert_eq!(borrowed, [1, 2, 3]);

    let map = Value::Map(vec![(number(1.0), Value::Text("one".into()))]);
    assert_eq!(read(&map), Ok(BTreeMap::from([(1, String::from("one"))])));
    let object = object([("a", number(1.0)), ("b", number(2.0))]);
    let fields = BTreeMap::from([(String::from("a"), 1), (String::from("b"), 2)]);
    assert_eq!(read(&object), Ok(fields));
    // A tuple shorter than the array leaves the rest.
    let array = Value::Array(vec![number(1.0), Value::Array(vec![]), number(3.0)]);
    assert_eq!(
        read(&Value::Array(vec![array, Value::Null])),
        Ok(((1,), ()))
    );
}

#[test]
fn enums_by_name_or_by_their_one_field() {
    #[derive(Debug, PartialEq, Deserialize)]
    enum State {
        Idle,
        Moving(f64),
        At { x: i8, y: i8 },
        Between(i8, i8),
    }
    let at = object([("x", number(1.0)), ("y", number(-1.0))]);
    let between = Value::Array(vec![number(1.0), number(2.0)]);
    assert_eq!(read(&Value::Text("Idle".into())), Ok(State::Idle));
    assert_eq!(read(&object([("Idle", Value::Null)])), Ok(State::Idle));
    assert_eq!(
        read(&object([("Moving", number(1.5))])),
        Ok(State::Moving(1.5))
    );
    assert_eq!(read(&object([("At", at)])), Ok(State::At { x: 1, y: -1 }));
    assert_eq!(
        read(&object([("Between", between)])),
        Ok(State::Between(1, 2))
    );
    for wrong in [
        object([]),
        object([("Idle", Value::Null), ("Moving", Value::Null)]),
        object([("Flying", Value::Null)]),
        number(1.0),
    ] {
        assert!(read::<State>(&wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn a_refusal_names_the_place() {
    let value = Value::Array(vec![number(1.0), Value::Text("two".into())]);
    let error = read::<Vec<u8>>(&value).unwrap_err();
    assert!(matches!(&error.kind, ValueErrorKind::Refused(text) if text.contains("u8")));
    assert_eq!(error.offset, encoded(&value).len());
    let bytes = [0x91, 0x05, 0x05];
    let dictionary = Dictionary::empty();
    let trailing = RawValue::new(&bytes, &dictionary).deserialize::<Vec<u8>>();
    assert_eq!(trailing.unwrap_err().kind, ValueErrorKind::TrailingBytes);
}
