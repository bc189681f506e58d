//! Links over TLS, with certificates that the tests make.

mod certificates;
mod handshake;
mod link;
mod own_certificate;
mod peer_certificate;
mod pem;
mod publisher;
#[path = "../support/mod.rs"]
mod support;
