//! Both sinks against a model: whatever is repeated after a crash, nothing is lost and no reader sees time go back.

use std::collections::BTreeMap;

use proptest::prelude::*;
use replproto_core::replica::RETENTION;
use replproto_core::{Event, StoredCursor};

use crate::testing::{
    Change, at, copy_completed, copy_started, delete, end, patch, put, records, schema,
};
use crate::{MemorySink, MemoryView, Sink};

/// A store that outlives its sinks.
trait Kept {
    type Sink: Sink;
    async fn open(&self) -> Self::Sink;
    async fn close(&self, sink: Self::Sink);
    /// What a reader sees: version and record by id.
    fn read(&self) -> BTreeMap<String, (f64, String)>;
    fn deletions(&self) -> usize;
}

impl Kept for MemoryView {
    type Sink = MemorySink;

    async fn open(&self) -> MemorySink {
        self.reopen()
    }

    async fn close(&self, sink: MemorySink) {
        drop(sink);
    }

    fn read(&self) -> BTreeMap<String, (f64, String)> {
        let rows = self.rows("Dog").into_values();
        rows.map(|row| (row.id, (row.version, row.record)))
            .collect()
    }

    fn deletions(&self) -> usize {
        self.tombstones()
    }
}

#[cfg(feature = "sqlite")]
mod sqlite {
    use super::Kept;
    use crate::sqlite::testing::TempFile;
    use crate::{Replica, Sink, SqliteOptions, SqliteSink};
    use std::collections::BTreeMap;

    impl Kept for TempFile {
        type Sink = SqliteSink;

        async fn open(&self) -> SqliteSink {
            let options = SqliteOptions::new("node-a:9933", "data");
            SqliteSink::open(self.path(), options).await.unwrap()
        }

        async fn close(&self, sink: SqliteSink) {
            sink.close().await;
        }

        fn read(&self) -> BTreeMap<String, (f64, String)> {
            let replica = Replica::open(self.path()).unwrap();
            let link = replica.link("node-a:9933", "data").unwrap().unwrap();
            let mut rows = BTreeMap::new();
            for table in replica.tables(&link).unwrap() {
                let read = replica.rows(&table, |row| {
                    rows.insert(row.id.to_owned(), (row.version, row.record.to_owned()));
                    Ok::<_, crate::SqliteError>(())
                });
                read.unwrap();
            }
            rows
        }

        fn deletions(&self) -> usize {
            self.query("SELECT count(*) FROM _replproto_tombstone")
        }
    }
}

/// A small generator, so that one number gives a whole history.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

const KEYS: u64 = 5;

fn key(random: &mut Random) -> String {
    format!("k{}", random.below(KEYS))
}

/// The publisher's log: transaction `i` lies at position `i + 1`.
struct Log {
    transactions: Vec<Vec<(Change, Event)>>,
}

impl Log {
    fn new(random: &mut Random, length: u64) -> Self {
        let mut version = 100.0;
        let mut lengths = Vec::new();
        let mut changes = Vec::new();
        for _ in 0..length {
            lengths.push(1 + random.below(3));
            for _ in 0..lengths[lengths.len() - 1] {
                version += 1.0;
                let key = key(random);
                let field = ["a", "b", "c"][random.below(3) as usize];
                changes.push(match random.below(10) {
                    0..4 => put(&key, version, &[(field, version)]),
                    4..7 => patch(&key, version, &[(field, version)]),
                    7 => patch(&key, version, &[]).with(4, Vec::new()),
                    _ => delete(&key, version),
                });
            }
        }
        let mut entries = changes.clone().into_iter().zip(records(&changes));
        let transactions = lengths
            .iter()
            .map(|length| entries.by_ref().take(*length as usize).collect())
            .collect();
        Self { transactions }
    }

    fn len(&self) -> usize {
        self.transactions.len()
    }

    fn events(&self, transaction: usize) -> impl Iterator<Item = Event> {
        self.transactions[transaction]
            .iter()
            .map(|(_, event)| event.clone())
    }

    /// Every state of every record, by version: what it is after that change, `None` if it is gone.
    fn history(&self) -> History {
        let mut history = History::default();
        for (change, event) in self.transactions.iter().flatten() {
            let Event::Records(records) = event else {
                unreachable!()
            };
            let record = records.iter().next().unwrap();
            let mut id = String::new();
            let style = replproto_core::value::JsonStyle::Tagged;
            record.key().unwrap().write_json(&mut id, style);
            let states = history.0.entry(id).or_default();
            let old = states.last().and_then(|(_, state)| state.clone());
            let mut text = String::new();
            if let Some(value) = record.value() {
                let style = replproto_core::value::JsonStyle::Natural;
                value.write_json(&mut text, style).unwrap();
            }
            let new = match (change.action, old) {
                (1, _) | (5, None) => Some(text),
                (5, Some(old)) => {
                    let changes = crate::patch::attributes(&text).unwrap();
                    Some(crate::patch::merge(&old, &changes).unwrap())
                }
                _ => None,
            };
            states.push((change.version, new));
        }
        history
    }
}

#[derive(Default)]
struct History(BTreeMap<String, Vec<(f64, Option<String>)>>);

impl History {
    fn last(&self) -> BTreeMap<String, (f64, String)> {
        let last = self.0.iter().filter_map(|(id, states)| {
            let (version, state) = states.last()?;
            Some((id.clone(), (*version, state.clone()?)))
        });
        last.collect()
    }
}

/// Follows each record through its history: it may skip states, but never goes back.
#[derive(Default)]
struct Reader(BTreeMap<String, usize>);

impl Reader {
    fn look(&mut self, history: &History, rows: &BTreeMap<String, (f64, String)>) {
        for (id, states) in &history.0 {
            // State 0 is the time before the first change.
            let seen = self.0.entry(id.clone()).or_default();
            *seen = match rows.get(id) {
                Some((version, record)) => {
                    let at = states.iter().position(|(other, _)| other == version);
                    let at = at.expect("a version of this record");
                    assert_eq!(states[at].1.as_ref(), Some(record), "{id} at {version}");
                    assert!(*seen <= at + 1, "{id} goes back from {seen} to {}", at + 1);
                    at + 1
                }
                None => {
                    let is_gone = |state: &usize| *state == 0 || states[state - 1].1.is_none();
                    let gone = (*seen..=states.len()).find(is_gone);
                    gone.unwrap_or_else(|| panic!("{id} is gone after {seen}"))
                }
            };
        }
    }
}

/// Follows the log over several links that break off anywhere, with commits anywhere and cursors that lag behind.
async fn follow_to_the_end(kept: &impl Kept, seed: u64) {
    let random = &mut Random(seed | 1);
    let log = Log::new(random, 12);
    let history = log.history();
    let mut reader = Reader::default();
    for link in 0.. {
        let is_last = link == 6;
        let mut sink = kept.open().await;
        let stored = sink.load().await.unwrap();
        let mut cursor = match stored.cursor {
            StoredCursor::Found(cursor) => cursor.sequence.0,
            _ => 0.0,
        };
        let mut announced = vec![cursor];
        sink.begin().await.unwrap();
        sink.apply(vec![schema("node-a")]).await.unwrap();
        for transaction in cursor as usize..log.len() {
            if !is_last && random.chance(8) {
                sink.apply(log.events(transaction).take(1).collect())
                    .await
                    .unwrap();
                sink.rollback().await.unwrap();
                break;
            }
            let position = (transaction + 1) as f64;
            let mut events: Vec<_> = log.events(transaction).collect();
            let is_announced = random.chance(30);
            events.push(end(is_announced.then_some(position)));
            if is_announced || random.chance(10) {
                // What is not announced with a transaction comes by SEQUENCE_ID_UPDATE, which only the cursor shows.
                announced.push(position);
            }
            sink.apply(events).await.unwrap();
            if random.chance(50) {
                // The cursor covers what is settled, which may be any part of what was announced.
                let newest = announced[random.below(announced.len() as u64) as usize];
                let moves = newest > cursor && random.chance(60);
                cursor = if moves { newest } else { cursor };
                sink.commit(moves.then(|| at(newest))).await.unwrap();
                reader.look(&history, &kept.read());
                sink.begin().await.unwrap();
            }
        }
        if is_last {
            // One more deletion, so that what earlier links left can be forgotten.
            let mut events = records(&[delete("new", 9999.0)]);
            events.push(end(Some(999.0)));
            sink.apply(events).await.unwrap();
            let late = 9999.0 + RETENTION.as_millis() as f64;
            sink.commit(Some(at(late))).await.unwrap();
            reader.look(&history, &kept.read());
            kept.close(sink).await;
            break;
        }
        kept.close(sink).await;
    }
    assert_eq!(kept.read(), history.last());
    assert_eq!(kept.deletions(), 0);
}

/// A store with an old state gets a base copy that breaks off, and follows the log from the copy's start.
async fn copy_and_follow(kept: &impl Kept, seed: u64) {
    let random = &mut Random(seed | 1);
    let log = Log::new(random, 20);
    let mut sink = kept.open().await;
    sink.load().await.unwrap();
    sink.begin().await.unwrap();
    let old = random.below(10) as usize;
    for transaction in 0..old {
        sink.apply(log.events(transaction).collect()).await.unwrap();
    }
    sink.commit(None).await.unwrap();
    kept.close(sink).await;

    let mut start = old + random.below(5) as usize;
    // The next key to be copied, and how far the log has come meanwhile.
    let (mut next_key, mut now) = (0, start);
    let mut is_resumed = false;
    loop {
        let mut sink = kept.open().await;
        sink.load().await.unwrap();
        sink.begin().await.unwrap();
        sink.apply(vec![copy_started(Some(start as f64), is_resumed)])
            .await
            .unwrap();
        let mut committed_key = next_key;
        while next_key < KEYS && !random.chance(15) {
            now = (now + random.below(3) as usize).min(log.len());
            let row = row_at(&log, now, next_key);
            sink.apply(row).await.unwrap();
            next_key += 1;
            if random.chance(40) {
                sink.commit(None).await.unwrap();
                committed_key = next_key;
                sink.begin().await.unwrap();
            }
        }
        if next_key == KEYS {
            sink.apply(vec![copy_completed()]).await.unwrap();
            sink.commit(Some(at(start as f64))).await.unwrap();
            kept.close(sink).await;
            break;
        }
        sink.rollback().await.unwrap();
        kept.close(sink).await;
        is_resumed = committed_key > 0 && random.chance(60);
        next_key = if is_resumed { committed_key } else { 0 };
        if !is_resumed {
            start = now;
        }
    }
    let mut sink = kept.open().await;
    sink.load().await.unwrap();
    sink.begin().await.unwrap();
    for transaction in start..log.len() {
        sink.apply(log.events(transaction).collect()).await.unwrap();
    }
    sink.commit(None).await.unwrap();
    kept.close(sink).await;
    // A copied row has its fields in another order than one that was patched.
    assert_eq!(values(kept.read()), values(log.history().last()));
}

/// The row of a key, as a copy brings it when the log has come to `now`.
fn row_at(log: &Log, now: usize, key: u64) -> Vec<Event> {
    let key = format!("k{key}");
    let history = Log {
        transactions: log.transactions[..now].to_vec(),
    }
    .history();
    let Some((version, record)) = history.last().remove(&format!("\"{key}\"")) else {
        return Vec::new();
    };
    let fields: BTreeMap<String, f64> = serde_json::from_str(&record).unwrap();
    let fields: Vec<(&str, f64)> = fields.iter().map(|(k, v)| (k.as_str(), *v)).collect();
    records(&[put(&key, version, &fields)])
}

fn run(future: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future);
}

fn values(rows: BTreeMap<String, (f64, String)>) -> BTreeMap<String, (f64, serde_json::Value)> {
    rows.into_iter()
        .map(|(id, (version, record))| (id, (version, serde_json::from_str(&record).unwrap())))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn memory_follows_through_crashes(seed: u64) {
        run(follow_to_the_end(&MemorySink::new().view(), seed));
    }

    #[test]
    fn memory_is_complete_after_a_broken_copy(seed: u64) {
        run(copy_and_follow(&MemorySink::new().view(), seed));
    }
}

#[cfg(feature = "sqlite")]
proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn sqlite_follows_through_crashes(seed: u64) {
        run(follow_to_the_end(&crate::sqlite::testing::TempFile::new("replay"), seed));
    }

    #[test]
    fn sqlite_is_complete_after_a_broken_copy(seed: u64) {
        run(copy_and_follow(&crate::sqlite::testing::TempFile::new("copy"), seed));
    }
}
