//! Who takes in what a [`Cursor`] reads.

use super::error::ValueError;
use super::reader::{Cursor, FieldName, Item};

/// Takes in all of a value, in order.
pub(crate) trait Take<'a> {
    /// Where this came to an end.
    type Error: From<ValueError>;

    /// Whether texts are looked at: then those of a typed struct are checked together beforehand.
    const READS_TEXT: bool;

    /// The name of a field, whose item follows; nobody need look at it. To be always inlined, as [`item`](Self::item).
    #[cfg_attr(not(debug_assertions), inline(always))]
    fn name(&mut self, _name: FieldName<'a>) -> Result<(), Self::Error> {
        Ok(())
    }

    /// An item. If it is a container, this goes on with its content, to the end.
    ///
    /// To be always inlined, so that each kind of item is taken in at the place where it is read: to hand an item on in
    /// memory takes longer than to read it. But not in builds for debugging, where the many inlined arms would each take
    /// their own room on the stack, at every level of a value.
    fn item(&mut self, cursor: &mut Cursor<'a>, item: Item<'a>) -> Result<(), Self::Error>;
}

/// Keeps the one item that it is given, which may be a container that has not been read.
impl<'a> Take<'a> for Option<Item<'a>> {
    type Error = ValueError;
    const READS_TEXT: bool = false;

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn item(&mut self, _cursor: &mut Cursor<'a>, item: Item<'a>) -> Result<(), ValueError> {
        *self = Some(item);
        Ok(())
    }
}

/// Reads past everything.
pub(super) struct Skip;

impl<'a> Take<'a> for Skip {
    type Error = ValueError;
    const READS_TEXT: bool = false;

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn item(&mut self, cursor: &mut Cursor<'a>, item: Item<'a>) -> Result<(), ValueError> {
        match item {
            Item::Array(elements)
            | Item::Set(elements)
            | Item::RegExp(elements)
            | Item::Map(elements) => cursor.elements_to(elements, self),
            Item::Object(object) => cursor.fields_to(object, self),
            _ => Ok(()),
        }
    }
}
