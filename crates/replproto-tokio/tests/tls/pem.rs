//! Files and texts that are wrong before anything is dialled.

use std::path::Path;

use rcgen::KeyPair;
use replproto_tokio::{ConnectError, LinkConfig, Pem, TlsConfig, TlsConfigError};

use crate::certificates::{Authority, Identity, armor};
use crate::publisher::{Side, TlsPublisher};

/// What is told of this before a dial.
async fn told_of(tls: TlsConfig) -> TlsConfigError {
    let mut config = LinkConfig::new("wss://127.0.0.1:1".parse().unwrap(), "us", "data");
    config.tls = tls;
    let error = config.check().await.expect_err("it is not wrong");
    assert!(error.is_final());
    assert!(!error.advice().is_empty());
    match error {
        ConnectError::TlsConfig(error) => error,
        other => panic!("{other:?}"),
    }
}

fn tls() -> TlsConfig {
    TlsConfig::new().without_system_roots()
}

#[tokio::test]
async fn what_is_not_used_is_not_looked_at() {
    let mut config = LinkConfig::new("ws://127.0.0.1:1".parse().unwrap(), "us", "data");
    config.tls = tls();
    config.check().await.unwrap();
}

#[tokio::test]
async fn a_file_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing.pem");
    let file = || Pem::file(&missing);
    for tls in [
        tls().trust(file()),
        tls().identity(file(), Pem::text("")),
        tls().identity(Pem::text(""), file()),
    ] {
        let error = told_of(tls).await;
        assert!(matches!(&error, TlsConfigError::Read { path, .. } if *path == missing));
        assert!(error.to_string().contains("missing.pem"));
    }
}

#[tokio::test]
async fn what_is_missing_in_a_file_is_told() {
    let root = Authority::root("root");
    let us = root.issue(&["us"]);
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key.pem");
    std::fs::write(&key, us.key_pem()).unwrap();
    let error = told_of(tls().trust(Pem::file(&key))).await;
    assert!(
        matches!(&error, TlsConfigError::NoCertificate { place } if Path::new(place) == key),
        "{error:?}"
    );
    let certificate = || Pem::text(us.pem());
    let error = told_of(tls().identity(certificate(), certificate())).await;
    assert!(matches!(error, TlsConfigError::NoKey { .. }), "{error:?}");
    let error = told_of(tls().identity(Pem::file(&key), Pem::file(&key))).await;
    assert!(matches!(error, TlsConfigError::NoCertificate { .. }));
}

#[tokio::test]
async fn a_key_that_is_encrypted() {
    let us = Authority::root("root").issue(&["us"]);
    let old = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n\
               -----END RSA PRIVATE KEY-----\n";
    for key in [armor("ENCRYPTED PRIVATE KEY", b"canary"), old.to_owned()] {
        let error = told_of(tls().identity(Pem::text(us.pem()), Pem::text(key))).await;
        assert!(
            matches!(error, TlsConfigError::EncryptedKey { .. }),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn what_is_damaged_is_told() {
    let us = Authority::root("root").issue(&["us"]);
    let cut = us.pem().replace("-----END CERTIFICATE-----", "");
    let error = told_of(tls().trust(Pem::text(cut))).await;
    assert!(matches!(error, TlsConfigError::Damaged { .. }), "{error:?}");
    let nothing = armor("CERTIFICATE", b"nothing");
    let error = told_of(tls().trust(Pem::text(&nothing))).await;
    assert!(matches!(error, TlsConfigError::Certificate { .. }));
    let error = told_of(tls().identity(Pem::text(&nothing), Pem::text(us.key_pem()))).await;
    assert!(
        matches!(error, TlsConfigError::Certificate { .. }),
        "{error:?}"
    );
    let nothing = armor("PRIVATE KEY", b"canary");
    let error = told_of(tls().identity(Pem::text(us.pem()), Pem::text(nothing))).await;
    assert!(matches!(error, TlsConfigError::Key { .. }), "{error:?}");
}

#[tokio::test]
async fn a_key_of_another_certificate() {
    let root = Authority::root("root");
    let (us, other) = (root.issue(&["us"]), root.issue(&["other"]));
    let tls = tls().identity(Pem::text(us.pem()), Pem::text(other.key_pem()));
    let error = told_of(tls).await;
    assert!(
        matches!(error, TlsConfigError::KeyMismatch { .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn nobody_to_trust() {
    let us = Authority::root("root").issue(&["us"]);
    let (certificate, key) = us.as_pems();
    for tls in [tls(), tls().identity(certificate, key)] {
        let error = told_of(tls).await;
        assert!(matches!(error, TlsConfigError::NoRoots { error: None }));
    }
}

#[tokio::test]
async fn a_name_that_no_certificate_has() {
    let root = Authority::root("root");
    for name in ["a b", "", "node:a", "ü"] {
        match told_of(tls().trust(root.as_pem()).server_name(name)).await {
            TlsConfigError::ServerName(told) => assert_eq!(told, name),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn no_key_is_shown() {
    let us = Authority::root("root").issue(&["us"]);
    let (certificate, key) = us.as_pems();
    let shown = format!("{:?}", TlsConfig::new().identity(certificate, key));
    assert!(!shown.contains("PRIVATE"), "{shown}");
    assert!(!shown.contains(&format!("{:?}", us.key_pem().as_bytes())));
}

/// A key in the three forms that there are.
#[tokio::test]
async fn keys_of_all_forms_are_taken() {
    let root = Authority::root("root");
    let rsa = KeyPair::from_pem(include_str!("rsa-for-tests.pem")).unwrap();
    for key in [KeyPair::generate().unwrap(), rsa] {
        let us = root.issue_for(key, &["us"], |_| {});
        for key in forms(&us) {
            let root = Authority::root("root of publishers");
            let publisher = TlsPublisher::bind(Side::showing(root.issue(&["127.0.0.1"]))).await;
            let mut config = publisher.config(&root);
            config.tls = config.tls.identity(Pem::text(us.pem()), Pem::text(key));
            drop(publisher.linked(&config).await);
        }
    }
}

/// PKCS#8, and the older form that is within it.
fn forms(identity: &Identity) -> [String; 2] {
    let pkcs8 = identity.key.serialize_der();
    // A sequence of a version, the kind of the key, and a string of bytes with the key.
    let (kind, inner) = match pkcs8.len() {
        ..256 => ("EC", &pkcs8[29..]),
        _ => ("RSA", &pkcs8[26..]),
    };
    assert_eq!(inner[0], 0x30);
    [
        identity.key_pem(),
        armor(&format!("{kind} PRIVATE KEY"), inner),
    ]
}
