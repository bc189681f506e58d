//! Record ids and user names: ordered-binary keys (`value-codec.md` section 8).
//!
//! Encoded keys sort bytewise like their values: null, symbols, false, true, numbers, text.

mod error;
mod number;
mod text;

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

pub use error::{KeyError, KeyErrorKind};

use crate::value::json;
use crate::value::{self, BigInt, JsonStyle, Profile, Text};
use number::Number;

/// Longest key in an audit entry, in bytes: the most that its two-byte length can say (`protocol.md` section 5).
pub const KEY_BYTES_MAX: usize = 0x3fff;

/// Stands between the elements of an array.
const SEPARATOR: u8 = 0;

/// A record id.
///
/// Not every key comes back as it was written: an array of one element reads as that element, nesting is flattened, and a
/// bigint that a double holds exactly reads as a number.
///
/// Complete: the format has no other kinds.
#[derive(Clone, Debug, PartialEq)]
pub enum Key {
    /// Null.
    Null,
    /// False or true.
    Bool(bool),
    /// A number.
    Number(f64),
    /// A whole number that no double holds.
    BigInt(BigInt),
    /// Text.
    Text(String),
    /// A symbol, by its description. Such keys hold a table's own bookkeeping.
    Symbol(String),
    /// Raw bytes. They carry no mark, so only those come back as bytes that start with `01`, `03`, `04` or `05`.
    Bytes(Vec<u8>),
    /// The parts of a composed key, at least two when read.
    Array(Vec<Self>),
}

impl Key {
    /// Reads a key of which `bytes` is all.
    ///
    /// ```
    /// use replproto_core::key::Key;
    ///
    /// assert_eq!(Key::decode(b"k1")?, Key::Text("k1".into()));
    /// assert_eq!(Key::decode(&[0x13, 0xff, 0, 0])?, Key::Number(1.0));
    /// # Ok::<(), replproto_core::key::KeyError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// When no key is written as these bytes. Text that is not valid UTF-8 is no error: it gets U+FFFD.
    pub fn decode(bytes: &[u8]) -> Result<Self, KeyError> {
        match bytes.first() {
            None => return Err(KeyError::new(KeyErrorKind::Empty, 0)),
            Some(0x01 | 0x03..=0x05) => return Ok(Self::Bytes(bytes.into())),
            Some(_) => {}
        }
        let mut at = 0;
        let first = element(bytes, &mut at)?;
        if at == bytes.len() {
            return Ok(first);
        }
        let mut elements = Vec::from([first]);
        while let Some(&byte) = bytes.get(at) {
            if byte != SEPARATOR {
                return Err(KeyError::new(KeyErrorKind::BadSeparator(byte), at));
            }
            at += 1;
            elements.push(element(bytes, &mut at)?);
        }
        Ok(Self::Array(elements))
    }

    /// The bytes of the key.
    ///
    /// # Errors
    ///
    /// [`TooLong`](KeyErrorKind::TooLong), or [`Unwritable`](KeyErrorKind::Unwritable) for keys that would not read back:
    /// an empty array, bytes that start like another key, a bigint beyond all doubles, and text of 64 or more UTF-16
    /// units with characters up to U+0004.
    pub fn encode(&self) -> Result<Vec<u8>, KeyError> {
        let mut out = Vec::new();
        self.write(&mut out, false)?;
        if out.len() > KEY_BYTES_MAX {
            return Err(KeyError::new(KeyErrorKind::TooLong, KEY_BYTES_MAX));
        }
        Ok(out)
    }

    fn write(&self, out: &mut Vec<u8>, in_array: bool) -> Result<(), KeyError> {
        let at = out.len();
        let is_written = match self {
            Self::Null => {
                out.push(0x00);
                true
            }
            Self::Bool(value) => {
                out.push(0x06 | u8::from(*value));
                true
            }
            Self::Number(value) => {
                number::write(out, *value, in_array);
                true
            }
            Self::BigInt(value) => number::write_big(out, value, in_array),
            Self::Text(value) => text::write(out, value),
            Self::Symbol(description) => {
                out.push(0x02);
                text::write(out, description)
            }
            Self::Bytes(bytes) => {
                out.extend(bytes);
                !in_array && matches!(bytes.first(), Some(0x01 | 0x03..=0x05))
            }
            Self::Array(elements) => {
                for (index, element) in elements.iter().enumerate() {
                    if index > 0 {
                        out.push(SEPARATOR);
                    }
                    element.write(out, true)?;
                }
                !elements.is_empty()
            }
        };
        if is_written {
            Ok(())
        } else {
            Err(KeyError::new(KeyErrorKind::Unwritable, at))
        }
    }

    /// Appends the key as JSON, in the forms of values.
    pub fn write_json(&self, out: &mut String, style: JsonStyle) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Bool(true) => out.push_str("true"),
            Self::Bool(false) => out.push_str("false"),
            Self::Number(value) => json::push_number(out, *value, style),
            Self::BigInt(value) => json::push_bigint(out, value),
            Self::Text(text) => json::push_text(out, Text::checked(text)),
            Self::Symbol(description) => {
                out.push_str(r#"{"$symbol":"#);
                json::push_text(out, Text::checked(description));
                out.push('}');
            }
            Self::Bytes(bytes) => json::push_bytes(out, bytes),
            Self::Array(elements) => {
                out.push('[');
                for (index, element) in elements.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    element.write_json(out, style);
                }
                out.push(']');
            }
        }
    }

    /// Appends the key as MessagePack of the control profile, as a subscription request resumes a copy after it. A
    /// bigint is the one 64-bit integer that a command may carry (`protocol.md` section 15, ruling 4).
    ///
    /// # Errors
    ///
    /// [`Unwritable`](KeyErrorKind::Unwritable) for symbols and for bigints beyond 64 bits; `out` is then as it was.
    pub fn write_control(&self, out: &mut Vec<u8>) -> Result<(), KeyError> {
        let value = self.to_value();
        let encoded = value.and_then(|value| value.encode(Profile::Control).ok());
        out.extend(encoded.ok_or(KeyError::new(KeyErrorKind::Unwritable, 0))?);
        Ok(())
    }

    /// The key as a record value; symbols have none.
    fn to_value(&self) -> Option<value::Value> {
        use value::Value;
        Some(match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(*value),
            Self::Number(value) => Value::Number(*value),
            Self::BigInt(value) => Value::BigInt(value.clone()),
            Self::Text(text) => Value::Text(text.clone()),
            Self::Symbol(_) => return None,
            Self::Bytes(bytes) => Value::Bytes(bytes.clone()),
            Self::Array(elements) => {
                Value::Array(elements.iter().map(Self::to_value).collect::<Option<_>>()?)
            }
        })
    }
}

/// Reads a key that can only be text, such as the user name of an audit entry (`value-codec.md` section 8.5). Allocates
/// only for text with escapes, or that is not valid UTF-8.
///
/// # Errors
///
/// When the bytes are empty or are another kind of key.
pub fn decode_text(bytes: &[u8]) -> Result<Cow<'_, str>, KeyError> {
    match bytes.first() {
        None => Err(KeyError::new(KeyErrorKind::Empty, 0)),
        Some(0x1b..) => match text::read(bytes) {
            (text, length) if length == bytes.len() => Ok(text),
            (_, length) => Err(KeyError::new(KeyErrorKind::NotText, length)),
        },
        Some(_) => Err(KeyError::new(KeyErrorKind::NotText, 0)),
    }
}

/// Reads the element at `at` and moves past it.
fn element(bytes: &[u8], at: &mut usize) -> Result<Key, KeyError> {
    let start = *at;
    let rest = &bytes[start..];
    let error = |kind| KeyError::new(kind, start);
    let first = *rest
        .first()
        .ok_or_else(|| error(KeyErrorKind::UnexpectedEnd))?;
    let (key, length) = match first {
        0x00 => (Key::Null, 1),
        0x06 | 0x07 => (Key::Bool(first == 0x07), 1),
        0x02 => {
            let (description, length) = text::read(&rest[1..]);
            (Key::Symbol(description.into_owned()), 1 + length)
        }
        0x08..=0x18 => {
            let mut padded = [0; number::WIDTH];
            let groups = match rest.split_first_chunk::<{ number::WIDTH }>() {
                Some((whole, after)) => {
                    padded = *whole;
                    let count = after.iter().take_while(|&&byte| byte >= 0x80).count();
                    &after[..count]
                }
                // Cut short, as only a number on its own is.
                None if start == 0 => {
                    padded[..rest.len()].copy_from_slice(rest);
                    &[]
                }
                None => return Err(error(KeyErrorKind::UnexpectedEnd)),
            };
            let key = match number::read(&padded, groups).map_err(error)? {
                Number::Double(value) => Key::Number(value),
                Number::Big(value) => Key::BigInt(value),
            };
            (key, rest.len().min(number::WIDTH + groups.len()))
        }
        0x1b.. => {
            let (text, length) = text::read(rest);
            (Key::Text(text.into_owned()), length)
        }
        _ => return Err(error(KeyErrorKind::BadFirstByte(first))),
    };
    *at += length;
    Ok(key)
}

#[cfg(test)]
mod tests;
