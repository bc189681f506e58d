//! What the peer has told us that its records need: names of nodes, tables with their dictionaries, residency lists.
//!
//! All of it belongs to one link, and all of it is bounded by [`Limits::context`](crate::config::Limits::context).

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::config::TABLE_COST;
use crate::error::MissingContext;
use crate::id::Name;
use crate::sources::{Full, Missing, OVERHEAD, Sources, list_size};
use crate::table::{Table, TableDefinition};
use crate::value::Dictionary;
use crate::wire::WireError;
use crate::wire::message::TableStructure;

#[derive(Debug)]
pub(super) struct Context {
    /// The limit for all of it, in bytes, checked before anything is stored.
    limit: usize,
    nodes: BTreeMap<u32, Name>,
    nodes_size: usize,
    tables: BTreeMap<u32, KnownTable>,
    tables_size: usize,
    /// Every name of a table that was ever announced, also when its id has another one by now: those who keep what comes
    /// remember them all.
    names: BTreeSet<Name>,
    names_size: usize,
    /// The definitions of the newest schema.
    schema_size: usize,
    residency: BTreeMap<u32, Arc<[Name]>>,
    residency_size: usize,
    /// What the newest records refer to. Made anew whenever the peer says something new, so that a run keeps what it came with,
    /// and when they are full.
    sources: Arc<Sources>,
    /// No run has been charged for them as they are.
    are_sources_new: bool,
}

/// It would be more than [`Limits::context`](crate::config::Limits::context).
#[derive(Debug)]
pub(super) struct Beyond;

/// A table that cannot be stored.
#[derive(Debug)]
pub(super) enum BadTable {
    Beyond,
    Malformed(WireError),
}

impl From<Beyond> for BadTable {
    fn from(_: Beyond) -> Self {
        Self::Beyond
    }
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
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            nodes: BTreeMap::new(),
            nodes_size: 0,
            tables: BTreeMap::new(),
            tables_size: 0,
            names: BTreeSet::new(),
            names_size: 0,
            schema_size: 0,
            residency: BTreeMap::new(),
            residency_size: 0,
            sources: Arc::default(),
            are_sources_new: false,
        }
    }

    /// The room left, in bytes, once `replaced` bytes are gone.
    const fn room(&self, replaced: usize) -> usize {
        let kept = self.nodes_size
            + self.tables_size
            + self.names_size
            + self.schema_size
            + self.residency_size;
        (self.limit + replaced).saturating_sub(kept)
    }

    /// `size` bytes take the place of `replaced` ones.
    const fn check(&self, size: usize, replaced: usize) -> Result<(), Beyond> {
        if size > self.room(replaced) {
            return Err(Beyond);
        }
        Ok(())
    }

    /// The complete map of the peer's node ids replaces what was known (`protocol.md` section 3.5).
    pub(super) fn set_nodes(&mut self, ids: Vec<(String, u32)>) -> Result<(), Beyond> {
        let size = ids.iter().map(|(name, _)| OVERHEAD + name.len()).sum();
        self.check(size, self.nodes_size)?;
        self.sources = Arc::default();
        self.nodes_size = size;
        self.nodes = ids
            .into_iter()
            .map(|(name, id)| (id, Name::from(name.as_str())))
            .collect();
        Ok(())
    }

    /// The peer has described its tables.
    pub(super) fn set_schema(&mut self, tables: &[TableDefinition]) -> Result<(), Beyond> {
        let size = TableDefinition::size_of_all(tables);
        self.check(size, self.schema_size)?;
        self.schema_size = size;
        for definition in tables {
            self.name(&definition.table)?;
        }
        Ok(())
    }

    /// The name of a table, remembered for as long as the link lasts.
    fn name(&mut self, table: &str) -> Result<Name, Beyond> {
        if let Some(known) = self.names.get(table) {
            return Ok(known.clone());
        }
        let size = TABLE_COST + table.len();
        self.check(size, 0)?;
        self.names_size += size;
        let name = Name::from(table);
        self.names.insert(name.clone());
        Ok(name)
    }

    /// A table's dictionary replaces the one that was known.
    pub(super) fn set_table(
        &mut self,
        structure: TableStructure,
        is_wanted: bool,
    ) -> Result<Arc<Table>, BadTable> {
        let name = self.name(&structure.definition.table)?;
        let replaced = self.tables.get(&structure.table);
        let replaced = replaced.map_or(0, |replaced| replaced.size);
        let (typed, named) = (structure.typed.as_deref(), structure.named.as_deref());
        let dictionary = Dictionary::decode_within(typed, named, self.room(replaced))
            .map_err(|error| BadTable::Malformed(WireError::Structures(error)))?
            .ok_or(Beyond)?;
        let table = Arc::new(Table {
            name,
            definition: structure.definition,
            dictionary,
        });
        let size = OVERHEAD + table.size();
        self.check(size, replaced)?;
        let known = KnownTable {
            table: Arc::clone(&table),
            is_wanted,
            size,
        };
        self.sources = Arc::default();
        self.tables_size = self.tables_size + size - replaced;
        self.tables.insert(structure.table, known);
        Ok(table)
    }

    pub(super) fn set_residency(&mut self, id: u32, nodes: &[String]) -> Result<(), Beyond> {
        let nodes: Arc<[Name]> = nodes.iter().map(|name| name.as_str().into()).collect();
        let replaced = self.residency.get(&id);
        let replaced = replaced.map_or(0, |replaced| list_size(replaced));
        let size = list_size(&nodes);
        self.check(size, replaced)?;
        self.sources = Arc::default();
        self.residency_size = self.residency_size + size - replaced;
        self.residency.insert(id, nodes);
        Ok(())
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
