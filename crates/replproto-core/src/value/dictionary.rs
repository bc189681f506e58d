//! The structures of one table on one connection (`value-codec.md` section 6).

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use super::error::{ValueError, ValueErrorKind};
use super::name;
use crate::msgpack::{Reader, Token};

/// What the one-byte and slot forms of a table's values refer to: the lists `structures` and `typedStructs` of a
/// `TABLE_FIXED_STRUCTURE` frame.
///
/// Never changes: a newer frame makes a new dictionary, and values that were decoded lazily keep the one they came with
/// (`value-codec.md` section 9). It takes at most some 24 bytes for each byte of the lists.
#[derive(Default)]
pub struct Dictionary {
    /// All field names, one after the other.
    text: String,
    /// Names of all fields of all structures.
    names: Vec<NameRange>,
    /// Per field, in step with `names`: the fields of each structure, by name. For equal names the later field is later.
    order: Vec<u32>,
    /// Per field of a typed structure.
    slots: Vec<Slot>,
    /// Record structures by index; `None` for holes.
    records: Vec<Option<Shape>>,
    /// Typed structures by id; `None` for holes.
    structures: Vec<Option<Structure>>,
}

/// Where a field name stands in `Dictionary::text`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NameRange {
    start: u32,
    end: u32,
}

/// The fields of one structure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    first: u32,
    count: u32,
    /// What one use of the structure counts for.
    pub(crate) work: u32,
    /// Whether a field name needs the pair form of an object in JSON.
    pub(crate) has_tag_like_name: bool,
}

impl Shape {
    pub(crate) const fn len(&self) -> usize {
        self.count as usize
    }
}

/// A typed structure: a shape with slots.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Structure {
    pub(crate) shape: Shape,
    first_slot: u32,
    /// Length of the fixed section.
    pub(crate) fixed: u32,
}

/// A place in the fixed section (`value-codec.md` section 7.2).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    pub(crate) kind: SlotKind,
    /// Bytes from the start of the fixed section.
    pub(crate) offset: u32,
    /// The next slot of the structure that holds a reference, or [`Slot::NONE`].
    pub(crate) next_reference: u32,
}

impl Slot {
    pub(crate) const NONE: u32 = u32::MAX;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SlotKind {
    Number8,
    Number32,
    Number64,
    Date64,
    Text(Width),
    Document(Width),
}

impl SlotKind {
    /// From the type and size of a property definition. A declared ascii slot can hold UTF-8, so both text types are one.
    const fn new(kind: u8, size: u8) -> Option<Self> {
        Some(match (kind, size, Width::new(size)) {
            (0, 1, _) => Self::Number8,
            (0, 4, _) => Self::Number32,
            (0, 8, _) => Self::Number64,
            (16, 8, _) => Self::Date64,
            (1, _, Some(width)) => Self::Document(width),
            (2 | 3, _, Some(width)) => Self::Text(width),
            _ => return None,
        })
    }

    const fn is_reference(self) -> bool {
        matches!(self, Self::Text(_) | Self::Document(_))
    }
}

/// How many bytes an offset takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Width {
    /// No bytes: the offset is 0.
    Zero,
    One,
    Two,
    Four,
}

impl Width {
    const fn new(size: u8) -> Option<Self> {
        Some(match size {
            0 => Self::Zero,
            1 => Self::One,
            2 => Self::Two,
            4 => Self::Four,
            _ => return None,
        })
    }
}

impl Dictionary {
    /// The dictionary of a table whose peer sent empty lists. Enough for values without records, and for inline ones.
    #[must_use]
    pub const fn empty() -> Self {
        Self {
            text: String::new(),
            names: Vec::new(),
            order: Vec::new(),
            slots: Vec::new(),
            records: Vec::new(),
            structures: Vec::new(),
        }
    }

    /// Reads the two lists of a `TABLE_FIXED_STRUCTURE` frame, each exactly as it stands there (control profile).
    /// `None`, `undefined` and nil are empty lists, and holes inside a list are unknown ids. A typed structure with a
    /// slot of an unknown type is kept as a hole, so that only its own values are unreadable.
    ///
    /// # Errors
    ///
    /// When a list is cut off, is followed by something or is not made as `value-codec.md` section 6 says; the offset is
    /// in the list at fault.
    pub fn decode(
        typed_structs: Option<&[u8]>,
        structures: Option<&[u8]>,
    ) -> Result<Self, ValueError> {
        let mut builder = Builder::default();
        builder.list(typed_structs, Builder::structure)?;
        builder.list(structures, Builder::record)?;
        Ok(builder.finish())
    }

    /// Memory that this dictionary keeps, in bytes: its contents without the allocator's own share.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        fn bytes<T>(list: &Vec<T>) -> usize {
            list.capacity() * size_of::<T>()
        }
        self.text.capacity()
            + bytes(&self.names)
            + bytes(&self.order)
            + bytes(&self.slots)
            + bytes(&self.records)
            + bytes(&self.structures)
    }

    pub(crate) fn record(&self, index: u16) -> Option<&Shape> {
        self.records.get(usize::from(index))?.as_ref()
    }

    pub(crate) fn structure(&self, id: u32) -> Option<&Structure> {
        self.structures.get(id as usize)?.as_ref()
    }

    #[inline]
    pub(crate) fn names(&self, shape: &Shape) -> &[NameRange] {
        &self.names[shape.first as usize..][..shape.len()]
    }

    #[inline]
    pub(crate) fn slots(&self, structure: &Structure) -> &[Slot] {
        &self.slots[structure.first_slot as usize..][..structure.shape.len()]
    }

    #[inline]
    pub(crate) fn name(&self, range: NameRange) -> &str {
        &self.text[range.start as usize..range.end as usize]
    }

    /// Which field of `shape` has this name; the last one if several have it, as in a JavaScript object.
    pub(crate) fn find(&self, shape: &Shape, name: &str) -> Option<usize> {
        let names = self.names(shape);
        let order = &self.order[shape.first as usize..][..shape.len()];
        let wanted = sort_key(name);
        let after = order.partition_point(|&at| sort_key(self.name(names[at as usize])) <= wanted);
        let found = *order.get(after.checked_sub(1)?)? as usize;
        (self.name(names[found]) == name).then_some(found)
    }
}

/// A summary: the names would drown whatever else is printed with them.
impl fmt::Debug for Dictionary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dictionary")
            .field("typed_structs", &self.structures.len())
            .field("structures", &self.records.len())
            .field("heap_bytes", &self.heap_bytes())
            .finish()
    }
}

/// Grows while the lists are read, by what they hold and never by what they claim.
#[derive(Default)]
struct Builder {
    text: String,
    names: Vec<NameRange>,
    slots: Vec<Slot>,
    records: Vec<Option<Shape>>,
    structures: Vec<Option<Structure>>,
}

impl Builder {
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
            let (kind, size) = self.property(reader)?;
            let known = SlotKind::new(kind, size);
            is_known &= known.is_some();
            self.slots.push(Slot {
                kind: known.unwrap_or(SlotKind::Number8),
                offset: fixed,
                next_reference: Slot::NONE,
            });
            fixed += u32::from(size);
        }
        let mut next = Slot::NONE;
        let slots = &mut self.slots[first_slot..];
        for (at, slot) in slots.iter_mut().enumerate().rev() {
            slot.next_reference = next;
            if slot.kind.is_reference() {
                next = at as u32;
            }
        }
        let shape = self.shape(first);
        self.structures.push(is_known.then_some(Structure {
            shape,
            first_slot: first_slot as u32,
            fixed,
        }));
        Ok(())
    }

    /// `[type, size, name]`; a fourth element would only move the name in the enumeration order, which has no meaning.
    fn property(&mut self, reader: &mut Reader<'_>) -> Result<(u8, u8), ValueError> {
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
        self.name(reader)?;
        for _ in 3..count {
            let token = reader.token().map_err(|e| ValueError::token(e, at))?;
            if matches!(token, Token::Array(_) | Token::Map(_)) {
                return Err(malformed);
            }
        }
        Ok((kind, size))
    }

    fn name(&mut self, reader: &mut Reader<'_>) -> Result<(), ValueError> {
        let name = name::read(reader, ValueErrorKind::BadDictionary)?;
        let start = self.text.len() as u32;
        self.text.push_str(&name);
        let end = self.text.len() as u32;
        self.names.push(NameRange { start, end });
        Ok(())
    }

    /// The shape of all names from `first` on.
    fn shape(&self, first: usize) -> Shape {
        let names = &self.names[first..];
        let start = names.first().map_or(0, |name| name.start);
        let end = names.last().map_or(0, |name| name.end);
        Shape {
            first: first as u32,
            count: names.len() as u32,
            work: super::work(names.len(), (end - start) as usize),
            has_tag_like_name: names
                .iter()
                .any(|range| name::is_tag_like(self.get(*range))),
        }
    }

    fn get(&self, range: NameRange) -> &str {
        &self.text[range.start as usize..range.end as usize]
    }

    fn finish(mut self) -> Dictionary {
        self.text.shrink_to_fit();
        self.names.shrink_to_fit();
        self.slots.shrink_to_fit();
        self.records.shrink_to_fit();
        self.structures.shrink_to_fit();
        let mut order = vec![0; self.names.len()];
        let typed = self.structures.iter().flatten().map(|s| s.shape);
        for shape in typed.chain(self.records.iter().flatten().copied()) {
            let first = shape.first as usize;
            let names = &self.names[first..][..shape.len()];
            let order = &mut order[first..][..shape.len()];
            for (at, field) in (0..).zip(order.iter_mut()) {
                *field = at;
            }
            order.sort_unstable_by_key(|&at| (sort_key(self.get(names[at as usize])), at));
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

/// Names of different lengths are told apart without looking at them.
fn sort_key(name: &str) -> (usize, &str) {
    (name.len(), name)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(bytes: &[u8]) -> Result<Dictionary, ValueError> {
        Dictionary::decode(Some(bytes), None)
    }

    #[test]
    fn absent_lists_are_empty() {
        for absent in [None, Some(&[0xc0][..]), Some(&[0xd4, 0, 0]), Some(&[0x90])] {
            let dictionary = Dictionary::decode(absent, absent).unwrap();
            assert!(dictionary.record(0).is_none());
            assert!(dictionary.structure(0).is_none());
            assert_eq!(dictionary.heap_bytes(), 0);
        }
    }

    #[test]
    fn holes_keep_the_ids_of_their_neighbours() {
        let dictionary = Dictionary::decode(
            None,
            Some(&[0x93, 0x91, 0xa1, b'a', 0xc0, 0x91, 0xa1, b'b']),
        )
        .unwrap();
        let names = [0, 1, 2].map(|index| {
            let shape = dictionary.record(index)?;
            Some(dictionary.name(dictionary.names(shape)[0]))
        });
        assert_eq!(names, [Some("a"), None, Some("b")]);
    }

    #[test]
    fn an_unknown_slot_type_spoils_only_its_structure() {
        let dictionary = typed(&[
            0x92, 0x91, 0x93, 9, 1, 0xa1, b'a', 0x91, 0x93, 0, 1, 0xa1, b'b',
        ])
        .unwrap();
        assert!(dictionary.structure(0).is_none());
        assert!(dictionary.structure(1).is_some());
    }

    #[test]
    fn fields_are_found_by_name_and_the_last_of_equal_ones_wins() {
        let dictionary = Dictionary::decode(
            None,
            Some(&[
                0x91, 0x94, 0xa1, b'b', 0xa1, b'a', 0xa1, b'b', 0xa2, b'b', b'c',
            ]),
        )
        .unwrap();
        let shape = dictionary.record(0).unwrap();
        assert_eq!(dictionary.find(shape, "a"), Some(1));
        assert_eq!(dictionary.find(shape, "b"), Some(2));
        assert_eq!(dictionary.find(shape, "bc"), Some(3));
        for absent in ["", "aa", "c"] {
            assert_eq!(dictionary.find(shape, absent), None);
        }
    }

    #[test]
    fn malformed_lists_are_named_with_their_place() {
        let malformed: [(&[u8], ValueErrorKind, usize); 6] = [
            (&[], ValueErrorKind::UnexpectedEnd, 0),
            (&[0x05], ValueErrorKind::BadDictionary, 0),
            (&[0x91, 0x05], ValueErrorKind::BadDictionary, 1),
            (&[0x91, 0x91, 0x92, 0, 1], ValueErrorKind::BadDictionary, 2),
            (
                &[0xdd, 0xff, 0xff, 0xff, 0xff],
                ValueErrorKind::UnexpectedEnd,
                5,
            ),
            (&[0x90, 0x90], ValueErrorKind::TrailingBytes, 1),
        ];
        for (bytes, kind, offset) in malformed {
            assert_eq!(typed(bytes).unwrap_err(), ValueError { kind, offset });
        }
    }

    #[test]
    fn memory_is_linear_in_the_input() {
        // The cheapest fields there are: empty names in slots without bytes.
        let mut list = std::vec![0x91, 0xdc, 0x10, 0x00];
        for _ in 0..0x1000 {
            list.extend([0x93, 3, 0, 0xa0]);
        }
        let dictionary = typed(&list).unwrap();
        assert!(dictionary.heap_bytes() <= 24 * list.len());
        let mut holes = std::vec![0xdc, 0x10, 0x00];
        holes.resize(3 + 0x1000, 0xc0);
        assert!(typed(&holes).unwrap().heap_bytes() <= 28 * holes.len());
    }
}
