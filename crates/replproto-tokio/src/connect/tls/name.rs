//! The name that a peer's certificate must have.

use std::net::IpAddr;

use crate::link::LinkConfig;

/// The name to ask for and to verify: the peer's, unless that is an IP address (`protocol.md` section 1.1), or else the
/// host's.
pub(crate) fn server_name(link: &LinkConfig) -> &str {
    let peer = link.core.peer_name.as_deref();
    let peer = peer.filter(|name| name.parse::<IpAddr>().is_err());
    let configured = link.tls.server_name.as_deref();
    configured.or(peer).unwrap_or_else(|| link.endpoint.host())
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
            let mut link = LinkConfig::new(address.parse().unwrap(), "us", "data");
            link.core.peer_name = peer.map(str::to_owned);
            if let Some(name) = configured {
                link.tls = TlsConfig::new().server_name(name);
            }
            assert_eq!(server_name(&link), name);
        }
    }
}
