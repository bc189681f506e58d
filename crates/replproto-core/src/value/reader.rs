//! The one walk over the bytes of a value.
//!
//! A [`Cursor`] goes from item to item: scalars complete, containers as a handle whose content is read next. Who takes in
//! everything, in order, is a [`Take`] and is given the items with [`Cursor::read_to`] and [`Cursor::fields_to`]; who has to
//! ask (serde, lazy fields) pulls the same items with [`Cursor::next_element`] and [`Cursor::next_field`], each until it
//! says `None`. Trees, JSON and all else are small recursions over these, so what is valid is decided only here.
//!
//! Work and memory are linear in the bytes: counts are compared with the bytes left before they are used, nested documents
//! never overlap, nesting stops at [`MAX_DEPTH`], and each use of a structure is charged by [`Cursor::charge`].

use alloc::borrow::Cow;

use super::bigint::BigInt;
use super::dictionary::{Dictionary, Name, Shape, Structure};
use super::encode::Profile;
use super::error::{ValueError, ValueErrorKind};
use super::extension;
use super::records::Scope;
use super::take::{Skip, Take};
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
    Object(Opened<'a>),
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

/// The elements of a container that have not been read yet. Only [`Cursor::elements`] makes one, which counts it as a level.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Elements {
    remaining: usize,
}

impl Elements {
    pub(crate) const fn count(self) -> usize {
        self.remaining
    }

    /// A hint for how much to reserve: what is left, but not so much that claims nested in claims add up.
    pub(crate) fn reserve(self) -> usize {
        self.remaining.min(16)
    }
}

/// What kind of object a place holds, and where its names are.
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

/// An object whose fields have not been asked for yet. Only [`Cursor::open`] makes one, which counts it as a level.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opened<'a>(Object<'a>);

impl<'a> Opened<'a> {
    /// What kind of object it is.
    #[inline]
    pub(crate) const fn form(self) -> Object<'a> {
        self.0
    }

    /// A hint for how much to reserve, as [`Elements::reserve`].
    pub(crate) fn reserve(self) -> usize {
        let count = match self.0 {
            Object::Shared(shape) => shape.len(),
            Object::Typed(structure, _) => structure.shape.len(),
            Object::Inline { count, .. } | Object::Map(count) => count,
        };
        count.min(16)
    }
}

/// The fields of an object that have not been read yet.
#[derive(Clone, Debug)]
pub(crate) enum Fields<'a> {
    Shared(core::slice::Iter<'a, Name>),
    Inline { names: Reader<'a>, remaining: usize },
    Map { remaining: usize },
    Typed(Slots<'a>),
}

/// The name of a field.
#[derive(Clone, Debug)]
pub(crate) enum FieldName<'a> {
    /// From the dictionary.
    Known(Name, &'a Dictionary),
    /// From the value.
    Read(Cow<'a, str>),
}

impl<'a> FieldName<'a> {
    #[inline]
    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Known(name, dictionary) => dictionary.name(*name),
            Self::Read(name) => name,
        }
    }

    #[inline]
    pub(crate) fn into_cow(self) -> Cow<'a, str> {
        match self {
            Self::Known(name, dictionary) => Cow::Borrowed(dictionary.name(name)),
            Self::Read(name) => name,
        }
    }
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

    /// Gives the item at the start of a document, the one place where a typed struct can stand.
    #[inline]
    pub(crate) fn document_to<T: Take<'a>>(&mut self, take: &mut T) -> Result<(), T::Error> {
        if self.is_at_typed_struct() {
            let object = typed::open(self)?;
            take.item(self, Item::Object(object))
        } else {
            self.read_to(take)
        }
    }

    #[inline]
    fn is_at_typed_struct(&self) -> bool {
        matches!(self.reader.peek(), Some(0x20..=0x3f)) && self.is_table()
    }

    /// Gives the item that comes next inside a document.
    ///
    /// In builds for debugging the item is read before it is given: the arms of [`item_to`](Self::item_to) would each take
    /// their own room on the stack, at every level of a value.
    #[cfg_attr(not(debug_assertions), inline(always))]
    pub(crate) fn read_to<T: Take<'a>>(&mut self, take: &mut T) -> Result<(), T::Error> {
        if cfg!(debug_assertions) {
            let item = self.read()?;
            take.item(self, item)
        } else {
            self.item_to(take)
        }
    }

    /// Always inlined, as [`Reader::token`] and [`Take::item`] are.
    #[cfg_attr(not(debug_assertions), inline(always))]
    fn item_to<T: Take<'a>>(&mut self, take: &mut T) -> Result<(), T::Error> {
        let at = self.reader.position();
        let token = match self.reader.token() {
            Ok(token) => token,
            Err(error) => return Err(ValueError::token(error, at).into()),
        };
        match token {
            Token::Nil => take.item(self, Item::Null),
            Token::Bool(value) => take.item(self, Item::Bool(value)),
            Token::Small(id @ 0x40..) if self.profile == Profile::Table => {
                let object = self.reference(id, at)?;
                take.item(self, Item::Object(object))
            }
            Token::Small(value) => take.item(self, Item::Number(value.into())),
            Token::Number(value) => take.item(self, Item::Number(value)),
            Token::Unsigned64(value) => {
                take.item(self, Item::BigInt(BigIntRef(BigIntForm::Unsigned(value))))
            }
            Token::Signed64(_) => {
                let end = self.reader.position();
                let bytes = &self.bytes[end - 8..end];
                take.item(self, Item::BigInt(BigIntRef::from_be_bytes(bytes)))
            }
            Token::Text(bytes) => take.item(self, Item::Text(Text::new(bytes))),
            Token::Bytes(bytes) => take.item(self, Item::Bytes(bytes)),
            Token::Array(count) => {
                let elements = self.elements(count as usize)?;
                take.item(self, Item::Array(elements))
            }
            Token::Map(count) => {
                let count = count as usize;
                self.check_room(count.saturating_mul(2))?;
                let item = match self.profile {
                    Profile::Table => Item::Map(self.elements(2 * count)?),
                    Profile::Control => Item::Object(self.open(Object::Map(count))?),
                };
                take.item(self, item)
            }
            Token::Extension { kind, payload } => {
                let item = extension::read(self, kind as u8, payload, at)?;
                take.item(self, item)
            }
        }
    }

    /// The item at the start of a document.
    pub(crate) fn document(&mut self) -> Result<Item<'a>, ValueError> {
        if self.is_at_typed_struct() {
            typed::open(self).map(Item::Object)
        } else {
            self.read()
        }
    }

    /// The item that comes next inside a document.
    pub(crate) fn read(&mut self) -> Result<Item<'a>, ValueError> {
        let mut item = None;
        self.item_to(&mut item)?;
        item.ok_or_else(|| self.error(ValueErrorKind::UnexpectedEnd))
    }

    /// Opens a container of `count` elements, each of which takes at least a byte.
    pub(crate) fn elements(&mut self, count: usize) -> Result<Elements, ValueError> {
        self.check_room(count)?;
        self.enter()?;
        Ok(Elements { remaining: count })
    }

    /// Opens an object.
    #[inline]
    pub(crate) fn open(&mut self, object: Object<'a>) -> Result<Opened<'a>, ValueError> {
        self.enter()?;
        Ok(Opened(object))
    }

    /// Each element or field takes at least a byte.
    #[inline]
    pub(super) fn check_room(&self, count: usize) -> Result<(), ValueError> {
        if count > self.reader.remaining() {
            return Err(self.error(ValueErrorKind::UnexpectedEnd));
        }
        Ok(())
    }

    /// Goes one level deeper. There is no other way to read on inside something: what is inside is read with an
    /// [`Elements`] or an [`Opened`], and these are made only after this.
    #[inline]
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

    /// Gives the elements of a container to `take`, and closes it.
    pub(crate) fn elements_to<T: Take<'a>>(
        &mut self,
        elements: Elements,
        take: &mut T,
    ) -> Result<(), T::Error> {
        for _ in 0..elements.remaining {
            self.read_to(take)?;
        }
        self.depth -= 1;
        Ok(())
    }

    /// The next element; `None` closes the container.
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

    /// Gives the fields of an object to `take`, and closes it.
    #[inline]
    pub(crate) fn fields_to<T: Take<'a>>(
        &mut self,
        object: Opened<'a>,
        take: &mut T,
    ) -> Result<(), T::Error> {
        match object.form() {
            Object::Typed(structure, at) => typed::fields_to(self, structure, at, take)?,
            Object::Shared(shape) => self.shared_to(shape, take)?,
            Object::Inline { .. } | Object::Map(_) => self.named_to(object, take)?,
        }
        self.depth -= 1;
        Ok(())
    }

    fn shared_to<T: Take<'a>>(&mut self, shape: &Shape, take: &mut T) -> Result<(), T::Error> {
        let dictionary = self.dictionary;
        for &name in dictionary.names(shape) {
            take.name(FieldName::Known(name, dictionary))?;
            self.read_to(take)?;
        }
        Ok(())
    }

    /// Objects whose names stand in the value.
    fn named_to<T: Take<'a>>(&mut self, object: Opened<'a>, take: &mut T) -> Result<(), T::Error> {
        let mut fields = self.fields(object);
        while let Some(name) = self.next_name(&mut fields)? {
            take.name(name)?;
            self.read_to(take)?;
        }
        Ok(())
    }

    /// Starts on the fields of an object, to be asked for one after the other.
    #[inline]
    pub(crate) fn fields(&self, object: Opened<'a>) -> Fields<'a> {
        match object.form() {
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
    pub(crate) fn next_field(
        &mut self,
        fields: &mut Fields<'a>,
    ) -> Result<Option<(FieldName<'a>, Item<'a>)>, ValueError> {
        let mut item = None;
        let name = self.next_field_to(fields, &mut item)?;
        Ok(name.zip(item))
    }

    /// The name of the next field, whose item is given to `take`; `None` closes the object.
    #[inline]
    pub(crate) fn next_field_to<T: Take<'a>>(
        &mut self,
        fields: &mut Fields<'a>,
        take: &mut T,
    ) -> Result<Option<FieldName<'a>>, T::Error> {
        let name = if let Fields::Typed(slots) = fields {
            // The slot before may have been a document of its own.
            self.finish()?;
            let place = slots.next();
            if let Some(place) = place {
                typed::item_to(self, slots, place, take)?;
            }
            place.map(|place| FieldName::Known(place.slot.name, self.dictionary))
        } else {
            let name = self.next_name(fields)?;
            if name.is_some() {
                self.read_to(take)?;
            }
            name
        };
        if name.is_none() {
            self.depth -= 1;
        }
        Ok(name)
    }

    /// The next name of an object that is not a typed struct.
    fn next_name(&mut self, fields: &mut Fields<'a>) -> Result<Option<FieldName<'a>>, ValueError> {
        let (reader, remaining) = match fields {
            Fields::Typed(_) => return Ok(None),
            Fields::Shared(names) => {
                let name = names.next();
                return Ok(name.map(|&name| FieldName::Known(name, self.dictionary)));
            }
            Fields::Inline { names, remaining } => (names, remaining),
            Fields::Map { remaining } => (&mut self.reader, remaining),
        };
        let Some(left) = remaining.checked_sub(1) else {
            return Ok(None);
        };
        *remaining = left;
        let name = name::read(reader, ValueErrorKind::BadDefinition)?;
        Ok(Some(FieldName::Read(name)))
    }

    /// Reads past what `item` opened.
    pub(crate) fn skip(&mut self, item: Item<'a>) -> Result<(), ValueError> {
        Skip.item(self, item)
    }
}
