//! Frames on their way out.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::AsyncWrite;

use super::frame::{FrameKind, Role, write_frame};

/// While more than this waits, only the latest ping is answered (RFC 6455 section 5.5.3).
const ANSWERS_MAX: usize = 4 << 10;

/// More than this is not kept for reuse.
const KEPT: usize = 4 << 10;

/// Frames joined in one buffer, so that one write sends all of them.
#[derive(Debug)]
pub(super) struct Outbox {
    role: Role,
    unsent: BytesMut,
    /// The payload of the latest ping, while there is no room for its answer.
    unanswered: Option<Vec<u8>>,
    /// Everything was handed to the stream, but perhaps not yet to the network.
    is_flushed: bool,
    has_closed: bool,
}

impl Outbox {
    pub(super) fn new(role: Role) -> Self {
        Self {
            role,
            unsent: BytesMut::new(),
            unanswered: None,
            is_flushed: true,
            has_closed: false,
        }
    }

    /// Queues a whole message or a control frame. After a close frame nothing is sent.
    pub(super) fn send(&mut self, kind: FrameKind, payload: &[u8]) {
        if self.has_closed {
            return;
        }
        self.has_closed = kind == FrameKind::Close;
        let mask = match self.role {
            Role::Client => Some(rand::random()),
            Role::Server => None,
        };
        write_frame(&mut self.unsent, kind, true, payload, mask);
        self.is_flushed = false;
    }

    /// Queues the answer to a ping, or keeps it for later: a peer that pings and does not read must not fill the memory.
    pub(super) fn answer(&mut self, ping: &[u8]) {
        if self.unsent.len() < ANSWERS_MAX {
            self.unanswered = None;
            self.send(FrameKind::Pong, ping);
        } else {
            self.unanswered = Some(ping.to_vec());
        }
    }

    /// Bytes that wait.
    pub(super) fn len(&self) -> usize {
        self.unsent.len()
    }

    /// Writes what waits, as far as it goes.
    pub(super) fn poll_flush<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.unsent.is_empty() {
            let written = ready!(Pin::new(&mut *stream).poll_write(context, &self.unsent))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.unsent.advance(written);
            if self.unsent.is_empty() {
                if self.unsent.capacity() > KEPT {
                    self.unsent = BytesMut::new();
                }
                if let Some(ping) = self.unanswered.take() {
                    self.send(FrameKind::Pong, &ping);
                }
            }
        }
        if !self.is_flushed {
            ready!(Pin::new(stream).poll_flush(context))?;
            self.is_flushed = true;
        }
        Poll::Ready(Ok(()))
    }
}
