//! Typed structs: objects with slots at fixed places (`value-codec.md` section 7).

use super::dictionary::{NameRange, Slot, SlotKind, Structure, Width};
use super::error::{ValueError, ValueErrorKind};
use super::extension;
use super::reader::{Cursor, Item, Object};
use super::text::Text;
use crate::msgpack::Reader;

/// A typed struct of which some slots have been read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slots<'a> {
    names: &'a [NameRange],
    slots: &'a [Slot],
    /// Index of the next slot.
    next: usize,
    fixed: &'a [u8],
    references: &'a [u8],
}

/// What a reference slot holds.
enum Offset {
    Constant(u8),
    At(u32),
}

/// Reads the header of a typed struct, and takes all that is left of the document for it.
pub(crate) fn open<'a>(cursor: &mut Cursor<'a>) -> Result<Object<'a>, ValueError> {
    let at = cursor.reader.position();
    let end = |error| ValueError::token(error, at);
    let [first] = cursor.reader.array().map_err(end)?;
    let id = match first {
        0x20..=0x37 => u32::from(first - 0x20),
        0x38..=0x3b => {
            let mut wide = [0; 4];
            let width = usize::from(first - 0x38) + 1;
            wide[..width].copy_from_slice(cursor.reader.take(width).map_err(end)?);
            u32::from_le_bytes(wide)
        }
        _ => return Err(ValueError::new(ValueErrorKind::ReservedByte(first), at)),
    };
    let structure = cursor
        .dictionary
        .structure(id)
        .ok_or_else(|| ValueError::new(ValueErrorKind::UnknownStructure(id), at))?;
    cursor.charge(structure.shape.work)?;
    let fixed_at = cursor.reader.position();
    cursor.reader.take(structure.fixed as usize).map_err(end)?;
    cursor.reader.take(cursor.reader.remaining()).map_err(end)?;
    Ok(Object::Typed(structure, fixed_at))
}

impl<'a> Slots<'a> {
    /// The slots of the struct that has just been opened, and whose fixed section begins at `fixed_at`.
    #[inline]
    pub(crate) fn new(cursor: &Cursor<'a>, structure: &'a Structure, fixed_at: usize) -> Self {
        let document = &cursor.bytes[..cursor.reader.position()];
        let (fixed, references) = document[fixed_at..].split_at(structure.fixed as usize);
        Self {
            names: cursor.dictionary.names(&structure.shape),
            slots: cursor.dictionary.slots(structure),
            next: 0,
            fixed,
            references,
        }
    }

    /// Name and slot of the next field.
    #[inline]
    pub(crate) fn next(&mut self) -> Option<(NameRange, Slot)> {
        let at = self.next;
        let field = (*self.names.get(at)?, *self.slots.get(at)?);
        self.next += 1;
        Some(field)
    }

    pub(crate) fn slot(&self, at: usize) -> Option<Slot> {
        self.slots.get(at).copied()
    }

    #[inline]
    fn bytes<const N: usize>(&self, slot: Slot) -> [u8; N] {
        // The fixed section is as long as the dictionary's sum of all slots, so this never falls back.
        let rest = self.fixed.get(slot.offset as usize..).unwrap_or_default();
        rest.first_chunk().copied().unwrap_or([0; N])
    }

    #[inline]
    fn offset(&self, slot: Slot, width: Width) -> Offset {
        match width {
            Width::Zero => Offset::At(0),
            Width::One => match u8::from_le_bytes(self.bytes(slot)) {
                constant @ 0xf6.. => Offset::Constant(constant),
                offset => Offset::At(offset.into()),
            },
            Width::Two => match u16::from_le_bytes(self.bytes(slot)) {
                constant @ 0xff00.. => Offset::Constant(constant as u8),
                offset => Offset::At(offset.into()),
            },
            Width::Four => match u32::from_le_bytes(self.bytes(slot)) {
                constant @ 0xffff_ff00.. => Offset::Constant(constant as u8),
                offset => Offset::At(offset),
            },
        }
    }

    /// Where the bytes of a reference end: at the next reference that is not a constant.
    #[inline]
    fn end(&self, slot: Slot) -> u32 {
        let mut next = slot.next_reference;
        while let Some(&other) = self.slots.get(next as usize) {
            if let SlotKind::Text(width) | SlotKind::Document(width) = other.kind
                && let Offset::At(offset) = self.offset(other, width)
            {
                return offset;
            }
            next = other.next_reference;
        }
        self.length()
    }

    fn length(&self) -> u32 {
        u32::try_from(self.references.len()).unwrap_or(u32::MAX)
    }
}

/// The item in one slot. A document in it becomes the cursor's current document.
#[inline]
pub(crate) fn item<'a>(
    cursor: &mut Cursor<'a>,
    slots: &Slots<'a>,
    slot: Slot,
) -> Result<Item<'a>, ValueError> {
    match slot.kind {
        SlotKind::Number8 => match u8::from_le_bytes(slots.bytes(slot)) {
            code @ 0xf6.. => constant(cursor, slots, slot, code),
            value => Ok(Item::Number(value.into())),
        },
        SlotKind::Number32 => match number32(slots.bytes(slot)) {
            Number32::Constant(code) => constant(cursor, slots, slot, code),
            Number32::Number(value) => Ok(Item::Number(value)),
        },
        SlotKind::Number64 => {
            let bytes: [u8; 8] = slots.bytes(slot);
            let value = f64::from_le_bytes(bytes);
            if value.is_nan() && bytes[0] >= 0xf6 {
                constant(cursor, slots, slot, bytes[0])
            } else {
                Ok(Item::Number(value))
            }
        }
        SlotKind::Date64 => {
            let milliseconds = f64::from_le_bytes(slots.bytes(slot));
            Ok(Item::Date(extension::clip(milliseconds)))
        }
        SlotKind::Text(width) => match slots.offset(slot, width) {
            Offset::Constant(code) => constant(cursor, slots, slot, code),
            Offset::At(start) => {
                let (text, _) = referenced(cursor, slots, slot, start)?;
                Ok(Item::Text(Text::new(text)))
            }
        },
        SlotKind::Document(width) => match slots.offset(slot, width) {
            Offset::Constant(code) => constant(cursor, slots, slot, code),
            Offset::At(start) => {
                let (document, at) = referenced(cursor, slots, slot, start)?;
                let up_to_its_end = &cursor.bytes[..at + document.len()];
                cursor.reader = Reader::starting_at(up_to_its_end, at);
                cursor.scope.clear();
                cursor.document()
            }
        },
    }
}

/// The bytes that a reference covers, and their place in the value. Offsets that go backwards are refused, which
/// also keeps two references from covering the same bytes.
#[inline]
fn referenced<'a>(
    cursor: &Cursor<'a>,
    slots: &Slots<'a>,
    slot: Slot,
    start: u32,
) -> Result<(&'a [u8], usize), ValueError> {
    let end = slots.end(slot);
    match slots.references.get(start as usize..end as usize) {
        Some(bytes) => Ok((bytes, section_at(cursor, slots.references) + start as usize)),
        None => {
            let kind = ValueErrorKind::BadReference {
                start,
                end,
                length: slots.length(),
            };
            Err(ValueError::new(kind, slot_at(cursor, slots, slot)))
        }
    }
}

/// A value that takes the place of a number or an offset (`value-codec.md` section 7.2).
fn constant<'a>(
    cursor: &Cursor<'a>,
    slots: &Slots<'a>,
    slot: Slot,
    code: u8,
) -> Result<Item<'a>, ValueError> {
    Ok(match code {
        0xf6 => Item::Null,
        0xf7 => Item::Undefined,
        0xf8 => Item::Bool(false),
        0xf9 => Item::Bool(true),
        _ => {
            let at = slot_at(cursor, slots, slot);
            return Err(ValueError::new(ValueErrorKind::BadConstant(code), at));
        }
    })
}

#[cold]
fn slot_at(cursor: &Cursor<'_>, slots: &Slots<'_>, slot: Slot) -> usize {
    section_at(cursor, slots.fixed) + slot.offset as usize
}

/// Where a section of the value begins in it.
fn section_at(cursor: &Cursor<'_>, section: &[u8]) -> usize {
    section.as_ptr() as usize - cursor.bytes.as_ptr() as usize
}

enum Number32 {
    Constant(u8),
    Number(f64),
}

/// Integers, constants and decimals share the 32 bits (`value-codec.md` section 7.3).
#[inline]
fn number32(bytes: [u8; 4]) -> Number32 {
    const INTEGER_MIN: i32 = -0x1eff_ffff;
    const CONSTANT_MIN: i32 = -0x1fff_ffff;
    match i32::from_le_bytes(bytes) {
        integer @ INTEGER_MIN..0x2000_0000 => Number32::Number(integer.into()),
        CONSTANT_MIN..INTEGER_MIN => Number32::Constant(bytes[0]),
        _ => Number32::Number(nearest_decimal(f32::from_le_bytes(bytes))),
    }
}

/// The decimal that was meant when it was stored in so few bits.
fn nearest_decimal(stored: f32) -> f64 {
    let exponent = (stored.to_bits() >> 23) & 0xff;
    let multiplier = DECIMAL_MULTIPLIERS[exponent as usize];
    let value = f64::from(stored);
    let half = if value > 0.0 { 0.5 } else { -0.5 };
    let scaled = multiplier * value + half;
    // The encoder keeps `scaled` within 32 bits. Infinity and NaN do not come from it; a JavaScript cast makes them 0.
    let whole = if scaled.is_finite() { scaled as i32 } else { 0 };
    f64::from(whole) / multiplier
}

/// For each exponent of a float32, the power of ten that moves all the decimal digits it can hold before the point.
static DECIMAL_MULTIPLIERS: [f64; 256] = {
    let mut multipliers = [0.0; 256];
    let mut exponent = 0;
    while exponent < 256 {
        // 45.15 - 0.30103 * exponent, rounded down; no exponent comes near a whole number.
        let power = (4_515_000 - 30_103 * exponent as i32).div_euclid(100_000);
        multipliers[exponent] = POWERS_OF_TEN[(power - LOWEST_POWER) as usize];
        exponent += 1;
    }
    multipliers
};

/// The power of the first of [`POWERS_OF_TEN`].
const LOWEST_POWER: i32 = -32;

/// As literals, since only those are sure to be the doubles nearest to the powers.
const POWERS_OF_TEN: [f64; 78] = [
    1e-32, 1e-31, 1e-30, 1e-29, 1e-28, 1e-27, 1e-26, 1e-25, 1e-24, 1e-23, 1e-22, 1e-21, 1e-20,
    1e-19, 1e-18, 1e-17, 1e-16, 1e-15, 1e-14, 1e-13, 1e-12, 1e-11, 1e-10, 1e-9, 1e-8, 1e-7, 1e-6,
    1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11,
    1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22, 1e23, 1e24, 1e25, 1e26, 1e27,
    1e28, 1e29, 1e30, 1e31, 1e32, 1e33, 1e34, 1e35, 1e36, 1e37, 1e38, 1e39, 1e40, 1e41, 1e42, 1e43,
    1e44, 1e45,
];

#[cfg(test)]
mod tests {
    use super::*;

    fn number(bytes: [u8; 4]) -> f64 {
        match number32(bytes) {
            Number32::Number(value) => value,
            Number32::Constant(code) => panic!("constant {code:#x}"),
        }
    }

    #[test]
    fn float32_is_read_as_the_decimal_that_was_meant() {
        assert_eq!(number([0xcd, 0xcc, 0xcc, 0x3d]), 0.1);
        assert_eq!(number([0xec, 0x51, 0x9a, 0xc4]), -1234.56);
        assert_eq!(number([0x5e, 0xd0, 0x32, 0x4f]), 3e9);
        assert_eq!(number([0x00, 0x00, 0xc0, 0x3f]), 1.5);
    }

    #[test]
    fn integers_reach_to_the_constants() {
        assert_eq!(number(0x1fff_ffff_i32.to_le_bytes()), 536_870_911.0);
        assert_eq!(number((-0x1eff_ffff_i32).to_le_bytes()), -520_093_695.0);
        let constant = number32((-0x1f00_0000_i32).to_le_bytes());
        assert!(matches!(constant, Number32::Constant(0)));
    }

    #[test]
    fn no_32_bits_panic_or_leave_the_table() {
        for exponent in 0..=255_u32 {
            for sign in [0, 1_u32 << 31] {
                for fraction in [0, 1, 0x7f_ffff] {
                    let value = f32::from_bits(sign | exponent << 23 | fraction);
                    assert!(nearest_decimal(value).is_finite());
                }
            }
        }
    }
}
