//! Text in keys (`value-codec.md` section 8.3).

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

use crate::value::{Text, scan};

/// Ends a text inside an array.
const SEPARATOR: u8 = 0;
/// Stands before a character up to itself.
const ESCAPE: u8 = 4;
/// Stands before text that is empty or would start like something else.
const MARKER: u8 = 0x1b;
/// Units (of UTF-16) from which text is not escaped.
const UNESCAPED_UNITS: usize = 64;

/// Reads the text at the start of `bytes`, and how many bytes it took.
///
/// Long text is not escaped by the writers, so an escape byte that escapes nothing is taken for itself.
pub(super) fn read(bytes: &[u8]) -> (Cow<'_, str>, usize) {
    let start = usize::from(bytes.first() == Some(&MARKER));
    let mut escapes = false;
    let mut end = start;
    loop {
        let rest = bytes.get(end..).unwrap_or_default();
        let Some(length) = scan::position(rest, |byte| byte == SEPARATOR || byte == ESCAPE) else {
            end = bytes.len();
            break;
        };
        end += length;
        if bytes[end] == SEPARATOR {
            break;
        }
        let is_escape = is_escaped(bytes, end + 1);
        escapes |= is_escape;
        end += 1 + usize::from(is_escape);
    }
    let raw = &bytes[start..end];
    let text = if escapes {
        let mut plain = Vec::with_capacity(raw.len());
        let mut at = 0;
        while let Some(&byte) = raw.get(at) {
            at += usize::from(byte == ESCAPE && is_escaped(raw, at + 1));
            plain.push(raw[at]);
            at += 1;
        }
        Cow::Owned(String::from_utf8_lossy(&plain).into_owned())
    } else {
        Text::new(raw).to_str_lossy()
    };
    (text, end)
}

fn is_escaped(bytes: &[u8], at: usize) -> bool {
    bytes.get(at).is_some_and(|&byte| byte <= ESCAPE)
}

/// Appends `text`; false, and nothing appended, if it would not read back.
pub(super) fn write(out: &mut Vec<u8>, text: &str) -> bool {
    let is_long = text.encode_utf16().nth(UNESCAPED_UNITS - 1).is_some();
    if is_long && text.bytes().any(|byte| byte <= ESCAPE) {
        return false;
    }
    if text.bytes().next().is_none_or(|first| first <= MARKER) {
        out.push(MARKER);
    }
    for byte in text.bytes() {
        if byte <= ESCAPE {
            out.push(ESCAPE);
        }
        out.push(byte);
    }
    true
}
