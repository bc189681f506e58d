//! What records refer to by the peer's numbers.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use crate::id::Name;
use crate::table::Table;
use crate::wire::entry::Optional;

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

/// A rough size of a small allocation with its place.
pub(crate) const OVERHEAD: usize = 96;

/// What a list of names takes, roughly.
pub(crate) fn list_size(names: &[Name]) -> usize {
    OVERHEAD
        + names
            .iter()
            .map(|name| OVERHEAD + name.len())
            .sum::<usize>()
}

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

/// What is not among the sources, by the peer's number.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Missing {
    Table(u32),
    Node(u32),
    Residency(u32),
}

impl Sources {
    /// A table by its number; inside, `None` if it is not wanted.
    #[inline]
    pub(crate) fn table(&self, id: u32) -> Option<Option<&Arc<Table>>> {
        self.tables.get(id).map(Option::as_ref)
    }

    /// A node's name by its number.
    #[inline]
    pub(crate) fn node(&self, id: u32) -> Option<&Name> {
        self.nodes.get(id)
    }

    /// Whether nothing refers to another node.
    #[inline]
    pub(crate) fn has_only_node(&self, id: u32) -> bool {
        matches!(self.nodes.0[..], [(known, _)] if known == id)
    }

    /// The number of a list that the entry names and that is not here.
    #[inline]
    pub(crate) fn missing_list(&self, entry: &Optional) -> Option<u32> {
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
        let size = nodes.as_deref().map_or(OVERHEAD, list_size);
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
