//! The upgrade from HTTP to a WebSocket.
//!
//! It is done here and not by the WebSocket library because that one logs the whole request, with the authorization in it,
//! and refuses an answer whose `Connection` header lists more than one token.

use std::fmt::Write as _;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tungstenite::handshake::client::{Response, generate_key};
use tungstenite::handshake::derive_accept_key;

use super::head::{HeadError, Repeated, at_most_one, has_token, is_token, read_last_head};
use super::{Authorization, ConnectError, Endpoint};
use crate::web_socket::{FrameLimits, Role, WebSocket};

/// Asks the peer at the other end of the stream for a WebSocket. With a subprotocol, the peer must choose it; without one,
/// it must choose none. The endpoint is only named in the request.
///
/// It may wait for the peer for ever.
///
/// # Errors
/// There is no WebSocket.
pub async fn upgrade<S>(
    mut stream: S,
    endpoint: &Endpoint,
    authorization: Option<&Authorization>,
    subprotocol: Option<&str>,
    limits: FrameLimits,
) -> Result<WebSocket<S>, ConnectError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if let Some(name) = subprotocol
        && !is_token(name)
    {
        return Err(ConnectError::SubprotocolName(name.to_owned()));
    }
    let key = generate_key();
    let request = request(endpoint, authorization, subprotocol, &key);
    let asked = async {
        stream.write_all(request.as_bytes()).await?;
        stream.flush().await
    }
    .await;
    // A peer that is gone may have said why: that tells more than that it did not take the request.
    let head = read_last_head(&mut stream, is_interim).await;
    let (response, first) = head.map_err(|error| match error {
        HeadError::Interrupted(error) => ConnectError::interrupted(error),
        HeadError::Tls => ConnectError::SpeaksTls,
        HeadError::Malformed => ConnectError::NotAWebSocket("this is not an HTTP answer"),
        HeadError::TooLong => ConnectError::NotAWebSocket("the head of its answer is too long"),
    })?;
    check(&response, &key, subprotocol)?;
    asked.map_err(ConnectError::interrupted)?;
    Ok(WebSocket::new(stream, Role::Client, limits, &first))
}

fn request(
    endpoint: &Endpoint,
    authorization: Option<&Authorization>,
    subprotocol: Option<&str>,
    key: &str,
) -> String {
    let mut request = format!(
        "GET {path} HTTP/1.1\r\n\
         Host: {host}\r\n\
         Connection: Upgrade\r\n\
         Upgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: {key}\r\n",
        path = endpoint.path(),
        host = endpoint.authority(),
    );
    // Writing to a string cannot fail.
    if let Some(subprotocol) = subprotocol {
        let _ = write!(request, "Sec-WebSocket-Protocol: {subprotocol}\r\n");
    }
    if let Some(authorization) = authorization {
        let _ = write!(request, "Authorization: {}\r\n", authorization.as_str());
    }
    request.push_str("\r\n");
    request
}

/// Whether another answer follows (RFC 9110 section 15.2): any client has to expect some, such as 103.
fn is_interim(response: &Response) -> bool {
    let status = response.status();
    status.is_informational() && status != 101
}

fn check(response: &Response, key: &str, subprotocol: Option<&str>) -> Result<(), ConnectError> {
    let status = response.status().as_u16();
    if status != 101 {
        return Err(ConnectError::Status(status));
    }
    let headers = response.headers();
    if !has_token(headers, "upgrade", "websocket") || !has_token(headers, "connection", "upgrade") {
        return Err(ConnectError::NotAWebSocket(
            "it switched to another protocol",
        ));
    }
    let accept = at_most_one(headers, "sec-websocket-accept")
        .map_err(|Repeated| ConnectError::NotAWebSocket("it saw several keys"))?;
    if accept != Some(derive_accept_key(key.as_bytes()).as_bytes()) {
        return Err(ConnectError::NotAWebSocket("it did not see our key"));
    }
    if headers.contains_key("sec-websocket-extensions") {
        return Err(ConnectError::NotAWebSocket(
            "it uses an extension that was not offered",
        ));
    }
    let chosen = at_most_one(headers, "sec-websocket-protocol")
        .map_err(|Repeated| ConnectError::NotAWebSocket("it chose several subprotocols"))?;
    if chosen != subprotocol.map(str::as_bytes) {
        return Err(ConnectError::Subprotocol {
            asked: subprotocol.map(str::to_owned),
            chosen: chosen.map(|chosen| String::from_utf8_lossy(chosen).into_owned()),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web_socket::Received;
    use replproto_core::wire::SUBPROTOCOL;
    use std::io;
    use tokio::io::AsyncReadExt;
    use tungstenite::handshake::machine::TryParse;

    const LIMITS: FrameLimits = FrameLimits::message(1 << 20);
    const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

    fn answer(status: u16, headers: &[(&str, &str)]) -> Result<(), ConnectError> {
        let mut text = format!("HTTP/1.1 {status} X\r\n");
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        let (_, response) = Response::try_parse(text.as_bytes()).unwrap().unwrap();
        check(&response, KEY, Some(SUBPROTOCOL))
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
                Err(ConnectError::Subprotocol { chosen: told, .. }) => {
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

    #[test]
    fn takes_no_answer_with_a_header_twice() {
        for twice in [GOOD[2], GOOD[3]] {
            let headers = [&GOOD[..], &[twice]].concat();
            let answer = answer(101, &headers);
            assert!(
                matches!(answer, Err(ConnectError::NotAWebSocket(_))),
                "{twice:?}"
            );
        }
    }

    #[test]
    fn a_value_that_is_no_text_is_there_all_the_same() {
        let mut headers = GOOD.to_vec();
        headers.push(("Sec-WebSocket-Extensions", "\u{fc}"));
        assert!(matches!(
            answer(101, &headers),
            Err(ConnectError::NotAWebSocket(_))
        ));
        let mut text = "HTTP/1.1 101 X\r\n".to_owned();
        for (name, value) in &GOOD[..3] {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("Sec-WebSocket-Protocol: \u{fc}\r\n\r\n");
        let (_, response) = Response::try_parse(text.as_bytes()).unwrap().unwrap();
        match check(&response, KEY, None) {
            Err(ConnectError::Subprotocol { chosen, .. }) => {
                assert_eq!(chosen.as_deref(), Some("\u{fc}"));
            }
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_subprotocol_adds_no_header() {
        for wrong in ["x\r\nX-Injected: y", "", "a, b", "\u{fc}"] {
            let (ours, mut theirs) = tokio::io::duplex(1 << 10);
            let endpoint: Endpoint = "ws://a".parse().unwrap();
            let refused = upgrade(ours, &endpoint, None, Some(wrong), LIMITS).await;
            match refused {
                Err(error @ ConnectError::SubprotocolName(_)) => assert!(error.is_final()),
                other => panic!("{wrong:?}: {other:?}"),
            }
            let mut sent = Vec::new();
            theirs.read_to_end(&mut sent).await.unwrap();
            assert!(sent.is_empty());
        }
    }

    #[tokio::test]
    async fn keeps_what_came_right_after_the_answer() {
        let (ours, mut theirs) = tokio::io::duplex(1 << 16);
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
            answer.push_str("\r\n\x02\x03abc");
            theirs.write_all(answer.as_bytes()).await.unwrap();
            request
        };
        let endpoint: Endpoint = "ws://node-a/x".parse().unwrap();
        let token = Authorization::new("Basic abc").unwrap();
        let ours = upgrade(ours, &endpoint, Some(&token), Some(SUBPROTOCOL), LIMITS);
        let (web_socket, request) = tokio::join!(ours, peer);
        let first = web_socket.unwrap().receive().await.unwrap();
        let expected = Received::Part {
            bytes: "abc".into(),
            last: false,
        };
        assert_eq!(first, expected);
        assert!(request.starts_with("GET /x HTTP/1.1\r\nHost: node-a:9933\r\n"));
        assert!(request.contains("\r\nAuthorization: Basic abc\r\n"));
    }

    #[tokio::test]
    async fn what_a_peer_said_before_it_was_gone_is_told() {
        let (ours, mut theirs) = tokio::io::duplex(1 << 10);
        theirs.write_all(b"HTTP/1.1 401 X\r\n\r\n").await.unwrap();
        // The request cannot be written any more.
        drop(theirs);
        let endpoint: Endpoint = "ws://a".parse().unwrap();
        let refused = upgrade(ours, &endpoint, None, None, LIMITS).await;
        assert!(
            matches!(refused, Err(ConnectError::Status(401))),
            "{refused:?}"
        );
    }

    #[tokio::test]
    async fn interim_answers_are_passed_over_and_not_for_ever() {
        let (ours, mut theirs) = tokio::io::duplex(1 << 16);
        let interim =
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 X\r\nLink: a\r\n\r\nHTTP/1.1 102 \r\n\r\n";
        let answer = format!("{interim}HTTP/1.1 404 X\r\n\r\n");
        for piece in answer.as_bytes().chunks(7) {
            theirs.write_all(piece).await.unwrap();
        }
        let endpoint: Endpoint = "ws://a".parse().unwrap();
        let refused = upgrade(ours, &endpoint, None, None, LIMITS).await;
        assert!(
            matches!(refused, Err(ConnectError::Status(404))),
            "{refused:?}"
        );
        let (ours, mut theirs) = tokio::io::duplex(1 << 10);
        let peer = tokio::spawn(async move {
            while theirs.write_all(b"HTTP/1.1 103 X\r\n\r\n").await.is_ok() {}
        });
        let refused = upgrade(ours, &endpoint, None, None, LIMITS).await;
        assert!(matches!(refused, Err(ConnectError::NotAWebSocket(_))));
        peer.await.unwrap();
    }

    #[tokio::test]
    async fn an_endless_head_is_refused() {
        let (ours, mut theirs) = tokio::io::duplex(1 << 10);
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
        let refused = upgrade(ours, &endpoint, None, None, LIMITS).await;
        assert!(matches!(refused, Err(ConnectError::NotAWebSocket(_))));
        assert!(peer.await.unwrap().is_err());
    }
}
