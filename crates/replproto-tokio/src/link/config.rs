//! What a link is told before it begins.

use std::time::Duration;

use replproto_core::config::{Config, Level, Marks};
use replproto_core::{BlobTries, Epoch, MemoryBound, Start};
use tokio::time::timeout;

use crate::budget::MemoryBudget;
use crate::connect::{
    Authorization, AuthorizationError, AuthorizationProvider, ConnectError, Destination, Endpoint,
    check,
};
#[cfg(feature = "tls")]
use crate::connect::{TlsConfig, server_name};
use crate::driver::LinkEnd;
use crate::record::Recorder;
use crate::web_socket::MAX_PART;

/// Where the peer is, and what the link does.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LinkConfig {
    /// Where the peer is.
    pub endpoint: Endpoint,
    /// What proves who we are: an [`Authorization`], or what gives one for each dial.
    pub authorization: Option<AuthorizationProvider>,
    /// Whom to trust, and what to show, if the endpoint is one with TLS.
    #[cfg(feature = "tls")]
    pub tls: TlsConfig,
    /// What the core is told.
    pub core: Config,
    /// How long a dial may take, from the host's name to the open WebSocket. 30 s.
    pub connect_timeout: Duration,
    /// Memory that it shares with other links.
    pub budget: Option<MemoryBudget>,
    /// Where to record what links are told.
    pub recorder: Option<Recorder>,
}

impl LinkConfig {
    /// The most memory that the link takes on behalf of the peer. The buffers of its socket, the sink and the blob store come on
    /// top.
    pub fn memory_bound(&self) -> MemoryBound {
        self.core.memory_bound(MAX_PART)
    }

    /// A link of the node `node_name` to a peer, for one of its databases, with every default. The marks of the consumer's
    /// queue are those of this adapter: 4,096 and 2,048 events. So are those of what is not durable, 2,048 and 1,024
    /// transactions: small ones share a commit of the store.
    pub fn new(
        endpoint: Endpoint,
        node_name: impl Into<String>,
        database: impl Into<String>,
    ) -> Self {
        let mut core = Config::new(node_name, database);
        let items = |marks: Marks, high, low| {
            Marks::new(
                Level {
                    items: high,
                    ..marks.high
                },
                Level {
                    items: low,
                    ..marks.low
                },
            )
        };
        core.flow.consumer = items(core.flow.consumer, 4096, 2048);
        core.flow.commits = items(core.flow.commits, 2048, 1024);
        Self {
            endpoint,
            authorization: None,
            #[cfg(feature = "tls")]
            tls: TlsConfig::new(),
            core,
            connect_timeout: Duration::from_secs(30),
            budget: None,
            recorder: None,
        }
    }

    /// Looks for mistakes that would fail each dial: in the configuration of the core, and in the files for TLS if there is
    /// a need for them. Nothing is dialled.
    ///
    /// # Errors
    /// There is a mistake: [`ConnectError::is_final`] holds.
    ///
    /// # Cancel safety
    /// Nothing has happened.
    pub async fn check(&self) -> Result<(), ConnectError> {
        self.core.check()?;
        check(self.destination()).await
    }

    /// Whom to connect to.
    pub(super) fn destination(&self) -> Destination<'_> {
        Destination {
            endpoint: &self.endpoint,
            #[cfg(feature = "tls")]
            peer_name: self.core.peer_name.as_deref(),
            #[cfg(feature = "tls")]
            tls: &self.tls,
        }
    }

    /// The peer must have this name, which was not configured but learned: nobody said that its certificate has it.
    pub(crate) fn expect_peer(&mut self, name: String) {
        #[cfg(feature = "tls")]
        {
            let name = server_name(self.destination()).to_owned();
            self.tls = std::mem::take(&mut self.tls).server_name(name);
        }
        self.core.peer_name = Some(name);
    }

    /// What to send with the upgrade, as it is now.
    pub(super) async fn authorization(&self) -> Result<Option<Authorization>, ConnectError> {
        let Some(provider) = &self.authorization else {
            return Ok(None);
        };
        let asked = timeout(self.connect_timeout, provider.ask()).await;
        let asked = asked.map_err(|_| AuthorizationError::TimedOut(self.connect_timeout))?;
        Ok(Some(asked?))
    }
}

/// Where a link starts, and what it has to know of the links before it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Opening {
    /// Where to start.
    pub start: Start,
    /// Higher than that of any earlier link to the same peer and database.
    pub epoch: Epoch,
    /// How often blobs have failed at the source.
    pub blob_tries: BlobTries,
}

impl From<Start> for Opening {
    /// The first link.
    fn from(start: Start) -> Self {
        Self {
            start,
            epoch: Epoch(1),
            blob_tries: BlobTries::default(),
        }
    }
}

impl Opening {
    /// The link after one that has ended. The cursor in `start` must have been read after that end.
    pub fn after(end: &LinkEnd, start: Start) -> Self {
        Self {
            start,
            epoch: Epoch(end.epoch.0 + 1),
            blob_tries: end.blob_tries.clone(),
        }
    }
}
