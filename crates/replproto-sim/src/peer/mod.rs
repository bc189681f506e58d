//! A publisher that keeps the protocol, but for the faults that it is given: one connection of it, with real bytes.

mod batch;
mod transfers;

use std::collections::{BTreeSet, VecDeque};
use std::ops::Bound;
use std::time::Duration;

use bytes::Bytes;
use replproto_core::value::{RawValue, Value};
use replproto_core::wire::Message;
use replproto_core::wire::message::{Capabilities, CopyResume, NodeName, SubscriptionRequest};
use replproto_core::{Sequence, TableDefinition, WallTime};

use crate::faults::{Fault, Faults};
use crate::rng::Rng;
use crate::source::{Contents, File, Key, Place, Row, Source, TABLES};
use batch::{Odd, Tables};
use transfers::Transfers;

/// What a publisher says that it takes for its set-up.
pub(crate) const SETUP_BUDGET: Duration = Duration::from_secs(150);

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
    /// A copy, and whether it goes on with one of an earlier link.
    Copy {
        resumed: bool,
    },
}

/// What the receiver has once a message has arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Milestones {
    /// How much it has to have handed out.
    pub(crate) expected: u64,
    /// The subscription is answered.
    pub(crate) is_answered: bool,
    /// The publisher has said that it goes, or what nobody can go on after.
    pub(crate) is_final: bool,
    /// Entries that are passed over: of unknown types, for the publisher itself, and of unwanted tables.
    pub(crate) skipped: [u64; 3],
    /// How many copies have begun, and how many have sent all their rows.
    pub(crate) copies: [u64; 2],
}

/// A message that is to be sent.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    pub(crate) bytes: Bytes,
    pub(crate) reached: Milestones,
}

#[derive(Debug)]
enum Stage {
    /// Nothing is asked for yet.
    Waiting,
    /// What is asked for, with this id, is not answered; so many other things are still said.
    Mute {
        request: Option<u32>,
        words: u32,
    },
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

/// How a connection behaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    pub(crate) is_old: bool,
    pub(crate) faults: Faults,
    /// One blob of so many cannot be read, if any.
    pub(crate) reads_per_failure: u64,
    /// How far below a version the receiver may start, in milliseconds.
    pub(crate) margin: f64,
}

#[derive(Debug)]
pub(crate) struct Peer {
    manner: Manner,
    stage: Stage,
    out: VecDeque<Outgoing>,
    transfers: Transfers,
    tables: Tables,
    /// The version of the order of its copies.
    order: u32,
    /// The copy that the receiver wants to go on with: its start, and its order.
    wanted: Option<(f64, u32)>,
    has_sent_rows: bool,
    has_recopied: bool,
    pub(crate) expected: VecDeque<Expected>,
    /// The positions that were ever sent as such, on any connection, as bits.
    told: BTreeSet<u64>,
    /// How much was ever expected, and how many entries are to be passed over.
    total: u64,
    skipped: [u64; 3],
    reached: Milestones,
    /// The faults that it has committed lately.
    pub(crate) struck: Faults,
    /// It has broken the protocol: the receiver may end the link for that.
    pub(crate) is_to_blame: bool,
}

impl Peer {
    pub(crate) fn new(manner: Manner, contents: Contents, rng: &mut Rng) -> Self {
        Self {
            manner,
            stage: Stage::Waiting,
            out: VecDeque::new(),
            transfers: Transfers::new(manner, contents),
            tables: Tables::new(rng),
            order: 1 + u32::from(rng.chance(200)),
            wanted: None,
            has_sent_rows: false,
            has_recopied: false,
            expected: VecDeque::new(),
            told: BTreeSet::new(),
            total: 0,
            skipped: [0; 3],
            reached: Milestones::default(),
            struck: Faults::NONE,
            is_to_blame: false,
        }
    }

    /// The next connection of the same publisher.
    pub(crate) fn reconnected(&mut self, manner: Manner, contents: Contents, rng: &mut Rng) {
        let refused = std::mem::take(&mut self.transfers.refused);
        let told = std::mem::take(&mut self.told);
        *self = Self::new(manner, contents, rng);
        self.transfers.refused = refused;
        self.told = told;
    }

    /// The newest version of a record that was told that this file is gone.
    pub(crate) fn refused(&self, file: File) -> Option<f64> {
        self.transfers.refused.get(&file).copied()
    }

    /// Whether this fault strikes now.
    fn strikes(&mut self, fault: Fault, per_mille: u64, rng: &mut Rng) -> bool {
        // Drawn in any case: a world without this fault is otherwise the same.
        let strikes = rng.chance(per_mille) && self.manner.faults.has(fault);
        if strikes {
            self.struck.add(fault);
        }
        strikes
    }

    /// A message of the receiver arrives. `Err`: it breaks the protocol.
    pub(crate) fn receive(&mut self, bytes: &[u8], source: &Source) -> Result<(), String> {
        let message = Message::decode(bytes).map_err(|error| error.to_string())?;
        match message {
            Message::NodeName(_) => self.node_name(),
            Message::SubscriptionRequest(request) => {
                let start = request.subscriptions[0].start.0;
                let is_told = self.told.contains(&start.to_bits());
                let is_below = |version: f64| version - self.manner.margin == start;
                let is_known = is_told || source.log.iter().any(|it| is_below(it.sequence));
                if start > 1.0 && !self.manner.faults.has(Fault::Hostile) && !is_known {
                    return Err(format!("start {start} was never sent"));
                }
                self.stage = Stage::Subscribed(request);
            }
            Message::CommittedUpdate(sequence) => {
                let is_told = self.told.contains(&sequence.0.to_bits());
                if !is_told && !self.manner.faults.has(Fault::Hostile) {
                    return Err(format!("{sequence} is confirmed, and was never sent"));
                }
            }
            Message::Disconnect => {}
            other => return Err(format!("a subscriber sends no {other:?}")),
        }
        Ok(())
    }

    fn node_name(&mut self) {
        let capabilities = (!self.manner.is_old).then_some(Capabilities {
            setup_ack: 1.0,
            setup_budget: Some(SETUP_BUDGET.as_millis() as f64),
        });
        self.send(&Message::NodeName(NodeName {
            name: Some("peer".into()),
            database: "data".into(),
            tables: Vec::new(),
            capabilities,
        }));
    }

    /// The publisher goes.
    pub(crate) fn disconnect(&mut self) {
        self.reached.is_final = true;
        self.send(&Message::Disconnect);
        self.stage = Stage::Waiting;
    }

    fn send(&mut self, message: &Message) {
        if let Message::SequenceUpdate(sequence) = message {
            self.told.insert(sequence.0.to_bits());
        }
        self.push(message.encode().into());
    }

    fn push(&mut self, bytes: Bytes) {
        let reached = self.reached;
        self.out.push_back(Outgoing { bytes, reached });
    }

    /// Whether everything that there is has been sent.
    pub(crate) fn is_caught_up(&self, source: &Source) -> bool {
        let is_at_head =
            matches!(self.stage, Stage::Following { index } if index == source.log.len());
        is_at_head && self.out.is_empty() && self.transfers.are_done()
    }

    /// The next message, if there is anything to send.
    pub(crate) fn next(&mut self, source: &Source, rng: &mut Rng) -> Option<Outgoing> {
        if self.out.is_empty() {
            if rng.chance(600) && self.send_chunk(rng) {
                return self.out.pop_front();
            }
            self.proceed(source, rng);
        }
        if self.out.is_empty() {
            self.send_chunk(rng);
        }
        self.out.pop_front()
    }

    /// Sends a chunk of any transfer. Gives false if there is none.
    fn send_chunk(&mut self, rng: &mut Rng) -> bool {
        let chunk = self.transfers.chunk(rng);
        let is_some = chunk.is_some();
        if let Some(chunk) = chunk {
            self.push(chunk);
        }
        is_some
    }

    fn proceed(&mut self, source: &Source, rng: &mut Rng) {
        match std::mem::replace(&mut self.stage, Stage::Waiting) {
            Stage::Waiting => {}
            Stage::Mute { request, words } => self.stay_mute(request, words, rng),
            Stage::Subscribed(request) if self.strikes(Fault::Mute, 300, rng) => {
                self.stay_mute(request.request, 30, rng);
            }
            Stage::Subscribed(request) => self.subscribe(&request, source),
            Stage::Copying { start, after } => self.copy(start, after, source, rng),
            Stage::CopyEnding { start } => {
                self.reached.copies[1] += 1;
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

    /// Says what does not answer the request.
    fn stay_mute(&mut self, request: Option<u32>, words: u32, rng: &mut Rng) {
        // A few at once, now and then, so that an application may have to pause the link.
        let says = u32::from(rng.chance(50)) * words.min(3);
        for _ in 0..says {
            match request {
                Some(request) => self.schema("data", rng.chance(500).then_some(request + 1)),
                // Without a number each definition would be the answer.
                None => self.node_name(),
            }
        }
        let words = words - says;
        self.stage = Stage::Mute { request, words };
    }

    fn subscribe(&mut self, request: &SubscriptionRequest, source: &Source) {
        self.reached.is_answered = true;
        self.schema("data", request.request);
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
        self.wanted = resume.map(|resume| (resume.start.0, resume.order));
        // A place in another order says nothing.
        let resume =
            resume.filter(|resume| resume.start.0 >= source.floor() && resume.order == self.order);
        let start = resume.map_or_else(|| source.head(), |resume| resume.start.0);
        self.start_copy(start, resume.and_then(place_of));
    }

    fn schema(&mut self, database: &str, request: Option<u32>) {
        self.send(&Message::Schema {
            tables: TABLES.map(definition).into(),
            database: database.into(),
            request,
        });
    }

    fn start_copy(&mut self, start: f64, after: Option<Place>) {
        self.reached.copies[0] += 1;
        if !self.manner.is_old {
            // Only the first copy of a link goes on with one.
            let resumed = self.wanted.take() == Some((start, self.order));
            self.expect(Expected::Copy { resumed });
            self.reached.expected = self.total;
            self.send(&Message::CopyStart {
                start: WallTime(start),
                order: self.order,
            });
        }
        self.stage = Stage::Copying { start, after };
    }

    /// Whether the copy begins again here: once on a link, if at all.
    fn recopies(&mut self, rng: &mut Rng) -> bool {
        let may = !self.manner.is_old && !self.has_recopied;
        let recopies = may && self.strikes(Fault::Recopy, 100, rng);
        self.has_recopied |= recopies;
        if recopies && rng.chance(300) {
            self.order += 1;
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
        let after = Some(**last);
        let changes: Vec<_> = rows
            .into_iter()
            .map(|(place, row)| (*place, row.version, Some(*row)))
            .collect();
        self.has_sent_rows = true;
        self.batch(&changes, None, !self.manner.is_old, rng);
        if self.strikes(Fault::Strange, 100, rng) {
            // In a copy neither says anything about what the receiver has.
            self.send(&Message::SequenceUpdate(Sequence(source.head())));
            self.tables.odd = Odd::Entries;
            self.batch(&[], None, true, rng);
        }
        self.stage = Stage::Copying { start, after };
    }

    fn follow(&mut self, index: usize, source: &Source, rng: &mut Rng) {
        let Some(transaction) = source.log.get(index) else {
            self.stage = Stage::Following { index };
            // A copy that ends where the receiver is already.
            if self.recopies(rng) {
                self.start_copy(source.head(), None);
            }
            return;
        };
        let changes: Vec<_> = transaction
            .changes
            .iter()
            .map(|change| (change.place, transaction.sequence, change.row))
            .collect();
        let is_last = index + 1 == source.log.len();
        if self.manner.faults.has(Fault::Strange) && rng.chance(300) {
            self.tables.odd = Odd::Any;
        }
        let sequence = (is_last || rng.chance(100)).then_some(transaction.sequence);
        self.batch(&changes, sequence, false, rng);
        if sequence.is_some() && rng.chance(100) {
            self.send(&Message::SequenceUpdate(Sequence(transaction.sequence)));
        }
        self.stage = Stage::Following { index: index + 1 };
    }
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
        Ok(Value::Text(key)) => Some((table, Key::read(key.as_bytes())?)),
        _ => None,
    }
}
