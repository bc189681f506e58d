//! The rules that hold for the bytes of any value.

use replproto_core::value::{
    Dictionary, Event, JsonStyle, RawValue, ValueError, WORK_FREE, WORK_PER_BYTE,
};

use super::alloc;

/// Definitions inside a value are remembered while it is read; nothing else is. A name of one byte is a text of 16 bytes, in
/// a list that grows by doubling, with the old one beside the new one.
const READ_PER_BYTE: usize = 64;
const READ_FREE: usize = 2048;
/// For each unit of work that a value may unfold to: 16 units pay for a field of a tree, whose list grows by doubling.
const TREE_PER_WORK: usize = 16;

/// Two bytes say how long the first part is.
pub(crate) fn split(data: &[u8]) -> (&[u8], &[u8]) {
    match data.split_first_chunk() {
        Some((length, rest)) => {
            let length = usize::from(u16::from_be_bytes(*length));
            rest.split_at(length.min(rest.len()))
        }
        None => (&[], data),
    }
}

/// Reads a value of a table in every way.
pub(crate) fn check(value: &[u8], dictionary: &Dictionary) {
    let raw = RawValue::new(value, dictionary);
    let is_good = all_agree(&raw);
    let mut references = 0;
    let found = alloc::within(read_limit(value), || {
        raw.blob_references(|_| references += 1)
    });
    assert!(is_good || found.is_err());
    assert!(references <= value.len());
    let tree = raw.decode();
    for name in ["a", "b", "name"] {
        let field = alloc::within(read_limit(value), || raw.field(name));
        if let Ok(tree) = &tree {
            let field = field.expect("a field of a value that can be read");
            let owned = field.map(|field| field.decode().expect("a good field"));
            // As text, because a number that is none does not equal itself.
            assert!(
                tree.get(name) == owned.as_ref()
                    || format!("{:?}", tree.get(name)) == format!("{:?}", owned.as_ref())
            );
        }
    }
}

/// Reads a value of the control profile in every way.
pub(crate) fn check_control(value: &[u8]) {
    all_agree(&RawValue::control(value));
}

fn read_limit(value: &[u8]) -> usize {
    READ_FREE + READ_PER_BYTE * value.len()
}

/// All ways to read a value agree on whether it is valid and on what is wrong with it. Returns whether it is valid.
fn all_agree(raw: &RawValue<'_>) -> bool {
    let length = raw.bytes().len();
    let walked = alloc::within(read_limit(raw.bytes()), || {
        let mut events = 0_usize;
        let end = raw.walk(|event: Event<'_>| {
            if let Event::Text(text) = event {
                assert!(text.as_bytes().len() <= length);
            }
            events += 1;
            Ok::<(), ValueError>(())
        });
        assert!(events <= WORK_FREE + (WORK_PER_BYTE + 2) * length);
        end
    });
    let read = alloc::within(read_limit(raw.bytes()), || raw.read_all());
    assert_eq!(walked.as_ref().err(), read.as_ref().err());
    let limit = TREE_PER_WORK * (WORK_FREE + WORK_PER_BYTE * length);
    let tree = alloc::within(limit, || raw.decode());
    assert_eq!(tree.as_ref().err(), walked.as_ref().err());
    for style in [JsonStyle::Tagged, JsonStyle::Natural] {
        let mut out = String::from("before");
        let json = alloc::within(limit, || raw.write_json(&mut out, style));
        assert_eq!(json.is_ok(), walked.is_ok());
        if json.is_err() {
            assert_eq!(out, "before");
        } else if style == JsonStyle::Natural {
            assert!(
                serde_json::from_str::<serde::de::IgnoredAny>(&out["before".len()..]).is_ok(),
                "not JSON: {out}"
            );
        }
    }
    // Fields are skipped as if they were read, so the types of the target do not matter here.
    let ignored = alloc::within(limit, || raw.deserialize::<serde::de::IgnoredAny>());
    assert_eq!(ignored.is_ok(), walked.is_ok());
    walked.is_ok()
}
