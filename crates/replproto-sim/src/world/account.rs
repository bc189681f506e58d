//! What is allocated on behalf of the link, against what a link may take.

use std::collections::BTreeSet;

use replproto_core::config::TABLE_COST;
use replproto_core::{Config, Event};

use crate::alloc::live_of_link;
use crate::oracles::{Result, hold};

/// The largest part that arrives: floods come in smaller messages.
const PART: u64 = 64 << 10;

/// The memory of the links of a world, of which one is open at a time.
#[derive(Debug)]
pub(super) struct Account {
    /// What other worlds of this thread have left.
    before: u64,
    /// What a link may have.
    bound: u64,
    /// The limit of what the peer makes it remember.
    context: u64,
    /// The tables that the application of the open link has heard of, and what they must have cost.
    names: BTreeSet<String>,
    names_cost: u64,
}

impl Account {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            before: live_of_link(),
            bound: config.memory_bound(PART).total(),
            context: config.limits.context as u64,
            names: BTreeSet::new(),
            names_cost: 0,
        }
    }

    /// Another link begins.
    pub(super) fn begin(&mut self) {
        self.names.clear();
        self.names_cost = 0;
    }

    /// The application hears of tables: it makes room for each, for as long as the link lasts and longer.
    pub(super) fn hear(&mut self, event: &Event) -> Result {
        match event {
            Event::Table(table) => self.name(table.name()),
            Event::Schema(schema) => {
                for table in &*schema.tables {
                    self.name(&table.table);
                }
            }
            _ => return Ok(()),
        }
        let (names, cost) = (self.names.len(), self.names_cost);
        hold("memory", cost <= self.context, || {
            format!("{names} tables are announced, which cost {cost} bytes")
        })
    }

    fn name(&mut self, table: &str) {
        if self.names.insert(table.to_owned()) {
            self.names_cost += (TABLE_COST + table.len()) as u64;
        }
    }

    /// After a step, with what the link retains of parts, which the network has allocated.
    pub(super) fn check(&self, retained: u64) -> Result {
        let live = live_of_link().saturating_sub(self.before) + retained;
        hold("memory", live <= self.bound, || {
            format!("{live} bytes are allocated, and {} at most", self.bound)
        })
    }
}
