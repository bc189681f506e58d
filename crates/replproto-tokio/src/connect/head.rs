//! Heads of HTTP requests and answers.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};
use tungstenite::handshake::machine::TryParse;

/// A longer head is refused.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// Why there is no head.
#[derive(Debug)]
pub(super) enum HeadError {
    /// The connection broke or ended.
    Interrupted(io::Error),
    /// This is not HTTP.
    Malformed,
    TooLong,
}

/// Reads a head, and gives it with what was read after it: the first bytes of the WebSocket.
pub(super) async fn read_head<T: TryParse>(
    stream: &mut (impl AsyncRead + Unpin),
) -> Result<(T, Vec<u8>), HeadError> {
    let mut bytes = Vec::new();
    loop {
        let count = stream
            .read_buf(&mut bytes)
            .await
            .map_err(HeadError::Interrupted)?;
        if count == 0 {
            let error = io::Error::from(io::ErrorKind::UnexpectedEof);
            return Err(HeadError::Interrupted(error));
        }
        match T::try_parse(&bytes) {
            Ok(Some((length, head))) => return Ok((head, bytes.split_off(length))),
            Ok(None) if bytes.len() > HEAD_BYTES_MAX => return Err(HeadError::TooLong),
            Ok(None) => {}
            Err(_) => return Err(HeadError::Malformed),
        }
    }
}

/// The list in these headers has this token (RFC 9110 section 5.6.1).
pub(super) fn has_token(headers: &tungstenite::http::HeaderMap, name: &str, token: &str) -> bool {
    let values = headers.get_all(name).into_iter();
    values.filter_map(|value| value.to_str().ok()).any(|value| {
        value
            .split(',')
            .any(|item| item.trim().eq_ignore_ascii_case(token))
    })
}
