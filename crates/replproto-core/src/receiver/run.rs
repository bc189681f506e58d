//! From audit entries to runs of records: what lies together is looked at in one go and handed out as one event.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;

use super::Receiver;
use super::blobs::{Key as BlobKey, MAX_FILE_ID, MAX_OWNER_KEY, TooMany};
use super::context::NoSupply;
use super::timers::Timer;
use crate::command::Command;
use crate::error::{LinkError, MissingContext, Oversize, RecordError};
use crate::event::{self, BlobOwner, Event, SkippedRecord};
use crate::id::Name;
use crate::key::KEY_BYTES_MAX;
use crate::record::Record;
use crate::records::{Admission, Place, Records, Skip, admit, admit_head, place};
use crate::stats::Stats;
use crate::value::{RawValue, ValueError};
use crate::wire::WireError;

/// A run ends after this many records, so that the application gets the first ones while the rest are decoded.
const RUN_RECORDS: u64 = 256;

/// It ends after this many bytes, which bounds what one call looks at however little of it is of interest.
pub(super) const RUN_BYTES: usize = 64 << 10;

/// What ends a run before its time.
enum Cut {
    /// There is no further entry at the front, or the run is long enough.
    Full,
    /// The next entry has to be the first of its run.
    Apart(Range<usize>),
    /// The next entry is wrong.
    Malformed(WireError),
    /// The next entry refers to something that the peer has not said.
    Missing(MissingContext),
}

impl Receiver {
    /// Takes the entries at the front, beginning with this one: as many as lie together and may be handed out.
    ///
    /// Nothing is said of an entry that ends the run before it is the first: it is looked at again. `items`: how many more
    /// may be looked at.
    pub(super) fn run(&mut self, first: Range<usize>, items: &mut u32) -> Option<Command> {
        let room = self.flow.consumer.room();
        let front = self.inbox.front();
        let mut item = first;
        let mut taken = 0;
        // Bytes of the front that belong to the run.
        let mut length = 0;
        let mut last = 0..0;
        let cut = loop {
            match place(self.context.sources(), &front[item.clone()]) {
                Ok(Place::Within) => {
                    taken += 1;
                    last = item.clone();
                }
                Ok(Place::Apart) => break Cut::Apart(item),
                Ok(Place::Skip(skip)) => count_skip(&mut self.stats, skip),
                Ok(Place::Missing(missing)) => match self.context.supply(missing) {
                    Ok(()) => continue,
                    Err(NoSupply::Full) if taken == 0 => {
                        self.context.renew_sources();
                        continue;
                    }
                    Err(NoSupply::Full) => break Cut::Full,
                    Err(NoSupply::Unknown(what)) => break Cut::Missing(what),
                },
                Err(error) => break Cut::Malformed(error),
            }
            length = item.end;
            let is_long = taken > room.items.min(RUN_RECORDS - 1)
                || (taken > 0 && length as u64 + event::OVERHEAD > room.bytes)
                || length > RUN_BYTES
                || *items == 0;
            match self.decoder.following(front, length) {
                Some(next) if !is_long => item = next,
                _ => break Cut::Full,
            }
            *items -= 1;
        };
        if taken > 0 {
            self.note_run(length, last.clone());
            return Some(self.hand_out_run(length, last, taken));
        }
        self.pass(length);
        match cut {
            Cut::Full => None,
            Cut::Apart(item) => self.record_apart(item.start - length..item.end - length),
            Cut::Malformed(error) => {
                self.malformed(error);
                None
            }
            Cut::Missing(what) => {
                self.missing(what);
                None
            }
        }
    }

    /// The first `length` bytes of the front are a run of this many records, of which the last is there.
    fn hand_out_run(&mut self, length: usize, last: Range<usize>, count: u64) -> Command {
        let sources = Arc::clone(self.context.sources());
        let cost = length as u64 + self.context.take_charge();
        if self.copying.is_running()
            && let Ok(Admission::Record(last)) = admit(&sources, &self.inbox.front()[last])
            && self.copying.note_row(&last.table().name, last.key_bytes())
        {
            // A copy has begun: from now on the peer may be silent for longer.
            self.heard();
        }
        self.copy_frame();
        self.ledger.transaction();
        let (items, slot) = self.inbox.slice(0, length, &self.flow.inbound);
        self.pass(length);
        self.stats.records += count;
        let records = Records {
            items,
            sources,
            count: count as u32,
            cost,
        };
        self.hand_out(Event::Records(records), slot)
    }

    /// A record at the front that is not one of many: it may refer to blobs, for which its transaction waits, or it can never be
    /// used.
    fn record_apart(&mut self, item: Range<usize>) -> Option<Command> {
        let sources = Arc::clone(self.context.sources());
        let front = self.inbox.front();
        let Ok(Admission::Record(record)) = admit(&sources, &front[item.clone()]) else {
            debug_assert!(false, "the run has just found a record there");
            self.malformed(WireError::Truncated("an audit entry"));
            return None;
        };
        if let Some(error) = record.fault() {
            let begins_copy = self
                .copying
                .note_row(&record.table().name, record.key_bytes());
            let skipped = skipped(&record, error);
            self.pass(item.end);
            return Some(self.skip(skipped, begins_copy));
        }
        let limit = self.config.limits.blob_references;
        let found = record.value().map(|value| blob_references(value, limit));
        match found {
            None => self.note_run(item.end, item.clone()),
            Some(Ok(Some(references))) => {
                let key = record.key_bytes();
                // It is copied for each blob that is new, and only for the report of a failure.
                let owner = BlobOwner {
                    table: record.table().name.clone(),
                    key: if key.len() > MAX_OWNER_KEY {
                        Vec::new()
                    } else {
                        key.to_vec()
                    },
                };
                self.note_run(item.end, item.clone());
                let transaction = self.ledger.transaction();
                if !self.refer(references, transaction, &owner) {
                    return None;
                }
            }
            Some(Ok(None)) => {
                self.too_many(TooMany {
                    what: Oversize::BlobReferences,
                    limit: limit as u64,
                });
                return None;
            }
            Some(Err(error)) => {
                let begins_copy = self
                    .copying
                    .note_row(&record.table().name, record.key_bytes());
                let skipped = skipped(&record, error.into());
                self.pass(item.end);
                return Some(self.skip(skipped, begins_copy));
            }
        }
        Some(self.hand_out_run(item.end, item, 1))
    }

    /// A record of `size` bytes that is larger than the limit: its first bytes are at the front, and the rest is passed over.
    pub(super) fn oversized(&mut self, head: Range<usize>, size: usize) -> Option<Command> {
        let skipped = loop {
            let front = &self.inbox.front()[head.clone()];
            break match admit_head(self.context.sources(), front) {
                Ok(Admission::Record(record)) => {
                    let error = RecordError::TooLarge {
                        size: size as u64,
                        limit: self.config.limits.record as u64,
                    };
                    let begins_copy = self
                        .copying
                        .note_row(&record.table().name, record.key_bytes());
                    Some((skipped(&record, error), begins_copy))
                }
                Ok(Admission::Skip(skip)) => {
                    count_skip(&mut self.stats, skip);
                    None
                }
                Ok(Admission::Missing(missing)) => match self.context.supply(missing) {
                    Ok(()) => continue,
                    Err(NoSupply::Full) => {
                        self.context.renew_sources();
                        continue;
                    }
                    Err(NoSupply::Unknown(what)) => {
                        self.missing(what);
                        return None;
                    }
                },
                Err(error) => {
                    self.malformed(error);
                    return None;
                }
            };
        };
        self.decoder
            .pass_over(head, size, &mut self.inbox, &mut self.flow.inbound);
        skipped.map(|(skipped, begins_copy)| self.skip(skipped, begins_copy))
    }

    /// A record of the open transaction that can never be used.
    fn skip(&mut self, skipped: SkippedRecord, begins_copy: bool) -> Command {
        if begins_copy {
            self.heard();
        }
        self.copy_frame();
        self.note_unusable(skipped.version);
        self.ledger.transaction();
        self.stats.skipped_undecodable += 1;
        self.hand_out(Event::RecordSkipped(Box::new(skipped)), None)
    }

    fn missing(&mut self, what: MissingContext) {
        let message = self.decoder.message();
        self.fail(LinkError::Missing { message, what });
    }

    /// The open transaction waits for these blobs. Gives false if that ended the link.
    fn refer(&mut self, references: Vec<BlobKey>, transaction: u64, owner: &BlobOwner) -> bool {
        let now = self.timers.link_now();
        for key in references {
            match self.blobs.refer(key, transaction, || owner.clone(), now) {
                Ok(true) => self.ledger.wait_for_blob(transaction),
                Ok(false) => {}
                Err(too_many) => {
                    self.too_many(too_many);
                    return false;
                }
            }
        }
        self.watch_gap();
        self.timers
            .start(Timer::BlobIdle, self.config.timeouts.blob);
        true
    }
}

const fn count_skip(stats: &mut Stats, skip: Skip) {
    match skip {
        Skip::Unknown => stats.skipped_unknown += 1,
        Skip::Local => stats.skipped_local += 1,
        Skip::Unwanted => stats.skipped_unwanted += 1,
    }
}

/// The report of a record that is passed over, with its whole id, since a store may have an earlier version of it to keep.
fn skipped(record: &Record<'_>, error: RecordError) -> SkippedRecord {
    let version = record.version();
    SkippedRecord {
        table: record.table().name.clone(),
        key: match record.key_bytes() {
            key if key.len() > KEY_BYTES_MAX => Vec::new(),
            key => key.to_vec(),
        },
        version: version.0.is_finite().then_some(version),
        kind: record.kind(),
        error,
    }
}

/// The blobs that a value refers to. `None`: more than `limit`.
fn blob_references(value: RawValue<'_>, limit: usize) -> Result<Option<Vec<BlobKey>>, ValueError> {
    let mut references = Vec::new();
    let mut too_many = false;
    value.blob_references(|reference| {
        if reference.file_id.len() > MAX_FILE_ID {
            // No chunk can have this id: there is nothing to wait for.
            return;
        }
        if references.len() >= limit {
            too_many = true;
            return;
        }
        let file = Name::from(reference.file_id);
        references.push(BlobKey::new(file, reference.transfer_id));
    })?;
    Ok((!too_many).then_some(references))
}
