//! What the peer shows, and whether it is taken.

use std::sync::Arc;

use rcgen::ExtendedKeyUsagePurpose;
use replproto_tokio::rustls::ClientConfig;
use replproto_tokio::rustls::client::WebPkiServerVerifier;
use replproto_tokio::rustls::crypto::ring::default_provider;
use replproto_tokio::rustls::pki_types::CertificateDer;
use replproto_tokio::{CertificateFault, LinkConfig, TlsConfig, TlsError};

use crate::certificates::{Authority, Identity, early, expired};
use crate::publisher::{BOTH, Side, TlsPublisher};

/// What is told of a publisher's certificate by one who trusts this authority.
async fn told_of(identity: Identity, trusted: &Authority) -> CertificateFault {
    let publisher = TlsPublisher::bind(Side::showing(identity)).await;
    match publisher.refused_by_tls(&publisher.config(trusted)).await {
        TlsError::PeerCertificate { fault, .. } => fault,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_certificate_of_a_trusted_authority_is_taken_in_both_versions() {
    let root = Authority::root("root");
    for version in BOTH {
        let mut side = Side::showing(root.below("a").below("b").issue(&["127.0.0.1"]));
        side.versions = vec![version];
        let publisher = TlsPublisher::bind(side).await;
        let (link, peer) = publisher.linked(&publisher.config(&root)).await;
        let (_, session) = peer.socket.get_ref().get_ref();
        assert_eq!(session.protocol_version(), Some(version.version));
        drop(link);
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_certificate_is_told() {
    let root = Authority::root("root");
    let other = Authority::root("other");
    let names = &["127.0.0.1"];
    let mut changed = root.issue(names);
    let mut bytes = changed.chain[0].to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    changed.chain[0] = bytes.into();
    let mut damaged = root.issue(names);
    damaged.chain[0] = CertificateDer::from(vec![1, 2, 3]);
    let for_clients = root.issue_such(names, |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    });
    for (identity, fault) in [
        (other.issue(names), CertificateFault::UnknownIssuer),
        (
            Identity::alone(names, false),
            CertificateFault::UnknownIssuer,
        ),
        (root.issue_such(names, expired), CertificateFault::Expired),
        (root.issue_such(names, early), CertificateFault::NotYetValid),
        (root.issue(&["127.0.0.2"]), CertificateFault::WrongName),
        (root.issue(&["localhost"]), CertificateFault::WrongName),
        (changed, CertificateFault::BadSignature),
        (damaged, CertificateFault::Malformed),
        (for_clients, CertificateFault::WrongPurpose),
    ] {
        assert_eq!(told_of(identity, &root).await, fault);
    }
}

#[tokio::test]
async fn one_that_is_signed_by_itself_is_taken_if_it_is_trusted() {
    for (is_authority, fault) in [(false, None), (true, Some(CertificateFault::Other))] {
        let identity = Identity::alone(&["127.0.0.1"], is_authority);
        let pem = replproto_tokio::Pem::text(identity.pem());
        let publisher = TlsPublisher::bind(Side::showing(identity)).await;
        let mut config = publisher.config_at("127.0.0.1");
        config.tls = TlsConfig::new().without_system_roots().trust(pem);
        match fault {
            None => drop(publisher.linked(&config).await),
            Some(fault) => match publisher.refused_by_tls(&config).await {
                TlsError::PeerCertificate { fault: told, error } => {
                    assert_eq!(told, fault);
                    // The advice speaks of it.
                    assert!(error.to_string().contains("CaUsedAsEndEntity"), "{error}");
                }
                other => panic!("{other:?}"),
            },
        }
    }
}

#[tokio::test]
async fn roots_that_are_given_add_to_each_other() {
    let roots = [Authority::root("a"), Authority::root("b")];
    for root in &roots {
        let publisher = TlsPublisher::bind(Side::showing(root.issue(&["127.0.0.1"]))).await;
        let mut config = publisher.config(&roots[0]);
        // With those of the system, if there are any.
        config.tls = TlsConfig::new()
            .trust(roots[0].as_pem())
            .trust(roots[1].as_pem());
        drop(publisher.linked(&config).await);
    }
}

#[tokio::test]
async fn a_configuration_that_was_made_elsewhere_is_used_as_it_is() {
    let root = Authority::root("root");
    let revoked = root.issue_such(&["127.0.0.1"], |params| {
        params.serial_number = Some(7_u64.into());
    });
    let publisher = TlsPublisher::bind(Side::showing(revoked)).await;
    let provider = Arc::new(default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(root.roots(), provider.clone())
        .with_crls([root.revoke(&[7])])
        .build()
        .unwrap();
    let made = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_webpki_verifier(verifier)
        .with_no_client_auth();
    let mut config = publisher.config(&root);
    config.tls = Arc::new(made).into();
    match publisher.refused_by_tls(&config).await {
        TlsError::PeerCertificate { fault, .. } => assert_eq!(fault, CertificateFault::Revoked),
        other => panic!("{other:?}"),
    }
}

/// The name that the publisher is asked for by a link that comes about.
async fn asked(publisher: &TlsPublisher, config: &LinkConfig) -> Option<String> {
    let (_link, peer) = publisher.linked(config).await;
    let (_, session) = peer.socket.get_ref().get_ref();
    session.server_name().map(str::to_owned)
}

#[tokio::test]
async fn the_name_is_that_of_the_peer_or_else_of_the_host() {
    let root = Authority::root("root");
    let of_peer = TlsPublisher::bind(Side::showing(root.issue(&["node-a"]))).await;
    let mut config = of_peer.config(&root);
    config.core.peer_name = Some("node-a".into());
    assert_eq!(asked(&of_peer, &config).await.as_deref(), Some("node-a"));
    config.core.peer_name = None;
    let error = of_peer.refused_by_tls(&config).await;
    let wrong_name = CertificateFault::WrongName;
    assert!(matches!(error, TlsError::PeerCertificate { fault, .. } if fault == wrong_name));
    config.tls = config.tls.server_name("node-a");
    assert_eq!(asked(&of_peer, &config).await.as_deref(), Some("node-a"));

    let of_host = TlsPublisher::bind(Side::showing(root.issue(&["localhost"]))).await;
    let mut config = of_host.config_at("localhost");
    config.tls = of_host.config(&root).tls;
    assert_eq!(asked(&of_host, &config).await.as_deref(), Some("localhost"));

    // Nobody is asked for an address.
    let of_address = TlsPublisher::bind(Side::showing(root.issue(&["127.0.0.1"]))).await;
    let config = of_address.config(&root);
    assert_eq!(asked(&of_address, &config).await, None);
}
