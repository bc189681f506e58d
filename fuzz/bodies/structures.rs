//! Arbitrary bytes as the two lists of structures of a table, and probes of what they define.
//!
//! Two bytes say how long the first list is; the rest is the second.

use replproto_core::value::{Dictionary, RawValue};

use super::alloc;
use super::values;

/// A dictionary takes some 34 bytes for each byte of its lists, and about three times that while it grows.
const KEPT_PER_BYTE: usize = 34;
const BYTES_PER_BYTE: usize = 4 * KEPT_PER_BYTE;
const FREE: usize = 1024;

/// Runs the input.
///
/// # Panics
/// A rule does not hold.
pub fn run(data: &[u8]) {
    let (typed, named) = values::split(data);
    let ((), usage) = alloc::measure(|| drop(Dictionary::decode(Some(typed), Some(named))));
    let limit = FREE + BYTES_PER_BYTE * data.len();
    assert!(usage.peak <= limit, "{} > {limit}", usage.peak);
    assert_eq!(usage.kept, 0);
    let (dictionary, usage) = alloc::measure(|| Dictionary::decode(Some(typed), Some(named)));
    let Ok(dictionary) = dictionary else { return };
    assert_eq!(usage.kept.cast_unsigned(), dictionary.heap_bytes());
    assert!(dictionary.heap_bytes() <= FREE + KEPT_PER_BYTE * data.len());
    // Each structure with some fields of the shortest kind, or none.
    for id in (0x20..=0x38).chain(0x40..=0x7f) {
        for value in [[id, 0, 0, 0, 0, 0], [id, 0xff, 0xc0, 0xa0, 0x90, 0xc3]] {
            let _ = RawValue::new(&value, &dictionary).read_all();
            let _ = RawValue::new(&value[..3], &dictionary).field("a");
        }
    }
}
