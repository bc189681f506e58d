//! A publisher for tests: it listens on the loopback and says what the test tells it to say.
#![allow(dead_code, unreachable_pub, missing_docs)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{FutureExt, SinkExt, StreamExt};
use replproto_core::key::Key;
use replproto_core::value::{Profile, Value};
use replproto_core::wire::entry::Flags;
use replproto_core::wire::message::{
    Capabilities, ChunkHeader, NodeName, SubscriptionRequest, TableStructure,
};
use replproto_core::wire::{BatchBuilder, Message, NewEntry, SUBPROTOCOL};
use replproto_core::{Sequence, Start, WallTime};
use replproto_tokio::{Endpoint, LinkConfig, RunOptions};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Bytes, Message as Frame};

pub const NAME: &str = "node-a";
pub const DATABASE: &str = "data";
pub const TABLE: &str = "Dog";
pub const TIME: f64 = 1_747_252_561_000.0;

/// Far longer than anything takes: a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for something that must come.
pub async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(PATIENCE, what).await.expect("it never came")
}

/// Waits until something is true.
pub async fn until(mut what: impl FnMut() -> bool) {
    soon(async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

/// Quick to dial again, and from the beginning of the log.
pub fn options() -> RunOptions {
    let mut options = RunOptions::default();
    options.start = Start::At(Sequence(1.0));
    options.first_delay = Duration::from_millis(1);
    options.longest_delay = Duration::from_millis(1);
    options
}

pub struct Publisher {
    listener: TcpListener,
}

impl Publisher {
    pub async fn bind() -> Self {
        Self {
            listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
        }
    }

    pub fn endpoint(&self) -> Endpoint {
        let address = self.listener.local_addr().unwrap();
        format!("ws://{address}").parse().unwrap()
    }

    pub fn config(&self) -> LinkConfig {
        let mut config = LinkConfig::new(self.endpoint(), "us", DATABASE);
        // The positions of these tests are no times, so no version may lead to one.
        config.core.clock_margin = Duration::MAX;
        config
    }

    pub async fn accept_raw(&self) -> TcpStream {
        soon(self.accept_raw_at_leisure()).await
    }

    /// The same without an end to the patience.
    pub async fn accept_raw_at_leisure(&self) -> TcpStream {
        self.listener.accept().await.unwrap().0
    }

    /// Accepts a WebSocket and says nothing.
    pub async fn accept(&self) -> Peer {
        Peer::accept(self.accept_raw().await, PATIENCE).await
    }

    /// Accepts a link and answers its subscription.
    pub async fn link(&self) -> (Peer, SubscriptionRequest) {
        let mut peer = self.accept().await;
        let request = peer.set_up().await;
        (peer, request)
    }

    /// Whether nobody waits to be accepted.
    pub fn is_quiet(&self) -> bool {
        self.listener.accept().now_or_never().is_none()
    }
}

/// What the subscriber said.
#[derive(Debug)]
pub enum Said {
    Message(Message),
    Closed(Option<(u16, String)>),
    /// The connection broke.
    Gone,
}

pub struct Peer<S = TcpStream> {
    pub socket: WebSocketStream<S>,
    pub authorization: Option<String>,
    pub pings: u32,
    /// How long to wait for what must come.
    patience: Duration,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    /// Accepts a WebSocket over a stream and says nothing.
    pub async fn accept(stream: S, patience: Duration) -> Self {
        let peer = Self::try_accept(stream, patience).await;
        peer.expect("the upgrade broke off")
    }

    /// The same, unless the subscriber goes away first.
    pub async fn try_accept(stream: S, patience: Duration) -> Option<Self> {
        let authorization = Arc::new(Mutex::new(None));
        let seen = authorization.clone();
        #[allow(clippy::result_large_err)]
        let callback = move |request: &Request, mut response: Response| {
            let header = |name: &str| {
                let value = request.headers().get(name)?;
                Some(value.to_str().unwrap().to_owned())
            };
            assert_eq!(
                header("sec-websocket-protocol").as_deref(),
                Some(SUBPROTOCOL)
            );
            *seen.lock().unwrap() = header("authorization");
            let headers = response.headers_mut();
            headers.insert("sec-websocket-protocol", SUBPROTOCOL.parse().unwrap());
            Ok(response)
        };
        let socket = tokio_tungstenite::accept_hdr_async(stream, callback);
        let socket = timeout(patience, socket).await.expect("it never came");
        let authorization = authorization.lock().unwrap().take();
        Some(Self {
            socket: socket.ok()?,
            authorization,
            pings: 0,
            patience,
        })
    }

    pub async fn send(&mut self, message: &Message) {
        self.send_bytes(message.encode()).await;
    }

    /// Whether the connection still stands is seen by whoever listens next.
    pub async fn send_bytes(&mut self, bytes: Vec<u8>) {
        let sent = self.socket.send(Frame::Binary(bytes.into()));
        let _ = timeout(self.patience, sent).await.expect("it never came");
    }

    /// The next thing that the subscriber says, apart from pings.
    pub async fn hear(&mut self) -> Said {
        loop {
            match timeout(self.patience, self.socket.next())
                .await
                .expect("it never came")
            {
                Some(Ok(Frame::Binary(bytes))) => {
                    return Said::Message(Message::decode(&bytes).unwrap());
                }
                Some(Ok(Frame::Ping(_))) => self.pings += 1,
                Some(Ok(Frame::Close(frame))) => {
                    let frame = frame.map(|frame| (frame.code.into(), frame.reason.to_string()));
                    // Sends the answer.
                    let _ = timeout(self.patience, self.socket.flush()).await;
                    return Said::Closed(frame);
                }
                Some(Ok(other)) => panic!("{other:?}"),
                Some(Err(_)) | None => return Said::Gone,
            }
        }
    }

    /// Waits for the next confirmation.
    pub async fn confirmed(&mut self) -> f64 {
        match self.hear().await {
            Said::Message(Message::CommittedUpdate(sequence)) => sequence.0,
            other => panic!("{other:?}"),
        }
    }

    /// Waits until this is confirmed; earlier ones may come first.
    pub async fn confirmed_up_to(&mut self, sequence: f64) {
        loop {
            let confirmed = self.confirmed().await;
            assert!(confirmed <= sequence, "{confirmed} was never sent");
            if confirmed == sequence {
                return;
            }
        }
    }

    /// Waits for the close frame, past any confirmations.
    pub async fn closed(&mut self) -> Option<(u16, String)> {
        loop {
            match self.hear().await {
                Said::Closed(frame) => return frame,
                Said::Message(Message::CommittedUpdate(_)) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// Waits for the end of the connection, however it comes.
    pub async fn gone(&mut self) {
        while !matches!(self.hear().await, Said::Gone) {}
    }

    pub async fn close(&mut self, code: u16, reason: &str) {
        let frame = CloseFrame {
            code: CloseCode::from(code),
            reason: reason.to_owned().into(),
        };
        let closed = timeout(self.patience, self.socket.close(Some(frame))).await;
        closed.expect("it never came").unwrap();
    }

    /// The greeting, the subscription, and the answer to it.
    pub async fn set_up(&mut self) -> SubscriptionRequest {
        let request = self.greet(None).await.expect("the link is over");
        self.answer(&request).await;
        request
    }

    /// The greeting, which may ask for some time for the answer, and the subscription. `None`: the link ended first.
    pub async fn greet(&mut self, budget: Option<Duration>) -> Option<SubscriptionRequest> {
        match self.hear().await {
            Said::Message(Message::NodeName(_)) => {}
            Said::Message(other) => panic!("{other:?}"),
            Said::Closed(_) | Said::Gone => return None,
        }
        self.send(&Message::NodeName(NodeName {
            name: Some(NAME.into()),
            database: DATABASE.into(),
            tables: Vec::new(),
            capabilities: Some(Capabilities {
                setup_ack: 1.0,
                setup_budget: budget.map(|budget| budget.as_millis() as f64),
            }),
        }))
        .await;
        match self.hear().await {
            Said::Message(Message::SubscriptionRequest(request)) => Some(request),
            Said::Message(other) => panic!("{other:?}"),
            Said::Closed(_) | Said::Gone => None,
        }
    }

    /// The answer to the subscription, and what records need.
    pub async fn answer(&mut self, request: &SubscriptionRequest) {
        self.send(&Message::Schema {
            tables: Vec::new(),
            database: DATABASE.into(),
            request: request.request,
        })
        .await;
        self.send(&Message::NodeMap {
            ids: vec![(NAME.into(), 0)],
            subscribed: Vec::new(),
        })
        .await;
        let mut structure = TableStructure::default();
        structure.definition.table = TABLE.into();
        self.send(&Message::TableStructure(structure)).await;
    }

    /// A transaction that puts these records, each with its number as its value.
    pub async fn put(&mut self, keys: &[&str], sequence: f64) {
        self.send_bytes(batch(keys, sequence)).await;
    }

    /// A record that refers to a blob.
    pub async fn put_blob(&mut self, key: &str, file: &str, sequence: f64) {
        let mut payload = vec![0x93, 0xde, 0, 0, 0, 0xa0 | file.len() as u8];
        payload.extend_from_slice(file.as_bytes());
        let value = Value::Object(vec![("photo".into(), Value::Blob(payload))]);
        let mut batch = BatchBuilder::new(WallTime(TIME));
        batch.entry(&NewEntry {
            kind: 1,
            flags: Flags::FULL.with(Flags::BLOBS),
            key: &Key::Text(key.into()).encode().unwrap(),
            version: TIME,
            value: &value.encode(Profile::Table).unwrap(),
            ..NewEntry::default()
        });
        self.send_bytes(batch.finish(Some(Sequence(sequence))))
            .await;
    }

    pub async fn chunk(&mut self, file: &str, bytes: &[u8], finished: bool) {
        self.send(&Message::BlobChunk {
            header: ChunkHeader {
                file: file.into(),
                finished,
                ..ChunkHeader::default()
            },
            body: Bytes::copy_from_slice(bytes),
        })
        .await;
    }
}

/// The news that a blob's file is gone at the source.
pub fn gone(file: &str, why: &str) -> Message {
    Message::BlobChunk {
        header: ChunkHeader {
            file: file.into(),
            finished: true,
            error: Some(why.into()),
            error_code: Some("ENOENT".into()),
            ..ChunkHeader::default()
        },
        body: Bytes::new(),
    }
}

/// A transaction that puts these records.
pub fn batch(keys: &[&str], sequence: f64) -> Vec<u8> {
    padded_batch(keys, 0, sequence)
}

/// The same with a text of so many bytes in each record.
pub fn padded_batch(keys: &[&str], padding: usize, sequence: f64) -> Vec<u8> {
    builder(keys, padding, sequence).finish(Some(Sequence(sequence)))
}

/// A batch of which the end, with its position, has not come.
pub fn batch_without_end(keys: &[&str], sequence: f64) -> Vec<u8> {
    builder(keys, 0, sequence).finish(None)
}

fn builder(keys: &[&str], padding: usize, sequence: f64) -> BatchBuilder {
    let mut batch = BatchBuilder::new(WallTime(TIME));
    for key in keys {
        let value = Value::Object(vec![
            ("n".into(), Value::Number(sequence)),
            ("text".into(), Value::Text("x".repeat(padding))),
        ]);
        batch.entry(&NewEntry {
            kind: 1,
            flags: Flags::FULL,
            key: &Key::Text((*key).into()).encode().unwrap(),
            version: TIME + sequence,
            value: &value.encode(Profile::Table).unwrap(),
            ..NewEntry::default()
        });
    }
    batch
}

/// The ids that a memory sink holds.
pub fn keys(view: &replproto_tokio::MemoryView) -> Vec<String> {
    view.rows(TABLE)
        .keys()
        .map(|id| match Key::decode(id).unwrap() {
            Key::Text(text) => text,
            other => panic!("{other:?}"),
        })
        .collect()
}
