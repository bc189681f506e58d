//! One field of a record, read without the rest.

use alloc::borrow::Cow;
use alloc::string::String;

use super::error::{ValueError, ValueErrorKind};
use super::json::{JsonStyle, JsonWriter};
use super::reader::{BigIntRef, Cursor, Item, Object, Opened};
use super::take::Take as _;
use super::text::Text;
use super::tree::{self, Value};
use super::{name, typed};
use crate::msgpack::Reader;

/// A field of a record: scalars at hand, containers on request. Allocates nothing unless a method says so.
#[derive(Clone, Debug)]
pub struct FieldValue<'a> {
    /// Just behind `item`.
    cursor: Cursor<'a>,
    item: Item<'a>,
    /// The item is a document of its own, which nothing may follow.
    is_document: bool,
}

impl<'a> FieldValue<'a> {
    /// The document `item`, which `cursor` has just read.
    pub(crate) const fn document(cursor: Cursor<'a>, item: Item<'a>) -> Self {
        Self {
            cursor,
            item,
            is_document: true,
        }
    }

    /// The field called `wanted` of the value that `cursor` is at the start of.
    #[inline]
    pub(crate) fn of_document(
        mut cursor: Cursor<'a>,
        wanted: &str,
    ) -> Result<Option<Self>, ValueError> {
        match cursor.document()? {
            Item::Object(object) => Self::of_object(cursor, object, wanted),
            _ => Ok(None),
        }
    }

    /// The field called `wanted` of the object that `cursor` has just opened.
    #[inline]
    fn of_object(
        mut cursor: Cursor<'a>,
        object: Opened<'a>,
        wanted: &str,
    ) -> Result<Option<Self>, ValueError> {
        let item = find(&mut cursor, object, wanted)?;
        Ok(item.map(|item| Self {
            cursor,
            item,
            is_document: matches!(object.form(), Object::Typed(..)),
        }))
    }

    /// True for null. Undefined is not null.
    #[must_use]
    pub const fn is_null(&self) -> bool {
        matches!(self.item, Item::Null)
    }

    /// True for undefined.
    #[must_use]
    pub const fn is_undefined(&self) -> bool {
        matches!(self.item, Item::Undefined)
    }

    /// The truth value, if it is one.
    #[must_use]
    pub const fn as_bool(&self) -> Option<bool> {
        match self.item {
            Item::Bool(value) => Some(value),
            _ => None,
        }
    }

    /// The number, if it is one. Bigints are not numbers.
    #[must_use]
    pub const fn as_f64(&self) -> Option<f64> {
        match self.item {
            Item::Number(value) => Some(value),
            _ => None,
        }
    }

    /// The bigint, if it is one.
    #[must_use]
    pub const fn as_bigint(&self) -> Option<BigIntRef<'a>> {
        match self.item {
            Item::BigInt(value) => Some(value),
            _ => None,
        }
    }

    /// The text, if it is text, with U+FFFD for what is not valid UTF-8. Allocates only in that case.
    #[must_use]
    pub fn as_str(&self) -> Option<Cow<'a, str>> {
        match self.item {
            Item::Text(text) => Some(text.to_str_lossy()),
            _ => None,
        }
    }

    /// The text, if it is text, not yet checked.
    #[must_use]
    pub const fn as_text(&self) -> Option<Text<'a>> {
        match self.item {
            Item::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The bytes, if it is bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> Option<&'a [u8]> {
        match self.item {
            Item::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The date, if it is one: whole milliseconds since 1970, NaN for an invalid date.
    #[must_use]
    pub const fn as_date(&self) -> Option<f64> {
        match self.item {
            Item::Date(milliseconds) => Some(milliseconds),
            _ => None,
        }
    }

    /// The payload of a blob, if it is one, see [`BlobExtension::parse`](super::BlobExtension::parse).
    #[must_use]
    pub const fn as_blob(&self) -> Option<&'a [u8]> {
        match self.item {
            Item::Blob(payload) => Some(payload),
            _ => None,
        }
    }

    /// A field of this field, as [`RawValue::field`](super::RawValue::field).
    ///
    /// # Errors
    ///
    /// Any [`ValueError`] on the way to it.
    pub fn field(&self, name: &str) -> Result<Option<Self>, ValueError> {
        match self.item {
            Item::Object(object) => Self::of_object(self.cursor.clone(), object, name),
            _ => Ok(None),
        }
    }

    fn read<T>(
        &self,
        read: impl FnOnce(&mut Cursor<'a>, Item<'a>) -> Result<T, ValueError>,
    ) -> Result<T, ValueError> {
        let mut cursor = self.cursor.clone();
        let value = read(&mut cursor, self.item)?;
        if self.is_document {
            cursor.finish()?;
        }
        Ok(value)
    }

    /// The field as an owned tree.
    ///
    /// # Errors
    ///
    /// Any [`ValueError`] inside the field.
    pub fn decode(&self) -> Result<Value, ValueError> {
        self.read(tree::build)
    }

    /// Appends the field as JSON. After an error `out` is as it was.
    ///
    /// # Errors
    ///
    /// Any [`ValueError`] inside the field.
    pub fn write_json(&self, out: &mut String, style: JsonStyle) -> Result<(), ValueError> {
        let start = out.len();
        let written = self.read(|cursor, item| JsonWriter::new(out, style).item(cursor, item));
        if written.is_err() {
            out.truncate(start);
        }
        written
    }

    /// Fills a type of your own, as [`RawValue::deserialize`](super::RawValue::deserialize).
    ///
    /// # Errors
    ///
    /// Any [`ValueError`] inside the field, or [`ValueErrorKind::Refused`].
    #[cfg(feature = "serde")]
    pub fn deserialize<T: serde::Deserialize<'a>>(&self) -> Result<T, ValueError> {
        self.read(super::de::deserialize)
    }
}

/// The last field called `wanted` of the object that `cursor` has just opened.
fn find<'a>(
    cursor: &mut Cursor<'a>,
    object: Opened<'a>,
    wanted: &str,
) -> Result<Option<Item<'a>>, ValueError> {
    match object.form() {
        Object::Typed(structure, at) => match cursor.dictionary.find(&structure.shape, wanted) {
            Some(index) => typed::item(cursor, structure, at, index),
            None => Ok(None),
        },
        Object::Shared(shape) => match cursor.dictionary.find(shape, wanted) {
            Some(index) => nth(cursor, object, index),
            None => Ok(None),
        },
        Object::Inline { names_at, count } => {
            let mut names = Reader::starting_at(cursor.bytes, names_at);
            let mut found = None;
            for at in 0..count {
                if name::read(&mut names, ValueErrorKind::BadDefinition)? == wanted {
                    found = Some(at);
                }
            }
            match found {
                Some(index) => nth(cursor, object, index),
                None => Ok(None),
            }
        }
        Object::Map(_) => find_in_map(cursor, object, wanted),
    }
}

/// The field behind `index` others, which are skipped.
fn nth<'a>(
    cursor: &mut Cursor<'a>,
    object: Opened<'a>,
    index: usize,
) -> Result<Option<Item<'a>>, ValueError> {
    let mut fields = cursor.fields(object);
    for _ in 0..index {
        if let Some((_, field)) = cursor.next_field(&mut fields)? {
            cursor.skip(field)?;
        }
    }
    let field = cursor.next_field(&mut fields)?;
    Ok(field.map(|(_, item)| item))
}

/// Names and values alternate in a map, so all of it has to be read to know the last.
fn find_in_map<'a>(
    cursor: &mut Cursor<'a>,
    object: Opened<'a>,
    wanted: &str,
) -> Result<Option<Item<'a>>, ValueError> {
    let mut fields = cursor.fields(object);
    let mut found = None;
    while let Some((name, item)) = cursor.next_field(&mut fields)? {
        if name.as_str() == wanted {
            found = Some((cursor.clone(), item));
        }
        cursor.skip(item)?;
    }
    Ok(found.map(|(behind, item)| {
        *cursor = behind;
        item
    }))
}
