//! Records as messages: the tables that they belong to, their structures, and what is passed over.

use bytes::Bytes;
use replproto_core::wire::entry::Flags;
use replproto_core::wire::message::TableStructure;
use replproto_core::wire::{BatchBuilder, Message, NewEntry};
use replproto_core::{Sequence, WallTime};

use super::{Expected, Peer, definition};
use crate::faults::Fault;
use crate::rng::Rng;
use crate::source::{File, Place, Row, TABLES, UNWANTED};
use crate::world::RECORD_MAX;

/// A change of a row: its place, its version, and what it holds then.
pub(super) type Change = (Place, f64, Option<Row>);

/// More entries than one call passes over.
const FLOOD: u64 = 1500;

/// Lists of nodes that records live on.
const HOMES: u32 = 64;

/// A map of a blob that nobody has, and of something that is no value.
const BROKEN: &[u8] = b"\x82\xa1b\xc7\x08\x0b\x93\x80\x00\xa4ffff\xa1n\xc1";

/// More than the limit of a record in every world.
const OVERSIZED: &[u8] = &[0xc0; RECORD_MAX];

/// The publisher's own number.
const OWN: u32 = 0;

/// Another writer than the publisher, by its number.
#[derive(Clone, Copy, Debug)]
enum Writer {
    Known(u32),
    /// The receiver cannot know it: it has to come.
    Lost(u32),
}

/// Who has written the change of this version, the same on each connection.
fn writer(version: f64, number: usize, other: u32) -> u32 {
    match Rng::new(version.to_bits()).below(10) {
        0 => other,
        1 if number.is_multiple_of(2) => other,
        _ => OWN,
    }
}

/// What a connection has said of its tables.
#[derive(Debug)]
pub(super) struct Tables {
    /// The number of another writer, if it has been told.
    other: Option<u32>,
    /// The number of the first table: ids mean something on their own connection only.
    base: u32,
    /// How many structures each has announced; 0: none.
    announced: [usize; TABLES.len()],
    pub(super) odd: Odd,
}

/// What the next batch has that is passed over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Odd {
    #[default]
    Nothing,
    /// Entries that say nothing to a receiver; also in a copy, whose records come in order.
    Entries,
    /// Anything.
    Any,
}

impl Tables {
    pub(super) const fn new(rng: &mut Rng) -> Self {
        Self {
            other: None,
            base: 10 + 3 * rng.below(4) as u32,
            announced: [0; TABLES.len()],
            odd: Odd::Nothing,
        }
    }
}

impl Peer {
    pub(super) fn batch(
        &mut self,
        changes: &[Change],
        sequence: Option<f64>,
        in_copy: bool,
        rng: &mut Rng,
    ) {
        let other = self.announce(changes, rng);
        if let Some(sequence) = sequence {
            self.told.insert(sequence.to_bits());
        }
        let mut batch =
            BatchBuilder::new(WallTime(changes.first().map_or(1e12, |change| change.1)));
        let chunks_first = rng.chance(400);
        // More lists of homes than a run of records can refer to, none of which the peer has told.
        let has_homes = self.tables.base.is_multiple_of(2);
        for (number, (place, version, row)) in changes.iter().enumerate() {
            let (table, key) = place;
            let node = match other {
                Writer::Lost(other) => other,
                Writer::Known(other) => writer(*version, number, other),
            };
            let mut value = Vec::new();
            let mut flags = Flags::default();
            if let Some(row) = row {
                flags = Flags::FULL;
                let struck = &mut self.struck;
                let transfer = row
                    .file
                    .map(|file| self.transfers.begin(file, *version, in_copy, struck, rng));
                if transfer.is_some() {
                    flags = flags.with(Flags::BLOBS);
                }
                value = encode(row, transfer.flatten(), self.tables.announced[*table]);
            }
            batch.entry(&NewEntry {
                kind: if row.is_some() { 1 } else { 2 },
                flags,
                node,
                table: self.tables.base + *table as u32,
                key: key.as_bytes(),
                version: *version,
                residency: has_homes.then_some((version * 4.0) as u64 as u32 % HOMES),
                value: &value,
                ..NewEntry::default()
            });
            self.expect(Expected::Record {
                place: *place,
                version: *version,
                row: *row,
            });
        }
        match std::mem::take(&mut self.tables.odd) {
            Odd::Nothing => {}
            Odd::Entries => self.oddity(rng.below(3), &mut batch, rng),
            Odd::Any => self.oddity(rng.below(5), &mut batch, rng),
        }
        self.expect(Expected::End(sequence));
        while chunks_first && self.send_chunk(rng) {}
        self.reached.expected = self.total;
        self.reached.skipped = self.skipped;
        self.reached.is_final |= self.is_to_blame;
        self.push(Bytes::from(batch.finish(sequence.map(Sequence))));
    }

    pub(super) fn expect(&mut self, expected: Expected) {
        self.expected.push_back(expected);
        self.total += 1;
    }

    /// Something that is passed over.
    fn oddity(&mut self, kind: u64, batch: &mut BatchBuilder, rng: &mut Rng) {
        let base = self.tables.base;
        let unwanted = base + TABLES.len() as u32;
        let entry = NewEntry {
            kind: 1,
            flags: Flags::FULL,
            node: OWN,
            table: base,
            key: b"odd",
            version: 1e12,
            value: b"\xc1",
            ..NewEntry::default()
        };
        let mut count = 1;
        let odd = match kind {
            0 => NewEntry { kind: 15, ..entry },
            1 => NewEntry {
                flags: Flags::FULL.with(Flags::LOCAL_ONLY),
                ..entry
            },
            2 => {
                self.send(&Message::TableStructure(TableStructure {
                    definition: definition(UNWANTED),
                    table: unwanted,
                    ..TableStructure::default()
                }));
                if rng.chance(50) {
                    count = FLOOD;
                }
                NewEntry {
                    table: unwanted,
                    ..entry
                }
            }
            3 => {
                self.struck.add(Fault::Strange);
                return self.send(&Message::CommittedUpdate(Sequence(1.0)));
            }
            _ if self.tables.announced[0] > 0 => {
                self.expect(Expected::Undecodable);
                let unusable = NewEntry {
                    flags: Flags::FULL.with(Flags::BLOBS),
                    value: BROKEN,
                    ..entry
                };
                match rng.below(4) {
                    0 => NewEntry {
                        version: f64::NAN,
                        ..unusable
                    },
                    1 => NewEntry {
                        value: OVERSIZED,
                        ..unusable
                    },
                    _ => unusable,
                }
            }
            _ => return,
        };
        self.struck.add(Fault::Strange);
        if let Some(skipped) = self.skipped.get_mut(kind as usize) {
            *skipped += count;
        }
        for _ in 0..count {
            batch.entry(&odd);
        }
    }

    /// What the receiver has to know before these records.
    fn announce(&mut self, changes: &[Change], rng: &mut Rng) -> Writer {
        let other = self.announce_nodes(!changes.is_empty(), rng);
        let mut lost = None;
        for ((table, _), ..) in changes {
            if lost == Some(*table) {
                continue;
            }
            let known = self.tables.announced[*table];
            // Now and then a table has one more structure.
            let grows = (1..STRUCTURES.len()).contains(&known) && rng.chance(20);
            if known > 0 && !grows {
                continue;
            }
            let count = known + 1;
            self.tables.announced[*table] = count;
            if known == 0 && self.strikes(Fault::LostTable, 20, rng) {
                self.is_to_blame = true;
                lost = Some(*table);
                continue;
            }
            let structure = Message::TableStructure(TableStructure {
                definition: definition(TABLES[*table]),
                named: Some(STRUCTURES[count - 1].into()),
                table: self.tables.base + *table as u32,
                ..TableStructure::default()
            });
            self.send(&structure);
        }
        other
    }

    /// Tells the numbers of the nodes, and now and then new ones: a map takes the place of the one before.
    fn announce_nodes(&mut self, has_changes: bool, rng: &mut Rng) -> Writer {
        let known = self.tables.other;
        if let Some(other) = known
            && !rng.chance(20)
        {
            return Writer::Known(other);
        }
        let other = known.map_or(OWN + 1, |other| other + 2);
        self.tables.other = Some(other);
        self.send(&Message::NodeMap {
            ids: vec![
                ("peer".into(), OWN),
                ("other".into(), other),
                ("us".into(), other + 1),
            ],
            subscribed: vec!["peer".into()],
        });
        match known {
            // It goes on with a number that it has taken back.
            Some(old) if has_changes && self.strikes(Fault::LostTable, 200, rng) => {
                self.is_to_blame = true;
                Writer::Lost(old)
            }
            _ => Writer::Known(other),
        }
    }
}

/// The structures of a table as it learns them: a row with its mark, `n`, and one that also has a blob, `b`; then another
/// order of both; then one with something that a row of ours never has.
const STRUCTURES: [&[u8]; 3] = [
    b"\x92\x91\xa1n\x92\xa1n\xa1b",
    b"\x93\x91\xa1n\x92\xa1n\xa1b\x92\xa1b\xa1n",
    b"\x94\x91\xa1n\x92\xa1n\xa1b\x92\xa1b\xa1n\x92\xa1x\xa1n",
];

/// A row as a record of the newest of these structures that fits.
fn encode(row: &Row, transfer: Option<u64>, structures: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    let mark = |out: &mut Vec<u8>| {
        out.push(0xce);
        out.extend_from_slice(&row.mark.to_be_bytes());
    };
    let Some(file) = row.file else {
        if structures >= 3 {
            out.extend_from_slice(&[0x43, 0xc0]);
        } else {
            out.push(0x40);
        }
        mark(&mut out);
        return out;
    };
    if structures >= 2 {
        out.push(0x42);
        blob(&mut out, file, transfer);
        mark(&mut out);
    } else {
        out.push(0x41);
        mark(&mut out);
        blob(&mut out, file, transfer);
    }
    out
}

/// A reference to a blob.
fn blob(out: &mut Vec<u8>, file: File, transfer: Option<u64>) {
    let file = file.to_string();
    let mut payload = vec![0x93];
    match transfer {
        None => payload.push(0x80),
        Some(transfer) => {
            payload.extend_from_slice(b"\x81\xb5replicationTransferId\xce");
            payload.extend_from_slice(&(transfer as u32).to_be_bytes());
        }
    }
    payload.extend_from_slice(&[0, 0xa0 | file.len() as u8]);
    payload.extend_from_slice(file.as_bytes());
    out.extend_from_slice(&[0xc7, payload.len() as u8, 11]);
    out.extend_from_slice(&payload);
}
