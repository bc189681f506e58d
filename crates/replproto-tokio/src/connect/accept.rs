//! The upgrade from HTTP to a WebSocket, seen from the side that was dialled.

use std::fmt;
use std::io;
use std::time::Duration;

use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use tungstenite::handshake::derive_accept_key;
use tungstenite::handshake::server::Request;

use super::head::{HeadError, at_most_one, has_token, is_token, items, read_head};
use crate::web_socket::{FrameLimits, Role, WebSocket};

/// How long, and for how many bytes, a client that was refused is still read from.
const DRAIN_TIME: Duration = Duration::from_millis(500);
const DRAIN_BYTES: u64 = 64 << 10;

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

    /// Whether the client speaks the subprotocol with exactly this name.
    pub fn offers(&self, subprotocol: &str) -> bool {
        items(self.0.headers(), "sec-websocket-protocol").any(|item| item == subprotocol.as_bytes())
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
    Request(&'static str),
    /// The request was refused with this HTTP status. The client was told so.
    #[error("the request was refused with HTTP status {0}")]
    Refused(u16),
    /// The subprotocol that was chosen is not a token, or none that the client offers. The client was told status 500.
    #[error("{0:?} cannot be chosen as the subprotocol")]
    Subprotocol(&'static str),
}

/// Waits for a client's request and answers it. `choose` looks at it: it gives the subprotocol, which must be one that the
/// client offers, or none; or the HTTP status to refuse with, from 400 to 599. Any other status counts as 500.
///
/// It may wait for the client for ever. A client that was refused gets half a second to read the answer.
///
/// # Errors
/// There is no WebSocket.
pub async fn accept<S>(
    mut stream: S,
    limits: FrameLimits,
    choose: impl FnOnce(&UpgradeRequest) -> Result<Option<&'static str>, u16>,
) -> Result<WebSocket<S>, AcceptError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let refusal = match read_head::<Request>(&mut stream).await {
        Ok((request, first)) => match answer(UpgradeRequest(request), choose) {
            Ok(answer) => {
                write(&mut stream, &answer).await?;
                return Ok(WebSocket::new(stream, Role::Server, limits, &first));
            }
            Err(refusal) => refusal,
        },
        Err(HeadError::Interrupted(error)) => return Err(AcceptError::Interrupted(error)),
        Err(HeadError::Tls) => Refusal::request("it is TLS, which is not spoken here"),
        Err(HeadError::Malformed) => Refusal::request("it is not the HTTP of an upgrade"),
        Err(HeadError::TooLong) => Refusal {
            status: 431,
            error: AcceptError::Request("its head is too long"),
        },
    };
    refuse(&mut stream, refusal.status).await?;
    Err(refusal.error)
}

/// What the client is told, and what the caller.
struct Refusal {
    status: u16,
    error: AcceptError,
}

impl Refusal {
    const fn request(why: &'static str) -> Self {
        Self {
            status: 400,
            error: AcceptError::Request(why),
        }
    }
}

/// The answer that makes this connection a WebSocket.
fn answer(
    request: UpgradeRequest,
    choose: impl FnOnce(&UpgradeRequest) -> Result<Option<&'static str>, u16>,
) -> Result<String, Refusal> {
    let accept_key = check(&request.0).map_err(Refusal::request)?;
    let subprotocol = choose(&request).map_err(|status| {
        let status = match status {
            400..=599 => status,
            _ => 500,
        };
        Refusal {
            status,
            error: AcceptError::Refused(status),
        }
    })?;
    let mut answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\n\
         Connection: Upgrade\r\n\
         Upgrade: websocket\r\n\
         Sec-WebSocket-Accept: {accept_key}\r\n"
    );
    if let Some(name) = subprotocol {
        if !is_token(name) || !request.offers(name) {
            return Err(Refusal {
                status: 500,
                error: AcceptError::Subprotocol(name),
            });
        }
        answer.push_str(&format!("Sec-WebSocket-Protocol: {name}\r\n"));
    }
    answer.push_str("\r\n");
    Ok(answer)
}

/// Looks for what RFC 6455 section 4.2.1 asks for, and gives the answer to the client's key.
fn check(request: &Request) -> Result<String, &'static str> {
    let headers = request.headers();
    let one = |name| at_most_one(headers, name).ok().flatten();
    if one("host").is_none() {
        return Err("it does not have exactly one host");
    }
    // A body would be read as frames.
    let has_length = headers.get_all("content-length").iter().any(|it| it != "0");
    if has_length || headers.contains_key("transfer-encoding") {
        return Err("it has a body");
    }
    if !has_token(headers, "connection", "upgrade") || !has_token(headers, "upgrade", "websocket") {
        return Err("it does not ask for an upgrade to a WebSocket");
    }
    if one("sec-websocket-version") != Some(b"13") {
        return Err("it is not of version 13");
    }
    let key = one("sec-websocket-key").ok_or("it does not have exactly one key")?;
    Ok(derive_accept_key(key))
}

/// Tells the client, and then reads on for a while: closing a connection with unread bytes would reset it, which can take
/// the answer away from the client.
async fn refuse<S>(stream: &mut S, status: u16) -> Result<(), AcceptError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let answer = format!(
        "HTTP/1.1 {status} Refused\r\n\
         Connection: close\r\n\
         Content-Length: 0\r\n\
         Sec-WebSocket-Version: 13\r\n\
         \r\n"
    );
    write(stream, &answer).await?;
    let drain = async {
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(DRAIN_BYTES), &mut tokio::io::sink()).await
    };
    // The answer is written. A client that breaks the connection now, or sends on, has itself to blame.
    let _ = timeout(DRAIN_TIME, drain).await;
    Ok(())
}

async fn write<S: AsyncWrite + Unpin>(stream: &mut S, text: &str) -> Result<(), AcceptError> {
    stream
        .write_all(text.as_bytes())
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
    use tokio::net::{TcpListener, TcpStream};
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
        let head =
            b"GET /x?canary=1 HTTP/1.1\r\nAuthorization: Basic canary\r\nCookie: canary\r\n\r\n";
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

    /// What a client hears that sends this.
    async fn refused(request: &str) -> (String, AcceptError) {
        let (ours, mut theirs) = duplex(1 << 16);
        theirs.write_all(request.as_bytes()).await.unwrap();
        let client = async {
            let mut answer = String::new();
            theirs.read_to_string(&mut answer).await.unwrap();
            drop(theirs);
            answer
        };
        let (server, answer) = tokio::join!(accept(ours, LIMITS, |_| Ok(None)), client);
        match server {
            Err(error) => (answer, error),
            Ok(_) => panic!("accepted {request:?}"),
        }
    }

    const LINES: [&str; 6] = [
        "GET / HTTP/1.1",
        "Host: a",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ];

    fn head(lines: &[&str]) -> String {
        lines.join("\r\n") + "\r\n\r\n"
    }

    async fn assert_no_request(request: &str) {
        let (answer, error) = refused(request).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{request}: {answer}");
        assert!(matches!(error, AcceptError::Request(_)), "{error:?}");
    }

    #[tokio::test]
    async fn what_is_no_request_is_refused() {
        for missing in 1..LINES.len() {
            let mut lines = LINES.to_vec();
            lines.remove(missing);
            assert_no_request(&head(&lines)).await;
        }
        for more in [
            LINES[1],
            LINES[4],
            LINES[5],
            "Content-Length: 5",
            "Content-Length: 00",
            "Content-Length: 0\r\nContent-Length: 5",
            "Transfer-Encoding: chunked",
        ] {
            assert_no_request(&head(&[&LINES[..], &[more]].concat())).await;
        }
        assert_no_request("\x16\x03\x01\r\n\r\n").await;
        let endless = LINES[0].to_owned() + "\r\nX: " + &"y".repeat(20_000);
        let (answer, _) = refused(&endless).await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }

    /// What a client hears that offers these subprotocols, and what comes of it.
    async fn offered(
        offer: &str,
        choice: Result<Option<&'static str>, u16>,
    ) -> (String, Option<AcceptError>) {
        let lines = [&LINES[..], &[offer, "Content-Length: 0"]].concat();
        let (ours, mut theirs) = duplex(1 << 16);
        theirs.write_all(head(&lines).as_bytes()).await.unwrap();
        let server = async { accept(ours, LIMITS, |_| choice).await.err() };
        let client = async {
            let mut answer = String::new();
            theirs.read_to_string(&mut answer).await.unwrap();
            drop(theirs);
            answer
        };
        let (error, answer) = tokio::join!(server, client);
        (answer, error)
    }

    #[tokio::test]
    async fn only_what_is_offered_can_be_chosen() {
        let offer = "Sec-WebSocket-Protocol: a, b\r\nSec-WebSocket-Protocol: c d";
        let (answer, error) = offered(offer, Ok(Some("b"))).await;
        assert!(error.is_none(), "{error:?}");
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        assert!(
            answer.contains("\r\nSec-WebSocket-Protocol: b\r\n"),
            "{answer}"
        );
        // Another one, another case, no token though it is offered, and more headers.
        for choice in ["x", "B", "c d", "b\r\nX: y"] {
            let (answer, error) = offered(offer, Ok(Some(choice))).await;
            assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
            assert!(matches!(error, Some(AcceptError::Subprotocol(told)) if told == choice));
        }
    }

    #[tokio::test]
    async fn only_a_failure_is_a_status_to_refuse_with() {
        for (chosen, told) in [
            (400, 400),
            (599, 599),
            (200, 500),
            (101, 500),
            (65_535, 500),
        ] {
            let (answer, error) = offered("X: y", Err(chosen)).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {told} ")), "{answer}");
            assert!(matches!(error, Some(AcceptError::Refused(status)) if status == told));
        }
    }

    #[tokio::test]
    async fn a_list_may_go_on_over_lines() {
        let mut lines = LINES.to_vec();
        lines.extend(["Connection: x", "Upgrade: h2c"]);
        lines[2] = "Connection: keep-alive, y\r\nConnection: upgrade";
        lines[3] = "Upgrade: z\r\nUpgrade: WebSocket";
        let (ours, mut theirs) = duplex(1 << 16);
        theirs.write_all(head(&lines).as_bytes()).await.unwrap();
        accept(ours, LIMITS, |_| Ok(None)).await.unwrap();
    }

    #[tokio::test]
    async fn the_answer_outlives_what_was_not_read() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (server, _) = listener.accept().await.unwrap();
        let request = head(&LINES) + &"z".repeat(32 << 10);
        client.write_all(request.as_bytes()).await.unwrap();
        let server = accept(server, LIMITS, |_| Err(403));
        let client = async {
            let mut answer = String::new();
            // A reset would be an error.
            client.read_to_string(&mut answer).await.unwrap();
            drop(client);
            answer
        };
        let (error, answer) = tokio::join!(server, client);
        assert!(matches!(error, Err(AcceptError::Refused(403))));
        assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    }
}
