//! Extensions (`value-codec.md` section 4).

use super::error::{ValueError, ValueErrorKind};
use super::reader::{BigIntRef, Cursor, Elements, Item};
use crate::msgpack::Token;

pub(crate) const UNDEFINED: u8 = 0x00;
pub(crate) const BLOB: u8 = 0x0b;
pub(crate) const BIGINT: u8 = 0x42;
pub(crate) const DEFINITION: u8 = 0x72;
const SET: u8 = 0x73;
const REGEXP: u8 = 0x78;
pub(crate) const DATE: u8 = 0xff;

/// The item of an extension that began at `at`. Record definitions, sets and regular expressions go on after the payload:
/// with tokens, never with another item, so that nothing can lie inside an extension without [`Cursor::elements`] or
/// [`Cursor::open`] counting it.
pub(crate) fn read<'a>(
    cursor: &mut Cursor<'a>,
    kind: u8,
    payload: &'a [u8],
    at: usize,
) -> Result<Item<'a>, ValueError> {
    let malformed = || ValueError::new(ValueErrorKind::BadExtension(kind), at);
    match (kind, payload) {
        (UNDEFINED, _) => Ok(Item::Undefined),
        (BLOB, _) => Ok(Item::Blob(payload)),
        (BIGINT, [_, ..]) => Ok(Item::BigInt(BigIntRef::from_be_bytes(payload))),
        (DATE, _) => date(payload).map(Item::Date).ok_or_else(malformed),
        (DEFINITION, _) if cursor.is_table() => cursor.define(payload, at),
        // One filler byte, then the array.
        (SET, [_]) => array(cursor, kind, at).map(Item::Set),
        (REGEXP, [_]) => {
            let elements = array(cursor, kind, at)?;
            let mut ahead = cursor.reader;
            let mut is_text = || matches!(ahead.token(), Ok(Token::Text(_)));
            if elements.count() == 2 && is_text() && is_text() {
                Ok(Item::RegExp(elements))
            } else {
                Err(malformed())
            }
        }
        (BIGINT | SET | REGEXP, _) => Err(malformed()),
        _ => Err(ValueError::new(ValueErrorKind::UnknownExtension(kind), at)),
    }
}

/// The array that must follow the payload of an extension that began at `at`.
fn array(cursor: &mut Cursor<'_>, kind: u8, at: usize) -> Result<Elements, ValueError> {
    match cursor.reader.token() {
        Ok(Token::Array(count)) => cursor.elements(count as usize),
        Ok(_) => Err(ValueError::new(ValueErrorKind::BadExtension(kind), at)),
        Err(error) => Err(ValueError::token(error, at)),
    }
}

/// Milliseconds of a date, by the length of its payload.
fn date(payload: &[u8]) -> Option<f64> {
    let (seconds, nanoseconds) = match *payload {
        [_] => return Some(f64::NAN),
        [a, b, c, d] => (f64::from(u32::from_be_bytes([a, b, c, d])), 0),
        [_, _, _, _, _, _, _, _] => {
            let packed = u64::from_be_bytes(payload.try_into().ok()?);
            ((packed & 0x3_ffff_ffff) as f64, (packed >> 34) as u32)
        }
        [a, b, c, d, ref seconds @ ..] => {
            let seconds = i64::from_be_bytes(seconds.try_into().ok()?);
            (seconds as f64, u32::from_be_bytes([a, b, c, d]))
        }
        _ => return None,
    };
    Some(clip(seconds * 1e3 + f64::from(nanoseconds) / 1e6))
}

/// What a JavaScript date keeps of a time in milliseconds: whole ones, up to 100 million days from 1970; else NaN.
pub(crate) fn clip(milliseconds: f64) -> f64 {
    if milliseconds.abs() <= 8.64e15 {
        (milliseconds as i64) as f64
    } else {
        f64::NAN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_by_payload_length() {
        let cases: [(&[u8], f64); 6] = [
            (&[0, 0, 0, 1], 1000.0),
            (&[0x77, 0x35, 0x94, 0, 0, 0, 0, 1], 1500.0),
            (&[0, 0, 0, 3, 0, 0, 0, 0], 12_884_901_888_000.0),
            (
                &[
                    0x3b, 0x8b, 0x87, 0xc0, 255, 255, 255, 255, 255, 255, 255, 255,
                ],
                -1.0,
            ),
            (&[0x3b, 0x9a, 0xc9, 0xff, 0, 0, 0, 0, 0, 0, 0, 1], 1999.0),
            (&[0, 0, 0, 0, 0, 0, 0, 0], 0.0),
        ];
        for (payload, milliseconds) in cases {
            assert_eq!(date(payload), Some(milliseconds), "{payload:x?}");
        }
        assert!(date(&[0]).unwrap().is_nan());
        assert!(date(&[0; 12]).is_some());
        for length in [0, 2, 3, 5, 7, 9, 11, 13] {
            assert_eq!(date(&std::vec![0; length]), None, "{length} bytes");
        }
    }

    #[test]
    fn dates_beyond_javascript_are_invalid() {
        assert_eq!(clip(-8.64e15), -8.64e15);
        assert!(clip(8.64e15 + 1.0).is_nan());
        assert!(clip(f64::INFINITY).is_nan());
        assert_eq!(clip(-1.9), -1.0);
    }
}
