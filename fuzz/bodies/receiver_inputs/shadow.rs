//! What a host knows of a link, kept apart from the receiver's own counts.

use std::collections::{BTreeMap, BTreeSet};

use replproto_core::wire::Message;
use replproto_core::{
    AbortReason, BlobId, CloseReason, Command, CommitId, Config, Cursor, Event, LinkError,
    PauseReason, Receiver, Start,
};

/// One link as its host sees it.
pub(super) struct Shadow {
    config: Config,
    pub(super) events_out: u64,
    /// Handed out and not answered, with the sequence to confirm.
    commits: Vec<(CommitId, Option<f64>)>,
    /// The number of the next commit.
    next_commit: u64,
    persisted: f64,
    confirmed: f64,
    handed: f64,
    blobs: BTreeMap<BlobId, Blob>,
    /// Transfers that the host has saved or given up.
    answered: BTreeSet<BlobId>,
    /// Transfers that it was told to throw away, and has not answered for.
    aborted: Vec<(BlobId, AbortReason)>,
    paused: BTreeSet<PauseReason>,
    largest: u64,
    message: u64,
    pub(super) is_closed: bool,
    /// All that was fed are messages that a publisher might send.
    pub(super) is_well_formed: bool,
}

/// A transfer that is under way.
#[derive(Default)]
struct Blob {
    bytes_out: u64,
    is_whole: bool,
}

impl Shadow {
    pub(super) fn new(config: &Config, start: &Start) -> Self {
        let start = match start {
            Start::Resume(cursor) => cursor.sequence.0,
            Start::At(sequence) => sequence.0,
            Start::Copy => 0.0,
        };
        Self {
            config: config.clone(),
            events_out: 0,
            commits: Vec::new(),
            next_commit: 0,
            persisted: start,
            confirmed: 0.0,
            handed: start,
            blobs: BTreeMap::new(),
            answered: BTreeSet::new(),
            aborted: Vec::new(),
            paused: BTreeSet::new(),
            largest: 0,
            message: 0,
            is_closed: false,
            is_well_formed: true,
        }
    }

    pub(super) fn part(&mut self, bytes: u64, last: bool) {
        self.message += bytes + 128;
        self.largest = self.largest.max(self.message);
        if last {
            self.message = 0;
        }
    }

    /// Makes one of the commits that are out durable.
    pub(super) fn commit(&mut self, which: u8) -> Option<CommitId> {
        if self.commits.is_empty() {
            return None;
        }
        let (id, sequence) = self.commits.remove(usize::from(which) % self.commits.len());
        // A cursor comes only when all that it covers is durable, or is part of the same commit.
        self.persisted = sequence.unwrap_or(self.persisted).max(self.persisted);
        Some(id)
    }

    fn nth(&mut self, which: Option<u8>) -> Option<(BlobId, &mut Blob)> {
        let index = usize::from(which?).checked_rem(self.blobs.len())?;
        let (id, blob) = self.blobs.iter_mut().nth(index)?;
        Some((*id, blob))
    }

    /// Writes some bytes of a transfer.
    pub(super) fn write(&mut self, which: Option<u8>, bytes: Option<u8>) -> Option<(BlobId, u64)> {
        let (id, blob) = self.nth(which)?;
        let bytes = u64::from(bytes?).min(blob.bytes_out);
        blob.bytes_out -= bytes;
        Some((id, bytes))
    }

    /// Saves a transfer, if all of it is here and written.
    pub(super) fn save(&mut self, which: Option<u8>) -> Option<BlobId> {
        let (id, blob) = self.nth(which)?;
        let is_ready = blob.is_whole && blob.bytes_out == 0;
        is_ready.then(|| self.answer(id))
    }

    /// Gives a transfer up.
    pub(super) fn fail(&mut self, which: Option<u8>) -> Option<BlobId> {
        let (id, _) = self.nth(which)?;
        Some(self.answer(id))
    }

    /// Has thrown away one of the transfers that it was told to.
    pub(super) fn abort(&mut self, which: Option<u8>) -> Option<BlobId> {
        let index = usize::from(which?).checked_rem(self.aborted.len())?;
        Some(self.aborted.swap_remove(index).0)
    }

    fn answer(&mut self, id: BlobId) -> BlobId {
        self.blobs.remove(&id);
        self.answered.insert(id);
        id
    }

    /// Checks a command and remembers what is owed for it.
    pub(super) fn observe(&mut self, command: &Command) {
        assert!(!self.is_closed, "I7: a command after the close");
        match command {
            Command::Pause(reason) => assert!(self.paused.insert(*reason), "I3: {reason} twice"),
            Command::Resume(reason) => assert!(self.paused.remove(reason), "I3: no {reason}"),
            Command::Event(event) => self.event(event),
            Command::OpenBlob { blob, .. } => {
                let known = self.blobs.insert(*blob, Blob::default());
                assert!(known.is_none(), "I6: {blob} is open already");
            }
            Command::BlobChunk { blob, bytes, last } => {
                // One that the store gave up is only drained.
                if let Some(blob) = self.blobs.get_mut(blob) {
                    assert!(!blob.is_whole, "I6: bytes after the last");
                    blob.bytes_out += bytes.len() as u64;
                    blob.is_whole = *last;
                }
            }
            Command::AbortBlob { blob, why } => {
                // The host may not know yet that the transfer has ended, and answer in vain.
                let is_late = self.answered.remove(blob);
                let is_open = self.blobs.remove(blob).is_some();
                assert!(is_open || is_late, "I6: {blob} ended before");
                if is_open {
                    self.aborted.push((*blob, *why));
                }
            }
            Command::Transmit(bytes) => {
                if let Ok(Message::CommittedUpdate(sequence)) = Message::decode(bytes) {
                    let (sequence, persisted) = (sequence.0, self.persisted);
                    assert!(sequence <= persisted, "I5: {sequence} beyond {persisted}");
                    assert!(sequence > self.confirmed, "I5: {sequence} again");
                    self.confirmed = sequence;
                }
            }
            Command::Close(close) => {
                self.is_closed = true;
                let is_malformed = matches!(
                    close.reason,
                    CloseReason::Error(LinkError::Malformed { .. })
                );
                assert!(!(is_malformed && self.is_well_formed), "{}", close.reason);
                assert!(self.paused.is_empty(), "I3: paused at the close");
                assert!(self.blobs.is_empty(), "I6: a blob is open at the close");
            }
            _ => {}
        }
    }

    fn event(&mut self, event: &Event) {
        self.events_out += event.count();
        let is_lifted_by_decoding = |reason: &PauseReason| {
            matches!(
                reason,
                PauseReason::InboundQueue | PauseReason::SharedBudget
            )
        };
        let blocked = self
            .paused
            .iter()
            .find(|reason| !is_lifted_by_decoding(reason));
        assert_eq!(blocked, None, "I3: an event in a pause");
        match event {
            Event::EndTransaction(end) => self.commit_out(end.id, end.cursor.as_ref()),
            Event::Checkpoint(checkpoint) | Event::CopyCompleted(checkpoint) => {
                self.commit_out(checkpoint.id, Some(&checkpoint.cursor));
            }
            _ => {}
        }
    }

    fn commit_out(&mut self, id: CommitId, cursor: Option<&Cursor>) {
        assert_eq!(id.number, self.next_commit, "I1: commits count");
        self.next_commit += 1;
        let sequence = cursor.map(|cursor| cursor.sequence.0);
        if let Some(sequence) = sequence {
            assert!(sequence >= self.handed, "I5: the cursor goes back");
            self.handed = sequence;
        }
        self.commits.push((id, sequence));
    }

    /// The bounds of I2, and the deadline of I4.
    pub(super) fn check(&self, receiver: &Receiver) {
        let flow = &self.config.flow;
        assert_eq!(
            receiver.poll_timeout().is_none(),
            receiver.is_closed(),
            "I4"
        );
        assert!(receiver.events_out() <= flow.consumer.high.items + 1, "I2");
        assert!(receiver.commits_out() <= flow.commits.high.items + 1, "I2");
        let most = flow.inbound.high.bytes + 2 * self.largest + 256;
        assert!(receiver.retained_bytes() <= most, "I2");
        let most = flow.blobs.high.bytes + self.largest + 512;
        assert!(receiver.blob_bytes_out() <= most, "I2");
        // How many are given up for their silence is bounded by how many were open.
        let aborted = self.aborted.iter();
        let failed =
            aborted.filter(|(_, why)| matches!(why, AbortReason::Source | AbortReason::Size));
        assert!(failed.count() as u64 <= flow.blobs.high.items + 2, "I2");
    }
}
