//! The control profile of MessagePack: how commands are written and read (`protocol.md` section 2.1).

use alloc::string::String;
use alloc::vec::Vec;

use rmp::encode::{ByteBuf, RmpWrite};

use crate::msgpack::{Reader, Token, TokenError};
use crate::text;
use crate::wire::WireError;

/// The type of the extension that stands for JavaScript's undefined.
const UNDEFINED: i8 = 0;

impl From<TokenError> for WireError {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::End => Self::Truncated("a command"),
            TokenError::Reserved => Self::NotMessagePack,
        }
    }
}

/// The elements of one array or map, read in order. What is not asked for is skipped.
pub(super) struct Elements<'r, 'a> {
    reader: &'r mut Reader<'a>,
    left: u64,
    /// The command that is being read, for errors.
    command: &'static str,
    /// Bytes of memory that what is read may still take.
    room: &'r mut usize,
}

/// Roughly what a small allocation takes besides its content.
const ALLOCATION: usize = 32;

/// An element before it is known what it should be. `Absent` stands for undefined and for an array that is too short.
pub(super) enum Element<'a> {
    Absent,
    Scalar(Token<'a>),
    Array(u32),
    Map(u32),
}

impl<'r, 'a> Elements<'r, 'a> {
    pub(super) const fn new(
        reader: &'r mut Reader<'a>,
        count: u32,
        command: &'static str,
        room: &'r mut usize,
    ) -> Self {
        Self {
            reader,
            left: count as u64,
            command,
            room,
        }
    }

    /// Takes room for something that is kept: a byte on the wire may stand for many in memory.
    pub(super) const fn take_room(&mut self, size: usize) -> Result<(), WireError> {
        match self.room.checked_sub(size) {
            Some(left) => {
                *self.room = left;
                Ok(())
            }
            None => Err(WireError::Unfolds),
        }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.left == 0
    }

    pub(super) const fn field_error(&self, field: &'static str) -> WireError {
        WireError::Field {
            command: self.command,
            field,
        }
    }

    fn element(&mut self) -> Result<Element<'a>, WireError> {
        if self.left == 0 {
            return Ok(Element::Absent);
        }
        self.left -= 1;
        Ok(match self.reader.token()? {
            Token::Extension {
                kind: UNDEFINED, ..
            } => Element::Absent,
            Token::Array(count) => Element::Array(count),
            Token::Map(count) => Element::Map(count),
            token => Element::Scalar(token),
        })
    }

    /// The next element's bytes, whatever it is. `None` if it is absent.
    pub(super) fn raw(&mut self) -> Result<Option<&'a [u8]>, WireError> {
        let mut start = *self.reader;
        let before = self.reader.remaining();
        match self.element()? {
            Element::Absent => return Ok(None),
            Element::Scalar(_) => {}
            Element::Array(count) => skip(self.reader, u64::from(count))?,
            Element::Map(count) => skip(self.reader, 2 * u64::from(count))?,
        }
        Ok(Some(start.take(before - self.reader.remaining())?))
    }

    /// A copy of the next element's bytes, whatever it is.
    pub(super) fn any(&mut self, _field: &'static str) -> Result<Option<Vec<u8>>, WireError> {
        let raw = self.raw()?;
        self.take_room(raw.map_or(0, |raw| ALLOCATION + raw.len()))?;
        Ok(raw.map(<[u8]>::to_vec))
    }

    /// What `read` reads, which must be there.
    pub(super) fn required<T>(
        &mut self,
        field: &'static str,
        read: impl FnOnce(&mut Self, &'static str) -> Result<Option<T>, WireError>,
    ) -> Result<T, WireError> {
        read(self, field)?.ok_or_else(|| self.field_error(field))
    }

    pub(super) fn text(&mut self, field: &'static str) -> Result<Option<String>, WireError> {
        match self.element()? {
            Element::Absent | Element::Scalar(Token::Nil) => Ok(None),
            Element::Scalar(Token::Text(text)) => self.keep_text(text).map(Some),
            _ => Err(self.field_error(field)),
        }
    }

    pub(super) fn keep_text(&mut self, text: &[u8]) -> Result<String, WireError> {
        self.take_room(ALLOCATION + text.len())?;
        Ok(String::from_utf8_lossy(text).into_owned())
    }

    /// The next element if it is a text, cut to [`TEXT_MAX`](crate::TEXT_MAX); anything else counts as absent. For what is
    /// read by people only.
    pub(super) fn short_text(&mut self) -> Result<Option<String>, WireError> {
        Ok(match self.raw()?.map(|raw| Reader::new(raw).token()) {
            Some(Ok(Token::Text(text))) => Some(text::short(text)),
            _ => None,
        })
    }

    /// The next element if it is a text; anything else counts as absent. For what is only informative.
    pub(super) fn any_text(&mut self) -> Result<Option<String>, WireError> {
        Ok(match self.raw()?.map(|raw| Reader::new(raw).token()) {
            Some(Ok(Token::Text(text))) => Some(self.keep_text(text)?),
            _ => None,
        })
    }

    /// Whether the next element is true; anything else is not. For what is only informative.
    pub(super) fn is_true(&mut self) -> Result<bool, WireError> {
        let raw = self.raw()?;
        Ok(raw.map(|raw| Reader::new(raw).token()) == Some(Ok(Token::Bool(true))))
    }

    pub(super) fn number(&mut self, field: &'static str) -> Result<Option<f64>, WireError> {
        match self.element()? {
            Element::Absent | Element::Scalar(Token::Nil) => Ok(None),
            Element::Scalar(token) => number(token)
                .map(Some)
                .ok_or_else(|| self.field_error(field)),
            _ => Err(self.field_error(field)),
        }
    }

    /// A whole number of 32 bits: an id.
    pub(super) fn id(&mut self, field: &'static str) -> Result<Option<u32>, WireError> {
        let Some(number) = self.number(field)? else {
            return Ok(None);
        };
        let id = number as u32;
        if f64::from(id) == number {
            Ok(Some(id))
        } else {
            Err(self.field_error(field))
        }
    }

    pub(super) fn boolean(&mut self, field: &'static str) -> Result<Option<bool>, WireError> {
        match self.element()? {
            Element::Absent | Element::Scalar(Token::Nil) => Ok(None),
            Element::Scalar(Token::Bool(value)) => Ok(Some(value)),
            _ => Err(self.field_error(field)),
        }
    }

    /// The elements of an array, each read by `read`. Absent: no elements.
    pub(super) fn list<T>(
        &mut self,
        field: &'static str,
        mut read: impl FnMut(&mut Elements<'_, 'a>) -> Result<T, WireError>,
    ) -> Result<Vec<T>, WireError> {
        let count = match self.element()? {
            Element::Absent | Element::Scalar(Token::Nil) => 0,
            Element::Array(count) => count,
            _ => return Err(self.field_error(field)),
        };
        let mut list = Vec::new();
        let mut elements = Elements::new(self.reader, count, self.command, self.room);
        while !elements.is_empty() {
            // Twice, because a list grows by doubling.
            elements.take_room(2 * size_of::<T>())?;
            list.push(read(&mut elements)?);
        }
        Ok(list)
    }

    /// A list of texts.
    pub(super) fn texts(&mut self, field: &'static str) -> Result<Vec<String>, WireError> {
        self.list(field, |elements| {
            elements
                .text(field)?
                .ok_or_else(|| elements.field_error(field))
        })
    }

    /// The members of a map. `read` gets each key and reads or skips the value; what it does not read is skipped.
    /// `None` if the map is absent.
    pub(super) fn map(
        &mut self,
        field: &'static str,
        mut read: impl FnMut(&str, &mut Elements<'_, 'a>) -> Result<(), WireError>,
    ) -> Result<Option<()>, WireError> {
        let count = match self.element()? {
            Element::Absent | Element::Scalar(Token::Nil) => return Ok(None),
            Element::Map(count) => count,
            _ => return Err(self.field_error(field)),
        };
        for _ in 0..count {
            let Token::Text(key) = self.reader.token()? else {
                return Err(self.field_error(field));
            };
            let mut value = Elements::new(self.reader, 1, self.command, self.room);
            read(&String::from_utf8_lossy(key), &mut value)?;
            value.finish()?;
        }
        Ok(Some(()))
    }

    /// Skips what is left.
    pub(super) fn finish(self) -> Result<(), WireError> {
        skip(self.reader, self.left)
    }
}

/// Skips this many values. Every token takes at least a byte, so the work is bounded by the input, whatever counts it
/// claims; nothing is kept, so no nesting is too deep.
pub(crate) fn skip(reader: &mut Reader<'_>, count: u64) -> Result<(), WireError> {
    let mut left = count;
    while left > 0 {
        left -= 1;
        left += match reader.token()? {
            Token::Array(count) => u64::from(count),
            Token::Map(count) => 2 * u64::from(count),
            _ => 0,
        };
    }
    Ok(())
}

/// The number that a token stands for. 64-bit integers, which nobody should send, are taken as numbers too.
pub(crate) fn number(token: Token<'_>) -> Option<f64> {
    match token {
        Token::Small(value) => Some(f64::from(value)),
        Token::Number(value) => Some(value),
        Token::Unsigned64(value) => Some(value as f64),
        Token::Signed64(value) => Some(value as f64),
        _ => None,
    }
}

/// Writes commands the way the peers do.
#[derive(Debug, Default)]
pub(super) struct Writer {
    out: ByteBuf,
}

/// Writing to memory cannot fail; `rmp` returns results because its other outputs can.
fn done<T, E>(result: Result<T, E>) {
    debug_assert!(result.is_ok(), "writing to memory failed");
}

impl Writer {
    pub(super) fn array(&mut self, count: usize) -> &mut Self {
        done(rmp::encode::write_array_len(&mut self.out, count as u32));
        self
    }

    /// A map's header, always in the 16-bit form.
    pub(super) fn map(&mut self, count: u16) -> &mut Self {
        self.raw(&[0xde]).raw(&count.to_be_bytes())
    }

    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        done(rmp::encode::write_str(&mut self.out, text));
        self
    }

    pub(super) fn texts(&mut self, texts: &[impl AsRef<str>]) -> &mut Self {
        self.array(texts.len());
        for text in texts {
            self.text(text.as_ref());
        }
        self
    }

    /// A number, as JavaScript writes it: the smallest integer form up to 32 bits, else a double. Never a 64-bit integer.
    pub(super) fn number(&mut self, number: f64) -> &mut Self {
        let integer = number as i64;
        if integer as f64 == number && (-0x8000_0000..=0xffff_ffff).contains(&integer) {
            done(rmp::encode::write_sint(&mut self.out, integer));
        } else {
            done(rmp::encode::write_f64(&mut self.out, number));
        }
        self
    }

    pub(super) fn boolean(&mut self, value: bool) -> &mut Self {
        done(rmp::encode::write_bool(&mut self.out, value));
        self
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        done(rmp::encode::write_bin(&mut self.out, bytes));
        self
    }

    pub(super) fn undefined(&mut self) -> &mut Self {
        self.raw(&[0xd4, 0x00, 0x00])
    }

    /// One value, or undefined.
    pub(super) fn optional<T>(
        &mut self,
        value: Option<T>,
        write: impl FnOnce(&mut Self, T),
    ) -> &mut Self {
        match value {
            Some(value) => write(self, value),
            None => {
                self.undefined();
            }
        }
        self
    }

    /// Bytes that are MessagePack already.
    pub(super) fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        done(self.out.write_bytes(bytes));
        self
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.out.into_vec()
    }
}
