//! Files of earlier versions.

use rusqlite::config::DbConfig;
use rusqlite::{Connection, TransactionBehavior};

use super::schema::{self, SINCE_2};
use super::tables::{self, quote};

/// The layout in which rows could not be written in pieces: the replicated tables were WITHOUT ROWID, and rows had the mark of
/// the base copy that had last brought them in whatever version. What had been written to a row was not remembered.
pub(super) const FORMAT_1: i64 = 1;

/// The layout in which tables were followed for ever.
pub(super) const FORMAT_2: i64 = 2;

/// Makes a file of format 2 one of format 3. After an error it is as it was.
pub(super) fn from_format_2(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Another follower may have been faster.
    if schema::format(&transaction)? == Some(FORMAT_2) {
        transaction.execute_batch(
            "ALTER TABLE _replproto_table ADD COLUMN followed INTEGER NOT NULL DEFAULT 1;
             UPDATE _replproto_format SET version = 3;",
        )?;
    }
    transaction.commit()
}

/// Makes a file of format 1 one of format 2. After an error it is as it was.
pub(super) fn from_format_1(connection: &mut Connection) -> rusqlite::Result<()> {
    // Views, triggers and foreign keys of other tables go on naming the new tables as they did the old ones.
    let renames_only = DbConfig::SQLITE_DBCONFIG_LEGACY_ALTER_TABLE;
    let foreign_keys = DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY;
    let before = [renames_only, foreign_keys]
        .map(|config| connection.db_config(config))
        .into_iter()
        .collect::<rusqlite::Result<Vec<_>>>()?;
    connection.set_db_config(renames_only, true)?;
    connection.set_db_config(foreign_keys, false)?;
    let done = in_one_transaction(connection);
    connection.set_db_config(renames_only, before[0])?;
    connection.set_db_config(foreign_keys, before[1])?;
    done
}

fn in_one_transaction(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Another follower may have been faster.
    if schema::format(&transaction)? != Some(FORMAT_1) {
        return Ok(());
    }
    let names: Vec<String> = transaction
        .prepare("SELECT sql_name FROM _replproto_table ORDER BY id")?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    tracing::info!(
        tables = names.len(),
        "the file is of an earlier version: its tables are written anew, which takes as much room again on the disk until it is done"
    );
    for (index, name) in names.iter().enumerate() {
        tracing::info!(table = name, "table {} of {}", index + 1, names.len());
        write_anew(&transaction, name)?;
    }
    transaction.execute_batch(SINCE_2)?;
    transaction.execute_batch(
        "ALTER TABLE _replproto_tombstone ADD COLUMN origin TEXT NOT NULL DEFAULT '';
         ALTER TABLE _replproto_tombstone ADD COLUMN memory BLOB;
         ALTER TABLE _replproto_tombstone ADD COLUMN hidden TEXT;",
    )?;
    transaction.execute_batch("DROP TABLE IF EXISTS _replproto_stage")?;
    transaction.execute("UPDATE _replproto_format SET version = 2", [])?;
    transaction.commit()?;
    tracing::info!("the file is of this version now");
    Ok(())
}

/// Copies a table into one of the present layout, with the indexes and the triggers that others have added to it.
fn write_anew(connection: &Connection, name: &str) -> rusqlite::Result<()> {
    const OLD: &str = "_replproto_old";
    // One that somebody has added columns to stays as it is: its rows are put together in memory.
    let is_ours = connection
        .prepare("SELECT 1 FROM pragma_table_list(?1) WHERE schema = 'main' AND wr AND ncol = 8")?
        .exists([name])?;
    if !is_ours {
        let table = quote(name);
        return connection.execute_batch(&format!("ALTER TABLE {table} ADD COLUMN memory BLOB"));
    }
    let added: Vec<String> = connection
        .prepare(
            "SELECT sql FROM sqlite_schema
             WHERE tbl_name = ?1 COLLATE NOCASE AND type IN ('index', 'trigger') AND sql IS NOT NULL
             ORDER BY rowid",
        )?
        .query_map([name], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let table = quote(name);
    connection.execute_batch(&format!("ALTER TABLE {table} RENAME TO {OLD}"))?;
    tables::create(connection, name)?;
    let columns = "key, id, version, origin, user, expires_at";
    // Nobody knows what was written to a row, as if it were a copied one.
    connection.execute_batch(&format!(
        "INSERT INTO {table} ({columns}, copy, record)
         SELECT {columns}, iif(copy = 0, -1, copy), record FROM {OLD} ORDER BY key;
         DROP TABLE {OLD};"
    ))?;
    for sql in added {
        connection.execute_batch(&sql)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
