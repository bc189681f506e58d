//! The rules that hold at every step, and a shadow of what the receiver counts.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use replproto_core::wire::Message;
use replproto_core::{
    BlobId, Close, CloseReason, Command, CommitId, Config, Event, Input, LinkError, PauseReason,
    Receiver, WallTime,
};

/// A rule that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which rule.
    pub oracle: &'static str,
    /// How it is broken.
    pub what: String,
}

impl Violation {
    /// A broken rule.
    pub fn new(oracle: &'static str, what: impl fmt::Display) -> Self {
        Self {
            oracle,
            what: what.to_string(),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.oracle, self.what)
    }
}

pub(crate) type Result<T = ()> = std::result::Result<T, Violation>;

/// Fails with this rule unless it holds.
pub(crate) fn hold(oracle: &'static str, holds: bool, what: impl FnOnce() -> String) -> Result {
    if holds {
        Ok(())
    } else {
        Err(Violation::new(oracle, what()))
    }
}

/// Whether the peer is taken to keep the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// It does: a link that ends for its fault is our mistake.
    Honest,
    /// It may send anything.
    Unknown,
}

/// One link as its host sees it: what it was told and what it has done.
#[derive(Debug)]
pub(crate) struct Shadow {
    config: Config,
    trust: Trust,
    announced: BTreeSet<PauseReason>,
    events_out: u64,
    /// What is out and not durable, with the sequences of its cursors.
    commits_out: BTreeMap<CommitId, Option<f64>>,
    /// Transfers that have begun and not ended, with the bytes that are not written.
    blobs_out: BTreeMap<BlobId, u64>,
    blob_bytes_out: u64,
    opens: u64,
    saves: u64,
    failures: u64,
    aborts: u64,
    handed: f64,
    persisted: f64,
    /// The copy that has begun last on this link.
    copy: Option<WallTime>,
    confirmed: f64,
    largest_part: u64,
    message: u64,
    largest_message: u64,
    is_draining: bool,
    is_unready: bool,
    close: Option<Close>,
}

impl Shadow {
    /// A link from this durable sequence on.
    pub(crate) fn new(config: Config, start: f64, trust: Trust) -> Self {
        Self {
            config,
            trust,
            announced: BTreeSet::new(),
            events_out: 0,
            commits_out: BTreeMap::new(),
            blobs_out: BTreeMap::new(),
            blob_bytes_out: 0,
            opens: 0,
            saves: 0,
            failures: 0,
            aborts: 0,
            handed: start,
            persisted: start,
            copy: None,
            confirmed: 0.0,
            largest_part: 0,
            message: 0,
            largest_message: 0,
            is_draining: false,
            is_unready: false,
            close: None,
        }
    }

    pub(crate) const fn is_closed(&self) -> bool {
        self.close.is_some()
    }

    /// The receiver has taken an input.
    pub(crate) fn told(&mut self, input: &Input) {
        match input {
            Input::Message { bytes, last } => self.part(bytes.len() as u64, *last),
            Input::Consumed { events } => self.events_out = self.events_out.saturating_sub(*events),
            Input::Committed(id) => {
                if let Some(sequence) = self.commits_out.remove(id) {
                    self.persisted = sequence.unwrap_or_default().max(self.persisted);
                }
            }
            Input::BlobWritten { blob, bytes } => {
                if let Some(unwritten) = self.blobs_out.get_mut(blob) {
                    let written = (*bytes).min(*unwritten);
                    *unwritten -= written;
                    self.blob_bytes_out -= written;
                }
            }
            Input::BlobSaved(blob) => self.saves += self.end_blob(*blob),
            Input::BlobFailed { blob, .. } => self.failures += self.end_blob(*blob),
            Input::Ready => self.is_unready = false,
            Input::NotReady => self.is_unready = true,
            Input::Drain { .. } => self.is_draining = true,
            _ => {}
        }
    }

    /// A transfer is over: none of its bytes is out any more. Gives how many have ended by that.
    fn end_blob(&mut self, blob: BlobId) -> u64 {
        self.blobs_out.remove(&blob).map_or(0, |unwritten| {
            self.blob_bytes_out -= unwritten;
            1
        })
    }

    fn part(&mut self, bytes: u64, last: bool) {
        self.largest_part = self.largest_part.max(bytes);
        self.message += bytes + 128;
        self.largest_message = self.largest_message.max(self.message);
        if last {
            self.message = 0;
        }
    }

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
            Command::Event(event) => self.event(event),
            Command::OpenBlob { blob, .. } => {
                self.opens += 1;
                hold("blobs", self.blobs_out.insert(*blob, 0).is_none(), || {
                    format!("{blob} is opened twice")
                })
            }
            Command::BlobChunk { blob, bytes, .. } => {
                let Some(unwritten) = self.blobs_out.get_mut(blob) else {
                    return Err(Violation::new("blobs", format!("a chunk of {blob}")));
                };
                *unwritten += bytes.len() as u64;
                self.blob_bytes_out += bytes.len() as u64;
                Ok(())
            }
            Command::AbortBlob { blob, .. } => {
                let ended = self.end_blob(*blob);
                self.aborts += ended;
                hold("blobs", ended == 1, || {
                    format!("{blob} is aborted after its end")
                })
            }
            Command::Transmit(bytes) => self.transmit(bytes),
            Command::Close(close) => self.closed(close),
            _ => Ok(()),
        }
    }

    fn event(&mut self, event: &Event) -> Result {
        self.events_out += 1;
        let others = self
            .announced
            .iter()
            .find(|reason| **reason != PauseReason::InboundQueue);
        hold("pauses", others.is_none(), || {
            format!("an event while paused for {others:?}")
        })?;
        if let Event::CopyStarted(started) = event {
            self.copy = started.copy_start;
        }
        let (id, cursor) = match event {
            Event::EndTransaction(end) => (end.id, end.cursor.as_ref()),
            Event::Checkpoint(checkpoint) | Event::CopyCompleted(checkpoint) => {
                (checkpoint.id, Some(&checkpoint.cursor))
            }
            _ => return Ok(()),
        };
        self.commits_out
            .insert(id, cursor.map(|cursor| cursor.sequence.0));
        if let Some(cursor) = cursor {
            let copy = cursor.copy.as_ref().map(|copy| copy.copy_start);
            let is_stray = self.copy.is_some() && copy.is_some() && copy != self.copy;
            hold("copies", !is_stray, || {
                format!("a cursor of {copy:?} in {:?}", self.copy)
            })?;
            let (sequence, before) = (cursor.sequence.0, self.handed);
            hold("durability", sequence >= before, || {
                format!("the cursor goes from {before} to {sequence}")
            })?;
            self.handed = sequence;
        }
        Ok(())
    }

    fn transmit(&mut self, bytes: &[u8]) -> Result {
        if let Ok(Message::CommittedUpdate(sequence)) = Message::decode(bytes) {
            let (sequence, before, persisted) = (sequence.0, self.confirmed, self.persisted);
            hold("durability", sequence <= persisted, || {
                format!("{sequence} confirmed, {persisted} durable")
            })?;
            hold("durability", sequence > before, || {
                format!("{sequence} confirmed after {before}")
            })?;
            self.confirmed = sequence;
        }
        Ok(())
    }

    fn closed(&mut self, close: &Close) -> Result {
        hold("pauses", self.announced.is_empty(), || {
            format!("{:?} at the close", self.announced)
        })?;
        let ended = self.saves + self.failures + self.aborts;
        hold("blobs", self.opens == ended, || {
            format!("{} opened, {ended} ended", self.opens)
        })?;
        let blames_peer = match &close.reason {
            CloseReason::Error(LinkError::TimedOut { .. }) => false,
            CloseReason::Error(_) => self.trust == Trust::Honest,
            _ => false,
        };
        self.close = Some(close.clone());
        hold("blame", !blames_peer, || close.reason.to_string())
    }

    /// What holds after every command and every input.
    pub(crate) fn check(&self, receiver: &Receiver) -> Result {
        let timeout = receiver.poll_timeout();
        hold(
            "liveness",
            timeout.is_some() != receiver.is_closed(),
            || format!("deadline {timeout:?}"),
        )?;
        if self.is_closed() {
            let left =
                receiver.retained_bytes() + receiver.events_out() + receiver.blob_bytes_out();
            return hold("bounds", left == 0, || {
                format!("{left} left after the close")
            });
        }
        let flow = &self.config.flow;
        let events = receiver.events_out();
        hold("bounds", events == self.events_out, || {
            format!("{events} events out, not {}", self.events_out)
        })?;
        hold("bounds", events <= flow.consumer.high.items + 1, || {
            format!("{events} events out")
        })?;
        let (commits, counted) = (receiver.commits_out(), self.commits_out.len() as u64);
        hold("bounds", commits == counted, || {
            format!("{commits} commits out, not {counted}")
        })?;
        hold("bounds", commits <= flow.commits.high.items + 1, || {
            format!("{commits} commits out")
        })?;
        let blobs = receiver.blob_bytes_out();
        let most = flow.blobs.high.bytes + self.largest_part + 512;
        hold("bounds", blobs <= most, || {
            format!("{blobs} bytes of blobs out")
        })?;
        // An item that spans parts is joined while the part in which it ends is still held.
        let most = flow.inbound.high.bytes + 2 * self.largest_message + 256;
        let retained = receiver.retained_bytes();
        hold("bounds", retained <= most, || {
            format!("{retained} bytes retained")
        })
    }

    /// What holds when the receiver has nothing more to do.
    pub(crate) fn check_at_rest(&self, receiver: &Receiver) -> Result {
        if self.is_closed() {
            return Ok(());
        }
        let is_paused = receiver.is_paused();
        let is_announced = !self.announced.is_empty() || self.is_draining;
        hold("pauses", is_paused == is_announced, || {
            format!("paused {is_paused}, announced {is_announced}")
        })?;
        let (blobs, least) = (receiver.blob_bytes_out(), self.blob_bytes_out);
        hold("bounds", blobs >= least, || {
            format!("{blobs} bytes of blobs out, not {least}")
        })?;
        let has_releaser = self.events_out + receiver.blob_bytes_out() > 0
            || !self.commits_out.is_empty()
            || !self.blobs_out.is_empty()
            || self.is_unready
            || self.is_draining;
        hold("liveness", !is_paused || has_releaser, || {
            format!("nothing lifts {:?}", self.announced)
        })
    }
}
