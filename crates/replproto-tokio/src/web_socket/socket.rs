//! A WebSocket over a stream.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::frame::{
    FrameError, FrameItem, FrameKind, FrameLimits, FrameReader, FrameStep, MessageKind, Role,
    close_payload,
};
use super::outbox::Outbox;
use super::read_buffer::ReadBuffer;

/// Something that came.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Received {
    /// Bytes of a binary message. What they keep in memory is at most twice their length.
    Part {
        /// The bytes. Only the last part can be empty.
        bytes: Bytes,
        /// The message ends with these bytes.
        last: bool,
    },
    /// Bytes of a text message. All of its parts together are UTF-8; one alone may begin or end within a character.
    Text {
        /// The bytes. Only the last part can be empty.
        bytes: Bytes,
        /// The message ends with these bytes.
        last: bool,
    },
    /// The peer pinged. The answer is queued already.
    Ping,
    /// The peer answered a ping.
    Pong,
    /// The peer closed. The answer is queued already, and nothing more comes.
    Closed {
        /// Its code, if it gave one.
        code: Option<u16>,
        /// Its reason, at most 123 bytes.
        reason: String,
    },
}

/// Nothing more can be received.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum WebSocketError {
    /// The connection ended.
    #[error("the connection ended")]
    Ended,
    /// Reading or writing failed.
    #[error("the connection failed")]
    Io(#[from] io::Error),
    /// The peer broke the WebSocket protocol or a limit. It has not been told yet: see [`WebSocket::close`] and
    /// [`Violation::close_code`](super::frame::Violation::close_code).
    #[error("the peer broke the WebSocket protocol")]
    Frame(#[from] FrameError),
}

/// A WebSocket whose upgrade is done. It never waits for the peer to read: what is sent is queued, and written by
/// [`poll_flush`](Self::poll_flush), or before the next read.
///
/// Its memory is bounded whatever the peer does: one read buffer, which grows to 256 KiB at most and is not there while
/// nothing comes; what the caller has queued; and a few answers to pings.
#[derive(Debug)]
pub struct WebSocket<S> {
    stream: S,
    reader: FrameReader,
    input: ReadBuffer,
    outbox: Outbox,
    role: Role,
    bytes_read: u64,
    is_over: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocket<S> {
    /// The end with this role. `first` are the bytes that were read together with the upgrade.
    pub fn new(stream: S, role: Role, limits: FrameLimits, first: &[u8]) -> Self {
        Self {
            stream,
            reader: FrameReader::new(role, limits),
            input: ReadBuffer::new(first),
            outbox: Outbox::new(role),
            role,
            bytes_read: first.len() as u64,
            is_over: false,
        }
    }

    /// Waits for what comes next.
    ///
    /// # Errors
    /// Nothing more can be received.
    ///
    /// # Cancel safety
    /// A future that is dropped before it is ready has taken nothing.
    pub async fn receive(&mut self) -> Result<Received, WebSocketError> {
        poll_fn(|context| self.poll_receive(context)).await
    }

    /// Gives what comes next. Reads at most when nothing of what was read is left, and writes what waits before that.
    ///
    /// # Errors
    /// Nothing more can be received.
    pub fn poll_receive(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Received, WebSocketError>> {
        loop {
            if let Some(received) = self.next_read() {
                return Poll::Ready(received);
            }
            if let Poll::Ready(flushed) = self.poll_flush(context) {
                flushed?;
            }
            if self.is_over {
                return Poll::Ready(Err(WebSocketError::Ended));
            }
            let count = ready!(self.input.poll_fill(&mut self.stream, context))?;
            self.bytes_read += count as u64;
            self.is_over = count == 0;
        }
    }

    /// Gives what comes next of that which was read already; `None` if nothing is left of it.
    pub fn next_read(&mut self) -> Option<Result<Received, WebSocketError>> {
        loop {
            let FrameStep { skip, length, item } = match self.reader.read(self.input.unread()) {
                Ok(step) => step?,
                Err(error) => return Some(Err(error.into())),
            };
            self.input.skip(skip);
            let received = match item {
                None => continue,
                Some(FrameItem::Part { kind, last }) => {
                    let bytes = self.input.take(length);
                    match kind {
                        MessageKind::Binary => Received::Part { bytes, last },
                        MessageKind::Text => Received::Text { bytes, last },
                    }
                }
                Some(FrameItem::Ping) => {
                    self.outbox.answer(&self.input.unread()[..length]);
                    self.input.skip(length);
                    Received::Ping
                }
                Some(FrameItem::Pong) => {
                    self.input.skip(length);
                    Received::Pong
                }
                Some(FrameItem::Close { code, reason }) => {
                    self.is_over = true;
                    self.close(code, "");
                    Received::Closed { code, reason }
                }
            };
            return Some(Ok(received));
        }
    }

    /// All bytes that were read so far.
    pub const fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    /// Queues a binary message.
    pub fn send_binary(&mut self, bytes: &[u8]) {
        self.outbox.send(FrameKind::Binary, bytes);
    }

    /// Queues a text message.
    pub fn send_text(&mut self, text: &str) {
        self.outbox.send(FrameKind::Text, text.as_bytes());
    }

    /// Queues a ping without a payload.
    pub fn ping(&mut self) {
        self.outbox.send(FrameKind::Ping, &[]);
    }

    /// Queues a close frame, if none was queued yet. Nothing can be sent after it. The reason is cut at 123 bytes.
    pub fn close(&mut self, code: Option<u16>, reason: &str) {
        self.outbox
            .send(FrameKind::Close, &close_payload(code, reason));
    }

    /// Bytes that are queued.
    pub fn unsent(&self) -> usize {
        self.outbox.len()
    }

    /// Writes what is queued, as far as it goes.
    ///
    /// # Errors
    /// The connection broke.
    pub fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.outbox.poll_flush(&mut self.stream, context)
    }

    /// Writes all that is queued.
    ///
    /// # Errors
    /// The connection broke.
    ///
    /// # Cancel safety
    /// Nothing is lost: what was not written stays queued.
    pub async fn flush(&mut self) -> io::Result<()> {
        poll_fn(|context| self.poll_flush(context)).await
    }

    /// Writes all that is queued, then reads to the end of the connection, which a server brings about (RFC 6455 section
    /// 7.1.1). Closing a connection with unread bytes would reset it, which can take the close frame away from the peer.
    /// It may wait for the peer for ever.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn finish(mut self) -> io::Result<()> {
        self.flush().await?;
        if self.role == Role::Server {
            self.stream.shutdown().await?;
        }
        let mut unread = vec![0; 4 << 10];
        while self.stream.read(&mut unread).await? > 0 {}
        Ok(())
    }
}
