//! From files to the configuration of rustls.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, Error, RootCertStore};
use sha2::{Digest, Sha256};
use tokio::task::spawn_blocking;
use tokio_rustls::rustls;

use super::error::TlsConfigError;
use super::pem::{Pem, PemText};
use crate::describe::describe;

/// What the configuration is made of.
#[derive(Clone, Debug)]
pub(super) struct Files {
    pub(super) system_roots: bool,
    pub(super) roots: Vec<Pem>,
    /// The certificate with its issuers, and the key.
    pub(super) identity: Option<(Pem, Pem)>,
}

impl Default for Files {
    fn default() -> Self {
        Self {
            system_roots: true,
            roots: Vec::new(),
            identity: None,
        }
    }
}

impl Files {
    fn read(&self) -> Result<Texts, TlsConfigError> {
        let roots = self.roots.iter().map(Pem::read);
        let identity = match &self.identity {
            Some((certificates, key)) => Some((certificates.read()?, key.read()?)),
            None => None,
        };
        Ok(Texts {
            roots: roots.collect::<Result<_, _>>()?,
            identity,
        })
    }
}

/// What the files hold.
struct Texts {
    roots: Vec<PemText>,
    identity: Option<(PemText, PemText)>,
}

impl Texts {
    fn digest(&self) -> [u8; 32] {
        let identity = self.identity.iter();
        let identity = identity.flat_map(|(certificates, key)| [certificates, key]);
        let mut digest = Sha256::new();
        for text in self.roots.iter().chain(identity) {
            digest.update((text.bytes.len() as u64).to_be_bytes());
            digest.update(&text.bytes);
        }
        digest.finalize().into()
    }

    fn build(&self, system_roots: bool) -> Result<ClientConfig, TlsConfigError> {
        let mut trusted = RootCertStore::empty();
        for text in &self.roots {
            add(&mut trusted, text, text.certificates()?)?;
        }
        let mut identity = None;
        if let Some((text, key)) = &self.identity {
            let chain = text.certificates()?;
            // Whoever issued our certificate issues those of our peers as well (protocol.md section 1.1).
            add(&mut trusted, text, chain[1..].to_vec())?;
            identity = Some((chain, key.key()?, text, key));
        }
        let unusable = match system_roots {
            true => add_system_roots(&mut trusted),
            false => None,
        };
        let trusts_nobody = trusted.is_empty();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider has ciphers for both versions")
            .with_root_certificates(trusted);
        let config = match identity {
            None => config.with_no_client_auth(),
            Some((chain, key, text, key_text)) => config
                .with_client_auth_cert(chain, key)
                .map_err(|error| identity_error(error, &text.place, &key_text.place))?,
        };
        if trusts_nobody {
            return Err(TlsConfigError::NoRoots { error: unusable });
        }
        Ok(config)
    }
}

fn add(
    trusted: &mut RootCertStore,
    text: &PemText,
    certificates: Vec<CertificateDer<'_>>,
) -> Result<(), TlsConfigError> {
    for certificate in certificates {
        trusted
            .add(certificate)
            .map_err(|error| TlsConfigError::Certificate {
                place: text.place.clone(),
                error,
            })?;
    }
    Ok(())
}

/// Adds those of the system that can be used. Gives what was wrong with others.
fn add_system_roots(trusted: &mut RootCertStore) -> Option<String> {
    let found = rustls_native_certs::load_native_certs();
    let (added, unusable) = trusted.add_parsable_certificates(found.certs);
    let error = found.errors.first().map(|error| describe(error));
    tracing::debug!(added, unusable, error, "the roots of the system were read");
    error
}

fn identity_error(error: Error, certificates: &str, key: &str) -> TlsConfigError {
    match error {
        Error::InconsistentKeys(_) => TlsConfigError::KeyMismatch {
            certificate: certificates.to_owned(),
            key: key.to_owned(),
        },
        Error::InvalidCertificate(_) => TlsConfigError::Certificate {
            place: certificates.to_owned(),
            error,
        },
        error => TlsConfigError::Key {
            place: key.to_owned(),
            error,
        },
    }
}

/// Reads the files again and again, and makes a new configuration when they have changed.
#[derive(Default)]
pub(super) struct Loader {
    pub(super) files: Files,
    /// What was made last, and of what.
    last: Mutex<Option<([u8; 32], Arc<ClientConfig>)>>,
}

impl Loader {
    pub(super) fn new(files: Files) -> Self {
        Self {
            files,
            last: Mutex::default(),
        }
    }

    /// The configuration for the next handshake.
    pub(super) async fn load(self: Arc<Self>) -> Result<Arc<ClientConfig>, TlsConfigError> {
        match spawn_blocking(move || self.load_now()).await {
            Ok(loaded) => loaded,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is shutting down, and this future with it.
                Err(_) => std::future::pending().await,
            },
        }
    }

    fn load_now(&self) -> Result<Arc<ClientConfig>, TlsConfigError> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let made = self.files.read().and_then(|texts| {
            let digest = texts.digest();
            match &*last {
                Some((known, config)) if *known == digest => Ok((digest, config.clone())),
                _ => {
                    let config = texts.build(self.files.system_roots)?;
                    Ok((digest, Arc::new(config)))
                }
            }
        });
        match (made, &*last) {
            (Ok((digest, config)), _) => {
                *last = Some((digest, config.clone()));
                Ok(config)
            }
            (Err(error), Some((_, config))) => {
                let error = describe(&error);
                tracing::warn!(
                    error,
                    "cannot set up TLS anew; going on with what there was"
                );
                Ok(config.clone())
            }
            (Err(error), None) => Err(error),
        }
    }
}
