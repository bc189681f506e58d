//! The WebSocket of one link, as the driver needs it.

use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use replproto_core::CloseFrame;
use thiserror::Error;
use tokio::time::timeout;

#[cfg(feature = "tls")]
use crate::connect::TlsError;
use crate::connect::Transport;
use crate::web_socket::frame::{FrameError, Violation};
use crate::web_socket::{self, WebSocket, WebSocketError};

/// A peer that leaves more than this unread does not listen any more.
const UNSENT_BYTES_MAX: usize = 1 << 20;

/// How long the end of a WebSocket may take.
const CLOSE_TIME: Duration = Duration::from_millis(500);

/// The close code that says that there was none.
const NO_CODE: u16 = 1005;

/// Something came from the socket.
#[derive(Debug)]
pub(crate) enum Received {
    /// The next bytes of a message, and whether it ends with them.
    Part {
        bytes: Bytes,
        last: bool,
    },
    Text,
    /// The peer answered a ping, or pinged.
    Pong,
    /// Bytes came that are no part of a message yet.
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
    /// TLS failed: bytes were changed on the way, or the peer does not want us any more.
    #[cfg(feature = "tls")]
    #[error("TLS failed")]
    Tls(#[source] TlsError),
    /// The peer broke the WebSocket protocol.
    #[error("the peer broke the WebSocket protocol")]
    Protocol(#[source] FrameError),
    /// The peer reads nothing of what we send.
    #[error("the peer has left {0} bytes unread")]
    Unread(usize),
}

impl TransportError {
    fn of_stream(error: io::Error) -> Self {
        #[cfg(feature = "tls")]
        let error = match TlsError::of_stream(error) {
            Ok(error) => return Self::Tls(error),
            Err(error) => error,
        };
        Self::Io(error)
    }
}

/// A WebSocket that never blocks: what cannot be sent yet waits in a short queue.
#[derive(Debug)]
pub(crate) struct Socket {
    web_socket: WebSocket<Box<dyn Transport>>,
    /// What came after a part and is not one. It waits until the parts before it are decoded: it may end the link.
    waiting: Option<Received>,
    /// Bytes that were told of, of those that were read.
    told: u64,
}

impl Socket {
    pub(crate) const fn new(web_socket: WebSocket<Box<dyn Transport>>) -> Self {
        Self {
            web_socket,
            waiting: None,
            told: 0,
        }
    }

    /// Queues a message.
    pub(crate) fn send(&mut self, message: &[u8]) {
        self.web_socket.send_binary(message);
    }

    /// Queues a ping.
    pub(crate) fn ping(&mut self) {
        self.web_socket.ping();
    }

    /// Sends what is queued, as far as it goes. That it failed is told by [`poll_receive`](Self::poll_receive), once
    /// nothing more can be read.
    pub(crate) fn send_queued(&mut self, context: &mut Context<'_>) -> Result<(), TransportError> {
        let unsent = self.web_socket.unsent();
        if unsent > UNSENT_BYTES_MAX {
            return Err(TransportError::Unread(unsent));
        }
        let _ = self.web_socket.poll_flush(context);
        Ok(())
    }

    pub(crate) fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<Received> {
        if let Some(received) = self.waiting.take() {
            return Poll::Ready(received);
        }
        let polled = self.web_socket.poll_receive(context);
        let read = self.web_socket.bytes_read();
        let heard = read - std::mem::replace(&mut self.told, read);
        match polled {
            Poll::Ready(came) => Poll::Ready(received(came)),
            Poll::Pending if heard > 0 => Poll::Ready(Received::Heard(heard)),
            Poll::Pending => Poll::Pending,
        }
    }

    /// The next part of a message, if it came in the same read as the one before it.
    pub(crate) fn next_part(&mut self) -> Option<(Bytes, bool)> {
        if self.waiting.is_some() {
            return None;
        }
        match received(self.web_socket.next_read()?) {
            Received::Part { bytes, last } => Some((bytes, last)),
            other => {
                self.waiting = Some(other);
                None
            }
        }
    }

    /// Ends the connection: with a close frame if there is one to send. Never waits long for the peer.
    pub(crate) async fn close(mut self, frame: Option<CloseFrame>) {
        let end = async {
            let Some(frame) = frame else {
                // Sends the answer to the peer's close frame.
                return self.web_socket.shutdown().await;
            };
            self.web_socket.close(frame.code, &frame.reason);
            self.web_socket.finish().await
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

fn received(came: Result<web_socket::Received, WebSocketError>) -> Received {
    match came {
        Ok(web_socket::Received::Part { bytes, last }) => Received::Part { bytes, last },
        Ok(web_socket::Received::Text { .. }) => Received::Text,
        Ok(web_socket::Received::Ping | web_socket::Received::Pong) => Received::Pong,
        Ok(web_socket::Received::Closed { code, reason }) => Received::Closed {
            code: code.unwrap_or(NO_CODE),
            reason,
        },
        Err(WebSocketError::Ended) => Received::Lost(TransportError::Ended),
        Err(WebSocketError::Io(error)) => Received::Lost(TransportError::of_stream(error)),
        Err(WebSocketError::Frame(error)) => match error.violation {
            Violation::LongMessage { actual, .. } => Received::TooLarge(actual),
            _ => Received::Lost(TransportError::Protocol(error)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web_socket::{FrameLimits, Role};
    use std::future::poll_fn;
    use tokio::io::{AsyncWriteExt, DuplexStream, duplex};

    fn socket(limit: u64, pipe: usize) -> (Socket, DuplexStream) {
        let (ours, theirs) = duplex(pipe);
        let limits = FrameLimits::message(limit);
        let web_socket = WebSocket::new(Box::new(ours) as _, Role::Client, limits, &[]);
        (Socket::new(web_socket), theirs)
    }

    async fn receive(socket: &mut Socket) -> Received {
        poll_fn(|context| socket.poll_receive(context)).await
    }

    /// A frame of the publisher: not masked, less than 64 KiB.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![first];
        match payload.len() {
            length @ ..126 => frame.push(length as u8),
            length => {
                frame.push(126);
                frame.extend_from_slice(&(length as u16).to_be_bytes());
            }
        }
        frame.extend_from_slice(payload);
        frame
    }

    #[tokio::test]
    async fn a_message_comes_in_parts() {
        let (mut socket, mut peer) = socket(1 << 20, 1 << 16);
        let bytes = frame(0x82, &[7; 1000]);
        for part in bytes.chunks(300) {
            peer.write_all(part).await.unwrap();
            match receive(&mut socket).await {
                Received::Part { last, .. } => assert_eq!(last, part.len() < 300),
                other => panic!("{other:?}"),
            }
        }
    }

    #[tokio::test]
    async fn bytes_that_are_no_part_are_heard() {
        let (mut socket, mut peer) = socket(1 << 20, 1 << 16);
        let ping = frame(0x89, &[7; 100]);
        for part in [&ping[..1], &ping[1..60], &ping[60..101]] {
            peer.write_all(part).await.unwrap();
            match receive(&mut socket).await {
                Received::Heard(heard) => assert_eq!(heard, part.len() as u64),
                other => panic!("{other:?}"),
            }
        }
        peer.write_all(&ping[101..]).await.unwrap();
        assert!(matches!(receive(&mut socket).await, Received::Pong));
        // Half the header of a message says nothing yet, either; all of it says that there is one.
        let message = frame(0x82, &[7; 200]);
        peer.write_all(&message[..3]).await.unwrap();
        assert!(matches!(receive(&mut socket).await, Received::Heard(3)));
        peer.write_all(&message[3..4]).await.unwrap();
        match receive(&mut socket).await {
            Received::Part { bytes, last: false } => assert!(bytes.is_empty()),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn small_messages_that_came_together_are_taken_together() {
        let (mut socket, mut peer) = socket(1 << 20, 1 << 16);
        let mut bytes = frame(0x82, &[1; 200]).repeat(5);
        bytes.extend(frame(0x89, b"?"));
        bytes.extend(frame(0x82, &[2; 200]));
        peer.write_all(&bytes).await.unwrap();
        let Received::Part { bytes, last: true } = receive(&mut socket).await else {
            panic!("no message");
        };
        let bytes = bytes.try_into_mut().expect("nobody else has these bytes");
        assert!(bytes.capacity() <= 400, "{}", bytes.capacity());
        for _ in 1..5 {
            assert!(socket.next_part().is_some());
        }
        // The ping waits its turn, and what came after it waits for the ping.
        assert_eq!(socket.next_part(), None);
        assert_eq!(socket.next_part(), None);
        assert!(matches!(receive(&mut socket).await, Received::Pong));
        assert_eq!(socket.next_part(), Some((vec![2; 200].into(), true)));
    }

    #[tokio::test]
    async fn fragments_over_the_limit_are_too_large_together() {
        let (mut socket, mut peer) = socket(1000, 1 << 16);
        peer.write_all(&frame(0x02, &[1; 800])).await.unwrap();
        peer.write_all(&frame(0x80, &[1; 800])).await.unwrap();
        let first = receive(&mut socket).await;
        assert!(matches!(first, Received::Part { last: false, .. }));
        let second = receive(&mut socket).await;
        assert!(matches!(second, Received::TooLarge(1600)), "{second:?}");
    }

    #[tokio::test]
    async fn a_failed_write_does_not_hide_a_close_frame() {
        let (mut socket, mut peer) = socket(1 << 20, 1 << 16);
        peer.write_all(&frame(0x88, b"\x03\xf0no")).await.unwrap();
        drop(peer);
        socket.ping();
        poll_fn(|context| Poll::Ready(socket.send_queued(context)))
            .await
            .unwrap();
        match receive(&mut socket).await {
            Received::Closed { code: 1008, reason } => assert_eq!(reason, "no"),
            other => panic!("{other:?}"),
        }
        let lost = receive(&mut socket).await;
        assert!(
            matches!(lost, Received::Lost(TransportError::Io(_))),
            "{lost:?}"
        );
    }

    #[tokio::test]
    async fn a_peer_that_reads_nothing_is_given_up() {
        let (mut socket, _peer) = socket(1 << 20, 1 << 10);
        let mut sent = 0;
        loop {
            socket.send(&[0; 10_000]);
            sent += 10_000;
            match poll_fn(|context| Poll::Ready(socket.send_queued(context))).await {
                Ok(()) => assert!(sent <= 2 * UNSENT_BYTES_MAX),
                Err(TransportError::Unread(_)) => return,
                Err(other) => panic!("{other:?}"),
            }
        }
    }
}
