//! Every way in which a value goes on inside another, far too deep and as deep as is allowed, through every reader, on a
//! small stack.

use replproto_core::key;
use replproto_core::key::Key;
use replproto_core::value::{
    BlobExtension, Dictionary, JsonStyle, MAX_DEPTH, Profile, RawValue, ValueError, ValueErrorKind,
};

/// The smallest stack that a thread of an embedding program is likely to have.
const STACK: usize = 512 << 10;

const FAR_TOO_DEEP: usize = 1_000_000;

/// A way to go on inside a value: what stands before what is inside.
struct Nesting {
    name: &'static str,
    opening: &'static [u8],
    /// Levels that one opening counts for.
    levels: usize,
    /// Stands before the first opening.
    before: &'static [u8],
    /// Stands behind what is inside, once for each opening.
    closing: &'static [u8],
    profile: Profile,
}

const TABLE: Nesting = Nesting {
    name: "arrays",
    opening: b"\x91",
    levels: 1,
    before: b"",
    closing: b"",
    profile: Profile::Table,
};

const NESTINGS: [Nesting; 11] = [
    TABLE,
    Nesting {
        name: "sets",
        opening: b"\xd4\x73\x00\x91",
        ..TABLE
    },
    Nesting {
        name: "map values",
        opening: b"\x81\x01",
        ..TABLE
    },
    Nesting {
        name: "map keys",
        opening: b"\x81",
        closing: b"\x01",
        ..TABLE
    },
    Nesting {
        name: "records of the dictionary",
        opening: b"\x40",
        ..TABLE
    },
    Nesting {
        name: "record definitions",
        opening: b"\xd4\x72\x41\x91\xa1a",
        ..TABLE
    },
    Nesting {
        name: "records defined in the value",
        before: b"\x92\xd4\x72\x42\x91\xa1a\xc0",
        opening: b"\x42",
        ..TABLE
    },
    Nesting {
        name: "typed structs",
        opening: b"\x20",
        ..TABLE
    },
    Nesting {
        name: "arrays in records in a typed struct",
        before: b"\x20",
        opening: b"\x40\x91",
        levels: 2,
        ..TABLE
    },
    Nesting {
        name: "objects of the control profile",
        opening: b"\x81\xa1a",
        profile: Profile::Control,
        ..TABLE
    },
    Nesting {
        name: "objects of the control profile in 16 bits",
        opening: b"\xde\x00\x01\xa1$",
        profile: Profile::Control,
        ..TABLE
    },
];

impl Nesting {
    fn bytes(&self, levels: usize) -> Vec<u8> {
        let count = levels / self.levels;
        let mut bytes = self.before.to_vec();
        bytes.extend(self.opening.repeat(count));
        bytes.push(0xc0);
        bytes.extend(self.closing.repeat(count));
        bytes
    }

    /// As many levels as are allowed here.
    fn deepest(&self) -> usize {
        MAX_DEPTH as usize - usize::from(!self.before.is_empty())
    }
}

/// A typed structure and a record structure with one attribute each.
fn dictionary() -> Dictionary {
    let typed = b"\x91\x91\x93\x01\x00\xa1o";
    Dictionary::decode(Some(typed), Some(b"\x91\x91\xa1a")).unwrap()
}

fn on_small_stack(test: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK);
        let running = thread.spawn_scoped(scope, test).unwrap();
        running.join().unwrap();
    });
}

/// What each reader that looks at all of the value makes of it.
fn read_every_way(value: RawValue<'_>) -> Vec<(&'static str, Result<(), ValueError>)> {
    let json = |style| value.write_json(&mut String::new(), style);
    let root = || value.root();
    let results = vec![
        ("read_all", value.read_all().map(drop)),
        ("walk", value.walk(|_| Ok::<(), ValueError>(()))),
        ("decode", value.decode().map(drop)),
        ("tagged JSON", json(JsonStyle::Tagged)),
        ("natural JSON", json(JsonStyle::Natural)),
        ("blob_references", value.blob_references(|_| {})),
        ("root, decoded", root().and_then(|it| it.decode()).map(drop)),
        (
            "root as JSON",
            root().and_then(|it| it.write_json(&mut String::new(), JsonStyle::Natural)),
        ),
    ];
    // One that looks for a field stops there; it must only not go deeper than it may.
    let _ = value.field("b").map(drop);
    #[cfg(feature = "serde")]
    let results = [results, with_serde(value)].concat();
    results
}

#[cfg(feature = "serde")]
fn with_serde(value: RawValue<'_>) -> Vec<(&'static str, Result<(), ValueError>)> {
    use serde::Deserialize;
    use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};

    /// Goes wherever it is led.
    struct Tree;

    impl<'de> Deserialize<'de> for Tree {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_any(Self)
        }
    }

    impl<'de> Visitor<'de> for Tree {
        type Value = Self;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("anything")
        }

        fn visit_unit<E: Error>(self) -> Result<Self, E> {
            Ok(self)
        }

        fn visit_str<E: Error>(self, _: &str) -> Result<Self, E> {
            Ok(self)
        }

        fn visit_u64<E: Error>(self, _: u64) -> Result<Self, E> {
            Ok(self)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self, A::Error> {
            while elements.next_element::<Self>()?.is_some() {}
            Ok(self)
        }

        fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self, A::Error> {
            while fields.next_entry::<Self, Self>()?.is_some() {}
            Ok(self)
        }
    }

    vec![
        (
            "ignored",
            value.deserialize::<serde::de::IgnoredAny>().map(drop),
        ),
        ("serde", value.deserialize::<Tree>().map(drop)),
    ]
}

fn raw<'a>(bytes: &'a [u8], dictionary: &'a Dictionary, profile: Profile) -> RawValue<'a> {
    match profile {
        Profile::Table => RawValue::new(bytes, dictionary),
        Profile::Control => RawValue::control(bytes),
    }
}

#[test]
fn a_million_levels_are_an_error() {
    let dictionary = dictionary();
    for nesting in NESTINGS {
        let bytes = nesting.bytes(FAR_TOO_DEEP);
        on_small_stack(|| {
            let value = raw(&bytes, &dictionary, nesting.profile);
            for (reader, result) in read_every_way(value) {
                let kind = result.unwrap_err().kind;
                let name = nesting.name;
                assert_eq!(kind, ValueErrorKind::TooDeep, "{name}, {reader}");
            }
        });
    }
}

#[test]
fn as_deep_as_is_allowed_fits_on_the_stack() {
    let dictionary = dictionary();
    for nesting in NESTINGS {
        let bytes = nesting.bytes(nesting.deepest());
        on_small_stack(|| {
            let value = raw(&bytes, &dictionary, nesting.profile);
            for (reader, result) in read_every_way(value) {
                let is_cut = !nesting.before.is_empty();
                assert!(
                    result.is_ok() || is_cut,
                    "{}, {reader}: {result:?}",
                    nesting.name
                );
            }
        });
    }
}

#[test]
fn extensions_inside_each_other_do_not_recurse() {
    let dictionary = Dictionary::empty();
    for (opening, kind) in [(b"\xd4\x73\x00", 0x73), (b"\xd4\x78\x00", 0x78)] {
        let mut bytes = opening.repeat(FAR_TOO_DEEP);
        bytes.extend(b"\x92\xa1a\xa1g");
        on_small_stack(|| {
            for (reader, result) in read_every_way(RawValue::new(&bytes, &dictionary)) {
                let error = result.unwrap_err();
                assert_eq!(error.kind, ValueErrorKind::BadExtension(kind), "{reader}");
            }
        });
    }
}

/// A blob whose properties are nested, inside as much as can be around it.
fn blob(around: usize, inside: usize) -> Vec<u8> {
    let mut payload = b"\x93".to_vec();
    payload.extend(b"\x81\xa1a".repeat(inside));
    payload.extend(b"\xc0\x00\xa1f");
    let mut bytes = b"\x91".repeat(around);
    bytes.push(0xc9);
    bytes.extend((payload.len() as u32).to_be_bytes());
    bytes.push(0x0b);
    bytes.extend(payload);
    bytes
}

#[test]
fn payloads_of_blobs_are_bounded_too() {
    let dictionary = Dictionary::empty();
    let depth = MAX_DEPTH as usize;
    let far = blob(depth, FAR_TOO_DEEP);
    let deepest = blob(depth, depth - 1);
    on_small_stack(|| {
        let value = RawValue::new(&far, &dictionary);
        let error = value.blob_references(|_| {}).unwrap_err();
        assert_eq!(error.kind, ValueErrorKind::TooDeep);
        let payload = &far[depth + 6..];
        let error = BlobExtension::parse(payload).unwrap_err();
        assert_eq!(error.kind, ValueErrorKind::TooDeep);

        let value = RawValue::new(&deepest, &dictionary);
        let mut found = 0;
        value.blob_references(|_| found += 1).unwrap();
        assert_eq!(found, 1);
    });
}

#[test]
fn composed_keys_are_lists_and_not_nested() {
    let mut bytes = b"\x00".repeat(2 * FAR_TOO_DEEP);
    bytes.push(0);
    on_small_stack(|| {
        let Key::Array(parts) = Key::decode(&bytes).unwrap() else {
            panic!("several parts");
        };
        assert_eq!(parts.len(), FAR_TOO_DEEP + 1);
        key::write_json(&bytes, &mut String::new(), JsonStyle::Tagged).unwrap();
        key::decode_text(&bytes).unwrap_err();
    });
}
