//! Certificates and keys as text.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::pem::{Error, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls;

use super::error::TlsConfigError;

/// Certificates or a key in PEM: a file, or its text. [`Debug`] does not show the text.
#[derive(Clone)]
pub struct Pem(Kind);

#[derive(Clone)]
enum Kind {
    File(PathBuf),
    Text(Arc<[u8]>),
}

impl Pem {
    /// What is in this file, at each dial.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self(Kind::File(path.into()))
    }

    /// This text.
    pub fn text(text: impl AsRef<[u8]>) -> Self {
        Self(Kind::Text(text.as_ref().into()))
    }

    /// Reads the file.
    pub(super) fn read(&self) -> Result<PemText, TlsConfigError> {
        let (place, bytes) = match &self.0 {
            Kind::Text(bytes) => ("the text that was given".to_owned(), bytes.to_vec()),
            Kind::File(path) => {
                let bytes = std::fs::read(path).map_err(|error| TlsConfigError::Read {
                    path: path.clone(),
                    error,
                })?;
                (path.display().to_string(), bytes)
            }
        };
        Ok(PemText { place, bytes })
    }
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::File(path) => path.fmt(f),
            Kind::Text(_) => f.write_str("***"),
        }
    }
}

/// What was read, and where.
pub(super) struct PemText {
    pub(super) place: String,
    pub(super) bytes: Vec<u8>,
}

impl PemText {
    /// At least one certificate.
    pub(super) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, TlsConfigError> {
        let certificates =
            CertificateDer::pem_slice_iter(&self.bytes).collect::<Result<Vec<_>, _>>();
        match certificates {
            Ok(certificates) if !certificates.is_empty() => Ok(certificates),
            Ok(_) => Err(TlsConfigError::NoCertificate {
                place: self.place.clone(),
            }),
            Err(error) => Err(self.damaged(error)),
        }
    }

    /// The first key.
    pub(super) fn key(&self) -> Result<PrivateKeyDer<'static>, TlsConfigError> {
        PrivateKeyDer::from_pem_slice(&self.bytes).map_err(|error| {
            let place = self.place.clone();
            match error {
                _ if self.is_encrypted() => TlsConfigError::EncryptedKey { place },
                Error::NoItemsFound => TlsConfigError::NoKey { place },
                error => self.damaged(error),
            }
        })
    }

    /// Whether it says so: in the label of PKCS#8, or in a header as keys of older kinds do.
    fn is_encrypted(&self) -> bool {
        ["-----BEGIN ENCRYPTED PRIVATE KEY-----", "4,ENCRYPTED"]
            .iter()
            .any(|mark| {
                let mut windows = self.bytes.windows(mark.len());
                windows.any(|window| window == mark.as_bytes())
            })
    }

    fn damaged(&self, error: Error) -> TlsConfigError {
        TlsConfigError::Damaged {
            place: self.place.clone(),
            error: error.to_string(),
        }
    }
}
