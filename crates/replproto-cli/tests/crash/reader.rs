//! Somebody who reads the replica all the time, with a connection of its own, also while nobody writes to it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use replproto_core::Cursor;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, OptionalExtension};

use crate::source::{self, Id, PHOTOS, TABLES};
use crate::world::{Progress, Shared, World};

/// How many records one look takes in.
const LOOK_AT: u64 = 150;

/// More than any table has.
pub(crate) const ALL: Range<u64> = 0..10_000;

#[derive(Debug)]
pub(crate) struct Reader {
    shared: Arc<Shared>,
    connection: Option<Connection>,
    /// The process is to be the only one with the file open.
    is_away: bool,
    /// For each record the oldest of its states that it can still be in.
    seen: BTreeMap<Id, usize>,
    next: (usize, u64),
    pub(crate) looks: u64,
}

/// A record as it is in the replica.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) number: u64,
    pub(crate) version: f64,
    pub(crate) record: String,
}

/// Starts to read.
pub(crate) fn start(shared: Arc<Shared>) -> Arc<Mutex<Reader>> {
    let reader = Arc::new(Mutex::new(Reader {
        shared,
        connection: None,
        is_away: false,
        seen: BTreeMap::new(),
        next: (0, 0),
        looks: 0,
    }));
    let weak = Arc::downgrade(&reader);
    std::thread::spawn(move || {
        while let Some(reader) = weak.upgrade() {
            // A panic of the other side has failed the test already.
            let Ok(mut locked) = reader.lock() else {
                return;
            };
            locked.look_around();
            drop(locked);
            drop(reader);
            std::thread::sleep(Duration::from_millis(2));
        }
    });
    reader
}

pub(crate) fn lock(reader: &Mutex<Reader>) -> MutexGuard<'_, Reader> {
    reader.lock().expect("a reader that is well")
}

impl Reader {
    /// Closes the file, or opens it again.
    pub(crate) fn set_away(&mut self, is_away: bool) {
        self.is_away = is_away;
        if is_away {
            self.connection = None;
        }
    }

    fn look_around(&mut self) {
        if self.is_away {
            return;
        }
        let (table, from) = self.next;
        self.look(table, from..from + LOOK_AT);
        self.next = match from + LOOK_AT {
            next if next < ALL.end / 4 => (table, next),
            _ => ((table + 1) % TABLES.len(), 0),
        };
    }

    /// How far the replica has come.
    pub(crate) fn stored(&mut self) -> Progress {
        let read = self.read(0, &(0..0)).expect("a readable replica");
        read.map_or(Progress::Nothing, |(progress, _)| progress)
    }

    /// Looks at everything.
    pub(crate) fn look_at_all(&mut self) -> Progress {
        let mut progress = Progress::Nothing;
        for table in 0..TABLES.len() {
            progress = self.look(table, ALL);
        }
        progress
    }

    /// Looks at some records, and at the cursor of the same moment.
    fn look(&mut self, table: usize, numbers: Range<u64>) -> Progress {
        let confirmed = self.shared.with(|world| world.confirmed);
        let Some((progress, rows)) = self.read(table, &numbers).expect("a readable replica") else {
            return Progress::Nothing;
        };
        self.looks += 1;
        let shared = Arc::clone(&self.shared);
        let photos = shared.with(|world| {
            if confirmed > 0.0 && progress < Progress::Log(confirmed) {
                world.breaks(format!(
                    "{confirmed} is confirmed, and {progress:?} is stored"
                ));
            }
            self.check(world, table, numbers, &rows, progress)
        });
        for (id, put) in photos {
            let is_covered = progress >= Progress::Log(source::position(put))
                || (matches!(progress, Progress::Copy(..))
                    && progress >= Progress::Copy(id.0, id.1));
            if is_covered && !shared.with(|world| world.may_lack_blob(id, put)) {
                let file = source::blob_file(id, put);
                let size = source::blob_size(&file);
                let found = std::fs::metadata(shared.blob_path(&file)).map(|found| found.len());
                if found.as_ref().ok() != Some(&size) {
                    shared.with(|world| {
                        world.breaks(format!(
                            "{id:?} is covered by {progress:?}, its blob: {found:?}"
                        ))
                    });
                }
            }
        }
        progress
    }

    /// No record goes back in time or gets lost, and none is older than the cursor. Gives the photos, and who put them.
    fn check(
        &mut self,
        world: &mut World,
        table: usize,
        numbers: Range<u64>,
        rows: &[Row],
        progress: Progress,
    ) -> Vec<(Id, usize)> {
        let mut photos = Vec::new();
        let mut broken = Vec::new();
        let mut rows = rows.iter().peekable();
        for (id, history) in world
            .source
            .histories
            .range((table, numbers.start)..(table, numbers.end))
        {
            let row = rows.next_if(|row| row.number == id.1);
            // A record is not there before its first state.
            let seen = self.seen.entry(*id).or_insert(0);
            let covered = match progress {
                Progress::Log(position) => {
                    history.partition_point(|(at, _)| source::position(*at) <= position)
                }
                Progress::Nothing | Progress::Copy(..) => 0,
            };
            let oldest = covered.max(*seen);
            let found = match row {
                Some(row) => history
                    .iter()
                    .position(|(at, _)| source::version(*at) == row.version)
                    .map(|at| at + 1),
                None if oldest == 0 => Some(0),
                None => (oldest..=history.len()).find(|at| history[at - 1].1.is_none()),
            };
            match found {
                // What was deleted before the copy came to it is there for a while when the log goes back to the copy's start.
                Some(found) if found >= oldest && row.is_none() && *seen == 0 => {}
                Some(found) if found >= oldest => *seen = found,
                _ => broken.push(format!(
                    "{id:?}: seen in state {seen} of {history:?}, at {progress:?} in state {covered}, now {row:?}"
                )),
            }
            if let (Some(row), Some((_, Some(state)))) = (
                row,
                found.and_then(|found| history.get(found.wrapping_sub(1))),
            ) {
                let record: serde_json::Value =
                    serde_json::from_str(&row.record).unwrap_or_default();
                if record["n"].as_f64() != Some(state.last as f64) {
                    broken.push(format!("{id:?}: {row:?} instead of {state:?}"));
                }
                if table == PHOTOS {
                    photos.push((*id, state.put()));
                }
            } else if row.is_some() {
                broken.push(format!("{id:?} was never as it is in {row:?}: {history:?}"));
            }
        }
        if let Some(row) = rows.next() {
            broken.push(format!("{row:?} was never there"));
        }
        for what in broken {
            world.breaks(what);
        }
        photos
    }

    /// The stored cursor and the rows of one moment; `None` if there is nothing yet.
    pub(crate) fn read(
        &mut self,
        table: usize,
        numbers: &Range<u64>,
    ) -> rusqlite::Result<Option<(Progress, Vec<Row>)>> {
        if !self.shared.file.exists() {
            return Ok(None);
        }
        let connection = match &mut self.connection {
            Some(connection) => connection,
            None => self.connection.insert(open(&self.shared)?),
        };
        let snapshot = connection.transaction()?;
        let has_table = |name: &str| {
            snapshot
                .prepare("SELECT 1 FROM sqlite_master WHERE name = ?1")?
                .exists([name])
        };
        if !has_table("_replproto_link")? {
            return Ok(None);
        }
        let cursor: Option<Option<Vec<u8>>> = snapshot
            .query_row("SELECT cursor FROM _replproto_link", [], |row| row.get(0))
            .optional()?;
        let progress = match cursor.flatten() {
            Some(bytes) => Progress::of_cursor(&Cursor::from_bytes(&bytes).expect("a cursor")),
            None => Progress::Nothing,
        };
        if !has_table(TABLES[table])? {
            return Ok(Some((progress, Vec::new())));
        }
        let query = format!(
            "SELECT key, version, CAST(record AS TEXT) FROM {} WHERE key >= ?1 AND key < ?2 ORDER BY key",
            TABLES[table]
        );
        let mut rows = snapshot.prepare(&query)?;
        let bounds = [numbers.start, numbers.end].map(source::key_bytes);
        let rows = rows.query_map(bounds, |row| {
            Ok(Row {
                number: source::key_number(&row.get::<_, Vec<u8>>(0)?),
                version: row.get(1)?,
                record: row.get(2)?,
            })
        })?;
        Ok(Some((progress, rows.collect::<rusqlite::Result<_>>()?)))
    }
}

fn open(shared: &Shared) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(&shared.file, flags)?;
    connection.busy_timeout(Duration::from_secs(30))?;
    connection.execute_batch("PRAGMA query_only = ON")?;
    // What the killed process has left is for the next one to clear up.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    Ok(connection)
}
