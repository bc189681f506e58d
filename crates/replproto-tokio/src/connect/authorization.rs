//! What proves to the peer who we are, besides a certificate.

use std::error::Error;
use std::fmt;
use std::io;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use thiserror::Error;
use tokio::task::spawn_blocking;

/// The value of the `Authorization` header, such as `Basic dXNlcjpwYXNz`. It is never shown: neither in logs nor by
/// [`Debug`].
#[derive(Clone, PartialEq, Eq)]
pub struct Authorization(String);

impl Authorization {
    /// This value, to be sent as it is.
    ///
    /// # Errors
    /// It has characters that a header cannot have, such as the end of a line.
    pub fn new(value: impl Into<String>) -> Result<Self, InvalidAuthorization> {
        let value = value.into();
        let is_valid = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
        if !value.is_empty() && value.bytes().all(is_valid) {
            Ok(Self(value))
        } else {
            Err(InvalidAuthorization)
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Authorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authorization(***)")
    }
}

/// A value that the `Authorization` header cannot have. The value is not told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the authorization is empty or has characters other than printable ASCII")]
pub struct InvalidAuthorization;

/// Gives the [`Authorization`] for a dial. It is asked anew before each, so that what has expired meanwhile is not sent
/// again.
///
/// ```
/// use replproto_tokio::{Authorization, AuthorizationProvider, LinkConfig};
///
/// # fn example() -> Result<(), Box<dyn std::error::Error>> {
/// # async fn fetch_token() -> Result<String, std::io::Error> { Ok(String::new()) }
/// let mut config = LinkConfig::new("ws://node-a".parse()?, "us", "data");
/// // Always the same.
/// config.authorization = Some(Authorization::new("Basic dXM6cGFzcw==")?.into());
/// // What is in a file at the time.
/// config.authorization = Some(AuthorizationProvider::file("/run/secrets/authorization"));
/// // Anything else.
/// config.authorization = Some(AuthorizationProvider::new(|| async {
///     let token = fetch_token().await?;
///     Ok::<_, Box<dyn std::error::Error + Send + Sync>>(Authorization::new(format!("Bearer {token}"))?)
/// }));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct AuthorizationProvider(Kind);

type Ask = dyn Fn() -> BoxFuture<'static, Result<Authorization, Box<dyn Error + Send + Sync>>>
    + Send
    + Sync;

#[derive(Clone)]
enum Kind {
    Constant(Authorization),
    File(PathBuf),
    Asked(Arc<Ask>),
}

impl AuthorizationProvider {
    /// Asks this function, which may take a while: the time counts as that of the dial, which is given up after
    /// [`LinkConfig::connect_timeout`](crate::LinkConfig::connect_timeout). When it fails or panics the dial has failed, and
    /// the next one asks again. Its errors are logged: they should not hold the value.
    pub fn new<F, W, E>(ask: F) -> Self
    where
        F: Fn() -> W + Send + Sync + 'static,
        W: Future<Output = Result<Authorization, E>> + Send + 'static,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        Self(Kind::Asked(Arc::new(move || {
            let asked = ask();
            async move { asked.await.map_err(Into::into) }.boxed()
        })))
    }

    /// Reads this file, and leaves out white space before and after the value.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self(Kind::File(path.into()))
    }

    pub(crate) async fn ask(&self) -> Result<Authorization, AuthorizationError> {
        match &self.0 {
            Kind::Constant(authorization) => Ok(authorization.clone()),
            Kind::File(path) => read(path).await,
            Kind::Asked(ask) => {
                // The call itself may panic as well. Nothing of ours can be left half done by that.
                let asked = AssertUnwindSafe(async { ask().await }).catch_unwind().await;
                asked
                    .map_err(|_| AuthorizationError::Panicked)?
                    .map_err(AuthorizationError::Failed)
            }
        }
    }
}

impl From<Authorization> for AuthorizationProvider {
    /// Always the same.
    fn from(authorization: Authorization) -> Self {
        Self(Kind::Constant(authorization))
    }
}

impl fmt::Debug for AuthorizationProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Constant(authorization) => authorization.fmt(f),
            Kind::File(path) => f.debug_tuple("Authorization").field(path).finish(),
            Kind::Asked(_) => f.write_str("Authorization(asked for each dial)"),
        }
    }
}

async fn read(path: &Path) -> Result<Authorization, AuthorizationError> {
    let file = path.to_owned();
    let read = spawn_blocking(move || std::fs::read(file)).await;
    let bytes =
        read.map_err(io::Error::other)
            .flatten()
            .map_err(|error| AuthorizationError::Read {
                path: path.to_owned(),
                error,
            })?;
    let text = String::from_utf8(bytes).map_err(|_| AuthorizationError::Invalid {
        path: path.to_owned(),
    })?;
    Authorization::new(text.trim()).map_err(|InvalidAuthorization| AuthorizationError::Invalid {
        path: path.to_owned(),
    })
}

/// Why there is no authorization for a dial. The next dial asks again.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AuthorizationError {
    /// The function that was asked failed.
    #[error("the provider of the authorization failed")]
    Failed(#[source] Box<dyn Error + Send + Sync>),
    /// There was none in time.
    #[error("there was no authorization after {0:?}")]
    TimedOut(Duration),
    /// The function that was asked panicked.
    #[error("the provider of the authorization panicked")]
    Panicked,
    /// The file cannot be read.
    #[error("cannot read the authorization from {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// What the file holds cannot be the value of a header.
    #[error("the authorization in {} is empty or has characters other than printable ASCII", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
    },
}

impl AuthorizationError {
    /// Whether a file is not there, or has no value in it. Whatever else gives values may have one the next time.
    pub(super) const fn is_final(&self) -> bool {
        matches!(self, Self::Read { .. } | Self::Invalid { .. })
    }

    /// What the user may do about it.
    pub const fn advice(&self) -> &'static str {
        match self {
            Self::Failed(_) | Self::TimedOut(_) | Self::Panicked => {
                "See what the provider of the authorization needs."
            }
            Self::Read { .. } => "Check that the file is there and that this program may read it.",
            Self::Invalid { .. } => {
                "Put the value of the header into the file, on one line, such as: Basic dXNlcjpwYXNz"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn an_authorization_is_one_line_and_never_shown() {
        let token = Authorization::new("Basic canary").unwrap();
        assert_eq!(format!("{token:?}"), "Authorization(***)");
        assert_eq!(token.as_str(), "Basic canary");
        let provider = AuthorizationProvider::from(token);
        assert_eq!(format!("{provider:?}"), "Authorization(***)");
        for wrong in ["", "a\r\nX: y", "ü", "a\tb"] {
            assert_eq!(Authorization::new(wrong), Err(InvalidAuthorization));
        }
    }

    #[tokio::test]
    async fn a_file_is_read_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("authorization");
        let provider = AuthorizationProvider::file(&path);
        match provider.ask().await.unwrap_err() {
            AuthorizationError::Read { path: at, .. } => assert_eq!(at, path),
            other => panic!("{other:?}"),
        }
        for value in ["Basic one", "Basic two"] {
            std::fs::write(&path, format!(" {value}\r\n")).unwrap();
            assert_eq!(provider.ask().await.unwrap().as_str(), value);
        }
        for wrong in [&b"\n"[..], b"canary\nX: y", b"canary\xff"] {
            std::fs::write(&path, wrong).unwrap();
            let error = provider.ask().await.unwrap_err();
            assert!(matches!(error, AuthorizationError::Invalid { .. }));
            assert!(!format!("{error} {error:?}").contains("canary"));
        }
    }

    #[tokio::test]
    async fn one_that_fails_or_panics_is_asked_again() {
        let asked = AtomicU32::new(0);
        let provider =
            AuthorizationProvider::new(move || match asked.fetch_add(1, Ordering::Relaxed) {
                // Before there is a future, and while it is polled.
                0 => panic!("no future"),
                time => {
                    async move {
                        assert!(time != 1, "no answer");
                        match time {
                            2 => Err("no token"),
                            _ => Ok(Authorization::new("Basic canary").unwrap()),
                        }
                    }
                }
            });
        for _ in 0..2 {
            let error = provider.ask().await.unwrap_err();
            assert!(matches!(error, AuthorizationError::Panicked), "{error:?}");
        }
        match provider.ask().await.unwrap_err() {
            AuthorizationError::Failed(error) => assert_eq!(error.to_string(), "no token"),
            other => panic!("{other:?}"),
        }
        assert_eq!(provider.ask().await.unwrap().as_str(), "Basic canary");
        assert!(!format!("{provider:?}").contains("canary"));
    }
}
