//! `replproto receive wss://…`.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::thread;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use replproto_tokio::rustls::crypto::ring::default_provider;
use replproto_tokio::rustls::pki_types::PrivatePkcs8KeyDer;
use replproto_tokio::rustls::server::WebPkiClientVerifier;
use replproto_tokio::rustls::{RootCertStore, ServerConfig};
use serde_json::Value as Json;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::support::{Publisher, code, replproto, run, stderr};

/// One that issues the certificates of both ends.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    fn issue(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.0).unwrap(), key)
    }

    /// What a server with this name needs that lets in only those with a certificate.
    fn server(&self, name: &str) -> ServerConfig {
        let provider = Arc::new(default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        let verifier =
            WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone()).build();
        let (certificate, key) = self.issue(name);
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier.unwrap())
            .with_single_cert(vec![certificate.der().clone()], key.into())
            .unwrap()
    }

    /// Writes `ca.pem`, `us.pem` and `us.key`.
    fn write_client(&self, folder: &Path) {
        let (certificate, key) = self.issue("us");
        for (name, text) in [
            ("ca.pem", self.0.pem()),
            ("us.pem", certificate.pem()),
            ("us.key", key.serialize_pem()),
        ] {
            std::fs::write(folder.join(name), text).unwrap();
        }
    }
}

/// Speaks TLS for the publisher at this address. Gives its own; it goes on until the test is over.
fn front(config: ServerConfig, publisher: &str) -> SocketAddr {
    let publisher = publisher.strip_prefix("ws://").unwrap().to_owned();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    let serve = async move {
        let listener = TcpListener::from_std(listener).unwrap();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (acceptor, publisher) = (acceptor.clone(), publisher.clone());
            tokio::spawn(async move {
                let mut ours = acceptor.accept(stream).await?;
                let mut theirs = TcpStream::connect(publisher).await?;
                tokio::io::copy_bidirectional(&mut ours, &mut theirs).await
            });
        }
    };
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.unwrap().block_on(serve)
    });
    address
}

#[test]
fn receive_follows_over_mutual_tls() {
    let publisher = Publisher::start(2500, 9);
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let authority = Authority::new("root");
    authority.write_client(folder.path());
    let address = front(authority.server("node-x"), &publisher.url);
    let url = format!("wss://{address}");
    let receive = |url: &str, name: &str, more: &[&str]| -> Json {
        let (file, state) = (path(&format!("{name}.sqlite")), path(name));
        let options = [
            "receive",
            url,
            "--database",
            "demo",
            "--into",
            &file,
            "--start",
            "1",
            "--until-idle",
            "300ms",
            "--deadline",
            "60s",
            "--export-state",
            &state,
        ];
        let output = run(&[&options[..], more].concat());
        assert_eq!(code(&output), Some(0), "{}", stderr(&output));
        serde_json::from_slice(&std::fs::read(state).unwrap()).expect("JSON")
    };
    let over_tls = receive(
        &url,
        "tls",
        &[
            "--tls-no-system-roots",
            "--tls-ca",
            &path("ca.pem"),
            "--tls-cert",
            &path("us.pem"),
            "--tls-key",
            &path("us.key"),
            "--tls-server-name",
            "node-x",
        ],
    );
    let plain = receive(&publisher.url, "plain", &[]);
    assert!(over_tls["tables"].as_object().is_some_and(|t| t.len() == 3));
    assert_eq!(over_tls, plain);
}

#[test]
fn receive_tells_what_is_wrong_with_tls_before_it_dials() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    Authority::new("root").write_client(folder.path());
    let (file, ca, missing) = (path("r.sqlite"), path("ca.pem"), path("missing.pem"));
    let refused = |url: &str, more: &[&str]| {
        let options = ["receive", url, "--database", "data", "--into", &file];
        let output = replproto(&[&options[..], more].concat())
            .env("SSL_CERT_FILE", &missing)
            .env_remove("SSL_CERT_DIR")
            .output()
            .expect("the program starts");
        assert!(!Path::new(&file).exists());
        (code(&output), stderr(&output).to_owned())
    };
    let url = "wss://127.0.0.1:1";
    for (url, options, expected, words) in [
        ("ws://127.0.0.1:1", &["--tls-ca", &*ca][..], 2, "wss://"),
        (url, &["--tls-cert", &*ca], 2, "--tls-key"),
        (url, &["--tls-ca", &*missing], 1, "missing.pem"),
        (url, &[], 1, "ca-certificates"),
        (
            url,
            &["--tls-ca", &*ca, "--tls-server-name", "a b"],
            1,
            "a b",
        ),
    ] {
        let (code, told) = refused(url, options);
        assert_eq!(code, Some(expected), "{options:?}: {told}");
        assert!(told.contains(words), "{options:?}: {told}");
    }
}

#[test]
fn receive_tells_what_is_wrong_with_the_publisher_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    Authority::new("root").write_client(folder.path());
    let other = Authority::new("other");
    let address = front(other.server("127.0.0.1"), "ws://127.0.0.1:1");
    let mut follower = replproto(&[
        "receive",
        &format!("wss://{address}"),
        "--database",
        "data",
        "--into",
        &path("r.sqlite"),
        "--tls-ca",
        &path("ca.pem"),
        "--reconnect-delay",
        "10ms",
    ])
    .stderr(Stdio::piped())
    .spawn()
    .expect("the program starts");
    let lines = BufReader::new(follower.stderr.take().expect("a pipe")).lines();
    let told: Vec<String> = lines
        .map(|line| line.expect("UTF-8"))
        .filter(|line| line.contains("issuer that is not trusted"))
        .take(2)
        .collect();
    assert_eq!(told.len(), 2);
    for line in told {
        assert!(line.contains("Trust the CA that issued it"), "{line}");
    }
    follower.kill().expect("it goes on");
    follower.wait().expect("it ends");
}
