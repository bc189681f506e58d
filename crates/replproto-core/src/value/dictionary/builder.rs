//! Reading the two lists of a dictionary.

use alloc::string::String;
use alloc::vec::Vec;

use super::{Dictionary, Name, Shape, Slot, SlotKind, Structure, Tagged, Width, tag};
use crate::msgpack::{Reader, Token};
use crate::value::error::{ValueError, ValueErrorKind};
use crate::value::{self, Text, json, name};

/// Grows while the lists are read, by what they hold and never by what they claim.
pub(super) struct Builder {
    /// More than this is not kept.
    room: usize,
    is_full: bool,
    text: String,
    names: Vec<Name>,
    slots: Vec<Slot>,
    records: Vec<Option<Shape>>,
    structures: Vec<Option<Structure>>,
}

impl Builder {
    pub(super) const fn new(room: usize) -> Self {
        Self {
            room,
            is_full: false,
            text: String::new(),
            names: Vec::new(),
            slots: Vec::new(),
            records: Vec::new(),
            structures: Vec::new(),
        }
    }

    /// Reads both lists. `None`: they take more than there is room for.
    pub(super) fn read(
        mut self,
        typed_structs: Option<&[u8]>,
        structures: Option<&[u8]>,
    ) -> Result<Option<Dictionary>, ValueError> {
        let read = self
            .list(typed_structs, Self::structure)
            .and_then(|()| self.list(structures, Self::record));
        if self.is_full {
            return Ok(None);
        }
        read?;
        Ok(Some(self.finish()))
    }

    /// Notes whether there is still room. What is read is given up where there is none.
    fn check_room(&mut self, at: usize) -> Result<(), ValueError> {
        let size = self.text.len()
            + self.names.len() * (size_of::<Name>() + size_of::<Tagged>())
            + self.slots.len() * size_of::<Slot>()
            + self.records.len() * size_of::<Option<Shape>>()
            + self.structures.len() * size_of::<Option<Structure>>();
        self.is_full |= size > self.room;
        if self.is_full {
            return Err(ValueError::new(ValueErrorKind::BadDictionary, at));
        }
        Ok(())
    }

    fn list(
        &mut self,
        list: Option<&[u8]>,
        read: fn(&mut Self, &mut Reader<'_>) -> Result<(), ValueError>,
    ) -> Result<(), ValueError> {
        let Some(bytes) = list else { return Ok(()) };
        // Every offset below fits in 32 bits then.
        if bytes.len() > (u32::MAX / 64) as usize {
            return Err(ValueError::new(ValueErrorKind::BadDictionary, 0));
        }
        let mut reader = Reader::new(bytes);
        for _ in 0..array(&mut reader)?.unwrap_or(0) {
            read(self, &mut reader)?;
            self.check_room(reader.position())?;
        }
        if reader.is_at_end() {
            Ok(())
        } else {
            Err(ValueError::new(
                ValueErrorKind::TrailingBytes,
                reader.position(),
            ))
        }
    }

    fn record(&mut self, reader: &mut Reader<'_>) -> Result<(), ValueError> {
        let Some(count) = array(reader)? else {
            self.records.push(None);
            return Ok(());
        };
        let first = self.names.len();
        for _ in 0..count {
            self.name(reader)?;
        }
        let shape = self.shape(first);
        self.records.push(Some(shape));
        Ok(())
    }

    fn structure(&mut self, reader: &mut Reader<'_>) -> Result<(), ValueError> {
        let Some(count) = array(reader)? else {
            self.structures.push(None);
            return Ok(());
        };
        let (first, first_slot) = (self.names.len(), self.slots.len());
        let mut fixed = 0;
        let mut is_known = true;
        for _ in 0..count {
            let (name, kind, size) = self.property(reader)?;
            let known = slot_kind(kind, size);
            is_known &= known.is_some();
            let (kind, width) = known.unwrap_or((SlotKind::Number8, Width::NONE));
            self.slots.push(Slot {
                name,
                kind,
                width,
                offset: fixed,
                next_reference: Slot::NONE,
            });
            fixed += u32::from(size);
        }
        let mut next_reference = Slot::NONE;
        let mut first_document = Slot::NONE;
        let slots = &mut self.slots[first_slot..];
        for (at, slot) in slots.iter_mut().enumerate().rev() {
            slot.next_reference = next_reference;
            if matches!(slot.kind, SlotKind::Text | SlotKind::Document) {
                next_reference = 0;
            } else if next_reference != Slot::NONE {
                next_reference += 1;
            }
            if slot.kind == SlotKind::Document {
                first_document = at as u32;
            }
        }
        let shape = self.shape(first);
        self.structures.push(is_known.then_some(Structure {
            shape,
            first_slot: first_slot as u32,
            fixed,
            first_document,
        }));
        Ok(())
    }

    /// `[type, size, name]`; a fourth element would only move the name in the enumeration order, which has no meaning.
    fn property(&mut self, reader: &mut Reader<'_>) -> Result<(Name, u8, u8), ValueError> {
        let at = reader.position();
        let malformed = ValueError::new(ValueErrorKind::BadDictionary, at);
        let Some(count @ 3..) = array(reader)? else {
            return Err(malformed);
        };
        let mut byte = || match reader.token() {
            Ok(Token::Small(byte)) => Ok(byte),
            Ok(_) => Err(malformed.clone()),
            Err(error) => Err(ValueError::token(error, at)),
        };
        let (kind, size) = (byte()?, byte()?);
        let name = self.name(reader)?;
        for _ in 3..count {
            let token = reader.token().map_err(|e| ValueError::token(e, at))?;
            if matches!(token, Token::Array(_) | Token::Map(_)) {
                return Err(malformed);
            }
        }
        Ok((name, kind, size))
    }

    fn name(&mut self, reader: &mut Reader<'_>) -> Result<Name, ValueError> {
        let name = name::read(reader, ValueErrorKind::BadDictionary)?;
        let start = self.text.len() as u32;
        self.text.push_str(&name);
        let member = self.text.len() as u32;
        self.text.push(',');
        json::push_text(&mut self.text, Text::checked(&name));
        self.text.push(':');
        let end = self.text.len() as u32;
        let name = Name { start, member, end };
        self.names.push(name);
        self.check_room(reader.position())?;
        Ok(name)
    }

    /// The shape of all names from `first` on.
    fn shape(&self, first: usize) -> Shape {
        let names = &self.names[first..];
        let bytes = names.iter().map(|name| (name.member - name.start) as usize);
        Shape {
            first: first as u32,
            count: names.len() as u32,
            work: value::work(names.len(), bytes.sum()),
            has_tag_like_name: names.iter().any(|name| name::is_tag_like(self.get(*name))),
        }
    }

    fn get(&self, name: Name) -> &str {
        &self.text[name.start as usize..name.member as usize]
    }

    fn finish(mut self) -> Dictionary {
        self.text.shrink_to_fit();
        self.names.shrink_to_fit();
        self.slots.shrink_to_fit();
        self.records.shrink_to_fit();
        self.structures.shrink_to_fit();
        let tags = self.names.iter().map(|&name| tag(self.get(name)));
        let mut order: Vec<_> = tags.map(|tag| Tagged { tag, field: 0 }).collect();
        let typed = self.structures.iter().flatten().map(|s| s.shape);
        for shape in typed.chain(self.records.iter().flatten().copied()) {
            let order = &mut order[shape.first as usize..][..shape.len()];
            for (field, tagged) in (0..).zip(order.iter_mut()) {
                tagged.field = field;
            }
            order.sort_unstable_by_key(|tagged| (tagged.tag, tagged.field));
        }
        Dictionary {
            text: self.text,
            names: self.names,
            order,
            slots: self.slots,
            records: self.records,
            structures: self.structures,
        }
    }
}

/// From the type and size of a property definition. A declared ascii slot can hold UTF-8, so both text types are one.
const fn slot_kind(kind: u8, size: u8) -> Option<(SlotKind, Width)> {
    Some(match (kind, size, Width::new(size)) {
        (0, 1, _) => (SlotKind::Number8, Width::NONE),
        (0, 4, _) => (SlotKind::Number32, Width::NONE),
        (0, 8, _) => (SlotKind::Number64, Width::NONE),
        (16, 8, _) => (SlotKind::Date64, Width::NONE),
        (1, _, Some(width)) => (SlotKind::Document, width),
        (2 | 3, _, Some(width)) => (SlotKind::Text, width),
        _ => return None,
    })
}

/// The count of the array that comes next, or `None` for what stands in place of an array that is not there.
fn array(reader: &mut Reader<'_>) -> Result<Option<u32>, ValueError> {
    let at = reader.position();
    match reader.token() {
        Ok(Token::Array(count)) => Ok(Some(count)),
        Ok(Token::Nil | Token::Extension { kind: 0, .. }) => Ok(None),
        Ok(_) => Err(ValueError::new(ValueErrorKind::BadDictionary, at)),
        Err(error) => Err(ValueError::token(error, at)),
    }
}
