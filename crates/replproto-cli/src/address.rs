//! Addresses of metrics on the command line.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// A host and a port: `HOST:PORT`, `:PORT` on this machine, or the URL that is logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) host: String,
    pub(crate) port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is not HOST:PORT")]
pub(crate) struct AddressError(String);

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let wrong = || AddressError(text.to_owned());
        let rest = text.strip_prefix("http://").unwrap_or(text);
        let rest = rest.strip_suffix("/metrics").unwrap_or(rest);
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = rest.rsplit_once(':').ok_or_else(wrong)?;
        let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port.parse().ok().filter(|_| is_number).ok_or_else(wrong)?;
        let is_bracketed = host.starts_with('[') && host.ends_with(']');
        let host = host.trim_matches(['[', ']']);
        let is_host = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        if !is_bracketed && !host.chars().all(is_host) {
            return Err(wrong());
        }
        let host = if host.is_empty() { "127.0.0.1" } else { host };
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (text, full) in [
            ("127.0.0.1:9464", "127.0.0.1:9464"),
            ("node-a.example:0", "node-a.example:0"),
            (":9464", "127.0.0.1:9464"),
            ("[::1]:9464", "[::1]:9464"),
            ("http://127.0.0.1:9464/metrics", "127.0.0.1:9464"),
            ("http://127.0.0.1:9464/", "127.0.0.1:9464"),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), full, "{text}");
        }
    }

    #[test]
    fn what_is_no_address() {
        for text in [
            "",
            "9464",
            "host",
            "host:",
            "host:+1",
            "host:65536",
            "::1:9464",
            "a b:1",
            "https://a:1",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text:?}");
        }
    }
}
