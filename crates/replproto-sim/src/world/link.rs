//! Links: how they are dialled, what they ask for, and how they end.

use std::time::Duration;

use replproto_core::{
    Backoff, CloseReason, Command, Epoch, Event as Handed, Input, LinkError, Receiver, Reconnect,
    Start, StoredCursor,
};

use super::{Event, World};
use crate::faults::Fault;
use crate::host::Host;
use crate::model::{Model, Trust};
use crate::network::{Network, Way};
use crate::oracles::{Result, Violation, hold};
use crate::peer::SETUP_BUDGET;
use crate::source::File;

/// How long the host waits before it looks again at what it cannot have now.
const AGAIN_MICROS: u64 = 5000;

impl World {
    pub(super) fn dial(&mut self) -> Result {
        if self.disk.is_busy() {
            // Commits that are under way are awaited before the cursor is read.
            self.after(AGAIN_MICROS, Event::Dial);
            return Ok(());
        }
        let Some(start) = self.start()? else {
            self.after(AGAIN_MICROS, Event::Dial);
            return Ok(());
        };
        let now = self.time();
        let Some(epoch) = self.reconnect.poll_dial(now) else {
            return Err(Violation::new("reconnect", "a dial that is not due"));
        };
        hold("reconnect", epoch > Epoch(self.epoch), || {
            format!("{epoch:?} again")
        })?;
        self.epoch = epoch.0;
        hold("canary", !self.options.canary || self.epoch < 2, || {
            "a link was dialled twice".into()
        })?;
        self.account.begin();
        self.checks.told = 0;
        let receiver = Receiver::new(self.config.clone(), start.clone(), epoch, now)
            .map_err(|error| Violation::new("config", error))?
            .with_blob_tries(self.tries.clone());
        if let Some(recorder) = &mut self.recorder {
            recorder.begin(epoch, &start, &self.config, now);
        }
        let mut model = Model::new(self.config.clone(), &start, Trust::Honest, now);
        if self.faults.has(Fault::Busy) {
            model.forgive_lateness();
        }
        if !self.drawn.is_old {
            model.grant_setup(SETUP_BUDGET);
        }
        self.host = Some(Host::new(self.epoch, receiver, model, &start));
        let manner = self.drawn.manner(self.faults);
        self.peer
            .reconnected(manner, self.contents.clone(), &mut self.dice.peer);
        self.network = Network::default();
        let slowest = if self.faults.has(Fault::Lag) {
            5_000_000
        } else {
            20_000
        };
        let latency = self.dice.network.range(1, slowest);
        self.after(latency, Event::Connected(self.epoch));
        if !self.is_healing && self.dice.trouble.chance(50) {
            return self.befall();
        }
        Ok(())
    }

    /// Where the next link starts; `None`: that is not known now.
    fn start(&mut self) -> Result<Option<Start>> {
        let is_unreadable = self.dice.disk.chance(200) && self.faults.has(Fault::UnreadableCursor);
        let stored = match self.store.cursor() {
            _ if is_unreadable => {
                self.coverage.strike(Fault::UnreadableCursor);
                StoredCursor::Unreadable { why: "EIO".into() }
            }
            Some(cursor) => StoredCursor::Found(cursor.clone()),
            None => StoredCursor::Absent,
        };
        match Start::choose(stored, self.first_start.clone()) {
            Ok(start) if !is_unreadable => Ok(Some(start)),
            Ok(start) => Err(Violation::new(
                "cursor",
                format!("{start:?} although the cursor cannot be read"),
            )),
            Err(_) if is_unreadable => Ok(None),
            Err(error) => Err(Violation::new("cursor", error)),
        }
    }

    pub(super) fn connected(&mut self) -> Result {
        self.input(Input::Connected)?;
        if let Some(host) = &mut self.host {
            host.is_connected = true;
        }
        if !self.is_healing && self.dice.trouble.chance(50) {
            return self.befall();
        }
        Ok(())
    }

    pub(super) fn deliver(&mut self) -> Result {
        self.is_delivering = false;
        let Some(host) = &self.host else {
            return Ok(());
        };
        if !self.can_read(host) {
            return Ok(());
        }
        let is_paused = host.receiver.is_paused();
        let is_taken = !host.receiver.is_ending() && !host.receiver.is_closing();
        let Some(part) = self.network.deliver(is_taken) else {
            return Ok(());
        };
        if is_paused {
            self.coverage.strike(Fault::Overrun);
        }
        if !part.last {
            self.coverage.strike(Fault::Split);
        }
        self.trace.bytes(&part.bytes);
        self.input(Input::Message {
            bytes: part.bytes,
            last: part.last,
        })
    }

    /// Does what the receiver says.
    pub(super) fn obey(&mut self, command: Command) -> Result {
        self.trace_command(&command);
        match command {
            Command::Transmit(bytes) => {
                self.check_confirmation(&bytes)?;
                let latency = self.dice.network.range(1, 5000);
                self.after(latency, Event::ToPeer(self.epoch, bytes));
            }
            Command::Ping => {
                let latency = self.dice.network.range(1, 5000);
                self.after(latency, Event::Pong(self.epoch));
            }
            Command::Event(event) => return self.queue(event),
            Command::OpenBlob { blob, file, .. } => self.open_blob(blob, &file),
            Command::BlobChunk { blob, bytes, last } => self.blob_chunk(blob, &bytes, last),
            Command::AbortBlob { blob, why } => {
                self.note_abort(blob, why);
                self.abort_blob(blob);
            }
            Command::Pause(_) if self.faults.has(Fault::NotReady) => {
                // Most of all while there are several other reasons.
                let reasons = self
                    .host
                    .as_ref()
                    .map_or(0, |host| host.receiver.pause_reasons().iter().count());
                if self.dice.trouble.chance([0, 3, 30, 500, 500, 500][reasons]) {
                    return self.unready();
                }
            }
            Command::Close(close) => {
                self.check_finished(&close.reason)?;
                return self.closed();
            }
            _ => {}
        }
        Ok(())
    }

    /// What came whole is handed out before the close, unless the error lies in it.
    fn check_finished(&self, reason: &CloseReason) -> Result {
        let is_read = match reason {
            CloseReason::Error(error) => matches!(error, LinkError::TimedOut { .. }),
            _ => true,
        };
        let host = self
            .host
            .as_ref()
            .filter(|host| is_read && !host.is_tainted);
        let Some(host) = host.filter(|host| !host.model.may_give_up()) else {
            return Ok(());
        };
        let (handed_out, came) = (host.handed_out, self.network.delivered.expected);
        hold("durability", handed_out >= came, || {
            format!("{handed_out} of {came} handed out before the close")
        })
    }

    fn trace_command(&mut self, command: &Command) {
        let trace = &mut self.trace;
        match command {
            Command::Transmit(bytes) => trace.bytes(bytes),
            Command::Event(Handed::Records(records)) => {
                for record in records {
                    trace.number(record.version().0.to_bits());
                    trace.bytes(record.key_bytes());
                }
                return;
            }
            Command::Event(Handed::EndTransaction(end)) => {
                let cursor = end.cursor.as_ref();
                trace.number(end.id.number);
                trace.number(cursor.map_or(0, |cursor| cursor.sequence.0.to_bits()));
            }
            Command::Event(Handed::Checkpoint(end) | Handed::CopyCompleted(end)) => {
                trace.number(end.id.number);
                trace.bytes(&end.cursor.to_bytes());
            }
            Command::Event(Handed::BlobHeld(failure)) => trace.bytes(failure.file.as_bytes()),
            Command::Event(Handed::BlobGone(failure)) => {
                trace.number(1);
                trace.bytes(failure.file.as_bytes());
            }
            Command::Event(Handed::Table(_)) => return trace.number(2),
            Command::Event(_) => trace.number(3),
            Command::BlobChunk { blob, bytes, last } => {
                trace.number(blob.number);
                trace.bytes(bytes);
                trace.note(format_args!(
                    "chunk of {blob}, {} bytes, last: {last}",
                    bytes.len()
                ));
                return;
            }
            Command::Pause(reason) => trace.number(16 + reason.index() as u64),
            Command::Resume(reason) => trace.number(32 + reason.index() as u64),
            Command::OpenBlob { blob, .. } => trace.number(64 + blob.number),
            Command::AbortBlob { blob, .. } => trace.number((1 << 32) + blob.number),
            Command::Close(close) => trace.bytes(close.reason.to_string().as_bytes()),
            _ => trace.number(4),
        }
        trace.note(format_args!("{command:?}"));
    }

    fn queue(&mut self, event: Handed) -> Result {
        match &event {
            Handed::BlobHeld(failure) => self.check_failure(failure, false)?,
            Handed::BlobGone(failure) => {
                self.check_failure(failure, true)?;
                self.checks.gone.extend(File::read(&failure.file));
                if !failure.fault.is_permanent() {
                    self.checks.given_up.extend(File::read(&failure.file));
                }
                self.open_gate();
            }
            Handed::CopyStarted(_) => {
                self.checks.copied = self.source.head();
                // The publisher may hang as soon as it begins to read.
                if self.dice.trouble.chance(50) && self.faults.has(Fault::HalfOpen) {
                    self.coverage.strike(Fault::HalfOpen);
                    self.network.way = Way::Dead;
                }
            }
            _ => {}
        }
        match &mut self.host {
            Some(host) => {
                self.account.hear(&event)?;
                // It is kept as it is until it is consumed, as any application does.
                host.queue(event.clone(), &mut self.peer.expected)?;
                host.held.push_back((event.count(), event));
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn closed(&mut self) -> Result {
        let Some(host) = self.host.take() else {
            return Ok(());
        };
        self.disk.forget_gated();
        self.memory.leave();
        self.note_untold(host.receiver.stats());
        self.tries = host.receiver.blob_tries().clone();
        self.coverage.link(host.receiver.stats());
        self.retired = Some(host.receiver);
        let now = self.time();
        let epoch = Epoch(self.epoch);
        let set_up_at = self.set_up_at.take();
        let set_up_for = set_up_at.map_or(Duration::ZERO, |at| now.since(at));
        if std::mem::take(&mut self.is_superseded) {
            self.reconnect.unsubscribe();
            let delay = self.reconnect.ended(now, epoch, set_up_for);
            hold(
                "reconnect",
                delay.is_none() && self.reconnect.is_over(),
                || "a link that is not wanted comes again".into(),
            )?;
            self.reconnect_after(0);
        } else {
            let delay = self.reconnect.ended(now, epoch, set_up_for);
            let again = self.reconnect.ended(now, epoch, set_up_for);
            hold("reconnect", delay.is_some() && again.is_none(), || {
                format!("{delay:?} and {again:?} after the end of a link")
            })?;
            if let Some(at) = self.reconnect.deadline() {
                self.after(at.since(now).as_micros() as u64, Event::Dial);
            }
        }
        self.bother_retired()
    }

    /// Another link takes the place of the one before, after so long.
    pub(super) fn reconnect_after(&mut self, micros: u64) {
        let at = self.time().after(Duration::from_micros(micros));
        self.reconnect = Reconnect::new(Backoff::default(), Epoch(self.epoch), at);
        self.after(micros, Event::Dial);
    }
}
