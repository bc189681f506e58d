//! Typed structs: objects with slots at fixed places (`value-codec.md` section 7).

use super::dictionary::{Slot, SlotKind, Structure};
use super::error::{ValueError, ValueErrorKind};
use super::extension;
use super::reader::{Cursor, FieldName, Item, Object, Opened};
use super::take::Take;
use super::text::Text;
use crate::msgpack::Reader;

/// A typed struct, of which some slots may have been read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slots<'a> {
    /// Those that have not been read.
    left: &'a [Slot],
    first_document: u32,
    /// The fixed section, and behind it the references up to the end of the document.
    document: &'a [u8],
    references: &'a [u8],
    /// The start of `references` as far as it has been found to be UTF-8.
    texts: &'a str,
}

/// A slot, and those behind it.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) slot: &'a Slot,
    behind: &'a [Slot],
}

/// What a reference slot holds.
enum Reference {
    Constant(u8),
    At(u32),
}

/// Reads the header of a typed struct, and takes all that is left of the document for it.
#[inline]
pub(crate) fn open<'a>(cursor: &mut Cursor<'a>) -> Result<Opened<'a>, ValueError> {
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
    cursor.open(Object::Typed(structure, fixed_at))
}

impl<'a> Slots<'a> {
    /// The slots of the struct that has just been opened, and whose fixed section begins at `fixed_at`.
    #[inline]
    pub(crate) fn new(cursor: &Cursor<'a>, structure: &'a Structure, fixed_at: usize) -> Self {
        let document = &cursor.bytes[fixed_at..cursor.reader.position()];
        Self {
            left: cursor.dictionary.slots(structure),
            first_document: structure.first_document,
            document,
            references: &document[structure.fixed as usize..],
            texts: "",
        }
    }

    /// The texts of a struct stand together, so to check them together takes a fraction of the time. If one of them is not
    /// valid, each is checked on its own when it is asked for.
    ///
    /// To be called before the first slot is read.
    #[inline]
    pub(crate) fn check_texts(&mut self) {
        let end = self.offset_from(self.left, self.first_document) as usize;
        let texts = self.references.get(..end).unwrap_or(self.references);
        self.texts = core::str::from_utf8(texts).unwrap_or_default();
    }

    /// The next slot.
    #[inline]
    pub(crate) fn next(&mut self) -> Option<Place<'a>> {
        let (slot, behind) = self.left.split_first()?;
        self.left = behind;
        Some(Place { slot, behind })
    }

    #[inline]
    fn bytes<const N: usize>(&self, slot: &Slot) -> [u8; N] {
        let at = slot.offset as usize;
        let bytes = self.document.get(at..at + N);
        // The fixed section is as long as the dictionary's sum of all slots, so this never falls back.
        bytes
            .and_then(|bytes| bytes.first_chunk())
            .copied()
            .unwrap_or([0; N])
    }

    #[inline]
    fn reference(&self, slot: &Slot) -> Reference {
        let at = slot.offset as usize;
        // A slot of fewer bytes is read with some of those behind it.
        let word = match self
            .document
            .get(at..at + 4)
            .and_then(|word| word.first_chunk())
        {
            Some(word) => u32::from_le_bytes(*word),
            None => self.last_word(at),
        };
        match word & slot.width.mask {
            constant if constant >= slot.width.constants => Reference::Constant(constant as u8),
            offset => Reference::At(offset),
        }
    }

    /// Less than four bytes from `at` on.
    #[cold]
    fn last_word(&self, at: usize) -> u32 {
        let rest = self.document.get(at..).unwrap_or_default().iter();
        rest.rev()
            .fold(0, |word, &byte| word << 8 | u32::from(byte))
    }

    /// Where the first reference points that is not a constant, from slot `next` of `slots` on: there ends the one before it.
    #[inline]
    fn offset_from(&self, slots: &[Slot], next: u32) -> u32 {
        match slots.get(next as usize).map(|slot| self.reference(slot)) {
            Some(Reference::At(offset)) => offset,
            Some(Reference::Constant(_)) => self.offset_behind(slots, next),
            None => self.length(),
        }
    }

    /// The same, behind a constant.
    fn offset_behind(&self, mut slots: &[Slot], mut next: u32) -> u32 {
        while let Some([slot, behind @ ..]) = slots.get(next as usize..) {
            if let Reference::At(offset) = self.reference(slot) {
                return offset;
            }
            slots = behind;
            next = slot.next_reference;
        }
        self.length()
    }

    #[inline]
    fn end(&self, place: Place<'_>) -> u32 {
        self.offset_from(place.behind, place.slot.next_reference)
    }

    fn length(&self) -> u32 {
        u32::try_from(self.references.len()).unwrap_or(u32::MAX)
    }
}

/// Gives the fields of the struct that has just been opened to `take`.
pub(crate) fn fields_to<'a, T: Take<'a>>(
    cursor: &mut Cursor<'a>,
    structure: &'a Structure,
    fixed_at: usize,
    take: &mut T,
) -> Result<(), T::Error> {
    let mut slots = Slots::new(cursor, structure, fixed_at);
    if T::READS_TEXT {
        slots.check_texts();
    }
    let dictionary = cursor.dictionary;
    let mut left = slots.left;
    while let Some((slot, behind)) = left.split_first() {
        left = behind;
        take.name(FieldName::Known(slot.name, dictionary))?;
        item_to(cursor, &slots, Place { slot, behind }, take)?;
        if slot.kind == SlotKind::Document {
            cursor.finish()?;
        }
    }
    Ok(())
}

/// Gives the item in one slot. A document in it becomes the cursor's current document.
///
/// Always inlined, as [`Take::item`] is, but see [`Cursor::read_to`].
#[cfg_attr(not(debug_assertions), inline(always))]
pub(crate) fn item_to<'a, T: Take<'a>>(
    cursor: &mut Cursor<'a>,
    slots: &Slots<'a>,
    place: Place<'a>,
    take: &mut T,
) -> Result<(), T::Error> {
    if cfg!(debug_assertions) {
        let mut item = None;
        slot_to(cursor, slots, place, &mut item)?;
        item.map_or(Ok(()), |item| take.item(cursor, item))
    } else {
        slot_to(cursor, slots, place, take)
    }
}

#[cfg_attr(not(debug_assertions), inline(always))]
fn slot_to<'a, T: Take<'a>>(
    cursor: &mut Cursor<'a>,
    slots: &Slots<'a>,
    place: Place<'a>,
    take: &mut T,
) -> Result<(), T::Error> {
    let slot = place.slot;
    match slot.kind {
        SlotKind::Number8 => match u8::from_le_bytes(slots.bytes(slot)) {
            code @ 0xf6.. => constant_to(cursor, slots, slot, code, take),
            value => take.item(cursor, Item::Number(value.into())),
        },
        SlotKind::Number32 => match number32(slots.bytes(slot)) {
            Number32::Constant(code) => constant_to(cursor, slots, slot, code, take),
            Number32::Number(value) => take.item(cursor, Item::Number(value)),
        },
        SlotKind::Number64 => {
            let bytes: [u8; 8] = slots.bytes(slot);
            let value = f64::from_le_bytes(bytes);
            if value.is_nan() && bytes[0] >= 0xf6 {
                constant_to(cursor, slots, slot, bytes[0], take)
            } else {
                take.item(cursor, Item::Number(value))
            }
        }
        SlotKind::Date64 => {
            let milliseconds = f64::from_le_bytes(slots.bytes(slot));
            take.item(cursor, Item::Date(extension::clip(milliseconds)))
        }
        SlotKind::Text => match slots.reference(slot) {
            Reference::Constant(code) => constant_to(cursor, slots, slot, code, take),
            Reference::At(start) => {
                let range = start as usize..slots.end(place) as usize;
                let text = match slots.texts.get(range) {
                    Some(text) => Text::checked(text),
                    None => Text::new(referenced(cursor, slots, place, start)?),
                };
                take.item(cursor, Item::Text(text))
            }
        },
        SlotKind::Document => match slots.reference(slot) {
            Reference::Constant(code) => constant_to(cursor, slots, slot, code, take),
            Reference::At(start) => {
                open_document(cursor, slots, place, start)?;
                cursor.document_to(take)
            }
        },
    }
}

/// The item in slot `index` of the struct that has just been opened.
#[inline]
pub(crate) fn item<'a>(
    cursor: &mut Cursor<'a>,
    structure: &'a Structure,
    fixed_at: usize,
    index: usize,
) -> Result<Option<Item<'a>>, ValueError> {
    let slots = Slots::new(cursor, structure, fixed_at);
    let mut item = None;
    if let Some([slot, behind @ ..]) = slots.left.get(index..) {
        item_to(cursor, &slots, Place { slot, behind }, &mut item)?;
    }
    Ok(item)
}

/// The bytes of a reference. Offsets that go backwards are refused, which also keeps two references from covering the same
/// bytes.
fn referenced<'a>(
    cursor: &Cursor<'a>,
    slots: &Slots<'a>,
    place: Place<'a>,
    start: u32,
) -> Result<&'a [u8], ValueError> {
    let end = slots.end(place);
    let bytes = slots.references.get(start as usize..end as usize);
    bytes.ok_or_else(|| {
        let kind = ValueErrorKind::BadReference {
            start,
            end,
            length: slots.length(),
        };
        ValueError::new(kind, slot_at(cursor, slots, place.slot))
    })
}

fn open_document<'a>(
    cursor: &mut Cursor<'a>,
    slots: &Slots<'a>,
    place: Place<'a>,
    start: u32,
) -> Result<(), ValueError> {
    let document = referenced(cursor, slots, place, start)?;
    let at = section_at(cursor, slots.references) + start as usize;
    let up_to_its_end = &cursor.bytes[..at + document.len()];
    cursor.reader = Reader::starting_at(up_to_its_end, at);
    cursor.scope.clear();
    Ok(())
}

/// Gives a value that takes the place of a number or an offset (`value-codec.md` section 7.2).
fn constant_to<'a, T: Take<'a>>(
    cursor: &mut Cursor<'a>,
    slots: &Slots<'a>,
    slot: &Slot,
    code: u8,
    take: &mut T,
) -> Result<(), T::Error> {
    let item = match code {
        0xf6 => Item::Null,
        0xf7 => Item::Undefined,
        0xf8 => Item::Bool(false),
        0xf9 => Item::Bool(true),
        _ => {
            let at = slot_at(cursor, slots, slot);
            return Err(ValueError::new(ValueErrorKind::BadConstant(code), at).into());
        }
    };
    take.item(cursor, item)
}

#[cold]
fn slot_at(cursor: &Cursor<'_>, slots: &Slots<'_>, slot: &Slot) -> usize {
    section_at(cursor, slots.document) + slot.offset as usize
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
