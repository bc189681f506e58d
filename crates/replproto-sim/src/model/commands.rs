//! What each command must be.

use std::time::Duration;

use replproto_core::event::BlobFault;
use replproto_core::wire::Message;
use replproto_core::{
    AbortReason, BlobId, Close, CloseReason, Command, Event, LinkError, PauseReason, Report, Work,
};

use super::{CHUNK_OVERHEAD, EVENT_OVERHEAD, EventOut, Model, Transfer, Trust};
use crate::oracles::{Result, Violation, hold};

/// Whether decoding goes on while reading is paused for this.
pub(crate) const fn is_lifted_by_decoding(reason: PauseReason) -> bool {
    matches!(
        reason,
        PauseReason::InboundQueue | PauseReason::SharedBudget
    )
}

impl Model {
    /// Looks at a command.
    pub(crate) fn observe(&mut self, command: &Command) -> Result {
        hold("silence after close", self.close.is_none(), || {
            format!("{command:?}")
        })?;
        match command {
            Command::Pause(reason) => hold("pauses", self.announced.insert(*reason), || {
                format!("{reason} twice")
            }),
            Command::Resume(reason) => hold("pauses", self.announced.remove(reason), || {
                format!("{reason} was not raised")
            }),
            Command::Event(event) => {
                self.has_schema |= matches!(event, Event::Schema(_));
                self.check_turn(command)?;
                self.event(event)
            }
            Command::OpenBlob { blob, .. } => {
                self.check_turn(command)?;
                self.opens += 1;
                let transfer = Transfer {
                    heard: self.watchdogs.link_now(),
                    ..Transfer::default()
                };
                let is_new = self.transfers.insert(*blob, transfer).is_none();
                hold("blobs", is_new, || format!("{blob} is opened twice"))
            }
            Command::BlobChunk { blob, bytes, last } => self.chunk(*blob, bytes, *last),
            Command::AbortBlob { blob, why } => {
                if *why == AbortReason::Idle {
                    self.check_idle(*blob)?;
                }
                self.abort(*blob, *why)
            }
            Command::Transmit(bytes) => {
                self.check_connected()?;
                self.transmit(bytes)
            }
            Command::Ping => {
                self.watchdogs.pinged();
                self.check_connected()
            }
            Command::Close(close) => self.closed(close),
            _ => Ok(()),
        }
    }

    fn check_connected(&self) -> Result {
        hold("protocol", self.watchdogs.is_connected(), || {
            "something is sent before the socket is open".into()
        })
    }

    /// Nothing is for the application before it is known whose data it is.
    fn check_turn(&self, command: &Command) -> Result {
        hold("order", self.has_schema, || {
            format!("{command:?} before the definition of our database")
        })
    }

    /// A transfer is to be thrown away. It stays charged until the store has answered.
    fn abort(&mut self, blob: BlobId, why: AbortReason) -> Result {
        let transfer = self.transfers.get_mut(&blob);
        let Some(transfer) = transfer.filter(|transfer| !transfer.is_aborted) else {
            let violation = format!("{blob} is aborted after its end");
            return Err(Violation::new("blobs", violation));
        };
        self.aborts += 1;
        transfer.is_aborted = true;
        self.has_cut_blob |= transfer.has_ended;
        if why == AbortReason::Close {
            // Nobody waits for an answer.
            self.cut_off += 1;
        } else if !std::mem::replace(&mut transfer.has_ended, true) {
            self.blobs.add(1, 0);
        }
        Ok(())
    }

    fn chunk(&mut self, blob: BlobId, bytes: &[u8], last: bool) -> Result {
        let Some(transfer) = self.transfers.get_mut(&blob) else {
            return Err(Violation::new("blobs", format!("a chunk of {blob}")));
        };
        hold("blobs", !transfer.has_ended, || {
            format!("a chunk of {blob} after its last")
        })?;
        transfer.has_ended = last;
        self.watchdogs.copy_frame();
        transfer.heard = self.watchdogs.link_now();
        let pin = self.pins.pin(bytes);
        transfer.chunks.push_back((bytes.len() as u64, pin));
        let items = 1 + u64::from(last);
        self.seen.blob_bytes += bytes.len() as u64;
        self.blobs.add(items, bytes.len() as u64 + CHUNK_OVERHEAD);
        Ok(())
    }

    fn event(&mut self, event: &Event) -> Result {
        let others = self
            .announced
            .iter()
            .find(|reason| !is_lifted_by_decoding(**reason));
        hold("pauses", others.is_none(), || {
            format!("an event while paused for {others:?}")
        })?;
        if let Event::Records(_) | Event::EndTransaction(_) | Event::CopyStarted(_) = event {
            self.watchdogs.copy_frame();
        }
        let (size, pin) = match event {
            Event::Records(records) => (records.size(), self.pins.pin(records.bytes())),
            Event::RecordSkipped(skipped) => (skipped.key.len(), None),
            Event::BlobHeld(failure) | Event::BlobGone(failure) => {
                let words = match &failure.fault {
                    BlobFault::Source { message, .. } => message,
                    BlobFault::Local { why } => why,
                    _ => "",
                };
                (failure.file.len() + words.len(), None)
            }
            Event::Schema(schema) => {
                let names = schema.tables.iter().map(|table| table.table.len());
                (names.sum(), None)
            }
            Event::Table(table) => (table.dictionary().heap_bytes(), None),
            _ => (0, None),
        };
        let (count, bytes) = (event.count(), event.cost());
        hold("bounds", bytes >= size as u64 + EVENT_OVERHEAD, || {
            format!("{size} bytes cost {bytes}")
        })?;
        self.events.push_back(EventOut { count, bytes, pin });
        self.seen.events += count;
        self.seen.skipped_undecodable += u64::from(matches!(event, Event::RecordSkipped(_)));
        if let Event::Records(records) = event {
            let read = records.iter().count() as u64;
            hold("order", read == count && count > 0, || {
                format!("{read} records in a run of {count}")
            })?;
            self.seen.records += count;
            self.progress.records(records);
        }
        self.seen.transactions += u64::from(matches!(event, Event::EndTransaction(_)));
        if let Event::RecordSkipped(skipped) = event {
            let version = skipped.version.map_or(f64::NAN, |version| version.0);
            self.progress.entry(false, version);
        }
        self.consumer.add(count, bytes);
        let (id, cursor) = match event {
            Event::EndTransaction(end) => (end.id, end.cursor.as_ref()),
            Event::Checkpoint(checkpoint) | Event::CopyCompleted(checkpoint) => {
                (checkpoint.id, Some(&checkpoint.cursor))
            }
            Event::CopyStarted(started) => {
                self.copy = started.copy_start;
                self.is_copy_over = false;
                self.progress.copy(true);
                // If one was at its end, it is not any more.
                self.watchdogs.rows_ended = None;
                return Ok(());
            }
            Event::BlobHeld(failure) | Event::BlobGone(failure) => {
                let is_new = failure.blob.is_none_or(|blob| self.failed.insert(blob));
                return hold("blobs", is_new, || format!("{event:?} again"));
            }
            _ => return Ok(()),
        };
        let positions = cursor.map(|cursor| [cursor.sequence.0, cursor.announced.0]);
        self.commits_out.insert(id, positions);
        self.commits.add(1, 0);
        self.seen.checkpoints += u64::from(!matches!(event, Event::EndTransaction(_)));
        if let Some(cursor) = cursor {
            let completes_copy = matches!(event, Event::CopyCompleted(_));
            self.is_copy_over |= completes_copy;
            self.progress.check(cursor, self.handed)?;
            if completes_copy {
                self.progress.copy(false);
            }
            let copy = cursor.copy.as_ref().map(|copy| copy.copy_start);
            let is_other = self.copy.is_some() && copy != self.copy;
            let is_stray = copy.is_some() && (is_other || self.is_copy_over);
            hold("copies", !is_stray, || {
                format!("a cursor of {copy:?} in {:?}", self.copy)
            })?;
            let (sequence, before) = (cursor.sequence.0, self.handed);
            hold("durability", sequence >= before, || {
                format!("the cursor goes from {before} to {sequence}")
            })?;
            self.handed = sequence;
        }
        if let Event::EndTransaction(_) = event {
            self.progress.end();
        }
        Ok(())
    }

    /// This transfer is given up because nothing of it came for too long. Paused time does not count.
    fn check_idle(&self, blob: BlobId) -> Result {
        let heard = self
            .transfers
            .get(&blob)
            .map_or(Duration::ZERO, |it| it.heard);
        let waited = self.watchdogs.link_now().saturating_sub(heard);
        hold("watchdogs", waited >= self.config.timeouts.blob, || {
            format!("{blob} is given up after {waited:?}")
        })
    }

    fn transmit(&mut self, bytes: &[u8]) -> Result {
        if let Ok(Message::CommittedUpdate(sequence)) = Message::decode(bytes) {
            let (sequence, before, durable) = (sequence.0, self.confirmed, self.sent);
            hold("durability", sequence <= durable, || {
                format!("{sequence} confirmed, {durable} was sent and is durable")
            })?;
            hold("durability", sequence > before, || {
                format!("{sequence} confirmed after {before}")
            })?;
            self.confirmed = sequence;
            if sequence >= durable {
                self.unconfirmed = None;
            }
            self.seen.confirmations += 1;
        }
        Ok(())
    }

    /// What is told of the work in hand is what is out.
    fn check_report(&self, report: &Report) -> Result {
        let abandoned = Work {
            events: self.consumer.now.items,
            commits: self.commits_out.len() as u64,
            blobs: self.cut_off,
        };
        hold("report", report.abandoned == abandoned, || {
            format!("{report:?}, and {abandoned:?} were out")
        })?;
        let done = self.work_done();
        let done = self
            .ending
            .before
            .map_or_else(Work::default, |before| Work {
                events: done.events - before.events,
                commits: done.commits - before.commits,
                blobs: done.blobs - before.blobs,
            });
        hold("report", report.done == done, || {
            format!("{report:?}, and {done:?} were done")
        })?;
        let cursor = report.cursor.as_ref().map(|cursor| cursor.sequence.0);
        hold(
            "report",
            cursor.is_none_or(|cursor| cursor == self.persisted),
            || format!("{report:?}, and {} is durable", self.persisted),
        )
    }

    fn closed(&mut self, close: &Close) -> Result {
        hold("pauses", self.announced.is_empty(), || {
            format!("{:?} at the close", self.announced)
        })?;
        let ended = self.saves + self.failures + self.aborts;
        hold("blobs", self.opens == ended, || {
            format!("{} opened, {ended} ended", self.opens)
        })?;
        let reason = close.frame.as_ref().map_or(0, |frame| frame.reason.len());
        hold("protocol", reason <= 123, || {
            format!("a close reason of {reason} bytes")
        })?;
        let is_asked = self.ending.is_shut_down || self.ending.is_asked;
        hold("finality", is_asked || !close.reason.is_final(), || {
            format!("nobody has asked for it: {}", close.reason)
        })?;
        self.check_report(&close.report)?;
        let Work {
            events, commits, ..
        } = close.report.abandoned;
        hold(
            "durability",
            events + commits == 0 || self.may_give_up(),
            || format!("given up too soon: {:?}", close.report),
        )?;
        let is_cut = close.reason == CloseReason::Drained && self.has_cut_blob;
        hold("blobs", !is_cut, || {
            "a blob that had come whole was drained away".into()
        })?;
        self.close = Some(close.clone());
        match &close.reason {
            CloseReason::Error(LinkError::TimedOut { watchdog, .. }) => {
                let watchdogs = self.ending.watchdogs.as_deref();
                watchdogs
                    .unwrap_or(&self.watchdogs)
                    .check_not_early(watchdog)
            }
            CloseReason::DrainTimedOut => self.watchdogs.check_drained_late(),
            CloseReason::Error(error) => {
                hold("blame", self.trust == Trust::Unknown, || error.to_string())
            }
            _ => Ok(()),
        }
    }
}
