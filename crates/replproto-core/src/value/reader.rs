//! The one walk over the bytes of a value.
//!
//! A [`Cursor`] hands out one [`Item`] after the other: scalars complete, containers as a handle whose content is then
//! asked for with [`Cursor::next_element`] or [`Cursor::next_field`], each until it says `None`. Trees, JSON, serde, blob
//! references and lazy fields are all small recursions over these three calls, so what is valid is decided only here.
//!
//! Work and memory are linear in the bytes: counts are compared with the bytes left before they are used, nested documents
//! never overlap, nesting stops at [`MAX_DEPTH`], and each use of a structure is charged by [`Cursor::charge`].

use alloc::borrow::Cow;

use super::bigint::BigInt;
use super::dictionary::{Dictionary, NameRange, Shape, Structure};
use super::encode::Profile;
use super::error::{ValueError, ValueErrorKind};
use super::extension;
use super::records::Scope;
use super::text::Text;
use super::typed::{self, Slots};
use super::{MAX_DEPTH, WORK_FREE, WORK_PER_BYTE, name};
use crate::msgpack::{Reader, Token};

/// What stands at one place of a value.
///
/// The tag takes a whole word so that items are moved in whole words. With a narrow tag the compiler moves them in odd
/// pieces, which the processor waits for: half the time of a walk.
#[derive(Clone, Copy, Debug)]
#[repr(u64)]
pub(crate) enum Item<'a> {
    Null,
    Undefined,
    Bool(bool),
    Number(f64),
    BigInt(BigIntRef<'a>),
    Text(Text<'a>),
    Bytes(&'a [u8]),
    /// Milliseconds since 1970, a whole number; NaN for an invalid date.
    Date(f64),
    /// The payload of a blob extension.
    Blob(&'a [u8]),
    Array(Elements),
    Set(Elements),
    /// Two texts, source and flags; checked.
    RegExp(Elements),
    /// Keys and values in turn.
    Map(Elements),
    Object(Object<'a>),
}

/// A bigint as it stands in a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BigIntRef<'a>(BigIntForm<'a>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BigIntForm<'a> {
    Unsigned(u64),
    /// Two's complement, highest byte first, never empty.
    Bytes(&'a [u8]),
}

impl<'a> BigIntRef<'a> {
    /// A bigint of these bytes: two's complement, highest byte first, at least one.
    pub(crate) const fn from_be_bytes(bytes: &'a [u8]) -> Self {
        Self(BigIntForm::Bytes(bytes))
    }

    /// The number, if it fits.
    #[must_use]
    pub fn to_i128(self) -> Option<i128> {
        match self.0 {
            BigIntForm::Unsigned(value) => Some(value.into()),
            BigIntForm::Bytes(bytes) if bytes.len() <= 16 => {
                let fill = if bytes[0] & 0x80 == 0 { 0 } else { 0xff };
                let mut wide = [fill; 16];
                wide[16 - bytes.len()..].copy_from_slice(bytes);
                Some(i128::from_be_bytes(wide))
            }
            BigIntForm::Bytes(bytes) => BigInt::from_be_bytes(bytes).to_i128(),
        }
    }

    /// The number as an owned value. Allocates.
    #[must_use]
    pub fn to_bigint(self) -> BigInt {
        match self.0 {
            BigIntForm::Unsigned(value) => value.into(),
            BigIntForm::Bytes(bytes) => BigInt::from_be_bytes(bytes),
        }
    }
}

/// The elements of a container that have not been read yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Elements {
    remaining: usize,
}

impl Elements {
    /// A hint for how much to reserve: what is left, but not so much that claims nested in claims add up.
    pub(crate) fn reserve(self) -> usize {
        self.remaining.min(16)
    }
}

/// An object whose fields have not been asked for yet.
#[derive(Clone, Copy, Debug)]
#[repr(u64)]
pub(crate) enum Object<'a> {
    /// A record of the dictionary.
    Shared(&'a Shape),
    /// A record defined inside the document: where its names begin in the value, and how many there are.
    Inline { names_at: usize, count: usize },
    /// A map of the control profile.
    Map(usize),
    /// A typed struct, and where its fixed section begins in the value.
    Typed(&'a Structure, usize),
}

/// The fields of an object that have not been read yet.
#[derive(Clone, Debug)]
pub(crate) enum Fields<'a> {
    Shared(core::slice::Iter<'a, NameRange>),
    Inline { names: Reader<'a>, remaining: usize },
    Map { remaining: usize },
    Typed(Slots<'a>),
}

/// Reads a value from front to back.
#[derive(Clone, Debug)]
pub(crate) struct Cursor<'a> {
    /// The whole value, for offsets; `reader` ends where the current document ends.
    pub(crate) bytes: &'a [u8],
    pub(crate) reader: Reader<'a>,
    pub(crate) dictionary: &'a Dictionary,
    profile: Profile,
    /// Record structures defined in the current document so far.
    pub(crate) scope: Scope,
    depth: u32,
    /// What may still be charged.
    work: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) const fn new(bytes: &'a [u8], dictionary: &'a Dictionary, profile: Profile) -> Self {
        Self {
            bytes,
            reader: Reader::new(bytes),
            dictionary,
            profile,
            scope: Scope::new(),
            depth: 0,
            work: WORK_FREE.saturating_add(bytes.len().saturating_mul(WORK_PER_BYTE)),
        }
    }

    /// An error at the current position.
    #[cold]
    pub(crate) fn error(&self, kind: ValueErrorKind) -> ValueError {
        ValueError::new(kind, self.reader.position())
    }

    /// Checks that the current document has been read to its end.
    pub(crate) fn finish(&self) -> Result<(), ValueError> {
        if self.reader.is_at_end() {
            Ok(())
        } else {
            Err(self.error(ValueErrorKind::TrailingBytes))
        }
    }

    /// The item at the start of a document, the one place where a typed struct can stand.
    #[inline]
    pub(crate) fn document(&mut self) -> Result<Item<'a>, ValueError> {
        match self.reader.peek() {
            Some(0x20..=0x3f) if self.profile == Profile::Table => {
                let object = typed::open(self)?;
                self.object(object)
            }
            _ => self.read(),
        }
    }

    /// The item that comes next inside a document.
    ///
    /// Always inlined, as [`Reader::token`] is.
    #[inline(always)]
    pub(crate) fn read(&mut self) -> Result<Item<'a>, ValueError> {
        let at = self.reader.position();
        let token = self
            .reader
            .token()
            .map_err(|error| ValueError::token(error, at))?;
        Ok(match token {
            Token::Nil => Item::Null,
            Token::Bool(value) => Item::Bool(value),
            Token::Small(id @ 0x40..) if self.profile == Profile::Table => {
                let object = self.reference(id, at)?;
                self.object(object)?
            }
            Token::Small(value) => Item::Number(f64::from(value)),
            Token::Number(value) => Item::Number(value),
            Token::Unsigned64(value) => Item::BigInt(BigIntRef(BigIntForm::Unsigned(value))),
            Token::Signed64(_) => {
                let end = self.reader.position();
                Item::BigInt(BigIntRef::from_be_bytes(&self.bytes[end - 8..end]))
            }
            Token::Text(bytes) => Item::Text(Text::new(bytes)),
            Token::Bytes(bytes) => Item::Bytes(bytes),
            Token::Array(count) => Item::Array(self.elements(count as usize)?),
            Token::Map(count) => {
                let count = count as usize;
                let elements = self.elements(count.saturating_mul(2))?;
                match self.profile {
                    Profile::Table => Item::Map(elements),
                    Profile::Control => Item::Object(Object::Map(count)),
                }
            }
            Token::Extension { kind, payload } => extension::read(self, kind as u8, payload, at)?,
        })
    }

    /// Opens a container of `count` elements, each of which takes at least a byte.
    pub(crate) fn elements(&mut self, count: usize) -> Result<Elements, ValueError> {
        if count > self.reader.remaining() {
            return Err(self.error(ValueErrorKind::UnexpectedEnd));
        }
        self.enter()?;
        Ok(Elements { remaining: count })
    }

    fn enter(&mut self) -> Result<(), ValueError> {
        if self.depth == MAX_DEPTH {
            return Err(self.error(ValueErrorKind::TooDeep));
        }
        self.depth += 1;
        Ok(())
    }

    /// Accounts for a use of a structure, which can unfold to more than the bytes that it takes.
    #[inline]
    pub(crate) fn charge(&mut self, work: u32) -> Result<(), ValueError> {
        match self.work.checked_sub(work as usize) {
            Some(left) => {
                self.work = left;
                Ok(())
            }
            None => Err(self.error(ValueErrorKind::TooMuchWork)),
        }
    }

    pub(crate) fn is_table(&self) -> bool {
        self.profile == Profile::Table
    }

    /// Opens an object.
    pub(crate) fn object(&mut self, object: Object<'a>) -> Result<Item<'a>, ValueError> {
        self.enter()?;
        Ok(Item::Object(object))
    }

    /// The next element; `None` closes the container.
    #[inline]
    pub(crate) fn next_element(
        &mut self,
        elements: &mut Elements,
    ) -> Result<Option<Item<'a>>, ValueError> {
        match elements.remaining.checked_sub(1) {
            Some(remaining) => {
                elements.remaining = remaining;
                self.read().map(Some)
            }
            None => {
                self.depth -= 1;
                Ok(None)
            }
        }
    }

    /// Starts on the fields of an object.
    #[inline]
    pub(crate) fn fields(&self, object: Object<'a>) -> Fields<'a> {
        match object {
            Object::Shared(shape) => Fields::Shared(self.dictionary.names(shape).iter()),
            Object::Inline { names_at, count } => Fields::Inline {
                names: Reader::starting_at(self.bytes, names_at),
                remaining: count,
            },
            Object::Map(count) => Fields::Map { remaining: count },
            Object::Typed(structure, at) => Fields::Typed(Slots::new(self, structure, at)),
        }
    }

    /// The next field; `None` closes the object.
    ///
    /// Always inlined, as [`Reader::token`] is.
    #[inline(always)]
    pub(crate) fn next_field(
        &mut self,
        fields: &mut Fields<'a>,
    ) -> Result<Option<(Cow<'a, str>, Item<'a>)>, ValueError> {
        let name = match fields {
            Fields::Typed(slots) => {
                // The slot before may have been a document of its own.
                self.finish()?;
                if let Some((range, slot)) = slots.next() {
                    let name = Cow::Borrowed(self.dictionary.name(range));
                    return Ok(Some((name, typed::item(self, slots, slot)?)));
                }
                None
            }
            Fields::Shared(names) => names
                .next()
                .map(|&range| Cow::Borrowed(self.dictionary.name(range))),
            Fields::Inline { names, remaining } => match remaining.checked_sub(1) {
                Some(left) => {
                    *remaining = left;
                    Some(name::read(names, ValueErrorKind::BadDefinition)?)
                }
                None => None,
            },
            Fields::Map { remaining } => match remaining.checked_sub(1) {
                Some(left) => {
                    *remaining = left;
                    Some(name::read(&mut self.reader, ValueErrorKind::BadDefinition)?)
                }
                None => None,
            },
        };
        let Some(name) = name else {
            self.depth -= 1;
            return Ok(None);
        };
        Ok(Some((name, self.read()?)))
    }

    /// Reads past what `item` opened.
    pub(crate) fn skip(&mut self, item: Item<'a>) -> Result<(), ValueError> {
        match item {
            Item::Array(mut elements)
            | Item::Set(mut elements)
            | Item::RegExp(mut elements)
            | Item::Map(mut elements) => {
                while let Some(element) = self.next_element(&mut elements)? {
                    self.skip(element)?;
                }
            }
            Item::Object(object) => {
                let mut fields = self.fields(object);
                while let Some((_, field)) = self.next_field(&mut fields)? {
                    self.skip(field)?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}
