//! What the host acknowledges.

use alloc::string::String;

use crate::error::Misuse;
use crate::event::BlobFault;
use crate::id::{BlobId, CommitId, Epoch};
use crate::text::{self, TEXT_MAX};
use crate::time::Sequence;
use crate::wire::Message;

use super::blobs::{AckError, copied};
use super::inbox::ROOM_KEPT;
use super::ledger::NeverHandedOut;
use super::timers::Timer;
use super::{EventOut, Receiver};

impl Receiver {
    pub(super) fn consumed(&mut self, events: u64) -> Result<(), Misuse> {
        let out = self.events_out();
        if events > out {
            return Err(Misuse::ConsumedTooMany {
                out,
                consumed: events,
            });
        }
        let mut left = events;
        while left > 0
            && let Some(EventOut { level, slot }) = self.events_out.front_mut()
        {
            let items = level.items.min(left);
            left -= items;
            level.items -= items;
            let (bytes, slot) = match level.items {
                0 => (level.bytes, *slot),
                _ => (0, None),
            };
            self.flow.consumer.sub(items, bytes);
            self.flow.copied -= copied(bytes, slot);
            if let Some(slot) = slot {
                self.inbox.release(slot, &mut self.flow.inbound);
            }
            if level.items == 0 {
                self.events_out.pop_front();
            }
        }
        if self.events_out.is_empty() {
            self.events_out.shrink_to(ROOM_KEPT);
        }
        self.note_starvation();
        if events > 0 {
            self.active();
        }
        Ok(())
    }

    pub(super) fn committed(&mut self, id: CommitId) -> Result<(), Misuse> {
        if self.is_late(id.epoch) {
            return Ok(());
        }
        let unknown = Misuse::UnknownCommit(id);
        if id.epoch != self.epoch {
            return Err(unknown);
        }
        let before = self.ledger.commits_out();
        let persisted = self
            .ledger
            .committed(id.number)
            .map_err(|NeverHandedOut| unknown)?;
        if self.ledger.commits_out() == before {
            self.stats.late_acknowledgements += 1;
            return Ok(());
        }
        self.flow.commits.sub(1, 0);
        self.stats.commits += 1;
        self.active();
        self.copy_progress();
        if let Some(persisted) = persisted {
            self.confirm_soon(persisted.0.announced);
        }
        Ok(())
    }

    /// Confirms a sequence that is durable, after a moment in which others may join it.
    pub(super) fn confirm_soon(&mut self, sequence: Sequence) {
        if sequence > self.confirmed {
            self.confirmed = sequence;
            self.confirm = Some(sequence);
            self.timers
                .start(Timer::Confirm, self.config.timeouts.confirm_delay);
        }
    }

    /// Confirms what is due.
    pub(super) fn confirm(&mut self) {
        if let Some(sequence) = self.confirm.take()
            && !self.is_gone()
        {
            self.stats.confirmations += 1;
            self.transmit(&Message::CommittedUpdate(sequence));
        }
    }

    pub(super) fn blob_written(&mut self, blob: BlobId, bytes: u64) -> Result<(), Misuse> {
        if self.is_late(blob.epoch) {
            return Ok(());
        }
        self.check_epoch(blob)?;
        let written = self
            .blobs
            .written(blob.number, bytes)
            .map_err(|error| misuse(blob, bytes, &error))?;
        match written {
            Some(released) => {
                let is_progress = released.items > 0 || released.bytes > 0;
                self.release(released);
                if is_progress {
                    self.active();
                }
            }
            None => self.stats.late_acknowledgements += 1,
        }
        Ok(())
    }

    pub(super) fn blob_saved(&mut self, blob: BlobId) -> Result<(), Misuse> {
        if self.is_late(blob.epoch) {
            return Ok(());
        }
        self.check_epoch(blob)?;
        let saved = self
            .blobs
            .saved(blob.number)
            .map_err(|error| misuse(blob, 0, &error))?;
        if let Some((settled, released)) = saved {
            self.release(released);
            self.stats.blobs_saved += 1;
            for number in settled {
                self.ledger.blob_settled(number);
            }
            self.copy_progress();
            self.active();
        } else {
            self.stats.late_acknowledgements += 1;
        }
        Ok(())
    }

    pub(super) fn blob_failed(&mut self, blob: BlobId, why: String) -> Result<(), Misuse> {
        if self.is_late(blob.epoch) {
            return Ok(());
        }
        self.check_epoch(blob)?;
        if self.blobs.is_aborted(blob.number) {
            // It failed before the store could hear that nobody needs it.
            return self.blob_aborted(blob);
        }
        let failed = self
            .blobs
            .failed(
                blob.number,
                BlobFault::Local {
                    why: text::cut(why, TEXT_MAX),
                },
            )
            .map_err(|error| misuse(blob, 0, &error))?;
        match failed {
            Some(failure) => {
                self.blob_has_failed(failure);
                self.active();
            }
            None => self.stats.late_acknowledgements += 1,
        }
        Ok(())
    }

    pub(super) fn blob_aborted(&mut self, blob: BlobId) -> Result<(), Misuse> {
        if self.is_late(blob.epoch) {
            return Ok(());
        }
        self.check_epoch(blob)?;
        let aborted = self
            .blobs
            .aborted(blob.number)
            .map_err(|error| misuse(blob, 0, &error))?;
        match aborted {
            Some(released) => {
                self.release(released);
                self.active();
            }
            None => self.stats.late_acknowledgements += 1,
        }
        Ok(())
    }

    fn check_epoch(&self, blob: BlobId) -> Result<(), Misuse> {
        if blob.epoch == self.epoch {
            Ok(())
        } else {
            Err(Misuse::UnknownBlob(blob))
        }
    }

    /// An acknowledgement for an earlier link is normal: it is counted, and nothing else.
    fn is_late(&mut self, epoch: Epoch) -> bool {
        let is_late = epoch < self.epoch;
        self.stats.late_acknowledgements += u64::from(is_late);
        is_late
    }

    pub(super) fn set_unready(&mut self, is_unready: bool) {
        self.is_unready = is_unready;
        self.watch_readiness();
    }

    /// Before the link is set up nothing is for the application, and the handshake must not wait for it.
    pub(super) fn watch_readiness(&mut self) {
        self.flow.not_ready = self.is_unready && self.session.is_following();
        if self.flow.not_ready {
            self.timers
                .start(Timer::NotReady, self.config.timeouts.not_ready);
        } else {
            self.timers.clear(Timer::NotReady);
        }
    }
}

const fn misuse(blob: BlobId, written: u64, error: &AckError) -> Misuse {
    match error {
        AckError::Unknown => Misuse::UnknownBlob(blob),
        AckError::TooMuch { out } => Misuse::WrittenTooMuch {
            blob,
            out: *out,
            written,
        },
        AckError::NotEnded => Misuse::SavedTooSoon(blob),
        AckError::NotAborted => Misuse::AbortedUnasked(blob),
    }
}
