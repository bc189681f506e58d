//! Entries of several writers, late and repeated: both sinks end with the records that the rules alone give in one go.

use std::collections::BTreeMap;
use std::ops::Range;

use proptest::prelude::*;
use proptest::sample::{Index, select};
use replproto_core::replica::{Content, Entry, Row, Writes};
use replproto_core::value::{JsonStyle, Profile, RawValue, Value};
use replproto_core::{Event, WallTime};

use crate::testing::{Change, NODES, end, put, records};
use crate::{MemorySink, MemoryView, Sink};

const KEYS: u64 = 3;

/// An action type.
const MESSAGE: u8 = 3;

/// A record: its content, its expiry, and the version and the origin of its newest write.
type Found = (serde_json::Value, Option<f64>, f64, String);

/// The records by the bytes of their ids.
type Rows = BTreeMap<Vec<u8>, Found>;

/// A store that outlives its sinks.
trait Kept {
    type Sink: Sink;
    async fn open(&self) -> Self::Sink;
    fn rows(&self) -> Rows;
}

impl Kept for MemoryView {
    type Sink = MemorySink;

    async fn open(&self) -> MemorySink {
        self.reopen()
    }

    fn rows(&self) -> Rows {
        let rows = self.rows("Dog").into_iter();
        rows.map(|(key, row)| {
            let record = serde_json::from_str(&row.record).unwrap();
            (key, (record, row.expires_at, row.version, row.origin))
        })
        .collect()
    }
}

#[cfg(feature = "sqlite")]
mod sqlite {
    use super::{Kept, Rows};
    use crate::sqlite::testing::TempFile;
    use crate::{Replica, SqliteError, SqliteOptions, SqliteSink};

    impl Kept for TempFile {
        type Sink = SqliteSink;

        async fn open(&self) -> SqliteSink {
            let options = SqliteOptions::new("node-a:9933", "data");
            SqliteSink::open(self.path(), options).await.unwrap()
        }

        fn rows(&self) -> Rows {
            let replica = Replica::open(self.path()).unwrap();
            let link = replica.links().unwrap().remove(0);
            let mut rows = Rows::new();
            for table in replica.tables(&link).unwrap() {
                let read = replica.rows(&table, |row| {
                    let record = serde_json::from_str(row.record).unwrap();
                    let origin = row.origin.to_owned();
                    let found = (record, row.expires_at, row.version, origin);
                    rows.insert(row.key.to_vec(), found);
                    Ok::<_, SqliteError>(())
                });
                read.unwrap();
            }
            rows
        }
    }
}

/// A transaction: its version, its writer, whether its records expire, and what it does to which record.
type Transaction = (u32, &'static str, Option<u32>, Vec<(u64, Write)>);

/// An action type, and fields that are set or added to.
type Write = (u8, Vec<(&'static str, bool, i32)>);

fn transactions() -> impl Strategy<Value = Vec<Transaction>> {
    let fields = prop::collection::vec(
        (select(vec!["x", "y", "n"]), any::<bool>(), -3..9_i32),
        0..3,
    );
    let action = prop_oneof![
        6 => Just(5_u8),
        3 => Just(1),
        1 => Just(2),
        1 => Just(4),
        1 => Just(6),
        1 => Just(MESSAGE),
    ];
    let writes = prop_oneof![
        4 => prop::collection::vec((0..KEYS, (action.clone(), fields.clone())), 1..2),
        1 => prop::collection::vec((0..KEYS, (action, fields)), 2..6),
    ];
    let one = (
        0..25_u32,
        select(NODES.to_vec()),
        prop::option::of(900..910_u32),
        writes,
    );
    prop::collection::vec(one, 1..25).prop_map(|mut all: Vec<Transaction>| {
        let (mut seen, mut newest) = (Vec::new(), [None; KEYS as usize]);
        let mut number = 0;
        all.retain_mut(|(version, origin, _, writes)| {
            if let Some((key, _)) = writes.iter().find(|(_, (action, _))| *action == MESSAGE) {
                // It has the version of its row, and no other message is the same.
                let Some(newest) = newest[*key as usize] else {
                    return false;
                };
                number += 1;
                let message = (*key, (MESSAGE, vec![("x", false, number)]));
                *version = newest;
                *writes = vec![message];
                return true;
            }
            // Two writes of one writer never have the same version.
            let is_new = !seen.contains(&(*version, *origin));
            seen.push((*version, *origin));
            // A relocation makes no row.
            let makes_row = |(_, (action, _)): &&(u64, Write)| is_new && *action != 6;
            for (key, _) in writes.iter().filter(makes_row) {
                let newest = &mut newest[*key as usize];
                *newest = (*newest).max(Some(*version));
            }
            is_new
        });
        all
    })
}

fn change(
    (version, origin, expires_at): (u32, &'static str, Option<u32>),
    (key, (action, fields)): &(u64, Write),
) -> Change {
    let fields = fields.iter().map(|(name, adds, number)| {
        let number = Value::Number(f64::from(*number));
        let value = if *adds {
            let add = Value::Text("add".into());
            Value::Object(vec![("__op__".into(), add), ("value".into(), number)])
        } else {
            number
        };
        ((*name).to_owned(), value)
    });
    let value = match *action {
        1 | MESSAGE | 4 | 5 => Value::Object(fields.collect())
            .encode(Profile::Table)
            .unwrap(),
        _ => Vec::new(),
    };
    Change {
        origin,
        expires_at: expires_at.map(f64::from),
        ..put(&format!("k{key}"), 100.0 + f64::from(version), &[]).with(*action, value)
    }
}

/// The log: the changes of each transaction, and their events.
struct Log(Vec<(Vec<Change>, Vec<Event>)>);

impl Log {
    fn new(transactions: &[Transaction]) -> Self {
        let changes: Vec<Vec<Change>> = transactions
            .iter()
            .map(|(version, origin, expires_at, writes)| {
                let of = (*version, *origin, *expires_at);
                writes.iter().map(|write| change(of, write)).collect()
            })
            .collect();
        let mut events = records(&changes.concat()).into_iter();
        let log = changes.into_iter().map(|changes| {
            let mut own: Vec<Event> = events.by_ref().take(changes.len()).collect();
            own.push(end(None));
            (changes, own)
        });
        Self(log.collect())
    }

    /// The records by the rules alone, when everything has come once.
    fn rows(&self) -> Rows {
        let mut rows: BTreeMap<Vec<u8>, Row<Value>> = BTreeMap::new();
        let mut writes = Writes::default();
        for event in self.0.iter().flat_map(|(_, events)| events) {
            let Event::Records(records) = event else {
                writes.end_transaction();
                continue;
            };
            for record in records {
                let row = rows.entry(record.key_bytes().to_vec()).or_default();
                row.apply(&Entry::of(&record, &mut writes).unwrap())
                    .unwrap();
            }
        }
        let shown = rows.into_iter().filter_map(|(key, row)| {
            let head = row.memory().head()?;
            let (version, origin) = (head.version.0, head.origin.to_string());
            let expires_at = row.expires_at().map(|WallTime(time)| time);
            Some((key, (json(row.content()?), expires_at, version, origin)))
        });
        shown.collect()
    }
}

fn json(content: &Content<Value>) -> serde_json::Value {
    let bytes = content.to_value().encode(Profile::Control).unwrap();
    let mut text = String::new();
    let style = JsonStyle::Natural;
    RawValue::control(&bytes)
        .write_json(&mut text, style)
        .unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Links that each go on before the place where the last one ended, and a last one to the end. `breaks`: where each ends, and how
/// far the next one goes back.
async fn follow(kept: &impl Kept, log: &Log, breaks: &[(Index, Index)]) -> Rows {
    let (length, mut start) = (log.0.len(), 0);
    let mut parts = Vec::new();
    for (end, back) in breaks {
        let end = end.index(length + 1).max(start);
        parts.push(start..end);
        start = back.index(end + 1);
    }
    parts.push(start..length);
    bring(kept, log, parts).await
}

/// A link for each of these parts of the log.
async fn bring(kept: &impl Kept, log: &Log, parts: Vec<Range<usize>>) -> Rows {
    for part in parts {
        let mut sink = kept.open().await;
        sink.load().await.unwrap();
        sink.begin().await.unwrap();
        for (_, events) in &log.0[part] {
            sink.apply(events.clone()).await.unwrap();
        }
        sink.commit(None).await.unwrap();
        sink.close().await;
    }
    kept.rows()
}

fn breaks() -> impl Strategy<Value = Vec<(Index, Index)>> {
    prop::collection::vec(any::<(Index, Index)>(), 0..4)
}

fn run(future: impl Future<Output = Rows>) -> Rows {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.unwrap().block_on(future)
}

/// Something that leaves no row, then an older put, and after a break the whole log again.
fn check_absent(kept: &impl Kept, first: Write, last: Write) {
    let put = (1, vec![("x", false, 1)]);
    let log = Log::new(&[
        (5, "node-a", None, vec![(0, first)]),
        (3, "node-b", Some(900), vec![(0, put)]),
        (4, "node-c", None, vec![(0, last)]),
    ]);
    let rows = run(bring(kept, &log, vec![0..1, 1..3, 0..3]));
    assert_eq!(rows, log.rows());
    assert_eq!(rows.len(), 1);
}

/// A relocation and a patch without fields make no row, but nothing of them is forgotten.
fn check_all_absent<K: Kept>(new: impl Fn() -> K) {
    let (relocate, patch, delete) = (6, 5, 2);
    check_absent(&new(), (relocate, vec![]), (patch, vec![("y", false, 1)]));
    check_absent(&new(), (patch, vec![]), (delete, vec![]));
}

#[test]
fn memory_remembers_what_made_no_row() {
    check_all_absent(|| MemorySink::new().view());
}

#[cfg(feature = "sqlite")]
#[test]
fn sqlite_remembers_what_made_no_row() {
    check_all_absent(|| crate::sqlite::testing::TempFile::new("absent"));
}

fn check(kept: &impl Kept, transactions: &[Transaction], breaks: &[(Index, Index)]) {
    let log = Log::new(transactions);
    let rows = run(follow(kept, &log, breaks));
    assert_eq!(rows, log.rows());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn memory_keeps_what_the_rules_give(log in transactions(), breaks in breaks()) {
        check(&MemorySink::new().view(), &log, &breaks);
    }
}

#[cfg(feature = "sqlite")]
proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn sqlite_keeps_what_the_rules_give(log in transactions(), breaks in breaks()) {
        check(&crate::sqlite::testing::TempFile::new("conflict"), &log, &breaks);
    }
}
