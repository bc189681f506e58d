//! Records: objects whose names are stored apart from their values (`value-codec.md` section 5).

use alloc::collections::BTreeMap;

use super::error::{ValueError, ValueErrorKind};
use super::name;
use super::reader::{Cursor, Item, Object, Opened};
use crate::msgpack::Token;

/// The record structures that a document has defined so far, by index. Empty, and without memory, for nearly all values.
#[derive(Clone, Debug)]
pub(crate) struct Scope(Option<BTreeMap<u16, Definition>>);

impl Scope {
    pub(crate) const fn new() -> Self {
        Self(None)
    }

    #[inline]
    pub(crate) fn clear(&mut self) {
        self.0 = None;
    }

    #[inline]
    fn get(&self, index: u16) -> Option<Definition> {
        self.0.as_ref()?.get(&index).copied()
    }

    fn insert(&mut self, index: u16, definition: Definition) {
        self.0.get_or_insert_default().insert(index, definition);
    }
}

/// A structure defined inside a document. Its names are read anew at each use, so that nothing is copied.
#[derive(Clone, Copy, Debug)]
struct Definition {
    /// Offset of the first name in the value.
    names_at: usize,
    count: u32,
    /// What one use counts for.
    work: u32,
    /// References to it take a second byte.
    is_two_byte: bool,
}

impl<'a> Cursor<'a> {
    /// The record that byte `id`, just read at `at`, refers to.
    #[inline]
    pub(crate) fn reference(&mut self, id: u8, at: usize) -> Result<Opened<'a>, ValueError> {
        let index = u16::from(id & 0x3f);
        if let Some(found) = self.scope.get(index) {
            return self.inline_reference(found, index, at);
        }
        let shape = self
            .dictionary
            .record(index)
            .ok_or_else(|| ValueError::new(ValueErrorKind::UnknownRecord(index), at))?;
        self.charge(shape.work)?;
        self.check_room(shape.len())?;
        self.open(Object::Shared(shape))
    }

    /// The kind of the entry that the low bits name decides whether a second byte follows.
    fn inline_reference(
        &mut self,
        found: Definition,
        index: u16,
        at: usize,
    ) -> Result<Opened<'a>, ValueError> {
        let mut definition = found;
        if found.is_two_byte {
            let [high] = self
                .reader
                .array()
                .map_err(|error| ValueError::token(error, at))?;
            let index = index + 32 * u16::from(high);
            definition = self
                .scope
                .get(index)
                .ok_or_else(|| ValueError::new(ValueErrorKind::UnknownRecord(index), at))?;
        }
        self.charge(definition.work)?;
        self.inline(definition)
    }

    /// A definition, whose extension `payload` at `at` has just been read, and the first record that uses it.
    pub(crate) fn define(&mut self, payload: &[u8], at: usize) -> Result<Item<'a>, ValueError> {
        let malformed = ValueError::new(ValueErrorKind::BadDefinition, at);
        let (index, is_two_byte) = match *payload {
            [id @ 0x40..=0x7f] => (u16::from(id & 0x3f), false),
            [id @ 0x60..=0x7f, high] => (u16::from(id & 0x3f) + 32 * u16::from(high), true),
            _ => return Err(malformed),
        };
        let count = match self.reader.token() {
            Ok(Token::Array(count)) => count,
            Ok(_) => return Err(malformed),
            Err(error) => return Err(ValueError::token(error, at)),
        };
        let names_at = self.reader.position();
        for _ in 0..count {
            name::read(&mut self.reader, ValueErrorKind::BadDefinition)?;
        }
        let length = self.reader.position() - names_at;
        let definition = Definition {
            names_at,
            count,
            work: super::work(count as usize, length),
            is_two_byte,
        };
        self.scope.insert(index, definition);
        let object = self.inline(definition)?;
        Ok(Item::Object(object))
    }

    fn inline(&mut self, definition: Definition) -> Result<Opened<'a>, ValueError> {
        let count = definition.count as usize;
        self.check_room(count)?;
        self.open(Object::Inline {
            names_at: definition.names_at,
            count,
        })
    }
}
