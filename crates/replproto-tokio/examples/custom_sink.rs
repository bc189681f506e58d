//! A sink of one's own: the records of a small database as one JSON file, which any program can read at any time.
//!
//! ```text
//! cargo run -p replproto-tokio --example custom_sink -- ws://127.0.0.1:9933 data settings.json
//! ```
//!
//! The file is written anew for each commit and put in the place of the old one, so the records and the cursor are
//! durable in the same step by construction: what comes twice on the wire has its effect once. It suits some thousand
//! records, such as settings, which are kept in memory too. For more, a database does the same with a transaction.
//!
//! What becomes of a record when several nodes write to it, late or twice, is decided by [`Row`]: a sink keeps its content and its
//! memory, and gives it the entries.
//!
//! The comments that begin with "Rule:" say which of the rules of [`Sink`] a step keeps.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use replproto_tokio::core::event::CopyStarted;
use replproto_tokio::core::replica::{Content, Entry, Memory, Row, Stamp, Writes};
use replproto_tokio::core::value::{Dictionary, JsonStyle, Profile, RawValue, Value};
use replproto_tokio::core::{Cursor, Event, Record, RecordKind, StoredCursor, WallTime, key};
use replproto_tokio::{Applied, DiscardBlobs, LinkConfig, RunOptions, Sink, Stored, run};
use serde::{Deserialize, Serialize};

mod common;

use common::Failure;

const USAGE: &str = "\
Keeps the records of a small database in a JSON file.

usage: custom_sink ADDRESS DATABASE FILE

  ADDRESS  of the publisher: ws://HOST[:PORT], or wss://... for TLS
  FILE     made if it is not there; otherwise it goes on where it was";

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, database, file] = &arguments[..] else {
        return common::misused(USAGE);
    };
    let config = match address.parse() {
        Ok(endpoint) => LinkConfig::new(endpoint, "custom-sink-example", database),
        Err(error) => return common::ended(Err(error.into())),
    };
    common::ended(keep(config, Path::new(file), common::interrupted()).await)
}

/// Keeps the file like the database until `end`.
pub(crate) async fn keep(
    config: LinkConfig,
    file: &Path,
    end: impl Future<Output = ()>,
) -> Result<(), Failure> {
    config.check().await?;
    let mut sink = JsonFile::new(file);
    let options = RunOptions::default();
    let attended = common::attend(&options, end);
    let end = tokio::select! {
        // The values of records refer to blobs; their bytes are not wanted here.
        end = run(config, &mut sink, DiscardBlobs, options) => end.map_err(common::failed)?,
        never = attended => match never {},
    };
    eprintln!("{} records came", end.stats.records);
    Ok(())
}

/// The sink.
struct JsonFile {
    path: PathBuf,
    /// With what was applied since the last commit.
    state: State,
}

/// What is in the file.
#[derive(Default, Serialize, Deserialize)]
struct State {
    /// The publisher that the cursor belongs to.
    peer: Option<String>,
    cursor: Option<Cursor>,
    copy: Option<Copy>,
    /// The mark of the newest base copy.
    last_mark: u64,
    /// Records that could not be used.
    skipped: u64,
    /// By table and id, the id in its JSON form.
    tables: BTreeMap<String, BTreeMap<String, Kept>>,
    /// The writes of the transaction that is coming in.
    #[serde(skip)]
    writes: Writes,
}

/// A base copy that is under way.
#[derive(Serialize, Deserialize)]
struct Copy {
    start: Option<f64>,
    mark: u64,
    /// It was seen from its beginning, so what it does not bring is gone.
    sweeps: bool,
}

/// A record. Rule: deletions are remembered, since publishers repeat what came after the cursor, and an older change must not
/// bring the record back. Here they stay for ever, which is always right; a store for many records forgets them when nothing
/// older can come any more, as `SqliteSink` does.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(try_from = "InFile", into = "InFile")]
struct Kept {
    row: Row<Value>,
    /// Of the last base copy that named it.
    mark: u64,
}

/// A record in the file: what others want to read, and what a row is made of again.
#[derive(Serialize, Deserialize)]
struct InFile {
    /// Missing for a record that was deleted, or invalidated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    record: Option<serde_json::Value>,
    expires_at: Option<f64>,
    /// Of the newest write: when it was made, and by whom.
    newest: Option<(f64, String)>,
    mark: u64,
    /// The content as bytes: unlike JSON they keep all kinds of values apart.
    content: Option<String>,
    is_copied: bool,
    memory: String,
}

impl From<Kept> for InFile {
    fn from(Kept { row, mark }: Kept) -> Self {
        let written = |content| written(content).expect("it was tried when it came");
        let memory = row.memory();
        Self {
            record: row.content().map(|content| written(content).1),
            expires_at: row.expires_at().map(|WallTime(time)| time),
            newest: memory
                .head()
                .map(|head| (head.version.0, head.origin.to_string())),
            mark,
            content: row
                .content()
                .or_else(|| row.hidden())
                .map(|content| hex(&written(content).0)),
            is_copied: memory.is_copied(),
            memory: hex(&memory.to_bytes()),
        }
    }
}

impl TryFrom<InFile> for Kept {
    type Error = Failure;

    fn try_from(stored: InFile) -> Result<Self, Failure> {
        let newest = stored.newest.map(|(version, origin)| Stamp {
            version: WallTime(version),
            origin: origin.as_str().into(),
        });
        let memory = bytes_of(&stored.memory)?;
        let memory = Memory::from_bytes(newest, stored.is_copied, &memory)?;
        let content = match stored.content {
            None => None,
            Some(hex) => {
                let structures = Dictionary::default();
                Content::new(RawValue::new(&bytes_of(&hex)?, &structures).decode()?)
            }
        };
        let expires_at = stored.expires_at.map(WallTime);
        Ok(Self {
            row: Row::new(content, stored.record.is_some(), expires_at, memory),
            mark: stored.mark,
        })
    }
}

impl JsonFile {
    fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            state: State::default(),
        }
    }

    fn read(&self) -> io::Result<State> {
        match fs::read(&self.path) {
            Ok(text) => serde_json::from_slice(&text)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(State::default()),
            Err(error) => Err(error),
        }
    }

    /// Whole or not at all, and on the disk when it returns.
    fn write(&self) -> io::Result<()> {
        let temporary = self.path.with_extension("new");
        let mut file = File::create(&temporary)?;
        file.write_all(&serde_json::to_vec_pretty(&self.state)?)?;
        file.sync_all()?;
        fs::rename(&temporary, &self.path)?;
        // Not confirmed before the name is durable too. Only Unix can say so, and only there it is needed.
        if cfg!(unix) {
            let folder = match self.path.parent() {
                Some(folder) if !folder.as_os_str().is_empty() => folder,
                _ => Path::new("."),
            };
            File::open(folder)?.sync_all()?;
        }
        Ok(())
    }
}

/// None of these futures ever waits: the file is small, so it is read and written on the thread that asks. Nothing can be
/// left half done then by a future that is dropped, and nothing can finish late, after the next `load`.
impl Sink for JsonFile {
    type Error = io::Error;

    async fn load(&mut self) -> Result<Stored, io::Error> {
        let cursor = match self.read() {
            Ok(state) => {
                self.state = state;
                match &self.state.cursor {
                    Some(cursor) => StoredCursor::Found(cursor.clone()),
                    None => StoredCursor::Absent,
                }
            }
            // Rule: a cursor that is there and damaged is not an error, and above all not the same as none.
            Err(error) if error.kind() == io::ErrorKind::InvalidData => StoredCursor::Unreadable {
                why: error.to_string(),
            },
            Err(error) => return Err(error),
        };
        Ok(Stored {
            cursor,
            peer: self.state.peer.clone(),
        })
    }

    /// There is nothing to do: what is applied stays in memory until the commit.
    async fn begin(&mut self) -> Result<(), io::Error> {
        Ok(())
    }

    async fn apply(&mut self, events: Vec<Event>) -> Result<Applied, io::Error> {
        let before = self.state.skipped;
        let mut skipped_by_link = 0;
        for event in &events {
            skipped_by_link += u64::from(matches!(event, Event::RecordSkipped(_)));
            self.state.apply(event);
        }
        // Rule: what the link has skipped is counted by the link.
        Ok(Applied {
            skipped: self.state.skipped - before - skipped_by_link,
            ..Applied::default()
        })
    }

    async fn commit(&mut self, cursor: Option<Cursor>) -> Result<(), io::Error> {
        // Rule: the cursor is durable in the same step as what was applied. Without one the stored one stays.
        if cursor.is_some() {
            self.state.cursor = cursor;
        }
        self.write()
    }

    async fn rollback(&mut self) -> Result<(), io::Error> {
        // Rule: everything since the last commit is forgotten.
        self.state = self.read()?;
        Ok(())
    }
}

impl State {
    fn apply(&mut self, event: &Event) {
        match event {
            // Rule: a cursor means nothing to a publisher of another name.
            Event::Schema(schema) if self.peer.as_deref() != Some(schema.peer.as_str()) => {
                self.peer = Some(schema.peer.to_string());
                self.cursor = None;
            }
            Event::Records(records) => {
                for record in records {
                    self.on_record(&record);
                }
            }
            Event::RecordSkipped(skipped) => {
                self.on_skipped(&skipped.table, skipped.kind, &skipped.key);
            }
            // Rule: the writes of a transaction are told from each other. To store it is what `commit` is for.
            Event::EndTransaction(_) => self.writes.end_transaction(),
            Event::CopyStarted(copy) => self.on_copy_started(copy),
            Event::CopyCompleted(completed) => self.on_copy_completed(&completed.cursor),
            // Tables are made when they are needed.
            _ => {}
        }
    }

    fn on_record(&mut self, record: &Record<'_>) {
        let table = record.table().name();
        let is_mark = matches!(record.kind(), RecordKind::Put | RecordKind::Patch);
        match self.put(record) {
            // Rule: a base copy marks every record that an entry names.
            Ok(id) if is_mark => self.mark(table, &id),
            Ok(_) => {}
            // Rule: a record that cannot be decoded, or asks for what cannot be done, is passed over and counted.
            Err(_) => self.on_skipped(table, record.kind(), record.key_bytes()),
        }
    }

    /// Rule: what becomes of the record is for its row to say. Gives the id.
    fn put(&mut self, record: &Record<'_>) -> Result<String, Failure> {
        let id = id(record.key_bytes())?;
        let entry = Entry::of(record, &mut self.writes)?;
        entry.action.value().map(written).transpose()?;
        let rows = self.tables.entry(record.table().name().to_string());
        let Kept { row, .. } = rows.or_default().entry(id.clone()).or_default();
        if self.copy.is_some() && record.kind() == RecordKind::Put {
            let content = entry.action.into_value();
            row.apply_copied(content, entry.expires_at, &Stamp::of(record));
        } else {
            row.apply(&entry)?;
        }
        Ok(id)
    }

    fn on_skipped(&mut self, table: &str, kind: RecordKind, key: &[u8]) {
        self.skipped += 1;
        // Rule: it is there at the source, so the end of the copy must not remove what we have of it.
        if let (RecordKind::Put | RecordKind::Patch, Ok(id)) = (kind, id(key)) {
            self.mark(table, &id);
        }
    }

    fn mark(&mut self, table: &str, id: &str) {
        let row = self.tables.get_mut(table).and_then(|rows| rows.get_mut(id));
        if let (Some(copy), Some(row)) = (&self.copy, row) {
            row.mark = copy.mark;
        }
    }

    fn on_copy_started(&mut self, started: &CopyStarted) {
        let start = started.copy_start.map(|WallTime(time)| time);
        let goes_on = self.copy.as_ref().is_some_and(|copy| copy.start == start);
        // Rule: a copy that is resumed goes on with the marks that it had.
        if started.resumed && goes_on {
            return;
        }
        // Rule: one that is not forgets them, and in the same step the copy in the stored cursor.
        if let (false, Some(cursor)) = (started.resumed, &mut self.cursor) {
            cursor.copy = None;
        }
        self.last_mark += 1;
        self.copy = Some(Copy {
            start,
            mark: self.last_mark,
            // Of one whose beginning we have not seen we have not all marks.
            // Nor has one that nobody has asked for all records.
            sweeps: !started.resumed && !started.forced,
        });
    }

    fn on_copy_completed(&mut self, cursor: &Cursor) {
        // Rule: what no entry of the copy has named is gone at the source, in the tables that are followed. Deletions stay
        // remembered.
        if let Some(Copy {
            mark, sweeps: true, ..
        }) = self.copy.take()
        {
            let tables = self.tables.iter_mut();
            for (_, rows) in tables.filter(|(table, _)| cursor.covers(table)) {
                rows.retain(|_, kept| kept.row.content().is_none() || kept.mark == mark);
            }
        }
    }
}

/// The id in the form that keeps all kinds of ids apart: the number 1 and the text "1" are different ids.
fn id(key: &[u8]) -> Result<String, Failure> {
    if key.is_empty() {
        return Err("the sender lost it".into());
    }
    let mut text = String::new();
    key::write_json(key, &mut text, JsonStyle::Tagged)?;
    Ok(text)
}

/// The content as bytes, and as JSON that others can read.
fn written(content: &Content<Value>) -> Result<(Vec<u8>, serde_json::Value), Failure> {
    let bytes = content.to_value().encode(Profile::Table)?;
    let structures = Dictionary::default();
    let mut text = String::new();
    RawValue::new(&bytes, &structures).write_json(&mut text, JsonStyle::Natural)?;
    let json = serde_json::from_str(&text)?;
    Ok((bytes, json))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes_of(hex: &str) -> Result<Vec<u8>, Failure> {
    let pairs = hex.as_bytes().chunks(2);
    let bytes = pairs.map(|pair| Ok(u8::from_str_radix(str::from_utf8(pair)?, 16)?));
    bytes.collect()
}
