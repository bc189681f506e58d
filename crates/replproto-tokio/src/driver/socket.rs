//! The WebSocket of one link, as the driver needs it.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Sink, SinkExt, Stream};
use replproto_core::CloseFrame;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{self, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error as WebSocketError, Message};

/// How much is read ahead of what is asked for, at most: what may still come out of the socket's buffers after a pause.
const READ_BUFFER_BYTES: usize = 32 << 10;

/// Less than this is collected before it is written.
const WRITE_BUFFER_BYTES: usize = 4 << 10;

/// A peer that leaves more than this unread does not listen any more.
const UNSENT_BYTES_MAX: usize = 1 << 20;

/// How long the end of a WebSocket may take.
const CLOSE_TIME: Duration = Duration::from_millis(500);

/// The close code that says that there was none.
const NO_CODE: u16 = 1005;

/// Anything that a WebSocket can run over.
pub(crate) trait Transport: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Transport for T {}

/// Something came from the socket.
#[derive(Debug)]
pub(crate) enum Received {
    Message(Bytes),
    Text,
    /// The peer answered a ping, or pinged.
    Pong,
    /// Bytes came that do not make a message yet.
    Heard(u64),
    /// A message is larger than the limit.
    TooLarge(u64),
    /// The peer closed.
    Closed {
        code: u16,
        reason: String,
    },
    /// The connection cannot be used any more.
    Lost(TransportError),
}

/// What was wrong with a connection that was lost.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TransportError {
    /// The connection ended without a close frame.
    #[error("the connection ended without being closed")]
    Ended,
    /// Reading or writing failed.
    #[error("the connection failed")]
    Io(#[source] io::Error),
    /// The peer broke the WebSocket protocol.
    #[error("the peer broke the WebSocket protocol: {0}")]
    Protocol(String),
    /// The peer reads nothing of what we send.
    #[error("the peer has left {0} bytes unread")]
    Unread(usize),
}

/// A WebSocket that never blocks: what cannot be sent yet waits in a short queue.
#[derive(Debug)]
pub(crate) struct Socket {
    web_socket: WebSocketStream<Counted>,
    unsent: VecDeque<Message>,
    unsent_bytes: usize,
    is_flushed: bool,
    /// Bytes that were told of, of those that were read.
    told: u64,
}

impl Socket {
    /// A WebSocket whose upgrade is done; `first` was read with the answer.
    pub(crate) async fn new(stream: Box<dyn Transport>, first: Vec<u8>, limit: u64) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(WRITE_BUFFER_BYTES)
            .max_message_size(Some(limit))
            .max_frame_size(Some(limit));
        let stream = Counted { stream, read: 0 };
        Self {
            web_socket: WebSocketStream::from_partially_read(
                stream,
                first,
                Role::Client,
                Some(config),
            )
            .await,
            unsent: VecDeque::new(),
            unsent_bytes: 0,
            is_flushed: true,
            told: 0,
        }
    }

    /// Queues a message.
    pub(crate) fn send(&mut self, message: Message) {
        self.unsent_bytes += message.len();
        self.unsent.push_back(message);
    }

    /// Sends what is queued, as far as it goes.
    pub(crate) fn poll_send(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), TransportError>> {
        if self.unsent_bytes > UNSENT_BYTES_MAX {
            return Poll::Ready(Err(TransportError::Unread(self.unsent_bytes)));
        }
        let mut socket = Pin::new(&mut self.web_socket);
        while !self.unsent.is_empty() {
            ready!(socket.as_mut().poll_ready(context)).map_err(lost)?;
            if let Some(message) = self.unsent.pop_front() {
                self.unsent_bytes -= message.len();
                self.is_flushed = false;
                socket.as_mut().start_send(message).map_err(lost)?;
            }
        }
        if !self.is_flushed {
            ready!(socket.poll_flush(context)).map_err(lost)?;
            self.is_flushed = true;
        }
        Poll::Ready(Ok(()))
    }

    pub(crate) fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<Received> {
        let polled = Pin::new(&mut self.web_socket).poll_next(context);
        let read = self.web_socket.get_ref().read;
        let heard = read - std::mem::replace(&mut self.told, read);
        match polled {
            Poll::Ready(item) => Poll::Ready(received(item)),
            Poll::Pending if heard > 0 => Poll::Ready(Received::Heard(heard)),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Ends the connection: with a close frame if there is one to send. Never waits long for the peer.
    pub(crate) async fn close(mut self, frame: Option<CloseFrame>) {
        let end = async {
            std::future::poll_fn(|context| self.poll_send(context)).await?;
            let Some(frame) = frame else {
                // Sends the answer to the peer's close frame.
                return self.web_socket.flush().await.map_err(lost);
            };
            let frame = frame.code.map(|code| protocol::CloseFrame {
                code: CloseCode::from(code),
                reason: frame.reason.into(),
            });
            let message = Message::Close(frame);
            self.web_socket.send(message).await.map_err(lost)?;
            // Closing a socket with unread bytes resets it, which can take the close frame away from the peer.
            let stream = self.web_socket.get_mut();
            let mut unread = [0; 4 << 10];
            while stream.read(&mut unread).await.map_err(TransportError::Io)? > 0 {}
            Ok(())
        };
        match timeout(CLOSE_TIME, end).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::debug!(%error, "the connection was lost while it was closed")
            }
            Err(_) => tracing::debug!("the peer did not close the connection in time"),
        }
    }
}

fn received(item: Option<Result<Message, WebSocketError>>) -> Received {
    match item {
        Some(Ok(Message::Binary(bytes))) => Received::Message(unpin(bytes)),
        Some(Ok(Message::Text(_))) => Received::Text,
        Some(Ok(Message::Close(frame))) => {
            let (code, reason) = match frame {
                Some(frame) => (frame.code.into(), frame.reason.as_str().to_owned()),
                None => (NO_CODE, String::new()),
            };
            Received::Closed { code, reason }
        }
        Some(Ok(_)) => Received::Pong,
        Some(Err(WebSocketError::Capacity(CapacityError::MessageTooLong { size, .. }))) => {
            Received::TooLarge(size as u64)
        }
        // Only text and close reasons are decoded.
        Some(Err(error)) => Received::Lost(lost(error)),
        None => Received::Lost(TransportError::Ended),
    }
}

/// A message smaller than the read buffer may be a slice of it, or of that of the large message before it, and would keep
/// all of it in memory.
fn unpin(bytes: Bytes) -> Bytes {
    if bytes.len() < READ_BUFFER_BYTES {
        Bytes::copy_from_slice(&bytes)
    } else {
        bytes
    }
}

fn lost(error: WebSocketError) -> TransportError {
    match error {
        WebSocketError::Io(error) => TransportError::Io(error),
        WebSocketError::ConnectionClosed
        | WebSocketError::AlreadyClosed
        | WebSocketError::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
            TransportError::Ended
        }
        error => TransportError::Protocol(error.to_string()),
    }
}

/// Counts the bytes that are read: a large message that trickles in proves its sender alive.
#[derive(Debug)]
struct Counted {
    stream: Box<dyn Transport>,
    read: u64,
}

impl std::fmt::Debug for dyn Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Transport")
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.read += (buffer.filled().len() - before) as u64;
        polled
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use tokio::io::{AsyncWriteExt, DuplexStream, duplex};

    async fn socket(limit: u64, pipe: usize) -> (Socket, DuplexStream) {
        let (ours, theirs) = duplex(pipe);
        (Socket::new(Box::new(ours), Vec::new(), limit).await, theirs)
    }

    async fn receive(socket: &mut Socket) -> Received {
        poll_fn(|context| socket.poll_receive(context)).await
    }

    /// A frame of the publisher: not masked, less than 64 KiB.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![first, 126];
        frame.extend_from_slice(&(payload.len() as u16).to_be_bytes());
        frame.extend_from_slice(payload);
        frame
    }

    #[tokio::test]
    async fn bytes_of_an_unfinished_message_are_heard() {
        let (mut socket, mut peer) = socket(1 << 20, 1 << 16).await;
        let bytes = frame(0x82, &[7; 1000]);
        for part in bytes[..900].chunks(300) {
            peer.write_all(part).await.unwrap();
            match receive(&mut socket).await {
                Received::Heard(300) => {}
                other => panic!("{other:?}"),
            }
        }
        peer.write_all(&bytes[900..]).await.unwrap();
        match receive(&mut socket).await {
            Received::Message(message) => assert_eq!(message, [7; 1000][..]),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_small_message_does_not_hold_the_read_buffer() {
        let (mut socket, mut peer) = socket(1 << 20, 1 << 16).await;
        peer.write_all(&frame(0x82, &[1; 200])).await.unwrap();
        let Received::Message(message) = receive(&mut socket).await else {
            panic!("no message");
        };
        let message = message.try_into_mut().expect("nobody else has these bytes");
        assert!(message.capacity() <= 256, "{}", message.capacity());
    }

    #[tokio::test]
    async fn fragments_over_the_limit_are_too_large_together() {
        let (mut socket, mut peer) = socket(1000, 1 << 16).await;
        peer.write_all(&frame(0x02, &[1; 800])).await.unwrap();
        peer.write_all(&frame(0x80, &[1; 800])).await.unwrap();
        loop {
            match receive(&mut socket).await {
                Received::TooLarge(1600) => return,
                Received::Heard(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    #[tokio::test]
    async fn a_peer_that_reads_nothing_is_given_up() {
        let (mut socket, _peer) = socket(1 << 20, 1 << 10).await;
        let mut sent = 0;
        loop {
            socket.send(Message::Binary(vec![0; 10_000].into()));
            sent += 10_000;
            let polled = poll_fn(|context| Poll::Ready(socket.poll_send(context))).await;
            match polled {
                Poll::Pending => assert!(sent <= 2 * UNSENT_BYTES_MAX),
                Poll::Ready(Err(TransportError::Unread(_))) => return,
                Poll::Ready(other) => panic!("{other:?}"),
            }
        }
    }
}
