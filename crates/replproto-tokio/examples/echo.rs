//! Says back what it hears, in either role. The conformance tests of WebSockets (`tests/autobahn/run`) talk to it.
//!
//! `echo serve 127.0.0.1:9001` is a server. `echo dial 127.0.0.1:9001` is a client of a server that runs cases: it asks how
//! many there are, takes part in each, and asks for the reports in the end.

use std::error::Error;
use std::time::Duration;

use replproto_tokio::web_socket::{FrameLimits, Received, WebSocket, WebSocketError};
use replproto_tokio::{Endpoint, accept, upgrade};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// Messages are said back whole, so they have to fit in memory.
const LIMITS: FrameLimits = FrameLimits::message(64 << 20);

/// How long the peer may take to end the connection.
const CLOSE_TIME: Duration = Duration::from_secs(5);

type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments[..] {
        [role, address] if role == "serve" => serve(address).await,
        [role, address] if role == "dial" => take_part(address).await,
        _ => Err("usage: echo serve ADDRESS | echo dial ADDRESS".into()),
    }
}

async fn serve(address: &str) -> Result<(), Failure> {
    let listener = TcpListener::bind(address).await?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(async {
            stream.set_nodelay(true)?;
            let socket = accept(stream, LIMITS, |_| Ok(None)).await?;
            talk(socket).await
        });
    }
}

async fn take_part(address: &str) -> Result<(), Failure> {
    let count = match dial(address, "/getCaseCount").await?.receive().await? {
        Received::Text { bytes, last: true } => str::from_utf8(&bytes)?.parse()?,
        other => return Err(format!("{other:?} is no number of cases").into()),
    };
    for case in 1..=count {
        let path = format!("/runCase?case={case}&agent=replproto");
        // Some cases end by breaking the connection.
        let _ = talk(dial(address, &path).await?).await;
    }
    let _ = talk(dial(address, "/updateReports?agent=replproto").await?).await;
    println!("took part in {count} cases");
    Ok(())
}

async fn dial(address: &str, path: &str) -> Result<WebSocket<TcpStream>, Failure> {
    let endpoint: Endpoint = format!("ws://{address}{path}").parse()?;
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(upgrade(stream, &endpoint, None, None, LIMITS).await?)
}

/// Echoes until the peer closes, or breaks the protocol.
async fn talk(mut socket: WebSocket<TcpStream>) -> Result<(), Failure> {
    match echo(&mut socket).await {
        Ok(()) => {}
        Err(WebSocketError::Frame(error)) => {
            let violation = error.violation;
            socket.close(Some(violation.close_code()), &violation.to_string());
        }
        Err(error) => return Err(error.into()),
    }
    Ok(timeout(CLOSE_TIME, socket.finish()).await??)
}

async fn echo(socket: &mut WebSocket<TcpStream>) -> Result<(), WebSocketError> {
    let mut message = Vec::new();
    loop {
        let (bytes, is_text, last) = match socket.receive().await? {
            Received::Part { bytes, last } => (bytes, false, last),
            Received::Text { bytes, last } => (bytes, true, last),
            Received::Closed { .. } => return Ok(()),
            _ => continue,
        };
        message.extend_from_slice(&bytes);
        if last {
            let message = std::mem::take(&mut message);
            if is_text {
                socket.send_text(&String::from_utf8_lossy(&message));
            } else {
                socket.send_binary(&message);
            }
            socket.flush().await?;
        }
    }
}
