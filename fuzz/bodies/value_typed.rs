//! Arbitrary bytes as a value, with typed structures that are arbitrary too, or else a few good ones.
//!
//! Two bytes say how long the list of structures is; the value follows it.

use replproto_core::value::Dictionary;

use super::values;

/// `[[[0,1,"a"],[0,8,"b"],[16,8,"c"]], [[3,1,"a"],[1,2,"b"],[0,4,"c"]], [[3,0,"a"]], [[1,4,"b"],[2,2,"c"]]]`
const TYPED: &[u8] = b"\x94\x93\x93\x00\x01\xa1a\x93\x00\x08\xa1b\x93\x10\x08\xa1c\
\x93\x93\x03\x01\xa1a\x93\x01\x02\xa1b\x93\x00\x04\xa1c\x91\x93\x03\x00\xa1a\
\x92\x93\x01\x04\xa1b\x93\x02\x02\xa1c";
/// `[["a"], ["a", "b"]]`
const STRUCTURES: &[u8] = b"\x92\x91\xa1a\x92\xa1a\xa1b";

/// Runs the input.
///
/// # Panics
/// A rule does not hold.
pub fn run(data: &[u8]) {
    let (typed, value) = values::split(data);
    let dictionary = Dictionary::decode(Some(typed), Some(STRUCTURES))
        .or_else(|_| Dictionary::decode(Some(TYPED), Some(STRUCTURES)))
        .expect("good lists");
    values::check(value, &dictionary);
}
