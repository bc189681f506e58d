//! The upgrade from HTTP to a WebSocket.
//!
//! It is done here and not by the WebSocket library because that one logs the whole request, with the authorization in it,
//! and refuses an answer whose `Connection` header lists more than one token.

use std::fmt::Write as _;
use std::io;

use replproto_core::wire::SUBPROTOCOL;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tungstenite::handshake::client::{Response, generate_key};
use tungstenite::handshake::derive_accept_key;
use tungstenite::handshake::machine::TryParse;

use super::{Authorization, ConnectError, Endpoint};

/// A longer head of an answer is refused.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// Asks for a WebSocket. Gives what the peer sent after its answer: the first bytes of the WebSocket.
pub(crate) async fn upgrade<S>(
    stream: &mut S,
    endpoint: &Endpoint,
    authorization: Option<&Authorization>,
) -> Result<Vec<u8>, ConnectError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let key = generate_key();
    let request = request(endpoint, authorization, &key);
    stream
        .write_all(request.as_bytes())
        .await
        .map_err(ConnectError::Interrupted)?;
    stream.flush().await.map_err(ConnectError::Interrupted)?;
    let mut head = Vec::new();
    loop {
        if stream
            .read_buf(&mut head)
            .await
            .map_err(ConnectError::Interrupted)?
            == 0
        {
            let error = io::Error::from(io::ErrorKind::UnexpectedEof);
            return Err(ConnectError::Interrupted(error));
        }
        let parsed = Response::try_parse(&head)
            .map_err(|_| ConnectError::NotAWebSocket("this is not an HTTP answer"))?;
        if let Some((length, response)) = parsed {
            check(&response, &key)?;
            return Ok(head.split_off(length));
        }
        if head.len() > HEAD_BYTES_MAX {
            return Err(ConnectError::NotAWebSocket(
                "the head of its answer is too long",
            ));
        }
    }
}

fn request(endpoint: &Endpoint, authorization: Option<&Authorization>, key: &str) -> String {
    let mut request = format!(
        "GET {path} HTTP/1.1\r\n\
         Host: {host}\r\n\
         Connection: Upgrade\r\n\
         Upgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: {key}\r\n\
         Sec-WebSocket-Protocol: {SUBPROTOCOL}\r\n",
        path = endpoint.path(),
        host = endpoint.authority(),
    );
    if let Some(authorization) = authorization {
        // Writing to a string cannot fail.
        let _ = write!(request, "Authorization: {}\r\n", authorization.as_str());
    }
    request.push_str("\r\n");
    request
}

fn check(response: &Response, key: &str) -> Result<(), ConnectError> {
    let status = response.status().as_u16();
    if status != 101 {
        return Err(ConnectError::Status(status));
    }
    let header = |name: &str| {
        let value = response.headers().get(name)?;
        value.to_str().ok()
    };
    let has_token = |name: &str, token: &str| {
        header(name).is_some_and(|value| {
            value
                .split(',')
                .any(|item| item.trim().eq_ignore_ascii_case(token))
        })
    };
    if !has_token("upgrade", "websocket") || !has_token("connection", "upgrade") {
        return Err(ConnectError::NotAWebSocket(
            "it switched to another protocol",
        ));
    }
    if header("sec-websocket-accept") != Some(derive_accept_key(key.as_bytes()).as_str()) {
        return Err(ConnectError::NotAWebSocket("it did not see our key"));
    }
    if header("sec-websocket-extensions").is_some() {
        return Err(ConnectError::NotAWebSocket(
            "it uses an extension that was not offered",
        ));
    }
    let chosen = header("sec-websocket-protocol");
    if chosen != Some(SUBPROTOCOL) {
        return Err(ConnectError::Subprotocol {
            chosen: chosen.map(str::to_owned),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

    fn answer(status: u16, headers: &[(&str, &str)]) -> Result<(), ConnectError> {
        let mut text = format!("HTTP/1.1 {status} X\r\n");
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        let (_, response) = Response::try_parse(text.as_bytes()).unwrap().unwrap();
        check(&response, KEY)
    }

    const GOOD: [(&str, &str); 4] = [
        ("Upgrade", "WebSocket"),
        ("Connection", "keep-alive, upgrade"),
        ("Sec-WebSocket-Accept", ACCEPT),
        ("Sec-WebSocket-Protocol", SUBPROTOCOL),
    ];

    #[test]
    fn takes_a_proper_answer() {
        answer(101, &GOOD).unwrap();
    }

    #[test]
    fn tells_what_is_wrong_with_an_answer() {
        assert!(matches!(answer(401, &[]), Err(ConnectError::Status(401))));
        for missing in 0..3 {
            let mut headers = GOOD.to_vec();
            headers.remove(missing);
            assert!(
                matches!(answer(101, &headers), Err(ConnectError::NotAWebSocket(_))),
                "{missing}"
            );
        }
        for chosen in [None, Some("other"), Some("harperdb-replication-v1, x")] {
            let mut headers = GOOD[..3].to_vec();
            headers.extend(chosen.map(|chosen| ("Sec-WebSocket-Protocol", chosen)));
            match answer(101, &headers) {
                Err(ConnectError::Subprotocol { chosen: told }) => {
                    assert_eq!(told.as_deref(), chosen);
                }
                other => panic!("{other:?}"),
            }
        }
        let mut headers = GOOD.to_vec();
        headers.push(("Sec-WebSocket-Extensions", "permessage-deflate"));
        assert!(matches!(
            answer(101, &headers),
            Err(ConnectError::NotAWebSocket(_))
        ));
    }

    #[tokio::test]
    async fn keeps_what_came_right_after_the_answer() {
        let (mut ours, mut theirs) = tokio::io::duplex(1 << 16);
        let peer = async {
            let mut request = vec![0; 1 << 12];
            let mut length = 0;
            while !request[..length].ends_with(b"\r\n\r\n") {
                length += theirs.read(&mut request[length..]).await.unwrap();
            }
            let request = String::from_utf8(request[..length].to_vec()).unwrap();
            let key = request.split("Sec-WebSocket-Key: ").nth(1).unwrap();
            let key = key.split("\r\n").next().unwrap();
            let mut answer = "HTTP/1.1 101 X\r\n".to_owned();
            for (name, value) in GOOD {
                let value = match name {
                    "Sec-WebSocket-Accept" => derive_accept_key(key.as_bytes()),
                    _ => value.to_owned(),
                };
                answer.push_str(&format!("{name}: {value}\r\n"));
            }
            answer.push_str("\r\nabc");
            theirs.write_all(answer.as_bytes()).await.unwrap();
            request
        };
        let endpoint: Endpoint = "ws://node-a/x".parse().unwrap();
        let token = Authorization::new("Basic abc").unwrap();
        let (rest, request) = tokio::join!(upgrade(&mut ours, &endpoint, Some(&token)), peer);
        assert_eq!(rest.unwrap(), b"abc");
        assert!(request.starts_with("GET /x HTTP/1.1\r\nHost: node-a:9933\r\n"));
        assert!(request.contains("\r\nAuthorization: Basic abc\r\n"));
    }

    #[tokio::test]
    async fn an_endless_head_is_refused() {
        let (mut ours, mut theirs) = tokio::io::duplex(1 << 10);
        let peer = tokio::spawn(async move {
            theirs.write_all(b"HTTP/1.1 101 X\r\n").await?;
            loop {
                theirs
                    .write_all(b"X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy")
                    .await?;
            }
            #[allow(unreachable_code)]
            io::Result::Ok(())
        });
        let endpoint: Endpoint = "ws://a".parse().unwrap();
        let refused = upgrade(&mut ours, &endpoint, None).await;
        assert!(matches!(refused, Err(ConnectError::NotAWebSocket(_))));
        drop(ours);
        assert!(peer.await.unwrap().is_err());
    }
}
