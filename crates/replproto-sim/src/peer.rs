//! A publisher that keeps the protocol: one connection of it, with real bytes.

use std::collections::VecDeque;
use std::ops::Bound;

use bytes::Bytes;
use replproto_core::value::{RawValue, Value};
use replproto_core::wire::entry::Flags;
use replproto_core::wire::message::{
    Capabilities, ChunkHeader, CopyResume, NodeName, SubscriptionRequest, TableStructure,
};
use replproto_core::wire::{BatchBuilder, Message, NewEntry};
use replproto_core::{Sequence, TableDefinition, WallTime};

use crate::faults::{Fault, Faults};
use crate::rng::Rng;
use crate::source::{Place, Row, Source, TABLES, UNWANTED};

/// What the receiver has to hand out, in this order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Expected {
    Record {
        place: Place,
        version: f64,
        row: Option<Row>,
    },
    /// A record whose blobs cannot be found.
    Undecodable,
    End(Option<f64>),
}

#[derive(Debug)]
enum Stage {
    /// Nothing is asked for yet.
    Waiting,
    Subscribed(SubscriptionRequest),
    Copying {
        start: f64,
        after: Option<Place>,
    },
    /// All rows are sent, the end is not.
    CopyEnding {
        start: f64,
    },
    /// In the log: the index of the next transaction.
    Following {
        index: usize,
    },
}

/// A transfer that is under way.
#[derive(Debug)]
struct Transfer {
    file: String,
    chunks: VecDeque<Bytes>,
}

/// How a connection behaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    pub(crate) is_old: bool,
    /// It cannot read one blob of a few.
    pub(crate) failing_reads: bool,
    pub(crate) recopies: bool,
    /// It sends what is passed over.
    pub(crate) is_strange: bool,
    /// The size below which blobs stay.
    pub(crate) blob_bytes: u64,
}

#[derive(Debug)]
pub(crate) struct Peer {
    manner: Manner,
    stage: Stage,
    out: VecDeque<Bytes>,
    transfers: Vec<Transfer>,
    next_transfer: u64,
    is_mapped: bool,
    announced: [bool; TABLES.len()],
    has_sent_rows: bool,
    pub(crate) expected: VecDeque<Expected>,
    /// The faults that it has committed lately.
    pub(crate) struck: Faults,
    /// The next batch has something that is passed over. Never in a copy, whose keys come in order.
    is_odd: bool,
}

impl Peer {
    pub(crate) const fn new(manner: Manner) -> Self {
        Self {
            manner,
            stage: Stage::Waiting,
            out: VecDeque::new(),
            transfers: Vec::new(),
            next_transfer: 0,
            is_mapped: false,
            announced: [false; TABLES.len()],
            has_sent_rows: false,
            expected: VecDeque::new(),
            struck: Faults::NONE,
            is_odd: false,
        }
    }

    /// A message of the receiver arrives. `Err`: it breaks the protocol.
    pub(crate) fn receive(&mut self, bytes: &[u8], source: &Source) -> Result<(), String> {
        let message = Message::decode(bytes).map_err(|error| error.to_string())?;
        match message {
            Message::NodeName(_) => self.send(&Message::NodeName(NodeName {
                name: Some("peer".into()),
                database: "data".into(),
                tables: Vec::new(),
                capabilities: (!self.manner.is_old).then_some(Capabilities {
                    setup_ack: 1.0,
                    setup_budget: Some(150_000.0),
                }),
            })),
            Message::SubscriptionRequest(request) => {
                let start = request.subscriptions[0].start.0;
                let is_known = |start| {
                    source
                        .log
                        .iter()
                        .any(|transaction| transaction.sequence == start)
                };
                if start > 1.0 && !is_known(start) {
                    return Err(format!("start {start} was never sent"));
                }
                self.stage = Stage::Subscribed(request);
            }
            Message::CommittedUpdate(_) | Message::Disconnect => {}
            other => return Err(format!("a subscriber sends no {other:?}")),
        }
        Ok(())
    }

    fn send(&mut self, message: &Message) {
        self.out.push_back(message.encode().into());
    }

    /// Whether everything that there is has been sent.
    pub(crate) fn is_caught_up(&self, source: &Source) -> bool {
        let is_at_head =
            matches!(self.stage, Stage::Following { index } if index == source.log.len());
        is_at_head && self.out.is_empty() && self.transfers.is_empty()
    }

    /// The next message, if there is anything to send.
    pub(crate) fn next(&mut self, source: &Source, rng: &mut Rng) -> Option<Bytes> {
        if self.out.is_empty() {
            if !self.transfers.is_empty() && rng.chance(600) {
                return Some(self.chunk(rng));
            }
            self.proceed(source, rng);
        }
        let next = self.out.pop_front();
        if next.is_none() && !self.transfers.is_empty() {
            return Some(self.chunk(rng));
        }
        next
    }

    fn proceed(&mut self, source: &Source, rng: &mut Rng) {
        match std::mem::replace(&mut self.stage, Stage::Waiting) {
            Stage::Waiting => {}
            Stage::Subscribed(request) => self.subscribe(&request, source),
            Stage::Copying { start, after } => self.copy(start, after, source, rng),
            Stage::CopyEnding { start } => {
                if !self.manner.is_old {
                    self.send(&Message::CopyComplete);
                }
                self.stage = Stage::Following {
                    index: source.after(start),
                };
                if self.recopies(rng) {
                    self.start_copy(source.head(), None);
                }
            }
            Stage::Following { index } => self.follow(index, source, rng),
        }
    }

    fn subscribe(&mut self, request: &SubscriptionRequest, source: &Source) {
        self.send(&Message::Schema {
            tables: TABLES.map(definition).into(),
            database: "data".into(),
            request: request.request,
        });
        let subscription = &request.subscriptions[0];
        let start = subscription.start.0;
        let is_kept = start >= source.floor();
        if start > 0.0 && (is_kept || self.manner.is_old) {
            self.stage = Stage::Following {
                index: source.after(start),
            };
            return;
        }
        let resume = subscription.copy_resume.as_ref();
        let resume = resume.filter(|resume| resume.start.0 >= source.floor());
        let start = resume.map_or_else(|| source.head(), |resume| resume.start.0);
        self.start_copy(start, resume.and_then(place_of));
    }

    fn start_copy(&mut self, start: f64, after: Option<Place>) {
        if !self.manner.is_old {
            self.send(&Message::CopyStart {
                start: WallTime(start),
                order: 1,
            });
        }
        self.stage = Stage::Copying { start, after };
    }

    /// Whether the copy begins again here: once on a link, if at all.
    fn recopies(&mut self, rng: &mut Rng) -> bool {
        let recopies = self.manner.recopies && !self.manner.is_old && rng.chance(100);
        self.manner.recopies &= !recopies;
        if recopies {
            self.struck.add(Fault::Recopy);
        }
        recopies
    }

    fn copy(&mut self, start: f64, after: Option<Place>, source: &Source, rng: &mut Rng) {
        if self.recopies(rng) {
            return self.start_copy(source.head(), None);
        }
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let rows: Vec<_> = source
            .rows
            .range((from, Bound::Unbounded))
            .take(rng.range(1, 6) as usize)
            .collect();
        let Some((last, _)) = rows.last() else {
            if !self.manner.is_old || self.has_sent_rows {
                self.batch(&[], Some(start), false, rng);
            }
            self.stage = Stage::CopyEnding { start };
            return;
        };
        let after = Some((*last).clone());
        let changes: Vec<_> = rows
            .into_iter()
            .map(|(place, row)| (place.clone(), row.version, Some(row.clone())))
            .collect();
        self.has_sent_rows = true;
        self.batch(&changes, None, !self.manner.is_old, rng);
        self.stage = Stage::Copying { start, after };
    }

    fn follow(&mut self, index: usize, source: &Source, rng: &mut Rng) {
        let Some(transaction) = source.log.get(index) else {
            self.stage = Stage::Following { index };
            return;
        };
        let changes: Vec<_> = transaction
            .changes
            .iter()
            .map(|change| {
                (
                    change.place.clone(),
                    transaction.sequence,
                    change.row.clone(),
                )
            })
            .collect();
        let is_last = index + 1 == source.log.len();
        self.is_odd = self.manner.is_strange && rng.chance(300);
        let sequence = (is_last || rng.chance(100)).then_some(transaction.sequence);
        self.batch(&changes, sequence, false, rng);
        if sequence.is_some() && rng.chance(100) {
            self.send(&Message::SequenceUpdate(Sequence(transaction.sequence)));
        }
        self.stage = Stage::Following { index: index + 1 };
    }

    fn batch(
        &mut self,
        changes: &[(Place, f64, Option<Row>)],
        sequence: Option<f64>,
        in_copy: bool,
        rng: &mut Rng,
    ) {
        self.announce(changes);
        let mut batch =
            BatchBuilder::new(WallTime(changes.first().map_or(1e12, |change| change.1)));
        let chunks_first = rng.chance(400);
        for (place, version, row) in changes {
            let (table, key) = place;
            let mut value = Vec::new();
            let mut flags = Flags::default();
            if let Some(row) = row {
                flags = Flags::FULL;
                let transfer = row
                    .file
                    .as_deref()
                    .map(|file| self.transfer(file, in_copy, rng));
                if transfer.is_some() {
                    flags = flags.with(Flags::BLOBS);
                }
                value = encode(row, transfer.flatten());
            }
            batch.entry(&NewEntry {
                kind: if row.is_some() { 1 } else { 2 },
                flags,
                table: 10 + *table as u32,
                key: key.as_bytes(),
                version: *version,
                value: &value,
                ..NewEntry::default()
            });
            self.expected.push_back(Expected::Record {
                place: place.clone(),
                version: *version,
                row: row.clone(),
            });
        }
        if std::mem::take(&mut self.is_odd) {
            self.oddity(&mut batch, rng);
        }
        self.expected.push_back(Expected::End(sequence));
        if chunks_first {
            while !self.transfers.is_empty() {
                let chunk = self.chunk(rng);
                self.out.push_back(chunk);
            }
        }
        self.out
            .push_back(batch.finish(sequence.map(Sequence)).into());
    }

    /// Something that is passed over.
    fn oddity(&mut self, batch: &mut BatchBuilder, rng: &mut Rng) {
        let entry = NewEntry {
            kind: 1,
            flags: Flags::FULL,
            table: 10,
            key: b"odd",
            version: 1e12,
            value: b"\xc1",
            ..NewEntry::default()
        };
        let odd = match rng.below(5) {
            0 => {
                self.struck.add(Fault::Strange);
                return self.send(&Message::CommittedUpdate(Sequence(1.0)));
            }
            1 => NewEntry { kind: 15, ..entry },
            2 => NewEntry {
                flags: Flags::FULL.with(Flags::LOCAL_ONLY),
                ..entry
            },
            3 => {
                self.send(&Message::TableStructure(TableStructure {
                    definition: definition(UNWANTED),
                    table: 12,
                    ..TableStructure::default()
                }));
                NewEntry { table: 12, ..entry }
            }
            _ if self.announced[0] => {
                self.expected.push_back(Expected::Undecodable);
                NewEntry {
                    flags: Flags::FULL.with(Flags::BLOBS),
                    ..entry
                }
            }
            _ => return,
        };
        self.struck.add(Fault::Strange);
        batch.entry(&odd);
    }

    /// What the receiver has to know before these records.
    fn announce(&mut self, changes: &[(Place, f64, Option<Row>)]) {
        if !self.is_mapped {
            self.is_mapped = true;
            self.send(&Message::NodeMap {
                ids: vec![("peer".into(), 0), ("us".into(), 1)],
                subscribed: vec!["peer".into()],
            });
        }
        for ((table, _), ..) in changes {
            if !self.announced[*table] {
                self.announced[*table] = true;
                self.send(&Message::TableStructure(TableStructure {
                    definition: definition(TABLES[*table]),
                    named: Some(STRUCTURES.into()),
                    table: 10 + *table as u32,
                    ..TableStructure::default()
                }));
            }
        }
    }

    /// Begins to send a blob, unless it is being sent. Gives the transfer's id if it has one.
    fn transfer(&mut self, file: &str, in_copy: bool, rng: &mut Rng) -> Option<u64> {
        let id = in_copy.then(|| {
            self.next_transfer += 1;
            self.next_transfer
        });
        if id.is_none() && self.transfers.iter().any(|transfer| transfer.file == file) {
            return None;
        }
        let content = Source::content(file, self.manner.blob_bytes);
        let fails = self.manner.failing_reads && rng.below(11) == 0;
        let header = ChunkHeader {
            file: file.into(),
            transfer: id,
            size: rng.chance(500).then_some(content.len() as u64),
            ..ChunkHeader::default()
        };
        let mut chunks = VecDeque::new();
        let mut rest = &content[..];
        while rest.len() > 1 && rng.chance(800) {
            let (head, tail) =
                rest.split_at(rng.range(1, (rest.len() as u64 - 1).min(2500)) as usize);
            rest = tail;
            chunks.push_back(chunk(header.clone(), head));
        }
        let last = if fails {
            self.struck.add(Fault::FailingReads);
            let header = ChunkHeader {
                finished: true,
                size: None,
                error: Some("busy".into()),
                error_status: Some(503),
                ..header
            };
            chunk(header, &[])
        } else {
            let header = ChunkHeader {
                finished: true,
                ..header
            };
            chunk(header, rest)
        };
        chunks.push_back(last);
        self.transfers.push(Transfer {
            file: file.into(),
            chunks,
        });
        id
    }

    /// A chunk of any transfer; those of one file come one after the other.
    fn chunk(&mut self, rng: &mut Rng) -> Bytes {
        let any = &self.transfers[rng.below(self.transfers.len() as u64) as usize].file;
        let at = self
            .transfers
            .iter()
            .position(|transfer| transfer.file == *any)
            .unwrap_or_default();
        let chunks = &mut self.transfers[at].chunks;
        let chunk = chunks.pop_front().unwrap_or_default();
        if chunks.is_empty() {
            self.transfers.remove(at);
        }
        chunk
    }
}

fn chunk(header: ChunkHeader, body: &[u8]) -> Bytes {
    let body = Bytes::copy_from_slice(body);
    Message::BlobChunk { header, body }.encode().into()
}

fn definition(table: &str) -> TableDefinition {
    TableDefinition {
        table: table.into(),
        ..TableDefinition::default()
    }
}

/// Where an interrupted copy goes on.
fn place_of(resume: &CopyResume) -> Option<Place> {
    let table = TABLES.iter().position(|table| *table == resume.table)?;
    match RawValue::control(&resume.after_key).decode() {
        Ok(Value::Text(key)) => Some((table, key)),
        _ => None,
    }
}

/// The structures of all tables: a row with its mark, `n`, and one that also has a blob, `b`.
const STRUCTURES: &[u8] = b"\x92\x91\xa1n\x92\xa1n\xa1b";

/// A row as a record of these structures.
fn encode(row: &Row, transfer: Option<u64>) -> Vec<u8> {
    let mut out = vec![0x40 + u8::from(row.file.is_some()), 0xce];
    out.extend_from_slice(&row.mark.to_be_bytes());
    if let Some(file) = &row.file {
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
    out
}
