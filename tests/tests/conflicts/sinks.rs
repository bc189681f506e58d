//! The vectors through a sink: each has records of its own, and all of them come as one log over a few links.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use replproto_core::key::Key;
use replproto_core::{Event, Sequence, Start};
use replproto_tests::tagged;
use replproto_tokio::{
    MemorySink, MemoryView, Replica, Sink, SqliteError, SqliteOptions, SqliteSink,
};

use crate::history::Vector;
use crate::log::{Link, TABLE};

/// Transactions of the log that are stored in one step.
const GROUP: usize = 500;

/// A row as a sink keeps it.
#[derive(Debug)]
pub(crate) struct Found {
    record: String,
    version: f64,
    origin: String,
    expires_at: Option<f64>,
}

/// What outlives a sink.
pub(crate) trait Store {
    type Sink: Sink;
    async fn open(&self) -> Self::Sink;
    /// The rows by the bytes of their ids.
    fn rows(&self) -> BTreeMap<Vec<u8>, Found>;
}

impl Store for MemoryView {
    type Sink = MemorySink;

    async fn open(&self) -> MemorySink {
        self.reopen()
    }

    fn rows(&self) -> BTreeMap<Vec<u8>, Found> {
        let rows = self.rows(TABLE).into_iter();
        rows.map(|(key, row)| {
            let found = Found {
                record: row.record,
                version: row.version,
                origin: row.origin,
                expires_at: row.expires_at,
            };
            (key, found)
        })
        .collect()
    }
}

/// A file.
pub(crate) struct Sqlite(pub(crate) PathBuf);

impl Store for Sqlite {
    type Sink = SqliteSink;

    async fn open(&self) -> SqliteSink {
        let options = SqliteOptions::new("publisher:9933", "data");
        SqliteSink::open(&self.0, options).await.expect("a file")
    }

    fn rows(&self) -> BTreeMap<Vec<u8>, Found> {
        let replica = Replica::open(&self.0).expect("a file");
        let links = replica.links().expect("a link");
        let mut rows = BTreeMap::new();
        for table in replica.tables(&links[0]).expect("tables") {
            let read = replica.rows(&table, |row| {
                let found = Found {
                    record: row.record.to_owned(),
                    version: row.version,
                    origin: row.origin.to_owned(),
                    expires_at: row.expires_at,
                };
                rows.insert(row.key.to_vec(), found);
                Ok::<_, SqliteError>(())
            });
            read.expect("rows");
        }
        rows
    }
}

/// A record that goes through the history of a vector.
struct Life<'a> {
    id: String,
    vector: &'a Vector,
    /// The first link breaks off before this transaction, and the next one begins anew. Otherwise each link brings everything from one
    /// transaction further on.
    cut: Option<usize>,
}

impl Life<'_> {
    /// The transactions that a link brings.
    fn part(&self, link: usize) -> std::ops::Range<usize> {
        let all = self.vector.transactions();
        match (link, self.cut) {
            (0, Some(cut)) => 0..cut,
            (0, None) | (1, _) => 0..all,
            (_, Some(_)) => 0..0,
            (_, None) => (link - 1).min(all)..all,
        }
    }

    /// Whether this link brings the end of the log.
    fn is_whole_after(&self, link: usize) -> bool {
        let part = self.part(link);
        !part.is_empty() && part.end == self.vector.transactions()
    }

    fn key(&self) -> Vec<u8> {
        Key::Text(self.id.clone()).encode().expect("a short name")
    }
}

/// Brings the log whole, then again from each of its transactions on, and compares the rows each time. Gives what is wrong.
pub(crate) async fn play(store: &impl Store, vectors: &[Vector]) -> Vec<String> {
    let mut lives = Vec::new();
    for vector in vectors {
        let cuts = 1..vector.transactions();
        lives.extend(std::iter::once(None).chain(cuts.map(Some)).map(|cut| Life {
            id: cut.map_or_else(
                || vector.name.clone(),
                |cut| format!("{}/{cut}", vector.name),
            ),
            vector,
            cut,
        }));
    }
    let longest = vectors.iter().map(Vector::transactions).max();
    let mut skipped = BTreeSet::new();
    let mut wrong = BTreeMap::new();
    for link in 0..=longest.unwrap_or_default() {
        skipped.extend(follow(store, vectors, &lives, link).await);
        let rows = store.rows();
        for life in lives.iter().filter(|life| life.is_whole_after(link)) {
            if let Err(why) = check(life, rows.get(&life.key())) {
                let text = format!("{}, link {link}: {why}", life.id);
                wrong.entry(&life.vector.name).or_insert(text);
            }
        }
    }
    for vector in vectors {
        if skipped.contains(vector.name.as_str()) != vector.has_record_errors {
            let text = format!("{}: it has record errors, or none", vector.name);
            wrong.entry(&vector.name).or_insert(text);
        }
    }
    wrong.into_values().collect()
}

/// One link, from the opening of the store to its end. Gives the vectors of which entries have been passed over.
async fn follow<'a>(
    store: &impl Store,
    vectors: &'a [Vector],
    lives: &[Life<'a>],
    number: usize,
) -> BTreeSet<&'a str> {
    let mut skipped = BTreeSet::new();
    let mut sink = store.open().await;
    sink.load().await.expect("a store");
    let start = match number {
        0 => Start::Copy,
        _ => Start::At(Sequence(1.0)),
    };
    let (mut link, mut first) = Link::open(vectors, start);
    if number == 0 {
        let rows = lives.iter().map(|life| (life.id.as_str(), life.vector));
        first.extend(link.copy(rows));
    }
    // The transactions of different records come in turns.
    let mut log: Vec<(&str, Vec<Event>)> = vec![("", first)];
    let longest = vectors.iter().map(Vector::transactions).max();
    for transaction in 0..longest.unwrap_or_default() {
        for life in lives {
            if life.part(number).contains(&transaction) {
                let entries = life.vector.transaction(transaction);
                log.push((&life.vector.name, link.transaction(&life.id, entries)));
            }
        }
    }
    let mut log = log.into_iter().peekable();
    while log.peek().is_some() {
        sink.begin().await.expect("a store");
        for (name, events) in log.by_ref().take(GROUP) {
            let applied = sink.apply(events).await.expect("a store");
            if applied.skipped > 0 {
                skipped.insert(name);
            }
        }
        sink.commit(None).await.expect("a store");
    }
    sink.close().await;
    skipped
}

/// Compares a row with what the vector expects, and the rest of it with the rules alone.
fn check(life: &Life<'_>, found: Option<&Found>) -> Result<(), String> {
    let value = found.map(|found| {
        let json = serde_json::from_str(&found.record).expect("JSON");
        tagged::value(&json)
    });
    let expires_at = found.and_then(|found| found.expires_at);
    life.vector.check(value.as_ref(), expires_at)?;
    let row = life.vector.row();
    if let (Some(found), Some(head)) = (found, row.memory().head()) {
        let rest = (
            head.version.0,
            head.origin.as_str(),
            row.expires_at().map(|time| time.0),
        );
        if (found.version, found.origin.as_str(), expires_at) != rest {
            return Err(format!("{found:?}, not {rest:?}"));
        }
    }
    Ok(())
}
