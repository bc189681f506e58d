//! Where a peer is.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use thiserror::Error;

/// The port when an address names none (`protocol.md` section 1.1).
const DEFAULT_PORT: u16 = 9933;

/// The address of a peer: `ws://host:port`, or `wss://host:port` for one that is reached over TLS; optionally with a path.
///
/// ```
/// use replproto_tokio::Endpoint;
///
/// let endpoint: Endpoint = "ws://10.0.0.5".parse()?;
/// assert_eq!(endpoint.to_string(), "ws://10.0.0.5:9933/");
/// # Ok::<(), replproto_tokio::EndpointError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    is_tls: bool,
    host: String,
    port: u16,
    path: String,
}

/// An address that is none.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// It begins neither with `ws://` nor with `wss://`.
    #[error("an address begins with ws:// or wss://")]
    Scheme,
    /// There is no host in it.
    #[error("the address has no host")]
    NoHost,
    /// The host has characters that no host has.
    #[error("{0:?} is not the name or address of a host")]
    Host(String),
    /// A user and password in an address end up in logs.
    #[error("credentials do not belong in the address; use the authorization setting")]
    Credentials,
    /// The port is not a number from 1 to 65535.
    #[error("{0:?} is not a port")]
    Port(String),
    /// The path has characters that have to be escaped.
    #[error("the path has characters that a URL cannot have")]
    Path,
}

impl Endpoint {
    /// Whether the peer is reached over TLS.
    pub const fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// The name or address of the host, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The path and the query; at least `/`. Peers do not look at it.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The host and port as a URL has them.
    pub(crate) fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "wss" } else { "ws" };
        write!(f, "{scheme}://{}{}", self.authority(), self.path)
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let (scheme, rest) = text.split_once("://").ok_or(EndpointError::Scheme)?;
        let is_tls = match scheme.to_ascii_lowercase().as_str() {
            "ws" => false,
            "wss" => true,
            _ => return Err(EndpointError::Scheme),
        };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        // A password may have any characters, those that end it too: an error must not quote a part of it.
        let unquoted = |error| {
            if rest.contains('@') {
                EndpointError::Credentials
            } else {
                error
            }
        };
        if authority.contains('@') {
            return Err(EndpointError::Credentials);
        }
        let (host, port) = split_port(authority).map_err(unquoted)?;
        let path = match path {
            "" => "/".to_owned(),
            query if query.starts_with('?') => format!("/{query}"),
            path => path.to_owned(),
        };
        if path
            .bytes()
            .any(|byte| !byte.is_ascii_graphic() || byte == b'#')
        {
            return Err(EndpointError::Path);
        }
        Ok(Self {
            is_tls,
            host,
            port,
            path,
        })
    }
}

fn split_port(authority: &str) -> Result<(String, u16), EndpointError> {
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let wrong = || EndpointError::Host(authority.to_owned());
        let (host, after) = rest.split_once(']').ok_or_else(wrong)?;
        host.parse::<Ipv6Addr>().map_err(|_| wrong())?;
        match after.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None if after.is_empty() => (host, None),
            None => return Err(wrong()),
        }
    } else {
        let (host, port) = match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        };
        if host.is_empty() {
            return Err(EndpointError::NoHost);
        }
        let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        if !host.bytes().all(is_host) {
            return Err(EndpointError::Host(host.to_owned()));
        }
        (host, port)
    };
    let port = match port {
        None => DEFAULT_PORT,
        Some(text) => match text.parse() {
            Ok(port) if port != 0 && !text.starts_with('+') => port,
            _ => return Err(EndpointError::Port(text.to_owned())),
        },
    };
    Ok((host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (text, full) in [
            ("ws://node-a", "ws://node-a:9933/"),
            ("WS://node-a:1", "ws://node-a:1/"),
            ("ws://node.a_b:80/x?y=1", "ws://node.a_b:80/x?y=1"),
            ("ws://h?q", "ws://h:9933/?q"),
            ("ws://[::1]", "ws://[::1]:9933/"),
            ("ws://[fe80::1]:65535/", "ws://[fe80::1]:65535/"),
            ("wss://node-a", "wss://node-a:9933/"),
            ("Wss://[::1]:443/x", "wss://[::1]:443/x"),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!(endpoint.to_string(), full, "{text}");
            assert_eq!(endpoint.is_tls(), full.starts_with("wss"), "{text}");
            assert_eq!(endpoint.to_string().parse(), Ok(endpoint));
        }
    }

    #[test]
    fn what_is_no_address() {
        use EndpointError as E;
        let host = |text: &str| E::Host(text.into());
        let port = |text: &str| E::Port(text.into());
        for (text, error) in [
            ("", E::Scheme),
            ("node-a:9933", E::Scheme),
            ("http://a", E::Scheme),
            ("wsss://a", E::Scheme),
            ("ws://", E::NoHost),
            ("wss://:1", E::NoHost),
            ("ws://:9933", E::NoHost),
            ("ws://a b", host("a b")),
            ("ws://a\r\nx", host("a\r\nx")),
            ("ws://[::g]", host("[::g]")),
            ("ws://[::1]9", host("[::1]9")),
            ("ws://user:secret@a", E::Credentials),
            ("ws://user:sec/ret@a", E::Credentials),
            ("ws://user:sec?ret@a:1", E::Credentials),
            ("ws://secret@[::1]", E::Credentials),
            ("ws://a:0", port("0")),
            ("ws://a:65536", port("65536")),
            ("ws://a:+1", port("+1")),
            ("ws://a:", port("")),
            ("ws://::1", E::NoHost),
            ("ws://a/ b", E::Path),
            ("ws://a/\r\nX-Header: 1", E::Path),
        ] {
            assert_eq!(text.parse::<Endpoint>(), Err(error), "{text:?}");
        }
        let error = "ws://user:secret@a".parse::<Endpoint>().unwrap_err();
        assert!(!error.to_string().contains("secret"));
    }
}
