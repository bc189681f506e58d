//! Seeing everything in a value, in order and without allocating.

use super::error::ValueError;
use super::reader::{BigIntRef, Cursor, Item};
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
            Event::Text(text) => match text.as_str() {
                Some(text) => self.text_bytes += text.len() as u64,
                None => self.invalid_texts += 1,
            },
            _ => {}
        }
        self.values += 1;
    }
}

/// Shows `item` and all that it opened.
pub(crate) fn walk<'a, E: From<ValueError>>(
    cursor: &mut Cursor<'a>,
    item: Item<'a>,
    visit: &mut impl FnMut(Event<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let (opening, mut elements) = match item {
        Item::Null => return visit(Event::Null),
        Item::Undefined => return visit(Event::Undefined),
        Item::Bool(value) => return visit(Event::Bool(value)),
        Item::Number(value) => return visit(Event::Number(value)),
        Item::BigInt(value) => return visit(Event::BigInt(value)),
        Item::Text(text) => return visit(Event::Text(text)),
        Item::Bytes(bytes) => return visit(Event::Bytes(bytes)),
        Item::Date(milliseconds) => return visit(Event::Date(milliseconds)),
        Item::Blob(payload) => return visit(Event::Blob(payload)),
        Item::Array(elements) => (Event::Array, elements),
        Item::Set(elements) => (Event::Set, elements),
        Item::RegExp(elements) => (Event::RegExp, elements),
        Item::Map(elements) => (Event::Map, elements),
        Item::Object(object) => {
            visit(Event::Object)?;
            let mut fields = cursor.fields(object);
            while let Some((name, field)) = cursor.next_field(&mut fields)? {
                visit(Event::Name(&name))?;
                walk(cursor, field, visit)?;
            }
            return visit(Event::End);
        }
    };
    visit(opening)?;
    while let Some(element) = cursor.next_element(&mut elements)? {
        walk(cursor, element, visit)?;
    }
    visit(Event::End)
}
