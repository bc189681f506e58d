//! WebSocket libraries that receive and do nothing else: the limits of a link.

use std::time::Instant;

use fastwebsockets::{FragmentCollector, Frame, OpCode, Payload};
use futures_util::{SinkExt, StreamExt};
use replproto_core::wire::SUBPROTOCOL;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::Outcome;
use crate::Result;
use crate::link_setup::{is_last, receiver_words};
use crate::plan::Plan;

/// The publisher's greeting and schema, and its last message: they are not counted.
const NOT_OF_THE_SET: u64 = 3;

pub(super) async fn receive_with_tungstenite(port: u16, plan: Plan) -> Result<Outcome> {
    let start = Instant::now();
    let config = WebSocketConfig::default()
        .max_message_size(None)
        .max_frame_size(None);
    let stream = upgrade(port, plan).await?;
    let mut socket = WebSocketStream::from_raw_socket(stream, Role::Client, Some(config)).await;
    for word in receiver_words() {
        socket.send(Message::Binary(word.encode().into())).await?;
    }
    let mut messages = 0;
    while let Some(message) = socket.next().await {
        messages += 1;
        if is_last(&message?.into_data()) {
            return Ok(Outcome::since(start).messages(messages - NOT_OF_THE_SET));
        }
    }
    Err("the publisher ended the link".into())
}

pub(super) async fn receive_with_fastwebsockets(port: u16, plan: Plan) -> Result<Outcome> {
    let start = Instant::now();
    let stream = upgrade(port, plan).await?;
    let mut socket =
        fastwebsockets::WebSocket::after_handshake(stream, fastwebsockets::Role::Client);
    socket.set_max_message_size(usize::MAX);
    let mut socket = FragmentCollector::new(socket);
    for word in receiver_words() {
        let payload = Payload::Owned(word.encode());
        socket.write_frame(Frame::binary(payload)).await?;
    }
    let mut messages = 0;
    loop {
        let frame = socket.read_frame().await?;
        if frame.opcode == OpCode::Close {
            return Err("the publisher ended the link".into());
        }
        messages += 1;
        if is_last(&frame.payload) {
            return Ok(Outcome::since(start).messages(messages - NOT_OF_THE_SET));
        }
    }
}

/// Connects and makes a WebSocket of it. The publisher is our own, so what it answers is not looked at.
async fn upgrade(port: u16, plan: Plan) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.set_nodelay(true)?;
    let request = format!(
        "GET {plan} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\
         Sec-WebSocket-Protocol: {SUBPROTOCOL}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    // Byte by byte, so that nothing of the first frame is taken.
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await?);
    }
    if !answer.starts_with(b"HTTP/1.1 101 ") {
        return Err(String::from_utf8_lossy(&answer).into());
    }
    Ok(stream)
}
