//! What the publisher has: a log that grows, and what it makes of the records.

use std::collections::{BTreeMap, BTreeSet};

use replproto_core::key::Key;
use replproto_core::value::{Profile, Value};
use serde_json::json;

use crate::random::Random;

/// The tables; a table's place is its id. Records of the last one refer to blobs.
pub(crate) const TABLES: [&str; 3] = ["Dog", "Cat", "Photo"];

/// How many records of each table there may be.
const KEYS: [u64; 3] = [300, 2000, 150];

pub(crate) const PHOTOS: usize = 2;

/// The version of the first transaction, milliseconds since 1970.
const START: f64 = 1_767_225_600_000.0;

/// A record: its table, and its number in it.
pub(crate) type Id = (usize, u64);

/// The version of a transaction's entries.
pub(crate) fn version(transaction: usize) -> f64 {
    START + transaction as f64
}

/// The position in the log after a transaction. Not the same as its version.
pub(crate) fn position(transaction: usize) -> f64 {
    version(transaction) + 0.5
}

/// How many transactions lie before a position.
pub(crate) fn transactions_before(position: f64) -> usize {
    (position - START + 0.5).max(0.0) as usize
}

pub(crate) fn key(number: u64) -> String {
    format!("{number:05}")
}

/// The bytes of a record's id.
pub(crate) fn key_bytes(number: u64) -> Vec<u8> {
    Key::Text(key(number)).encode().expect("a key")
}

/// The number in the bytes of an id.
pub(crate) fn key_number(bytes: &[u8]) -> u64 {
    match Key::decode(bytes) {
        Ok(Key::Text(key)) => key.parse().expect("one of our keys"),
        other => panic!("{other:?}"),
    }
}

/// What a transaction does to a record.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Change {
    Put,
    Patch,
    Delete,
}

/// A record as a transaction has left it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct State {
    /// Who put it.
    put: usize,
    /// Who changed it last.
    pub(crate) last: usize,
}

#[derive(Debug)]
pub(crate) struct Source {
    random: Random,
    pub(crate) log: Vec<Vec<(Id, Change)>>,
    /// What a record was after each transaction that changed it; `None`: deleted.
    pub(crate) histories: BTreeMap<Id, Vec<(usize, Option<State>)>>,
}

impl Source {
    /// A source with some records.
    pub(crate) fn new(seed: u64) -> Self {
        let mut source = Self {
            random: Random::new(seed),
            log: Vec::new(),
            histories: BTreeMap::new(),
        };
        for (table, keys) in KEYS.into_iter().enumerate() {
            for first in (0..keys).step_by(100) {
                let numbers = first..(first + 100).min(keys * 3 / 4);
                source.commit(
                    numbers
                        .map(|number| ((table, number), Change::Put))
                        .collect(),
                );
            }
        }
        source
    }

    /// The next transaction: mostly small, now and then large, and rarely larger than the caches of a store.
    pub(crate) fn advance(&mut self) {
        let random = &mut self.random;
        let size = match random.below(100) {
            0 => 1500,
            1..=4 => 150,
            _ => 1 + random.below(8),
        };
        let mut ids = BTreeSet::new();
        for _ in 0..size {
            let table = [0, 0, 0, 1, 1, 1, 1, PHOTOS][random.below(8) as usize];
            // Few blobs, also in large transactions.
            if table != PHOTOS || ids.len() < 30 {
                ids.insert((table, random.below(KEYS[table])));
            }
        }
        let mut changes = Vec::new();
        for id in ids {
            let is_there = self.state(id).is_some();
            let change = match self.random.below(5) {
                0 if is_there => Change::Delete,
                1 if is_there && id.0 != PHOTOS => Change::Patch,
                _ => Change::Put,
            };
            changes.push((id, change));
        }
        self.commit(changes);
    }

    fn commit(&mut self, changes: Vec<(Id, Change)>) {
        let transaction = self.log.len();
        for (id, change) in &changes {
            let state = match (change, self.state(*id)) {
                (Change::Delete, _) => None,
                (Change::Patch, Some(State { put, .. })) => Some(put),
                _ => Some(transaction),
            };
            let state = state.map(|put| State {
                put,
                last: transaction,
            });
            let history = self.histories.entry(*id).or_default();
            history.push((transaction, state));
        }
        self.log.push(changes);
    }

    /// What a record is now.
    pub(crate) fn state(&self, id: Id) -> Option<State> {
        self.histories.get(&id)?.last()?.1
    }

    /// The records of a table that are there and come after this one, in the order of a base copy.
    pub(crate) fn rows(&self, table: usize, from: u64) -> impl Iterator<Item = (Id, State)> {
        let ids = self.histories.range((table, from)..(table + 1, 0));
        ids.filter_map(|(id, history)| Some((*id, history.last()?.1?)))
    }
}

/// The blob of a photo that this transaction put.
pub(crate) fn blob_file((_, number): Id, transaction: usize) -> String {
    format!("{transaction:x}{number:04x}")
}

fn blob_random(file: &str) -> Random {
    Random::new(u64::from_str_radix(file, 16).expect("one of our files"))
}

/// How many bytes a blob has: 1 to 100 KiB.
pub(crate) fn blob_size(file: &str) -> u64 {
    1024 + blob_random(file).below(99 << 10)
}

/// The bytes of a blob, which look like noise.
pub(crate) fn blob_content(file: &str) -> Vec<u8> {
    let mut random = blob_random(file);
    let size = blob_size(file) as usize;
    let mut content = Vec::with_capacity(size + 8);
    while content.len() < size {
        content.extend(random.next().to_le_bytes());
    }
    content.truncate(size);
    content
}

fn blob_payload(file: &str) -> Vec<u8> {
    let parts = vec![
        Value::Object(Vec::new()),
        Value::Number(0.0),
        Value::Text(file.into()),
    ];
    let payload = Value::Array(parts).encode(Profile::Control);
    payload.expect("a value that can be encoded")
}

/// A text that is different from transaction to transaction.
fn text(transaction: usize) -> String {
    format!("{transaction} ").repeat(1 + transaction % 200)
}

/// The bytes of an entry's value: of a whole record, or of a patch.
pub(crate) fn value((table, number): Id, state: State, is_patch: bool) -> Vec<u8> {
    let mut fields = vec![("n".into(), Value::Number(state.last as f64))];
    if !is_patch {
        fields.push(("text".into(), Value::Text(text(state.put))));
        if table == PHOTOS {
            let file = blob_file((table, number), state.put);
            fields.push(("photo".into(), Value::Blob(blob_payload(&file))));
        }
    }
    let value = Value::Object(fields).encode(Profile::Table);
    value.expect("a value that can be encoded")
}

/// What a follower should have of a record.
pub(crate) fn record((table, number): Id, state: State) -> serde_json::Value {
    let mut record = json!({"n": state.last, "text": text(state.put)});
    if table == PHOTOS {
        let payload = blob_payload(&blob_file((table, number), state.put));
        let hex: String = payload.iter().map(|byte| format!("{byte:02x}")).collect();
        record["photo"] = json!({"$ext": {"type": 11, "hex": hex}});
    }
    record
}

impl State {
    /// Of a record that this transaction has deleted.
    pub(crate) const fn deleted(transaction: usize) -> Self {
        Self {
            put: transaction,
            last: transaction,
        }
    }

    /// Who put the record, and its blob with it.
    pub(crate) const fn put(self) -> usize {
        self.put
    }
}
