//! From an address to an open WebSocket.

mod accept;
mod authorization;
mod dial;
mod endpoint;
mod error;
mod head;
#[cfg(feature = "tls")]
mod tls;
mod upgrade;

pub use self::accept::{AcceptError, UpgradeRequest, accept};
pub use self::authorization::{
    Authorization, AuthorizationError, AuthorizationProvider, InvalidAuthorization,
};
pub(crate) use self::dial::{Destination, Transport, check, dial, within};
pub use self::endpoint::{Endpoint, EndpointError};
pub use self::error::ConnectError;
#[cfg(feature = "tls")]
pub(crate) use self::tls::server_name;
#[cfg(feature = "tls")]
pub use self::tls::{CertificateFault, Pem, TlsConfig, TlsConfigError, TlsError};
pub use self::upgrade::upgrade;
