//! Tables as the peer describes them.

use alloc::string::String;
use alloc::vec::Vec;

use crate::id::Name;
use crate::value::Dictionary;

/// A table on one link: its name, what is known of its attributes, and the dictionary that decodes its values.
///
/// Records share it, so a value can be decoded later and on another thread, also when a newer dictionary has
/// replaced this one.
#[derive(Debug)]
pub struct Table {
    pub(crate) name: Name,
    pub(crate) definition: TableDefinition,
    pub(crate) dictionary: Dictionary,
}

impl Table {
    /// The table's name.
    pub const fn name(&self) -> &Name {
        &self.name
    }

    /// What the peer said about it together with the dictionary. The list of attributes may be empty.
    pub const fn definition(&self) -> &TableDefinition {
        &self.definition
    }

    /// What decodes the table's values.
    pub const fn dictionary(&self) -> &Dictionary {
        &self.dictionary
    }

    /// Bytes that it takes.
    pub(crate) fn size(&self) -> usize {
        size_of::<Self>() + self.dictionary.heap_bytes() + self.definition.heap_bytes()
    }
}

/// A table's definition (`protocol.md` section 3.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableDefinition {
    /// The table's name.
    pub table: String,
    /// The definition comes from a schema; it is not made up from the records that were seen.
    pub schema_defined: bool,
    /// The attributes that are known.
    pub attributes: Vec<Attribute>,
}

impl TableDefinition {
    /// The name of the primary key, if the peer named it.
    pub fn primary_key(&self) -> Option<&str> {
        let key = self.attributes.iter().find(|a| a.is_primary_key)?;
        Some(&key.name)
    }

    /// Bytes that it takes besides itself.
    pub(crate) fn heap_bytes(&self) -> usize {
        let texts = self.attributes.iter().map(|attribute| {
            let kind = attribute.kind.as_ref().map_or(0, String::capacity);
            attribute.name.capacity() + kind
        });
        self.table.capacity()
            + self.attributes.capacity() * size_of::<Attribute>()
            + texts.sum::<usize>()
    }

    /// Bytes that a list of them takes.
    pub(crate) fn size_of_all(all: &[Self]) -> usize {
        size_of_val(all) + all.iter().map(Self::heap_bytes).sum::<usize>()
    }
}

/// An attribute of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attribute {
    /// Its name.
    pub name: String,
    /// Its type in the publisher's terms, such as `ID`, `String` or `Int`.
    pub kind: Option<String>,
    /// It is the primary key.
    pub is_primary_key: bool,
}
