//! Looking into a file of messages: what the core makes of each, without a network.
//!
//! The messages are those that one publisher sent on one link, in order, each after its length (32 bits, little-endian).
//! The conversation at the start of a link may be there or not. Nothing is waited for: time stands still, and whatever
//! the core hands out is acknowledged at once.

mod command;
mod frames;
mod json;
mod stats;
mod text;

use std::io::{self, Read};

use replproto_core::config::Limits;
use replproto_core::wire::Message;
use replproto_core::{
    Close, CloseReason, Command, Config, Epoch, Event, Input, Instant, LinkError, Misuse, Receiver,
    Sequence, Start, Stats,
};
use thiserror::Error;

pub(crate) use command::{InspectArgs, run};
use frames::{Frames, Place};
pub use json::{JsonLines, JsonLinesError};

/// The time of every input.
const NOW: Instant = Instant::ZERO;

/// Events that are acknowledged together. Less than what makes the core pause.
const ACKNOWLEDGED_TOGETHER: u64 = 64;

/// Why a file could not be read to its end.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum InspectError {
    /// The file cannot be read.
    #[error("the file cannot be read: {0}")]
    Read(#[from] io::Error),
    /// The file ends too soon.
    #[error("message {message}, at byte {offset} of the file: the file ends inside {what}")]
    Truncated {
        /// Which message, from 0.
        message: u64,
        /// Where its length stands in the file, in bytes.
        offset: u64,
        /// What is cut off.
        what: &'static str,
    },
    /// A message is longer than the core accepts.
    #[error(
        "message {message}, at byte {offset} of the file: {length} bytes are more than the {limit} of the largest message"
    )]
    TooLong {
        /// Which message, from 0.
        message: u64,
        /// Where its length stands in the file, in bytes.
        offset: u64,
        /// The length, in bytes.
        length: u64,
        /// The limit, in bytes.
        limit: u64,
    },
    /// A message at which the core ends the link.
    #[error("message {message}, at byte {offset} of the file: {error}")]
    Link {
        /// Which message, from 0.
        message: u64,
        /// Where its length stands in the file, in bytes.
        offset: u64,
        /// What is wrong.
        error: LinkError,
    },
    /// The core refused an input, which is a mistake of this program.
    #[error("the core refused an input: {0}")]
    Misuse(#[from] Misuse),
}

impl InspectError {
    const fn truncated(place: Place, what: &'static str) -> Self {
        Self::Truncated {
            message: place.message,
            offset: place.offset,
            what,
        }
    }
}

/// Who looks at the commands of a file.
pub trait Visitor {
    /// Why it does not want to go on.
    type Error: From<InspectError>;

    /// Takes the next command. Gives how many records of it could not be decoded: 0 or 1.
    ///
    /// # Errors
    /// Ends the inspection.
    fn command(&mut self, command: &Command) -> Result<u64, Self::Error>;
}

/// Feeds every message of a file to a link and shows each command that comes out of it. Gives the link's counters.
///
/// What a link says at its opening, before the first message, is not shown. A DISCONNECT ends the link and the
/// inspection with it.
///
/// # Errors
/// [`InspectError`], after everything before it has been shown; or what the visitor returns.
pub fn inspect<V: Visitor>(file: impl Read, visitor: &mut V) -> Result<Stats, V::Error> {
    let mut frames = Frames::new(file, Limits::default().message);
    let Some(mut frame) = frames.next()? else {
        return Ok(Stats::default());
    };
    let mut link = Link::open(database(&frame.bytes))?;
    loop {
        link.make_up_for(&frame.bytes);
        let end = link.feed(frame.bytes, visitor)?;
        match end.map(|close| close.reason) {
            None => {}
            Some(CloseReason::Error(error)) => {
                return Err(V::Error::from(InspectError::Link {
                    message: frame.place.message,
                    offset: frame.place.offset,
                    error,
                }));
            }
            Some(_) => break,
        }
        match frames.next()? {
            Some(next) => frame = next,
            None => break,
        }
    }
    Ok(*link.receiver.stats())
}

/// The database that the file is about, if it begins with the publisher's name or the definition of a database: a link to
/// another one would end there.
fn database(first: &[u8]) -> String {
    let database = match Message::decode(first) {
        Ok(Message::NodeName(node)) => node.database,
        Ok(Message::Schema { database, .. }) => database,
        _ => String::new(),
    };
    if database.is_empty() {
        "data".to_owned()
    } else {
        database
    }
}

struct Link {
    receiver: Receiver,
    /// Events handed out and not acknowledged.
    events: u64,
}

impl Link {
    fn open(database: String) -> Result<Self, InspectError> {
        // What the publisher was asked for is not in the file. The whole log is the request that assumes the least: a
        // link that asks for a copy takes the first rows of an old peer for one.
        let start = Start::At(Sequence(1.0));
        let config = Config::new("replproto-inspect", database);
        let receiver = Receiver::new(config, start, Epoch(1), NOW);
        let mut link = Self {
            receiver: receiver.expect("only names differ from the defaults, and none is empty"),
            events: 0,
        };
        link.receiver.handle(NOW, Input::Connected)?;
        while link.receiver.poll_command().is_some() {}
        Ok(link)
    }

    /// A file may begin in the middle of a conversation: what a link waits for before it takes such a message is taken as said.
    fn make_up_for(&mut self, message: &[u8]) {
        if self.receiver.is_set_up() {
            return;
        }
        match Message::decode(message) {
            Ok(Message::NodeName(_) | Message::Disconnect) => {}
            Ok(Message::Schema { .. }) if self.receiver.peer().is_some() => {}
            _ => self.receiver.assume_set_up("unknown"),
        }
    }

    /// Gives the close if the link ended.
    fn feed<V: Visitor>(
        &mut self,
        bytes: bytes::Bytes,
        visitor: &mut V,
    ) -> Result<Option<Close>, V::Error> {
        self.handle(Input::Message { bytes, last: true })?;
        loop {
            let Some(command) = self.receiver.poll_command() else {
                self.acknowledge_events()?;
                if self.receiver.poll_timeout() == Some(NOW) {
                    continue;
                }
                return Ok(None);
            };
            let skipped = visitor.command(&command)?;
            if skipped > 0 {
                self.handle(Input::Skipped { records: skipped })?;
            }
            if let Command::Close(close) = command {
                return Ok(Some(*close));
            }
            self.acknowledge(command)?;
        }
    }

    fn acknowledge(&mut self, command: Command) -> Result<(), InspectError> {
        match command {
            Command::Event(event) => {
                let commit = match &event {
                    Event::EndTransaction(end) => Some(end.id),
                    Event::Checkpoint(checkpoint) | Event::CopyCompleted(checkpoint) => {
                        Some(checkpoint.id)
                    }
                    _ => None,
                };
                self.events += event.count();
                drop(event);
                if self.events >= ACKNOWLEDGED_TOGETHER {
                    self.acknowledge_events()?;
                }
                if let Some(id) = commit {
                    self.handle(Input::Committed(id))?;
                }
            }
            Command::BlobChunk { blob, bytes, last } => {
                let bytes = bytes.len() as u64;
                self.handle(Input::BlobWritten { blob, bytes })?;
                if last {
                    self.handle(Input::BlobSaved(blob))?;
                }
            }
            Command::AbortBlob { blob, .. } => self.handle(Input::BlobAborted(blob))?,
            _ => {}
        }
        Ok(())
    }

    fn acknowledge_events(&mut self) -> Result<(), InspectError> {
        let events = std::mem::take(&mut self.events);
        if events > 0 {
            self.handle(Input::Consumed { events })?;
        }
        Ok(())
    }

    fn handle(&mut self, input: Input) -> Result<(), InspectError> {
        Ok(self.receiver.handle(NOW, input)?)
    }
}
