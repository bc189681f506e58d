//! The structures of one table on one connection (`value-codec.md` section 6), compiled for reading values: what a field of
//! a structure needs stands ready, so that a value is read without searching and without parsing a list anew.

mod builder;
#[cfg(test)]
mod tests;

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use super::error::ValueError;
use builder::Builder;

/// What the one-byte and slot forms of a table's values refer to: the lists `structures` and `typedStructs` of a
/// `TABLE_FIXED_STRUCTURE` frame.
///
/// Never changes: a newer frame makes a new dictionary, and values that were decoded lazily keep the one they came with
/// (`value-codec.md` section 9). It takes at most some 34 bytes for each byte of the lists.
#[derive(Default)]
pub struct Dictionary {
    /// All field names, one after the other, each in its two forms.
    text: String,
    /// Names of all fields of all structures.
    names: Vec<Name>,
    /// In step with `names`: the fields of each structure, by the tag of their name. For equal tags the later field is later.
    order: Vec<Tagged>,
    /// The slots of all typed structures.
    slots: Vec<Slot>,
    /// Record structures by index; `None` for holes.
    records: Vec<Option<Shape>>,
    /// Typed structures by id; `None` for holes.
    structures: Vec<Option<Structure>>,
}

/// Where a field name stands in `Dictionary::text`: first as it is, then as a member of a JSON object begins (`,"name":`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Name {
    start: u32,
    member: u32,
    end: u32,
}

/// A field of a structure, and the tag of its name.
#[derive(Clone, Copy, Debug)]
struct Tagged {
    tag: u32,
    field: u32,
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
    /// The first slot that can hold a document, or [`Slot::NONE`]. Writers put them behind all texts.
    pub(crate) first_document: u32,
}

/// A place in the fixed section (`value-codec.md` section 7.2).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    pub(crate) name: Name,
    pub(crate) kind: SlotKind,
    pub(crate) width: Width,
    /// Bytes from the start of the fixed section.
    pub(crate) offset: u32,
    /// The next slot of the structure that holds a reference, counted from the one behind this; or [`Slot::NONE`].
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
    Text,
    Document,
}

/// How the four bytes from the start of a reference slot on, highest byte last, are to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Width {
    /// The bits that belong to the slot.
    pub(crate) mask: u32,
    /// From here on it is no offset but a constant, by its lowest byte.
    pub(crate) constants: u32,
}

impl Width {
    /// Of a slot without bytes, which stands for the offset 0; and of one that holds no reference.
    const NONE: Self = Self {
        mask: 0,
        constants: u32::MAX,
    };

    /// From the size of a reference slot.
    const fn new(size: u8) -> Option<Self> {
        let (mask, constants) = match size {
            0 => return Some(Self::NONE),
            1 => (0xff, 0xf6),
            2 => (0xffff, 0xff00),
            4 => (u32::MAX, 0xffff_ff00),
            _ => return None,
        };
        Some(Self { mask, constants })
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
        let builder = Builder::new(usize::MAX);
        Ok(builder.read(typed_structs, structures)?.unwrap_or_default())
    }

    /// The same, of which at most `room` bytes are kept. `None`: it would be more.
    pub(crate) fn decode_within(
        typed_structs: Option<&[u8]>,
        structures: Option<&[u8]>,
        room: usize,
    ) -> Result<Option<Self>, ValueError> {
        Builder::new(room).read(typed_structs, structures)
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

    #[inline]
    pub(crate) fn record(&self, index: u16) -> Option<&Shape> {
        self.records.get(usize::from(index))?.as_ref()
    }

    #[inline]
    pub(crate) fn structure(&self, id: u32) -> Option<&Structure> {
        self.structures.get(id as usize)?.as_ref()
    }

    #[inline]
    pub(crate) fn names(&self, shape: &Shape) -> &[Name] {
        &self.names[shape.first as usize..][..shape.len()]
    }

    #[inline]
    pub(crate) fn slots(&self, structure: &Structure) -> &[Slot] {
        &self.slots[structure.first_slot as usize..][..structure.shape.len()]
    }

    /// A name as it is. Written without a way to panic, so that it costs nothing where nobody looks at it.
    #[inline]
    pub(crate) fn name(&self, name: Name) -> &str {
        let text = self.text.get(name.start as usize..name.member as usize);
        text.unwrap_or_default()
    }

    /// A name as a member of a JSON object begins, behind another member.
    #[inline]
    pub(crate) fn member(&self, name: Name) -> &str {
        let text = self.text.get(name.member as usize..name.end as usize);
        text.unwrap_or_default()
    }

    /// Which field of `shape` has this name; the last one if several have it, as in a JavaScript object.
    pub(crate) fn find(&self, shape: &Shape, wanted: &str) -> Option<usize> {
        let names = self.names(shape);
        let order = &self.order[shape.first as usize..][..shape.len()];
        let tag = tag(wanted);
        let after = order.partition_point(|tagged| tagged.tag <= tag);
        for tagged in order[..after].iter().rev() {
            if tagged.tag != tag {
                break;
            }
            let field = tagged.field as usize;
            if self.name(names[field]) == wanted {
                return Some(field);
            }
        }
        None
    }
}

/// What tells most names apart in one comparison: a few bits of the length and of up to sixteen bytes.
fn tag(name: &str) -> u32 {
    let bytes = name.as_bytes();
    let (start, end) = if let (Some(start), Some(end)) = (bytes.first_chunk(), bytes.last_chunk()) {
        (u64::from_le_bytes(*start), u64::from_le_bytes(*end))
    } else if let (Some(start), Some(end)) = (bytes.first_chunk(), bytes.last_chunk()) {
        (
            u32::from_le_bytes(*start).into(),
            u32::from_le_bytes(*end).into(),
        )
    } else {
        let at = |index: usize| u64::from(bytes.get(index).copied().unwrap_or(0));
        (at(0) | at(1) << 8 | at(2) << 16, 0)
    };
    // The upper half of the product depends on all bits.
    let mixed =
        (start ^ end.rotate_left(32) ^ bytes.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 32) as u32
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
