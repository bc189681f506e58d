//! Values as owned trees.

use alloc::string::String;
use alloc::vec::Vec;

use super::bigint::BigInt;
use super::error::ValueError;
use super::reader::{Cursor, Elements, FieldName, Item, Opened};
use super::take::Take;

/// A record value, owned. The value model is JavaScript's: one type of number, bigints apart from it, and undefined
/// apart from null.
///
/// Complete: the protocol's values have no other types.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Null.
    Null,
    /// Undefined.
    Undefined,
    /// True or false.
    Bool(bool),
    /// A number.
    Number(f64),
    /// A bigint.
    BigInt(BigInt),
    /// Text. Lone surrogates have become U+FFFD.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A date in milliseconds since 1970, a whole number; NaN for an invalid date.
    Date(f64),
    /// An array.
    Array(Vec<Self>),
    /// A map in its order; keys can be anything.
    Map(Vec<(Self, Self)>),
    /// An object (record, typed struct, or map of the control profile). The order of the fields has no meaning.
    Object(Vec<(String, Self)>),
    /// A set.
    Set(Vec<Self>),
    /// A regular expression.
    RegExp {
        /// The pattern.
        source: String,
        /// Its flags, for example `gi`.
        flags: String,
    },
    /// A blob: the payload of its extension, see [`BlobExtension::parse`](super::BlobExtension::parse).
    Blob(Vec<u8>),
}

impl Value {
    /// The field called `name`, if this is an object that has it; the last one of several.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Object(fields) => fields
                .iter()
                .rev()
                .find_map(|(other, value)| (other == name).then_some(value)),
            _ => None,
        }
    }
}

/// The tree of `item` and all that it opened. Each kind of container has a function of its own, so that a level takes no
/// more room on the stack than it needs.
pub(crate) fn build<'a>(cursor: &mut Cursor<'a>, item: Item<'a>) -> Result<Value, ValueError> {
    match item {
        Item::Array(elements) => members(cursor, elements).map(Value::Array),
        Item::Set(elements) => members(cursor, elements).map(Value::Set),
        Item::RegExp(elements) => regexp(cursor, elements),
        Item::Map(elements) => map(cursor, elements).map(Value::Map),
        Item::Object(object) => fields(cursor, object).map(Value::Object),
        item => Ok(scalar(item)),
    }
}

fn scalar(item: Item<'_>) -> Value {
    match item {
        Item::Null => Value::Null,
        Item::Bool(value) => Value::Bool(value),
        Item::Number(value) => Value::Number(value),
        Item::BigInt(value) => Value::BigInt(value.to_bigint()),
        Item::Text(text) => Value::Text(text.to_str_lossy().into_owned()),
        Item::Bytes(bytes) => Value::Bytes(bytes.to_vec()),
        Item::Date(milliseconds) => Value::Date(milliseconds),
        Item::Blob(payload) => Value::Blob(payload.to_vec()),
        // No container comes here.
        _ => Value::Undefined,
    }
}

fn regexp<'a>(cursor: &mut Cursor<'a>, elements: Elements) -> Result<Value, ValueError> {
    let mut texts = members(cursor, elements)?.into_iter();
    let mut text = || match texts.next() {
        Some(Value::Text(text)) => text,
        _ => String::new(),
    };
    Ok(Value::RegExp {
        source: text(),
        flags: text(),
    })
}

fn map<'a>(
    cursor: &mut Cursor<'a>,
    mut elements: Elements,
) -> Result<Vec<(Value, Value)>, ValueError> {
    let mut pairs = Vec::with_capacity(elements.reserve() / 2);
    while let Some(key) = cursor.next_element(&mut elements)? {
        let key = build(cursor, key)?;
        if let Some(value) = cursor.next_element(&mut elements)? {
            pairs.push((key, build(cursor, value)?));
        }
    }
    Ok(pairs)
}

fn fields<'a>(
    cursor: &mut Cursor<'a>,
    object: Opened<'a>,
) -> Result<Vec<(String, Value)>, ValueError> {
    let mut fields = Fields(Vec::with_capacity(object.reserve()));
    cursor.fields_to(object, &mut fields)?;
    Ok(fields.0)
}

fn members<'a>(cursor: &mut Cursor<'a>, elements: Elements) -> Result<Vec<Value>, ValueError> {
    let mut members = Members(Vec::with_capacity(elements.reserve()));
    cursor.elements_to(elements, &mut members)?;
    Ok(members.0)
}

struct Members(Vec<Value>);

impl<'a> Take<'a> for Members {
    type Error = ValueError;
    const READS_TEXT: bool = true;

    #[inline]
    fn name(&mut self, _name: FieldName<'a>) -> Result<(), ValueError> {
        Ok(())
    }

    #[inline]
    fn item(&mut self, cursor: &mut Cursor<'a>, item: Item<'a>) -> Result<(), ValueError> {
        self.0.push(build(cursor, item)?);
        Ok(())
    }
}

/// The last one has only its name until its item comes.
struct Fields(Vec<(String, Value)>);

impl<'a> Take<'a> for Fields {
    type Error = ValueError;
    const READS_TEXT: bool = true;

    #[inline]
    fn name(&mut self, name: FieldName<'a>) -> Result<(), ValueError> {
        self.0
            .push((name.into_cow().into_owned(), Value::Undefined));
        Ok(())
    }

    #[inline]
    fn item(&mut self, cursor: &mut Cursor<'a>, item: Item<'a>) -> Result<(), ValueError> {
        if let Some((_, value)) = self.0.last_mut() {
            *value = build(cursor, item)?;
        }
        Ok(())
    }
}
