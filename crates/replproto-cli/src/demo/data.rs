//! The data of the demo: everything follows from the numbers of records and blobs, so that the publisher can make it
//! while it sends, and the check can make it again.

use replproto_core::value::{EncodeError, Profile, Value};
use serde_json::json;

/// The publisher's name.
pub(super) const NODE: &str = "demo-publisher";

/// A node whose records the publisher passes on.
pub(super) const OTHER_NODE: &str = "demo-origin";

/// The database.
pub(super) const DATABASE: &str = "demo";

/// The table of the records that refer to blobs. The others are shared out over [`TABLES`].
pub(super) const PHOTOS: &str = "Photo";

/// The tables of the plain records.
pub(super) const TABLES: [&str; 2] = ["Reading", "Device"];

const RECORDS_PER_TRANSACTION: u64 = 100;

/// Keeps the number of transfers low that are open at the same time.
const BLOBS_PER_TRANSACTION_MAX: u64 = 8;

/// After so many transactions the publisher tells its position.
pub(super) const TRANSACTIONS_PER_POSITION: u64 = 20;

/// The version of the first transaction, milliseconds since 1970.
const START: f64 = 1_767_225_600_000.25;

/// How many bytes of a blob travel in one message.
pub(super) const CHUNK_BYTES: usize = 16 << 10;

/// The attributes of each shape of a value. A value names its shape by its place in this list.
pub(super) const SHAPES: [&[&str]; 3] = [
    &["id", "name", "status", "temperature", "count", "note"],
    &["status", "count"],
    &["id", "image"],
];

const STATUSES: [&str; 4] = ["active", "idle", "offline", "maintenance"];
const NOTE: &str = "written while the follower was away, and read when it came back";

/// How much there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// Plain changes: puts, patches and deletes.
    pub(super) records: u64,
    /// Blobs, each with a record of its own.
    pub(super) blobs: u64,
}

/// One change of a plain record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Put,
    /// Of the record with this number.
    Patch(u64),
    /// Of the record with this number.
    Delete(u64),
}

impl Plan {
    /// How many transactions the log has. None is empty.
    pub(super) fn transactions(self) -> u64 {
        let for_records = self.records.div_ceil(RECORDS_PER_TRANSACTION);
        let for_blobs = self.blobs.div_ceil(BLOBS_PER_TRANSACTION_MAX);
        for_records.max(for_blobs)
    }

    /// The position at the end of the log.
    pub(super) fn last_position(self) -> f64 {
        position(self.transactions().saturating_sub(1))
    }

    /// The plain changes of a transaction.
    pub(super) fn changes(self, transaction: u64) -> impl Iterator<Item = u64> {
        let first = transaction * RECORDS_PER_TRANSACTION;
        first..(first + RECORDS_PER_TRANSACTION).min(self.records)
    }

    /// The blobs whose records are in a transaction.
    pub(super) fn blobs_of(self, transaction: u64) -> impl Iterator<Item = u64> {
        let first_of =
            move |transaction: u64| (transaction * self.blobs).div_ceil(self.transactions().max(1));
        first_of(transaction)..first_of(transaction + 1)
    }

    /// The transaction after the position `start` of the log.
    pub(super) fn transaction_after(self, start: f64) -> u64 {
        let passed = (start - position(0)).floor() + 1.0;
        // Saturates at both ends.
        (passed as u64).min(self.transactions())
    }

    /// What a plain record is at the end of the log; `None` if it is not there.
    pub(super) fn final_record(self, number: u64) -> Option<serde_json::Value> {
        if number >= self.records || change(number) != Change::Put {
            return None;
        }
        let changed_by =
            |change_number: u64| (change_number < self.records).then(|| change(change_number));
        if changed_by(number + DELETE_BACK) == Some(Change::Delete(number)) {
            return None;
        }
        let patch = number + PATCH_BACK;
        let is_patched = changed_by(patch) == Some(Change::Patch(number));
        let last = if is_patched { patch } else { number };
        Some(json!({
            "id": record_id(number),
            "name": record_name(number),
            "status": status(last),
            "temperature": temperature(number),
            "count": last,
            "note": NOTE,
        }))
    }

    /// How many plain records there are at the end of the log.
    pub(super) fn final_records(self) -> u64 {
        (0..self.records)
            .filter(|number| self.final_record(*number).is_some())
            .count() as u64
    }
}

const PATCH_BACK: u64 = 10;
const DELETE_BACK: u64 = 5;

/// What the change with this number does. No record is both patched and deleted.
pub(super) const fn change(number: u64) -> Change {
    if number % 20 == 19 {
        Change::Patch(number - PATCH_BACK)
    } else if number % 50 == 33 {
        Change::Delete(number - DELETE_BACK)
    } else {
        Change::Put
    }
}

/// The version of a transaction's entries.
pub(super) fn version(transaction: u64) -> f64 {
    START + transaction as f64
}

/// The position in the log after a transaction. Not the same as its version.
pub(super) fn position(transaction: u64) -> f64 {
    version(transaction) + 0.5
}

/// The table of a plain record.
pub(super) const fn table(number: u64) -> usize {
    (number % TABLES.len() as u64) as usize
}

pub(super) fn record_id(number: u64) -> String {
    format!("rec-{number:08}")
}

/// The number in the id of a plain record.
pub(super) fn record_number(id: &str) -> Option<u64> {
    let number = id.strip_prefix("rec-")?.parse().ok()?;
    (record_id(number) == id).then_some(number)
}

fn record_name(number: u64) -> String {
    format!("sensor {}", number % 1000)
}

const fn status(number: u64) -> &'static str {
    STATUSES[(number % 4) as usize]
}

/// Eighths, which every decimal form has exactly, and never a whole number, which JSON would not tell from an integer.
fn temperature(number: u64) -> f64 {
    (number % 500) as f64 / 4.0 - 19.875
}

/// The bytes of a plain record's value.
pub(super) fn record_value(number: u64) -> Result<Vec<u8>, EncodeError> {
    shaped(
        0,
        [
            Value::Text(record_id(number)),
            Value::Text(record_name(number)),
            Value::Text(status(number).into()),
            Value::Number(temperature(number)),
            Value::Number(number as f64),
            Value::Text(NOTE.into()),
        ],
    )
}

/// The bytes of a patch's value.
pub(super) fn patch_value(number: u64) -> Result<Vec<u8>, EncodeError> {
    let fields = [
        Value::Text(status(number).into()),
        Value::Number(number as f64),
    ];
    shaped(1, fields)
}

/// The bytes of a value that refers to a blob.
pub(super) fn photo_value(blob: u64) -> Result<Vec<u8>, EncodeError> {
    let fields = [
        Value::Text(photo_id(blob)),
        Value::Blob(blob_payload(blob)?),
    ];
    shaped(2, fields)
}

/// A record of a shape that the table's dictionary has (`value-codec.md` section 5): one byte for the shape, then the fields.
fn shaped(shape: u8, fields: impl IntoIterator<Item = Value>) -> Result<Vec<u8>, EncodeError> {
    let mut bytes = vec![0x40 | shape];
    for field in fields {
        bytes.extend(field.encode(Profile::Table)?);
    }
    Ok(bytes)
}

/// The dictionary: the list of all shapes.
pub(super) fn structures() -> Result<Vec<u8>, EncodeError> {
    let names = |shape: &&[&str]| {
        let names = shape.iter().map(|name| Value::Text((*name).into()));
        Value::Array(names.collect())
    };
    Value::Array(SHAPES.iter().map(names).collect()).encode(Profile::Control)
}

pub(super) fn photo_id(blob: u64) -> String {
    format!("photo-{blob:06}")
}

/// The publisher's id of a blob's file.
pub(super) fn blob_file(blob: u64) -> String {
    format!("{:x}", 0x1000 + blob)
}

fn blob_payload(blob: u64) -> Result<Vec<u8>, EncodeError> {
    let size = Value::Number(blob_bytes(blob) as f64);
    let parts = vec![
        Value::Object(vec![("size".into(), size)]),
        Value::Number(0.0),
        Value::Text(blob_file(blob)),
    ];
    Value::Array(parts).encode(Profile::Control)
}

/// What the record of a blob is.
pub(super) fn final_photo(blob: u64) -> Result<serde_json::Value, EncodeError> {
    let payload = crate::state::hex(&blob_payload(blob)?);
    Ok(json!({
        "id": photo_id(blob),
        "image": {"$ext": {"type": 11, "hex": payload}},
    }))
}

/// The size of a blob: 8 to 72 KiB and a bit.
const fn blob_bytes(blob: u64) -> usize {
    8192 + (blob * 7919 % 65_536) as usize
}

/// The bytes of a blob, which look like noise (splitmix64).
pub(super) fn blob_content(blob: u64) -> Vec<u8> {
    let size = blob_bytes(blob);
    let mut content = Vec::with_capacity(size + 8);
    let mut state = blob.wrapping_mul(0xd134_2543_de82_ef95);
    while content.len() < size {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        content.extend((word ^ (word >> 31)).to_le_bytes());
    }
    content.truncate(size);
    content
}

#[cfg(test)]
mod tests {
    use super::*;
    use replproto_core::value::{Dictionary, JsonStyle, RawValue};

    const PLAN: Plan = Plan {
        records: 1234,
        blobs: 41,
    };

    #[test]
    fn every_change_and_blob_is_in_one_transaction() {
        let transactions = 0..PLAN.transactions();
        let changes: Vec<u64> = transactions.clone().flat_map(|t| PLAN.changes(t)).collect();
        assert_eq!(changes, (0..PLAN.records).collect::<Vec<_>>());
        let blobs: Vec<u64> = transactions.flat_map(|t| PLAN.blobs_of(t)).collect();
        assert_eq!(blobs, (0..PLAN.blobs).collect::<Vec<_>>());
    }

    #[test]
    fn no_transaction_is_empty_or_crowded() {
        for (records, blobs) in [(1, 0), (0, 1), (0, 9), (1, 400), (10_000, 3), (950, 950)] {
            let plan = Plan { records, blobs };
            assert!(plan.transactions() > 0);
            for transaction in 0..plan.transactions() {
                let blobs = plan.blobs_of(transaction).count() as u64;
                assert!(blobs <= BLOBS_PER_TRANSACTION_MAX, "{plan:?}");
                assert!(
                    plan.changes(transaction).count() as u64 + blobs > 0,
                    "{plan:?}"
                );
            }
        }
    }

    #[test]
    fn the_log_goes_on_after_any_position() {
        assert_eq!(PLAN.transaction_after(1.0), 0);
        for transaction in 0..PLAN.transactions() {
            assert_eq!(
                PLAN.transaction_after(position(transaction)),
                transaction + 1
            );
        }
        assert_eq!(PLAN.transaction_after(f64::MAX), PLAN.transactions());
        assert_eq!(PLAN.transaction_after(f64::NAN), 0);
    }

    #[test]
    fn the_final_records_are_what_the_log_makes() {
        let mut records = std::collections::BTreeMap::new();
        for number in 0..PLAN.records {
            match change(number) {
                Change::Put => {
                    records.insert(number, number);
                }
                Change::Patch(of) => {
                    *records.get_mut(&of).expect("patched records are there") = number
                }
                Change::Delete(of) => drop(records.remove(&of).expect("deleted records are there")),
            }
        }
        for number in 0..PLAN.records {
            let count = PLAN
                .final_record(number)
                .map(|record| record["count"].as_u64());
            assert_eq!(
                count,
                records.get(&number).map(|count| Some(*count)),
                "{number}"
            );
        }
        assert_eq!(PLAN.final_records(), records.len() as u64);
    }

    #[test]
    fn values_read_as_the_records_that_are_expected() {
        let structures = structures().unwrap();
        let dictionary = Dictionary::decode(None, Some(&structures)).unwrap();
        let read = |bytes: Vec<u8>| {
            let mut json = String::new();
            let value = RawValue::new(&bytes, &dictionary);
            value.write_json(&mut json, JsonStyle::Natural).unwrap();
            serde_json::from_str::<serde_json::Value>(&json).unwrap()
        };
        assert_eq!(Some(read(record_value(7).unwrap())), PLAN.final_record(7));
        assert_eq!(read(photo_value(3).unwrap()), final_photo(3).unwrap());
        assert_eq!(
            read(patch_value(19).unwrap()),
            json!({"status": status(19), "count": 19})
        );
        let mut files = Vec::new();
        let photo = photo_value(3).unwrap();
        let value = RawValue::new(&photo, &dictionary);
        value
            .blob_references(|blob| files.push((blob.file_id.to_owned(), blob.size)))
            .unwrap();
        assert_eq!(files, [(blob_file(3), Some(blob_content(3).len() as u64))]);
    }
}
