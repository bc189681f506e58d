//! Frames on their way out.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
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
    /// Why nothing can be sent any more.
    failed: Option<Arc<io::Error>>,
}

impl Outbox {
    pub(super) fn new(role: Role) -> Self {
        Self {
            role,
            unsent: BytesMut::new(),
            unanswered: None,
            is_flushed: true,
            has_closed: false,
            failed: None,
        }
    }

    /// Queues a whole message or a control frame. After a close frame, or a failure, nothing is sent.
    pub(super) fn send(&mut self, kind: FrameKind, payload: &[u8]) {
        if self.has_closed || self.failed.is_some() {
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

    /// Writes what waits, as far as it goes. After a failure nothing waits, and each call gives the same error.
    pub(super) fn poll_flush<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if self.failed.is_none() {
            let Err(error) = ready!(self.poll_write(stream, context)) else {
                return Poll::Ready(Ok(()));
            };
            self.unsent = BytesMut::new();
            self.unanswered = None;
            self.failed = Some(Arc::new(error));
        }
        let failed = self.failed.clone();
        Poll::Ready(failed.map_or(Ok(()), |error| Err(io::Error::new(error.kind(), error))))
    }

    fn poll_write<S: AsyncWrite + Unpin>(
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
                // Its capacity is only what is left behind the bytes that were sent; to reclaim it counts all of it.
                if self.unsent.try_reclaim(KEPT + 1) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    fn flush<S: AsyncWrite + Unpin>(outbox: &mut Outbox, mut stream: S) -> io::Result<()> {
        let mut context = Context::from_waker(Waker::noop());
        match outbox.poll_flush(&mut stream, &mut context) {
            Poll::Ready(flushed) => flushed,
            Poll::Pending => panic!("it waits"),
        }
    }

    #[test]
    fn only_a_small_buffer_is_kept() {
        for (length, is_kept) in [(KEPT, true), (KEPT + 1, false), (1 << 20, false)] {
            let mut outbox = Outbox::new(Role::Server);
            // Filled to its end: nothing is left behind what is sent.
            outbox.unsent = BytesMut::from(&vec![7; length][..]);
            assert_eq!(outbox.unsent.capacity(), length);
            flush(&mut outbox, tokio::io::sink()).unwrap();
            outbox.send(FrameKind::Ping, b"");
            let kept = outbox.unsent.capacity();
            assert_eq!(kept == length, is_kept, "{kept} of {length}");
            assert!(kept <= KEPT);
        }
    }

    #[test]
    fn after_a_failure_nothing_waits() {
        let (stream, other) = tokio::io::duplex(1 << 10);
        drop(other);
        let mut outbox = Outbox::new(Role::Server);
        outbox.send(FrameKind::Binary, &[7; 10_000]);
        outbox.answer(b"later");
        let failed = flush(&mut outbox, stream).unwrap_err();
        assert_eq!(failed.kind(), io::ErrorKind::BrokenPipe);
        outbox.send(FrameKind::Ping, b"");
        outbox.answer(b"");
        assert_eq!(outbox.len(), 0);
        // Even when the stream takes something again: a part of the frames is missing.
        let again = flush(&mut outbox, tokio::io::sink()).unwrap_err();
        assert_eq!(again.kind(), failed.kind());
        assert_eq!(again.to_string(), failed.to_string());
    }
}
