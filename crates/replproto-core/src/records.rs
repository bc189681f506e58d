//! Consecutive changes of one transaction, which are handed out together.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::iter::FusedIterator;

use bytes::Bytes;

use crate::id::Name;
use crate::record::{Record, RecordKind};
use crate::table::Table;
use crate::wire::entry::{Action, Entry, Flags, Optional};
use crate::wire::{WireError, varint};

/// Consecutive changes of one transaction, in order: audit entries, not yet decoded beyond their headers (`protocol.md`
/// section 5). Never empty.
///
/// It holds one slice of the message and a share of what the peer has said of its tables, so cloning it is cheap, and the
/// records can be decoded later and on another thread, also when the peer has described its tables anew. Holding it holds
/// the bytes of (a part of) the message, and the tables and names as they were.
///
/// How many records come together depends on how the message was cut into parts and on how much the application may be
/// given, and means nothing.
#[derive(Clone)]
pub struct Records {
    /// Items of a batch, each of which was checked when it was taken. Some may be of no interest: reading passes over them.
    pub(crate) items: Bytes,
    pub(crate) sources: Arc<Sources>,
    pub(crate) count: u32,
    /// See [`Records::cost`].
    pub(crate) cost: u64,
}

impl Records {
    /// How many records there are.
    #[expect(clippy::len_without_is_empty, reason = "it is never empty")]
    pub const fn len(&self) -> usize {
        self.count as usize
    }

    /// The size of [`bytes`](Self::bytes).
    pub const fn size(&self) -> usize {
        self.items.len()
    }

    /// What it counts against [`FlowControl::consumer`](crate::config::FlowControl::consumer), in bytes: its size, and for the
    /// first run after the peer has said something new that of the names that it shares with those after it.
    pub const fn cost(&self) -> u64 {
        self.cost
    }

    /// The items of the batch as they came, each a length and an entry (`protocol.md` section 4). Some may be entries that
    /// are passed over.
    pub const fn bytes(&self) -> &Bytes {
        &self.items
    }

    /// The records, in the order of the peer's log.
    #[inline]
    pub fn iter(&self) -> Iter<'_> {
        Iter {
            rest: &self.items,
            sources: &self.sources,
            left: self.count,
        }
    }
}

impl<'a> IntoIterator for &'a Records {
    type Item = Record<'a>;
    type IntoIter = Iter<'a>;

    #[inline]
    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl fmt::Debug for Records {
    /// Never shows the records' content.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self).finish()
    }
}

/// The records of a [`Records`].
#[derive(Clone, Debug)]
pub struct Iter<'a> {
    rest: &'a [u8],
    sources: &'a Sources,
    left: u32,
}

impl<'a> Iterator for Iter<'a> {
    type Item = Record<'a>;

    #[inline(always)]
    fn next(&mut self) -> Option<Record<'a>> {
        while self.left > 0 {
            let item = varint::decode(self.rest).and_then(|(length, start)| {
                let rest = self.rest.get(start..)?;
                rest.split_at_checked(length as usize)
            });
            let Some((entry, rest)) = item else {
                debug_assert!(false, "{} records are missing", self.left);
                return None;
            };
            self.rest = rest;
            if let Ok(Admission::Record(record)) = self.sources.admit(entry) {
                self.left -= 1;
                return Some(record);
            }
        }
        None
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left as usize, Some(self.left as usize))
    }
}

impl ExactSizeIterator for Iter<'_> {}
impl FusedIterator for Iter<'_> {}

/// What the records of a run refer to by the peer's numbers: a small part of what the link knows, shared by run after run
/// until the peer says something new.
#[derive(Clone, Default)]
pub(crate) struct Sources {
    /// `None`: the table is not wanted.
    tables: Few<Option<Arc<Table>>>,
    nodes: Few<Name>,
    /// `None`: there is no such list (`protocol.md` section 3.7).
    residency: Few<Option<Arc<[Name]>>>,
    /// Bytes that they keep, roughly. Tables count with their place only: what describes them was an event before.
    size: u64,
}

/// A rough size of a name or a table with its place.
const OVERHEAD: usize = 96;

/// A run refers to at most this many tables, as many nodes, and as many residency lists: they are searched one by one.
const SOURCES: usize = 16;

/// Some things by their numbers.
#[derive(Clone)]
struct Few<T>(Vec<(u32, T)>);

impl<T> Default for Few<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Few<T> {
    #[inline]
    fn get(&self, id: u32) -> Option<&T> {
        self.0
            .iter()
            .find(|(known, _)| *known == id)
            .map(|(_, found)| found)
    }

    fn add(&mut self, id: u32, new: T) -> Result<(), Full> {
        if self.0.len() >= SOURCES {
            return Err(Full);
        }
        self.0.push((id, new));
        Ok(())
    }
}

/// The run cannot refer to one more.
#[derive(Debug)]
pub(crate) struct Full;

/// What an entry is to us.
pub(crate) enum Admission<'a> {
    Record(Record<'a>),
    Skip(Skip),
    /// It refers to something that is not among the sources.
    Missing(Missing),
}

/// Why an entry is passed over.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Skip {
    /// Its type is unknown.
    Unknown,
    /// It is only for the sender itself.
    Local,
    /// Its table is not wanted.
    Unwanted,
}

/// What is not among the sources, by the peer's number.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Missing {
    Table(u32),
    Node(u32),
    Residency(u32),
}

impl Sources {
    /// Reads an entry's header, and finds what it refers to.
    // Who only wants to know that it is a record must not pay for making one.
    #[inline(always)]
    pub(crate) fn admit<'a>(&'a self, bytes: &'a [u8]) -> Result<Admission<'a>, WireError> {
        let action = Action::parse(bytes)?;
        let Some(kind) = RecordKind::from_action(action.kind) else {
            return Ok(Admission::Skip(Skip::Unknown));
        };
        if action.flags.contains(Flags::LOCAL_ONLY) {
            return Ok(Admission::Skip(Skip::Local));
        }
        let entry = Entry::parse_after(action, bytes)?;
        let Some(table) = self.tables.get(entry.table) else {
            return Ok(Admission::Missing(Missing::Table(entry.table)));
        };
        let Some(origin) = self.nodes.get(entry.node) else {
            return Ok(Admission::Missing(Missing::Node(entry.node)));
        };
        let Some(table) = table else {
            return Ok(Admission::Skip(Skip::Unwanted));
        };
        if let Some(id) = self.missing_list(&entry.optional) {
            return Ok(Admission::Missing(Missing::Residency(id)));
        }
        Ok(Admission::Record(Record {
            bytes,
            entry,
            kind,
            table,
            origin,
            sources: self,
        }))
    }

    #[inline]
    fn missing_list(&self, entry: &Optional) -> Option<u32> {
        let ids = [entry.residency, entry.previous_residency];
        ids.into_iter()
            .flatten()
            .find(|id| self.residency.get(*id).is_none())
    }

    pub(crate) fn residency(&self, id: Option<u32>) -> Option<&[Name]> {
        self.residency.get(id?)?.as_deref()
    }

    /// Bytes that they keep, roughly.
    pub(crate) const fn size(&self) -> u64 {
        self.size
    }

    pub(crate) fn add_table(&mut self, id: u32, table: Option<Arc<Table>>) -> Result<(), Full> {
        self.tables.add(id, table)?;
        self.size += OVERHEAD as u64;
        Ok(())
    }

    pub(crate) fn add_node(&mut self, id: u32, name: Name) -> Result<(), Full> {
        let size = OVERHEAD + name.len();
        self.nodes.add(id, name)?;
        self.size += size as u64;
        Ok(())
    }

    pub(crate) fn add_residency(
        &mut self,
        id: u32,
        nodes: Option<Arc<[Name]>>,
    ) -> Result<(), Full> {
        let names = nodes.iter().flat_map(|nodes| nodes.iter());
        let size = OVERHEAD + names.map(|name| OVERHEAD + name.len()).sum::<usize>();
        self.residency.add(id, nodes)?;
        self.size += size as u64;
        Ok(())
    }
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources").finish_non_exhaustive()
    }
}
