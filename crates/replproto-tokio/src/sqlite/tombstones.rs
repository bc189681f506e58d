//! What was deleted, for as long as the publisher may still repeat something older.
//!
//! After a crash the publisher repeats its log from the stored cursor on. An entry that is older than a deletion must then
//! stay without effect, or readers would see a deleted record come back. A deletion can be forgotten when the cursor has
//! passed its place in the log; but a cursor may cover only a part of what has been applied, and it is a position, which
//! records do not have. So each tombstone is given the first position that the publisher announces *after* it, which bounds
//! its own:
//!
//! | `sequence` | meaning | forgotten |
//! |---|---|---|
//! | NULL | applied on this run of the log; no position has been announced since | not yet |
//! | a number | this position lies after the deletion | once a cursor at or past it is committed |
//! | infinity | applied on an earlier run of the log, which broke off before a position was announced | not yet |
//!
//! A *run* is a stretch in which entries come in the order of the log: it ends with the link, and where a base copy or a new
//! subscription goes back. What is announced on a later run says nothing about an earlier one, which may have come further,
//! hence the infinity. It becomes NULL again in two ways: the deletion itself is repeated, or a deletion comes that no
//! earlier run had brought (otherwise there would be a tombstone or a newer record). The latter proves that this run has
//! passed everything that earlier ones had applied. Since new deletions are the only way in which tombstones become more,
//! there are never more than the deletions from the cursor to the last position, plus those since.

use rusqlite::{Connection, OptionalExtension, params};

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

    /// The version at which the record was deleted.
    pub(super) fn version(
        &self,
        connection: &Connection,
        table: i64,
        key: &[u8],
    ) -> rusqlite::Result<Option<f64>> {
        if !self.any {
            return Ok(None);
        }
        connection
            .prepare_cached(
                "SELECT version FROM _replproto_tombstone WHERE table_id = ?1 AND key = ?2",
            )?
            .query_row(params![table, key], |row| row.get(0))
            .optional()
    }

    /// A record was deleted. `is_new` if no earlier run has brought this deletion.
    pub(super) fn insert(
        &mut self,
        connection: &Connection,
        table: i64,
        key: &[u8],
        version: f64,
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
        connection
            .prepare_cached(
                "INSERT OR REPLACE INTO _replproto_tombstone (link, table_id, key, version) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute(params![self.link, table, key, version])?;
        self.any = true;
        self.waiting = true;
        Ok(())
    }

    /// The record is there again.
    pub(super) fn remove(connection: &Connection, table: i64, key: &[u8]) -> rusqlite::Result<()> {
        connection
            .prepare_cached("DELETE FROM _replproto_tombstone WHERE table_id = ?1 AND key = ?2")?
            .execute(params![table, key])?;
        Ok(())
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
                    "UPDATE _replproto_tombstone SET sequence = ?2 WHERE link = ?1 AND sequence IS NULL",
                )?
                .execute(params![self.link, with])?;
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
            .prepare_cached("DELETE FROM _replproto_tombstone WHERE link = ?1 AND sequence <= ?2")?
            .execute(params![self.link, sequence])?;
        if forgotten > 0 {
            self.any = connection
                .prepare_cached("SELECT 1 FROM _replproto_tombstone WHERE link = ?1 LIMIT 1")?
                .exists([self.link])?;
        }
        Ok(())
    }
}
