//! Arbitrary bytes as a stored cursor: as they are, with a checksum that fits, and as the parts of a cursor.

use std::sync::Arc;

use replproto_core::config::TableFilter;
use replproto_core::{CopyCursor, Cursor, CursorError, Selection, Sequence, WallTime};

use super::alloc;

/// A cursor keeps a copy of the table's name and of the key, and each name of a selection as a text of its own, in a list that grows.
const BYTES_PER_BYTE: usize = 24;
const FREE: usize = 256;

/// Runs the input.
///
/// # Panics
/// A rule does not hold.
pub fn run(data: &[u8]) {
    read(data);
    let mut summed = data.to_vec();
    summed.extend_from_slice(&checksum(data).to_be_bytes());
    read(&summed);
    if let Some(cursor) = build(data) {
        let bytes = cursor.to_bytes();
        let again = Cursor::from_bytes(&bytes).expect("what is written can be read");
        assert_eq!(again.to_bytes(), bytes);
        let damaged = usize::from(data[0]) % bytes.len();
        let mut bytes = bytes;
        bytes[damaged] ^= 1 << (data[0] & 7);
        assert_eq!(Cursor::from_bytes(&bytes), Err(CursorError::Damaged));
    }
}

fn read(bytes: &[u8]) {
    let limit = FREE + BYTES_PER_BYTE * bytes.len();
    if let Ok(cursor) = alloc::within(limit, || Cursor::from_bytes(bytes)) {
        assert_eq!(cursor.to_bytes(), bytes, "there is one way to write it");
    }
}

fn build(data: &[u8]) -> Option<Cursor> {
    let (sequence, rest) = data.split_first_chunk()?;
    let mut cursor = Cursor::at(Sequence(f64::from_be_bytes(*sequence)));
    if let Some((start, rest)) = rest.split_first_chunk()
        && let Some((&length, rest)) = rest.split_first()
    {
        if length & 1 == 1 {
            cursor.announced = Sequence(f64::from_be_bytes(*start));
        }
        let (table, key) = rest.split_at(usize::from(length).min(rest.len()));
        cursor.copy = Some(Box::new(CopyCursor {
            copy_start: WallTime(f64::from_be_bytes(*start)),
            table: String::from_utf8_lossy(table).as_ref().into(),
            after_key: key.to_vec().into(),
            order: u32::from(length),
        }));
    }
    if let Some(copy) = &cursor.copy
        && copy.order & 2 != 0
    {
        let names = copy.table.split('\0').map(str::to_owned).collect();
        let origins = vec![String::from("node-c"); (copy.order >> 2 & 1) as usize];
        let tables = if copy.order & 8 == 0 {
            TableFilter::Only(names)
        } else {
            TableFilter::Except(names)
        };
        cursor.selection = Some(Arc::new(Selection::new(tables, origins)));
    }
    Some(cursor)
}

/// FNV-1a, without which hardly any input would get past the first check.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
