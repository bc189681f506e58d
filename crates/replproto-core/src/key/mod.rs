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
        let mut elements = Elements { bytes, at: 0 };
        let first = elements.next_key()?;
        if elements.is_at_end() {
            return Ok(first);
        }
        let mut keys = Vec::from([first]);
        while !elements.is_at_end() {
            keys.push(elements.next_key()?);
        }
        Ok(Self::Array(keys))
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

    /// Appends the key as JSON, in the forms of values. [`write_json`] does so from the bytes of the key.
    pub fn write_json(&self, out: &mut String, style: JsonStyle) {
        let element = match self {
            Self::Null => Element::Null,
            Self::Bool(value) => Element::Bool(*value),
            Self::Number(value) => Element::Number(*value),
            Self::BigInt(value) => return json::push_bigint(out, value),
            Self::Text(text) => Element::Text(text.into()),
            Self::Symbol(description) => Element::Symbol(description.into()),
            Self::Bytes(bytes) => return json::push_bytes(out, bytes),
            Self::Array(elements) => {
                out.push('[');
                for (index, element) in elements.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    element.write_json(out, style);
                }
                return out.push(']');
            }
        };
        element.write_json(out, style);
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

/// Appends the key of which `bytes` is all as JSON: what [`Key::decode`] and [`Key::write_json`] do, without the key in
/// between. Allocates only for text with escapes or that is not valid UTF-8, and for bigints. After an error `out` is as it was.
///
/// ```
/// use replproto_core::key;
/// use replproto_core::value::JsonStyle;
///
/// let mut json = String::new();
/// key::write_json(b"a\0b", &mut json, JsonStyle::Natural)?;
/// assert_eq!(json, r#"["a","b"]"#);
/// # Ok::<(), replproto_core::key::KeyError>(())
/// ```
///
/// # Errors
///
/// Those of [`Key::decode`].
pub fn write_json(bytes: &[u8], out: &mut String, style: JsonStyle) -> Result<(), KeyError> {
    match bytes.first() {
        None => return Err(KeyError::new(KeyErrorKind::Empty, 0)),
        Some(0x01 | 0x03..=0x05) => {
            json::push_bytes(out, bytes);
            return Ok(());
        }
        Some(_) => {}
    }
    let mut elements = Elements { bytes, at: 0 };
    let first = elements.next()?;
    if elements.is_at_end() {
        first.write_json(out, style);
        return Ok(());
    }
    let start = out.len();
    out.push('[');
    first.write_json(out, style);
    while !elements.is_at_end() {
        match elements.next() {
            Ok(element) => {
                out.push(',');
                element.write_json(out, style);
            }
            Err(error) => {
                out.truncate(start);
                return Err(error);
            }
        }
    }
    out.push(']');
    Ok(())
}

/// A part of a key as it stands in the bytes.
enum Element<'a> {
    Null,
    Bool(bool),
    Number(f64),
    BigInt(BigInt),
    Text(Cow<'a, str>),
    Symbol(Cow<'a, str>),
}

impl Element<'_> {
    fn write_json(&self, out: &mut String, style: JsonStyle) {
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
        }
    }
}

/// The parts of a key that have not been read.
struct Elements<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Elements<'a> {
    const fn is_at_end(&self) -> bool {
        self.at == self.bytes.len()
    }

    fn next_key(&mut self) -> Result<Key, KeyError> {
        Ok(match self.next()? {
            Element::Null => Key::Null,
            Element::Bool(value) => Key::Bool(value),
            Element::Number(value) => Key::Number(value),
            Element::BigInt(value) => Key::BigInt(value),
            Element::Text(text) => Key::Text(text.into_owned()),
            Element::Symbol(description) => Key::Symbol(description.into_owned()),
        })
    }

    fn next(&mut self) -> Result<Element<'a>, KeyError> {
        if self.at > 0 {
            match self.bytes.get(self.at) {
                Some(&SEPARATOR) => self.at += 1,
                Some(&byte) => {
                    return Err(KeyError::new(KeyErrorKind::BadSeparator(byte), self.at));
                }
                None => {}
            }
        }
        let start = self.at;
        let rest = &self.bytes[start..];
        let error = |kind| KeyError::new(kind, start);
        let first = *rest
            .first()
            .ok_or_else(|| error(KeyErrorKind::UnexpectedEnd))?;
        let (element, length) = match first {
            0x00 => (Element::Null, 1),
            0x06 | 0x07 => (Element::Bool(first == 0x07), 1),
            0x02 => {
                let (description, length) = text::read(&rest[1..]);
                (Element::Symbol(description), 1 + length)
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
                let element = match number::read(&padded, groups).map_err(error)? {
                    Number::Double(value) => Element::Number(value),
                    Number::Big(value) => Element::BigInt(value),
                };
                (element, rest.len().min(number::WIDTH + groups.len()))
            }
            0x1b.. => {
                let (text, length) = text::read(rest);
                (Element::Text(text), length)
            }
            _ => return Err(error(KeyErrorKind::BadFirstByte(first))),
        };
        self.at += length;
        Ok(element)
    }
}

#[cfg(test)]
mod tests;
