//! One blob: what is known of it, and who waits for it.

use alloc::vec::Vec;
use core::time::Duration;

use crate::event::BlobOwner;
use crate::id::Name;

use super::transfer::Transfer;

/// The identity of a blob. A transfer id alone is not enough: a peer may use it again for another file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::receiver) struct Key {
    file: Name,
    transfer: Option<u64>,
}

impl Key {
    pub(in crate::receiver) const fn new(file: Name, transfer: Option<u64>) -> Self {
        Self { file, transfer }
    }

    pub(in crate::receiver) const fn file(&self) -> &Name {
        &self.file
    }
}

#[derive(Debug)]
pub(super) enum State {
    Awaited {
        since: Duration,
        /// The source has said on this link that it is gone.
        was_gone: bool,
    },
    Open(Transfer),
    Ended(Transfer),
    /// Needed again: the cursor stays.
    Failed,
    /// Passed.
    Gone {
        /// The transaction whose records are answered by it: the newest that refers to the blob. `None`: the next one, since
        /// none has come after the source said that it is gone.
        answers: Option<u64>,
    },
    Saved,
}

#[derive(Debug)]
pub(super) struct Blob {
    pub(super) state: State,
    /// The rest of a transfer that is dead or not needed is still to come, and is dropped: what follows must never be taken
    /// for a transfer that begins.
    pub(super) is_dropping: bool,
    /// Transactions that wait for it, once for each reference.
    pub(super) waiting: Vec<u64>,
    /// The first record that refers to it.
    pub(super) owner: Option<BlobOwner>,
}

impl Blob {
    const fn new(state: State) -> Self {
        Self {
            state,
            is_dropping: false,
            waiting: Vec::new(),
            owner: None,
        }
    }

    pub(super) const fn awaited(since: Duration) -> Self {
        Self::new(State::Awaited {
            since,
            was_gone: false,
        })
    }

    /// It was gone, and a later record refers to it.
    pub(super) const fn awaited_again(since: Duration) -> Self {
        Self::new(State::Awaited {
            since,
            was_gone: true,
        })
    }

    pub(super) const fn failed() -> Self {
        Self::new(State::Failed)
    }

    pub(super) const fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// Whether nothing is lost by forgetting it: if it is needed, the source sends it again.
    pub(super) const fn is_finished(&self) -> bool {
        match self.state {
            _ if self.is_dropping => false,
            State::Saved | State::Gone { .. } => true,
            State::Failed => self.waiting.is_empty(),
            _ => false,
        }
    }
}
