//! The core alone: messages go in, and whatever comes out is acknowledged.

use std::time::Instant as Clock;

use replproto_core::wire::Message;
use replproto_core::{Command, Config, Epoch, Input, Instant, Receiver, Start};
use replproto_tokio::LinkConfig;

use super::Outcome;
use crate::Result;
use crate::events::{self, Reader};
use crate::frames::Frames;
use crate::link_setup::{DATABASE, END, RECEIVER, START, publisher_name, schema};
use crate::plan::Plan;

/// The time of every input: nothing is waited for.
const NOW: Instant = Instant::ZERO;

/// After so many events they are acknowledged. Less than what makes the core pause.
const ACKNOWLEDGED_AFTER: u64 = 64;

pub(super) fn feed(frames: &Frames, plan: Plan, reads_fields: bool) -> Result<Outcome> {
    let start = Clock::now();
    let mut host = Host::open(reads_fields)?;
    for message in frames.messages(plan) {
        host.feed(message)?;
    }
    host.feed(Message::SequenceUpdate(END).encode().into())?;
    if !host.is_done {
        return Err("the core did not come to the end".into());
    }
    Ok(Outcome::since(start).read(&host.reader))
}

/// The same bounds as those of a link.
fn config() -> Result<Config> {
    Ok(LinkConfig::new("ws://localhost".parse()?, RECEIVER, DATABASE).core)
}

struct Host {
    receiver: Receiver,
    reader: Reader,
    /// Events handed out and not acknowledged.
    events: u64,
    /// Nothing comes any more.
    is_done: bool,
}

impl Host {
    fn open(reads_fields: bool) -> Result<Self> {
        let receiver = Receiver::new(config()?, Start::At(START), Epoch(1), NOW)?;
        let mut host = Self {
            receiver,
            reader: Reader::new(reads_fields),
            events: 0,
            is_done: false,
        };
        host.receiver.handle(NOW, Input::Connected)?;
        host.drain()?;
        host.feed(publisher_name().encode().into())?;
        host.feed(schema(Some(1)).encode().into())?;
        Ok(host)
    }

    fn feed(&mut self, bytes: bytes::Bytes) -> Result<()> {
        self.receiver
            .handle(NOW, Input::Message { bytes, last: true })?;
        self.drain()
    }

    fn drain(&mut self) -> Result<()> {
        loop {
            while let Some(command) = self.receiver.poll_command() {
                self.carry_out(command)?;
            }
            self.acknowledge_events()?;
            if self.receiver.poll_timeout() != Some(NOW) {
                return Ok(());
            }
        }
    }

    #[inline]
    fn carry_out(&mut self, command: Command) -> Result<()> {
        match command {
            Command::Event(event) => {
                self.reader.event(&event)?;
                let commit = events::commit_id(&event);
                self.is_done |= events::is_last(&event);
                self.events += event.count();
                drop(event);
                if self.events >= ACKNOWLEDGED_AFTER {
                    self.acknowledge_events()?;
                }
                if let Some(id) = commit {
                    self.receiver.handle(NOW, Input::Committed(id))?;
                }
            }
            Command::BlobChunk { blob, bytes, last } => {
                let bytes = bytes.len() as u64;
                self.receiver
                    .handle(NOW, Input::BlobWritten { blob, bytes })?;
                if last {
                    self.receiver.handle(NOW, Input::BlobSaved(blob))?;
                }
            }
            Command::AbortBlob { blob, .. } => {
                self.receiver.handle(NOW, Input::BlobAborted(blob))?;
            }
            Command::Close(close) => return Err(close.reason.to_string().into()),
            _ => {}
        }
        Ok(())
    }

    fn acknowledge_events(&mut self) -> Result<()> {
        let events = std::mem::take(&mut self.events);
        if events > 0 {
            self.receiver.handle(NOW, Input::Consumed { events })?;
        }
        Ok(())
    }
}
