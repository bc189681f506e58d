//! Links: how they are dialled, what they ask for, and what befalls them.

use std::time::Duration;

use replproto_core::{
    BlobTries, Command, Epoch, Event as Handed, Input, Instant, Receiver, Start, StoredCursor,
};

use super::{Event, World};
use crate::faults::Fault;
use crate::host::{Blob, Host};
use crate::network::Network;
use crate::oracles::{Result, Shadow, Trust, Violation, hold};
use crate::peer::{Manner, Peer};

impl World {
    pub(super) fn dial(&mut self) -> Result {
        if !self.jobs.is_empty() {
            // Commits that are under way are awaited before the cursor is read.
            self.after(5000, Event::Dial);
            return Ok(());
        }
        self.epoch += 1;
        hold("canary", !self.options.canary || self.epoch < 2, || {
            "a link was dialled twice".into()
        })?;
        let stored = match self.store.cursor() {
            Some(cursor) => StoredCursor::Found(cursor.clone()),
            None => StoredCursor::Absent,
        };
        let start = Start::choose(stored, self.first_start.clone())
            .map_err(|error| Violation::new("cursor", error))?;
        let now = Instant::from_micros(self.now);
        let receiver = Receiver::new(self.config.clone(), start, Epoch(self.epoch), now)
            .map_err(|error| Violation::new("config", error))?
            .with_blob_tries(self.tries.clone());
        let shadow = Shadow::new(self.config.clone(), self.store.sequence(), Trust::Honest);
        self.host = Some(Host::new(self.epoch, receiver, shadow));
        self.peer = Peer::new(Manner {
            is_old: self.is_old,
            failing_reads: self.faults.has(Fault::FailingReads),
            recopies: self.faults.has(Fault::Recopy),
            blob_bytes: self.options.blob_bytes,
        });
        self.network = Network::default();
        self.input(Input::Connected)
    }

    pub(super) fn deliver(&mut self) -> Result {
        self.is_delivering = false;
        let Some(host) = &mut self.host else {
            return Ok(());
        };
        if host.receiver.is_paused() {
            return Ok(());
        }
        let Some(part) = self.network.deliver() else {
            return Ok(());
        };
        self.input(Input::Message {
            bytes: part.bytes,
            last: part.last,
        })
    }

    pub(super) fn obey(&mut self, command: Command) -> Result {
        match &command {
            Command::BlobChunk { blob, bytes, last } => {
                self.trace.note(format_args!(
                    "chunk of {blob}, {} bytes, last: {last}",
                    bytes.len()
                ));
            }
            Command::Event(Handed::Record(_) | Handed::Table(_)) | Command::Transmit(_) => {}
            other => self.trace.note(format_args!("{other:?}")),
        }
        match command {
            Command::Transmit(bytes) => {
                let latency = self.rng.range(1, 5000);
                self.after(latency, Event::ToPeer(self.epoch, bytes));
            }
            Command::Ping => {
                let latency = self.rng.range(1, 5000);
                self.after(latency, Event::Pong(self.epoch));
            }
            Command::Event(event) => return self.queue(event),
            Command::OpenBlob { blob, file, .. } => {
                let is_failing = self.faults.has(Fault::FailingSaves) && self.rng.below(7) == 0;
                let blob_of = Blob {
                    file: file.to_string(),
                    content: Vec::new(),
                    is_failing,
                };
                if let Some(host) = &mut self.host {
                    host.blobs.insert(blob, blob_of);
                }
            }
            Command::BlobChunk { blob, bytes, last } => self.blob_chunk(blob, &bytes, last),
            Command::AbortBlob { blob, .. } => {
                if let Some(host) = &mut self.host {
                    host.blobs.remove(&blob);
                }
            }
            Command::Close(_) => self.closed(),
            _ => {}
        }
        Ok(())
    }

    pub(super) fn queue(&mut self, event: Handed) -> Result {
        match &event {
            Handed::BlobHeld(failure) => self.check_failure(failure, false)?,
            Handed::BlobGone(failure) => {
                self.gone.push(failure.file.to_string());
                self.check_failure(failure, true)?;
            }
            Handed::CopyStarted(_) => self.has_copied = true,
            _ => {}
        }
        match &mut self.host {
            Some(host) => host.queue(event, &mut self.peer.expected),
            None => Ok(()),
        }
    }

    pub(super) fn closed(&mut self) {
        let Some(host) = self.host.take() else {
            return;
        };
        self.tries = host.receiver.blob_tries().clone();
        let delay = self.backoff.next_delay();
        self.after(delay.as_micros() as u64, Event::Dial);
    }

    pub(super) fn trouble(&mut self) -> Result {
        if self.is_healing {
            return Ok(());
        }
        let pause = self.rng.range(5000, 3_000_000);
        self.after(pause, Event::Trouble);
        match self.rng.below(6) {
            0 if self.faults.has(Fault::Cut) => {
                self.trace.note(format_args!("cut"));
                self.input(Input::TransportLost)
            }
            1 if self.faults.has(Fault::Crash) => {
                self.trace.note(format_args!("crash"));
                self.crash();
                Ok(())
            }
            2 if self.faults.has(Fault::Stall) => {
                self.stalled_until = self.now + self.rng.range(1000, 100_000_000);
                Ok(())
            }
            3 if self.faults.has(Fault::NotReady) => {
                let until_ready = self.rng.range(1000, 70_000_000);
                self.after(until_ready, Event::Ready);
                self.input(Input::NotReady)
            }
            4 if self.faults.has(Fault::Purge) => {
                let end = self.source.log.len() as u64;
                let from = self.rng.range(self.source.kept_from as u64, end);
                self.source.kept_from = from as usize;
                Ok(())
            }
            5 if self.faults.has(Fault::Drain) => {
                let deadline = Instant::from_micros(self.now).after(Duration::from_secs(5));
                self.input(Input::Drain { deadline })
            }
            _ => Ok(()),
        }
    }

    /// The process dies: only the store is left.
    pub(super) fn crash(&mut self) {
        self.jobs.clear();
        self.durable_after = 0;
        self.last_durable = 0;
        self.tries = BlobTries::default();
        if self.host.take().is_some() {
            let delay = self.rng.range(1000, 2_000_000);
            self.after(delay, Event::Dial);
        }
    }
}
