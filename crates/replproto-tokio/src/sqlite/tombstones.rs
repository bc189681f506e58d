//! What was deleted, for as long as the publisher may still send something older; and what invalidations have left of records.
//!
//! After a crash the publisher repeats its log from the stored cursor on. An entry that is older than a deletion must then
//! stay without effect, or readers would see a deleted record come back. The same goes for an entry of another writer that
//! comes late, as long as publishers keep their log ([`RETENTION`]). A deletion can be forgotten when that time is over and the
//! cursor has passed its place in the log; but a cursor may cover only a part of what has been applied, and it is a position, which
//! records do not have. So each tombstone is given the first position that the publisher announces *after* it, which bounds
//! its own:
//!
//! | `sequence` | meaning | forgotten |
//! |---|---|---|
//! | NULL | applied on this run of the log; no position has been announced since | not yet |
//! | a number | this position lies after the deletion, and its time is over there | once a cursor at or past it is committed |
//! | infinity | applied on an earlier run of the log, which broke off before a position was announced | not yet |
//!
//! A *run* is a stretch in which entries come in the order of the log: it ends with the link, and where a base copy or a new
//! subscription goes back. What is announced on a later run says nothing about an earlier one, which may have come further,
//! hence the infinity. It becomes NULL again in two ways: the deletion itself is repeated, or a deletion comes that no
//! earlier run had brought (otherwise there would be a tombstone or a newer record). The latter proves that this run has
//! passed everything that earlier ones had applied. Since new deletions are the only way in which tombstones become more,
//! there are never more than the deletions from the cursor to the last position, plus those since.

use replproto_core::replica::{Memory, RETENTION};
use rusqlite::{Connection, OptionalExtension, params};

use super::rows;
use crate::json::Json;

/// A tombstone, without what it hides.
#[derive(Debug)]
pub(super) struct Tombstone {
    version: f64,
    origin: String,
    /// The memory as it is stored.
    pub(super) bytes: Vec<u8>,
    pub(super) is_hidden: bool,
}

impl Tombstone {
    pub(super) fn memory(&self) -> rusqlite::Result<Memory<Json>> {
        rows::memory((self.version, &self.origin, false), &self.bytes)
    }
}

/// The tombstones of one link, with what must be known of them to leave most questions unasked.
#[derive(Debug)]
pub(super) struct Tombstones {
    link: i64,
    /// There may be some.
    any: bool,
    /// Some may have no position yet.
    waiting: bool,
    /// Some may be of an earlier run.
    earlier: bool,
}

impl Tombstones {
    pub(super) fn load(connection: &Connection, link: i64) -> rusqlite::Result<Self> {
        let exists = |condition: &str| {
            connection
                .prepare(&format!(
                    "SELECT 1 FROM _replproto_tombstone WHERE link = ?1 AND {condition} LIMIT 1"
                ))?
                .exists([link])
        };
        Ok(Self {
            link,
            any: exists("true")?,
            waiting: exists("sequence IS NULL")?,
            earlier: exists("sequence = 9e999")?,
        })
    }

    /// Whether there is one.
    pub(super) fn has(
        &self,
        connection: &Connection,
        table: i64,
        key: &[u8],
    ) -> rusqlite::Result<bool> {
        if !self.any {
            return Ok(false);
        }
        connection
            .prepare_cached("SELECT 1 FROM _replproto_tombstone WHERE table_id = ?1 AND key = ?2")?
            .exists(params![table, key])
    }

    /// Reads one, without what it hides.
    pub(super) fn read(
        &self,
        connection: &Connection,
        table: i64,
        key: &[u8],
    ) -> rusqlite::Result<Option<Tombstone>> {
        if !self.any {
            return Ok(None);
        }
        connection
            .prepare_cached(
                "SELECT version, origin, memory, hidden IS NOT NULL FROM _replproto_tombstone
                 WHERE table_id = ?1 AND key = ?2",
            )?
            .query_row(params![table, key], |row| {
                let memory: Option<Vec<u8>> = row.get(2)?;
                Ok(Tombstone {
                    version: row.get(0)?,
                    origin: row.get(1)?,
                    bytes: memory.unwrap_or_default(),
                    is_hidden: row.get(3)?,
                })
            })
            .optional()
    }

    /// What is left of a record that was invalidated.
    pub(super) fn hidden(
        connection: &Connection,
        table: i64,
        key: &[u8],
    ) -> rusqlite::Result<String> {
        connection
            .prepare_cached(
                "SELECT hidden FROM _replproto_tombstone WHERE table_id = ?1 AND key = ?2",
            )?
            .query_row(params![table, key], |row| row.get(0))
    }

    /// A record was deleted, or hidden. `is_new` if no earlier run has brought this deletion.
    pub(super) fn insert(
        &mut self,
        connection: &Connection,
        (table, key): (i64, &[u8]),
        (version, origin): (f64, &str),
        (memory, hidden): (&[u8], Option<&str>),
        is_new: bool,
    ) -> rusqlite::Result<()> {
        if is_new && self.earlier {
            connection
                .prepare_cached(
                    "UPDATE _replproto_tombstone SET sequence = NULL WHERE link = ?1 AND sequence = 9e999",
                )?
                .execute([self.link])?;
            self.earlier = false;
        }
        let memory = (!memory.is_empty()).then_some(memory);
        connection
            .prepare_cached(
                "INSERT OR REPLACE INTO _replproto_tombstone (link, table_id, key, version, origin, memory, hidden)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute(params![self.link, table, key, version, origin, memory, hidden])?;
        self.any = true;
        self.waiting = true;
        Ok(())
    }

    /// The memory of a record has changed that is not there.
    pub(super) fn touch(
        connection: &Connection,
        (table, key): (i64, &[u8]),
        (version, origin): (f64, &str),
        memory: &[u8],
    ) -> rusqlite::Result<()> {
        let memory = (!memory.is_empty()).then_some(memory);
        connection
            .prepare_cached(
                "UPDATE _replproto_tombstone SET version = ?3, origin = ?4, memory = ?5
                 WHERE table_id = ?1 AND key = ?2",
            )?
            .execute(params![table, key, version, origin, memory])
            .map(drop)
    }

    /// The record is there again.
    pub(super) fn remove(connection: &Connection, table: i64, key: &[u8]) -> rusqlite::Result<()> {
        connection
            .prepare_cached("DELETE FROM _replproto_tombstone WHERE table_id = ?1 AND key = ?2")?
            .execute(params![table, key])?;
        Ok(())
    }

    /// A complete copy has not brought the hidden records that are not marked: the publisher has them no more.
    pub(super) fn sweep(connection: &Connection, table: i64) -> rusqlite::Result<()> {
        connection
            .prepare_cached(
                "DELETE FROM _replproto_tombstone WHERE table_id = ?1 AND hidden IS NOT NULL
                 AND key NOT IN (SELECT key FROM _replproto_seen WHERE table_id = ?1)",
            )?
            .execute([table])
            .map(drop)
    }

    /// The publisher announced a position that lies after all that this run has brought.
    pub(super) fn on_position(
        &mut self,
        connection: &Connection,
        sequence: f64,
    ) -> rusqlite::Result<()> {
        self.replace_waiting(connection, sequence)
    }

    /// A run has ended.
    pub(super) fn on_new_run(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        self.earlier |= self.waiting;
        self.replace_waiting(connection, f64::INFINITY)
    }

    fn replace_waiting(&mut self, connection: &Connection, with: f64) -> rusqlite::Result<()> {
        if self.waiting {
            connection
                .prepare_cached(
                    "UPDATE _replproto_tombstone SET sequence = max(?2, version + ?3)
                     WHERE link = ?1 AND sequence IS NULL",
                )?
                .execute(params![self.link, with, RETENTION.as_millis() as f64])?;
            self.waiting = false;
        }
        Ok(())
    }

    /// Positions of another publisher mean nothing any more.
    pub(super) fn on_new_publisher(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        connection.execute(
            "UPDATE _replproto_tombstone SET sequence = 9e999 WHERE link = ?1",
            [self.link],
        )?;
        self.waiting = false;
        self.earlier = self.any;
        Ok(())
    }

    /// The cursor is stored: the publisher will repeat nothing up to there.
    pub(super) fn on_cursor(
        &mut self,
        connection: &Connection,
        sequence: f64,
    ) -> rusqlite::Result<()> {
        if !self.any {
            return Ok(());
        }
        let forgotten = connection
            .prepare_cached(
                "DELETE FROM _replproto_tombstone
                 WHERE link = ?1 AND sequence <= ?2 AND hidden IS NULL",
            )?
            .execute(params![self.link, sequence])?;
        if forgotten > 0 {
            self.any = connection
                .prepare_cached("SELECT 1 FROM _replproto_tombstone WHERE link = ?1 LIMIT 1")?
                .exists([self.link])?;
        }
        Ok(())
    }
}
