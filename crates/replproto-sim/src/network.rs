//! The way from the publisher to the receiver: parts in order, as many as the window takes.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::peer::{Milestones, Outgoing};
use crate::rng::Rng;

/// Bytes that may be on their way, as in the buffers of a TCP connection.
const WINDOW: usize = 32 * 1024;

/// A part of a message.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) bytes: Bytes,
    pub(crate) last: bool,
    /// What the receiver has after this part.
    pub(crate) reached: Milestones,
}

/// What still gets through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    /// Everything, both ways.
    #[default]
    Open,
    /// Only what the publisher has sent already: it is gone.
    Ending,
    /// Nothing any more.
    Dead,
}

#[derive(Debug, Default)]
pub(crate) struct Network {
    pub(crate) way: Way,
    parts: VecDeque<Part>,
    bytes: usize,
    /// What the receiver has of all that was delivered.
    pub(crate) delivered: Milestones,
}

impl Network {
    /// Whether the publisher can write more.
    pub(crate) const fn has_room(&self) -> bool {
        self.bytes < WINDOW
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// What the receiver has once all has arrived that is on its way.
    pub(crate) fn sent(&self) -> Milestones {
        self.parts
            .back()
            .map_or(self.delivered, |part| part.reached)
    }

    /// A message sets out, in parts if it is to be `split`.
    pub(crate) fn send(&mut self, message: Outgoing, split: bool, rng: &mut Rng) {
        let Outgoing {
            bytes: mut message,
            reached,
        } = message;
        let before = self.sent();
        self.bytes += message.len();
        while split && message.len() > 1 && rng.chance(700) {
            let longest = [3, 50, 1500][rng.below(3) as usize];
            let at = rng.range(1, longest.min(message.len() as u64 - 1)) as usize;
            let bytes = message.split_to(at);
            self.parts.push_back(Part {
                bytes,
                last: false,
                reached: before,
            });
        }
        self.parts.push_back(Part {
            bytes: message,
            last: true,
            reached,
        });
    }

    /// The next part arrives, at a link that takes it or at one whose end came first.
    pub(crate) fn deliver(&mut self, is_taken: bool) -> Option<Part> {
        let part = self.parts.pop_front()?;
        self.bytes -= part.bytes.len();
        if is_taken {
            self.delivered = part.reached;
        }
        Some(part)
    }
}
