//! The upgrade from HTTP to a WebSocket, seen from the side that was dialled.

use std::fmt;
use std::io;

use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tungstenite::handshake::server::{Request, create_response, write_response};
use tungstenite::http::HeaderValue;

use super::head::{HeadError, has_token, read_head};
use crate::web_socket::{FrameLimits, Role, WebSocket};

/// What a client asks for. [`Debug`] shows neither its headers nor the query, which may hold secrets.
pub struct UpgradeRequest(Request);

impl fmt::Debug for UpgradeRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpgradeRequest")
            .field("method", self.0.method())
            .field("path", &self.0.uri().path())
            .finish_non_exhaustive()
    }
}

impl UpgradeRequest {
    /// The path and the query.
    pub fn path(&self) -> &str {
        self.0
            .uri()
            .path_and_query()
            .map_or("/", |path| path.as_str())
    }

    /// Whether the client speaks this subprotocol.
    pub fn offers(&self, subprotocol: &str) -> bool {
        has_token(self.0.headers(), PROTOCOL, subprotocol)
    }

    /// The value of the `Authorization` header.
    pub fn authorization(&self) -> Option<&[u8]> {
        let value = self.0.headers().get("authorization")?;
        Some(value.as_bytes())
    }
}

/// Why there is no WebSocket.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AcceptError {
    /// The connection broke, or was closed, during the upgrade.
    #[error("the connection broke during the upgrade to a WebSocket")]
    Interrupted(#[source] io::Error),
    /// The request is none for a WebSocket. The client was told so.
    #[error("this is no request for a WebSocket: {0}")]
    Request(String),
    /// The request was refused with this HTTP status. The client was told so.
    #[error("the request was refused with HTTP status {0}")]
    Refused(u16),
}

/// Waits for a client's request and answers it. `choose` looks at it: it gives the subprotocol, which must be one that the
/// client offers, or none; or the HTTP status to refuse with, from 400 to 599.
///
/// It may wait for the client for ever.
///
/// # Errors
/// There is no WebSocket.
///
/// # Panics
/// The subprotocol has characters that a header cannot have.
pub async fn accept<S>(
    mut stream: S,
    limits: FrameLimits,
    choose: impl FnOnce(&UpgradeRequest) -> Result<Option<&'static str>, u16>,
) -> Result<WebSocket<S>, AcceptError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (request, first) = match read_head::<Request>(&mut stream).await {
        Ok(read) => read,
        Err(HeadError::Interrupted(error)) => return Err(AcceptError::Interrupted(error)),
        Err(HeadError::Malformed) => return refuse(&mut stream, 400, "not HTTP").await,
        Err(HeadError::TooLong) => return refuse(&mut stream, 431, "its head is too long").await,
    };
    let mut response = match create_response(&request) {
        Ok(response) => response,
        Err(why) => return refuse(&mut stream, 400, &why.to_string()).await,
    };
    if request
        .headers()
        .get_all("sec-websocket-key")
        .iter()
        .count()
        > 1
    {
        return refuse(&mut stream, 400, "it has several keys").await;
    }
    match choose(&UpgradeRequest(request)) {
        Ok(subprotocol) => {
            if let Some(subprotocol) = subprotocol {
                let value = HeaderValue::from_static(subprotocol);
                response.headers_mut().insert(PROTOCOL, value);
            }
        }
        Err(status) => {
            write_refusal(&mut stream, status).await?;
            return Err(AcceptError::Refused(status));
        }
    }
    let mut answer = Vec::new();
    // Writing to memory does not fail, and all of its headers are ours.
    let _ = write_response(&mut answer, &response);
    write(&mut stream, &answer).await?;
    Ok(WebSocket::new(stream, Role::Server, limits, &first))
}

const PROTOCOL: &str = "sec-websocket-protocol";

async fn refuse<S: AsyncWrite + Unpin, T>(
    stream: &mut S,
    status: u16,
    why: &str,
) -> Result<T, AcceptError> {
    write_refusal(stream, status).await?;
    Err(AcceptError::Request(why.to_owned()))
}

async fn write_refusal<S: AsyncWrite + Unpin>(
    stream: &mut S,
    status: u16,
) -> Result<(), AcceptError> {
    let answer = format!(
        "HTTP/1.1 {status} Refused\r\n\
         Connection: close\r\n\
         Content-Length: 0\r\n\
         Sec-WebSocket-Version: 13\r\n\
         \r\n"
    );
    write(stream, answer.as_bytes()).await
}

async fn write<S: AsyncWrite + Unpin>(stream: &mut S, bytes: &[u8]) -> Result<(), AcceptError> {
    stream
        .write_all(bytes)
        .await
        .map_err(AcceptError::Interrupted)?;
    stream.flush().await.map_err(AcceptError::Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connect::upgrade;
    use crate::connect::{ConnectError, Endpoint};
    use crate::web_socket::Received;
    use tokio::io::{AsyncReadExt, duplex};
    use tungstenite::handshake::machine::TryParse;

    const LIMITS: FrameLimits = FrameLimits::message(1 << 20);

    #[tokio::test]
    async fn both_ends_agree_and_keep_what_came_early() {
        let (ours, theirs) = duplex(1 << 16);
        let endpoint: Endpoint = "ws://node-a/x?y".parse().unwrap();
        let client = upgrade(theirs, &endpoint, None, Some("b"), LIMITS);
        let server = accept(ours, LIMITS, |request| {
            assert_eq!(request.path(), "/x?y");
            assert_eq!(request.authorization(), None);
            assert!(request.offers("b") && !request.offers("a"));
            Ok(Some("b"))
        });
        let (client, server) = tokio::join!(client, server);
        let (mut client, mut server) = (client.unwrap(), server.unwrap());
        client.send_binary(b"hello");
        client.flush().await.unwrap();
        match server.receive().await.unwrap() {
            Received::Part { bytes, last: true } => assert_eq!(bytes, b"hello"[..]),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn no_secret_of_a_request_is_shown() {
        let head = b"GET /x?canary=1 HTTP/1.1\r\nAuthorization: Basic canary\r\nCookie: canary\r\n\r\n";
        let (_, request) = Request::try_parse(head).unwrap().unwrap();
        let request = UpgradeRequest(request);
        assert_eq!(request.authorization(), Some(&b"Basic canary"[..]));
        let shown = format!("{request:?} {request:#?}");
        assert!(!shown.contains("canary"), "{shown}");
        assert!(shown.contains("GET") && shown.contains("/x"), "{shown}");
    }

    #[tokio::test]
    async fn a_refusal_is_told() {
        let (ours, theirs) = duplex(1 << 16);
        let endpoint: Endpoint = "ws://node-a".parse().unwrap();
        let client = upgrade(theirs, &endpoint, None, None, LIMITS);
        let server = accept(ours, LIMITS, |_| Err(403));
        let (client, server) = tokio::join!(client, server);
        assert!(matches!(client, Err(ConnectError::Status(403))));
        assert!(matches!(server, Err(AcceptError::Refused(403))));
    }

    /// What a client hears that sends this head.
    async fn answer(head: &str) -> (String, AcceptError) {
        let (ours, mut theirs) = duplex(1 << 16);
        theirs.write_all(head.as_bytes()).await.unwrap();
        let Err(error) = accept(ours, LIMITS, |_| Ok(None)).await else {
            panic!("accepted {head:?}");
        };
        let mut answer = String::new();
        theirs.read_to_string(&mut answer).await.unwrap();
        (answer, error)
    }

    #[tokio::test]
    async fn what_is_no_request_is_refused() {
        let lines = [
            "GET / HTTP/1.1",
            "Host: a",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        ];
        // Without any of those that matter, in turn.
        for missing in [2, 3, 4, 5] {
            let mut lines = lines.to_vec();
            lines.remove(missing);
            let (answer, error) = answer(&(lines.join("\r\n") + "\r\n\r\n")).await;
            assert!(answer.starts_with("HTTP/1.1 400 "), "{missing}: {answer}");
            assert!(matches!(error, AcceptError::Request(_)));
        }
        let (twice, _) = answer(&(lines.join("\r\n") + "\r\n" + lines[5] + "\r\n\r\n")).await;
        assert!(twice.starts_with("HTTP/1.1 400 "));
        let (malformed, _) = answer("\x16\x03\x01\r\n\r\n").await;
        assert!(malformed.starts_with("HTTP/1.1 400 "));
        let (endless, _) = answer(&(lines[0].to_owned() + "\r\nX: " + &"y".repeat(20_000))).await;
        assert!(endless.starts_with("HTTP/1.1 431 "));
    }
}
