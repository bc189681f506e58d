//! TLS, with a certificate of our own where the peer demands one (mutual TLS).

mod error;
mod handshake;
mod load;
mod name;
mod pem;

use std::fmt;
use std::sync::Arc;

use rustls::ClientConfig;
use tokio_rustls::rustls;

pub use self::error::{CertificateFault, TlsConfigError, TlsError};
pub(super) use self::handshake::Connector;
use self::load::{Files, Loader};
pub(crate) use self::name::server_name;
pub use self::pem::Pem;

/// Whom a link with `wss://` trusts, and what it shows of itself. Versions 1.2 and 1.3 of TLS are spoken.
///
/// The peer's certificate must be issued, directly or not, by one of: the root certificates of the system, unless
/// [`without_system_roots`](Self::without_system_roots) was called; those given with [`trust`](Self::trust); those that come
/// with our own certificate, after it in its file. It must be for the peer's name, if one is configured and is no IP
/// address, else for the host in the link's address (`protocol.md` section 1.1); see
/// [`server_name`](Self::server_name). There is no way to accept any other.
///
/// Files are read anew for each dial, so a renewed certificate is picked up. When they cannot be used, what was there at the
/// last dial is used again, and a warning is logged: renewal may be under way. The first dial fails then, and is not worth a
/// second: see [`LinkConfig::check`](crate::LinkConfig::check). The roots of the system are read again only when another file
/// has changed.
///
/// To clone it is cheap. Clones share what was read, and the sessions that a later dial can resume.
///
/// ```
/// use replproto_tokio::{LinkConfig, Pem, TlsConfig};
///
/// # fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let mut config = LinkConfig::new("wss://db1.example.com:9933".parse()?, "us", "data");
/// config.tls = TlsConfig::new()
///     .without_system_roots()
///     .trust(Pem::file("ca.pem"))
///     .identity(Pem::file("us.pem"), Pem::file("us.key"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct TlsConfig {
    made: Made,
    server_name: Option<Arc<str>>,
}

/// Where the configuration of rustls comes from.
#[derive(Clone)]
enum Made {
    Elsewhere(Arc<ClientConfig>),
    From(Arc<Loader>),
}

impl Default for Made {
    fn default() -> Self {
        Self::From(Arc::default())
    }
}

impl TlsConfig {
    /// Trusts the roots of the system, and shows no certificate.
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts all certificates in this PEM as well.
    #[must_use]
    pub fn trust(self, roots: Pem) -> Self {
        self.with(|files| files.roots.push(roots))
    }

    /// Trusts nothing that comes with the system.
    #[must_use]
    pub fn without_system_roots(self) -> Self {
        self.with(|files| files.system_roots = false)
    }

    /// Shows this certificate to a peer that demands one. After it in the same PEM come those of its issuers. The key is
    /// PKCS#8, PKCS#1 or SEC1, and not encrypted.
    #[must_use]
    pub fn identity(self, certificates: Pem, key: Pem) -> Self {
        self.with(|files| files.identity = Some((certificates, key)))
    }

    /// Asks for this name, and verifies it, whatever the peer and its host are called. For an IP address nothing is asked
    /// for, and the certificate must name the address.
    #[must_use]
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into().into());
        self
    }

    fn with(self, change: impl FnOnce(&mut Files)) -> Self {
        let mut files = match &self.made {
            Made::Elsewhere(_) => Files::default(),
            Made::From(loader) => loader.files.clone(),
        };
        change(&mut files);
        Self {
            made: Made::From(Arc::new(Loader::new(files))),
            ..self
        }
    }

    /// All that a handshake for this name needs. Files are read.
    pub(super) async fn connector(&self, name: &str) -> Result<Connector, TlsConfigError> {
        let config = match &self.made {
            Made::Elsewhere(config) => config.clone(),
            Made::From(loader) => Loader::load(loader.clone()).await?,
        };
        Connector::new(config, name)
    }
}

impl From<Arc<ClientConfig>> for TlsConfig {
    /// A configuration that was made elsewhere, of the same version of rustls, in place of all but
    /// [`server_name`](Self::server_name). To change any other setting afterwards is to begin again from the default.
    fn from(config: Arc<ClientConfig>) -> Self {
        Self {
            made: Made::Elsewhere(config),
            server_name: None,
        }
    }
}

impl fmt::Debug for TlsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("TlsConfig");
        match &self.made {
            Made::Elsewhere(_) => shown.field("made", &"elsewhere"),
            Made::From(loader) => shown.field("files", &loader.files),
        };
        shown.field("server_name", &self.server_name).finish()
    }
}
