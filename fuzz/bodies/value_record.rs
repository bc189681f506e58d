//! Arbitrary bytes as a value, with record structures that are arbitrary too, or else a few good ones.
//!
//! Two bytes say how long the list of structures is; the value follows it.

use replproto_core::value::Dictionary;

use super::values;

/// `[["a"], ["a", "b"], ["id", "name", "$x"], []]`
const STRUCTURES: &[u8] = b"\x94\x91\xa1a\x92\xa1a\xa1b\x93\xa2id\xa4name\xa2$x\x90";

/// Runs the input.
///
/// # Panics
/// A rule does not hold.
pub fn run(data: &[u8]) {
    let (structures, value) = values::split(data);
    let dictionary = Dictionary::decode(None, Some(structures))
        .or_else(|_| Dictionary::decode(None, Some(STRUCTURES)))
        .expect("a good list");
    values::check(value, &dictionary);
    values::check_control(value);
}
