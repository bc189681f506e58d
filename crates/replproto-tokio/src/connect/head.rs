//! Heads of HTTP requests and answers.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};
use tungstenite::handshake::machine::TryParse;
use tungstenite::http::{HeaderMap, HeaderValue};

/// A longer head is refused.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// Why there is no head.
#[derive(Debug)]
pub(super) enum HeadError {
    /// The connection broke or ended.
    Interrupted(io::Error),
    /// This is TLS.
    Tls,
    /// This is not HTTP.
    Malformed,
    TooLong,
}

/// Reads a head, and gives it with what was read after it: the first bytes of the WebSocket.
pub(super) async fn read_head<T: TryParse>(
    stream: &mut (impl AsyncRead + Unpin),
) -> Result<(T, Vec<u8>), HeadError> {
    read_last_head(stream, |_| false).await
}

/// The same, passing over the heads that come before the last one. All together have the length of one at most.
pub(super) async fn read_last_head<T: TryParse>(
    stream: &mut (impl AsyncRead + Unpin),
    has_next: impl Fn(&T) -> bool,
) -> Result<(T, Vec<u8>), HeadError> {
    let mut bytes = Vec::new();
    let mut passed = 0;
    loop {
        match T::try_parse(&bytes) {
            Ok(Some((length, head))) => {
                let rest = bytes.split_off(length);
                if !has_next(&head) {
                    return Ok((head, rest));
                }
                passed += length;
                bytes = rest;
                continue;
            }
            Ok(None) if passed + bytes.len() > HEAD_BYTES_MAX => return Err(HeadError::TooLong),
            Ok(None) => {}
            Err(_) => return Err(HeadError::Malformed),
        }
        let count = stream
            .read_buf(&mut bytes)
            .await
            .map_err(HeadError::Interrupted)?;
        if count == 0 {
            let error = io::Error::from(io::ErrorKind::UnexpectedEof);
            return Err(HeadError::Interrupted(error));
        }
        if is_tls(&bytes) {
            return Err(HeadError::Tls);
        }
    }
}

/// Whether this begins like a record of TLS: one of its four types, then a version from 3.0 on (RFC 8446 section 5.1). No
/// text has these bytes.
fn is_tls(bytes: &[u8]) -> bool {
    matches!(bytes, [20..=23, 3, ..])
}

/// The list in these headers has this token, in upper or lower case (RFC 9110 section 5.6.1).
pub(super) fn has_token(headers: &HeaderMap, name: &str, token: &str) -> bool {
    items(headers, name).any(|item| item.eq_ignore_ascii_case(token.as_bytes()))
}

/// The items of a list, which may go on over several lines.
pub(super) fn items<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = &'a [u8]> {
    let lines = headers.get_all(name).into_iter();
    lines
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
}

/// A header is there more than once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Repeated;

/// The value of a header that may be there once.
pub(super) fn at_most_one<'a>(
    headers: &'a HeaderMap,
    name: &str,
) -> Result<Option<&'a [u8]>, Repeated> {
    let mut values = headers.get_all(name).into_iter();
    let value = values.next().map(HeaderValue::as_bytes);
    values.next().map_or(Ok(value), |_| Err(Repeated))
}

/// It has at least one character, and only those of a token (RFC 9110 section 5.6.2).
pub(super) fn is_token(text: &str) -> bool {
    let is_valid = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_valid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tungstenite::http::HeaderName;

    fn headers(values: &[&'static [u8]]) -> HeaderMap {
        let values = values.iter().map(|value| HeaderValue::from_bytes(value));
        let name = HeaderName::from_static("x");
        values.map(|value| (name.clone(), value.unwrap())).collect()
    }

    #[test]
    fn a_list_goes_on_over_lines_and_strange_bytes() {
        let headers = headers(&[b"a,\xff ,B", b"c"]);
        for token in ["a", "b", "C"] {
            assert!(has_token(&headers, "x", token), "{token}");
        }
        assert!(!has_token(&headers, "x", "d"));
        let items: Vec<_> = items(&headers, "x").collect();
        assert_eq!(items, [&b"a"[..], b"\xff", b"B", b"c"]);
    }

    #[test]
    fn a_header_that_is_repeated_has_no_value() {
        assert_eq!(at_most_one(&headers(&[]), "x"), Ok(None));
        assert_eq!(at_most_one(&headers(&[b"a"]), "x"), Ok(Some(&b"a"[..])));
        assert_eq!(at_most_one(&headers(&[b"a", b"a"]), "x"), Err(Repeated));
    }

    #[test]
    fn a_token_has_no_separators() {
        assert!(is_token("harperdb-replication-v1") && is_token("v1.a_b~"));
        for wrong in ["", "a b", "a,b", "a\r\nX: y", "\"a\"", "a/b", "\u{fc}"] {
            assert!(!is_token(wrong), "{wrong:?}");
        }
    }
}
