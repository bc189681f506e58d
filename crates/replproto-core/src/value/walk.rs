//! Seeing everything in a value, in order and without allocating.

use super::error::ValueError;
use super::reader::{BigIntRef, Cursor, Elements, FieldName, Item};
use super::take::Take;
use super::text::Text;

/// What a walk over a value comes upon. The parts of a container follow it, up to [`Event::End`].
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// Null.
    Null,
    /// JavaScript's undefined, which is not null.
    Undefined,
    /// True or false.
    Bool(bool),
    /// A number.
    Number(f64),
    /// A bigint.
    BigInt(BigIntRef<'a>),
    /// Text.
    Text(Text<'a>),
    /// Bytes.
    Bytes(&'a [u8]),
    /// A date in milliseconds since 1970, a whole number; NaN for an invalid date.
    Date(f64),
    /// A blob: the payload of its extension, see [`BlobExtension::parse`](super::BlobExtension::parse).
    Blob(&'a [u8]),
    /// The elements of an array follow.
    Array,
    /// The members of a set follow.
    Set,
    /// Source and flags of a regular expression follow, as two texts.
    RegExp,
    /// Keys and values of a map follow in turn.
    Map,
    /// The fields of an object follow, each announced by its [`Event::Name`].
    Object,
    /// The name of the field that comes next.
    Name(&'a str),
    /// The innermost container is complete.
    End,
}

/// What [`RawValue::read_all`](super::RawValue::read_all) has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Totals {
    /// Fields of objects, at every depth.
    pub fields: u64,
    /// Values, containers included.
    pub values: u64,
    /// Bytes of text, names not included.
    pub text_bytes: u64,
    /// Texts that are not valid UTF-8.
    pub invalid_texts: u64,
}

impl Totals {
    #[inline]
    pub(crate) fn add(&mut self, event: Event<'_>) {
        match event {
            Event::End => return,
            Event::Name(_) => {
                self.fields += 1;
                return;
            }
            Event::Text(text) if text.is_valid() => self.text_bytes += text.as_bytes().len() as u64,
            Event::Text(_) => self.invalid_texts += 1,
            _ => {}
        }
        self.values += 1;
    }
}

/// Shows everything to `visit`, which looks at texts if `READS_TEXT`.
pub(crate) struct Walk<V, const READS_TEXT: bool> {
    pub(crate) visit: V,
}

impl<'a, V, E, const READS_TEXT: bool> Take<'a> for Walk<V, READS_TEXT>
where
    V: FnMut(Event<'_>) -> Result<(), E>,
    E: From<ValueError>,
{
    type Error = E;
    const READS_TEXT: bool = READS_TEXT;

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn name(&mut self, name: FieldName<'a>) -> Result<(), E> {
        (self.visit)(Event::Name(name.as_str()))
    }

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn item(&mut self, cursor: &mut Cursor<'a>, item: Item<'a>) -> Result<(), E> {
        let visit = &mut self.visit;
        match item {
            Item::Null => visit(Event::Null),
            Item::Undefined => visit(Event::Undefined),
            Item::Bool(value) => visit(Event::Bool(value)),
            Item::Number(value) => visit(Event::Number(value)),
            Item::BigInt(value) => visit(Event::BigInt(value)),
            Item::Text(text) => visit(Event::Text(text)),
            Item::Bytes(bytes) => visit(Event::Bytes(bytes)),
            Item::Date(milliseconds) => visit(Event::Date(milliseconds)),
            Item::Blob(payload) => visit(Event::Blob(payload)),
            Item::Array(elements) => self.elements(cursor, Event::Array, elements),
            Item::Set(elements) => self.elements(cursor, Event::Set, elements),
            Item::RegExp(elements) => self.elements(cursor, Event::RegExp, elements),
            Item::Map(elements) => self.elements(cursor, Event::Map, elements),
            Item::Object(object) => {
                visit(Event::Object)?;
                cursor.fields_to(object, self)?;
                (self.visit)(Event::End)
            }
        }
    }
}

impl<V, const READS_TEXT: bool> Walk<V, READS_TEXT> {
    fn elements<'a, E>(
        &mut self,
        cursor: &mut Cursor<'a>,
        opening: Event<'_>,
        elements: Elements,
    ) -> Result<(), E>
    where
        V: FnMut(Event<'_>) -> Result<(), E>,
        E: From<ValueError>,
    {
        (self.visit)(opening)?;
        cursor.elements_to(elements, self)?;
        (self.visit)(Event::End)
    }
}
