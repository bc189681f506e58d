//! Links: how they are dialled, what they ask for, and what befalls them.

use std::time::Duration;

use replproto_core::{
    BlobTries, Command, Epoch, Event as Handed, Input, Instant, Receiver, Start, StoredCursor,
};

use super::{Event, World};
use crate::faults::Fault;
use crate::host::{Blob, Host};
use crate::network::{Network, Way};
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
            is_strange: self.faults.has(Fault::Strange),
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
        if !part.last {
            self.coverage.strike(Fault::Split);
        }
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
                if is_failing {
                    self.coverage.strike(Fault::FailingSaves);
                }
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
            Command::Pause(_) if self.faults.has(Fault::NotReady) => {
                // Most of all while there are several other reasons.
                let reasons = self
                    .host
                    .as_ref()
                    .map_or(0, |host| host.receiver.pause_reasons().iter().count());
                if self.rng.chance([0, 3, 30, 500, 500, 500][reasons]) {
                    return self.unready();
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
        self.coverage.link(host.receiver.stats());
        let delay = self.backoff.next_delay().as_micros() as u64;
        let is_superseded = std::mem::take(&mut self.is_superseded);
        self.after(if is_superseded { 0 } else { delay }, Event::Dial);
    }

    pub(super) fn trouble(&mut self) -> Result {
        if self.is_healing {
            return Ok(());
        }
        let pause = self.rng.range(5000, 3_000_000);
        self.after(pause, Event::Trouble);
        match self.rng.below(10) {
            0 if self.faults.has(Fault::Cut) => {
                self.coverage.strike(Fault::Cut);
                self.trace.note(format_args!("cut"));
                self.input(Input::TransportLost)
            }
            1 if self.faults.has(Fault::Crash) => {
                self.coverage.strike(Fault::Crash);
                self.trace.note(format_args!("crash"));
                self.crash();
                Ok(())
            }
            2 if self.faults.has(Fault::Stall) => {
                self.coverage.strike(Fault::Stall);
                self.stalled_until = self.now + self.rng.range(1000, 100_000_000);
                Ok(())
            }
            3 if self.faults.has(Fault::NotReady) => self.unready(),
            4 if self.faults.has(Fault::Purge) => {
                self.coverage.strike(Fault::Purge);
                let end = self.source.log.len() as u64;
                let from = self.rng.range(self.source.kept_from as u64, end);
                self.source.kept_from = from as usize;
                Ok(())
            }
            5 if self.faults.has(Fault::Drain) => {
                self.coverage.strike(Fault::Drain);
                let deadline = Instant::from_micros(self.now).after(Duration::from_secs(5));
                self.input(Input::Drain { deadline })
            }
            6 if self.faults.has(Fault::HalfOpen) => {
                self.coverage.strike(Fault::HalfOpen);
                self.trace.note(format_args!("half-open"));
                self.network.way = Way::Dead;
                Ok(())
            }
            7 if self.faults.has(Fault::UnreportedClose) => {
                self.coverage.strike(Fault::UnreportedClose);
                self.trace.note(format_args!("the publisher is gone"));
                self.network.way = self.network.way.max(Way::Ending);
                Ok(())
            }
            8 if self.faults.has(Fault::PeerClose) => {
                self.coverage.strike(Fault::PeerClose);
                let codes = [1000, 1001, 1005, 1006, 1008, 1009, 1011, 1012];
                let code = codes[self.rng.below(codes.len() as u64) as usize];
                self.trace.note(format_args!("closed with {code}"));
                let reason = String::from("bye");
                self.input(Input::PeerClosed { code, reason })
            }
            9 if self.faults.has(Fault::Supersede) => {
                self.coverage.strike(Fault::Supersede);
                self.is_superseded = self.host.is_some();
                self.input(Input::Shutdown)
            }
            _ => Ok(()),
        }
    }

    fn unready(&mut self) -> Result {
        self.coverage.strike(Fault::NotReady);
        let until_ready = self.rng.range(1000, 70_000_000);
        self.after(until_ready, Event::Ready);
        self.input(Input::NotReady)
    }

    /// The process dies: only the store is left.
    pub(super) fn crash(&mut self) {
        self.jobs.clear();
        self.durable_after = 0;
        self.last_durable = 0;
        self.tries = BlobTries::default();
        if let Some(host) = self.host.take() {
            self.coverage.link(host.receiver.stats());
            let delay = self.rng.range(1000, 2_000_000);
            self.after(delay, Event::Dial);
        }
    }
}
