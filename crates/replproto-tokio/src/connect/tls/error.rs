//! What can go wrong with TLS.

use std::fmt;
use std::io;
use std::path::PathBuf;

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage};
use thiserror::Error;
use tokio_rustls::rustls;

/// What is wrong on this side, before anything is dialled. A `place` is a file, or the text that was given.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TlsConfigError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// There is no certificate where one should be.
    #[error("there is no certificate in {place}")]
    NoCertificate {
        /// Where.
        place: String,
    },
    /// There is no private key where one should be.
    #[error("there is no private key in {place}")]
    NoKey {
        /// Where.
        place: String,
    },
    /// The private key is encrypted.
    #[error("the private key in {place} is encrypted")]
    EncryptedKey {
        /// Where.
        place: String,
    },
    /// The PEM is damaged.
    #[error("the PEM in {place} is damaged: {error}")]
    Damaged {
        /// Where.
        place: String,
        /// How.
        error: String,
    },
    /// A certificate is damaged, or of a kind that is not known.
    #[error("a certificate in {place} cannot be used")]
    Certificate {
        /// Where.
        place: String,
        /// Why.
        #[source]
        error: Error,
    },
    /// The private key is damaged, or of a kind that is not known.
    #[error("the private key in {place} cannot be used")]
    Key {
        /// Where.
        place: String,
        /// Why.
        #[source]
        error: Error,
    },
    /// The private key is that of another certificate.
    #[error("the private key in {key} does not belong to the certificate in {certificate}")]
    KeyMismatch {
        /// Where the certificate is.
        certificate: String,
        /// Where the key is.
        key: String,
    },
    /// Nothing is trusted, so no certificate of a peer could be.
    #[error("there is no root certificate to check the peer's with{}", because(error.as_deref()))]
    NoRoots {
        /// What came of the search for those of the system.
        error: Option<String>,
    },
    /// The name to verify is that of no host, and no IP address.
    #[error("{0:?} cannot be the name in a certificate")]
    ServerName(String),
}

fn because(error: Option<&str>) -> String {
    error.map_or_else(String::new, |error| format!(": {error}"))
}

impl TlsConfigError {
    /// What the user may do about it.
    pub const fn advice(&self) -> &'static str {
        match self {
            Self::Read { .. } => "Check that the file is there and that this program may read it.",
            Self::NoCertificate { .. } => {
                "Give a file in PEM, with a line -----BEGIN CERTIFICATE-----. One in DER is converted by: openssl x509 -inform der"
            }
            Self::NoKey { .. } => {
                "Give a file in PEM, with a line -----BEGIN PRIVATE KEY----- (or RSA or EC PRIVATE KEY)."
            }
            Self::EncryptedKey { .. } => {
                "Decrypt it into a file that only this program may read: openssl pkey -in KEY -out PLAIN"
            }
            Self::Damaged { .. } | Self::Certificate { .. } => {
                "Get the file again from whoever issued it."
            }
            Self::Key { .. } => {
                "Use a key for RSA (from 2048 bits), ECDSA (P-256, P-384) or Ed25519."
            }
            Self::KeyMismatch { .. } => {
                "Give the key with which the certificate was asked for. The certificate of this node comes first in its file, \
                 before those of its issuers."
            }
            Self::NoRoots { .. } => {
                "Install the root certificates of the system (often a package ca-certificates), or give the certificate of \
                 the CA that issued the peer's."
            }
            Self::ServerName(_) => {
                "The name of the peer is asked for; where it is no host name, configure the server name that is in the \
                 peer's certificate."
            }
        }
    }
}

/// What is wrong with a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CertificateFault {
    /// It is not issued by anybody whom the other side trusts; perhaps by itself.
    UnknownIssuer,
    /// Its time is over.
    Expired,
    /// Its time has not begun.
    NotYetValid,
    /// It is for another name.
    WrongName,
    /// Its issuer took it back.
    Revoked,
    /// It was not signed with the key of its issuer.
    BadSignature,
    /// It is not for this end of a connection.
    WrongPurpose,
    /// It is damaged.
    Malformed,
    /// Something else.
    Other,
}

impl fmt::Display for CertificateFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownIssuer => "comes from an issuer that is not trusted",
            Self::Expired => "has expired",
            Self::NotYetValid => "is not valid yet",
            Self::WrongName => "is for another name",
            Self::Revoked => "was revoked",
            Self::BadSignature => "has a signature that is wrong",
            Self::WrongPurpose => "is for another purpose",
            Self::Malformed => "is damaged",
            Self::Other => "cannot be used",
        })
    }
}

/// Why there is no TLS connection. The next dial may find the peer repaired.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TlsError {
    /// We do not accept the peer's certificate.
    #[error("the peer's certificate {fault}")]
    PeerCertificate {
        /// What is wrong with it.
        fault: CertificateFault,
        /// More of that.
        #[source]
        error: Error,
    },
    /// The peer demands a certificate, and was shown none.
    #[error("the peer demands a client certificate")]
    CertificateRequired,
    /// The peer does not accept our certificate. It tells little of why.
    #[error("the peer refused our certificate: it {fault}")]
    OwnCertificate {
        /// What is wrong with it, as far as the peer told.
        fault: CertificateFault,
        /// What the peer told.
        #[source]
        error: Error,
    },
    /// The peer lets nobody in who asks like this: with our certificate, or for this name.
    #[error("the peer denied access")]
    Denied,
    /// The peer has no certificate for the name that it was asked for.
    #[error("the peer does not know the server name that it was asked for")]
    UnknownName,
    /// The answer to TLS is something else.
    #[error("the peer does not speak TLS")]
    NotTls,
    /// There is no version or cipher that both sides have.
    #[error("the peer speaks TLS in another way")]
    Incompatible(#[source] Error),
    /// The connection broke, or was closed, during the handshake.
    #[error("the connection broke during the TLS handshake")]
    Interrupted(#[source] io::Error),
    /// Either side did not hold to the protocol, or bytes were changed on the way.
    #[error("TLS failed")]
    Failed(#[source] Error),
}

impl TlsError {
    /// What the user may do about it.
    pub const fn advice(&self) -> &'static str {
        match self {
            Self::PeerCertificate { fault, .. } => peer_advice(*fault),
            Self::CertificateRequired => {
                "Configure a client certificate and its key, issued by a CA that the peer trusts. If one is configured, \
                 its key is of a kind that the peer does not support."
            }
            Self::OwnCertificate { fault, .. } => own_advice(*fault),
            Self::Denied => {
                "Check that our certificate is one that the peer lets in, and that the server name is one that it knows: the \
                 peer's node name is asked for, or else the host in the address."
            }
            Self::UnknownName => {
                "Configure the server name that is in the peer's certificate: without that, the peer's node name is asked \
                 for, or else the host in the address."
            }
            Self::NotTls => "Check the port; perhaps it speaks plain HTTP: ws:// in the address.",
            Self::Incompatible(_) => {
                "Let the peer speak TLS 1.2 or 1.3 with a common cipher. Some peers also say this when they miss a client \
                 certificate."
            }
            Self::Interrupted(_) => {
                "The peer closed the connection; perhaps this port does not speak TLS, or the peer misses a client \
                 certificate."
            }
            Self::Failed(_) => {
                "Look for something between here and the peer that changes the bytes, or for a bug in the peer."
            }
        }
    }

    pub(super) fn of_handshake(error: io::Error) -> Self {
        match take_inner(error) {
            Ok(Error::InvalidMessage(InvalidMessage::InvalidContentType)) => Self::NotTls,
            Ok(error) => Self::of(error),
            Err(error) => Self::Interrupted(error),
        }
    }

    /// What a stream that failed tells of TLS. Gives the error back if that is not TLS.
    pub(crate) fn of_stream(error: io::Error) -> Result<Self, io::Error> {
        take_inner(error).map(Self::of)
    }

    fn of(error: Error) -> Self {
        match &error {
            Error::InvalidCertificate(why) => Self::PeerCertificate {
                fault: fault(why),
                error,
            },
            Error::PeerIncompatible(_) => Self::Incompatible(error),
            Error::AlertReceived(alert) => Self::of_alert(*alert, error),
            _ => Self::Failed(error),
        }
    }

    /// What the peer told last (RFC 8446 section 6.2).
    fn of_alert(alert: AlertDescription, error: Error) -> Self {
        use AlertDescription as Alert;
        let fault = match alert {
            Alert::UnknownCA => CertificateFault::UnknownIssuer,
            Alert::CertificateExpired => CertificateFault::Expired,
            Alert::CertificateRevoked => CertificateFault::Revoked,
            Alert::UnsupportedCertificate => CertificateFault::WrongPurpose,
            Alert::BadCertificate => CertificateFault::Malformed,
            Alert::CertificateUnknown => CertificateFault::Other,
            Alert::AccessDenied => return Self::Denied,
            Alert::CertificateRequired => return Self::CertificateRequired,
            Alert::UnrecognisedName => return Self::UnknownName,
            Alert::HandshakeFailure | Alert::ProtocolVersion | Alert::InsufficientSecurity => {
                return Self::Incompatible(error);
            }
            _ => return Self::Failed(error),
        };
        Self::OwnCertificate { fault, error }
    }
}

/// What TLS itself has to say, out of the error of a stream. Gives the error back if there is nothing.
fn take_inner(error: io::Error) -> Result<Error, io::Error> {
    error.downcast::<Error>()
}

fn fault(error: &CertificateError) -> CertificateFault {
    use CertificateError as E;
    match error {
        E::UnknownIssuer => CertificateFault::UnknownIssuer,
        E::Expired | E::ExpiredContext { .. } => CertificateFault::Expired,
        E::NotValidYet | E::NotValidYetContext { .. } => CertificateFault::NotYetValid,
        E::NotValidForName | E::NotValidForNameContext { .. } => CertificateFault::WrongName,
        E::Revoked => CertificateFault::Revoked,
        E::BadSignature => CertificateFault::BadSignature,
        E::InvalidPurpose | E::InvalidPurposeContext { .. } => CertificateFault::WrongPurpose,
        E::BadEncoding => CertificateFault::Malformed,
        _ => CertificateFault::Other,
    }
}

const fn peer_advice(fault: CertificateFault) -> &'static str {
    match fault {
        CertificateFault::UnknownIssuer => {
            "Trust the CA that issued it: give its certificate, and let the peer show those in between. A certificate that is \
             signed by itself is given as if it were a CA's."
        }
        CertificateFault::Expired => {
            "Renew the peer's certificate. If it is not that old, set the clock of this machine."
        }
        CertificateFault::NotYetValid => {
            "Set the clocks of this machine and of the one that issued the certificate."
        }
        CertificateFault::WrongName => {
            "Use a host in the address, or a server name, that is in the certificate. The peer's node name comes before the \
             host, if it is configured."
        }
        CertificateFault::Revoked => {
            "Give the peer a new certificate, and find out why this one was taken back."
        }
        CertificateFault::WrongPurpose => "Give the peer a certificate for servers (serverAuth).",
        CertificateFault::BadSignature => {
            "Trust the CA that issued it, if that is a newer one of the same name. Otherwise the certificate was changed."
        }
        CertificateFault::Malformed => {
            "Give the peer a certificate that is whole; or look for something in between that answers in its place."
        }
        CertificateFault::Other => {
            "See the cause. CaUsedAsEndEntity: the peer shows the certificate of a CA as its own; give it one that the CA has \
             issued."
        }
    }
}

const fn own_advice(fault: CertificateFault) -> &'static str {
    match fault {
        CertificateFault::UnknownIssuer => {
            "Let the peer trust the CA that issued our certificate; those in between come after it in its file."
        }
        CertificateFault::Expired => {
            "Renew our certificate. If it is not that old, set the clock of the peer."
        }
        CertificateFault::Revoked => {
            "Get a new certificate, and find out why this one was taken back."
        }
        CertificateFault::WrongPurpose => "Use a certificate for clients (clientAuth).",
        _ => {
            "See what the peer logs: its certificate authority, the names that it knows, and those that it has revoked."
        }
    }
}
