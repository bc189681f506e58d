//! The publisher: a process that sends a set of messages as fast as the socket takes them.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use bytes::Bytes;
use replproto_core::wire::message::SubscriptionRequest;
use replproto_core::wire::{Message, SUBPROTOCOL};
use serde::{Deserialize, Serialize};
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{self, Message as Frame, WebSocket};

use crate::Result;
use crate::frames::{self, Frames, HEADER};
use crate::link_setup::{END, publisher_name, schema};
use crate::plan::{Plan, Shape};

/// The first argument of this role; the second is a [`Job`].
pub(crate) const ROLE: &str = "publish";

/// A thread per link needs little.
const STACK_BYTES: usize = 256 << 10;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) file: PathBuf,
}

/// Prints its port and serves until standard input ends: when the program that started it is gone.
pub(crate) fn main(job: &str) -> Result<()> {
    let Job { file } = serde_json::from_str(job)?;
    let script = Arc::new(Script::read(&file)?);
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    println!("{}", listener.local_addr()?.port());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let script = script.clone();
            let link = thread::Builder::new().stack_size(STACK_BYTES);
            let serve = move || {
                if let Err(error) = stream.map_err(Into::into).and_then(|it| serve(it, &script)) {
                    eprintln!("publisher: {error}");
                }
            };
            if let Err(error) = link.spawn(serve) {
                eprintln!("publisher: {error}");
            }
        }
    });
    io::copy(&mut io::stdin(), &mut io::sink())?;
    Ok(())
}

/// One link, to its end.
fn serve(stream: TcpStream, script: &Script) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut path = String::new();
    // The size of the error is not ours to choose.
    #[allow(clippy::result_large_err)]
    let choose =
        |request: &Request, mut response: Response| -> std::result::Result<_, ErrorResponse> {
            path = request.uri().path().to_owned();
            let subprotocol = HeaderValue::from_static(SUBPROTOCOL);
            let headers = response.headers_mut();
            headers.insert("sec-websocket-protocol", subprotocol);
            Ok(response)
        };
    let mut socket = tungstenite::accept_hdr(stream, choose).map_err(|error| error.to_string())?;
    let plan: Plan = path.parse()?;
    let request = converse(&mut socket)?;
    socket.send(Frame::Binary(schema(request.request).encode().into()))?;
    // From here on only whole buffers are written: frames that are ready. Pings are not answered, which nobody minds as
    // long as bytes come.
    let stream = socket.into_inner();
    thread::scope(|scope| {
        let listener = thread::Builder::new().stack_size(STACK_BYTES);
        // Confirmations have to be taken, or the receiver could not send them.
        listener.spawn_scoped(scope, || drain(&stream))?;
        match script.send(&stream, plan) {
            // The receiver has what it wanted.
            Err(error) if is_gone(&error) => Ok(()),
            result => Ok(result?),
        }
    })
}

/// Reads to the end.
fn drain(mut stream: &TcpStream) {
    let mut buffer = [0; 16 << 10];
    while stream.read(&mut buffer).is_ok_and(|read| read > 0) {}
}

fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
    )
}

/// Answers the greeting, and waits for the request that follows.
fn converse(socket: &mut WebSocket<TcpStream>) -> Result<SubscriptionRequest> {
    loop {
        let Frame::Binary(bytes) = socket.read()? else {
            continue;
        };
        match Message::decode(&bytes)? {
            Message::NodeName(_) => {
                socket.send(Frame::Binary(publisher_name().encode().into()))?;
            }
            Message::SubscriptionRequest(request) => return Ok(request),
            other => return Err(format!("the receiver said {other:?}").into()),
        }
    }
}

/// A set, ready to be sent.
struct Script {
    frames: Frames,
    /// A WebSocket frame for each message, one after the other.
    bytes: Vec<u8>,
    /// Where they end.
    ends: Vec<usize>,
}

/// The opcode of a frame, and whether it is the last of its message (RFC 6455, section 5.2).
const CONTINUATION: u8 = 0x00;
const BINARY: u8 = 0x02;
const LAST: u8 = 0x80;

impl Script {
    fn read(file: &Path) -> Result<Self> {
        let frames = Frames::read(file)?;
        let mut bytes = Vec::new();
        let mut ends = Vec::new();
        for message in frames.messages(Plan::ONCE) {
            push_frame(&mut bytes, BINARY | LAST, &message);
            ends.push(bytes.len());
        }
        Ok(Self {
            frames,
            bytes,
            ends,
        })
    }

    fn send(&self, mut stream: &TcpStream, plan: Plan) -> io::Result<()> {
        match plan.shape {
            Shape::Silence => return Ok(()),
            Shape::AsIs => {
                let count = self.frames.count(plan);
                let end = count.checked_sub(1).map_or(0, |last| self.ends[last]);
                for _ in 0..plan.repeat {
                    stream.write_all(&self.bytes[..end])?;
                }
            }
            Shape::OneFrame | Shape::Fragments => self.send_merged(stream, plan)?,
        }
        let mut end = Vec::new();
        push_frame(
            &mut end,
            BINARY | LAST,
            &Message::SequenceUpdate(END).encode(),
        );
        stream.write_all(&end)
    }

    /// One message with the entries of all transactions. It is never held whole here either.
    fn send_merged(&self, mut stream: &TcpStream, plan: Plan) -> io::Result<()> {
        let mut header = Vec::new();
        let mut total = HEADER;
        for message in self.frames.messages(plan) {
            if !frames::is_transaction(&message) {
                if header.is_empty() {
                    let mut command = Vec::new();
                    push_frame(&mut command, BINARY | LAST, &message);
                    stream.write_all(&command)?;
                }
                continue;
            }
            if header.is_empty() {
                header = message[..HEADER].to_vec();
            }
            total += entries_of(&message).len();
        }
        let mut opening = Vec::new();
        match plan.shape {
            Shape::OneFrame => {
                push_frame_header(&mut opening, BINARY | LAST, total);
                opening.extend_from_slice(&header);
            }
            _ => push_frame(&mut opening, BINARY, &header),
        }
        stream.write_all(&opening)?;
        for message in self.frames.messages(plan) {
            if !frames::is_transaction(&message) {
                continue;
            }
            let entries = entries_of(&message);
            if plan.shape == Shape::Fragments {
                let mut fragment = Vec::new();
                push_frame_header(&mut fragment, CONTINUATION, entries.len());
                stream.write_all(&fragment)?;
            }
            stream.write_all(&entries)?;
        }
        if plan.shape == Shape::Fragments {
            let mut last = Vec::new();
            push_frame_header(&mut last, CONTINUATION | LAST, 0);
            stream.write_all(&last)?;
        }
        Ok(())
    }
}

/// The entries of a transaction, without a position: that may only come at the end of a message.
fn entries_of(transaction: &Bytes) -> Bytes {
    let end = frames::without_terminator(transaction).len();
    transaction.slice(HEADER.min(end)..end)
}

fn push_frame(out: &mut Vec<u8>, first: u8, payload: &[u8]) {
    push_frame_header(out, first, payload.len());
    out.extend_from_slice(payload);
}

fn push_frame_header(out: &mut Vec<u8>, first: u8, length: usize) {
    out.push(first);
    match length {
        0..126 => out.push(length as u8),
        126..=0xffff => {
            out.push(126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
}
