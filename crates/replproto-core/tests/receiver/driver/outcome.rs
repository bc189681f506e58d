//! What came out of a receiver.

use replproto_core::event::{BlobFailure, EndTransaction};
use replproto_core::wire::Message;
use replproto_core::{BlobId, CloseReason, Command, Cursor, Event, LinkError, PauseReason, Record};

use super::Driver;

impl Driver {
    pub(crate) fn events(&self) -> impl Iterator<Item = &Event> {
        self.commands.iter().filter_map(|command| match command {
            Command::Event(event) => Some(event),
            _ => None,
        })
    }

    pub(crate) fn records(&self) -> impl Iterator<Item = Record<'_>> {
        let runs = self.events().filter_map(|event| match event {
            Event::Records(records) => Some(records),
            _ => None,
        });
        runs.flatten()
    }

    pub(crate) fn ends(&self) -> impl Iterator<Item = &EndTransaction> {
        self.events().filter_map(|event| match event {
            Event::EndTransaction(end) => Some(end),
            _ => None,
        })
    }

    pub(crate) fn held(&self) -> impl Iterator<Item = &BlobFailure> {
        self.events().filter_map(|event| match event {
            Event::BlobHeld(failure) => Some(&**failure),
            _ => None,
        })
    }

    pub(crate) fn gone(&self) -> impl Iterator<Item = &BlobFailure> {
        self.events().filter_map(|event| match event {
            Event::BlobGone(failure) => Some(&**failure),
            _ => None,
        })
    }

    /// Messages to the peer.
    pub(crate) fn sent(&self) -> impl Iterator<Item = Message> + '_ {
        self.commands.iter().filter_map(|command| match command {
            Command::Transmit(bytes) => Some(Message::decode(bytes).expect("our own bytes")),
            _ => None,
        })
    }

    /// Chunks that were handed out, the empty ones included.
    pub(crate) fn chunks(&self) -> usize {
        let is_chunk = |command: &&Command| matches!(command, Command::BlobChunk { .. });
        self.commands.iter().filter(is_chunk).count()
    }

    pub(crate) fn pings(&self) -> usize {
        let is_ping = |command: &&Command| matches!(command, Command::Ping);
        self.commands.iter().filter(is_ping).count()
    }

    /// The newest transfer of this file.
    #[track_caller]
    pub(crate) fn blob(&self, file: &str) -> BlobId {
        let mut ids = self.blobs.iter().rev();
        *ids.find(|(_, blob)| blob.file == file).expect("opened").0
    }

    /// Transfers with bytes that are not written, and how many.
    pub(crate) fn unwritten(&self) -> Vec<(BlobId, u64)> {
        let out = self
            .blobs
            .iter()
            .filter(|(_, b)| b.unwritten > 0 && !b.is_over);
        out.map(|(id, blob)| (*id, blob.unwritten)).collect()
    }

    /// Transfers that the store has not finished with.
    pub(crate) fn unfinished(&self) -> Vec<BlobId> {
        let blobs = self.blobs.iter().filter(|(_, blob)| !blob.is_over);
        blobs.map(|(id, _)| *id).collect()
    }

    /// Those of them that have come whole.
    pub(crate) fn whole(&self) -> Vec<BlobId> {
        let blobs = self.blobs.iter().filter(|(_, b)| b.is_whole && !b.is_over);
        blobs.map(|(id, _)| *id).collect()
    }

    pub(crate) fn aborts(&self) -> u64 {
        self.aborts
    }

    pub(crate) fn opens(&self) -> u64 {
        self.opens
    }

    pub(crate) fn saves(&self) -> u64 {
        self.saves
    }

    /// The cursor that a crash would leave.
    pub(crate) const fn persisted(&self) -> &Cursor {
        &self.persisted
    }

    pub(crate) fn is_paused_for(&self, reason: PauseReason) -> bool {
        self.announced.contains(&reason)
    }

    /// Why we ended the link.
    #[track_caller]
    pub(crate) fn error(&self) -> &LinkError {
        let close = self.close.as_ref().expect("the link is closed");
        match &close.reason {
            CloseReason::Error(error) => error,
            other => panic!("closed by {other}"),
        }
    }

    /// The code that the link was closed with.
    #[track_caller]
    pub(crate) fn close_code(&self) -> Option<u16> {
        let close = self.close.as_ref().expect("the link is closed");
        close.frame.as_ref().and_then(|frame| frame.code)
    }
}
