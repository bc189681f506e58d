//! The publisher: a base copy, then a log without an end, over connections that it cuts.

use std::io;
use std::net::TcpListener;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use replproto_core::wire::entry::Flags;
use replproto_core::wire::message::{
    Capabilities, ChunkHeader, CopyResume, NodeName, SubscriptionRequest, TableStructure,
};
use replproto_core::wire::{BatchBuilder, Message, NewEntry, SUBPROTOCOL};
use replproto_core::{Sequence, TableDefinition, WallTime};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::{Error, Message as Frame};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async};

use crate::source::{self, Change, Id, PHOTOS, State, TABLES};
use crate::world::{Happening, Shared};

pub(crate) const NODE: &str = "node-a";
pub(crate) const DATABASE: &str = "data";

/// How many rows of a base copy are in a batch at most.
const ROWS_PER_BATCH: usize = 50;

/// So many transactions are not confirmed before the log grows no further.
const UNCONFIRMED_MAX: usize = 60;

const CHUNK_BYTES: usize = 16 << 10;

type Outgoing = SplitSink<WebSocketStream<Cut>, Frame>;
type Incoming = SplitStream<WebSocketStream<Cut>>;

/// Serves followers, one after the other, on a thread that lives as long as the test.
pub(crate) fn start(shared: Arc<Shared>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    listener.set_nonblocking(true).expect("a listener");
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                let connection = tokio::spawn({
                    let shared = Arc::clone(&shared);
                    // How a connection ends is decided by the cut and by the kill.
                    async move { drop(follow(stream, &shared).await) }
                });
                let shared = Arc::clone(&shared);
                tokio::spawn(async move {
                    if let Err(panic) = connection.await {
                        shared.with(|world| world.breaks(format!("the publisher: {panic}")));
                    }
                });
            }
        });
    });
    port
}

/// A connection that breaks after so many bytes of ours, wherever in a frame that is.
struct Cut {
    stream: TcpStream,
    left: usize,
}

impl AsyncRead for Cut {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Cut {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.left == 0 {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let bytes = &bytes[..bytes.len().min(self.left)];
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        if let Poll::Ready(Ok(count)) = &written {
            self.left -= count;
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// One connection, from its upgrade to its end.
async fn follow(stream: TcpStream, shared: &Shared) -> Result<(), Error> {
    shared.happened_unless_stopped(Happening::Accepted).await;
    stream.set_nodelay(true)?;
    let (life, left) = shared.with(|world| (world.life, world.draw_cut()));
    #[allow(clippy::result_large_err)]
    let choose = |_: &Request, mut response: Response| {
        let subprotocol = SUBPROTOCOL.parse().expect("a header");
        response
            .headers_mut()
            .insert("Sec-WebSocket-Protocol", subprotocol);
        Ok(response)
    };
    let socket = accept_hdr_async(Cut { stream, left }, choose).await?;
    let (out, mut input) = socket.split();
    let mut out = Out {
        socket: out,
        shared,
    };
    let Message::NodeName(_) = receive(&mut input).await? else {
        panic!("no name");
    };
    shared.happened(Happening::Greeted);
    let name = Message::NodeName(NodeName {
        name: Some(NODE.into()),
        database: DATABASE.into(),
        tables: Vec::new(),
        capabilities: Some(Capabilities {
            setup_ack: 1.0,
            setup_budget: None,
        }),
    });
    out.send(name.encode()).await?;
    let Message::SubscriptionRequest(request) = receive(&mut input).await? else {
        panic!("no subscription");
    };
    let subscription = &request.subscriptions[0];
    let start = subscription.start.0;
    shared.with(|world| world.on_start(start, subscription.copy_resume.as_ref()));
    shared.happened(Happening::Subscribed);
    let sending = async {
        out.context(&request).await?;
        let from = if start == 0.0 {
            out.copy(subscription.copy_resume.as_ref()).await?
        } else {
            source::transactions_before(start)
        };
        out.log(from).await
    };
    let reading = async {
        loop {
            match receive(&mut input).await? {
                Message::CommittedUpdate(Sequence(sequence)) => {
                    shared
                        .until(|world| world.stops_at != Some(Happening::Confirmed))
                        .await;
                    shared.with(|world| world.on_confirmed(life, sequence));
                    shared.happened(Happening::Confirmed);
                }
                other => panic!("{other:?}"),
            }
        }
    };
    tokio::select! {
        ended = sending => ended,
        ended = reading => ended,
    }
}

async fn receive(input: &mut Incoming) -> Result<Message, Error> {
    loop {
        match input.next().await.ok_or(Error::ConnectionClosed)?? {
            Frame::Binary(bytes) => return Ok(Message::decode(&bytes).expect("a message")),
            Frame::Ping(_) | Frame::Pong(_) => {}
            _ => return Err(Error::ConnectionClosed),
        }
    }
}

/// The way to the follower.
struct Out<'a> {
    socket: Outgoing,
    shared: &'a Shared,
}

impl Out<'_> {
    async fn send(&mut self, message: Vec<u8>) -> Result<(), Error> {
        self.socket
            .send(Frame::Binary(Bytes::from(message)))
            .await?;
        self.shared.happened(Happening::Sent);
        Ok(())
    }

    /// The answer to the request, and everything that records need.
    async fn context(&mut self, request: &SubscriptionRequest) -> Result<(), Error> {
        let definition = |table: &str| TableDefinition {
            table: table.into(),
            ..TableDefinition::default()
        };
        let schema = Message::Schema {
            tables: TABLES.map(definition).into(),
            database: DATABASE.into(),
            request: request.request,
        };
        self.send(schema.encode()).await?;
        let nodes = Message::NodeMap {
            ids: vec![(NODE.into(), 0)],
            subscribed: Vec::new(),
        };
        self.send(nodes.encode()).await?;
        for (table, name) in TABLES.into_iter().enumerate() {
            let structure = TableStructure {
                definition: definition(name),
                table: table as u32,
                ..TableStructure::default()
            };
            self.send(Message::TableStructure(structure).encode())
                .await?;
        }
        Ok(())
    }

    /// The base copy, while the source goes on (`protocol.md` section 8.3). Gives where the log goes on after it.
    async fn copy(&mut self, resume: Option<&CopyResume>) -> Result<usize, Error> {
        let copy_start = self.shared.with(|world| match resume {
            Some(resume) => resume.start.0,
            None => source::position(world.source.log.len() - 1),
        });
        let start = WallTime(copy_start);
        self.send(Message::CopyStart { start, order: 1 }.encode())
            .await?;
        let (mut table, mut from) = match resume {
            Some(resume) => {
                let (table, number) = crate::world::resumed(resume);
                (table, number + 1)
            }
            None => (0, 0),
        };
        while table < TABLES.len() {
            self.shared.until(|world| world.may_copy()).await;
            let rows: Vec<(Id, State)> = self.shared.with(|world| {
                world.copied_batches += 1;
                let mut rows: Vec<_> = world
                    .source
                    .rows(table, from)
                    .take(ROWS_PER_BATCH)
                    .collect();
                // Rows of different versions never share a batch.
                let first = rows.first().map(|(_, state)| state.last);
                let alike = rows
                    .iter()
                    .take_while(|(_, state)| Some(state.last) == first)
                    .count();
                rows.truncate(alike);
                let end = rows.last().map_or(u64::MAX, |((_, number), _)| number + 1);
                world.copy_passes(table, from..end);
                if world.random.one_in(2) {
                    world.source.advance();
                }
                rows
            });
            let Some((last, _)) = rows.last() else {
                table += 1;
                from = 0;
                continue;
            };
            from = last.1 + 1;
            let entries: Vec<Entry> = rows
                .iter()
                .map(|(id, state)| Entry::new(*id, Change::Put, *state))
                .collect();
            self.transaction(&entries, None).await?;
        }
        self.shared
            .with(|world| world.sent = world.sent.max(copy_start));
        let end = BatchBuilder::new(start).finish(Some(Sequence(copy_start)));
        self.send(end).await?;
        self.send(Message::CopyComplete.encode()).await?;
        Ok(source::transactions_before(copy_start))
    }

    /// The log from a transaction on, for ever.
    async fn log(&mut self, from: usize) -> Result<(), Error> {
        for transaction in from.. {
            self.shared
                .until(|world| {
                    let is_new = transaction >= world.source.log.len();
                    let confirmed = source::transactions_before(world.confirmed);
                    let may_grow =
                        !world.is_ending && transaction < confirmed.max(from) + UNCONFIRMED_MAX;
                    if is_new && may_grow {
                        world.source.advance();
                    }
                    !is_new || may_grow
                })
                .await;
            let entries: Vec<Entry> = self.shared.with(|world| {
                world.sent = world.sent.max(source::position(transaction));
                let changes = world.source.log[transaction].clone();
                let entries = changes.into_iter().map(|(id, change)| {
                    let history = &world.source.histories[&id];
                    let at = history.binary_search_by_key(&transaction, |(at, _)| *at);
                    let state = at.ok().and_then(|at| history[at].1);
                    let deleted = State::deleted(transaction);
                    Entry::new(id, change, state.unwrap_or(deleted))
                });
                entries.collect()
            });
            // Positions are told now and then, and always where the log ends.
            let is_last = self
                .shared
                .with(|world| transaction + 1 >= world.source.log.len());
            let tells = transaction % 3 == 0 || is_last;
            self.transaction(&entries, tells.then(|| source::position(transaction)))
                .await?;
        }
        Ok(())
    }

    /// A batch with its blobs: one in three comes before it, one after, and one in two halves around it.
    async fn transaction(&mut self, entries: &[Entry], position: Option<f64>) -> Result<(), Error> {
        let files: Vec<&str> = entries
            .iter()
            .filter_map(|entry| entry.blob.as_deref())
            .collect();
        for (number, file) in files.iter().enumerate() {
            match number % 3 {
                0 => self.blob(file, true, true).await?,
                1 => {}
                _ => self.blob(file, true, false).await?,
            }
        }
        self.send(batch(entries, position)).await?;
        for (number, file) in files.iter().enumerate() {
            match number % 3 {
                0 => {}
                1 => self.blob(file, true, true).await?,
                _ => self.blob(file, false, true).await?,
            }
        }
        Ok(())
    }

    async fn blob(
        &mut self,
        file: &str,
        has_first_half: bool,
        has_second_half: bool,
    ) -> Result<(), Error> {
        let content = Bytes::from(source::blob_content(file));
        let half = content.len() / 2;
        let (mut at, end) = match (has_first_half, has_second_half) {
            (true, false) => (0, half),
            (false, true) => (half, content.len()),
            _ => (0, content.len()),
        };
        while at < end {
            let next = (at + CHUNK_BYTES).min(end);
            let chunk = Message::BlobChunk {
                header: ChunkHeader {
                    file: file.into(),
                    size: Some(content.len() as u64),
                    finished: next == content.len(),
                    ..ChunkHeader::default()
                },
                body: content.slice(at..next),
            };
            self.send(chunk.encode()).await?;
            if next == content.len() {
                self.shared.happened(Happening::Chunk);
            } else {
                self.shared.happened_unless_stopped(Happening::Chunk).await;
            }
            at = next;
        }
        if has_second_half {
            self.shared
                .with(|world| world.sent_blobs.insert(file.to_owned()));
        }
        Ok(())
    }
}

/// An entry of a batch.
struct Entry {
    id: Id,
    change: Change,
    state: State,
    blob: Option<String>,
}

impl Entry {
    fn new(id: Id, change: Change, state: State) -> Self {
        let has_blob = id.0 == PHOTOS && change == Change::Put;
        Self {
            id,
            change,
            state,
            blob: has_blob.then(|| source::blob_file(id, state.put())),
        }
    }
}

fn batch(entries: &[Entry], position: Option<f64>) -> Vec<u8> {
    let time = entries.first().map_or(0, |entry| entry.state.last);
    let mut batch = BatchBuilder::new(WallTime(source::version(time)));
    for Entry {
        id,
        change,
        state,
        blob,
    } in entries
    {
        let (kind, flags, value) = match change {
            Change::Put => (1, Flags::FULL, source::value(*id, *state, false)),
            Change::Patch => (5, Flags::PARTIAL, source::value(*id, *state, true)),
            Change::Delete => (2, Flags::default(), Vec::new()),
        };
        batch.entry(&NewEntry {
            kind,
            flags: if blob.is_some() {
                flags.with(Flags::BLOBS)
            } else {
                flags
            },
            table: id.0 as u32,
            key: &source::key_bytes(id.1),
            version: source::version(state.last),
            value: &value,
            ..NewEntry::default()
        });
    }
    batch.finish(position.map(Sequence))
}

/// Between two looks at whether something may be sent.
pub(crate) const LOOK: Duration = Duration::from_millis(1);
