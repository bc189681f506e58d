//! What the peer has told us that its records need: names of nodes, tables with their dictionaries, residency lists.
//!
//! All of it belongs to one link, and all of it is bounded by [`Limits::context`](crate::config::Limits::context).

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::error::MissingContext;
use crate::id::Name;
use crate::sources::{Full, Missing, OVERHEAD, Sources, list_size};
use crate::table::{Table, TableDefinition};
use crate::value::Dictionary;
use crate::wire::WireError;
use crate::wire::message::TableStructure;

#[derive(Debug, Default)]
pub(super) struct Context {
    nodes: BTreeMap<u32, Name>,
    nodes_size: usize,
    tables: BTreeMap<u32, KnownTable>,
    tables_size: usize,
    residency: BTreeMap<u32, Arc<[Name]>>,
    residency_size: usize,
    /// What the newest records refer to. Made anew whenever the peer says something new, so that a run keeps what it came with,
    /// and when they are full.
    sources: Arc<Sources>,
    /// No run has been charged for them as they are.
    are_sources_new: bool,
}

/// Why [`Context::supply`] could not supply.
#[derive(Debug)]
pub(super) enum NoSupply {
    /// The peer has not said it.
    Unknown(MissingContext),
    /// The sources are full: a run that uses them has to end, and the next one begins with new ones.
    Full,
}

#[derive(Debug)]
struct KnownTable {
    table: Arc<Table>,
    is_wanted: bool,
    size: usize,
}

impl Context {
    /// Bytes that are kept, roughly.
    pub(super) const fn size(&self) -> usize {
        self.nodes_size + self.tables_size + self.residency_size
    }

    /// The complete map of the peer's node ids replaces what was known (`protocol.md` section 3.5).
    pub(super) fn set_nodes(&mut self, ids: Vec<(String, u32)>) {
        self.sources = Arc::default();
        self.nodes_size = ids.iter().map(|(name, _)| OVERHEAD + name.len()).sum();
        self.nodes = ids
            .into_iter()
            .map(|(name, id)| (id, Name::from(name.as_str())))
            .collect();
    }

    /// A table's dictionary replaces the one that was known. Gives the table and what it costs. `room`: for the dictionary;
    /// else it is [`WireError::Unfolds`].
    pub(super) fn set_table(
        &mut self,
        structure: TableStructure,
        is_wanted: bool,
        room: usize,
    ) -> Result<(Arc<Table>, usize), WireError> {
        let (typed, named) = (structure.typed.as_deref(), structure.named.as_deref());
        let dictionary = Dictionary::decode_within(typed, named, room);
        let dictionary = dictionary.map_err(WireError::Structures)?;
        let dictionary = dictionary.ok_or(WireError::Unfolds)?;
        let size = OVERHEAD + dictionary.heap_bytes() + definition_size(&structure.definition);
        let table = Arc::new(Table {
            name: structure.definition.table.as_str().into(),
            definition: structure.definition,
            dictionary,
        });
        let known = KnownTable {
            table: Arc::clone(&table),
            is_wanted,
            size,
        };
        self.sources = Arc::default();
        self.tables_size += size;
        if let Some(replaced) = self.tables.insert(structure.table, known) {
            self.tables_size -= replaced.size;
        }
        Ok((table, size))
    }

    pub(super) fn set_residency(&mut self, id: u32, nodes: &[String]) {
        self.sources = Arc::default();
        let nodes: Arc<[Name]> = nodes.iter().map(|name| name.as_str().into()).collect();
        self.residency_size += list_size(&nodes);
        if let Some(replaced) = self.residency.insert(id, nodes) {
            self.residency_size -= list_size(&replaced);
        }
    }

    /// What records refer to, as far as any has asked for it since the peer last said something.
    #[inline]
    pub(super) const fn sources(&self) -> &Arc<Sources> {
        &self.sources
    }

    /// Adds what an entry refers to.
    #[cold]
    pub(super) fn supply(&mut self, missing: Missing) -> Result<(), NoSupply> {
        // A copy, if a run holds them, is memory of its own.
        self.are_sources_new = true;
        let sources = Arc::make_mut(&mut self.sources);
        let added = match missing {
            Missing::Table(id) => {
                let known = self.tables.get(&id);
                let known = known.ok_or(NoSupply::Unknown(MissingContext::Table(id)))?;
                let table = known.is_wanted.then(|| Arc::clone(&known.table));
                sources.add_table(id, table)
            }
            Missing::Node(id) => {
                let name = self.nodes.get(&id);
                let name = name.ok_or(NoSupply::Unknown(MissingContext::Origin(id)))?;
                sources.add_node(id, name.clone())
            }
            Missing::Residency(id) => sources.add_residency(id, self.residency.get(&id).cloned()),
        };
        added.map_err(|Full| NoSupply::Full)
    }

    /// What a run has to be charged for its sources: all of them if it is the first to hold them. Runs are given back in order,
    /// so of all sources that are held at most the oldest are not charged to one that is still out.
    #[inline]
    pub(super) fn take_charge(&mut self) -> u64 {
        if core::mem::take(&mut self.are_sources_new) {
            self.sources.size()
        } else {
            0
        }
    }

    /// Begins with new sources. What was passed over for a table that is not wanted may be missing in them, which is no
    /// difference to those who read the run.
    #[cold]
    pub(super) fn renew_sources(&mut self) {
        self.sources = Arc::default();
    }
}

/// Bytes that a table's definition takes, roughly.
pub(super) fn definition_size(definition: &TableDefinition) -> usize {
    let text = |text: &String| OVERHEAD / 2 + text.len();
    let attributes = definition
        .attributes
        .iter()
        .map(|attribute| text(&attribute.name) + attribute.kind.as_ref().map_or(0, text));
    OVERHEAD + definition.table.len() + attributes.sum::<usize>()
}
