//! One link: from a dial to its end.

mod config;
mod delivery;

use std::any::Any;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::Stream;
use replproto_core::wire::SUBPROTOCOL;
use replproto_core::{CommitId, Input, Receiver};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use self::config::{LinkConfig, Opening};
pub use self::delivery::Delivery;
use crate::blobs::BlobStore;
use crate::budget::MemoryBudget;
use crate::connect::{Authorization, ConnectError, Transport, dial, upgrade, within};
pub use crate::driver::LinkEnd;
use crate::driver::{Clock, Driver, Exchange, Parts, Socket, Taken};
use crate::journal::{Journal, line};
use crate::progress::{Phase, Progress, Snapshot};
use crate::scope::Scope;
use crate::web_socket::FrameLimits;

/// A link: a [`Stream`] of [`Delivery`]s, driven by a task of its own.
///
/// A delivery holds a place in a bounded queue until it is dropped; when the queue is full, the socket is not read. What
/// has become durable is told with [`Delivery::commit`] or [`Link::commit`], and only that is confirmed to the peer.
///
/// The stream ends when the link is over, and what was delivered since the last
/// [`EndTransaction`](replproto_core::Event::EndTransaction) is then to be rolled back; [`Link::end`] tells why. Dropping the
/// link ends it abruptly: the peer sees the connection break. Writers of blobs are dropped then; call [`Link::shutdown`] and
/// [`Link::end`] to know that all are gone.
///
/// Waiting for the next delivery is cancel safe: a future that is dropped before it is ready has taken none.
///
/// ```no_run
/// use futures_util::StreamExt;
/// use replproto_tokio::core::{Event, Start};
/// use replproto_tokio::{Link, LinkConfig, NoBlobs};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let config = LinkConfig::new("ws://127.0.0.1:9933".parse()?, "us", "data");
/// let mut link = Link::connect(&config, Start::Copy, NoBlobs).await?;
/// while let Some(delivery) = link.next().await {
///     match &*delivery {
///         Event::Records(records) => {
///             for record in records {
///                 println!("{} {:?}", record.table().name(), record.key());
///             }
///         }
///         // Durable as soon as it is printed. Without an effect for events that carry no cursor.
///         _ => delivery.commit(),
///     }
/// }
/// println!("{}", link.end().await.close.reason);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Link {
    exchange: Arc<Exchange>,
    taken: Taken,
    driver: JoinHandle<LinkEnd>,
    /// Owns the driver's task and those of its blobs, which end with this.
    _scope: Scope,
    progress: Progress,
}

/// Nothing more is handed out once the task of a link is gone, also when it has panicked.
struct Over(Arc<Exchange>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Link {
    /// Dials the peer and opens a link. Does not wait for the peer to answer the subscription.
    ///
    /// # Errors
    /// There is no connection, or the configuration makes no sense.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection; nothing else has happened.
    pub async fn connect<B: BlobStore>(
        config: &LinkConfig,
        opening: impl Into<Opening>,
        blobs: B,
    ) -> Result<Self, ConnectError> {
        let shared = Shared::of_one(blobs);
        Self::dial(config, opening.into(), &shared, Scope::new()).await
    }

    /// The same over a connection that is already there. The address is only named in the request: there is no TLS but that
    /// of the connection.
    ///
    /// # Errors
    /// The peer refuses the upgrade, or the configuration makes no sense.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection; nothing else has happened.
    pub async fn over<B: BlobStore>(
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        config: &LinkConfig,
        opening: impl Into<Opening>,
        blobs: B,
    ) -> Result<Self, ConnectError> {
        let shared = Shared::of_one(blobs);
        let work = async {
            let authorization = config.authorization().await?;
            let (stream, scope) = (Box::new(stream), Scope::new());
            Self::open(
                stream,
                config,
                authorization,
                opening.into(),
                &shared,
                scope,
            )
            .await
        };
        within(config.connect_timeout, work).await
    }

    pub(crate) async fn dial<B: BlobStore>(
        config: &LinkConfig,
        opening: Opening,
        shared: &Shared<B>,
        scope: Scope,
    ) -> Result<Self, ConnectError> {
        config.core.check()?;
        let work = async {
            // Before the dial: the peer does not wait for long.
            let authorization = config.authorization().await?;
            let stream = dial(config.destination()).await?;
            Self::open(stream, config, authorization, opening, shared, scope).await
        };
        within(config.connect_timeout, work).await
    }

    async fn open<B: BlobStore>(
        stream: Box<dyn Transport>,
        config: &LinkConfig,
        authorization: Option<Authorization>,
        opening: Opening,
        shared: &Shared<B>,
        scope: Scope,
    ) -> Result<Self, ConnectError> {
        let Opening {
            start,
            epoch,
            blob_tries,
        } = opening;
        config.core.check()?;
        let web_socket = upgrade(
            stream,
            &config.endpoint,
            authorization.as_ref(),
            Some(SUBPROTOCOL),
            FrameLimits::message(config.core.limits.message),
        )
        .await?;
        let clock = Clock::start();
        if let Some(recorder) = &config.recorder {
            recorder.begin(&config.core, &start, epoch);
        }
        let receiver = Receiver::new(config.core.clone(), start, epoch, clock.now())?
            .with_blob_tries(blob_tries);
        line!(
            shared.journal,
            "open",
            info,
            peer = %config.endpoint,
            database = %config.core.database,
            "the link is open"
        );
        shared.progress.update(|snapshot| {
            snapshot.phase = Phase::SettingUp;
            snapshot.links += 1;
            let last = std::mem::take(&mut snapshot.link);
            snapshot.earlier.absorb(&last.stats);
            snapshot.link.epoch = epoch;
            snapshot.failed_dials = 0;
        });
        let exchange = Arc::new(Exchange::new(clock));
        let driver = Driver::new(Parts {
            socket: Socket::new(web_socket),
            receiver,
            exchange: exchange.clone(),
            store: shared.store.clone(),
            blob_scope: scope.child(),
            database: config.core.database.as_str().into(),
            tables: config.core.tables.clone(),
            epoch,
            until_idle: shared.until_idle,
            last_phase: shared.last_phase,
            lease: config.budget.as_ref().map(MemoryBudget::join),
            progress: shared.progress.clone(),
            journal: shared.journal.clone(),
            recorder: config.recorder.clone(),
        });
        let over = Over(exchange.clone());
        let driven = async move {
            let _over = over;
            driver.drive().await
        };
        Ok(Self {
            exchange,
            taken: Taken::default(),
            driver: scope.spawn(driven),
            _scope: scope,
            progress: shared.progress.clone(),
        })
    }

    /// A transaction, a checkpoint or a completed copy is durable, together with its cursor. Any order will do; ids of
    /// earlier links are ignored.
    pub fn commit(&self, id: CommitId) {
        self.exchange.answer(Input::Committed(id));
    }

    /// The application could not decode the value of this many records, and has passed over them.
    pub fn skipped(&self, records: u64) {
        self.exchange.answer(Input::Skipped { records });
    }

    /// Whether the application can take records. The socket is not read while it cannot, for as long as
    /// [`Timeouts::not_ready`](replproto_core::config::Timeouts::not_ready).
    pub fn set_ready(&self, is_ready: bool) {
        self.exchange.answer(if is_ready {
            Input::Ready
        } else {
            Input::NotReady
        });
    }

    /// Reads no more, finishes and confirms what is in hand, and ends; at the latest after `limit`.
    pub fn drain(&self, limit: Duration) {
        let deadline = self.exchange.clock.now().after(limit);
        self.exchange.answer(Input::Drain { deadline });
    }

    /// Ends the link now.
    pub fn shutdown(&self) {
        self.exchange.answer(Input::Shutdown);
    }

    /// What can be seen from outside.
    pub fn progress(&self) -> watch::Receiver<Snapshot> {
        self.progress.subscribe()
    }

    /// Waits for the end of the link, and for that of every writer of its blobs. It does not bring the end about. Events that
    /// were not taken before do not hold it up.
    ///
    /// # Cancel safety
    /// Dropping the future drops the link.
    ///
    /// # Panics
    /// The task of the link panicked, which is a mistake of ours or of the blob store.
    pub async fn end(self) -> LinkEnd {
        match self.outcome().await {
            Ok(end) => end,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// The same, with the panic as a value.
    pub(crate) async fn outcome(mut self) -> Result<LinkEnd, Box<dyn Any + Send>> {
        self.exchange.leave(&self.taken);
        match (&mut self.driver).await {
            Ok(end) => Ok(end),
            Err(error) => match error.try_into_panic() {
                Ok(panic) => Err(panic),
                // The runtime is shutting down, or the scope is being closed, and this future with it.
                Err(_) => std::future::pending().await,
            },
        }
    }

    pub(crate) fn exchange(&self) -> &Exchange {
        &self.exchange
    }
}

impl Stream for Link {
    type Item = Delivery;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Delivery>> {
        let Self {
            exchange, taken, ..
        } = &mut *self;
        let next = ready!(exchange.poll_delivery(context, taken));
        Poll::Ready(next.map(|(event, number)| Delivery::new(event, exchange.clone(), number)))
    }
}

/// What the links of one series share.
pub(crate) struct Shared<B> {
    pub(crate) store: Arc<B>,
    pub(crate) progress: Progress,
    pub(crate) journal: Journal,
    pub(crate) until_idle: Option<Duration>,
    /// What comes after a link.
    pub(crate) last_phase: Phase,
}

impl<B> Shared<B> {
    /// Of a link that belongs to no series.
    fn of_one(store: B) -> Self {
        Self {
            store: Arc::new(store),
            progress: Progress::default(),
            journal: Journal::default(),
            until_idle: None,
            last_phase: Phase::Ended,
        }
    }
}
