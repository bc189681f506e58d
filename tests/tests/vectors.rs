//! The golden vectors: values, keys and dictionaries as the published JavaScript packages write and read them.
//!
//! `REPLPROTO_VECTORS` names another folder of the same files, for example from another seed of their generator.

use std::collections::BTreeMap;

use replproto_core::key::Key;
use replproto_core::value::{Dictionary, JsonStyle, Profile, RawValue, Value};
use replproto_tests::golden_folder;
use replproto_tests::tagged::{self, as_written, bytes_of_hex, natural, ordered, same};
use serde_json::Value as Json;

/// Damaged inputs tried per file. More vectors or longer ones are damaged at fewer places.
const DAMAGED_PER_FILE: usize = 40_000;

/// One file of vectors.
struct File {
    vectors: Vec<Json>,
    dictionaries: BTreeMap<String, Dictionary>,
}

impl File {
    fn read(name: &str) -> Self {
        let path = golden_folder("vectors", "REPLPROTO_VECTORS").join(name);
        let text = std::fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let file: Json = serde_json::from_str(&text).expect("JSON");
        assert_eq!(file["format"], 1, "format of {name}");
        let vectors = file["vectors"].as_array().expect("vectors").clone();
        assert!(!vectors.is_empty(), "{name} holds no vectors");
        println!("{name}: {} vectors", vectors.len());
        let listed = file["dictionaries"].as_array().into_iter().flatten();
        let dictionaries = listed
            .map(|entry| (field(entry, "id").to_owned(), dictionary(entry)))
            .collect();
        Self {
            vectors,
            dictionaries,
        }
    }

    fn dictionary(&self, vector: &Json, which: &str) -> &Dictionary {
        &self.dictionaries[field(vector, which)]
    }
}

fn field<'a>(json: &'a Json, name: &str) -> &'a str {
    json[name]
        .as_str()
        .unwrap_or_else(|| panic!("{name} of {json}"))
}

fn dictionary(entry: &Json) -> Dictionary {
    let [typed, named] =
        ["typedStructs", "structures"].map(|list| bytes_of_hex(field(&entry[list], "hex")));
    let dictionary = Dictionary::decode(Some(&typed), Some(&named))
        .unwrap_or_else(|error| panic!("dictionary {}: {error}", entry["id"]));
    assert!(dictionary.heap_bytes() <= 32 * (typed.len() + named.len()));
    dictionary
}

fn json(value: RawValue<'_>, style: JsonStyle) -> Json {
    let mut text = String::new();
    value.write_json(&mut text, style).expect("valid value");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text}"))
}

/// Everything that can be asked of a valid value, against what the vector says.
fn check_value(vector: &Json, value: RawValue<'_>) {
    let name = field(vector, "name");
    let decoded = value
        .decode()
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    let expected = tagged::value(&vector["json"]);
    assert!(
        same(&decoded, &expected),
        "{name}: {decoded:?} is not {expected:?}"
    );
    let written = json(value, JsonStyle::Tagged);
    assert_eq!(ordered(&written), ordered(&vector["json"]), "{name}");
    let written = json(value, JsonStyle::Natural);
    let expected = natural(&vector["json"]);
    assert_eq!(ordered(&written), ordered(&expected), "{name}");
    value
        .read_all()
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    value
        .blob_references(|_| {})
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    check_fields(name, value, &decoded);
}

/// Fields that are read on their own are those of the whole value.
fn check_fields(name: &str, value: RawValue<'_>, decoded: &Value) {
    let absent = value.field("no such field").expect("valid value");
    assert!(absent.is_none(), "{name}");
    let Value::Object(fields) = decoded else {
        return;
    };
    for (field, _) in fields {
        let lazy = value
            .field(field)
            .unwrap_or_else(|error| panic!("{name}: {field}: {error}"))
            .unwrap_or_else(|| panic!("{name}: no field {field}"));
        let expected = decoded.get(field).expect("present");
        let tree = lazy.decode().expect("valid field");
        assert!(
            same(&tree, expected),
            "{name}: {field}: {tree:?} is not {expected:?}"
        );
        match expected {
            Value::Null => assert!(lazy.is_null()),
            Value::Undefined => assert!(lazy.is_undefined()),
            Value::Bool(value) => assert_eq!(lazy.as_bool(), Some(*value)),
            Value::Number(value) => {
                let lazy = lazy.as_f64().expect("number");
                assert!(lazy.to_bits() == value.to_bits() || value.is_nan());
            }
            Value::Text(text) => assert_eq!(lazy.as_str().as_deref(), Some(&**text)),
            Value::Bytes(bytes) => assert_eq!(lazy.as_bytes(), Some(&**bytes)),
            Value::Blob(payload) => assert_eq!(lazy.as_blob(), Some(&**payload)),
            Value::BigInt(value) => {
                assert_eq!(
                    lazy.as_bigint().map(|lazy| lazy.to_bigint()).as_ref(),
                    Some(value)
                );
            }
            Value::Date(value) => {
                let lazy = lazy.as_date().expect("date");
                assert!(lazy == *value || value.is_nan());
            }
            _ => {}
        }
    }
}

/// All readers agree on whether a damaged value is valid, and none panics.
fn check_damaged(value: RawValue<'_>) {
    let decoded = value.decode();
    let read = value.read_all();
    let mut text = String::from("before");
    let written = value.write_json(&mut text, JsonStyle::Tagged);
    assert_eq!(decoded.as_ref().err(), read.as_ref().err());
    assert_eq!(decoded.as_ref().err(), written.as_ref().err());
    // The walk is the same, but the payloads of blobs are read as well.
    let _ = value.blob_references(|_| {});
    match &decoded {
        Ok(decoded) => {
            serde_json::from_str::<Json>(&text["before".len()..]).expect("valid JSON");
            check_fields("damaged", value, decoded);
        }
        Err(_) => {
            assert_eq!(text, "before");
            let _ = value
                .field("a")
                .map(|field| field.map(|field| field.decode()));
        }
    }
}

/// Prefixes and single-bit flips of the vectors' bytes, evenly spread so that `DAMAGED_PER_FILE` is not passed by much.
fn damage(file: &File, mut check: impl FnMut(&Json, &[u8])) {
    let inputs: Vec<Vec<u8>> = file
        .vectors
        .iter()
        .map(|vector| bytes_of_hex(field(vector, "hex")))
        .collect();
    // Long inputs cost more each, so they get fewer.
    let places = |length: usize| length.min(1 + 65_536 / (length + 1));
    let total: usize = inputs.iter().map(|bytes| places(bytes.len()) * 9).sum();
    let stride = total / DAMAGED_PER_FILE + 1;
    let mut checked = 0;
    let mut turn = 0;
    for (vector, bytes) in file.vectors.iter().zip(&inputs) {
        let places = places(bytes.len());
        for place in 0..places {
            let at = place * bytes.len() / places;
            for bit in 0..9 {
                turn += 1;
                if turn % stride != 0 {
                    continue;
                }
                checked += 1;
                if bit == 8 {
                    check(vector, &bytes[..at]);
                } else {
                    let mut flipped = bytes.clone();
                    flipped[at] ^= 1 << bit;
                    check(vector, &flipped);
                }
            }
        }
    }
    assert!(checked > 0);
    println!("{checked} damaged inputs");
}

fn check_with_dictionaries(name: &str) {
    let file = File::read(name);
    for vector in &file.vectors {
        let bytes = bytes_of_hex(field(vector, "hex"));
        for which in ["dictionary", "laterDictionary"] {
            check_value(
                vector,
                RawValue::new(&bytes, file.dictionary(vector, which)),
            );
        }
        check_encoded(vector, &bytes, file.dictionary(vector, "dictionary"));
    }
    damage(&file, |vector, bytes| {
        check_damaged(RawValue::new(bytes, file.dictionary(vector, "dictionary")));
    });
}

/// A value written with inline records reads back without its dictionary.
fn check_encoded(vector: &Json, bytes: &[u8], dictionary: &Dictionary) {
    let decoded = RawValue::new(bytes, dictionary).decode().expect("valid");
    let encoded = decoded.encode(Profile::Table).expect("encodable");
    let empty = Dictionary::empty();
    let again = RawValue::new(&encoded, &empty).decode().expect("valid");
    assert!(same(&again, &as_written(&decoded)), "{}", vector["name"]);
}

fn plain<'a>(vector: &Json, bytes: &'a [u8], empty: &'a Dictionary) -> RawValue<'a> {
    match field(vector, "profile") {
        "control" => RawValue::control(bytes),
        _ => RawValue::new(bytes, empty),
    }
}

#[test]
fn plain_values() {
    let file = File::read("msgpack.json");
    let empty = Dictionary::empty();
    let mut encoded = 0;
    for vector in &file.vectors {
        let bytes = bytes_of_hex(field(vector, "hex"));
        check_value(vector, plain(vector, &bytes, &empty));
        let profile = match field(vector, "profile") {
            "control" => Profile::Control,
            _ => Profile::Table,
        };
        let decoded = plain(vector, &bytes, &empty).decode().expect("valid");
        if vector["encoder"] == true {
            // The decoded tree has its fields in the encoder's order, which tagged JSON does not keep. But the profile
            // may have decoded to another type than was written (`input`).
            let input = vector.get("input").map(tagged::value);
            let written = [Some(decoded), input]
                .into_iter()
                .flatten()
                .any(|value| value.encode(profile).as_deref() == Ok(&*bytes));
            assert!(written, "{}", vector["name"]);
            encoded += 1;
        } else {
            let again = decoded.encode(profile).expect("encodable");
            let again = plain(vector, &again, &empty).decode().expect("valid");
            assert!(same(&again, &as_written(&decoded)), "{}", vector["name"]);
        }
    }
    assert!(encoded > 0);
    damage(&file, |vector, bytes| {
        check_damaged(plain(vector, bytes, &empty))
    });
}

#[test]
fn records() {
    check_with_dictionaries("records.json");
}

#[test]
fn typed_structs() {
    check_with_dictionaries("typed.json");
}

#[test]
fn invalid_inputs_are_refused() {
    let file = File::read("invalid.json");
    for vector in &file.vectors {
        let bytes = bytes_of_hex(field(vector, "hex"));
        let value = RawValue::new(&bytes, file.dictionary(vector, "dictionary"));
        assert!(value.decode().is_err(), "{}", vector["name"]);
        check_damaged(value);
    }
    damage(&file, |vector, bytes| {
        check_damaged(RawValue::new(bytes, file.dictionary(vector, "dictionary")));
    });
}

#[test]
fn damaged_dictionaries_give_errors_or_dictionaries() {
    for name in ["records.json", "typed.json"] {
        let file = File::read(name);
        let (mut refused, mut accepted) = (0, 0);
        for vector in file.vectors.iter().step_by(7) {
            // Any bytes will do for a list; values are handy ones that are nearly right.
            let bytes = bytes_of_hex(field(vector, "hex"));
            match Dictionary::decode(Some(&bytes), Some(&bytes)) {
                Ok(_) => accepted += 1,
                Err(_) => refused += 1,
            }
        }
        assert!(refused > accepted);
    }
}

#[test]
fn keys() {
    let file = File::read("keys.json");
    for vector in &file.vectors {
        let name = field(vector, "name");
        let bytes = bytes_of_hex(field(vector, "hex"));
        let expected = tagged::key(&vector["json"]);
        let input = vector.get("input").and_then(tagged::key);
        let decoded = Key::decode(&bytes);
        match field(vector, "class") {
            "quirk" => {
                if let Ok(decoded) = &decoded {
                    let decoded = Some(decoded);
                    assert!(
                        decoded == expected.as_ref() || decoded == input.as_ref(),
                        "{name}: {decoded:?}"
                    );
                }
                continue;
            }
            "roundtrip" => {}
            "lossy" => {
                if let Some(input) = input.filter(|input| !matches!(input, Key::Bytes(_))) {
                    assert_eq!(input.encode().as_deref(), Ok(&*bytes), "{name}");
                }
            }
            other => panic!("{name}: class {other}"),
        }
        let decoded = decoded.unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut text = String::new();
        decoded.write_json(&mut text, JsonStyle::Tagged);
        let written: Json = serde_json::from_str(&text).expect("JSON");
        assert_eq!(written, vector["json"], "{name}");
        if field(vector, "class") == "roundtrip" {
            assert_eq!(decoded.encode().as_deref(), Ok(&*bytes), "{name}");
        }
    }
    damage(&file, |_, bytes| {
        if let Ok(key) = Key::decode(bytes) {
            let mut text = String::new();
            key.write_json(&mut text, JsonStyle::Natural);
            serde_json::from_str::<Json>(&text).expect("valid JSON");
            if let Ok(encoded) = key.encode() {
                let again = Key::decode(&encoded).expect("a key that was written");
                assert_eq!(again.encode(), Ok(encoded), "{key:?}");
            }
        }
        let _ = replproto_core::key::decode_text(bytes);
    });
}
