//! Values as types of the host (feature `serde`).

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::string::ToString;
use core::fmt;

use serde::Deserialize;
use serde::de::Error as _;
use serde::de::value::{CowStrDeserializer, SeqDeserializer};
use serde::de::{
    self, DeserializeSeed, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, VariantAccess,
    Visitor,
};
use serde::forward_to_deserialize_any;

use super::error::{ValueError, ValueErrorKind};
use super::reader::{BigIntRef, Cursor, Elements, FieldName, Fields, Item, Opened};
use super::text::Text;

/// Fills a `T` with `item` and all that it opened.
pub(crate) fn deserialize<'a, T: Deserialize<'a>>(
    cursor: &mut Cursor<'a>,
    item: Item<'a>,
) -> Result<T, ValueError> {
    T::deserialize(Deserializer { cursor, item })
}

impl de::Error for ValueError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        let message: Box<str> = message.to_string().into();
        // Where it happened is filled in by the innermost deserializer.
        Self::new(ValueErrorKind::Refused(message), UNKNOWN)
    }
}

const UNKNOWN: usize = usize::MAX;

struct Deserializer<'c, 'a> {
    cursor: &'c mut Cursor<'a>,
    item: Item<'a>,
}

impl<'a> Deserializer<'_, 'a> {
    /// Gives a refusal of the target the place of what it refused.
    fn located<T>(at: usize, result: Result<T, ValueError>) -> Result<T, ValueError> {
        result.map_err(|mut error| {
            if error.offset == UNKNOWN {
                error.offset = at;
            }
            error
        })
    }

    fn number<V: Visitor<'a>>(value: f64, visitor: V) -> Result<V::Value, ValueError> {
        let unsigned = value as u64;
        let signed = value as i64;
        let is_minus_zero = value == 0.0 && value.is_sign_negative();
        // The casts saturate, and the limits themselves are not doubles (or, for `i64::MIN`, are what they stand for).
        if unsigned as f64 == value && unsigned != u64::MAX && !is_minus_zero {
            visitor.visit_u64(unsigned)
        } else if signed as f64 == value && signed < 0 {
            visitor.visit_i64(signed)
        } else {
            visitor.visit_f64(value)
        }
    }

    fn bigint<V: Visitor<'a>>(value: BigIntRef<'a>, visitor: V) -> Result<V::Value, ValueError> {
        let Some(value) = value.to_i128() else {
            let value = value.to_bigint();
            return match value.to_u128() {
                Some(value) => visitor.visit_u128(value),
                None => visitor.visit_string(value.to_string()),
            };
        };
        if let Ok(value) = u64::try_from(value) {
            visitor.visit_u64(value)
        } else if let Ok(value) = i64::try_from(value) {
            visitor.visit_i64(value)
        } else {
            visitor.visit_i128(value)
        }
    }

    fn text<V: Visitor<'a>>(text: Text<'a>, visitor: V) -> Result<V::Value, ValueError> {
        match text.to_str_lossy() {
            Cow::Borrowed(text) => visitor.visit_borrowed_str(text),
            Cow::Owned(text) => visitor.visit_string(text),
        }
    }

    fn sequence<V: Visitor<'a>>(
        cursor: &mut Cursor<'a>,
        elements: Elements,
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        let mut access = ElementAccess {
            cursor,
            elements,
            is_closed: false,
        };
        let value = visitor.visit_seq(&mut access)?;
        // A tuple takes what it knows and leaves the rest.
        access.close()?;
        Ok(value)
    }

    fn any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, ValueError> {
        let cursor = self.cursor;
        match self.item {
            Item::Null | Item::Undefined => visitor.visit_unit(),
            Item::Bool(value) => visitor.visit_bool(value),
            Item::Number(value) | Item::Date(value) => Self::number(value, visitor),
            Item::BigInt(value) => Self::bigint(value, visitor),
            Item::Text(text) => Self::text(text, visitor),
            Item::Bytes(bytes) | Item::Blob(bytes) => visitor.visit_borrowed_bytes(bytes),
            Item::Array(elements) | Item::Set(elements) | Item::RegExp(elements) => {
                Self::sequence(cursor, elements, visitor)
            }
            Item::Map(elements) => {
                let mut access = ElementAccess {
                    cursor,
                    elements,
                    is_closed: false,
                };
                let value = visitor.visit_map(&mut access)?;
                access.close()?;
                Ok(value)
            }
            Item::Object(object) => {
                let mut access = FieldAccess::new(cursor, object);
                let value = visitor.visit_map(&mut access)?;
                access.close()?;
                Ok(value)
            }
        }
    }
}

impl<'a> de::Deserializer<'a> for Deserializer<'_, 'a> {
    type Error = ValueError;

    fn deserialize_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, ValueError> {
        let at = self.cursor.reader.position();
        Self::located(at, self.any(visitor))
    }

    fn deserialize_option<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self.item {
            Item::Null | Item::Undefined => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_f64<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self.item {
            Item::Number(value) | Item::Date(value) => visitor.visit_f64(value),
            _ => self.deserialize_any(visitor),
        }
    }

    /// A sequence of numbers is also a way to ask for bytes: it is how `Vec<u8>` asks.
    fn deserialize_seq<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self.item {
            Item::Bytes(bytes) | Item::Blob(bytes) => {
                visitor.visit_seq(SeqDeserializer::new(bytes.iter().copied()))
            }
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'a>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        visitor.visit_newtype_struct(self)
    }

    /// The name of a variant as text, or an object whose one field is the variant.
    fn deserialize_enum<V: Visitor<'a>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        let at = self.cursor.reader.position();
        let value = match self.item {
            Item::Text(text) => visitor.visit_enum(text.to_str_lossy().into_deserializer()),
            Item::Object(object) => {
                visitor.visit_enum(VariantField(FieldAccess::new(self.cursor, object)))
            }
            _ => self.any(visitor),
        };
        Self::located(at, value)
    }

    fn deserialize_ignored_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, ValueError> {
        self.cursor.skip(self.item)?;
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        <V: Visitor<'a>>
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 char str string bytes byte_buf unit
        unit_struct tuple tuple_struct map struct identifier
    }
}

/// The elements of a sequence, or keys and values of a map in turn.
struct ElementAccess<'c, 'a> {
    cursor: &'c mut Cursor<'a>,
    elements: Elements,
    is_closed: bool,
}

impl<'a> ElementAccess<'_, 'a> {
    fn next(&mut self) -> Result<Option<Item<'a>>, ValueError> {
        if self.is_closed {
            return Ok(None);
        }
        let element = self.cursor.next_element(&mut self.elements)?;
        self.is_closed = element.is_none();
        Ok(element)
    }

    fn next_seed<T: DeserializeSeed<'a>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, ValueError> {
        let Some(item) = self.next()? else {
            return Ok(None);
        };
        let cursor = &mut *self.cursor;
        seed.deserialize(Deserializer { cursor, item }).map(Some)
    }

    fn close(&mut self) -> Result<(), ValueError> {
        while let Some(element) = self.next()? {
            self.cursor.skip(element)?;
        }
        Ok(())
    }
}

impl<'a> SeqAccess<'a> for &mut ElementAccess<'_, 'a> {
    type Error = ValueError;

    fn next_element_seed<T: DeserializeSeed<'a>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, ValueError> {
        self.next_seed(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.elements.reserve())
    }
}

impl<'a> MapAccess<'a> for &mut ElementAccess<'_, 'a> {
    type Error = ValueError;

    fn next_key_seed<K: DeserializeSeed<'a>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, ValueError> {
        self.next_seed(seed)
    }

    fn next_value_seed<V: DeserializeSeed<'a>>(&mut self, seed: V) -> Result<V::Value, ValueError> {
        let value = self.next_seed(seed)?;
        value.ok_or_else(|| ValueError::custom("a value was asked for before its key"))
    }
}

/// The fields of an object.
struct FieldAccess<'c, 'a> {
    cursor: &'c mut Cursor<'a>,
    fields: Fields<'a>,
    /// Of the field whose name has been handed out.
    value: Option<Item<'a>>,
    is_closed: bool,
}

impl<'c, 'a> FieldAccess<'c, 'a> {
    fn new(cursor: &'c mut Cursor<'a>, object: Opened<'a>) -> Self {
        let mut fields = cursor.fields(object);
        if let Fields::Typed(slots) = &mut fields {
            slots.check_texts();
        }
        Self {
            cursor,
            fields,
            value: None,
            is_closed: false,
        }
    }

    /// The name of the next field, whose value is kept.
    #[inline]
    fn next(&mut self) -> Result<Option<FieldName<'a>>, ValueError> {
        if self.is_closed {
            return Ok(None);
        }
        let name = self
            .cursor
            .next_field_to(&mut self.fields, &mut self.value)?;
        self.is_closed = name.is_none();
        Ok(name)
    }

    fn close(&mut self) -> Result<(), ValueError> {
        loop {
            if let Some(unread) = self.value.take() {
                self.cursor.skip(unread)?;
            }
            if self.next()?.is_none() {
                return Ok(());
            }
        }
    }

    #[inline]
    fn value(&mut self) -> Result<Deserializer<'_, 'a>, ValueError> {
        let item = self
            .value
            .take()
            .ok_or_else(|| ValueError::custom("a value was asked for before its name"))?;
        let cursor = &mut *self.cursor;
        Ok(Deserializer { cursor, item })
    }
}

impl<'a> MapAccess<'a> for &mut FieldAccess<'_, 'a> {
    type Error = ValueError;

    fn next_key_seed<K: DeserializeSeed<'a>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, ValueError> {
        let Some(name) = self.next()? else {
            return Ok(None);
        };
        match name.into_cow() {
            Cow::Borrowed(name) => seed.deserialize(de::value::BorrowedStrDeserializer::new(name)),
            Cow::Owned(name) => seed.deserialize(CowStrDeserializer::new(Cow::Owned(name))),
        }
        .map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'a>>(&mut self, seed: V) -> Result<V::Value, ValueError> {
        seed.deserialize(self.value()?)
    }
}

/// An object whose one field is an enum's variant.
struct VariantField<'c, 'a>(FieldAccess<'c, 'a>);

impl<'a> EnumAccess<'a> for VariantField<'_, 'a> {
    type Error = ValueError;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'a>>(
        mut self,
        seed: V,
    ) -> Result<(V::Value, Self), ValueError> {
        let Some(name) = self.0.next()? else {
            return Err(ValueError::custom("an object without fields is no variant"));
        };
        let variant = seed.deserialize(CowStrDeserializer::<ValueError>::new(name.into_cow()))?;
        Ok((variant, self))
    }
}

impl<'a> VariantField<'_, 'a> {
    fn content<T: DeserializeSeed<'a>>(mut self, seed: T) -> Result<T::Value, ValueError> {
        let content = seed.deserialize(self.0.value()?)?;
        match self.0.next()? {
            None => Ok(content),
            Some(_) => Err(ValueError::custom(
                "an object of several fields is no variant",
            )),
        }
    }
}

impl<'a> VariantAccess<'a> for VariantField<'_, 'a> {
    type Error = ValueError;

    fn unit_variant(self) -> Result<(), ValueError> {
        self.content(core::marker::PhantomData)
    }

    fn newtype_variant_seed<T: DeserializeSeed<'a>>(self, seed: T) -> Result<T::Value, ValueError> {
        self.content(seed)
    }

    fn tuple_variant<V: Visitor<'a>>(
        self,
        _length: usize,
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        self.content(Content(visitor))
    }

    fn struct_variant<V: Visitor<'a>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        self.content(Content(visitor))
    }
}

/// A visitor as a seed.
struct Content<V>(V);

impl<'a, V: Visitor<'a>> DeserializeSeed<'a> for Content<V> {
    type Value = V::Value;

    fn deserialize<D: de::Deserializer<'a>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        deserializer.deserialize_any(self.0)
    }
}

#[cfg(test)]
mod tests;
