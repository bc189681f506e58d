//! Blobs on their way: transfers that the peer has begun, and references of records to them, in whatever order they come.
//!
//! A transfer is known by its file id, with its transfer id if it has one (`protocol.md` section 6.4). Its life:
//! *awaited* (a record refers to it) → *open* (its first chunk came) → *ended* (its last chunk was handed out) → *saved*,
//! or from anywhere to *failed* (it may come again) or *gone* (it never will, unless a later record brings it).
//!
//! A transfer that fails while the store has it is *aborted*, and stays charged until the store says that nothing of it is
//! at work any more.

mod blob;
mod transfer;
mod tries;

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::time::Duration;

use crate::command::AbortReason;
use crate::config::Limits;
use crate::error::Oversize;
use crate::event::{BlobFault, BlobOwner};
use crate::id::Name;
use crate::wire::message::ChunkHeader;

use super::inbox::Slot;

pub(super) use blob::Key;
use blob::{Blob, State};
use transfer::Transfer;
pub(super) use transfer::{CHUNK_OVERHEAD, Released, copied};
pub use tries::BlobTries;

/// The most that a known blob takes: its place in the order, which is half empty, its file's name, a reference, and the
/// first record that refers to it.
pub(super) const KEY: u64 = 1024;

/// The same with a transfer.
pub(super) const TRANSFER: u64 = KEY + 512;

/// The size of an entry in the counts of failures.
pub(super) const TRY: u64 = 256;

/// The longest file id in bytes. The protocol's are hexadecimal numbers.
pub(super) const MAX_FILE_ID: usize = 128;

/// The longest record id in bytes that is kept for the report of a failure.
pub(super) const MAX_OWNER_KEY: usize = 256;

/// A blob failed: what there is to say and to do.
#[derive(Debug)]
pub(super) struct Failure {
    /// The transfer, if it had begun.
    pub(super) transfer: Option<u64>,
    /// The store has to be told, and until it answers the transfer counts as an item of the blob gauge.
    pub(super) abort: Option<AbortReason>,
    pub(super) file: Name,
    pub(super) owner: Option<BlobOwner>,
    pub(super) fault: BlobFault,
    pub(super) is_gone: bool,
    /// Transactions that need not wait for it any more.
    pub(super) settled: Vec<u64>,
    /// Charges of a transfer that the store has given up by itself.
    pub(super) released: Released,
}

/// What to do with the body of a chunk.
#[derive(Debug)]
pub(super) enum OnChunk {
    /// Hand it on. The number is new if `opened`.
    Deliver { id: u64, opened: bool },
    /// Drop it: the transfer is dead, or nobody needs it.
    Drop,
    /// Drop it: the chunk says that the blob failed.
    Failed(Failure),
}

/// Too many of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooMany {
    pub(super) what: Oversize,
    pub(super) limit: u64,
}

#[derive(Debug)]
pub(super) enum AckError {
    /// Never handed out on this link.
    Unknown,
    /// More bytes than are out.
    TooMuch { out: u64 },
    /// Saved before its end.
    NotEnded,
    /// The store was not told to abort it.
    NotAborted,
}

#[derive(Debug)]
pub(super) struct Blobs {
    limits: Limits,
    blobs: BTreeMap<Key, Blob>,
    /// Open and ended transfers by number.
    transfers: BTreeMap<u64, Key>,
    /// Transfers that the store was told to throw away and has not answered for. They fail only as fast as decoding goes
    /// on, so the gauge bounds how many there are.
    aborted: BTreeMap<u64, Transfer>,
    next: u64,
    /// Transfers that are open.
    open: usize,
    /// Transfers whose rest is dropped.
    dropping: usize,
    references: usize,
    /// Keys of blobs that nothing waits for any more, oldest first.
    finished: VecDeque<Key>,
    /// Failed blobs that a transaction waits for.
    gaps: usize,
    tries: BlobTries,
    /// Files whose failure at the source has been counted on this link.
    tried: BTreeSet<Name>,
}

impl Blobs {
    pub(super) fn new(limits: Limits, tries: BlobTries) -> Self {
        Self {
            limits,
            blobs: BTreeMap::new(),
            transfers: BTreeMap::new(),
            aborted: BTreeMap::new(),
            next: 0,
            open: 0,
            dropping: 0,
            references: 0,
            finished: VecDeque::new(),
            gaps: 0,
            tries,
            tried: BTreeSet::new(),
        }
    }

    /// A record of this transaction refers to a blob. Gives whether the transaction has to wait for it.
    pub(super) fn refer(
        &mut self,
        key: Key,
        transaction: u64,
        owner: impl FnOnce() -> BlobOwner,
        now: Duration,
    ) -> Result<bool, TooMany> {
        let blob = self.blobs.entry(key).or_insert_with(|| Blob::awaited(now));
        match &mut blob.state {
            State::Saved => return Ok(false),
            State::Gone { answers } => {
                if *answers.get_or_insert(transaction) == transaction {
                    return Ok(false);
                }
                // The source sends it again for a later record (`protocol.md` section 3.10), and perhaps it is there now.
                *blob = Blob {
                    is_dropping: blob.is_dropping,
                    ..Blob::awaited_again(now)
                };
            }
            State::Failed if blob.waiting.is_empty() => self.gaps += 1,
            _ => {}
        }
        if blob.owner.is_none() {
            blob.owner = Some(owner());
        }
        blob.waiting.push(transaction);
        self.references += 1;
        if self.references > self.limits.blob_references {
            return Err(TooMany {
                what: Oversize::BlobReferences,
                limit: self.limits.blob_references as u64,
            });
        }
        Ok(true)
    }

    /// A chunk begins.
    pub(super) fn chunk(
        &mut self,
        key: Key,
        header: &ChunkHeader,
        now: Duration,
    ) -> Result<OnChunk, TooMany> {
        if let Some(message) = &header.error {
            let fault = BlobFault::Source {
                message: message.clone(),
                code: header.error_code.clone(),
                status: header.error_status,
            };
            return Ok(self.source_failed(key, fault));
        }
        if let Some(blob) = self.blobs.get_mut(&key) {
            if blob.is_dropping {
                if header.finished {
                    self.dropped(&key);
                }
                return Ok(OnChunk::Drop);
            }
            match &mut blob.state {
                State::Open(transfer) => {
                    transfer.last_activity = now;
                    transfer.size = transfer.size.or(header.size);
                    return Ok(OnChunk::Deliver {
                        id: transfer.id,
                        opened: false,
                    });
                }
                // A transfer under a key that is done with: its bytes are not needed, and it cannot unsettle the key.
                State::Ended(_) | State::Saved => {
                    if !header.finished {
                        blob.is_dropping = true;
                        self.dropping += 1;
                        self.check_transfers()?;
                    }
                    return Ok(OnChunk::Drop);
                }
                State::Awaited { .. } | State::Failed | State::Gone { .. } => {}
            }
        }
        self.open += 1;
        self.check_transfers()?;
        let id = self.next;
        self.next += 1;
        self.transfers.insert(id, key.clone());
        let blob = self.blobs.entry(key).or_insert_with(|| Blob::awaited(now));
        if matches!(blob.state, State::Failed) && !blob.waiting.is_empty() {
            // It comes again on the same link.
            self.gaps -= 1;
        }
        blob.state = State::Open(Transfer::new(id, header.size, now));
        Ok(OnChunk::Deliver { id, opened: true })
    }

    /// Transfers that the peer has begun and not ended, those that are dropped included, are capped.
    const fn check_transfers(&self) -> Result<(), TooMany> {
        let limit = self.limits.open_blobs;
        if self.open + self.dropping <= limit {
            return Ok(());
        }
        Err(TooMany {
            what: Oversize::OpenBlobs,
            limit: limit as u64,
        })
    }

    fn source_failed(&mut self, key: Key, fault: BlobFault) -> OnChunk {
        let ends_dead_transfer = self.dropped(&key);
        if let Some(blob) = self.blobs.get_mut(&key) {
            match &mut blob.state {
                State::Ended(_) | State::Saved => return OnChunk::Drop,
                // It only ends what failed before.
                State::Gone { .. } if ends_dead_transfer => return OnChunk::Drop,
                // For a record that is still to come.
                State::Gone { answers } if fault.is_permanent() => {
                    *answers = None;
                    return OnChunk::Drop;
                }
                // That record has to wait for it: the source may have it again later.
                State::Gone { .. } => blob.owner = None,
                State::Failed if !fault.is_permanent() => return OnChunk::Drop,
                _ => {}
            }
        }
        OnChunk::Failed(self.fail(key, fault, false))
    }

    /// Bytes of the chunk's body are handed out. `Some`: they are more or fewer than announced, the transfer has failed and
    /// they must not be.
    pub(super) fn body(
        &mut self,
        id: u64,
        length: u64,
        is_last: bool,
        now: Duration,
    ) -> Option<Failure> {
        let key = self.transfers.get(&id)?;
        let blob = self.blobs.get_mut(key)?;
        let State::Open(transfer) = &mut blob.state else {
            return None;
        };
        transfer.received += length;
        transfer.last_activity = now;
        let received = transfer.received;
        let announced = transfer.size.filter(|size| {
            if is_last {
                *size != received
            } else {
                *size < received
            }
        });
        if let Some(announced) = announced {
            let key = key.clone();
            let fault = BlobFault::Size {
                announced,
                received,
            };
            return Some(self.fail(key, fault, !is_last));
        }
        if is_last {
            self.open -= 1;
            if let State::Open(mut transfer) = core::mem::replace(&mut blob.state, State::Failed) {
                transfer.leave_to_store();
                blob.state = State::Ended(transfer);
            }
        }
        None
    }

    /// A chunk was handed out.
    pub(super) fn handed_out(&mut self, id: u64, bytes: u64, slot: Option<Slot>) {
        if let Some(transfer) = self.transfer_mut(id) {
            transfer.handed_out(bytes, slot);
        }
    }

    /// The rest of a dead transfer, if there is one, has been dropped: what comes under its key now is a new one.
    pub(super) fn dropped(&mut self, key: &Key) -> bool {
        let Some(blob) = self.blobs.get_mut(key).filter(|blob| blob.is_dropping) else {
            return false;
        };
        blob.is_dropping = false;
        self.dropping -= 1;
        if blob.is_finished() {
            self.finish(key.clone());
        }
        true
    }

    /// Whether this transfer still takes chunks.
    pub(super) fn is_open(&self, id: u64) -> bool {
        self.transfers.get(&id).is_some_and(|key| {
            matches!(
                self.blobs.get(key).map(|blob| &blob.state),
                Some(State::Open(_))
            )
        })
    }

    /// A transfer that the store has not finished with.
    fn transfer_mut(&mut self, id: u64) -> Option<&mut Transfer> {
        let Some(key) = self.transfers.get(&id) else {
            return self.aborted.get_mut(&id);
        };
        match &mut self.blobs.get_mut(key)?.state {
            State::Open(transfer) | State::Ended(transfer) => Some(transfer),
            _ => None,
        }
    }

    const fn check_known(&self, id: u64) -> Result<(), AckError> {
        if id < self.next {
            Ok(())
        } else {
            Err(AckError::Unknown)
        }
    }

    /// Bytes were written, oldest first. `Ok(None)`: the transfer is over already.
    pub(super) fn written(&mut self, id: u64, bytes: u64) -> Result<Option<Released>, AckError> {
        self.check_known(id)?;
        let Some(transfer) = self.transfer_mut(id) else {
            return Ok(None);
        };
        let out = transfer.bytes_out();
        if bytes > out {
            return Err(AckError::TooMuch { out });
        }
        Ok(Some(transfer.written(bytes)))
    }

    /// The blob is durable. Gives the transactions that waited for it.
    pub(super) fn saved(&mut self, id: u64) -> Result<Option<(Vec<u64>, Released)>, AckError> {
        self.check_known(id)?;
        let Some(key) = self.transfers.get(&id) else {
            return if self.aborted.contains_key(&id) {
                Err(AckError::NotEnded)
            } else {
                Ok(None)
            };
        };
        let Some(blob) = self.blobs.get_mut(key) else {
            return Ok(None);
        };
        let State::Ended(transfer) = &mut blob.state else {
            return Err(AckError::NotEnded);
        };
        let released = transfer.release();
        blob.state = State::Saved;
        self.tries.forget(key.file());
        let settled = core::mem::take(&mut blob.waiting);
        self.references -= settled.len();
        if let Some(key) = self.transfers.remove(&id) {
            self.finish(key);
        }
        Ok(Some((settled, released)))
    }

    /// The store could not save the blob.
    pub(super) fn failed(
        &mut self,
        id: u64,
        fault: BlobFault,
    ) -> Result<Option<Failure>, AckError> {
        self.check_known(id)?;
        let Some(key) = self.transfers.get(&id).cloned() else {
            return Ok(None);
        };
        let Some(blob) = self.blobs.get(&key) else {
            return Ok(None);
        };
        let is_dead = blob.is_open();
        Ok(Some(self.fail(key, fault, is_dead)))
    }

    /// Whether the store was told to throw this transfer away and has not answered.
    pub(super) fn is_aborted(&self, id: u64) -> bool {
        self.aborted.contains_key(&id)
    }

    /// Nothing of an aborted transfer is at work any more.
    pub(super) fn aborted(&mut self, id: u64) -> Result<Option<Released>, AckError> {
        self.check_known(id)?;
        if self.transfers.contains_key(&id) {
            return Err(AckError::NotAborted);
        }
        let transfer = self.aborted.remove(&id);
        Ok(transfer.map(|mut transfer| transfer.release()))
    }

    /// The blobs of which nothing came for `timeout` of link time. Each is to be given to [`Blobs::fail_idle`].
    pub(super) fn idle(&self, timeout: Duration, now: Duration) -> Vec<Key> {
        let is_idle = |blob| Self::last_activity(blob).is_some_and(|last| last + timeout <= now);
        self.blobs
            .iter()
            .filter(|(_, blob)| is_idle(blob))
            .map(|(key, _)| key.clone())
            .collect()
    }

    /// One of them fails.
    pub(super) fn fail_idle(&mut self, key: Key) -> Option<Failure> {
        let is_dead = self.blobs.get(&key)?.is_open();
        Some(self.fail(key, BlobFault::Idle, is_dead))
    }

    /// The link time at which the blob that has been silent longest was last heard of.
    pub(super) fn oldest_activity(&self) -> Option<Duration> {
        self.blobs.values().filter_map(Self::last_activity).min()
    }

    const fn last_activity(blob: &Blob) -> Option<Duration> {
        match &blob.state {
            State::Awaited { since, .. } => Some(*since),
            State::Open(transfer) => Some(transfer.last_activity),
            _ => None,
        }
    }

    /// The file could not be read at the source: however often on this link, it counts once. Gives on how many links.
    fn count_try(&mut self, file: &Name) -> u32 {
        if self.tried.len() < BlobTries::CAPACITY && self.tried.insert(file.clone()) {
            return self.tries.count(file);
        }
        self.tries.get(file)
    }

    /// The one way in which a blob fails.
    ///
    /// `is_dead`: the rest of its transfer is still to come, and is to be dropped.
    fn fail(&mut self, key: Key, fault: BlobFault, is_dead: bool) -> Failure {
        let file = key.file().clone();
        let blob = self.blobs.get(&key);
        let was_gone = blob
            .is_some_and(|blob| matches!(blob.state, State::Awaited { was_gone, .. } if was_gone));
        // Only the source can declare a blob gone: by saying so, by failing on too many links, or by not sending again what it
        // has said to be gone.
        let is_gone = match &fault {
            BlobFault::Local { .. } => false,
            fault if fault.is_permanent() => true,
            fault => {
                let tries = self.count_try(&file);
                tries >= self.limits.blob_tries || (was_gone && matches!(fault, BlobFault::Idle))
            }
        };
        let blob = self.blobs.entry(key.clone()).or_insert_with(Blob::failed);
        let new = if is_gone {
            State::Gone {
                answers: blob.waiting.last().copied(),
            }
        } else {
            State::Failed
        };
        if is_dead && !blob.is_dropping {
            blob.is_dropping = true;
            self.dropping += 1;
        }
        let was_gap = matches!(blob.state, State::Failed) && !blob.waiting.is_empty();
        let was_open = blob.is_open();
        let mut failure = Failure {
            transfer: None,
            abort: None,
            file,
            owner: blob.owner.clone(),
            fault,
            is_gone,
            settled: Vec::new(),
            released: Released::default(),
        };
        if let State::Open(mut transfer) | State::Ended(mut transfer) =
            core::mem::replace(&mut blob.state, new)
        {
            failure.transfer = Some(transfer.id);
            self.transfers.remove(&transfer.id);
            failure.abort = abort_reason(&failure.fault);
            if failure.abort.is_some() {
                transfer.leave_to_store();
                self.aborted.insert(transfer.id, transfer);
            } else {
                failure.released = transfer.release();
            }
        }
        self.open -= usize::from(was_open);
        self.gaps -= usize::from(was_gap);
        if is_gone {
            failure.settled = core::mem::take(&mut blob.waiting);
            self.references -= failure.settled.len();
            self.finish(key);
        } else if blob.waiting.is_empty() {
            // Nobody needs it yet, and perhaps nobody ever will.
            self.finish(key);
        } else {
            self.gaps += 1;
        }
        failure
    }

    /// Remembers a key that is done with, and forgets the oldest.
    fn finish(&mut self, key: Key) {
        self.finished.push_back(key);
        while self.finished.len() > self.limits.finished_blobs {
            if let Some(oldest) = self.finished.pop_front() {
                // It may have come to life again meanwhile.
                if self.blobs.get(&oldest).is_some_and(Blob::is_finished) {
                    self.blobs.remove(&oldest);
                }
            }
        }
    }

    /// Whether a transaction waits for a blob that has failed.
    pub(super) const fn has_gap(&self) -> bool {
        self.gaps > 0
    }

    /// Failed blobs that a transaction waits for.
    pub(super) const fn gaps(&self) -> u64 {
        self.gaps as u64
    }

    /// Whether the store has nothing of any transfer, and no record waits for one.
    pub(super) fn is_quiet(&self) -> bool {
        self.transfers.is_empty() && self.aborted.is_empty() && self.references == 0
    }

    /// Whether a blob has come whole and is not saved yet.
    pub(super) fn is_saving(&self) -> bool {
        self.transfers.len() > self.open
    }

    /// Transfers that are open or being saved.
    pub(super) fn unfinished(&self) -> impl Iterator<Item = u64> + '_ {
        self.transfers.keys().copied()
    }

    /// What to hand to the next link.
    pub(super) const fn tries(&self) -> &BlobTries {
        &self.tries
    }
}

/// The reason given to the store. `None`: the fault is its own.
const fn abort_reason(fault: &BlobFault) -> Option<AbortReason> {
    match fault {
        BlobFault::Idle => Some(AbortReason::Idle),
        BlobFault::Size { .. } => Some(AbortReason::Size),
        BlobFault::Source { .. } => Some(AbortReason::Source),
        BlobFault::Local { .. } => None,
    }
}
