//! What we show, and whether the peer takes it.

use rcgen::ExtendedKeyUsagePurpose;
use replproto_tokio::{CertificateFault, Pem, TlsConfig, TlsError};

use crate::certificates::{Authority, Identity, early, expired};
use crate::publisher::{BOTH, Side, TlsPublisher};

#[tokio::test]
async fn both_ends_show_a_certificate() {
    for version in BOTH {
        let root = Authority::root("root");
        let mut side = Side::showing(root.issue(&["127.0.0.1"]));
        side.versions = vec![version];
        let us = root.below("between").issue(&["us"]);
        let (certificate, key) = us.as_pems();
        let trusted = root.as_pem();
        let publisher = TlsPublisher::bind(side.demanding(root)).await;
        let mut config = publisher.config_at("127.0.0.1");
        config.tls = TlsConfig::new()
            .without_system_roots()
            .trust(trusted)
            .identity(certificate, key);
        let (link, peer) = publisher.linked(&config).await;
        let (_, session) = peer.socket.get_ref().get_ref();
        assert_eq!(session.peer_certificates(), Some(&us.chain[..]));
        drop(link);
    }
}

#[tokio::test]
async fn whoever_issued_our_certificate_is_trusted() {
    let root = Authority::root("root");
    let us = root.issue(&["us"]);
    let (_, key) = us.as_pems();
    let whole = Pem::text(us.pem() + &root.pem());
    let publisher = TlsPublisher::bind(Side::showing(root.issue(&["127.0.0.1"]))).await;
    let mut config = publisher.config_at("127.0.0.1");
    config.tls = TlsConfig::new().without_system_roots().identity(whole, key);
    drop(publisher.linked(&config).await);
}

const US: [&str; 1] = ["us"];

/// What is shown to a publisher that demands a certificate of this authority.
type Shown = fn(&Authority) -> Option<Identity>;

/// What is told when this is shown, in both versions of TLS.
async fn told_of(shown: Shown) -> [TlsError; 2] {
    let mut told = Vec::new();
    for version in BOTH {
        let root = Authority::root("root");
        let mut side = Side::showing(root.issue(&["127.0.0.1"]));
        side.versions = vec![version];
        let shown = shown(&root);
        let trusted = root.as_pem();
        let publisher = TlsPublisher::bind(side.demanding(root)).await;
        let mut config = publisher.config_at("127.0.0.1");
        config.tls = TlsConfig::new().without_system_roots().trust(trusted);
        if let Some(identity) = shown {
            let (certificate, key) = identity.as_pems();
            config.tls = config.tls.identity(certificate, key);
        }
        told.push(publisher.refused_by_tls(&config).await);
    }
    told.try_into().unwrap()
}

#[tokio::test]
async fn a_peer_that_demands_one_and_is_shown_none() {
    for error in told_of(|_| None).await {
        assert!(matches!(error, TlsError::CertificateRequired), "{error:?}");
    }
}

#[tokio::test]
async fn what_the_peer_has_against_ours_is_told() {
    let of_another = |_: &Authority| Some(Authority::root("other").issue(&US));
    let revoked = |root: &Authority| {
        Some(root.issue_such(&US, |params| {
            params.serial_number = Some(666_u64.into());
        }))
    };
    let for_servers = |root: &Authority| {
        Some(root.issue_such(&US, |params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        }))
    };
    let cases: [(Shown, _); 5] = [
        (of_another, CertificateFault::UnknownIssuer),
        (
            |root| Some(root.issue_such(&US, expired)),
            CertificateFault::Expired,
        ),
        (revoked, CertificateFault::Revoked),
        (for_servers, CertificateFault::WrongPurpose),
        // There is no alert for this one alone.
        (
            |root| Some(root.issue_such(&US, early)),
            CertificateFault::Expired,
        ),
    ];
    for (shown, fault) in cases {
        for error in told_of(shown).await {
            match error {
                TlsError::OwnCertificate { fault: told, .. } => assert_eq!(told, fault),
                other => panic!("{fault:?}: {other:?}"),
            }
        }
    }
}
