//! Arbitrary bytes as a record id.

use replproto_core::key::{Key, decode_text};
use replproto_core::value::JsonStyle;

use super::alloc;

/// Every second byte may be an element of an array, which grows by doubling.
const BYTES_PER_BYTE: usize = 64;
const FREE: usize = 512;
/// Three bytes may be a symbol, whose tag takes fifteen characters of JSON, in a text that grows by doubling; bigints need
/// room for their digits besides.
const JSON_PER_BYTE: usize = 128;

/// Runs the input.
///
/// # Panics
/// A rule does not hold.
pub fn run(data: &[u8]) {
    let limit = FREE + BYTES_PER_BYTE * data.len();
    let key = alloc::within(limit, || Key::decode(data));
    let text = alloc::within(limit, || decode_text(data));
    if let Ok(text) = &text {
        assert_eq!(key, Ok(Key::Text(text.clone().into_owned())));
    }
    let Ok(key) = key else { return };
    let shown = json(&key, data.len());
    let mut out = Vec::new();
    if key.write_control(&mut out).is_err() {
        assert!(out.is_empty(), "a failure writes nothing");
    }
    if let Ok(bytes) = key.encode() {
        let again = Key::decode(&bytes).expect("what is written can be read");
        // Only the numbers of a foreign writer can come back in another form, and only once.
        assert_eq!(again.encode().as_ref(), Ok(&bytes), "{shown}");
    }
}

/// The key bit by bit.
fn json(key: &Key, length: usize) -> String {
    let write = |style| {
        let mut out = String::new();
        key.write_json(&mut out, style);
        out
    };
    alloc::within(FREE + JSON_PER_BYTE * length, || write(JsonStyle::Natural));
    write(JsonStyle::Tagged)
}
