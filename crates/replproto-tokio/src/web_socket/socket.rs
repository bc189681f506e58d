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
        /// The bytes. Only the first part and the last can be empty.
        bytes: Bytes,
        /// The message ends with these bytes.
        last: bool,
    },
    /// Bytes of a text message. All of its parts together are UTF-8; one alone may begin or end within a character.
    Text {
        /// The bytes. Only the first part and the last can be empty.
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
/// Its memory is bounded whatever the peer does: a read buffer, which grows to 64 KiB at most; up to eight that it has
/// handed out and waits for to be used again; what the caller has queued; and a few answers to pings. None of the buffers
/// is there while nothing comes.
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
    /// That writing failed is told once nothing more can be read: a peer that closes and is gone has said why in its close
    /// frame.
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
            let unwritten = match self.poll_flush(context) {
                Poll::Ready(flushed) => flushed.err(),
                Poll::Pending => None,
            };
            if self.is_over {
                let error = unwritten.map_or(WebSocketError::Ended, WebSocketError::Io);
                return Poll::Ready(Err(error));
            }
            // A read that fails as well may tell why, such as a last alert of TLS.
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

    /// Writes all that is queued, then ends this side of the connection. Nothing can be sent after it.
    ///
    /// # Errors
    /// The connection broke.
    ///
    /// # Cancel safety
    /// Nothing is lost: what was not written stays queued.
    pub async fn shutdown(&mut self) -> io::Result<()> {
        self.flush().await?;
        self.stream.shutdown().await
    }

    /// Writes all that is queued, then reads to the end of the connection, which a server brings about (RFC 6455 section
    /// 7.1.1). Closing a connection with unread bytes would reset it, which can take the close frame away from the peer.
    /// It may wait for the peer for ever.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn finish(mut self) -> io::Result<()> {
        match self.role {
            Role::Server => self.shutdown().await?,
            Role::Client => self.flush().await?,
        }
        let mut unread = vec![0; 4 << 10];
        while self.stream.read(&mut unread).await? > 0 {}
        match self.role {
            Role::Server => Ok(()),
            // For TLS it is not enough to drop the stream.
            Role::Client => self.shutdown().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web_socket::frame::write_frame;
    use crate::web_socket::read_buffer::{HELD_MAX, LARGEST};
    use bytes::BytesMut;
    use tokio::io::{DuplexStream, duplex};
    use tokio::net::{TcpListener, TcpStream};

    const LIMITS: FrameLimits = FrameLimits::message(1 << 30);

    fn pair(pipe: usize) -> (WebSocket<DuplexStream>, WebSocket<DuplexStream>) {
        let (client, server) = duplex(pipe);
        (
            WebSocket::new(client, Role::Client, LIMITS, &[]),
            WebSocket::new(server, Role::Server, LIMITS, &[]),
        )
    }

    /// A client, and the raw end of its server.
    fn client(pipe: usize) -> (WebSocket<DuplexStream>, DuplexStream) {
        let (ours, theirs) = duplex(pipe);
        (WebSocket::new(ours, Role::Client, LIMITS, &[]), theirs)
    }

    fn part(bytes: &[u8], last: bool) -> Received {
        Received::Part {
            bytes: Bytes::copy_from_slice(bytes),
            last,
        }
    }

    #[tokio::test]
    async fn both_roles_understand_each_other() {
        let (mut client, mut server) = pair(1 << 20);
        for (from, to) in [(0, 1), (1, 0)] {
            let ends = [&mut client, &mut server];
            ends[from].send_text("héllo");
            ends[from].send_binary(b"");
            ends[from].send_binary(&[7; 70_000]);
            ends[from].flush().await.unwrap();
            let text = Received::Text {
                bytes: "héllo".into(),
                last: true,
            };
            assert_eq!(ends[to].receive().await.unwrap(), text);
            assert_eq!(ends[to].receive().await.unwrap(), part(b"", true));
            let mut bytes = Vec::new();
            loop {
                match ends[to].receive().await.unwrap() {
                    Received::Part { bytes: part, last } => {
                        bytes.extend_from_slice(&part);
                        if last {
                            break;
                        }
                    }
                    other => panic!("{other:?}"),
                }
            }
            assert!(bytes == [7; 70_000]);
        }
    }

    #[tokio::test]
    async fn frames_that_are_queued_together_are_written_at_once() {
        let (mut client, mut server) = client(1 << 16);
        for _ in 0..10 {
            client.ping();
        }
        let written = poll_fn(|context| Poll::Ready(client.poll_flush(context))).await;
        assert!(written.is_ready());
        let mut bytes = [0; 1000];
        // Each is masked with its own mask.
        assert_eq!(server.read(&mut bytes).await.unwrap(), 10 * 6);
        let masks: Vec<_> = bytes[..60].chunks(6).map(|frame| &frame[2..]).collect();
        assert!(masks.windows(2).any(|two| two[0] != two[1]));
    }

    #[tokio::test]
    async fn a_close_is_answered_once_and_ends_both() {
        let (mut client, mut server) = pair(1 << 16);
        client.close(Some(1001), "bye");
        // Nothing follows a close.
        client.send_binary(b"late");
        client.flush().await.unwrap();
        let closed = Received::Closed {
            code: Some(1001),
            reason: "bye".into(),
        };
        assert_eq!(server.receive().await.unwrap(), closed);
        let over = server.receive().await;
        assert!(matches!(over, Err(WebSocketError::Ended)), "{over:?}");
        let answer = Received::Closed {
            code: Some(1001),
            reason: String::new(),
        };
        assert_eq!(client.receive().await.unwrap(), answer);
        let (client, server) = tokio::join!(client.finish(), server.finish());
        client.and(server).unwrap();
    }

    /// The close frame of a publisher that refuses the link, after a message.
    fn last_words() -> BytesMut {
        let mut frames = BytesMut::new();
        write_frame(&mut frames, FrameKind::Binary, true, b"x", None);
        let payload = close_payload(Some(1008), "no");
        write_frame(&mut frames, FrameKind::Close, true, &payload, None);
        frames
    }

    fn refused() -> Received {
        Received::Closed {
            code: Some(1008),
            reason: "no".into(),
        }
    }

    #[tokio::test]
    async fn what_can_be_read_is_read_though_nothing_can_be_written() {
        let (broken, other) = duplex(1);
        drop(other);
        let frames = last_words();
        let stream = tokio::io::join(&frames[..], broken);
        let mut client = WebSocket::new(stream, Role::Client, LIMITS, &[]);
        client.ping();
        assert_eq!(client.receive().await.unwrap(), part(b"x", true));
        assert_eq!(client.receive().await.unwrap(), refused());
        // And without a close frame, the failure is what there is to tell.
        let (broken, other) = duplex(1);
        drop(other);
        let stream = tokio::io::join(&frames[..3], broken);
        let mut client = WebSocket::new(stream, Role::Client, LIMITS, &[]);
        client.ping();
        assert_eq!(client.receive().await.unwrap(), part(b"x", true));
        let failed = client.receive().await;
        assert!(matches!(failed, Err(WebSocketError::Io(_))), "{failed:?}");
        assert!(client.flush().await.is_err());
    }

    #[tokio::test]
    async fn a_reset_does_not_hide_the_close_frame_before_it() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let mut client = WebSocket::new(stream, Role::Client, LIMITS, &[]);
        let (mut server, _) = listener.accept().await.unwrap();
        client.ping();
        client.flush().await.unwrap();
        // To close with bytes that are not read is to reset.
        server.readable().await.unwrap();
        server.write_all(&last_words()).await.unwrap();
        drop(server);
        client.ping();
        assert_eq!(client.receive().await.unwrap(), part(b"x", true));
        client.ping();
        assert_eq!(client.receive().await.unwrap(), refused());
    }

    #[tokio::test]
    async fn pings_are_answered_in_order() {
        let (mut client, mut server) = client(1 << 16);
        let mut pings = BytesMut::new();
        for number in 0..10u8 {
            write_frame(&mut pings, FrameKind::Ping, true, &[number], None);
        }
        server.write_all(&pings).await.unwrap();
        server.shutdown().await.unwrap();
        while client.receive().await.is_ok() {}
        drop(client);
        let mut answers = Vec::new();
        server.read_to_end(&mut answers).await.unwrap();
        let mut reader = FrameReader::new(Role::Server, LIMITS);
        for number in 0..10 {
            let step = reader.read(&mut answers).unwrap().unwrap();
            assert_eq!(step.item, Some(FrameItem::Pong));
            assert_eq!(answers[step.skip..step.skip + step.length], [number]);
            answers.drain(..step.skip + step.length);
        }
    }

    #[tokio::test]
    async fn a_flood_of_pings_that_reads_no_answers_costs_little() {
        let (mut client, mut server) = client(1 << 10);
        let mut pings = BytesMut::new();
        for number in 0..40_000u32 {
            let payload = [[0; 121].as_slice(), &number.to_be_bytes()].concat();
            write_frame(&mut pings, FrameKind::Ping, true, &payload, None);
        }
        let flood = async {
            server.write_all(&pings).await.unwrap();
            server
        };
        let answer = async {
            for _ in 0..40_000 {
                assert_eq!(client.receive().await.unwrap(), Received::Ping);
                assert!(client.unsent() < 5 << 10, "{}", client.unsent());
            }
            client
        };
        let (mut server, mut client) = tokio::join!(flood, answer);
        // The last one is answered all the same, as soon as the peer reads.
        let flush = async {
            client.flush().await.unwrap();
            drop(client);
        };
        let mut answers = Vec::new();
        let (read, ()) = tokio::join!(server.read_to_end(&mut answers), flush);
        assert!(read.unwrap() < 10 << 10);
        let mut last = answers.split_off(answers.len() - 131);
        let mut reader = FrameReader::new(Role::Server, LIMITS);
        reader.read(&mut last).unwrap().unwrap();
        assert_eq!(last[127..], 39_999u32.to_be_bytes());
    }

    #[tokio::test]
    async fn a_long_frame_costs_no_more_than_a_read_buffer() {
        const FRAME: usize = 64 << 20;
        let (mut client, mut server) = client(LARGEST);
        let peer = tokio::spawn(async move {
            let mut header = vec![0x82, 127];
            header.extend_from_slice(&(FRAME as u64).to_be_bytes());
            server.write_all(&header).await?;
            let mut sent = 0;
            // Slowly, and in all sizes.
            for size in (1..).map(|turn| turn * 997 % 60_000) {
                let size = size.min(FRAME - sent);
                server.write_all(&vec![0xee; size]).await?;
                sent += size;
                if sent == FRAME {
                    break;
                }
                tokio::task::yield_now().await;
            }
            io::Result::Ok(server)
        });
        let mut received = 0;
        loop {
            let Received::Part { bytes, last } = client.receive().await.unwrap() else {
                panic!("no part");
            };
            received += bytes.len();
            assert!(bytes.len() <= LARGEST);
            let held = client.input.allocated();
            assert!(held <= HELD_MAX, "{held} bytes are held");
            if last {
                break;
            }
        }
        assert_eq!(received, FRAME);
        let _server = peer.await.unwrap().unwrap();
        let nothing = poll_fn(|context| Poll::Ready(client.poll_receive(context))).await;
        assert!(nothing.is_pending());
        assert_eq!(client.input.allocated(), 0);
    }

    #[tokio::test]
    async fn what_was_read_is_given_without_reading() {
        let (mut client, mut server) = client(1 << 16);
        assert!(client.next_read().is_none());
        let mut frames = BytesMut::new();
        for number in 0..3 {
            write_frame(&mut frames, FrameKind::Binary, true, &[number], None);
        }
        server.write_all(&frames).await.unwrap();
        assert!(client.next_read().is_none());
        assert_eq!(client.receive().await.unwrap(), part(&[0], true));
        server.write_all(&frames).await.unwrap();
        for number in 1..3 {
            let next = client.next_read().unwrap().unwrap();
            assert_eq!(next, part(&[number], true));
        }
        assert!(client.next_read().is_none());
        assert_eq!(client.bytes_read(), 9);
    }

    #[tokio::test]
    async fn an_error_is_told_by_whoever_saw_it() {
        let (mut client, mut server) = pair(1 << 16);
        client.stream.write_all(&[0xc2, 0x80]).await.unwrap();
        client.stream.write_all(&[0; 4]).await.unwrap();
        let Err(WebSocketError::Frame(error)) = server.receive().await else {
            panic!("accepted");
        };
        server.close(Some(error.violation.close_code()), "");
        let (told, finished) = tokio::join!(client.receive(), server.flush());
        finished.unwrap();
        let closed = Received::Closed {
            code: Some(1002),
            reason: String::new(),
        };
        assert_eq!(told.unwrap(), closed);
    }
}
