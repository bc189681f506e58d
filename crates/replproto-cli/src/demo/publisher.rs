//! The publisher of the demo: it generates its log while it sends it.

use std::io;

use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use replproto_core::key::{Key, KeyError};
use replproto_core::value::EncodeError;
use replproto_core::wire::entry::Flags;
use replproto_core::wire::message::{
    Capabilities, ChunkHeader, NodeName, SubscriptionRequest, TableStructure,
};
use replproto_core::wire::{BatchBuilder, Message, NewEntry, SUBPROTOCOL};
use replproto_core::{Attribute, Sequence, TableDefinition, WallTime};
use thiserror::Error;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::handshake::server::{
    Callback, ErrorResponse, Request, Response,
};
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::Message as Frame;
use tokio_tungstenite::{WebSocketStream, accept_hdr_async, tungstenite};

use super::data::{self, Change, Plan};
use crate::output::say;

/// Why the publisher, or one of its connections, ended.
#[derive(Debug, Error)]
pub(super) enum PublisherError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    WebSocket(#[from] Box<tungstenite::Error>),
    #[error("the follower sent something else than it should: {0}")]
    Protocol(String),
    #[error("a value of the demo cannot be encoded: {0}")]
    Value(#[from] EncodeError),
    #[error("an id of the demo cannot be encoded: {0}")]
    Key(#[from] KeyError),
}

impl From<tungstenite::Error> for PublisherError {
    fn from(error: tungstenite::Error) -> Self {
        Self::WebSocket(Box::new(error))
    }
}

type Socket = WebSocketStream<TcpStream>;
type Outgoing = SplitSink<Socket, Frame>;
type Incoming = SplitStream<Socket>;

/// Listens on a port of the loopback, prints it as a line, and serves followers until standard input ends: when the
/// program that started this one is gone.
pub(super) async fn serve(plan: Plan) -> Result<(), PublisherError> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    say(listener.local_addr()?.port());
    let accept = async {
        loop {
            let (stream, _) = listener.accept().await?;
            tokio::spawn(async move {
                if let Err(error) = follow(stream, plan).await {
                    tracing::debug!(%error, "the connection of a follower ended");
                }
            });
        }
    };
    let mut input = tokio::io::stdin();
    let mut ignored = [0; 64];
    let orphaned = async { while input.read(&mut ignored).await.is_ok_and(|read| read > 0) {} };
    tokio::select! {
        result = accept => result,
        () = orphaned => Ok(()),
    }
}

/// Answers the upgrade with the subprotocol, which followers insist on.
struct ChooseSubprotocol;

impl Callback for ChooseSubprotocol {
    // The size of the error is not ours to choose.
    #[allow(clippy::result_large_err)]
    fn on_request(self, _: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
        let subprotocol = HeaderValue::from_static(SUBPROTOCOL);
        response
            .headers_mut()
            .insert("Sec-WebSocket-Protocol", subprotocol);
        Ok(response)
    }
}

/// One follower, from its upgrade to its end.
async fn follow(stream: TcpStream, plan: Plan) -> Result<(), PublisherError> {
    stream.set_nodelay(true)?;
    let socket = accept_hdr_async(stream, ChooseSubprotocol).await?;
    let (mut out, mut input) = socket.split();
    expect_name(&mut input).await?;
    let name = Message::NodeName(NodeName {
        name: Some(data::NODE.into()),
        database: data::DATABASE.into(),
        tables: Vec::new(),
        capabilities: Some(Capabilities {
            setup_ack: 1.0,
            setup_budget: None,
        }),
    });
    send(&mut out, name.encode()).await?;
    out.flush().await?;
    let request = expect_request(&mut input).await?;
    let Some(subscription) = request.subscriptions.first() else {
        return Err(PublisherError::Protocol("a request for nothing".into()));
    };
    let first = plan.transaction_after(subscription.start.0);
    let sending = async {
        send_context(&mut out, request.request).await?;
        send_log(&mut out, plan, first).await?;
        // There is nothing more to send, but pings are still answered.
        std::future::pending().await
    };
    // Reading goes on while sending waits for room: only then pings are answered, and the end is seen.
    let reading = async {
        while let Some(frame) = input.next().await {
            frame?;
        }
        Ok(())
    };
    tokio::select! {
        result = sending => result,
        result = reading => result,
    }
}

async fn receive(input: &mut Incoming) -> Result<Message, PublisherError> {
    loop {
        match input.next().await.transpose()? {
            Some(Frame::Binary(bytes)) => {
                return Message::decode(&bytes)
                    .map_err(|error| PublisherError::Protocol(error.to_string()));
            }
            Some(Frame::Ping(_) | Frame::Pong(_)) => {}
            other => return Err(PublisherError::Protocol(format!("{other:?}"))),
        }
    }
}

async fn expect_name(input: &mut Incoming) -> Result<(), PublisherError> {
    match receive(input).await? {
        Message::NodeName(_) => Ok(()),
        other => Err(PublisherError::Protocol(format!("{other:?}"))),
    }
}

async fn expect_request(input: &mut Incoming) -> Result<SubscriptionRequest, PublisherError> {
    match receive(input).await? {
        Message::SubscriptionRequest(request) => Ok(request),
        other => Err(PublisherError::Protocol(format!("{other:?}"))),
    }
}

/// Hands a message to the socket, waiting while that is full.
async fn send(out: &mut Outgoing, message: Vec<u8>) -> Result<(), PublisherError> {
    Ok(out.feed(Frame::Binary(Bytes::from(message))).await?)
}

/// The plain tables, then the one of the blobs; a table's place is its id.
fn tables() -> impl Iterator<Item = TableDefinition> {
    let attribute = |name: &str, is_primary_key| Attribute {
        name: name.into(),
        kind: None,
        is_primary_key,
    };
    let names = data::TABLES.into_iter().chain([data::PHOTOS]);
    names.map(move |table| TableDefinition {
        table: table.into(),
        schema_defined: true,
        attributes: vec![attribute("id", true)],
    })
}

/// The answer to the request, and everything that records need.
async fn send_context(out: &mut Outgoing, request: Option<u32>) -> Result<(), PublisherError> {
    let schema = Message::Schema {
        tables: tables().collect(),
        database: data::DATABASE.into(),
        request,
    };
    send(out, schema.encode()).await?;
    let nodes = Message::NodeMap {
        ids: vec![(data::NODE.into(), 0), (data::OTHER_NODE.into(), 1)],
        subscribed: vec![data::NODE.into()],
    };
    send(out, nodes.encode()).await?;
    for (table, definition) in tables().enumerate() {
        let structure = Message::TableStructure(TableStructure {
            typed: None,
            named: Some(data::structures()?),
            definition,
            table: table as u32,
        });
        send(out, structure.encode()).await?;
    }
    out.flush().await?;
    Ok(())
}

async fn send_log(out: &mut Outgoing, plan: Plan, first: u64) -> Result<(), PublisherError> {
    let transactions = plan.transactions();
    for transaction in first..transactions {
        // A third of the blobs comes before its record, a third after it, and a third in two halves around it.
        for blob in plan.blobs_of(transaction) {
            match blob % 3 {
                0 => send_blob(out, blob, Part::Whole).await?,
                1 => {}
                _ => send_blob(out, blob, Part::FirstHalf).await?,
            }
        }
        let number = transaction + 1;
        let tells_position =
            number % data::TRANSACTIONS_PER_POSITION == 0 || number == transactions;
        send(out, batch(plan, transaction, tells_position)?).await?;
        for blob in plan.blobs_of(transaction) {
            match blob % 3 {
                0 => {}
                1 => send_blob(out, blob, Part::Whole).await?,
                _ => send_blob(out, blob, Part::SecondHalf).await?,
            }
        }
        if tells_position {
            out.flush().await?;
        }
    }
    Ok(())
}

fn batch(plan: Plan, transaction: u64, tells_position: bool) -> Result<Vec<u8>, PublisherError> {
    let version = data::version(transaction);
    let mut batch = BatchBuilder::new(WallTime(version));
    for number in plan.changes(transaction) {
        let (kind, of, flags, value) = match data::change(number) {
            Change::Put => (1, number, Flags::FULL, data::record_value(number)?),
            Change::Patch(of) => (5, of, Flags::PARTIAL, data::patch_value(number)?),
            Change::Delete(of) => (2, of, Flags::default(), Vec::new()),
        };
        batch.entry(&NewEntry {
            kind,
            flags,
            node: u32::from(number % 5 == 4),
            table: data::table(of) as u32,
            key: &Key::Text(data::record_id(of)).encode()?,
            version,
            value: &value,
            ..NewEntry::default()
        });
    }
    for blob in plan.blobs_of(transaction) {
        batch.entry(&NewEntry {
            kind: 1,
            flags: Flags::FULL.with(Flags::BLOBS),
            table: data::TABLES.len() as u32,
            key: &Key::Text(data::photo_id(blob)).encode()?,
            version,
            value: &data::photo_value(blob)?,
            ..NewEntry::default()
        });
    }
    let position = tells_position.then(|| Sequence(data::position(transaction)));
    Ok(batch.finish(position))
}

/// Which chunks of a blob.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Whole,
    FirstHalf,
    SecondHalf,
}

async fn send_blob(out: &mut Outgoing, blob: u64, part: Part) -> Result<(), PublisherError> {
    let content = Bytes::from(data::blob_content(blob));
    let size = content.len();
    let half = size / 2;
    let (mut at, end) = match part {
        Part::Whole => (0, size),
        Part::FirstHalf => (0, half),
        Part::SecondHalf => (half, size),
    };
    while at < end {
        let next = (at + data::CHUNK_BYTES).min(end);
        let chunk = Message::BlobChunk {
            header: ChunkHeader {
                file: data::blob_file(blob),
                size: Some(size as u64),
                finished: next == size,
                ..ChunkHeader::default()
            },
            body: content.slice(at..next),
        };
        send(out, chunk.encode()).await?;
        at = next;
    }
    Ok(())
}
