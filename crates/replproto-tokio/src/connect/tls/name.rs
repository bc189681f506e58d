//! The name that a peer's certificate must have.

use std::net::IpAddr;

use crate::connect::Destination;

/// The name to ask for and to verify: the peer's, unless that is an IP address (`protocol.md` section 1.1), or else the
/// host's.
pub(crate) fn server_name<'a>(peer: Destination<'a>) -> &'a str {
    let named = peer.peer_name;
    let named = named.filter(|name| name.parse::<IpAddr>().is_err());
    let configured = peer.tls.server_name.as_deref();
    configured.or(named).unwrap_or_else(|| peer.endpoint.host())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TlsConfig;

    #[test]
    fn the_peer_s_name_comes_before_the_host_and_a_configured_one_before_both() {
        for (address, peer, configured, name) in [
            ("wss://db1:1/x", None, None, "db1"),
            ("wss://[::1]", None, None, "::1"),
            ("wss://db1", Some("node-a"), None, "node-a"),
            ("wss://db1", Some("10.0.0.5"), None, "db1"),
            ("wss://db1", Some("::1"), None, "db1"),
            ("wss://10.0.0.5", Some("node-a"), None, "node-a"),
            ("wss://db1", Some("node-a"), Some("db2"), "db2"),
            ("wss://db1", Some("node-a"), Some("10.0.0.5"), "10.0.0.5"),
        ] {
            let tls = match configured {
                Some(name) => TlsConfig::new().server_name(name),
                None => TlsConfig::new(),
            };
            let peer = Destination {
                endpoint: &address.parse().unwrap(),
                peer_name: peer,
                tls: &tls,
            };
            assert_eq!(server_name(peer), name);
        }
    }
}
